//! Accounts: registration, login, devices, user-interactive authentication.

use crate::support::house::House;
use crate::support::{Failure, PASSWORD, Server, account};
use myelin::durable::MembershipAction;
use serde_json::{Value, json};

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

/// The body of a request that proves who one is at once.
fn with_password(user: &str, password: &str, mut body: Value) -> Value {
    body["auth"] = login_body(user, password);
    body
}

#[test]
fn devices_are_listed_renamed_and_removed_with_a_password() {
    let server = Server::new();
    let alice = server.register("alice");
    let mut body = login_body("alice", PASSWORD);
    body["device_id"] = json!("PHONE");
    body["initial_device_display_name"] = json!("my phone");
    let phone = account(&server.post("", LOGIN, body).ok());
    let path = "/_matrix/client/v3/devices/PHONE";
    assert_eq!(server.get(&alice, path).ok()["display_name"], "my phone");
    server.put(&alice, path, json!({ "display_name": "old phone" })).ok();
    let devices = server.get(&alice, "/_matrix/client/v3/devices").ok();
    let names: Vec<&str> = devices["devices"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|device| device["display_name"].as_str())
        .collect();
    assert_eq!(names, ["old phone"]);
    for method in ["GET", "PUT"] {
        let unknown = "/_matrix/client/v3/devices/unknown";
        server.call(method, &alice, unknown, json!({})).error(404, "M_NOT_FOUND");
    }
    let challenge = server.delete(&alice, path, Value::Null);
    assert_eq!(challenge.status, 401);
    assert_eq!(challenge.body["flows"], json!([{ "stages": ["m.login.password"] }]));
    let wrong = server.delete(&alice, path, with_password("alice", "cashewnuts", json!({})));
    let wrong = wrong.error(401, "M_FORBIDDEN");
    assert!(wrong["session"].is_string() && wrong["completed"] == json!([]));
    server.get(&phone, WHOAMI).ok();
    server.delete(&alice, path, with_password("alice", PASSWORD, json!({}))).ok();
    server.get(&phone, WHOAMI).error(401, "M_UNKNOWN_TOKEN");
    server.get(&alice, path).error(404, "M_NOT_FOUND");
}

#[test]
fn somebody_elses_password_proves_nothing() {
    let server = Server::new();
    let alice = server.register("alice");
    server.register("eve");
    let path = format!("/_matrix/client/v3/devices/{}", alice.device_id);
    let body = with_password("eve", PASSWORD, json!({}));
    server.delete(&alice, &path, body).error(403, "M_FORBIDDEN");
    server.get(&alice, WHOAMI).ok();
}

#[test]
fn a_session_of_one_operation_is_none_of_another() {
    let server = Server::new();
    let alice = server.register("alice");
    let eve = server.register("eve");
    let path = "/_matrix/client/v3/delete_devices";
    let challenge = server.post(&alice, path, json!({ "devices": [alice.device_id] }));
    let mut body = with_password("alice", PASSWORD, json!({}));
    body["auth"]["session"] = challenge.body["session"].clone();
    let other = "/_matrix/client/v3/account/deactivate";
    server.post(&alice, other, body.clone()).error(403, "M_FORBIDDEN");
    server.post(&eve, path, body.clone()).error(403, "M_FORBIDDEN");
    let mut unknown = body.clone();
    unknown["auth"]["session"] = json!("unknown");
    server.post(&alice, path, unknown).error(400, "M_UNKNOWN");
    // The devices are those that were sent first.
    server.post(&alice, path, body).ok();
    server.get(&alice, WHOAMI).error(401, "M_UNKNOWN_TOKEN");
}

