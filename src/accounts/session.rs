//! A session: a device with its access token, and a refresh token if the client can use one.

use myelin_protocol::token;
use ruma::UserId;
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::error::{ApiError, ErrorCode};
use crate::storage::access_tokens::{self, NewAccessToken, NewRefreshToken};
use crate::storage::database::{DatabaseError, Statement};
use crate::storage::devices;

/// Characters of a device's id that a client chose.
pub const DEVICE_ID_LENGTH_MAX: usize = 512;

/// Characters of a device's name, as Synapse has it.
pub const DISPLAY_NAME_LENGTH_MAX: usize = 100;

/// Milliseconds that an access token lives when there is a refresh token, unless configured.
const ACCESS_TOKEN_LIFETIME_MS: u64 = 300_000;

/// The device that guests have: they have no other.
const GUEST_DEVICE_ID: &str = "guest_device";

/// What a client asks for when it logs in or registers.
#[derive(Clone, Debug, Default)]
pub struct SessionRequest {
    pub device_id: Option<String>,
    pub initial_device_display_name: Option<String>,
    pub refresh_token: bool,
}

impl SessionRequest {
    /// Reads `device_id`, `initial_device_display_name` and `refresh_token`.
    ///
    /// # Errors
    /// `M_INVALID_PARAM` for what is of another type or too long.
    pub fn read(body: &Map<String, Value>) -> Result<Self, ApiError> {
        let device_id = text(body, "device_id", DEVICE_ID_LENGTH_MAX)?;
        let refresh_token = match body.get("refresh_token") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(wanted)) => *wanted,
            Some(_) => {
                let message = "`refresh_token` should be true or false.";
                return Err(ApiError::invalid_param(message));
            }
        };
        Ok(Self {
            device_id: device_id.filter(|device_id| !device_id.is_empty()),
            initial_device_display_name: text(
                body,
                "initial_device_display_name",
                DISPLAY_NAME_LENGTH_MAX,
            )?,
            refresh_token,
        })
    }

    /// What guests get.
    pub fn guest(body: &Map<String, Value>) -> Result<Self, ApiError> {
        let device_id = Some(GUEST_DEVICE_ID.to_owned());
        Ok(Self { device_id, refresh_token: false, ..Self::read(body)? })
    }
}

fn text(
    body: &Map<String, Value>,
    name: &str,
    length_max: usize,
) -> Result<Option<String>, ApiError> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.chars().count() <= length_max => Ok(Some(text.clone())),
        Some(Value::String(_)) => Err(ApiError::invalid_param(format!(
            "{name} cannot be longer than {length_max} characters."
        ))),
        Some(_) => Err(ApiError::invalid_param(format!("{name} must be a string"))),
    }
}

/// Tokens that are about to be written.
pub struct Tokens {
    pub access_token: String,
    pub expires_in_ms: Option<u64>,
    pub refresh_token: Option<String>,
}

impl Tokens {
    /// Adds the fields that every answer with tokens has.
    pub fn write_to(self, answer: &mut Map<String, Value>) {
        answer.insert("access_token".to_owned(), json!(self.access_token));
        if let Some(expires_in_ms) = self.expires_in_ms {
            answer.insert("expires_in_ms".to_owned(), json!(expires_in_ms));
        }
        if let Some(refresh_token) = self.refresh_token {
            answer.insert("refresh_token".to_owned(), json!(refresh_token));
        }
    }
}

/// A session that begins when its statements are committed.
pub struct Session {
    pub device_id: String,
    pub tokens: Tokens,
    pub statements: Vec<Statement>,
}

/// Opens a session. A device that the client names loses the tokens that it had.
///
/// # Errors
/// A lifetime in the configuration that is no number.
pub fn open(
    context: &Context,
    user_id: &UserId,
    request: &SessionRequest,
) -> Result<Session, ApiError> {
    let now_ms = context.now_ms();
    let device_id = request.device_id.clone().unwrap_or_else(|| new_device_id(context));
    let display_name = request.initial_device_display_name.as_deref();
    let mut statements = devices::insert(user_id, &device_id, display_name, now_ms);
    if request.device_id.is_some() {
        statements.extend(access_tokens::delete_of_device(user_id, &device_id));
    }
    let (tokens, insert) =
        make_tokens(context, user_id, &device_id, request.refresh_token.then_some(None))?;
    statements.extend(insert);
    Ok(Session { device_id, tokens, statements })
}

/// Makes the tokens of a device: with a refresh token if `refreshable`, which then holds when the
/// whole session ends, if it does.
///
/// # Errors
/// A lifetime in the configuration that is no number.
pub fn make_tokens(
    context: &Context,
    user_id: &UserId,
    device_id: &str,
    refreshable: Option<Option<u64>>,
) -> Result<(Tokens, Vec<Statement>), ApiError> {
    let now_ms = context.now_ms();
    let random = || context.random_string(token::RANDOM_LENGTH);
    let mut statements = Vec::new();
    let mut tokens = Tokens {
        access_token: token::access_token(user_id.localpart(), &random()),
        expires_in_ms: None,
        refresh_token: None,
    };
    if let Some(session_end_ms) = refreshable {
        let until_end_ms = session_end_ms.map(|end_ms| end_ms.saturating_sub(now_ms));
        let bounded = |ms: u64| until_end_ms.map_or(ms, |end_ms| end_ms.min(ms));
        let lifetime_ms = lifetime(context, "ACCESS_TOKEN_LIFETIME_MS")?;
        tokens.expires_in_ms = Some(bounded(lifetime_ms.unwrap_or(ACCESS_TOKEN_LIFETIME_MS)));
        let refresh_lifetime_ms = lifetime(context, "REFRESH_TOKEN_LIFETIME_MS")?;
        let refresh_token = token::refresh_token(user_id.localpart(), &random());
        statements.extend(access_tokens::insert_refresh(&NewRefreshToken {
            user_id,
            device_id,
            token: &refresh_token,
            expiry_ts: refresh_lifetime_ms.map(bounded).or(until_end_ms).map(|ms| now_ms + ms),
            ultimate_session_expiry_ts: session_end_ms,
        }));
        tokens.refresh_token = Some(refresh_token);
    }
    let access_token = NewAccessToken {
        user_id,
        device_id,
        token: &tokens.access_token,
        valid_until_ms: tokens.expires_in_ms.map(|ms| now_ms + ms),
        is_refreshable: tokens.refresh_token.is_some(),
    };
    statements.extend(access_tokens::insert(&access_token, now_ms));
    Ok((tokens, statements))
}

fn lifetime(context: &Context, variable: &str) -> Result<Option<u64>, ApiError> {
    let Some(value) = context.config.variable(variable) else { return Ok(None) };
    value.parse().map(Some).map_err(|error| ApiError::internal(format!("{variable}: {error}")))
}

/// Ten capital letters, as Synapse gives them.
fn new_device_id(context: &Context) -> String {
    let mut device_id = String::new();
    while device_id.len() < 10 {
        // 234 is the largest multiple of 26 in a byte.
        let usable = context.random::<16>().into_iter().filter(|byte| *byte < 234);
        device_id
            .extend(usable.map(|byte| char::from(b'A' + byte % 26)).take(10 - device_id.len()));
    }
    device_id
}

/// What a failed commit of a session means to the client.
pub fn commit_error(error: DatabaseError) -> ApiError {
    match error {
        DatabaseError::Fenced => {
            ApiError::new(ErrorCode::Forbidden, "The device ID is in use").with_status(400)
        }
        other => other.into(),
    }
}
