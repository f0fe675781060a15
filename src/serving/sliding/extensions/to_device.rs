//! Messages to the device (MSC3885). They have positions of their own, because a client keeps
//! what it has got of them apart from what it has got of rooms.

use std::collections::HashSet;

use myelin_protocol::pdu::raw_json;
use myelin_protocol::sliding_sync::Connection;
use ruma::OwnedEventId;
use serde::Deserialize;
use serde_json::json;

use super::{Ask, Extension, Part, Told};
use crate::log;
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::device_inbox::{self, Inbox};
use crate::storage::stream_positions::{self, StreamName};

pub struct ToDevice {
    limit: usize,
    /// Up to where the client has them.
    since: i64,
    now: i64,
    inbox: Inbox,
}

#[derive(Deserialize)]
struct PositionRow {
    to_device: i64,
}

impl ToDevice {
    /// At most so many messages, after this position.
    pub(super) fn new(limit: usize, since: i64) -> Self {
        Self { limit, since, now: 0, inbox: Inbox::default() }
    }
}

impl Extension for ToDevice {
    fn look(&self, ask: &Ask<'_>) -> Vec<Statement> {
        let mut batch = vec![stream_positions::select_some(&[StreamName::ToDevice])];
        if let Some(device_id) = ask.device_id {
            batch.push(device_inbox::select(ask.user_id, device_id, self.since));
        }
        batch
    }

    fn read_look(&mut self, ask: &Ask<'_>, results: &mut Results) -> Result<(), DatabaseError> {
        let row: Option<PositionRow> = results.first()?;
        self.now = row.map_or(0, |row| row.to_device);
        if self.since > self.now {
            let (since, now) = (self.since, self.now);
            log::warn(&format!("a to_device position is ahead of the log: {since} of {now}"));
            // Nothing that is queued is known to have been acknowledged, and all of it was read.
            self.since = 0;
        }
        if ask.device_id.is_some() {
            self.inbox = Inbox::of(results.rows()?, self.limit);
        }
        Ok(())
    }

    /// What the client has acknowledged is removed.
    fn contents(&self, ask: &Ask<'_>, _told: &Told<'_>) -> Vec<Statement> {
        let device_id = ask.device_id.filter(|_| self.inbox.has_acknowledged);
        let delete = |device_id| device_inbox::delete_upto(ask.user_id, device_id, self.since);
        device_id.map(delete).into_iter().collect()
    }

    fn read_contents(
        &mut self,
        ask: &Ask<'_>,
        told: &Told<'_>,
        results: &mut Results,
    ) -> Result<(), DatabaseError> {
        results.skip(self.contents(ask, told).len());
        self.inbox.has_acknowledged = false;
        Ok(())
    }

    fn answer(
        &mut self,
        _ask: &Ask<'_>,
        _told: &Told<'_>,
        _sent: &HashSet<OwnedEventId>,
        _connection: &mut Connection,
    ) -> Option<Part> {
        let next = self.inbox.last.unwrap_or(self.now).to_string();
        let events = std::mem::take(&mut self.inbox.events);
        let is_news = !events.is_empty();
        let content = raw_json(&json!({ "next_batch": next, "events": events }));
        Some(Part { name: "to_device", content, is_news })
    }
}
