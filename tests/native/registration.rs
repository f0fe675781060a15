//! Registration in all its forms: tokens, terms, guests, by operators; limits; failures.

use crate::support::{Account, Failure, PASSWORD, Server, account};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};

const REGISTER: &str = "/_matrix/client/v3/register";
const LOGIN: &str = "/_matrix/client/v3/login";
const WHOAMI: &str = "/_matrix/client/v3/account/whoami";

/// A registration that a dummy stage is enough for.
fn dummy(username: &str) -> Value {
    json!({ "auth": { "type": "m.login.dummy" }, "username": username, "password": PASSWORD })
}

fn login_body(user: &str) -> Value {
    json!({ "type": "m.login.password", "user": user, "password": PASSWORD })
}

#[test]
fn names_are_in_lower_case_and_follow_the_grammar() {
    let server = Server::new();
    let body = server.post("", REGISTER, dummy("user-UPPER")).ok();
    assert_eq!(body["user_id"], "@user-upper:example.org");
    for name in ["q3._=-/+", "chrtestuser/"] {
        server.post("", REGISTER, dummy(name)).ok();
    }
    for character in "!\":?\\@[]{|}£é\n'".chars() {
        let name = format!("chrtestuser{character}");
        server.post("", REGISTER, dummy(&name)).error(400, "M_INVALID_USERNAME");
    }
    for name in ["", "_bridge", "123", &"a".repeat(300)] {
        server.post("", REGISTER, dummy(name)).error(400, "M_INVALID_USERNAME");
    }
    server.post("", REGISTER, dummy("USER-upper")).error(400, "M_USER_IN_USE");
    let available = "/_matrix/client/v3/register/available?username=";
    assert_eq!(server.get("", &format!("{available}free")).ok()["available"], true);
    server.get("", &format!("{available}user-upper")).error(400, "M_USER_IN_USE");
    server.get("", &format!("{available}%21")).error(400, "M_INVALID_USERNAME");
    server.get("", "/_matrix/client/v3/register/available").error(400, "M_MISSING_PARAM");
}

#[test]
fn a_user_without_a_name_gets_a_number_and_inhibit_login_gives_no_token() {
    let server = Server::new();
    let mut body = dummy("");
    body.as_object_mut().unwrap().remove("username");
    let first = server.post("", REGISTER, body.clone()).ok();
    assert_eq!(first["user_id"], "@1:example.org");
    body["inhibit_login"] = json!(true);
    let second = server.post("", REGISTER, body).ok();
    assert_eq!(second, json!({ "user_id": "@2:example.org", "home_server": "example.org" }));
    assert_eq!(server.rows("SELECT device_id FROM devices").len(), 1);
}

#[test]
fn closed_registration_is_closed_to_all_but_operators() {
    let server = Server::with(&[("REGISTRATION", "closed")]);
    let refused = server.post("", REGISTER, dummy("alice"));
    assert_eq!(refused.cost.round_trips.get(), 0);
    refused.error(403, "M_FORBIDDEN");
    server.post("", REGISTER, json!({})).error(403, "M_FORBIDDEN");
    let guests = format!("{REGISTER}?kind=guest");
    server.post("", &guests, json!({})).error(403, "M_GUEST_ACCESS_FORBIDDEN");
    let available = "/_matrix/client/v3/register/available?username=alice";
    server.get("", available).error(403, "M_FORBIDDEN");
}

/// Writes a registration token with so many uses.
fn token_server() -> Server {
    let server = Server::with(&[("REGISTRATION", "token")]);
    server.get("", "/_matrix/client/v3/register/available?username=alice").ok();
    server.rows("INSERT INTO registration_tokens VALUES ('once', 1, 0, 0, NULL) RETURNING token");
    server.rows("INSERT INTO registration_tokens VALUES ('old', NULL, 0, 0, 5) RETURNING token");
    server
}

fn with_token(username: &str, token: &str) -> Value {
    let auth = json!({ "type": "m.login.registration_token", "token": token });
    json!({ "auth": auth, "username": username, "password": PASSWORD })
}

fn uses(server: &Server) -> Value {
    let sql = "SELECT pending, completed FROM registration_tokens WHERE token = 'once'";
    server.rows(sql).remove(0)
}

