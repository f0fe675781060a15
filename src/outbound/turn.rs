//! Asking Cloudflare's TURN service for credentials that end by themselves.

use serde_json::{Value, json};

use super::SMALL_ANSWER;
use crate::config::Config;
use crate::context::Context;
use crate::error::{ApiError, ErrorCode};

const API: &str = "https://rtc.live.cloudflare.com/v1/turn/keys";

/// A key of the service, as the operator has configured it.
#[derive(Clone, Copy, Debug)]
pub struct TurnKey<'a> {
    id: &'a str,
    api_token: &'a str,
}

/// What a client needs for a call.
#[derive(Debug)]
pub struct TurnServer {
    pub uris: Vec<String>,
    pub username: String,
    pub password: String,
}

impl<'a> TurnKey<'a> {
    /// `None` if there is none.
    pub fn of(config: &'a Config) -> Option<Self> {
        Some(Self {
            id: config.variable("TURN_KEY_ID")?,
            api_token: config.variable("TURN_KEY_API_TOKEN")?,
        })
    }

    /// Credentials for so long.
    ///
    /// # Errors
    /// 502 if the service gives none.
    pub async fn server(&self, context: &Context, ttl_s: u64) -> Result<TurnServer, ApiError> {
        let url = format!("{API}/{}/credentials/generate-ice-servers", self.id);
        let request = http::Request::post(url)
            .header("authorization", format!("Bearer {}", self.api_token))
            .header("content-type", "application/json")
            .body(json!({ "ttl": ttl_s }).to_string().into_bytes())
            .map_err(ApiError::internal)?;
        let answer = context.fetch(request, SMALL_ANSWER).await;
        let answer = answer.map_err(|error| no_credentials(&error.to_string()))?;
        if !answer.status().is_success() {
            return Err(no_credentials(&format!("it answers {}", answer.status())));
        }
        let answer: Value = serde_json::from_slice(answer.body())
            .map_err(|error| no_credentials(&error.to_string()))?;
        read(&answer).ok_or_else(|| no_credentials("its answer has none"))
    }
}

/// The server that wants credentials: of a list, or the only one. Browsers refuse port 53, and wait
/// for it in vain.
fn read(answer: &Value) -> Option<TurnServer> {
    let servers = &answer["iceServers"];
    let servers = servers.as_array().map_or(std::slice::from_ref(servers), Vec::as_slice);
    let server = servers.iter().find(|server| server["credential"].is_string())?;
    let text = |name: &str| server[name].as_str().map(str::to_owned);
    let uris = server["urls"].as_array()?.iter().filter_map(Value::as_str);
    let is_open = |uri: &&str| !uri.split('?').next().is_some_and(|uri| uri.ends_with(":53"));
    Some(TurnServer {
        uris: uris.filter(is_open).map(str::to_owned).collect(),
        username: text("username")?,
        password: text("credential")?,
    })
}

fn no_credentials(reason: &str) -> ApiError {
    crate::log::warn(&format!("the TURN service gave no credentials: {reason}"));
    ApiError::new(ErrorCode::Unknown, "The service for calls gives no credentials at the moment")
        .with_status(502)
}
