//! Messages that say until when they may be read (MSC2228).

use crate::support::{Account, Server};
use serde_json::{Value, json};

const V3: &str = "/_matrix/client/v3";
const FIELD: &str = "org.matrix.self_destruct_after";

fn room(server: &Server, creator: &Account) -> String {
    let room = server.post(creator, &format!("{V3}/createRoom"), json!({})).ok();
    room["room_id"].as_str().unwrap().to_owned()
}

fn content(text: &str, after_ms: u64) -> Value {
    json!({ "msgtype": "m.text", "body": text, FIELD: after_ms })
}

fn send(server: &Server, sender: &Account, room: &str, content: Value) -> String {
    let txn_id = content["body"].as_str().unwrap_or_default();
    let path = format!("{V3}/rooms/{room}/send/m.room.message/{txn_id}");
    server.put(sender, &path, content.clone()).ok()["event_id"].as_str().unwrap().to_owned()
}

fn read(server: &Server, reader: &Account, room: &str, event_id: &str) -> Value {
    let path = format!("{V3}/rooms/{room}/event/{}", event_id.replace('$', "%24"));
    server.get(reader, &path).ok()
}

#[test]
fn a_message_is_not_shown_after_its_time() {
    let server = Server::new();
    let alice = server.register("alice");
    let room = room(&server, &alice);
    let now_ms = server.platform.context().now_ms();
    let short = send(&server, &alice, &room, content("short", now_ms + 1000));
    let long = send(&server, &alice, &room, content("long", now_ms + 100_000));
    assert_eq!(read(&server, &alice, &room, &short)["content"]["body"], "short");

    server.platform.advance(1000);
    let gone = read(&server, &alice, &room, &short);
    assert_eq!((&gone["content"], &gone["event_id"]), (&json!({}), &json!(short)));
    assert_eq!(read(&server, &alice, &room, &long)["content"]["body"], "long");
    let page = server.get(&alice, &format!("{V3}/rooms/{room}/messages?dir=b&limit=2")).ok();
    let contents: Vec<&Value> =
        page["chunk"].as_array().unwrap().iter().map(|event| &event["content"]["body"]).collect();
    assert_eq!(contents, [&json!("long"), &Value::Null]);
    let sync = server.get(&alice, &format!("{V3}/sync")).ok();
    assert!(!sync.to_string().contains("\"body\":\"short\""), "{sync}");
}

#[test]
fn what_it_said_is_forgotten() {
    let server = Server::new();
    let alice = server.register("alice");
    let room = room(&server, &alice);
    let now_ms = server.platform.context().now_ms();
    let event_id = send(&server, &alice, &room, content("whisper", now_ms + 1000));
    let found = || {
        let search =
            json!({ "search_categories": { "room_events": { "search_term": "whisper" } } });
        let found = server.post(&alice, &format!("{V3}/search"), search).ok();
        found["search_categories"]["room_events"]["count"].clone()
    };
    let sweep = || {
        let context = server.platform.context();
        server.run(async move { myelin::sweep::run(&context).await });
    };
    let stored = || server.rows("SELECT json FROM event_json WHERE json LIKE '%whisper%'").len();
    sweep();
    assert_eq!((found(), stored()), (json!(1), 1));
    server.platform.advance(1000);
    sweep();
    assert_eq!((found(), stored()), (json!(0), 0));
    assert_eq!(server.rows("SELECT * FROM event_expiry"), Vec::<Value>::new());
    assert_eq!(read(&server, &alice, &room, &event_id)["content"], json!({}));
}

#[test]
fn state_stays() {
    let server = Server::new();
    let alice = server.register("alice");
    let room = room(&server, &alice);
    let path = format!("{V3}/rooms/{room}/state/m.room.topic");
    server.put(&alice, &path, json!({ "topic": "x", FIELD: 1 })).ok();
    assert_eq!(server.get(&alice, &path).ok()["topic"], "x");
}
