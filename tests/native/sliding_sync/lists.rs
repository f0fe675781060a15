//! Lists: places, filters, counts, and what happens out of sight.

use super::*;

#[test]
fn a_list_shows_the_rooms_in_its_places_and_counts_all() {
    let server = quiet_server();
    let alice = server.register("alice");
    let rooms: Vec<String> = (0..4).map(|_| public_room(&server, &alice)).collect();
    say(&server, &alice, &rooms[1], "newest");
    let body = slide(&server, &alice, None, &list(json!([[0, 1]]), 1));
    assert_eq!(room_ids(&body), BTreeSet::from([rooms[1].as_str(), rooms[3].as_str()]));
    assert_eq!(body["lists"]["all"]["count"], 4);
    assert_eq!(body["rooms"][&rooms[1]]["initial"], true);
    assert_eq!(bodies(&body["rooms"][&rooms[1]]), ["newest"]);
    // Wider: only what the client lacks.
    let wider = slide(&server, &alice, Some(pos(&body)), &list(json!([[0, 2]]), 1));
    assert_eq!(room_ids(&wider), BTreeSet::from([rooms[2].as_str()]));
    let same = slide(&server, &alice, Some(pos(&wider)), &list(json!([[0, 2]]), 1));
    assert!(room_ids(&same).is_empty(), "{same}");
    assert_eq!(same["lists"]["all"]["count"], 4);
}

#[test]
fn what_happened_out_of_sight_is_told_when_a_room_comes_into_sight() {
    let server = quiet_server();
    let alice = server.register("alice");
    let (far, near) = (public_room(&server, &alice), public_room(&server, &alice));
    let first = slide(&server, &alice, None, &list(json!([[0, 1]]), 10));
    assert_eq!(room_ids(&first).len(), 2);
    // Now only one place is looked at, and something happens in the other room.
    let narrow = list(json!([[0, 0]]), 10);
    say(&server, &alice, &far, "out of sight");
    say(&server, &alice, &near, "in sight");
    let second = slide(&server, &alice, Some(pos(&first)), &narrow);
    assert_eq!(room_ids(&second), BTreeSet::from([near.as_str()]));
    let third = slide(&server, &alice, Some(pos(&second)), &narrow);
    assert!(room_ids(&third).is_empty(), "{third}");
    say(&server, &alice, &far, "in sight again");
    let fourth = slide(&server, &alice, Some(pos(&third)), &narrow);
    let room = &fourth["rooms"][&far];
    assert_eq!(room["timeline"].as_array().unwrap().len(), 2, "{room}");
    assert_eq!(room["num_live"], 1);
    assert!(room["bump_stamp"].is_number());
    assert_eq!((room.get("initial"), &room["limited"]), (None, &json!(false)));
}

#[test]
fn filters_are_about_the_present() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let plain = public_room(&server, &alice);
    let space = create(&server, &alice, json!({ "creation_content": { "type": "m.space" } }));
    let secret = public_room(&server, &alice);
    set_state(&server, &alice, &secret, "m.room.encryption/", json!({ "algorithm": "m.x" }));
    let invited = create(&server, &bob, json!({ "invite": [alice.user_id] }));
    let data = format!("/_matrix/client/v3/user/{}/account_data/m.direct", alice.user_id);
    server.put(&alice, &data, json!({ &bob.user_id: [plain, 7], "@x:y": "odd" })).ok();
    let tag = format!("/_matrix/client/v3/user/{}/rooms/{secret}/tags/m.favourite", alice.user_id);
    server.put(&alice, &tag, json!({ "order": 0.5 })).ok();
    let found = |filters: Value| -> BTreeSet<String> {
        let mut request = all(1);
        request["lists"]["all"]["filters"] = filters;
        let body = slide(&server, &alice, None, &request);
        assert_eq!(body["lists"]["all"]["count"], room_ids(&body).len());
        room_ids(&body).into_iter().map(str::to_owned).collect()
    };
    assert_eq!(found(json!({ "is_dm": true })), set(&[&plain]));
    assert_eq!(found(json!({ "is_encrypted": true })), set(&[&secret]));
    assert_eq!(found(json!({ "is_invite": true })), set(&[&invited]));
    assert_eq!(found(json!({ "room_types": ["m.space"] })), set(&[&space]));
    let no_space = json!({ "not_room_types": ["m.space"], "is_invite": false });
    assert_eq!(found(no_space), set(&[&plain, &secret]));
    assert_eq!(found(json!({ "tags": ["m.favourite"] })), set(&[&secret]));
    let rest = found(json!({ "not_tags": ["m.favourite"], "is_dm": false }));
    assert_eq!(rest, set(&[&space, &invited]));
    let mut request = all(1);
    request["lists"]["all"]["filters"] = json!({ "is_dm": true });
    let body = slide(&server, &alice, None, &request);
    assert_eq!(body["rooms"][&plain]["is_dm"], true);
    // What is direct changes while nothing happens in rooms.
    server.put(&alice, &data, json!({ &bob.user_id: [secret] })).ok();
    let later = slide(&server, &alice, Some(pos(&body)), &request);
    assert_eq!(room_ids(&later), BTreeSet::from([secret.as_str()]));
    assert_eq!(later["lists"]["all"]["count"], 1);
}

