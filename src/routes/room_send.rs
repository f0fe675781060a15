//! Sending: messages, state, redactions. Client-Server API, "Sending events to a room" and
//! "Redactions".

use std::collections::HashMap;

use myelin_protocol::relations::Relation;
use ruma::api::client::message::send_message_event as message;
use ruma::api::client::redact::redact_event as redact;
use ruma::events::TimelineEventType;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomAliasId, UInt, UserId};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::delayed_events::{Wanted, delay_of, schedule_event};
use super::endpoint::{decode, json as answer_json, object, raw};
use super::membership::membership_command;
use super::{Access, Answer, Caller, Incoming, Route, batched};
use crate::durable::commands::redacts_of;
use crate::durable::{KnownParent, NewEvent, RoomCommand, RoomReply, SendEvent, TransactionKey};
use crate::error::{ApiError, ErrorCode};
use crate::serving::{read_state, state};
use crate::storage::database::{Results, Statement};
use crate::storage::event_pages;
use crate::storage::profiles::{self, MemberProfileRow};
use crate::storage::relations::{self, NewRelation, ParentRow};
use crate::storage::room_log::{self, TransactionEventRow};
use crate::storage::rooms::{self, AliasRow, StateEventRow};
use crate::storage::stream_positions::{self, StreamName};

pub fn routes() -> Vec<Route> {
    vec![
        raw(http::Method::PUT, &SEND_PATHS, send_event),
        raw(http::Method::POST, &POST_PATHS, send_without_transaction),
        raw(http::Method::PUT, &STATE_PATHS, send_state),
        batched(redact_event),
    ]
}

const SEND_PATHS: [&str; 2] = [
    "/_matrix/client/r0/rooms/{room_id}/send/{event_type}/{txn_id}",
    "/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}",
];

/// What old clients use instead of a transaction id.
const POST_PATHS: [&str; 2] = [
    "/_matrix/client/r0/rooms/{room_id}/send/{event_type}",
    "/_matrix/client/v3/rooms/{room_id}/send/{event_type}",
];

/// The second of each pair leaves an empty state key out.
const STATE_PATHS: [&str; 4] = [
    "/_matrix/client/r0/rooms/{room_id}/state/{event_type}/{state_key}",
    "/_matrix/client/r0/rooms/{room_id}/state/{event_type}",
    "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}",
    "/_matrix/client/v3/rooms/{room_id}/state/{event_type}",
];

/// `PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}`
async fn send_event(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    access.token()?;
    let delay = delay_of(&incoming)?;
    let request: message::v3::Request = decode(&incoming)?;
    let content = request.body.into_json();
    let (room_id, event_type) = (request.room_id, request.event_type.to_string());
    let txn_id = request.txn_id.to_string();
    if let Some(delay_ms) = delay {
        let (state_key, txn_id) = (None, Some(txn_id));
        let wanted = Wanted { room_id, event_type, state_key, content, delay_ms, txn_id };
        return schedule_event(access, wanted).await;
    }
    let redacts = redacts_of(&event_type, &content);
    let relation = relation(&content);
    let event = |sender: &UserId| NewEvent {
        sender: sender.to_owned(),
        event_type: event_type.clone(),
        state_key: None,
        content: content.clone(),
        redacts: redacts.clone(),
    };
    if relation.is_none()
        && redacts.is_none()
        && let Some(token) = access.presume()
    {
        let (user_id, device_id) = (token.user_id.clone(), token.device_id.clone());
        let event = event(&user_id);
        let transaction = Some(TransactionKey { user_id, device_id, txn_id: txn_id.clone() });
        let send = SendEvent { transaction, presumed: Some(token), ..SendEvent::new(event) };
        match access.context.room(&room_id, RoomCommand::Send(send)).await? {
            RoomReply::Unproven => access.forget_presumed(),
            reply => {
                access.note_presumed();
                return answer_json(&json!({ "event_id": event_of(reply)? }));
            }
        }
    }
    let parent_read = |token: &str| Some(parent_read(token, &event_type, relation.as_ref()?));
    let (caller, begun) = begin(access, &room_id, &txn_id, parent_read).await?;
    let (push_rules_position, parent) = match begun {
        Begun::Done(event_id) => return answer_json(&json!({ "event_id": event_id })),
        Begun::New { push_rules_position, parent } => (push_rules_position, parent),
    };
    let transaction = transaction(&caller, &txn_id);
    let origin_server_ts = set_time(&caller, &incoming)?;
    let send = SendEvent {
        transaction,
        push_rules_position,
        parent,
        origin_server_ts,
        ..SendEvent::new(event(&caller.user_id))
    };
    answer_json(&json!({ "event_id": send_to(&caller, &room_id, send).await? }))
}

