//! `user_external_ids`: under which name users of ours sign in elsewhere.

use ruma::{OwnedUserId, UserId};
use serde::Deserialize;

use super::database::Statement;

/// Whose name it is.
#[derive(Debug, Deserialize)]
pub struct ExternalIdRow {
    pub user_id: OwnedUserId,
}

/// Reads the [`ExternalIdRow`] of a name: by unique index.
pub fn select(auth_provider: &str, external_id: &str) -> Statement {
    Statement::new(
        "SELECT user_id FROM user_external_ids WHERE auth_provider = ?1 AND external_id = ?2",
    )
    .bind(auth_provider)
    .bind(external_id)
}

/// Reads one row if the user signs in there.
pub fn select_of_user(auth_provider: &str, user_id: &UserId) -> Statement {
    Statement::new(
        "SELECT user_id FROM user_external_ids WHERE user_id = ?2 AND auth_provider = ?1 LIMIT 1",
    )
    .bind(auth_provider)
    .bind(user_id.as_str())
}

/// Writes whose name it is, unless it is somebody's.
pub fn insert(auth_provider: &str, external_id: &str, user_id: &UserId) -> Statement {
    Statement::new(
        "INSERT INTO user_external_ids (auth_provider, external_id, user_id) VALUES (?1, ?2, ?3)
         ON CONFLICT (auth_provider, external_id) DO NOTHING",
    )
    .bind(auth_provider)
    .bind(external_id)
    .bind(user_id.as_str())
}
