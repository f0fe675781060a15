//! What a server says about itself, and of whether it reaches others.

use crate::support::Server;
use serde_json::{Value, json};

#[test]
fn the_announced_versions_and_features_are_these() {
    let server = Server::new();
    let expected = json!({
        "versions": [
            "r0.0.1", "r0.1.0", "r0.2.0", "r0.3.0", "r0.4.0", "r0.5.0", "r0.6.0", "r0.6.1",
            "v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10",
            "v1.11", "v1.12", "v1.13", "v1.14", "v1.15", "v1.16", "v1.17", "v1.18", "v1.19"
        ],
        "unstable_features": {
            "org.matrix.msc4140": true,
            "org.matrix.msc4306": true,
            "org.matrix.msc4380.stable": true,
            "org.matrix.simplified_msc3575": true,
            "uk.tcpip.msc4133": true,
            "uk.tcpip.msc4133.stable": true,
            "uk.timedout.msc4323": true,
        },
    });
    let reply = server.get("", "/_matrix/client/versions");
    assert_eq!(reply.cost.round_trips.get(), 0);
    let mut body = reply.ok();
    // Left out when empty, which means the same.
    body.as_object_mut().unwrap().entry("unstable_features").or_insert(json!({}));
    assert_eq!(body, expected);
}

#[test]
fn capabilities_are_for_those_who_are_logged_in() {
    let server = Server::with(&[("DEFAULT_ROOM_VERSION", "10")]);
    let path = "/_matrix/client/v3/capabilities";
    server.get("", path).error(401, "M_MISSING_TOKEN");
    let alice = server.register("alice");
    let capabilities = server.get(&alice, path).ok()["capabilities"].clone();
    assert_eq!(capabilities["m.room_versions"]["default"], "10");
    assert_eq!(capabilities["m.room_versions"]["available"].as_object().unwrap().len(), 12);
    assert_eq!(capabilities["m.change_password"]["enabled"], true);
    assert_eq!(capabilities["m.profile_fields"]["enabled"], true);
    assert_eq!(capabilities["m.account_moderation"], json!(null));
}

#[test]
fn the_way_to_the_server_is_as_configured_or_as_it_was_called() {
    let server = Server::with(&[("PUBLIC_BASEURL", "https://matrix.example.org/")]);
    let client = server.get("", "/.well-known/matrix/client").ok();
    assert_eq!(client, json!({ "m.homeserver": { "base_url": "https://matrix.example.org" } }));
    let other = server.get("", "/.well-known/matrix/server").ok();
    assert_eq!(other, json!({ "m.server": "matrix.example.org:443" }));
    let server = Server::new();
    let called = |path: &str, host: &str| {
        let request = http::Request::builder().uri(path).header("host", host);
        server.run(server.send(request.body(Vec::new()).unwrap())).ok()
    };
    let client = called("/.well-known/matrix/client", "127.0.0.1:8008");
    assert_eq!(client["m.homeserver"]["base_url"], "http://127.0.0.1:8008");
    let client = called("/.well-known/matrix/client", "myelin.example.dev");
    assert_eq!(client["m.homeserver"]["base_url"], "https://myelin.example.dev");
    let other = called("/.well-known/matrix/server", "myelin.example.dev:8443");
    assert_eq!(other["m.server"], "myelin.example.dev:443");
}

#[test]
fn support_names_whom_it_was_told() {
    let path = "/.well-known/matrix/support";
    Server::new().get("", path).error(404, "M_NOT_FOUND");
    let server = Server::with(&[("SUPPORT_MXID", "@admin:example.org")]);
    let contact = json!({ "matrix_id": "@admin:example.org", "role": "m.role.admin" });
    assert_eq!(server.get("", path).ok(), json!({ "contacts": [contact] }));
}

#[test]
fn a_service_finds_out_whether_it_can_be_reached() {
    let service = |id: &str, url: Value| {
        json!({
            "id": id, "url": url, "as_token": id, "hs_token": "token of the server",
            "sender_localpart": id,
        })
    };
    let url = "https://bridge.test/as";
    let services = json!([service("bridge", json!(url)), service("other", Value::Null)]);
    let server = Server::with(&[("APPLICATION_SERVICES", &services.to_string())]);
    let asked = format!("{url}/_matrix/app/v1/ping");
    let path = |id: &str| format!("/_matrix/client/v1/appservice/{id}/ping");
    let body = json!({ "transaction_id": "mautrix" });
    let ping = || server.post("bridge", &path("bridge"), body.clone());
    let internet = &server.platform.internet;
    ping().error(502, "M_CONNECTION_FAILED");
    internet.take_requests();
    internet.answer(&asked, 200, "{}");
    assert!(ping().ok()["duration_ms"].is_u64());
    let request = internet.take_requests().remove(0);
    assert_eq!((request.method().as_str(), request.body()), ("POST", &body.to_string().into()));
    assert_eq!(request.headers()["authorization"], "Bearer token of the server");
    internet.answer(&asked, 401, "who are you");
    let refused = ping().error(502, "M_BAD_STATUS");
    assert_eq!((&refused["status"], &refused["body"]), (&json!(401), &json!("who are you")));
    server.post("bridge", &path("other"), json!({})).error(403, "M_FORBIDDEN");
    server.post(server.register("alice"), &path("bridge"), json!({})).error(403, "M_FORBIDDEN");
    server.post("other", &path("other"), json!({})).error(400, "M_URL_NOT_SET");
    server.post("", &path("bridge"), json!({})).error(401, "M_MISSING_TOKEN");
}
