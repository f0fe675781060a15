//! Bridges and bots: what they may do with their token, and for whom. Application Service API.

mod support;

use serde_json::{Value, json};
use support::{Account, Server, account};

const TOKEN: &str = "token of the bridge";
const REGISTER: &str = "/_matrix/client/v3/register";

fn registrations() -> Value {
    json!([
        {
            "id": "bridge",
            "url": "https://bridge.test/as",
            "as_token": TOKEN,
            "hs_token": "token of the server",
            "sender_localpart": "bridgebot",
            "protocols": ["irc"],
            "namespaces": {
                "users": [{ "exclusive": true, "regex": "@_irc_.*" }],
                "aliases": [{ "exclusive": true, "regex": "#irc_.*" }],
            },
        },
        {
            "id": "other",
            "url": null,
            "as_token": "token of the other",
            "hs_token": "another token",
            "sender_localpart": "otherbot",
        },
    ])
}

fn server() -> Server {
    Server::with(&[("APPLICATION_SERVICES", &registrations().to_string())])
}

/// The bridge's token, to be used with `?user_id=`.
fn bridge() -> Account {
    account(&json!({ "user_id": "@bridgebot:example.org", "access_token": TOKEN }))
}

fn ghost(server: &Server, name: &str) -> Account {
    let body = json!({ "type": "m.login.application_service", "username": name });
    account(&server.post(bridge(), REGISTER, body).ok())
}

fn as_user(path: &str, user_id: &str) -> String {
    format!("{path}?user_id={user_id}")
}

#[test]
fn a_service_makes_users_of_its_namespace() {
    let server = server();
    let ghost = ghost(&server, "_irc_alice");
    assert_eq!(ghost.user_id, "@_irc_alice:example.org");
    let whoami = server.get(&ghost, "/_matrix/client/v3/account/whoami").ok();
    assert_eq!(whoami["user_id"], ghost.user_id);
    assert_eq!(
        server.rows("SELECT name, appservice_id FROM users"),
        [json!({ "name": ghost.user_id, "appservice_id": "bridge" })]
    );

    let kind = "m.login.application_service";
    let body = json!({ "type": kind, "username": "_irc_bob", "inhibit_login": true });
    let answer = server.post(bridge(), REGISTER, body.clone()).ok();
    assert_eq!(answer["user_id"], "@_irc_bob:example.org");
    assert!(answer["access_token"].is_null() && answer["device_id"].is_null(), "{answer}");
    server.post(bridge(), REGISTER, body.clone()).error(400, "M_USER_IN_USE");
    server.post("", REGISTER, body.clone()).error(401, "M_MISSING_TOKEN");
    server.post(&ghost, REGISTER, body).error(401, "M_UNKNOWN_TOKEN");
    let outside = json!({ "type": kind, "username": "carol" });
    server.post(bridge(), REGISTER, outside).error(400, "M_EXCLUSIVE");
}

#[test]
fn nobody_else_makes_users_of_a_namespace() {
    let server = server();
    let auth = json!({ "type": "m.login.dummy" });
    for name in ["bridgebot", "otherbot"] {
        let body = json!({ "auth": auth, "username": name, "password": "12345678" });
        server.post("", REGISTER, body).error(400, "M_EXCLUSIVE");
        let path = format!("{REGISTER}/available?username={name}");
        server.get("", &path).error(400, "M_EXCLUSIVE");
    }
    server.register("somebody");
}

#[test]
fn a_service_logs_its_users_in() {
    let server = server();
    let ghost = ghost(&server, "_irc_alice");
    let flows = server.get("", "/_matrix/client/v3/login").ok();
    let kind = "m.login.application_service";
    assert!(flows["flows"].as_array().unwrap().contains(&json!({ "type": kind })), "{flows}");
    let log_in = |token: &str, user: &str| {
        let identifier = json!({ "type": "m.id.user", "user": user });
        let body = json!({ "type": kind, "identifier": identifier });
        server.post(token, "/_matrix/client/v3/login", body)
    };
    let again = account(&log_in(TOKEN, "_irc_alice").ok());
    assert_eq!(again.user_id, ghost.user_id);
    assert_ne!(again.token, ghost.token);
    log_in(TOKEN, "_irc_nobody").error(403, "M_FORBIDDEN");
    log_in(TOKEN, "alice").error(400, "M_EXCLUSIVE");
    log_in(TOKEN, "@_irc_alice:elsewhere.org").error(400, "M_EXCLUSIVE");
    log_in("", "_irc_alice").error(401, "M_MISSING_TOKEN");
    log_in("token of the other", "_irc_alice").error(400, "M_EXCLUSIVE");
}

