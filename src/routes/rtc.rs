//! Where MatrixRTC's media goes. MSC4143.

use http::Method;
use serde_json::json;

use super::{Access, Answer, Incoming, Route, json as answer, raw};
use crate::error::ApiError;

pub fn routes() -> Vec<Route> {
    let paths = [
        "/_matrix/client/v1/rtc/transports",
        "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports",
    ];
    vec![raw(Method::GET, &paths, list_transports)]
}

/// `GET /_matrix/client/v1/rtc/transports`. A server without any does not know the endpoint.
async fn list_transports(access: Access, _incoming: Incoming) -> Result<Answer, ApiError> {
    if access.context.config.rtc_transports.is_empty() {
        return Err(ApiError::unrecognized());
    }
    let caller = access.authenticate().await?;
    answer(&json!({ "rtc_transports": caller.context.config.rtc_transports }))
}
