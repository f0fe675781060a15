//! What `/sync` asks of the log: which rooms of a user have moved, which of the user's memberships
//! have changed, and how the state of rooms has.
//!
//! Invariant: what has not moved costs no row, however many rooms there are; everything is asked
//! for all rooms at once. Windows are those of [`super::event_pages::StreamWindow`].

use myelin_protocol::filter::EventFilter;
use myelin_protocol::sync::{JoinedRoom, Membership, MembershipChange, StateChange};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};

use super::database::{Statement, boolean};
use super::event_pages::{StreamWindow, push_latest};
use super::events::Selection;

/// So many rooms that have moved are walked through along the stream; if there are more, the
/// user's own rooms are. Either way what has not moved again since costs the same at any age.
const NEAR_ROOMS_MAX: i64 = 64;

/// Others whom a nameless room is named after.
const HEROES_MAX: i64 = 5;

/// Reads a `JoinedRoom` for each joined room with an event after `since`.
pub fn moved_rooms(user_id: &UserId, since: i64) -> Statement {
    let mut selection = Selection::new();
    push_moved_rooms(&mut selection, user_id, since);
    selection.into_statement().small::<JoinedRoom>()
}

/// The rooms of [`moved_rooms`]. The condition stands in a table of its own, so that it is tried
/// before the rooms are.
pub(super) fn push_moved_rooms(selection: &mut Selection, user_id: &UserId, since: i64) {
    let user_id = selection.bind(user_id.as_str());
    let since = selection.bind(since);
    let near = selection.bind(NEAR_ROOMS_MAX);
    // Where the walk along the stream ends; nowhere if fewer rooms have moved.
    let end = format!(
        "(SELECT p.event_stream_ordering FROM sliding_sync_joined_rooms p
              INDEXED BY sliding_sync_joined_rooms_event_stream_ordering
          WHERE p.event_stream_ordering > {since}
          ORDER BY p.event_stream_ordering LIMIT 1 OFFSET {near} + 0)"
    );
    selection.push(&format!(
        "SELECT s.room_id, m.event_stream_ordering AS member_stream_ordering
         FROM sliding_sync_joined_rooms s
             INDEXED BY sliding_sync_joined_rooms_event_stream_ordering
         CROSS JOIN local_current_membership m
             ON m.user_id = {user_id} AND m.room_id = s.room_id AND m.membership = 'join'
         WHERE s.event_stream_ordering > {since}
             AND s.event_stream_ordering < coalesce({end}, 9007199254740991)
         UNION ALL
         SELECT s.room_id, m.event_stream_ordering
         FROM (SELECT 1 WHERE {end} IS NOT NULL) CROSS JOIN local_current_membership m
         CROSS JOIN sliding_sync_joined_rooms s ON s.room_id = m.room_id
         WHERE m.user_id = {user_id} AND m.membership = 'join'
             AND s.event_stream_ordering >= {end}"
    ));
}

/// Reads the `MembershipChange`s after `since`, in no order: sorting nothing is a row read. One
/// that came after the present membership was turned down by state resolution.
pub fn membership_changes(user_id: &UserId, since: i64) -> Statement {
    Statement::new(
        "SELECT r.room_id, r.event_id, r.sender, r.membership,
                r.event_stream_ordering AS stream_ordering,
                (SELECT b.membership FROM room_memberships b
                 WHERE b.user_id = ?1 AND b.room_id = r.room_id AND b.event_stream_ordering <= ?2
                 ORDER BY b.event_stream_ordering DESC LIMIT 1) AS membership_before
         FROM sliding_sync_membership_snapshots s
             INDEXED BY sliding_sync_membership_snapshots_user_id_stream_ordering
         CROSS JOIN room_memberships r ON r.user_id = s.user_id AND r.room_id = s.room_id
         WHERE s.user_id = ?1 AND s.event_stream_ordering > ?2 AND r.event_stream_ordering > ?2
             AND r.event_stream_ordering <= s.event_stream_ordering",
    )
    .bind(user_id.as_str())
    .bind(since)
    .small::<MembershipChange>()
}

