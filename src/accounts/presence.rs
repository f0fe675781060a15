//! What devices say of their users becomes presence, of which others are told if it is news.

use myelin_protocol::presence::DeviceNote;
use ruma::OwnedUserId;
use ruma::presence::PresenceState;

use crate::context::Context;
use crate::durable::Announcement;
use crate::error::ApiError;
use crate::storage::database::{Results, Statement};
use crate::storage::presence::{self, DeviceRow, MovedRow, ObserverRow, StatusMessage};

/// The device with which somebody does something; tokens without one count as one.
#[derive(Clone)]
pub struct Actor {
    pub context: Context,
    pub user_id: OwnedUserId,
    pub device_id: String,
}

/// Notes, after the answer, that a device syncs until `until_ms`. `noted` is what it said last.
pub fn note_sync(actor: &Actor, noted: Option<DeviceRow>, state: &PresenceState, until_ms: u64) {
    let now_ms = actor.context.now_ms();
    let holds = noted.is_some_and(|row| DeviceNote::from(row).holds(state, now_ms));
    // Who syncs as offline says nothing, as in Synapse.
    if holds || *state == PresenceState::Offline || !actor.context.config.presence {
        return;
    }
    let (actor, state) = (actor.clone(), state.clone());
    let platform = actor.context.platform.clone();
    platform.spawn(Box::pin(async move {
        let user_id = &actor.user_id;
        let note = presence::note_device(user_id, &actor.device_id, &state, now_ms, until_ms);
        let outcome = settle(&actor, vec![note], StatusMessage::Kept).await;
        if let Err(error) = outcome {
            crate::log::warn(&format!("presence was not noted: {error}"));
        }
    }));
}

/// Sets what a user wants to be shown as.
///
/// # Errors
/// If the database fails.
pub async fn set(
    actor: &Actor,
    state: &PresenceState,
    status_msg: Option<&str>,
) -> Result<(), ApiError> {
    let now_ms = actor.context.now_ms();
    let user_id = &actor.user_id;
    let note = presence::note_device(user_id, &actor.device_id, state, now_ms, now_ms);
    settle(actor, vec![note], StatusMessage::Set(status_msg)).await
}

/// For a batch that is written because somebody does something: wakes an idle device up. The
/// result goes to [`roused`].
pub fn rouse(actor: &Actor) -> Option<Statement> {
    let now_ms = actor.context.now_ms();
    let rouse = || presence::rouse(&actor.user_id, &actor.device_id, now_ms);
    actor.context.config.presence.then(rouse)
}

/// Takes the result of [`rouse`].
pub fn roused(actor: &Actor, rows: &[ObserverRow]) {
    if rows.is_empty() {
        return;
    }
    let actor = actor.clone();
    let platform = actor.context.platform.clone();
    platform.spawn(Box::pin(async move {
        if let Err(error) = settle(&actor, Vec::new(), StatusMessage::Kept).await {
            crate::log::warn(&format!("presence was not noted: {error}"));
        }
    }));
}

/// Writes `notes` and what they come to; tells those who may see it if that is news.
async fn settle(
    actor: &Actor,
    notes: Vec<Statement>,
    status_msg: StatusMessage<'_>,
) -> Result<(), ApiError> {
    let Actor { context, user_id, .. } = actor;
    let noted = notes.len();
    let mut batch = notes;
    batch.extend(presence::settle(user_id, status_msg, context.now_ms()));
    let mut results = Results::new(context.batch(batch).await?);
    results.skip(noted);
    match results.first::<MovedRow>()? {
        Some(_) => announce(context, vec![user_id.clone()]).await,
        None => Ok(()),
    }
}

/// Makes those idle, and takes those offline, of whom nothing has been heard: for the cron sweep.
///
/// # Errors
/// If the database fails.
pub async fn expire(context: &Context) -> Result<(), ApiError> {
    let mut results = Results::new(context.batch(presence::expire(context.now_ms())).await?);
    results.skip(1);
    let changed: Vec<ObserverRow> = results.rows()?;
    if changed.is_empty() {
        return Ok(());
    }
    announce(context, changed.into_iter().map(|row| row.user_id).collect()).await
}

/// Wakes these users and those who share a room with them. There is a limit; who is not woken
/// learns of it with the next sync.
async fn announce(context: &Context, mut user_ids: Vec<OwnedUserId>) -> Result<(), ApiError> {
    let results = context.batch(vec![presence::select_observers_of(&user_ids)]).await?;
    let observers: Vec<ObserverRow> = Results::new(results).rows()?;
    user_ids.extend(observers.into_iter().map(|row| row.user_id));
    user_ids.sort();
    user_ids.dedup();
    context.announce(Announcement::Users(user_ids));
    Ok(())
}
