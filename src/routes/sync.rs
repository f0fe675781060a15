//! What is new. Client-Server API, "Syncing".
//!
//! A request that finds nothing waits, as `long_poll` says.

use std::collections::BTreeSet;

use async_trait::async_trait;
use http::Method;
use myelin_protocol::filter::{SyncRelations, has_known_format};
use myelin_protocol::sync::Wanted;
use myelin_protocol::sync_token::StreamToken;
use ruma::OwnedRoomId;
use ruma::api::client::filter::FilterDefinition;
use ruma::api::client::sync::sync_events::v3;
use ruma::presence::PresenceState;

use super::access::{Access, Caller};
use super::endpoint::{Answer, Incoming, Route, decode, json, raw};
use super::filters::UNKNOWN_FORMAT;
use super::long_poll::{Found, Looks, TIMEOUT_MAX_MS, wait_for_news};
use crate::accounts::presence::note_sync;
use crate::durable::News;
use crate::error::ApiError;
use crate::serving::Reader;
use crate::serving::sync::Sync;
use crate::serving::sync::answer::{StateAfter, SyncAnswer};
use crate::serving::sync::changes::{self, Changes, Look};
use crate::serving::sync::messages::MessagesLook;
use crate::storage::database::{Results, Statement};
use crate::storage::presence;
use crate::storage::typing;
use crate::storage::user_filters::{self, FilterRow};

/// What `use_state_after` was called before it was in the specification: MSC4222.
const UNSTABLE_USE_STATE_AFTER: &str = "org.matrix.msc4222.use_state_after";

pub fn routes() -> Vec<Route> {
    let paths = &["/_matrix/client/v3/sync", "/_matrix/client/r0/sync"];
    vec![raw(Method::GET, paths, sync)]
}

/// `GET /_matrix/client/v3/sync`
async fn sync(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    access.token()?;
    let request = Request::read(&incoming)?;
    let started_ms = access.context.now_ms();
    let (waiting, changes) = Waiting::begin(access, request).await?;
    json(&waiting.run(changes, started_ms).await?)
}

/// The request's own words.
struct Request {
    since: Option<StreamToken>,
    filter: Option<v3::Filter>,
    relations: SyncRelations,
    full_state: bool,
    state_after: Option<StateAfter>,
    presence: PresenceState,
    timeout_ms: u64,
}

impl Request {
    fn read(incoming: &Incoming) -> Result<Self, ApiError> {
        let request: v3::Request = decode(incoming)?;
        let unstable = incoming.query(UNSTABLE_USE_STATE_AFTER);
        let state_after = match unstable.as_deref() {
            _ if request.use_state_after => Some(StateAfter::Stable),
            Some("true") => Some(StateAfter::Unstable),
            _ => None,
        };
        let since = request.since.map(|since| since.parse::<StreamToken>());
        let since = since.transpose().map_err(|e| ApiError::invalid_param(e.to_string()))?;
        let presence = request.set_presence;
        if !matches!(
            presence,
            PresenceState::Online | PresenceState::Offline | PresenceState::Unavailable
        ) {
            let message = "set_presence is online, offline or unavailable";
            return Err(ApiError::invalid_param(message));
        }
        if let Some(v3::Filter::FilterDefinition(filter)) = &request.filter
            && !has_known_format(filter)
        {
            return Err(ApiError::invalid_param(UNKNOWN_FORMAT));
        }
        let relations = match request.filter {
            Some(v3::Filter::FilterDefinition(_)) => relations(incoming)?,
            _ => SyncRelations::default(),
        };
        let timeout_ms = request.timeout.map_or(0, |timeout| timeout.as_millis());
        Ok(Self {
            since,
            filter: request.filter,
            relations,
            full_state: request.full_state,
            state_after,
            presence,
            timeout_ms: u64::try_from(timeout_ms).unwrap_or(u64::MAX).min(TIMEOUT_MAX_MS),
        })
    }

