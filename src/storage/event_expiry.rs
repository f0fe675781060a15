//! `event_expiry`: messages that are to be forgotten, until they have been.

use ruma::{OwnedEventId, OwnedRoomId};
use serde::{Deserialize, Serialize};

use super::database::Statement;

/// A message that says until when it may be read.
#[derive(Debug, Serialize)]
pub struct ExpiryRow {
    pub event_id: String,
    pub expiry_ts: u64,
}

/// Notes when messages are to be forgotten.
pub fn insert(rows: &[ExpiryRow]) -> Statement {
    Statement::new(
        "INSERT OR IGNORE INTO event_expiry (event_id, expiry_ts)
         SELECT value ->> 'event_id', value ->> 'expiry_ts' FROM json_each(?1)",
    )
    .bind_json(&rows)
}

/// A message whose time has come.
#[derive(Debug, Deserialize)]
pub struct ExpiredRow {
    pub event_id: OwnedEventId,
    pub room_id: OwnedRoomId,
    pub room_version: Option<String>,
    pub json: String,
}

/// Reads the first [`ExpiredRow`]s.
pub fn select_expired(now_ms: u64, limit: u32) -> Statement {
    Statement::new(
        "SELECT x.event_id, j.room_id, r.room_version, j.json FROM event_expiry x
         CROSS JOIN event_json j ON j.event_id = x.event_id
         LEFT JOIN rooms r ON r.room_id = j.room_id
         WHERE x.expiry_ts <= ?1 ORDER BY x.expiry_ts LIMIT ?2 + 0",
    )
    .bind(now_ms)
    .bind(limit)
}

/// What is left of a message.
#[derive(Debug, Serialize)]
pub struct PrunedRow {
    pub event_id: OwnedEventId,
    pub json: String,
}

/// Forgets what messages said.
pub fn prune(rows: &[PrunedRow]) -> [Statement; 2] {
    let prune = Statement::new(
        "UPDATE event_json SET json = p.value ->> 'json'
         FROM json_each(?1) p WHERE event_json.event_id = p.value ->> 'event_id'",
    );
    let delete = Statement::new(
        "DELETE FROM event_expiry
         WHERE event_id IN (SELECT value ->> 'event_id' FROM json_each(?1))",
    );
    [prune.bind_json(&rows), delete.bind_json(&rows)]
}
