//! One event, by its id or its time, and what is around it. Client-Server API, "Getting events
//! for a room", "Event Context", "Jump to timestamp".

use myelin_protocol::filter::{LIMIT_MAX, pdu_matches};
use myelin_protocol::sync_token::{RoomStreamToken, StreamToken};
use ruma::api::client::context::get_context::v3 as context;
use ruma::api::client::filter::RoomEventFilter;
use ruma::api::client::room::{get_event_by_timestamp::v1 as by_time, get_room_event::v3 as event};
use ruma::api::path_builder::PathBuilder;
use ruma::api::{Direction as RequestDirection, Metadata};
use serde_json::json;

use super::endpoint::{decode, json as answer_json};
use super::room_messages::event_filter;
use super::room_read::RoomRead;
use super::{Access, Answer, Incoming, Route, batched, raw};
use crate::error::ApiError;
use crate::serving::{StoredEvent, VisibleEvent, read_state, state, timeline};
use crate::storage::event_pages::{self, Direction};
use crate::storage::state_groups::{self, StateFilter};

pub fn routes() -> Vec<Route> {
    let mut context_paths: Vec<&'static str> = context::Request::PATH_BUILDER.all_paths().collect();
    context_paths.push("/_matrix/client/api/v1/rooms/{room_id}/context/{event_id}");
    vec![
        batched(get_event),
        raw(context::Request::METHOD, &context_paths, get_context),
        batched(find_by_time),
    ]
}

/// `GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}`
async fn get_event(access: Access, request: event::Request) -> Result<event::Response, ApiError> {
    let selection = event_pages::of_room(&request.room_id, &request.event_id);
    let statements = |reader: &str| timeline(selection, reader).to_vec();
    let mut read = RoomRead::begin(access, request.room_id, statements).await?;
    let timeline = read.timeline()?;
    let mut visible = read.visible(timeline);
    read.add_aggregations(&mut visible).await?;
    // An event that may not be seen is as good as none.
    let visible = visible.first().ok_or_else(|| ApiError::not_found("Event not found."))?;
    Ok(event::Response::new(read.format_visible(visible)))
}

/// `GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}`
async fn get_context(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let request: context::Request = decode(&incoming)?;
    let filter = &event_filter(&incoming, request.filter.clone())?;
    let limit = usize::try_from(u64::from(request.limit)).unwrap_or(LIMIT_MAX).min(LIMIT_MAX);
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let before = limit / 2;
    let (room_id, event_id) = (&request.room_id, &request.event_id);
    let around = event_pages::around(room_id, event_id, before, limit - before, filter);
    let statements = |reader: &str| timeline(around, reader).to_vec();
    let mut read = RoomRead::begin(access, room_id.clone(), statements).await?;
    let mut timeline = read.timeline()?;
    timeline.sort_topologically();
    let is_asked = |event: &StoredEvent| event.pdu.event_id == *event_id;
    if !timeline.events.iter().any(is_asked) {
        return Err(ApiError::not_found("Event not found."));
    }
    let ends = (
        timeline.events.first().map(StoredEvent::token_before),
        timeline.events.last().map(StoredEvent::token_after),
    );
    let mut visible = read.visible(timeline);
    let position = visible.iter().position(|visible| is_asked(&visible.event));
    let position = position
        .ok_or_else(|| ApiError::forbidden("You don't have permission to access that event."))?;
    read.add_aggregations(&mut visible).await?;
    let state = state_after(&read, &visible, position, filter).await?;
    let mut response = respond(&read, &visible, position, filter);
    response.state = read.format_state(&state);
    let token = |key: RoomStreamToken| StreamToken::at(key).to_string();
    // matrix-js-sdk takes it for granted that the lists are there, also empty ones.
    answer_json(&json!({
        "start": ends.0.map(token),
        "end": ends.1.map(token),
        "event": response.event,
        "events_before": response.events_before,
        "events_after": response.events_after,
        "state": response.state,
    }))
}

fn respond(
    read: &RoomRead,
    visible: &[VisibleEvent],
    position: usize,
    filter: &RoomEventFilter,
) -> context::Response {
    let (before, rest) = visible.split_at(position);
    let wanted = |visible: &&VisibleEvent| pdu_matches(filter, &visible.event.pdu);
    let mut response = context::Response::new();
    let before = before.iter().rev().filter(wanted);
    response.events_before = before.map(|visible| read.format_visible(visible)).collect();
    response.event = rest.first().map(|visible| read.format_visible(visible));
    let after = rest.iter().skip(1).filter(wanted);
    response.events_after = after.map(|visible| read.format_visible(visible)).collect();
    response
}

/// The state after the last event that is shown; with lazy loading the members who sent some.
async fn state_after(
    read: &RoomRead,
    visible: &[VisibleEvent],
    position: usize,
    filter: &RoomEventFilter,
) -> Result<Vec<StoredEvent>, ApiError> {
    let last = visible.last().or(visible.get(position));
    let Some(group) = last.and_then(|visible| visible.event.state_group) else {
        return Ok(Vec::new());
    };
    let senders = visible.iter().map(|visible| visible.event.pdu.sender.clone());
    let state_filter = match filter.lazy_load_options.is_disabled() {
        true => StateFilter::All,
        false => StateFilter::LazyMembers(senders.collect()),
    };
    let mut state = read.select_state(state_groups::of_groups(&[group], &state_filter)).await?;
    state.retain(|event| pdu_matches(filter, &event.pdu));
    Ok(state)
}

/// `GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event`
async fn find_by_time(
    access: Access,
    request: by_time::Request,
) -> Result<by_time::Response, ApiError> {
    let direction = match request.dir {
        RequestDirection::Backward => Direction::Backward,
        RequestDirection::Forward => Direction::Forward,
    };
    let nearest = event_pages::nearest_in_time(&request.room_id, request.ts.0.into(), direction);
    let mut read = RoomRead::begin(access, request.room_id, |_| vec![state(nearest)]).await?;
    read.access()?;
    let events = read_state(&mut read.results)?;
    let event = events.first().ok_or_else(|| ApiError::not_found("There is no event there"))?;
    Ok(by_time::Response::new(event.pdu.event_id.clone(), event.pdu.origin_server_ts))
}
