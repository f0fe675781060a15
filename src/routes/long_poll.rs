//! Waiting for news: what every sync does between two looks at the log.
//!
//! Invariant: a waiter registers FIRST and looks AFTER, so that nothing falls between. While it
//! waits, nothing is read.

use async_trait::async_trait;
use ruma::{DeviceId, UserId};

use crate::context::Context;
use crate::durable::{News, Waited};
use crate::error::ApiError;

/// No request waits longer: proxies give up on a silent connection.
pub const TIMEOUT_MAX_MS: u64 = 300_000;

/// What a look has found.
pub struct Found<A> {
    pub answer: A,
    /// The client wants to be told of it now.
    pub is_news: bool,
    /// When something will have happened of which nobody is told: look again then.
    pub due_ms: Option<u64>,
}

/// A sync that can look.
#[async_trait(?Send)]
pub trait Looks {
    type Answer;

    /// Hears where to look first, before a look: what woke it.
    fn hear(&mut self, _news: News) {}

    /// Looks once more. `due_ms` is what the look before said.
    async fn look(&mut self, due_ms: Option<u64>) -> Result<Found<Self::Answer>, ApiError>;
}

/// Looks until there is news, the time is up or nobody can be woken; `due_ms` is of the look that
/// found nothing.
///
/// # Errors
/// Those of the looks, and of registering.
pub async fn wait_for_news<L: Looks>(
    context: &Context,
    user_id: &UserId,
    device_id: Option<&DeviceId>,
    deadline_ms: u64,
    mut due_ms: Option<u64>,
    looks: &mut L,
) -> Result<L::Answer, ApiError> {
    let mut waiter = context.register_waiter(user_id, device_id, None).await?;
    let mut waited = Waited::Woken;
    loop {
        let found = looks.look(due_ms).await?;
        due_ms = found.due_ms;
        let now_ms = context.now_ms();
        if found.is_news || waited == Waited::Closed || now_ms >= deadline_ms {
            return Ok(found.answer);
        }
        let until_ms = due_ms.map_or(deadline_ms, |due_ms| due_ms.min(deadline_ms));
        waited = waiter.wait(until_ms.saturating_sub(now_ms).max(1)).await;
        if waited == Waited::HungUp {
            return Ok(found.answer);
        }
        looks.hear(match waited {
            Waited::Woken => waiter.take_news(),
            Waited::TimedOut | Waited::Closed | Waited::HungUp => News::Anything,
        });
        if waited == Waited::TimedOut && until_ms == deadline_ms {
            // The client asks again at once, and that request looks.
            return Ok(found.answer);
        }
    }
}
