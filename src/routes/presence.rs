//! Who is online. Client-Server API, "Presence".

use std::time::Duration;

use ruma::api::client::presence::{get_presence, set_presence};
use ruma::presence::PresenceState;

use super::endpoint::{Access, Caller, Route, authenticated, batched};
use crate::durable::Announcement;
use crate::error::ApiError;
use crate::storage::database::Results;
use crate::storage::presence::{self, ObserverRow, PresenceRow};

pub fn routes() -> Vec<Route> {
    vec![
        authenticated(get_status).also("/_matrix/client/api/v1/presence/{user_id}/status"),
        batched(set_status).also("/_matrix/client/api/v1/presence/{user_id}/status"),
    ]
}

/// `GET /_matrix/client/v3/presence/{userId}/status`
async fn get_status(
    caller: Caller,
    request: get_presence::v3::Request,
) -> Result<get_presence::v3::Response, ApiError> {
    caller.must_not_be_guest()?;
    if !caller.context.config.presence {
        return Ok(get_presence::v3::Response::new(PresenceState::Offline));
    }
    let reads = vec![
        presence::select_visible_to(&request.user_id, &caller.user_id),
        presence::select(&request.user_id),
    ];
    let mut results = Results::new(caller.context.batch(reads).await?);
    if results.first::<ObserverRow>()?.is_none() {
        return Err(ApiError::forbidden("You share no room with this user"));
    }
    let Some(row) = results.first::<PresenceRow>()? else {
        return Ok(get_presence::v3::Response::new(PresenceState::Offline));
    };
    let ago_ms = caller.context.now_ms().saturating_sub(row.last_active_ts);
    let mut response = get_presence::v3::Response::new(row.state.clone());
    response.last_active_ago = (row.last_active_ts > 0).then(|| Duration::from_millis(ago_ms));
    response.currently_active =
        (row.state == PresenceState::Online).then_some(row.currently_active);
    response.status_msg = row.status_msg;
    Ok(response)
}

/// `PUT /_matrix/client/v3/presence/{userId}/status`
async fn set_status(
    access: Access,
    request: set_presence::v3::Request,
) -> Result<set_presence::v3::Response, ApiError> {
    let read = presence::select(&request.user_id);
    let (caller, results) = access.authenticate_with(vec![read]).await?;
    caller.must_not_be_guest()?;
    caller.must_be(&request.user_id)?;
    if !matches!(
        request.presence,
        PresenceState::Online | PresenceState::Offline | PresenceState::Unavailable
    ) {
        return Err(ApiError::invalid_param("presence is online, offline or unavailable"));
    }
    if caller.context.config.presence {
        let old = Results::new(results).first()?;
        write(caller, old, request).await?;
    }
    Ok(set_presence::v3::Response::new())
}

/// Others are told only of what they can see.
async fn write(
    caller: Caller,
    old: Option<PresenceRow>,
    request: set_presence::v3::Request,
) -> Result<(), ApiError> {
    let now_ms = caller.context.now_ms();
    let status_msg = request.status_msg.filter(|_| request.presence != PresenceState::Offline);
    let is_same =
        old.is_some_and(|old| old.state == request.presence && old.status_msg == status_msg);
    if is_same {
        caller.context.batch(vec![presence::seen(&caller.user_id, now_ms)]).await?;
        return Ok(());
    }
    let mut batch =
        presence::set(&caller.user_id, &request.presence, status_msg.as_deref(), now_ms);
    let written = batch.len();
    batch.push(presence::select_observers(&caller.user_id));
    let mut results = Results::new(caller.context.batch(batch).await?);
    results.skip(written);
    let observers = results.rows::<ObserverRow>()?.into_iter().map(|row| row.user_id);
    let mut users: Vec<_> = observers.filter(|user_id| *user_id != caller.user_id).collect();
    users.push(caller.user_id);
    caller.context.announce(Announcement::Users(users));
    Ok(())
}
