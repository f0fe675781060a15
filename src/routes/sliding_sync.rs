//! Simplified sliding sync (MSC4186): what is new of the rooms that a client looks at.
//!
//! A request that finds nothing waits, as `long_poll` says.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::Method;
use myelin_protocol::sliding_sync::{InvalidRequest, Position, SlidingSyncRequest};
use ruma::presence::PresenceState;
use ruma::{OwnedDeviceId, OwnedUserId};
use sha2::{Digest, Sha256};

use super::access::{Access, Caller};
use super::endpoint::{Answer, Incoming, Route, json, raw};
use super::long_poll::{Found, Looks, TIMEOUT_MAX_MS, wait_for_news};
use crate::accounts::presence::note_sync;
use crate::error::ApiError;
use crate::serving::Reader;
use crate::serving::sliding::answer::SlidingSyncAnswer;
use crate::serving::sliding::extensions::{self, Extension};
use crate::serving::sliding::look::{Look, Looked, unknown_position};
use crate::serving::sliding::{Draft, SlidingSync};
use crate::storage::database::Results;
use crate::storage::{presence, typing};

pub fn routes() -> Vec<Route> {
    let path = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";
    vec![raw(Method::POST, &[path], sliding_sync)]
}

/// `POST /_matrix/client/unstable/org.matrix.simplified_msc3575/sync`
async fn sliding_sync(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    access.token()?;
    let asked = Asked::read(&incoming)?;
    let started_ms = access.context.now_ms();
    let (waiting, looked) = Waiting::begin(access, asked).await?;
    json(&waiting.run(looked, started_ms).await?)
}

/// The request's own words.
struct Asked {
    request: SlidingSyncRequest,
    /// Equal requests have equal hashes.
    hash: String,
    since: Option<Position>,
    timeout_ms: u64,
    presence: PresenceState,
}

impl Asked {
    fn read(incoming: &Incoming) -> Result<Self, ApiError> {
        let request: SlidingSyncRequest = incoming.json()?;
        request.check().map_err(|error| refused(&error))?;
        let since = incoming.query("pos").filter(|pos| !pos.is_empty());
        let since = since.map(|pos| pos.parse::<Position>()).transpose();
        let timeout_ms =
            incoming.query("timeout").map(|timeout| timeout.parse::<u64>()).transpose();
        let timeout_ms = timeout_ms
            .map_err(|_| ApiError::invalid_param("timeout is a number of milliseconds"))?
            .unwrap_or(0);
        Ok(Self {
            hash: STANDARD_NO_PAD.encode(Sha256::digest(incoming.http.body())),
            request,
            since: since.map_err(|_| unknown_position())?,
            timeout_ms: timeout_ms.min(TIMEOUT_MAX_MS),
            presence: presence_of(incoming)?,
        })
    }
}

fn refused(error: &InvalidRequest) -> ApiError {
    ApiError::invalid_param(error.to_string())
}

fn presence_of(incoming: &Incoming) -> Result<PresenceState, ApiError> {
    let presence = incoming.query("set_presence").map(PresenceState::from).unwrap_or_default();
    match presence {
        PresenceState::Online | PresenceState::Offline | PresenceState::Unavailable => Ok(presence),
        _ => Err(ApiError::invalid_param("set_presence is online, offline or unavailable")),
    }
}

/// A request under way.
struct Waiting {
    caller: Caller,
    reader: Reader,
    asked: Asked,
    extensions: Vec<Box<dyn Extension>>,
}

impl Waiting {
    /// Authenticates and takes the first look, in one batch if this isolate has seen the token.
    async fn begin(access: Access, asked: Asked) -> Result<(Self, Looked), ApiError> {
        let Some((user_id, device_id)) = access.expected_device() else {
            // The token becomes known by being looked at.
            let again = access.clone();
            access.authenticate().await?;
            return Box::pin(Self::begin(again, asked)).await;
        };
        let extensions = extensions::enabled(&asked.request);
        let mut extensions = extensions.map_err(|error| refused(&error))?;
        let now_ms = access.context.now_ms();
        let look = look(&user_id, &device_id, &asked, now_ms);
        let mut batch = vec![presence::select_device(&user_id, device_id.as_deref())];
        batch.extend(look.statements(&extensions));
        let (caller, results) = access.authenticate_with(batch).await?;
        if caller.user_id != user_id || caller.device_id != device_id {
            return Err(ApiError::internal("a token has changed hands"));
        }
        let mut results = Results::new(results);
        let until_ms = now_ms + asked.timeout_ms;
        note_sync(&caller.actor(), results.first()?, &asked.presence, until_ms);
        let looked = look.read(&mut extensions, &mut results)?;
        let reader = Reader { user_id, device_id, ignored: looked.ignored.clone() };
        Ok((Self { caller, reader, asked, extensions }, looked))
    }

    async fn run(mut self, looked: Looked, started_ms: u64) -> Result<SlidingSyncAnswer, ApiError> {
        let deadline_ms = started_ms + self.asked.timeout_ms;
        let found = self.draft(looked).await?;
        let is_impatient = self.asked.since.is_none() || self.asked.timeout_ms == 0;
        let draft = if is_impatient || found.is_news {
            found.answer
        } else {
            let (context, user_id) = (self.caller.context.clone(), self.reader.user_id.clone());
            let device_id = self.reader.device_id.clone();
            let device_id = device_id.as_deref();
            wait_for_news(&context, &user_id, device_id, deadline_ms, found.due_ms, &mut self)
                .await?
        };
        self.sync().finish(draft).await
    }

    async fn draft(&mut self, looked: Looked) -> Result<Found<Draft>, ApiError> {
        let mut extensions = std::mem::take(&mut self.extensions);
        let draft = self.sync().draft(looked, &mut extensions).await;
        self.extensions = extensions;
        let draft = draft?;
        let due_ms = self.extensions.iter().filter_map(|extension| extension.due_ms()).min();
        Ok(Found { is_news: draft.is_news, answer: draft, due_ms })
    }

    fn sync(&self) -> SlidingSync<'_> {
        SlidingSync {
            context: &self.caller.context,
            reader: &self.reader,
            request: &self.asked.request,
            request_hash: &self.asked.hash,
            since: self.asked.since.as_ref(),
        }
    }
}

fn look<'a>(
    user_id: &'a OwnedUserId,
    device_id: &'a Option<OwnedDeviceId>,
    asked: &'a Asked,
    now_ms: u64,
) -> Look<'a> {
    Look {
        user_id,
        device_id: device_id.as_deref(),
        request: &asked.request,
        request_hash: &asked.hash,
        since: asked.since.as_ref(),
        now_ms,
    }
}

#[async_trait(?Send)]
impl Looks for Waiting {
    type Answer = Draft;

    /// Who stops typing by themselves by now is told of here.
    async fn look(&mut self, due_ms: Option<u64>) -> Result<Found<Draft>, ApiError> {
        let context = self.caller.context.clone();
        let now_ms = context.now_ms();
        let mut batch = Vec::new();
        if due_ms.is_some_and(|ts| ts <= now_ms) {
            batch.extend(typing::expire(now_ms));
        }
        let expiring = batch.len();
        let look = look(&self.reader.user_id, &self.reader.device_id, &self.asked, now_ms);
        batch.extend(look.statements(&self.extensions));
        let mut results = Results::new(context.batch(batch).await?);
        results.skip(expiring);
        let looked = look.read(&mut self.extensions, &mut results)?;
        self.reader.ignored.clone_from(&looked.ignored);
        self.draft(looked).await
    }
}
