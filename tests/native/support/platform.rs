//! The Worker's runtime as one process: rooms, guards and notifiers are values in maps, time
//! stands still until somebody waits for it, randomness comes from a seed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::{Rc, Weak};
use std::task::Waker;

use async_trait::async_trait;
use futures_executor::LocalSpawner;
use futures_util::future::{LocalBoxFuture, poll_fn};
use futures_util::task::LocalSpawnExt;
use myelin::config::Config;
use myelin::context::{Context, Isolate, Meter, Platform};
use myelin::durable::room::Room;
use myelin::durable::{
    AccountGuard, Announced, Announcement, GuardCommand, GuardReply, PushCommand, PushSender,
    RoomCommand, RoomReply, ServiceSender, Waiter,
};
use myelin::error::ApiError;
use myelin::outbound::{Bounds, FetchError};
use myelin::storage::database::{DatabaseError, QueryResult, Statement};
use myelin::storage::media_files::{FileBody, FileError, FilePart};
use ruma::{DeviceId, OwnedRoomId, OwnedUserId, RoomId, UserId};

use super::internet::Internet;
use super::notifiers::Notifiers;
use super::sqlite::Sqlite;

pub struct SqlitePlatform {
    pub sqlite: Sqlite,
    pub search: Sqlite,
    pub config: RefCell<Rc<Config>>,
    pub notifiers: Notifiers,
    pub internet: Internet,
    /// The bucket.
    pub files: RefCell<BTreeMap<String, Vec<u8>>>,
    /// Of the next file that is put there.
    pub file_error: RefCell<Option<FileError>>,
    me: Weak<Self>,
    isolate: RefCell<Rc<Isolate>>,
    rooms: RefCell<HashMap<OwnedRoomId, Rc<Room>>>,
    guards: RefCell<HashMap<String, Rc<AccountGuard>>>,
    senders: RefCell<HashMap<OwnedUserId, Rc<PushSender>>>,
    service_sender: RefCell<Rc<ServiceSender>>,
    alarms: RefCell<HashMap<String, u64>>,
    /// How many alarms have been asked for.
    pub alarms_set: Cell<u64>,
    spawner: LocalSpawner,
    now_ms: Cell<u64>,
    sleepers: RefCell<Vec<(u64, Waker)>>,
    random: Random,
    weather: RefCell<Option<Weather>>,
}

/// What a simulation does to messages between isolates.
pub struct Weather {
    pub random: Random,
    /// A message takes up to so many turns of the executor.
    pub hops_max: u64,
    /// One announcement of so many is lost; none if 0.
    pub lost_one_in: u64,
}

/// SplitMix64: the same seed gives the same choices.
#[derive(Clone, Debug)]
pub struct Random(Rc<Cell<u64>>);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(Cell::new(seed)))
    }

    pub fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Whether one of `n` comes up; never if `n` is 0.
    pub fn one_in(&self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }

    /// One of a list that is not empty.
    pub fn pick<'a, T>(&self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}

impl SqlitePlatform {
    pub fn new(config: Config, spawner: LocalSpawner) -> Rc<Self> {
        Rc::new_cyclic(|me| Self {
            sqlite: Sqlite::new(),
            search: Sqlite::new(),
            config: RefCell::new(Rc::new(config)),
            notifiers: Notifiers::default(),
            internet: Internet::default(),
            files: RefCell::default(),
            file_error: RefCell::default(),
            me: me.clone(),
            isolate: RefCell::default(),
            rooms: RefCell::default(),
            guards: RefCell::default(),
            senders: RefCell::default(),
            alarms: RefCell::default(),
            service_sender: RefCell::default(),
            alarms_set: Cell::new(0),
            spawner,
            now_ms: Cell::new(1_700_000_000_000),
            sleepers: RefCell::default(),
            random: Random::new(1),
            weather: RefCell::default(),
        })
    }

    /// The context of one request or command.
    pub fn context(&self) -> Context {
        Context {
            config: self.config.borrow().clone(),
            platform: self.me.upgrade().expect("the platform lives"),
            meter: Rc::new(Meter::default()),
            isolate: self.isolate.borrow().clone(),
        }
    }

