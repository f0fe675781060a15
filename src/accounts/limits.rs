//! How often an address may try: Synapse's defaults. Those of an account are with its guard.

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

/// Counts one attempt from an address. One hop, unless limits are off.
///
/// # Errors
/// `M_LIMIT_EXCEEDED`.
pub async fn count(context: &Context, address: &str, limit: Limit) -> Result<(), ApiError> {
    if !context.config.rate_limits {
        return Ok(());
    }
    let Limit { action, per_second, burst } = limit;
    let command = GuardCommand::Count { action: action.to_owned(), per_second, burst };
    context.guard(&format!("address {address}"), command).await.map(drop)
}
