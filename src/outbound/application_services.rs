//! Application services: what they are asked, and what they are told. Application Service API,
//! "Homeserver -> Application Service API".

use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use myelin_protocol::application_service::ApplicationService;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use url::Url;

use super::{Bounds, FetchError, SMALL_ANSWER};
use crate::context::Context;

/// What is found in other networks may be long lists.
const LIST: Bounds = Bounds { timeout_ms: 10_000, bytes_max: 1024 * 1024, is_public: false };

/// A service may do much with what it is told before it answers.
const TRANSACTION: Bounds = Bounds { timeout_ms: 30_000, ..SMALL_ANSWER };

/// Why a service has not taken what it was told.
#[derive(Debug, thiserror::Error)]
pub enum ServiceFailure {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("it answered {0}")]
    Status(u16),
}

/// Tells a service of events. It knows by the number if it has heard of them before.
///
/// # Errors
/// If it cannot be reached, or does not take them.
pub async fn tell(
    context: &Context,
    service: &ApplicationService,
    txn_id: i64,
    events: &[Box<RawValue>],
) -> Result<(), ServiceFailure> {
    #[derive(Serialize)]
    struct Transaction<'a> {
        events: &'a [Box<RawValue>],
    }
    let path = ["transactions", &txn_id.to_string()];
    let body = Transaction { events };
    let answer = send(context, service, Method::PUT, &path, &body, TRANSACTION).await?;
    match answer.status().is_success() {
        true => Ok(()),
        false => Err(ServiceFailure::Status(answer.status().as_u16())),
    }
}

/// Asks a service to answer; what it answers, whatever its status.
///
/// # Errors
/// If it cannot be reached.
pub async fn ping(
    context: &Context,
    service: &ApplicationService,
    transaction_id: Option<&str>,
) -> Result<http::Response<Vec<u8>>, FetchError> {
    #[derive(Serialize)]
    struct Ping<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        transaction_id: Option<&'a str>,
    }
    send(context, service, Method::POST, &["ping"], &Ping { transaction_id }, SMALL_ANSWER).await
}

async fn send(
    context: &Context,
    service: &ApplicationService,
    method: Method,
    path: &[&str],
    body: &impl Serialize,
    bounds: Bounds,
) -> Result<http::Response<Vec<u8>>, FetchError> {
    let unreachable = |error: String| FetchError::Unreachable(error);
    let body = serde_json::to_vec(body).map_err(|error| unreachable(error.to_string()))?;
    let url = url(service, path).ok_or_else(|| unreachable("its url is not valid".to_owned()))?;
    let request = http::Request::builder()
        .method(method)
        .uri(url.as_str())
        .header(AUTHORIZATION, format!("Bearer {}", service.hs_token))
        .header(CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(|error| unreachable(error.to_string()))?;
    context.fetch(request, bounds).await
}

/// Asks a service; `None` if it has no answer.
pub async fn ask(
    context: &Context,
    service: &ApplicationService,
    path: &[&str],
    query: &[(String, String)],
) -> Option<Value> {
    let mut url = url(service, path)?;
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    let request = http::Request::get(url.as_str())
        .header(AUTHORIZATION, format!("Bearer {}", service.hs_token))
        .body(Vec::new())
        .ok()?;
    let answer = match context.fetch(request, LIST).await {
        Ok(answer) => answer,
        Err(error) => {
            crate::log::warn(&format!(
                "application service {} has not answered: {error}",
                service.id
            ));
            return None;
        }
    };
    match answer.status().is_success() {
        true => serde_json::from_slice(answer.body()).ok(),
        false => None,
    }
}

fn url(service: &ApplicationService, path: &[&str]) -> Option<Url> {
    let mut url = Url::parse(service.url.as_deref()?).ok()?;
    url.path_segments_mut().ok()?.pop_if_empty().extend(["_matrix", "app", "v1"]).extend(path);
    Some(url)
}
