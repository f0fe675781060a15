//! Where notifications are pushed to. Client-Server API, "Push Notifications".

use http::Method;
use myelin_protocol::push_gateway::{Gateway, GatewayError};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::access::Access;
use super::endpoint::{Answer, Incoming, Route, json as answer, raw};
use crate::error::{ApiError, ErrorCode};
use crate::storage::database::Results;
use crate::storage::pushers::{self, PusherRow};

/// Of one user: each gets every notification.
const PUSHERS_MAX: usize = 100;

/// Lengths in bytes, as the specification has them.
const APP_ID_BYTES_MAX: usize = 64;
const PUSHKEY_BYTES_MAX: usize = 512;

pub fn routes() -> Vec<Route> {
    let pushers = &["/_matrix/client/v3/pushers", "/_matrix/client/r0/pushers"];
    let set_pushers = &["/_matrix/client/v3/pushers/set", "/_matrix/client/r0/pushers/set"];
    vec![raw(Method::GET, pushers, list), raw(Method::POST, set_pushers, set)]
}

/// `GET /_matrix/client/v3/pushers`
async fn list(access: Access, _incoming: Incoming) -> Result<Answer, ApiError> {
    let read = pushers::select(access.token()?);
    let (caller, results) = access.authenticate_with(vec![read]).await?;
    caller.must_not_be_guest()?;
    let rows: Vec<PusherRow> = Results::new(results).rows()?;
    let pushers: Result<Vec<Value>, _> = rows.iter().map(PusherRow::to_json).collect();
    answer(&json!({ "pushers": pushers.map_err(ApiError::internal)? }))
}

/// Which pusher is meant, and what kind it is to be.
#[derive(Deserialize)]
struct Wanted {
    app_id: String,
    pushkey: String,
    kind: Option<String>,
}

/// The rest, for a pusher that is to be there.
#[derive(Deserialize)]
struct Described {
    app_display_name: String,
    device_display_name: String,
    lang: String,
    data: Map<String, Value>,
    #[serde(default)]
    profile_tag: Option<String>,
    #[serde(default)]
    append: bool,
}

/// `POST /_matrix/client/v3/pushers/set`
async fn set(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let read = pushers::select(access.token()?);
    let (caller, results) = access.authenticate_with(vec![read]).await?;
    caller.must_not_be_guest()?;
    let body: Map<String, Value> = incoming.json()?;
    if !body.contains_key("kind") {
        return Err(ApiError::missing_param("kind is missing; null deletes a pusher"));
    }
    let Wanted { app_id, pushkey, kind } = incoming.json()?;
    let Some(kind) = kind else {
        let writes = pushers::delete(&caller.user_id, &app_id, &pushkey);
        caller.context.batch(writes.to_vec()).await?;
        return answer(&json!({}));
    };
    check(&kind, &app_id, &pushkey)?;
    let described: Described = incoming.json()?;
    Gateway::read(&described.data).map_err(refuse)?;
    let existing: Vec<PusherRow> = Results::new(results).rows()?;
    let is_new = !existing.iter().any(|row| row.app_id == app_id && row.pushkey == pushkey);
    if is_new && existing.len() >= PUSHERS_MAX {
        let message = format!("There are at most {PUSHERS_MAX} pushers of a user");
        return Err(ApiError::invalid_param(message));
    }
    let pusher = PusherRow {
        kind,
        app_id,
        app_display_name: described.app_display_name,
        device_display_name: described.device_display_name,
        profile_tag: described.profile_tag.unwrap_or_default(),
        pushkey,
        lang: Some(described.lang),
        data: Some(Value::Object(described.data).to_string()),
    };
    let mut writes = Vec::new();
    if !described.append {
        writes.extend(pushers::delete_of_others(&caller.user_id, &pusher.app_id, &pusher.pushkey));
    }
    let device_id = caller.device_id.as_ref().map(|device_id| device_id.as_str());
    let now_ms = caller.context.now_ms();
    writes.extend(pushers::set(&caller.user_id, device_id, &pusher, now_ms));
    caller.context.batch(writes).await?;
    answer(&json!({}))
}

fn check(kind: &str, app_id: &str, pushkey: &str) -> Result<(), ApiError> {
    match kind {
        "http" => {}
        "email" => {
            let message = "This server sends no e-mail: only pushers of kind http are there";
            return Err(ApiError::new(ErrorCode::ThreepidNotFound, message));
        }
        _ => return Err(ApiError::invalid_param("The kind of a pusher is http, or null")),
    }
    if app_id.len() > APP_ID_BYTES_MAX {
        let message = format!("app_id cannot be longer than {APP_ID_BYTES_MAX} bytes");
        return Err(ApiError::invalid_param(message));
    }
    if pushkey.len() > PUSHKEY_BYTES_MAX {
        let message = format!("pushkey cannot be longer than {PUSHKEY_BYTES_MAX} bytes");
        return Err(ApiError::invalid_param(message));
    }
    Ok(())
}

fn refuse(error: GatewayError) -> ApiError {
    match error {
        GatewayError::NoUrl => ApiError::missing_param(error.to_string()),
        GatewayError::BadUrl => ApiError::invalid_param(error.to_string()),
    }
}
