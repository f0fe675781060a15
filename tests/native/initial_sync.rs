//! `/initialSync`: what old clients begin with.

use crate::support::house::House;
use crate::support::{Account, Server, account};
use myelin::context::Platform;
use myelin::durable::MembershipAction;
use serde_json::{Value, json};

const V3: &str = "/_matrix/client/v3";

fn each<'a>(list: &'a Value, pointer: &str) -> Vec<&'a str> {
    let items = list.as_array().unwrap().iter();
    items.map(|item| item.pointer(pointer).and_then(Value::as_str).unwrap_or("")).collect()
}

fn bodies(room: &Value) -> Vec<&str> {
    let chunk = room["messages"]["chunk"].as_array().unwrap().iter();
    chunk.filter_map(|event| event["content"]["body"].as_str()).collect()
}

fn state<'a>(room: &'a Value, event_type: &str) -> &'a Value {
    let mut state = room["state"].as_array().unwrap().iter();
    state.find(|event| event["type"] == event_type).unwrap()
}

#[test]
fn all_rooms_come_with_their_messages_state_and_data() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let room_id = house.room(&alice, "shared");
    house.name(&room_id, &alice, "room");
    let event_id = house.message(&room_id, &alice, "one");
    house.message(&room_id, &alice, "two");
    let other = house.room(&bob, "shared");
    house.membership(MembershipAction::Invite, &other, &bob, &alice);
    let user = format!("{V3}/user/{}", alice.user_id);
    let tag = json!({ "order": 0.5 });
    house.server.put(&alice, &format!("{user}/rooms/{room_id}/tags/u.work"), tag.clone()).ok();
    house.server.put(&alice, &format!("{user}/account_data/my.type"), json!({ "a": 1 })).ok();
    let receipt = format!("{V3}/rooms/{room_id}/receipt/m.read/{event_id}");
    house.server.post(&alice, &receipt, json!({})).ok();
    let body = house.server.get(&alice, &format!("{V3}/initialSync?limit=2")).ok();
    let rooms = body["rooms"].as_array().unwrap();
    assert_eq!(rooms.len(), 2);
    let find = |room_id: &str| rooms.iter().find(|room| room["room_id"] == room_id).unwrap();
    let room = find(&room_id);
    assert_eq!((&room["membership"], &room["visibility"]), (&json!("join"), &json!("private")));
    assert_eq!(bodies(room), ["one", "two"]);
    assert_eq!(state(room, "m.room.name")["content"]["name"], "room");
    assert_eq!(state(room, "m.room.member")["user_id"], alice.user_id);
    let tags = json!([{ "type": "m.tag", "content": { "tags": { "u.work": tag } } }]);
    assert_eq!(room["account_data"], tags);
    let invitation = find(&other);
    assert_eq!(
        (&invitation["membership"], &invitation["inviter"]),
        (&json!("invite"), &json!(bob.user_id))
    );
    assert!(invitation.get("state").is_none());
    let receipts = &body["receipts"][0];
    assert_eq!(receipts["room_id"], room_id);
    assert!(receipts["content"][&event_id]["m.read"][&alice.user_id]["ts"].is_u64());
    let data = json!({ "type": "my.type", "content": { "a": 1 } });
    assert!(body["account_data"].as_array().unwrap().contains(&data));
    let empty = house.server.get(&alice, &format!("{V3}/initialSync?limit=0")).ok();
    assert!(
        empty["rooms"]
            .as_array()
            .unwrap()
            .iter()
            .all(|room| { room["messages"]["chunk"].as_array().is_none_or(Vec::is_empty) })
    );
    house.server.get(&alice, &format!("{V3}/initialSync?limit=x")).error(400, "M_INVALID_PARAM");
}

