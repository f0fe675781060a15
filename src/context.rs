//! What a request, or an object, needs from the world: settings, database, time, randomness,
//! other objects. `Platform` is the Worker's runtime in production and a process in tests.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use async_trait::async_trait;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{self, StreamExt};
use myelin_protocol::application_service::ApplicationService;
use ruma::{DeviceId, OwnedServerName, OwnedUserId, RoomId, UserId};

use crate::config::Config;
use crate::durable::{Announced, Announcement, Waiter};
use crate::durable::{GuardCommand, GuardReply, PushCommand, RoomCommand, RoomReply};
use crate::error::ApiError;
use crate::outbound::{Bounds, FetchError};
use crate::storage::access_tokens::TokenRow;
use crate::storage::database::{DatabaseError, QueryResult, Statement};
use crate::storage::install;
use crate::storage::media_files::{FileBody, FileError};
use crate::storage::packing::Packed;

/// Senders of notifications that are told at once: in a large room most members have one.
const SENDERS_AT_ONCE_MAX: usize = 20;

/// The runtime under the server.
#[async_trait(?Send)]
pub trait Platform {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;

    /// Fills the buffer from the system's cryptographic random source.
    fn fill_random(&self, buffer: &mut [u8]);

    /// One D1 round trip: one transaction.
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>, DatabaseError>;

    /// The same on the database of the search index.
    async fn search_batch(
        &self,
        statements: Vec<Statement>,
    ) -> Result<Vec<QueryResult>, DatabaseError>;

    /// Asks the single writer of a room to do something. One hop.
    async fn room(&self, room_id: &RoomId, command: RoomCommand) -> Result<RoomReply, ApiError>;

    /// Asks the object that guards a key (an account or an address) against guessing. One hop.
    async fn guard(&self, key: &str, command: GuardCommand) -> Result<GuardReply, ApiError>;

    /// Tells the notifiers that something has been written. It may be lost; it carries positions.
    async fn announce(&self, announcement: Announcement) -> Announced;

    /// Tells the sender of somebody's notifications to look. It may be lost.
    async fn push(&self, user_id: &UserId, command: PushCommand) -> Result<(), ApiError>;

    /// Tells the sender to application services to look. It may be lost.
    async fn tell_services(&self) -> Result<(), ApiError>;

    /// Has the object of a user or a room told [`PushCommand::Retry`], or
    /// [`RoomCommand::SendDelayed`], at this time, in place of any earlier such wish. Only the
    /// object itself asks; it outlives a restart.
    async fn set_alarm(&self, owner: &str, at_ms: u64) -> Result<(), ApiError>;

    /// Registers a waiting `/sync` of this user with the notifiers, or an `/events` of somebody
    /// who looks into a room.
    async fn register_waiter(
        &self,
        user_id: &str,
        device_id: Option<&DeviceId>,
        room_id: Option<&RoomId>,
    ) -> Result<Box<dyn Waiter>, ApiError>;

    /// Sends a request to another server. Redirects are answers.
    async fn fetch(
        &self,
        request: http::Request<Vec<u8>>,
        bounds: Bounds,
    ) -> Result<http::Response<Vec<u8>>, FetchError>;

    /// Stores a file of media, whole or not at all; its length in bytes.
    async fn put_file(&self, path: &str, body: FileBody) -> Result<u64, FileError>;

    /// Reads a file into memory; `None` if there is none.
    async fn get_file(&self, path: &str) -> Result<Option<Vec<u8>>, FileError>;

    /// Deletes files; those that are not there count as deleted.
    async fn delete_files(&self, paths: &[String]) -> Result<(), FileError>;

