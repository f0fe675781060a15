//! AccountGuard: hashes and compares the passwords of one account, and counts the attempts on one
//! account or from one address. An object each, so that guessing one password cannot be sped up
//! by asking many Workers.
//! Invariant: what it remembers is only ever a reason to refuse; losing it forgives.
//!
//! Called by `routes` for every registration, login and proof of a password.

use std::cell::RefCell;
use std::collections::HashMap;

use super::commands::{GuardCommand, GuardReply};
use crate::context::Context;
use crate::error::ApiError;

/// Attempts with a wrong password: as many a second, as many at once.
const FAILED_ATTEMPTS_PER_SECOND: f64 = 0.17;
const FAILED_ATTEMPTS_BURST: f64 = 3.0;

/// Logins into one account: as many a second, as many at once.
const LOGINS_PER_SECOND: f64 = 0.003;
const LOGINS_BURST: f64 = 5.0;

/// Buckets that are kept without looking for full ones.
const BUCKETS_MAX: usize = 1000;

/// What an account or an address has left of one limit.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    filled_at_ms: u64,
    /// From then on it is as if there were no bucket.
    full_at_ms: u64,
}

/// The limits of one account or address.
#[derive(Default)]
pub struct AccountGuard {
    buckets: RefCell<HashMap<String, Bucket>>,
}

impl AccountGuard {
    /// Carries out one command.
    ///
    /// # Errors
    /// `M_LIMIT_EXCEEDED`, or a cost or hash that bcrypt does not take.
    pub fn handle(&self, context: &Context, command: GuardCommand) -> Result<GuardReply, ApiError> {
        match command {
            GuardCommand::Count { action, per_second, burst } => {
                self.take(&action, per_second, burst, context.now_ms())?;
                Ok(GuardReply::Counted)
            }
            GuardCommand::HashPassword { password, rounds } => {
                hash(&password, rounds, context.random()).map(GuardReply::Hash)
            }
            GuardCommand::CheckPassword { password, hash, limited, is_login } => {
                let matches = self.check(&password, &hash, limited, context.now_ms())?;
                if limited && is_login && matches {
                    let (per_second, burst) = (LOGINS_PER_SECOND, LOGINS_BURST);
                    self.take("logins", per_second, burst, context.now_ms())?;
                }
                Ok(GuardReply::Matches(matches))
            }
        }
    }

    /// Compares, unless there have been too many failures; a failure takes from the bucket.
    fn check(
        &self,
        password: &str,
        hash: &str,
        limited: bool,
        now_ms: u64,
    ) -> Result<bool, ApiError> {
        let (per_second, burst) = (FAILED_ATTEMPTS_PER_SECOND, FAILED_ATTEMPTS_BURST);
        if limited {
            self.look("failed_attempts", per_second, burst, now_ms)?;
        }
        // A hash that is not bcrypt's matches no password.
        let matches = !hash.is_empty() && bcrypt::verify(password, hash).unwrap_or(false);
        if limited && !matches {
            self.take("failed_attempts", per_second, burst, now_ms)?;
        }
        Ok(matches)
    }

    /// Takes one token.
    fn take(&self, action: &str, per_second: f64, burst: f64, now_ms: u64) -> Result<(), ApiError> {
        let tokens = self.look(action, per_second, burst, now_ms)?;
        let until_full_ms = ((burst - tokens + 1.0) / per_second * 1000.0).ceil() as u64;
        let full_at_ms = now_ms.saturating_add(until_full_ms);
        let bucket = Bucket { tokens: tokens - 1.0, filled_at_ms: now_ms, full_at_ms };
        let mut buckets = self.buckets.borrow_mut();
        if buckets.len() >= BUCKETS_MAX {
            buckets.retain(|_, bucket| bucket.full_at_ms > now_ms);
        }
        buckets.insert(action.to_owned(), bucket);
        Ok(())
    }

    /// How many tokens there are; an error says when there will be one again.
    fn look(
        &self,
        action: &str,
        per_second: f64,
        burst: f64,
        now_ms: u64,
    ) -> Result<f64, ApiError> {
        let bucket = self.buckets.borrow().get(action).copied();
        let tokens = bucket.map_or(burst, |bucket| {
            let elapsed_ms = now_ms.saturating_sub(bucket.filled_at_ms) as f64;
            (bucket.tokens + elapsed_ms / 1000.0 * per_second).min(burst)
        });
        if tokens >= 1.0 {
            return Ok(tokens);
        }
        let retry_after_ms = (1.0 - tokens) / per_second * 1000.0;
        Err(ApiError::limit_exceeded(retry_after_ms.ceil() as u64))
    }
}

/// bcrypt in the form that Synapse writes; only the first 72 bytes count.
fn hash(password: &str, rounds: u32, salt: [u8; 16]) -> Result<String, ApiError> {
    let parts = bcrypt::hash_with_salt(password, rounds, salt).map_err(ApiError::internal)?;
    Ok(parts.format_for_version(bcrypt::Version::TwoB))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn a_hash_of_each_bcrypt_prefix_verifies() {
        let hash = hash("secret", 4, [7; 16]).unwrap();
        assert!(hash.starts_with("$2b$04$"), "{hash}");
        let guard = AccountGuard::default();
        for prefix in ["$2a$", "$2b$", "$2y$"] {
            let hash = hash.replacen("$2b$", prefix, 1);
            assert_eq!(guard.check("secret", &hash, false, 0), Ok(true), "{prefix}");
            assert_eq!(guard.check("Secret", &hash, false, 0), Ok(false), "{prefix}");
        }
    }

    #[test]
    fn no_password_matches_an_account_without_a_hash() {
        let guard = AccountGuard::default();
        for hash in ["", "not a hash", "$2b$04$short"] {
            assert_eq!(guard.check("", hash, false, 0), Ok(false), "{hash}");
        }
    }

    #[test]
    fn failures_are_limited_and_forgiven_with_time_and_successes_cost_nothing() {
        let guard = AccountGuard::default();
        let hash = hash("secret", 4, [7; 16]).unwrap();
        for _ in 0..10 {
            assert_eq!(guard.check("secret", &hash, true, 0), Ok(true));
        }
        for _ in 0..3 {
            assert_eq!(guard.check("wrong", &hash, true, 0), Ok(false));
        }
        let error = guard.check("secret", &hash, true, 0).unwrap_err();
        assert_eq!(error.code(), ErrorCode::LimitExceeded);
        let retry_after_ms = error.body()["retry_after_ms"].as_u64().unwrap();
        assert_eq!(retry_after_ms, 5883);
        assert!(guard.check("secret", &hash, true, retry_after_ms - 2).is_err());
        assert_eq!(guard.check("secret", &hash, true, retry_after_ms), Ok(true));
    }
}
