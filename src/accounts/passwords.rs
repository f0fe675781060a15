//! Proving and setting passwords. The work is done by the account's guard.

use myelin_protocol::login_identifier::{IdentifierError, LoginIdentifier};
use myelin_protocol::password;
use myelin_protocol::user_name::parse_login_name;
use ruma::OwnedUserId;
use serde_json::{Map, Value};

use crate::context::Context;
use crate::durable::{GuardCommand, GuardReply};
use crate::error::{ApiError, ErrorCode};
use crate::storage::users::{self, UserRow};

/// What a proof of a password is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A new session; successes are counted too.
    Login,
    /// A stage of user-interactive authentication.
    Stage,
}

/// Who proves to be somebody by an identifier and a password. One batch, one hop.
///
/// # Errors
/// `M_FORBIDDEN` for a wrong name or password alike; `M_LIMIT_EXCEEDED`.
pub async fn prove(
    context: &Context,
    submission: &Map<String, Value>,
    purpose: Purpose,
) -> Result<UserRow, ApiError> {
    let password = submission.get("password").and_then(Value::as_str);
    let password = password.ok_or_else(|| ApiError::invalid_param("Bad parameter: password"))?;
    let identifier = LoginIdentifier::read(submission).map_err(identifier_error)?;
    let (user, key) = find(context, &identifier).await?;
    let command = GuardCommand::CheckPassword {
        password: password::prepare(password, &context.config.password_pepper),
        hash: user.as_ref().and_then(|user| user.password_hash.clone()).unwrap_or_default(),
        limited: context.config.rate_limits,
        is_login: purpose == Purpose::Login,
    };
    match (context.guard(&key, command).await?, user) {
        (GuardReply::Matches(true), Some(user)) => Ok(user),
        _ => Err(ApiError::forbidden("Invalid username or password")),
    }
}

/// The account that is meant, if it exists, and the name of its guard.
async fn find(
    context: &Context,
    identifier: &LoginIdentifier,
) -> Result<(Option<UserRow>, String), ApiError> {
    match identifier {
        LoginIdentifier::User(typed) => {
            let name = parse_login_name(typed, context.server_name());
            let Some(name) = name.filter(|name| name.exact.server_name() == context.server_name())
            else {
                return Ok((None, format!("unknown {}", typed.to_lowercase())));
            };
            let candidates: Vec<OwnedUserId> =
                [Some(name.exact), name.lowercase].into_iter().flatten().collect();
            let mut found: Vec<UserRow> =
                context.batch(vec![users::select(&candidates)]).await?[0].rows()?;
            // The exact name goes before the one in lower case.
            found.sort_by_key(|user| candidates.iter().position(|id| *id == user.name));
            let key = guard_of(&candidates[candidates.len() - 1]);
            Ok((found.into_iter().next(), key))
        }
        LoginIdentifier::ThirdParty { medium, address } => {
            let statement = users::select_by_threepid(medium, address);
            let user: Option<UserRow> = context.batch(vec![statement]).await?[0].first()?;
            let unknown = || format!("threepid {medium} {address}");
            let key = user.as_ref().map_or_else(unknown, |user| guard_of(&user.name));
            Ok((user, key))
        }
    }
}

/// The hash of a new password of an account. One hop.
///
/// # Errors
/// If the guard cannot be reached.
pub async fn hash(
    context: &Context,
    guard_key: &str,
    new_password: &str,
) -> Result<String, ApiError> {
    let password = password::prepare(new_password, &context.config.password_pepper);
    let rounds = context.config.bcrypt_rounds;
    match context.guard(guard_key, GuardCommand::HashPassword { password, rounds }).await? {
        GuardReply::Hash(hash) => Ok(hash),
        other => Err(ApiError::internal(format!("the guard answered {other:?}"))),
    }
}

/// The name of an account's guard.
pub fn guard_of(user_id: &OwnedUserId) -> String {
    format!("account {}", user_id.as_str().to_lowercase())
}

/// A new password out of a request: a text of a bounded length. An empty one counts as none.
///
/// # Errors
/// `M_INVALID_PARAM` for anything else that is there.
pub fn read_new(value: Option<&Value>) -> Result<Option<&str>, ApiError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) if text.chars().count() <= password::LENGTH_MAX => Ok(Some(text)),
        Some(_) => Err(ApiError::invalid_param("Invalid password")),
    }
}

fn identifier_error(error: IdentifierError) -> ApiError {
    let code = match error {
        IdentifierError::Missing => ErrorCode::MissingParam,
        _ => ErrorCode::InvalidParam,
    };
    ApiError::new(code, error.to_string())
}