    /// Goes on with this after the answer has been sent.
    fn spawn(&self, future: LocalBoxFuture<'static, ()>);

    /// Waits for so long.
    async fn sleep(&self, duration_ms: u64);
}

/// What a request has cost so far: the figures of `Server-Timing`.
#[derive(Debug, Default)]
pub struct Meter {
    pub round_trips: Cell<u64>,
    pub rows_read: Cell<u64>,
    pub rows_written: Cell<u64>,
    pub hops: Cell<u64>,
    pub database_ms: Cell<u64>,
    pub hops_ms: Cell<u64>,
    /// How many waited at the notifier, with the one that waits, where it says so.
    pub sockets: Cell<Option<u64>>,
}

impl Meter {
    pub fn add(counter: &Cell<u64>, amount: u64) {
        counter.set(counter.get() + amount);
    }

    /// What the database has been asked, as it crosses from an object to its caller.
    pub fn to_text(&self) -> String {
        let counts = self.database_counts().map(|count| count.get().to_string());
        counts.join(" ")
    }

    /// Adds what [`Meter::to_text`] of an object said.
    pub fn add_text(&self, text: &str) {
        let amounts = text.split(' ').filter_map(|amount| amount.parse().ok());
        for (counter, amount) in self.database_counts().into_iter().zip(amounts) {
            Self::add(counter, amount);
        }
    }

    fn database_counts(&self) -> [&Cell<u64>; 4] {
        [&self.round_trips, &self.rows_read, &self.rows_written, &self.database_ms]
    }

    /// The value of the `Server-Timing` header, in its grammar: `name;desc="count";dur=ms`.
    pub fn server_timing(&self) -> String {
        let sockets = self.sockets.get().map(|count| format!(", sockets;desc=\"{count}\""));
        format!(
            "d1;desc=\"{}\";dur={}, rows-read;desc=\"{}\", rows-written;desc=\"{}\", \
             hops;desc=\"{}\";dur={}{}",
            self.round_trips.get(),
            self.database_ms.get(),
            self.rows_read.get(),
            self.rows_written.get(),
            self.hops.get(),
            self.hops_ms.get(),
            sockets.unwrap_or_default(),
        )
    }
}

/// Handed to every request and every command of an object. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub config: Rc<Config>,
    pub platform: Rc<dyn Platform>,
    pub meter: Rc<Meter>,
    /// What this isolate knows of the database. Rebuilt when the isolate is.
    pub isolate: Rc<Isolate>,
}

/// Facts of the database that an isolate learns with its first batch.
#[derive(Default)]
pub struct Isolate {
    pub(crate) keys: RefCell<Option<Rc<install::ServerKeys>>>,
    /// What a token was when it was last looked at: a guess that saves a round trip, never proof.
    pub(crate) token_rows: RefCell<HashMap<String, TokenRow>>,
    /// Parsed things that are costly to make again, by a name of their owner.
    pub(crate) memo: RefCell<HashMap<&'static str, Rc<dyn std::any::Any>>>,
    /// When the last large read began, and whether it is still under way.
    pub(crate) turn_began_ms: Cell<u64>,
    pub(crate) turn_is_taken: Cell<bool>,
    /// When a room was last asked for something, or answered.
    pub(crate) room_asked_ms: Cell<u64>,
}

impl Context {
    pub fn server_name(&self) -> &OwnedServerName {
        &self.config.server_name
    }

    pub fn now_ms(&self) -> u64 {
        self.platform.now_ms()
    }

