//! `sessions`: what the server remembers between the pages of an answer.

use serde::Deserialize;

use super::database::Statement;

/// What was remembered.
#[derive(Debug, Deserialize)]
pub struct SessionRow {
    /// JSON.
    pub value: String,
}

/// Reads the [`SessionRow`] of a session that has not expired.
pub fn select(session_type: &str, session_id: &str, now_ms: u64) -> Statement {
    Statement::new(
        "SELECT value FROM sessions
         WHERE session_type = ?1 AND session_id = ?2 AND expiry_time_ms > ?3",
    )
    .bind(session_type)
    .bind(session_id)
    .bind(now_ms)
}

/// Remembers a value under a new id.
pub fn insert(
    session_type: &str,
    session_id: &str,
    value: &impl serde::Serialize,
    expiry_time_ms: u64,
) -> Statement {
    Statement::new(
        "INSERT INTO sessions (session_type, session_id, value, expiry_time_ms)
         VALUES (?1, ?2, ?3, ?4)",
    )
    .bind(session_type)
    .bind(session_id)
    .bind_json(value)
    .bind(expiry_time_ms)
}

/// Forgets what has expired. It walks through the table.
pub fn delete_expired(now_ms: u64) -> Statement {
    Statement::new("DELETE FROM sessions WHERE expiry_time_ms <= ?1").bind(now_ms)
}
