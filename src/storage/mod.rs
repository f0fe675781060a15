//! All SQL. One file owns one family of Synapse's tables; reads give typed rows, writes are
//! returned as statements, so that the caller commits one batch.

pub mod access_tokens;
pub mod database;
pub mod event_pages;
pub mod events;
pub mod install;
pub mod schema;
pub mod state_groups;
