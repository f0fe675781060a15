//! `/sync` over the whole server: what is new, once, and without a gap.

use std::collections::BTreeMap;

use crate::support::notifiers::Notifiers;
use crate::support::{Account, Reply, Server, encode};
use futures_util::future::{join, join_all};
use serde_json::{Value, json};

const SYNC: &str = "/_matrix/client/v3/sync";

/// A server where nobody is woken by who comes online.
fn quiet_server() -> Server {
    Server::with(&[("PRESENCE", "off")])
}

fn sync_path(since: Option<&str>, filter: &Value, rest: &str) -> String {
    let since = since.map(|since| format!("&since={since}")).unwrap_or_default();
    format!("{SYNC}?filter={}{since}{rest}", encode(&filter.to_string()))
}

/// One sync without waiting.
#[track_caller]
fn sync(server: &Server, account: &Account, since: Option<&str>, filter: Value) -> Value {
    server.get(account, &sync_path(since, &filter, "")).ok()
}

fn next(body: &Value) -> &str {
    body["next_batch"].as_str().unwrap()
}

fn create(server: &Server, account: &Account, options: Value) -> String {
    let body = server.post(account, "/_matrix/client/v3/createRoom", options).ok();
    body["room_id"].as_str().unwrap().to_owned()
}

fn public_room(server: &Server, account: &Account) -> String {
    create(server, account, json!({"preset": "public_chat"}))
}

/// A public room in which nobody sees what was said while they were away.
fn room_of_secrets(server: &Server, account: &Account) -> String {
    let visibility = json!({
        "type": "m.room.history_visibility",
        "content": {"history_visibility": "joined"},
    });
    let options = json!({"preset": "public_chat", "initial_state": [visibility]});
    create(server, account, options)
}

fn message_path(room_id: &str, text: &str) -> String {
    let txn_id = encode(text);
    format!("/_matrix/client/v3/rooms/{room_id}/send/m.room.message/{txn_id}")
}

fn message(text: &str) -> Value {
    json!({"msgtype": "m.text", "body": text})
}

fn say(server: &Server, account: &Account, room_id: &str, text: &str) -> String {
    let body = server.put(account, &message_path(room_id, text), message(text)).ok();
    body["event_id"].as_str().unwrap().to_owned()
}

fn set_state(server: &Server, account: &Account, room_id: &str, key: &str, value: &str) -> String {
    let path = format!("/_matrix/client/v3/rooms/{room_id}/state/org.test/{key}");
    let body = server.put(account, &path, json!({"v": value})).ok();
    body["event_id"].as_str().unwrap().to_owned()
}

fn events(list: &Value) -> Vec<Value> {
    list["events"].as_array().cloned().unwrap_or_default()
}

/// What a test calls an event: the text of a message, the value of its own state, else the type.
fn names(list: &Value) -> Vec<String> {
    let name = |event: Value| {
        let text = event["content"]["body"].as_str().or(event["content"]["v"].as_str());
        text.or(event["type"].as_str()).unwrap_or_default().to_owned()
    };
    events(list).into_iter().map(name).collect()
}

fn limit(limit: u64) -> Value {
    json!({"room": {"timeline": {"limit": limit}}})
}

/// A room: state A to D, then messages and new versions of B and D. Gives the sync
/// token after each of the fifteen events.
fn worked_example(server: &Server, alice: &Account) -> (String, Vec<String>) {
    let room_id = public_room(server, alice);
    let mut tokens = Vec::new();
    for name in
        ["A", "B", "C", "D", "1", "2", "3", "D'", "4", "D''", "5", "B'", "D'''", "D''''", "6"]
    {
        match name.chars().next() {
            Some(key @ 'A'..='D') => set_state(server, alice, &room_id, &key.to_string(), name),
            _ => say(server, alice, &room_id, name),
        };
        tokens.push(next(&sync(server, alice, None, limit(1))).to_owned());
    }
    (room_id, tokens)
}

#[test]
fn a_first_sync_of_nobody_has_what_clients_expect() {
    let server = Server::new();
    let alice = server.register("alice");
    let body = sync(&server, &alice, None, json!({}));
    assert_eq!(body["device_one_time_keys_count"], json!({"signed_curve25519": 0}));
    assert_eq!(body["account_data"]["events"][0]["type"], "m.push_rules");
    assert!(body["rooms"].is_null());
    assert_eq!(next(&body).split('_').count(), 13);
    let again = sync(&server, &alice, Some(next(&body)), json!({}));
    assert!(again["account_data"].is_null() && again["rooms"].is_null());
}