#[test]
fn a_registration_token_is_good_for_as_many_uses_as_it_allows() {
    let server = token_server();
    let challenge = server.post("", REGISTER, dummy("alice"));
    challenge.error(400, "M_UNRECOGNIZED");
    let challenge = server.post("", REGISTER, json!({ "username": "alice" }));
    assert_eq!(challenge.body["flows"], json!([{ "stages": ["m.login.registration_token"] }]));
    for token in ["wrong", "old"] {
        let refused = server.post("", REGISTER, with_token("alice", token));
        assert!(refused.error(401, "M_UNAUTHORIZED")["session"].is_string());
    }
    let validity = "/_matrix/client/v1/register/m.login.registration_token/validity?token=";
    assert_eq!(server.get("", &format!("{validity}once")).ok()["valid"], true);
    server.post("", REGISTER, with_token("alice", "once")).ok();
    assert_eq!(uses(&server), json!({ "pending": 0, "completed": 1 }));
    server.post("", REGISTER, with_token("bob", "once")).error(401, "M_UNAUTHORIZED");
    for token in ["once", "old", "wrong"] {
        assert_eq!(server.get("", &format!("{validity}{token}")).ok()["valid"], false);
    }
}

#[test]
fn two_registrations_at_once_share_no_use_of_a_token() {
    let server = token_server();
    let first = server.request("POST", "", REGISTER, &with_token("alice", "once"));
    let second = server.request("POST", "", REGISTER, &with_token("bob", "once"));
    let (first, second) = server.run(async { futures_util::join!(first, second) });
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
    assert_eq!(server.rows("SELECT name FROM users").len(), 1);
}

#[test]
fn a_session_holds_a_use_of_a_token_until_it_is_over() {
    let server = Server::with(&[
        ("REGISTRATION", "token"),
        ("REGISTRATION_TERMS_URL", "https://example.org/terms"),
        ("REGISTRATION_TERMS_VERSION", "2"),
    ]);
    server.get("", "/_matrix/client/v3/register/available?username=alice").ok();
    server.rows("INSERT INTO registration_tokens VALUES ('once', 1, 0, 0, NULL) RETURNING token");
    let challenge = server.post("", REGISTER, with_token("alice", "once"));
    assert_eq!(challenge.status, 401);
    assert_eq!(challenge.body["completed"], json!(["m.login.registration_token"]));
    let policies = &challenge.body["params"]["m.login.terms"]["policies"];
    assert_eq!(policies["terms_of_service"]["version"], "2");
    assert_eq!(uses(&server), json!({ "pending": 1, "completed": 0 }));
    server.post("", REGISTER, with_token("bob", "once")).error(401, "M_UNAUTHORIZED");
    // The session is given up, and swept away two days later.
    server.platform.advance(48 * 60 * 60 * 1000 + 1);
    let context = server.platform.context();
    server.run(async move { myelin::sweep::remove_expired(&context).await }).unwrap();
    assert_eq!(uses(&server), json!({ "pending": 0, "completed": 0 }));
    let challenge = server.post("", REGISTER, with_token("bob", "once"));
    let auth = json!({ "type": "m.login.terms", "session": challenge.body["session"] });
    server.post("", REGISTER, json!({ "auth": auth })).ok();
    assert_eq!(uses(&server), json!({ "pending": 0, "completed": 1 }));
    let consent = server.rows("SELECT name, consent_version FROM users");
    assert_eq!(json!(consent), json!([{ "name": "@bob:example.org", "consent_version": "2" }]));
}

#[test]
fn guests_get_an_account_without_a_password() {
    let server = Server::with(&[("ALLOW_GUESTS", "true")]);
    let path = format!("{REGISTER}?kind=guest");
    let guest = account(&server.post("", &path, json!({})).ok());
    assert_eq!(guest.device_id, "guest_device");
    assert_eq!(server.get(&guest, WHOAMI).ok()["is_guest"], true);
    let path = "/_matrix/client/v3/account/password";
    let body = json!({ "new_password": "secret" });
    server.post(&guest, path, body).error(403, "M_GUEST_ACCESS_FORBIDDEN");
    let mut login = login_body(&guest.user_id);
    login["password"] = json!("");
    server.post("", LOGIN, login).error(403, "M_FORBIDDEN");
    let unknown = format!("{REGISTER}?kind=robot");
    server.post("", &unknown, json!({})).error(400, "M_UNRECOGNIZED");
}

/// A guest, and the registration that makes a full account of a guest of that name.
fn guest_and_upgrade(server: &Server) -> (Account, Value) {
    let guest = account(&server.post("", &format!("{REGISTER}?kind=guest"), json!({})).ok());
    let (localpart, _) = guest.user_id[1..].split_once(':').unwrap();
    let mut upgrade = dummy(localpart);
    upgrade["guest_access_token"] = json!(guest.token);
    (guest, upgrade)
}

