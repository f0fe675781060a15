//! What a user's clients keep for themselves. Client-Server API, "Client Config".

use ruma::api::client::config::{
    get_global_account_data as get_global, get_room_account_data as get_in_room,
    set_global_account_data as set_global, set_room_account_data as set_in_room,
};
use ruma::serde::Raw;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::access::{Access, Caller};
use super::endpoint::{Route, authenticated, batched};
use crate::durable::Announcement;
use crate::error::{ApiError, ErrorCode};
use crate::storage::account_data::{self, AccountDataRow, RoomAccountDataRow};
use crate::storage::database::Results;
use crate::storage::push_rules;

const IGNORED_USERS: &str = "m.ignored_user_list";
const PUSH_RULES: &str = "m.push_rules";
const FULLY_READ: &str = "m.fully_read";

pub fn routes() -> Vec<Route> {
    vec![
        batched(read_global),
        authenticated(write_global),
        batched(read_in_room),
        authenticated(write_in_room),
    ]
}

/// `GET /_matrix/client/v3/user/{userId}/account_data/{type}`
async fn read_global(
    access: Access,
    request: get_global::v3::Request,
) -> Result<get_global::v3::Response, ApiError> {
    let event_type = request.event_type.to_string();
    let mut reads = vec![account_data::select(&request.user_id, &event_type)];
    if event_type == PUSH_RULES {
        reads.extend(push_rules::select(request.user_id.as_str()));
    }
    let (caller, results) = access.authenticate_with(reads).await?;
    must_be_own(&caller, &request.user_id)?;
    let mut results = Results::new(results);
    let row: Option<AccountDataRow> = results.first()?;
    let content = if event_type == PUSH_RULES {
        push_rules::StoredRules::read(&mut results)?.content(&caller.user_id).to_string()
    } else {
        row.ok_or_else(not_found)?.content
    };
    Ok(get_global::v3::Response::new(raw(content)?))
}

/// `PUT /_matrix/client/v3/user/{userId}/account_data/{type}`
async fn write_global(
    caller: Caller,
    request: set_global::v3::Request,
) -> Result<set_global::v3::Response, ApiError> {
    must_be_own(&caller, &request.user_id)?;
    let event_type = request.event_type.to_string();
    must_be_settable(&event_type)?;
    let content = object(request.data.json())?;
    let mut writes = account_data::set(&caller.user_id, &event_type, &to_text(&content));
    if event_type == IGNORED_USERS {
        let ignored = ignored_users(&content);
        if ignored.contains(&caller.user_id.as_str()) {
            return Err(ApiError::invalid_param("You cannot ignore yourself"));
        }
        writes.extend(account_data::set_ignored_users(&caller.user_id, &ignored));
    }
    caller.context.batch(writes).await?;
    caller.context.announce(Announcement::Users(vec![caller.user_id]));
    Ok(set_global::v3::Response::new())
}

/// `GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}`
async fn read_in_room(
    access: Access,
    request: get_in_room::v3::Request,
) -> Result<get_in_room::v3::Response, ApiError> {
    let event_type = request.event_type.to_string();
    let read = account_data::select_in_room(&request.user_id, &request.room_id, &event_type);
    let (caller, results) = access.authenticate_with(vec![read]).await?;
    must_be_own(&caller, &request.user_id)?;
    let row: Option<RoomAccountDataRow> = Results::new(results).first()?;
    let content = match row {
        Some(row) => row.content,
        // There are no push rules for one room, so nobody has set them.
        None if event_type == PUSH_RULES => "{}".to_owned(),
        None => return Err(not_found()),
    };
    Ok(get_in_room::v3::Response::new(raw(content)?))
}

/// `PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}`
async fn write_in_room(
    caller: Caller,
    request: set_in_room::v3::Request,
) -> Result<set_in_room::v3::Response, ApiError> {
    must_be_own(&caller, &request.user_id)?;
    let event_type = request.event_type.to_string();
    must_be_settable(&event_type)?;
    let content = to_text(&object(request.data.json())?);
    let writes =
        account_data::set_in_room(&caller.user_id, &request.room_id, &event_type, &content);
    caller.context.batch(writes).await?;
    caller.context.announce(Announcement::Users(vec![caller.user_id]));
    Ok(set_in_room::v3::Response::new())
}

fn must_be_own(caller: &Caller, user_id: &ruma::UserId) -> Result<(), ApiError> {
    caller.must_not_be_guest()?;
    caller.must_be(user_id)
}

/// Two types are kept elsewhere, and have endpoints of their own.
fn must_be_settable(event_type: &str) -> Result<(), ApiError> {
    let endpoint = match event_type {
        FULLY_READ => "/rooms/{roomId}/read_markers",
        PUSH_RULES => "/pushrules",
        _ => return Ok(()),
    };
    let message = format!("{event_type} cannot be set here: use {endpoint}");
    Err(ApiError::new(ErrorCode::BadJson, message).with_status(405))
}

fn object(content: &RawValue) -> Result<Map<String, Value>, ApiError> {
    let value = serde_json::from_str(content.get());
    super::endpoint::object(value.map_err(|error| ApiError::bad_json(error.to_string()))?)
}

/// Whoever cannot be read from the list is not ignored, and what is no user's id is nobody.
fn ignored_users(content: &Map<String, Value>) -> Vec<&str> {
    let users = content.get("ignored_users").and_then(Value::as_object);
    let names = users.into_iter().flat_map(|users| users.keys().map(String::as_str));
    names.filter(|name| ruma::UserId::parse(name).is_ok()).collect()
}

fn to_text(content: &Map<String, Value>) -> String {
    serde_json::to_string(content).unwrap_or_default()
}

fn raw<T>(content: String) -> Result<Raw<T>, ApiError> {
    Ok(Raw::from_json(RawValue::from_string(content).map_err(ApiError::internal)?))
}

fn not_found() -> ApiError {
    ApiError::not_found("Account data not found")
}
