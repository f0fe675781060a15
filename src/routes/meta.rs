//! What a server says about itself before anyone has logged in.

use ruma::api::client::discovery::get_supported_versions as versions;

use super::{Route, public};
use crate::context::Context;
use crate::error::ApiError;

pub fn routes() -> Vec<Route> {
    vec![public(list_versions)]
}

/// `GET /_matrix/client/versions`
async fn list_versions(
    _context: Context,
    _request: versions::Request,
) -> Result<versions::Response, ApiError> {
    Ok(versions::Response::new(vec!["v1.1".to_owned()]))
}