    fn filter_id(&self) -> Result<Option<i64>, ApiError> {
        match &self.filter {
            // What cannot be read as a filter is taken for an id.
            Some(v3::Filter::FilterId(id)) if id.trim_start().starts_with('{') => {
                let error = serde_json::from_str::<FilterDefinition>(id).err();
                let error = error.map_or_else(String::new, |error| error.to_string());
                Err(ApiError::invalid_param(format!("The filter cannot be read: {error}")))
            }
            Some(v3::Filter::FilterId(id)) => Ok(Some(id.parse().map_err(|_| no_such_filter())?)),
            _ => Ok(None),
        }
    }
}

fn relations(incoming: &Incoming) -> Result<SyncRelations, ApiError> {
    let filter = incoming.query("filter").unwrap_or_default();
    serde_json::from_str(&filter).map_err(|error| ApiError::invalid_param(error.to_string()))
}

fn no_such_filter() -> ApiError {
    ApiError::invalid_param("No such filter")
}

/// A sync under way.
struct Waiting {
    caller: Caller,
    reader: Reader,
    wanted: Wanted,
    state_after: Option<StateAfter>,
    since: Option<StreamToken>,
    full_state: bool,
    timeout_ms: u64,
    /// What ended the wait.
    news: News,
}

impl Waiting {
    /// Authenticates and takes the first look, in one batch if this isolate has seen the token.
    async fn begin(access: Access, request: Request) -> Result<(Self, Changes), ApiError> {
        let filter_id = request.filter_id()?;
        let Some((user_id, device_id)) = access.expected_device() else {
            // The token becomes known by being looked at.
            let again = access.clone();
            access.authenticate().await?;
            return Box::pin(Self::begin(again, request)).await;
        };
        let shows_presence = access.context.config.presence;
        let look = Look {
            user_id: &user_id,
            since: request.since.as_ref(),
            all_rooms: request.full_state,
            presence: shows_presence,
            now_ms: access.context.now_ms(),
            device_id: device_id.as_deref(),
        };
        let mut batch: Vec<Statement> = Vec::new();
        batch.extend(filter_id.map(|id| user_filters::select(&user_id, id)));
        batch.push(presence::select_device(&user_id, device_id.as_deref()));
        batch.extend(changes::statements(&look));
        let (caller, results) = access.authenticate_with(batch).await?;
        if caller.user_id != user_id || caller.device_id != device_id {
            return Err(ApiError::internal("a token has changed hands"));
        }
        let mut results = Results::new(results);
        let (filter, relations) = match (filter_id, request.filter) {
            (Some(_), _) => stored_filter(results.first()?)?,
            (None, Some(v3::Filter::FilterDefinition(filter))) => (filter, request.relations),
            (None, _) => Default::default(),
        };
        let until_ms = look.now_ms + request.timeout_ms;
        note_sync(&caller.actor(), results.first()?, &request.presence, until_ms);
        let changes = changes::read(&look, &mut results)?;
        let reader = Reader {
            user_id,
            device_id: caller.device_id.clone(),
            ignored: changes.ignored.clone(),
        };
        let waiting = Self {
            caller,
            reader,
            wanted: Wanted::new(filter, relations, request.state_after.is_some()),
            state_after: request.state_after,
            since: request.since,
            full_state: request.full_state,
            timeout_ms: request.timeout_ms,
            news: News::Anything,
        };
        Ok((waiting, changes))
    }

    async fn run(mut self, changes: Changes, started_ms: u64) -> Result<SyncAnswer, ApiError> {
        let deadline_ms = started_ms + self.timeout_ms;
        let (changes, answer) = self.check(changes).await?;
        let is_impatient = self.since.is_none() || self.full_state || self.timeout_ms == 0;
        if is_impatient || !answer.is_empty() {
            return Ok(answer);
        }
        let (context, user_id) = (self.caller.context.clone(), self.reader.user_id.clone());
        let device_id = self.reader.device_id.clone();
        let due_ms = changes.typing_expires_ts;
        wait_for_news(&context, &user_id, device_id.as_deref(), deadline_ms, due_ms, &mut self)
            .await
    }

