//! What clients keep about themselves and their rooms, and what they call when they start.

use crate::support::{Account, Reply, Server};
use myelin::storage::database::Statement;
use serde_json::{Value, json};

const ROOM: &str = "!room:example.org";
const V3: &str = "/_matrix/client/v3";

/// A server with its tables.
fn server() -> Server {
    with(&[])
}

fn with(variables: &[(&str, &str)]) -> Server {
    let server = Server::with(variables);
    let context = server.platform.context();
    server.run(async move { context.batch(Vec::new()).await }).unwrap();
    server
}

fn execute(server: &Server, sql: &'static str, values: &[&str]) {
    let statement = values.iter().fold(Statement::new(sql), |s, value| s.bind(*value));
    server.platform.sqlite.batch(&[statement]).unwrap();
}

/// Somebody with an account and a token.
fn account(server: &Server, name: &str) -> Account {
    let user_id = format!("@{name}:example.org");
    execute(server, "INSERT INTO users (name) VALUES (?1)", &[&user_id]);
    execute(
        server,
        "INSERT INTO access_tokens (id, user_id, device_id, token)
         SELECT count(*) + 1, ?1, 'DEVICE', ?2 FROM access_tokens",
        &[&user_id, name],
    );
    Account { user_id, device_id: "DEVICE".to_owned(), token: name.to_owned() }
}

fn guest(server: &Server) -> Account {
    let guest = account(server, "guest");
    execute(server, "UPDATE users SET is_guest = 1 WHERE name = ?1", &[&guest.user_id]);
    guest
}

fn join(server: &Server, account: &Account, membership: &str) {
    execute(
        server,
        "INSERT INTO local_current_membership (room_id, user_id, event_id, membership)
         VALUES (?1, ?2, '$join', ?3)",
        &[ROOM, &account.user_id, membership],
    );
}

/// Events `$1` to `$3` of the room; `$2` is in the thread of `$1`.
fn events(server: &Server) {
    let thread = json!({ "m.relates_to": { "rel_type": "m.thread", "event_id": "$1" } });
    for (event_id, content) in [("$1", json!({})), ("$2", thread), ("$3", json!({}))] {
        let json = json!({ "content": content }).to_string();
        execute(
            server,
            "INSERT INTO events (topological_ordering, event_id, type, room_id, processed, outlier)
             SELECT count(*), ?1, 'm.room.message', ?2, 1, 0 FROM events",
            &[event_id, ROOM],
        );
        execute(
            server,
            "INSERT INTO event_json (event_id, room_id, internal_metadata, json)
             VALUES (?1, ?2, '{}', ?3)",
            &[event_id, ROOM, &json],
        );
    }
}

fn user_path(account: &Account, rest: &str) -> String {
    format!("{V3}/user/{}/{rest}", account.user_id)
}

fn room_path(rest: &str) -> String {
    format!("{V3}/rooms/{ROOM}/{rest}")
}

fn receipt(server: &Server, account: &Account, rest: &str, body: Value) -> Reply {
    server.post(account, &room_path(&format!("receipt/{rest}")), body)
}

#[test]
fn account_data_comes_back_as_it_was_put_and_belongs_to_its_user() {
    let server = server();
    let (alice, bob) = (account(&server, "alice"), account(&server, "bob"));
    let path = user_path(&alice, "account_data/my.test.type");
    server.get(&alice, &path).error(404, "M_NOT_FOUND");
    server.put(&alice, &path, json!({ "cats_or_rats": "frogs" })).ok();
    let put = server.put(&alice, &path, json!({ "cats_or_rats": "cats" }));
    assert_eq!(put.cost.round_trips.get(), 2);
    put.ok();
    let get = server.get(&alice, &path);
    assert_eq!(get.cost.round_trips.get(), 1);
    assert_eq!(get.ok(), json!({ "cats_or_rats": "cats" }));
    server.get(&bob, &path).error(403, "M_FORBIDDEN");
    server.put(&bob, &path, json!({})).error(403, "M_FORBIDDEN");
    server.get("", &path).error(401, "M_MISSING_TOKEN");

    let in_room = user_path(&alice, &format!("rooms/{ROOM}/account_data/my.test.type"));
    server.get(&alice, &in_room).error(404, "M_NOT_FOUND");
    server.put(&alice, &in_room, json!({ "cats_or_rats": "rats" })).ok();
    assert_eq!(server.get(&alice, &in_room).ok(), json!({ "cats_or_rats": "rats" }));
}

