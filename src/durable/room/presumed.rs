//! Events of those whose token nobody has looked up: the commit looks, with the fence, which saves
//! a round trip. Nothing but a written event tells them anything.

use super::Room;
use super::decide::{Decided, Outcome};
use crate::durable::{PresumedToken, RoomReply};
use crate::error::ApiError;

impl Room {
    /// Lets the events that a command has just added to the first `count` depend on its token.
    pub(super) fn presume(
        &self,
        decided: &mut Decided,
        token: &PresumedToken,
        count: usize,
        outcome: Result<Outcome, ApiError>,
    ) -> Outcome {
        let is_new = decided.events.len() > count;
        if is_new {
            decided.presumed.push((decided.outcomes.len(), token.clone()));
        }
        match outcome {
            Ok(outcome) if is_new => outcome,
            _ => {
                if std::mem::take(&mut decided.is_counted) {
                    self.limits.give_back(token.user_id.as_str());
                }
                Outcome::Reply(Ok(RoomReply::Unproven))
            }
        }
    }

    /// Takes back what was decided, since something that was presumed is not so. Those who
    /// presumed nothing are to be decided once more.
    pub(super) fn take_back(&self, decided: Decided) -> Vec<Option<Result<RoomReply, ApiError>>> {
        let events = &decided.events;
        let is_message = events.iter().all(|written| written.event.state_key.is_none());
        let mut loaded = self.loaded.borrow_mut();
        match (loaded.as_mut(), decided.before) {
            (Some(room), Some(end)) if is_message && decided.redacted.is_empty() => {
                room.snapshot.rewind(end);
            }
            _ => *loaded = None,
        }
        for written in decided.events.iter().filter(|written| written.is_counted) {
            self.limits.give_back(written.event.sender.as_str());
        }
        let mut outcomes = vec![None; decided.outcomes.len()];
        for (index, _) in decided.presumed {
            outcomes[index] = Some(Ok(RoomReply::Unproven));
        }
        outcomes
    }
}
