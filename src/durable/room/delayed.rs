//! Delayed events of a room: noted in D1, sent when the object's alarm rings. The log decides what
//! is due: an alarm that rings early, late or twice sends nothing too early, and nothing twice.
//!
//! Invariant: there is an alarm no later than the first delayed event of the room is due. It is not
//! moved when an event is restarted or cancelled: it rings in vain, and is set anew.

use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;

use futures_util::future::join_all;
use myelin_protocol::membership_change::Action;
use myelin_protocol::room_snapshot::Draft;
use ruma::{OwnedUserId, ServerName, UserId};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::Room;
use super::decide::{Decided, object};
use super::push;
use crate::context::Context;
use crate::durable::SendEvent;
use crate::durable::commands::redacts_of;
use crate::durable::{ChangeMembership, DelayEvent, Delayed, NewEvent, RoomCommand, RoomReply};
use crate::error::{ApiError, ErrorCode};
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::delayed_events::{self, Chosen, DueRow, FoundRow, NewDelayedEvent, SetState};
use crate::storage::profiles;

/// When it is tried again what could not be done; each failure doubles it.
const RETRY_MS: u64 = 1000;
const RETRY_DOUBLINGS_MAX: u32 = 5;

/// When the object is woken.
#[derive(Default)]
pub struct Alarm {
    /// As far as this instance has set it.
    at_ms: Cell<Option<u64>>,
    failures: Cell<u32>,
}

/// What is to be sent.
struct Look {
    rows: Vec<DueRow>,
    /// When the next after them is due.
    next_ms: Option<u64>,
    push_rules_position: i64,
}

/// Delayed events that nobody has cancelled or restarted.
#[derive(Default)]
pub struct Standing(HashSet<String>);

impl Standing {
    pub fn new(rows: Vec<FoundRow>) -> Self {
        Self(rows.into_iter().filter_map(|row| row.delay_id).collect())
    }

    /// Whether a delayed event is still to be sent, also after what the group does before it.
    pub fn check(
        &self,
        decided: &Decided,
        delayed: Option<&Delayed>,
        draft: &Draft,
    ) -> Result<(), ApiError> {
        let Some(delayed) = delayed else { return Ok(()) };
        let is_gone = decided.events.iter().any(|written| {
            let event = &written.event;
            let is_cancelled = event.sender != draft.sender
                && draft.state_key.is_some()
                && event.state_key == draft.state_key
                && event.event_type == draft.event_type;
            is_cancelled || written.delayed.as_ref().is_some_and(|d| d.delay_id == delayed.delay_id)
        });
        if self.0.contains(&delayed.delay_id) && !is_gone {
            return Ok(());
        }
        Err(ApiError::not_found("Delayed event not found"))
    }
}

/// What a commit writes: the delayed events that it sends go, and those that its state cancels.
pub fn statements(server_name: &ServerName, decided: &Decided) -> Vec<Statement> {
    let delayed = decided.events.iter().filter_map(|written| written.delayed.as_ref());
    let delayed: Vec<&Delayed> = delayed.collect();
    let mut statements = Vec::new();
    if !delayed.is_empty() {
        statements.extend(delayed_events::take(&delayed));
    }
    let types: Vec<String> =
        decided.events.iter().map(|written| written.event.event_type.to_string()).collect();
    let set = decided.events.iter().zip(&types).filter_map(|(written, event_type)| {
        let event = &written.event;
        let is_local = event.sender.server_name() == server_name;
        let localpart = if is_local { event.sender.localpart() } else { "" };
        Some(SetState { event_type, state_key: event.state_key.as_deref()?, localpart })
    });
    let set: Vec<SetState<'_>> = set.collect();
    if decided.create.is_none() && !set.is_empty() {
        statements.push(delayed_events::cancel_by_state(&decided.room_id, &set));
    }
    statements
}

impl Room {
    /// Notes an event that is to be sent later. It pays for being sent now, for all may be due at
    /// the same time.
    pub(super) async fn delay(
        &self,
        context: &Context,
        delay: &DelayEvent,
    ) -> Result<RoomReply, ApiError> {
        let (now_ms, event) = (context.now_ms(), &delay.event);
        if context.limits_sending(&event.sender) {
            self.limits.take(event.sender.as_str(), now_ms)?;
        }
        let delay_id = format!("syd_{}", context.random_string(20));
        let new = NewDelayedEvent {
            delay_id: &delay_id,
            user_id: &event.sender,
            device_id: delay.device_id.as_ref().map(|device_id| device_id.as_str()),
            room_id: &self.room_id,
            event_type: &event.event_type,
            state_key: event.state_key.as_deref(),
            content: &event.content,
            delay_ms: delay.delay_ms,
            txn_id: delay.txn_id.as_deref(),
        };
        let count_max = context.config.delayed_events_max;
        let batch = || delayed_events::schedule(&new, count_max, now_ms).to_vec();
        let mut read = context.batch(batch()).await;
        if let Err(DatabaseError::Unknown(_)) = read {
            // It may have been noted, and its sender would know of no way to cancel it.
            read = context.batch(batch()).await;
        }
        let mut results = Results::new(read?);
        results.skip(2);
        let row: Option<FoundRow> = results.first()?;
        let row = row.ok_or_else(|| ApiError::internal("scheduling brought no row"))?;
        let Some(delay_id) = row.delay_id else {
            let wait_ms = row.user_next_ts.unwrap_or(now_ms).saturating_sub(now_ms);
            return Err(too_many(wait_ms));
        };
        self.set_alarm_for(context, row.room_next_ts).await;
        Ok(RoomReply::Delayed { delay_id })
    }

