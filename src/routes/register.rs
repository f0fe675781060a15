//! Making accounts: Client-Server API, "Account registration and management".

use http::Method;
use myelin_protocol::user_interactive::{self as rules, RECAPTCHA, TERMS};
use ruma::OwnedUserId;
use ruma::api::client::account::get_username_availability::v3 as availability;
use serde_json::{Map, Value, json};

use super::service_accounts::{self, APPLICATION_SERVICE};
use super::{Access, Answer, Incoming, Route, endpoint, json, public, raw};
use crate::accounts::session::SessionRequest;
use crate::accounts::terms::Terms;
use crate::accounts::user_interactive::{
    Operation, PASSWORD_HASH, REGISTERED_USER_ID, Session, advance, invalid_token,
};
use crate::accounts::wanted_user::{WantedUser, not_that_guest};
use crate::accounts::{limits, new_user, passwords, session};
use crate::config::Registration;
use crate::context::Context;
use crate::error::{ApiError, ErrorCode};
use crate::outbound::recaptcha::Recaptcha;
use crate::storage::registration_tokens;
use crate::storage::users::NewUser;

pub fn routes() -> Vec<Route> {
    vec![
        raw(
            Method::POST,
            &["/_matrix/client/v3/register", "/_matrix/client/r0/register"],
            register,
        ),
        public(is_available),
        raw(
            Method::GET,
            &["/_matrix/client/v1/register/m.login.registration_token/validity"],
            is_token_valid,
        ),
    ]
}

/// `POST /_matrix/client/v3/register`
async fn register(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let body = endpoint::object(incoming.json()?)?;
    if body.get("type").and_then(Value::as_str) == Some(APPLICATION_SERVICE) {
        return service_accounts::register(&access, &body).await;
    }
    match incoming.query("kind").as_deref() {
        None | Some("user") => register_user(access, incoming, body).await,
        Some("guest") => register_guest(access, &body).await,
        Some(kind) => {
            let message = format!("Do not understand membership kind: {kind}");
            Err(ApiError::new(ErrorCode::Unrecognized, message).with_status(400))
        }
    }
}

async fn register_guest(access: Access, body: &Map<String, Value>) -> Result<Answer, ApiError> {
    let context = &access.context;
    if !context.config.allow_guests {
        let message = "Guest access is disabled";
        return Err(ApiError::new(ErrorCode::GuestAccessForbidden, message));
    }
    let session = SessionRequest::guest(body)?;
    limits::count(context, &access.address, limits::REGISTRATION).await?;
    let user_id = new_user::free_number(context).await?;
    let user = NewUser { is_guest: true, ..NewUser::named_after(user_id.clone()) };
    let answer = new_user::create(context, &user, Some(&session), Vec::new(), aborted).await?;
    json(&answer)
}

fn aborted() -> ApiError {
    ApiError::internal("the registration was aborted")
}

async fn register_user(
    access: Access,
    incoming: Incoming,
    mut body: Map<String, Value>,
) -> Result<Answer, ApiError> {
    let context = access.context.clone();
    if access.has_token() {
        let message = "An access token should not be provided on requests to /register";
        return Err(ApiError::new(ErrorCode::Unknown, message).with_status(400));
    }
    if context.config.registration == Registration::Closed {
        return Err(ApiError::forbidden("Registration has been disabled"));
    }
    // The password is never part of what a session stores.
    let password = body.remove("password");
    let password = passwords::read_new(password.as_ref())?;
    SessionRequest::read(&body)?;
    if password.is_none() {
        // Some clients send this alone with a later stage; it would replace what came first.
        body.remove("initial_device_display_name");
    }
    WantedUser::read(&context, &body)?;
    let operation = operation(&access, &incoming, &context);
    let mut session = advance(&context, &operation, body).await?;
    let registered = session.remembered(REGISTERED_USER_ID).map(OwnedUserId::try_from);
    let registered = registered.transpose().map_err(ApiError::internal)?;
    let wanted = WantedUser::read(&context, &session.client)?;
    match (&registered, &wanted) {
        (None, Some(wanted)) => wanted.must_be_possible(&context).await?,
        (Some(registered), Some(wanted)) if *registered != wanted.user_id => {
            let message = "A different user ID has already been registered for this session";
            return Err(ApiError::invalid_param(message));
        }
        _ => {}
    }
    if !session.is_complete(&operation) {
        let guard = guard(wanted.as_ref());
        session.remember_password(&context, &guard, password).await?;
        return Err(session.challenge(&context, &operation).await);
    }
    match registered {
        Some(user_id) => log_in_again(&context, &user_id, &session).await,
        None => finish(&context, &operation, session, password, wanted).await,
    }
}

