//! Backups of message keys, and a device that sleeps, over the whole server.

use crate::support::crypto::{device_keys, one_time_keys, signed_key};
use crate::support::{Account, PASSWORD, Server};
use serde_json::{Map, Value, json};

const VERSION: &str = "/_matrix/client/v3/room_keys/version";
const KEYS: &str = "/_matrix/client/v3/room_keys/keys";
const SLEEPER: &str = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device";

const ALGORITHM: &str = "m.megolm_backup.v1.curve25519-aes-sha2";

fn create(server: &Server, account: &Account) -> String {
    let body = json!({ "algorithm": ALGORITHM, "auth_data": { "public_key": "abc" } });
    server.post(account, VERSION, body).ok()["version"].as_str().unwrap().to_owned()
}

fn key(index: u64, forwarded: u64, is_verified: bool, text: &str) -> Value {
    json!({
        "first_message_index": index, "forwarded_count": forwarded, "is_verified": is_verified,
        "session_data": { "ciphertext": text },
    })
}

fn put(server: &Server, account: &Account, path: &str, body: Value) -> (String, u64) {
    let body = server.put(account, &format!("{KEYS}{path}"), body).ok();
    (body["etag"].as_str().unwrap().to_owned(), body["count"].as_u64().unwrap())
}

fn get(server: &Server, account: &Account, path: &str) -> Value {
    server.get(account, &format!("{KEYS}{path}")).ok()
}

#[test]
fn a_backup_is_made_read_changed_and_removed() {
    let server = Server::new();
    let alice = server.register("alice");
    server.get(&alice, VERSION).error(404, "M_NOT_FOUND");
    assert_eq!(create(&server, &alice), "1");
    let expected = json!({
        "version": "1", "algorithm": ALGORITHM, "auth_data": { "public_key": "abc" },
        "etag": "0", "count": 0,
    });
    assert_eq!(server.get(&alice, VERSION).ok(), expected);
    assert_eq!(create(&server, &alice), "2");
    assert_eq!(server.get(&alice, &format!("{VERSION}/1")).ok(), expected);
    let new = json!({ "algorithm": ALGORITHM, "auth_data": { "public_key": "new" } });
    let path = format!("{VERSION}/2");
    server.put(&alice, &path, new.clone()).ok();
    assert_eq!(server.get(&alice, VERSION).ok()["auth_data"], new["auth_data"]);
    for (name, value) in [("version", json!("1")), ("algorithm", json!("other"))] {
        let mut body = new.clone();
        body[name] = value;
        server.put(&alice, &path, body).error(400, "M_INVALID_PARAM");
    }
    server.put(&alice, &path, json!({})).error(400, "M_MISSING_PARAM");
    server.put(&alice, &format!("{VERSION}/9"), new).error(404, "M_NOT_FOUND");
    server.delete(&alice, &path, Value::Null).ok();
    assert_eq!(server.get(&alice, VERSION).ok()["version"], "1");
    server.get(&alice, &path).error(404, "M_NOT_FOUND");
    for version in ["9", "x"] {
        let path = format!("{VERSION}/{version}");
        server.delete(&alice, &path, Value::Null).error(404, "M_NOT_FOUND");
    }
    // Numbers are not used again.
    assert_eq!(create(&server, &alice), "3");
}

#[test]
fn keys_are_kept_by_room_and_session() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    create(&server, &alice);
    let room = json!({ "sessions": { "S1": key(1, 1, false, "a"), "S\"2": key(2, 0, true, "b") } });
    let other = json!({ "sessions": { "S": key(0, 0, false, "c") } });
    let all = json!({ "rooms": { "!a:b": room, "!c:d": other } });
    assert_eq!(put(&server, &alice, "?version=1", all.clone()), ("1".to_owned(), 3));
    assert_eq!(get(&server, &alice, "?version=1"), all);
    assert_eq!(get(&server, &alice, "/!a:b?version=1"), room);
    assert_eq!(get(&server, &alice, "/!a:b/S1?version=1"), key(1, 1, false, "a"));
    assert_eq!(get(&server, &alice, "/!none:b?version=1"), json!({ "sessions": {} }));
    let none = format!("{KEYS}/!a:b/none?version=1");
    server.get(&alice, &none).error(404, "M_NOT_FOUND");
    // The same again changes nothing.
    assert_eq!(put(&server, &alice, "?version=1", all), ("1".to_owned(), 3));
    assert_eq!(put(&server, &alice, "?version=1", json!({ "rooms": {} })), ("1".to_owned(), 3));
    let more = key(0, 0, false, "d");
    assert_eq!(put(&server, &alice, "/!a:b/S3?version=1", more), ("2".to_owned(), 4));
    let version = server.get(&alice, VERSION).ok();
    assert_eq!((&version["etag"], &version["count"]), (&json!("2"), &json!(4)));
    let remove = |path: &str| server.delete(&alice, &format!("{KEYS}{path}"), Value::Null).ok();
    assert_eq!(remove("/!a:b/S1?version=1"), json!({ "etag": "3", "count": 3 }));
    assert_eq!(remove("/!a:b?version=1"), json!({ "etag": "4", "count": 1 }));
    assert_eq!(remove("?version=1"), json!({ "etag": "5", "count": 0 }));
    assert_eq!(get(&server, &alice, "?version=1"), json!({ "rooms": {} }));
    create(&server, &bob);
    assert_eq!(get(&server, &bob, "?version=1"), json!({ "rooms": {} }));
}

