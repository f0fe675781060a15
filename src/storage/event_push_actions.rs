//! `event_push_actions`: which events notify whom.

use ruma::{OwnedEventId, OwnedRoomId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::database::{Statement, boolean};

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
        match (self.actions.as_str(), self.highlight) {
            ("", false) => Ok(json!(["notify", { "set_tweak": "highlight", "value": false }])),
            ("", true) => Ok(json!([
                "notify",
                { "set_tweak": "sound", "value": "default" },
                { "set_tweak": "highlight" },
            ])),
            (actions, _) => serde_json::from_str(actions),
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
