//! `application_services_txns`, `application_services_state` and `appservice_stream_position`:
//! what application services are told, and how far the log has been looked through for them.
//! `appservice_room_list`: the rooms that they list.

use ruma::{OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomId};
use serde::{Deserialize, Serialize};

use super::counters::next_ids;
use super::database::Statement;

/// Events that are looked at in one step, and that one transaction has at most.
pub const EVENTS_MAX: u32 = 100;

/// A server that has never had application services begins this close to the log's end.
pub fn begin() -> Statement {
    Statement::new(
        "UPDATE appservice_stream_position SET stream_ordering =
             (SELECT max(0, stream_id - ?1) FROM stream_positions
              WHERE stream_name = 'events' AND instance_name = 'master')
         WHERE stream_ordering = 0",
    )
    .bind(EVENTS_MAX)
}

/// How far the log has been looked through.
#[derive(Debug, Deserialize)]
pub struct PositionRow {
    pub stream_ordering: i64,
}

/// Reads the [`PositionRow`].
pub fn select_position() -> Statement {
    Statement::new("SELECT stream_ordering FROM appservice_stream_position")
}

/// An event that has not been looked at.
#[derive(Debug, Deserialize)]
pub struct NewEventRow {
    pub stream_ordering: i64,
    pub event_id: OwnedEventId,
    pub room_id: OwnedRoomId,
    pub sender: OwnedUserId,
    /// Whose membership it sets.
    pub member: Option<String>,
}

/// Reads [`NewEventRow`]s, the oldest first.
pub fn select_new() -> Statement {
    Statement::new(
        "SELECT e.stream_ordering, e.event_id, e.room_id, e.sender,
                CASE WHEN e.type = 'm.room.member' THEN e.state_key END AS member
         FROM events e
         WHERE e.stream_ordering > (SELECT stream_ordering FROM appservice_stream_position)
             AND NOT e.outlier AND e.rejection_reason IS NULL
         ORDER BY e.stream_ordering LIMIT ?1 + 0",
    )
    .bind(EVENTS_MAX)
}

/// What a service is to be told next.
#[derive(Debug, Deserialize)]
pub struct TransactionRow {
    pub as_id: String,
    pub txn_id: i64,
    /// A JSON list.
    pub event_ids: String,
}

/// Reads the oldest [`TransactionRow`] of each of these services.
pub fn select_oldest(as_ids: &[&str]) -> Statement {
    Statement::new(
        "SELECT t.as_id, t.txn_id, t.event_ids FROM json_each(?1) s
         CROSS JOIN application_services_txns t ON t.as_id = s.value
             AND t.txn_id = (SELECT min(m.txn_id) FROM application_services_txns m
                             WHERE m.as_id = s.value)",
    )
    .bind_json(&as_ids)
}

/// An alias of a room.
#[derive(Debug, Deserialize)]
pub struct AliasRow {
    pub room_id: OwnedRoomId,
    pub room_alias: OwnedRoomAliasId,
}

/// Somebody who is in a room.
#[derive(Debug, Deserialize)]
pub struct MemberRow {
    pub room_id: OwnedRoomId,
    pub user_id: OwnedUserId,
}

/// Reads the [`AliasRow`]s of rooms.
pub fn select_aliases(room_ids: &[OwnedRoomId]) -> Statement {
    Statement::new(
        "SELECT room_id, room_alias FROM room_aliases
         WHERE room_id IN (SELECT value FROM json_each(?1))",
    )
    .bind_json(&room_ids)
    .unless_empty(room_ids)
}

/// Reads the [`MemberRow`]s of rooms.
pub fn select_members(room_ids: &[OwnedRoomId]) -> Statement {
    Statement::new(
        "SELECT c.room_id, c.state_key AS user_id FROM json_each(?1) r
         CROSS JOIN current_state_events c ON c.room_id = r.value
             AND c.type = 'm.room.member' AND c.membership = 'join'",
    )
    .bind_json(&room_ids)
    .unless_empty(room_ids)
}

/// Events that are to be told to a service.
#[derive(Debug, Serialize)]
pub struct NewTransaction {
    pub as_id: String,
    pub event_ids: Vec<OwnedEventId>,
}

/// Writes what is to be told of the events up to `upto`. Aborts the batch unless the log has been
/// looked through up to `from`.
pub fn insert(transactions: &[NewTransaction], from: i64, upto: i64) -> Vec<Statement> {
    let fence = Statement::new(
        "SELECT CASE WHEN stream_ordering <> ?1 THEN json('x') END FROM appservice_stream_position",
    );
    let advance = Statement::new("UPDATE appservice_stream_position SET stream_ordering = ?1");
    let mut statements = vec![fence.bind(from), advance.bind(upto)];
    if !transactions.is_empty() {
        let insert = Statement::new(
            "INSERT INTO application_services_txns (as_id, txn_id, event_ids)
             SELECT t.value ->> 'as_id',
                    (SELECT value FROM myelin_counters
                     WHERE name = 'application_services_txn_id') - t.key,
                    t.value ->> 'event_ids'
             FROM json_each(?1) t",
        );
        statements.push(next_ids("application_services_txn_id", transactions.len()));
        statements.push(insert.bind_json(&transactions));
    }
    statements
}

/// A transaction that its service has taken.
pub fn delete(as_id: &str, txn_id: i64) -> Statement {
    Statement::new("DELETE FROM application_services_txns WHERE as_id = ?1 AND txn_id = ?2")
        .bind(as_id)
        .bind(txn_id)
}

/// Notes whether a service takes what it is told.
pub fn set_state(as_id: &str, is_up: bool) -> Statement {
    Statement::new(
        "INSERT INTO application_services_state (as_id, state) VALUES (?1, ?2)
         ON CONFLICT (as_id) DO UPDATE SET state = excluded.state",
    )
    .bind(as_id)
    .bind(if is_up { "up" } else { "down" })
}

/// Puts a room into the list of a service's network, or takes it out.
pub fn set_listed(as_id: &str, network_id: &str, room_id: &RoomId, is_listed: bool) -> Statement {
    let sql = match is_listed {
        true => {
            "INSERT OR IGNORE INTO appservice_room_list (appservice_id, network_id, room_id)
             VALUES (?1, ?2, ?3)"
        }
        false => {
            "DELETE FROM appservice_room_list
             WHERE appservice_id = ?1 AND network_id = ?2 AND room_id = ?3"
        }
    };
    Statement::new(sql).bind(as_id).bind(network_id).bind(room_id.as_str())
}
