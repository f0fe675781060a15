//! What the first requests to a database do: tables and keys, once.

use std::collections::HashSet;
use std::rc::Rc;

use crate::support::{Failure, Server};
use futures_util::future::join_all;
use myelin::context::{Context, Isolate};
use myelin::storage::database::Statement;

/// The context of an isolate that has not run a batch yet.
fn fresh(server: &Server) -> Context {
    Context { isolate: Rc::new(Isolate::default()), ..server.platform.context() }
}

fn select() -> Vec<Statement> {
    vec![Statement::new("SELECT count(*) AS n FROM users")]
}

#[test]
fn eight_isolates_at_once_on_an_empty_database_all_succeed_with_one_key() {
    let server = Server::new();
    let contexts: Vec<Context> = (0..8).map(|_| fresh(&server)).collect();
    let batches = contexts.clone().into_iter().map(|context| async move {
        context.batch(select()).await.unwrap();
        context.keys().await.unwrap().signing_key.public_key()
    });
    let keys: HashSet<String> =
        server.run(join_all(batches.collect::<Vec<_>>())).into_iter().collect();
    assert_eq!(keys.len(), 1);
    let rows = server.rows("SELECT count(*) AS n FROM applied_schema_deltas");
    assert!(rows[0]["n"].as_i64().unwrap() > 0);
}

#[test]
fn an_isolate_on_a_ready_database_needs_no_round_trip_of_its_own() {
    let server = Server::new();
    let first = fresh(&server);
    server.run(async move { first.batch(select()).await.unwrap() });
    let second = fresh(&server);
    let meter = second.meter.clone();
    server.run(async move { second.batch(select()).await.unwrap() });
    assert_eq!(meter.round_trips.get(), 1);
}

#[test]
fn an_installation_that_was_cut_short_is_finished_by_the_next_request() {
    for sql in ["CREATE TABLE IF NOT EXISTS events ", "INSERT OR IGNORE INTO stream_positions"] {
        for failure in [Failure::BeforeLanding, Failure::AfterLanding] {
            let server = Server::new();
            server.platform.sqlite.fail_next(sql, failure);
            let first = fresh(&server);
            let outcome = server.run(async move { first.batch(select()).await });
            assert!(outcome.is_err(), "the failure in {sql} was not met");
            let second = fresh(&server);
            server.run(async move { second.batch(select()).await.unwrap() });
            server.register("alice");
        }
    }
}

#[test]
fn a_configured_signing_key_is_used_instead_of_the_databases_own() {
    let file = "ed25519 a_test YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1";
    let old = "ed25519:old Xb/hWoa1wjKgT4Z9tR+6iWPfMX1hKxqIbPnE3JjSYvA 1500\n";
    let server = Server::with(&[("SIGNING_KEY", file), ("OLD_SIGNING_KEYS", old)]);
    let context = fresh(&server);
    let keys = server.run(async move { context.keys().await.unwrap() });
    assert_eq!(keys.signing_key.key_id(), "ed25519:a_test");
    assert_eq!(keys.old_keys[0].key_id, "ed25519:old");
}
