//! ServiceSender: one object that tells the application services what concerns them. Rooms tell
//! it to look after every commit, and so does the sweep.
//!
//! Invariant: one step at a time. Events become transactions in the commit that moves the place
//! up to which the log has been looked through; a service gets its transactions in their order,
//! and one is forgotten after the service has taken it. What is remembered here is a cache.

mod audience;
mod look;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use futures_util::future::join_all;
use myelin_protocol::application_service::ApplicationService;

use crate::context::Context;
use crate::outbound::application_services as outbound;
use crate::storage::application_services as storage;
use crate::storage::database::Statement;
use audience::Audience;
use look::Parcel;

/// The first pause after a failure; each further one is twice as long.
const PAUSE_MS: u64 = 1000;

/// The longest: the sweep looks more often than that.
const PAUSE_MS_MAX: u64 = 8 * 60 * 1000;

/// Pauses up to here are waited for; longer ones end with the next event or sweep.
const WAIT_MS_MAX: u64 = 16_000;

/// A service that does not take what it is told.
#[derive(Clone, Copy, Debug)]
struct Failing {
    pause_ms: u64,
    until_ms: u64,
}

/// The sender to all application services.
#[derive(Default)]
pub struct ServiceSender {
    is_working: Cell<bool>,
    is_asked: Cell<bool>,
    /// What has come of the last step and is not in the database yet.
    notes: RefCell<Vec<Statement>>,
    audience: RefCell<Audience>,
    /// By their ids.
    failing: RefCell<HashMap<String, Failing>>,
}

impl ServiceSender {
    /// Begins to look, or looks once more after what it is doing.
    pub fn handle(self: &Rc<Self>, context: &Context) {
        self.is_asked.set(true);
        if !self.is_working.replace(true) {
            let (sender, working) = (self.clone(), context.clone());
            context.platform.spawn(Box::pin(async move { sender.work(&working).await }));
        }
    }

    /// Step after step, until there is nothing to tell and nobody has asked for more.
    async fn work(self: &Rc<Self>, context: &Context) {
        while self.is_asked.take() {
            if let Err(error) = self.step(context).await {
                // What is not noted is done once more: at the next event, or in the sweep.
                self.notes.borrow_mut().clear();
                crate::log::warn(&format!("application services have to wait: {error}"));
                break;
            }
        }
        self.is_working.set(false);
        self.wait(context);
    }

    async fn step(&self, context: &Context) -> Result<(), crate::error::ApiError> {
        let now_ms = context.now_ms();
        let due: Vec<Rc<ApplicationService>> = context.services_that_listen().collect();
        let is_due = |id: &str| {
            self.failing.borrow().get(id).is_none_or(|failing| failing.until_ms <= now_ms)
        };
        let ids: Vec<&str> =
            due.iter().map(|one| one.id.as_str()).filter(|id| is_due(id)).collect();
        let notes = self.notes.take();
        let look = look::read(context, &ids, notes).await?;
        if look.is_empty() {
            return Ok(());
        }
        self.is_asked.set(true);
        let mut audience = self.audience.take();
        let parcels = look::parcels(context, &look, &mut audience).await;
        // What was learned by half is learned anew.
        let parcels = parcels?;
        self.notes.borrow_mut().extend(audience.transactions(context, &look));
        self.audience.replace(audience);
        let told = parcels.into_iter().map(|parcel| self.tell(context, parcel));
        let told = join_all(told).await;
        self.notes.borrow_mut().extend(told.into_iter().flatten());
        Ok(())
    }

    /// Sends one transaction; what is to be noted of it.
    async fn tell(&self, context: &Context, parcel: Parcel) -> Vec<Statement> {
        let Parcel { service, txn_id, events } = parcel;
        let id = service.id.as_str();
        let outcome = match events.is_empty() {
            // All of its events have been deleted.
            true => Ok(()),
            false => outbound::tell(context, &service, txn_id, &events).await,
        };
        match outcome {
            Ok(()) => {
                let was_failing = self.failing.borrow_mut().remove(id).is_some();
                let up = was_failing.then(|| storage::set_state(id, true));
                up.into_iter().chain([storage::delete(id, txn_id)]).collect()
            }
            Err(error) => {
                crate::log::warn(&format!("application service {id} has to wait: {error}"));
                let before = self.failing.borrow().get(id).map(|failing| failing.pause_ms);
                let pause_ms = before.map_or(PAUSE_MS, |before| (2 * before).min(PAUSE_MS_MAX));
                let failing = Failing { pause_ms, until_ms: context.now_ms() + pause_ms };
                self.failing.borrow_mut().insert(id.to_owned(), failing);
                before.is_none().then(|| storage::set_state(id, false)).into_iter().collect()
            }
        }
    }

    /// Looks again after a short pause, if a service has just failed.
    fn wait(self: &Rc<Self>, context: &Context) {
        let now_ms = context.now_ms();
        let pauses = self.failing.borrow();
        let pauses = pauses.values().filter(|one| one.pause_ms <= WAIT_MS_MAX);
        let pauses = pauses.filter_map(|one| one.until_ms.checked_sub(now_ms));
        let Some(pause_ms) = pauses.filter(|pause_ms| *pause_ms > 0).min() else { return };
        let (sender, waiting) = (self.clone(), context.clone());
        context.platform.spawn(Box::pin(async move {
            waiting.platform.sleep(pause_ms).await;
            sender.handle(&waiting);
        }));
    }
}
