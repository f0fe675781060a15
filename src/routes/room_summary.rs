//! What a room is, for those who are about to enter it. Client-Server API, "Room Summary".

use ruma::api::client::room::get_summary::v1;
use ruma::events::room::member::MembershipState;

use super::{Access, Route, batched};
use crate::error::ApiError;
use crate::serving::room_summary::summary;
use crate::storage::database::Results;
use crate::storage::room_summaries::{self, SummaryRow};

pub fn routes() -> Vec<Route> {
    let unstable = "/_matrix/client/unstable/im.nheko.summary/summary/{room_id_or_alias}";
    vec![batched(get_summary).also(unstable)]
}

/// `GET /_matrix/client/v1/room_summary/{roomIdOrAlias}`
async fn get_summary(access: Access, request: v1::Request) -> Result<v1::Response, ApiError> {
    let is_stranger = !access.has_token();
    let reader = if is_stranger { String::new() } else { access.token()?.to_owned() };
    let select = vec![room_summaries::select(&request.room_id_or_alias, &reader)];
    let results = match is_stranger {
        true => access.context.batch(select).await?,
        false => access.authenticate_with(select).await?.1,
    };
    let row: Option<SummaryRow> = Results::new(results).first()?;
    let membership = row.as_ref().and_then(|row| row.membership.clone());
    let not_found = || ApiError::not_found("The room was not found, or has no preview");
    let mut response = v1::Response::new(row.and_then(summary).ok_or_else(not_found)?);
    if !is_stranger {
        response.membership = Some(membership.unwrap_or(MembershipState::Leave));
    }
    Ok(response)
}
