//! What the sender reads in a step: ONE batch with what it notes of the last one, and one more if
//! there is anything.

use std::rc::Rc;

use myelin_protocol::application_service::ApplicationService;
use myelin_protocol::client_event::EventFormat;
use ruma::OwnedEventId;
use serde_json::value::RawValue;

use super::audience::Audience;
use crate::context::Context;
use crate::error::ApiError;
use crate::serving::{Reader, StoredEvent, read_state, state};
use crate::storage::application_services::TransactionRow;
use crate::storage::application_services::{self as storage, NewEventRow, PositionRow};
use crate::storage::database::{Results, Statement};
use crate::storage::event_pages;

/// What there is to do.
pub struct Look {
    /// How far the log has been looked through.
    pub from: i64,
    pub new: Vec<NewEventRow>,
    pub oldest: Vec<TransactionRow>,
}

impl Look {
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.oldest.is_empty()
    }
}

/// A transaction, ready to be sent.
pub struct Parcel {
    pub service: Rc<ApplicationService>,
    pub txn_id: i64,
    pub events: Vec<Box<RawValue>>,
}

/// Notes, and looks for what these services are to be told.
pub async fn read(
    context: &Context,
    as_ids: &[&str],
    notes: Vec<Statement>,
) -> Result<Look, ApiError> {
    let mut batch = notes;
    batch.push(storage::begin());
    let noted = batch.len();
    batch.push(storage::select_position());
    batch.push(storage::select_new());
    batch.push(storage::select_oldest(as_ids));
    let mut results = Results::new(context.batch(batch).await?);
    results.skip(noted);
    let from = results.first::<PositionRow>()?.map_or(0, |row| row.stream_ordering);
    Ok(Look { from, new: results.rows()?, oldest: results.rows()? })
}

/// Reads the events that are to be sent, and whom the new ones concern.
pub async fn parcels(
    context: &Context,
    look: &Look,
    audience: &mut Audience,
) -> Result<Vec<Parcel>, ApiError> {
    let ids = |row: &TransactionRow| -> Vec<OwnedEventId> {
        serde_json::from_str(&row.event_ids).unwrap_or_default()
    };
    let wanted: Vec<Vec<OwnedEventId>> = look.oldest.iter().map(ids).collect();
    let mut batch = vec![state(event_pages::by_id(&wanted.concat()))];
    batch.extend(audience.statements(context, look));
    let mut results = Results::new(context.batch(batch).await?);
    let events = read_state(&mut results)?;
    audience.learn(context, look, &mut results).await?;
    let parcels = look.oldest.iter().zip(wanted).filter_map(|(row, wanted)| {
        let service = context.services_that_listen().find(|service| service.id == row.as_id)?;
        let events = format(context, &service, &events, &wanted);
        Some(Parcel { service, txn_id: row.txn_id, events })
    });
    Ok(parcels.collect())
}

fn format(
    context: &Context,
    service: &ApplicationService,
    events: &[StoredEvent],
    wanted: &[OwnedEventId],
) -> Vec<Box<RawValue>> {
    let user_id = service.sender.clone();
    let reader = Reader { user_id, device_id: None, ignored: Default::default() };
    let find = |id: &OwnedEventId| events.iter().find(|event| event.pdu.event_id == *id);
    let events = wanted.iter().filter_map(find);
    let now_ms = context.now_ms();
    events.map(|event| reader.format(event, None, EventFormat::Client, now_ms)).collect()
}
