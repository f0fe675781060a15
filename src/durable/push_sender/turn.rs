//! One turn of a sender: which device gets what next. Each is told with a request of its own, as
//! gateways know it from other servers.

use std::collections::HashMap;

use super::Asked;
use super::look::{Destination, Look};
use crate::storage::push_queue::PendingRow;

/// One request.
pub struct Parcel<'a> {
    pub to: &'a Destination,
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
        parcels.push(Parcel { to, event });
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
