//! `access_tokens`, with what a request needs to know of its user.

use ruma::{OwnedDeviceId, OwnedUserId};
use serde::Deserialize;

use super::database::{Statement, boolean};

/// A token's row, joined with its user's.
#[derive(Debug, Deserialize)]
pub struct TokenRow {
    pub token_id: i64,
    pub user_id: OwnedUserId,
    pub device_id: Option<OwnedDeviceId>,
    pub valid_until_ms: Option<u64>,
    #[serde(deserialize_with = "boolean")]
    pub is_guest: bool,
    #[serde(deserialize_with = "boolean")]
    pub is_admin: bool,
    #[serde(deserialize_with = "boolean")]
    pub deactivated: bool,
    #[serde(deserialize_with = "boolean")]
    pub is_locked: bool,
}

/// Reads one [`TokenRow`]: 2 rows by unique index.
pub fn select(token: &str) -> Statement {
    Statement::new(
        "SELECT t.id AS token_id, t.user_id, t.device_id, t.valid_until_ms,
                u.is_guest, u.admin AS is_admin, u.deactivated, u.locked AS is_locked
         FROM access_tokens t JOIN users u ON u.name = t.user_id
         WHERE t.token = ?1",
    )
    .bind(token)
}
