//! `account_data`, `room_account_data`, `ignored_users`: what a user's clients keep for
//! themselves, for all rooms or for one.
//!
//! For `/sync`: [`updated_since`] and [`updated_in_rooms_since`] read what was written in
//! `(from, to]` of the account data stream, by index; `from` 0 reads everything. Content that was
//! removed is stored, and served, as `{}`.

use ruma::{OwnedRoomId, RoomId, UserId};
use serde::Deserialize;

use super::database::{Statement, boolean};
use super::stream_positions::{StreamName, advance, current};

/// One type of account data for all rooms.
#[derive(Debug, Deserialize)]
pub struct AccountDataRow {
    #[serde(rename = "account_data_type")]
    pub event_type: String,
    /// JSON.
    pub content: String,
}

/// One type of account data for one room.
#[derive(Debug, Deserialize)]
pub struct RoomAccountDataRow {
    pub room_id: OwnedRoomId,
    #[serde(rename = "account_data_type")]
    pub event_type: String,
    /// JSON.
    pub content: String,
}

/// Reads the [`AccountDataRow`] of one type.
pub fn select(user_id: &UserId, event_type: &str) -> Statement {
    Statement::new(
        "SELECT account_data_type, content FROM account_data
         WHERE user_id = ?1 AND account_data_type = ?2",
    )
    .bind(user_id.as_str())
    .bind(event_type)
}

/// Whether users take invitations.
pub const INVITE_PERMISSION_CONFIG: &str = "m.invite_permission_config";

/// Whether somebody takes invitations.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct InvitePermissionRow {
    #[serde(deserialize_with = "boolean")]
    pub blocks_invites: bool,
}

/// Reads one [`InvitePermissionRow`].
pub fn select_invite_permission(user_id: &UserId) -> Statement {
    Statement::new(format!("SELECT {} AS blocks_invites", blocks_invites("?1")))
        .bind(user_id.as_str())
        .small::<InvitePermissionRow>()
}

/// Whether a user takes no invitations.
pub(super) fn blocks_invites(user_id: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM account_data d
                 WHERE d.user_id = {user_id} AND d.account_data_type = '{INVITE_PERMISSION_CONFIG}'
                   AND json_extract(d.content, '$.default_action') = 'block')"
    )
}

/// Reads the [`RoomAccountDataRow`] of one type in one room.
pub fn select_in_room(user_id: &UserId, room_id: &RoomId, event_type: &str) -> Statement {
    Statement::new(
        "SELECT room_id, account_data_type, content FROM room_account_data
         WHERE user_id = ?1 AND room_id = ?2 AND account_data_type = ?3",
    )
    .bind(user_id.as_str())
    .bind(room_id.as_str())
    .bind(event_type)
}

/// Reads the [`AccountDataRow`]s written in `(from, to]`.
pub fn updated_since(user_id: &UserId, from: i64, to: i64) -> Statement {
    Statement::new(
        "SELECT account_data_type, content FROM account_data
         WHERE user_id = ?1 AND stream_id > ?2 AND stream_id <= ?3 ORDER BY stream_id",
    )
    .bind(user_id.as_str())
    .bind(from)
    .bind(to)
    .small::<AccountDataRow>()
}

/// Reads the [`RoomAccountDataRow`]s written in `(from, to]`.
pub fn updated_in_rooms_since(user_id: &UserId, from: i64, to: i64) -> Statement {
    Statement::new(
        "SELECT room_id, account_data_type, content FROM room_account_data
         WHERE user_id = ?1 AND stream_id > ?2 AND stream_id <= ?3 ORDER BY stream_id",
    )
    .bind(user_id.as_str())
    .bind(from)
    .bind(to)
    .small::<RoomAccountDataRow>()
}

/// Reads all [`RoomAccountDataRow`]s of these rooms: for rooms that are new to a sync.
pub fn select_rooms(user_id: &UserId, room_ids: &[OwnedRoomId]) -> Statement {
    Statement::new(
        "SELECT room_id, account_data_type, content FROM room_account_data
         WHERE user_id = ?1 AND room_id IN (SELECT value FROM json_each(?2))
         ORDER BY stream_id",
    )
    .bind(user_id.as_str())
    .bind_json(&room_ids)
    .small::<RoomAccountDataRow>()
}

/// Writes one type of account data for all rooms.
pub fn set(user_id: &UserId, event_type: &str, content: &str) -> Vec<Statement> {
    let upsert = format!(
        "INSERT INTO account_data (user_id, account_data_type, stream_id, content, instance_name)
         VALUES (?1, ?2, {}, ?3, 'master')
         ON CONFLICT (user_id, account_data_type) DO UPDATE
         SET stream_id = excluded.stream_id, content = excluded.content,
             instance_name = excluded.instance_name",
        current(StreamName::AccountData),
    );
    let upsert = Statement::new(upsert).bind(user_id.as_str()).bind(event_type).bind(content);
    vec![advance(StreamName::AccountData), upsert]
}

/// Writes one type of account data for one room.
pub fn set_in_room(
    user_id: &UserId,
    room_id: &RoomId,
    event_type: &str,
    content: &str,
) -> Vec<Statement> {
    let upsert = format!(
        "INSERT INTO room_account_data
             (user_id, room_id, account_data_type, stream_id, content, instance_name)
         VALUES (?1, ?2, ?3, {}, ?4, 'master')
         ON CONFLICT (user_id, room_id, account_data_type) DO UPDATE
         SET stream_id = excluded.stream_id, content = excluded.content,
             instance_name = excluded.instance_name",
        current(StreamName::AccountData),
    );
    let upsert = Statement::new(upsert)
        .bind(user_id.as_str())
        .bind(room_id.as_str())
        .bind(event_type)
        .bind(content);
    vec![advance(StreamName::AccountData), upsert]
}

/// Makes `ignored_users` say what an `m.ignored_user_list` says.
pub fn set_ignored_users(user_id: &UserId, ignored: &[&str]) -> Vec<Statement> {
    let remove = Statement::new(
        "DELETE FROM ignored_users WHERE ignorer_user_id = ?1
         AND ignored_user_id NOT IN (SELECT value FROM json_each(?2))",
    );
    let add = Statement::new(
        "INSERT OR IGNORE INTO ignored_users (ignorer_user_id, ignored_user_id)
         SELECT ?1, value FROM json_each(?2)",
    );
    [remove, add].map(|s| s.bind(user_id.as_str()).bind_json(&ignored)).to_vec()
}