fn relation(content: &RawValue) -> Option<Relation> {
    Relation::of(&serde_json::from_str(content.get()).ok()?)
}

/// `POST /_matrix/client/v3/rooms/{roomId}/send/{eventType}`: without a transaction id.
async fn send_without_transaction(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let room_id = room_id(incoming.arg(0))?;
    let content = object(incoming.json()?)?;
    if let Some(delay_ms) = delay_of(&incoming)? {
        let wanted = wanted(room_id, incoming.arg(1), None, &content, delay_ms)?;
        return schedule_event(access, wanted).await;
    }
    let reads = vec![stream_positions::select_some(&[StreamName::PushRules])];
    let (caller, results) = access.authenticate_with(reads).await?;
    let push_rules_position = push_rules_position(&mut Results::new(results))?;
    let content = to_raw_value(&content).map_err(ApiError::internal)?;
    let event_type = incoming.arg(1).to_owned();
    let event = NewEvent {
        sender: caller.user_id.clone(),
        redacts: redacts_of(&event_type, &content),
        event_type,
        state_key: None,
        content,
    };
    let origin_server_ts = set_time(&caller, &incoming)?;
    let send = SendEvent { push_rules_position, origin_server_ts, ..SendEvent::new(event) };
    answer_json(&json!({"event_id": send_to(&caller, &room_id, send).await?}))
}

/// `PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}`
async fn redact_event(
    access: Access,
    request: redact::v3::Request,
) -> Result<redact::v3::Response, ApiError> {
    let (caller, begun) =
        begin(access, &request.room_id, request.txn_id.as_str(), |_| None).await?;
    caller.must_not_be_guest()?;
    let push_rules_position = match begun {
        Begun::Done(event_id) => return Ok(redact::v3::Response::new(event_id)),
        Begun::New { push_rules_position, .. } => push_rules_position,
    };
    let mut content = Map::new();
    if let Some(reason) = request.reason {
        content.insert("reason".to_owned(), json!(reason));
    }
    let event = NewEvent {
        sender: caller.user_id.clone(),
        event_type: TimelineEventType::RoomRedaction.to_string(),
        state_key: None,
        content: to_raw_value(&content).map_err(ApiError::internal)?,
        redacts: Some(request.event_id),
    };
    let transaction = transaction(&caller, request.txn_id.as_str());
    let send = SendEvent { transaction, push_rules_position, ..SendEvent::new(event) };
    Ok(redact::v3::Response::new(send_to(&caller, &request.room_id, send).await?))
}

/// `PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`
async fn send_state(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let room_id = room_id(incoming.arg(0))?;
    let (event_type, state_key) = (incoming.arg(1).to_owned(), incoming.arg(2).to_owned());
    if !access.has_token() {
        return Err(ApiError::missing_token());
    }
    let content = object(incoming.json()?)?;
    if let Some(delay_ms) = delay_of(&incoming)? {
        let wanted = wanted(room_id, &event_type, Some(state_key), &content, delay_ms)?;
        return schedule_event(access, wanted).await;
    }
    if event_type == "m.room.member" {
        return send_membership(access, &room_id, &state_key, content).await;
    }
    let aliases = new_aliases(&event_type, &content)?;
    let mut reads = vec![stream_positions::select_some(&[StreamName::PushRules])];
    reads.extend(alias_reads(&room_id, &aliases));
    let (caller, results) = access.authenticate_with(reads).await?;
    let mut results = Results::new(results);
    let push_rules_position = push_rules_position(&mut results)?;
    check_aliases(&room_id, &aliases, results)?;
    let event = NewEvent {
        sender: caller.user_id.clone(),
        event_type,
        state_key: Some(state_key),
        content: to_raw_value(&content).map_err(ApiError::internal)?,
        redacts: None,
    };
    let origin_server_ts = set_time(&caller, &incoming)?;
    let send = SendEvent { push_rules_position, origin_server_ts, ..SendEvent::new(event) };
    answer_json(&json!({"event_id": send_to(&caller, &room_id, send).await?}))
}

