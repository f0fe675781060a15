//! `event_push_actions`: which events notify whom.

use myelin_protocol::push_evaluation::usual_actions;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::database::{Statement, boolean};
use super::room_log::NEWEST;

/// Users whom an event of the commit notifies in the same way.
#[derive(Debug, Serialize)]
pub struct NoticeRow<'a> {
    pub event_id: &'a str,
    pub sender: &'a str,
    pub depth: i64,
    /// How many events of the commit come after it.
    pub from_newest: usize,
    pub actions: &'a str,
    pub highlight: bool,
    /// What it relates to, if it relates to anything, and whether that is the root of its thread.
    pub relates_to: Option<String>,
    pub is_threaded: bool,
    /// Whoever ignores the sender is not to be notified of it.
    pub can_be_ignored: bool,
    pub users: &'a [OwnedUserId],
}

/// The thread of the event of a notice `n`: its own relation, or that of what it relates to.
const THREAD: &str = "CASE
     WHEN n.value ->> 'relates_to' IS NULL THEN 'main'
     WHEN n.value ->> 'is_threaded' THEN n.value ->> 'relates_to'
     ELSE coalesce((WITH RECURSIVE related (relates_to_id, relation_type, depth) AS (
             SELECT relates_to_id, relation_type, 0 FROM event_relations
             WHERE event_id = n.value ->> 'relates_to'
             UNION SELECT e.relates_to_id, e.relation_type, related.depth + 1
             FROM related CROSS JOIN event_relations e ON e.event_id = related.relates_to_id
             WHERE related.depth <= 3)
         SELECT relates_to_id FROM related WHERE relation_type = 'm.thread'
         ORDER BY depth DESC LIMIT 1), 'main') END";

/// Inserts who is notified of the events of a commit, after the events and their relations. Who
/// ignores whom is asked of the same state of the database.
pub fn insert(room_id: &str, rows: &[NoticeRow<'_>]) -> Statement {
    Statement::new(format!(
        "INSERT INTO event_push_actions (room_id, event_id, user_id, actions, stream_ordering,
             topological_ordering, notif, highlight, unread, thread_id)
         WITH notices AS MATERIALIZED (
             SELECT n.value ->> 'event_id' AS event_id, n.value ->> 'actions' AS actions,
                 {NEWEST} - (n.value ->> 'from_newest') AS stream_ordering,
                 n.value ->> 'depth' AS depth, n.value ->> 'highlight' AS highlight,
                 {THREAD} AS thread_id, n.value ->> 'sender' AS sender,
                 n.value ->> 'can_be_ignored' AS can_be_ignored, n.value -> 'users' AS users
             FROM json_each(?2) n)
         SELECT ?1, n.event_id, u.value, n.actions, n.stream_ordering, n.depth, 1, n.highlight, 0,
             n.thread_id
         FROM notices n
         CROSS JOIN json_each(n.users) u
         WHERE NOT (n.can_be_ignored AND EXISTS (
             SELECT 1 FROM ignored_users i
             WHERE i.ignorer_user_id = u.value AND i.ignored_user_id = n.sender))"
    ))
    .bind(room_id)
    .bind_json(&rows)
}

/// Takes the notifications of redacted events out.
pub fn delete_of_events(room_id: &str, event_ids: &[&str]) -> Statement {
    Statement::new(
        "DELETE FROM event_push_actions
         WHERE room_id = ?1 AND event_id IN (SELECT value FROM json_each(?2))",
    )
    .bind(room_id)
    .bind_json(&event_ids)
}

/// An event that notified its reader.
#[derive(Debug, Deserialize)]
pub struct NotificationRow {
    pub event_id: OwnedEventId,
    pub room_id: OwnedRoomId,
    pub stream_ordering: i64,
    pub profile_tag: Option<String>,
    actions: String,
    #[serde(deserialize_with = "boolean")]
    highlight: bool,
    pub received_ts: Option<u64>,
    /// Whether a receipt of the reader stands at the event or after it.
    #[serde(deserialize_with = "boolean")]
    pub is_read: bool,
}

impl NotificationRow {
    /// The actions of the rule that matched. The two usual lists are stored as an empty text.
    ///
    /// # Errors
    /// If the column is not JSON.
    pub fn actions(&self) -> Result<Value, serde_json::Error> {
        match self.actions.as_str() {
            "" => Ok(Value::from(usual_actions(self.highlight))),
            actions => serde_json::from_str(actions),
        }
    }
}

/// Reads [`NotificationRow`]s, the newest first, of those before a place in the stream.
pub fn select_notifications(
    user_or_token: &str,
    before: Option<i64>,
    only_highlights: bool,
    limit: u64,
) -> Statement {
    Statement::new(
        "SELECT a.event_id, a.room_id, a.stream_ordering, a.profile_tag, a.actions, a.highlight,
             e.received_ts,
             EXISTS (SELECT 1 FROM receipts_linearized r
                     WHERE r.room_id = a.room_id AND r.user_id = a.user_id
                         AND r.receipt_type IN ('m.read', 'm.read.private')
                         AND (r.thread_id IS NULL OR r.thread_id = a.thread_id)
                         AND r.event_stream_ordering >= a.stream_ordering) AS is_read
         FROM event_push_actions a CROSS JOIN events e ON e.event_id = a.event_id
         WHERE a.user_id = coalesce((SELECT user_id FROM access_tokens WHERE token = ?1), ?1)
             AND a.notif = 1 AND (?2 IS NULL OR a.stream_ordering < ?2)
             AND (a.highlight = 1 OR NOT ?3)
         ORDER BY a.stream_ordering DESC LIMIT ?4 + 0",
    )
    .bind(user_or_token)
    .bind(before)
    .bind(only_highlights)
    .bind(limit)
}
