//! Requests and answers across the border to JavaScript: headers go over as one text, for every
//! single call costs about as much.

use js_sys::{Array, JSON};
use wasm_bindgen::JsValue;
use worker::{Request, Response, web_sys};

use crate::error::{ApiError, ErrorCode};
use crate::routes::Answer;

/// What `Meter::server_timing` says; the runtime adds the memory to it.
const TIMING_HEADER: &str = "server-timing";

/// Reads a request with its body.
///
/// # Errors
/// `M_NOT_JSON` if the body breaks off, `M_INVALID_PARAM` for a path that is no path.
pub async fn read(mut request: Request) -> Result<http::Request<Vec<u8>>, ApiError> {
    let url = request.inner().url();
    let path = url.splitn(4, '/').nth(3).map_or("/".to_owned(), |path| format!("/{path}"));
    let method = request.inner().method();
    let mut builder = http::Request::builder().method(method.as_str()).uri(path);
    for (name, value) in pairs(&request.inner().headers())? {
        builder = builder.header(name, value);
    }
    let body = match request.inner().body() {
        None => Vec::new(),
        Some(_) => request
            .bytes()
            .await
            .map_err(|_| ApiError::new(ErrorCode::NotJson, "The body could not be read"))?,
    };
    builder.body(body).map_err(|error| ApiError::invalid_param(error.to_string()))
}

fn pairs(headers: &web_sys::Headers) -> Result<Vec<(String, String)>, ApiError> {
    let lost = |error: JsValue| ApiError::internal(format!("{error:?}"));
    let text = JSON::stringify(&Array::from(headers)).map_err(lost)?;
    serde_json::from_str(&String::from(text)).map_err(ApiError::internal)
}

/// Hands an answer to the runtime.
///
/// # Errors
/// If the runtime does not take it, which is our fault.
pub fn write(answer: Answer) -> worker::Result<Response> {
    let (parts, body) = answer.into_parts();
    let values = parts.headers.iter();
    let mut pairs: Vec<(&str, &str)> =
        values.map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default())).collect();
    let memory = memory();
    if parts.headers.contains_key(TIMING_HEADER) {
        pairs.push((TIMING_HEADER, &memory));
    }
    let pairs = JSON::parse(&serde_json::to_string(&pairs)?)?;
    let headers = web_sys::Headers::new_with_str_sequence_sequence(&pairs)?;
    let response = Response::from_bytes(body)?.with_status(parts.status.as_u16());
    Ok(response.with_headers(worker::Headers(headers)))
}

/// The bytes of this isolate's wasm, which never become fewer.
fn memory() -> String {
    const PAGE_BYTES: usize = 65_536;
    format!("memory;desc=\"{}\"", core::arch::wasm32::memory_size(0) * PAGE_BYTES)
}