#[test]
fn a_new_password_replaces_the_old_one_and_ends_other_sessions_unless_told_not_to() {
    let server = Server::new();
    let alice = server.register("alice");
    let other = server.login("alice");
    let path = "/_matrix/client/v3/account/password";
    let keep = json!({ "new_password": "second", "logout_devices": false });
    server.post(&alice, path, with_password("alice", PASSWORD, keep)).ok();
    server.get(&other, WHOAMI).ok();
    server.post("", LOGIN, login_body("alice", PASSWORD)).error(403, "M_FORBIDDEN");
    let third = json!({ "new_password": "third" });
    server.post(&alice, path, with_password("alice", "second", third)).ok();
    server.get(&other, WHOAMI).error(401, "M_UNKNOWN_TOKEN");
    server.get(&alice, WHOAMI).ok();
    server.post("", LOGIN, login_body("alice", "third")).ok();
    let stored = server.rows("SELECT clientdict, serverdict FROM ui_auth_sessions");
    assert!(!json!(stored).to_string().contains("\"third\""));
}

#[test]
fn a_new_password_need_not_be_sent_again_on_a_session() {
    let server = Server::new();
    let alice = server.register("alice");
    let path = "/_matrix/client/v3/account/password";
    let challenge = server.post(&alice, path, json!({ "new_password": "second" }));
    let mut body = with_password("alice", PASSWORD, json!({}));
    body["auth"]["session"] = challenge.body["session"].clone();
    server.post(&alice, path, body).ok();
    server.post("", LOGIN, login_body("alice", "second")).ok();
}

#[test]
fn a_deactivated_account_is_gone_for_good() {
    let server = Server::new();
    let alice = server.register("alice");
    let path = "/_matrix/client/v3/account/deactivate";
    let wrong = server.post(&alice, path, with_password("alice", "wrong", json!({})));
    wrong.error(401, "M_FORBIDDEN");
    let body = with_password("alice", PASSWORD, json!({ "erase": true }));
    assert_eq!(server.post(&alice, path, body).ok()["id_server_unbind_result"], "success");
    server.get(&alice, WHOAMI).error(401, "M_UNKNOWN_TOKEN");
    server.post("", LOGIN, login_body("alice", PASSWORD)).error(403, "M_FORBIDDEN");
    let available = "/_matrix/client/v3/register/available?username=alice";
    server.get("", available).error(400, "M_USER_IN_USE");
    assert!(server.rows("SELECT * FROM users_pending_deactivation").is_empty());
    assert!(server.rows("SELECT * FROM profiles").is_empty());
    assert_eq!(server.rows("SELECT user_id FROM erased_users").len(), 1);
}

/// Logs in with a refresh token.
fn refreshable(server: &Server, user: &str) -> Value {
    let mut body = login_body(user, PASSWORD);
    body["refresh_token"] = json!(true);
    server.post("", LOGIN, body).ok()
}

#[test]
fn refresh_tokens_rotate_and_the_old_one_ends_with_the_first_use_of_the_new() {
    const REFRESH: &str = "/_matrix/client/v3/refresh";
    let server = Server::new();
    server.register("alice");
    let login = refreshable(&server, "alice");
    assert_eq!(login["expires_in_ms"], 300_000);
    let first = json!({ "refresh_token": login["refresh_token"] });
    server.platform.advance(300_001);
    let expired = server.get(account(&login), WHOAMI).error(401, "M_UNKNOWN_TOKEN");
    assert_eq!(expired["soft_logout"], true);
    let lost = server.post("", REFRESH, first.clone()).ok();
    // The answer was lost: the client asks again, and what it was to get is void.
    let second = server.post("", REFRESH, first.clone()).ok();
    server.get(account(&lost), WHOAMI).error(401, "M_UNKNOWN_TOKEN");
    let lost = json!({ "refresh_token": lost["refresh_token"] });
    server.post("", REFRESH, lost).error(401, "M_UNKNOWN_TOKEN");
    server.get(account(&second), WHOAMI).ok();
    server.post("", REFRESH, first.clone()).error(403, "M_FORBIDDEN");
    let next = json!({ "refresh_token": second["refresh_token"] });
    let third = server.post("", REFRESH, next).ok();
    assert!(third["refresh_token"].as_str().unwrap().starts_with("syr_"));
    // Only the last two are kept.
    assert_eq!(server.rows("SELECT id FROM refresh_tokens").len(), 2);
    server.post("", REFRESH, first).error(401, "M_UNKNOWN_TOKEN");
    server.post("", REFRESH, json!({ "refresh_token": "x" })).error(401, "M_UNKNOWN_TOKEN");
}