fn operation(access: &Access, incoming: &Incoming, context: &Context) -> Operation {
    let needs_token = context.config.registration == Registration::Token;
    let terms = Terms::of(&context.config);
    let params = terms.iter().map(|terms| (TERMS.to_owned(), terms.params()));
    let mut params: Map<String, Value> = params.collect();
    let recaptcha = Recaptcha::of(&context.config).filter(|_| context.config.registration_captcha);
    if let Some(recaptcha) = recaptcha {
        params.insert(RECAPTCHA.to_owned(), json!({ "public_key": recaptcha.public_key }));
    }
    Operation {
        flows: rules::registration_flows(needs_token, recaptcha.is_some(), terms.is_some()),
        params,
        method: incoming.http.method().to_string(),
        uri: incoming.http.uri().to_string(),
        description: "register a new account",
        user_id: None,
        address: access.address.clone(),
        user_agent: access.user_agent.clone(),
    }
}

fn guard(wanted: Option<&WantedUser>) -> String {
    wanted.map_or("unnamed".to_owned(), |wanted| passwords::guard_of(&wanted.user_id))
}

/// Makes the user: the session has passed all stages.
async fn finish(
    context: &Context,
    operation: &Operation,
    mut session: Session,
    password: Option<&str>,
    wanted: Option<WantedUser>,
) -> Result<Answer, ApiError> {
    limits::count(context, &operation.address, limits::REGISTRATION).await?;
    let remembered = session.remembered(PASSWORD_HASH).map(str::to_owned);
    let password_hash = match (password, remembered) {
        (Some(password), _) => passwords::hash(context, &guard(wanted.as_ref()), password).await?,
        (None, Some(hash)) => hash,
        (None, None) => return Err(ApiError::missing_param("Missing params: password")),
    };
    let is_upgrade = wanted.as_ref().is_some_and(WantedUser::is_upgrade);
    let user_id = match wanted {
        Some(wanted) => wanted.user_id,
        None => new_user::free_number(context).await?,
    };
    let terms = Terms::of(&context.config);
    let accepted = terms.filter(|_| session.completed.contains_key(TERMS));
    let user = NewUser {
        password_hash: Some(password_hash),
        consent_version: accepted.map(|terms| terms.version.to_owned()),
        is_upgrade,
        ..NewUser::named_after(user_id.clone())
    };
    let also = session.finish_registration(&user_id, context.now_ms());
    let request = SessionRequest::read(&session.client)?;
    let request = (!inhibits_login(&session.client)).then_some(&request);
    let fenced = if is_upgrade { not_that_guest } else { invalid_token };
    json(&new_user::create(context, &user, request, also, fenced).await?)
}

fn inhibits_login(client: &Map<String, Value>) -> bool {
    client.get("inhibit_login").and_then(Value::as_bool).unwrap_or(false)
}

/// The same answer once more, on a session that has made its user already.
async fn log_in_again(
    context: &Context,
    user_id: &OwnedUserId,
    session: &Session,
) -> Result<Answer, ApiError> {
    let mut answer = Map::new();
    answer.insert("user_id".to_owned(), json!(user_id));
    answer.insert("home_server".to_owned(), json!(context.server_name()));
    if !inhibits_login(&session.client) {
        let request = SessionRequest::read(&session.client)?;
        let opened = session::open(context, user_id, &request)?;
        context.batch(opened.statements).await.map_err(session::commit_error)?;
        answer.insert("device_id".to_owned(), json!(opened.device_id));
        opened.tokens.write_to(&mut answer);
    }
    json(&answer)
}

/// `GET /_matrix/client/v3/register/available`
async fn is_available(
    context: Context,
    request: availability::Request,
) -> Result<availability::Response, ApiError> {
    if context.config.registration == Registration::Closed {
        return Err(ApiError::forbidden("Registration has been disabled"));
    }
    let user_id = new_user::user_id(&context, &request.username)?;
    new_user::must_be_free(&context, &user_id).await?;
    Ok(availability::Response::new(true))
}

/// `GET /_matrix/client/v1/register/m.login.registration_token/validity`
async fn is_token_valid(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let context = &access.context;
    limits::count(context, &access.address, limits::TOKEN_VALIDITY).await?;
    if context.config.registration == Registration::Closed {
        return Err(ApiError::forbidden("Registration has been disabled"));
    }
    let token = incoming.query("token");
    let token =
        token.ok_or_else(|| ApiError::missing_param("Missing required parameter: token"))?;
    let statement = registration_tokens::select_usable(&token, context.now_ms());
    let usable: Option<Value> = context.batch(vec![statement]).await?[0].first()?;
    json(&json!({ "valid": usable.is_some() }))
}
