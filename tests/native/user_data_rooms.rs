//! Users' data in rooms that are real: who is shown a new profile, who is woken, what notified.

use crate::support::{Account, Server};
use myelin::context::Platform;
use myelin::durable::{
    ChangeMembership, CreateRoom, MembershipAction, NewEvent, RoomCommand, RoomReply, Waited,
};
use myelin::storage::database::Statement;
use ruma::{OwnedRoomId, OwnedUserId, RoomVersionId};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

const V3: &str = "/_matrix/client/v3";

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

fn user(account: &Account) -> OwnedUserId {
    account.user_id.parse().unwrap()
}

fn event(sender: &Account, event_type: &str, state_key: &str, content: Value) -> NewEvent {
    NewEvent {
        sender: user(sender),
        event_type: event_type.to_owned(),
        state_key: Some(state_key.to_owned()),
        content: raw(&content),
        redacts: None,
    }
}

/// A public room of this member.
fn create_room(server: &Server, name: &str, creator: &Account) -> OwnedRoomId {
    let room_id: OwnedRoomId = format!("!{name}:example.org").parse().unwrap();
    let levels = json!({ "users": { creator.user_id.as_str(): 100 } });
    let events = vec![
        event(
            creator,
            "m.room.create",
            "",
            json!({ "creator": creator.user_id, "room_version": "10" }),
        ),
        event(creator, "m.room.member", &creator.user_id, json!({ "membership": "join" })),
        event(creator, "m.room.power_levels", "", levels),
        event(creator, "m.room.join_rules", "", json!({ "join_rule": "public" })),
        event(creator, "m.room.history_visibility", "", json!({ "history_visibility": "shared" })),
    ];
    let create = CreateRoom {
        room_version: RoomVersionId::V10,
        events,
        origin_server_ts: server.platform.now_ms(),
        alias: None,
        is_public: false,
    };
    execute(server, &room_id, RoomCommand::Create(create));
    room_id
}

fn join(server: &Server, room_id: &OwnedRoomId, account: &Account) {
    let change = ChangeMembership {
        action: MembershipAction::Join,
        sender: user(account),
        target: user(account),
        content: raw(&json!({})),
        sender_is_guest: false,
        transaction: None,
        delayed: None,
    };
    execute(server, room_id, RoomCommand::ChangeMembership(change));
}

fn execute(server: &Server, room_id: &OwnedRoomId, command: RoomCommand) -> RoomReply {
    let (platform, room_id) = (server.platform.clone(), room_id.clone());
    server.run(async move { platform.room(&room_id, command).await }).unwrap()
}

/// How a wait of somebody ends after another's request.
fn woken_by(server: &Server, waits: &Account, calls: &Account, path: &str, body: Value) -> Waited {
    let platform = server.platform.clone();
    let user_id = waits.user_id.clone();
    let mut waiter =
        server.run(async move { platform.register_waiter(&user_id, None, None).await }).unwrap();
    let method = if path.contains("receipt") { "POST" } else { "PUT" };
    server.call(method, calls, path, body).ok();
    server.run(async move { waiter.wait(1000).await })
}

fn member_content(server: &Server, room_id: &OwnedRoomId, account: &Account) -> Value {
    let select = Statement::new(
        "SELECT j.json FROM current_state_events c JOIN event_json j ON j.event_id = c.event_id
         WHERE c.room_id = ?1 AND c.type = 'm.room.member' AND c.state_key = ?2",
    );
    let select = select.bind(room_id.as_str()).bind(account.user_id.as_str());
    let rows: Vec<Value> = server.platform.sqlite.batch(&[select]).unwrap()[0].rows().unwrap();
    let pdu: Value = serde_json::from_str(rows[0]["json"].as_str().unwrap()).unwrap();
    pdu["content"].clone()
}

