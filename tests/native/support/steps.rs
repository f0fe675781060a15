//! One request whose every step can be watched: something happens between two of them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use async_trait::async_trait;
use futures_util::future::{LocalBoxFuture, join};
use myelin::context::{Context, Platform};
use myelin::durable::{
    Announced, Announcement, GuardCommand, GuardReply, News, PushCommand, RoomCommand, RoomReply,
    Waited, Waiter,
};
use myelin::error::ApiError;
use myelin::outbound::{Bounds, FetchError};
use myelin::storage::database::{DatabaseError, QueryResult, Statement};
use myelin::storage::media_files::{FileBody, FileError};
use ruma::{DeviceId, RoomId, UserId};

use super::platform::{SqlitePlatform, give_way};

/// Turns of the executor after which everything that follows from a request has happened.
const REST_TURNS: usize = 200;

pub type Happening = LocalBoxFuture<'static, ()>;

/// The platform as one request sees it.
pub struct Steps {
    inner: Rc<SqlitePlatform>,
    gate: Rc<Gate>,
}

/// Where in the request something happens.
pub struct Gate {
    platform: Rc<SqlitePlatform>,
    /// The step before which `happening` happens, counted from 0.
    at: usize,
    passed: Cell<usize>,
    happening: RefCell<Option<Happening>>,
    /// Happens while the request waits for the first time.
    trigger: RefCell<Option<Happening>>,
    /// What follows from it may come later than the next step.
    in_haste: bool,
    pub happened_at_ms: Cell<Option<u64>>,
    /// The names of the steps that have been passed.
    pub names: RefCell<Vec<&'static str>>,
}

impl Gate {
    pub fn new(
        platform: Rc<SqlitePlatform>,
        at: usize,
        happening: Happening,
        trigger: Option<Happening>,
        in_haste: bool,
    ) -> Rc<Self> {
        Rc::new(Self {
            platform,
            at,
            passed: Cell::new(0),
            happening: RefCell::new(Some(happening)),
            trigger: RefCell::new(trigger),
            in_haste,
            happened_at_ms: Cell::new(None),
            names: RefCell::default(),
        })
    }

    /// The context of the request.
    pub fn context(self: &Rc<Self>) -> Context {
        let platform = Rc::new(Steps { inner: self.platform.clone(), gate: self.clone() });
        Context { platform, ..self.platform.context() }
    }

    /// A place between two steps.
    async fn pass(&self, name: &'static str) {
        self.names.borrow_mut().push(name);
        let index = self.passed.replace(self.passed.get() + 1);
        if index == self.at {
            self.happen().await;
        }
    }

    async fn happen(&self) {
        let Some(happening) = self.happening.take() else { return };
        self.happened_at_ms.set(Some(self.platform.now_ms()));
        happening.await;
        if !self.in_haste {
            rest().await;
        }
    }
}

/// Lets everything that is under way come to its end.
pub async fn rest() {
    for _ in 0..REST_TURNS {
        give_way().await;
    }
}

#[async_trait(?Send)]
impl Platform for Steps {
    fn now_ms(&self) -> u64 {
        self.inner.now_ms()
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        self.inner.fill_random(buffer);
    }

    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>, DatabaseError> {
        self.gate.pass("before a batch").await;
        let outcome = self.inner.batch(statements).await;
        self.gate.pass("after a batch").await;
        outcome
    }

    async fn search_batch(
        &self,
        statements: Vec<Statement>,
    ) -> Result<Vec<QueryResult>, DatabaseError> {
        self.inner.search_batch(statements).await
    }

    async fn room(&self, room_id: &RoomId, command: RoomCommand) -> Result<RoomReply, ApiError> {
        self.inner.room(room_id, command).await
    }

    async fn guard(&self, key: &str, command: GuardCommand) -> Result<GuardReply, ApiError> {
        self.inner.guard(key, command).await
    }

    async fn announce(&self, announcement: Announcement) -> Announced {
        self.inner.announce(announcement).await
    }

    async fn push(&self, user_id: &UserId, command: PushCommand) -> Result<(), ApiError> {
        self.inner.push(user_id, command).await
    }

    async fn tell_services(&self) -> Result<(), ApiError> {
        self.inner.tell_services().await
    }

    async fn set_alarm(&self, owner: &str, at_ms: u64) -> Result<(), ApiError> {
        self.inner.set_alarm(owner, at_ms).await
    }

    async fn register_waiter(
        &self,
        user_id: &str,
        device_id: Option<&DeviceId>,
        room_id: Option<&RoomId>,
    ) -> Result<Box<dyn Waiter>, ApiError> {
        self.gate.pass("before it is registered").await;
        let waiter = self.inner.register_waiter(user_id, device_id, room_id).await?;
        self.gate.pass("after it is registered").await;
        Ok(Box::new(GatedWaiter { waiter, gate: self.gate.clone() }))
    }

    async fn fetch(
        &self,
        request: http::Request<Vec<u8>>,
        bounds: Bounds,
    ) -> Result<http::Response<Vec<u8>>, FetchError> {
        self.inner.fetch(request, bounds).await
    }

    async fn put_file(&self, path: &str, body: FileBody) -> Result<u64, FileError> {
        self.inner.put_file(path, body).await
    }

    async fn get_file(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        self.inner.get_file(path).await
    }

    async fn delete_files(&self, paths: &[String]) -> Result<(), FileError> {
        self.inner.delete_files(paths).await
    }

    fn spawn(&self, future: LocalBoxFuture<'static, ()>) {
        self.inner.spawn(future);
    }

    async fn sleep(&self, duration_ms: u64) {
        self.inner.sleep(duration_ms).await;
    }
}

struct GatedWaiter {
    waiter: Box<dyn Waiter>,
    gate: Rc<Gate>,
}

#[async_trait(?Send)]
impl Waiter for GatedWaiter {
    async fn wait(&mut self, timeout_ms: u64) -> Waited {
        self.gate.pass("before it waits").await;
        let gate = self.gate.clone();
        let meanwhile = async move {
            rest().await;
            gate.pass("while it waits").await;
            if let Some(trigger) = gate.trigger.take() {
                trigger.await;
            }
        };
        let (waited, ()) = join(self.waiter.wait(timeout_ms), meanwhile).await;
        self.gate.pass("after it has waited").await;
        waited
    }

    fn take_news(&mut self) -> News {
        self.waiter.take_news()
    }
}