#[test]
fn a_guest_becomes_a_full_user_of_the_same_name() {
    let server = Server::with(&[("ALLOW_GUESTS", "true")]);
    let (guest, upgrade) = guest_and_upgrade(&server);
    server
        .put(
            &guest,
            &format!("/_matrix/client/v3/profile/{}/displayname", guest.user_id),
            json!({ "displayname": "Greta" }),
        )
        .ok();
    let mut first = upgrade.clone();
    first.as_object_mut().unwrap().remove("auth");
    let session = server.post("", REGISTER, first).body["session"].clone();
    // What was sent with the session need not be sent again.
    let last = json!({ "auth": { "type": "m.login.dummy", "session": session } });
    let user = account(&server.post("", REGISTER, last.clone()).ok());
    assert_eq!(user.user_id, guest.user_id);
    assert_ne!(user.device_id, guest.device_id);
    assert!(server.get(&user, WHOAMI).ok().get("is_guest").is_none());
    server.get(&guest, WHOAMI).error(401, "M_UNKNOWN_TOKEN");
    server.post("", LOGIN, login_body(&guest.user_id)).ok();
    let profile = server.get(&user, &format!("/_matrix/client/v3/profile/{}", user.user_id)).ok();
    assert_eq!(profile["displayname"], "Greta");
    // The session remembers its user, but the guest is gone.
    assert_eq!(server.post("", REGISTER, last).ok()["user_id"], json!(guest.user_id));
    server.post("", REGISTER, upgrade).error(403, "M_FORBIDDEN");
}

#[test]
fn nobody_becomes_somebody_else_by_a_guests_token() {
    let server = Server::with(&[("ALLOW_GUESTS", "true")]);
    let (_, upgrade) = guest_and_upgrade(&server);
    let (_, mut other) = guest_and_upgrade(&server);
    let alice = server.register("alice");
    other["username"] = upgrade["username"].clone();
    server.post("", REGISTER, other.clone()).error(403, "M_FORBIDDEN");
    for name in ["alice", "free"] {
        other["username"] = json!(name);
        server.post("", REGISTER, other.clone()).error(403, "M_FORBIDDEN");
    }
    other["username"] = json!("alice");
    other["guest_access_token"] = json!(alice.token);
    server.post("", REGISTER, other.clone()).error(403, "M_FORBIDDEN");
    other["guest_access_token"] = json!(["token"]);
    server.post("", REGISTER, other).error(400, "M_INVALID_PARAM");
    let mut without_token = upgrade.clone();
    without_token.as_object_mut().unwrap().remove("guest_access_token");
    server.post("", REGISTER, without_token).error(400, "M_INVALID_USERNAME");
    let [first, second] = [(); 2].map(|()| server.request("POST", "", REGISTER, &upgrade));
    let both = futures_util::future::join(first, second);
    let (first, second) = server.run(both);
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403]);
}

#[test]
fn somebody_who_is_logged_in_registers_nobody() {
    let server = Server::new();
    let alice = server.register("alice");
    server.post(&alice, REGISTER, dummy("bob")).error(400, "M_UNKNOWN");
    server.post("", &format!("{REGISTER}?access_token=x"), dummy("bob")).error(400, "M_UNKNOWN");
    server.post("", REGISTER, dummy("bob")).ok();
}

/// A registration by the shared secret of test servers.
fn by_secret(server: &Server, username: &str, admin: bool, secret: &str) -> Value {
    let path = "/_synapse/admin/v1/register";
    let nonce = server.get("", path).ok()["nonce"].as_str().unwrap().to_owned();
    let kind = if admin { "admin" } else { "notadmin" };
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update([&nonce, username, PASSWORD, kind].join("\0").as_bytes());
    let mac = mac.finalize().into_bytes();
    let mac: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "nonce": nonce, "username": username, "password": PASSWORD, "admin": admin, "mac": mac
    })
}

