//! `local_current_membership`: where the users of this server are. The room's writer writes it.

use ruma::events::room::member::MembershipState;
use ruma::{OwnedRoomId, RoomId, UserId};
use serde::Deserialize;

use super::database::Statement;

#[derive(Debug, Deserialize)]
pub struct MembershipRow {
    pub room_id: OwnedRoomId,
    pub membership: MembershipState,
}

/// Reads somebody's [`MembershipRow`] in one room; none if there never was one. In the batch that
/// authenticates, the access token stands for its user.
pub fn select(user_or_token: &str, room_id: &RoomId) -> Statement {
    Statement::new(
        "SELECT room_id, membership FROM local_current_membership
         WHERE user_id = coalesce((SELECT user_id FROM access_tokens WHERE token = ?1), ?1)
             AND room_id = ?2",
    )
    .bind(user_or_token)
    .bind(room_id.as_str())
}

/// Reads the [`MembershipRow`]s of the rooms that a user is in, invited to, or knocking at.
pub fn select_present(user_id: &UserId) -> Statement {
    Statement::new(
        "SELECT room_id, membership FROM local_current_membership
         WHERE user_id = ?1 AND membership IN ('join', 'invite', 'knock')",
    )
    .bind(user_id.as_str())
}

/// Reads the [`MembershipRow`]s of the rooms that a user is joined to.
pub fn select_joined(user_id: &UserId) -> Statement {
    Statement::new(
        "SELECT room_id, membership FROM local_current_membership
         WHERE user_id = ?1 AND membership = 'join'",
    )
    .bind(user_id.as_str())
}

/// The same of the owner of a token.
pub fn select_joined_of_token(token: &str) -> Statement {
    Statement::new(
        "SELECT room_id, membership FROM local_current_membership
         WHERE user_id = coalesce((SELECT user_id FROM access_tokens WHERE token = ?1), ?1)
             AND membership = 'join'",
    )
    .bind(token)
}

/// A room.
#[derive(Debug, Deserialize)]
pub struct RoomIdRow {
    pub room_id: OwnedRoomId,
}

/// Reads the [`RoomIdRow`]s, sorted, of the rooms in which the owner of a token and this user are.
pub fn select_mutual(token: &str, user_id: &UserId) -> Statement {
    Statement::new(
        "SELECT m.room_id FROM local_current_membership m
         CROSS JOIN current_state_events c ON c.room_id = m.room_id
             AND c.type = 'm.room.member' AND c.state_key = ?2 AND c.membership = 'join'
         WHERE m.user_id = coalesce((SELECT user_id FROM access_tokens WHERE token = ?1), ?1)
             AND m.membership = 'join'
         ORDER BY m.room_id",
    )
    .bind(token)
    .bind(user_id.as_str())
}
