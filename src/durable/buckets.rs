//! How often somebody may do something, in memory: a token bucket for each.
//!
//! Invariant: what is remembered is only ever a reason to refuse; losing it forgives.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::context::Context;
use crate::error::ApiError;

/// Buckets remembered: past it, those that are full again are forgotten.
const BUCKETS_MAX: usize = 10_000;

struct Bucket {
    tokens: f64,
    updated_ms: u64,
}

/// Buckets of `burst`, refilled at `per_second`.
pub struct Buckets {
    per_second: f64,
    burst: f64,
    buckets: RefCell<HashMap<String, Bucket>>,
}

impl Buckets {
    pub fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, buckets: RefCell::default() }
    }

    /// Those that an isolate keeps under a name.
    pub fn of_isolate(
        context: &Context,
        name: &'static str,
        per_second: f64,
        burst: f64,
    ) -> Rc<Self> {
        let mut memo = context.isolate.memo.borrow_mut();
        let new = || -> Rc<dyn std::any::Any> { Rc::new(Self::new(per_second, burst)) };
        let buckets = memo.entry(name).or_insert_with(new).clone();
        buckets.downcast().unwrap_or_else(|_| Rc::new(Self::new(per_second, burst)))
    }

    /// Takes one token.
    ///
    /// # Errors
    /// `M_LIMIT_EXCEEDED`, with the time until there is one.
    pub fn take(&self, name: &str, now_ms: u64) -> Result<(), ApiError> {
        let mut buckets = self.buckets.borrow_mut();
        if buckets.len() >= BUCKETS_MAX {
            buckets.retain(|_, bucket| self.refilled(bucket, now_ms) < self.burst);
        }
        if !buckets.contains_key(name) {
            let fresh = Bucket { tokens: self.burst, updated_ms: now_ms };
            buckets.insert(name.to_owned(), fresh);
        }
        let Some(bucket) = buckets.get_mut(name) else { return Ok(()) };
        bucket.tokens = self.refilled(bucket, now_ms);
        bucket.updated_ms = now_ms;
        if bucket.tokens < 1.0 {
            let wait_s = (1.0 - bucket.tokens) / self.per_second;
            return Err(ApiError::limit_exceeded((wait_s * 1000.0).ceil() as u64));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }

    /// Gives one token back that was taken for nothing.
    pub fn give_back(&self, name: &str) {
        if let Some(bucket) = self.buckets.borrow_mut().get_mut(name) {
            bucket.tokens = (bucket.tokens + 1.0).min(self.burst);
        }
    }

    fn refilled(&self, bucket: &Bucket, now_ms: u64) -> f64 {
        let elapsed_s = now_ms.saturating_sub(bucket.updated_ms) as f64 / 1000.0;
        (bucket.tokens + elapsed_s * self.per_second).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_one_every_five_seconds() {
        let limits = Buckets::new(0.2, 10.0);
        for _ in 0..10 {
            limits.take("alice", 1000).unwrap();
        }
        let error = limits.take("alice", 1000).unwrap_err();
        assert_eq!((error.status(), &error.body()["retry_after_ms"]), (429, &5000.into()));
        limits.take("bob", 1000).unwrap();
        limits.take("alice", 6000).unwrap();
        assert!(limits.take("alice", 6000).is_err());
        limits.give_back("alice");
        limits.take("alice", 6000).unwrap();
    }
}
