//! The account that one is logged in to: Client-Server API, "Account management".

use http::Method;
use ruma::api::client::account::whoami;
use serde_json::json;

use super::user_interactive::{prove_identity, prove_identity_keeping};
use super::{Access, Answer, Caller, Incoming, Route, authenticated, endpoint, json, raw};
use crate::accounts::user_interactive::PASSWORD_HASH;
use crate::accounts::{deactivation, device_changes, passwords};
use crate::error::ApiError;
use crate::storage::access_tokens;
use crate::storage::devices::{self, Selection};
use crate::storage::users;

pub fn routes() -> Vec<Route> {
    vec![
        authenticated(who_am_i),
        raw(
            Method::POST,
            &["/_matrix/client/v3/account/password", "/_matrix/client/r0/account/password"],
            change_password,
        ),
        raw(
            Method::POST,
            &["/_matrix/client/v3/account/deactivate", "/_matrix/client/r0/account/deactivate"],
            deactivate,
        ),
    ]
}

/// `GET /_matrix/client/v3/account/whoami`
async fn who_am_i(
    caller: Caller,
    _request: whoami::v3::Request,
) -> Result<whoami::v3::Response, ApiError> {
    let mut response = whoami::v3::Response::new(caller.user_id, caller.is_guest);
    response.device_id = caller.device_id;
    Ok(response)
}

/// `POST /_matrix/client/v3/account/password`
async fn change_password(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let caller = access.authenticate().await?;
    caller.must_not_be_guest()?;
    let mut body = endpoint::object(incoming.json()?)?;
    let context = &caller.context;
    // A session stores the request, but never a password: its hash is kept with the proof.
    let new_password = body.remove("new_password");
    let new_password = passwords::read_new(new_password.as_ref())?;
    if body.get("logout_devices").is_some_and(|value| !value.is_boolean()) {
        return Err(ApiError::invalid_param("logout_devices must be true or false"));
    }
    let guard = passwords::guard_of(&caller.user_id);
    let description = "modify your account password";
    let session = prove_identity_keeping(&caller, &incoming, body, description, new_password);
    let session = session.await?;
    let hash = match (new_password, session.remembered(PASSWORD_HASH)) {
        (Some(new_password), _) => passwords::hash(context, &guard, new_password).await?,
        (None, Some(hash)) => hash.to_owned(),
        (None, None) => return Err(ApiError::missing_param("Missing params: new_password")),
    };
    let mut statements = vec![users::set_password_hash(&caller.user_id, &hash)];
    if session.client.get("logout_devices").and_then(|value| value.as_bool()).unwrap_or(true) {
        let kept = Selection::AllBut(caller.device_id.as_ref().map(|id| id.as_str()));
        statements.extend(devices::delete(&caller.user_id, kept, context.now_ms()));
        statements.extend(access_tokens::delete_all_but(&caller.user_id, Some(caller.token_id)));
    }
    device_changes::commit(context, &caller.user_id, statements).await?;
    json(&json!({}))
}

/// `POST /_matrix/client/v3/account/deactivate`
async fn deactivate(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let caller = access.authenticate().await?;
    caller.must_not_be_guest()?;
    let body = endpoint::object(incoming.json()?)?;
    if body.get("erase").is_some_and(|erase| !erase.is_boolean()) {
        return Err(ApiError::invalid_param("erase must be true or false"));
    }
    let client = prove_identity(&caller, &incoming, body, "deactivate your account").await?;
    let erase = client.get("erase").and_then(|value| value.as_bool()).unwrap_or(false);
    deactivation::deactivate(&caller.context, &caller.user_id, erase).await?;
    // No third-party identifier is ever bound at an identity server from here.
    json(&json!({ "id_server_unbind_result": "success" }))
}