#[test]
fn two_refreshes_at_once_leave_one_session() {
    const REFRESH: &str = "/_matrix/client/v3/refresh";
    let server = Server::new();
    server.register("alice");
    let body = json!({ "refresh_token": refreshable(&server, "alice")["refresh_token"] });
    let first = server.request("POST", "", REFRESH, &body);
    let second = server.request("POST", "", REFRESH, &body);
    let (first, second) = server.run(async { futures_util::join!(first, second) });
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403]);
}

#[test]
fn a_device_that_logs_in_again_keeps_its_name_and_loses_its_token() {
    let server = Server::new();
    server.register("alice");
    let mut body = login_body("alice", PASSWORD);
    body["device_id"] = json!("PHONE");
    body["initial_device_display_name"] = json!("first");
    let first = account(&server.post("", LOGIN, body.clone()).ok());
    body["initial_device_display_name"] = json!("second");
    let second = account(&server.post("", LOGIN, body).ok());
    assert_eq!(first.device_id, second.device_id);
    server.get(&first, WHOAMI).error(401, "M_UNKNOWN_TOKEN");
    let device = server.get(&second, "/_matrix/client/v3/devices/PHONE").ok();
    assert_eq!(device["display_name"], "first");
    let changes = server.rows("SELECT stream_id, device_id FROM device_lists_stream");
    assert_eq!(changes.len(), 2, "{changes:?}");
}

#[test]
fn users_are_seen_once_in_two_minutes() {
    let server = Server::new();
    let alice = server.register("alice");
    let reply = server.get(&alice, WHOAMI);
    assert_eq!(reply.cost.round_trips.get(), 1);
    let seen = || server.rows("SELECT last_seen, ip, user_agent FROM user_ips");
    let first = seen();
    assert_eq!(first[0]["ip"], "192.0.2.1");
    server.platform.advance(60_000);
    server.get(&alice, WHOAMI).ok();
    assert_eq!(seen(), first);
    server.platform.advance(60_000);
    server.get(&alice, WHOAMI).ok();
    assert_eq!(seen().len(), 1);
    assert_ne!(seen(), first);
    let device = format!("/_matrix/client/v3/devices/{}", alice.device_id);
    let device = server.get(&alice, &device).ok();
    assert_eq!(device["last_seen_ts"], seen()[0]["last_seen"]);
    assert_eq!(device["last_seen_ip"], "192.0.2.1");
}

#[test]
fn a_deactivated_user_leaves_all_rooms_even_after_an_interruption() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let rooms: Vec<String> = (0..3).map(|_| house.room(&alice, "shared")).collect();
    for room_id in &rooms[..2] {
        house.join(room_id, &bob);
    }
    house.membership(MembershipAction::Invite, &rooms[2], &alice, &bob);
    let server = &house.server;
    // The first room cannot be left: its writer finds no way to the database.
    for _ in 0..8 {
        server.platform.sqlite.fail_next("INSERT INTO event_json", Failure::BeforeLanding);
    }
    let path = "/_matrix/client/v3/account/deactivate";
    server.post(&bob, path, with_password("bob", PASSWORD, json!({}))).ok();
    assert_eq!(server.rows("SELECT * FROM users_pending_deactivation").len(), 1);
    while server.platform.sqlite.planned_failures() > 0 {
        let context = server.platform.context();
        server.run(async move { myelin::sweep::run(&context).await });
    }
    let context = server.platform.context();
    server.run(async move { myelin::sweep::run(&context).await });
    assert!(server.rows("SELECT * FROM users_pending_deactivation").is_empty());
    let memberships = server.rows(
        "SELECT membership, count(*) AS rooms FROM local_current_membership
         WHERE user_id = '@bob:example.org' GROUP BY membership",
    );
    assert_eq!(json!(memberships), json!([{ "membership": "leave", "rooms": 3 }]));
}
