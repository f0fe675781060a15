//! Fetching what a preview shows: any page of the public internet, and nothing else.

use http::header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE, LOCATION, USER_AGENT};
use myelin_protocol::media::address;
use url::Url;

use super::{Bounds, FetchError, is_private_host};
use crate::context::Context;

const REDIRECTS_MAX: usize = 5;

/// The variable that lists hosts of the own network.
const PRIVATE_HOSTS: &str = "URL_PREVIEW_PRIVATE_HOSTS";

/// Sites tell what they know to those who look like a robot that makes previews.
const AGENT: &str = "Myelin (bot; +https://spec.matrix.org)";

/// Of a page or a picture, in bytes and time.
const BOUNDS: Bounds = Bounds { timeout_ms: 10_000, bytes_max: 10 * 1024 * 1024, is_public: true };

/// What was found, and where in the end.
#[derive(Debug)]
pub struct Found {
    pub url: Url,
    pub status: u16,
    pub content_type: String,
    pub etag: Option<String>,
    pub body: Vec<u8>,
}

/// Fetches a page, following redirects, each of which must lead to the public internet.
///
/// # Errors
/// See [`FetchError`].
pub async fn fetch(context: &Context, url: &Url) -> Result<Found, FetchError> {
    let mut url = url.clone();
    for _ in 0..=REDIRECTS_MAX {
        let is_allowed = is_private_host(&context.config, PRIVATE_HOSTS, &url);
        if !is_allowed && !address::is_public_url(&url) {
            return Err(FetchError::NotPublic);
        }
        let request = http::Request::get(url.as_str())
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, "text/html,application/xhtml+xml,application/json,image/*;q=0.9")
            .header(ACCEPT_LANGUAGE, "en")
            .body(Vec::new())
            .map_err(|error| FetchError::Unreachable(error.to_string()))?;
        let bounds = Bounds { is_public: !is_allowed, ..BOUNDS };
        let answer = context.fetch(request, bounds).await?;
        let header = |name: http::HeaderName| {
            answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let location = header(LOCATION).and_then(|location| url.join(&location).ok());
        match (answer.status().is_redirection(), location) {
            (true, Some(location)) => url = location,
            _ => {
                return Ok(Found {
                    url,
                    status: answer.status().as_u16(),
                    content_type: header(CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase(),
                    etag: header(http::header::ETAG),
                    body: answer.into_body(),
                });
            }
        }
    }
    Err(FetchError::Unreachable("it redirects again and again".to_owned()))
}
