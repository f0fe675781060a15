//! The table of all endpoints: one line each. Paths, methods and shapes come from ruma.

mod dispatch;
mod endpoint;
mod meta;

pub use dispatch::{Answer, dispatch};
pub use endpoint::{Access, Caller, Incoming, Route};

use endpoint::{authenticated, batched, public, raw};

/// Every endpoint of this server, in the order of the specification's sections.
pub fn table() -> Vec<Route> {
    [meta::routes()].into_iter().flatten().collect()
}
