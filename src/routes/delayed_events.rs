//! Events that are sent later, unless somebody prevents it. MSC4140.

use http::Method;
use myelin_protocol::event_builder::{EVENT_SIZE_MAX, FIELD_SIZE_MAX};
use myelin_protocol::membership_change::Action;
use ruma::{OwnedRoomId, UserId};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::room_send::{alias_reads, check_aliases, new_aliases, room_id};
use super::{Access, Answer, Incoming, Route, endpoint, json as answer, raw};
use crate::config::Config;
use crate::durable::buckets::Buckets;
use crate::durable::{DelayEvent, NewEvent, RoomCommand, RoomReply};
use crate::error::{ApiError, ErrorCode};
use crate::storage::database::Results;
use crate::storage::delayed_events::{self as storage, FoundRow, ScheduledEventRow};
use crate::storage::rooms;

const SCHEDULE_PATH: &str = "/_matrix/client/unstable/org.matrix.msc4140\
     /rooms/{room_id}/delayed_event/{event_type}/{txn_id}";
const LIST_PATH: &str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events";
const EVENT_PATH: &str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}";
const ACTION_PATH: &str =
    "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}/{action}";

/// Makes an event of a request for one that is sent at once.
const DELAY_PARAMETER: &str = "org.matrix.msc4140.delay";

/// Requests that manage delayed events: as many a second, as many at once. Synapse's.
const MANAGED_PER_SECOND: f64 = 1.0;
const MANAGED_BURST: f64 = 5.0;

pub fn routes() -> Vec<Route> {
    vec![
        raw(Method::PUT, &[SCHEDULE_PATH], schedule),
        raw(Method::GET, &[LIST_PATH], list),
        raw(Method::GET, &[EVENT_PATH], show),
        raw(Method::POST, &[EVENT_PATH], manage),
        raw(Method::POST, &[ACTION_PATH], manage_by_path),
    ]
}

/// An event that somebody wants to be sent later.
pub(super) struct Wanted {
    pub room_id: OwnedRoomId,
    pub event_type: String,
    pub state_key: Option<String>,
    /// A JSON object.
    pub content: Box<RawValue>,
    pub delay_ms: u64,
    pub txn_id: Option<String>,
}

/// The delay that a request to send an event asks for.
///
/// # Errors
/// `M_INVALID_PARAM` if it is not a positive number.
pub(super) fn delay_of(incoming: &Incoming) -> Result<Option<u64>, ApiError> {
    let Some(text) = incoming.query(DELAY_PARAMETER) else { return Ok(None) };
    let delay = text.parse().ok().filter(|delay| *delay > 0);
    delay.map(Some).ok_or_else(|| {
        ApiError::invalid_param(format!("'{DELAY_PARAMETER}' must be a positive integer"))
    })
}

/// `PUT /_matrix/client/unstable/org.matrix.msc4140/rooms/{roomId}/delayed_event/{type}/{txnId}`
async fn schedule(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let body = endpoint::object(incoming.json()?)?;
    let missing = |name| move || ApiError::missing_param(format!("'{name}' is missing"));
    let delay = body.get("delay_ms").or(body.get("delay")).ok_or_else(missing("delay_ms"))?;
    let delay_ms = delay.as_u64().filter(|delay_ms| *delay_ms > 0);
    let delay_ms =
        delay_ms.ok_or_else(|| ApiError::invalid_param("'delay_ms' must be a positive integer"))?;
    let state_key = match body.get("state_key") {
        None | Some(Value::Null) => None,
        Some(key) => Some(key.as_str().ok_or_else(|| ApiError::bad_json("'state_key': a text"))?),
    };
    let content = body.get("content").ok_or_else(missing("content"))?;
    let content = endpoint::object(content.clone())?;
    let wanted = Wanted {
        room_id: room_id(incoming.arg(0))?,
        event_type: incoming.arg(1).to_owned(),
        state_key: state_key.map(str::to_owned),
        content: to_raw_value(&content).map_err(ApiError::internal)?,
        delay_ms,
        txn_id: Some(incoming.arg(2).to_owned()),
    };
    schedule_event(access, wanted).await
}

