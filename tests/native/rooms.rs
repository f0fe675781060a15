//! Rooms over the whole server: made, joined, spoken in, left.

use crate::support::{Account, Server, account};
use serde_json::{Value, json};

fn create(server: &Server, account: &Account, options: Value) -> String {
    let body = server.post(account, "/_matrix/client/v3/createRoom", options).ok();
    body["room_id"].as_str().unwrap().to_owned()
}

fn send_path(room_id: &str, txn_id: &str) -> String {
    format!("/_matrix/client/v3/rooms/{room_id}/send/m.room.message/{txn_id}")
}

fn text(body: &str) -> Value {
    json!({"msgtype": "m.text", "body": body})
}

fn act(server: &Server, account: &Account, room_id: &str, action: &str, body: Value) -> Value {
    server.post(account, &format!("/_matrix/client/v3/rooms/{room_id}/{action}"), body).ok()
}

#[test]
fn two_people_make_a_room_and_talk_in_every_room_version() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    for version in 1..=12 {
        let options = json!({"room_version": version.to_string(), "invite": [bob.user_id]});
        let room_id = create(&server, &alice, options);
        act(&server, &bob, &room_id, "join", json!({}));
        for (account, txn_id) in [(&alice, "a"), (&bob, "b")] {
            let path = send_path(&room_id, txn_id);
            server.put(account, &path, text("hello")).ok();
        }
    }
    let rows = server.rows("SELECT room_id, count(*) AS n FROM events GROUP BY room_id");
    assert_eq!(rows.len(), 12);
    let joined = "SELECT count(*) AS n FROM local_current_membership WHERE membership = 'join'";
    assert_eq!(server.rows(joined)[0]["n"], 24);
}

#[test]
fn a_repeated_transaction_is_one_event() {
    let server = Server::new();
    let alice = server.register("alice");
    let room_id = create(&server, &alice, json!({}));
    let path = send_path(&room_id, "1");
    let first = server.put(&alice, &path, text("once")).ok();
    assert_eq!(server.put(&alice, &path, text("once")).ok(), first);
    server.platform.restart();
    assert_eq!(server.put(&alice, &path, text("once")).ok(), first);
}

#[test]
fn positions_have_no_gap_and_every_event_a_state_group() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = create(&server, &alice, json!({"preset": "public_chat", "name": "Lobby"}));
    act(&server, &bob, &room_id, "join", json!({}));
    server.put(&bob, &send_path(&room_id, "1"), text("hi")).ok();
    act(&server, &bob, &room_id, "leave", json!({}));
    let rows = server.rows(
        "SELECT max(stream_ordering) - min(stream_ordering) + 1 - count(*) AS gaps,
                count(g.state_group) - count(*) AS without, max(stream_ordering) AS newest
         FROM events e LEFT JOIN event_to_state_groups g ON g.event_id = e.event_id",
    );
    assert_eq!((&rows[0]["gaps"], &rows[0]["without"]), (&json!(0), &json!(0)));
    let position =
        server.rows("SELECT stream_id FROM stream_positions WHERE stream_name = 'events'");
    assert_eq!(position[0]["stream_id"], rows[0]["newest"]);
}

#[test]
fn invitations_bans_and_knocks_follow_the_rules() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = create(&server, &alice, json!({}));
    let path = |action: &str| format!("/_matrix/client/v3/rooms/{room_id}/{action}");
    let target = json!({"user_id": bob.user_id});
    server.post(&bob, &path("join"), json!({})).error(403, "M_FORBIDDEN");
    server.post(&bob, &path("invite"), target.clone()).error(403, "M_FORBIDDEN");
    server.post(&alice, &path("kick"), target.clone()).error(403, "M_FORBIDDEN");
    server.post(&alice, &path("unban"), target.clone()).error(403, "M_BAD_STATE");
    act(&server, &alice, &room_id, "invite", target.clone());
    act(&server, &bob, &room_id, "join", json!({}));
    server.post(&alice, &path("invite"), target.clone()).error(403, "M_FORBIDDEN");
    server.post(&bob, &path("ban"), json!({"user_id": alice.user_id})).error(403, "M_FORBIDDEN");
    act(&server, &alice, &room_id, "ban", target.clone());
    server.post(&bob, &path("join"), json!({})).error(403, "M_BAD_STATE");
    server.put(&bob, &send_path(&room_id, "1"), text("hm")).error(403, "M_FORBIDDEN");
    act(&server, &alice, &room_id, "unban", target);
    server
        .post(&bob, &format!("/_matrix/client/v3/knock/{room_id}"), json!({}))
        .error(403, "M_FORBIDDEN");
    act(&server, &bob, &room_id, "forget", json!({}));
    server.post(&alice, &path("forget"), json!({})).error(400, "M_UNKNOWN");
}