#[test]
fn a_list_of_a_space_follows_the_space() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let space_of = |owner: &Account| {
        let options = json!({ "preset": "public_chat", "creation_content": { "type": "m.space" } });
        create(&server, owner, options)
    };
    let (space, below, foreign) = (space_of(&alice), space_of(&alice), space_of(&bob));
    let (first, second, third) =
        (public_room(&server, &alice), public_room(&server, &alice), public_room(&server, &alice));
    let put = |owner: &Account, space: &str, room: &str, content: Value| {
        set_state(&server, owner, space, &format!("m.space.child/{room}"), content);
    };
    let via = || json!({ "via": ["example.org"] });
    put(&alice, &space, &first, via());
    put(&alice, &space, &below, via());
    put(&alice, &space, &third, json!({ "via": [] }));
    put(&alice, &space, "no%20room", via());
    put(&alice, &below, &second, via());
    put(&bob, &foreign, &second, via());
    let mut request = all(1);
    request["lists"]["all"]["filters"] =
        json!({ "spaces": [space, foreign], "not_room_types": ["m.space"] });
    let body = slide(&server, &alice, None, &request);
    assert_eq!(room_ids(&body), BTreeSet::from([first.as_str()]));
    assert_eq!(body["lists"]["all"]["count"], 1);
    // Nothing happens in the rooms themselves.
    put(&alice, &space, &third, via());
    put(&alice, &space, &first, json!({}));
    let later = slide(&server, &alice, Some(pos(&body)), &request);
    assert_eq!(room_ids(&later), BTreeSet::from([third.as_str()]));
    assert_eq!(later["lists"]["all"]["count"], 1);
    server.join(&alice, &foreign);
    let joined = slide(&server, &alice, Some(pos(&later)), &request);
    assert_eq!(room_ids(&joined), BTreeSet::from([second.as_str()]));
    let again = slide(&server, &alice, Some(pos(&joined)), &request);
    assert!(room_ids(&again).is_empty(), "{again}");
    assert_eq!(again["lists"]["all"]["count"], 2);
}

#[test]
fn whatever_happens_in_a_room_brings_it_into_the_first_place() {
    let server = quiet_server();
    let alice = server.register("alice");
    let (old, new) = (public_room(&server, &alice), public_room(&server, &alice));
    let first = slide(&server, &alice, None, &list(json!([[0, 0]]), 1));
    assert_eq!(room_ids(&first), BTreeSet::from([new.as_str()]));
    let bump_stamp = |room_id: &str| {
        let mut request = all(1);
        request["conn_id"] = json!("other");
        slide(&server, &alice, None, &request)["rooms"][room_id]["bump_stamp"].clone()
    };
    let before = bump_stamp(&old);
    set_state(&server, &alice, &old, "org.example/", json!({ "it": "bumps nothing" }));
    let second = slide(&server, &alice, Some(pos(&first)), &list(json!([[0, 0]]), 1));
    assert_eq!(room_ids(&second), BTreeSet::from([old.as_str()]));
    assert_eq!(bump_stamp(&old), before);
}

#[test]
fn a_request_that_looks_at_nothing_passes_over_nothing() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = public_room(&server, &alice);
    let first = slide(&server, &alice, None, &all(5));
    say(&server, &alice, &room_id, "meanwhile");
    let nothing = json!({ "extensions": { "account_data": { "enabled": true } } });
    let second = slide(&server, &alice, Some(pos(&first)), &nothing);
    assert_eq!(second["rooms"], json!({}));
    let third = slide(&server, &alice, Some(pos(&second)), &all(5));
    assert_eq!(bodies(&third["rooms"][&room_id]), ["meanwhile"]);
    // Somebody else's position is none.
    let reply = slide_reply(&server, &bob, Some(pos(&third)), &nothing);
    reply.error(400, "M_UNKNOWN_POS");
    for unknown in ["garbage", "12/", "s5_6"] {
        slide_reply(&server, &alice, Some(unknown), &all(1)).error(400, "M_UNKNOWN_POS");
    }
    // Rooms that do not exist are ignored, whatever they are called.
    let wish = json!({ "timeline_limit": 1, "required_state": [] });
    let request = json!({ "room_subscriptions": { "no room": wish, &room_id: wish } });
    assert_eq!(room_ids(&slide(&server, &alice, None, &request)).len(), 1);
}

