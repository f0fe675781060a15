//! Events of those whose token nobody has looked up: the commit looks, with the fence, which saves
//! a round trip. Nothing but a written event tells them anything.

use super::Room;
use super::decide::{Decided, Outcome};
use crate::context::Context;
use crate::durable::{PresumedToken, RoomCommand, RoomReply};
use crate::error::ApiError;

impl Decided {
    /// Lets the events that a command has just added to the first `count` depend on its token.
    pub(super) fn presume(
        &mut self,
        token: &PresumedToken,
        count: usize,
        outcome: Result<Outcome, ApiError>,
    ) -> Outcome {
        let is_new = self.events.len() > count;
        if is_new {
            self.presumed.push((self.outcomes.len(), token.clone()));
        }
        match outcome {
            Ok(outcome) if is_new => outcome,
            _ => Outcome::Reply(Ok(RoomReply::Unproven)),
        }
    }
}

impl Room {
    /// After a commit in which something was presumed wrongly: those who presumed nothing are
    /// decided once more, as one group.
    pub(super) async fn try_others(
        &self,
        context: &Context,
        decided: Decided,
        commands: &[&RoomCommand],
    ) -> Vec<Option<Result<RoomReply, ApiError>>> {
        let mut outcomes = vec![None; commands.len()];
        for (index, _) in &decided.presumed {
            outcomes[*index] = Some(Ok(RoomReply::Unproven));
        }
        self.take_back(decided);
        let others: Vec<usize> = (0..commands.len()).filter(|i| outcomes[*i].is_none()).collect();
        if others.is_empty() {
            return outcomes;
        }
        let commands: Vec<&RoomCommand> = others.iter().map(|index| commands[*index]).collect();
        let replies = Box::pin(self.try_group(context, &commands)).await;
        for (index, reply) in others.into_iter().zip(replies) {
            outcomes[index] = reply;
        }
        outcomes
    }

    /// Takes back what was decided and is not written for sure.
    fn take_back(&self, decided: Decided) {
        for written in decided.events.iter().filter(|written| written.is_counted) {
            self.limits.give_back(written.event.sender.as_str());
        }
        let mut events = decided.events.iter();
        let are_messages = events.all(|written| written.event.state_key.is_none());
        let mut loaded = self.loaded.borrow_mut();
        match (loaded.as_mut(), decided.before) {
            (Some(room), Some(end)) if are_messages && decided.redacted.is_empty() => {
                room.snapshot.rewind(end);
            }
            _ => *loaded = None,
        }
    }
}
