//! User-interactive authentication: sessions in the database, stages checked one request at a
//! time. Which flow is complete is decided by `protocol`.
//!
//! Invariant: a session belongs to one method and path, and to one user if it has any.

use myelin_protocol::user_interactive::{self as rules, Completed, Flows};
use ruma::OwnedUserId;
use serde_json::{Map, Value, json};

use super::passwords::{self, Purpose};
use crate::context::Context;
use crate::error::{ApiError, ErrorCode};
use crate::outbound::recaptcha::Recaptcha;
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::registration_tokens;
use crate::storage::ui_auth_sessions::{self, SessionRow, StageRow};

/// A session that is older is over.
pub const SESSION_LIFETIME_MS: u64 = 48 * 60 * 60 * 1000;

/// Under which name a session remembers the user who was registered with it.
pub const REGISTERED_USER_ID: &str = "registered_user_id";
/// Under which name a session remembers the hash of the password that was chosen.
pub const PASSWORD_HASH: &str = "password_hash";
/// Under which name a session remembers whose session it is.
const REQUEST_USER_ID: &str = "request_user_id";

/// What is to be allowed.
pub struct Operation {
    pub flows: Flows,
    /// Of the stages, for the challenge.
    pub params: Map<String, Value>,
    pub method: String,
    pub uri: String,
    pub description: &'static str,
    /// Who asks; `None` for a registration.
    pub user_id: Option<OwnedUserId>,
    pub address: String,
    pub user_agent: String,
}

/// A session as one request sees it.
pub struct Session {
    id: String,
    created_ms: u64,
    uri: String,
    method: String,
    description: String,
    /// Whether the database has it.
    is_stored: bool,
    pub server: Map<String, Value>,
    /// The request without its `auth`.
    pub client: Map<String, Value>,
    pub completed: Completed,
    /// The registration token that was shown in this request.
    new_token: Option<String>,
    failure: Option<ApiError>,
}

/// Reads the request's `auth`, checks the stage in it, and hands over the session; see
/// [`Session::is_complete`]. A session that a request without one needs is not stored yet.
///
/// # Errors
/// An unknown session, or one of another operation; a stage that is malformed or not offered.
pub async fn advance(
    context: &Context,
    operation: &Operation,
    mut body: Map<String, Value>,
) -> Result<Session, ApiError> {
    let auth = match body.remove("auth") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(auth)) => auth,
        Some(_) => return Err(ApiError::bad_json("auth must be an object")),
    };
    let mut session = match auth.get("session") {
        None | Some(Value::Null) => Session::new(context, operation),
        Some(Value::String(id)) if id.is_empty() => Session::new(context, operation),
        Some(Value::String(id)) => load(context, operation, id).await?,
        Some(_) => return Err(ApiError::bad_json("session must be a string")),
    };
    // A client may leave out on later requests what it has sent before.
    if !body.is_empty() || !session.is_stored {
        session.client = body;
    }
    match auth.get("type") {
        None | Some(Value::Null) => {}
        Some(Value::String(stage)) => session.check(context, operation, stage, &auth).await?,
        Some(_) => return Err(ApiError::bad_json("type must be a string")),
    }
    session.must_be_of(operation)?;
    Ok(session)
}

/// Loads a session of this operation.
async fn load(context: &Context, operation: &Operation, id: &str) -> Result<Session, ApiError> {
    let session = load_any(context, id).await?;
    let user_id = operation.user_id.as_ref().map(|user_id| json!(user_id));
    let same_user = session.server.get(REQUEST_USER_ID) == user_id.as_ref();
    if session.uri != operation.uri || session.method != operation.method || !same_user {
        let message = "Requested operation has changed during the UI authentication session.";
        return Err(ApiError::forbidden(message));
    }
    Ok(session)
}

fn unknown_session(id: &str) -> ApiError {
    ApiError::new(ErrorCode::Unknown, format!("Unknown session ID: {id}")).with_status(400)
}

/// Loads a session, whatever it is for.
async fn load_any(context: &Context, id: &str) -> Result<Session, ApiError> {
    let mut results = Results::new(context.batch(ui_auth_sessions::select(id).to_vec()).await?);
    let row: Option<SessionRow> = results.first()?;
    let stages: Vec<StageRow> = results.rows()?;
    let oldest_ms = context.now_ms().saturating_sub(SESSION_LIFETIME_MS);
    let row = row.filter(|row| row.creation_time >= oldest_ms);
    let row = row.ok_or_else(|| unknown_session(id))?;
    let object = |json: &str| serde_json::from_str(json).map_err(ApiError::internal);
    let mut completed = Completed::new();
    for stage in stages {
        let result = serde_json::from_str(&stage.result).map_err(ApiError::internal)?;
        completed.insert(stage.stage_type, result);
    }
    Ok(Session {
        created_ms: row.creation_time,
        is_stored: true,
        server: object(&row.serverdict)?,
        client: object(&row.clientdict)?,
        id: row.session_id,
        uri: row.uri,
        method: row.method,
        description: row.description,
        completed,
        new_token: None,
        failure: None,
    })
}