#[test]
fn a_restricted_room_lets_the_members_of_another_in() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let club = create(&server, &alice, json!({"preset": "public_chat"}));
    let rule = json!({
        "type": "m.room.join_rules",
        "content": {"join_rule": "restricted",
                    "allow": [{"type": "m.room_membership", "room_id": club}]},
    });
    let room_id = create(&server, &alice, json!({"initial_state": [rule]}));
    let join = format!("/_matrix/client/v3/join/{room_id}");
    server.post(&bob, &join, json!({})).error(403, "M_FORBIDDEN");
    act(&server, &bob, &club, "join", json!({}));
    server.post(&bob, &join, json!({})).ok();
}

#[test]
fn state_that_is_already_so_is_not_written_again() {
    let server = Server::new();
    let alice = server.register("alice");
    let room_id = create(&server, &alice, json!({}));
    let path = format!("/_matrix/client/v3/rooms/{room_id}/state/m.room.name");
    let first = server.put(&alice, &path, json!({"name": "Lobby"})).ok();
    assert_eq!(server.put(&alice, &format!("{path}/"), json!({"name": "Lobby"})).ok(), first);
    assert_ne!(server.put(&alice, &path, json!({"name": "Hall"})).ok(), first);
}

#[test]
fn a_redaction_needs_the_right_to_it() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = create(&server, &alice, json!({"preset": "public_chat"}));
    act(&server, &bob, &room_id, "join", json!({}));
    let said = server.put(&alice, &send_path(&room_id, "1"), text("oops")).ok();
    let event_id = said["event_id"].as_str().unwrap();
    let path = format!("/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/t1");
    server.put(&bob, &path, json!({})).error(403, "M_FORBIDDEN");
    server.put(&alice, &path, json!({"reason": "typo"})).ok();
    let rows = server.rows("SELECT redacts FROM redactions");
    assert_eq!(rows[0]["redacts"], event_id);
}

#[test]
fn equal_requests_at_the_same_moment_make_a_room_each() {
    let server = Server::new();
    let alice = server.register("alice");
    let body = json!({"name": "same"});
    let requests =
        (0..16).map(|_| server.request("POST", &alice, "/_matrix/client/v3/createRoom", &body));
    let replies = server.run(futures_util::future::join_all(requests.collect::<Vec<_>>()));
    let rooms: std::collections::HashSet<String> =
        replies.into_iter().map(|reply| reply.ok()["room_id"].to_string()).collect();
    assert_eq!(rooms.len(), 16);
}

#[test]
fn an_upgraded_room_is_replaced_and_silenced() {
    let server = Server::new();
    let alice = server.register("alice");
    for (old, new) in [("10", "12"), ("9", "11"), ("12", "12")] {
        let room_id = create(&server, &alice, json!({"room_version": old, "name": "Lobby"}));
        let path = format!("/_matrix/client/v3/rooms/{room_id}/upgrade");
        let body = server.post(&alice, &path, json!({"new_version": new})).ok();
        let replacement = body["replacement_room"].as_str().unwrap();
        assert_ne!(replacement, room_id);
    }
    let tombstones = server.rows(
        "SELECT tombstone_successor_room_id AS t FROM sliding_sync_joined_rooms
                     WHERE tombstone_successor_room_id IS NOT NULL",
    );
    assert_eq!(tombstones.len(), 3);
}

#[test]
fn what_a_user_said_about_a_room_holds_for_the_one_that_replaces_it() {
    let server = Server::new();
    let alice = server.register("alice");
    let room_id = create(&server, &alice, json!({"room_version": "10"}));
    let data = format!("/_matrix/client/v3/user/{}", alice.user_id);
    let tag = format!("{data}/rooms/{room_id}/tags/m.favourite");
    server.put(&alice, &tag, json!({"order": 0.5})).ok();
    let direct = format!("{data}/account_data/m.direct");
    server.put(&alice, &direct, json!({"@bob:example.org": [room_id]})).ok();
    let path = format!("/_matrix/client/v3/rooms/{room_id}/upgrade");
    server
        .post(&alice, &path, json!({"new_version": "no such version"}))
        .error(400, "M_UNSUPPORTED_ROOM_VERSION");
    let body = server.post(&alice, &path, json!({"new_version": "11"})).ok();
    let new_id = body["replacement_room"].as_str().unwrap();
    let direct = server.get(&alice, &direct).ok();
    assert_eq!(direct, json!({"@bob:example.org": [room_id, new_id]}));
    let tags = server.get(&alice, &format!("{data}/rooms/{new_id}/tags")).ok();
    assert_eq!(tags["tags"]["m.favourite"]["order"], 0.5);
}

