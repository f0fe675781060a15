//! Logging in and out: Client-Server API, "Login", "Refreshing access tokens", "Logout".

use http::Method;
use myelin_protocol::token::is_refresh_token;
use myelin_protocol::user_interactive::{PASSWORD, SSO};
use ruma::api::client::session::{logout, logout_all, refresh_token};
use serde_json::{Map, Value, json};

use super::service_accounts::{self, APPLICATION_SERVICE};
use super::user_interactive::prove_identity;
use super::{Access, Answer, Incoming, Route, batched, endpoint, json, public, raw};
use crate::accounts::device_changes;
use crate::accounts::passwords::Purpose;
use crate::accounts::session::SessionRequest;
use crate::accounts::{limits, passwords, session, single_sign_on};
use crate::config::Config;
use crate::context::Context;
use crate::error::{ApiError, ErrorCode};
use crate::storage::access_tokens::{self, RefreshTokenRow};
use crate::storage::database::{DatabaseError, Statement};
use crate::storage::devices::{self, Selection};
use crate::storage::users::UserRow;

/// The type of a login with a token that is good once.
const TOKEN: &str = "m.login.token";

pub fn routes() -> Vec<Route> {
    vec![
        raw(
            Method::GET,
            &[
                "/_matrix/client/v3/login",
                "/_matrix/client/r0/login",
                "/_matrix/client/api/v1/login",
            ],
            list_flows,
        ),
        raw(
            Method::POST,
            &[
                "/_matrix/client/v3/login",
                "/_matrix/client/r0/login",
                "/_matrix/client/api/v1/login",
            ],
            log_in,
        ),
        raw(Method::POST, &["/_matrix/client/v1/login/get_token"], give_login_token),
        public(refresh),
        batched(log_out),
        batched(log_out_everywhere),
    ]
}

/// `GET /_matrix/client/v3/login`
async fn list_flows(access: Access, _incoming: Incoming) -> Result<Answer, ApiError> {
    let config = &access.context.config;
    let mut flows = Vec::new();
    if single_sign_on::is_enabled(config) {
        let provider = json!({ "id": single_sign_on::CAS, "name": "CAS" });
        // Clients from before there were others know it by its own name.
        flows.push(json!({ "type": "m.login.cas" }));
        flows.push(json!({ "type": SSO, "identity_providers": [provider] }));
    }
    if single_sign_on::gives_login_tokens(config) {
        flows.push(json!({ "type": TOKEN, "get_login_token": true }));
    } else if single_sign_on::is_enabled(config) {
        flows.push(json!({ "type": TOKEN }));
    }
    flows.push(json!({ "type": PASSWORD }));
    if !config.application_services.is_empty() {
        flows.push(json!({ "type": APPLICATION_SERVICE }));
    }
    json(&json!({ "flows": flows }))
}

/// `POST /_matrix/client/v3/login`
async fn log_in(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let context = &access.context;
    let body = endpoint::object(incoming.json()?)?;
    let request = SessionRequest::read(&body)?;
    let user = who_logs_in(&access, &body).await?;
    may_have_sessions(&user)?;
    let session = session::open(context, &user.name, &request)?;
    let committed = device_changes::commit(context, &user.name, session.statements).await;
    committed.map_err(session::commit_error)?;
    let mut answer = Map::new();
    answer.insert("user_id".to_owned(), json!(user.name));
    answer.insert("home_server".to_owned(), json!(context.server_name()));
    answer.insert("device_id".to_owned(), json!(session.device_id));
    session.tokens.write_to(&mut answer);
    let base_url = &context.config.public_baseurl;
    if !base_url.is_empty() {
        let well_known = json!({ "m.homeserver": { "base_url": base_url } });
        answer.insert("well_known".to_owned(), well_known);
    }
    json(&answer)
}

/// Who shows to be somebody, by a password or a login token.
async fn who_logs_in(access: &Access, body: &Map<String, Value>) -> Result<UserRow, ApiError> {
    let context = &access.context;
    let kind = match body.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(_) => return Err(ApiError::invalid_param("Bad parameter: type")),
        None => return Err(ApiError::missing_param("type is missing")),
    };
    match kind {
        PASSWORD => {
            limits::count(context, &access.address, limits::LOGIN).await?;
            passwords::prove(context, body, Purpose::Login).await
        }
        APPLICATION_SERVICE if !context.config.application_services.is_empty() => {
            service_accounts::log_in(access, body).await
        }
        TOKEN if takes_login_tokens(&context.config) => {
            let token = body.get("token").and_then(Value::as_str);
            let token = token.ok_or_else(|| ApiError::missing_param("token is missing"))?;
            limits::count(context, &access.address, limits::LOGIN).await?;
            single_sign_on::use_login_token(context, token).await
        }
        other => {
            let message = format!("Unknown login type {other}");
            Err(ApiError::new(ErrorCode::Unknown, message).with_status(400))
        }
    }
}