/// Shows that a captcha was solved.
async fn solve_captcha(
    context: &Context,
    auth: &Map<String, Value>,
    address: &str,
) -> Result<Value, ApiError> {
    let recaptcha = Recaptcha::of(&context.config).ok_or_else(|| {
        let message = "Unknown login type m.login.recaptcha";
        ApiError::new(ErrorCode::Unrecognized, message).with_status(400)
    })?;
    let response = auth.get("response").and_then(Value::as_str);
    let response = response
        .ok_or_else(|| ApiError::new(ErrorCode::CaptchaNeeded, "Captcha response is required"))?;
    match recaptcha.is_solved(context, response, address).await? {
        true => Ok(json!(true)),
        false => Err(ApiError::new(ErrorCode::Unauthorized, "Captcha authentication failed")),
    }
}

/// What somebody is asked to confirm by signing in again.
///
/// # Errors
/// An unknown session, or one of a registration.
pub async fn description_for_sign_on(context: &Context, id: &str) -> Result<String, ApiError> {
    let session = load_any(context, id).await?;
    let asks = session.server.contains_key(REQUEST_USER_ID);
    if asks { Ok(session.description) } else { Err(unknown_session(id)) }
}

/// Completes the stage of a session whose user has signed in again, as this user of ours if any;
/// whether that is who has to.
///
/// # Errors
/// An unknown session, or one of a registration.
pub async fn complete_by_sign_on(
    context: &Context,
    session_id: &str,
    user_id: Option<&OwnedUserId>,
) -> Result<bool, ApiError> {
    let mut session = load_any(context, session_id).await?;
    let Some(asking) = session.server.get(REQUEST_USER_ID) else {
        return Err(unknown_session(session_id));
    };
    let is_same = user_id.is_some_and(|user_id| *asking == json!(user_id));
    // The wrong user is remembered, so that the client learns of it.
    let proof = if is_same { json!(user_id) } else { json!("") };
    session.completed.insert(rules::SSO.to_owned(), proof);
    context.batch(session.store()).await?;
    Ok(is_same)
}

/// Completes a stage of a registration's session from the page that a client opened for it.
///
/// # Errors
/// An unknown session; a proof that is not accepted.
pub async fn complete_elsewhere(
    context: &Context,
    session_id: &str,
    stage: &str,
    auth: &Map<String, Value>,
    address: &str,
) -> Result<(), ApiError> {
    let mut session = load_any(context, session_id).await?;
    if session.server.contains_key(REQUEST_USER_ID) {
        return Err(unknown_session(session_id));
    }
    let proof = session.proof(context, stage, auth, address).await?;
    session.completed.insert(stage.to_owned(), proof);
    let mut statements = session.hold_token(context);
    statements.extend(session.store());
    match context.batch(statements).await {
        Ok(_) => Ok(()),
        Err(DatabaseError::Fenced) => Err(invalid_token()),
        Err(error) => Err(error.into()),
    }
}

impl Session {
    fn new(context: &Context, operation: &Operation) -> Self {
        let mut server = Map::new();
        if let Some(user_id) = &operation.user_id {
            server.insert(REQUEST_USER_ID.to_owned(), json!(user_id));
        }
        Self {
            id: context.random_string(24),
            created_ms: context.now_ms(),
            uri: operation.uri.clone(),
            method: operation.method.clone(),
            description: operation.description.to_owned(),
            is_stored: false,
            server,
            client: Map::new(),
            completed: Completed::new(),
            new_token: None,
            failure: None,
        }
    }

    /// Whether the operation may go on.
    pub fn is_complete(&self, operation: &Operation) -> bool {
        rules::is_complete(&operation.flows, &self.completed)
    }

    /// Text that the server remembers.
    pub fn remembered(&self, name: &str) -> Option<&str> {
        self.server.get(name).and_then(Value::as_str)
    }

    /// Keeps the hash of the password that was chosen, which the client need not send again.
    ///
    /// # Errors
    /// If the guard of that name cannot be reached.
    pub async fn remember_password(
        &mut self,
        context: &Context,
        guard: &str,
        password: Option<&str>,
    ) -> Result<(), ApiError> {
        let Some(password) = password else { return Ok(()) };
        if self.remembered(PASSWORD_HASH).is_none() {
            let hash = passwords::hash(context, guard, password).await?;
            self.server.insert(PASSWORD_HASH.to_owned(), json!(hash));
        }
        Ok(())
    }

