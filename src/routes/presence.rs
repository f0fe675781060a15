//! Who is online. Client-Server API, "Presence".

use std::time::Duration;

use ruma::api::client::presence::{get_presence, set_presence};
use ruma::presence::PresenceState;

use super::access::Caller;
use super::endpoint::{Route, authenticated};
use crate::accounts;
use crate::error::ApiError;
use crate::storage::database::Results;
use crate::storage::presence::{self, ObserverRow, PresenceRow};

pub fn routes() -> Vec<Route> {
    vec![
        authenticated(get_status).also("/_matrix/client/api/v1/presence/{user_id}/status"),
        authenticated(set_status).also("/_matrix/client/api/v1/presence/{user_id}/status"),
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
    let row = row.at(caller.context.now_ms());
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
    caller: Caller,
    request: set_presence::v3::Request,
) -> Result<set_presence::v3::Response, ApiError> {
    caller.must_not_be_guest()?;
    caller.must_be(&request.user_id)?;
    if !matches!(
        request.presence,
        PresenceState::Online | PresenceState::Offline | PresenceState::Unavailable
    ) {
        return Err(ApiError::invalid_param("presence is online, offline or unavailable"));
    }
    if caller.context.config.presence {
        let status_msg = request.status_msg.as_deref();
        accounts::presence::set(&caller.actor(), &request.presence, status_msg).await?;
    }
    Ok(set_presence::v3::Response::new())
}
