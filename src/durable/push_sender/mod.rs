//! PushSender: tells the push gateways of one user what notifies. Rooms tell it to look, and so
//! does whoever notes what has been read.
//!
//! Invariant: one turn at a time, so each gateway gets the events in their order and each event
//! once; a pusher's place in D1 moves after its gateway has taken the event. What is remembered
//! here is a cache: when a gateway is tried again follows from since when it fails.

mod look;
mod turn;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use futures_util::future::join_all;
use myelin_protocol::push_gateway::{Notified, badge, next_try_ms};
use ruma::OwnedUserId;

use super::PushCommand;
use crate::context::Context;
use crate::outbound::push_gateway;
use crate::storage::database::Statement;
use crate::storage::push_queue;
use look::Look;
use turn::Parcel;

/// When the database is asked again that did not answer.
const DATABASE_RETRY_MS: u64 = 10_000;

/// What has been told since the last look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    notify: bool,
    read: bool,
    retry: bool,
}

/// The sender of one user's notifications.
pub struct PushSender {
    user_id: OwnedUserId,
    is_working: Cell<bool>,
    asked: Cell<Asked>,
    /// What has come of sending and is not in the database yet.
    notes: RefCell<Vec<Statement>>,
    /// How much is unread as each pusher was told last, by its id.
    told: RefCell<HashMap<i64, u64>>,
    alarm_ms: Cell<Option<u64>>,
}

impl PushSender {
    pub fn new(user_id: OwnedUserId) -> Rc<Self> {
        Rc::new(Self {
            user_id,
            is_working: Cell::new(false),
            asked: Cell::default(),
            notes: RefCell::default(),
            told: RefCell::default(),
            alarm_ms: Cell::new(None),
        })
    }

    /// Begins to look, or looks once more after what it is doing.
    pub fn handle(self: &Rc<Self>, context: &Context, command: PushCommand) {
        let mut asked = self.asked.get();
        match command {
            PushCommand::Notify => asked.notify = true,
            PushCommand::Read => asked.read = true,
            PushCommand::Retry => {
                asked.retry = true;
                self.alarm_ms.set(None);
            }
        }
        self.asked.set(asked);
        if !self.is_working.replace(true) {
            let (sender, working) = (self.clone(), context.clone());
            context.platform.spawn(Box::pin(async move { sender.work(&working).await }));
        }
    }

    /// Turn after turn, until there is nothing to send and nobody has asked for more.
    async fn work(&self, context: &Context) {
        loop {
            let asked = self.asked.take();
            let notes = self.notes.borrow().clone();
            let noted = notes.len();
            let now_ms = context.now_ms();
            let look = match look::read(context, &self.user_id, asked.retry, notes).await {
                Ok(look) => look,
                Err(error) => {
                    crate::log::warn(&format!("pushes to {} have to wait: {error}", self.user_id));
                    self.set_alarm(context, now_ms + DATABASE_RETRY_MS).await;
                    break;
                }
            };
            self.notes.borrow_mut().drain(..noted);
            let parcels = turn::parcels(&look, asked, &self.told.borrow(), now_ms);
            if !parcels.is_empty() {
                self.send_all(context, &look, parcels).await;
                continue;
            }
            let failing = look.destinations.iter().filter_map(|to| to.row.failing_since);
            if let Some(at_ms) = failing.map(|since_ms| next_try_ms(since_ms, now_ms)).min() {
                self.set_alarm(context, at_ms).await;
            }
            let asked = self.asked.get();
            if !(asked.notify || asked.read || asked.retry) {
                break;
            }
        }
        self.is_working.set(false);
    }

    async fn set_alarm(&self, context: &Context, at_ms: u64) {
        if self.alarm_ms.replace(Some(at_ms)) == Some(at_ms) {
            return;
        }
        if let Err(error) = context.platform.set_alarm(self.user_id.as_str(), at_ms).await {
            // Whoever looks next wishes for it again.
            self.alarm_ms.set(None);
            crate::log::warn(&format!("no alarm for {}: {error}", self.user_id));
        }
    }

    async fn send_all(&self, context: &Context, look: &Look, parcels: Vec<Parcel<'_>>) {
        let sending = parcels.iter().map(|parcel| self.send(context, look, parcel));
        let notes = join_all(sending).await;
        self.notes.borrow_mut().extend(notes.into_iter().flatten());
    }

    /// Sends one request; what is to be noted of it.
    async fn send(&self, context: &Context, look: &Look, parcel: &Parcel<'_>) -> Vec<Statement> {
        let devices = [parcel.to.device()];
        let body = match parcel.event {
            None => badge(look.unread, &devices),
            Some(event) => {
                let details = match parcel.to.gateway.is_event_id_only {
                    true => None,
                    false => match look::details(context, &self.user_id, event).await {
                        Ok(details) => details,
                        Err(error) => {
                            crate::log::warn(&format!(
                                "{} cannot be read: {error}",
                                event.event_id
                            ));
                            None
                        }
                    },
                };
                let (event_id, room_id) = (event.event_id.as_str(), event.room_id.as_str());
                let (event_type, actions) = (event.event_type.as_str(), &event.actions());
                Notified { event_id, room_id, event_type, actions, details }
                    .body(look.unread, &devices)
            }
        };
        let outcome = push_gateway::notify(context, &parcel.to.gateway.url, &body).await;
        let ids = [parcel.to.row.id];
        let now_ms = context.now_ms();
        let rejected = match outcome {
            Ok(rejected) => rejected,
            Err(error) => {
                let url = &parcel.to.gateway.url;
                crate::log::warn(&format!("a push to {} has failed: {url}: {error}", self.user_id));
                return vec![push_queue::note_failing(&ids, now_ms)];
            }
        };
        self.told.borrow_mut().extend(ids.iter().map(|id| (*id, look.unread)));
        let mut notes = vec![match parcel.event {
            Some(event) => push_queue::note_told(&ids, event.stream_ordering, now_ms),
            None => push_queue::note_working(&ids),
        }];
        if rejected.contains(&parcel.to.row.pushkey) {
            notes.extend(push_queue::delete_rejected(&ids));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_keep_their_shape() {
        let commands = [PushCommand::Notify, PushCommand::Read, PushCommand::Retry];
        let texts = serde_json::to_string(&commands).unwrap();
        assert_eq!(texts, r#"["notify","read","retry"]"#);
    }
}