    /// Wakes an object as its alarm does.
    pub async fn ring(&self, owner: &str) {
        if let Ok(room_id) = RoomId::parse(owner) {
            self.room(&room_id, RoomCommand::SendDelayed(None)).await.expect("alarms do not fail");
            return;
        }
        let user_id = UserId::parse(owner).expect("only rooms and users have alarms");
        self.sender(&user_id).handle(&self.context(), PushCommand::Retry);
    }

    /// Loses all alarms.
    pub fn forget_alarms(&self) {
        self.alarms.borrow_mut().clear();
    }

    fn sender(&self, user_id: &UserId) -> Rc<PushSender> {
        let mut senders = self.senders.borrow_mut();
        let new = || PushSender::new(user_id.to_owned());
        senders.entry(user_id.to_owned()).or_insert_with(new).clone()
    }

    /// Forgets everything that is not in the database, but for alarms.
    pub fn restart(&self) {
        self.isolate.take();
        self.rooms.borrow_mut().clear();
        self.guards.borrow_mut().clear();
        self.senders.borrow_mut().clear();
        self.service_sender.take();
        self.notifiers.close();
    }

    /// Forgets what the writers of rooms remember.
    pub fn forget_rooms(&self) {
        self.rooms.borrow_mut().clear();
    }

    /// The bytes that the body of an answer stands for.
    pub fn file_part(&self, part: &FilePart) -> Vec<u8> {
        let bytes = self.files.borrow().get(&part.path).cloned().expect("the file is there");
        let Some((offset, length)) = part.range else { return bytes };
        let (offset, length) = (offset as usize, length as usize);
        bytes[offset..offset + length].to_vec()
    }

    pub fn set_weather(&self, weather: Option<Weather>) {
        self.weather.replace(weather);
    }

    /// Lets everything else that is ready go first, as a message to another isolate does.
    async fn hop(&self) {
        let hops = match &*self.weather.borrow() {
            Some(weather) => 1 + weather.random.below(weather.hops_max),
            None => 1,
        };
        for _ in 0..hops {
            give_way().await;
        }
    }

    fn loses_announcement(&self) -> bool {
        let weather = self.weather.borrow();
        weather.as_ref().is_some_and(|weather| weather.random.one_in(weather.lost_one_in))
    }

    pub fn advance(&self, duration_ms: u64) {
        self.now_ms.set(self.now_ms.get() + duration_ms);
        self.wake_sleepers();
    }

    /// Moves the clock to the first moment that somebody waits for; false if nobody does.
    pub fn advance_to_next_sleeper(&self) -> bool {
        let next = self.sleepers.borrow().iter().map(|(until_ms, _)| *until_ms).min();
        let Some(until_ms) = next else { return false };
        self.now_ms.set(self.now_ms.get().max(until_ms));
        self.wake_sleepers();
        true
    }

