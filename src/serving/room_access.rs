//! What of a room a reader may read at all: the present, the past up to a leave, or a preview.

use crate::error::ApiError;
use crate::storage::events::ReaderRow;

/// How somebody may read a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomAccess {
    /// In the room: the present state.
    Joined,
    /// Left after having been in it: the state after the leave, by its group.
    Departed { state_group: i64 },
    /// Everyone may read it: the present state.
    WorldReadable,
}

impl RoomAccess {
    /// # Errors
    /// `M_FORBIDDEN` for everybody else, and for rooms that we do not know.
    pub fn of(room: Option<&ReaderRow>) -> Result<Self, ApiError> {
        let forbidden = || ApiError::forbidden("You are not in this room, and it has no preview");
        let room = room.ok_or_else(forbidden)?;
        let has_left = room.membership.as_deref() == Some("leave")
            && room.joined_stream_ordering.is_some()
            && !room.forgotten;
        match room.member_state_group {
            _ if room.is_joined() => Ok(Self::Joined),
            Some(state_group) if has_left => Ok(Self::Departed { state_group }),
            _ if room.history_visibility.as_deref() == Some("world_readable") => {
                Ok(Self::WorldReadable)
            }
            _ => Err(forbidden()),
        }
    }
}
