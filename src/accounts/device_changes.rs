//! Telling people that somebody's devices have changed: everyone who shares a room with them, and
//! their own devices. What has changed is in the log; this wakes those who wait.

use std::collections::BTreeSet;

use ruma::{OwnedUserId, UserId};

use crate::context::Context;
use crate::durable::Announcement;
use crate::storage::database::{DatabaseError, QueryResult, Statement};
use crate::storage::presence::{self, ObserverRow};

/// Commits a change of a user's devices, and wakes them after the answer.
///
/// # Errors
/// The batch's own.
pub async fn commit(
    context: &Context,
    user_id: &UserId,
    mut statements: Vec<Statement>,
) -> Result<Vec<QueryResult>, DatabaseError> {
    statements.push(observers(user_id));
    let results = context.batch(statements).await?;
    announce(context, user_id, &results)?;
    Ok(results)
}

/// Reads who has to be woken. The last statement of the batch that records the change, because
/// [`announce`] takes the last result.
pub fn observers(user_id: &UserId) -> Statement {
    presence::select_observers(user_id)
}

/// Wakes them, after the answer. `results` are those of a batch that ends with [`observers`].
///
/// # Errors
/// If the last result is another's.
pub fn announce(
    context: &Context,
    user_id: &UserId,
    results: &[QueryResult],
) -> Result<(), DatabaseError> {
    let rows: Vec<ObserverRow> = match results.last() {
        Some(result) => result.rows()?,
        None => Vec::new(),
    };
    let mut users: BTreeSet<OwnedUserId> = rows.into_iter().map(|row| row.user_id).collect();
    users.insert(user_id.to_owned());
    context.announce(Announcement::Users(users.into_iter().collect()));
    Ok(())
}