    /// Random bytes from the system's cryptographic source.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.platform.fill_random(&mut bytes);
        bytes
    }

    /// A random string of letters and digits: about 5.95 bits a character.
    pub fn random_string(&self, length: usize) -> String {
        const ALPHABET: &[u8; 62] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let mut text = String::with_capacity(length);
        while text.len() < length {
            // Bytes from 248 up are passed over: 248 is the largest multiple of 62 in a byte.
            let usable = self.random::<32>().into_iter().filter(|byte| *byte < 248);
            text.extend(
                usable.take(length - text.len()).map(|b| char::from(ALPHABET[usize::from(b % 62)])),
            );
        }
        text
    }

    /// Runs a batch: one round trip, one transaction. The first one of an isolate also checks the
    /// schema and reads the server's keys; on an empty database it creates both.
    ///
    /// # Errors
    /// The batch's own; see [`DatabaseError`].
    pub async fn batch(
        &self,
        statements: Vec<Statement>,
    ) -> Result<Vec<QueryResult>, DatabaseError> {
        if self.isolate.keys.borrow().is_some() {
            return self.metered_batch(statements).await;
        }
        install::first_batch(self, statements).await
    }

    /// A batch without the check of the schema: for the installer.
    pub(crate) async fn metered_batch(
        &self,
        statements: Vec<Statement>,
    ) -> Result<Vec<QueryResult>, DatabaseError> {
        let is_packed = statements.iter().any(Statement::is_small);
        let again = if is_packed { statements.clone() } else { Vec::new() };
        match self.packed_batch(Packed::new(statements)).await {
            // The reads were not as small as they mostly are.
            Err(DatabaseError::TooLarge(_)) if is_packed => {
                self.packed_batch(Packed::unpacked(again)).await
            }
            outcome => outcome,
        }
    }

    async fn packed_batch(&self, mut packed: Packed) -> Result<Vec<QueryResult>, DatabaseError> {
        let statements = std::mem::take(&mut packed.statements);
        if statements.is_empty() {
            return packed.unpack(Vec::new());
        }
        let started_ms = self.now_ms();
        let outcome = self.platform.batch(statements).await;
        self.count_batch(started_ms, &outcome);
        packed.unpack(outcome?)
    }

    /// Runs a batch on the database of the search index.
    ///
    /// # Errors
    /// The batch's own; see [`DatabaseError`].
    pub async fn search_batch(
        &self,
        statements: Vec<Statement>,
    ) -> Result<Vec<QueryResult>, DatabaseError> {
        let started_ms = self.now_ms();
        let outcome = self.platform.search_batch(statements).await;
        self.count_batch(started_ms, &outcome);
        outcome
    }

    fn count_batch(&self, started_ms: u64, outcome: &Result<Vec<QueryResult>, DatabaseError>) {
        Meter::add(&self.meter.round_trips, 1);
        Meter::add(&self.meter.database_ms, self.now_ms().saturating_sub(started_ms));
        if let Ok(results) = outcome {
            Meter::add(&self.meter.rows_read, results.iter().map(|r| r.rows_read).sum());
            Meter::add(&self.meter.rows_written, results.iter().map(|r| r.rows_written).sum());
        }
    }

    /// The server's keys.
    ///
    /// # Errors
    /// If this isolate has not run a batch yet and the one that reads them fails.
    pub async fn keys(&self) -> Result<Rc<install::ServerKeys>, ApiError> {
        if let Some(keys) = self.isolate.keys.borrow().clone() {
            return Ok(keys);
        }
        install::first_batch(self, Vec::new()).await?;
        let keys = self.isolate.keys.borrow().clone();
        keys.ok_or_else(|| ApiError::internal("the first batch brought no keys"))
    }

    /// Sends a command to a room's writer.
    ///
    /// # Errors
    /// The writer's answer, as the caller is to see it.
    pub async fn room(
        &self,
        room_id: &RoomId,
        command: RoomCommand,
    ) -> Result<RoomReply, ApiError> {
        let started_ms = self.now_ms();
        self.isolate.room_asked_ms.set(started_ms);
        let outcome = self.platform.room(room_id, command).await;
        self.isolate.room_asked_ms.set(self.now_ms());
        self.count_hop(started_ms);
        outcome
    }

    /// Sends a command to the guard of an account or an address.
    ///
    /// # Errors
    /// The guard's answer, as the caller is to see it.
    pub async fn guard(&self, key: &str, command: GuardCommand) -> Result<GuardReply, ApiError> {
        let started_ms = self.now_ms();
        let outcome = self.platform.guard(key, command).await;
        self.count_hop(started_ms);
        outcome
    }

    /// Tells waiting syncs, after the answer has been sent.
    pub fn announce(&self, announcement: Announcement) {
        let platform = self.platform.clone();
        self.platform.spawn(Box::pin(async move {
            platform.announce(announcement).await;
        }));
    }

    /// Tells the members of a room, and whom the announcement names, while the answer is on its
    /// way. The members are named only if a notifier does not know this version of them.
    pub fn announce_room(&self, announcement: Announcement, joined: Rc<[OwnedUserId]>) {
        let platform = self.platform.clone();
        self.platform.spawn(Box::pin(async move {
            let mut told = announcement.clone();
            if platform.announce(announcement).await == Announced::MembersNeeded {
                if let Announcement::Room { members, .. } = &mut told {
                    *members = Some(joined.to_vec());
                }
                platform.announce(told).await;
            }
        }));
    }

    /// Tells the senders of these users' notifications, after the answer has been sent.
    pub fn push(&self, user_ids: Vec<OwnedUserId>, command: PushCommand) {
        if user_ids.is_empty() {
            return;
        }
        let platform = self.platform.clone();
        self.platform.spawn(Box::pin(async move {
            let platform = &platform;
            let tell = |user_id: OwnedUserId| async move {
                // The next notification, or the sweep, makes up for it.
                if let Err(error) = platform.push(&user_id, command).await {
                    crate::log::warn(&format!("a push to {user_id} has to wait: {error}"));
                }
            };
            stream::iter(user_ids).for_each_concurrent(SENDERS_AT_ONCE_MAX, tell).await;
        }));
    }

    /// The application services that are told of events.
    pub fn services_that_listen(&self) -> impl Iterator<Item = Rc<ApplicationService>> + '_ {
        let services = self.config.application_services.iter();
        services.filter(|service| service.url.is_some()).cloned()
    }

    /// Whether an application service has this user to itself.
    pub fn is_of_service(&self, user_id: &UserId) -> bool {
        self.config.application_services.iter().any(|service| service.owns_user(user_id))
    }

    /// Whether somebody may send only so fast: not if they are of an application service that
    /// is not limited.
    pub fn limits_sending(&self, user_id: &UserId) -> bool {
        let mut services = self.config.application_services.iter();
        let is_exempt = |one: &Rc<ApplicationService>| !one.rate_limited && one.owns_user(user_id);
        self.config.rate_limits && !services.any(is_exempt)
    }

    /// Has application services told what has been written, after the answer has been sent.
    pub fn tell_services(&self) {
        if self.services_that_listen().next().is_none() {
            return;
        }
        let platform = self.platform.clone();
        self.platform.spawn(Box::pin(async move {
            // The next event, or the sweep, makes up for it.
            if let Err(error) = platform.tell_services().await {
                crate::log::warn(&format!("application services have to wait: {error}"));
            }
        }));
    }

    /// Registers a waiting `/sync`, or somebody who looks into a room. One hop.
    ///
    /// # Errors
    /// If the notifier cannot be reached.
    pub async fn register_waiter(
        &self,
        user_id: &UserId,
        device_id: Option<&DeviceId>,
        room_id: Option<&RoomId>,
    ) -> Result<Box<dyn Waiter>, ApiError> {
        let started_ms = self.now_ms();
        let outcome = self.platform.register_waiter(user_id.as_str(), device_id, room_id).await;
        self.count_hop(started_ms);
        if let Ok(waiter) = &outcome {
            self.meter.sockets.set(waiter.sockets());
        }
        outcome
    }

    /// Sends a request to another server. Redirects are answers.
    ///
    /// # Errors
    /// If there is no answer within the bounds.
    pub async fn fetch(
        &self,
        request: http::Request<Vec<u8>>,
        bounds: Bounds,
    ) -> Result<http::Response<Vec<u8>>, FetchError> {
        self.platform.fetch(request, bounds).await
    }

    fn count_hop(&self, started_ms: u64) {
        Meter::add(&self.meter.hops, 1);
        Meter::add(&self.meter.hops_ms, self.now_ms().saturating_sub(started_ms));
    }
}
