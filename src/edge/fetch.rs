//! Requests to other servers, bounded in time and size.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use js_sys::Uint8Array;
use worker::{
    AbortController, AbortSignal, Delay, Env, Fetch, Headers, RequestInit, RequestRedirect,
};

use crate::outbound::{Bounds, FetchError};

/// Sends a request and reads the whole answer. Redirects are answers.
pub async fn fetch(
    env: &Env,
    request: http::Request<Vec<u8>>,
    bounds: Bounds,
) -> Result<http::Response<Vec<u8>>, FetchError> {
    let controller = AbortController::default();
    let signal = controller.signal();
    let exchange = Box::pin(exchange(env, request, &signal, bounds));
    let timeout = Box::pin(Delay::from(Duration::from_millis(bounds.timeout_ms)));
    let answer = match select(exchange, timeout).await {
        Either::Left((answer, _)) => answer,
        Either::Right(_) => Err(FetchError::TimedOut),
    };
    if answer.is_err() {
        controller.abort();
    }
    answer
}

async fn exchange(
    env: &Env,
    request: http::Request<Vec<u8>>,
    signal: &AbortSignal,
    bounds: Bounds,
) -> Result<http::Response<Vec<u8>>, FetchError> {
    let request = outgoing(request).map_err(unreachable)?;
    let mut response = send(env, request, signal, bounds.is_public).await?;
    let mut builder = http::Response::builder().status(response.status_code());
    for (name, value) in response.headers().entries() {
        builder = builder.header(name, value);
    }
    let mut body = Vec::new();
    // An answer without a body has no stream.
    if let Ok(mut stream) = response.stream() {
        while let Some(chunk) = stream.next().await {
            body.extend(chunk.map_err(unreachable)?);
            if body.len() > bounds.bytes_max {
                return Err(FetchError::TooLarge);
            }
        }
    }
    builder.body(body).map_err(unreachable)
}

/// Deployed, nothing else can be reached than the public internet. Locally, a binding says so.
const PUBLIC_NETWORK: &str = "PUBLIC_NETWORK";

/// What that binding answers for an address that it does not reach.
const NOT_PUBLIC_HEADER: &str = "x-not-public";

async fn send(
    env: &Env,
    request: worker::Request,
    signal: &AbortSignal,
    is_public: bool,
) -> Result<worker::Response, FetchError> {
    let network = env.service(PUBLIC_NETWORK).ok().filter(|_| is_public);
    let Some(network) = network else {
        return Fetch::Request(request).send_with_signal(signal).await.map_err(unreachable);
    };
    let response = network.fetch_request(request).await.map_err(unreachable)?;
    let response = worker::Response::try_from(response).map_err(unreachable)?;
    match response.headers().has(NOT_PUBLIC_HEADER).unwrap_or(false) {
        true => Err(FetchError::NotPublic),
        false => Ok(response),
    }
}

fn outgoing(request: http::Request<Vec<u8>>) -> worker::Result<worker::Request> {
    let (parts, body) = request.into_parts();
    let headers = Headers::new();
    for (name, value) in &parts.headers {
        headers.append(name.as_str(), value.to_str().unwrap_or_default())?;
    }
    let mut init = RequestInit::new();
    init.with_method(parts.method.as_str().to_owned().into());
    init.with_headers(headers).with_redirect(RequestRedirect::Manual);
    if !body.is_empty() {
        init.with_body(Some(Uint8Array::from(body.as_slice()).into()));
    }
    worker::Request::new_with_init(&parts.uri.to_string(), &init)
}

fn unreachable(error: impl std::fmt::Display) -> FetchError {
    FetchError::Unreachable(error.to_string())
}
