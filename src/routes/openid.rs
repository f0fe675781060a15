//! Proof for third parties of who somebody is. Client-Server API, "OpenID"; Server-Server API,
//! "OpenID", which anyone may call.

use std::time::Duration;

use http::Method;
use ruma::api::client::account::request_openid_token;
use ruma::authentication::TokenType;

use super::access::{Access, Caller};
use super::endpoint::{Answer, Incoming, Route, authenticated, json, raw};
use crate::error::{ApiError, ErrorCode};
use crate::storage::database::Results;
use crate::storage::open_id_tokens::{self, OpenIdTokenRow};

/// As Synapse has it.
const LIFETIME: Duration = Duration::from_secs(3600);
/// 142 bits.
const TOKEN_CHARACTERS: usize = 24;

pub fn routes() -> Vec<Route> {
    let user_info = &["/_matrix/federation/v1/openid/userinfo"];
    vec![authenticated(request_token), raw(Method::GET, user_info, get_user_info)]
}

/// `POST /_matrix/client/v3/user/{userId}/openid/request_token`
async fn request_token(
    caller: Caller,
    request: request_openid_token::v3::Request,
) -> Result<request_openid_token::v3::Response, ApiError> {
    caller.must_not_be_guest()?;
    caller.must_be(&request.user_id)?;
    let context = &caller.context;
    let token = context.random_string(TOKEN_CHARACTERS);
    let now_ms = context.now_ms();
    let valid_until_ms = now_ms + LIFETIME.as_secs() * 1000;
    let writes = open_id_tokens::insert(&token, &caller.user_id, now_ms, valid_until_ms);
    context.batch(writes.to_vec()).await?;
    Ok(request_openid_token::v3::Response::new(
        token,
        TokenType::Bearer,
        context.server_name().clone(),
        LIFETIME,
    ))
}

/// `GET /_matrix/federation/v1/openid/userinfo`: the token is one of ours for third parties.
async fn get_user_info(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let token = incoming.query("access_token").ok_or_else(|| {
        ApiError::new(ErrorCode::MissingToken, "There is no access_token in the query")
    })?;
    let context = &access.context;
    let results = context.batch(vec![open_id_tokens::select(&token, context.now_ms())]).await?;
    let row: Option<OpenIdTokenRow> = Results::new(results).first()?;
    let row = row.ok_or_else(|| {
        ApiError::new(ErrorCode::UnknownToken, "Access token is unknown or has expired")
    })?;
    json(&serde_json::json!({ "sub": row.user_id }))
}
