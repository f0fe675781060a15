//! The table of all endpoints: one line each. Paths, methods and shapes come from ruma.

mod account_data;
mod dispatch;
mod endpoint;
mod filters;
mod meta;
mod openid;
mod presence;
mod profile;
mod push_rules;
mod receipts;
mod tags;
mod third_party;
mod typing;
mod voip;

pub use dispatch::{Answer, dispatch, error_answer};
pub use endpoint::{Access, Caller, Incoming, Route};

#[expect(unused_imports)]
use endpoint::{authenticated, batched, json, public, raw};

/// Every endpoint of this server, in the order of the specification's sections.
pub fn table() -> Vec<Route> {
    [
        meta::routes(),
        account_data::routes(),
        filters::routes(),
        openid::routes(),
        presence::routes(),
        profile::routes(),
        push_rules::routes(),
        receipts::routes(),
        tags::routes(),
        third_party::routes(),
        typing::routes(),
        voip::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