#[test]
fn the_timeline_is_the_end_of_what_is_new_and_state_what_changed_before_it() {
    let server = Server::new();
    let alice = server.register("alice");
    let (room_id, tokens) = worked_example(&server, &alice);
    let room = |since: Option<&str>| {
        sync(&server, &alice, since, limit(5))["rooms"]["join"][room_id.as_str()].clone()
    };
    let short = room(Some(&tokens[13]));
    assert_eq!(names(&short["timeline"]), ["6"]);
    assert_eq!(short["timeline"]["limited"], false);
    assert!(events(&short["state"]).is_empty());
    let gap = room(Some(&tokens[8]));
    assert_eq!(names(&gap["timeline"]), ["5", "B'", "D'''", "D''''", "6"]);
    assert_eq!(gap["timeline"]["limited"], true);
    assert_eq!(names(&gap["state"]), ["D''"]);
    let whole = room(None);
    assert_eq!(names(&whole["timeline"]), ["5", "B'", "D'''", "D''''", "6"]);
    let state = names(&whole["state"]);
    let own: Vec<_> = state.iter().filter(|name| !name.starts_with("m.")).collect();
    assert_eq!(own, ["A", "B", "C", "D''"]);
    assert!(state.contains(&"m.room.create".to_owned()));
}

#[test]
fn prev_batch_goes_back_without_a_gap_or_a_repeat() {
    let server = Server::new();
    let alice = server.register("alice");
    let (room_id, tokens) = worked_example(&server, &alice);
    for since in [None, Some(tokens[8].as_str())] {
        let body = sync(&server, &alice, since, limit(5));
        let timeline = &body["rooms"]["join"][room_id.as_str()]["timeline"];
        let mut all: Vec<Value> = events(timeline);
        let prev_batch = timeline["prev_batch"].as_str().unwrap();
        let path = format!(
            "/_matrix/client/v3/rooms/{room_id}/messages?dir=b&limit=100&from={prev_batch}"
        );
        for event in server.get(&alice, &path).ok()["chunk"].as_array().unwrap() {
            all.insert(0, event.clone());
        }
        let ids: Vec<_> = all.iter().map(|event| event["event_id"].clone()).collect();
        let rows = server.rows("SELECT event_id FROM events ORDER BY stream_ordering");
        let log: Vec<_> = rows.iter().map(|row| row["event_id"].clone()).collect();
        assert_eq!(ids, log);
    }
}

#[test]
fn nothing_is_before_the_timeline_of_a_whole_room() {
    let server = Server::new();
    let alice = server.register("alice");
    let (room_id, _) = worked_example(&server, &alice);
    let body = sync(&server, &alice, None, limit(100));
    let timeline = &body["rooms"]["join"][room_id.as_str()]["timeline"];
    assert_eq!(timeline["limited"], false);
    let from = timeline["prev_batch"].as_str().unwrap().to_owned();
    let page = |dir: &str| {
        let path = format!("/_matrix/client/v3/rooms/{room_id}/messages?dir={dir}&limit=100");
        server.get(&alice, &format!("{path}&from={from}")).ok()
    };
    let back = page("b");
    assert_eq!((&back["chunk"], back.get("end")), (&json!([]), None));
    let ids = |events: &[Value]| events.iter().map(|e| e["event_id"].clone()).collect::<Vec<_>>();
    let forth = page("f");
    assert_eq!(ids(forth["chunk"].as_array().unwrap()), ids(&events(timeline)));
}

#[test]
fn prev_batch_of_a_room_that_is_new_to_the_client_repeats_nothing() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = public_room(&server, &alice);
    let since = next(&sync(&server, &bob, None, json!({}))).to_owned();
    server.join(&bob, &room_id);
    let body = sync(&server, &bob, Some(&since), limit(100));
    let timeline = &body["rooms"]["join"][room_id.as_str()]["timeline"];
    assert_eq!(timeline["limited"], true);
    assert_eq!(names(timeline)[0], "m.room.create");
    let from = timeline["prev_batch"].as_str().unwrap();
    let path = format!("/_matrix/client/v3/rooms/{room_id}/messages?dir=b&from={from}");
    assert_eq!(server.get(&bob, &path).ok()["chunk"], json!([]));
}

#[test]
fn many_small_steps_tell_the_same_as_one_big_one() {
    let server = Server::new();
    let alice = server.register("alice");
    let (room_id, tokens) = worked_example(&server, &alice);
    let room_of = |body: Value| body["rooms"]["join"][room_id.as_str()].clone();
    for (from, to) in [(3, 14), (0, 9), (8, 14)] {
        let mut stepped: Vec<String> = Vec::new();
        for step in &tokens[from..to] {
            let body = sync(&server, &alice, Some(step), limit(100));
            stepped.push(names(&room_of(body)["timeline"]).remove(0));
        }
        let big = sync(&server, &alice, Some(&tokens[from]), limit(100));
        assert_eq!(names(&room_of(big)["timeline"])[..to - from], stepped[..]);
    }
}

