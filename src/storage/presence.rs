//! `presence_stream`: who is online, one row a user; `myelin_presence_devices`: what each device
//! that is there says of it.
//!
//! Invariant: a user is what the most present of their devices is; the position moves only when
//! that, or the message, changes.
//!
//! For `/sync`: [`updated_since`] reads the presence that was written in `(from, to]` of the
//! presence stream, of the user and of those with whom the user shares a room, by the index on
//! the position.

use myelin_protocol::presence::{DeviceNote, IDLE_MS, OFFLINE_MS, shown};
use ruma::presence::PresenceState;
use ruma::{DeviceId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::Deserialize;

use super::database::{Statement, boolean};
use super::event_pages::StreamWindow;
use super::stream_positions::{StreamName, current};

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
    /// When the last sync that was noted ends.
    pub last_user_sync_ts: u64,
    #[serde(deserialize_with = "boolean")]
    pub currently_active: bool,
}

impl PresenceRow {
    /// The presence as it is to be shown now.
    pub fn at(mut self, now_ms: u64) -> Self {
        self.state = shown(&self.state, self.last_active_ts, self.last_user_sync_ts, now_ms);
        self
    }
}

/// A local user who may see another's presence.
#[derive(Debug, Deserialize)]
pub struct ObserverRow {
    pub user_id: OwnedUserId,
}

const COLUMNS: &str = "p.user_id, p.state, coalesce(p.last_active_ts, 0) AS last_active_ts,
     coalesce(p.last_user_sync_ts, 0) AS last_user_sync_ts, p.status_msg, p.currently_active";

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
    select_observers_of(&[user_id.to_owned()])
}

/// Reads the [`ObserverRow`]s of the local users who share a room with one of these.
pub fn select_observers_of(user_ids: &[OwnedUserId]) -> Statement {
    Statement::new(
        "SELECT DISTINCT other.user_id FROM json_each(?1) w
         CROSS JOIN local_current_membership own
             ON own.user_id = w.value AND own.membership = 'join'
         CROSS JOIN local_current_membership other
             ON other.room_id = own.room_id AND other.membership = 'join' LIMIT ?2 + 0",
    )
    .bind_json(&user_ids)
    .bind(OBSERVERS_MAX)
}

