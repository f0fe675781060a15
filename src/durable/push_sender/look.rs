//! What a sender reads before a turn, in ONE batch with what it notes of the last one.

use myelin_protocol::push_gateway::{Details, Device, Gateway, LONG_FAILURE_MS, name_after};
use ruma::UserId;
use serde_json::{Map, Value};

use crate::context::Context;
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::event_push_counts::{self, BadgeRow};
use crate::storage::push_queue::{self, DestinationRow, DetailsRow, OtherRow, PendingRow};

/// A pusher with its gateway.
pub struct Destination {
    pub row: DestinationRow,
    pub gateway: Gateway,
}

impl Destination {
    pub fn device(&self) -> Device<'_> {
        Device {
            app_id: &self.row.app_id,
            pushkey: &self.row.pushkey,
            pushkey_ts_ms: self.row.ts,
            data: &self.gateway.data,
        }
    }

    /// Whether its gateway has failed for so long that it gets the newest notification only.
    pub fn is_long_failing(&self, now_ms: u64) -> bool {
        self.row.failing_since.is_some_and(|since_ms| since_ms + LONG_FAILURE_MS <= now_ms)
    }
}

/// What there is to send, and to whom.
pub struct Look {
    pub destinations: Vec<Destination>,
    /// The oldest first.
    pub pending: Vec<PendingRow>,
    /// For those that have failed for long.
    pub newest: Option<PendingRow>,
    pub unread: u64,
}

/// Notes, and looks; `is_retry` if gateways that fail are to be tried.
pub async fn read(
    context: &Context,
    user_id: &UserId,
    is_retry: bool,
    notes: Vec<Statement>,
) -> Result<Look, DatabaseError> {
    let long_ago_ms = context.now_ms().saturating_sub(LONG_FAILURE_MS);
    let noted = notes.len();
    let mut batch = notes;
    batch.push(push_queue::select_destinations(user_id));
    batch.push(event_push_counts::select_badge(user_id));
    batch.push(push_queue::select_oldest(user_id, is_retry.then_some(long_ago_ms)));
    if is_retry {
        batch.push(push_queue::select_newest(user_id, long_ago_ms));
    }
    let mut results = Results::new(context.batch(batch).await?);
    results.skip(noted);
    let destination = |row: DestinationRow| {
        let data: Map<String, Value> = serde_json::from_str(row.data.as_deref()?).ok()?;
        // One that names no gateway was not set here.
        Some(Destination { gateway: Gateway::read(&data).ok()?, row })
    };
    let destinations = results.rows()?.into_iter().filter_map(destination).collect();
    let unread = results.first::<BadgeRow>()?.map_or(0, |badge| badge.unread);
    let (pending, newest) = (results.rows()?, results.first()?);
    Ok(Look { destinations, pending, newest, unread })
}

/// What a gateway is told of an event that wants to know all; `None` if the event is gone.
pub async fn details(
    context: &Context,
    user_id: &UserId,
    event: &PendingRow,
) -> Result<Option<Details>, DatabaseError> {
    let (room_id, event_id) = (event.room_id.as_str(), event.event_id.as_str());
    let batch = push_queue::select_details(user_id, room_id, event_id).to_vec();
    let mut results = Results::new(context.batch(batch).await?);
    let Some(row) = results.first::<DetailsRow>()? else { return Ok(None) };
    let others: Vec<OtherRow> = results.rows()?;
    let event: Value = serde_json::from_str(&row.json).unwrap_or_default();
    let sender = event["sender"].as_str().unwrap_or_default().to_owned();
    let room_alias = state_text(row.alias_json.as_deref(), "alias");
    let others_count = others.first().map_or(0, |other| other.others_count);
    let others: Vec<String> = others.into_iter().map(|other| other.name).collect();
    let room_name = state_text(row.name_json.as_deref(), "name")
        .or_else(|| room_alias.clone())
        .or_else(|| name_after(&others, others_count));
    let is_membership = event["type"] == "m.room.member" && event["state_key"].is_string();
    let is_target = event["state_key"].as_str() == Some(user_id.as_str());
    let sender_display_name = row.sender_display_name.filter(|name| !name.is_empty());
    Ok(Some(Details {
        sender_display_name: Some(sender_display_name.unwrap_or_else(|| sender.clone())),
        sender,
        content: event["content"].as_object().cloned().unwrap_or_default(),
        room_name,
        room_alias,
        user_is_target: is_membership.then_some(is_target),
    }))
}

/// A text of the content of a state event; the empty one says nothing.
fn state_text(json: Option<&str>, name: &str) -> Option<String> {
    let event: Value = serde_json::from_str(json?).ok()?;
    let text = event.get("content")?.get(name)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}