#[test]
fn account_data_is_an_object_and_two_types_are_set_elsewhere() {
    let server = server();
    let alice = account(&server, "alice");
    let path = user_path(&alice, "account_data/my.test.type");
    server.put(&alice, &path, json!([1])).error(400, "M_BAD_JSON");
    let reply = server.run(server.request_bytes("PUT", &alice, &path, b"{".to_vec()));
    reply.error(400, "M_NOT_JSON");
    for event_type in ["m.fully_read", "m.push_rules"] {
        let path = user_path(&alice, &format!("account_data/{event_type}"));
        server.put(&alice, &path, json!({})).error(405, "M_BAD_JSON");
        let path = user_path(&alice, &format!("rooms/{ROOM}/account_data/{event_type}"));
        server.put(&alice, &path, json!({})).error(405, "M_BAD_JSON");
    }
    let rules = server.get(&alice, &user_path(&alice, "account_data/m.push_rules")).ok();
    assert_eq!(rules["global"]["override"][0]["rule_id"], ".m.rule.master");
    server
        .put(guest(&server), &path.replace("alice", "guest"), json!({}))
        .error(403, "M_GUEST_ACCESS_FORBIDDEN");
}

#[test]
fn the_list_of_ignored_users_is_kept_as_rows_too() {
    let server = server();
    let alice = account(&server, "alice");
    let path = user_path(&alice, "account_data/m.ignored_user_list");
    let ignoring = |users: Value| json!({ "ignored_users": users });
    let both = json!({ "@bob:example.org": {}, "@eve:example.org": {} });
    server.put(&alice, &path, ignoring(both)).ok();
    server.put(&alice, &path, ignoring(json!({ "@eve:example.org": {} }))).ok();
    let rows = server.rows("SELECT ignorer_user_id, ignored_user_id FROM ignored_users");
    let row = json!({ "ignorer_user_id": alice.user_id, "ignored_user_id": "@eve:example.org" });
    assert_eq!(rows, [row]);
    let own = ignoring(json!({ alice.user_id.as_str(): {} }));
    server.put(&alice, &path, own).error(400, "M_INVALID_PARAM");
    server.put(&alice, &path, ignoring(json!("odd"))).ok();
    assert!(server.rows("SELECT * FROM ignored_users").is_empty());
}

#[test]
fn tags_are_added_listed_and_removed_by_whoever_has_to_do_with_the_room() {
    let server = server();
    let (alice, bob) = (account(&server, "alice"), account(&server, "bob"));
    join(&server, &alice, "invite");
    let tags = user_path(&alice, &format!("rooms/{ROOM}/tags"));
    let tag = format!("{tags}/u.work");
    assert_eq!(server.get(&alice, &tags).ok(), json!({ "tags": {} }));
    server.put(&alice, &tag, json!({ "order": 0.25, "x": 1 })).ok();
    let expected = json!({ "tags": { "u.work": { "order": 0.25, "x": 1 } } });
    assert_eq!(server.get(&alice, &tags).ok(), expected);
    server.delete(&alice, &tag, json!({})).ok();
    server.delete(&alice, &tag, Value::Null).ok();
    assert_eq!(server.get(&alice, &tags).ok(), json!({ "tags": {} }));

    server.get(&bob, &tags).error(403, "M_FORBIDDEN");
    let long = format!("{tags}/{}", "x".repeat(256));
    server.put(&alice, &long, json!({})).error(400, "M_INVALID_PARAM");
    server.put(&alice, &tag, json!("x")).error(400, "M_BAD_JSON");
    let strangers = user_path(&bob, &format!("rooms/{ROOM}/tags/u.work"));
    server.put(&bob, &strangers, json!({})).error(403, "M_FORBIDDEN");
}