/// Reads the [`PresenceRow`]s of those who are in a room. Who has never been seen is offline.
pub fn select_in_room(room_id: &RoomId) -> Statement {
    Statement::new(
        "SELECT c.state_key AS user_id, coalesce(p.state, 'offline') AS state,
             coalesce(p.last_active_ts, 0) AS last_active_ts,
             coalesce(p.last_user_sync_ts, 0) AS last_user_sync_ts, p.status_msg,
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
    .small::<PresenceRow>()
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
             coalesce(p.last_active_ts, 0) AS last_active_ts,
             coalesce(p.last_user_sync_ts, 0) AS last_user_sync_ts, p.status_msg,
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
    .small::<PresenceRow>()
}

/// What a device says of its user, as [`select_device`] reads it.
#[derive(Debug, Deserialize)]
pub struct DeviceRow {
    pub state: PresenceState,
    pub last_active_ts: u64,
}

impl From<DeviceRow> for DeviceNote {
    fn from(row: DeviceRow) -> Self {
        Self { state: row.state, last_active_ts: row.last_active_ts }
    }
}

/// Reads the [`DeviceRow`] of a device that is there. Tokens without a device count as one.
pub fn select_device(user_id: &UserId, device_id: Option<&DeviceId>) -> Statement {
    Statement::new(
        "SELECT state, last_active_ts FROM myelin_presence_devices
         WHERE user_id = ?1 AND device_id = ?2",
    )
    .bind(user_id.as_str())
    .bind(device_id.map_or("", DeviceId::as_str))
    .small::<DeviceRow>()
}

/// As [`select_device`], of the device whose token this is.
pub fn select_device_of(token: &str) -> Statement {
    Statement::new(
        "SELECT d.state, d.last_active_ts FROM access_tokens t
         CROSS JOIN myelin_presence_devices d
             ON d.user_id = t.user_id AND d.device_id = coalesce(t.device_id, '')
         WHERE t.token = ?1",
    )
    .bind(token)
    .small::<DeviceRow>()
}

/// Notes what a device says; `sync_until_ms` is when its sync ends. A device that is offline is
/// forgotten.
pub fn note_device(
    user_id: &UserId,
    device_id: &str,
    state: &PresenceState,
    now_ms: u64,
    sync_until_ms: u64,
) -> Statement {
    let sql = if *state == PresenceState::Offline {
        "DELETE FROM myelin_presence_devices WHERE user_id = ?1 AND device_id = ?2
             AND ?3 = 'offline' AND ?4 <= ?5"
    } else {
        "INSERT INTO myelin_presence_devices
             (user_id, device_id, state, last_active_ts, last_sync_ts)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (user_id, device_id) DO UPDATE SET state = excluded.state,
             last_active_ts = excluded.last_active_ts, last_sync_ts = excluded.last_sync_ts"
    };
    Statement::new(sql)
        .bind(user_id.as_str())
        .bind(device_id)
        .bind(state.as_str())
        .bind(now_ms)
        .bind(sync_until_ms.max(now_ms))
}

/// What becomes of the message that somebody shows.
#[derive(Clone, Copy, Debug)]
pub enum StatusMessage<'a> {
    Kept,
    Set(Option<&'a str>),
}

/// There is such a row if somebody's presence has changed.
#[derive(Debug, Deserialize)]
pub struct MovedRow {
    pub stream_id: i64,
}

/// What the devices of a user say together. `?2` and `?3` are the times before which a device
/// was last active when it is idle, and last noted when it is gone.
fn combined(user_id: &str) -> String {
    format!(
        "(SELECT CASE max(CASE WHEN d.state = 'online' AND d.last_active_ts >= ?2
                               THEN 2 ELSE 1 END)
                 WHEN 2 THEN 'online' WHEN 1 THEN 'unavailable' ELSE 'offline' END
          FROM myelin_presence_devices d
          WHERE d.user_id = {user_id} AND max(d.last_sync_ts, d.last_active_ts) >= ?3)"
    )
}

/// Makes a user's presence what their devices say. The first statement returns a [`MovedRow`] if
/// that is news.
pub fn settle(user_id: &UserId, status_msg: StatusMessage<'_>, now_ms: u64) -> Vec<Statement> {
    let (combined, position) = (combined("?1"), current(StreamName::Presence));
    let is_new_message = "?4 AND status_msg IS NOT ?5";
    let is_same = format!(
        "EXISTS (SELECT 1 FROM presence_stream WHERE user_id = ?1 AND state = {combined}
             AND NOT ({is_new_message}))
         OR {combined} = 'offline' AND NOT (?4 AND ?5 IS NOT NULL) AND NOT EXISTS (
             SELECT 1 FROM presence_stream WHERE user_id = ?1)"
    );
    let advance = format!(
        "UPDATE stream_positions SET stream_id = stream_id + 1
         WHERE stream_name = 'presence_stream' AND instance_name = 'master' AND NOT ({is_same})
         RETURNING stream_id"
    );
    let renew = format!(
        "UPDATE presence_stream SET last_user_sync_ts = max(?6, coalesce(
                 (SELECT max(last_sync_ts) FROM myelin_presence_devices WHERE user_id = ?1), 0)),
             last_active_ts = CASE state WHEN 'online' THEN ?6 ELSE last_active_ts END
         WHERE user_id = ?1 AND state <> 'offline' AND ({is_same})"
    );
    let change = format!(
        "UPDATE presence_stream SET stream_id = {position}, state = {combined},
             status_msg = CASE WHEN ?4 THEN ?5 ELSE status_msg END,
             currently_active = {combined} = 'online', last_active_ts = ?6,
             last_user_sync_ts = max(?6, coalesce(
                 (SELECT max(last_sync_ts) FROM myelin_presence_devices WHERE user_id = ?1), 0)),
             last_federation_update_ts = ?6, instance_name = 'master'
         WHERE user_id = ?1 AND NOT ({is_same})"
    );
    let insert = format!(
        "INSERT INTO presence_stream (stream_id, user_id, state, status_msg, currently_active,
             last_active_ts, last_user_sync_ts, last_federation_update_ts, instance_name)
         SELECT {position}, ?1, {combined}, CASE WHEN ?4 THEN ?5 END, {combined} = 'online', ?6,
             max(?6, coalesce(
                 (SELECT max(last_sync_ts) FROM myelin_presence_devices WHERE user_id = ?1), 0)),
             ?6, 'master'
         WHERE NOT ({is_same}) AND NOT EXISTS (
             SELECT 1 FROM presence_stream WHERE user_id = ?1)"
    );
    let (is_set, text) = match status_msg {
        StatusMessage::Kept => (false, None),
        StatusMessage::Set(text) => (true, text),
    };
    let bind = |sql: String| {
        Statement::new(sql)
            .bind(user_id.as_str())
            .bind(now_ms.saturating_sub(IDLE_MS))
            .bind(now_ms.saturating_sub(OFFLINE_MS))
            .bind(is_set)
            .bind(text)
    };
    let writes = [renew, change, insert].map(|sql| bind(sql).bind(now_ms));
    std::iter::once(bind(advance)).chain(writes).collect()
}

