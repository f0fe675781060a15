//! `e2e_room_keys_versions`: backups of message keys, of which the newest is in use.

use serde::Deserialize;

use super::database::Statement;

#[derive(Debug, Deserialize)]
pub struct RoomKeyVersionRow {
    pub version: i64,
    pub algorithm: String,
    /// JSON.
    pub auth_data: String,
    pub etag: i64,
    /// How many keys are in it.
    pub count: u64,
}

/// Reads the [`RoomKeyVersionRow`] of a backup, or of the newest. In the batch that
/// authenticates, the access token stands for its user.
pub fn select(user_or_token: &str, version: Option<i64>) -> Statement {
    Statement::new(
        "SELECT v.version, v.algorithm, v.auth_data, coalesce(v.etag, 0) AS etag,
             (SELECT count(*) FROM e2e_room_keys k
              WHERE k.user_id = v.user_id AND k.version = v.version) AS count
         FROM e2e_room_keys_versions v
         WHERE v.user_id = coalesce((SELECT user_id FROM access_tokens WHERE token = ?1), ?1)
             AND v.deleted = 0 AND (?2 IS NULL OR v.version = ?2)
         ORDER BY v.version DESC LIMIT 1",
    )
    .bind(user_or_token)
    .bind(version)
}
