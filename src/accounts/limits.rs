//! How often an address may try: Synapse's defaults. Those of an account are with its guard.

use ruma::OwnedUserId;

use super::passwords;
use crate::context::Context;
use crate::durable::GuardCommand;
use crate::error::ApiError;

/// A bucket of `burst`, refilled at `per_second`.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    action: &'static str,
    per_second: f64,
    burst: f64,
}

/// Logins from one address.
pub const LOGIN: Limit = Limit { action: "login", per_second: 0.003, burst: 5.0 };

/// Registrations from one address.
pub const REGISTRATION: Limit = Limit { action: "registration", per_second: 0.17, burst: 3.0 };

/// Questions about registration tokens from one address.
pub const TOKEN_VALIDITY: Limit = Limit { action: "token_validity", per_second: 0.1, burst: 5.0 };

/// Login tokens that one account is given for its other devices: Synapse's.
pub const LOGIN_TOKEN: Limit = Limit { action: "login_token", per_second: 1.0 / 60.0, burst: 1.0 };

/// Reports of one account: Synapse's.
pub const REPORT: Limit = Limit { action: "report", per_second: 1.0, burst: 5.0 };

/// Counts one attempt of an account. One hop, unless limits are off.
///
/// # Errors
/// `M_LIMIT_EXCEEDED`.
pub async fn count_of_account(
    context: &Context,
    user_id: &OwnedUserId,
    limit: Limit,
) -> Result<(), ApiError> {
    count_with(context, &passwords::guard_of(user_id), limit).await
}

/// Counts one attempt from an address. One hop, unless limits are off.
///
/// # Errors
/// `M_LIMIT_EXCEEDED`.
pub async fn count(context: &Context, address: &str, limit: Limit) -> Result<(), ApiError> {
    count_with(context, &format!("address {address}"), limit).await
}

async fn count_with(context: &Context, guard_key: &str, limit: Limit) -> Result<(), ApiError> {
    if !context.config.rate_limits {
        return Ok(());
    }
    let Limit { action, per_second, burst } = limit;
    let command = GuardCommand::Count { action: action.to_owned(), per_second, burst };
    context.guard(guard_key, command).await.map(drop)
}
