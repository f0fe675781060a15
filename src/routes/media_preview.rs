//! Previews of pages. Client-Server API, "Content repository", `preview_url`.

use http::Method;
use serde_json::{Value, json};
use url::Url;

use super::access::Access;
use super::endpoint::{Answer, Incoming, Route, json as answer, raw};
use crate::error::ApiError;
use crate::media::previews;
use crate::storage::database::Results;
use crate::storage::url_previews::{self, PreviewRow};

/// The longest address that is looked at, in bytes.
const URL_BYTES_MAX: usize = 2_048;

const PATHS: &[&str] = &[
    "/_matrix/client/v1/media/preview_url",
    "/_matrix/media/v3/preview_url",
    "/_matrix/media/r0/preview_url",
    "/_matrix/media/v1/preview_url",
];

pub fn routes() -> Vec<Route> {
    vec![raw(Method::GET, PATHS, get_preview)]
}

/// `GET /_matrix/client/v1/media/preview_url`
async fn get_preview(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    access.token()?;
    if access.context.config.variable("URL_PREVIEWS") == Some("off") {
        return Err(ApiError::unrecognized());
    }
    let url = url(&incoming)?;
    let now_ms = access.context.now_ms();
    let ts = incoming.query("ts").map_or(Ok(now_ms), |ts| ts.parse::<u64>());
    let ts = ts.map_err(|_| ApiError::invalid_param("ts is a number of milliseconds"))?;
    let select = url_previews::select(url.as_str(), ts);
    let (caller, results) = access.authenticate_with(vec![select]).await?;
    caller.must_not_be_guest()?;
    let known: Option<PreviewRow> = Results::new(results).first()?;
    if let Some(row) = known.filter(|row| row.expires_ts > now_ms) {
        let og: Value = serde_json::from_str(&row.og).unwrap_or_else(|_| json!({}));
        return answer(&og);
    }
    answer(&previews::make(&caller.context, &url).await?)
}

fn url(incoming: &Incoming) -> Result<Url, ApiError> {
    let text = incoming.query("url");
    let text = text.ok_or_else(|| ApiError::missing_param("url is missing"))?;
    let url = Some(&text).filter(|text| text.len() <= URL_BYTES_MAX);
    let url = url.and_then(|text| Url::parse(text).ok()).filter(Url::has_host);
    let mut url = url.ok_or_else(|| ApiError::invalid_param("url is not the address of a page"))?;
    // The same page, whatever place in it.
    url.set_fragment(None);
    Ok(url)
}
