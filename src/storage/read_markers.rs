//! The `m.fully_read` rows of `room_account_data`.
//!
//! Invariant: the marker never moves back in the order of the room's events.

use ruma::{EventId, RoomId, UserId};

use super::database::Statement;
use super::stream_positions::{StreamName, current};

/// A marker at this event or a later one. One whose event is gone does not count.
const STANDS_FURTHER: &str = "EXISTS (
     SELECT 1 FROM room_account_data a
     JOIN events old ON old.event_id = json_extract(a.content, '$.event_id')
     JOIN events new ON new.event_id = ?3
     WHERE a.user_id = ?1 AND a.room_id = ?2 AND a.account_data_type = 'm.fully_read'
         AND (old.topological_ordering, old.stream_ordering)
             >= (new.topological_ordering, new.stream_ordering))";

/// Moves the marker of a user to an event of the room, if that is further on.
pub fn set(user_id: &UserId, room_id: &RoomId, event_id: &EventId) -> Vec<Statement> {
    let content = serde_json::json!({ "event_id": event_id }).to_string();
    let upsert = format!(
        "INSERT INTO room_account_data
             (user_id, room_id, account_data_type, stream_id, content, instance_name)
         SELECT ?1, ?2, 'm.fully_read', {} + 1, ?4, 'master' WHERE NOT {STANDS_FURTHER}
         ON CONFLICT (user_id, room_id, account_data_type) DO UPDATE
         SET stream_id = excluded.stream_id, content = excluded.content,
             instance_name = excluded.instance_name",
        current(StreamName::AccountData),
    );
    // After the row, which could not be told from an older one once it has been written.
    let advance = "UPDATE stream_positions SET stream_id = stream_id + 1
         WHERE stream_name = 'account_data' AND instance_name = 'master' AND EXISTS (
             SELECT 1 FROM room_account_data
             WHERE user_id = ?1 AND room_id = ?2 AND account_data_type = 'm.fully_read'
                 AND stream_id > stream_positions.stream_id)";
    let upsert = Statement::new(upsert).bind(user_id.as_str()).bind(room_id.as_str());
    let advance = Statement::new(advance).bind(user_id.as_str()).bind(room_id.as_str());
    vec![upsert.bind(event_id.as_str()).bind(content), advance]
}
