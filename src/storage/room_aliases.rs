//! `room_aliases`, `room_alias_servers`, and whether a room is in the public list
//! (`rooms.is_public`). A new room's first alias is written by the room's writer.

use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedServerName, RoomAliasId, RoomId};
use serde::Deserialize;

use super::database::{Statement, boolean};

/// Where an alias points to.
#[derive(Debug, Deserialize)]
pub struct AliasRow {
    pub room_alias: OwnedRoomAliasId,
    pub room_id: OwnedRoomId,
    /// A user id.
    pub creator: Option<String>,
}

/// Reads the [`AliasRow`] of an alias.
pub fn select(alias: &RoomAliasId) -> Statement {
    Statement::new("SELECT room_alias, room_id, creator FROM room_aliases WHERE room_alias = ?1")
        .bind(alias.as_str())
}

/// Reads the [`AliasRow`]s of a room.
pub fn select_of_room(room_id: &RoomId) -> Statement {
    Statement::new(
        "SELECT room_alias, room_id, creator FROM room_aliases WHERE room_id = ?1
         ORDER BY room_alias",
    )
    .bind(room_id.as_str())
}

/// A server through which a room can be joined.
#[derive(Debug, Deserialize)]
pub struct ServerRow {
    pub server: OwnedServerName,
}

/// The most servers that an alias names: the more a room has, the less each is needed.
const SERVERS_MAX: u32 = 200;

/// Reads the [`ServerRow`]s of an alias: those that were named, and those that are in the room.
pub fn select_servers(alias: &RoomAliasId) -> Statement {
    Statement::new(
        "SELECT server FROM room_alias_servers WHERE room_alias = ?1
         UNION
         SELECT substr(c.state_key, instr(c.state_key, ':') + 1)
         FROM room_aliases a
         CROSS JOIN current_state_events c ON c.room_id = a.room_id
         WHERE a.room_alias = ?1 AND c.type = 'm.room.member' AND c.membership = 'join'
         LIMIT ?2 + 0",
    )
    .bind(alias.as_str())
    .bind(SERVERS_MAX)
}

/// Takes an alias away.
pub fn delete(alias: &RoomAliasId) -> [Statement; 2] {
    [
        Statement::new("DELETE FROM room_alias_servers WHERE room_alias = ?1").bind(alias.as_str()),
        Statement::new("DELETE FROM room_aliases WHERE room_alias = ?1").bind(alias.as_str()),
    ]
}

/// Whether a room is in the public list.
#[derive(Debug, Deserialize)]
pub struct ListedRow {
    #[serde(deserialize_with = "boolean")]
    pub is_public: bool,
}

/// Reads the [`ListedRow`] of a room; none if we do not know the room.
pub fn select_listed(room_id: &RoomId) -> Statement {
    Statement::new("SELECT is_public FROM rooms WHERE room_id = ?1").bind(room_id.as_str())
}

/// Puts a room into the public list, or takes it out.
pub fn update_listed(room_id: &RoomId, is_public: bool) -> Statement {
    Statement::new(
        "UPDATE rooms SET is_public = ?2 WHERE room_id = ?1 AND coalesce(is_public, 0) <> ?2",
    )
    .bind(room_id.as_str())
    .bind(is_public)
}
