//! Taking files. Client-Server API, "Content repository".
//!
//! A file goes into the bucket as it comes; the row that makes it known is written after it.

use std::future::Future;

use futures_channel::oneshot;
use http::Method;
use http::header::CONTENT_TYPE;
use myelin_protocol::media::serving::TYPE_DEFAULT;
use ruma::api::client::authenticated_media::get_media_config::v1;
use serde_json::json;

use super::access::{Access, Caller};
use super::endpoint::{Answer, Incoming, Route, authenticated, json as answer, raw};
use crate::context::Context;
use crate::error::{ApiError, ErrorCode};
use crate::media::limits::{Limits, PENDING_LIFETIME_MS, PENDING_MAX};
use crate::media::local::not_found;
use crate::storage::database::Results;
use crate::storage::media::{self, IdRow, MediaRow, NewMedia, UsageRow};
use crate::storage::media_files::{self, FileBody, UnreadBody};

/// An upload that has taken so long has been given up.
const CLAIM_LIFETIME_MS: u64 = 15 * 60 * 1000;

/// The longest name of a file that is kept, in bytes.
const NAME_BYTES_MAX: usize = 255;

const UPLOAD: &[&str] =
    &["/_matrix/media/v3/upload", "/_matrix/media/r0/upload", "/_matrix/media/v1/upload"];
const UPLOAD_TO: &[&str] = &["/_matrix/media/v3/upload/{server_name}/{media_id}"];
const CREATE: &[&str] = &["/_matrix/media/v1/create"];

pub fn routes() -> Vec<Route> {
    vec![
        raw(Method::POST, UPLOAD, upload),
        raw(Method::PUT, UPLOAD_TO, upload_to),
        raw(Method::POST, CREATE, create),
        authenticated(get_config)
            .also("/_matrix/media/v3/config")
            .also("/_matrix/media/r0/config")
            .also("/_matrix/media/v1/config"),
    ]
}

/// Whether the body of a request is a file, which goes by unread.
pub fn takes_a_file(method: &str, path: &str) -> bool {
    match method {
        "POST" => UPLOAD.contains(&path.trim_end_matches('/')),
        "PUT" => path.starts_with("/_matrix/media/v3/upload/"),
        _ => false,
    }
}

/// `GET /_matrix/client/v1/media/config`
async fn get_config(caller: Caller, _request: v1::Request) -> Result<v1::Response, ApiError> {
    let limits = Limits::of(&caller.context.config)?;
    Ok(v1::Response::new(limits.file_bytes_max.try_into().unwrap_or(ruma::UInt::MAX)))
}

/// What a client says of its file.
struct Description {
    media_type: String,
    name: Option<String>,
    length: Option<u64>,
}

impl Description {
    fn read(incoming: &Incoming) -> Self {
        let unread = incoming.http.extensions().get::<UnreadBody>();
        let name = incoming.query("filename").filter(|name| !name.is_empty());
        let is_short = |name: &String| name.len() <= NAME_BYTES_MAX && !name.contains('\0');
        Self {
            media_type: incoming.header(CONTENT_TYPE.as_str()).unwrap_or(TYPE_DEFAULT).to_owned(),
            name: name.filter(is_short),
            length: unread.map_or(Some(incoming.http.body().len() as u64), |body| body.length),
        }
    }
}

/// Authenticates; the largest file that the caller may store now.
async fn admit(
    access: Access,
    limits: &Limits,
    length: Option<u64>,
) -> Result<(Caller, u64), ApiError> {
    limits.check_file(length.unwrap_or(0))?;
    let caller = access.authenticate().await?;
    caller.must_not_be_guest()?;
    if limits.user_bytes_max.is_none() {
        return Ok((caller, limits.file_bytes_max));
    }
    let usage = caller.context.batch(vec![media::usage(&caller.user_id)]).await?;
    let usage: Option<UsageRow> = Results::new(usage).first()?;
    let room = limits.room(usage.map_or(0, |row| row.bytes), length.unwrap_or(0))?;
    Ok((caller, room))
}

async fn store(
    caller: &Caller,
    incoming: Incoming,
    limits: &Limits,
    media_id: &str,
    bytes_max: u64,
) -> Result<u64, ApiError> {
    let body = match incoming.http.extensions().get::<UnreadBody>().copied() {
        Some(UnreadBody { length }) => FileBody::OfRequest { length, bytes_max },
        None => FileBody::Bytes(incoming.http.into_body()),
    };
    let stored = caller.context.platform.put_file(&media_files::local(media_id), body).await;
    stored.map_err(|error| limits.explain(error))
}

