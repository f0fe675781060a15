//! Handing out files and thumbnails. Client-Server API, "Content repository".
//!
//! The body of an answer is a part of the bucket, which the platform passes on as it comes.

use http::Method;
use http::header::{IF_NONE_MATCH, RANGE};
use myelin_protocol::media::thumbnail::{self, Size};

use super::access::Access;
use super::endpoint::{Answer, Incoming, Route, raw};
use crate::context::Context;
use crate::error::{ApiError, ErrorCode};
use crate::media::local::{self, Served, TIMEOUT_DEFAULT_MS};
use crate::media::thumbnails::{self, Wanted};
use crate::storage::database::{QueryResult, Results, Statement};
use crate::storage::media::{self, MediaRow};
use crate::storage::media_files;

const DOWNLOAD: &[&str] = &[
    "/_matrix/client/v1/media/download/{server_name}/{media_id}",
    "/_matrix/client/v1/media/download/{server_name}/{media_id}/{file_name}",
];
const THUMBNAIL: &[&str] = &["/_matrix/client/v1/media/thumbnail/{server_name}/{media_id}"];

/// The forms that need no token, for files from before there were tokens for them.
const DOWNLOAD_FROZEN: &[&str] = &[
    "/_matrix/media/v3/download/{server_name}/{media_id}",
    "/_matrix/media/v3/download/{server_name}/{media_id}/{file_name}",
    "/_matrix/media/r0/download/{server_name}/{media_id}",
    "/_matrix/media/r0/download/{server_name}/{media_id}/{file_name}",
    "/_matrix/media/v1/download/{server_name}/{media_id}",
    "/_matrix/media/v1/download/{server_name}/{media_id}/{file_name}",
];
const THUMBNAIL_FROZEN: &[&str] = &[
    "/_matrix/media/v3/thumbnail/{server_name}/{media_id}",
    "/_matrix/media/r0/thumbnail/{server_name}/{media_id}",
    "/_matrix/media/v1/thumbnail/{server_name}/{media_id}",
];

pub fn routes() -> Vec<Route> {
    vec![
        raw(Method::GET, DOWNLOAD, download),
        raw(Method::GET, THUMBNAIL, get_thumbnail),
        raw(Method::GET, DOWNLOAD_FROZEN, download_frozen),
        raw(Method::GET, THUMBNAIL_FROZEN, get_thumbnail_frozen),
    ]
}

/// `GET /_matrix/client/v1/media/download/{serverName}/{mediaId}/{fileName}`
async fn download(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let (context, results) = read(access, vec![media::select(incoming.arg(1))]).await?;
    let row = Results::new(results).first()?;
    serve_file(&context, &incoming, row).await
}

/// `GET /_matrix/media/v3/download/{serverName}/{mediaId}/{fileName}`
async fn download_frozen(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let context = access.context;
    let results = context.batch(vec![media::select(incoming.arg(1))]).await?;
    let row = frozen(&context, Results::new(results).first()?);
    serve_file(&context, &incoming, row).await
}

/// `GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}`
async fn get_thumbnail(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let media_id = incoming.arg(1);
    let batch = vec![media::select(media_id), media::thumbnails(media_id)];
    let (context, results) = read(access, batch).await?;
    let mut results = Results::new(results);
    let row = results.first()?;
    serve_thumbnail(&context, &incoming, row, results).await
}

/// `GET /_matrix/media/v3/thumbnail/{serverName}/{mediaId}`
async fn get_thumbnail_frozen(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let (context, media_id) = (access.context, incoming.arg(1));
    let batch = vec![media::select(media_id), media::thumbnails(media_id)];
    let mut results = Results::new(context.batch(batch).await?);
    let row = frozen(&context, results.first()?);
    serve_thumbnail(&context, &incoming, row, results).await
}

async fn read(
    access: Access,
    statements: Vec<Statement>,
) -> Result<(Context, Vec<QueryResult>), ApiError> {
    let (caller, results) = access.authenticate_with(statements).await?;
    Ok((caller.context, results))
}

/// A file that may be had without a token: Client-Server API, "Content repository", the freeze.
fn frozen(context: &Context, row: Option<MediaRow>) -> Option<MediaRow> {
    let frozen_ms = context.config.variable("MEDIA_FREEZE_TS").and_then(|ts| ts.parse().ok());
    row.filter(|row| match frozen_ms {
        Some(frozen_ms) => row.created_ts < frozen_ms,
        None => !row.authenticated,
    })
}

fn check_server(context: &Context, incoming: &Incoming) -> Result<(), ApiError> {
    match incoming.arg(0) == context.server_name().as_str() {
        true => Ok(()),
        false => Err(ApiError::not_found("Files of other servers cannot be had here")),
    }
}

fn timeout_ms(incoming: &Incoming) -> Result<u64, ApiError> {
    incoming.query("timeout_ms").map_or(Ok(TIMEOUT_DEFAULT_MS), |timeout| {
        timeout.parse().map_err(|_| ApiError::invalid_param("timeout_ms is a number"))
    })
}

async fn serve_file(
    context: &Context,
    incoming: &Incoming,
    row: Option<MediaRow>,
) -> Result<Answer, ApiError> {
    check_server(context, incoming)?;
    let media_id = incoming.arg(1);
    let row = local::wait(context, media_id, row, timeout_ms(incoming)?).await?;
    let name = Some(incoming.arg(2)).filter(|name| !name.is_empty());
    local::answer(&Served {
        path: &media_files::local(media_id),
        length: row.media_length.unwrap_or_default(),
        media_type: row.media_type.as_deref(),
        name: name.or(row.upload_name.as_deref()),
        range: incoming.header(RANGE.as_str()),
        known_etag: incoming.header(IF_NONE_MATCH.as_str()),
    })
}

async fn serve_thumbnail(
    context: &Context,
    incoming: &Incoming,
    row: Option<MediaRow>,
    mut results: Results,
) -> Result<Answer, ApiError> {
    check_server(context, incoming)?;
    let (media_id, size) = (incoming.arg(1), size(incoming)?);
    let row = local::wait(context, media_id, row, timeout_ms(incoming)?).await?;
    let wanted = Wanted {
        media_id,
        size,
        animated: incoming.query("animated").as_deref() == Some("true"),
        known_etag: incoming.header(IF_NONE_MATCH.as_str()),
    };
    thumbnails::serve(context, &row, &results.rows()?, wanted).await
}

fn size(incoming: &Incoming) -> Result<Size, ApiError> {
    let side = |name: &str| {
        let text = incoming.query(name);
        let text = text.ok_or_else(|| ApiError::missing_param(format!("{name} is missing")))?;
        let side = text.parse::<u32>().ok().filter(|side| *side > 0);
        side.ok_or_else(|| bad_request(format!("{name} is a number of pixels above 0")))
    };
    let method = match incoming.query("method").as_deref() {
        None | Some("scale") => thumbnail::Method::Scale,
        Some("crop") => thumbnail::Method::Crop,
        Some(_) => return Err(bad_request("method is crop or scale".to_owned())),
    };
    Ok(thumbnail::size_for(side("width")?, side("height")?, method))
}

fn bad_request(message: String) -> ApiError {
    ApiError::new(ErrorCode::Unknown, message).with_status(400)
}
