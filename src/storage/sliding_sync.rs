//! What sliding sync asks of the log: the rooms of a user as lists look at them, and of rooms the
//! state that a client wants.
//!
//! Invariant: everything is asked for all rooms at once. If a request sees all of its rooms and
//! the user is where they were, only rooms that have moved are read.

use myelin_protocol::filter::EventFilter;
use myelin_protocol::sliding_sync::{Pattern, UserRoom};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};

use super::database::{Statement, boolean};
use super::event_pages::{Excerpts, push_latest};
use super::events::Selection;
use super::sliding_sync_connections::{Place, push_is_settled};
use super::sync::push_moved_rooms;

/// Others whom a nameless room is named after.
const HEROES_MAX: i64 = 5;

/// A [`UserRoom`] as it is read.
#[derive(Clone, Debug, Deserialize)]
pub struct UserRoomRow {
    room_id: OwnedRoomId,
    membership: String,
    sender: OwnedUserId,
    event_id: OwnedEventId,
    stream_ordering: i64,
    joined_stream_ordering: Option<i64>,
    #[serde(deserialize_with = "boolean")]
    has_known_state: bool,
    room_type: Option<String>,
    #[serde(deserialize_with = "boolean")]
    is_encrypted: bool,
    last_stream_ordering: Option<i64>,
    bump_stamp: Option<i64>,
}

impl From<UserRoomRow> for UserRoom {
    fn from(row: UserRoomRow) -> Self {
        Self {
            room_id: row.room_id,
            membership: row.membership,
            sender: row.sender,
            event_id: row.event_id,
            stream_ordering: row.stream_ordering,
            joined_stream_ordering: row.joined_stream_ordering,
            has_known_state: row.has_known_state,
            room_type: row.room_type,
            is_encrypted: row.is_encrypted,
            last_stream_ordering: row.last_stream_ordering,
            bump_stamp: row.bump_stamp,
        }
    }
}

/// Whether only rooms that have moved are read.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct SettledRow {
    #[serde(deserialize_with = "boolean")]
    pub is_settled: bool,
}

/// What a client was told up to, and what it asks for besides lists.
#[derive(Clone, Copy, Debug)]
pub struct RoomsQuery<'a> {
    pub user_id: &'a UserId,
    pub place: Place<'a>,
    pub since: Option<i64>,
    pub account_data_since: i64,
    pub subscriptions: &'a [OwnedRoomId],
}

/// Two statements: a [`SettledRow`]; and [`UserRoomRow`]s: of all rooms of the user, or, where that
/// is so, of joined ones that have moved. Rooms that the user has left by themselves are among
/// them if that is news or they are subscribed to.
pub fn user_rooms(query: &RoomsQuery<'_>) -> [Statement; 2] {
    let mut settled = Selection::new();
    settled.push("SELECT ");
    push_settled(&mut settled, query);
    settled.push(" AS is_settled");
    let mut rooms = Selection::new();
    rooms.push("WITH look (is_settled) AS MATERIALIZED (SELECT ");
    push_settled(&mut rooms, query);
    rooms.push(") ");
    let user_id = rooms.bind(query.user_id.as_str());
    let since = rooms.bind(query.since.unwrap_or(0));
    let subscriptions = rooms.bind_json(&query.subscriptions);
    rooms.push(&format!(
        "{COLUMNS} FROM look CROSS JOIN sliding_sync_membership_snapshots m
            INDEXED BY sliding_sync_membership_snapshots_user_id_stream_ordering
         LEFT JOIN sliding_sync_joined_rooms s
            ON m.membership = 'join' AND s.room_id = m.room_id
         WHERE NOT look.is_settled AND m.user_id = {user_id} AND NOT m.forgotten
           AND (m.membership <> 'leave' OR m.sender <> m.user_id
                OR m.event_stream_ordering > {since}
                OR m.room_id IN (SELECT value FROM json_each({subscriptions})))
         UNION ALL
         {COLUMNS} FROM look CROSS JOIN ("
    ));
    push_moved_rooms(&mut rooms, query.user_id, query.since.unwrap_or(0));
    rooms.push(&format!(
        ") moved CROSS JOIN sliding_sync_membership_snapshots m
            ON m.user_id = {user_id} AND m.room_id = moved.room_id
         CROSS JOIN sliding_sync_joined_rooms s ON s.room_id = moved.room_id
         WHERE look.is_settled"
    ));
    [settled.into_statement(), rooms.into_statement()]
}

const COLUMNS: &str = "SELECT m.room_id, m.membership, m.sender, m.membership_event_id AS event_id,
         m.event_stream_ordering AS stream_ordering,
         CASE WHEN m.membership IN ('leave', 'ban') THEN
             (SELECT max(j.event_stream_ordering) FROM room_memberships j
              WHERE j.user_id = m.user_id AND j.room_id = m.room_id AND j.membership = 'join')
         END AS joined_stream_ordering,
         m.has_known_state, coalesce(s.room_type, m.room_type) AS room_type,
         coalesce(s.is_encrypted, m.is_encrypted) AS is_encrypted,
         s.event_stream_ordering AS last_stream_ordering, s.bump_stamp";

/// What a user's lists are made of is as it was: their memberships, what they keep for themselves.
fn push_settled(selection: &mut Selection, query: &RoomsQuery<'_>) {
    let user_id = selection.bind(query.user_id.as_str());
    let since = selection.bind(query.since.unwrap_or(0));
    let account_data = selection.bind(query.account_data_since);
    push_is_settled(selection, &user_id, query.place);
    selection.push(&format!(
        " AND NOT EXISTS (SELECT 1 FROM sliding_sync_membership_snapshots n
              WHERE n.user_id = {user_id} AND n.event_stream_ordering > {since})
          AND NOT EXISTS (SELECT 1 FROM account_data a
              WHERE a.user_id = {user_id} AND a.stream_id > {account_data})
          AND NOT EXISTS (SELECT 1 FROM room_tags_revisions r
              WHERE r.user_id = {user_id} AND r.stream_id > {account_data})"
    ));
}