#[test]
fn a_filter_on_the_timeline_leaves_its_state_to_state() {
    let server = Server::new();
    let alice = server.register("alice");
    let (room_id, tokens) = worked_example(&server, &alice);
    let filter = json!({"room": {"timeline": {"types": ["m.room.message"], "limit": 2}}});
    let body = sync(&server, &alice, Some(&tokens[8]), filter);
    let room = &body["rooms"]["join"][room_id.as_str()];
    assert_eq!(names(&room["timeline"]), ["5", "6"]);
    assert_eq!(room["timeline"]["limited"], false);
    assert_eq!(names(&room["state"]), ["B'", "D''''"]);
    let none = json!({"room": {"timeline": {"limit": 0}, "state": {"types": ["m.room.member"]}}});
    let room = &sync(&server, &alice, None, none)["rooms"]["join"][room_id.as_str()];
    assert!(events(&room["timeline"]).is_empty());
    assert_eq!(names(&room["state"]), ["m.room.member"]);
}

#[test]
fn a_stored_filter_is_the_same_as_one_in_the_query() {
    let server = Server::new();
    let alice = server.register("alice");
    let (room_id, _) = worked_example(&server, &alice);
    let path = format!("/_matrix/client/v3/user/{}/filter", alice.user_id);
    let id = server.post(&alice, &path, limit(2)).ok()["filter_id"].as_str().unwrap().to_owned();
    let body = server.get(&alice, &format!("{SYNC}?filter={id}")).ok();
    let room = &body["rooms"]["join"][room_id.as_str()];
    assert_eq!(names(&room["timeline"]), ["D''''", "6"]);
    server.get(&alice, &format!("{SYNC}?filter=99")).error(400, "M_INVALID_PARAM");
    server.get(&alice, &format!("{SYNC}?filter=x")).error(400, "M_INVALID_PARAM");
    server.get(&alice, &format!("{SYNC}?since=x")).error(400, "M_INVALID_PARAM");
    server.get("", SYNC).error(401, "M_MISSING_TOKEN");
}

#[test]
fn whoever_joins_gets_the_room_with_its_state() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let (room_id, _) = worked_example(&server, &alice);
    let since = next(&sync(&server, &bob, None, limit(3))).to_owned();
    server.join(&bob, &room_id);
    let body = sync(&server, &bob, Some(&since), limit(3));
    let room = &body["rooms"]["join"][room_id.as_str()];
    assert_eq!(names(&room["timeline"]), ["D''''", "6", "m.room.member"]);
    assert_eq!(room["timeline"]["limited"], true);
    assert!(names(&room["state"]).contains(&"D'''".to_owned()));
    assert!(names(&room["state"]).contains(&"B'".to_owned()));
    let again = sync(&server, &bob, Some(next(&body)), limit(3));
    assert!(again["rooms"].is_null(), "{again}");
}

#[test]
fn a_new_profile_is_an_event_and_no_new_room() {
    let server = Server::new();
    let alice = server.register("alice");
    let room_id = public_room(&server, &alice);
    let since = next(&sync(&server, &alice, None, json!({}))).to_owned();
    let path = format!("/_matrix/client/v3/rooms/{room_id}/state/m.room.member/{}", alice.user_id);
    server.put(&alice, &path, json!({"membership": "join", "displayname": "boris"})).ok();
    let body = sync(&server, &alice, Some(&since), json!({}));
    let room = &body["rooms"]["join"][room_id.as_str()];
    assert_eq!(names(&room["timeline"]), ["m.room.member"]);
    assert_eq!(room["timeline"]["limited"], false);
    assert!(events(&room["state"]).is_empty());
}

#[test]
fn an_invitation_says_who_and_where() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = create(&server, &alice, json!({"name": "Lobby"}));
    let since = next(&sync(&server, &bob, None, json!({}))).to_owned();
    server.act(&alice, &room_id, "invite", json!({"user_id": bob.user_id}));
    for since in [None, Some(since.as_str())] {
        let body = sync(&server, &bob, since, json!({}));
        let invite = &body["rooms"]["invite"][room_id.as_str()]["invite_state"];
        let member = events(invite).pop().unwrap();
        assert_eq!(member["content"]["membership"], "invite");
        assert_eq!(
            (&member["sender"], &member["state_key"]),
            (&json!(alice.user_id), &json!(bob.user_id))
        );
        assert!(names(invite).contains(&"m.room.name".to_owned()), "{invite}");
        let inviter = &events(invite)[events(invite).len() - 2];
        assert_eq!(inviter["state_key"], alice.user_id);
        assert_eq!(inviter["content"]["displayname"], "alice");
        assert!(body["rooms"]["join"].is_null());
    }
    let since = next(&sync(&server, &bob, None, json!({}))).to_owned();
    server.leave(&bob, &room_id);
    let body = sync(&server, &bob, Some(&since), json!({}));
    let left = &body["rooms"]["leave"][room_id.as_str()];
    assert_eq!(names(&left["timeline"]), ["m.room.member"]);
    assert!(events(&left["state"]).is_empty());
}

