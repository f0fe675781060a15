//! Making a user, with their profile and first session, in one commit.

use myelin_protocol::user_name::{self, InvalidUserName};
use ruma::OwnedUserId;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::application_services::must_be_free_user;
use super::session::{self, SessionRequest};
use super::user_directory;
use crate::context::Context;
use crate::error::{ApiError, ErrorCode};
use crate::storage;
use crate::storage::access_tokens;
use crate::storage::database::{DatabaseError, Statement};
use crate::storage::devices::{self, Selection};
use crate::storage::users::{self, NewUser, UserRow};

/// Numbers that are tried for a user without a name of their own.
const NUMBERS_MAX: usize = 10;

/// Reads the user id that somebody chose.
///
/// # Errors
/// `M_INVALID_USERNAME`, `M_EXCLUSIVE`.
pub fn user_id(context: &Context, username: &str) -> Result<OwnedUserId, ApiError> {
    let user_id = user_name::new_user_id(username, context.server_name()).map_err(name_error)?;
    must_be_free_user(&context.config, &user_id, None)?;
    Ok(user_id)
}

fn name_error(error: InvalidUserName) -> ApiError {
    ApiError::new(ErrorCode::InvalidUsername, error.to_string())
}

/// # Errors
/// `M_USER_IN_USE` if there is such a user.
pub async fn must_be_free(context: &Context, user_id: &OwnedUserId) -> Result<(), ApiError> {
    let statement = users::select(std::slice::from_ref(user_id));
    let user: Option<UserRow> = context.batch(vec![statement]).await?[0].first()?;
    user.map_or(Ok(()), |_| Err(in_use()))
}

fn in_use() -> ApiError {
    ApiError::new(ErrorCode::UserInUse, "User ID already taken.")
}

/// A user without a name: the number that the server takes becomes it.
///
/// # Errors
/// If the numbers that were tried are all taken.
pub async fn free_number(context: &Context) -> Result<OwnedUserId, ApiError> {
    #[derive(Deserialize)]
    struct Number {
        value: u64,
    }
    for _ in 0..NUMBERS_MAX {
        let number: Option<Number> = context.batch(vec![users::next_number()]).await?[0].first()?;
        let number = number.ok_or_else(|| ApiError::internal("there is no counter of users"))?;
        let user_id =
            user_name::guest_user_id(number.value, context.server_name()).map_err(name_error)?;
        match must_be_free(context, &user_id).await {
            Ok(()) => return Ok(user_id),
            Err(error) if error.code() == ErrorCode::UserInUse => {}
            Err(error) => return Err(error),
        }
    }
    Err(ApiError::internal("no number is free for a new user"))
}

/// Commits a user with `session`, if there is to be one, and `also` in the same batch. The answer
/// of a registration comes back.
///
/// # Errors
/// `M_USER_IN_USE`; `fenced` if a statement of `also` aborts the batch, or the guest who is to be
/// upgraded is none.
pub async fn create(
    context: &Context,
    user: &NewUser,
    session: Option<&SessionRequest>,
    also: Vec<Statement>,
    fenced: impl FnOnce() -> ApiError,
) -> Result<Map<String, Value>, ApiError> {
    let mut statements = also;
    statements.extend(users::write(user, context.now_ms()));
    let name = user.display_name.as_deref();
    let entry = user_directory::entry(context.server_name(), &user.user_id, name, None);
    // A guest who becomes a user keeps the profile that is there.
    if !user.is_upgrade {
        statements.extend(storage::user_directory::write(&[entry]));
    }
    if user.is_upgrade {
        // What the guest was logged in with ends with the guest.
        let devices = devices::delete(&user.user_id, Selection::AllBut(None), context.now_ms());
        statements.extend(devices);
        statements.extend(access_tokens::delete_all_but(&user.user_id, None));
    }
    let mut answer = Map::new();
    answer.insert("user_id".to_owned(), json!(user.user_id));
    answer.insert("home_server".to_owned(), json!(context.server_name()));
    if let Some(request) = session {
        let session = session::open(context, &user.user_id, request)?;
        statements.extend(session.statements);
        answer.insert("device_id".to_owned(), json!(session.device_id));
        session.tokens.write_to(&mut answer);
    }
    match context.batch(statements).await {
        Ok(_) => Ok(answer),
        Err(DatabaseError::Constraint(_)) => Err(in_use()),
        Err(DatabaseError::Fenced) => Err(fenced()),
        Err(other) => Err(other.into()),
    }
}
