//! A whole server in the test's process, and a small client for it.
//!
//! ```ignore
//! let server = Server::new();
//! let alice = server.register("alice");
//! let body = server.get(&alice, "/_matrix/client/v3/account/whoami").ok();
//! ```
//! Calls block until the answer is there and everything that was spawned has come to rest. To have
//! several requests under way at once, join the futures of [`Server::request`] in [`Server::run`].

pub mod crypto;
pub mod house;
pub mod internet;
pub mod notifiers;
pub mod platform;
pub mod sqlite;
pub mod steps;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

use futures_executor::LocalPool;
use futures_util::task::LocalSpawnExt;
use myelin::config::Config;
use myelin::context::Meter;
use serde_json::{Value, json};

pub use platform::SqlitePlatform;
pub use sqlite::Failure;

/// Of every test server.
pub const SERVER_NAME: &str = "example.org";

/// A user's password, unless a test says otherwise.
pub const PASSWORD: &str = "correct horse battery staple";

const VARIABLES: &[(&str, &str)] = &[
    ("SERVER_NAME", SERVER_NAME),
    ("REGISTRATION", "open"),
    ("REGISTRATION_SHARED_SECRET", "shared secret"),
    ("BCRYPT_ROUNDS", "4"),
    ("RATE_LIMITS", "off"),
];

/// A server on an empty database.
pub struct Server {
    pub platform: Rc<SqlitePlatform>,
    pool: RefCell<LocalPool>,
}

/// Somebody who is logged in; stands for the token in requests.
#[derive(Clone, Debug)]
pub struct Account {
    pub user_id: String,
    pub device_id: String,
    pub token: String,
}

impl AsRef<str> for Account {
    fn as_ref(&self) -> &str {
        &self.token
    }
}

/// An answer, with what it cost.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Value,
    pub bytes: Vec<u8>,
    pub cost: Rc<Meter>,
}

impl Reply {
    /// The body of a successful answer.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// The body of an error with this status and errcode.
    #[track_caller]
    pub fn error(self, status: u16, errcode: &str) -> Value {
        let found = (self.status, self.body["errcode"].as_str().unwrap_or_default());
        assert_eq!(found, (status, errcode), "{}", self.body);
        self.body
    }
}

impl Server {
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// A server with these variables besides, or instead of, the usual ones.
    pub fn with(variables: &[(&str, &str)]) -> Self {
        let pairs = VARIABLES.iter().chain(variables);
        let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = Config::read(pairs).expect("the variables are valid");
        let pool = LocalPool::new();
        let platform = SqlitePlatform::new(config, pool.spawner());
        Self { platform, pool: RefCell::new(pool) }
    }

    /// Runs this to its end. When nothing can go on, the clock moves to the next moment that
    /// somebody waits for.
    pub fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        let outcome: Rc<Cell<Option<T>>> = Rc::default();
        let slot = outcome.clone();
        let mut pool = self.pool.borrow_mut();
        let task = async move { slot.set(Some(future.await)) };
        pool.spawner().spawn_local(task).expect("the executor lives");
        loop {
            pool.run_until_stalled();
            if let Some(outcome) = outcome.take() {
                return outcome;
            }
            assert!(self.platform.advance_to_next_sleeper(), "nothing can go on");
        }
    }

    /// A request under way; `token` may be empty, `body` is left out when it is null.
    pub fn request<T: AsRef<str> + ?Sized>(
        &self,
        method: &str,
        token: &T,
        path: &str,
        body: &Value,
    ) -> impl Future<Output = Reply> + 'static + use<T> {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.request_bytes(method, token, path, bytes)
    }

    /// As [`Server::request`], with a body that need not be JSON.
    pub fn request_bytes<T: AsRef<str> + ?Sized>(
        &self,
        method: &str,
        token: &T,
        path: &str,
        body: Vec<u8>,
    ) -> impl Future<Output = Reply> + 'static + use<T> {
        let mut builder = http::Request::builder()
            .method(method)
            .uri(path)
            .header("cf-connecting-ip", "192.0.2.1")
            .header("user-agent", "test")
            .header("content-type", "application/json");
        if !token.as_ref().is_empty() {
            builder = builder.header("authorization", format!("Bearer {}", token.as_ref()));
        }
        self.send(builder.body(body).expect("the request is well-formed"))
    }

    /// Any request at all.
    pub fn send(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> impl Future<Output = Reply> + 'static + use<> {
        let context = self.platform.context();
        let cost = context.meter.clone();
        let platform = self.platform.clone();
        async move {
            let (parts, mut bytes) = myelin::routes::dispatch(context, request).await.into_parts();
            if let Some(part) = parts.extensions.get() {
                bytes = platform.file_part(part);
            }
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            Reply { status: parts.status.as_u16(), headers: parts.headers, body, bytes, cost }
        }
    }

    pub fn call(&self, method: &str, token: impl AsRef<str>, path: &str, body: Value) -> Reply {
        self.run(self.request(method, &token, path, &body))
    }

    pub fn get(&self, token: impl AsRef<str>, path: &str) -> Reply {
        self.call("GET", token, path, Value::Null)
    }

    pub fn post(&self, token: impl AsRef<str>, path: &str, body: Value) -> Reply {
        self.call("POST", token, path, body)
    }

    pub fn put(&self, token: impl AsRef<str>, path: &str, body: Value) -> Reply {
        self.call("PUT", token, path, body)
    }

    pub fn delete(&self, token: impl AsRef<str>, path: &str, body: Value) -> Reply {
        self.call("DELETE", token, path, body)
    }

    /// Makes an account by open registration.
    #[track_caller]
    pub fn register(&self, username: &str) -> Account {
        let path = "/_matrix/client/v3/register";
        let auth = json!({ "type": "m.login.dummy" });
        let body = json!({ "auth": auth, "username": username, "password": PASSWORD });
        account(&self.post("", path, body).ok())
    }

    /// Logs in on a new device.
    #[track_caller]
    pub fn login(&self, username: &str) -> Account {
        let identifier = json!({ "type": "m.id.user", "user": username });
        let body = json!({
            "type": "m.login.password",
            "identifier": identifier,
            "password": PASSWORD,
        });
        account(&self.post("", "/_matrix/client/v3/login", body).ok())
    }

    /// `POST /rooms/{room_id}/{action}`.
    pub fn act(&self, account: &Account, room_id: &str, action: &str, body: Value) {
        self.post(account, &format!("/_matrix/client/v3/rooms/{room_id}/{action}"), body).ok();
    }

    pub fn join(&self, account: &Account, room_id: &str) {
        self.act(account, room_id, "join", json!({}));
    }

    pub fn leave(&self, account: &Account, room_id: &str) {
        self.act(account, room_id, "leave", json!({}));
    }

    /// What a query finds in the database, as rows of JSON.
    pub fn rows(&self, sql: &'static str) -> Vec<Value> {
        let statement = myelin::storage::database::Statement::new(sql);
        let results = self.platform.sqlite.batch(&[statement]).expect("the query is valid");
        results[0].rows().expect("rows are JSON")
    }
}

/// A text as one segment of a path, or as a value of a query.
pub fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Reads who is logged in from the answer of a login or registration.
pub fn account(body: &Value) -> Account {
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    Account { user_id: text("user_id"), device_id: text("device_id"), token: text("access_token") }
}