#[test]
fn a_room_that_has_been_left_comes_as_it_was() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let room_id = house.room(&alice, "shared");
    house.join(&room_id, &bob);
    house.name(&room_id, &alice, "then");
    house.message(&room_id, &alice, "with bob");
    house.leave(&room_id, &bob);
    house.message(&room_id, &alice, "without bob");
    house.name(&room_id, &alice, "now");
    let all = house.server.get(&bob, &format!("{V3}/initialSync?limit=2")).ok();
    assert_eq!(all["rooms"], json!([]));
    let all = house.server.get(&bob, &format!("{V3}/initialSync?limit=2&archived=true")).ok();
    let one = house.server.get(&bob, &format!("{V3}/rooms/{room_id}/initialSync?limit=2")).ok();
    for room in [&all["rooms"][0], &one] {
        assert_eq!(room["membership"], "leave");
        assert_eq!(bodies(room), ["with bob"]);
        assert_eq!(state(room, "m.room.name")["content"]["name"], "then");
    }
    assert_eq!((&one["presence"], &one["receipts"]), (&json!([]), &json!([])));
}

#[test]
fn a_stranger_looks_into_world_readable_rooms_only() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let closed = house.room(&alice, "shared");
    house.message(&closed, &alice, "private");
    let path = format!("{V3}/rooms/{closed}/initialSync");
    house.server.get(&bob, &path).error(403, "M_FORBIDDEN");
    let open = json!({ "history_visibility": "world_readable" });
    let event = json!({ "type": "m.room.history_visibility", "state_key": "", "content": open });
    house.send(&closed, &alice, event);
    house.message(&closed, &alice, "public");
    let room = house.server.get(&bob, &path).ok();
    assert_eq!(bodies(&room), ["public"]);
    assert_eq!(room["messages"]["chunk"].as_array().unwrap().len(), 2);
    assert!(room.get("membership").is_none());
    let start = room["messages"]["start"].as_str().unwrap();
    let before = format!("{V3}/rooms/{closed}/messages?dir=b&from={start}");
    assert_eq!(house.server.get(&bob, &before).ok()["chunk"], json!([]));
}

#[test]
fn who_is_there_comes_with_the_room() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let room_id = house.room(&alice, "shared");
    house.join(&room_id, &bob);
    let status = json!({ "presence": "online", "status_msg": "here" });
    let path = format!("{V3}/presence/{}/status", alice.user_id);
    house.server.put(&alice, &path, status).ok();
    let room = house.server.get(&bob, &format!("{V3}/rooms/{room_id}/initialSync")).ok();
    let content = &room["presence"][0]["content"];
    assert_eq!(content["user_id"], alice.user_id);
    assert_eq!(content["status_msg"], "here");
    assert!(content["last_active_ago"].is_u64());
    let unseen = json!({ "user_id": bob.user_id, "presence": "offline" });
    assert_eq!(room["presence"][1]["content"], unseen);
    assert_eq!(room["presence"].as_array().unwrap().len(), 2);
}

/// The events of `/events` from a token on, until it has nothing more, and the last token.
fn drain(house: &House, reader: &Account, from: &str) -> (Vec<Value>, String) {
    let (mut events, mut from) = (Vec::new(), from.to_owned());
    loop {
        let path = format!("/_matrix/client/r0/events?timeout=0&from={from}");
        let body = house.server.get(reader, &path).ok();
        from = body["end"].as_str().unwrap().to_owned();
        match body["chunk"].as_array().unwrap() {
            chunk if chunk.is_empty() => return (events, from),
            chunk => events.extend(chunk.clone()),
        }
    }
}

fn now(house: &House, reader: &Account) -> String {
    // That they are there is news to themselves, once.
    house.server.get(reader, "/_matrix/client/r0/events?timeout=0").ok();
    let body = house.server.get(reader, "/_matrix/client/r0/events?timeout=0").ok();
    assert_eq!(body["chunk"], json!([]));
    body["end"].as_str().unwrap().to_owned()
}

#[test]
fn the_event_stream_gives_everything_once_and_in_order() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let rooms = [house.room(&alice, "shared"), house.room(&alice, "shared")];
    let elsewhere = house.room(&bob, "shared");
    let from = now(&house, &alice);
    let mut expected = Vec::new();
    for number in 0..220 {
        let room_id = &rooms[usize::from(number % 3 == 0)];
        expected.push(house.message(room_id, &alice, &number.to_string()));
        house.message(&elsewhere, &bob, "not for alice");
    }
    house.membership(MembershipAction::Invite, &elsewhere, &bob, &alice);
    let (events, end) = drain(&house, &alice, &from);
    let ids: Vec<&str> = events.iter().filter_map(|event| event["event_id"].as_str()).collect();
    assert_eq!(ids[..220], expected);
    assert_eq!(events[220]["content"]["membership"], "invite");
    assert_eq!(events.len(), 221);
    assert_eq!(drain(&house, &alice, &end).0, Vec::<Value>::new());
}