/// Somebody is active on a device that was idle; returns a row if it was.
pub fn rouse(user_id: &UserId, device_id: &str, now_ms: u64) -> Statement {
    Statement::new(
        "UPDATE myelin_presence_devices SET state = 'online', last_active_ts = ?3
         WHERE user_id = ?1 AND device_id = ?2 AND state = 'unavailable' RETURNING user_id",
    )
    .bind(user_id.as_str())
    .bind(device_id)
    .bind(now_ms)
}

/// Users of whom a device is idle or gone are looked at so many at a time.
const EXPIRED_MAX: i64 = 500;

/// Makes those idle, or takes those offline, whose devices have not been noted for too long;
/// returns their [`ObserverRow`]s with the second statement.
pub fn expire(now_ms: u64) -> Vec<Statement> {
    let combined = combined("p.user_id");
    let stale = "SELECT DISTINCT user_id FROM myelin_presence_devices
         WHERE state = 'online' AND last_active_ts < ?2 OR max(last_sync_ts, last_active_ts) < ?3
         LIMIT ?1 + 0";
    let advance = format!(
        "UPDATE stream_positions SET stream_id = stream_id + 1
         WHERE stream_name = 'presence_stream' AND instance_name = 'master' AND EXISTS (
             SELECT 1 FROM ({stale}) t CROSS JOIN presence_stream p ON p.user_id = t.user_id
             WHERE p.state <> {combined})"
    );
    let update = format!(
        "UPDATE presence_stream AS p SET stream_id = {}, state = {combined}, currently_active = 0
         WHERE p.user_id IN ({stale}) AND p.state <> {combined} RETURNING user_id",
        current(StreamName::Presence),
    );
    // A device says whose presence has to be looked at until that has been done.
    let is_done = format!(
        "EXISTS (SELECT 1 FROM presence_stream p
             WHERE p.user_id = myelin_presence_devices.user_id AND p.state = {combined})"
    );
    let forget = format!(
        "DELETE FROM myelin_presence_devices
         WHERE max(last_sync_ts, last_active_ts) < ?3 AND {is_done}"
    );
    let idle = format!(
        "UPDATE myelin_presence_devices SET state = 'unavailable'
         WHERE state = 'online' AND last_active_ts < ?2 AND {is_done}"
    );
    let bind = |sql: String| {
        Statement::new(sql)
            .bind(EXPIRED_MAX)
            .bind(now_ms.saturating_sub(IDLE_MS))
            .bind(now_ms.saturating_sub(OFFLINE_MS))
    };
    [advance, update, idle, forget].map(bind).to_vec()
}
