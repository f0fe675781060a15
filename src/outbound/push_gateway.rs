//! Push gateways: services that bring notifications to phones.

use http::header::CONTENT_TYPE;
use myelin_protocol::media::address;
use myelin_protocol::push_gateway;
use serde_json::Value;
use url::Url;

use super::{Bounds, FetchError, SMALL_ANSWER, is_private_host};
use crate::context::Context;

/// The variable that lists hosts of the own network.
const PRIVATE_HOSTS: &str = "PUSH_GATEWAY_PRIVATE_HOSTS";

/// Why a gateway has not taken a notification.
#[derive(Debug, thiserror::Error)]
pub enum GatewayFailure {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the gateway answered {0}")]
    Status(u16),
}

/// Brings a notification to a gateway; the pushkeys that it rejects.
///
/// # Errors
/// If the gateway cannot be reached, or does not take it.
pub async fn notify(
    context: &Context,
    url: &Url,
    body: &Value,
) -> Result<Vec<String>, GatewayFailure> {
    let is_private = is_private_host(&context.config, PRIVATE_HOSTS, url);
    if !is_private && !address::is_public_url(url) {
        return Err(FetchError::NotPublic.into());
    }
    let request = http::Request::post(url.as_str())
        .header(CONTENT_TYPE, "application/json")
        .body(body.to_string().into_bytes())
        .map_err(|error| FetchError::Unreachable(error.to_string()))?;
    let bounds = Bounds { is_public: !is_private, ..SMALL_ANSWER };
    let answer = context.fetch(request, bounds).await?;
    match answer.status().is_success() {
        true => Ok(push_gateway::rejected(answer.body())),
        false => Err(GatewayFailure::Status(answer.status().as_u16())),
    }
}
