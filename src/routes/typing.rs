//! Who is writing just now. Client-Server API, "Typing Notifications".

use http::Method;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedRoomId, OwnedUserId};
use serde::Deserialize;

use super::access::Access;
use super::endpoint::{Answer, Incoming, Route, json, raw};
use crate::accounts::presence;
use crate::context::Context;
use crate::durable::RoomCommand;
use crate::error::ApiError;
use crate::storage::database::Results;
use crate::storage::local_memberships::{self, MembershipRow};
use crate::storage::typing::{self, ExpiredRow};

const TIMEOUT_DEFAULT_MS: u64 = 30_000;
/// Nobody types longer without saying so again.
const TIMEOUT_MAX_MS: u64 = 120_000;

pub fn routes() -> Vec<Route> {
    let paths = &[
        "/_matrix/client/v3/rooms/{room_id}/typing/{user_id}",
        "/_matrix/client/r0/rooms/{room_id}/typing/{user_id}",
        "/_matrix/client/api/v1/rooms/{room_id}/typing/{user_id}",
    ];
    vec![raw(Method::PUT, paths, set_typing)]
}

#[derive(Deserialize)]
struct Body {
    typing: bool,
    timeout: Option<u64>,
}

/// `PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}`
async fn set_typing(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let (room_id, user_id): (OwnedRoomId, OwnedUserId) = (incoming.id(0)?, incoming.id(1)?);
    let membership = local_memberships::select(access.token()?, &room_id);
    let (caller, results) = access.authenticate_with(vec![membership]).await?;
    caller.must_not_be_guest()?;
    caller.must_be(&user_id)?;
    let body: Body = incoming.json()?;
    let membership: Option<MembershipRow> = Results::new(results).first()?;
    if membership.is_none_or(|row| row.membership != MembershipState::Join) {
        return Err(ApiError::forbidden(format!("You are not in {room_id}")));
    }
    let now_ms = caller.context.now_ms();
    let mut writes = typing::expire(now_ms);
    writes.extend(if body.typing {
        let timeout_ms = body.timeout.unwrap_or(TIMEOUT_DEFAULT_MS).min(TIMEOUT_MAX_MS);
        typing::start(&room_id, &user_id, now_ms, now_ms + timeout_ms)
    } else {
        typing::stop(&room_id, &user_id, now_ms)
    });
    let typed = writes.len();
    let actor = caller.actor();
    writes.extend(presence::rouse(&actor));
    let results = caller.context.batch(writes).await?;
    let mut results = Results::new(results);
    results.skip(1);
    let mut rooms: Vec<OwnedRoomId> =
        results.rows::<ExpiredRow>()?.into_iter().map(|row| row.room_id).collect();
    results.skip(typed - 2);
    presence::roused(&actor, &results.rows()?);
    rooms.push(room_id);
    rooms.sort();
    rooms.dedup();
    wake_rooms(&caller.context, rooms);
    json(&serde_json::json!({}))
}

fn wake_rooms(context: &Context, room_ids: Vec<OwnedRoomId>) {
    let platform = context.platform.clone();
    context.platform.spawn(Box::pin(async move {
        for room_id in room_ids {
            // It is written: who is not woken sees it with the next sync.
            if let Err(error) = platform.room(&room_id, RoomCommand::Announce).await {
                crate::log::warn(&format!("typing in {room_id} woke nobody: {error}"));
            }
        }
    }));
}
