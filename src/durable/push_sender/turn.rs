//! One turn of a sender: which gateway gets what next. Devices that get the same from the same
//! gateway are told with one request.

use std::collections::HashMap;

use myelin_protocol::push_gateway::Gateway;

use super::Asked;
use super::look::{Destination, Look};
use crate::storage::push_queue::PendingRow;

/// One request.
pub struct Parcel<'a> {
    pub gateway: &'a Gateway,
    pub to: Vec<&'a Destination>,
    /// `None`: only how much is unread.
    pub event: Option<&'a PendingRow>,
}

/// At most one request for each device.
pub fn parcels<'a>(
    look: &'a Look,
    asked: Asked,
    told: &HashMap<i64, u64>,
    now_ms: u64,
) -> Vec<Parcel<'a>> {
    let mut parcels: Vec<Parcel<'a>> = Vec::new();
    for to in &look.destinations {
        let is_failing = to.row.failing_since.is_some();
        if is_failing && !asked.retry {
            continue;
        }
        let event = next_event(look, to, now_ms);
        let is_told = told.get(&to.row.id) == Some(&look.unread);
        if event.is_none() && !is_failing && (is_told || !asked.read) {
            continue;
        }
        let place = |event: Option<&PendingRow>| event.map(|event| event.stream_ordering);
        let is_same = |parcel: &&mut Parcel<'a>| {
            parcel.gateway.url == to.gateway.url
                && parcel.gateway.is_event_id_only == to.gateway.is_event_id_only
                && place(parcel.event) == place(event)
        };
        match parcels.iter_mut().find(is_same) {
            Some(parcel) => parcel.to.push(to),
            None => parcels.push(Parcel { gateway: &to.gateway, to: vec![to], event }),
        }
    }
    parcels
}

/// The oldest that a device has not been told; after a long failure, the newest in place of all.
fn next_event<'a>(look: &'a Look, to: &Destination, now_ms: u64) -> Option<&'a PendingRow> {
    let is_new = |event: &&PendingRow| event.stream_ordering > to.row.last_stream_ordering;
    match to.is_long_failing(now_ms) {
        true => look.newest.as_ref().filter(is_new),
        false => look.pending.iter().find(is_new),
    }
}