#[test]
fn a_knock_is_seen_by_the_one_who_knocks() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let rules = json!({"type": "m.room.join_rules", "content": {"join_rule": "knock"}});
    let room_id = create(&server, &alice, json!({"initial_state": [rules], "name": "Door"}));
    server.post(&bob, &format!("/_matrix/client/v3/knock/{room_id}"), json!({})).ok();
    let body = sync(&server, &bob, None, json!({}));
    let knock = &body["rooms"]["knock"][room_id.as_str()]["knock_state"];
    assert!(names(knock).contains(&"m.room.name".to_owned()), "{body}");
    assert_eq!(events(knock).pop().unwrap()["content"]["membership"], "knock");
}

#[test]
fn whoever_leaves_gets_what_came_before_and_nothing_after() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = public_room(&server, &alice);
    server.join(&bob, &room_id);
    let since = next(&sync(&server, &bob, None, json!({}))).to_owned();
    say(&server, &alice, &room_id, "before");
    set_state(&server, &alice, &room_id, "A", "while in");
    server.leave(&bob, &room_id);
    say(&server, &alice, &room_id, "after");
    set_state(&server, &alice, &room_id, "A", "too late");
    let body = sync(&server, &bob, Some(&since), json!({}));
    let left = &body["rooms"]["leave"][room_id.as_str()];
    assert_eq!(names(&left["timeline"]), ["before", "while in", "m.room.member"]);
    assert!(events(&left["state"]).is_empty());
    let again = sync(&server, &bob, Some(next(&body)), json!({}));
    assert!(again["rooms"].is_null());
    let initial = sync(&server, &bob, None, json!({}));
    assert!(initial["rooms"].is_null());
    let archive = json!({"room": {"include_leave": true, "timeline": {"limit": 1}}});
    let body = sync(&server, &bob, None, archive.clone());
    let left = &body["rooms"]["leave"][room_id.as_str()];
    assert_eq!(names(&left["timeline"]), ["m.room.member"]);
    assert!(names(&left["state"]).contains(&"while in".to_owned()));
    server.act(&bob, &room_id, "forget", json!({}));
    assert!(sync(&server, &bob, None, archive)["rooms"].is_null());
}

#[test]
fn a_room_that_was_left_and_joined_again_is_told_anew() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = public_room(&server, &alice);
    server.join(&bob, &room_id);
    let since = next(&sync(&server, &bob, None, limit(2))).to_owned();
    server.leave(&bob, &room_id);
    set_state(&server, &alice, &room_id, "A", "meanwhile");
    say(&server, &alice, &room_id, "hello");
    server.join(&bob, &room_id);
    let body = sync(&server, &bob, Some(&since), limit(2));
    let room = &body["rooms"]["join"][room_id.as_str()];
    assert_eq!(room["timeline"]["limited"], true);
    assert_eq!(names(&room["timeline"]), ["hello", "m.room.member"]);
    assert!(names(&room["state"]).contains(&"meanwhile".to_owned()));
}

#[test]
fn history_from_before_a_join_is_seen_only_where_it_is_shared() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = room_of_secrets(&server, &alice);
    say(&server, &alice, &room_id, "secret");
    server.join(&bob, &room_id);
    say(&server, &alice, &room_id, "welcome");
    let body = sync(&server, &bob, None, json!({}));
    let room = &body["rooms"]["join"][room_id.as_str()];
    // What was said before the room hid its history is no secret.
    let timeline = names(&room["timeline"]);
    assert!(!timeline.contains(&"secret".to_owned()), "{timeline:?}");
    assert_eq!(timeline[timeline.len() - 2..], ["m.room.member", "welcome"]);
}

#[test]
fn whoever_comes_back_sees_who_came_meanwhile() {
    let server = Server::new();
    let users: Vec<_> = ["alice", "bob", "carol"].map(|name| server.register(name)).into();
    let room_id = room_of_secrets(&server, &users[0]);
    server.join(&users[1], &room_id);
    let since = next(&sync(&server, &users[1], None, json!({}))).to_owned();
    server.leave(&users[1], &room_id);
    server.join(&users[2], &room_id);
    say(&server, &users[2], &room_id, "secret");
    server.join(&users[1], &room_id);
    let body = sync(&server, &users[1], Some(&since), json!({}));
    let timeline = &body["rooms"]["join"][room_id.as_str()]["timeline"];
    let joined = |user: &Account| {
        let is_join = |event: &Value| {
            event["state_key"] == user.user_id && event["content"]["membership"] == "join"
        };
        events(timeline).iter().any(is_join)
    };
    assert!(joined(&users[1]) && joined(&users[2]), "{timeline}");
    assert!(!names(timeline).contains(&"secret".to_owned()), "{timeline}");
}

