//! What is done from time to time rather than in answer to a request: repairs what was
//! interrupted, removes what has expired. Each part can fail without the others.

use crate::accounts::user_interactive::SESSION_LIFETIME_MS;
use crate::accounts::{deactivation, presence, user_directory};
use crate::context::Context;
use crate::durable::{PushCommand, RoomCommand};
use crate::error::ApiError;
use crate::media::limits::PENDING_LIFETIME_MS;
use crate::serving::{expiry, search};
use crate::storage::database::Results;
use crate::storage::delayed_events::FoundRow;
use crate::storage::event_push_summary::{self, Range};
use crate::storage::push_queue::{self, UserRow};
use crate::storage::typing::ExpiredRow;
use crate::storage::{
    delayed_events, device_inbox, login_tokens, media, sessions, sliding_sync_connections, typing,
    ui_auth_sessions, url_previews, user_ips,
};

/// How often it runs: see the triggers of wrangler.toml.
const INTERVAL_MS: u64 = 5 * 60 * 1000;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// How long addresses of users are kept.
const USER_IPS_LIFETIME_MS: u64 = 28 * DAY_MS;

/// How long a sliding sync connection is kept of a device that is not seen any more.
const SLIDING_SYNC_LIFETIME_MS: u64 = 7 * DAY_MS;

/// How late an alarm may be before it counts as lost, and how many rooms are then told in a sweep.
const OVERDUE_MS: u64 = 60_000;
const ROOMS_MAX: u32 = 100;

/// Steps of one sweep over what notifies; the next sweep goes on.
const SUMMARY_STEPS_MAX: usize = 20;

/// Runs every part that is due.
pub async fn run(context: &Context) {
    report(
        "filling the search index",
        search::follow(context, search::SWEEP_STEPS_MAX).await.map(drop),
    );
    report("pushing what was forgotten", push_forgotten(context).await);
    // Those that were not told to look, and those whose services did not take it.
    context.tell_services();
    report("sending delayed events", send_delayed(context).await);
    report("forgetting messages", expiry::forget(context).await);
    report("leaving rooms", deactivation::resume(context).await);
    report("ending typing", end_typing(context).await);
    report("taking people offline", presence::expire(context).await);
    report("following the log with the user directory", user_directory::follow(context).await);
    report("throwing away what has been read", follow_receipts(context).await);
    report("summing up what is unread", sum_up_unread(context).await);
    // It walks through tables, so it is done in the first sweep of a day only.
    if context.now_ms() % DAY_MS < INTERVAL_MS {
        report("removing what has expired", remove_expired(context).await);
    }
}

/// Removes what nobody can use any more.
///
/// # Errors
/// If the commit fails.
pub async fn remove_expired(context: &Context) -> Result<(), ApiError> {
    let now_ms = context.now_ms();
    let mut statements =
        ui_auth_sessions::delete_older_than(now_ms.saturating_sub(SESSION_LIFETIME_MS));
    statements.push(user_ips::delete_older_than(now_ms.saturating_sub(USER_IPS_LIFETIME_MS)));
    statements.push(login_tokens::delete_older_than(now_ms));
    statements.push(sessions::delete_expired(now_ms));
    let unused_ms = now_ms.saturating_sub(SLIDING_SYNC_LIFETIME_MS);
    statements.push(sliding_sync_connections::forget_unused(unused_ms));
    statements.push(media::delete_unused(now_ms.saturating_sub(PENDING_LIFETIME_MS)));
    statements.push(url_previews::delete_expired(now_ms.saturating_sub(DAY_MS)));
    let day_ago_ms = now_ms.saturating_sub(DAY_MS);
    statements.push(device_inbox::delete_transactions_before(day_ago_ms));
    statements.push(delayed_events::delete_transactions_before(day_ago_ms));
    context.batch(statements).await?;
    Ok(())
}

/// Whoever waits in a sync ends it in time; this is for rooms in which nobody waits.
async fn end_typing(context: &Context) -> Result<(), ApiError> {
    let mut results = Results::new(context.batch(typing::expire(context.now_ms())).await?);
    results.skip(1);
    for row in results.rows::<ExpiredRow>()? {
        if let Err(error) = context.room(&row.room_id, RoomCommand::Announce).await {
            crate::log::warn(&format!("typing in {} woke nobody: {error}", row.room_id));
        }
    }
    Ok(())
}

/// Rooms whose alarm is lost, as those of an imported database.
async fn send_delayed(context: &Context) -> Result<(), ApiError> {
    let before_ms = context.now_ms().saturating_sub(OVERDUE_MS);
    let read = context.batch(vec![delayed_events::select_overdue(before_ms, ROOMS_MAX)]).await?;
    let rows: Vec<FoundRow> = Results::new(read).rows()?;
    for room_id in rows.into_iter().filter_map(|row| row.room_id) {
        if let Err(error) = context.room(&room_id, RoomCommand::SendDelayed(None)).await {
            crate::log::warn(&format!("what is due in {room_id} has to wait: {error}"));
        }
    }
    Ok(())
}

/// Senders that were not told to look. Those whose gateways fail have an alarm.
async fn push_forgotten(context: &Context) -> Result<(), ApiError> {
    let received_after_ms = context.now_ms().saturating_sub(2 * INTERVAL_MS);
    let read = context.batch(vec![push_queue::select_behind(received_after_ms)]).await?;
    let users = Results::new(read).rows::<UserRow>()?.into_iter();
    context.push(users.map(|row| row.user_id).collect(), PushCommand::Notify);
    Ok(())
}

/// Actions of events that have been read are not needed any more.
async fn follow_receipts(context: &Context) -> Result<(), ApiError> {
    for _ in 0..SUMMARY_STEPS_MAX {
        let read = context.batch(vec![event_push_summary::select_new_receipts()]).await?;
        let Some(Range { after, upto: Some(upto) }) = Results::new(read).first()? else { break };
        if upto <= after {
            break;
        }
        context.batch(event_push_summary::follow_receipts(after, upto)).await?;
    }
    Ok(())
}

/// Actions that are a day old are summed up.
async fn sum_up_unread(context: &Context) -> Result<(), ApiError> {
    let received_before_ms = context.now_ms().saturating_sub(DAY_MS);
    for _ in 0..SUMMARY_STEPS_MAX {
        let read = vec![event_push_summary::select_old_events(received_before_ms)];
        let read = context.batch(read).await?;
        let Some(Range { after, upto: Some(upto) }) = Results::new(read).first()? else { break };
        context.batch(event_push_summary::sum_up(after, upto)).await?;
    }
    Ok(())
}

fn report(what: &str, outcome: Result<(), ApiError>) {
    if let Err(error) = outcome {
        crate::log::error(&format!("{what} has to be tried again: {error}"));
    }
}
