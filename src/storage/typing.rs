//! `myelin_typing`: who is writing in which room just now. (Synapse keeps this in memory.)
//!
//! A row with `expires_ts` above zero types until then. One below zero stopped at `-expires_ts`:
//! it stays for a while, because its position is what tells readers that somebody stopped.
//!
//! For `/sync`: [`updated_since`] reads who types in each room, of those where the user is
//! joined, in which that has changed after `from` (0: in all in which somebody types or has just
//! stopped). A position tells of an expiry only once [`expire`] has run: a reader that waits runs
//! it no later than at [`select_next_expiry`]. The table holds only those who type or have typed
//! in the last minutes, so it is read whole.

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::Deserialize;

use super::database::{Statement, boolean};
use super::stream_positions::{StreamName, current};

/// How long a row says that somebody stopped. A sync from before that starts without typing.
const STOPPED_KEPT_MS: u64 = 10 * 60 * 1000;

#[derive(Deserialize)]
struct TypingRow {
    room_id: OwnedRoomId,
    user_ids: String,
}

/// Who types in a room.
#[derive(Debug, PartialEq)]
pub struct RoomTyping {
    pub room_id: OwnedRoomId,
    /// Empty if the last one has stopped.
    pub user_ids: Vec<OwnedUserId>,
}

impl<'de> Deserialize<'de> for RoomTyping {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let row = TypingRow::deserialize(deserializer)?;
        let user_ids = serde_json::from_str(&row.user_ids).map_err(serde::de::Error::custom)?;
        Ok(Self { room_id: row.room_id, user_ids })
    }
}

/// When the next one stops by itself; it may be in the past.
#[derive(Debug, Deserialize)]
pub struct ExpiryRow {
    pub expires_ts: Option<u64>,
}

/// Reads the [`RoomTyping`] of each room of the user that changed after `from`.
pub fn updated_since(user_id: &UserId, from: i64, now_ms: u64) -> Statement {
    Statement::new(
        "SELECT t.room_id,
             json_group_array(t.user_id) FILTER (WHERE t.expires_ts > ?3) || '' AS user_ids
         FROM myelin_typing t CROSS JOIN local_current_membership m
             ON m.user_id = ?1 AND m.room_id = t.room_id AND m.membership = 'join'
         GROUP BY t.room_id HAVING max(t.stream_id) > ?2",
    )
    .bind(user_id.as_str())
    .bind(from)
    .bind(now_ms)
    .small_of(&["room_id", "user_ids"])
}

/// Reads the [`RoomTyping`] of a room if it has changed after `from`, for those who look in.
pub fn updated_in_room_since(room_id: &RoomId, from: i64, now_ms: u64) -> Statement {
    Statement::new(
        "SELECT room_id, json_group_array(user_id) FILTER (WHERE expires_ts > ?3) AS user_ids
         FROM myelin_typing WHERE room_id = ?1 GROUP BY room_id HAVING max(stream_id) > ?2",
    )
    .bind(room_id.as_str())
    .bind(from)
    .bind(now_ms)
}

/// Who types in a room, whether or not that is news.
#[derive(Debug, Deserialize)]
pub struct TypingStateRow {
    #[serde(flatten)]
    pub typing: RoomTyping,
    #[serde(deserialize_with = "boolean")]
    pub is_news: bool,
    /// When the first of them stops by themselves.
    pub expires_ts: Option<u64>,
}

/// Reads the [`TypingStateRow`] of each room of the user: news is what changed after `from`.
pub fn state_since(user_id: &UserId, from: i64, now_ms: u64) -> Statement {
    Statement::new(
        "SELECT t.room_id,
             json_group_array(t.user_id) FILTER (WHERE t.expires_ts > ?3) || '' AS user_ids,
             max(t.stream_id) > ?2 AS is_news,
             min(CASE WHEN t.expires_ts > 0 THEN t.expires_ts END) AS expires_ts
         FROM myelin_typing t CROSS JOIN local_current_membership m
             ON m.user_id = ?1 AND m.room_id = t.room_id AND m.membership = 'join'
         GROUP BY t.room_id",
    )
    .bind(user_id.as_str())
    .bind(from)
    .bind(now_ms)
    .small_of(&["room_id", "user_ids", "is_news", "expires_ts"])
}

/// Reads an [`ExpiryRow`]: the first of those in the rooms of this user who will stop typing.
pub fn select_next_expiry(user_id: &UserId) -> Statement {
    Statement::new(
        "SELECT min(t.expires_ts) AS expires_ts
         FROM myelin_typing t CROSS JOIN local_current_membership m
             ON m.user_id = ?1 AND m.room_id = t.room_id AND m.membership = 'join'
         WHERE t.expires_ts > 0",
    )
    .bind(user_id.as_str())
}