/// Where a user is.
#[derive(Clone, Debug, Deserialize)]
pub struct MembershipRow {
    pub room_id: OwnedRoomId,
    pub event_id: OwnedEventId,
    pub sender: Option<OwnedUserId>,
    pub membership: String,
    pub stream_ordering: i64,
    #[serde(deserialize_with = "boolean")]
    pub forgotten: bool,
    pub joined_stream_ordering: Option<i64>,
}

impl From<MembershipRow> for Membership {
    fn from(row: MembershipRow) -> Self {
        Self {
            room_id: row.room_id,
            event_id: row.event_id,
            sender: row.sender,
            membership: row.membership,
            stream_ordering: row.stream_ordering,
            forgotten: row.forgotten,
            joined_stream_ordering: row.joined_stream_ordering,
        }
    }
}

/// Reads a [`MembershipRow`] for each room that the user has ever been concerned with.
pub fn memberships(user_id: &UserId) -> Statement {
    Statement::new(
        "SELECT m.room_id, m.event_id, m.membership, m.event_stream_ordering AS stream_ordering,
                r.sender, coalesce(r.forgotten, 0) AS forgotten,
                CASE WHEN m.membership IN ('leave', 'ban') THEN
                    (SELECT max(j.event_stream_ordering) FROM room_memberships j
                     WHERE j.user_id = m.user_id AND j.room_id = m.room_id
                       AND j.membership = 'join') END AS joined_stream_ordering
         FROM local_current_membership m
         LEFT JOIN room_memberships r ON r.event_id = m.event_id
         WHERE m.user_id = ?1",
    )
    .bind(user_id.as_str())
    .small::<MembershipRow>()
}

/// Reads those of these rooms that the user is joined to, as `JoinedRoom`s.
pub fn joined_of(user_id: &UserId, room_ids: &[OwnedRoomId]) -> Statement {
    Statement::new(
        "SELECT m.room_id, m.event_stream_ordering AS member_stream_ordering
         FROM json_each(?2) w CROSS JOIN local_current_membership m
             ON m.user_id = ?1 AND m.room_id = w.value AND m.membership = 'join'",
    )
    .bind(user_id.as_str())
    .bind_json(&room_ids)
}

/// One entry of the current state that was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StateChangeRow {
    pub room_id: OwnedRoomId,
    pub stream_id: i64,
    #[serde(rename = "type")]
    pub event_type: String,
    pub state_key: String,
    pub event_id: Option<OwnedEventId>,
    pub prev_event_id: Option<OwnedEventId>,
}

impl From<StateChangeRow> for StateChange {
    fn from(row: StateChangeRow) -> Self {
        Self {
            stream_id: row.stream_id,
            key: (row.event_type, row.state_key),
            event_id: row.event_id,
            prev_event_id: row.prev_event_id,
        }
    }
}

/// A window with the place from which changes of the state matter.
#[derive(Clone, Debug, Serialize)]
pub struct StateWindow {
    #[serde(flatten)]
    pub window: StreamWindow,
    /// The whole state is wanted: then changes matter that came after the timeline's start, to be
    /// taken back, else all that came in the window.
    pub is_full: bool,
    /// They are taken back from the present state, so those after the window matter too.
    pub until_now: bool,
}

