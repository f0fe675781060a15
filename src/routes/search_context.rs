//! What is around an event that was found, and how all of it is written.

use std::collections::HashMap;

use myelin_protocol::client_event::EventFormat;
use myelin_protocol::filter::EventFilter;
use myelin_protocol::pdu::Pdu;
use myelin_protocol::sync_token::StreamToken;
use ruma::api::client::search::search_events::v3::EventContext;
use ruma::{OwnedEventId, OwnedRoomId, UInt};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::context;
use crate::error::ApiError;
use crate::serving::{
    Reader, StoredEvent, Timeline, VisibleEvent, aggregations, read_state, state, timeline,
};
use crate::storage::database::{Results, Statement};
use crate::storage::event_pages;
use crate::storage::events::ReaderRow;
use crate::storage::state_groups::{self, StateFilter};

/// The most events on one side of a result.
const AROUND_MAX: u32 = 20;

/// What is around an event, as it is answered.
pub struct Context {
    pub content: Value,
}

type Rooms = HashMap<OwnedRoomId, ReaderRow>;

/// Reads what is around events: one batch for all of them, one for what relates to those, and one
/// for the senders if they are wanted.
///
/// # Errors
/// If the database fails.
pub async fn read<'a>(
    context: &context::Context,
    reader: &Reader,
    rooms: &Rooms,
    found: impl Iterator<Item = &'a Pdu>,
    wanted: &EventContext,
) -> Result<HashMap<OwnedEventId, Context>, ApiError> {
    let limit = |limit: UInt| u32::try_from(u64::from(limit)).unwrap_or(u32::MAX).min(AROUND_MAX);
    let (before, after) = (limit(wanted.before_limit), limit(wanted.after_limit));
    let filter = EventFilter::default();
    let found: Vec<&Pdu> = found.collect();
    let around = |pdu: &&Pdu| {
        let around = event_pages::around(&pdu.room_id, &pdu.event_id, before, after, &filter);
        timeline(around, reader.user_id.as_str())
    };
    let batch: Vec<Statement> = found.iter().flat_map(around).collect();
    if batch.is_empty() {
        return Ok(HashMap::new());
    }
    let mut results = Results::new(context.batch(batch).await?);
    let mut timelines = Vec::new();
    for pdu in found {
        let mut timeline = Timeline::read(&mut results)?;
        timeline.sort_topologically();
        timelines.push((&pdu.event_id, Around::new(timeline, reader, rooms)));
    }
    let visible = timelines.iter_mut().flat_map(|(_, around)| &mut around.visible);
    aggregations::add(context, reader, rooms, visible).await?;
    let profiles = match wanted.include_profile {
        true => profiles(context, &timelines).await?,
        false => HashMap::new(),
    };
    let write = |(event_id, around): (&OwnedEventId, Around)| {
        let profiles = profiles.get(event_id);
        (event_id.clone(), around.write(context, reader, event_id, profiles))
    };
    Ok(timelines.into_iter().map(write).collect())
}

struct Around {
    start: Option<String>,
    end: Option<String>,
    visible: Vec<VisibleEvent>,
}

impl Around {
    fn new(timeline: Timeline, reader: &Reader, rooms: &Rooms) -> Self {
        let token = |key| StreamToken::at(key).to_string();
        Self {
            start: timeline.events.first().map(|event| token(event.token_before())),
            end: timeline.events.last().map(|event| token(event.token_after())),
            visible: timeline.visible(reader, rooms),
        }
    }

    fn write(
        self,
        context: &context::Context,
        reader: &Reader,
        event_id: &OwnedEventId,
        profiles: Option<&Map<String, Value>>,
    ) -> Context {
        let is_found = |visible: &VisibleEvent| visible.event.pdu.event_id == *event_id;
        let position = self.visible.iter().position(is_found).unwrap_or(self.visible.len());
        let (before, rest) = self.visible.split_at(position);
        let write = |visible: &VisibleEvent| format(context, reader, visible);
        let mut content = json!({
            "events_before": before.iter().rev().map(write).collect::<Vec<_>>(),
            "events_after": rest.iter().skip(1).map(write).collect::<Vec<_>>(),
            "start": self.start,
            "end": self.end,
        });
        if let Some(profiles) = profiles {
            content["profile_info"] = Value::Object(profiles.clone());
        }
        Context { content }
    }
}

/// Who the senders were then, by the event that was found.
async fn profiles(
    context: &context::Context,
    timelines: &[(&OwnedEventId, Around)],
) -> Result<HashMap<OwnedEventId, Map<String, Value>>, ApiError> {
    let mut batch = Vec::new();
    for (_, around) in timelines {
        let senders = StateFilter::members(around.visible.iter().map(|v| &v.event.pdu.sender));
        let group = around.visible.first().and_then(|visible| visible.event.state_group);
        batch
            .push(state(state_groups::of_groups(&group.into_iter().collect::<Vec<_>>(), &senders)));
    }
    let mut results = Results::new(context.batch(batch).await?);
    let mut profiles = HashMap::new();
    for (event_id, _) in timelines {
        let members = read_state(&mut results)?;
        profiles.insert((*event_id).clone(), members.iter().filter_map(profile).collect());
    }
    Ok(profiles)
}

fn profile(member: &StoredEvent) -> Option<(String, Value)> {
    let content: Value = serde_json::from_str(member.pdu.content.get()).ok()?;
    let (name, avatar) = (&content["displayname"], &content["avatar_url"]);
    let profile = json!({ "displayname": name, "avatar_url": avatar });
    Some((member.pdu.state_key.clone()?, profile))
}

/// An event as the reader sees it.
pub fn format(
    context: &context::Context,
    reader: &Reader,
    visible: &VisibleEvent,
) -> Box<RawValue> {
    let membership = Some(visible.membership.as_str());
    reader.format(&visible.event, membership, EventFormat::Client, context.now_ms())
}

/// A state event as the reader sees it.
pub fn format_state(
    context: &context::Context,
    reader: &Reader,
    event: &StoredEvent,
) -> Box<RawValue> {
    reader.format(event, None, EventFormat::Client, context.now_ms())
}
