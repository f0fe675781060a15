//! The exported Durable Object classes: each hands its commands to `durable`.

use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use worker::{DurableObject, Env, Request, Response, State, durable_object};

use super::platform::{EdgePlatform, Spawner};
use crate::context::Context;
use crate::error::ApiError;

macro_rules! object {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[durable_object]
        pub struct $name {
            state: Rc<State>,
            env: Env,
        }

        impl $name {
            /// A context for one command.
            #[allow(dead_code)]
            fn context(&self) -> Result<Context, ApiError> {
                EdgePlatform::context(&self.env, Spawner::Object(self.state.clone()))
            }
        }
    };
}

object! {
    /// See `durable::room`.
    Room
}

/// See `durable::account_guard`.
#[durable_object]
pub struct AccountGuard {
    state: Rc<State>,
    env: Env,
    guard: crate::durable::AccountGuard,
}

impl DurableObject for Room {
    fn new(state: State, env: Env) -> Self {
        Self { state: Rc::new(state), env }
    }

    async fn fetch(&self, _request: Request) -> worker::Result<Response> {
        answer(Err::<(), _>(ApiError::unrecognized()))
    }
}

impl DurableObject for AccountGuard {
    fn new(state: State, env: Env) -> Self {
        Self { state: Rc::new(state), env, guard: crate::durable::AccountGuard::default() }
    }

    async fn fetch(&self, mut request: Request) -> worker::Result<Response> {
        let outcome = match command(&mut request).await {
            Ok(command) => EdgePlatform::context(&self.env, Spawner::Object(self.state.clone()))
                .and_then(|context| self.guard.handle(&context, command)),
            Err(error) => Err(error),
        };
        answer(outcome)
    }
}

/// Reads the command that the Worker sent.
pub async fn command<T: DeserializeOwned>(request: &mut Request) -> Result<T, ApiError> {
    let text = request.text().await.map_err(ApiError::internal)?;
    serde_json::from_str(&text).map_err(ApiError::internal)
}

/// Answers a command.
pub fn answer<T: Serialize>(outcome: Result<T, ApiError>) -> worker::Result<Response> {
    Response::ok(serde_json::to_string(&outcome)?)
}