/// Reads the [`StateChangeRow`]s that matter for windows of which the latest `limit` events are
/// shown, oldest first.
pub fn state_changes(
    windows: &[StateWindow],
    limit: u32,
    filter: &EventFilter,
    rows_max: usize,
) -> Statement {
    let mut selection = Selection::new();
    let list = selection.bind_json(&windows);
    selection.push(&format!(
        "SELECT d.room_id, d.stream_id, d.type, d.state_key, d.event_id, d.prev_event_id
         FROM json_each({list}) w CROSS JOIN current_state_delta_stream d
             ON d.room_id = w.value ->> '$.room_id'
             AND d.stream_id > CASE WHEN w.value ->> '$.is_full'
                 THEN coalesce((SELECT min(stream_ordering) - 1 FROM ("
    ));
    push_latest(&mut selection, limit, filter);
    let rows_max = selection.bind(rows_max);
    selection.push(&format!(
        ")), w.value ->> '$.upto') ELSE w.value ->> '$.after' END
         WHERE w.value ->> '$.until_now' OR d.stream_id <= w.value ->> '$.upto'
         ORDER BY d.stream_id LIMIT {rows_max} + 0"
    ));
    selection.into_statement().small::<StateChangeRow>()
}

/// An entry of the current state.
#[derive(Clone, Debug, Deserialize)]
pub struct StateIdRow {
    pub room_id: OwnedRoomId,
    #[serde(rename = "type")]
    pub event_type: String,
    pub state_key: String,
    pub event_id: OwnedEventId,
}

/// Reads the [`StateIdRow`]s of rooms; without the members if they are loaded lazily.
pub fn current_state_ids(room_ids: &[OwnedRoomId], without_members: bool) -> Statement {
    let columns = "SELECT c.room_id, c.type, c.state_key, c.event_id
                   FROM json_each(?1) w CROSS JOIN current_state_events c ON c.room_id = w.value";
    let sql = match without_members {
        false => columns.to_owned(),
        true => format!(
            "{columns} AND c.type < 'm.room.member'
             UNION ALL {columns} AND c.type > 'm.room.member'"
        ),
    };
    let statement = Statement::new(sql).bind_json(&room_ids);
    if without_members { statement.small::<StateIdRow>() } else { statement }
}

/// The present membership events of those who sent what windows show, and of the user.
pub fn members_of_senders(
    windows: &[StreamWindow],
    limit: u32,
    filter: &EventFilter,
    user_id: &UserId,
) -> Selection {
    let mut selection = Selection::new();
    let list = selection.bind_json(&windows);
    let user_id = selection.bind(user_id.as_str());
    selection.push(&format!(
        "SELECT m.stream_ordering FROM (
            SELECT w.value ->> '$.room_id' AS room_id, s.sender FROM json_each({list}) w
            CROSS JOIN events s ON s.stream_ordering IN ("
    ));
    push_latest(&mut selection, limit, filter);
    selection.push(&format!(
        ") UNION SELECT w.value ->> '$.room_id', {user_id} FROM json_each({list}) w) t
         CROSS JOIN current_state_events c ON c.room_id = t.room_id
             AND c.type = 'm.room.member' AND c.state_key = t.sender
         CROSS JOIN events m ON m.event_id = c.event_id"
    ));
    selection
}

/// How many are in a room.
#[derive(Clone, Debug, Deserialize)]
pub struct SummaryRow {
    pub room_id: OwnedRoomId,
    pub joined_members: u64,
    pub invited_members: u64,
    #[serde(deserialize_with = "boolean")]
    pub is_named: bool,
}

/// Reads the [`SummaryRow`]s of rooms.
pub fn summaries(room_ids: &[OwnedRoomId]) -> Statement {
    Statement::new(format!(
        "SELECT r.room_id, r.joined_members, r.invited_members, {IS_NAMED} AS is_named
         FROM json_each(?1) w CROSS JOIN room_stats_current r ON r.room_id = w.value
         LEFT JOIN room_stats_state n ON n.room_id = r.room_id"
    ))
    .bind_json(&room_ids)
}

const IS_NAMED: &str = "coalesce(n.name, '') <> '' OR coalesce(n.canonical_alias, '') <> ''";

/// The membership events of the first others in rooms without a name, those who are there first.
pub fn heroes(room_ids: &[OwnedRoomId], user_id: &UserId) -> Selection {
    let mut selection = Selection::new();
    let rooms = selection.bind_json(&room_ids);
    let user_id = selection.bind(user_id.as_str());
    let heroes_max = selection.bind(HEROES_MAX);
    selection.push(&format!(
        "SELECT m.stream_ordering FROM json_each({rooms}) w
         CROSS JOIN room_stats_state n ON n.room_id = w.value AND NOT ({IS_NAMED})
         CROSS JOIN events m ON m.event_id IN (
            SELECT c.event_id FROM current_state_events c
            WHERE c.room_id = w.value AND c.type = 'm.room.member' AND c.state_key <> {user_id}
            ORDER BY c.membership NOT IN ('join', 'invite'), c.event_stream_ordering
            LIMIT {heroes_max} + 0)"
    ));
    selection
}