/// What is sent later, without a transaction id.
fn wanted(
    room_id: OwnedRoomId,
    event_type: &str,
    state_key: Option<String>,
    content: &Map<String, Value>,
    delay_ms: u64,
) -> Result<Wanted, ApiError> {
    let content = to_raw_value(content).map_err(ApiError::internal)?;
    let event_type = event_type.to_owned();
    Ok(Wanted { room_id, event_type, state_key, content, delay_ms, txn_id: None })
}

/// A membership that was put as state goes the way of `join`, `invite`, ...
async fn send_membership(
    access: Access,
    room_id: &OwnedRoomId,
    state_key: &str,
    content: Map<String, Value>,
) -> Result<Answer, ApiError> {
    let target: OwnedUserId = state_key
        .try_into()
        .map_err(|_| ApiError::bad_json("The state key of a membership must be a user id"))?;
    let reads = vec![profiles::select_for_members(access.token()?, std::slice::from_ref(&target))];
    let (caller, results) = access.authenticate_with(reads).await?;
    let profiles: Vec<MemberProfileRow> = Results::new(results).rows()?;
    let command = membership_command(&caller, target, content, &profiles)?;
    match caller.context.room(room_id, command).await? {
        RoomReply::Event { event_id, .. } => answer_json(&json!({"event_id": event_id})),
        _ => Err(ApiError::bad_json("Nothing to change")),
    }
}

/// What is known before the room is asked.
enum Begun {
    /// This transaction has been answered already.
    Done(OwnedEventId),
    New {
        push_rules_position: i64,
        parent: Option<KnownParent>,
    },
}

async fn begin(
    access: Access,
    room_id: &OwnedRoomId,
    txn_id: &str,
    parent_read: impl FnOnce(&str) -> Option<Statement>,
) -> Result<(Caller, Begun), ApiError> {
    let token = access.token()?;
    let mut reads = vec![
        room_log::select_transaction_by_token(room_id.as_str(), token, txn_id),
        stream_positions::select_some(&[StreamName::PushRules]),
    ];
    reads.extend(parent_read(token));
    let (caller, results) = access.authenticate_with(reads).await?;
    let mut results = Results::new(results);
    let done: Option<TransactionEventRow> = results.first()?;
    let push_rules_position = push_rules_position(&mut results)?;
    let row: Option<ParentRow> = results.first()?;
    let known = |row: ParentRow| {
        let (position, parent) = (row.position, row.parent_in(room_id));
        KnownParent { position, parent }
    };
    let new = Begun::New { push_rules_position, parent: row.map(known) };
    Ok((caller, done.map_or(new, |row| Begun::Done(row.event_id))))
}

/// What the room will want to know of the event that a new one is about.
fn parent_read(token: &str, event_type: &str, relation: &Relation) -> Statement {
    relations::parents(&[NewRelation {
        parent_id: &relation.event_id,
        relation_type: &relation.rel_type,
        key: relation.key.as_deref(),
        event_type,
        sender: token,
    }])
}

/// Whose push rules the room has to look at again depends on it.
fn push_rules_position(results: &mut Results) -> Result<i64, ApiError> {
    let positions: Option<HashMap<String, i64>> = results.first()?;
    let position = positions.and_then(|row| row.get(StreamName::PushRules.as_str()).copied());
    Ok(position.unwrap_or(0))
}

/// The time of an event, in milliseconds: only application services may set it.
fn set_time(caller: &Caller, incoming: &Incoming) -> Result<Option<u64>, ApiError> {
    let asked = incoming.query("ts").filter(|_| caller.service.is_some());
    let time = |text: String| text.parse().ok().filter(|ms| UInt::new(*ms).is_some());
    let invalid = || ApiError::invalid_param("ts is not a time in milliseconds");
    asked.map(|text| time(text).ok_or_else(invalid)).transpose()
}