#[test]
fn whoever_comes_back_sees_what_was_before_a_long_secret_talk() {
    let server = Server::new();
    let users: Vec<_> = ["alice", "bob", "carol"].map(|name| server.register(name)).into();
    let room_id = room_of_secrets(&server, &users[0]);
    server.join(&users[1], &room_id);
    for index in 0..5 {
        say(&server, &users[0], &room_id, &format!("before {index}"));
    }
    let since = next(&sync(&server, &users[1], None, json!({}))).to_owned();
    server.leave(&users[1], &room_id);
    server.join(&users[2], &room_id);
    for index in 0..30 {
        say(&server, &users[0], &room_id, &format!("secret {index}"));
    }
    server.join(&users[1], &room_id);
    let path = sync_path(Some(&since), &limit(5), "");
    let reply = server.get(&users[1], &path);
    assert!(reply.cost.round_trips.get() <= 5, "{}", reply.cost.round_trips.get());
    let body = reply.ok();
    let room = &body["rooms"]["join"][room_id.as_str()];
    let timeline = names(&room["timeline"]);
    let member = "m.room.member";
    assert_eq!(timeline, ["before 3", "before 4", member, member, member]);
    assert_eq!(room["timeline"]["limited"], true);
    let state = names(&room["state"]);
    assert!(state.contains(&"m.room.create".to_owned()), "{state:?}");
}

#[test]
fn whoever_joins_is_told_who_is_online() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = public_room(&server, &alice);
    sync(&server, &alice, None, json!({}));
    let body = sync(&server, &bob, None, json!({}));
    let body = sync(&server, &bob, Some(next(&body)), json!({}));
    assert_eq!(events(&body["presence"])[0]["sender"], bob.user_id);
    server.join(&bob, &room_id);
    let body = sync(&server, &bob, Some(next(&body)), json!({}));
    let presence = events(&body["presence"]);
    assert_eq!(presence.len(), 1, "{presence:?}");
    assert_eq!(presence[0]["sender"], alice.user_id);
    assert_eq!(presence[0]["content"]["presence"], "online");
    assert!(sync(&server, &bob, Some(next(&body)), json!({}))["presence"].is_null());
}

#[test]
fn whoever_is_met_for_the_first_time_is_shown_once_even_if_offline() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = public_room(&server, &alice);
    let quietly = |account: &Account, since: Option<&str>| {
        let path = sync_path(since, &json!({}), "&set_presence=offline");
        server.get(account, &path).ok()
    };
    let before = [&alice, &bob].map(|account| quietly(account, None));
    server.join(&bob, &room_id);
    for (index, other) in [(0, &bob), (1, &alice)] {
        let account = [&alice, &bob][index];
        let body = quietly(account, Some(next(&before[index])));
        let presence = events(&body["presence"]);
        assert_eq!(presence.len(), 1, "{presence:?}");
        assert_eq!(presence[0]["sender"], other.user_id);
        assert_eq!(presence[0]["content"]["presence"], "offline");
        assert!(quietly(account, Some(next(&body)))["presence"].is_null());
    }
    let since = next(&quietly(&alice, None)).to_owned();
    let path = format!("/_matrix/client/v3/rooms/{room_id}/state/m.room.member/{}", bob.user_id);
    server.put(&bob, &path, json!({"membership": "join", "displayname": "boris"})).ok();
    assert!(quietly(&alice, Some(&since))["presence"].is_null());
}

#[test]
fn full_state_is_the_whole_state_and_only_a_recent_timeline() {
    let server = Server::new();
    let alice = server.register("alice");
    let (room_id, tokens) = worked_example(&server, &alice);
    let path = sync_path(Some(&tokens[13]), &limit(5), "&full_state=true");
    let room = server.get(&alice, &path).ok()["rooms"]["join"][room_id.as_str()].clone();
    assert_eq!(names(&room["timeline"]), ["6"]);
    let state = names(&room["state"]);
    let own: Vec<_> = state.iter().filter(|name| !name.starts_with("m.")).collect();
    assert_eq!(own, ["A", "B'", "C", "D''''"]);
    let path = sync_path(Some(&tokens[9]), &limit(3), "&use_state_after=true");
    let room = server.get(&alice, &path).ok()["rooms"]["join"][room_id.as_str()].clone();
    assert!(room["state"].is_null());
    assert_eq!(names(&room["state_after"]), ["B'", "D''''"]);
}

