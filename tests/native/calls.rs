//! What calls need: servers that relay them, and who is in them.

use crate::support::Server;
use serde_json::{Value, json};

const TURN: &str = "/_matrix/client/v3/voip/turnServer";
const TRANSPORTS: [&str; 2] = [
    "/_matrix/client/v1/rtc/transports",
    "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports",
];
const TURN_KEY: [(&str, &str); 2] = [("TURN_KEY_ID", "key"), ("TURN_KEY_API_TOKEN", "secret")];
const TURN_API: &str =
    "https://rtc.live.cloudflare.com/v1/turn/keys/key/credentials/generate-ice-servers";

fn guest(server: &Server) -> String {
    let body = server.post("", "/_matrix/client/v3/register?kind=guest", json!({})).ok();
    body["access_token"].as_str().unwrap().to_owned()
}

#[test]
fn a_relay_is_told_with_credentials_that_end() {
    let uris = "turn:a.example.org?transport=udp turns:a.example.org";
    let server = Server::with(&[("TURN_URIS", uris), ("TURN_SHARED_SECRET", "secret")]);
    server.get("", TURN).error(401, "M_MISSING_TOKEN");
    let alice = server.register("alice");
    let told = server.get(&alice, TURN).ok();
    let until_s = 1_700_000_000 + 86_400;
    assert_eq!(told["username"], format!("{until_s}:@alice:example.org"));
    assert_eq!(told["uris"], json!(["turn:a.example.org?transport=udp", "turns:a.example.org"]));
    assert_eq!(told["ttl"], 86_400);
    // printf '1700086400:@alice:example.org' | openssl dgst -sha1 -hmac secret -binary | base64
    assert_eq!(told["password"], "RuLuGNKKbiGzqiXEknBM5BiuQKM=");
    let none = Server::new();
    assert_eq!(none.get(none.register("alice"), TURN).ok(), json!({}));
}

#[test]
fn guests_are_told_of_a_relay_if_the_server_says_so() {
    let usual = [("TURN_URIS", "turn:a"), ("TURN_SHARED_SECRET", "s"), ("ALLOW_GUESTS", "true")];
    let server = Server::with(&usual);
    server.get(guest(&server), TURN).error(403, "M_GUEST_ACCESS_FORBIDDEN");
    let server = Server::with(&[usual[0], usual[1], usual[2], ("TURN_ALLOW_GUESTS", "true")]);
    assert_eq!(server.get(guest(&server), TURN).ok()["uris"], json!(["turn:a"]));
}

#[test]
fn a_relay_of_the_platform_is_asked_for_credentials() {
    let lifetime = ("TURN_USER_LIFETIME_MS", "3600000");
    let server = Server::with(&[TURN_KEY[0], TURN_KEY[1], lifetime]);
    let alice = server.register("alice");
    let uris = ["turn:t.example:3478?transport=udp", "turns:t.example:5349?transport=tcp"];
    let blocked = "turn:t.example:53?transport=udp";
    let relay = json!({
        "urls": [uris[0], blocked, uris[1]], "username": "user", "credential": "word",
    });
    let stun = json!({ "urls": ["stun:t.example:3478"] });
    let expected = json!({ "uris": uris, "username": "user", "password": "word", "ttl": 3600 });
    for answer in [json!([stun, relay]), relay] {
        let answer = json!({ "iceServers": answer }).to_string();
        server.platform.internet.answer(TURN_API, 201, &answer);
        assert_eq!(server.get(&alice, TURN).ok(), expected);
        let requests = server.platform.internet.take_requests();
        assert_eq!((requests.len(), requests[0].method().as_str()), (1, "POST"));
        assert_eq!(requests[0].headers()["authorization"], "Bearer secret");
        let asked: Value = serde_json::from_slice(requests[0].body()).unwrap();
        assert_eq!(asked, json!({ "ttl": 3600 }));
    }
}

#[test]
fn a_relay_that_gives_no_credentials_is_a_clear_error() {
    let server = Server::with(&TURN_KEY);
    let alice = server.register("alice");
    for (status, answer) in
        [(403, r#"{"errors":[]}"#), (201, "<html>"), (201, r#"{"iceServers":[{"urls":"stun:t"}]}"#)]
    {
        server.platform.internet.answer(TURN_API, status, answer);
        let error = server.get(&alice, TURN).error(502, "M_UNKNOWN");
        assert!(!error.to_string().contains("secret"));
    }
    server.platform.internet.forget(TURN_API);
    server.get(&alice, TURN).error(502, "M_UNKNOWN");
}

#[test]
fn transports_are_listed_for_users_and_at_the_well_known_place() {
    let well_known = "/.well-known/matrix/client";
    let none = Server::new();
    let alice = none.register("alice");
    for path in TRANSPORTS {
        none.get(&alice, path).error(404, "M_UNRECOGNIZED");
    }
    assert_eq!(none.get("", well_known).ok().get("org.matrix.msc4143.rtc_foci"), None);
    let list =
        json!([{ "type": "livekit", "livekit_service_url": "https://livekit.example.org/jwt" }]);
    let server = Server::with(&[("RTC_TRANSPORTS", &list.to_string())]);
    let alice = server.register("alice");
    for path in TRANSPORTS {
        server.get("", path).error(401, "M_MISSING_TOKEN");
        assert_eq!(server.get(&alice, path).ok(), json!({ "rtc_transports": list }));
    }
    assert_eq!(server.get("", well_known).ok()["org.matrix.msc4143.rtc_foci"], list);
}

#[test]
fn transports_that_are_none_are_refused() {
    for text in ["{}", "[1]", r#"[{"type":"livekit"}]"#, r#"[{"url":"x"}]"#] {
        let variable = ("RTC_TRANSPORTS".to_owned(), text.to_owned());
        let error = myelin::config::Config::read([variable]).map(drop).unwrap_err();
        assert!(error.to_string().starts_with("RTC_TRANSPORTS is not valid"), "{error}");
    }
}

#[test]
fn members_of_calls_are_state_of_their_own_devices() {
    let call_member = "org.matrix.msc3401.call.member";
    for version in ["6", "10", "11", "12"] {
        let server = Server::new();
        let (alice, bob) = (server.register("alice"), server.register("bob"));
        let options = json!({
            "preset": "public_chat", "room_version": version,
            "power_level_content_override": { "events": { call_member: 0 } },
        });
        let room = server.post(&alice, "/_matrix/client/v3/createRoom", options).ok();
        let room_id = room["room_id"].as_str().unwrap();
        server.post(&bob, &format!("/_matrix/client/v3/join/{room_id}"), json!({})).ok();
        let state = format!("/_matrix/client/v3/rooms/{room_id}/state");
        let own = format!("{state}/{call_member}/_{}_{}_m.call", bob.user_id, bob.device_id);
        let content = json!({ "application": "m.call", "call_id": "" });
        server.put(&bob, &own, content.clone()).ok();
        assert_eq!(server.get(&alice, &own).ok(), content);
        let delayed = format!("{own}?org.matrix.msc4140.delay=1000");
        server.put(&bob, &delayed, json!({})).ok();
        server.platform.advance(1000);
        server.run(async {});
        assert_eq!(server.get(&alice, &own).ok(), json!({}));
        // A key that begins with somebody else's name is theirs, in every version.
        let foreign = format!("{state}/{call_member}/{}", alice.user_id);
        server.put(&bob, &foreign, content).error(403, "M_FORBIDDEN");
        let slot = format!("{state}/org.matrix.msc4143.rtc.slot/m.call%23ROOM");
        server.put(&alice, &slot, json!({ "application": { "type": "m.call" } })).ok();
    }
}