fn first_event(server: &Server, room_id: &OwnedRoomId) -> String {
    let select = Statement::new("SELECT event_id FROM events WHERE room_id = ?1 LIMIT 1");
    let batch = [select.bind(room_id.as_str())];
    let rows: Vec<Value> = server.platform.sqlite.batch(&batch).unwrap()[0].rows().unwrap();
    rows[0]["event_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_new_profile_is_shown_in_every_joined_room() {
    let server = Server::new();
    let alice = server.register("alice");
    let names = ["a", "b", "c", "d", "e", "f"];
    let rooms: Vec<OwnedRoomId> =
        names.iter().map(|name| create_room(&server, name, &alice)).collect();
    let field = |name: &str| format!("{V3}/profile/{}/{name}", alice.user_id);
    server.put(&alice, &field("displayname"), json!({ "displayname": "Lemur" })).ok();
    server.put(&alice, &field("avatar_url"), json!({ "avatar_url": "mxc://a/b" })).ok();
    let expected =
        json!({ "membership": "join", "displayname": "Lemur", "avatar_url": "mxc://a/b" });
    for room_id in &rooms {
        assert_eq!(member_content(&server, room_id, &alice), expected);
    }
    server.delete(&alice, &field("displayname"), Value::Null).ok();
    let expected = json!({ "membership": "join", "avatar_url": "mxc://a/b" });
    assert_eq!(member_content(&server, &rooms[5], &alice), expected);
}

#[test]
fn typing_and_receipts_wake_the_members_and_nobody_else() {
    let server = Server::new();
    let (alice, bob, eve) =
        (server.register("alice"), server.register("bob"), server.register("eve"));
    let room_id = create_room(&server, "a", &alice);
    join(&server, &room_id, &bob);
    let typing = format!("{V3}/rooms/{room_id}/typing/{}", alice.user_id);
    let wakes = |waits: &Account, path: &str, body: Value| {
        woken_by(&server, waits, &alice, path, body) == Waited::Woken
    };
    assert!(wakes(&bob, &typing, json!({ "typing": true })));
    assert!(!wakes(&eve, &typing, json!({ "typing": false })));
    let event_id = first_event(&server, &room_id);
    let receipt = |kind: &str| format!("{V3}/rooms/{room_id}/receipt/{kind}/{event_id}");
    assert!(wakes(&bob, &receipt("m.read"), json!({})));
    assert!(!wakes(&bob, &receipt("m.read.private"), json!({})));
    assert!(wakes(&alice, &receipt("m.read.private"), json!({})));
}

#[test]
fn account_data_wakes_its_user_and_presence_those_who_share_a_room() {
    let server = Server::new();
    let (alice, bob, eve) =
        (server.register("alice"), server.register("bob"), server.register("eve"));
    let room_id = create_room(&server, "a", &alice);
    join(&server, &room_id, &bob);
    let data = format!("{V3}/user/{}/account_data/m.direct", alice.user_id);
    let presence = format!("{V3}/presence/{}/status", alice.user_id);
    let wakes = |waits: &Account, path: &str, body: Value| {
        woken_by(&server, waits, &alice, path, body) == Waited::Woken
    };
    assert!(wakes(&alice, &data, json!({})));
    assert!(!wakes(&bob, &data, json!({})));
    let online = json!({ "presence": "online" });
    assert!(wakes(&bob, &presence, online.clone()));
    assert!(!wakes(&bob, &presence, online), "nothing new");
    assert!(!wakes(&eve, &presence, json!({ "presence": "unavailable" })));
    assert_eq!(server.get(&bob, &presence).ok()["presence"], "unavailable");
    server.get(&eve, &presence).error(403, "M_FORBIDDEN");
}

#[test]
fn the_sweep_ends_typing_and_takes_those_offline_who_are_not_seen() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = create_room(&server, "a", &alice);
    join(&server, &room_id, &bob);
    let typing = format!("{V3}/rooms/{room_id}/typing/{}", alice.user_id);
    server.put(&alice, &typing, json!({ "typing": true })).ok();
    let presence = format!("{V3}/presence/{}/status", alice.user_id);
    server.put(&alice, &presence, json!({ "presence": "online" })).ok();
    let sweep = || {
        let platform = server.platform.clone();
        let user_id = bob.user_id.clone();
        let waiter = async move { platform.register_waiter(&user_id, None, None).await };
        let mut waiter = server.run(waiter).unwrap();
        let context = server.platform.context();
        server.run(async move { myelin::sweep::run(&context).await });
        server.run(async move { waiter.wait(1).await })
    };
    assert_eq!(sweep(), Waited::TimedOut);
    server.platform.advance(31_000);
    assert_eq!(sweep(), Waited::Woken, "alice has stopped typing");
    assert_eq!(server.get(&bob, &presence).ok()["presence"], "online");
    server.platform.advance(300_000);
    assert_eq!(sweep(), Waited::Woken, "alice has gone");
    assert_eq!(server.get(&bob, &presence).ok()["presence"], "offline");
    assert_eq!(sweep(), Waited::TimedOut);
}

