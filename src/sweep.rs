//! What is done from time to time rather than in answer to a request: repairs what was
//! interrupted, removes what has expired. Each part can fail without the others.

use crate::accounts::deactivation;
use crate::accounts::user_interactive::SESSION_LIFETIME_MS;
use crate::context::Context;
use crate::error::ApiError;
use crate::storage::{ui_auth_sessions, user_ips};

/// How often it runs: see the triggers of wrangler.toml.
const INTERVAL_MS: u64 = 5 * 60 * 1000;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// How long addresses of users are kept.
const USER_IPS_LIFETIME_MS: u64 = 28 * DAY_MS;

/// Runs every part that is due.
pub async fn run(context: &Context) {
    report("leaving rooms", deactivation::resume(context).await);
    // It walks through tables, so it is done in the first sweep of a day only.
    if context.now_ms() % DAY_MS < INTERVAL_MS {
        report("removing what has expired", remove_expired(context).await);
    }
}

/// Removes what nobody can use any more.
///
/// # Errors
/// If the commit fails.
pub async fn remove_expired(context: &Context) -> Result<(), ApiError> {
    let now_ms = context.now_ms();
    let mut statements =
        ui_auth_sessions::delete_older_than(now_ms.saturating_sub(SESSION_LIFETIME_MS));
    statements.push(user_ips::delete_older_than(now_ms.saturating_sub(USER_IPS_LIFETIME_MS)));
    context.batch(statements).await?;
    Ok(())
}

fn report(what: &str, outcome: Result<(), ApiError>) {
    if let Err(error) = outcome {
        crate::log::error(&format!("{what} has to be tried again: {error}"));
    }
}
