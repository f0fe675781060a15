//! `event_reports`, `room_reports`, `user_reports`: what users tell the administrators of.

use ruma::{EventId, RoomId, UserId};

use super::counters::next_id;
use super::database::Statement;

/// Records a report of an event. `content` is the whole of what was said, as JSON.
pub fn insert_event_report(
    room_id: &RoomId,
    event_id: &EventId,
    user_id: &UserId,
    reason: Option<&str>,
    content: &str,
    now_ms: u64,
) -> [Statement; 2] {
    let insert = Statement::new(
        "INSERT INTO event_reports (id, received_ts, room_id, event_id, user_id, reason, content)
         VALUES ((SELECT value FROM myelin_counters WHERE name = 'event_reports_id'),
                 ?1, ?2, ?3, ?4, ?5, ?6)",
    )
    .bind(now_ms)
    .bind(room_id.as_str())
    .bind(event_id.as_str())
    .bind(user_id.as_str())
    .bind(reason)
    .bind(content);
    [next_id("event_reports_id"), insert]
}

/// Records a report of a room that this server knows.
pub fn insert_room_report(
    room_id: &RoomId,
    user_id: &UserId,
    reason: &str,
    now_ms: u64,
) -> [Statement; 2] {
    let insert = Statement::new(
        "INSERT INTO room_reports (id, received_ts, room_id, user_id, reason)
         SELECT (SELECT value FROM myelin_counters WHERE name = 'room_reports_id'), ?1, ?2, ?3, ?4
         WHERE EXISTS (SELECT 1 FROM rooms WHERE room_id = ?2)",
    )
    .bind(now_ms)
    .bind(room_id.as_str())
    .bind(user_id.as_str())
    .bind(reason);
    [next_id("room_reports_id"), insert]
}

/// Records a report of a user who exists.
pub fn insert_user_report(
    target: &UserId,
    user_id: &UserId,
    reason: &str,
    now_ms: u64,
) -> [Statement; 2] {
    let insert = Statement::new(
        "INSERT INTO user_reports (id, received_ts, target_user_id, user_id, reason)
         SELECT (SELECT value FROM myelin_counters WHERE name = 'user_reports_id'), ?1, ?2, ?3, ?4
         WHERE EXISTS (SELECT 1 FROM users WHERE name = ?2)",
    )
    .bind(now_ms)
    .bind(target.as_str())
    .bind(user_id.as_str())
    .bind(reason);
    [next_id("user_reports_id"), insert]
}
