//! The exported Durable Object classes: each hands its commands to `durable`.

use std::cell::OnceCell;
use std::rc::Rc;

use ruma::{OwnedRoomId, OwnedUserId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use worker::{DurableObject, Env, Request, Response, State, durable_object};

use super::platform::{COST_HEADER, EdgePlatform, ROOM_KEY, Spawner, USER_KEY};
use crate::context::{Context, Meter};
use crate::durable::room::Room as Writer;
use crate::durable::{PushCommand, RoomCommand, RoomReply};
use crate::error::ApiError;

/// See `durable::account_guard`.
#[durable_object]
pub struct AccountGuard {
    state: Rc<State>,
    env: Env,
    guard: crate::durable::AccountGuard,
}

/// See `durable::room`.
#[durable_object]
pub struct Room {
    state: Rc<State>,
    env: Env,
    writer: OnceCell<Rc<Writer>>,
}

impl Room {
    async fn execute(
        &self,
        request: &mut Request,
        context: Result<Context, ApiError>,
    ) -> Result<RoomReply, ApiError> {
        let (room_id, room_command): (OwnedRoomId, RoomCommand) = command(request).await?;
        self.writer(room_id).execute(&context?, room_command).await
    }

    fn writer(&self, room_id: OwnedRoomId) -> &Rc<Writer> {
        self.writer.get_or_init(|| Writer::new(room_id))
    }

    async fn send_delayed(&self, room_id: OwnedRoomId) -> Result<RoomReply, ApiError> {
        let context = EdgePlatform::context(&self.env, Spawner::Object(self.state.clone()))?;
        self.writer(room_id).execute(&context, RoomCommand::SendDelayed(None)).await
    }
}

impl DurableObject for Room {
    fn new(state: State, env: Env) -> Self {
        Self { state: Rc::new(state), env, writer: OnceCell::new() }
    }

    async fn fetch(&self, mut request: Request) -> worker::Result<Response> {
        let context = EdgePlatform::context(&self.env, Spawner::Object(self.state.clone()));
        let meter = context.as_ref().map(|context| context.meter.clone()).unwrap_or_default();
        let outcome = self.execute(&mut request, context).await;
        answer_with_cost(outcome, &meter)
    }

    async fn alarm(&self) -> worker::Result<Response> {
        let room_id: Option<OwnedRoomId> = self.state.storage().get(ROOM_KEY).await?;
        if let Some(room_id) = room_id
            && let Err(error) = self.send_delayed(room_id).await
        {
            crate::log::error(&format!("an alarm was in vain: {error}"));
        }
        Response::empty()
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

/// See `durable::push_sender`.
#[durable_object]
pub struct PushSender {
    state: Rc<State>,
    env: Env,
    sender: OnceCell<Rc<crate::durable::PushSender>>,
}

impl PushSender {
    fn handle(&self, user_id: OwnedUserId, command: PushCommand) -> Result<(), ApiError> {
        let context = EdgePlatform::context(&self.env, Spawner::Object(self.state.clone()))?;
        let sender = self.sender.get_or_init(|| crate::durable::PushSender::new(user_id));
        sender.handle(&context, command);
        Ok(())
    }
}

impl DurableObject for PushSender {
    fn new(state: State, env: Env) -> Self {
        Self { state: Rc::new(state), env, sender: OnceCell::new() }
    }

    async fn fetch(&self, mut request: Request) -> worker::Result<Response> {
        let told = command::<(OwnedUserId, PushCommand)>(&mut request).await;
        answer(told.and_then(|(user_id, command)| self.handle(user_id, command)))
    }

    async fn alarm(&self) -> worker::Result<Response> {
        let user_id: Option<OwnedUserId> = self.state.storage().get(USER_KEY).await?;
        if let Some(user_id) = user_id
            && let Err(error) = self.handle(user_id, PushCommand::Retry)
        {
            crate::log::error(&format!("an alarm was in vain: {error}"));
        }
        Response::empty()
    }
}

/// See `durable::service_sender`.
#[durable_object]
pub struct ServiceSender {
    state: Rc<State>,
    env: Env,
    sender: Rc<crate::durable::ServiceSender>,
}

impl DurableObject for ServiceSender {
    fn new(state: State, env: Env) -> Self {
        Self { state: Rc::new(state), env, sender: Rc::default() }
    }

    async fn fetch(&self, _request: Request) -> worker::Result<Response> {
        let context = EdgePlatform::context(&self.env, Spawner::Object(self.state.clone()));
        answer(context.map(|context| self.sender.handle(&context)))
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

/// Answers a command, and says what it has cost.
pub fn answer_with_cost<T: Serialize>(
    outcome: Result<T, ApiError>,
    meter: &Meter,
) -> worker::Result<Response> {
    let response = answer(outcome)?;
    response.headers().set(COST_HEADER, &meter.to_text())?;
    Ok(response)
}
