//! Connections: what is kept of them, for how long, and what it costs.

use super::*;

const CONNECTIONS: &str =
    "SELECT conn_id, position, length(state) AS length FROM myelin_sliding_sync_connections";

fn named(mut request: Value, conn_id: &str) -> Value {
    request["conn_id"] = json!(conn_id);
    request
}

#[test]
fn a_position_survives_a_restart() {
    let server = quiet_server();
    let alice = server.register("alice");
    let room = public_room(&server, &alice);
    let first = slide(&server, &alice, None, &all(5));
    say(&server, &alice, &room, "meanwhile");
    server.platform.restart();
    let second = slide(&server, &alice, Some(pos(&first)), &all(5));
    let told = &second["rooms"][&room];
    assert_eq!(bodies(told), ["meanwhile"]);
    assert!(told.get("initial").is_none());
}

#[test]
fn an_answer_that_was_lost_is_given_again() {
    let server = quiet_server();
    let alice = server.register("alice");
    let (old, new) = (public_room(&server, &alice), public_room(&server, &alice));
    let first = slide(&server, &alice, None, &list(json!([[0, 0]]), 5));
    say(&server, &alice, &new, "news");
    let wide = list(json!([[0, 1]]), 5);
    let lost = slide(&server, &alice, Some(pos(&first)), &wide);
    let again = slide(&server, &alice, Some(pos(&first)), &wide);
    assert_eq!(room_ids(&lost), BTreeSet::from([old.as_str(), new.as_str()]));
    assert_eq!(room_ids(&lost), room_ids(&again));
    assert_eq!(bodies(&again["rooms"][&new]), ["news"]);
    assert_ne!(pos(&lost), pos(&again));
    // Of the two answers the later one counts.
    slide_reply(&server, &alice, Some(pos(&lost)), &wide).error(400, "M_UNKNOWN_POS");
    assert!(room_ids(&slide(&server, &alice, Some(pos(&again)), &wide)).is_empty());
}

#[test]
fn only_the_last_two_positions_are_known() {
    let server = quiet_server();
    let alice = server.register("alice");
    let rooms: Vec<String> = (0..4).map(|_| public_room(&server, &alice)).collect();
    let mut positions = Vec::new();
    for end in 0..rooms.len() {
        let request = list(json!([[0, end]]), 1);
        let body = slide(&server, &alice, positions.last().map(String::as_str), &request);
        positions.push(pos(&body).to_owned());
        assert!(server.rows(CONNECTIONS).len() <= 2);
    }
    let request = list(json!([[0, 3]]), 1);
    for old in &positions[..2] {
        slide_reply(&server, &alice, Some(old), &request).error(400, "M_UNKNOWN_POS");
    }
    slide(&server, &alice, Some(&positions[3]), &request);
    for unknown in ["1/s5_0_0_0_0_0_0_0_0", "99999999999999/s5_0_0_0_0_0_0_0_0"] {
        slide_reply(&server, &alice, Some(unknown), &request).error(400, "M_UNKNOWN_POS");
    }
    // A position is of its device, and of its connection.
    let elsewhere = server.login("alice");
    let last = Some(positions[3].as_str());
    slide_reply(&server, &elsewhere, last, &request).error(400, "M_UNKNOWN_POS");
    slide_reply(&server, &alice, last, &named(request, "other")).error(400, "M_UNKNOWN_POS");
    // One ahead of the log is of a database that is no more.
    let ahead = positions[3].replacen("/s", "/s9", 1);
    slide_reply(&server, &alice, Some(&ahead), &list(json!([[0, 3]]), 1))
        .error(400, "M_UNKNOWN_POS");
}

#[test]
fn connections_do_not_mind_each_other() {
    let server = quiet_server();
    let alice = server.register("alice");
    let room = public_room(&server, &alice);
    let (one, two) = (named(all(5), "one"), named(all(5), "two"));
    let first = slide(&server, &alice, None, &one);
    let second = slide(&server, &alice, None, &two);
    assert_eq!(second["rooms"][&room]["initial"], true);
    say(&server, &alice, &room, "to both");
    for (body, request) in [(&first, &one), (&second, &two)] {
        let body = slide(&server, &alice, Some(pos(body)), request);
        assert_eq!(bodies(&body["rooms"][&room]), ["to both"]);
    }
    // Begun anew, a connection has told nothing.
    let anew = slide(&server, &alice, None, &one);
    assert_eq!(anew["rooms"][&room]["initial"], true);
    slide_reply(&server, &alice, Some(pos(&first)), &one).error(400, "M_UNKNOWN_POS");
    // A device has so many of them.
    for n in 0..40 {
        slide(&server, &alice, None, &named(all(1), &format!("c{n}")));
    }
    assert_eq!(server.rows(CONNECTIONS).len(), 16);
    let path = format!("/_matrix/client/v3/devices/{}", alice.device_id);
    server.post(&alice, "/_matrix/client/v3/logout", json!({})).ok();
    assert!(server.rows(CONNECTIONS).is_empty(), "{path}");
}

#[test]
fn connections_of_devices_that_are_gone_are_forgotten() {
    let server = quiet_server();
    let alice = server.register("alice");
    public_room(&server, &alice);
    slide(&server, &alice, None, &all(1));
    let sweep = || {
        let context = server.platform.context();
        server.run(async move { myelin::sweep::remove_expired(&context).await.unwrap() });
    };
    sweep();
    assert_eq!(server.rows(CONNECTIONS).len(), 1);
    server.platform.advance(8 * 24 * 60 * 60 * 1000);
    sweep();
    assert!(server.rows(CONNECTIONS).is_empty());
}

