//! Whether an application service can be reached. Application Service API, "Pinging".

use http::Method;
use serde_json::{Value, json};

use super::access::Access;
use super::endpoint::{Answer, Incoming, Route, json as answer, object, raw};
use crate::error::{ApiError, ErrorCode};
use crate::outbound::FetchError;
use crate::outbound::application_services as outbound;

pub fn routes() -> Vec<Route> {
    vec![raw(Method::POST, &["/_matrix/client/v1/appservice/{appservice_id}/ping"], ping)]
}

/// `POST /_matrix/client/v1/appservice/{appserviceId}/ping`
async fn ping(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let caller = access.authenticate().await?;
    let service = caller.service.as_ref().filter(|service| service.id == incoming.arg(0));
    let service = service
        .ok_or_else(|| ApiError::forbidden("Application services can only ping themselves"))?;
    if service.url.is_none() {
        let message = "The application service does not have a URL set";
        return Err(ApiError::new(ErrorCode::UrlNotSet, message));
    }
    let body = object(incoming.json()?)?;
    let transaction_id = body.get("transaction_id").and_then(Value::as_str);
    let started_ms = caller.context.now_ms();
    let found = outbound::ping(&caller.context, service, transaction_id).await;
    let found = found.map_err(|error| {
        let code = match error {
            FetchError::TimedOut => ErrorCode::ConnectionTimeout,
            _ => ErrorCode::ConnectionFailed,
        };
        ApiError::new(code, error.to_string())
    })?;
    if !found.status().is_success() {
        let status = found.status().as_u16();
        let text = String::from_utf8_lossy(found.body()).into_owned();
        let message = format!("The application service answered {status}");
        let error = ApiError::new(ErrorCode::BadStatus, message);
        return Err(error.with_field("status", json!(status)).with_field("body", json!(text)));
    }
    answer(&json!({ "duration_ms": caller.context.now_ms().saturating_sub(started_ms) }))
}