/// Somebody types until `expires_ts`. The position moves only if that is news.
pub fn start(room_id: &RoomId, user_id: &UserId, now_ms: u64, expires_ts: u64) -> Vec<Statement> {
    let is_typing = "SELECT 1 FROM myelin_typing
                     WHERE room_id = ?1 AND user_id = ?2 AND expires_ts > ?3";
    let advance = Statement::new(format!(
        "UPDATE stream_positions SET stream_id = stream_id + 1
         WHERE stream_name = 'typing' AND instance_name = 'master' AND NOT EXISTS ({is_typing})"
    ))
    .bind(room_id.as_str())
    .bind(user_id.as_str())
    .bind(now_ms);
    let upsert = Statement::new(format!(
        "INSERT INTO myelin_typing (room_id, user_id, expires_ts, stream_id)
         VALUES (?1, ?2, ?4, {})
         ON CONFLICT (room_id, user_id) DO UPDATE
         SET stream_id = CASE WHEN myelin_typing.expires_ts > ?3 THEN myelin_typing.stream_id
                              ELSE excluded.stream_id END,
             expires_ts = excluded.expires_ts",
        current(StreamName::Typing),
    ))
    .bind(room_id.as_str())
    .bind(user_id.as_str())
    .bind(now_ms)
    .bind(expires_ts);
    vec![advance, upsert]
}

/// Somebody stopped typing. Nothing happens if they did not.
pub fn stop(room_id: &RoomId, user_id: &UserId, now_ms: u64) -> Vec<Statement> {
    let condition = "room_id = ?1 AND user_id = ?2 AND expires_ts > 0";
    let advance = Statement::new(format!(
        "UPDATE stream_positions SET stream_id = stream_id + 1
         WHERE stream_name = 'typing' AND instance_name = 'master'
             AND EXISTS (SELECT 1 FROM myelin_typing WHERE {condition})"
    ))
    .bind(room_id.as_str())
    .bind(user_id.as_str());
    let update = Statement::new(format!(
        "UPDATE myelin_typing SET expires_ts = -?3, stream_id = {} WHERE {condition}",
        current(StreamName::Typing),
    ))
    .bind(room_id.as_str())
    .bind(user_id.as_str())
    .bind(now_ms);
    vec![advance, update]
}

/// Whoever leaves a room types there no longer.
pub fn leave(room_id: &str, user_ids: &[&str], now_ms: u64) -> [Statement; 2] {
    let condition = "room_id = ?1 AND user_id IN (SELECT value FROM json_each(?2))
         AND expires_ts > 0";
    let advance = Statement::new(format!(
        "UPDATE stream_positions SET stream_id = stream_id + 1
         WHERE stream_name = 'typing' AND instance_name = 'master'
             AND EXISTS (SELECT 1 FROM myelin_typing WHERE {condition})"
    ));
    let update = Statement::new(format!(
        "UPDATE myelin_typing SET expires_ts = -?3, stream_id = {} WHERE {condition}",
        current(StreamName::Typing),
    ));
    let bind = |statement: Statement| statement.bind(room_id).bind_json(&user_ids);
    [bind(advance), bind(update).bind(now_ms)]
}

/// A room in which somebody has just stopped by [`expire`].
#[derive(Debug, Deserialize)]
pub struct ExpiredRow {
    pub room_id: OwnedRoomId,
}

/// Marks those as stopped whose time is up, and forgets who stopped long ago. The second
/// statement returns an [`ExpiredRow`] for each one who stopped.
pub fn expire(now_ms: u64) -> Vec<Statement> {
    let is_over = "expires_ts > 0 AND expires_ts <= ?1";
    let advance = Statement::new(format!(
        "UPDATE stream_positions SET stream_id = stream_id + 1
         WHERE stream_name = 'typing' AND instance_name = 'master'
             AND EXISTS (SELECT 1 FROM myelin_typing WHERE {is_over})"
    ));
    let stop = Statement::new(format!(
        "UPDATE myelin_typing SET expires_ts = -?1, stream_id = {} WHERE {is_over}
         RETURNING room_id",
        current(StreamName::Typing),
    ));
    let forget = Statement::new(
        "DELETE FROM myelin_typing WHERE expires_ts < 0 AND expires_ts > -(?1 - ?2)",
    )
    .bind(now_ms)
    .bind(STOPPED_KEPT_MS);
    vec![advance.bind(now_ms), stop.bind(now_ms), forget]
}
