//! Push rules are compared with every event, and what notifies is written with it and counted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod counts;
mod house;
mod members;
mod plans;
mod summary;