#[test]
fn receipts_are_of_members_for_events_of_the_room() {
    let server = server();
    let (alice, bob) = (account(&server, "alice"), account(&server, "bob"));
    join(&server, &alice, "join");
    join(&server, &bob, "leave");
    events(&server);
    let reply = receipt(&server, &alice, "m.read/$2", json!({}));
    assert_eq!(reply.cost.round_trips.get(), 2);
    reply.ok();
    receipt(&server, &alice, "m.read/$1", Value::Null).ok();
    receipt(&server, &alice, "m.read/$unknown", json!({})).ok();
    let rows = server.rows("SELECT receipt_type, event_id, data FROM receipts_linearized");
    let data = r#"{"ts":1700000000000}"#;
    let row = json!({ "receipt_type": "m.read", "event_id": "$2", "data": data });
    assert_eq!(rows, [row]);
    receipt(&server, &alice, "not.m.read/$1", json!({})).error(400, "M_INVALID_PARAM");
    receipt(&server, &alice, "m.read/odd", json!({})).error(400, "M_INVALID_PARAM");
    receipt(&server, &bob, "m.read/$1", json!({})).error(403, "M_FORBIDDEN");
}

#[test]
fn a_receipt_of_a_thread_names_an_event_of_that_thread() {
    let server = server();
    let alice = account(&server, "alice");
    join(&server, &alice, "join");
    events(&server);
    let threaded =
        |rest: &str, thread: Value| receipt(&server, &alice, rest, json!({ "thread_id": thread }));
    threaded("m.read/$2", json!("$1")).ok();
    threaded("m.read/$1", json!("$1")).ok();
    threaded("m.read/$3", json!("main")).ok();
    threaded("m.read.private/$3", json!("main")).ok();
    threaded("m.read/$2", json!("main")).error(400, "M_INVALID_PARAM");
    threaded("m.read/$3", json!("$1")).error(400, "M_INVALID_PARAM");
    threaded("m.read/$3", json!("odd")).error(400, "M_INVALID_PARAM");
    threaded("m.read/$3", json!(7)).error(400, "M_BAD_JSON");
    threaded("m.fully_read/$3", json!("main")).error(400, "M_INVALID_PARAM");
    assert_eq!(server.rows("SELECT * FROM receipts_linearized").len(), 3);
}

#[test]
fn the_fully_read_marker_moves_forward_only() {
    let server = server();
    let (alice, bob) = (account(&server, "alice"), account(&server, "bob"));
    join(&server, &alice, "join");
    events(&server);
    let markers = room_path("read_markers");
    let marker = user_path(&alice, &format!("rooms/{ROOM}/account_data/m.fully_read"));
    let mark = |event_id: &str| server.post(&alice, &markers, json!({ "m.fully_read": event_id }));
    let position = "SELECT stream_id FROM stream_positions WHERE stream_name = 'account_data'";
    mark("$2").ok();
    let before = server.rows(position);
    mark("$1").ok();
    assert_eq!(server.rows(position), before);
    assert_eq!(server.get(&alice, &marker).ok(), json!({ "event_id": "$2" }));
    receipt(&server, &alice, "m.fully_read/$3", json!({})).ok();
    assert_ne!(server.rows(position), before);
    assert_eq!(server.get(&alice, &marker).ok(), json!({ "event_id": "$3" }));
    mark("$unknown").error(404, "M_NOT_FOUND");
    server.post(&bob, &markers, json!({ "m.fully_read": "$1" })).error(403, "M_FORBIDDEN");
    let all = json!({ "m.fully_read": "$3", "m.read": "$2", "m.read.private": "$3", "x": 1 });
    server.post(&alice, &markers, all).ok();
    assert_eq!(server.rows("SELECT * FROM receipts_linearized").len(), 2);
    server.post(&alice, &markers, json!({})).ok();
}

