//! What is in a space, as somebody sees it who looks for rooms to join.

use matrix_sdk::ruma::OwnedRoomId;
use matrix_sdk_ui::spaces::{SpaceRoom, SpaceRoomList, room_list::SpaceRoomListPaginationState};
use serde_json::{Value, json};

use crate::{error::Failure, session::Session};

impl Session {
    /// The rooms of a space, read to the last page.
    pub async fn space_rooms(&self, space: OwnedRoomId) -> Result<Value, Failure> {
        let list = SpaceRoomList::new(self.client()?.clone(), space).await;
        let end = SpaceRoomListPaginationState::Idle { end_reached: true };
        while list.pagination_state() != end {
            list.paginate().await?;
        }
        Ok(list.rooms().await.iter().map(shown).collect())
    }
}

fn shown(room: &SpaceRoom) -> Value {
    json!({
        "room_id": room.room_id,
        "name": room.display_name,
        "topic": room.topic,
        "joined": room.num_joined_members,
        "suggested": room.suggested,
    })
}
