//! `open_id_tokens`: what proves to a third party that somebody is a user of this server.

use ruma::{OwnedUserId, UserId};
use serde::Deserialize;

use super::database::Statement;

/// Whose token it is.
#[derive(Debug, Deserialize)]
pub struct OpenIdTokenRow {
    pub user_id: OwnedUserId,
}

/// How many old tokens a new one looks at: more than one, so that the expired ones go away.
const OLDEST_LOOKED_AT: i64 = 2;

/// Stores a token; of the oldest ones those that have expired are removed.
pub fn insert(token: &str, user_id: &UserId, now_ms: u64, valid_until_ms: u64) -> [Statement; 2] {
    [
        Statement::new(
            "DELETE FROM open_id_tokens
             WHERE rowid IN (SELECT rowid FROM open_id_tokens ORDER BY rowid LIMIT ?2 + 0)
                 AND ts_valid_until_ms < ?1",
        )
        .bind(now_ms)
        .bind(OLDEST_LOOKED_AT),
        Statement::new(
            "INSERT INTO open_id_tokens (token, ts_valid_until_ms, user_id) VALUES (?1, ?2, ?3)",
        )
        .bind(token)
        .bind(valid_until_ms)
        .bind(user_id.as_str()),
    ]
}

/// Reads the [`OpenIdTokenRow`] of a token that is still good.
pub fn select(token: &str, now_ms: u64) -> Statement {
    Statement::new(
        "SELECT user_id FROM open_id_tokens WHERE token = ?1 AND ts_valid_until_ms >= ?2",
    )
    .bind(token)
    .bind(now_ms)
}
