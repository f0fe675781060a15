//! `e2e_room_keys_versions`: backups of message keys, of which the newest is in use; and
//! `myelin_room_key_counts`, how many keys are in each.

use ruma::UserId;
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
             coalesce(
                 (SELECT n.key_count FROM myelin_room_key_counts n
                  WHERE n.user_id = v.user_id AND n.version = v.version),
                 (SELECT count(*) FROM e2e_room_keys k
                  WHERE k.user_id = v.user_id AND k.version = v.version)) AS count
         FROM e2e_room_keys_versions v
         WHERE v.user_id = coalesce((SELECT user_id FROM access_tokens WHERE token = ?1), ?1)
             AND v.deleted = 0 AND (?2 IS NULL OR v.version = ?2)
         ORDER BY v.version DESC LIMIT 1",
    )
    .bind(user_or_token)
    .bind(version)
}

/// A backup that has just been made.
#[derive(Debug, Deserialize)]
pub struct NewVersionRow {
    pub version: i64,
}

/// Makes a backup, and returns its [`NewVersionRow`]. Versions are not used again.
pub fn insert(user_id: &UserId, algorithm: &str, auth_data: &str) -> Statement {
    Statement::new(
        "INSERT INTO e2e_room_keys_versions (user_id, version, algorithm, auth_data, deleted)
         SELECT ?1, 1 + coalesce((SELECT max(version) FROM e2e_room_keys_versions
                                  WHERE user_id = ?1), 0), ?2, ?3, 0
         RETURNING version",
    )
    .bind(user_id.as_str())
    .bind(algorithm)
    .bind(auth_data)
}

/// Says anew how the keys of a backup are encrypted.
pub fn update(user_id: &UserId, version: i64, auth_data: &str) -> Statement {
    Statement::new(
        "UPDATE e2e_room_keys_versions SET auth_data = ?3
         WHERE user_id = ?1 AND version = ?2 AND deleted = 0",
    )
    .bind(user_id.as_str())
    .bind(version)
    .bind(auth_data)
}

/// Removes a backup with its keys. The last statement returns a row if there ever was one.
pub fn delete(user_id: &UserId, version: i64) -> [Statement; 3] {
    [
        "DELETE FROM e2e_room_keys WHERE user_id = ?1 AND version = ?2",
        "DELETE FROM myelin_room_key_counts WHERE user_id = ?1 AND version = ?2",
        "UPDATE e2e_room_keys_versions SET deleted = 1 WHERE user_id = ?1 AND version = ?2
         RETURNING version",
    ]
    .map(|sql| Statement::new(sql).bind(user_id.as_str()).bind(version))
}

/// Aborts the batch unless this is the backup in use.
pub fn fence(user_id: &UserId, version: i64) -> Statement {
    Statement::new(
        "SELECT CASE WHEN (SELECT max(version) FROM e2e_room_keys_versions
                           WHERE user_id = ?1 AND deleted = 0) IS NOT ?2 THEN json('x') END",
    )
    .bind(user_id.as_str())
    .bind(version)
}