#[test]
fn a_name_that_is_taken_away_and_a_room_that_is_forgotten_are_told_at_once() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = create(&server, &alice, json!({ "preset": "public_chat", "name": "Room" }));
    server.join(&bob, &room_id);
    let first = slide(&server, &alice, None, &all(1));
    assert_eq!(first["rooms"][&room_id]["name"], "Room");
    set_state(&server, &alice, &room_id, "m.room.name/", json!({ "name": "" }));
    let second = slide(&server, &alice, Some(pos(&first)), &all(1));
    let room = second["rooms"][&room_id].as_object().unwrap();
    assert_eq!(room.get("name"), Some(&Value::Null));
    assert_eq!(room["heroes"][0]["user_id"], bob.user_id);
    server.act(&alice, &room_id, "kick", json!({ "user_id": bob.user_id }));
    let kicked = slide(&server, &bob, None, &all(1));
    assert_eq!(kicked["lists"]["all"]["count"], 1);
    let kicked = slide(&server, &bob, Some(pos(&kicked)), &all(1));
    server.act(&bob, &room_id, "forget", json!({}));
    let forgotten = slide(&server, &bob, Some(pos(&kicked)), &all(1));
    assert_eq!(forgotten["lists"]["all"]["count"], 0);
}

#[test]
fn several_lists_and_a_subscription_want_together() {
    let server = quiet_server();
    let alice = server.register("alice");
    let (old, new) = (public_room(&server, &alice), public_room(&server, &alice));
    let wish =
        |limit: u64, state: Value| json!({ "timeline_limit": limit, "required_state": state });
    let mut first = wish(1, json!([["m.room.create", ""]]));
    first["ranges"] = json!([[0, 0]]);
    let mut second = wish(2, json!([["m.room.join_rules", ""]]));
    second["ranges"] = json!([[0, 1]]);
    let request = json!({
        "lists": { "first": first, "second": second },
        "room_subscriptions": { &old: wish(4, json!([["m.room.power_levels", ""]])) },
    });
    let body = slide(&server, &alice, None, &request);
    let (old, new) = (&body["rooms"][&old], &body["rooms"][&new]);
    assert_eq!(state(old), set(&["m.room.join_rules", "m.room.power_levels"]));
    assert_eq!(state(new), set(&["m.room.create", "m.room.join_rules"]));
    let count = |room: &Value| room["timeline"].as_array().unwrap().len();
    assert_eq!((count(old), count(new)), (4, 2));
}

#[test]
fn a_request_that_asks_for_too_much_is_refused() {
    let server = quiet_server();
    let alice = server.register("alice");
    let refused = |body: Value| {
        slide_reply(&server, &alice, None, &body).error(400, "M_INVALID_PARAM");
    };
    refused(all(1001));
    refused(list(json!([[5, 4]]), 1));
    refused(list(json!((0..21).map(|n| [n, n]).collect::<Vec<_>>()), 1));
    let wish = json!({ "timeline_limit": 1 });
    let lists: serde_json::Map<String, Value> =
        (0..101).map(|n| (n.to_string(), wish.clone())).collect();
    refused(json!({ "lists": lists }));
    let rooms: serde_json::Map<String, Value> =
        (0..1001).map(|n| (format!("!{n}:example.org"), wish.clone())).collect();
    refused(json!({ "room_subscriptions": rooms }));
    refused(json!({ "conn_id": "x".repeat(256) }));
    let mut named = all(1);
    named["lists"]["all"]["filters"] = json!({ "room_name_like": "a" });
    refused(named);
    for bad in [
        json!({ "lists": { "a": { "timeline_limit": -1 } } }),
        json!({ "lists": { "a": { "ranges": [[0]], "timeline_limit": 1 } } }),
        json!({ "lists": [] }),
    ] {
        slide_reply(&server, &alice, None, &bad).error(400, "M_BAD_JSON");
    }
    slide_reply(&server, &alice, None, &json!({ "lists": { "a": {} } }))
        .error(400, "M_MISSING_PARAM");
    for query in ["timeout=x", "set_presence=asleep"] {
        let reply = server.post(&alice, &format!("{PATH}?{query}"), json!({}));
        reply.error(400, "M_INVALID_PARAM");
    }
    server.post("", PATH, json!({})).error(401, "M_MISSING_TOKEN");
    // A limit that is only large is cut, and the timeline says so.
    let room = public_room(&server, &alice);
    for n in 0..120 {
        say(&server, &alice, &room, &format!("{n}"));
    }
    let body = slide(&server, &alice, None, &all(1000));
    assert_eq!(body["rooms"][&room]["timeline"].as_array().unwrap().len(), 100);
    assert_eq!(body["rooms"][&room]["limited"], true);
}