#[test]
fn the_shared_secret_makes_users_and_administrators() {
    let path = "/_synapse/admin/v1/register";
    let server = Server::with(&[("REGISTRATION", "closed")]);
    let body = by_secret(&server, "Root", true, "shared secret");
    let root = server.post("", path, body.clone()).ok();
    assert_eq!(root["user_id"], "@root:example.org");
    server.get(account(&root), WHOAMI).ok();
    server.post("", path, body).error(400, "M_UNKNOWN");
    let body = by_secret(&server, "user", false, "shared secret");
    server.post("", path, body).ok();
    let admins = server.rows("SELECT name FROM users WHERE admin = 1");
    assert_eq!(json!(admins), json!([{ "name": "@root:example.org" }]));
    let forged = by_secret(&server, "eve", true, "guess");
    server.post("", path, forged).error(403, "M_FORBIDDEN");
    let mut raised = by_secret(&server, "eve", false, "shared secret");
    raised["admin"] = json!(true);
    server.post("", path, raised).error(403, "M_FORBIDDEN");
    let symbols = by_secret(&server, "us,er", false, "shared secret");
    server.post("", path, symbols).error(400, "M_INVALID_USERNAME");
    let late = by_secret(&server, "late", false, "shared secret");
    server.platform.advance(60_001);
    server.post("", path, late).error(400, "M_UNKNOWN");
    server.post("", path, json!({})).error(400, "M_BAD_JSON");
}

#[test]
fn the_first_account_is_made_once_with_the_token() {
    let path = "/_myelin/setup";
    let server = Server::with(&[("SETUP_TOKEN", "one-time"), ("REGISTRATION", "closed")]);
    assert_eq!(server.get("", path).ok(), json!({ "needed": true }));
    let body = |token: &str, username: &str| -> Value {
        json!({ "token": token, "username": username, "password": PASSWORD })
    };
    server.post("", path, body("guess", "root")).error(403, "M_FORBIDDEN");
    server.post("", path, body("", "root")).error(403, "M_FORBIDDEN");
    server.post("", path, json!({ "token": "one-time" })).error(400, "M_BAD_JSON");
    let first = server.request("POST", "", path, &body("one-time", "root"));
    let second = server.request("POST", "", path, &body("one-time", "toor"));
    let (first, second) = server.run(async { futures_util::join!(first, second) });
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403]);
    assert_eq!(server.rows("SELECT name FROM users WHERE admin = 1").len(), 1);
    assert_eq!(server.get("", path).ok(), json!({ "needed": false }));
    server.post("", path, body("one-time", "third")).error(403, "M_FORBIDDEN");
    assert_eq!(Server::new().get("", path).ok(), json!({ "needed": false }));
}

#[test]
fn an_email_address_stands_for_its_user() {
    let server = Server::new();
    let alice = server.register("alice");
    server.rows(
        "INSERT INTO user_threepids VALUES
             ('@alice:example.org', 'email', 'alice@example.org', 1, 1) RETURNING user_id",
    );
    let email =
        |address: &str| json!({ "type": "m.id.thirdparty", "medium": "email", "address": address });
    let body = |identifier: Value| -> Value {
        json!({ "type": "m.login.password", "identifier": identifier, "password": PASSWORD })
    };
    let again = server.post("", LOGIN, body(email("Alice@Example.org"))).ok();
    assert_eq!(again["user_id"], json!(alice.user_id));
    server.post("", LOGIN, body(email("bob@example.org"))).error(403, "M_FORBIDDEN");
    let old = json!({
        "type": "m.login.password", "medium": "email", "address": "alice@example.org",
        "password": PASSWORD,
    });
    server.post("", LOGIN, old).ok();
}

#[test]
fn limits_stop_guessing_and_say_when_to_try_again() {
    let server = Server::with(&[("RATE_LIMITS", "on")]);
    for name in ["a", "b", "c"] {
        server.post("", REGISTER, dummy(name)).ok();
    }
    let limited = server.post("", REGISTER, dummy("d"));
    assert!(limited.headers.contains_key("retry-after"));
    let limited = limited.error(429, "M_LIMIT_EXCEEDED");
    server.platform.advance(limited["retry_after_ms"].as_u64().unwrap());
    server.post("", REGISTER, dummy("d")).ok();
    let mut wrong = login_body("a");
    wrong["password"] = json!("wrong");
    for _ in 0..3 {
        server.post("", LOGIN, wrong.clone()).error(403, "M_FORBIDDEN");
    }
    // The account is closed to everyone for a moment, and the address nearly used up.
    server.post("", LOGIN, login_body("a")).error(429, "M_LIMIT_EXCEEDED");
    server.post("", LOGIN, login_body("b")).ok();
    let limited = server.post("", LOGIN, login_body("b")).error(429, "M_LIMIT_EXCEEDED");
    assert!(limited["retry_after_ms"].as_u64().unwrap() > 300_000);
}

