//! How a user sorts rooms. Client-Server API, "Room Tagging".

use http::Method;
use ruma::{OwnedRoomId, OwnedUserId};
use serde_json::{Map, Value, json};

use super::access::{Access, Caller};
use super::endpoint::{Answer, Incoming, Route, json as answer, raw};
use crate::durable::Announcement;
use crate::error::ApiError;
use crate::storage::database::{Results, Statement};
use crate::storage::local_memberships::{self, MembershipRow};
use crate::storage::room_tags::{self, TagRow};

/// By the specification.
const TAG_BYTES_MAX: usize = 255;

const LIST: &[&str] = &[
    "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/tags",
    "/_matrix/client/r0/user/{user_id}/rooms/{room_id}/tags",
];
const ONE: &[&str] = &[
    "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/tags/{tag}",
    "/_matrix/client/r0/user/{user_id}/rooms/{room_id}/tags/{tag}",
];

pub fn routes() -> Vec<Route> {
    vec![
        raw(Method::GET, LIST, list_tags),
        raw(Method::PUT, ONE, add_tag),
        raw(Method::DELETE, ONE, remove_tag),
    ]
}

/// `GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags`
async fn list_tags(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let (user_id, room_id): (OwnedUserId, OwnedRoomId) = (incoming.id(0)?, incoming.id(1)?);
    let read = room_tags::select(&user_id, &room_id);
    let (caller, results) = access.authenticate_with(vec![read]).await?;
    must_be_own(&caller, &user_id)?;
    let mut tags = Map::new();
    for row in Results::new(results).rows::<TagRow>()? {
        if let (Some(tag), Some(content)) = (row.tag, row.content) {
            let content = serde_json::from_str(&content).map_err(ApiError::internal)?;
            tags.insert(tag, content);
        }
    }
    answer(&json!({ "tags": tags }))
}

/// `PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}`
async fn add_tag(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let (user_id, room_id): (OwnedUserId, OwnedRoomId) = (incoming.id(0)?, incoming.id(1)?);
    let membership = local_memberships::select(access.token()?, &room_id);
    let (caller, results) = access.authenticate_with(vec![membership]).await?;
    must_be_own(&caller, &user_id)?;
    let tag = incoming.arg(2);
    if tag.len() > TAG_BYTES_MAX {
        let message = format!("A tag has at most {TAG_BYTES_MAX} bytes");
        return Err(ApiError::invalid_param(message));
    }
    let content: Map<String, Value> = super::endpoint::object(incoming.json()?)?;
    if Results::new(results).first::<MembershipRow>()?.is_none() {
        return Err(ApiError::forbidden(format!("You have no membership in {room_id}")));
    }
    let content = serde_json::to_string(&content).map_err(ApiError::internal)?;
    write(caller, room_tags::set(&user_id, &room_id, tag, &content)).await
}

/// `DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}`
async fn remove_tag(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let (user_id, room_id): (OwnedUserId, OwnedRoomId) = (incoming.id(0)?, incoming.id(1)?);
    let caller = access.authenticate().await?;
    must_be_own(&caller, &user_id)?;
    write(caller, room_tags::remove(&user_id, &room_id, incoming.arg(2))).await
}

fn must_be_own(caller: &Caller, user_id: &ruma::UserId) -> Result<(), ApiError> {
    caller.must_not_be_guest()?;
    caller.must_be(user_id)
}

async fn write(caller: Caller, writes: Vec<Statement>) -> Result<Answer, ApiError> {
    caller.context.batch(writes).await?;
    caller.context.announce(Announcement::Users(vec![caller.user_id]));
    answer(&json!({}))
}
