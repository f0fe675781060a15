//! Requests and answers across the border to JavaScript: headers go over as one text, for every
//! single call costs about as much.

use std::cell::RefCell;
use std::rc::Rc;

use futures_util::StreamExt;
use js_sys::{Array, JSON};
use wasm_bindgen::JsValue;
use worker::web_sys::{self, AbortSignal, ReadableStream};
use worker::{ByteStream, Env, Request, Response};

use super::files;
use crate::error::{ApiError, ErrorCode};
use crate::routes::{self, Answer};
use crate::storage::media_files::{FilePart, UnreadBody};

/// What `Meter::server_timing` says; the runtime adds the memory to it.
const TIMING_HEADER: &str = "server-timing";

/// The body of a request, as long as it has not been read.
pub type UnreadFile = Rc<RefCell<Option<ReadableStream>>>;

/// Bytes that a client may send after it has been refused.
const DRAINED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What a request still has to do with its client.
#[derive(Default)]
pub struct Connection {
    pub body: UnreadFile,
    /// Aborts when the client hangs up.
    pub signal: Option<AbortSignal>,
}

/// Reads a request with its body, unless that is a file of media.
///
/// # Errors
/// `M_NOT_JSON` if the body breaks off, `M_INVALID_PARAM` for a path that is no path.
pub async fn read(mut request: Request) -> Result<(http::Request<Vec<u8>>, Connection), ApiError> {
    let url = request.inner().url();
    let path = url.splitn(4, '/').nth(3).map_or("/".to_owned(), |path| format!("/{path}"));
    let method = request.inner().method();
    let mut builder = http::Request::builder().method(method.as_str()).uri(path);
    for (name, value) in pairs(&request.inner().headers())? {
        builder = builder.header(name, value);
    }
    if routes::takes_a_file(&method, builder.uri_ref().map_or("", http::Uri::path)) {
        let length = builder.headers_ref().and_then(|headers| headers.get("content-length"));
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let unread = builder.extension(UnreadBody { length }).body(Vec::new());
        let body = Rc::new(RefCell::new(request.inner().body()));
        return Ok((unread.map_err(unreadable)?, Connection { body, signal: None }));
    }
    let body = match request.inner().body() {
        None => Vec::new(),
        Some(_) => request
            .bytes()
            .await
            .map_err(|_| ApiError::new(ErrorCode::NotJson, "The body could not be read"))?,
    };
    let signal = Some(request.inner().signal());
    let connection = Connection { signal, ..Connection::default() };
    Ok((builder.body(body).map_err(unreadable)?, connection))
}

/// Reads what nobody has read, and throws it away: a client that is cut off while it sends does not
/// see why.
pub async fn drain(file: &UnreadFile) {
    let Some(body) = file.take() else { return };
    let mut body = ByteStream::from(body);
    let mut drained = 0;
    while let Some(Ok(chunk)) = body.next().await {
        drained += chunk.len();
        if drained > DRAINED_BYTES_MAX {
            break;
        }
    }
}

fn unreadable(error: http::Error) -> ApiError {
    ApiError::invalid_param(error.to_string())
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
    write_with(parts, Response::from_bytes(body)?)
}

/// Hands an answer to the runtime whose body lies in the bucket.
///
/// # Errors
/// As [`write`].
pub async fn write_file(env: &Env, answer: Answer, part: &FilePart) -> worker::Result<Response> {
    let opened = match files::bucket(env) {
        Ok(bucket) => files::open(&bucket, part).await,
        Err(error) => Err(error),
    };
    match opened {
        Ok(Some(body)) => write_with(answer.into_parts().0, Response::from_body(body)?),
        Ok(None) => write(routes::error_answer(&ApiError::not_found("The file is gone"))),
        Err(error) => write(routes::error_answer(&ApiError::internal(error))),
    }
}

fn write_with(parts: http::response::Parts, response: Response) -> worker::Result<Response> {
    let values = parts.headers.iter();
    let mut pairs: Vec<(&str, &str)> =
        values.map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default())).collect();
    let memory = memory();
    if parts.headers.contains_key(TIMING_HEADER) {
        pairs.push((TIMING_HEADER, &memory));
    }
    let pairs = JSON::parse(&serde_json::to_string(&pairs)?)?;
    let headers = web_sys::Headers::new_with_str_sequence_sequence(&pairs)?;
    let response = response.with_status(parts.status.as_u16());
    Ok(response.with_headers(worker::Headers(headers)))
}

/// The bytes of this isolate's wasm, which never become fewer.
fn memory() -> String {
    const PAGE_BYTES: usize = 65_536;
    format!("memory;desc=\"{}\"", core::arch::wasm32::memory_size(0) * PAGE_BYTES)
}
