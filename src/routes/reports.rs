//! Telling the administrators of events, rooms and users. Client-Server API, "Reporting content".

use http::Method;
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId};
use serde_json::{Map, Value, json};

use super::access::{Access, Caller};
use super::endpoint::{Answer, Incoming, Route, json as answer, object, raw};
use super::room_read::RoomRead;
use crate::accounts::limits::{self, REPORT};
use crate::error::ApiError;
use crate::serving::timeline;
use crate::storage::{event_pages, reports};

const EVENT: &[&str] = &[
    "/_matrix/client/v3/rooms/{room_id}/report/{event_id}",
    "/_matrix/client/r0/rooms/{room_id}/report/{event_id}",
];
const ROOM: &[&str] = &["/_matrix/client/v3/rooms/{room_id}/report"];
const USER: &[&str] = &["/_matrix/client/v3/users/{user_id}/report"];

pub fn routes() -> Vec<Route> {
    vec![
        raw(Method::POST, EVENT, report_event),
        raw(Method::POST, ROOM, report_room),
        raw(Method::POST, USER, report_user),
    ]
}

/// `POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}`
async fn report_event(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    access.token()?;
    let (room_id, event_id) = (incoming.id::<OwnedRoomId>(0)?, incoming.id::<OwnedEventId>(1)?);
    let body = object(incoming.json()?)?;
    let reason = reason(&body)?;
    if body.get("score").is_some_and(|score| !score.is_i64()) {
        return Err(ApiError::bad_json("score is an integer"));
    }
    let caller = must_see(access, room_id.clone(), &event_id).await?;
    limits::count_of_account(&caller.context, &caller.user_id, REPORT).await?;
    let (context, content) = (&caller.context, Value::Object(body.clone()).to_string());
    let (user_id, now_ms) = (&caller.user_id, context.now_ms());
    let report =
        reports::insert_event_report(&room_id, &event_id, user_id, reason, &content, now_ms);
    context.batch(report.to_vec()).await?;
    answer(&json!({}))
}

/// An event that somebody may not see cannot be told from one that does not exist.
async fn must_see(
    access: Access,
    room_id: OwnedRoomId,
    event_id: &EventId,
) -> Result<Caller, ApiError> {
    let selection = event_pages::of_room(&room_id, event_id);
    let statements = |reader: &str| timeline(selection, reader).to_vec();
    let mut read = RoomRead::begin(access, room_id, statements).await?;
    let timeline = read.timeline()?;
    match read.visible(timeline).is_empty() {
        true => Err(ApiError::not_found("There is no such event, or you cannot see it")),
        false => Ok(read.caller),
    }
}

/// `POST /_matrix/client/v3/rooms/{roomId}/report`
async fn report_room(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let room_id: OwnedRoomId = incoming.id(0)?;
    let (caller, body) = begin(access, &incoming).await?;
    let reason = required_reason(&body)?;
    let (context, user_id) = (&caller.context, &caller.user_id);
    let report = reports::insert_room_report(&room_id, user_id, reason, context.now_ms());
    // The answer does not tell whether there is such a room.
    context.batch(report.to_vec()).await?;
    answer(&json!({}))
}

/// `POST /_matrix/client/v3/users/{userId}/report`
async fn report_user(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let target: OwnedUserId = incoming.id(0)?;
    let (caller, body) = begin(access, &incoming).await?;
    let reason = required_reason(&body)?;
    let (context, user_id) = (&caller.context, &caller.user_id);
    let report = reports::insert_user_report(&target, user_id, reason, context.now_ms());
    // The answer does not tell whether there is such a user.
    context.batch(report.to_vec()).await?;
    answer(&json!({}))
}

async fn begin(
    access: Access,
    incoming: &Incoming,
) -> Result<(Caller, Map<String, Value>), ApiError> {
    let caller = access.authenticate().await?;
    let body = object(incoming.json()?)?;
    limits::count_of_account(&caller.context, &caller.user_id, REPORT).await?;
    Ok((caller, body))
}

fn reason(body: &Map<String, Value>) -> Result<Option<&str>, ApiError> {
    match body.get("reason") {
        None => Ok(None),
        Some(Value::String(reason)) => Ok(Some(reason)),
        Some(_) => Err(ApiError::bad_json("reason is a text")),
    }
}

fn required_reason(body: &Map<String, Value>) -> Result<&str, ApiError> {
    reason(body)?.ok_or_else(|| ApiError::missing_param("There is no reason"))
}