/// Schedules an event, and answers its `delay_id`. Whether its sender may send it is judged when it
/// is sent.
///
/// # Errors
/// What can be said now: too long a delay, no such room, no event.
pub(super) async fn schedule_event(access: Access, wanted: Wanted) -> Result<Answer, ApiError> {
    check(&access.context.config, &wanted)?;
    let content = serde_json::from_str(wanted.content.get());
    let content = content.map_err(|_| ApiError::bad_json("The content must be an object"))?;
    let aliases = new_aliases(&wanted.event_type, &content)?;
    let token = access.token()?;
    let mut reads = vec![
        storage::select_transaction(token, &wanted.room_id, wanted.txn_id.as_deref()),
        rooms::select_room(wanted.room_id.as_str()),
    ];
    reads.extend(alias_reads(&wanted.room_id, &aliases));
    let (caller, results) = access.authenticate_with(reads).await?;
    caller.must_not_be_suspended()?;
    let mut results = Results::new(results);
    if let Some(done) = results.first::<FoundRow>()? {
        return answer(&json!({ "delay_id": done.delay_id }));
    }
    if results.first::<Value>()?.is_none() {
        return Err(ApiError::not_found("There is no such room on this server"));
    }
    check_aliases(&wanted.room_id, &aliases, results)?;
    let event = NewEvent {
        sender: caller.user_id.clone(),
        event_type: wanted.event_type,
        state_key: wanted.state_key,
        content: wanted.content,
        redacts: None,
    };
    let (delay_ms, device_id, txn_id) = (wanted.delay_ms, caller.device_id, wanted.txn_id);
    let command = RoomCommand::Delay(DelayEvent { event, delay_ms, device_id, txn_id });
    match caller.context.room(&wanted.room_id, command).await? {
        RoomReply::Delayed { delay_id } => answer(&json!({ "delay_id": delay_id })),
        other => Err(ApiError::internal(format!("the room answered a delay with {other:?}"))),
    }
}

fn check(config: &Config, wanted: &Wanted) -> Result<(), ApiError> {
    if !config.has_delayed_events() {
        return Err(ApiError::forbidden("Sending delayed events has been disallowed"));
    }
    let max_delay_ms = config.event_delay_max_ms;
    if wanted.delay_ms > max_delay_ms {
        // Clients learn from these fields, and from no others, to ask for less.
        let message = format!("The delay exceeds the allowed maximum of {max_delay_ms} ms");
        return Err(ApiError::new(ErrorCode::Unknown, message)
            .with_status(400)
            .with_field("org.matrix.msc4140.errcode", json!("M_MAX_DELAY_EXCEEDED"))
            .with_field("org.matrix.msc4140.max_delay", json!(max_delay_ms)));
    }
    let fields = [Some(wanted.event_type.as_str()), wanted.state_key.as_deref()];
    let fields = fields.into_iter().flatten();
    if wanted.content.get().len() > EVENT_SIZE_MAX
        || fields.clone().any(|field| field.len() > FIELD_SIZE_MAX)
    {
        return Err(ApiError::new(ErrorCode::TooLarge, "The event is too large"));
    }
    if fields.into_iter().any(|field| field.contains('\0')) {
        return Err(ApiError::bad_json("'type' and 'state_key' must not contain NUL"));
    }
    if let ("m.room.member", Some(target)) = (wanted.event_type.as_str(), &wanted.state_key) {
        let content: Value = serde_json::from_str(wanted.content.get()).unwrap_or_default();
        let membership = content["membership"].as_str().unwrap_or_default();
        if UserId::parse(target.as_str()).is_err() || Action::put(membership, true).is_none() {
            return Err(ApiError::bad_json("That is not a membership of a user"));
        }
    }
    Ok(())
}

