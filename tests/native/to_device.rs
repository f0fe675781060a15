//! Messages to devices over the whole server: in order, until they are acknowledged, once.

use crate::support::{Account, PASSWORD, Server};
use futures_util::future::{join, join_all};
use myelin::context::Platform;
use myelin::storage::device_inbox;
use myelin_protocol::to_device::Message;
use serde_json::{Value, json};

const SYNC: &str = "/_matrix/client/v3/sync";

fn quiet_server() -> Server {
    Server::with(&[("PRESENCE", "off")])
}

fn path(txn_id: &str) -> String {
    format!("/_matrix/client/v3/sendToDevice/org.test/{txn_id}")
}

fn to(account: &Account, device_id: &str, text: &str) -> Value {
    json!({ "messages": { &account.user_id: { device_id: { "text": text } } } })
}

fn send(server: &Server, from: &Account, txn_id: &str, body: Value) {
    server.put(from, &path(txn_id), body).ok();
}

fn sync(server: &Server, account: &Account, since: Option<&str>) -> Value {
    let since = since.map(|since| format!("?since={since}")).unwrap_or_default();
    server.get(account, &format!("{SYNC}{since}")).ok()
}

fn next(body: &Value) -> String {
    body["next_batch"].as_str().unwrap().to_owned()
}

fn texts(body: &Value) -> Vec<String> {
    let events = body["to_device"]["events"].as_array().cloned().unwrap_or_default();
    events.iter().map(|event| event["content"]["text"].as_str().unwrap().to_owned()).collect()
}

fn waiting(server: &Server) -> usize {
    server.rows("SELECT * FROM device_inbox").len()
}

#[test]
fn a_message_comes_until_it_is_acknowledged() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let start = next(&sync(&server, &bob, None));
    send(&server, &alice, "1", to(&bob, &bob.device_id, "one"));
    let body = sync(&server, &bob, Some(&start));
    let event = &body["to_device"]["events"][0];
    let expected = json!({
        "type": "org.test", "sender": alice.user_id, "content": { "text": "one" },
    });
    assert_eq!(event, &expected);
    assert_eq!(texts(&sync(&server, &bob, Some(&start))), ["one"]);
    assert_eq!(texts(&sync(&server, &bob, None)), ["one"]);
    send(&server, &alice, "2", to(&bob, &bob.device_id, "two"));
    assert_eq!(waiting(&server), 2);
    let second = sync(&server, &bob, Some(&next(&body)));
    assert_eq!((texts(&second), waiting(&server)), (vec!["two".to_owned()], 1));
    let third = sync(&server, &bob, Some(&next(&second)));
    assert_eq!((texts(&third), waiting(&server)), (vec![], 0));
    assert!(third["to_device"].is_null());
}

#[test]
fn a_transaction_is_done_once() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let other = server.login("alice");
    send(&server, &alice, "1", to(&bob, &bob.device_id, "one"));
    send(&server, &alice, "1", to(&bob, &bob.device_id, "again"));
    send(&server, &other, "1", to(&bob, &bob.device_id, "another device's"));
    assert_eq!(texts(&sync(&server, &bob, None)), ["one", "another device's"]);
    // The type of the events is part of what names a request.
    let typed = |event_type: &str, txn_id: &str, text: &str| {
        let path = format!("/_matrix/client/v3/sendToDevice/{event_type}/{txn_id}");
        server.put(&alice, &path, to(&bob, &bob.device_id, text)).ok();
    };
    for text in ["another type", "again"] {
        typed("org.other", "1", text);
    }
    typed("org%2Fother", "1", "a type with a slash");
    typed("org", "other%2F1", "a transaction with a slash");
    let told = texts(&sync(&server, &bob, None));
    let expected = ["another type", "a type with a slash", "a transaction with a slash"];
    assert_eq!(told[2..], expected);
    let body = to(&bob, &bob.device_id, "at once");
    let requests = (0..8).map(|_| server.request("PUT", &alice, &path("2"), &body));
    for reply in server.run(join_all(requests.collect::<Vec<_>>())) {
        reply.ok();
    }
    assert_eq!(waiting(&server), 6);
    // A day later they may be forgotten, and are.
    server.platform.advance(23 * 60 * 60 * 1000);
    sweep(&server);
    assert_eq!(server.rows("SELECT * FROM myelin_to_device_txns").len(), 6);
    server.platform.advance(2 * 60 * 60 * 1000);
    sweep(&server);
    assert!(server.rows("SELECT * FROM myelin_to_device_txns").is_empty());
}

