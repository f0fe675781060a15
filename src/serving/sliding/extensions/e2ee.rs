//! Whose devices have changed, and how many keys the device has left (MSC3884).

use std::collections::HashSet;

use myelin_protocol::pdu::raw_json;
use myelin_protocol::sliding_sync::Connection;
use myelin_protocol::sync::device_lists::meeting_places;
use myelin_protocol::sync::{DeviceLists, MeetingPlace, Windows};
use ruma::OwnedEventId;
use serde_json::json;

use super::{Ask, Extension, Part, Told};
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::device_lists::{self, ChangedRow};
use crate::storage::e2e_one_time_keys::{self, CountsRow};
use crate::storage::stream_positions::{NOW, StreamName};
use crate::storage::sync;

#[derive(Default)]
pub struct EndToEnd {
    counts: CountsRow,
    lists: DeviceLists,
    /// Where others may have been met or left.
    places: Vec<MeetingPlace>,
}

impl Extension for EndToEnd {
    fn streams(&self) -> &'static [StreamName] {
        &[StreamName::DeviceLists]
    }

    fn look(&self, ask: &Ask<'_>) -> Vec<Statement> {
        let mut batch = Vec::new();
        if let Some(device_id) = ask.device_id {
            batch.push(e2e_one_time_keys::select_counts(ask.user_id, device_id));
        }
        if let Some(since) = ask.since {
            let (user_id, stream) = (ask.user_id, since.room_key.stream());
            batch.push(device_lists::changed_since(user_id, since.device_list_key.stream, NOW));
            batch.push(sync::moved_rooms(user_id, stream));
            batch.push(sync::membership_changes(user_id, stream));
        }
        batch
    }

    fn read_look(&mut self, ask: &Ask<'_>, results: &mut Results) -> Result<(), DatabaseError> {
        if ask.device_id.is_some() {
            self.counts = results.first()?.unwrap_or_default();
        }
        if let Some(since) = ask.since {
            let changed: Vec<ChangedRow> = results.rows()?;
            self.lists = DeviceLists::changed(changed.into_iter().map(|row| row.user_id).collect());
            let since = since.room_key.stream();
            let (user_id, ignored) = (ask.user_id, &HashSet::new());
            let windows = Windows { user_id, since: Some(since), upto: NOW, ignored };
            let rooms = windows.of_changes(results.rows()?, results.rows()?);
            self.places = meeting_places(rooms.values(), since);
        }
        Ok(())
    }

    fn contents(&self, ask: &Ask<'_>, _told: &Told<'_>) -> Vec<Statement> {
        match self.places.is_empty() {
            true => Vec::new(),
            false => vec![device_lists::meetings(ask.user_id, &self.places)],
        }
    }

    fn read_contents(
        &mut self,
        _ask: &Ask<'_>,
        _told: &Told<'_>,
        results: &mut Results,
    ) -> Result<(), DatabaseError> {
        if !std::mem::take(&mut self.places).is_empty() {
            self.lists.meet(results.rows()?);
        }
        Ok(())
    }

    fn answer(
        &mut self,
        ask: &Ask<'_>,
        _told: &Told<'_>,
        _sent: &HashSet<OwnedEventId>,
        _connection: &mut Connection,
    ) -> Option<Part> {
        let lists = std::mem::take(&mut self.lists);
        let mut content = json!({
            "device_one_time_keys_count": self.counts.one_time_keys(),
            "device_unused_fallback_key_types": self.counts.unused_fallback_keys(),
        });
        if ask.since.is_some() {
            content["device_lists"] = json!(lists);
        }
        Some(Part { name: "e2ee", content: raw_json(&content), is_news: !lists.is_empty() })
    }
}
