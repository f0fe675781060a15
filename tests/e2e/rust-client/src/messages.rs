//! A room as a person sees it: each message with its edits, its reactions and its thread.

use matrix_sdk::ruma::{
    OwnedEventId, RoomId, api::client::receipt::create_receipt::v3::ReceiptType,
    events::receipt::ReceiptThread,
};
use matrix_sdk_ui::timeline::{EventTimelineItem, RoomExt, TimelineReadReceiptTracking};
use serde_json::{Map, Value, json};

use crate::{error::Failure, session::Session};

impl Session {
    /// The messages, oldest first. The library goes on with them between two calls.
    pub async fn messages(&self, room_id: &RoomId) -> Result<Value, Failure> {
        let mut open = self.open_rooms.lock().await;
        if !open.contains_key(room_id) {
            let builder = self.room(room_id)?.timeline_builder();
            let tracking = TimelineReadReceiptTracking::MessageLikeEvents;
            let timeline = builder.track_read_marker_and_receipts(tracking).build().await?;
            open.insert(room_id.to_owned(), timeline);
        }
        let Some(timeline) = open.get(room_id) else { return Ok(json!([])) };
        let items = timeline.items().await;
        Ok(items.iter().filter_map(|item| item.as_event()).filter_map(shown).collect())
    }

    /// What a list of rooms shows beside the name.
    pub fn unread(&self, room: &RoomId) -> Result<Value, Failure> {
        let room = self.room(room)?;
        let counts = room.unread_notification_counts();
        Ok(json!({
            "notifications": counts.notification_count,
            "highlights": counts.highlight_count,
            "messages": room.num_unread_messages(),
        }))
    }

    /// Everything up to this event has been read, in `thread` ("main", its root) or everywhere.
    pub async fn read(
        &self,
        room: &RoomId,
        event: OwnedEventId,
        thread: Option<String>,
    ) -> Result<(), Failure> {
        let thread = ReceiptThread::try_from(thread)?;
        Ok(self.room(room)?.send_single_receipt(ReceiptType::Read, thread, event).await?)
    }
}

fn shown(item: &EventTimelineItem) -> Option<Value> {
    let content = item.content();
    let message = content.as_message()?;
    let reactions: Map<String, Value> = content
        .reactions()
        .into_iter()
        .flat_map(|reactions| reactions.iter())
        .map(|(key, senders)| (key.clone(), senders.keys().map(|user| json!(user)).collect()))
        .collect();
    Some(json!({
        "event_id": item.event_id(),
        "sender": item.sender(),
        "msgtype": message.msgtype().msgtype(),
        "body": message.body(),
        "edited": message.is_edited(),
        "reactions": reactions,
        "thread": content.thread_root(),
        "replies": content.thread_summary().map_or(0, |thread| thread.num_replies),
        "read_by": item.read_receipts().keys().collect::<Vec<_>>(),
    }))
}
