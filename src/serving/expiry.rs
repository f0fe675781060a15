//! Forgets messages whose time has come. Nobody has been shown them since: this takes what they
//! said out of the database and the search index.

use myelin_protocol::pdu::Pdu;
use myelin_protocol::redaction::redact;
use myelin_protocol::room_version::rules_of;

use crate::context::Context;
use crate::error::ApiError;
use crate::storage::database::Results;
use crate::storage::event_expiry::{self, ExpiredRow, PrunedRow};
use crate::storage::search_index;

/// Messages of one batch: each is at most 64 KiB.
const MESSAGES_MAX: u32 = 10;

/// Batches of one sweep; the next one goes on.
const BATCHES_MAX: u32 = 50;

/// Forgets what is due.
///
/// # Errors
/// If a commit fails.
pub async fn forget(context: &Context) -> Result<(), ApiError> {
    for _ in 0..BATCHES_MAX {
        let select = event_expiry::select_expired(context.now_ms(), MESSAGES_MAX);
        let mut results = Results::new(context.batch(vec![select]).await?);
        let rows: Vec<ExpiredRow> = results.rows()?;
        let pruned: Vec<PrunedRow> = rows.into_iter().map(pruned).collect();
        if pruned.is_empty() {
            break;
        }
        let ids: Vec<String> = pruned.iter().map(|row| row.event_id.to_string()).collect();
        // First the words: what is left undone here is found again by its row in the database.
        let mut words = search_index::create();
        words.extend(search_index::delete(&ids));
        context.search_batch(words).await?;
        context.batch(event_expiry::prune(&pruned).to_vec()).await?;
    }
    Ok(())
}

/// An event that cannot be read (of a damaged import) is shown to nobody, and stays as it is.
fn pruned(row: ExpiredRow) -> PrunedRow {
    let ExpiredRow { event_id, room_id, room_version, json } = row;
    let rules = rules_of(room_version.as_deref().unwrap_or("1"));
    let prune = |rules| {
        let event = Pdu::from_json(event_id.clone(), room_id, json.clone(), rules, false).ok()?;
        Some(redact(&event, rules).ok()?.json.get().to_owned())
    };
    let left = rules.as_ref().and_then(prune);
    PrunedRow { json: left.unwrap_or(json), event_id }
}
