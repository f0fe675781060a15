//! Proof for third parties of who somebody is. Client-Server API, "OpenID".

use std::time::Duration;

use ruma::api::client::account::request_openid_token;
use ruma::authentication::TokenType;

use super::endpoint::{Caller, Route, authenticated};
use crate::error::ApiError;
use crate::storage::open_id_tokens;

/// As Synapse has it.
const LIFETIME: Duration = Duration::from_secs(3600);
/// 142 bits.
const TOKEN_CHARACTERS: usize = 24;

pub fn routes() -> Vec<Route> {
    vec![authenticated(request_token)]
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