#[test]
fn the_event_stream_has_receipts_tags_and_typing() {
    let house = House::new();
    let alice = house.account("alice");
    let room_id = house.room(&alice, "shared");
    let event_id = house.message(&room_id, &alice, "one");
    let from = now(&house, &alice);
    let user = format!("{V3}/user/{}", alice.user_id);
    house.server.put(&alice, &format!("{user}/rooms/{room_id}/tags/u.x"), json!({})).ok();
    let receipt = format!("{V3}/rooms/{room_id}/receipt/m.read/{event_id}");
    house.server.post(&alice, &receipt, json!({})).ok();
    let typing = json!({ "typing": true, "timeout": 5000 });
    house
        .server
        .put(&alice, &format!("{V3}/rooms/{room_id}/typing/{}", alice.user_id), typing)
        .ok();
    let (events, _) = drain(&house, &alice, &from);
    let find = |event_type: &str| events.iter().find(|e| e["type"] == event_type).unwrap();
    assert_eq!(find("m.tag")["content"]["tags"], json!({ "u.x": {} }));
    assert_eq!(find("m.typing")["content"]["user_ids"], json!([alice.user_id]));
    assert!(find("m.receipt")["content"][&event_id]["m.read"].is_object());
    assert!(
        events.iter().all(|event| event["room_id"] == room_id || event["type"] == "m.presence")
    );
}

/// What a waiting `/events` answers when a message is sent meanwhile, and how long it waited.
fn wait_for_a_message(
    house: &House,
    reader: &Account,
    query: &str,
    send: Send<'_>,
) -> (Value, u64) {
    let path = format!("{V3}/events?timeout=10000&{query}");
    let waiting = house.server.request("GET", reader, &path, &Value::Null);
    let started_ms = house.server.platform.now_ms();
    let platform = house.server.platform.clone();
    let room = ruma::RoomId::parse(send.room_id).unwrap();
    let command = house.message_command(send.sender, "wake up");
    let reply = house.server.run(async move {
        let sending = async move {
            platform.sleep(50).await;
            platform.room(&room, command).await.unwrap();
        };
        futures_util::future::join(waiting, sending).await.0
    });
    (reply.ok(), house.server.platform.now_ms() - started_ms)
}

struct Send<'a> {
    sender: &'a Account,
    room_id: &'a str,
}

#[test]
fn a_waiting_stream_is_woken_and_a_strange_room_is_refused() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let room_id = house.room(&alice, "shared");
    let from = format!("from={}", now(&house, &alice));
    let send = Send { sender: &alice, room_id: &room_id };
    let (body, waited_ms) = wait_for_a_message(&house, &alice, &from, send);
    assert_eq!((&body["chunk"][0]["content"]["body"], waited_ms), (&json!("wake up"), 50));
    let peek = format!("{V3}/events?timeout=0&room_id={room_id}");
    house.server.get(&bob, &peek).error(403, "M_FORBIDDEN");
    house.server.get(&bob, &format!("{V3}/events?from=x")).error(400, "M_INVALID_PARAM");
}

#[test]
fn who_looks_into_a_room_is_woken_by_what_happens_there() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let rooms = ["world_readable", "world_readable"].map(|open| house.room(&alice, open));
    for (index, found) in [(0, (1, 50)), (1, (0, 10_000))] {
        let from = house.server.get(&bob, &format!("{V3}/events?timeout=0")).ok()["end"].clone();
        let query = format!("room_id={}&from={}", rooms[0], from.as_str().unwrap());
        let send = Send { sender: &alice, room_id: &rooms[index] };
        let (body, waited_ms) = wait_for_a_message(&house, &bob, &query, send);
        assert_eq!((body["chunk"].as_array().unwrap().len(), waited_ms), found);
    }
}

