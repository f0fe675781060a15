//! Finding a file that was uploaded here, and handing it out.

use http::HeaderValue;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, REFERRER_POLICY,
};
use myelin_protocol::media::range::{self, Requested};
use myelin_protocol::media::serving;

use super::limits::PENDING_LIFETIME_MS;
use crate::context::Context;
use crate::error::{ApiError, ErrorCode};
use crate::storage::database::Results;
use crate::storage::media::{self, MediaRow};
use crate::storage::media_files::FilePart;

/// How long a file is waited for that is still to come, unless the client says otherwise.
pub const TIMEOUT_DEFAULT_MS: u64 = 20_000;

const TIMEOUT_MAX_MS: u64 = 60_000;

/// How often one looks whether it has come: at first soon, then more rarely.
const LOOK_AFTER_MS: u64 = 100;
const LOOK_AFTER_MAX_MS: u64 = 2_000;

/// A file's last access is noted once in so long.
const TOUCH_EVERY_MS: u64 = 24 * 60 * 60 * 1000;

/// The row of a file that is there; waits for one that is still to come.
///
/// # Errors
/// `M_NOT_FOUND`; `M_NOT_YET_UPLOADED` (504) when the time is up.
pub async fn wait(
    context: &Context,
    media_id: &str,
    mut row: Option<MediaRow>,
    timeout_ms: u64,
) -> Result<MediaRow, ApiError> {
    let deadline_ms = context.now_ms() + timeout_ms.min(TIMEOUT_MAX_MS);
    let mut look_after_ms = LOOK_AFTER_MS;
    loop {
        let now_ms = context.now_ms();
        let found = row.filter(|row| row.quarantined_by.is_none()).ok_or_else(not_found)?;
        if found.media_length.is_some() {
            touch(context, media_id, &found);
            return Ok(found);
        }
        if found.created_ts + PENDING_LIFETIME_MS < now_ms {
            return Err(not_found());
        }
        if now_ms >= deadline_ms {
            let message = "The file has not been uploaded yet: try again later";
            return Err(ApiError::new(ErrorCode::NotYetUploaded, message));
        }
        context.platform.sleep(look_after_ms.min(deadline_ms - now_ms)).await;
        look_after_ms = (look_after_ms * 2).min(LOOK_AFTER_MAX_MS);
        row = Results::new(context.batch(vec![media::select(media_id)]).await?).first()?;
    }
}

pub fn not_found() -> ApiError {
    ApiError::not_found("There is no such file")
}

fn touch(context: &Context, media_id: &str, row: &MediaRow) {
    let now_ms = context.now_ms();
    if now_ms < row.last_access_ts.unwrap_or(row.created_ts) + TOUCH_EVERY_MS {
        return;
    }
    let (later, media_id) = (context.clone(), media_id.to_owned());
    context.platform.spawn(Box::pin(async move {
        if let Err(error) = later.batch(vec![media::touch(&media_id, now_ms)]).await {
            crate::log::warn(&format!("an access to a file was not noted: {error}"));
        }
    }));
}

/// What is handed out, and how.
#[derive(Clone, Copy, Debug)]
pub struct Served<'a> {
    pub path: &'a str,
    pub length: u64,
    pub media_type: Option<&'a str>,
    pub name: Option<&'a str>,
    /// The request's `Range`, and `If-None-Match`.
    pub range: Option<&'a str>,
    pub known_etag: Option<&'a str>,
}

/// An answer whose body is a file, or the part of it that was asked for.
///
/// # Errors
/// If a header cannot be written.
pub fn answer(served: &Served<'_>) -> Result<http::Response<Vec<u8>>, ApiError> {
    let etag = etag(served.path);
    if served.known_etag.is_some_and(|known| known.split(',').any(|one| one.trim() == etag)) {
        return response(304, &etag, &[]);
    }
    let (status, range) = match range::requested(served.range, served.length) {
        Requested::All => (200, None),
        Requested::Part(offset, length) => (206, Some((offset, length))),
        Requested::Nothing => {
            let range = format!("bytes */{}", served.length);
            return response(416, &etag, &[(CONTENT_RANGE, range)]);
        }
    };
    let length = range.map_or(served.length, |(_, length)| length);
    let mut headers = headers(served.media_type, served.name);
    headers.push((CONTENT_LENGTH, length.to_string()));
    if let Some((offset, length)) = range {
        let last = offset + length - 1;
        headers.push((CONTENT_RANGE, format!("bytes {offset}-{last}/{}", served.length)));
    }
    let mut answer = response(status, &etag, &headers)?;
    let part = FilePart { path: served.path.to_owned(), range };
    answer.extensions_mut().insert(part);
    Ok(answer)
}

/// The headers that say what a file is, and what may be done with it.
pub fn headers(media_type: Option<&str>, name: Option<&str>) -> Vec<(HeaderName, String)> {
    vec![
        (CONTENT_TYPE, serving::content_type(media_type)),
        (CONTENT_DISPOSITION, serving::content_disposition(media_type, name)),
    ]
}

/// Files never change, so that their paths tell them apart.
pub fn etag(path: &str) -> String {
    let name: String = path.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("\"{name}\"")
}

/// An answer with the headers that all media have.
///
/// # Errors
/// If a header cannot be written.
pub fn response(
    status: u16,
    etag: &str,
    headers: &[(HeaderName, String)],
) -> Result<http::Response<Vec<u8>>, ApiError> {
    const CACHED: &str = "private, max-age=86400, immutable";
    let mut builder = http::Response::builder()
        .status(status)
        .header(ETAG, etag)
        .header(CACHE_CONTROL, CACHED)
        .header(ACCEPT_RANGES, "bytes")
        .header(CONTENT_SECURITY_POLICY, serving::CONTENT_SECURITY_POLICY)
        .header(REFERRER_POLICY, "no-referrer")
        .header("cross-origin-resource-policy", "cross-origin")
        .header("x-content-type-options", "nosniff")
        .header("x-robots-tag", "noindex, nofollow, noarchive, noimageindex");
    for (name, value) in headers {
        // A type that somebody has made up may be no header at all.
        let fallback = HeaderValue::from_static(serving::TYPE_DEFAULT);
        builder = builder.header(name, HeaderValue::from_str(value).unwrap_or(fallback));
    }
    builder.body(Vec::new()).map_err(ApiError::internal)
}
