//! Bridges and bots: what they may do with their token, and for whom. Application Service API.

use crate::support::crypto::{Pair, cross_signing_key};
use crate::support::{Account, Server, account};
use serde_json::{Value, json};

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

fn limited_server(rate_limited: bool) -> Server {
    let mut services = registrations();
    services[0]["rate_limited"] = json!(rate_limited);
    let services = services.to_string();
    Server::with(&[("APPLICATION_SERVICES", &services), ("RATE_LIMITS", "on")])
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
fn a_service_looks_after_the_devices_of_its_users_without_logging_in() {
    let server = server();
    let kind = "m.login.application_service";
    let body = json!({ "type": kind, "username": "_irc_device", "inhibit_login": true });
    let user_id = server.post(bridge(), REGISTER, body).ok()["user_id"].clone();
    let user_id = user_id.as_str().unwrap();
    let device = |id: &str| as_user(&format!("/_matrix/client/v3/devices/{id}"), user_id);
    let name = |name: &str| json!({ "display_name": name });
    server.get(bridge(), &device("ONE")).error(404, "M_NOT_FOUND");
    let made = server.put(bridge(), &device("ONE"), name("first"));
    assert_eq!((made.status, made.body), (201, json!({})));
    let renamed = server.put(bridge(), &device("ONE"), name("second"));
    assert_eq!(renamed.status, 200);
    assert_eq!(server.get(bridge(), &device("ONE")).ok()["display_name"], "second");
    server.put(bridge(), &device(&"x".repeat(513)), name("x")).error(400, "M_INVALID_PARAM");
    // On that device it can speak for the user.
    let whoami = format!("/_matrix/client/v3/account/whoami?user_id={user_id}&device_id=ONE");
    assert_eq!(server.get(bridge(), &whoami).ok()["device_id"], "ONE");
    assert_eq!(server.put(bridge(), &device("TWO"), json!({})).status, 201);
    server.delete(bridge(), &device("ONE"), json!({})).ok();
    let several = as_user("/_matrix/client/v3/delete_devices", user_id);
    server.post(bridge(), &several, json!({ "devices": ["TWO"] })).ok();
    let all = as_user("/_matrix/client/v3/devices", user_id);
    assert_eq!(server.get(bridge(), &all).ok()["devices"], json!([]));
    // Anybody else needs a device that there is, and a proof.
    let alice = server.register("alice");
    let other = "/_matrix/client/v3/devices/OTHER";
    server.put(&alice, other, name("x")).error(404, "M_NOT_FOUND");
    assert_eq!(server.delete(&alice, other, json!({})).status, 401);
}

#[test]
fn a_service_replaces_the_cross_signing_keys_of_its_users() {
    let server = server();
    let ghost = ghost(&server, "_irc_crossed");
    let path = as_user("/_matrix/client/v3/keys/device_signing/upload", &ghost.user_id);
    for seed in [1, 2] {
        let pair = Pair::new(seed);
        let key = cross_signing_key(&ghost, "master", &pair, &pair);
        server.post(bridge(), &path, json!({ "master_key": key })).ok();
    }
}

#[test]
fn registrations_that_make_no_sense_are_told() {
    let name = "APPLICATION_SERVICES".to_owned();
    let error = myelin::config::Config::read([(name, "{}".to_owned())]).unwrap_err().to_string();
    let expected = "APPLICATION_SERVICES is not valid: it is no JSON list of registrations";
    assert!(error.starts_with(expected), "{error}");
}

const SERVICE: &str = "https://bridge.test/as/_matrix/app/v1";

/// The events that the bridge has been told since this was asked last, by transaction.
fn told(server: &Server) -> Vec<Vec<Value>> {
    let requests = server.platform.internet.take_requests().into_iter();
    let transactions = requests.filter(|r| r.uri().path().contains("/transactions/"));
    let read = |request: http::Request<Vec<u8>>| {
        assert_eq!(request.method(), "PUT");
        assert_eq!(request.headers()["authorization"], "Bearer token of the server");
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        body["events"].as_array().unwrap().clone()
    };
    transactions.map(read).collect()
}

fn take_transactions(server: &Server, ids: std::ops::RangeInclusive<u32>) {
    for id in ids {
        server.platform.internet.answer(&format!("{SERVICE}/transactions/{id}"), 200, "{}");
    }
}

fn room_of(server: &Server, creator: &Account, options: Value) -> String {
    let room = server.post(creator, "/_matrix/client/v3/createRoom", options).ok();
    room["room_id"].as_str().unwrap().to_owned()
}

fn send(server: &Server, sender: &Account, room: &str, text: &str) -> Value {
    let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{text}");
    let body = json!({ "msgtype": "m.text", "body": text });
    server.put(sender, &path, body).ok()["event_id"].clone()
}

fn bodies(events: &[Vec<Value>]) -> Vec<&Value> {
    let events = events.iter().flatten().filter(|event| event["type"] == "m.room.message");
    events.map(|event| &event["content"]["body"]).collect()
}

#[test]
fn a_service_is_told_what_concerns_its_users() {
    let server = server();
    take_transactions(&server, 1..=20);
    let alice = server.register("alice");
    let ghost = ghost(&server, "_irc_ghost");
    let room = room_of(&server, &alice, json!({ "preset": "private_chat" }));
    send(&server, &alice, &room, "before");
    assert_eq!(told(&server), Vec::<Vec<Value>>::new());

    let invite = format!("/_matrix/client/v3/rooms/{room}/invite");
    server.post(&alice, &invite, json!({ "user_id": ghost.user_id })).ok();
    let invited = told(&server).concat();
    assert_eq!(invited.len(), 1, "{invited:?}");
    let invitation = &invited[0];
    assert_eq!(
        (&invitation["state_key"], &invitation["room_id"]),
        (&json!(ghost.user_id), &json!(room))
    );
    server.post(&ghost, &format!("/_matrix/client/v3/join/{room}"), json!({})).ok();
    send(&server, &alice, &room, "hello");
    send(&server, &ghost, &room, "hi");
    let events = told(&server);
    assert_eq!(events[0][0]["content"]["membership"], "join");
    assert_eq!(bodies(&events), ["hello", "hi"]);

    server.post(&ghost, &format!("/_matrix/client/v3/rooms/{room}/leave"), json!({})).ok();
    send(&server, &alice, &room, "alone");
    let events = told(&server).concat();
    assert_eq!((events.len(), &events[0]["content"]["membership"]), (1, &json!("leave")));
    assert_eq!(server.rows("SELECT * FROM application_services_txns"), Vec::<Value>::new());
}

#[test]
fn a_service_that_fails_is_told_later_and_in_order() {
    let server = server();
    let alice = server.register("alice");
    let ghost = ghost(&server, "_irc_ghost");
    let room = room_of(&server, &ghost, json!({ "preset": "public_chat" }));
    server.post(&alice, &format!("/_matrix/client/v3/join/{room}"), json!({})).ok();
    send(&server, &alice, &room, "one");
    send(&server, &alice, &room, "two");
    assert_eq!(
        server.rows("SELECT as_id, state FROM application_services_state"),
        [json!({ "as_id": "bridge", "state": "down" })]
    );
    // Nothing else is sent before the first transaction has been taken.
    let first = told(&server).remove(0);
    assert_eq!(first[0]["type"], "m.room.create");

    server.platform.restart();
    take_transactions(&server, 1..=20);
    send(&server, &alice, &room, "three");
    let events = told(&server);
    assert_eq!(events[0], first);
    assert_eq!(bodies(&events), ["one", "two", "three"]);
    assert_eq!(server.rows("SELECT * FROM application_services_txns"), Vec::<Value>::new());
}

#[test]
fn a_service_that_recovers_is_told_without_another_event() {
    let server = server();
    let ghost = ghost(&server, "_irc_ghost");
    room_of(&server, &ghost, json!({}));
    assert!(!server.rows("SELECT * FROM application_services_txns").is_empty());
    take_transactions(&server, 1..=20);
    told(&server);
    let platform = server.platform.clone();
    server.run(async move { myelin::context::Platform::sleep(&*platform, 60_000).await });
    assert!(!told(&server).is_empty());
    assert_eq!(server.rows("SELECT * FROM application_services_txns"), Vec::<Value>::new());
    assert_eq!(
        server.rows("SELECT as_id, state FROM application_services_state"),
        [json!({ "as_id": "bridge", "state": "up" })]
    );
}

#[test]
fn the_sweep_tells_what_was_forgotten() {
    let server = server();
    let ghost = ghost(&server, "_irc_ghost");
    room_of(&server, &ghost, json!({}));
    take_transactions(&server, 1..=20);
    server.platform.restart();
    told(&server);
    let context = server.platform.context();
    server.run(async move { myelin::sweep::run(&context).await });
    assert_eq!(told(&server).concat()[0]["type"], "m.room.create");
}

#[test]
fn a_service_hears_of_rooms_with_its_aliases() {
    let server = server();
    take_transactions(&server, 1..=20);
    let alice = server.register("alice");
    let room = room_of(&server, &alice, json!({ "preset": "public_chat" }));
    send(&server, &alice, &room, "before");
    assert_eq!(told(&server), Vec::<Vec<Value>>::new());
    let alias = "/_matrix/client/v3/directory/room/%23irc_one:example.org";
    server.put(bridge(), alias, json!({ "room_id": room })).ok();
    send(&server, &alice, &room, "after");
    assert_eq!(bodies(&told(&server)), ["after"]);
}

#[test]
fn a_service_is_asked_for_users_and_aliases_that_do_not_exist() {
    let server = server();
    take_transactions(&server, 1..=20);
    let alice = server.register("alice");
    let room = room_of(&server, &alice, json!({ "preset": "public_chat" }));
    let invite = format!("/_matrix/client/v3/rooms/{room}/invite");
    server.post(&alice, &invite, json!({ "user_id": "@_irc_new:example.org" })).ok();
    let path = "/as/_matrix/app/v1/users/@_irc_new:example.org";
    let asked = |path: &str| {
        let requests = server.platform.internet.take_requests();
        let count = requests.iter().filter(|request| request.uri().path() == path).count();
        assert_eq!(count, 1, "{requests:?}");
    };
    asked(path);
    let join = "/_matrix/client/v3/join/%23irc_new:example.org";
    server.post(&alice, join, json!({})).error(404, "M_NOT_FOUND");
    asked("/as/_matrix/app/v1/rooms/%23irc_new:example.org");
    let directory = "/_matrix/client/v3/directory/room/%23irc_new:example.org";
    server.get("", directory).error(404, "M_NOT_FOUND");
    asked("/as/_matrix/app/v1/rooms/%23irc_new:example.org");
    // One that nobody has is nobody's to ask for.
    server
        .get("", "/_matrix/client/v3/directory/room/%23new:example.org")
        .error(404, "M_NOT_FOUND");
    assert!(server.platform.internet.take_requests().is_empty());
}

#[test]
fn services_tell_of_their_networks() {
    let server = server();
    let alice = server.register("alice");
    let protocol = json!({
        "user_fields": ["nick"],
        "location_fields": ["channel"],
        "icon": "mxc://example.org/irc",
        "field_types": {},
        "instances": [{ "desc": "One", "network_id": "one", "fields": {} }],
    });
    let internet = &server.platform.internet;
    internet.answer(&format!("{SERVICE}/thirdparty/protocol/irc"), 200, &protocol.to_string());
    let v3 = "/_matrix/client/v3/thirdparty";
    let mut expected = protocol;
    expected["instances"][0]["instance_id"] = json!("bridge|one");
    let all = server.get(&alice, &format!("{v3}/protocols")).ok();
    assert_eq!(all, json!({ "irc": expected }));
    assert_eq!(server.get(&alice, &format!("{v3}/protocol/irc")).ok(), expected);
    assert_eq!(internet.take_requests().len(), 1, "what was said is remembered");
    server.get(&alice, &format!("{v3}/protocol/icq")).error(404, "M_NOT_FOUND");

    let found = json!([{ "userid": "@_irc_a:example.org", "protocol": "irc", "fields": {} }]);
    internet.answer(&format!("{SERVICE}/thirdparty/user/irc"), 200, &found.to_string());
    let answer = server.get(&alice, &format!("{v3}/user/irc?nick=a&access_token=x")).ok();
    assert_eq!(answer, found);
    let asked = internet.take_requests().remove(0);
    assert_eq!(asked.uri().query(), Some("nick=a"));
    assert_eq!(asked.headers()["authorization"], "Bearer token of the server");
    assert_eq!(server.get(&alice, &format!("{v3}/location/irc")).ok(), json!([]));
    server.get(&alice, &format!("{v3}/location/icq")).error(404, "M_NOT_FOUND");
    internet.answer(&format!("{SERVICE}/thirdparty/user"), 200, &found.to_string());
    let of_id = format!("{v3}/user?userid=@_irc_a:example.org");
    assert_eq!(server.get(&alice, &of_id).ok(), found);
}

#[test]
fn networks_have_lists_of_rooms() {
    let server = server();
    let alice = server.register("alice");
    let room = room_of(&server, &alice, json!({ "preset": "public_chat" }));
    let list = format!("/_matrix/client/v3/directory/list/appservice/one/{room}");
    server.put(&alice, &list, json!({ "visibility": "public" })).error(403, "M_FORBIDDEN");
    server.put(bridge(), &list, json!({ "visibility": "seen" })).error(400, "M_INVALID_PARAM");
    server.put(bridge(), &list, json!({ "visibility": "public" })).ok();
    let is_in = |which: Value| {
        let body = server.post(&alice, "/_matrix/client/v3/publicRooms", which).ok();
        let count = body["chunk"].as_array().unwrap().len();
        assert_eq!(body["total_room_count_estimate"], count);
        count == 1
    };
    assert!(!is_in(json!({})));
    assert!(is_in(json!({ "include_all_networks": true })));
    assert!(is_in(json!({ "third_party_instance_id": "bridge|one" })));
    assert!(!is_in(json!({ "third_party_instance_id": "bridge|two" })));
    let wrong = json!({ "third_party_instance_id": "bridge" });
    server.post(&alice, "/_matrix/client/v3/publicRooms", wrong).error(400, "M_INVALID_PARAM");
    server.delete(bridge(), &list, Value::Null).ok();
    assert!(!is_in(json!({ "include_all_networks": true })));
}

#[test]
fn a_service_may_say_when_something_was_sent() {
    let server = server();
    let ghost = ghost(&server, "_irc_ghost");
    let room = room_of(&server, &ghost, json!({}));
    let send = |token: &str, at: &str, content: Value| {
        let path = format!("/_matrix/client/v3/rooms/{room}/{at}&user_id={}", ghost.user_id);
        server.put(token, &path, content)
    };
    let time_of = |event: Value| {
        let event_id = event["event_id"].as_str().unwrap().replace('$', "%24");
        let path = format!("/_matrix/client/v3/rooms/{room}/event/{event_id}");
        server.get(&ghost, &path).ok()["origin_server_ts"].clone()
    };
    let now = json!(server.platform.context().now_ms());
    let text = json!({ "body": "x" });
    assert_eq!(time_of(send(TOKEN, "send/m.room.message/1?ts=5", text.clone()).ok()), 5);
    let topic = send(TOKEN, "state/m.room.topic?ts=6", json!({ "topic": "x" })).ok();
    assert_eq!(time_of(topic), 6);
    assert_eq!(time_of(send(&ghost.token, "send/m.room.message/2?ts=5", text.clone()).ok()), now);
    send(TOKEN, "send/m.room.message/3?ts=-1", text.clone()).error(400, "M_INVALID_PARAM");
    send(TOKEN, "send/m.room.message/4?ts=1e9", text).error(400, "M_INVALID_PARAM");
}

#[test]
fn a_service_without_a_device_sends_once_what_it_sends_twice() {
    let server = server();
    let ghost = ghost(&server, "_irc_ghost");
    let room = room_of(&server, &ghost, json!({}));
    let send = |user_id: &str, txn_id: &str| {
        let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{txn_id}");
        let body = json!({ "body": "x" });
        server.put(bridge(), &as_user(&path, user_id), body).ok()["event_id"].clone()
    };
    assert_eq!(send(&ghost.user_id, "1"), send(&ghost.user_id, "1"));
    assert_ne!(send(&ghost.user_id, "1"), send(&ghost.user_id, "2"));
    assert_eq!(server.rows("SELECT * FROM event_txn_id_device_id"), Vec::<Value>::new());
}

#[test]
fn a_service_may_be_free_of_limits() {
    let flood = |server: &Server| {
        let ghost = ghost(server, "_irc_ghost");
        let room = room_of(server, &ghost, json!({}));
        let send = |index: u32| {
            let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{index}");
            server.put(&ghost, &path, json!({ "body": "x" })).status
        };
        (0..100).map(send).find(|status| *status != 200)
    };
    assert_eq!(flood(&limited_server(true)), Some(429));
    assert_eq!(flood(&limited_server(false)), None);
}

#[test]
fn users_of_services_are_not_notified() {
    let server = server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let ghost = ghost(&server, "_irc_ghost");
    let room = room_of(&server, &ghost, json!({ "preset": "public_chat" }));
    for member in [&alice, &bob] {
        server.post(member, &format!("/_matrix/client/v3/join/{room}"), json!({})).ok();
    }
    send(&server, &alice, &room, "_irc_ghost");
    let notified = server.rows("SELECT user_id FROM event_push_actions");
    assert_eq!(notified, [json!({ "user_id": bob.user_id })]);
}

#[test]
fn a_service_makes_no_users_that_are_another_ones() {
    let mut services = registrations();
    services[1]["namespaces"] = json!({ "users": [{ "exclusive": false, "regex": "@.*" }] });
    let server = Server::with(&[("APPLICATION_SERVICES", &services.to_string())]);
    let token = "token of the other";
    let other = account(&json!({ "user_id": "@otherbot:example.org", "access_token": token }));
    let body = |name| json!({ "type": "m.login.application_service", "username": name });
    for name in ["_irc_x", "bridgebot"] {
        server.post(&other, REGISTER, body(name)).error(400, "M_EXCLUSIVE");
    }
    server.post(&other, REGISTER, body("somebody")).ok();
}
