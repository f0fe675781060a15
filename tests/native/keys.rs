//! Keys of devices over the whole server: published, asked for, handed out once.

use std::collections::BTreeSet;

use crate::support::crypto::{device_keys, one_time_keys, signed_key};
use crate::support::{Account, Server};
use futures_util::future::join_all;
use serde_json::{Value, json};

const UPLOAD: &str = "/_matrix/client/v3/keys/upload";
const QUERY: &str = "/_matrix/client/v3/keys/query";
const CLAIM: &str = "/_matrix/client/v3/keys/claim";

#[track_caller]
fn upload(server: &Server, account: &Account, body: Value) -> Value {
    server.post(account, UPLOAD, body).ok()["one_time_key_counts"].clone()
}

fn query(server: &Server, reader: &Account, of: &Account) -> Value {
    let asked = json!({ "device_keys": { &of.user_id: [] } });
    server.post(reader, QUERY, asked).ok()["device_keys"][&of.user_id].clone()
}

fn claim_body(of: &Account) -> Value {
    json!({ "one_time_keys": { &of.user_id: { &of.device_id: "signed_curve25519" } } })
}

/// The name and the key that are handed out.
fn claimed(body: &Value, of: &Account) -> Option<(String, Value)> {
    let keys = body["one_time_keys"][&of.user_id][&of.device_id].as_object()?;
    assert_eq!(keys.len(), 1);
    keys.iter().next().map(|(name, key)| (name.clone(), key.clone()))
}

fn position(server: &Server) -> i64 {
    let rows = server
        .rows("SELECT stream_id FROM stream_positions WHERE stream_name = 'device_lists_stream'");
    rows[0]["stream_id"].as_i64().unwrap()
}

#[test]
fn uploaded_keys_are_counted_and_served() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    assert_eq!(upload(&server, &alice, json!({})), json!({ "signed_curve25519": 0 }));
    let keys = device_keys(&alice, 1);
    let body = json!({ "device_keys": keys, "one_time_keys": one_time_keys(&alice, 0, 5) });
    assert_eq!(upload(&server, &alice, body), json!({ "signed_curve25519": 5 }));
    let plain = json!({ "one_time_keys": { "curve25519:A": "key" } });
    let counts = json!({ "signed_curve25519": 5, "curve25519": 1 });
    assert_eq!(upload(&server, &alice, plain), counts);
    let mut expected = keys;
    expected["unsigned"] = json!({});
    assert_eq!(query(&server, &bob, &alice)[&alice.device_id], expected);
    assert_eq!(query(&server, &bob, &bob), json!({}));
}

#[test]
fn a_device_name_and_a_choice_of_devices_are_answered() {
    let server = Server::new();
    let alice = server.register("alice");
    let second = server.login("alice");
    for (account, seed) in [(&alice, 1), (&second, 2)] {
        upload(&server, account, json!({ "device_keys": device_keys(account, seed) }));
    }
    let path = format!("/_matrix/client/v3/devices/{}", alice.device_id);
    server.put(&alice, &path, json!({ "display_name": "Telephone" })).ok();
    let keys = query(&server, &alice, &alice);
    assert_eq!(keys.as_object().unwrap().len(), 2);
    let name = &keys[&alice.device_id]["unsigned"]["device_display_name"];
    assert_eq!(name, "Telephone");
    for (asked, found) in [(second.device_id.as_str(), 1), ("NONE", 0), (&"x".repeat(600), 0)] {
        let body = json!({ "device_keys": { &alice.user_id: [asked] } });
        let body = server.post(&alice, QUERY, body).ok();
        let devices = body["device_keys"][&alice.user_id].as_object().unwrap().len();
        assert_eq!(devices, found, "{asked}");
    }
}

#[test]
fn what_is_not_known_is_no_error() {
    let server = Server::new();
    let alice = server.register("alice");
    let body = json!({ "device_keys": {
        "@nobody:example.org": [], "no user id": [], "@far:elsewhere.example": ["D"],
    } });
    let body = server.post(&alice, &format!("{QUERY}?timeout=10"), body).ok();
    assert_eq!(body["device_keys"], json!({ "@nobody:example.org": {} }));
    assert_eq!(body["failures"]["elsewhere.example"]["status"], 503);
    let claim = json!({ "one_time_keys": {
        "@nobody:example.org": { "D": "a" }, "@far:elsewhere.example": { "D": "a" },
    } });
    let body = server.post(&alice, CLAIM, claim).ok();
    assert_eq!(body["one_time_keys"], json!({}));
    assert_eq!(body["failures"]["elsewhere.example"]["status"], 503);
    for (path, body) in [
        (QUERY, json!({})),
        (QUERY, json!({ "device_keys": [] })),
        (QUERY, json!({ "device_keys": { "@a:b": "D" } })),
        (CLAIM, json!({ "one_time_keys": { "@a:b": "D" } })),
    ] {
        server.post(&alice, path, body).error(400, "M_BAD_JSON");
    }
    server.post(&alice, QUERY, json!({ "timeout": "x" })).error(400, "M_INVALID_PARAM");
    server.post("", QUERY, json!({})).error(401, "M_MISSING_TOKEN");
}

#[test]
fn keys_of_others_cannot_be_uploaded() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let second = server.login("alice");
    for keys in [device_keys(&bob, 1), device_keys(&second, 1)] {
        let body = json!({ "device_keys": keys, "one_time_keys": one_time_keys(&alice, 0, 1) });
        server.post(&alice, UPLOAD, body).error(400, "M_BAD_JSON");
    }
    assert_eq!(upload(&server, &alice, json!({})), json!({ "signed_curve25519": 0 }));
    assert!(server.rows("SELECT * FROM e2e_device_keys_json").is_empty());
}

