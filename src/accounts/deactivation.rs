//! The end of an account: who it was can never log in again, and leaves all rooms.
//!
//! Invariant: as long as rooms remain to be left, the user is in `users_pending_deactivation`.

use ruma::UserId;
use serde_json::value::RawValue;

use super::device_changes;
use crate::context::Context;
use crate::durable::{ChangeMembership, MembershipAction, RoomCommand};
use crate::error::ApiError;
use crate::storage::access_tokens;
use crate::storage::deactivations::{self, PendingRow};
use crate::storage::devices::{self, Selection};
use crate::storage::local_memberships::{self, MembershipRow};
use crate::storage::user_directory;

/// Users whose rooms one sweep goes through.
const USERS_MAX: u32 = 10;

/// Ends an account at once; its rooms are left afterwards.
///
/// # Errors
/// If the commit fails.
pub async fn deactivate(context: &Context, user_id: &UserId, erase: bool) -> Result<(), ApiError> {
    let now_ms = context.now_ms();
    let mut statements = devices::delete(user_id, Selection::AllBut(None), now_ms);
    statements.extend(access_tokens::delete_all_but(user_id, None));
    statements.extend(deactivations::deactivate(user_id));
    statements.extend(user_directory::remove(user_id));
    if erase {
        statements.extend(deactivations::erase(user_id));
    }
    device_changes::commit(context, user_id, statements).await?;
    let (context, user_id) = (context.clone(), user_id.to_owned());
    let platform = context.platform.clone();
    platform.spawn(Box::pin(async move {
        if let Err(error) = leave_rooms(&context, &user_id).await {
            crate::log::warn(&format!("{user_id} has yet to leave rooms: {error}"));
        }
    }));
    Ok(())
}

/// Goes on where leaving rooms was interrupted: for the cron sweep.
///
/// # Errors
/// If the users cannot be read.
pub async fn resume(context: &Context) -> Result<(), ApiError> {
    let pending: Vec<PendingRow> =
        context.batch(vec![deactivations::select_pending(USERS_MAX)]).await?[0].rows()?;
    for PendingRow { user_id } in pending {
        leave_rooms(context, &user_id).await?;
    }
    Ok(())
}

/// Leaves every room, rejects every invite, withdraws every knock. A room that refuses is passed
/// over, as nothing would change its mind.
async fn leave_rooms(context: &Context, user_id: &UserId) -> Result<(), ApiError> {
    let rooms: Vec<MembershipRow> =
        context.batch(vec![local_memberships::select_present(user_id)]).await?[0].rows()?;
    let content = RawValue::from_string("{}".to_owned()).map_err(ApiError::internal)?;
    for room in rooms {
        let leave = ChangeMembership {
            action: MembershipAction::Leave,
            sender: user_id.to_owned(),
            target: user_id.to_owned(),
            content: content.clone(),
            sender_is_guest: false,
            transaction: None,
            delayed: None,
        };
        match context.room(&room.room_id, RoomCommand::ChangeMembership(leave)).await {
            Ok(_) => {}
            Err(error) if error.status() < 500 => {
                let room_id = &room.room_id;
                crate::log::warn(&format!("{user_id} could not leave {room_id}: {error}"));
            }
            Err(error) => return Err(error),
        }
    }
    context.batch(deactivations::finish(user_id).to_vec()).await?;
    Ok(())
}