/// Rooms of which the same state is wanted.
#[derive(Clone, Debug, Serialize)]
pub struct WantedState {
    pub rooms: Vec<OwnedRoomId>,
    pub patterns: Vec<Pattern>,
}

/// What is in force of the state that is wanted of rooms.
pub fn required_state(wanted: &[WantedState]) -> Selection {
    let mut selection = Selection::new();
    let wanted = selection.bind_json(&wanted);
    let from = format!(
        "SELECT e.stream_ordering FROM json_each({wanted}) w
         CROSS JOIN json_each(w.value, '$.patterns') p CROSS JOIN json_each(w.value, '$.rooms') r
         CROSS JOIN current_state_events c ON c.room_id = r.value"
    );
    let (event_type, state_key) = ("p.value ->> '$.type'", "p.value ->> '$.state_key'");
    let event = "CROSS JOIN events e ON e.event_id = c.event_id";
    selection.push(&format!(
        "{from} AND c.type = {event_type} AND c.state_key = {state_key} {event}
         UNION ALL {from} AND c.type = {event_type} {event} WHERE {state_key} IS NULL
         UNION ALL {from} {event}
             WHERE {event_type} IS NULL AND ({state_key} IS NULL OR c.state_key = {state_key})"
    ));
    selection
}

/// The present memberships of those whom excerpts are about.
pub fn members_of_timelines(excerpts: &[Excerpts]) -> Selection {
    let mut selection = Selection::new();
    selection.push("SELECT m.stream_ordering FROM (");
    for (index, excerpt) in excerpts.iter().enumerate() {
        let windows = selection.bind_json(&excerpt.windows);
        selection.push(if index > 0 { " UNION ALL " } else { "" });
        selection.push(&format!(
            "SELECT t.room_id, t.sender, t.type, t.state_key FROM json_each({windows}) w
             CROSS JOIN events t ON t.stream_ordering IN ("
        ));
        push_latest(&mut selection, excerpt.limit, &EventFilter::default());
        selection.push(")");
    }
    if excerpts.is_empty() {
        selection.push("SELECT NULL AS room_id, NULL AS sender, NULL AS type, NULL AS state_key");
    }
    selection.push(
        ") t CROSS JOIN (SELECT 0 AS is_target UNION ALL SELECT 1) k
         CROSS JOIN current_state_events c ON c.room_id = t.room_id AND c.type = 'm.room.member'
             AND c.state_key = CASE WHEN NOT k.is_target THEN t.sender
                                    WHEN t.type = 'm.room.member' THEN t.state_key END
         CROSS JOIN events m ON m.event_id = c.event_id GROUP BY m.stream_ordering",
    );
    selection
}

/// What a room is called, and how many are in it.
#[derive(Clone, Debug, Deserialize)]
pub struct RoomMetaRow {
    pub room_id: OwnedRoomId,
    pub joined_members: u64,
    pub invited_members: u64,
    pub name: Option<String>,
    pub avatar: Option<String>,
}

/// Reads the [`RoomMetaRow`]s of rooms.
pub fn room_meta(room_ids: &[OwnedRoomId]) -> Statement {
    Statement::new(
        "SELECT r.room_id, r.joined_members, r.invited_members, n.name, n.avatar
         FROM json_each(?1) w CROSS JOIN room_stats_current r ON r.room_id = w.value
         LEFT JOIN room_stats_state n ON n.room_id = r.room_id",
    )
    .bind_json(&room_ids)
}

/// The membership events of the first others in rooms without a name, those who are there first.
pub fn heroes(room_ids: &[OwnedRoomId], user_id: &UserId) -> Selection {
    let mut selection = Selection::new();
    let rooms = selection.bind_json(&room_ids);
    let user_id = selection.bind(user_id.as_str());
    let heroes_max = selection.bind(HEROES_MAX);
    selection.push(&format!(
        "SELECT m.stream_ordering FROM json_each({rooms}) w
         CROSS JOIN room_stats_state n ON n.room_id = w.value AND coalesce(n.name, '') = ''
         CROSS JOIN events m ON m.event_id IN (
            SELECT c.event_id FROM current_state_events c
            WHERE c.room_id = w.value AND c.type = 'm.room.member' AND c.state_key <> {user_id}
            ORDER BY c.membership NOT IN ('join', 'invite'), c.event_stream_ordering
            LIMIT {heroes_max} + 0)"
    ));
    selection
}
