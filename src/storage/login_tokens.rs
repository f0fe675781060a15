//! `login_tokens`: what somebody who has signed in elsewhere logs in with, once.

use ruma::{OwnedUserId, UserId};
use serde::Deserialize;

use super::database::Statement;

/// Whose a token was.
#[derive(Debug, Deserialize)]
pub struct LoginTokenRow {
    pub user_id: OwnedUserId,
}

/// Writes a token.
pub fn insert(
    token: &str,
    user_id: &UserId,
    expiry_ts: u64,
    auth_provider_id: Option<&str>,
) -> Statement {
    Statement::new(
        "INSERT INTO login_tokens (token, user_id, expiry_ts, auth_provider_id)
         VALUES (?1, ?2, ?3, ?4)",
    )
    .bind(token)
    .bind(user_id.as_str())
    .bind(expiry_ts)
    .bind(auth_provider_id)
}

/// Uses a token up, and reads its [`LoginTokenRow`] if it was still good.
pub fn consume(token: &str, now_ms: u64) -> Statement {
    Statement::new(
        "UPDATE login_tokens SET used_ts = ?2
         WHERE token = ?1 AND used_ts IS NULL AND expiry_ts >= ?2 RETURNING user_id",
    )
    .bind(token)
    .bind(now_ms)
}

/// Removes the tokens that were good until before this.
pub fn delete_older_than(expiry_ts: u64) -> Statement {
    Statement::new("DELETE FROM login_tokens WHERE expiry_ts < ?1").bind(expiry_ts)
}
