//! Typing, receipts, account data and ignored users as clients see them in `/sync`.

use crate::support::house::House;
use crate::support::{Account, Server};
use myelin::durable::MembershipAction;
use serde_json::{Value, json};

const V3: &str = "/_matrix/client/v3";

fn sync(server: &Server, account: &Account, since: Option<&str>) -> Value {
    let since = since.map(|since| format!("&since={since}")).unwrap_or_default();
    server.get(account, &format!("{V3}/sync?timeout=0{since}")).ok()
}

fn next(answer: &Value) -> &str {
    answer["next_batch"].as_str().unwrap()
}

/// The content of an event of a room in a list of an answer.
fn content<'a>(answer: &'a Value, room_id: &str, list: &str, event_type: &str) -> &'a Value {
    let events = answer["rooms"]["join"][room_id][list]["events"].as_array();
    let event = events.into_iter().flatten().find(|event| event["type"] == event_type);
    event.map_or(&Value::Null, |event| &event["content"])
}

fn typing<'a>(answer: &'a Value, room_id: &str) -> &'a Value {
    &content(answer, room_id, "ephemeral", "m.typing")["user_ids"]
}

fn set_typing(server: &Server, account: &Account, room_id: &str, is_typing: bool) {
    let path = format!("{V3}/rooms/{room_id}/typing/{}", account.user_id);
    server.put(account, &path, json!({ "typing": is_typing, "timeout": 60_000 })).ok();
}

fn receipt(server: &Server, account: &Account, room_id: &str, rest: &str, body: Value) {
    server.post(account, &format!("{V3}/rooms/{room_id}/receipt/{rest}"), body).ok();
}

fn ignore(server: &Server, account: &Account, ignored: &[&Account]) {
    let users: serde_json::Map<String, Value> =
        ignored.iter().map(|other| (other.user_id.clone(), json!({}))).collect();
    let path = format!("{V3}/user/{}/account_data/m.ignored_user_list", account.user_id);
    server.put(account, &path, json!({ "ignored_users": users })).ok();
}

#[test]
fn who_joins_is_told_who_types_already() {
    let house = House::new();
    let server = &house.server;
    let [alice, bob] = ["alice", "bob"].map(|name| house.account(name));
    let room_id = house.room(&alice, "shared");
    let quiet = house.room(&alice, "shared");
    set_typing(server, &alice, &quiet, true);
    set_typing(server, &alice, &quiet, false);
    set_typing(server, &alice, &room_id, true);
    let since = sync(server, &bob, None);
    house.join(&room_id, &bob);
    house.join(&quiet, &bob);
    let joined = sync(server, &bob, Some(next(&since)));
    assert_eq!(typing(&joined, &room_id), &json!([alice.user_id]));
    assert!(typing(&joined, &quiet).is_null(), "nobody types there");
    house.message(&room_id, &alice, "hello");
    let later = sync(server, &bob, Some(next(&joined)));
    assert!(typing(&later, &room_id).is_null(), "it is no news any more");
}

#[test]
fn who_leaves_types_no_longer() {
    let house = House::new();
    let server = &house.server;
    let [alice, bob] = ["alice", "bob"].map(|name| house.account(name));
    let room_id = house.room(&alice, "shared");
    house.join(&room_id, &bob);
    for leaves in [MembershipAction::Leave, MembershipAction::Ban] {
        set_typing(server, &bob, &room_id, true);
        let before = sync(server, &alice, None);
        assert_eq!(typing(&before, &room_id), &json!([bob.user_id]));
        let sender = if leaves == MembershipAction::Ban { &alice } else { &bob };
        house.membership(leaves, &room_id, sender, &bob);
        let after = sync(server, &alice, Some(next(&before)));
        assert_eq!(typing(&after, &room_id), &json!([]));
        if leaves == MembershipAction::Leave {
            house.join(&room_id, &bob);
        }
    }
}