fn takes_login_tokens(config: &Config) -> bool {
    single_sign_on::is_enabled(config) || single_sign_on::gives_login_tokens(config)
}

/// `POST /_matrix/client/v1/login/get_token`
async fn give_login_token(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    if !single_sign_on::gives_login_tokens(&access.context.config) {
        return Err(ApiError::unrecognized());
    }
    let caller = access.authenticate().await?;
    caller.must_not_be_guest()?;
    let body = endpoint::object(incoming.json()?)?;
    let description = "log in on another device";
    prove_identity(&caller, &incoming, body, description).await?;
    let context = &caller.context;
    limits::count_of_account(context, &caller.user_id, limits::LOGIN_TOKEN).await?;
    let token = single_sign_on::make_login_token(context, &caller.user_id, None).await?;
    let lifetime_ms = single_sign_on::LOGIN_TOKEN_LIFETIME_MS;
    json(&json!({ "login_token": token, "expires_in_ms": lifetime_ms }))
}

fn may_have_sessions(user: &UserRow) -> Result<(), ApiError> {
    if user.deactivated {
        let message = "This account has been deactivated";
        return Err(ApiError::new(ErrorCode::UserDeactivated, message));
    }
    if user.locked {
        return Err(ApiError::user_locked());
    }
    Ok(())
}

/// `POST /_matrix/client/v3/refresh`
async fn refresh(
    context: Context,
    request: refresh_token::v3::Request,
) -> Result<refresh_token::v3::Response, ApiError> {
    let unknown = || ApiError::unknown_token(false);
    if !is_refresh_token(&request.refresh_token) {
        return Err(unknown());
    }
    let statement = access_tokens::select_refresh(&request.refresh_token);
    let row: Option<RefreshTokenRow> = context.batch(vec![statement]).await?[0].first()?;
    let row = row.ok_or_else(unknown)?;
    may_be_refreshed(&row, context.now_ms())?;
    let session_end_ms = row.ultimate_session_expiry_ts;
    let (tokens, mut statements) =
        session::make_tokens(&context, &row.user_id, &row.device_id, Some(session_end_ms))?;
    statements.extend(access_tokens::replace_refresh(&row));
    match context.batch(statements).await {
        Ok(_) => {}
        // Another request with the same token was faster.
        Err(DatabaseError::Fenced) => return Err(not_valid_anymore()),
        Err(error) => return Err(error.into()),
    }
    let mut response = refresh_token::v3::Response::new(tokens.access_token);
    response.refresh_token = tokens.refresh_token;
    response.expires_in_ms = tokens.expires_in_ms.map(std::time::Duration::from_millis);
    Ok(response)
}

fn not_valid_anymore() -> ApiError {
    ApiError::forbidden("refresh token isn't valid anymore")
}

fn may_be_refreshed(row: &RefreshTokenRow, now_ms: u64) -> Result<(), ApiError> {
    if row.next_token_is_used {
        return Err(not_valid_anymore());
    }
    if row.expiry_ts.is_some_and(|expiry_ms| expiry_ms < now_ms) {
        return Err(ApiError::forbidden("The supplied refresh token has expired"));
    }
    if row.ultimate_session_expiry_ts.is_some_and(|end_ms| end_ms < now_ms) {
        let message = "The session has expired and can no longer be refreshed";
        return Err(ApiError::forbidden(message));
    }
    if row.deactivated {
        let message = "This account has been deactivated";
        return Err(ApiError::new(ErrorCode::UserDeactivated, message));
    }
    if row.locked {
        return Err(ApiError::user_locked());
    }
    Ok(())
}

/// `POST /_matrix/client/v3/logout`
async fn log_out(
    access: Access,
    _request: logout::v3::Request,
) -> Result<logout::v3::Response, ApiError> {
    let caller = access.even_if_locked().authenticate().await?;
    let mut statements: Vec<Statement> = Vec::new();
    if let Some(device_id) = &caller.device_id {
        let selection = Selection::Only(std::slice::from_ref(device_id));
        statements.extend(devices::delete(&caller.user_id, selection, caller.context.now_ms()));
    }
    statements.extend(access_tokens::delete(caller.token_id));
    device_changes::commit(&caller.context, &caller.user_id, statements).await?;
    Ok(logout::v3::Response::new())
}

/// `POST /_matrix/client/v3/logout/all`
async fn log_out_everywhere(
    access: Access,
    _request: logout_all::v3::Request,
) -> Result<logout_all::v3::Response, ApiError> {
    let caller = access.even_if_locked().authenticate().await?;
    let now_ms = caller.context.now_ms();
    let mut statements = devices::delete(&caller.user_id, Selection::AllBut(None), now_ms);
    statements.extend(access_tokens::delete_all_but(&caller.user_id, None));
    device_changes::commit(&caller.context, &caller.user_id, statements).await?;
    Ok(logout_all::v3::Response::new())
}
