//! Asking Cloudflare's TURN service for credentials that end by themselves.

use serde::Deserialize;
use serde_json::json;

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

#[derive(Deserialize)]
struct IceServers {
    #[serde(rename = "iceServers")]
    ice_servers: OneOrMany<IceServer>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::Many(list) => list,
            Self::One(one) => vec![one],
        }
    }
}

#[derive(Deserialize)]
struct IceServer {
    urls: OneOrMany<String>,
    username: Option<String>,
    credential: Option<String>,
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
        let servers: IceServers = serde_json::from_slice(answer.body())
            .map_err(|error| no_credentials(&error.to_string()))?;
        read(servers).ok_or_else(|| no_credentials("its answer has none"))
    }
}

/// The server that wants credentials. Browsers refuse port 53, and wait for it in vain.
fn read(servers: IceServers) -> Option<TurnServer> {
    servers.ice_servers.into_vec().into_iter().find_map(|server| {
        let uses_port_53 = |uri: &str| uri.split('?').next().is_some_and(|u| u.ends_with(":53"));
        let uris = server.urls.into_vec().into_iter().filter(|uri| !uses_port_53(uri)).collect();
        Some(TurnServer { uris, username: server.username?, password: server.credential? })
    })
}

fn no_credentials(reason: &str) -> ApiError {
    crate::log::warn(&format!("the TURN service gave no credentials: {reason}"));
    ApiError::new(ErrorCode::Unknown, "The service for calls gives no credentials at the moment")
        .with_status(502)
}