/// `GET /_matrix/client/unstable/org.matrix.msc4140/delayed_events`
async fn list(access: Access, _incoming: Incoming) -> Result<Answer, ApiError> {
    let rows = read_scheduled(access, None).await?;
    let events = rows.iter().map(scheduled).collect::<Result<Vec<_>, _>>()?;
    answer(&json!({ "delayed_events": events }))
}

/// `GET /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}`
async fn show(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let rows = read_scheduled(access, Some(incoming.arg(0))).await?;
    answer(&scheduled(rows.first().ok_or_else(no_such_event)?)?)
}

async fn read_scheduled(
    access: Access,
    delay_id: Option<&str>,
) -> Result<Vec<ScheduledEventRow>, ApiError> {
    limit(&access)?;
    let read = storage::select_of_token(access.token()?, delay_id);
    let (_, results) = access.authenticate_with(vec![read]).await?;
    Ok(Results::new(results).rows()?)
}

/// With the names that fields have had in the proposal, and those that they have.
fn scheduled(row: &ScheduledEventRow) -> Result<Value, ApiError> {
    let since_ts = row.send_ts.saturating_sub(row.delay);
    let content: Value = serde_json::from_str(&row.content).map_err(ApiError::internal)?;
    let mut event = json!({
        "delay_id": row.delay_id,
        "room_id": row.room_id,
        "type": row.event_type,
        "delay": row.delay,
        "delay_ms": row.delay,
        "running_since": since_ts,
        "delayed_since_ts": since_ts,
        "content": content,
    });
    if let Some(state_key) = &row.state_key {
        event["state_key"] = json!(state_key);
    }
    Ok(event)
}

/// `POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}`: with the action in
/// the body, as clients did it first.
async fn manage(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let body = endpoint::object(incoming.json()?)?;
    let action =
        body.get("action").ok_or_else(|| ApiError::missing_param("'action' is missing"))?;
    let unknown = || ApiError::invalid_param("'action' is not one of 'cancel', 'restart', 'send'");
    act(access, incoming.arg(0), action.as_str().unwrap_or_default(), unknown).await
}

/// `POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}/{action}`
async fn manage_by_path(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    act(access, incoming.arg(0), incoming.arg(1), ApiError::unrecognized).await
}

/// Who knows the id may do it, with or without a token: a conference server that sees people leave.
async fn act(
    access: Access,
    delay_id: &str,
    action: &str,
    unknown: fn() -> ApiError,
) -> Result<Answer, ApiError> {
    let find = match action {
        "restart" => storage::restart,
        "cancel" => storage::cancel,
        "send" => storage::select_room,
        _ => return Err(unknown()),
    };
    limit(&access)?;
    let (context, now_ms) = (access.context.clone(), access.context.now_ms());
    let results = match access.token() {
        Ok(token) => {
            let statement = find(delay_id, Some(token), now_ms);
            access.authenticate_with(vec![statement]).await?.1
        }
        Err(_) => context.batch(vec![find(delay_id, None, now_ms)]).await?,
    };
    let row: Option<FoundRow> = Results::new(results).first()?;
    let room_id = row.and_then(|row| row.room_id).ok_or_else(no_such_event)?;
    if action == "send" {
        let command = RoomCommand::SendDelayed(Some(delay_id.to_owned()));
        context.room(&room_id, command).await?;
    }
    answer(&json!({}))
}

fn no_such_event() -> ApiError {
    ApiError::not_found("Delayed event not found")
}

/// Counts in this isolate's memory: a heartbeat of a call is to cost one row and no hop.
fn limit(access: &Access) -> Result<(), ApiError> {
    let context = &access.context;
    if !context.config.rate_limits {
        return Ok(());
    }
    let caller = access.token().unwrap_or(&access.address);
    let buckets = Buckets::of_isolate(context, "delayed_events", MANAGED_PER_SECOND, MANAGED_BURST);
    buckets.take(caller, context.now_ms())
}
