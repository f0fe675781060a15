//! The notifiers in process: who waits is a list of channels.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use async_trait::async_trait;
use futures_channel::mpsc;
use futures_util::StreamExt;
use futures_util::future::{Either, LocalBoxFuture, select};
use myelin::context::Platform;
use myelin::durable::sync_notifier::{Notifier, shares};
use myelin::durable::{Announced, Announcement, News, Waited, Waiter};
use ruma::RoomId;

/// Tells news; or, without any, that the client has gone.
type NewsSender = mpsc::UnboundedSender<Option<String>>;

#[derive(Default)]
pub struct Notifiers {
    notifiers: RefCell<HashMap<u32, Notifier>>,
    /// What each waits for, and what tells it.
    waiters: RefCell<Vec<(Vec<String>, NewsSender)>>,
}

impl Notifiers {
    /// How many syncs wait.
    pub fn waiting(&self) -> usize {
        self.waiters.borrow_mut().retain(|(_, sender)| !sender.is_closed());
        self.waiters.borrow().len()
    }

    pub fn announce(&self, announcement: Announcement, count: u32) -> Announced {
        let mut notifiers = self.notifiers.borrow_mut();
        let mut outcome = Announced::Told;
        for (index, share) in shares(announcement, count) {
            let (concerned, announced) = notifiers.entry(index).or_default().hear(share);
            for (ids, sender) in self.waiters.borrow().iter() {
                if ids.iter().any(|id| concerned.contains(id)) {
                    // A waiter that has gone is not woken.
                    let _ = sender.unbounded_send(Some(concerned.news().to_owned()));
                }
            }
            if announced == Announced::MembersNeeded {
                outcome = announced;
            }
        }
        outcome
    }

    pub fn register(
        &self,
        user_id: &str,
        room_id: Option<&RoomId>,
        platform: Rc<dyn Platform>,
    ) -> Box<dyn Waiter> {
        let (sender, woken) = mpsc::unbounded();
        let ids = std::iter::once(user_id).chain(room_id.map(RoomId::as_str));
        self.waiters.borrow_mut().push((ids.map(ToOwned::to_owned).collect(), sender));
        Box::new(ChannelWaiter { woken, news: News::none(), platform })
    }

    /// All clients that wait hang up.
    pub fn hang_up(&self) {
        for (_, sender) in self.waiters.take() {
            // One that has gone cannot go once more.
            let _ = sender.unbounded_send(None);
        }
    }

    /// Closes every wait, as a restart of the objects does.
    pub fn close(&self) {
        self.notifiers.borrow_mut().clear();
        self.waiters.borrow_mut().clear();
    }
}

struct ChannelWaiter {
    woken: mpsc::UnboundedReceiver<Option<String>>,
    news: News,
    platform: Rc<dyn Platform>,
}

#[async_trait(?Send)]
impl Waiter for ChannelWaiter {
    async fn wait(&mut self, timeout_ms: u64) -> Waited {
        let platform = self.platform.clone();
        let timeout: LocalBoxFuture<'_, ()> =
            Box::pin(async move { platform.sleep(timeout_ms).await });
        match select(self.woken.next(), timeout).await {
            Either::Left((Some(Some(text)), _)) => {
                self.news.add_text(&text);
                while let Ok(Some(text)) = self.woken.try_recv() {
                    self.news.add_text(&text);
                }
                Waited::Woken
            }
            Either::Left((Some(None), _)) => Waited::HungUp,
            Either::Left((None, _)) => Waited::Closed,
            Either::Right(_) => Waited::TimedOut,
        }
    }

    fn take_news(&mut self) -> News {
        std::mem::replace(&mut self.news, News::none())
    }
}