    /// Sends a delayed event before its time. If that fails, it stays.
    pub(super) async fn send_now(
        self: &Rc<Self>,
        context: &Context,
        delay_id: &str,
    ) -> Result<RoomReply, ApiError> {
        let look = self.look(context, Chosen::Only(delay_id)).await?;
        let row = look.rows.first();
        let row = row.ok_or_else(|| ApiError::not_found("Delayed event not found"))?;
        let delayed = Delayed { delay_id: delay_id.to_owned(), due_ms: None };
        let position = look.push_rules_position;
        let reply = self.send_delayed(context, row, delayed.clone(), position).await?;
        // State that was so already has been sent without a commit.
        context.batch(vec![delayed_events::settle(&[&delayed])]).await?;
        Ok(reply)
    }

    /// Sends what is due, and sees to it that the alarm rings for the next.
    pub(super) async fn send_due(self: &Rc<Self>, context: &Context) -> RoomReply {
        self.alarm.at_ms.set(None);
        let again_ms = match self.try_send_due(context).await {
            Ok(None) => {
                self.alarm.failures.set(0);
                return RoomReply::Done;
            }
            Ok(Some(wait_ms)) => wait_ms,
            Err(error) => {
                crate::log::warn(&format!("delayed events of {} wait: {error}", self.room_id));
                0
            }
        };
        let failures = self.alarm.failures.get();
        self.alarm.failures.set((failures + 1).min(RETRY_DOUBLINGS_MAX));
        let again_ms = again_ms.max(RETRY_MS << failures);
        self.set_alarm(context, context.now_ms() + again_ms).await;
        RoomReply::Done
    }

    /// How long to wait, if something has to be tried again.
    async fn try_send_due(self: &Rc<Self>, context: &Context) -> Result<Option<u64>, ApiError> {
        loop {
            let now_ms = context.now_ms();
            let Look { rows, next_ms, push_rules_position } =
                self.look(context, Chosen::Due(now_ms)).await?;
            if rows.is_empty() {
                self.set_alarm_for(context, next_ms).await;
                return Ok(None);
            }
            let delayed = |row: &DueRow| {
                let delay_id = row.delay_id.clone();
                Delayed { delay_id, due_ms: Some(now_ms) }
            };
            let delayed: Vec<Delayed> = rows.iter().map(delayed).collect();
            let sending = rows.iter().zip(&delayed);
            let sending = sending.map(|(row, delayed)| {
                self.send_delayed(context, row, delayed.clone(), push_rules_position)
            });
            let outcomes = join_all(sending).await;
            let mut wait_ms = None;
            let mut settled = Vec::new();
            for (delayed, outcome) in delayed.iter().zip(&outcomes) {
                match outcome.as_ref().err().and_then(retry_after) {
                    None => settled.push(delayed),
                    waits => wait_ms = wait_ms.max(waits),
                }
            }
            context.batch(vec![delayed_events::settle(&settled).unless_empty(&settled)]).await?;
            if wait_ms.is_some() {
                self.set_alarm_for(context, next_ms).await;
                return Ok(wait_ms);
            }
        }
    }

    async fn look(&self, context: &Context, chosen: Chosen<'_>) -> Result<Look, ApiError> {
        let server_name = context.server_name().as_str();
        let due = delayed_events::select_due(&self.room_id, server_name, chosen);
        // What is due is told apart from what is next by one and the same time.
        let now_ms = if let Chosen::Due(now_ms) = chosen { now_ms } else { context.now_ms() };
        let next = delayed_events::select_next(&self.room_id, now_ms);
        let batch = vec![due, next, push::position()];
        let mut results = Results::new(context.batch(batch).await?);
        let rows = results.rows()?;
        let next: Option<FoundRow> = results.first()?;
        let next_ms = next.and_then(|next| next.room_next_ts);
        let push_rules_position = push::read_position(&mut results)?;
        Ok(Look { rows, next_ms, push_rules_position })
    }