#[test]
fn members_type_for_themselves_and_for_a_limited_time() {
    let server = server();
    let (alice, bob) = (account(&server, "alice"), account(&server, "bob"));
    join(&server, &alice, "join");
    let path = room_path(&format!("typing/{}", alice.user_id));
    let typing = "SELECT expires_ts FROM myelin_typing";
    let until = |ms: i64| [json!({ "expires_ts": 1_700_000_000_000_i64 + ms })];
    let reply = server.put(&alice, &path, json!({ "typing": true }));
    assert_eq!(reply.cost.round_trips.get(), 2);
    reply.ok();
    assert_eq!(server.rows(typing), until(30_000));
    server.put(&alice, &path, json!({ "typing": true, "timeout": 9_999_999 })).ok();
    assert_eq!(server.rows(typing), until(120_000));
    server.put(&alice, &path, json!({ "typing": false })).ok();
    assert_eq!(server.rows(typing), [json!({ "expires_ts": -1_700_000_000_000_i64 })]);
    server.put(&alice, &path, json!({ "typing": "yes" })).error(400, "M_BAD_JSON");
    server.put(&alice, &path, json!({ "typing": true, "timeout": -1 })).error(400, "M_BAD_JSON");
    server.put(&bob, &path, json!({ "typing": true })).error(403, "M_FORBIDDEN");
    let own = room_path(&format!("typing/{}", bob.user_id));
    server.put(&bob, &own, json!({ "typing": true })).error(403, "M_FORBIDDEN");
}

#[test]
fn presence_is_what_was_last_set_and_is_for_those_who_share_a_room() {
    let server = server();
    let (alice, bob) = (account(&server, "alice"), account(&server, "bob"));
    let path = format!("{V3}/presence/{}/status", alice.user_id);
    assert_eq!(server.get(&alice, &path).ok(), json!({ "presence": "offline" }));
    server.put(&alice, &path, json!({ "presence": "online", "status_msg": "here" })).ok();
    server.platform.advance(1500);
    let expected = json!({
        "presence": "online", "status_msg": "here", "currently_active": true,
        "last_active_ago": 1500,
    });
    assert_eq!(server.get(&alice, &path).ok(), expected);
    server.get(&bob, &path).error(403, "M_FORBIDDEN");
    server.put(&bob, &path, json!({ "presence": "online" })).error(403, "M_FORBIDDEN");
    server.put(&alice, &path, json!({ "presence": "asleep" })).error(400, "M_INVALID_PARAM");
    server.put(&alice, &path, json!({ "presence": 1 })).error(400, "M_BAD_JSON");

    let quiet = with(&[("PRESENCE", "off")]);
    let alice = account(&quiet, "alice");
    quiet.put(&alice, &path, json!({ "presence": "online" })).ok();
    assert_eq!(quiet.get(&alice, &path).ok(), json!({ "presence": "offline" }));
}

#[test]
fn a_profile_is_public_and_its_fields_are_checked() {
    let server = server();
    let (alice, bob) = (account(&server, "alice"), account(&server, "bob"));
    let profile = format!("{V3}/profile/{}", alice.user_id);
    let field = |name: &str| format!("{profile}/{name}");
    server.get("", &profile).error(404, "M_NOT_FOUND");
    server.get("", &field("displayname")).error(404, "M_NOT_FOUND");
    let put = server.put(&alice, &field("displayname"), json!({ "displayname": " Alice " }));
    assert_eq!(put.cost.round_trips.get(), 2);
    put.ok();
    assert_eq!(server.get("", &field("displayname")).ok(), json!({ "displayname": "Alice" }));
    assert_eq!(server.get("", &field("avatar_url")).ok(), json!({}));
    server.put(&alice, &field("avatar_url"), json!({ "avatar_url": "mxc://a/b" })).ok();
    server.put(&alice, &field("m.tz"), json!({ "m.tz": "Europe/Berlin" })).ok();
    server.put(&alice, &field("org.x.y"), json!({ "org.x.y": { "a": [1, "é"] } })).ok();
    let expected = json!({
        "displayname": "Alice", "avatar_url": "mxc://a/b", "m.tz": "Europe/Berlin",
        "org.x.y": { "a": [1, "é"] },
    });
    let get = server.get("", &profile);
    assert_eq!(get.cost.round_trips.get(), 1);
    assert_eq!(get.ok(), expected);
    server.delete(&alice, &field("m.tz"), Value::Null).ok();
    server.get("", &field("m.tz")).error(404, "M_NOT_FOUND");
    server.delete(&alice, &field("displayname"), Value::Null).ok();
    assert_eq!(server.get("", &field("displayname")).ok(), json!({}));

    let put = |name: &str, body: Value| server.put(&alice, &field(name), body);
    put("displayname", json!({})).error(400, "M_MISSING_PARAM");
    put("displayname", json!({ "displayname": 1 })).error(400, "M_INVALID_PARAM");
    put("displayname", json!({ "displayname": "x".repeat(257) })).error(400, "M_INVALID_PARAM");
    put("Upper", json!({ "Upper": 1 })).error(400, "M_INVALID_PARAM");
    put(&"x".repeat(256), json!({})).error(400, "M_KEY_TOO_LARGE");
    put("org.x.z", json!({ "org.x.z": "x".repeat(65_536) })).error(400, "M_PROFILE_TOO_LARGE");
    server.put(&bob, &field("m.tz"), json!({ "m.tz": "x" })).error(403, "M_FORBIDDEN");
    server.put("", &field("m.tz"), json!({ "m.tz": "x" })).error(401, "M_MISSING_TOKEN");
}