    /// Answers what a look has found. Where that is nothing the client wants, the next look goes
    /// on from here.
    async fn check(&mut self, mut changes: Changes) -> Result<(Changes, SyncAnswer), ApiError> {
        let context = self.caller.context.clone();
        let typing_expires_ts = changes.typing_expires_ts;
        let upto = changes.upto.clone();
        if let (Some(since), Some(upto)) = (&self.since, &upto)
            && let Some(bounded) = changes::bounded(since, upto)
        {
            self.since = Some(bounded);
        }
        let sync = Sync {
            context: &context,
            reader: &self.reader,
            wanted: &self.wanted,
            state_after: self.state_after,
            since: self.since.as_ref(),
        };
        let answer = sync.answer(std::mem::take(&mut changes)).await?;
        if answer.is_empty() && self.since.is_some() {
            self.since = upto;
        }
        changes.typing_expires_ts = typing_expires_ts;
        Ok((changes, answer))
    }
}

impl Waiting {
    /// Any look but the first.
    fn next_look(&self) -> Look<'_> {
        let context = &self.caller.context;
        Look {
            user_id: &self.reader.user_id,
            since: self.since.as_ref(),
            all_rooms: false,
            presence: context.config.presence,
            now_ms: context.now_ms(),
            device_id: self.reader.device_id.as_deref(),
        }
    }

    /// Looks at messages in these rooms. Streams of other things are left for later looks.
    async fn look_at_messages(
        &mut self,
        since: &StreamToken,
        rooms: BTreeSet<OwnedRoomId>,
        due_ms: Option<u64>,
    ) -> Result<Found<SyncAnswer>, ApiError> {
        let context = self.caller.context.clone();
        let look = self.next_look();
        let look = MessagesLook::new(look, since, &self.wanted, rooms.into_iter());
        let mut results = Results::new(context.batch(look.statements()).await?);
        let changes = look.read(self.reader.ignored.clone(), &mut results)?;
        let (_, answer) = self.check(changes).await?;
        let is_news = !answer.is_empty();
        Ok(Found { answer, is_news, due_ms })
    }
}

#[async_trait(?Send)]
impl Looks for Waiting {
    type Answer = SyncAnswer;

    fn hear(&mut self, news: News) {
        self.news = news;
    }

    /// Who stops typing by themselves by now is told of here.
    async fn look(&mut self, due_ms: Option<u64>) -> Result<Found<SyncAnswer>, ApiError> {
        let context = self.caller.context.clone();
        let now_ms = context.now_ms();
        let is_due = due_ms.is_some_and(|ts| ts <= now_ms);
        if let News::Messages(rooms) = std::mem::replace(&mut self.news, News::Anything)
            && !is_due
            && let Some(since) = self.since.clone()
        {
            return self.look_at_messages(&since, rooms, due_ms).await;
        }
        let look = self.next_look();
        let mut batch = Vec::new();
        if is_due {
            batch.extend(typing::expire(now_ms));
        }
        let expiring = batch.len();
        batch.extend(changes::statements(&look));
        let mut results = Results::new(context.batch(batch).await?);
        results.skip(expiring);
        let changes = changes::read(&look, &mut results)?;
        self.reader.ignored.clone_from(&changes.ignored);
        let (changes, answer) = self.check(changes).await?;
        let is_news = !answer.is_empty();
        Ok(Found { answer, is_news, due_ms: changes.typing_expires_ts })
    }
}

fn stored_filter(row: Option<FilterRow>) -> Result<(FilterDefinition, SyncRelations), ApiError> {
    let row = row.ok_or_else(no_such_filter)?;
    let filter = serde_json::from_str(&row.filter_json).map_err(|_| no_such_filter())?;
    // One from elsewhere may have them in another form.
    Ok((filter, serde_json::from_str(&row.filter_json).unwrap_or_default()))
}