    async fn send_delayed(
        self: &Rc<Self>,
        context: &Context,
        row: &DueRow,
        delayed: Delayed,
        push_rules_position: i64,
    ) -> Result<RoomReply, ApiError> {
        let command = command(context.server_name(), row, delayed, push_rules_position);
        let outcome = match command {
            Ok(command) => self.queue(context, command).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &outcome {
            // Whoever knows the id of one that stays could send it.
            let (event_type, room_id) = (&row.event_type, &self.room_id);
            crate::log::warn(&format!("{event_type} was not sent into {room_id}: {error}"));
        }
        outcome
    }

    async fn set_alarm_for(&self, context: &Context, next_ms: Option<u64>) {
        if let Some(at_ms) = next_ms {
            self.set_alarm(context, at_ms).await;
        }
    }

    /// Has the object woken at this time, or earlier.
    async fn set_alarm(&self, context: &Context, at_ms: u64) {
        if self.alarm.at_ms.get().is_some_and(|set_ms| set_ms <= at_ms) {
            return;
        }
        self.alarm.at_ms.set(Some(at_ms));
        if let Err(error) = context.platform.set_alarm(self.room_id.as_str(), at_ms).await {
            // The next event that is scheduled sets it, or the sweep makes up for it.
            self.alarm.at_ms.set(None);
            crate::log::warn(&format!("no alarm for {}: {error}", self.room_id));
        }
    }
}

fn too_many(wait_ms: u64) -> ApiError {
    let message = "The maximum number of delayed events has been reached";
    ApiError::new(ErrorCode::LimitExceeded, message).with_field("retry_after_ms", json!(wait_ms))
}

/// How long to wait at least if what has failed may be tried again.
fn retry_after(error: &ApiError) -> Option<u64> {
    match error.status() {
        429 => error.body()["retry_after_ms"].as_u64(),
        500.. => Some(0),
        _ => None,
    }
}

/// What sends a delayed event.
fn command(
    server_name: &ServerName,
    row: &DueRow,
    delayed: Delayed,
    push_rules_position: i64,
) -> Result<RoomCommand, ApiError> {
    let sender = UserId::parse_with_server_name(row.user_localpart.as_str(), server_name);
    let sender = sender.map_err(|_| ApiError::forbidden("There is no such user"))?;
    if row.is_locked {
        return Err(ApiError::forbidden("The account is locked"));
    }
    if let ("m.room.member", Some(target)) = (row.event_type.as_str(), &row.state_key) {
        let target = UserId::parse(target.as_str());
        let target = target.map_err(|_| ApiError::bad_json("That is not a user"))?;
        return membership_command(server_name, row, sender, target, delayed);
    }
    if row.is_suspended {
        return Err(ApiError::suspended());
    }
    let content = RawValue::from_string(row.content.clone());
    let content = content.map_err(|_| ApiError::bad_json("The content must be JSON"))?;
    let is_early = delayed.due_ms.is_none();
    let event = NewEvent {
        sender,
        redacts: redacts_of(&row.event_type, &content),
        event_type: row.event_type.clone(),
        state_key: row.state_key.clone(),
        content,
    };
    Ok(RoomCommand::Send(SendEvent {
        push_rules_position,
        origin_server_ts: row.origin_server_ts.or((!is_early).then_some(row.send_ts)),
        delayed: Some(delayed),
        ..SendEvent::new(event)
    }))
}

/// What changes a membership, as if it were put as state now.
fn membership_command(
    server_name: &ServerName,
    row: &DueRow,
    sender: OwnedUserId,
    target: OwnedUserId,
    delayed: Delayed,
) -> Result<RoomCommand, ApiError> {
    let mut content = object(&row.content)?;
    let membership = content.remove("membership");
    let membership = membership.as_ref().and_then(Value::as_str).unwrap_or_default();
    let action = Action::put(membership, sender == target);
    let action = action.ok_or_else(|| ApiError::bad_json("Invalid membership key"))?;
    let is_own = matches!(action, Action::Join | Action::Leave);
    let is_far = action == Action::Invite && target.server_name() != server_name;
    if is_far || (row.is_guest && !is_own) {
        return Err(ApiError::forbidden("You cannot change this membership"));
    }
    if row.is_suspended && !action.lets_go() {
        return Err(ApiError::suspended());
    }
    if action.shows_profile() {
        let (name, avatar) = (row.displayname.as_deref(), row.avatar_url.as_deref());
        profiles::add_to_member(&mut content, name, avatar);
    }
    Ok(RoomCommand::ChangeMembership(ChangeMembership {
        action,
        sender,
        target,
        content: to_raw_value(&content).map_err(ApiError::internal)?,
        sender_is_guest: row.is_guest,
        transaction: None,
        delayed: Some(delayed),
    }))
}
