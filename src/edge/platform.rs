//! `Platform` on the Worker's bindings.

use std::cell::RefCell;
use std::rc::Rc;

use async_trait::async_trait;
use futures_util::future::LocalBoxFuture;
use js_sys::{Array, Object, Reflect};
use ruma::{DeviceId, RoomId, UserId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::JsCast;
use worker::{Delay, Env, Stub};

use super::d1::{self, D1};
use super::files;
use super::http::Connection;
use super::waiter::SocketWaiter;
use crate::config::Config;
use crate::context::{Context, Isolate, Meter, Platform};
use crate::durable::sync_notifier::{notifier_of, shares};
use crate::durable::{Announced, Announcement, Waiter};
use crate::durable::{GuardCommand, GuardReply, PushCommand, RoomCommand, RoomReply};
use crate::error::ApiError;
use crate::log;
use crate::outbound::{Bounds, FetchError};
use crate::storage::database::{DatabaseError, QueryResult, Statement};
use crate::storage::media_files::{FileBody, FileError};

/// Who keeps work alive after the answer.
#[derive(Clone)]
pub enum Spawner {
    Worker(Rc<worker::Context>),
    Schedule(Rc<worker::ScheduleContext>),
    Object(Rc<worker::State>),
}

/// What an object's answer has cost: see [`Meter::to_text`].
pub const COST_HEADER: &str = "x-cost";

/// Where an object keeps whose it is, for its alarm.
pub const USER_KEY: &str = "user_id";
pub const ROOM_KEY: &str = "room_id";

pub struct EdgePlatform {
    env: Env,
    config: Rc<Config>,
    meter: Rc<Meter>,
    spawner: Spawner,
    connection: Connection,
}

thread_local! {
    static ISOLATE: Rc<Isolate> = Rc::default();
    static CONFIG: RefCell<Option<Rc<Config>>> = const { RefCell::new(None) };
}

impl EdgePlatform {
    /// The context of one request, or of one object.
    ///
    /// # Errors
    /// A variable that cannot be understood: logged by name.
    pub fn context(env: &Env, spawner: Spawner) -> Result<Context, ApiError> {
        Self::context_with(env, spawner, Connection::default())
    }

    /// As [`EdgePlatform::context`], for a request of a client.
    ///
    /// # Errors
    /// As [`EdgePlatform::context`].
    pub fn context_with(
        env: &Env,
        spawner: Spawner,
        connection: Connection,
    ) -> Result<Context, ApiError> {
        let config = config(env)?;
        let meter = Rc::new(Meter::default());
        let (env, isolate) = (env.clone(), ISOLATE.with(Rc::clone));
        let settings = config.clone();
        let platform = Self { env, config: settings, meter: meter.clone(), spawner, connection };
        Ok(Context { config, platform: Rc::new(platform), meter, isolate })
    }

    fn stub(&self, binding: &str, name: &str) -> Result<Stub, ApiError> {
        let namespace = self.env.durable_object(binding).map_err(ApiError::internal)?;
        let stub = match self.config.location.as_str() {
            "" => namespace.get_by_name(name),
            location => namespace.get_by_name_with_location_hint(name, location),
        };
        stub.map_err(ApiError::internal)
    }

    fn notifier(&self, index: u32) -> Result<Stub, ApiError> {
        self.stub("SYNC_NOTIFIER", &format!("sync-notifier-{index}"))
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        stub: Stub,
        command: &Q,
    ) -> Result<A, ApiError> {
        self.add_latency().await;
        let body = serde_json::to_string(command).map_err(ApiError::internal)?;
        let answer = super::stub::post(stub, &body).await?;
        if let Some(cost) = &answer.cost {
            self.meter.add_text(cost);
        }
        serde_json::from_str::<Result<A, ApiError>>(&answer.text).map_err(ApiError::internal)?
    }

    async fn batch_on(
        &self,
        name: &str,
        statements: Vec<Statement>,
    ) -> Result<Vec<QueryResult>, DatabaseError> {
        let missing = || DatabaseError::Refused(format!("there is no binding {name}"));
        let binding = Reflect::get(&self.env, &name.into()).map_err(|_| missing())?;
        match binding.is_object() {
            true => d1::batch(binding.unchecked_ref::<D1>(), statements).await,
            false => Err(missing()),
        }
    }

    async fn add_latency(&self) {
        if self.config.latency_ms > 0 && self.config.development {
            self.sleep(self.config.latency_ms).await;
        }
    }
}

/// Reads the text variables and secrets of the environment, once per isolate.
pub fn config(env: &Env) -> Result<Rc<Config>, ApiError> {
    if let Some(config) = CONFIG.with_borrow(Clone::clone) {
        return Ok(config);
    }
    let object: &Object = env.unchecked_ref();
    let entries = Object::entries(object);
    let pairs = entries.iter().filter_map(|entry| {
        let entry = Array::from(&entry);
        Some((entry.get(0).as_string()?, entry.get(1).as_string()?))
    });
    let config = Rc::new(Config::read(pairs).map_err(ApiError::internal)?);
    CONFIG.set(Some(config.clone()));
    Ok(config)
}

#[async_trait(?Send)]
impl Platform for EdgePlatform {
    fn now_ms(&self) -> u64 {
        js_sys::Date::now() as u64
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        // The platform's random source has no way to fail.
        let _ = getrandom::fill(buffer);
    }

    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>, DatabaseError> {
        self.add_latency().await;
        self.batch_on("DATABASE", statements).await
    }

    async fn search_batch(
        &self,
        statements: Vec<Statement>,
    ) -> Result<Vec<QueryResult>, DatabaseError> {
        self.add_latency().await;
        self.batch_on("SEARCH", statements).await
    }

    async fn room(&self, room_id: &RoomId, command: RoomCommand) -> Result<RoomReply, ApiError> {
        self.ask(self.stub("ROOM", room_id.as_str())?, &(room_id, command)).await
    }

    async fn guard(&self, key: &str, command: GuardCommand) -> Result<GuardReply, ApiError> {
        self.ask(self.stub("ACCOUNT_GUARD", key)?, &command).await
    }

    async fn announce(&self, announcement: Announcement) -> Announced {
        let shares = shares(announcement, self.config.sync_notifiers);
        let telling = shares.into_iter().map(|(index, share)| async move {
            let told = self.ask::<_, Announced>(self.notifier(index)?, &share).await;
            told.inspect_err(|_| log::warn("an announcement was lost: its notifier failed"))
        });
        let told = futures_util::future::join_all(telling).await;
        match told.contains(&Ok(Announced::MembersNeeded)) {
            true => Announced::MembersNeeded,
            false => Announced::Told,
        }
    }

    async fn push(&self, user_id: &UserId, command: PushCommand) -> Result<(), ApiError> {
        self.ask(self.stub("PUSH_SENDER", user_id.as_str())?, &(user_id, command)).await
    }

    async fn tell_services(&self) -> Result<(), ApiError> {
        self.add_latency().await;
        self.ask(self.stub("SERVICE_SENDER", "service-sender")?, &()).await
    }

    async fn set_alarm(&self, owner: &str, at_ms: u64) -> Result<(), ApiError> {
        let Spawner::Object(state) = &self.spawner else {
            return Err(ApiError::internal("only objects have alarms"));
        };
        let storage = state.storage();
        // An alarm does not say whose it is.
        let key = if owner.starts_with('!') { ROOM_KEY } else { USER_KEY };
        storage.put(key, owner).await.map_err(ApiError::internal)?;
        let wait_ms = at_ms.saturating_sub(self.now_ms());
        let wait_ms = i64::try_from(wait_ms).unwrap_or(i64::MAX);
        storage.set_alarm(wait_ms).await.map_err(ApiError::internal)
    }

    async fn register_waiter(
        &self,
        user_id: &str,
        device_id: Option<&DeviceId>,
        room_id: Option<&RoomId>,
    ) -> Result<Box<dyn Waiter>, ApiError> {
        self.add_latency().await;
        let index = notifier_of(user_id, self.config.sync_notifiers);
        let notifier = self.notifier(index)?;
        let waiter = SocketWaiter::register(&notifier, user_id, device_id, room_id).await?;
        Ok(Box::new(waiter.until_aborted(self.connection.signal.as_ref())?))
    }

    async fn fetch(
        &self,
        request: http::Request<Vec<u8>>,
        bounds: Bounds,
    ) -> Result<http::Response<Vec<u8>>, FetchError> {
        super::fetch::fetch(&self.env, request, bounds).await
    }

    async fn put_file(&self, path: &str, body: FileBody) -> Result<u64, FileError> {
        let bucket = files::bucket(&self.env)?;
        match body {
            FileBody::Bytes(bytes) => files::put_bytes(&bucket, path, bytes).await,
            FileBody::OfRequest { length, bytes_max } => {
                let body = self.connection.body.take();
                files::put_stream(&bucket, path, body, length, bytes_max).await
            }
        }
    }

    async fn get_file(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        files::get(&files::bucket(&self.env)?, path).await
    }

    async fn delete_files(&self, paths: &[String]) -> Result<(), FileError> {
        files::delete(&files::bucket(&self.env)?, paths).await
    }

    fn spawn(&self, future: LocalBoxFuture<'static, ()>) {
        match &self.spawner {
            Spawner::Worker(context) => context.wait_until(future),
            Spawner::Schedule(context) => context.wait_until(future),
            Spawner::Object(state) => state.wait_until(future),
        }
    }

    async fn sleep(&self, duration_ms: u64) {
        Delay::from(std::time::Duration::from_millis(duration_ms)).await;
    }
}