/// `POST /_matrix/media/v3/upload`
async fn upload(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    access.token()?;
    let limits = Limits::of(&access.context.config)?;
    let description = Description::read(&incoming);
    let (caller, bytes_max) = admit(access, &limits, description.length).await?;
    let media_id = caller.context.random_string(24);
    let media_length = store(&caller, incoming, &limits, &media_id, bytes_max).await?;
    let row = NewMedia {
        media_id: &media_id,
        media_type: &description.media_type,
        media_length,
        upload_name: description.name.as_deref(),
        user_id: Some(&caller.user_id),
        url_cache: None,
    };
    let written = caller.context.batch(vec![media::insert(&row, caller.context.now_ms())]).await;
    if let Err(error) = written {
        discard(&caller, &media_id).await;
        return Err(error.into());
    }
    answer(&json!({ "content_uri": uri(&caller, &media_id) }))
}

fn uri(caller: &Caller, media_id: &str) -> String {
    format!("mxc://{}/{media_id}", caller.context.server_name())
}

/// Nobody knows of the file.
async fn discard(caller: &Caller, media_id: &str) {
    let paths = [media_files::local(media_id)];
    if let Err(error) = caller.context.platform.delete_files(&paths).await {
        crate::log::warn(&format!("a file without a row stays in the bucket: {error}"));
    }
}

/// `POST /_matrix/media/v1/create`
async fn create(access: Access, _incoming: Incoming) -> Result<Answer, ApiError> {
    let caller = access.authenticate().await?;
    caller.must_not_be_guest()?;
    let (now_ms, media_id) = (caller.context.now_ms(), caller.context.random_string(24));
    let expired_before_ms = now_ms.saturating_sub(PENDING_LIFETIME_MS);
    let reserve =
        media::reserve(&media_id, &caller.user_id, now_ms, expired_before_ms, PENDING_MAX);
    let reserved = caller.context.batch(vec![reserve]).await?;
    if Results::new(reserved).first::<IdRow>()?.is_none() {
        return Err(ApiError::new(
            ErrorCode::LimitExceeded,
            format!("{PENDING_MAX} files that you have announced are still to be uploaded"),
        )
        .with_field("retry_after_ms", json!(60_000)));
    }
    answer(&json!({
        "content_uri": uri(&caller, &media_id),
        "unused_expires_at": now_ms + PENDING_LIFETIME_MS,
    }))
}

/// `PUT /_matrix/media/v3/upload/{serverName}/{mediaId}`
async fn upload_to(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    access.token()?;
    let limits = Limits::of(&access.context.config)?;
    let description = Description::read(&incoming);
    let (server_name, media_id) = (incoming.arg(0).to_owned(), incoming.arg(1).to_owned());
    let (caller, bytes_max) = admit(access, &limits, description.length).await?;
    if server_name != caller.context.server_name().as_str() {
        return Err(not_found());
    }
    claim(&caller, &media_id).await?;
    let context = caller.context.clone();
    let filled = fill(caller, incoming, limits, description, media_id, bytes_max);
    to_the_end(&context, filled).await?;
    answer(&json!({}))
}

/// Fills an id that has been claimed, or releases it.
async fn fill(
    caller: Caller,
    incoming: Incoming,
    limits: Limits,
    description: Description,
    media_id: String,
    bytes_max: u64,
) -> Result<(), ApiError> {
    let stored = store(&caller, incoming, &limits, &media_id, bytes_max).await;
    let statement = match &stored {
        Ok(media_length) => {
            let (media_type, name) = (&description.media_type, description.name.as_deref());
            media::complete(&media_id, media_type, *media_length, name)
        }
        Err(_) => media::release(&media_id),
    };
    caller.context.batch(vec![statement]).await?;
    stored.map(drop)
}

/// Does something that goes on if the client hangs up, which ends the request.
async fn to_the_end(
    context: &Context,
    work: impl Future<Output = Result<(), ApiError>> + 'static,
) -> Result<(), ApiError> {
    let (reply, outcome) = oneshot::channel();
    context.platform.spawn(Box::pin(async move {
        // Whoever asked may have gone.
        let _ = reply.send(work.await);
    }));
    outcome.await.unwrap_or_else(|_| Err(ApiError::internal("the upload has been given up")))
}

/// Makes this request the one that fills the id, or says why it is not.
async fn claim(caller: &Caller, media_id: &str) -> Result<(), ApiError> {
    let now_ms = caller.context.now_ms();
    let stale_before_ms = now_ms.saturating_sub(CLAIM_LIFETIME_MS);
    let claim = media::claim(media_id, &caller.user_id, now_ms, stale_before_ms);
    let results = caller.context.batch(vec![media::select(media_id), claim]).await?;
    let mut results = Results::new(results);
    let row: MediaRow = results.first()?.ok_or_else(not_found)?;
    if row.user_id.as_ref() != Some(&caller.user_id) {
        return Err(ApiError::forbidden("Only whoever has made this id can upload to it"));
    }
    if row.media_length.is_some() || results.first::<IdRow>()?.is_none() {
        let message = "There is a file with this id already, or one is being uploaded";
        return Err(ApiError::new(ErrorCode::CannotOverwriteMedia, message));
    }
    if row.created_ts + PENDING_LIFETIME_MS < now_ms {
        return Err(not_found());
    }
    Ok(())
}
