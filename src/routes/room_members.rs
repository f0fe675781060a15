//! Who is in a room, and which rooms somebody is in. Client-Server API, "Getting events for a
//! room", "Listing rooms".

use std::collections::BTreeMap;

use http::Method;
use myelin_protocol::room_state::membership;
use myelin_protocol::sync_token::StreamToken;
use ruma::api::client::membership::{get_member_events, joined_rooms};
use ruma::{OwnedUserId, RoomId};
use serde_json::json;

use super::room_read::RoomRead;
use super::{Access, Answer, Incoming, Route, batched, json as answer, raw};
use crate::error::ApiError;
use crate::serving::{RoomAccess, StoredEvent, Timeline, judged, read_state, state};
use crate::storage::database::Statement;
use crate::storage::event_pages;
use crate::storage::room_members::{self, JoinedMemberRow, MemberProfile, RoomRow};
use crate::storage::state_groups::{self, StateFilter};

pub fn routes() -> Vec<Route> {
    vec![
        batched(get_members).also("/_matrix/client/api/v1/rooms/{room_id}/members"),
        raw(
            Method::GET,
            &[
                "/_matrix/client/v3/rooms/{room_id}/joined_members",
                "/_matrix/client/r0/rooms/{room_id}/joined_members",
                "/_matrix/client/api/v1/rooms/{room_id}/joined_members",
            ],
            get_joined_members,
        ),
        batched(get_joined_rooms),
    ]
}

/// `GET /_matrix/client/v3/rooms/{roomId}/members`
async fn get_members(
    access: Access,
    request: get_member_events::v3::Request,
) -> Result<get_member_events::v3::Response, ApiError> {
    let filter = StateFilter::Types(vec!["m.room.member".to_owned()]);
    let at = request.at.as_deref().map(parse_position).transpose()?;
    let room_id = request.room_id.clone();
    let statements = |reader: &str| match at {
        Some(position) => members_at(&room_id, position, &filter, reader),
        None => vec![state(state_groups::current(std::slice::from_ref(&room_id), &filter))],
    };
    let mut read = RoomRead::begin(access, request.room_id, statements).await?;
    let events = match at {
        Some(_) => take_members_at(&mut read)?,
        None => read.state(&filter).await?,
    };
    let wanted = |event: &StoredEvent| {
        let membership = membership(Some(&event.pdu));
        request.membership.as_ref().is_none_or(|only| *only == membership)
            && request.not_membership.as_ref().is_none_or(|not| *not != membership)
    };
    let chunk: Vec<StoredEvent> = events.into_iter().filter(wanted).collect();
    Ok(get_member_events::v3::Response::new(read.format_state(&chunk)))
}

fn parse_position(token: &str) -> Result<i64, ApiError> {
    let token: Result<StreamToken, _> = token.parse();
    let token = token.map_err(|error| ApiError::invalid_param(error.to_string()))?;
    Ok(token.room_key.stream())
}

fn members_at(
    room_id: &RoomId,
    position: i64,
    filter: &StateFilter,
    reader: &str,
) -> Vec<Statement> {
    let mut batch = judged(event_pages::last_at(room_id, position), reader).to_vec();
    batch.push(state(state_groups::at(room_id, position, filter)));
    batch
}

/// Whoever may see the last event there may see who the members were.
fn take_members_at(read: &mut RoomRead) -> Result<Vec<StoredEvent>, ApiError> {
    let timeline = Timeline::read_judged(&mut read.results)?;
    let members = read_state(&mut read.results)?;
    if timeline.events.is_empty() {
        // Who may not read the room learns nothing of its past either.
        read.access()?;
        return Err(ApiError::not_found("There is no event at that token"));
    }
    if read.visible(timeline).is_empty() {
        return Err(ApiError::forbidden("You may not see the members at that token"));
    }
    Ok(members)
}

/// `GET /_matrix/client/v3/rooms/{roomId}/joined_members`
async fn get_joined_members(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let room_id = RoomId::parse(incoming.arg(0))
        .map_err(|_| ApiError::invalid_param("That is not a room id"))?;
    let select = room_members::select_joined(&room_id);
    let mut read = RoomRead::begin(access, room_id, |_| vec![select]).await?;
    if let RoomAccess::Departed { .. } = read.access()? {
        return Err(ApiError::forbidden("You are no longer in this room"));
    }
    let rows: Vec<JoinedMemberRow> = read.results.rows()?;
    let joined: BTreeMap<OwnedUserId, MemberProfile> =
        rows.into_iter().map(|row| (row.user_id, row.profile)).collect();
    answer(&json!({ "joined": joined }))
}

/// `GET /_matrix/client/v3/joined_rooms`
async fn get_joined_rooms(
    access: Access,
    _request: joined_rooms::v3::Request,
) -> Result<joined_rooms::v3::Response, ApiError> {
    let select = room_members::select_rooms_of(access.token()?);
    let (_, results) = access.authenticate_with(vec![select]).await?;
    let rows: Vec<RoomRow> =
        results.first().map(|rows| rows.rows()).transpose()?.unwrap_or_default();
    let rooms = rows.into_iter().map(|row| row.room_id).collect();
    Ok(joined_rooms::v3::Response::new(rooms))
}
