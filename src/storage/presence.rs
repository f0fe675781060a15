//! `presence_stream`: who is online. One row a user.
//!
//! For `/sync`: [`updated_since`] reads the presence that was written in `(from, to]` of the
//! presence stream, of the user and of those with whom the user shares a room, by the index on
//! the position. [`seen`] is for what shows that somebody is there (a sync with `set_presence`).

use ruma::presence::PresenceState;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::Deserialize;

use super::database::{Statement, boolean};
use super::event_pages::StreamWindow;
use super::stream_positions::{StreamName, advance, current};

/// The largest number of presences that one sync carries: bounds the read of an old `since`.
const PRESENCES_MAX: i64 = 1_000;

/// The most users who are told of a change at once.
const OBSERVERS_MAX: i64 = 1_000;

/// A user's presence.
#[derive(Clone, Debug, Deserialize)]
pub struct PresenceRow {
    pub user_id: OwnedUserId,
    pub state: PresenceState,
    pub last_active_ts: u64,
    pub status_msg: Option<String>,
    #[serde(deserialize_with = "boolean")]
    pub currently_active: bool,
}

/// A local user who may see another's presence.
#[derive(Debug, Deserialize)]
pub struct ObserverRow {
    pub user_id: OwnedUserId,
}

const COLUMNS: &str = "p.user_id, p.state, coalesce(p.last_active_ts, 0) AS last_active_ts,
     p.status_msg, p.currently_active";

/// Reads a user's [`PresenceRow`].
pub fn select(user_id: &UserId) -> Statement {
    Statement::new(format!("SELECT {COLUMNS} FROM presence_stream p WHERE p.user_id = ?1"))
        .bind(user_id.as_str())
}

/// Reads an [`ObserverRow`] if the observer is this user or shares a room with them.
pub fn select_visible_to(user_id: &UserId, observer: &UserId) -> Statement {
    Statement::new(
        "SELECT ?2 AS user_id WHERE ?1 = ?2 OR EXISTS (
             SELECT 1 FROM local_current_membership o
             JOIN current_state_events c ON c.room_id = o.room_id
                 AND c.type = 'm.room.member' AND c.state_key = ?1 AND c.membership = 'join'
             WHERE o.user_id = ?2 AND o.membership = 'join')",
    )
    .bind(user_id.as_str())
    .bind(observer.as_str())
}

/// Reads the [`ObserverRow`]s of the local users who share a room with this one.
pub fn select_observers(user_id: &UserId) -> Statement {
    Statement::new(
        "SELECT DISTINCT other.user_id FROM local_current_membership own
         JOIN local_current_membership other
             ON other.room_id = own.room_id AND other.membership = 'join'
         WHERE own.user_id = ?1 AND own.membership = 'join' LIMIT ?2 + 0",
    )
    .bind(user_id.as_str())
    .bind(OBSERVERS_MAX)
}

/// Reads the [`PresenceRow`]s of those who are in a room. Who has never been seen is offline.
pub fn select_in_room(room_id: &RoomId) -> Statement {
    Statement::new(
        "SELECT c.state_key AS user_id, coalesce(p.state, 'offline') AS state,
             coalesce(p.last_active_ts, 0) AS last_active_ts, p.status_msg,
             coalesce(p.currently_active, 0) AS currently_active
         FROM current_state_events c LEFT JOIN presence_stream p ON p.user_id = c.state_key
         WHERE c.room_id = ?1 AND c.type = 'm.room.member' AND c.membership = 'join'
         ORDER BY p.stream_id DESC LIMIT ?2 + 0",
    )
    .bind(room_id.as_str())
    .bind(PRESENCES_MAX)
}

/// Reads the [`PresenceRow`]s written in `(from, to]` of those who are in a room.
pub fn updated_in_room_since(room_id: &RoomId, from: i64, to: i64) -> Statement {
    Statement::new(format!(
        "SELECT {COLUMNS} FROM presence_stream p INDEXED BY presence_stream_id
         CROSS JOIN current_state_events c ON c.room_id = ?1 AND c.type = 'm.room.member'
             AND c.state_key = p.user_id AND c.membership = 'join'
         WHERE p.stream_id > ?2 AND p.stream_id <= ?3 ORDER BY p.stream_id DESC LIMIT ?4 + 0"
    ))
    .bind(room_id.as_str())
    .bind(from)
    .bind(to)
    .bind(PRESENCES_MAX)
}

