//! `user_filters`: filters that `/sync` and `/messages` name by a number of their user's.
//!
//! Invariant: the same filter of the same user has one number; numbers begin at 0.

use ruma::UserId;
use serde::Deserialize;

use super::database::Statement;

#[derive(Debug, Deserialize)]
pub struct FilterIdRow {
    pub filter_id: i64,
}

/// A filter as it was stored: canonical JSON.
#[derive(Debug, Deserialize)]
pub struct FilterRow {
    pub filter_json: String,
}

/// Reads a [`FilterRow`].
pub fn select(user_id: &UserId, filter_id: i64) -> Statement {
    Statement::new(
        "SELECT CAST(filter_json AS TEXT) AS filter_json FROM user_filters
         WHERE full_user_id = ?1 AND filter_id = ?2",
    )
    .bind(user_id.as_str())
    .bind(filter_id)
}

/// Stores a filter in canonical JSON, unless it is there; the second statement reads its
/// [`FilterIdRow`].
pub fn insert(user_id: &UserId, filter_json: &str) -> [Statement; 2] {
    let insert = Statement::new(
        "INSERT INTO user_filters (full_user_id, user_id, filter_id, filter_json)
         SELECT ?1, ?3,
             coalesce((SELECT max(filter_id) + 1 FROM user_filters WHERE full_user_id = ?1), 0),
             CAST(?2 AS BLOB)
         WHERE NOT EXISTS (SELECT 1 FROM user_filters
                           WHERE full_user_id = ?1 AND filter_json = CAST(?2 AS BLOB))",
    )
    .bind(user_id.as_str())
    .bind(filter_json)
    .bind(user_id.localpart());
    let select = Statement::new(
        "SELECT filter_id FROM user_filters
         WHERE full_user_id = ?1 AND filter_json = CAST(?2 AS BLOB)",
    )
    .bind(user_id.as_str())
    .bind(filter_json);
    [insert, select]
}
