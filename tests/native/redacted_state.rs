//! Redacted state: nobody is told any more what it said, by whichever way they ask.

use crate::support::{Account, Server};
use serde_json::{Value, json};

const V3: &str = "/_matrix/client/v3";
const SLIDING_SYNC: &str = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";
const SECRET: &str = "secretive";

fn create(server: &Server, account: &Account, options: Value) -> String {
    let body = server.post(account, &format!("{V3}/createRoom"), options).ok();
    body["room_id"].as_str().unwrap().to_owned()
}

fn set(server: &Server, account: &Account, room_id: &str, at: &str, content: Value) -> String {
    let path = format!("{V3}/rooms/{room_id}/state/{at}");
    server.put(account, &path, content).ok()["event_id"].as_str().unwrap().to_owned()
}

fn redact_path(room_id: &str, event_id: &str) -> String {
    format!("{V3}/rooms/{room_id}/redact/{}/t{}", event_id.replace('$', "%24"), &event_id[1..9])
}

fn redact(server: &Server, account: &Account, room_id: &str, event_id: &str) {
    server.put(account, &redact_path(room_id, event_id), json!({})).ok();
}

/// Sets what has words and pictures in it; the ids of the events.
fn tell_secrets(server: &Server, account: &Account, room_id: &str) -> Vec<String> {
    let set = |at: &str, content: Value| set(server, account, room_id, at, content);
    let profile = json!({
        "membership": "join", "displayname": SECRET, "avatar_url": "mxc://one.test/secretive",
    });
    vec![
        set("m.room.name", json!({"name": SECRET})),
        set("m.room.topic", json!({"topic": SECRET})),
        set("m.room.avatar", json!({"url": "mxc://one.test/secretive"})),
        set(&format!("m.room.member/{}", account.user_id), profile),
    ]
}

/// Whatever shows a room besides its events, to members and to others.
fn shown(server: &Server, account: &Account, room_id: &str) -> [Value; 3] {
    let request = json!({"lists": {"a": {
        "ranges": [[0, 9]], "timeline_limit": 0, "required_state": [],
    }}});
    let room = server.post(account, SLIDING_SYNC, request).ok()["rooms"][room_id].clone();
    assert!(room.is_object());
    let listed = server.get("", &format!("{V3}/publicRooms")).ok()["chunk"].clone();
    assert_eq!(listed[0]["room_id"], room_id);
    let members = server.get(account, &format!("{V3}/rooms/{room_id}/joined_members")).ok();
    [room, listed, members["joined"].clone()]
}

/// What the writer has noted with an invitation of this user.
fn invite(server: &Server, account: &Account, room_id: &str, target: &Account) -> Value {
    let path = format!("{V3}/rooms/{room_id}/invite");
    server.post(account, &path, json!({"user_id": target.user_id})).ok();
    let sync = server.get(target, &format!("{V3}/sync")).ok();
    sync["rooms"]["invite"][room_id]["invite_state"]["events"].clone()
}

fn public_room(server: &Server, account: &Account, version: &str) -> String {
    let options = json!({
        "preset": "public_chat", "visibility": "public", "room_version": version,
    });
    create(server, account, options)
}

#[test]
fn redacted_state_is_shown_nowhere() {
    for version in ["1", "5", "10", "11", "12"] {
        let server = Server::new();
        let alice = server.register("alice");
        let room_id = public_room(&server, &alice, version);
        let events = tell_secrets(&server, &alice, &room_id);
        for part in shown(&server, &alice, &room_id) {
            assert!(part.to_string().contains(SECRET), "{part}");
        }
        for event_id in &events {
            redact(&server, &alice, &room_id, event_id);
        }
        let after = shown(&server, &alice, &room_id);
        let [room, listed, members] = &after;
        assert!(!room.to_string().contains(SECRET), "{version}: {room}");
        assert!(!listed.to_string().contains(SECRET), "{version}: {listed}");
        assert!(!members.to_string().contains(SECRET), "{version}: {members}");
        assert_eq!(listed[0]["num_joined_members"], 1);
        assert!(members[alice.user_id.as_str()].is_object(), "Alice is still there");
        // A state change after a cold start writes the same once more.
        server.platform.restart();
        set(&server, &alice, &room_id, "x", json!({}));
        let [room, listed, _] = shown(&server, &alice, &room_id);
        assert!(!room.to_string().contains(SECRET), "{version}: {room}");
        assert_eq!(&listed, &after[1]);
    }
}