    fn wake_sleepers(&self) {
        let now_ms = self.now_ms.get();
        let (due, waiting) =
            self.sleepers.take().into_iter().partition(|(until_ms, _)| *until_ms <= now_ms);
        self.sleepers.replace(waiting);
        let due: Vec<(u64, Waker)> = due;
        due.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

/// Lets everything else that is ready go first.
pub async fn give_way() {
    let mut polled = false;
    poll_fn(|task| {
        if std::mem::replace(&mut polled, true) {
            return std::task::Poll::Ready(());
        }
        task.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

#[async_trait(?Send)]
impl Platform for SqlitePlatform {
    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// The same server makes the same choices in every run.
    fn fill_random(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            chunk.copy_from_slice(&self.random.next().to_le_bytes()[..chunk.len()]);
        }
    }

    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>, DatabaseError> {
        self.hop().await;
        self.sqlite.batch(&statements)
    }

    async fn search_batch(
        &self,
        statements: Vec<Statement>,
    ) -> Result<Vec<QueryResult>, DatabaseError> {
        self.hop().await;
        self.search.batch(&statements)
    }

    async fn room(&self, room_id: &RoomId, command: RoomCommand) -> Result<RoomReply, ApiError> {
        self.hop().await;
        let room = {
            let mut rooms = self.rooms.borrow_mut();
            let new = || Room::new(room_id.to_owned());
            rooms.entry(room_id.to_owned()).or_insert_with(new).clone()
        };
        room.execute(&self.context(), command).await
    }

    async fn guard(&self, key: &str, command: GuardCommand) -> Result<GuardReply, ApiError> {
        self.hop().await;
        let guard = self.guards.borrow_mut().entry(key.to_owned()).or_default().clone();
        guard.handle(&self.context(), command)
    }

    async fn announce(&self, announcement: Announcement) -> Announced {
        self.hop().await;
        if self.loses_announcement() {
            return Announced::Told;
        }
        let count = self.config.borrow().sync_notifiers;
        self.notifiers.announce(announcement, count)
    }

    async fn push(&self, user_id: &UserId, command: PushCommand) -> Result<(), ApiError> {
        self.hop().await;
        self.sender(user_id).handle(&self.context(), command);
        Ok(())
    }

    async fn tell_services(&self) -> Result<(), ApiError> {
        self.hop().await;
        let sender = self.service_sender.borrow().clone();
        sender.handle(&self.context());
        Ok(())
    }

    async fn set_alarm(&self, owner: &str, at_ms: u64) -> Result<(), ApiError> {
        let platform = self.me.upgrade().expect("the platform lives");
        let owner = owner.to_owned();
        self.alarms_set.set(self.alarms_set.get() + 1);
        self.alarms.borrow_mut().insert(owner.clone(), at_ms);
        self.spawn(Box::pin(async move {
            platform.sleep(at_ms.saturating_sub(platform.now_ms())).await;
            // A later wish has taken the place of this one.
            if platform.alarms.borrow().get(&owner) == Some(&at_ms) {
                platform.alarms.borrow_mut().remove(&owner);
                platform.ring(&owner).await;
            }
        }));
        Ok(())
    }

    async fn register_waiter(
        &self,
        user_id: &str,
        _device_id: Option<&DeviceId>,
        room_id: Option<&RoomId>,
    ) -> Result<Box<dyn Waiter>, ApiError> {
        self.hop().await;
        let platform = self.me.upgrade().expect("the platform lives");
        Ok(self.notifiers.register(user_id, room_id, platform))
    }

    async fn fetch(
        &self,
        request: http::Request<Vec<u8>>,
        bounds: Bounds,
    ) -> Result<http::Response<Vec<u8>>, FetchError> {
        self.hop().await;
        self.internet.fetch(request, bounds)
    }

    async fn put_file(&self, path: &str, body: FileBody) -> Result<u64, FileError> {
        self.hop().await;
        let FileBody::Bytes(bytes) = body else { panic!("requests have been read here") };
        if let Some(error) = self.file_error.take() {
            return Err(error);
        }
        let length = bytes.len() as u64;
        self.files.borrow_mut().insert(path.to_owned(), bytes);
        Ok(length)
    }

    async fn get_file(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        self.hop().await;
        Ok(self.files.borrow().get(path).cloned())
    }

    async fn delete_files(&self, paths: &[String]) -> Result<(), FileError> {
        self.hop().await;
        self.files.borrow_mut().retain(|path, _| !paths.contains(path));
        Ok(())
    }

    fn spawn(&self, future: LocalBoxFuture<'static, ()>) {
        self.spawner.spawn_local(future).expect("the executor lives");
    }

    async fn sleep(&self, duration_ms: u64) {
        let until_ms = self.now_ms.get() + duration_ms;
        poll_fn(|task| {
            if self.now_ms.get() >= until_ms {
                return std::task::Poll::Ready(());
            }
            self.sleepers.borrow_mut().push((until_ms, task.waker().clone()));
            std::task::Poll::Pending
        })
        .await;
    }
}