#[test]
fn guests_may_have_a_name_and_nothing_else() {
    let server = server();
    let guest = guest(&server);
    let field = |name: &str| format!("{V3}/profile/{}/{name}", guest.user_id);
    server.put(&guest, &field("displayname"), json!({ "displayname": "Visitor" })).ok();
    server
        .put(&guest, &field("avatar_url"), json!({ "avatar_url": "mxc://a/b" }))
        .error(403, "M_GUEST_ACCESS_FORBIDDEN");
}

#[test]
fn filters_come_back_by_number_and_are_checked() {
    let server = server();
    let (alice, bob) = (account(&server, "alice"), account(&server, "bob"));
    let all = user_path(&alice, "filter");
    let filter = json!({ "room": { "timeline": { "limit": 10 } }, "org.x": true });
    let create = |filter: &Value| server.post(&alice, &all, filter.clone());
    let filter_id = create(&filter).ok()["filter_id"].as_str().unwrap().to_owned();
    assert_eq!(create(&filter).ok()["filter_id"], filter_id);
    assert_ne!(create(&json!({})).ok()["filter_id"], filter_id);
    let one = format!("{all}/{filter_id}");
    assert_eq!(server.get(&alice, &one).ok(), filter);
    server.get(&bob, &one).error(403, "M_FORBIDDEN");
    server.get(&alice, &format!("{all}/7")).error(404, "M_NOT_FOUND");
    server.get(&alice, &format!("{all}/x")).error(400, "M_INVALID_PARAM");
    server.post(&bob, &all, json!({})).error(403, "M_FORBIDDEN");
    for filter in [
        json!([]),
        json!({ "room": 1 }),
        json!({ "room": { "timeline": { "limit": "ten" } } }),
        json!({ "room": { "rooms": ["not a room"] } }),
        json!({ "presence": { "senders": ["nobody"] } }),
        json!({ "event_fields": "type" }),
        json!({ "room": { "timeline": { "limit": 0.5 } } }),
        json!({ "event_format": "x" }),
        json!({ "event_format": 1 }),
    ] {
        create(&filter).error(400, "M_BAD_JSON");
        let inline = filter.to_string();
        let inline =
            percent_encoding::utf8_percent_encode(&inline, percent_encoding::NON_ALPHANUMERIC);
        let reply = server.get(&alice, &format!("{V3}/sync?filter={inline}"));
        reply.error(400, "M_INVALID_PARAM");
    }
    for format in ["client", "federation"] {
        create(&json!({ "event_format": format })).ok();
    }
}

#[test]
fn push_rules_are_the_defaults_and_can_be_read_piece_by_piece() {
    let server = server();
    let alice = account(&server, "alice");
    let get = |rest: &str| server.get(&alice, &format!("{V3}/pushrules/{rest}"));
    let reply = get("");
    assert_eq!(reply.cost.round_trips.get(), 1);
    let all = reply.ok();
    assert_eq!(get("global/").ok(), all["global"]);
    assert_eq!(get("global/underride/").ok(), all["global"]["underride"]);
    assert_eq!(get("global/room/").ok(), json!([]));
    let rule = get("global/override/.m.rule.master").ok();
    assert_eq!(rule, all["global"]["override"][0]);
    assert_eq!(get("global/override/.m.rule.master/enabled").ok(), json!({ "enabled": false }));
    assert_eq!(get("global/override/.m.rule.master/actions").ok(), json!({ "actions": [] }));
    get("global/override/none").error(404, "M_NOT_FOUND");
    get("global/override/.m.rule.master/odd").error(400, "M_UNRECOGNIZED");
    get("global").error(400, "M_UNRECOGNIZED");
    get("global/odd/x").error(400, "M_UNRECOGNIZED");
    get("device/").error(400, "M_UNRECOGNIZED");
}