#[test]
fn lazy_clients_get_the_members_who_speak() {
    let server = Server::new();
    let users: Vec<_> = ["alice", "bob", "carol"].map(|name| server.register(name)).into();
    let room_id = public_room(&server, &users[0]);
    server.join(&users[1], &room_id);
    server.join(&users[2], &room_id);
    for text in ["1", "2", "3"] {
        say(&server, &users[1], &room_id, text);
    }
    let filter = json!({"room": {"state": {"lazy_load_members": true}, "timeline": {"limit": 2}}});
    let members = |room: &Value| {
        let state = events(&room["state"]).into_iter();
        let members = state.filter(|event| event["type"] == "m.room.member");
        members.map(|event| event["state_key"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let body = sync(&server, &users[0], None, filter.clone());
    let room = &body["rooms"]["join"][room_id.as_str()];
    assert_eq!(room["summary"]["m.joined_member_count"], 3);
    assert_eq!(room["summary"]["m.heroes"], json!([users[1].user_id, users[2].user_id]));
    assert_eq!(members(room), [0, 1, 2].map(|i| users[i].user_id.clone()));
    say(&server, &users[2], &room_id, "hi");
    let body = sync(&server, &users[0], Some(next(&body)), filter);
    let room = &body["rooms"]["join"][room_id.as_str()];
    assert_eq!(members(room), [users[2].user_id.clone()]);
}

#[test]
fn what_belongs_to_the_user_comes_along_once() {
    let server = Server::new();
    let alice = server.register("alice");
    let room_id = public_room(&server, &alice);
    let event_id = say(&server, &alice, &room_id, "hello");
    let first = sync(&server, &alice, None, json!({}));
    let user = format!("/_matrix/client/v3/user/{}", alice.user_id);
    let room = format!("/_matrix/client/v3/rooms/{room_id}");
    server.put(&alice, &format!("{user}/account_data/org.test"), json!({"a": 1})).ok();
    let path = format!("{user}/rooms/{room_id}/account_data/org.room");
    server.put(&alice, &path, json!({"b": 2})).ok();
    server.put(&alice, &format!("{user}/rooms/{room_id}/tags/u.work"), json!({"order": 0.5})).ok();
    server.post(&alice, &format!("{room}/receipt/m.read/{event_id}"), json!({})).ok();
    let typing = json!({"typing": true, "timeout": 30_000});
    server.put(&alice, &format!("{room}/typing/{}", alice.user_id), typing).ok();
    for since in [None, Some(next(&first))] {
        let body = sync(&server, &alice, since, json!({}));
        let global = events(&body["account_data"]);
        assert!(global.contains(&json!({"type": "org.test", "content": {"a": 1}})), "{global:?}");
        let room = &body["rooms"]["join"][room_id.as_str()];
        let tags = json!({"tags": {"u.work": {"order": 0.5}}});
        let expected = [
            json!({"type": "m.tag", "content": tags}),
            json!({"type": "org.room", "content": {"b": 2}}),
        ];
        assert_eq!(events(&room["account_data"]), expected);
        let ephemeral = events(&room["ephemeral"]);
        assert!(ephemeral[0]["content"][&event_id]["m.read"][&alice.user_id]["ts"].is_u64());
        assert_eq!(ephemeral[1]["content"], json!({"user_ids": [alice.user_id]}));
        let again = sync(&server, &alice, Some(next(&body)), json!({}));
        assert!(again["account_data"].is_null() && again["rooms"].is_null(), "{again}");
    }
}

#[test]
fn a_token_ahead_of_the_log_loses_nothing_that_comes_later() {
    let server = Server::new();
    let alice = server.register("alice");
    let room_id = public_room(&server, &alice);
    let body = sync(&server, &alice, Some("s99999_0_0_0_99999"), json!({}));
    assert!(body["rooms"].is_null());
    say(&server, &alice, &room_id, "later");
    let body = sync(&server, &alice, Some(next(&body)), json!({}));
    assert_eq!(names(&body["rooms"]["join"][room_id.as_str()]["timeline"]), ["later"]);
}

/// A sync that waits, and a message that is sent while it does.
fn wait_and_say(
    server: &Server,
    waiting: &Account,
    since: &str,
    speaking: &Account,
    room_id: &str,
    text: &str,
) -> Reply {
    let path = sync_path(Some(since), &json!({}), "&timeout=30000");
    let waits = server.request("GET", waiting, &path, &Value::Null);
    let platform = server.platform.clone();
    let says = server.request("PUT", speaking, &message_path(room_id, text), &message(text));
    let speaks = async move {
        while platform.notifiers.waiting() == 0 {
            yield_now().await;
        }
        says.await
    };
    server.run(async move { join(waits, speaks).await.0 })
}

#[test]
fn a_waiting_sync_is_woken_by_a_message() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = public_room(&server, &alice);
    server.join(&bob, &room_id);
    let since = next(&sync(&server, &bob, None, json!({}))).to_owned();
    let reply = wait_and_say(&server, &bob, &since, &alice, &room_id, "wake up");
    // One to find nothing, one after registering, one after the wake.
    assert_eq!(reply.cost.round_trips.get(), 3);
    let body = reply.ok();
    assert_eq!(names(&body["rooms"]["join"][room_id.as_str()]["timeline"]), ["wake up"]);
    assert_eq!(server.platform.notifiers.waiting(), 0);
}

#[test]
fn a_sync_that_nobody_wakes_ends_on_time() {
    let server = quiet_server();
    let alice = server.register("alice");
    let since = next(&sync(&server, &alice, None, json!({}))).to_owned();
    let since = next(&sync(&server, &alice, Some(&since), json!({}))).to_owned();
    let started_ms = server.platform.context().now_ms();
    let path = sync_path(Some(&since), &json!({}), "&timeout=5000");
    let reply = server.get(&alice, &path);
    assert_eq!(server.platform.context().now_ms() - started_ms, 5000);
    assert_eq!(reply.cost.round_trips.get(), 2);
    assert!(reply.ok()["rooms"].is_null());
    assert_eq!(server.platform.notifiers.waiting(), 0);
}

/// A sync that waits until something happens to it: its round trips, and how long it waited.
fn wait_until(server: &Server, waiting: &Account, happens: fn(&Notifiers)) -> (u64, u64) {
    let since = next(&sync(server, waiting, None, json!({}))).to_owned();
    let since = next(&sync(server, waiting, Some(&since), json!({}))).to_owned();
    let path = sync_path(Some(&since), &json!({}), "&timeout=30000");
    let waits = server.request("GET", waiting, &path, &Value::Null);
    let started_ms = server.platform.context().now_ms();
    let platform = server.platform.clone();
    let what = async move {
        while platform.notifiers.waiting() == 0 {
            yield_now().await;
        }
        happens(&platform.notifiers);
    };
    let reply = server.run(async move { join(waits, what).await.0 });
    let round_trips = reply.cost.round_trips.get();
    assert_eq!(next(&reply.ok()), since);
    (round_trips, server.platform.context().now_ms() - started_ms)
}

#[test]
fn a_sync_ends_when_its_client_hangs_up_and_looks_no_more() {
    let server = quiet_server();
    let alice = server.register("alice");
    let (round_trips, waited_ms) = wait_until(&server, &alice, Notifiers::hang_up);
    assert_eq!((round_trips, waited_ms < 1000), (2, true));
}

#[test]
fn a_sync_looks_once_more_when_its_notifier_is_replaced() {
    let server = quiet_server();
    let alice = server.register("alice");
    let (round_trips, waited_ms) = wait_until(&server, &alice, Notifiers::close);
    assert_eq!((round_trips, waited_ms < 1000), (3, true));
}

#[test]
fn typing_ends_by_itself_while_a_sync_waits() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = public_room(&server, &alice);
    server.join(&bob, &room_id);
    let path = format!("/_matrix/client/v3/rooms/{room_id}/typing/{}", alice.user_id);
    server.put(&alice, &path, json!({"typing": true, "timeout": 4000})).ok();
    let body = sync(&server, &bob, None, json!({}));
    let typing = |body: &Value| {
        let ephemeral = events(&body["rooms"]["join"][room_id.as_str()]["ephemeral"]);
        ephemeral.first().map(|event| event["content"]["user_ids"].clone())
    };
    assert_eq!(typing(&body), Some(json!([alice.user_id])));
    let started_ms = server.platform.context().now_ms();
    let path = sync_path(Some(next(&body)), &json!({}), "&timeout=30000");
    let body = server.get(&bob, &path).ok();
    assert_eq!(typing(&body), Some(json!([])));
    assert!(server.platform.context().now_ms() - started_ms <= 4000);
}

#[test]
fn nothing_falls_between_a_look_and_a_wait() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = public_room(&server, &alice);
    server.join(&bob, &room_id);
    let mut since = next(&sync(&server, &bob, None, json!({}))).to_owned();
    // The message is sent some steps of the executor into the sync.
    for steps in 0..24 {
        let path = sync_path(Some(&since), &json!({}), "&timeout=30000");
        let waits = server.request("GET", &bob, &path, &Value::Null);
        let text = format!("message {steps}");
        let says = server.request("PUT", &alice, &message_path(&room_id, &text), &message(&text));
        let started_ms = server.platform.context().now_ms();
        let reply = server.run(async move {
            let says = async move {
                for _ in 0..steps {
                    yield_now().await;
                }
                says.await
            };
            join(waits, says).await.0
        });
        let body = reply.ok();
        let timeline = &body["rooms"]["join"][room_id.as_str()]["timeline"];
        assert_eq!(names(timeline), [text], "after {steps} steps");
        assert_eq!(server.platform.context().now_ms(), started_ms, "it waited for its timeout");
        since = next(&body).to_owned();
    }
}

