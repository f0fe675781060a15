//! The table of all endpoints: one line each. Paths, methods and shapes come from ruma.

mod dispatch;
mod endpoint;
mod meta;

pub use dispatch::{Answer, dispatch, error_answer};
pub use endpoint::{Access, Caller, Incoming, Route};

#[expect(unused_imports)]
use endpoint::{authenticated, batched, json, public, raw};

/// Every endpoint of this server, in the order of the specification's sections.
pub fn table() -> Vec<Route> {
    [meta::routes()].into_iter().flatten().collect()
}
