//! Table `local_media_repository_url_cache`: what pages say of themselves.

use serde::Deserialize;

use super::database::Statement;

/// A preview that was made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PreviewRow {
    /// JSON: the Open Graph properties.
    pub og: String,
    pub expires_ts: u64,
}

/// Reads the newest [`PreviewRow`] of a URL that was made until `ts`.
pub fn select(url: &str, ts: u64) -> Statement {
    Statement::new(
        "SELECT og, expires_ts FROM local_media_repository_url_cache
         WHERE url = ?1 AND download_ts <= ?2 ORDER BY download_ts DESC LIMIT 1",
    )
    .bind(url)
    .bind(ts)
}

/// A preview that has just been made.
#[derive(Clone, Debug)]
pub struct NewPreview<'a> {
    pub url: &'a str,
    pub response_code: u16,
    pub etag: Option<&'a str>,
    pub expires_ts: u64,
    pub og: &'a str,
    pub media_id: Option<&'a str>,
}

pub fn insert(preview: &NewPreview<'_>, now_ms: u64) -> Statement {
    Statement::new(
        "INSERT INTO local_media_repository_url_cache (
            url, response_code, etag, expires_ts, og, media_id, download_ts)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(preview.url)
    .bind(u32::from(preview.response_code))
    .bind(preview.etag)
    .bind(preview.expires_ts)
    .bind(preview.og)
    .bind(preview.media_id)
    .bind(now_ms)
}

/// Removes previews that have expired before `before_ms`.
pub fn delete_expired(before_ms: u64) -> Statement {
    Statement::new("DELETE FROM local_media_repository_url_cache WHERE expires_ts < ?1")
        .bind(before_ms)
}