/// An application service without a device has transactions all the same: the writer remembers
/// them for a while.
fn transaction(caller: &Caller, txn_id: &str) -> Option<TransactionKey> {
    let of_service = || caller.service.as_ref().map(|_| "".into());
    Some(TransactionKey {
        user_id: caller.user_id.clone(),
        device_id: caller.device_id.clone().or_else(of_service)?,
        txn_id: txn_id.to_owned(),
    })
}

/// Sends a command to the room's writer.
pub(super) async fn send_to(
    caller: &Caller,
    room_id: &OwnedRoomId,
    send: SendEvent,
) -> Result<OwnedEventId, ApiError> {
    if caller.is_suspended {
        must_be_own_redaction(caller, &send.event).await?;
    }
    event_of(caller.context.room(room_id, RoomCommand::Send(send)).await?)
}

fn event_of(reply: RoomReply) -> Result<OwnedEventId, ApiError> {
    match reply {
        RoomReply::Event { event_id, .. } => Ok(event_id),
        other => Err(ApiError::internal(format!("the room answered a send with {other:?}"))),
    }
}

/// Who is suspended may take back what they have sent, and nothing else.
async fn must_be_own_redaction(caller: &Caller, event: &NewEvent) -> Result<(), ApiError> {
    let target = event.redacts.as_ref().filter(|_| event.event_type == "m.room.redaction");
    let read: Vec<Statement> = target
        .map(|target| event_pages::by_id(std::slice::from_ref(target)))
        .map(state)
        .into_iter()
        .collect();
    let found = read_state(&mut Results::new(caller.context.batch(read).await?))?;
    match found.first() {
        Some(found) if found.pdu.sender == caller.user_id => Ok(()),
        _ => caller.must_not_be_suspended(),
    }
}

pub(super) fn room_id(text: &str) -> Result<OwnedRoomId, ApiError> {
    text.try_into().map_err(|_| ApiError::invalid_param(format!("{text} is not a room id")))
}

/// The aliases that a canonical alias event names.
pub(super) fn new_aliases(
    event_type: &str,
    content: &Map<String, Value>,
) -> Result<Vec<String>, ApiError> {
    if event_type != "m.room.canonical_alias" {
        return Ok(Vec::new());
    }
    // None, null and an empty text all say that there is none.
    let alias = content.get("alias").filter(|alias| !alias.is_null() && *alias != "").cloned();
    let alternatives = match content.get("alt_aliases") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => list.clone(),
        Some(_) => return Err(ApiError::invalid_param("'alt_aliases' must be a list")),
    };
    let parse = |alias: Value| {
        let text = alias.as_str().filter(|text| RoomAliasId::parse(*text).is_ok());
        text.map(str::to_owned)
            .ok_or_else(|| ApiError::invalid_param(format!("Room alias {alias} is not valid")))
    };
    alias.into_iter().chain(alternatives).map(parse).collect()
}

pub(super) fn alias_reads(room_id: &OwnedRoomId, aliases: &[String]) -> Vec<Statement> {
    if aliases.is_empty() {
        return Vec::new();
    }
    vec![
        rooms::select_aliases(aliases),
        rooms::select_current_state(room_id.as_str(), "m.room.canonical_alias", ""),
    ]
}

/// An alias that the event newly names must be one of this room.
pub(super) fn check_aliases(
    room_id: &OwnedRoomId,
    aliases: &[String],
    mut results: Results,
) -> Result<(), ApiError> {
    let known: Vec<AliasRow> = results.rows()?;
    let current: Option<StateEventRow> = results.first()?;
    let current = current.map(|row| row.json).unwrap_or_default();
    for alias in aliases {
        let quoted = json!(alias).to_string();
        let points_here =
            known.iter().any(|row| row.room_alias == *alias && row.room_id == *room_id);
        if !points_here && !current.contains(&quoted) {
            let message = format!("Room alias {alias} does not point to the room");
            return Err(ApiError::new(ErrorCode::BadAlias, message));
        }
    }
    Ok(())
}
