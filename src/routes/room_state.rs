//! The state of a room: all of it, or one event. Client-Server API, "Getting events for a room".

use http::Method;
use ruma::RoomId;
use ruma::api::client::state::get_state_events;
use ruma::events::AnyStateEvent;

use super::room_read::RoomRead;
use super::{Access, Answer, Incoming, Route, batched, json, raw};
use crate::error::ApiError;
use crate::serving::state;
use crate::storage::state_groups::{self, StateFilter};

pub fn routes() -> Vec<Route> {
    vec![
        batched(get_state).also("/_matrix/client/api/v1/rooms/{room_id}/state"),
        raw(
            Method::GET,
            &[
                "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}",
                "/_matrix/client/r0/rooms/{room_id}/state/{event_type}/{state_key}",
                "/_matrix/client/api/v1/rooms/{room_id}/state/{event_type}/{state_key}",
                "/_matrix/client/v3/rooms/{room_id}/state/{event_type}",
                "/_matrix/client/r0/rooms/{room_id}/state/{event_type}",
                "/_matrix/client/api/v1/rooms/{room_id}/state/{event_type}",
            ],
            get_state_event,
        ),
    ]
}

/// `GET /_matrix/client/v3/rooms/{roomId}/state`
async fn get_state(
    access: Access,
    request: get_state_events::v3::Request,
) -> Result<get_state_events::v3::Response, ApiError> {
    let filter = StateFilter::All;
    let present = state_groups::current(std::slice::from_ref(&request.room_id), &filter);
    let mut read = RoomRead::begin(access, request.room_id, |_| vec![state(present)]).await?;
    let events = read.state(&filter).await?;
    Ok(get_state_events::v3::Response::new(read.format_state(&events)))
}

/// `GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`
async fn get_state_event(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let whole = match incoming.query("format").as_deref() {
        Some("event") => true,
        None | Some("content") => false,
        Some(_) => return Err(ApiError::invalid_param("format must be content or event")),
    };
    let room_id = RoomId::parse(incoming.arg(0))
        .map_err(|_| ApiError::invalid_param("That is not a room id"))?;
    let filter = StateFilter::key(incoming.arg(1), incoming.arg(2));
    let present = state_groups::current(std::slice::from_ref(&room_id), &filter);
    let mut read = RoomRead::begin(access, room_id, |_| vec![state(present)]).await?;
    let events = read.state(&filter).await?;
    let event = events.first().ok_or_else(|| ApiError::not_found("Event not found."))?;
    if whole {
        let formatted = read.format_state::<AnyStateEvent>(std::slice::from_ref(event));
        return json(&formatted.first());
    }
    json(&event.pdu.content)
}
