//! `room_tags`, `room_tags_revisions`: how a user sorts rooms.
//!
//! For `/sync`: [`updated_since`] reads all tags of the rooms whose tags changed in `(from, to]`
//! of the account data stream (a room that has lost its last tag is there too); `from` 0 reads
//! all rooms. It visits as many rows as the user has ever tagged rooms.

use ruma::{OwnedRoomId, RoomId, UserId};
use serde::Deserialize;

use super::database::Statement;
use super::stream_positions::{StreamName, advance, current};

/// A tag of a room; no tag if the room has none left.
#[derive(Debug, Deserialize)]
pub struct TagRow {
    pub room_id: OwnedRoomId,
    pub tag: Option<String>,
    /// JSON.
    pub content: Option<String>,
}

const SELECT_CHANGED: &str = "SELECT r.room_id, t.tag, t.content
     FROM room_tags_revisions r
     LEFT JOIN room_tags t ON t.user_id = r.user_id AND t.room_id = r.room_id
     WHERE r.user_id = ?1 AND ";

/// Reads the [`TagRow`]s of one room that have a tag.
pub fn select(user_id: &UserId, room_id: &RoomId) -> Statement {
    Statement::new(
        "SELECT room_id, tag, content FROM room_tags WHERE user_id = ?1 AND room_id = ?2",
    )
    .bind(user_id.as_str())
    .bind(room_id.as_str())
}

/// Reads the [`TagRow`]s of all rooms whose tags changed in `(from, to]`.
pub fn updated_since(user_id: &UserId, from: i64, to: i64) -> Statement {
    Statement::new(format!("{SELECT_CHANGED} r.stream_id > ?2 AND r.stream_id <= ?3"))
        .bind(user_id.as_str())
        .bind(from)
        .bind(to)
        .small::<TagRow>()
}

/// Reads the [`TagRow`]s of these rooms: for rooms that are new to a sync.
pub fn select_rooms(user_id: &UserId, room_ids: &[OwnedRoomId]) -> Statement {
    Statement::new(format!("{SELECT_CHANGED} r.room_id IN (SELECT value FROM json_each(?2))"))
        .bind(user_id.as_str())
        .bind_json(&room_ids)
        .small::<TagRow>()
}

/// Adds a tag, or replaces its content.
pub fn set(user_id: &UserId, room_id: &RoomId, tag: &str, content: &str) -> Vec<Statement> {
    let upsert = Statement::new(
        "INSERT INTO room_tags (user_id, room_id, tag, content) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (user_id, room_id, tag) DO UPDATE SET content = excluded.content",
    )
    .bind(user_id.as_str())
    .bind(room_id.as_str())
    .bind(tag)
    .bind(content);
    vec![advance(StreamName::AccountData), upsert, touch(user_id, room_id)]
}

/// Removes a tag, if it is there.
pub fn remove(user_id: &UserId, room_id: &RoomId, tag: &str) -> Vec<Statement> {
    let delete =
        Statement::new("DELETE FROM room_tags WHERE user_id = ?1 AND room_id = ?2 AND tag = ?3")
            .bind(user_id.as_str())
            .bind(room_id.as_str())
            .bind(tag);
    vec![advance(StreamName::AccountData), delete, touch(user_id, room_id)]
}

fn touch(user_id: &UserId, room_id: &RoomId) -> Statement {
    let position = current(StreamName::AccountData);
    Statement::new(format!(
        "INSERT INTO room_tags_revisions (user_id, room_id, stream_id, instance_name)
         VALUES (?1, ?2, {position}, 'master')
         ON CONFLICT (user_id, room_id) DO UPDATE
         SET stream_id = excluded.stream_id, instance_name = excluded.instance_name"
    ))
    .bind(user_id.as_str())
    .bind(room_id.as_str())
}
