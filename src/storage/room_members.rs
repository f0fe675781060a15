//! Members of rooms, from `current_state_events` with `room_memberships`, and the rooms of a
//! reader, from `local_current_membership`.

use ruma::{OwnedRoomId, OwnedUserId, RoomId};
use serde::{Deserialize, Serialize};

use super::database::Statement;
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
