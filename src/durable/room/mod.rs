//! Room: the only writer of one room's events. The Worker sends it commands.
//!
//! Invariant: every forward extremity in memory is committed in D1, except while the commit that
//! writes it is on its way; if that one's outcome is not success, memory is thrown away and the
//! room is loaded again (or rewound, if nothing was written for sure). Commands that arrive during
//! a commit are committed as one group after it.

mod commit;
mod decide;
mod delayed;
mod facts;
mod landing;
mod load;
mod needs;
mod presumed;
mod push;
mod related;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use futures_channel::oneshot;
use ruma::{OwnedRoomId, OwnedUserId};

use super::buckets::Buckets;
use super::sync_notifier::notifiers_of;
use super::{Announcement, RoomCommand, RoomReply};
use crate::context::Context;
use crate::error::ApiError;
use crate::storage::database::DatabaseError;
use crate::storage::room_log;
use decide::Decided;
use load::Loaded;

/// Commands in one commit: with 64 KiB an event at most it stays at 3.2 MB.
const GROUP_MAX: usize = 50;

/// Commands that may wait for their turn: more are told to come back later.
const QUEUE_MAX: usize = 1000;

/// How often one user may send into a room: as Synapse's `rc_message` by default.
const MESSAGES_PER_SECOND: f64 = 0.2;
const MESSAGES_BURST: f64 = 10.0;

struct Pending {
    command: RoomCommand,
    context: Context,
    reply: oneshot::Sender<Result<RoomReply, ApiError>>,
}

/// The writer of one room.
pub struct Room {
    room_id: OwnedRoomId,
    queue: RefCell<VecDeque<Pending>>,
    is_working: Cell<bool>,
    loaded: RefCell<Option<Loaded>>,
    limits: Buckets,
    transactions: RefCell<landing::RecentTransactions>,
    alarm: delayed::Alarm,
}

impl Room {
    pub fn new(room_id: OwnedRoomId) -> Rc<Self> {
        Rc::new(Self {
            room_id,
            queue: RefCell::default(),
            is_working: Cell::new(false),
            loaded: RefCell::default(),
            limits: Buckets::new(MESSAGES_PER_SECOND, MESSAGES_BURST),
            transactions: RefCell::default(),
            alarm: delayed::Alarm::default(),
        })
    }

    /// Executes a command; others may be committed with it.
    ///
    /// # Errors
    /// As the caller of the endpoint is to see it.
    pub async fn execute(
        self: &Rc<Self>,
        context: &Context,
        command: RoomCommand,
    ) -> Result<RoomReply, ApiError> {
        match command {
            RoomCommand::Delay(delay) => self.delay(context, &delay).await,
            RoomCommand::SendDelayed(Some(delay_id)) => self.send_now(context, &delay_id).await,
            RoomCommand::SendDelayed(None) => Ok(self.send_due(context).await),
            command => self.queue(context, command).await,
        }
    }

    /// Executes a command that is decided and committed with others.
    async fn queue(
        self: &Rc<Self>,
        context: &Context,
        command: RoomCommand,
    ) -> Result<RoomReply, ApiError> {
        if self.queue.borrow().len() >= QUEUE_MAX {
            return Err(ApiError::limit_exceeded(1000));
        }
        let (reply, outcome) = oneshot::channel();
        let pending = Pending { command, context: context.clone(), reply };
        self.queue.borrow_mut().push_back(pending);
        if !self.is_working.replace(true) {
            let room = self.clone();
            context.platform.spawn(Box::pin(async move { room.work().await }));
        }
        outcome.await.unwrap_or_else(|_| Err(ApiError::internal("the room's writer has stopped")))
    }

