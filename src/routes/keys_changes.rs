//! Whose devices have changed between two syncs: Client-Server API, "Tracking the device list for
//! a user".

use std::collections::HashSet;

use myelin_protocol::sync::device_lists::meeting_places;
use myelin_protocol::sync::{DeviceLists, Windows};
use myelin_protocol::sync_token::StreamToken;
use ruma::api::client::keys::get_key_changes;

use super::access::Access;
use super::endpoint::{Route, batched};
use crate::error::ApiError;
use crate::storage::database::Results;
use crate::storage::device_lists::{self, ChangedRow};
use crate::storage::stream_positions::NOW;
use crate::storage::sync;

pub fn routes() -> Vec<Route> {
    vec![batched(get_changes)]
}

/// `GET /_matrix/client/v3/keys/changes`
///
/// What came after `to` may be told too: the client asks for those keys once more.
async fn get_changes(
    access: Access,
    request: get_key_changes::v3::Request,
) -> Result<get_key_changes::v3::Response, ApiError> {
    let parse = |token: &str| {
        token.parse::<StreamToken>().map_err(|error| ApiError::invalid_param(error.to_string()))
    };
    let (from, _) = (parse(&request.from)?, parse(&request.to)?);
    let caller = access.authenticate().await?;
    let (context, user_id) = (&caller.context, &caller.user_id);
    let stream = from.room_key.stream();
    let batch = vec![
        device_lists::changed_since(user_id, from.device_list_key.stream, NOW),
        sync::moved_rooms(user_id, stream),
        sync::membership_changes(user_id, stream),
    ];
    let mut results = Results::new(context.batch(batch).await?);
    let changed: Vec<ChangedRow> = results.rows()?;
    let mut lists = DeviceLists::changed(changed.into_iter().map(|row| row.user_id).collect());
    let ignored = HashSet::new();
    let windows = Windows { user_id, since: Some(stream), upto: NOW, ignored: &ignored };
    let rooms = windows.of_changes(results.rows()?, results.rows()?);
    let places = meeting_places(rooms.values(), stream);
    if !places.is_empty() {
        let statement = device_lists::meetings(user_id, &places);
        lists.meet(context.batch(vec![statement]).await?[0].rows()?);
    }
    let (changed, left) = (lists.changed.into_iter().collect(), lists.left.into_iter().collect());
    Ok(get_key_changes::v3::Response::new(changed, left))
}
