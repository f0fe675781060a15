//! A page of a room's history. Client-Server API, "Getting events for a room".

use myelin_protocol::filter::{EventFilter, effective_limit, pdu_matches};
use myelin_protocol::sync_token::{InvalidToken, RoomStreamToken, StreamToken};
use ruma::api::client::filter::RoomEventFilter;
use ruma::api::client::message::get_message_events::v3 as messages;
use ruma::api::path_builder::PathBuilder;
use ruma::api::{Direction as RequestDirection, Metadata};

use super::endpoint::{decode, encode};
use super::room_read::RoomRead;
use super::{Access, Answer, Incoming, Route, raw};
use crate::error::ApiError;
use crate::serving::{StoredEvent, Timeline, VisibleEvent, timeline};
use crate::storage::event_pages::{self, Direction, PageQuery};
use crate::storage::state_groups::{self, StateFilter};

pub fn routes() -> Vec<Route> {
    let mut paths: Vec<&'static str> = messages::Request::PATH_BUILDER.all_paths().collect();
    paths.push("/_matrix/client/api/v1/rooms/{room_id}/messages");
    vec![raw(messages::Request::METHOD, &paths, get_messages)]
}

/// What is given when nobody says how many.
const LIMIT_DEFAULT: usize = 10;

/// `GET /_matrix/client/v3/rooms/{roomId}/messages`
async fn get_messages(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    if !access.has_token() {
        return Err(ApiError::missing_token());
    }
    let request: messages::Request = decode(&incoming)?;
    let filter = event_filter(&incoming, request.filter.clone())?;
    let direction = match request.dir {
        RequestDirection::Backward => Direction::Backward,
        RequestDirection::Forward => Direction::Forward,
    };
    let place = |token: &str| Ok::<_, ApiError>(parse_token(token)?.room_key);
    let given = |token: &Option<String>| token.clone().filter(|token| !token.is_empty());
    let from = given(&request.from).as_deref().map(place).transpose()?;
    let to = given(&request.to).as_deref().map(place).transpose()?;
    let limit = effective_limit(Some(request.limit), LIMIT_DEFAULT);
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let (room_id, filter) = (request.room_id.clone(), &filter);
    let page = |reader: &str| {
        let (room_id, from, to) = (&room_id, from.clone(), to.clone());
        let query = PageQuery { room_id, direction, from, to, limit, filter, reader };
        timeline(event_pages::page(&query), reader).to_vec()
    };
    let mut read = RoomRead::begin(access, request.room_id, page).await?;
    read.access()?;
    let mut timeline = read.timeline()?;
    timeline.sort_topologically();
    if direction == Direction::Backward {
        timeline.events.reverse();
    }
    let (start, end) = ends(&timeline, direction, from);
    let mut visible = visible_matches(&read, timeline, filter);
    read.add_aggregations(&mut visible).await?;
    let mut response = messages::Response::new();
    response.state = read.format_state(&lazy_members(&read, filter, &visible).await?);
    response.chunk = read.format_timeline(&visible);
    response.start = StreamToken::at(start).to_string();
    response.end = end.map(|end| StreamToken::at(end).to_string());
    encode(response)
}

/// The filter of a request, with the part of it that ruma leaves out.
pub(super) fn event_filter(
    incoming: &Incoming,
    own: RoomEventFilter,
) -> Result<EventFilter, ApiError> {
    let json = incoming.query("filter").unwrap_or_else(|| "{}".to_owned());
    EventFilter::new(own, &json).map_err(|error| ApiError::invalid_param(error.to_string()))
}

/// Reads a pagination or sync token.
pub(super) fn parse_token(token: &str) -> Result<StreamToken, ApiError> {
    token.parse().map_err(|error: InvalidToken| ApiError::invalid_param(error.to_string()))
}

/// Where the page begins, and where the next one does; no end when there is nothing more.
fn ends(
    timeline: &Timeline,
    direction: Direction,
    from: Option<RoomStreamToken>,
) -> (RoomStreamToken, Option<RoomStreamToken>) {
    let (first, last) = (timeline.events.first(), timeline.events.last());
    let (start, end) = match direction {
        Direction::Backward => {
            (first.map(StoredEvent::token_after), last.map(StoredEvent::token_before))
        }
        Direction::Forward => {
            (first.map(StoredEvent::token_before), last.map(StoredEvent::token_after))
        }
    };
    (from.or(start).unwrap_or_else(|| RoomStreamToken::historic(0, 0)), end)
}

/// The database knows wildcards only by what stands before them: the filter has the last word.
fn visible_matches(
    read: &RoomRead,
    timeline: Timeline,
    filter: &RoomEventFilter,
) -> Vec<VisibleEvent> {
    let mut visible = read.visible(timeline);
    visible.retain(|visible| pdu_matches(filter, &visible.event.pdu));
    visible
}

/// The memberships of the senders, where the filter asks for these only, as of the newest event.
async fn lazy_members(
    read: &RoomRead,
    filter: &RoomEventFilter,
    visible: &[VisibleEvent],
) -> Result<Vec<StoredEvent>, ApiError> {
    let newest = visible.iter().max_by_key(|visible| visible.event.topological_ordering);
    let group = newest.and_then(|visible| visible.event.state_group);
    let Some(group) = group.filter(|_| !filter.lazy_load_options.is_disabled()) else {
        return Ok(Vec::new());
    };
    let members = StateFilter::members(visible.iter().map(|visible| &visible.event.pdu.sender));
    read.select_state(state_groups::of_groups(&[group], &members)).await
}