#[test]
fn who_looks_into_a_room_follows_what_happens_there() {
    let house = House::new();
    let (alice, bob, carol) =
        (house.account("alice"), house.account("bob"), house.account("carol"));
    let room_id = house.room(&alice, "world_readable");
    house.room(&carol, "shared");
    let path = format!("{V3}/rooms/{room_id}/initialSync");
    let end = house.server.get(&bob, &path).ok()["messages"]["end"].as_str().unwrap().to_owned();
    let event_id = house.message(&room_id, &alice, "mice");
    let receipt = format!("{V3}/rooms/{room_id}/receipt/m.read/{event_id}");
    house.server.post(&alice, &receipt, json!({})).ok();
    let typing = json!({ "typing": true, "timeout": 5000 });
    house
        .server
        .put(&alice, &format!("{V3}/rooms/{room_id}/typing/{}", alice.user_id), typing)
        .ok();
    for account in [&alice, &carol] {
        let path = format!("{V3}/presence/{}/status", account.user_id);
        house.server.put(account, &path, json!({ "presence": "online" })).ok();
    }
    let look = |from: &str| {
        let path = format!("{V3}/events?timeout=0&room_id={room_id}&from={from}");
        house.server.get(&bob, &path).ok()
    };
    let body = look(&end);
    let mut found = each(&body["chunk"], "/type");
    found.sort_unstable();
    assert_eq!(found, ["m.presence", "m.receipt", "m.room.message", "m.typing"]);
    assert_eq!(look(body["end"].as_str().unwrap())["chunk"], json!([]));
}

#[test]
fn one_event_is_for_those_who_may_see_it() {
    let house = House { server: Server::with(&[("ALLOW_GUESTS", "true")]) };
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let guest = house.server.post("", &format!("{V3}/register?kind=guest"), json!({}));
    let guest = account(&guest.ok());
    let (closed, open) = (house.room(&alice, "shared"), house.room(&alice, "world_readable"));
    let (hidden, shown) =
        (house.message(&closed, &alice, "private"), house.message(&open, &alice, "public"));
    let path = |event_id: &str| format!("{V3}/events/{event_id}");
    let event = house.server.get(&alice, &path(&hidden)).ok();
    assert_eq!((&event["content"]["body"], &event["room_id"]), (&json!("private"), &json!(closed)));
    assert_eq!((&event["event_id"], &event["user_id"]), (&json!(hidden), &json!(alice.user_id)));
    for stranger in [&bob, &guest] {
        house.server.get(stranger, &path(&hidden)).error(404, "M_NOT_FOUND");
        assert_eq!(house.server.get(stranger, &path(&shown)).ok()["content"]["body"], "public");
    }
    house.server.get(&bob, &path("$none")).error(404, "M_NOT_FOUND");
    house.server.get(&bob, &path("none")).error(400, "M_INVALID_PARAM");
    house.server.get("", &path(&shown)).error(401, "M_MISSING_TOKEN");
}

#[test]
fn a_stranger_and_a_guest_read_a_room_that_everyone_may_read() {
    let house = House { server: Server::with(&[("ALLOW_GUESTS", "true")]) };
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let guest = house.server.post("", &format!("{V3}/register?kind=guest"), json!({}));
    let guest = account(&guest.ok());
    let (closed, open) = (house.room(&alice, "shared"), house.room(&alice, "world_readable"));
    house.message(&open, &alice, "public");
    let paths = ["messages?dir=b", "state", "state/m.room.join_rules/", "members", "initialSync"];
    for stranger in [&bob, &guest] {
        for path in paths {
            let get = |room: &str| house.server.get(stranger, &format!("{V3}/rooms/{room}/{path}"));
            get(&closed).error(403, "M_FORBIDDEN");
            get(&open).ok();
        }
        let messages = format!("{V3}/rooms/{open}/messages?dir=b&limit=1");
        let body = house.server.get(stranger, &messages).ok();
        assert_eq!(body["chunk"][0]["content"]["body"], "public");
    }
    let all = format!("{V3}/initialSync");
    house.server.get(&guest, &all).error(403, "M_GUEST_ACCESS_FORBIDDEN");
    house.server.get(&guest, &format!("{V3}/events?timeout=0")).error(400, "M_MISSING_PARAM");
    house.server.get(&guest, &format!("{V3}/events?timeout=0&room_id={open}")).ok();
}