#[test]
fn a_one_time_key_is_never_replaced() {
    let server = Server::new();
    let alice = server.register("alice");
    let key = |text: &str| json!({ "one_time_keys": { "a:1": signed_key(&alice, text) } });
    upload(&server, &alice, key("one"));
    let error = server.post(&alice, UPLOAD, key("other")).error(400, "M_INVALID_PARAM");
    assert!(error["error"].as_str().unwrap().starts_with("One time key a:1 already exists. Old"));
    let mut same = key("one");
    same["one_time_keys"]["a:1"]["signatures"] = json!({});
    same["one_time_keys"]["a:2"] = json!("more");
    let counts = json!({ "signed_curve25519": 0, "a": 2 });
    assert_eq!(upload(&server, &alice, same), counts);
}

#[test]
fn equal_uploads_at_once_store_each_key_once() {
    let server = Server::new();
    let alice = server.register("alice");
    let body = json!({
        "device_keys": device_keys(&alice, 1), "one_time_keys": one_time_keys(&alice, 0, 20),
    });
    let requests = (0..4).map(|_| server.request("POST", &alice, UPLOAD, &body));
    for reply in server.run(join_all(requests.collect::<Vec<_>>())) {
        assert_eq!(reply.ok()["one_time_key_counts"]["signed_curve25519"], 20);
    }
    assert_eq!(server.rows("SELECT * FROM e2e_one_time_keys_json").len(), 20);
}

#[test]
fn unchanged_device_keys_are_no_change() {
    let server = Server::new();
    let alice = server.register("alice");
    let body = json!({ "device_keys": device_keys(&alice, 1) });
    let before = position(&server);
    upload(&server, &alice, body.clone());
    assert_eq!(position(&server), before + 1);
    upload(&server, &alice, body);
    upload(&server, &alice, json!({ "one_time_keys": one_time_keys(&alice, 0, 3) }));
    assert_eq!(position(&server), before + 1);
    upload(&server, &alice, json!({ "device_keys": device_keys(&alice, 2) }));
    assert_eq!(position(&server), before + 2);
}

#[test]
fn thirty_two_claims_at_once_get_thirty_two_keys() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    upload(&server, &bob, json!({ "one_time_keys": one_time_keys(&bob, 0, 40) }));
    let requests = (0..32).map(|_| server.request("POST", &alice, CLAIM, &claim_body(&bob)));
    let replies = server.run(join_all(requests.collect::<Vec<_>>()));
    let keys: BTreeSet<String> =
        replies.into_iter().map(|reply| claimed(&reply.ok(), &bob).unwrap().0).collect();
    assert_eq!(keys.len(), 32);
    // The oldest first.
    assert_eq!(keys.last().unwrap(), "signed_curve25519:AAA031");
    assert_eq!(upload(&server, &bob, json!({})), json!({ "signed_curve25519": 8 }));
}

#[test]
fn the_fallback_key_stands_in_when_none_is_left() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let fallback = json!({ "signed_curve25519:FALL": signed_key(&bob, "fallback") });
    let body = json!({ "one_time_keys": one_time_keys(&bob, 0, 1), "fallback_keys": &fallback });
    upload(&server, &bob, body);
    let claim = || claimed(&server.post(&alice, CLAIM, claim_body(&bob)).ok(), &bob);
    let used = || server.rows("SELECT used FROM e2e_fallback_keys_json")[0]["used"] == 1;
    assert_eq!(claim().unwrap().0, "signed_curve25519:AAA000");
    assert!(!used());
    for _ in 0..2 {
        assert_eq!(
            claim().unwrap(),
            ("signed_curve25519:FALL".to_owned(), signed_key(&bob, "fallback"))
        );
        assert!(used());
    }
    // The same key again is as used as it was; another is not.
    upload(&server, &bob, json!({ "fallback_keys": fallback }));
    assert!(used());
    let other = json!({ "signed_curve25519:NEW": signed_key(&bob, "new") });
    upload(&server, &bob, json!({ "org.matrix.msc2732.fallback_keys": other }));
    assert!(!used());
    assert_eq!(claim().unwrap().0, "signed_curve25519:NEW");
    assert_eq!(server.rows("SELECT * FROM e2e_fallback_keys_json").len(), 1);
}

#[test]
fn keys_cost_two_round_trips_at_most() {
    let server = Server::new();
    let users: Vec<Account> = (0..20).map(|n| server.register(&format!("user{n}"))).collect();
    for (seed, user) in (0..).zip(&users) {
        let keys = device_keys(user, seed);
        let body = json!({ "device_keys": keys, "one_time_keys": one_time_keys(user, 0, 50) });
        let reply = server.post(user, UPLOAD, body);
        assert!(reply.cost.round_trips.get() <= 2);
        assert_eq!(reply.ok()["one_time_key_counts"]["signed_curve25519"], 50);
    }
    let all = |value: &dyn Fn(&Account) -> Value| -> Value {
        users
            .iter()
            .map(|u| (u.user_id.clone(), value(u)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let body = json!({ "device_keys": all(&|_| json!([])) });
    let reply = server.post(&users[0], QUERY, body);
    assert_eq!(reply.cost.round_trips.get(), 1);
    assert_eq!(reply.ok()["device_keys"].as_object().unwrap().len(), 20);
    let body = json!({ "one_time_keys": all(&|u| json!({ &u.device_id: "signed_curve25519" })) });
    let reply = server.post(&users[0], CLAIM, body);
    assert_eq!(reply.cost.round_trips.get(), 2);
    let body = reply.ok();
    assert!(users.iter().all(|user| claimed(&body, user).is_some()));
}