#[test]
fn an_invitation_tells_redacted_state_redacted() {
    for version in ["1", "10", "12"] {
        let server = Server::new();
        let [alice, bob, carol, dave] =
            ["alice", "bob", "carol", "dave"].map(|name| server.register(name));
        let room_id = public_room(&server, &alice, version);
        let events = tell_secrets(&server, &alice, &room_id);
        let told = invite(&server, &alice, &room_id, &bob).to_string();
        assert_eq!(told.matches(SECRET).count(), 5, "{told}");
        for event_id in &events {
            redact(&server, &alice, &room_id, event_id);
        }
        let warm = invite(&server, &alice, &room_id, &carol);
        server.platform.restart();
        let cold = invite(&server, &alice, &room_id, &dave);
        for told in [warm, cold] {
            assert!(!told.to_string().contains(SECRET), "{version}: {told}");
            let of_type = |name: &str| {
                told.as_array().unwrap().iter().find(|event| event["type"] == name).unwrap()
            };
            assert_eq!(of_type("m.room.name")["content"], json!({}));
            let by_alice = told.as_array().unwrap().iter().any(|event| {
                event["state_key"] == json!(alice.user_id)
                    && event["content"] == json!({"membership": "join"})
            });
            assert!(by_alice, "{told}");
        }
    }
}

#[test]
fn an_upgraded_room_starts_with_redacted_state() {
    let server = Server::new();
    let alice = server.register("alice");
    let room_id = public_room(&server, &alice, "10");
    for event_id in tell_secrets(&server, &alice, &room_id) {
        redact(&server, &alice, &room_id, &event_id);
    }
    let path = format!("{V3}/rooms/{room_id}/upgrade");
    let new = server.post(&alice, &path, json!({"new_version": "11"})).ok();
    let new = new["replacement_room"].as_str().unwrap();
    let state = server.get(&alice, &format!("{V3}/rooms/{new}/state")).ok();
    assert!(state.to_string().contains("m.room.join_rules"), "{state}");
    assert!(!state.to_string().contains(SECRET), "{state}");
}

#[test]
fn what_may_not_be_redacted_stays() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = public_room(&server, &alice, "10");
    server.post(&bob, &format!("{V3}/rooms/{room_id}/join"), json!({})).ok();
    let events = tell_secrets(&server, &alice, &room_id);
    let before = shown(&server, &alice, &room_id);
    for event_id in &events {
        let path = redact_path(&room_id, event_id);
        server.put(&bob, &path, json!({})).error(403, "M_FORBIDDEN");
    }
    // What has been replaced is no longer shown: its redaction changes nothing.
    let old = set(&server, &alice, &room_id, "m.room.topic", json!({"topic": "old"}));
    set(&server, &alice, &room_id, "m.room.topic", json!({"topic": SECRET}));
    redact(&server, &alice, &room_id, &old);
    for is_cold in [false, true] {
        if is_cold {
            server.platform.restart();
            set(&server, &alice, &room_id, "x", json!({}));
        }
        let after = shown(&server, &alice, &room_id);
        assert_eq!(after[1..], before[1..]);
        assert_eq!(after[0]["name"], SECRET);
        assert_eq!(after[0]["avatar"], "mxc://one.test/secretive");
    }
}

#[test]
fn redacted_power_levels_rule_by_what_is_left_of_them() {
    for is_cold in [false, true] {
        let server = Server::new();
        let (alice, bob) = (server.register("alice"), server.register("bob"));
        let room_id = public_room(&server, &alice, "10");
        server.post(&bob, &format!("{V3}/rooms/{room_id}/join"), json!({})).ok();
        let levels = json!({"users": {alice.user_id.as_str(): 100}, "invite": 100});
        let levels = set(&server, &alice, &room_id, "m.room.power_levels", levels);
        let carol = json!({"user_id": server.register("carol").user_id});
        let path = format!("{V3}/rooms/{room_id}/invite");
        server.post(&bob, &path, carol.clone()).error(403, "M_FORBIDDEN");
        redact(&server, &alice, &room_id, &levels);
        if is_cold {
            server.platform.restart();
        }
        // The users' levels are kept in version 10, the level of invitations is not.
        server.post(&bob, &path, carol).ok();
        let name = format!("{V3}/rooms/{room_id}/state/m.room.name");
        server.put(&bob, &name, json!({"name": "Bob's"})).error(403, "M_FORBIDDEN");
        server.put(&alice, &name, json!({"name": "Alice's"})).ok();
    }
}