#[test]
fn only_a_better_key_replaces_another() {
    let server = Server::new();
    let alice = server.register("alice");
    create(&server, &alice);
    let path = "/!a:b/S?version=1";
    put(&server, &alice, path, key(5, 5, false, "first"));
    let steps = [
        (key(5, 5, false, "same"), "first"),
        (key(6, 4, false, "fewer messages"), "first"),
        (key(5, 4, false, "fewer hands"), "fewer hands"),
        (key(4, 9, false, "more messages"), "more messages"),
        (key(9, 9, true, "verified"), "verified"),
        (key(0, 0, false, "not verified"), "verified"),
        (key(8, 9, true, "verified, more messages"), "verified, more messages"),
    ];
    for (key, expected) in steps {
        let before = server.get(&alice, VERSION).ok()["etag"].clone();
        let replaces = key["session_data"]["ciphertext"] == *expected;
        put(&server, &alice, path, key);
        assert_eq!(get(&server, &alice, path)["session_data"]["ciphertext"], *expected);
        assert_eq!(server.get(&alice, VERSION).ok()["etag"] != before, replaces, "{expected}");
    }
    assert_eq!(server.get(&alice, VERSION).ok()["count"], 1);
}

#[test]
fn keys_go_into_the_newest_backup_only() {
    let server = Server::new();
    let alice = server.register("alice");
    let keys = || json!({ "rooms": { "!a:b": { "sessions": { "S": key(0, 0, false, "x") } } } });
    let path = |version: &str| format!("{KEYS}?version={version}");
    server.put(&alice, &path("1"), keys()).error(404, "M_NOT_FOUND");
    create(&server, &alice);
    create(&server, &alice);
    let error = server.put(&alice, &path("1"), keys()).error(403, "M_WRONG_ROOM_KEYS_VERSION");
    assert_eq!(error["current_version"], "2");
    for version in ["3", "x", "-1"] {
        server.put(&alice, &path(version), keys()).error(404, "M_NOT_FOUND");
        server.get(&alice, &path(version)).error(404, "M_NOT_FOUND");
    }
    server.put(&alice, KEYS, keys()).error(400, "M_MISSING_PARAM");
    server.put(&alice, &path("2"), json!({})).error(400, "M_BAD_JSON");
    let mut bad = keys();
    bad["rooms"]["!a:b"]["sessions"]["S"]["is_verified"] = json!("yes");
    server.put(&alice, &path("2"), bad).error(400, "M_INVALID_PARAM");
    put(&server, &alice, "?version=2", keys());
    server.delete(&alice, &format!("{VERSION}/2"), Value::Null).ok();
    assert!(server.rows("SELECT * FROM e2e_room_keys").is_empty());
}

#[test]
fn a_large_backup_is_written_and_read_in_bounded_batches() {
    let server = Server::new();
    let alice = server.register("alice");
    create(&server, &alice);
    let data = "x".repeat(500);
    let sessions = |room: u64| -> Map<String, Value> {
        (0..1500).map(|n| (format!("S{room}-{n:04}"), key(n, 0, false, &data))).collect()
    };
    let rooms: Map<String, Value> =
        (0..4).map(|n| (format!("!{n}:b"), json!({ "sessions": sessions(n) }))).collect();
    let all = json!({ "rooms": rooms });
    let reply = server.put(&alice, &format!("{KEYS}?version=1"), all.clone());
    assert_eq!(reply.cost.round_trips.get(), 2);
    assert_eq!(reply.ok()["count"], 6000);
    let reply = server.get(&alice, &format!("{KEYS}?version=1"));
    assert_eq!(reply.cost.round_trips.get(), 5);
    assert_eq!(reply.ok(), all);
}

