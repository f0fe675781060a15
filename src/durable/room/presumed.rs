//! Events of those whose token nobody has looked up: the commit looks, with the fence, which saves
//! a round trip. Nothing but a written event tells them anything.

use super::Room;
use super::decide::{Decided, Outcome};
use crate::durable::{PresumedToken, RoomReply};
use crate::error::ApiError;

impl Room {
    /// Lets an event that has just been decided depend on its sender's token.
    pub(super) fn presume(
        &self,
        decided: &mut Decided,
        token: &PresumedToken,
        written: Option<Outcome>,
    ) -> Outcome {
        let Some(outcome) = written else {
            return Outcome::Reply(Ok(RoomReply::Unproven));
        };
        decided.presumed.push(token.clone());
        decided.presuming.push(decided.outcomes.len());
        outcome
    }

    /// After a fence: something that was presumed is not so, or somebody else has written. Those
    /// who presumed nothing are decided once more.
    pub(super) fn take_back(&self, decided: Decided) -> Vec<Option<Result<RoomReply, ApiError>>> {
        let is_message = decided.has_only_messages() && decided.redacted.is_empty();
        let mut loaded = self.loaded.borrow_mut();
        match (loaded.as_mut(), decided.before) {
            (Some(room), Some(end)) if is_message => room.snapshot.rewind(end),
            _ => *loaded = None,
        }
        for written in &decided.events {
            self.limits.give_back(written.event.sender.as_str());
        }
        let unproven =
            |index| decided.presuming.contains(&index).then_some(Ok(RoomReply::Unproven));
        (0..decided.outcomes.len()).map(unproven).collect()
    }
}
