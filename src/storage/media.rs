//! Tables `local_media_repository` and `local_media_repository_thumbnails`: what is known of the
//! files in the bucket.
//!
//! Invariant: a row with a `media_length` has its file; without one, the file is still to come.

use ruma::{OwnedUserId, UserId};
use serde::Deserialize;

use super::database::{Statement, boolean};

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct MediaRow {
    pub media_type: Option<String>,
    /// In bytes; `None` until the file is there.
    pub media_length: Option<u64>,
    pub created_ts: u64,
    pub upload_name: Option<String>,
    pub user_id: Option<OwnedUserId>,
    pub quarantined_by: Option<String>,
    pub last_access_ts: Option<u64>,
    /// Not served by the endpoints that need no token.
    #[serde(deserialize_with = "boolean")]
    pub authenticated: bool,
}

/// A file that is there.
#[derive(Clone, Debug)]
pub struct NewMedia<'a> {
    pub media_id: &'a str,
    pub media_type: &'a str,
    pub media_length: u64,
    pub upload_name: Option<&'a str>,
    pub user_id: Option<&'a UserId>,
    /// Of what a preview has fetched: the address.
    pub url_cache: Option<&'a str>,
}

/// Reads the [`MediaRow`] of a file.
pub fn select(media_id: &str) -> Statement {
    Statement::new(
        "SELECT media_type, media_length, created_ts, upload_name, user_id, quarantined_by,
                last_access_ts, authenticated
         FROM local_media_repository WHERE media_id = ?1",
    )
    .bind(media_id)
}

pub fn insert(media: &NewMedia<'_>, now_ms: u64) -> Statement {
    Statement::new(
        "INSERT INTO local_media_repository (
            media_id, media_type, media_length, created_ts, upload_name, user_id, url_cache,
            authenticated)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1)",
    )
    .bind(media.media_id)
    .bind(media.media_type)
    .bind(media.media_length)
    .bind(now_ms)
    .bind(media.upload_name)
    .bind(media.user_id.map(UserId::as_str))
    .bind(media.url_cache)
}

/// Reserves an id for a file that is to come, unless the user has `pending_max` of them already;
/// gives back the row's `media_id`.
pub fn reserve(
    media_id: &str,
    user_id: &UserId,
    now_ms: u64,
    expired_before_ms: u64,
    pending_max: u32,
) -> Statement {
    Statement::new(
        "INSERT INTO local_media_repository (media_id, created_ts, user_id, authenticated)
         SELECT ?1, ?2, ?3, 1
         WHERE (SELECT count(*) FROM local_media_repository
                WHERE user_id = ?3 AND created_ts > ?4 AND media_length IS NULL) < ?5
         RETURNING media_id",
    )
    .bind(media_id)
    .bind(now_ms)
    .bind(user_id.as_str())
    .bind(expired_before_ms)
    .bind(pending_max)
}

/// A row that was found or changed.
#[derive(Clone, Debug, Deserialize)]
pub struct IdRow {
    pub media_id: String,
}

/// Lets one request at a time fill a reserved id; gives back an [`IdRow`] to the one that may.
/// A claim that is older than `stale_before_ms` was given up.
pub fn claim(media_id: &str, user_id: &UserId, now_ms: u64, stale_before_ms: u64) -> Statement {
    Statement::new(
        "UPDATE local_media_repository SET last_access_ts = ?3
         WHERE media_id = ?1 AND user_id = ?2 AND media_length IS NULL
           AND coalesce(last_access_ts, 0) < ?4
         RETURNING media_id",
    )
    .bind(media_id)
    .bind(user_id.as_str())
    .bind(now_ms)
    .bind(stale_before_ms)
}

/// Gives a claim back.
pub fn release(media_id: &str) -> Statement {
    Statement::new(
        "UPDATE local_media_repository SET last_access_ts = NULL
         WHERE media_id = ?1 AND media_length IS NULL",
    )
    .bind(media_id)
}

/// The file of a reserved id is there.
pub fn complete(
    media_id: &str,
    media_type: &str,
    media_length: u64,
    upload_name: Option<&str>,
) -> Statement {
    Statement::new(
        "UPDATE local_media_repository
         SET media_type = ?2, media_length = ?3, upload_name = ?4, last_access_ts = NULL
         WHERE media_id = ?1 AND media_length IS NULL",
    )
    .bind(media_id)
    .bind(media_type)
    .bind(media_length)
    .bind(upload_name)
}

/// Notes that somebody has looked at a file.
pub fn touch(media_id: &str, now_ms: u64) -> Statement {
    Statement::new("UPDATE local_media_repository SET last_access_ts = ?2 WHERE media_id = ?1")
        .bind(media_id)
        .bind(now_ms)
}

/// How many bytes a user has stored.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct UsageRow {
    pub bytes: u64,
}

/// Reads the [`UsageRow`] of a user.
pub fn usage(user_id: &UserId) -> Statement {
    Statement::new(
        "SELECT coalesce(sum(media_length), 0) AS bytes
         FROM local_media_repository WHERE user_id = ?1",
    )
    .bind(user_id.as_str())
}

/// Removes reserved ids that nobody has filled in time.
pub fn delete_unused(created_before_ms: u64) -> Statement {
    Statement::new(
        "DELETE FROM local_media_repository
         WHERE media_length IS NULL AND created_ts < ?1 AND coalesce(last_access_ts, 0) < ?1",
    )
    .bind(created_before_ms)
}

/// A thumbnail that is in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ThumbnailRow {
    pub thumbnail_width: u32,
    pub thumbnail_height: u32,
    pub thumbnail_type: String,
    pub thumbnail_method: String,
    pub thumbnail_length: u64,
}

/// Reads the [`ThumbnailRow`]s of a file.
pub fn thumbnails(media_id: &str) -> Statement {
    Statement::new(
        "SELECT thumbnail_width, thumbnail_height, thumbnail_type, thumbnail_method,
                thumbnail_length
         FROM local_media_repository_thumbnails WHERE media_id = ?1",
    )
    .bind(media_id)
}

pub fn insert_thumbnail(media_id: &str, row: &ThumbnailRow) -> Statement {
    Statement::new(
        "INSERT INTO local_media_repository_thumbnails (
            media_id, thumbnail_width, thumbnail_height, thumbnail_type, thumbnail_method,
            thumbnail_length)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET thumbnail_length = excluded.thumbnail_length",
    )
    .bind(media_id)
    .bind(row.thumbnail_width)
    .bind(row.thumbnail_height)
    .bind(row.thumbnail_type.as_str())
    .bind(row.thumbnail_method.as_str())
    .bind(row.thumbnail_length)
}
