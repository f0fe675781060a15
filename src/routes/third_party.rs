//! Third-party networks, which application services bring. Client-Server API, "Third-party
//! Networks".

use std::collections::BTreeMap;

use ruma::api::client::thirdparty::get_protocols;

use super::endpoint::{Caller, Route, authenticated};
use crate::error::ApiError;

pub fn routes() -> Vec<Route> {
    vec![authenticated(list_protocols)]
}

/// `GET /_matrix/client/v3/thirdparty/protocols`: none, as there are no application services.
async fn list_protocols(
    _caller: Caller,
    _request: get_protocols::v3::Request,
) -> Result<get_protocols::v3::Response, ApiError> {
    Ok(get_protocols::v3::Response::new(BTreeMap::new()))
}
