//! What users tell the administrators, and what administrators may look at.

use crate::support::{Account, Server};
use serde_json::{Value, json};

fn room(server: &Server, who: &Account, body: Value) -> String {
    let answer = server.post(who, "/_matrix/client/v3/createRoom", body).ok();
    answer["room_id"].as_str().unwrap().to_owned()
}

#[test]
fn events_are_reported_by_those_who_see_them() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = room(&server, &alice, json!({}));
    let send = format!("/_matrix/client/v3/rooms/{room_id}/send/m.room.message/1");
    let sent = server.put(&alice, &send, json!({ "body": "x", "msgtype": "m.text" })).ok();
    let event_id = sent["event_id"].as_str().unwrap();
    let path = format!("/_matrix/client/v3/rooms/{room_id}/report/{event_id}");
    server.post(&bob, &path, json!({ "reason": "spam" })).error(404, "M_NOT_FOUND");
    server.post(&alice, &path, json!({ "reason": 5 })).error(400, "M_BAD_JSON");
    server.post(&alice, &path, json!({ "score": "x" })).error(400, "M_BAD_JSON");
    server.post(&alice, &path, json!({ "reason": "spam", "score": -100 })).ok();
    server.post(&alice, &path, json!({})).ok();
    let rows = server.rows("SELECT id, user_id, event_id, reason, content FROM event_reports");
    assert_eq!(rows.len(), 2);
    assert_eq!((&rows[0]["id"], &rows[0]["reason"]), (&json!(1), &json!("spam")));
    assert_eq!((&rows[1]["id"], &rows[1]["reason"]), (&json!(2), &Value::Null));
    assert_eq!(
        (&rows[0]["user_id"], &rows[0]["event_id"]),
        (&json!(alice.user_id), &json!(event_id))
    );
}

#[test]
fn rooms_and_users_are_reported_without_telling_whether_there_are_such() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = room(&server, &alice, json!({}));
    let rooms = [room_id.as_str(), "!none:example.org"];
    for room_id in rooms {
        let path = format!("/_matrix/client/v3/rooms/{room_id}/report");
        server.post(&bob, &path, json!({})).error(400, "M_MISSING_PARAM");
        server.post(&bob, &path, json!({ "reason": "spam" })).ok();
    }
    for user_id in [alice.user_id.as_str(), "@none:example.org"] {
        let path = format!("/_matrix/client/v3/users/{user_id}/report");
        server.post(&bob, &path, json!({ "reason": "spam" })).ok();
    }
    let rows = server.rows("SELECT room_id, user_id, reason FROM room_reports");
    assert_eq!(rows, [json!({ "room_id": room_id, "user_id": bob.user_id, "reason": "spam" })]);
    let rows = server.rows("SELECT target_user_id AS target FROM user_reports");
    assert_eq!(rows, [json!({ "target": alice.user_id })]);
}

#[test]
fn too_many_reports_have_to_wait() {
    let server = Server::with(&[("RATE_LIMITS", "on")]);
    let alice = server.register("alice");
    let path = "/_matrix/client/v3/users/@bob:example.org/report";
    let report = || server.post(&alice, path, json!({ "reason": "spam" }));
    for _ in 0..5 {
        report().ok();
    }
    report().error(429, "M_LIMIT_EXCEEDED");
}

#[test]
fn shared_rooms_are_listed_page_by_page() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let path = "/_matrix/client/v1/mutual_rooms";
    let mut shared = Vec::new();
    for _ in 0..101 {
        let room_id = room(&server, &alice, json!({ "preset": "public_chat" }));
        server.post(&bob, &format!("/_matrix/client/v3/join/{room_id}"), json!({})).ok();
        shared.push(room_id);
    }
    room(&server, &alice, json!({ "invite": [bob.user_id] }));
    shared.sort();
    let of_bob = format!("{path}?user_id={}", bob.user_id);
    let first = server.get(&alice, &of_bob).ok();
    assert_eq!((&first["joined"], &first["count"]), (&json!(shared[..100]), &json!(101)));
    let next = format!("{of_bob}&from={}", first["next_batch"].as_str().unwrap());
    assert_eq!(server.get(&alice, &next).ok(), json!({ "joined": shared[100..], "count": 101 }));
    server.get(&alice, path).error(400, "M_MISSING_PARAM");
    server.get(&alice, &format!("{of_bob}&user_id=@x:y")).error(400, "M_INVALID_PARAM");
    server.get(&alice, &format!("{path}?user_id={}", alice.user_id)).error(400, "M_INVALID_PARAM");
}

