//! The rooms that one shares with somebody. Client-Server API, "Mutual rooms".

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use ruma::OwnedUserId;
use serde_json::{Value, json};

use super::access::Access;
use super::endpoint::{Answer, Incoming, Route, json as answer, query_pairs, raw};
use crate::error::ApiError;
use crate::storage::database::Results;
use crate::storage::local_memberships::{self, RoomIdRow};

/// Rooms of one answer.
const PAGE: usize = 100;

const PATHS: &[&str] = &[
    "/_matrix/client/v1/mutual_rooms",
    "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms",
];

pub fn routes() -> Vec<Route> {
    vec![raw(Method::GET, PATHS, get_mutual_rooms)]
}

/// `GET /_matrix/client/v1/mutual_rooms`
async fn get_mutual_rooms(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let token = access.token()?.to_owned();
    let user_id = user_id(&incoming)?;
    let from = from(&incoming)?;
    let select = local_memberships::select_mutual(&token, &user_id);
    let (caller, results) = access.authenticate_with(vec![select]).await?;
    if caller.user_id == user_id {
        return Err(ApiError::invalid_param("You share all of your rooms with yourself"));
    }
    let rooms: Vec<RoomIdRow> = Results::new(results).rows()?;
    let count = rooms.len();
    let mut rooms = rooms
        .into_iter()
        .map(|row| row.room_id)
        .filter(|room_id| from.as_deref().is_none_or(|from| room_id.as_str() > from));
    let page: Vec<_> = rooms.by_ref().take(PAGE).collect();
    let mut body = json!({ "joined": page, "count": count });
    if let (Some(last), true) = (page.last(), rooms.next().is_some()) {
        body["next_batch"] = Value::String(URL_SAFE_NO_PAD.encode(last.as_str()));
    }
    answer(&body)
}

fn user_id(incoming: &Incoming) -> Result<OwnedUserId, ApiError> {
    let mut given = query_pairs(incoming.http.uri()).filter(|(name, _)| name == "user_id");
    let (_, text) = given.next().ok_or_else(|| ApiError::missing_param("user_id is missing"))?;
    if given.next().is_some() {
        return Err(ApiError::invalid_param("user_id is given twice"));
    }
    text.parse().map_err(|_| ApiError::invalid_param("user_id is not the id of a user"))
}

fn from(incoming: &Incoming) -> Result<Option<String>, ApiError> {
    let Some(text) = incoming.query("from").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let bytes = URL_SAFE_NO_PAD.decode(&text).ok();
    let room_id = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    room_id.map(Some).ok_or_else(|| ApiError::invalid_param("from is none of our tokens"))
}
