//! The user id that a registration asks for: a new one, or that of the guest who asks.

use myelin_protocol::user_name::{self, InvalidUserName};
use ruma::OwnedUserId;
use serde_json::{Map, Value};

use super::new_user;
use crate::context::Context;
use crate::error::ApiError;
use crate::storage::access_tokens::{self, TokenRow};

/// Characters of a name that is looked at at all.
const USERNAME_LENGTH_MAX: usize = 512;

/// What a registration wants.
pub struct WantedUser {
    pub user_id: OwnedUserId,
    /// Shows that the caller is that guest, and wants a full account.
    guest_access_token: Option<String>,
}

impl WantedUser {
    /// Reads `username` and `guest_access_token`; `None` without a name.
    ///
    /// # Errors
    /// `M_INVALID_PARAM`, `M_INVALID_USERNAME`.
    pub fn read(context: &Context, client: &Map<String, Value>) -> Result<Option<Self>, ApiError> {
        let username = match client.get("username") {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(name)) if name.chars().count() <= USERNAME_LENGTH_MAX => name,
            Some(_) => return Err(ApiError::invalid_param("Invalid username")),
        };
        let guest_access_token = match client.get("guest_access_token") {
            None | Some(Value::Null) => None,
            Some(Value::String(token)) => Some(token.clone()),
            Some(_) => return Err(ApiError::invalid_param("Invalid guest_access_token")),
        };
        let user_id = match user_name::new_user_id(username, context.server_name()) {
            // Guests have numbers, which nobody else may choose.
            Err(InvalidUserName::Numeric) if guest_access_token.is_some() => {
                OwnedUserId::try_from(format!("@{username}:{}", context.server_name()))
                    .map_err(|_| ApiError::invalid_param("Invalid username"))?
            }
            _ => new_user::user_id(context, username)?,
        };
        Ok(Some(Self { user_id, guest_access_token }))
    }

    /// Whether a guest is to become a full user.
    pub fn is_upgrade(&self) -> bool {
        self.guest_access_token.is_some()
    }

    /// One batch.
    ///
    /// # Errors
    /// `M_USER_IN_USE` for a name that is taken, `M_FORBIDDEN` if the caller is not that guest.
    pub async fn must_be_possible(&self, context: &Context) -> Result<(), ApiError> {
        let Some(token) = &self.guest_access_token else {
            return new_user::must_be_free(context, &self.user_id).await;
        };
        let row: Option<TokenRow> =
            context.batch(vec![access_tokens::select(token)]).await?[0].first()?;
        let now_ms = context.now_ms();
        let is_guest = row.is_some_and(|row| {
            let is_valid = row.valid_until_ms.is_none_or(|until_ms| until_ms >= now_ms);
            let may_act = is_valid && !row.deactivated && !row.is_locked;
            row.is_guest && may_act && row.user_id == self.user_id
        });
        if is_guest { Ok(()) } else { Err(not_that_guest()) }
    }
}

/// Of who is not the guest whose name they want.
pub fn not_that_guest() -> ApiError {
    ApiError::forbidden(
        "Cannot register taken user ID without valid guest credentials for that user.",
    )
}
