//! The whole server in one process over real SQLite: the same statements, the same writers.
//!
//! One binary, so that the crates under the tests are linked once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accounts;
mod administration;
mod application_services;
mod calls;
mod captcha;
mod cross_signing;
mod delayed_events;
mod device_lists;
mod directory;
mod discovery;
mod ephemeral;
mod event_memory;
mod initial_sync;
mod install;
mod interleaving;
mod keys;
mod media;
mod packing;
mod presence;
mod presumed_tokens;
mod push_rules;
mod pushers;
mod query_plans;
mod reading;
mod redacted_state;
mod registration;
mod relations;
mod requests;
mod room_keys;
mod room_writer;
mod rooms;
mod routes;
mod schema;
mod schema_cost;
mod schema_deltas;
mod search;
mod self_destruction;
mod simulation;
mod single_sign_on;
mod sliding_sync;
mod spaces;
mod style;
mod support;
mod sync;
mod sync_rooms;
mod thread_subscriptions;
mod threads;
mod to_device;
mod unread_counts;
mod user_data;
mod user_data_rooms;
mod user_data_storage;
mod user_directory;