fn sleeper(account: &Account, device_id: &str) -> Value {
    let device = Account { device_id: device_id.to_owned(), ..account.clone() };
    json!({
        "device_id": device_id, "device_data": { "algorithm": "org.matrix.test", "pickle": "p" },
        "initial_device_display_name": "sleeper",
        "device_keys": device_keys(&device, 7),
        "one_time_keys": one_time_keys(&device, 0, 2),
        "fallback_keys": { "signed_curve25519:F": signed_key(&device, "f") },
    })
}

#[test]
fn a_device_sleeps_takes_messages_and_is_replaced() {
    let server = Server::with(&[("PRESENCE", "off")]);
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    server.get(&alice, SLEEPER).error(404, "M_NOT_FOUND");
    server.put(&alice, SLEEPER, sleeper(&alice, "SLEEP1")).ok();
    let data = sleeper(&alice, "SLEEP1")["device_data"].clone();
    let expected = json!({ "device_id": "SLEEP1", "device_data": data });
    assert_eq!(server.get(&alice, SLEEPER).ok(), expected);
    let claim = json!({ "one_time_keys": { &alice.user_id: { "SLEEP1": "signed_curve25519" } } });
    let claimed = server.post(&bob, "/_matrix/client/v3/keys/claim", claim).ok();
    let keys = claimed["one_time_keys"][&alice.user_id]["SLEEP1"].as_object().unwrap();
    assert!(keys.contains_key("signed_curve25519:AAA000"));
    for n in 0..3 {
        let body = json!({ "messages": { &alice.user_id: { "SLEEP1": { "n": n } } } });
        server.put(&bob, &format!("/_matrix/client/v3/sendToDevice/t/{n}"), body).ok();
    }
    let events = format!("{SLEEPER}/SLEEP1/events");
    let first = server.get(&alice, &format!("{events}?limit=2")).ok();
    assert_eq!(first["events"].as_array().unwrap().len(), 2);
    let next = first["next_batch"].as_str().unwrap();
    let second = server.get(&alice, &format!("{events}?limit=2&from={next}")).ok();
    assert_eq!(second["events"][0]["content"]["n"], 2);
    assert!(second["next_batch"].is_null());
    let posted = server.post(&alice, &events, json!({ "next_batch": next })).ok();
    assert_eq!(posted["events"], second["events"]);
    server.get(&alice, &format!("{SLEEPER}/OTHER/events")).error(403, "M_FORBIDDEN");
    server.get(&bob, &events).error(403, "M_FORBIDDEN");
    server.get(&alice, &format!("{events}?from=5")).error(400, "M_INVALID_PARAM");
    server.put(&alice, SLEEPER, sleeper(&alice, "SLEEP2")).ok();
    assert!(server.rows("SELECT * FROM device_inbox").is_empty());
    assert_eq!(server.rows("SELECT * FROM devices WHERE device_id = 'SLEEP1'").len(), 0);
    let removed = server.delete(&alice, SLEEPER, Value::Null).ok();
    assert_eq!(removed, json!({ "device_id": "SLEEP2" }));
    server.delete(&alice, SLEEPER, Value::Null).error(404, "M_NOT_FOUND");
    assert!(server.rows("SELECT * FROM e2e_device_keys_json").is_empty());
}

#[test]
fn a_device_in_use_does_not_sleep() {
    let server = Server::new();
    let alice = server.register("alice");
    let put = |body: Value| server.put(&alice, SLEEPER, body);
    put(sleeper(&alice, &alice.device_id)).error(400, "M_INVALID_PARAM");
    let mut body = sleeper(&alice, "SLEEP");
    body["device_id"] = json!("OTHER");
    put(body.clone()).error(400, "M_BAD_JSON");
    body.as_object_mut().unwrap().remove("device_keys");
    put(body.clone()).error(400, "M_MISSING_PARAM");
    put(sleeper(&alice, "SLEEP")).ok();
    server.get(&alice, "/_matrix/client/v3/account/whoami").ok();
    // Whoever is deactivated does not sleep either.
    let auth = json!({ "type": "m.login.password", "password": PASSWORD,
        "identifier": { "type": "m.id.user", "user": "alice" } });
    server.post(&alice, "/_matrix/client/v3/account/deactivate", json!({ "auth": auth })).ok();
    assert!(server.rows("SELECT * FROM dehydrated_devices").is_empty());
    assert!(server.rows("SELECT * FROM e2e_one_time_keys_json").is_empty());
    assert!(server.rows("SELECT * FROM myelin_device_key_counts").is_empty());
}
