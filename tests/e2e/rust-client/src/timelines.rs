//! The timelines in the event cache: what is shown, and waiting for what shall be.

use matrix_sdk::{
    deserialized_responses::TimelineEvent,
    event_cache::RoomEventCache,
    ruma::{EventId, RoomId},
};
use serde_json::{Value, json};

use crate::{error::Failure, session::Session};

const PAGE_EVENTS: u16 = 7;

impl Session {
    async fn event_cache(&self, room_id: &RoomId) -> Result<RoomEventCache, Failure> {
        let room = self.client()?.await_room_remote_echo(room_id).await;
        let (cache, _) = room.event_cache().await?;
        let mut subscribers = self.subscribers.lock().await;
        if !subscribers.contains_key(room_id) {
            let (_, subscriber) = cache.subscribe().await?;
            subscribers.insert(room_id.to_owned(), subscriber);
        }
        Ok(cache)
    }

    /// The events in the cache, oldest first.
    pub async fn timeline(&self, room_id: &RoomId) -> Result<Value, Failure> {
        let events = self.event_cache(room_id).await?.events().await?;
        events.iter().map(shown).collect::<Result<Vec<_>, _>>().map(Value::Array)
    }

    /// Waits for an event, and where it is encrypted for its text.
    pub async fn wait_event(&self, room_id: &RoomId, event: &EventId) -> Result<Value, Failure> {
        let cache = self.event_cache(room_id).await?;
        let (_, mut updates) = cache.subscribe().await?;
        loop {
            let events = cache.events().await?;
            let found = events.iter().find(|known| known.event_id().as_deref() == Some(event));
            if let Some(found) = found
                && !found.kind.is_utd()
            {
                return shown(found);
            }
            // Lagging behind is no harm: the cache is looked at again.
            let _ = updates.recv().await;
        }
    }

    /// Fills the cache back to the room's creation.
    pub async fn page_back(&self, room_id: &RoomId) -> Result<Value, Failure> {
        let pagination = self.event_cache(room_id).await?.pagination();
        let mut pages = 0;
        while !pagination.run_backwards_once(PAGE_EVENTS).await?.reached_start {
            pages += 1;
        }
        Ok(json!({ "pages": pages }))
    }
}

fn shown(event: &TimelineEvent) -> Result<Value, Failure> {
    let mut shown: Value = event.raw().deserialize_as_unchecked()?;
    shown["unable_to_decrypt"] = json!(event.kind.is_utd());
    shown["encrypted"] = json!(event.encryption_info().is_some());
    Ok(shown)
}
