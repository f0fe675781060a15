//! The account that one is logged in to: Client-Server API, "Account management".

use ruma::api::client::account::whoami;

use super::{Caller, Route, authenticated};
use crate::error::ApiError;

pub fn routes() -> Vec<Route> {
    vec![authenticated(who_am_i)]
}

/// `GET /_matrix/client/v3/account/whoami`
async fn who_am_i(
    caller: Caller,
    _request: whoami::v3::Request,
) -> Result<whoami::v3::Response, ApiError> {
    let mut response = whoami::v3::Response::new(caller.user_id, caller.is_guest);
    response.device_id = caller.device_id;
    Ok(response)
}