#[test]
fn sixteen_who_speak_at_once_are_heard_once_each() {
    let server = quiet_server();
    let alice = server.register("alice");
    let room_id = public_room(&server, &alice);
    let speakers: Vec<_> = (0..16).map(|index| server.register(&format!("u{index}"))).collect();
    for speaker in &speakers {
        server.join(speaker, &room_id);
    }
    let mut since = next(&sync(&server, &alice, None, json!({}))).to_owned();
    let speaking: Vec<_> = (0..10)
        .flat_map(|round| speakers.iter().map(move |speaker| (round, speaker)))
        .map(|(round, speaker)| {
            let text = format!("{round} of {}", speaker.user_id);
            let path = message_path(&room_id, &text);
            let says = server.request("PUT", speaker, &path, &message(&text));
            async move {
                for _ in 0..20 * round {
                    yield_now().await;
                }
                (says.await.ok()["event_id"].as_str().unwrap().to_owned(), text)
            }
        })
        .collect();
    let server = std::rc::Rc::new(server);
    let (client, count) = (server.clone(), speaking.len());
    let listening = async move {
        let mut heard = Vec::new();
        while heard.len() < count {
            let path = sync_path(Some(&since), &limit(100), "&timeout=30000");
            let body = client.request("GET", &alice, &path, &Value::Null).await.ok();
            let timeline = &body["rooms"]["join"][room_id.as_str()]["timeline"];
            assert_eq!(timeline["limited"], false, "{timeline}");
            heard.extend(events(timeline));
            since = next(&body).to_owned();
        }
        heard
    };
    let (heard, said) = server.run(join(listening, join_all(speaking)));
    let heard: Vec<(String, String)> = heard
        .iter()
        .map(|event| (&event["event_id"], &event["content"]["body"]))
        .map(|(id, text)| (id.as_str().unwrap().to_owned(), text.as_str().unwrap().to_owned()))
        .collect();
    let sorted = |mut list: Vec<(String, String)>| {
        list.sort();
        list
    };
    let log = server
        .rows("SELECT event_id FROM events WHERE type = 'm.room.message' ORDER BY stream_ordering");
    let in_order: Vec<_> = heard.iter().map(|(id, _)| json!({ "event_id": id })).collect();
    assert_eq!(in_order, log);
    assert_eq!(sorted(heard), sorted(said));
}

