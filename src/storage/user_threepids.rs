//! `user_threepids`: email addresses and telephone numbers of users.

use serde::Deserialize;

use super::database::Statement;

#[derive(Debug, Deserialize)]
pub struct ThreepidRow {
    pub medium: String,
    pub address: String,
    pub validated_at: u64,
    pub added_at: u64,
}

/// Reads a user's [`ThreepidRow`]s. In the batch that authenticates, the access token stands for
/// its user.
pub fn select(user_or_token: &str) -> Statement {
    Statement::new(
        "SELECT medium, address, validated_at, added_at FROM user_threepids
         WHERE user_id = coalesce((SELECT user_id FROM access_tokens WHERE token = ?1), ?1)
         ORDER BY added_at",
    )
    .bind(user_or_token)
}
