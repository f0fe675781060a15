//! Servers for calls. Client-Server API, "Voice over IP".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use ruma::UserId;
use serde_json::{Value, json};
use sha1::Sha1;

use super::access::Access;
use super::endpoint::{Answer, Incoming, Route, json as answer, raw};
use crate::config::Config;
use crate::error::ApiError;
use crate::outbound::turn::TurnKey;

const LIFETIME_DEFAULT_MS: u64 = 86_400_000;

pub fn routes() -> Vec<Route> {
    let paths = &[
        "/_matrix/client/v3/voip/turnServer",
        "/_matrix/client/r0/voip/turnServer",
        "/_matrix/client/api/v1/voip/turnServer",
    ];
    vec![raw(Method::GET, paths, get_turn_server)]
}

/// `GET /_matrix/client/v3/voip/turnServer`
async fn get_turn_server(access: Access, _incoming: Incoming) -> Result<Answer, ApiError> {
    let caller = access.authenticate().await?;
    let config = &caller.context.config;
    if config.variable("TURN_ALLOW_GUESTS") != Some("true") {
        caller.must_not_be_guest()?;
    }
    let uris = config.variable("TURN_URIS").unwrap_or_default();
    let lifetime_ms = config.variable("TURN_USER_LIFETIME_MS").map(str::parse);
    let lifetime_ms: u64 = lifetime_ms
        .transpose()
        .map_err(|error| ApiError::internal(format!("TURN_USER_LIFETIME_MS: {error}")))?
        .unwrap_or(LIFETIME_DEFAULT_MS);
    if let Some(key) = TurnKey::of(config) {
        let server = key.server(&caller.context, lifetime_ms / 1000).await?;
        return answer(&turn_server(server.username, server.password, lifetime_ms, &server.uris));
    }
    let credentials = credentials(config, &caller.user_id, caller.context.now_ms() + lifetime_ms)?;
    let Some((username, password)) = credentials.filter(|_| !uris.is_empty()) else {
        return answer(&json!({}));
    };
    let uris: Vec<String> = uris.split_ascii_whitespace().map(str::to_owned).collect();
    answer(&turn_server(username, password, lifetime_ms, &uris))
}

fn turn_server(username: String, password: String, lifetime_ms: u64, uris: &[String]) -> Value {
    let ttl_s = lifetime_ms / 1000;
    json!({ "username": username, "password": password, "ttl": ttl_s, "uris": uris })
}

/// Credentials that end by themselves, of the kind that coturn's `use-auth-secret` checks; else
/// those that are the same for everyone.
fn credentials(
    config: &Config,
    user_id: &UserId,
    expires_ms: u64,
) -> Result<Option<(String, String)>, ApiError> {
    if let Some(secret) = config.variable("TURN_SHARED_SECRET") {
        let username = format!("{}:{user_id}", expires_ms / 1000);
        let mut mac =
            Hmac::<Sha1>::new_from_slice(secret.as_bytes()).map_err(ApiError::internal)?;
        mac.update(username.as_bytes());
        let password = STANDARD.encode(mac.finalize().into_bytes());
        return Ok(Some((username, password)));
    }
    let fixed = config.variable("TURN_USERNAME").zip(config.variable("TURN_PASSWORD"));
    Ok(fixed.map(|(username, password)| (username.to_owned(), password.to_owned())))
}
