//! What is still to be pushed to somebody: the notifications in `event_push_actions` that come
//! after the place which each of the user's `pushers` has reached, and have not been read.
//!
//! Invariant: a pusher's place moves with one row written for each event that it was told.

use myelin_protocol::push_evaluation::usual_actions;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, UserId};
use serde::Deserialize;
use serde_json::Value;

use super::database::{Statement, boolean};
use super::pushers;
use super::stream_positions::{NOW, StreamName, current};

/// Notifications that one look brings: a pusher gets them one after the other.
const PENDING_MAX: u32 = 20;

/// Of one user: as many as somebody can set, and what an import may bring besides.
const DESTINATIONS_MAX: u32 = 200;

/// A pusher that is in use.
#[derive(Clone, Debug, Deserialize)]
pub struct DestinationRow {
    pub id: i64,
    pub app_id: String,
    pub pushkey: String,
    pub ts: u64,
    /// JSON.
    pub data: Option<String>,
    pub last_stream_ordering: i64,
    pub failing_since: Option<u64>,
}

/// A notification that has not been read.
#[derive(Clone, Debug, Deserialize)]
pub struct PendingRow {
    pub event_id: OwnedEventId,
    pub room_id: OwnedRoomId,
    pub stream_ordering: i64,
    pub event_type: String,
    actions: String,
    #[serde(deserialize_with = "boolean")]
    highlight: bool,
}

impl PendingRow {
    /// The actions of the rule that matched.
    pub fn actions(&self) -> Value {
        match self.actions.as_str() {
            "" => Value::from(usual_actions(self.highlight)),
            actions => serde_json::from_str(actions).unwrap_or_default(),
        }
    }
}

/// Somebody who is to be told.
#[derive(Debug, Deserialize)]
pub struct UserRow {
    pub user_id: OwnedUserId,
}

const IN_USE: &str = "p.kind = 'http' AND coalesce(p.enabled, 1) = 1";

/// Reads the [`UserRow`]s of those whom events of a commit notify, and who have a pusher.
pub fn select_pushed(room_id: &str, event_ids: &[&str]) -> Statement {
    Statement::new(format!(
        "SELECT DISTINCT a.user_id
         FROM json_each(?2) j
         CROSS JOIN event_push_actions a ON a.room_id = ?1 AND a.event_id = j.value
         CROSS JOIN pushers p ON p.user_name = a.user_id
         WHERE a.notif = 1 AND {IN_USE}"
    ))
    .bind(room_id)
    .bind_json(&event_ids)
}

/// Reads a [`UserRow`] if the user has a pusher.
pub fn select_user(user_id: &UserId) -> Statement {
    Statement::new(format!(
        "SELECT p.user_name AS user_id FROM pushers p WHERE p.user_name = ?1 AND {IN_USE} LIMIT 1"
    ))
    .bind(user_id.as_str())
}

/// Reads the [`UserRow`]s of those who have not been told of events that were received after a
/// time, among the newest events of all.
pub fn select_behind(received_after_ms: u64) -> Statement {
    Statement::new(format!(
        "SELECT DISTINCT a.user_id
         FROM (SELECT room_id, event_id, received_ts FROM events
               ORDER BY stream_ordering DESC LIMIT 1000) e
         CROSS JOIN event_push_actions a ON a.room_id = e.room_id AND a.event_id = e.event_id
         CROSS JOIN pushers p ON p.user_name = a.user_id
         WHERE e.received_ts > ?1 AND a.notif = 1 AND {IN_USE} AND p.failing_since IS NULL
             AND p.last_stream_ordering < a.stream_ordering
         LIMIT 100"
    ))
    .bind(received_after_ms)
}

/// Reads a user's [`DestinationRow`]s.
pub fn select_destinations(user_id: &UserId) -> Statement {
    let newest = current(StreamName::Events);
    Statement::new(format!(
        "SELECT p.id, p.app_id, p.pushkey, p.ts, p.data,
             coalesce(p.last_stream_ordering, {newest}) AS last_stream_ordering, p.failing_since
         FROM pushers p WHERE p.user_name = ?1 AND {IN_USE}
         ORDER BY p.id LIMIT {DESTINATIONS_MAX}"
    ))
    .bind(user_id.as_str())
}

/// Reads the oldest [`PendingRow`]s for pushers that work, or fail since a time after this one.
pub fn select_oldest(user_id: &UserId, failing_after_ms: Option<u64>) -> Statement {
    let of = "(p.failing_since IS NULL OR p.failing_since > ?2)";
    pending(user_id, of, &format!("ASC LIMIT {PENDING_MAX}"))
        .bind(failing_after_ms.unwrap_or(NOW as u64))
}

/// Reads the newest [`PendingRow`] for pushers that fail since this time, or longer.
pub fn select_newest(user_id: &UserId, failing_since_ms: u64) -> Statement {
    pending(user_id, "p.failing_since <= ?2", "DESC LIMIT 1").bind(failing_since_ms)
}