fn sweep(server: &Server) {
    let context = server.platform.context();
    server.run(async move { myelin::sweep::remove_expired(&context).await }).unwrap();
}

#[test]
fn a_wildcard_reaches_every_device_and_no_cross_signing_key() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let second = server.login("bob");
    let hidden = "INSERT INTO devices (user_id, device_id, hidden) VALUES (?1, 'KEY', 1)";
    let hidden = myelin::storage::database::Statement::new(hidden).bind(bob.user_id.as_str());
    server.platform.sqlite.batch(&[hidden]).unwrap();
    send(&server, &alice, "1", to(&bob, "*", "all"));
    assert_eq!(waiting(&server), 2);
    for device in [&bob, &second] {
        assert_eq!(texts(&sync(&server, device, None)), ["all"]);
    }
}

#[test]
fn what_nobody_would_get_is_dropped() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let both = json!({ "messages": { &bob.user_id: {
        "NONE": { "text": "lost" }, "*": { "text": "no wildcard" },
        &bob.device_id: { "text": "yes" },
    } } });
    send(&server, &alice, "1", both);
    let nobody = json!({ "messages": {
        "@nobody:example.org": { "*": {} }, "@far:elsewhere.example": { "D": {} },
        "no id": { "D": {} },
        &bob.user_id: { &"x".repeat(600): {} },
    } });
    send(&server, &alice, "2", nobody);
    send(&server, &alice, "3", json!({ "messages": {} }));
    assert_eq!(texts(&sync(&server, &bob, None)), ["yes"]);
}

#[test]
fn what_is_malformed_or_too_large_is_refused() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let refuse = |body: Value| server.put(&alice, &path("1"), body);
    refuse(json!({})).error(400, "M_MISSING_PARAM");
    refuse(json!({ "messages": [] })).error(400, "M_BAD_JSON");
    refuse(json!({ "messages": { &bob.user_id: { "D": "text" } } })).error(400, "M_BAD_JSON");
    let large = "x".repeat(65_536);
    refuse(to(&bob, &bob.device_id, &large)).error(413, "M_TOO_LARGE");
    let devices: serde_json::Map<_, _> = (0..10_001).map(|n| (n.to_string(), json!({}))).collect();
    refuse(json!({ "messages": { &bob.user_id: devices } })).error(413, "M_TOO_LARGE");
    server.put(&alice, &path(&"x".repeat(600)), json!({})).error(400, "M_INVALID_PARAM");
    server.put("", &path("1"), json!({ "messages": {} })).error(401, "M_MISSING_TOKEN");
    // None of them has used the transaction up.
    send(&server, &alice, "1", to(&bob, &bob.device_id, "fine"));
    assert_eq!(texts(&sync(&server, &bob, None)), ["fine"]);
}

#[test]
fn large_messages_to_many_devices_are_written_in_one_batch() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let large = "x".repeat(60_000);
    let devices: Vec<Account> = (0..30).map(|_| server.login("bob")).collect();
    let contents = devices.iter().map(|d| (d.device_id.clone(), json!({ "text": large })));
    let contents: serde_json::Map<_, _> = contents.collect();
    let body = json!({ "messages": { &bob.user_id: contents } });
    let reply = server.put(&alice, &path("1"), body);
    assert_eq!(reply.cost.round_trips.get(), 2);
    reply.ok();
    assert_eq!(waiting(&server), 30);
}

#[test]
fn a_message_wakes_a_waiting_sync() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let since = next(&sync(&server, &bob, None));
    let path_ = format!("{SYNC}?since={since}&timeout=30000");
    let wait = server.request("GET", &bob, &path_, &Value::Null);
    let put = server.request("PUT", &alice, &path("1"), &to(&bob, &bob.device_id, "wake"));
    let began_ms = server.platform.now_ms();
    let (woken, _) = server.run(join(wait, put));
    assert_eq!(texts(&woken.ok()), ["wake"]);
    assert!(server.platform.now_ms() < began_ms + 30_000);
}