#[test]
fn notifications_come_newest_first_with_their_events() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = create_room(&server, "a", &alice);
    join(&server, &room_id, &bob);
    let path = format!("{V3}/notifications");
    assert_eq!(server.get(&alice, &path).ok(), json!({ "notifications": [] }));
    let notify = Statement::new(
        "INSERT INTO event_push_actions (room_id, event_id, user_id, actions, stream_ordering,
             topological_ordering, notif, highlight, unread, thread_id)
         SELECT room_id, event_id, ?1, '', stream_ordering, topological_ordering, 1,
             type = 'm.room.create', 1, 'main'
         FROM events WHERE type IN ('m.room.create', 'm.room.join_rules')",
    );
    server.platform.sqlite.batch(&[notify.bind(alice.user_id.as_str())]).unwrap();
    let page = server.get(&alice, &format!("{path}?limit=1"));
    assert_eq!(page.cost.round_trips.get(), 2);
    let page = page.ok();
    assert_eq!(page["notifications"].as_array().unwrap().len(), 1);
    let newest = &page["notifications"][0];
    assert_eq!(newest["event"]["type"], "m.room.join_rules");
    assert_eq!(newest["room_id"], room_id.as_str());
    assert_eq!(newest["actions"][0], "notify");
    assert_eq!(newest["read"], false);
    let next = page["next_token"].as_str().unwrap();
    let older = server.get(&alice, &format!("{path}?from={next}")).ok();
    assert_eq!(older["notifications"][0]["event"]["type"], "m.room.create");
    let highlights = server.get(&alice, &format!("{path}?only=highlight")).ok();
    assert_eq!(highlights["notifications"].as_array().unwrap().len(), 1);

    let create = first_event(&server, &room_id);
    let receipt = format!("{V3}/rooms/{room_id}/receipt/m.read/{create}");
    server.post(&alice, &receipt, json!({})).ok();
    let read = server.get(&alice, &path).ok();
    let read: Vec<&Value> =
        read["notifications"].as_array().unwrap().iter().map(|one| &one["read"]).collect();
    assert_eq!(read, [&json!(false), &json!(true)]);
    server.get(&alice, &format!("{path}?from=x")).error(400, "M_INVALID_PARAM");
    server.get(&alice, &format!("{path}?from=99999999999999999999")).error(400, "M_INVALID_PARAM");
    server.get(&alice, &format!("{path}?from=9999999999999999999")).ok();
}

#[test]
fn a_key_backup_pushers_and_addresses_are_read_from_their_tables() {
    let server = Server::new();
    let alice = server.register("alice");
    let version = format!("{V3}/room_keys/version");
    server.get(&alice, &version).error(404, "M_NOT_FOUND");
    server.get(&alice, &format!("{version}/x")).error(404, "M_NOT_FOUND");
    let (pushers, threepids) = (format!("{V3}/pushers"), format!("{V3}/account/3pid"));
    assert_eq!(server.get(&alice, &pushers).ok(), json!({ "pushers": [] }));
    assert_eq!(server.get(&alice, &threepids).ok(), json!({ "threepids": [] }));
    let inserts = [
        "INSERT INTO e2e_room_keys_versions (user_id, version, algorithm, auth_data, deleted, etag)
         VALUES (?1, 1, 'old', '{}', 0, 1), (?1, 2, 'new', '{\"a\":1}', 0, 7),
             (?1, 3, 'gone', '{}', 1, 1)",
        "INSERT INTO e2e_room_keys (user_id, room_id, session_id, version, session_data)
         VALUES (?1, '!a:b', 's', 2, '{}')",
        "INSERT INTO pushers (id, user_name, profile_tag, kind, app_id, app_display_name,
             device_display_name, pushkey, ts, lang, data)
         VALUES (1, ?1, '', 'http', 'app', 'App', 'Device', 'key', 0, 'en', '{\"url\":\"x\"}')",
        "INSERT INTO user_threepids (user_id, medium, address, validated_at, added_at)
         VALUES (?1, 'email', 'a@b.test', 1, 2)",
    ];
    let inserts = inserts.map(|sql| Statement::new(sql).bind(alice.user_id.as_str()));
    server.platform.sqlite.batch(&inserts).unwrap();
    let newest = json!({
        "version": "2", "algorithm": "new", "auth_data": { "a": 1 }, "etag": "7", "count": 1,
    });
    assert_eq!(server.get(&alice, &version).ok(), newest);
    assert_eq!(server.get(&alice, &format!("{version}/1")).ok()["algorithm"], "old");
    server.get(&alice, &format!("{version}/3")).error(404, "M_NOT_FOUND");
    let pusher = json!({
        "kind": "http", "app_id": "app", "app_display_name": "App", "lang": "en",
        "device_display_name": "Device", "profile_tag": "", "pushkey": "key",
        "data": { "url": "x" },
    });
    assert_eq!(server.get(&alice, &pushers).ok(), json!({ "pushers": [pusher] }));
    let email =
        json!({ "medium": "email", "address": "a@b.test", "validated_at": 1, "added_at": 2 });
    assert_eq!(server.get(&alice, &threepids).ok(), json!({ "threepids": [email] }));
}
