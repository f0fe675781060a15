//! The list of a room's threads, and those that somebody follows.

use matrix_sdk::ruma::{EventId, OwnedEventId, RoomId};
use matrix_sdk_ui::timeline::{
    RoomExt, ThreadListPaginationState, thread_list_service::ThreadListItem,
};
use serde_json::{Value, json};

use crate::{error::Failure, session::Session};

impl Session {
    /// The threads, the one with the newest reply first, read to the last page.
    pub async fn threads(&self, room: &RoomId) -> Result<Value, Failure> {
        let list = self.room(room)?.thread_list_service();
        let end = ThreadListPaginationState::Idle { end_reached: true };
        while list.pagination_state() != end {
            list.paginate().await.map_err(Failure::from_debug)?;
        }
        Ok(list.items().iter().map(shown).collect())
    }

    pub async fn follow_thread(&self, room: &RoomId, event: OwnedEventId) -> Result<(), Failure> {
        Ok(self.room(room)?.subscribe_thread(event, None).await?)
    }

    /// Whether this user follows the thread, as far as this client has been told.
    pub async fn follows_thread(&self, room: &RoomId, event: &EventId) -> Result<Value, Failure> {
        let subscription = self.room(room)?.load_or_fetch_thread_subscription(event).await?;
        Ok(json!({ "follows": subscription.is_some() }))
    }
}

fn shown(thread: &ThreadListItem) -> Value {
    let latest = thread.latest_event.as_ref().map(|event| &event.event_id);
    json!({
        "root": thread.root_event.event_id,
        "latest": latest,
        "replies": thread.num_replies,
    })
}