#[test]
fn one_may_look_where_oneself_is_logged_in_and_administrators_at_everyone() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let path = format!("/_matrix/client/v3/admin/whois/{}", alice.user_id);
    server.get(&bob, &path).error(403, "M_FORBIDDEN");
    server.get(&alice, "/_matrix/client/v3/account/whoami").ok();
    let body = server.get(&alice, &path).ok();
    let connection = &body["devices"][&alice.device_id]["sessions"][0]["connections"][0];
    assert_eq!(
        (&connection["ip"], &connection["user_agent"]),
        (&json!("192.0.2.1"), &json!("test"))
    );
    server.rows("UPDATE users SET admin = 1 WHERE name = '@bob:example.org' RETURNING name");
    assert_eq!(server.get(&bob, &path).ok(), body);
    // Nobody has seen this one yet.
    let carol = server.register("carol");
    let path = format!("/_synapse/admin/v1/whois/{}", carol.user_id);
    let nowhere = json!({ "user_id": carol.user_id, "devices": {} });
    assert_eq!(server.get(&bob, &path).ok(), nowhere);
}

fn administrator(server: &Server) -> Account {
    let root = server.register("root");
    let update = "UPDATE users SET admin = 1 WHERE name = '@root:example.org'";
    let statement = myelin::storage::database::Statement::new(update);
    server.platform.sqlite.batch(&[statement]).unwrap();
    root
}

const ADMIN: &str = "/_matrix/client/v1/admin";

#[test]
fn only_administrators_moderate_and_only_accounts_of_others() {
    let server = Server::new();
    let (root, alice) = (administrator(&server), server.register("alice"));
    for (measure, field) in [("lock", "locked"), ("suspend", "suspended")] {
        let path = |user_id: &str| format!("{ADMIN}/{measure}/{user_id}");
        let of_alice = path(&alice.user_id);
        for who in [&alice, &server.register(measure)] {
            for user_id in [alice.user_id.as_str(), "@none:example.org", "nobody"] {
                server.get(who, &path(user_id)).error(403, "M_FORBIDDEN");
                server.put(who, &path(user_id), json!({ field: true })).error(403, "M_FORBIDDEN");
            }
        }
        server.get(&root, &path("@none:example.org")).error(404, "M_NOT_FOUND");
        server.get(&root, &path("@a:example.com")).error(400, "M_INVALID_PARAM");
        server.get(&root, &path("nobody")).error(400, "M_INVALID_PARAM");
        server.put(&root, &path(&root.user_id), json!({ field: true })).error(403, "M_FORBIDDEN");
        server.put(&root, &of_alice, json!({})).error(400, "M_MISSING_PARAM");
        server.put(&root, &of_alice, json!({ field: "yes" })).error(400, "M_BAD_JSON");
        assert_eq!(server.get(&root, &of_alice).ok(), json!({ field: false }));
        for is_taken in [true, false] {
            let put = server.put(&root, &of_alice, json!({ field: is_taken })).ok();
            assert_eq!(put, json!({ field: is_taken }));
            assert_eq!(server.get(&root, &of_alice).ok(), put);
        }
    }
    let capabilities = server.get(&root, "/_matrix/client/v3/capabilities").ok();
    let expected = json!({ "suspend": true, "lock": true });
    assert_eq!(capabilities["capabilities"]["m.account_moderation"], expected);
}