#[test]
fn push_rules_of_an_imported_user_are_among_them() {
    let server = server();
    let alice = account(&server, "alice");
    execute(
        &server,
        "INSERT INTO push_rules (id, user_name, rule_id, priority_class, priority, conditions,
             actions) VALUES (1, ?1, 'global/room/!a:example.org', 3, 0, ?2, '[]')",
        &[&alice.user_id, r#"[{"kind":"event_match","key":"room_id","pattern":"!a:example.org"}]"#],
    );
    execute(
        &server,
        "INSERT INTO push_rules_enable (id, user_name, rule_id, enabled)
         VALUES (1, ?1, 'global/underride/.m.rule.message', 0)",
        &[&alice.user_id],
    );
    let get = |rest: &str| server.get(&alice, &format!("{V3}/pushrules/global/{rest}")).ok();
    let room = json!({
        "rule_id": "!a:example.org", "actions": [], "default": false, "enabled": true,
    });
    assert_eq!(get("room/"), json!([room]));
    assert_eq!(get("underride/.m.rule.message/enabled"), json!({ "enabled": false }));
}

#[test]
fn an_openid_token_is_stored_for_an_hour() {
    let server = server();
    let (alice, bob) = (account(&server, "alice"), account(&server, "bob"));
    let path = user_path(&alice, "openid/request_token");
    let body = server.post(&alice, &path, json!({})).ok();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["matrix_server_name"], "example.org");
    assert_eq!(body["expires_in"], 3600);
    let row = json!({
        "token": body["access_token"], "ts_valid_until_ms": 1_700_003_600_000_i64,
        "user_id": alice.user_id,
    });
    assert_eq!(server.rows("SELECT * FROM open_id_tokens"), [row]);
    let info = |token: &str| {
        let path = "/_matrix/federation/v1/openid/userinfo";
        server.get("", &format!("{path}?access_token={token}"))
    };
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(info(token).ok(), json!({ "sub": alice.user_id }));
    info("an/invalid/token").error(401, "M_UNKNOWN_TOKEN");
    server.get("", "/_matrix/federation/v1/openid/userinfo").error(401, "M_MISSING_TOKEN");
    server.post(&bob, &path, json!({})).error(403, "M_FORBIDDEN");
    server.platform.advance(3_600_001);
    info(token).error(401, "M_UNKNOWN_TOKEN");
    server.post(&alice, &path, json!({})).ok();
    assert_eq!(server.rows("SELECT * FROM open_id_tokens").len(), 1);
}

#[test]
fn servers_for_calls_are_given_out_when_they_are_configured() {
    let path = format!("{V3}/voip/turnServer");
    let none = server();
    assert_eq!(none.get(account(&none, "alice"), &path).ok(), json!({}));

    let uris = ("TURN_URIS", "turn:a.test?transport=udp turn:a.test?transport=tcp");
    let timed = with(&[uris, ("TURN_SHARED_SECRET", "turn secret")]);
    let expected = json!({
        "username": "1700086400:@alice:example.org",
        "password": "ju+qFr0bHkp3sYMYnHIrXWvf0PM=",
        "ttl": 86400,
        "uris": ["turn:a.test?transport=udp", "turn:a.test?transport=tcp"],
    });
    assert_eq!(timed.get(account(&timed, "alice"), &path).ok(), expected);
    timed.get(guest(&timed), &path).error(403, "M_GUEST_ACCESS_FORBIDDEN");

    let fixed = with(&[uris, ("TURN_USERNAME", "user"), ("TURN_PASSWORD", "word")]);
    let body = fixed.get(account(&fixed, "alice"), &path).ok();
    assert_eq!((&body["username"], &body["password"]), (&json!("user"), &json!("word")));
}

#[test]
fn there_are_no_third_party_networks() {
    let server = server();
    let alice = account(&server, "alice");
    assert_eq!(server.get(&alice, &format!("{V3}/thirdparty/protocols")).ok(), json!({}));
}