#[test]
fn ten_thousand_messages_drain_in_order_and_in_bounded_batches() {
    let server = quiet_server();
    let bob = server.register("bob");
    let messages = |from: u32| -> Vec<_> {
        (from..from + 100).flat_map(|n| device_inbox::insert(&[message(&bob, n)])).collect()
    };
    for from in (0..10_000).step_by(100) {
        server.platform.sqlite.batch(&messages(from)).unwrap();
    }
    let (mut since, mut seen) = (None, Vec::new());
    loop {
        let path = since.as_ref().map(|since| format!("?since={since}")).unwrap_or_default();
        let reply = server.get(&bob, &format!("{SYNC}{path}"));
        let (rows, trips) = (reply.cost.rows_read.get(), reply.cost.round_trips.get());
        assert!(rows < 250 && trips <= 3, "{rows} rows in {trips} round trips");
        let body = reply.ok();
        let new = texts(&body);
        if new.is_empty() {
            break;
        }
        assert!(new.len() <= 100);
        seen.extend(new);
        since = Some(next(&body));
    }
    assert_eq!(seen, (0..10_000).map(|n: u32| n.to_string()).collect::<Vec<_>>());
    assert_eq!(waiting(&server), 0);
}

fn message(to: &Account, number: u32) -> Message {
    let event = json!({ "content": { "text": number.to_string() }, "sender": "@a:b", "type": "t" });
    Message {
        user_id: to.user_id.clone(),
        device_id: Some(to.device_id.clone()),
        json: event.to_string(),
    }
}

#[test]
fn a_token_ahead_of_the_log_removes_nothing() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    send(&server, &alice, "1", to(&bob, &bob.device_id, "kept"));
    let body = sync(&server, &bob, None);
    let mut fields: Vec<String> = next(&body).split('_').map(str::to_owned).collect();
    fields[6] = "999".to_owned();
    let again = sync(&server, &bob, Some(&fields.join("_")));
    assert_eq!((texts(&again), waiting(&server)), (vec!["kept".to_owned()], 1));
}

#[test]
fn a_token_ahead_of_an_empty_log_skips_nothing_that_comes_later() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let mut fields: Vec<String> =
        next(&sync(&server, &bob, None)).split('_').map(str::to_owned).collect();
    fields[6] = "3".to_owned();
    let brought_back = next(&sync(&server, &bob, Some(&fields.join("_"))));
    // By now the log has passed the position that the client once had.
    let told: Vec<String> = (0..5).map(|n| format!("later {n}")).collect();
    for text in &told {
        send(&server, &alice, &text[6..], to(&bob, &bob.device_id, text));
    }
    let body = sync(&server, &bob, Some(&brought_back));
    assert_eq!((texts(&body), waiting(&server)), (told, 5));
    assert_eq!(texts(&sync(&server, &bob, Some(&next(&body)))), [""; 0]);
    assert_eq!(waiting(&server), 0);
}

#[test]
fn a_sliding_position_is_a_number_and_not_ahead_of_the_log() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    for since in ["junk", "", "-1", "+1", "1.5", "99999999999999999999"] {
        let to_device = json!({ "enabled": true, "since": since });
        let body = json!({ "extensions": { "to_device": to_device } });
        server.post(&bob, SLIDING, body).error(400, "M_INVALID_PARAM");
    }
    send(&server, &alice, "1", to(&bob, &bob.device_id, "one"));
    send(&server, &alice, "2", to(&bob, &alice.device_id, "nobody's"));
    let extension = |body: &Value| body["extensions"]["to_device"].clone();
    let ahead = extension(&slide(&server, &bob, None, Some("4")));
    let last = ahead["next_batch"].as_str().unwrap();
    assert!(last.parse::<u32>().unwrap() < 4);
    assert_eq!((&ahead["events"][0]["content"]["text"], waiting(&server)), (&json!("one"), 1));
    let got = extension(&slide(&server, &bob, None, Some(last)));
    assert_eq!((&got["events"], waiting(&server)), (&json!([]), 0));
    // Where nothing is queued, the client goes on from the end of the log.
    let ahead = extension(&slide(&server, &bob, None, Some("9007199254740991")));
    let end = ahead["next_batch"].as_str().unwrap();
    assert!(end.parse::<u32>().unwrap() < 4);
    for text in ["3", "4", "5"] {
        send(&server, &alice, text, to(&bob, &bob.device_id, text));
    }
    let later = extension(&slide(&server, &bob, None, Some(end)));
    assert_eq!(later["events"][0]["content"]["text"], "3");
}