#[test]
fn a_locked_account_can_only_log_out_and_keeps_its_devices() {
    let server = Server::new();
    let (root, alice) = (administrator(&server), server.register("alice"));
    let (second, third) = (server.login("alice"), server.login("alice"));
    let path = format!("{ADMIN}/lock/{}", alice.user_id);
    let who_am_i = "/_matrix/client/v3/account/whoami";
    server.put(&root, &path, json!({ "locked": true })).ok();
    for account in [&alice, &second] {
        let body = server.get(account, who_am_i).error(401, "M_USER_LOCKED");
        assert_eq!(body["soft_logout"], true);
    }
    server.post(&second, "/_matrix/client/v3/logout", json!({})).ok();
    server.put(&root, &path, json!({ "locked": false })).ok();
    server.get(&alice, who_am_i).ok();
    server.get(&second, who_am_i).error(401, "M_UNKNOWN_TOKEN");
    server.put(&root, &path, json!({ "locked": true })).ok();
    server.post(&alice, "/_matrix/client/v3/logout/all", json!({})).ok();
    server.get(&third, who_am_i).error(401, "M_UNKNOWN_TOKEN");
}

#[test]
fn a_suspended_account_reads_leaves_and_takes_back_its_own() {
    let server = Server::new();
    let root = administrator(&server);
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let v3 = "/_matrix/client/v3";
    let (here, there) = {
        let open = || room(&server, &bob, json!({ "preset": "public_chat" }));
        (open(), open())
    };
    let rooms = format!("{v3}/rooms/{here}");
    server.post(&alice, &format!("{v3}/join/{here}"), json!({})).ok();
    let say = |who: &Account, txn_id: &str| {
        let message = json!({ "body": "x", "msgtype": "m.text" });
        server.put(who, &format!("{rooms}/send/m.room.message/{txn_id}"), message)
    };
    let event_id = |body: Value| body["event_id"].as_str().unwrap().to_owned();
    let (own, other) = (event_id(say(&alice, "1").ok()), event_id(say(&bob, "1").ok()));
    let path = format!("{ADMIN}/suspend/{}", alice.user_id);
    server.put(&root, &path, json!({ "suspended": true })).ok();
    let carol = server.register("carol");
    let invite = json!({ "user_id": carol.user_id });
    let joined = json!({ "membership": "join", "displayname": "x" });
    let profile = format!("{v3}/profile/{}", alice.user_id);
    let hidden = json!({ "visibility": "private" });
    for (method, path, body) in [
        ("PUT", format!("{rooms}/send/m.room.message/2"), json!({})),
        ("POST", format!("{rooms}/send/m.room.message"), json!({})),
        ("PUT", format!("{rooms}/state/m.room.name"), json!({ "name": "x" })),
        ("PUT", format!("{rooms}/state/m.room.member/{}", alice.user_id), joined),
        ("PUT", format!("{rooms}/redact/{other}/3"), json!({})),
        ("PUT", format!("{rooms}/send/m.room.redaction/4"), json!({ "redacts": other })),
        ("POST", format!("{rooms}/invite"), invite),
        ("POST", format!("{v3}/join/{there}"), json!({})),
        ("POST", format!("{v3}/knock/{there}"), json!({})),
        ("POST", format!("{v3}/createRoom"), json!({})),
        ("PUT", format!("{profile}/displayname"), json!({ "displayname": "x" })),
        ("DELETE", format!("{profile}/m.tz"), json!({})),
        ("PUT", format!("{v3}/directory/room/%23x:example.org"), json!({ "room_id": here })),
        ("DELETE", format!("{v3}/directory/room/%23x:example.org"), json!({})),
        ("PUT", format!("{v3}/directory/list/room/{here}"), hidden),
    ] {
        server.call(method, &alice, &path, body).error(403, "M_USER_SUSPENDED");
    }
    server.get(&alice, &format!("{v3}/sync")).ok();
    server.get(&alice, &format!("{rooms}/messages?dir=b")).ok();
    server.put(&alice, &format!("{rooms}/redact/{own}/5"), json!({})).ok();
    server.post(&alice, &format!("{rooms}/leave"), json!({})).ok();
    server.put(&root, &path, json!({ "suspended": false })).ok();
    server.post(&alice, &format!("{v3}/join/{there}"), json!({})).ok();
}