/// Reads the [`PresenceRow`]s written in `(from, to]` that this user may see.
pub fn updated_since(user_id: &UserId, from: i64, to: i64) -> Statement {
    Statement::new(format!(
        "SELECT {COLUMNS} FROM presence_stream p INDEXED BY presence_stream_id
         WHERE p.stream_id > ?2 AND p.stream_id <= ?3 AND (p.user_id = ?1 OR EXISTS (
             SELECT 1 FROM local_current_membership o
             JOIN current_state_events c ON c.room_id = o.room_id
                 AND c.type = 'm.room.member' AND c.state_key = p.user_id
                 AND c.membership = 'join'
             WHERE o.user_id = ?1 AND o.membership = 'join'))
         ORDER BY p.stream_id DESC LIMIT ?4 + 0"
    ))
    .bind(user_id.as_str())
    .bind(from)
    .bind(to)
    .bind(PRESENCES_MAX)
}

/// Reads the [`PresenceRow`]s of the others in these rooms, and of those who have joined in these
/// windows; who was never there is offline.
pub fn of_newcomers(
    user_id: &UserId,
    room_ids: &[OwnedRoomId],
    windows: &[StreamWindow],
) -> Statement {
    Statement::new(
        "SELECT picked.user_id, coalesce(p.state, 'offline') AS state,
             coalesce(p.last_active_ts, 0) AS last_active_ts, p.status_msg,
             coalesce(p.currently_active, 0) AS currently_active
         FROM (
             SELECT c.state_key AS user_id FROM json_each(?2) w CROSS JOIN current_state_events c
                 ON c.room_id = w.value AND c.type = 'm.room.member' AND c.membership = 'join'
             UNION
             SELECT c.state_key FROM json_each(?3) w
             CROSS JOIN current_state_delta_stream d ON d.room_id = w.value ->> '$.room_id'
                 AND d.stream_id > w.value ->> '$.after' AND d.stream_id <= w.value ->> '$.upto'
                 AND d.type = 'm.room.member'
             CROSS JOIN current_state_events c ON c.room_id = d.room_id
                 AND c.type = d.type AND c.state_key = d.state_key AND c.membership = 'join'
             LEFT JOIN room_memberships b ON b.event_id = d.prev_event_id
             WHERE coalesce(b.membership, '') <> 'join'
         ) picked LEFT JOIN presence_stream p ON p.user_id = picked.user_id
         WHERE picked.user_id <> ?1 LIMIT ?4 + 0",
    )
    .bind(user_id.as_str())
    .bind_json(&room_ids)
    .bind_json(&windows)
    .bind(PRESENCES_MAX)
}

/// Writes a user's presence, with or without a message.
pub fn set(
    user_id: &UserId,
    state: &PresenceState,
    status_msg: Option<&str>,
    now_ms: u64,
) -> Vec<Statement> {
    let position = current(StreamName::Presence);
    let update = format!(
        "UPDATE presence_stream SET stream_id = {position}, state = ?2, status_msg = ?3,
             currently_active = ?4, last_active_ts = ?5, last_user_sync_ts = ?5,
             last_federation_update_ts = ?5, instance_name = 'master'
         WHERE user_id = ?1"
    );
    let insert = format!(
        "INSERT INTO presence_stream (stream_id, user_id, state, status_msg, currently_active,
             last_active_ts, last_user_sync_ts, last_federation_update_ts, instance_name)
         SELECT {position}, ?1, ?2, ?3, ?4, ?5, ?5, ?5, 'master'
         WHERE NOT EXISTS (SELECT 1 FROM presence_stream WHERE user_id = ?1)"
    );
    let bind = |sql: String| {
        Statement::new(sql)
            .bind(user_id.as_str())
            .bind(state.as_str())
            .bind(status_msg)
            .bind(*state == PresenceState::Online)
            .bind(now_ms)
    };
    vec![advance(StreamName::Presence), bind(update), bind(insert)]
}

/// Notes that somebody is still as their presence says: nobody needs to be told.
pub fn seen(user_id: &UserId, now_ms: u64) -> Statement {
    Statement::new(
        "UPDATE presence_stream SET last_active_ts = ?2, last_user_sync_ts = ?2
         WHERE user_id = ?1",
    )
    .bind(user_id.as_str())
    .bind(now_ms)
}

/// Takes those offline who have not been seen since `seen_before_ms`; returns their
/// [`ObserverRow`]s with the second statement.
pub fn expire(seen_before_ms: u64) -> Vec<Statement> {
    let is_over = "state <> 'offline' AND last_user_sync_ts < ?1";
    let advance = Statement::new(format!(
        "UPDATE stream_positions SET stream_id = stream_id + 1
         WHERE stream_name = 'presence_stream' AND instance_name = 'master'
             AND EXISTS (SELECT 1 FROM presence_stream WHERE {is_over})"
    ));
    let update = Statement::new(format!(
        "UPDATE presence_stream SET stream_id = {}, state = 'offline', currently_active = 0
         WHERE {is_over} RETURNING user_id",
        current(StreamName::Presence),
    ));
    [advance, update].map(|statement| statement.bind(seen_before_ms)).to_vec()
}
