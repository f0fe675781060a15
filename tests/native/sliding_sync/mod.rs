//! Simplified sliding sync over the whole server: what a client looks at, once and without a gap.

mod connections;
mod extensions;
mod lists;
mod memberships;
mod random;
mod rooms;
mod state;

use std::collections::BTreeSet;

use crate::support::{Account, Reply, Server};
use futures_util::future::join;
use serde_json::{Value, json};

const PATH: &str = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";

/// A server where nobody is woken by who comes online.
fn quiet_server() -> Server {
    Server::with(&[("PRESENCE", "off")])
}

fn path(pos: Option<&str>, rest: &str) -> String {
    let pos = pos.map(|pos| format!("&pos={pos}")).unwrap_or_default();
    format!("{PATH}?{}{pos}", rest.trim_start_matches('&'))
}

/// One request without waiting.
#[track_caller]
fn slide(server: &Server, account: &Account, pos: Option<&str>, body: &Value) -> Value {
    slide_reply(server, account, pos, body).ok()
}

fn slide_reply(server: &Server, account: &Account, pos: Option<&str>, body: &Value) -> Reply {
    server.post(account, &path(pos, ""), body.clone())
}

fn pos(body: &Value) -> &str {
    body["pos"].as_str().unwrap()
}

/// One list of everything.
fn all(timeline_limit: u64) -> Value {
    list(json!([[0, 99]]), timeline_limit)
}

fn list(ranges: Value, timeline_limit: u64) -> Value {
    json!({ "lists": { "all": {
        "ranges": ranges, "timeline_limit": timeline_limit, "required_state": [],
    } } })
}

fn subscription(room_id: &str, timeline_limit: u64, required_state: Value) -> Value {
    json!({ "room_subscriptions": { room_id: {
        "timeline_limit": timeline_limit, "required_state": required_state,
    } } })
}

fn create(server: &Server, account: &Account, options: Value) -> String {
    let body = server.post(account, "/_matrix/client/v3/createRoom", options).ok();
    body["room_id"].as_str().unwrap().to_owned()
}

fn public_room(server: &Server, account: &Account) -> String {
    create(server, account, json!({ "preset": "public_chat" }))
}

fn act(server: &Server, account: &Account, room_id: &str, action: &str, body: Value) {
    server.post(account, &format!("/_matrix/client/v3/rooms/{room_id}/{action}"), body).ok();
}

fn join_room(server: &Server, account: &Account, room_id: &str) {
    act(server, account, room_id, "join", json!({}));
}

fn message_path(room_id: &str, text: &str) -> String {
    let txn_id: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("/_matrix/client/v3/rooms/{room_id}/send/m.room.message/{txn_id}")
}

fn say(server: &Server, account: &Account, room_id: &str, text: &str) -> String {
    let content = json!({ "msgtype": "m.text", "body": text });
    let body = server.put(account, &message_path(room_id, text), content).ok();
    body["event_id"].as_str().unwrap().to_owned()
}

fn set_state(server: &Server, account: &Account, room_id: &str, at: &str, content: Value) {
    let path = format!("/_matrix/client/v3/rooms/{room_id}/state/{at}");
    server.put(account, &path, content).ok();
}

fn room_ids(body: &Value) -> BTreeSet<&str> {
    body["rooms"].as_object().unwrap().keys().map(String::as_str).collect()
}

fn bodies(room: &Value) -> Vec<&str> {
    let events = room["timeline"].as_array().map(Vec::as_slice).unwrap_or_default();
    events.iter().filter_map(|event| event["content"]["body"].as_str()).collect()
}

/// What is told of a room's state: `type` or `type|state_key`.
fn state(room: &Value) -> BTreeSet<String> {
    let events = room["required_state"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |event: &Value| {
        let (kind, key) = (event["type"].as_str().unwrap(), event["state_key"].as_str().unwrap());
        if key.is_empty() { kind.to_owned() } else { format!("{kind}|{key}") }
    };
    events.iter().map(name).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
