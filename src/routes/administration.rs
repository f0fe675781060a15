//! Accounts that an operator makes: Synapse's registration by a shared secret, and the page of
//! the first account.

use http::Method;
use ruma::OwnedUserId;
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq as _;

use super::{Access, Answer, Incoming, Route, endpoint, json, raw};
use crate::accounts::session::SessionRequest;
use crate::accounts::shared_secret::{self, NONCE_LIFETIME_MS, Registration};
use crate::accounts::{new_user, passwords};
use crate::context::Context;
use crate::durable::GuardCommand;
use crate::error::{ApiError, ErrorCode};
use crate::storage::users::{self, NewUser};

/// Synapse's types of users.
const USER_TYPES: &[&str] = &["bot", "support"];

pub fn routes() -> Vec<Route> {
    vec![
        raw(Method::GET, &["/_synapse/admin/v1/register"], give_nonce),
        raw(Method::POST, &["/_synapse/admin/v1/register"], register_by_secret),
        raw(Method::GET, &["/_myelin/setup"], is_setup_needed),
        raw(Method::POST, &["/_myelin/setup"], set_up),
    ]
}

fn shared_secret(context: &Context) -> Result<&str, ApiError> {
    let secret = context.config.registration_shared_secret.as_deref();
    secret.ok_or_else(|| bad("Shared secret registration is not enabled"))
}

fn bad(message: &str) -> ApiError {
    ApiError::new(ErrorCode::Unknown, message).with_status(400)
}

/// `GET /_synapse/admin/v1/register`
async fn give_nonce(access: Access, _incoming: Incoming) -> Result<Answer, ApiError> {
    let context = &access.context;
    shared_secret(context)?;
    let keys = context.keys().await?;
    let nonce = shared_secret::nonce(&keys.secret, context.now_ms(), context.random());
    let nonce = nonce.map_err(ApiError::internal)?;
    json(&json!({ "nonce": nonce }))
}

/// `POST /_synapse/admin/v1/register`
async fn register_by_secret(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let context = &access.context;
    let secret = shared_secret(context)?;
    let body = endpoint::object(incoming.json()?)?;
    let nonce = text(&body, "nonce")?;
    spend(context, nonce).await?;
    let username = text(&body, "username")?;
    let password = text(&body, "password")?;
    passwords::read_new(body.get("password"))?;
    if username.contains('\0') || password.contains('\0') {
        return Err(bad("Invalid username or password"));
    }
    let user_type = body.get("user_type").filter(|value| !value.is_null());
    let user_type = user_type.map(|value| value.as_str().unwrap_or_default());
    if user_type.is_some_and(|user_type| !USER_TYPES.contains(&user_type)) {
        return Err(bad("Invalid user type"));
    }
    let admin = body.get("admin").and_then(Value::as_bool).unwrap_or(false);
    let registration = Registration { nonce, username, password, admin, user_type };
    if !registration.is_signed_by(secret, text(&body, "mac")?) {
        return Err(ApiError::forbidden("HMAC incorrect"));
    }
    let user_id = new_user::user_id(context, username)?;
    let mut user = operators_user(context, user_id, password).await?;
    user.admin = admin;
    user.user_type = user_type.map(str::to_owned);
    if let Some(name) = body.get("displayname").and_then(Value::as_str) {
        user.display_name = Some(name.to_owned());
    }
    let session = SessionRequest::read(&body)?;
    let inhibits = body.get("inhibit_login").and_then(Value::as_bool).unwrap_or(false);
    let session = (!inhibits).then_some(&session);
    let fenced = || ApiError::internal("the registration was aborted");
    json(&new_user::create(context, &user, session, Vec::new(), fenced).await?)
}

fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Result<&'a str, ApiError> {
    let value = body.get(name);
    let value = value.ok_or_else(|| ApiError::bad_json(format!("{name} must be specified")))?;
    value.as_str().ok_or_else(|| ApiError::bad_json(format!("{name} must be a string")))
}

/// Accepts a nonce of ours, once.
async fn spend(context: &Context, nonce: &str) -> Result<(), ApiError> {
    let unrecognised = || bad("unrecognised nonce");
    let keys = context.keys().await?;
    if !shared_secret::is_nonce(&keys.secret, nonce, context.now_ms()) {
        return Err(unrecognised());
    }
    // The bucket is full again when the nonce is too old.
    let per_second = 1000.0 / NONCE_LIFETIME_MS as f64;
    let once = GuardCommand::Count { action: nonce.to_owned(), per_second, burst: 1.0 };
    context.guard("registration nonces", once).await.map(drop).map_err(|error| match error.code() {
        ErrorCode::LimitExceeded => unrecognised(),
        _ => error,
    })
}

async fn operators_user(
    context: &Context,
    user_id: OwnedUserId,
    password: &str,
) -> Result<NewUser, ApiError> {
    new_user::must_be_free(context, &user_id).await?;
    let hash = passwords::hash(context, &passwords::guard_of(&user_id), password).await?;
    Ok(NewUser { password_hash: Some(hash), ..NewUser::named_after(user_id) })
}

/// `GET /_myelin/setup`
async fn is_setup_needed(access: Access, _incoming: Incoming) -> Result<Answer, ApiError> {
    let context = &access.context;
    let needed = context.config.setup_token.is_some() && !has_administrator(context).await?;
    json(&json!({ "needed": needed }))
}

/// Asks the database until there is one: that never changes back.
async fn has_administrator(context: &Context) -> Result<bool, ApiError> {
    let name = "has_administrator";
    if context.isolate.memo.borrow().contains_key(name) {
        return Ok(true);
    }
    let rows: Vec<Value> =
        context.batch(vec![users::select_an_administrator()]).await?[0].rows()?;
    if !rows.is_empty() {
        context.isolate.memo.borrow_mut().insert(name, std::rc::Rc::new(()));
    }
    Ok(!rows.is_empty())
}

/// `POST /_myelin/setup`: makes the administrator's account with the one-time token.
async fn set_up(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let context = &access.context;
    let body = endpoint::object(incoming.json()?)?;
    let (given, username) = (text(&body, "token")?, text(&body, "username")?);
    let password = text(&body, "password")?;
    passwords::read_new(body.get("password"))?;
    if password.is_empty() {
        return Err(ApiError::new(ErrorCode::WeakPassword, "The password is empty"));
    }
    let token = context.config.setup_token.as_deref();
    let token = token.ok_or_else(|| ApiError::forbidden("There is nothing to set up"))?;
    if !bool::from(token.as_bytes().ct_eq(given.as_bytes())) {
        return Err(ApiError::forbidden("The link is not valid"));
    }
    let done = || ApiError::forbidden("This homeserver has its first account already");
    if has_administrator(context).await? {
        return Err(done());
    }
    let user_id = new_user::user_id(context, username)?;
    let mut user = operators_user(context, user_id, password).await?;
    user.admin = true;
    let fence = vec![users::fence_no_administrator()];
    json(&new_user::create(context, &user, None, fence, done).await?)
}
