//! How often one user may send into this room: Synapse's `rc_message`, in the writer's memory.

use std::collections::HashMap;

use ruma::{OwnedUserId, UserId};

use crate::error::ApiError;

/// Events a second, in the long run: as Synapse by default.
const PER_SECOND: f64 = 0.2;
/// Events at once: as Synapse by default.
const BURST: f64 = 10.0;
/// Users remembered: past it, those whose bucket is full again are forgotten.
const USERS_MAX: usize = 10_000;

struct Bucket {
    tokens: f64,
    updated_ms: u64,
}

/// A token bucket a user.
#[derive(Default)]
pub struct MessageLimits(HashMap<OwnedUserId, Bucket>);

impl MessageLimits {
    /// Takes one token.
    ///
    /// # Errors
    /// `M_LIMIT_EXCEEDED`, with the time until there is one.
    pub fn take(&mut self, user_id: &UserId, now_ms: u64) -> Result<(), ApiError> {
        if self.0.len() >= USERS_MAX {
            self.0.retain(|_, bucket| refilled(bucket, now_ms) < BURST);
        }
        let fresh = Bucket { tokens: BURST, updated_ms: now_ms };
        let bucket = self.0.entry(user_id.to_owned()).or_insert(fresh);
        bucket.tokens = refilled(bucket, now_ms);
        bucket.updated_ms = now_ms;
        if bucket.tokens < 1.0 {
            let wait_s = (1.0 - bucket.tokens) / PER_SECOND;
            return Err(ApiError::limit_exceeded((wait_s * 1000.0).ceil() as u64));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }
}

fn refilled(bucket: &Bucket, now_ms: u64) -> f64 {
    let elapsed_s = now_ms.saturating_sub(bucket.updated_ms) as f64 / 1000.0;
    (bucket.tokens + elapsed_s * PER_SECOND).min(BURST)
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_one_every_five_seconds() {
        let mut limits = MessageLimits::default();
        let alice = user_id!("@alice:example.org");
        for _ in 0..10 {
            limits.take(alice, 1000).unwrap();
        }
        let error = limits.take(alice, 1000).unwrap_err();
        assert_eq!((error.status(), &error.body()["retry_after_ms"]), (429, &5000.into()));
        limits.take(user_id!("@bob:example.org"), 1000).unwrap();
        limits.take(alice, 6000).unwrap();
        assert!(limits.take(alice, 6000).is_err());
    }
}
