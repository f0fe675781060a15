//! Accounts: registration, login, devices, user-interactive authentication.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::Server;

#[test]
fn the_versions_cost_no_round_trip() {
    let server = Server::new();
    let reply = server.get("", "/_matrix/client/versions");
    assert_eq!(reply.cost.round_trips.get(), 0);
    assert!(reply.ok()["versions"].as_array().unwrap().iter().any(|version| version == "v1.1"));
}