    async fn check(
        &mut self,
        context: &Context,
        operation: &Operation,
        stage: &str,
        auth: &Map<String, Value>,
    ) -> Result<(), ApiError> {
        // A captcha may be solved although none is asked for, as with Synapse.
        let is_known = rules::offers(&operation.flows, stage)
            || (stage == rules::RECAPTCHA && operation.user_id.is_none());
        if !is_known {
            let message = format!("Unknown login type {stage}");
            return Err(ApiError::new(ErrorCode::Unrecognized, message).with_status(400));
        }
        match self.proof(context, stage, auth, &operation.address).await {
            Ok(proof) => {
                self.completed.insert(stage.to_owned(), proof);
            }
            // What the client can do again is part of the challenge.
            Err(error)
                if matches!(error.code(), ErrorCode::Forbidden | ErrorCode::Unauthorized) =>
            {
                self.failure = Some(error);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whoever has proved to be somebody has to be who asks.
    fn must_be_of(&self, operation: &Operation) -> Result<(), ApiError> {
        let matches = |proof: &Value| {
            operation.user_id.as_ref().is_some_and(|user_id| *proof == json!(user_id))
        };
        let mut proofs =
            [rules::PASSWORD, rules::SSO].iter().filter_map(|stage| self.completed.get(*stage));
        if proofs.all(matches) { Ok(()) } else { Err(ApiError::forbidden("Invalid auth")) }
    }

    /// What a stage has shown.
    async fn proof(
        &mut self,
        context: &Context,
        stage: &str,
        auth: &Map<String, Value>,
        address: &str,
    ) -> Result<Value, ApiError> {
        match stage {
            rules::PASSWORD => {
                let user = passwords::prove(context, auth, Purpose::Stage).await?;
                Ok(json!(user.name))
            }
            rules::REGISTRATION_TOKEN => self.show_token(context, auth).await,
            rules::RECAPTCHA => solve_captcha(context, auth, address).await,
            // Reading the terms, or nothing at all, is shown by saying so.
            rules::TERMS | rules::DUMMY => Ok(json!(true)),
            // Signing in elsewhere is not shown in the request, but has been before it.
            _ => {
                let proof = self.completed.get(stage).cloned();
                proof.ok_or_else(|| ApiError::forbidden("This stage has not been completed"))
            }
        }
    }

    async fn show_token(
        &mut self,
        context: &Context,
        auth: &Map<String, Value>,
    ) -> Result<Value, ApiError> {
        let token = auth.get("token").and_then(Value::as_str);
        let token =
            token.ok_or_else(|| ApiError::missing_param("Registration token is missing"))?;
        if let Some(held) = self.remembered(rules::REGISTRATION_TOKEN) {
            return match held == token {
                true => Ok(json!(token)),
                false => Err(ApiError::forbidden("Registration token has changed")),
            };
        }
        let statement = registration_tokens::select_usable(token, context.now_ms());
        let usable: Option<Value> = context.batch(vec![statement]).await?[0].first()?;
        usable.ok_or_else(invalid_token)?;
        self.new_token = Some(token.to_owned());
        Ok(json!(token))
    }

    /// Holds one use of the registration token that was shown in this request.
    fn hold_token(&mut self, context: &Context) -> Vec<Statement> {
        let Some(token) = self.new_token.take() else { return Vec::new() };
        self.server.insert(rules::REGISTRATION_TOKEN.to_owned(), json!(token));
        registration_tokens::hold(&token, context.now_ms()).to_vec()
    }

    /// Stores the session and asks for what is missing.
    pub async fn challenge(mut self, context: &Context, operation: &Operation) -> ApiError {
        let mut statements = self.hold_token(context);
        statements.extend(self.store());
        statements.push(ui_auth_sessions::insert_address(
            &self.id,
            &operation.address,
            &operation.user_agent,
        ));
        match context.batch(statements).await {
            Ok(_) => {}
            Err(DatabaseError::Fenced) => return invalid_token(),
            Err(error) => return error.into(),
        }
        let body = rules::challenge(&self.id, &operation.flows, &operation.params, &self.completed);
        let failure = self.failure.map(|error| (error.code(), error.message().to_owned()));
        ApiError::authentication_required(body, failure)
    }

    /// The statements that end a registration: the token is used up, and a session that the
    /// client may come back to remembers the user. Abort the batch if the token is used up.
    pub fn finish_registration(&mut self, user_id: &OwnedUserId, now_ms: u64) -> Vec<Statement> {
        let mut statements = Vec::new();
        if let Some(token) = self.new_token.take() {
            statements.extend(registration_tokens::complete(&token, now_ms));
        } else if let Some(token) = self.remembered(rules::REGISTRATION_TOKEN) {
            statements.push(registration_tokens::complete_held(token));
        }
        if self.is_stored {
            // The token's use is no longer held by the session.
            if let Some(proof) = self.completed.get_mut(rules::REGISTRATION_TOKEN) {
                *proof = json!(true);
            }
            self.server.insert(REGISTERED_USER_ID.to_owned(), json!(user_id));
            self.server.remove(PASSWORD_HASH);
            statements.extend(self.store());
        }
        statements
    }

    fn store(&self) -> Vec<Statement> {
        let row = SessionRow {
            session_id: self.id.clone(),
            creation_time: self.created_ms,
            serverdict: Value::Object(self.server.clone()).to_string(),
            clientdict: Value::Object(self.client.clone()).to_string(),
            uri: self.uri.clone(),
            method: self.method.clone(),
            description: self.description.clone(),
        };
        ui_auth_sessions::upsert(&row, &self.completed)
    }
}

/// Of a registration token that does not exist, has expired, or is used up.
pub fn invalid_token() -> ApiError {
    ApiError::new(ErrorCode::Unauthorized, "Invalid registration token")
}
