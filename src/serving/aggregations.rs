//! What is shown with an event of what relates to it: its latest edit, references, its thread.
//!
//! A timeline brings the ids along. The events themselves are read with one more batch, for all
//! events of an answer together, and only if there are any: [`wanted`], [`statements`], [`read`],
//! [`attach`]; or [`add`], which does all of it.
//!
//! Invariant: what the reader may not see is not shown with anything else either.

use std::collections::HashMap;
use std::rc::Rc;

use myelin_protocol::client_event::EventFormat;
use myelin_protocol::relations::{
    Bundle, REFERENCE, REPLACE, ReferenceBundle, THREAD, ThreadBundle, is_valid_replacement,
};
use ruma::{OwnedEventId, OwnedRoomId, UserId};
use serde_json::value::RawValue;

use super::{Reader, StoredEvent, Timeline, VisibleEvent};
use crate::context::Context;
use crate::error::ApiError;
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::event_pages;
use crate::storage::events::{self, ReaderRow};
use crate::storage::relations::{self, AggregationRow};

/// References shown with an event, the latest ones: a poll may have many thousands.
const REFERENCES_MAX: usize = 1_000;

/// Events by their ids, read for a whole answer.
pub type RelatedEvents = Rc<HashMap<OwnedEventId, StoredEvent>>;

/// What relates to one event.
#[derive(Clone, Debug, Default)]
pub struct Aggregations {
    edit: Option<OwnedEventId>,
    references: Vec<OwnedEventId>,
    thread: Option<Thread>,
    events: RelatedEvents,
}

#[derive(Clone, Debug)]
struct Thread {
    latest: OwnedEventId,
    count: u64,
    participated: bool,
    /// What relates to the latest event: no thread, for it is in one.
    of_latest: Box<Aggregations>,
}

/// Gives events what relates to them, as ids.
pub(super) fn distribute(rows: Vec<AggregationRow>, events: &mut [StoredEvent]) {
    let mut found: HashMap<OwnedEventId, Aggregations> = HashMap::new();
    let mut threads = Vec::new();
    for row in rows {
        let Some(event_id) = row.event_id else { continue };
        match row.relation_type.as_str() {
            REPLACE => found.entry(row.parent_id).or_default().edit = Some(event_id),
            REFERENCE => found.entry(row.parent_id).or_default().references.push(event_id),
            THREAD => threads.push((row.parent_id, event_id, row.count, row.participated)),
            _ => {}
        }
    }
    for of in found.values_mut() {
        of.references.drain(..of.references.len().saturating_sub(REFERENCES_MAX));
    }
    for (parent_id, latest, count, participated) in threads {
        let of_latest = Box::new(found.get(&latest).cloned().unwrap_or_default());
        let thread = Thread { latest, count: count.unwrap_or_default(), participated, of_latest };
        found.entry(parent_id).or_default().thread = Some(thread);
    }
    for event in events {
        event.aggregations = found.remove(&event.pdu.event_id).map(Box::new);
    }
}

/// The events that are to be read for these.
pub fn wanted<'a>(events: impl IntoIterator<Item = &'a StoredEvent>) -> Vec<OwnedEventId> {
    let mut ids = Vec::new();
    for event in events {
        let Some(of) = &event.aggregations else { continue };
        ids.extend(of.edit.iter().filter(|_| event.redaction.is_none()).cloned());
        if let Some(thread) = &of.thread {
            ids.push(thread.latest.clone());
            ids.extend(thread.of_latest.edit.clone());
        }
    }
    ids.sort();
    ids.dedup();
    ids
}

/// The statements that read the wanted events; [`read`] takes their results.
pub fn statements(event_ids: &[OwnedEventId], user_id: &UserId) -> [Statement; 2] {
    let unsure = relations::before_joining(event_ids, user_id.as_str());
    [events::served(event_pages::by_id(event_ids)), events::visibility(unsure, user_id.as_str())]
}

/// Takes the results of [`statements`], and keeps what the reader may see.
///
/// # Errors
/// If the rows are not of those statements.
pub fn read(
    results: &mut Results,
    reader: &Reader,
    rooms: &HashMap<OwnedRoomId, ReaderRow>,
) -> Result<RelatedEvents, DatabaseError> {
    let timeline = Timeline::read_judged(results)?;
    let visible = timeline.visible(reader, rooms).into_iter();
    let by_id = visible.map(|seen| (seen.event.pdu.event_id.clone(), seen.event));
    Ok(Rc::new(by_id.collect()))
}

/// Gives events the related events that have been read.
pub fn attach<'a>(events: impl IntoIterator<Item = &'a mut StoredEvent>, related: &RelatedEvents) {
    for event in events {
        if let Some(of) = &mut event.aggregations {
            of.events = related.clone();
        }
    }
}

/// Reads and attaches what relates to events: one batch, or none.
///
/// # Errors
/// If the database fails.
pub async fn add<'a>(
    context: &Context,
    reader: &Reader,
    rooms: &HashMap<OwnedRoomId, ReaderRow>,
    visible: impl IntoIterator<Item = &'a mut VisibleEvent>,
) -> Result<(), ApiError> {
    let visible: Vec<&mut VisibleEvent> = visible.into_iter().collect();
    let ids = wanted(visible.iter().map(|seen| &seen.event));
    if ids.is_empty() {
        return Ok(());
    }
    let batch = statements(&ids, &reader.user_id).to_vec();
    let mut results = Results::new(context.batch(batch).await?);
    let related = read(&mut results, reader, rooms)?;
    attach(visible.into_iter().map(|seen| &mut seen.event), &related);
    Ok(())
}

impl Aggregations {
    /// The value of `m.relations`; `None` if there is nothing to show.
    pub(super) fn format(
        &self,
        event: &StoredEvent,
        reader: &Reader,
        format: EventFormat,
        now_ms: u64,
    ) -> Option<Box<RawValue>> {
        self.format_with(&self.events, event, reader, format, now_ms)
    }

    fn format_with(
        &self,
        related: &RelatedEvents,
        event: &StoredEvent,
        reader: &Reader,
        format: EventFormat,
        now_ms: u64,
    ) -> Option<Box<RawValue>> {
        let edit = self.edit.as_ref().and_then(|id| related.get(id));
        // What replaces a redacted event would tell what it said.
        let edit = edit.filter(|edit| {
            event.redaction.is_none() && is_valid_replacement(&event.pdu, &edit.pdu)
        });
        let thread = self.thread.as_ref().and_then(|thread| {
            let latest = related.get(&thread.latest)?;
            let of_latest = &thread.of_latest;
            let bundle = of_latest.format_with(related, latest, reader, format, now_ms);
            Some(ThreadBundle {
                latest_event: reader.format_with(latest, None, bundle.as_deref(), format, now_ms),
                count: thread.count,
                current_user_participated: thread.participated,
            })
        });
        let bundle = Bundle {
            replace: edit.map(|edit| reader.format_with(edit, None, None, format, now_ms)),
            reference: ReferenceBundle::new(self.references.iter().map(|id| &**id)),
            thread,
        };
        bundle.to_json()
    }
}
