//! Myelin: a Matrix homeserver for the edge.
//!
//! A map of the code:
//! - `routes`: the table of endpoints; one file a section of the specification.
//! - `accounts`: what the endpoints of accounts share: passwords, sessions, new users.
//! - `durable`: the objects: a room's single writer, the notifiers, the guards.
//! - `serving`: from rows of the log to events as one reader sees them.
//! - `outbound`: requests that we make to other servers.
//! - `media`: what the endpoints of media share; `pictures`: small pictures of large ones.
//! - `storage`: all SQL; one file a family of Synapse's tables.
//! - `protocol` (a crate of its own): Matrix as values and functions.
//! - `edge`: the Worker's runtime: entry points, D1, stubs of objects.
//! - `sweep`: what is done from time to time.
//! - `context`, `config`, `error`: what everything shares.

mod accounts;
pub mod config;
pub mod context;
pub mod durable;
#[cfg(target_arch = "wasm32")]
mod edge;
pub mod error;
mod log;
mod media;
pub mod outbound;
mod pictures;
pub mod routes;
pub mod serving;
pub mod storage;
pub mod sweep;
