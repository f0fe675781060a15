//! Accounts: registration, login, devices, user-interactive authentication.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::{Value, json};
use support::{PASSWORD, Server, account};

const REGISTER: &str = "/_matrix/client/v3/register";
const LOGIN: &str = "/_matrix/client/v3/login";
const WHOAMI: &str = "/_matrix/client/v3/account/whoami";

/// The body of a login by name.
fn login_body(user: &str, password: &str) -> Value {
    let identifier = json!({ "type": "m.id.user", "user": user });
    json!({ "type": "m.login.password", "identifier": identifier, "password": password })
}

#[test]
fn the_versions_cost_no_round_trip() {
    let server = Server::new();
    let reply = server.get("", "/_matrix/client/versions");
    assert_eq!(reply.cost.round_trips.get(), 0);
    assert!(reply.ok()["versions"].as_array().unwrap().iter().any(|version| version == "v1.1"));
}

#[test]
fn a_registered_user_is_logged_in_and_can_log_in_again() {
    let server = Server::new();
    let alice = server.register("alice");
    assert_eq!(alice.user_id, "@alice:example.org");
    assert!(alice.token.starts_with("syt_YWxpY2U_"), "{}", alice.token);
    let reply = server.get(&alice, WHOAMI);
    assert_eq!(reply.cost.round_trips.get(), 1);
    let expected = json!({ "user_id": alice.user_id, "device_id": alice.device_id });
    assert_eq!(reply.ok(), expected);
    for name in ["alice", "Alice", "@alice:example.org"] {
        let again = server.login(name);
        assert_eq!(again.user_id, alice.user_id);
        assert_ne!(again.device_id, alice.device_id);
    }
    let profile = server.rows("SELECT user_id, full_user_id, displayname FROM profiles");
    let expected = json!([
        { "user_id": "alice", "full_user_id": "@alice:example.org", "displayname": "alice" }
    ]);
    assert_eq!(json!(profile), expected);
}

#[test]
fn a_wrong_name_and_a_wrong_password_are_refused_alike() {
    let server = Server::new();
    server.register("alice");
    let wrong = server.post("", LOGIN, login_body("alice", "wrong")).error(403, "M_FORBIDDEN");
    for user in ["bob", "@alice:elsewhere.org", "@", ""] {
        let unknown = server.post("", LOGIN, login_body(user, PASSWORD));
        assert_eq!(unknown.error(403, "M_FORBIDDEN"), wrong, "{user}");
    }
}

#[test]
fn logging_out_ends_the_device_and_no_other() {
    let server = Server::new();
    let first = server.register("alice");
    let second = server.login("alice");
    let third = server.login("alice");
    server.post(&second, "/_matrix/client/v3/logout", json!({})).ok();
    let body = server.get(&second, WHOAMI).error(401, "M_UNKNOWN_TOKEN");
    assert_eq!(body["soft_logout"], false);
    server.get(&first, WHOAMI).ok();
    server.post(&first, "/_matrix/client/v3/logout/all", json!({})).ok();
    for ended in [&first, &third] {
        server.get(ended, WHOAMI).error(401, "M_UNKNOWN_TOKEN");
    }
    assert!(server.rows("SELECT device_id FROM devices").is_empty());
    server.post("", "/_matrix/client/v3/logout", json!({})).error(401, "M_MISSING_TOKEN");
}

#[test]
fn a_registration_on_a_session_remembers_what_was_sent_first_and_is_idempotent() {
    let server = Server::new();
    let first = json!({
        "username": "alice",
        "password": PASSWORD,
        "device_id": "xyzzy",
        "initial_device_display_name": "my phone",
    });
    let challenge = server.post("", REGISTER, first);
    assert_eq!(challenge.status, 401);
    assert_eq!(challenge.body["flows"], json!([{ "stages": ["m.login.dummy"] }]));
    assert!(challenge.body.get("errcode").is_none());
    let auth = json!({ "type": "m.login.dummy", "session": challenge.body["session"] });
    let answer = server.post("", REGISTER, json!({ "auth": auth })).ok();
    assert_eq!(answer["device_id"], "xyzzy");
    let again = server.post("", REGISTER, json!({ "auth": auth })).ok();
    assert_eq!(again["user_id"], answer["user_id"]);
    server.get(account(&answer), WHOAMI).error(401, "M_UNKNOWN_TOKEN");
    server.get(account(&again), WHOAMI).ok();
    let devices = server.rows("SELECT device_id, display_name FROM devices");
    assert_eq!(json!(devices), json!([{ "device_id": "xyzzy", "display_name": "my phone" }]));
    server.post("", LOGIN, login_body("alice", PASSWORD)).ok();
    let stored = server.rows("SELECT clientdict, serverdict FROM ui_auth_sessions");
    assert!(!json!(stored).to_string().contains(PASSWORD));
}
