//! `registration_tokens`.
//!
//! Invariant: `pending` counts the sessions that have shown the token and are not at their end;
//! pending and completed uses together never exceed `uses_allowed`.

use super::database::Statement;

const USABLE: &str = "token = ?1 AND (expiry_time IS NULL OR expiry_time > ?2)
     AND (uses_allowed IS NULL OR uses_allowed > pending + completed)";

/// Reads one row if the token can be used.
pub fn select_usable(token: &str, now_ms: u64) -> Statement {
    Statement::new(format!("SELECT token FROM registration_tokens WHERE {USABLE}"))
        .bind(token)
        .bind(now_ms)
}

/// Holds one use for a session. Aborts the batch if there is none.
pub fn hold(token: &str, now_ms: u64) -> [Statement; 2] {
    let update = "UPDATE registration_tokens SET pending = pending + 1 WHERE token = ?1";
    [fence_usable(token, now_ms), Statement::new(update).bind(token)]
}

/// Uses the token at once. Aborts the batch if it cannot be used.
pub fn complete(token: &str, now_ms: u64) -> [Statement; 2] {
    let update = "UPDATE registration_tokens SET completed = completed + 1 WHERE token = ?1";
    [fence_usable(token, now_ms), Statement::new(update).bind(token)]
}

/// Turns the use that a session holds into a completed one.
pub fn complete_held(token: &str) -> Statement {
    Statement::new(
        "UPDATE registration_tokens SET pending = pending - 1, completed = completed + 1
         WHERE token = ?1",
    )
    .bind(token)
}

fn fence_usable(token: &str, now_ms: u64) -> Statement {
    Statement::new(format!(
        "SELECT CASE WHEN NOT EXISTS (SELECT 1 FROM registration_tokens WHERE {USABLE})
                     THEN json('x') END"
    ))
    .bind(token)
    .bind(now_ms)
}