#[test]
fn a_registration_whose_commit_was_lost_can_be_repeated_on_its_session() {
    for failure in [Failure::BeforeLanding, Failure::AfterLanding] {
        let server = Server::new();
        let body = json!({ "username": "alice", "password": PASSWORD });
        let session = server.post("", REGISTER, body).body["session"].clone();
        let body = json!({ "auth": { "type": "m.login.dummy", "session": session } });
        server.platform.sqlite.fail_next("INSERT INTO users ", failure);
        server.post("", REGISTER, body.clone()).error(500, "M_UNKNOWN");
        assert_eq!(server.platform.sqlite.planned_failures(), 0);
        let alice = account(&server.post("", REGISTER, body).ok());
        server.get(&alice, WHOAMI).ok();
        assert_eq!(server.rows("SELECT name FROM users").len(), 1);
    }
}

#[test]
fn what_is_malformed_is_refused_with_its_reason() {
    let server = Server::new();
    let not_json = server.request_bytes("POST", "", REGISTER, b"{".to_vec());
    server.run(not_json).error(400, "M_NOT_JSON");
    let wrong_bodies = [json!([]), json!("a"), json!({ "auth": 1 })];
    for body in wrong_bodies {
        server.post("", REGISTER, body).error(400, "M_BAD_JSON");
    }
    let wrong_fields = [
        ("username", json!(1)),
        ("username", json!("a".repeat(513))),
        ("password", json!(1)),
        ("password", json!("a".repeat(513))),
        ("device_id", json!(1)),
        ("device_id", json!("a".repeat(513))),
        ("initial_device_display_name", json!("a".repeat(101))),
        ("refresh_token", json!("yes")),
    ];
    for (name, value) in wrong_fields {
        let mut body = dummy("alice");
        body[name] = value;
        server.post("", REGISTER, body).error(400, "M_INVALID_PARAM");
    }
    let mut without_password = dummy("alice");
    without_password["password"] = json!("");
    server.post("", REGISTER, without_password.clone()).error(400, "M_MISSING_PARAM");
    without_password.as_object_mut().unwrap().remove("password");
    server.post("", REGISTER, without_password).error(400, "M_MISSING_PARAM");
    server.post("", LOGIN, json!({})).error(400, "M_MISSING_PARAM");
    server.post("", LOGIN, json!({ "type": 1 })).error(400, "M_INVALID_PARAM");
    server.post("", LOGIN, json!({ "type": "m.login.token" })).error(400, "M_UNKNOWN");
    let body = json!({ "type": "m.login.password", "password": "p" });
    server.post("", LOGIN, body).error(400, "M_MISSING_PARAM");
    let body = json!({ "type": "m.login.password", "user": "alice" });
    server.post("", LOGIN, body).error(400, "M_INVALID_PARAM");
    assert!(server.rows("SELECT name FROM users").is_empty());
}

#[test]
fn a_stage_can_be_completed_on_its_page() {
    let server = token_server();
    let body = json!({ "username": "alice", "password": PASSWORD });
    let session = server.post("", REGISTER, body).body["session"].clone();
    let session = session.as_str().unwrap();
    let path = "/_matrix/client/v3/auth/m.login.registration_token/fallback/web";
    let shown = server.get("", &format!("{path}?session={session}%22%3E"));
    let html = String::from_utf8(shown.bytes).unwrap();
    assert!(shown.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(html.contains(&format!("value=\"{session}&quot;&gt;\"")), "{html}");
    let send =
        |fields: String| server.run(server.request_bytes("POST", "", path, fields.into_bytes()));
    let wrong = send(format!("session={session}&token=wrong"));
    assert_eq!(wrong.status, 401);
    assert!(String::from_utf8(wrong.bytes).unwrap().contains("Invalid registration token"));
    send("session=unknown&token=once".to_owned()).error(400, "M_UNKNOWN");
    let done = send(format!("session={session}&token=once"));
    assert_eq!(done.status, 200);
    assert!(String::from_utf8(done.bytes).unwrap().contains("onAuthDone"));
    server.post("", REGISTER, json!({ "auth": { "session": session } })).ok();
    assert_eq!(uses(&server), json!({ "pending": 0, "completed": 1 }));
    let other = "/_matrix/client/v3/auth/m.login.password/fallback/web?session=s";
    server.get("", other).error(404, "M_NOT_FOUND");
}