#[test]
fn receipts_are_seen_by_members_and_private_ones_by_their_user() {
    let house = House::new();
    let server = &house.server;
    let [alice, bob] = ["alice", "bob"].map(|name| house.account(name));
    let other_device = server.login("bob");
    let room_id = house.room(&alice, "shared");
    house.join(&room_id, &bob);
    let first = house.message(&room_id, &alice, "first");
    let second = house.message(&room_id, &alice, "second");
    let since = [&alice, &other_device].map(|account| sync(server, account, None));
    receipt(server, &bob, &room_id, &format!("m.read/{first}"), json!({}));
    receipt(server, &bob, &room_id, &format!("m.read/{second}"), json!({ "thread_id": "main" }));
    receipt(server, &bob, &room_id, &format!("m.read.private/{second}"), json!({}));
    let seen = |account: &Account, since: Option<&str>| {
        let answer = sync(server, account, since);
        content(&answer, &room_id, "ephemeral", "m.receipt").clone()
    };
    for since in [None, Some(next(&since[0]))] {
        let seen = seen(&alice, since);
        let of_bob = |event_id: &str, kind: &str| seen[event_id][kind][&bob.user_id].clone();
        assert!(of_bob(&first, "m.read")["ts"].is_u64());
        assert!(of_bob(&first, "m.read")["thread_id"].is_null());
        assert_eq!(of_bob(&second, "m.read")["thread_id"], "main");
        assert!(of_bob(&second, "m.read.private").is_null());
    }
    let own = seen(&other_device, Some(next(&since[1])));
    assert!(own[&second]["m.read.private"][&bob.user_id]["ts"].is_u64());

    let since = sync(server, &alice, None);
    receipt(server, &bob, &room_id, &format!("m.read.private/{first}"), json!({}));
    receipt(server, &bob, &room_id, &format!("m.read/{first}"), json!({ "thread_id": "main" }));
    assert!(seen(&alice, Some(next(&since))).is_null(), "no receipt goes back");
}

#[test]
fn tags_and_account_data_of_a_room_come_with_it_and_when_they_change() {
    let house = House::new();
    let server = &house.server;
    let alice = house.account("alice");
    let room_id = house.room(&alice, "shared");
    let tag = format!("{V3}/user/{}/rooms/{room_id}/tags/u.work", alice.user_id);
    let data = format!("{V3}/user/{}/rooms/{room_id}/account_data/m.x", alice.user_id);
    server.put(&alice, &tag, json!({ "order": 1 })).ok();
    server.put(&alice, &data, json!({ "a": 1 })).ok();
    let first = sync(server, &alice, None);
    let found = |answer: &Value, event_type: &str| {
        content(answer, &room_id, "account_data", event_type).clone()
    };
    assert_eq!(found(&first, "m.tag"), json!({ "tags": { "u.work": { "order": 1 } } }));
    assert_eq!(found(&first, "m.x"), json!({ "a": 1 }));
    server.delete(&alice, &tag, Value::Null).ok();
    let second = sync(server, &alice, Some(next(&first)));
    assert_eq!(found(&second, "m.tag"), json!({ "tags": {} }));
    assert!(found(&second, "m.x").is_null(), "it has not changed");
}

#[test]
fn ignoring_somebody_has_effect_at_once_and_ends_at_once() {
    let house = House::new();
    let server = &house.server;
    let [alice, bob, eve] = ["alice", "bob", "eve"].map(|name| house.account(name));
    let room_id = house.room(&alice, "shared");
    for other in [&bob, &eve] {
        house.join(&room_id, other);
    }
    let since = sync(server, &alice, None);
    ignore(server, &alice, &[&bob]);
    house.message(&room_id, &bob, "from bob");
    house.message(&room_id, &eve, "from eve");
    let invitation = |inviter: &Account| {
        let elsewhere = house.room(inviter, "shared");
        house.membership(MembershipAction::Invite, &elsewhere, inviter, &alice);
        elsewhere
    };
    let (of_bob, of_eve) = (invitation(&bob), invitation(&eve));
    let bodies = |answer: &Value| -> Vec<String> {
        let events = answer["rooms"]["join"][&room_id]["timeline"]["events"].as_array();
        let bodies = events.into_iter().flatten().map(|event| &event["content"]["body"]);
        bodies.filter_map(|body| Some(body.as_str()?.to_owned())).collect()
    };
    let ignoring = sync(server, &alice, Some(next(&since)));
    assert_eq!(bodies(&ignoring), ["from eve"]);
    assert!(ignoring["rooms"]["invite"][&of_eve].is_object());
    assert!(ignoring["rooms"]["invite"][&of_bob].is_null());
    assert!(sync(server, &alice, None)["rooms"]["invite"][&of_bob].is_null());

    ignore(server, &alice, &[]);
    house.message(&room_id, &bob, "again");
    let seeing = sync(server, &alice, Some(next(&ignoring)));
    assert_eq!(bodies(&seeing), ["again"]);
    assert!(seeing["rooms"]["invite"][&of_bob].is_object(), "{seeing}");
    let later = sync(server, &alice, Some(next(&seeing)));
    assert!(later["rooms"].is_null(), "{later}");
}
