//! How far people have read (MSC3960). Of a room that is told as new those of the user and those
//! at the events of its timeline are sent, later whatever is written.

use std::collections::{BTreeMap, HashSet};

use myelin_protocol::pdu::raw_json;
use myelin_protocol::sliding_sync::{Connection, Sent};
use ruma::{OwnedEventId, OwnedRoomId};
use serde_json::json;
use serde_json::value::RawValue;

use super::{Ask, Extension, Part, Scope, Told};
use crate::serving::sync::extras::RoomExtras;
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::event_pages::Excerpts;
use crate::storage::receipts::{self, ReceiptRow};
use crate::storage::stream_positions::NOW;

pub struct Receipts {
    scope: Scope,
    /// Written since the client's position, in the rooms where the user is.
    news: Vec<ReceiptRow>,
    /// At the events of timelines.
    in_timelines: Vec<ReceiptRow>,
    /// What else rooms lack that are told as new, or that were out of sight.
    of_rooms: Vec<ReceiptRow>,
}

/// What is read of rooms besides the news.
struct Lacking {
    new: Vec<OwnedRoomId>,
    /// From where on something lacks.
    since: Vec<(OwnedRoomId, i64)>,
}

impl Receipts {
    pub(super) fn new(scope: Scope) -> Self {
        let (news, in_timelines, of_rooms) = (Vec::new(), Vec::new(), Vec::new());
        Self { scope, news, in_timelines, of_rooms }
    }

    fn lacking(&self, ask: &Ask<'_>, told: &Told<'_>) -> Lacking {
        let mut lacking = Lacking { new: Vec::new(), since: Vec::new() };
        for room_id in self.scope.rooms(told) {
            let sent = told.connection.room(&room_id).receipts;
            let is_new = ask.since.is_none() || told.anew.contains(&room_id);
            match sent {
                Sent::Live if !is_new => {}
                // Whoever is not in a room sees nothing of who reads it.
                Sent::Until(since) if !is_new && told.joined.contains(&room_id) => {
                    lacking.since.push((room_id, since));
                }
                _ => lacking.new.push(room_id),
            }
        }
        lacking
    }
}

/// The timelines of these rooms.
fn timelines_of(excerpts: &[Excerpts], rooms: &HashSet<&OwnedRoomId>) -> Vec<Excerpts> {
    let of_rooms = |excerpts: &Excerpts| {
        let windows = excerpts.windows.iter().filter(|window| rooms.contains(&window.room_id));
        Excerpts { windows: windows.cloned().collect(), limit: excerpts.limit }
    };
    excerpts.iter().map(of_rooms).collect()
}

impl Extension for Receipts {
    fn look(&self, ask: &Ask<'_>) -> Vec<Statement> {
        let since = ask.since.map_or(NOW, |since| since.receipt_key.stream);
        vec![receipts::updated_since(ask.user_id, since, NOW)]
    }

    fn read_look(&mut self, _ask: &Ask<'_>, results: &mut Results) -> Result<(), DatabaseError> {
        self.news = results.rows()?;
        Ok(())
    }

    fn contents(&self, ask: &Ask<'_>, told: &Told<'_>) -> Vec<Statement> {
        let lacking = self.lacking(ask, told);
        let mut batch = Vec::new();
        if !lacking.new.is_empty() {
            let joined = lacking.new.iter().filter(|room_id| told.joined.contains(*room_id));
            let timelines = timelines_of(told.excerpts, &joined.collect());
            batch.push(receipts::in_excerpts(ask.user_id, &timelines));
            batch.push(receipts::own_in_rooms(ask.user_id, &lacking.new));
        }
        if !lacking.since.is_empty() {
            batch.push(receipts::in_rooms_since(ask.user_id, &lacking.since));
        }
        batch
    }

    fn read_contents(
        &mut self,
        ask: &Ask<'_>,
        told: &Told<'_>,
        results: &mut Results,
    ) -> Result<(), DatabaseError> {
        let lacking = self.lacking(ask, told);
        if !lacking.new.is_empty() {
            self.in_timelines = results.rows()?;
            self.of_rooms = results.rows()?;
        }
        if !lacking.since.is_empty() {
            self.of_rooms.extend(results.rows::<ReceiptRow>()?);
        }
        Ok(())
    }

    fn answer(
        &mut self,
        ask: &Ask<'_>,
        told: &Told<'_>,
        sent: &HashSet<OwnedEventId>,
        connection: &mut Connection,
    ) -> Option<Part> {
        let scope = self.scope.rooms(told);
        let since = ask.since.map_or(0, |since| since.receipt_key.stream);
        let changed: HashSet<&OwnedRoomId> = self.news.iter().map(|row| &row.room_id).collect();
        for (room_id, room) in &mut connection.rooms {
            if scope.contains(room_id) {
                room.receipts = Sent::Live;
            } else if changed.contains(room_id) {
                room.receipts.miss(since);
            }
        }
        let mut rows = std::mem::take(&mut self.of_rooms);
        rows.extend(std::mem::take(&mut self.news));
        let in_timelines = std::mem::take(&mut self.in_timelines).into_iter();
        rows.extend(in_timelines.filter(|row| sent.contains(&row.event_id)));
        let rooms: HashSet<OwnedRoomId> = rows.iter().map(|row| row.room_id.clone()).collect();
        let mut extras = RoomExtras::default();
        extras.add_receipts(rows);
        let event = |room_id: OwnedRoomId| {
            let event = extras.take(&room_id).ephemeral.events.pop()?;
            Some((room_id, event))
        };
        let rooms = rooms.into_iter().filter(|room_id| scope.contains(room_id));
        let rooms: BTreeMap<OwnedRoomId, Box<RawValue>> = rooms.filter_map(event).collect();
        let is_news = !rooms.is_empty();
        Some(Part { name: "receipts", content: raw_json(&json!({ "rooms": rooms })), is_news })
    }

    fn is_for_all_rooms(&self) -> bool {
        self.scope.is_all
    }
}