#[test]
fn a_service_speaks_for_its_users_only() {
    let server = server();
    let alice = server.register("alice");
    let ghost = ghost(&server, "_irc_ghost");
    let whoami = "/_matrix/client/v3/account/whoami";
    assert_eq!(server.get(bridge(), whoami).ok()["user_id"], "@bridgebot:example.org");
    let own = as_user(whoami, "@bridgebot:example.org");
    assert_eq!(server.get(bridge(), &own).ok()["user_id"], "@bridgebot:example.org");
    let path = as_user(whoami, &ghost.user_id);
    assert_eq!(server.get(bridge(), &path).ok()["user_id"], ghost.user_id);
    let with_device = format!("{path}&device_id={}", ghost.device_id);
    assert_eq!(server.get(bridge(), &with_device).ok()["device_id"], ghost.device_id);
    server.get(bridge(), &format!("{path}&device_id=NONE")).error(400, "M_UNKNOWN_DEVICE");
    for other in [&alice.user_id, "@_irc_none:example.org", "@_irc_ghost:elsewhere.org", "x"] {
        server.get(bridge(), &as_user(whoami, other)).error(403, "M_FORBIDDEN");
    }
    // With a token of one's own, the parameter means nothing.
    let path = as_user(whoami, &ghost.user_id);
    assert_eq!(server.get(&alice, &path).ok()["user_id"], alice.user_id);

    let name = |user_id: &str| {
        let path = format!("/_matrix/client/v3/profile/{user_id}/displayname");
        let body = json!({ "displayname": "From IRC" });
        server.put(bridge(), &as_user(&path, user_id), body)
    };
    name(&ghost.user_id).ok();
    name(&alice.user_id).error(403, "M_FORBIDDEN");
    let profile = server.get("", &format!("/_matrix/client/v3/profile/{}", ghost.user_id)).ok();
    assert_eq!(profile["displayname"], "From IRC");
}

#[test]
fn users_of_a_service_are_in_rooms_without_logging_in() {
    let server = server();
    let alice = server.register("alice");
    let ghost = ghost(&server, "_irc_ghost");
    let create = json!({ "preset": "private_chat", "invite": [ghost.user_id, bridge().user_id] });
    let room = server.post(&alice, "/_matrix/client/v3/createRoom", create).ok();
    let room = room["room_id"].as_str().unwrap();
    let join = format!("/_matrix/client/v3/join/{room}");
    server.post(bridge(), &join, json!({})).ok();
    server.post(bridge(), &as_user(&join, &ghost.user_id), json!({})).ok();

    let send = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/1");
    let text = json!({ "msgtype": "m.text", "body": "hello from IRC" });
    server.put(bridge(), &as_user(&send, &ghost.user_id), text).ok();
    let read = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=1");
    let newest = server.get(&alice, &read).ok()["chunk"][0].clone();
    assert_eq!(
        (&newest["sender"], &newest["content"]["body"]),
        (&json!(ghost.user_id), &json!("hello from IRC"))
    );
    let joined = "/_matrix/client/v3/joined_rooms";
    for path in [joined.to_owned(), as_user(joined, &ghost.user_id)] {
        assert_eq!(server.get(bridge(), &path).ok()["joined_rooms"], json!([room]));
    }
    let sync = as_user("/_matrix/client/v3/sync", &ghost.user_id);
    let sync = server.get(bridge(), &sync).ok();
    assert!(sync["rooms"]["join"][room].is_object(), "{sync}");
}

#[test]
fn aliases_of_a_namespace_are_for_its_service() {
    let server = server();
    let alice = server.register("alice");
    let create = json!({ "preset": "public_chat" });
    let room = server.post(&alice, "/_matrix/client/v3/createRoom", create).ok();
    let body = json!({ "room_id": room["room_id"] });
    let irc = "/_matrix/client/v3/directory/room/%23irc_one:example.org";
    let other = "/_matrix/client/v3/directory/room/%23other:example.org";
    server.put(&alice, irc, body.clone()).error(400, "M_EXCLUSIVE");
    server.put(bridge(), other, body.clone()).error(400, "M_EXCLUSIVE");
    server.put(bridge(), irc, body.clone()).ok();
    assert_eq!(server.get("", irc).ok()["room_id"], room["room_id"]);
    server.delete(&alice, irc, Value::Null).error(400, "M_EXCLUSIVE");
    server.delete(bridge(), irc, Value::Null).ok();
    server.get("", irc).error(404, "M_NOT_FOUND");
    let create = json!({ "room_alias_name": "irc_two" });
    server.post(&alice, "/_matrix/client/v3/createRoom", create).error(400, "M_EXCLUSIVE");
}

#[test]
fn a_service_deactivates_its_users_without_a_password() {
    let server = server();
    let ghost = ghost(&server, "_irc_ghost");
    let path = as_user("/_matrix/client/v3/account/deactivate", &ghost.user_id);
    server.post(bridge(), &path, json!({})).ok();
    server.get(&ghost, "/_matrix/client/v3/account/whoami").error(401, "M_UNKNOWN_TOKEN");
    let whoami = as_user("/_matrix/client/v3/account/whoami", &ghost.user_id);
    server.get(bridge(), &whoami).error(403, "M_USER_DEACTIVATED");
}

#[test]
fn registrations_that_make_no_sense_are_told() {
    let name = "APPLICATION_SERVICES".to_owned();
    let error = myelin::config::Config::read([(name, "{}".to_owned())]).unwrap_err().to_string();
    let expected = "APPLICATION_SERVICES is not valid: it is no JSON list of registrations";
    assert!(error.starts_with(expected), "{error}");
}
