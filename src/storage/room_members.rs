//! Members of rooms, from `current_state_events` with `room_memberships`, and the rooms of a
//! reader, from `local_current_membership`.

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId};
use serde::{Deserialize, Serialize};

use super::account_data;
use super::database::{Statement, boolean};
use super::events::reader;

/// Somebody who is in a room, with the profile of their membership.
#[derive(Debug, Deserialize)]
pub struct JoinedMemberRow {
    pub user_id: OwnedUserId,
    #[serde(flatten)]
    pub profile: MemberProfile,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct MemberProfile {
    pub display_name: Option<String>,
    pub avatar_url: Option<String>,
}

/// Reads the [`JoinedMemberRow`]s of a room.
pub fn select_joined(room_id: &RoomId) -> Statement {
    Statement::new(
        "SELECT m.user_id, m.display_name, m.avatar_url FROM current_state_events c
         CROSS JOIN room_memberships m ON m.event_id = c.event_id
         WHERE c.room_id = ?1 AND c.type = 'm.room.member' AND c.membership = 'join'",
    )
    .bind(room_id.as_str())
}

/// A room that a reader is in.
#[derive(Debug, Deserialize)]
pub struct RoomRow {
    pub room_id: OwnedRoomId,
}

/// Reads the [`RoomRow`]s of the rooms that a reader is in.
pub fn select_rooms_of(user_or_token: &str) -> Statement {
    let reader = reader("?1");
    Statement::new(format!(
        "SELECT room_id FROM local_current_membership
         WHERE user_id = {reader} AND membership = 'join'"
    ))
    .bind(user_or_token)
}

/// A room that an initial sync of the first version has.
#[derive(Debug, Deserialize)]
pub struct InitialRoomRow {
    pub room_id: OwnedRoomId,
    pub membership: String,
    #[serde(deserialize_with = "boolean")]
    pub is_public: bool,
    /// The membership event, its position, and the state after it.
    pub event_id: OwnedEventId,
    pub stream_ordering: Option<i64>,
    pub state_group: Option<i64>,
}

const INITIAL_ROOM: &str = "SELECT m.room_id, m.membership, o.is_public, m.event_id,
       e.stream_ordering, g.state_group
     FROM local_current_membership m
     LEFT JOIN rooms o ON o.room_id = m.room_id
     LEFT JOIN events e ON e.event_id = m.event_id
     LEFT JOIN event_to_state_groups g ON g.event_id = m.event_id";

/// Reads the [`InitialRoomRow`]s of the rooms that a reader is in or invited to; with `archived`
/// also those that the reader has left and not forgotten.
pub fn select_initial_rooms(user_or_token: &str, archived: bool) -> Statement {
    let reader = reader("?1");
    let blocks_invites = account_data::blocks_invites("m.user_id");
    Statement::new(format!(
        "{INITIAL_ROOM} WHERE m.user_id = {reader} AND (m.membership = 'join'
            OR m.membership = 'invite' AND NOT {blocks_invites}
            OR ?2 AND m.membership IN ('leave', 'ban') AND NOT EXISTS (
                SELECT 1 FROM room_memberships f WHERE f.event_id = m.event_id AND f.forgotten))"
    ))
    .bind(user_or_token)
    .bind(archived)
}

/// As [`select_initial_rooms`], for one room, whatever the membership.
pub fn select_initial_room(user_or_token: &str, room_id: &RoomId) -> Statement {
    let reader = reader("?1");
    Statement::new(format!("{INITIAL_ROOM} WHERE m.user_id = {reader} AND m.room_id = ?2"))
        .bind(user_or_token)
        .bind(room_id.as_str())
}