#[test]
fn messages_go_with_their_device() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let second = server.login("bob");
    send(&server, &alice, "1", to(&bob, "*", "all"));
    server.post(&second, "/_matrix/client/v3/logout", json!({})).ok();
    assert_eq!(waiting(&server), 1);
    let auth = json!({ "type": "m.login.password", "password": PASSWORD,
        "identifier": { "type": "m.id.user", "user": "bob" } });
    server.post(&bob, "/_matrix/client/v3/account/deactivate", json!({ "auth": auth })).ok();
    assert_eq!(waiting(&server), 0);
}

const SLIDING: &str = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";

/// A request over a connection that is about messages and keys alone, as SDKs make it.
fn slide(server: &Server, account: &Account, pos: Option<&str>, since: Option<&str>) -> Value {
    let pos = pos.map(|pos| format!("?pos={pos}")).unwrap_or_default();
    let mut to_device = json!({ "enabled": true, "limit": 2 });
    if let Some(since) = since {
        to_device["since"] = json!(since);
    }
    let body = json!({
        "conn_id": "encryption",
        "extensions": { "to_device": to_device, "e2ee": { "enabled": true } },
    });
    server.post(account, &format!("{SLIDING}{pos}"), body).ok()
}

#[test]
fn sliding_sync_tells_of_messages_and_keys_too() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    for text in ["one", "two", "three"] {
        send(&server, &alice, text, to(&bob, &bob.device_id, text));
    }
    let first = slide(&server, &bob, None, None);
    let extension = |body: &Value| body["extensions"]["to_device"].clone();
    let texts = |body: &Value| texts(&json!({ "to_device": extension(body) }));
    assert_eq!(texts(&first), ["one", "two"]);
    let counts = &first["extensions"]["e2ee"];
    assert_eq!(counts["device_one_time_keys_count"], json!({ "signed_curve25519": 0 }));
    assert!(counts["device_lists"].is_null());
    let pos = first["pos"].as_str().unwrap().to_owned();
    // Without an acknowledgement they come again, whatever the position of the rooms.
    assert_eq!(texts(&slide(&server, &bob, Some(&pos), None)), ["one", "two"]);
    let next = |body: &Value| extension(body)["next_batch"].as_str().unwrap().to_owned();
    let second = slide(&server, &bob, Some(&pos), Some(&next(&first)));
    assert_eq!((texts(&second), waiting(&server)), (vec!["three".to_owned()], 1));
    let third = slide(&server, &bob, Some(&pos), Some(&next(&second)));
    assert_eq!((texts(&third), waiting(&server)), (vec![], 0));
    assert_eq!(next(&third), next(&second));
    // A position ahead of the log acknowledges nothing: the log is older than the client knows.
    send(&server, &alice, "four", to(&bob, &bob.device_id, "four"));
    let ahead = slide(&server, &bob, Some(&pos), Some("999"));
    assert_eq!((texts(&ahead), waiting(&server)), (vec!["four".to_owned()], 1));
    assert!(next(&ahead).parse::<u32>().unwrap() < 999);
}

#[test]
fn a_message_wakes_a_waiting_sliding_sync() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let body = json!({ "extensions": { "to_device": { "enabled": true } } });
    let first = server.post(&bob, SLIDING, body.clone()).ok();
    let pos = first["pos"].as_str().unwrap();
    let began_ms = server.platform.now_ms();
    let wait = server.request("POST", &bob, &format!("{SLIDING}?pos={pos}&timeout=30000"), &body);
    let put = server.request("PUT", &alice, &path("1"), &to(&bob, &bob.device_id, "wake"));
    let (woken, _) = server.run(join(wait, put));
    let events = &woken.ok()["extensions"]["to_device"]["events"];
    assert_eq!(events[0]["content"]["text"], "wake");
    assert!(server.platform.now_ms() < began_ms + 30_000);
}