/// Looks into each room of the user after the place that the pushers have reached.
fn pending(user_id: &UserId, of_pushers: &str, order: &str) -> Statement {
    Statement::new(format!(
        "SELECT a.event_id, a.room_id, a.stream_ordering, a.actions, a.highlight,
             e.type AS event_type
         FROM (SELECT min(p.last_stream_ordering) AS place FROM pushers p
               WHERE p.user_name = ?1 AND {IN_USE} AND {of_pushers}) reached
         CROSS JOIN local_current_membership m
         CROSS JOIN event_push_actions a ON a.user_id = m.user_id AND a.room_id = m.room_id
             AND a.stream_ordering > reached.place
         CROSS JOIN events e ON e.event_id = a.event_id
         WHERE m.user_id = ?1 AND m.membership IN ('join', 'invite') AND a.notif = 1
             AND NOT EXISTS (
                 SELECT 1 FROM receipts_linearized r
                 WHERE r.room_id = a.room_id AND r.user_id = a.user_id
                     AND r.receipt_type IN ('m.read', 'm.read.private')
                     AND (r.thread_id IS NULL OR r.thread_id = a.thread_id)
                     AND r.event_stream_ordering >= a.stream_ordering)
         ORDER BY a.stream_ordering {order}"
    ))
    .bind(user_id.as_str())
}

/// Notes that pushers have been told of the event at this place.
pub fn note_told(ids: &[i64], stream_ordering: i64, now_ms: u64) -> Statement {
    Statement::new(
        "UPDATE pushers SET last_stream_ordering = ?2, last_success = ?3, failing_since = NULL
         WHERE id IN (SELECT value FROM json_each(?1))",
    )
    .bind_json(&ids)
    .bind(stream_ordering)
    .bind(now_ms)
}

/// Notes that pushers work again.
pub fn note_working(ids: &[i64]) -> Statement {
    Statement::new(
        "UPDATE pushers SET failing_since = NULL
         WHERE id IN (SELECT value FROM json_each(?1)) AND failing_since IS NOT NULL",
    )
    .bind_json(&ids)
}

/// Notes since when pushers fail.
pub fn note_failing(ids: &[i64], now_ms: u64) -> Statement {
    Statement::new(
        "UPDATE pushers SET failing_since = ?2
         WHERE id IN (SELECT value FROM json_each(?1)) AND failing_since IS NULL",
    )
    .bind_json(&ids)
    .bind(now_ms)
}

/// Deletes pushers that their gateway rejects.
pub fn delete_rejected(ids: &[i64]) -> [Statement; 3] {
    let of_ids = "id IN (SELECT value FROM json_each(?1))";
    pushers::delete_where(of_ids, |statement| statement.bind_json(&ids))
}

/// What a gateway wants to know of an event beside its id.
#[derive(Debug, Deserialize)]
pub struct DetailsRow {
    /// The event.
    pub json: String,
    pub sender_display_name: Option<String>,
    /// State events, if there are any.
    pub name_json: Option<String>,
    pub alias_json: Option<String>,
}

/// One of those after whom a room is called.
#[derive(Debug, Deserialize)]
pub struct OtherRow {
    pub name: String,
    pub others_count: u64,
}

/// Two statements: the [`DetailsRow`] of an event, and the first [`OtherRow`]s of its room if that
/// has no name.
pub fn select_details(user_id: &UserId, room_id: &str, event_id: &str) -> [Statement; 2] {
    let state = |event_type: &str| {
        format!(
            "(SELECT s.json FROM current_state_events c CROSS JOIN event_json s
                  ON s.event_id = c.event_id
              WHERE c.room_id = ?1 AND c.type = '{event_type}' AND c.state_key = '')"
        )
    };
    let (name, alias) = (state("m.room.name"), state("m.room.canonical_alias"));
    let details = Statement::new(format!(
        "SELECT j.json, {name} AS name_json, {alias} AS alias_json,
             (SELECT r.display_name FROM current_state_events c CROSS JOIN room_memberships r
                  ON r.event_id = c.event_id
              WHERE c.room_id = ?1 AND c.type = 'm.room.member' AND c.state_key = e.sender
             ) AS sender_display_name
         FROM events e CROSS JOIN event_json j ON j.event_id = e.event_id
         WHERE e.event_id = ?2"
    ));
    let others = Statement::new(
        "SELECT coalesce(nullif(r.display_name, ''), c.state_key) AS name,
             count(*) OVER () AS others_count
         FROM current_state_events c CROSS JOIN room_memberships r ON r.event_id = c.event_id
         WHERE c.room_id = ?1 AND c.type = 'm.room.member' AND c.state_key <> ?2
             AND c.membership IN ('join', 'invite')
             AND NOT EXISTS (SELECT 1 FROM current_state_events n
                             WHERE n.room_id = ?1 AND n.type = 'm.room.name' AND n.state_key = '')
         ORDER BY c.event_stream_ordering LIMIT 2",
    );
    [details.bind(room_id).bind(event_id), others.bind(room_id).bind(user_id.as_str())]
}