#[test]
fn a_join_may_bring_content_of_its_own() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = create(&server, &alice, json!({"preset": "public_chat"}));
    let join = format!("/_matrix/client/v3/join/{room_id}");
    server.post(&bob, &join, json!({"foo": "bar", "membership": "ban"})).ok();
    let path = format!("/_matrix/client/v3/rooms/{room_id}/state/m.room.member/{}", bob.user_id);
    let content = server.get(&bob, &path).ok();
    assert_eq!((&content["foo"], &content["membership"]), (&json!("bar"), &json!("join")));
}

#[test]
fn guests_leave_when_the_room_is_closed_to_them() {
    let server = Server::with(&[("ALLOW_GUESTS", "true")]);
    let alice = server.register("alice");
    let body = server.post("", "/_matrix/client/v3/register?kind=guest", json!({})).ok();
    let guest = account(&body);
    let room_id = create(&server, &alice, json!({}));
    act(&server, &alice, &room_id, "invite", json!({"user_id": guest.user_id}));
    act(&server, &guest, &room_id, "join", json!({}));
    let path = format!("/_matrix/client/v3/rooms/{room_id}/state/m.room.guest_access");
    server.put(&alice, &path, json!({"guest_access": "forbidden"})).ok();
    let rows = server.rows("SELECT membership FROM local_current_membership ORDER BY user_id");
    let left = rows.iter().filter(|row| row["membership"] == "leave").count();
    assert_eq!(left, 1);
    act(&server, &alice, &room_id, "invite", json!({"user_id": guest.user_id}));
    server
        .post(&guest, &format!("/_matrix/client/v3/join/{room_id}"), json!({}))
        .error(403, "M_GUEST_ACCESS_FORBIDDEN");
}

#[test]
fn what_is_too_large_for_one_bound_value_is_committed_all_the_same() {
    let server = Server::new();
    let alice = server.register("alice");
    let state = (0..20).map(|index| {
        let content = json!({"text": "\"".repeat(30_000)});
        json!({"type": "org.example.large", "state_key": index.to_string(), "content": content})
    });
    let room_id = create(&server, &alice, json!({"initial_state": state.collect::<Vec<_>>()}));
    let state = server.get(&alice, &format!("/_matrix/client/v3/rooms/{room_id}/state")).ok();
    assert!(state.as_array().unwrap().len() > 20);
}

#[test]
fn a_nul_in_a_name_is_refused() {
    let server = Server::new();
    let alice = server.register("alice");
    let room_id = create(&server, &alice, json!({}));
    let path = format!("/_matrix/client/v3/rooms/{room_id}/state/org.example.a/b%00c");
    server.put(&alice, &path, json!({})).error(400, "M_INVALID_PARAM");
    let state = json!([{"type": "org.example.a", "state_key": "b\u{0}c", "content": {}}]);
    server
        .post(&alice, "/_matrix/client/v3/createRoom", json!({"initial_state": state}))
        .error(400, "M_BAD_JSON");
}

#[test]
fn memberships_change_without_a_body() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let power = json!({ "invite": 0 });
    let open = create(&server, &alice, json!({ "preset": "public_chat" }));
    let rule = json!({ "join_rule": "knock" });
    let rules = json!([{ "type": "m.room.join_rules", "state_key": "", "content": rule }]);
    let closed = create(
        &server,
        &alice,
        json!({ "initial_state": rules, "power_level_content_override": power }),
    );
    for target in [
        format!("/_matrix/client/v3/join/{open}"),
        format!("/_matrix/client/v3/rooms/{open}/leave"),
        format!("/_matrix/client/v3/rooms/{open}/join"),
        format!("/_matrix/client/v3/knock/{closed}"),
        format!("/_matrix/client/v3/rooms/{closed}/leave"),
        format!("/_matrix/client/v3/rooms/{closed}/forget"),
    ] {
        server.post(&bob, &target, Value::Null).ok();
    }
}
