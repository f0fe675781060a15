//! The search index follows the log: before somebody searches, and in the sweep.
//!
//! Invariant: one step reads a bounded part of the log and is written as one batch, which fails if
//! somebody else has taken the same step.

use myelin_protocol::search_terms::index_text;

use crate::context::Context;
use crate::error::ApiError;
use crate::storage::database::{DatabaseError, QueryResult, Results, Statement};
use crate::storage::search_index::{self, LogRow, PositionRow, WordsRow};

/// Positions of the log that one step covers.
const STEP: i64 = 1_000;

/// Steps that one search waits for; the sweep takes the others.
pub const STEPS_MAX: usize = 5;

/// Steps of one sweep.
pub const SWEEP_STEPS_MAX: usize = 100;

/// Runs a batch on the index, which is made if there is none.
///
/// # Errors
/// The batch's own.
pub async fn batch(
    context: &Context,
    statements: Vec<Statement>,
) -> Result<Vec<QueryResult>, DatabaseError> {
    match context.search_batch(statements.clone()).await {
        Err(error) if error.is_missing_table() => {
            context.search_batch(search_index::create()).await?;
            context.search_batch(statements).await
        }
        outcome => outcome,
    }
}

/// Fills the index on, some steps at most. Returns whether it has reached the end of the log.
///
/// # Errors
/// If a database fails.
pub async fn follow(context: &Context, steps_max: usize) -> Result<bool, ApiError> {
    let log = context.batch(vec![search_index::log_position()]).await?;
    follow_to(context, Results::new(log).first()?, steps_max).await
}

/// As [`follow`], for those who know how far the log goes.
///
/// # Errors
/// If a database fails.
pub async fn follow_to(
    context: &Context,
    log: Option<PositionRow>,
    steps_max: usize,
) -> Result<bool, ApiError> {
    let upto = log.map_or(0, |row| row.stream_ordering);
    for _ in 0..steps_max {
        let position = batch(context, vec![search_index::position()]).await?;
        let position = Results::new(position).first()?;
        let after = position.map_or(0, |row: PositionRow| row.stream_ordering);
        // The log of a database that was restored is shorter than what the index has seen of it.
        if after > upto {
            context.search_batch(search_index::clear()).await?;
            continue;
        }
        if after == upto {
            return Ok(true);
        }
        step(context, after, (after + STEP).min(upto)).await?;
    }
    Ok(false)
}

async fn step(context: &Context, after: i64, upto: i64) -> Result<(), ApiError> {
    let rows = context.batch(vec![search_index::log(after, upto)]).await?;
    let rows: Vec<LogRow> = Results::new(rows).rows()?;
    let words: Vec<WordsRow<'_>> = rows.iter().filter_map(words).collect();
    let redacted: Vec<String> = rows.iter().filter_map(|row| row.redacts.clone()).collect();
    let mut statements = vec![search_index::fence(after)];
    statements.extend(search_index::write(&words, &redacted, upto));
    if let Err(error) = context.search_batch(statements).await {
        // Somebody else may have taken the step: then the next look shows it.
        let position =
            Results::new(batch(context, vec![search_index::position()]).await?).first()?;
        if position.is_none_or(|row: PositionRow| row.stream_ordering == after) {
            return Err(error.into());
        }
    }
    Ok(())
}

fn words(row: &LogRow) -> Option<WordsRow<'_>> {
    let (key, text) = match (&row.body, &row.name, &row.topic) {
        (Some(body), ..) => ("content.body", body),
        (_, Some(name), _) => ("content.name", name),
        (.., Some(topic)) => ("content.topic", topic),
        _ => return None,
    };
    let words = index_text(text);
    (row.redacted.is_none() && !words.is_empty()).then(|| WordsRow {
        stream_ordering: row.stream_ordering,
        event_id: row.event_id.as_str(),
        room_id: row.room_id.as_str(),
        sender: &row.sender,
        key,
        words,
    })
}
