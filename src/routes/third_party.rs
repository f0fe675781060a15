//! Third-party networks, which application services bring. Client-Server API, "Third-party
//! Networks".

use std::collections::BTreeMap;

use ruma::api::client::thirdparty::{
    get_location_for_protocol, get_location_for_room_alias, get_protocol, get_protocols,
    get_user_for_protocol, get_user_for_user_id,
};

use super::endpoint::{Caller, Route, authenticated};
use crate::error::ApiError;

pub fn routes() -> Vec<Route> {
    vec![
        authenticated(list_protocols),
        authenticated(get_protocol),
        authenticated(find_places),
        authenticated(find_places_of_alias),
        authenticated(find_users),
        authenticated(find_users_of_id),
    ]
}

/// `GET /_matrix/client/v3/thirdparty/protocols`: none, as there are no application services.
async fn list_protocols(
    _caller: Caller,
    _request: get_protocols::v3::Request,
) -> Result<get_protocols::v3::Response, ApiError> {
    Ok(get_protocols::v3::Response::new(BTreeMap::new()))
}

fn unknown_protocol() -> ApiError {
    ApiError::not_found("No application service of this server knows this protocol")
}

/// `GET /_matrix/client/v3/thirdparty/protocol/{protocol}`
async fn get_protocol(
    _caller: Caller,
    _request: get_protocol::v3::Request,
) -> Result<get_protocol::v3::Response, ApiError> {
    Err(unknown_protocol())
}

/// `GET /_matrix/client/v3/thirdparty/location/{protocol}`
async fn find_places(
    _caller: Caller,
    _request: get_location_for_protocol::v3::Request,
) -> Result<get_location_for_protocol::v3::Response, ApiError> {
    Err(unknown_protocol())
}

/// `GET /_matrix/client/v3/thirdparty/location`
async fn find_places_of_alias(
    _caller: Caller,
    _request: get_location_for_room_alias::v3::Request,
) -> Result<get_location_for_room_alias::v3::Response, ApiError> {
    Ok(get_location_for_room_alias::v3::Response::new(Vec::new()))
}

/// `GET /_matrix/client/v3/thirdparty/user/{protocol}`
async fn find_users(
    _caller: Caller,
    _request: get_user_for_protocol::v3::Request,
) -> Result<get_user_for_protocol::v3::Response, ApiError> {
    Err(unknown_protocol())
}

/// `GET /_matrix/client/v3/thirdparty/user`
async fn find_users_of_id(
    _caller: Caller,
    _request: get_user_for_user_id::v3::Request,
) -> Result<get_user_for_user_id::v3::Response, ApiError> {
    Ok(get_user_for_user_id::v3::Response::new(Vec::new()))
}