async fn yield_now() {
    let mut yielded = false;
    futures_util::future::poll_fn(|task| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        task.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

#[test]
fn a_sync_costs_the_same_in_few_rooms_and_in_many() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let mut rooms = Vec::new();
    let mut costs = BTreeMap::new();
    for count in [10, 60] {
        while rooms.len() < count {
            let room_id = public_room(&server, &alice);
            server.join(&bob, &room_id);
            rooms.push(room_id);
        }
        let first = server.get(&bob, SYNC);
        assert!(first.cost.round_trips.get() <= 4, "{}", first.cost.round_trips.get());
        let since = next(&first.ok()).to_owned();
        let since = next(&sync(&server, &bob, Some(&since), json!({}))).to_owned();
        let idle = server.get(&bob, &sync_path(Some(&since), &json!({}), ""));
        assert_eq!(idle.cost.round_trips.get(), 1);
        assert!(idle.cost.rows_read.get() <= 20, "{} rows", idle.cost.rows_read.get());
        let woken = wait_and_say(&server, &bob, &since, &alice, &rooms[0], &format!("{count}"));
        costs.insert(count, (idle.cost.rows_read.get(), woken.cost.round_trips.get()));
        assert_eq!(woken.ok()["rooms"]["join"].as_object().unwrap().len(), 1);
        let since = next(&sync(&server, &bob, None, json!({}))).to_owned();
        for room_id in &rooms {
            say(&server, &alice, room_id, &format!("in all of {count}"));
        }
        let all = server.get(&bob, &sync_path(Some(&since), &json!({}), ""));
        assert_eq!(all.cost.round_trips.get(), 2);
        assert_eq!(all.ok()["rooms"]["join"].as_object().unwrap().len(), count);
    }
    assert_eq!(costs[&10], costs[&60]);
}