#[test]
fn a_request_without_rooms_keeps_nothing() {
    let server = quiet_server();
    let alice = server.register("alice");
    let request = json!({ "extensions": { "account_data": { "enabled": true } } });
    let first = slide(&server, &alice, None, &request);
    assert!(pos(&first).starts_with("0/s"), "{first}");
    let second = slide(&server, &alice, Some(pos(&first)), &request);
    assert!(pos(&second).starts_with("0/s"));
    assert!(server.rows(CONNECTIONS).is_empty());
    // With rooms it begins to keep.
    let room = public_room(&server, &alice);
    let third = slide(&server, &alice, Some(pos(&second)), &all(1));
    assert_eq!(third["rooms"][&room]["initial"], true);
    assert_eq!(server.rows(CONNECTIONS).len(), 1);
}

/// What requests cost in lists of so many rooms, one after the other with these ranges.
fn costs(rooms: usize, ranges: &[Value]) {
    let server = quiet_server();
    let alice = server.register("alice");
    let rooms: Vec<String> = (0..rooms).map(|_| public_room(&server, &alice)).collect();
    for (index, range) in ranges.iter().enumerate() {
        let other = server.register(&format!("other{index}"));
        costs_in_range(&server, [&alice, &other], &rooms, range);
    }
}

fn costs_in_range(server: &Server, users: [&Account; 2], rooms: &[String], range: &Value) {
    let [alice, bob] = users;
    let mut request = list(json!([range]), 5);
    let state = json!([["m.room.member", "$LAZY"], ["m.room.name", ""]]);
    request["lists"]["all"]["required_state"] = state;
    for extension in ["account_data", "receipts", "typing"] {
        request["extensions"][extension] = json!({ "enabled": true });
    }
    let mut at = slide(server, alice, None, &request);
    let mut next = |bound_read: u64, bound_written: u64, what: &str| {
        let reply = slide_reply(server, alice, Some(pos(&at)), &request);
        let cost = reply.cost.clone();
        at = reply.ok();
        let (trips, written) = (cost.round_trips.get(), cost.rows_written.get());
        assert!(trips <= 3, "{what}: {trips} round trips");
        assert!(written <= bound_written, "{what}: {written} rows written");
        assert!(cost.rows_read.get() <= bound_read, "{what}: {} rows", cost.rows_read.get());
        at.clone()
    };
    next(700, 4, "the first time after");
    let quiet = next(700, 0, "nothing new");
    assert!(room_ids(&quiet).is_empty());
    for room in rooms.iter().rev().take(3) {
        say(server, alice, room, &format!("known {}", bob.user_id));
    }
    let told = next(700, 0, "messages of those who are known");
    assert_eq!(room_ids(&told).len(), 3);
    join_room(server, bob, rooms.last().unwrap());
    say(server, bob, rooms.last().unwrap(), "new");
    next(700, 4, "somebody new");
    say(server, alice, &rooms[0], &format!("out of sight {}", bob.user_id));
    next(700, 4, "a room comes into sight");
    for room in rooms {
        set_state(server, alice, room, "m.room.topic/", json!({ "topic": bob.user_id }));
    }
    let most = next(2500, 4, "everything moves");
    if range == &json!([0, 299]) {
        // As many as one batch holds, and the rest with the next.
        assert_eq!((room_ids(&most).len(), rooms.len()), (300, 300));
    }
}

#[test]
fn costs_do_not_depend_on_the_number_of_rooms() {
    costs(10, &[json!([0, 4]), json!([0, 99])]);
    costs(300, &[json!([0, 19]), json!([0, 299])]);
}

#[test]
fn a_client_that_sees_everything_reads_only_what_moved() {
    let server = quiet_server();
    let alice = server.register("alice");
    let rooms: Vec<String> = (0..60).map(|_| public_room(&server, &alice)).collect();
    let request = list(json!([[0, 200]]), 1);
    let mut at = slide(&server, &alice, None, &request);
    while !room_ids(&at).is_empty() {
        at = slide(&server, &alice, Some(pos(&at)), &request);
    }
    let reply = slide_reply(&server, &alice, Some(pos(&at)), &request);
    assert_eq!(reply.cost.round_trips.get(), 1);
    assert!(reply.cost.rows_read.get() <= 20, "{}", reply.cost.rows_read.get());
    let body = reply.ok();
    assert_eq!(body["lists"]["all"]["count"], 60);
    say(&server, &alice, &rooms[7], "one");
    let reply = slide_reply(&server, &alice, Some(pos(&body)), &request);
    assert!(reply.cost.rows_read.get() <= 30, "{}", reply.cost.rows_read.get());
    let body = reply.ok();
    assert_eq!(room_ids(&body), BTreeSet::from([rooms[7].as_str()]));
    // A room more, a room less.
    let more = public_room(&server, &alice);
    let body = slide(&server, &alice, Some(pos(&body)), &request);
    assert_eq!(
        (room_ids(&body), &body["lists"]["all"]["count"]),
        (BTreeSet::from([more.as_str()]), &json!(61))
    );
    act(&server, &alice, &rooms[3], "leave", json!({}));
    let body = slide(&server, &alice, Some(pos(&body)), &request);
    assert_eq!(room_ids(&body), BTreeSet::from([rooms[3].as_str()]));
    for _ in 0..2 {
        let body = slide(&server, &alice, Some(pos(&body)), &request);
        assert_eq!(body["lists"]["all"]["count"], 60);
    }
}