    /// Each group is executed, and paid for, in the context of its first command.
    async fn work(self: Rc<Self>) {
        loop {
            let group: Vec<Pending> = {
                let mut queue = self.queue.borrow_mut();
                let count = queue.len().min(GROUP_MAX);
                queue.drain(..count).collect()
            };
            let Some(context) = group.first().map(|pending| pending.context.clone()) else {
                break;
            };
            let (commands, replies): (Vec<_>, Vec<_>) =
                group.into_iter().map(|pending| (pending.command, pending.reply)).unzip();
            let outcomes = self.execute_group(&context, commands).await;
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                // Whoever asked may have gone; the event stays.
                let _ = reply.send(outcome);
            }
        }
        self.is_working.set(false);
    }

    /// Executes commands as one commit; the outcomes are in the order of the commands.
    async fn execute_group(
        &self,
        context: &Context,
        commands: Vec<RoomCommand>,
    ) -> Vec<Result<RoomReply, ApiError>> {
        let mut outcomes: Vec<Option<Result<RoomReply, ApiError>>> = vec![None; commands.len()];
        let mut open: Vec<usize> = (0..commands.len()).collect();
        // Enough for: fenced or unknown once, then one by one.
        for attempt in 0..3 {
            if open.is_empty() {
                break;
            }
            let groups: Vec<Vec<usize>> = match attempt {
                0 => vec![open.clone()],
                _ => open.iter().map(|index| vec![*index]).collect(),
            };
            for group in groups {
                let chosen: Vec<&RoomCommand> = group.iter().map(|i| &commands[*i]).collect();
                let results = self.try_group(context, &chosen).await;
                for (index, result) in group.into_iter().zip(results) {
                    outcomes[index] = result;
                }
            }
            open.retain(|index| outcomes[*index].is_none());
        }
        let unknown = || Err(ApiError::internal("the outcome of a commit stayed unknown"));
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(unknown)).collect()
    }

    /// `None`: not written, and to be decided once more.
    async fn try_group(
        &self,
        context: &Context,
        commands: &[&RoomCommand],
    ) -> Vec<Option<Result<RoomReply, ApiError>>> {
        let decided = match self.decide(context, commands).await {
            Ok(decided) => decided,
            Err(error) => {
                *self.loaded.borrow_mut() = None;
                return commands.iter().map(|_| Some(Err(error.clone()))).collect();
            }
        };
        let written = decided.has_events();
        let outcome = if written { self.commit(context, &decided).await } else { Ok(0) };
        match outcome {
            Ok(newest) => {
                self.announce(context, &decided);
                decided.outcomes(newest).into_iter().map(Some).collect()
            }
            Err(error) if room_log::is_presumed_wrongly(&error) => {
                self.try_others(context, decided, commands).await
            }
            Err(error) => self.settle(context, decided, &error).await,
        }
    }

    /// What became of a commit that did not succeed for sure.
    async fn settle(
        &self,
        context: &Context,
        decided: Decided,
        error: &DatabaseError,
    ) -> Vec<Option<Result<RoomReply, ApiError>>> {
        *self.loaded.borrow_mut() = None;
        crate::log::warn(&format!("a commit of {} failed: {error}", self.room_id));
        if let Some(taken) = decided.taken(error) {
            return vec![Some(Err(taken))];
        }
        match landing::find(context, &self.room_id, &decided).await {
            Ok(landed) => {
                // What an earlier request has written has been announced then.
                let is_ours = |reply: &Result<RoomReply, ApiError>| match reply {
                    Ok(RoomReply::Event { stream_ordering, .. }) => *stream_ordering > 0,
                    reply => reply.is_ok(),
                };
                if landed.iter().flatten().any(is_ours) {
                    self.announce_after_reload(context, &decided).await;
                }
                self.remember_found(&decided, &landed);
                landed
            }
            Err(error) => vec![Some(Err(error)); decided.len()],
        }
    }

    /// A commit that has landed after all is announced by what the log says of the members.
    async fn announce_after_reload(&self, context: &Context, decided: &Decided) {
        // An announcement may be lost: the next one heals it.
        if let Ok(loaded) = load::load(context, &self.room_id).await {
            *self.loaded.borrow_mut() = loaded;
            self.announce(context, decided);
        }
    }

    /// Wakes whoever may see what was written.
    fn announce(&self, context: &Context, decided: &Decided) {
        if !decided.has_events() && !decided.announces() {
            return;
        }
        if decided.has_events() {
            context.tell_services();
        }
        let loaded = self.loaded.borrow();
        let Some(room) = loaded.as_ref() else {
            return;
        };
        let server_name = context.server_name().clone();
        let also: Vec<OwnedUserId> = decided
            .membership_targets()
            .into_iter()
            .filter(|user| user.server_name() == server_name)
            .collect();
        let members = room.local_members(&server_name);
        // Who looks in from outside may wait anywhere.
        let count = context.config.sync_notifiers;
        let at = match facts::is_world_readable(&room.snapshot) {
            true => (0..count).collect(),
            false => notifiers_of(&members, count),
        };
        let announcement = Announcement::Room {
            room_id: self.room_id.clone(),
            members_version: room.members_version,
            members: None,
            also,
            only_messages: decided.has_only_messages(),
            at,
        };
        context.announce_room(announcement, members);
    }
}
