//! What a user's clients keep for themselves (MSC3959), for all rooms and for each.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use myelin_protocol::pdu::raw_json;
use myelin_protocol::sliding_sync::Connection;
use ruma::api::client::filter::Filter;
use ruma::{OwnedEventId, OwnedRoomId};
use serde_json::json;
use serde_json::value::RawValue;

use super::{Ask, Extension, Part, Scope, Told};
use crate::serving::sync::extras::{self, RoomExtras};
use crate::storage::account_data::{self, AccountDataRow, RoomAccountDataRow};
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::push_rules::{self, ChangedRow, StoredRules};
use crate::storage::room_tags::{self, TagRow};
use crate::storage::stream_positions::{NOW, StreamName};

pub struct AccountData {
    scope: Scope,
    global: Vec<AccountDataRow>,
    /// What has changed since the client's position.
    of_rooms: Vec<RoomAccountDataRow>,
    tags: Vec<TagRow>,
    /// The client lacks the push rules.
    needs_rules: bool,
    rules: Option<serde_json::Value>,
}

impl AccountData {
    pub(super) fn new(scope: Scope) -> Self {
        Self {
            scope,
            global: Vec::new(),
            of_rooms: Vec::new(),
            tags: Vec::new(),
            needs_rules: false,
            rules: None,
        }
    }

    /// Rooms of which the client has nothing yet.
    fn new_rooms(&self, told: &Told<'_>) -> Vec<OwnedRoomId> {
        let rooms = self.scope.rooms(told).into_iter();
        rooms.filter(|room_id| !told.connection.room(room_id).account_data).collect()
    }
}

impl Extension for AccountData {
    fn streams(&self) -> &'static [StreamName] {
        &[StreamName::PushRules]
    }

    fn look(&self, ask: &Ask<'_>) -> Vec<Statement> {
        let since = ask.since.map_or(0, |since| since.account_data_key);
        // Of a first request all rooms are new: they are read with their contents.
        let of_rooms = ask.since.map_or(NOW, |since| since.account_data_key);
        let rules = ask.since.map_or(NOW, |since| since.push_rules_key);
        vec![
            account_data::updated_since(ask.user_id, since, NOW),
            account_data::updated_in_rooms_since(ask.user_id, of_rooms, NOW),
            room_tags::updated_since(ask.user_id, of_rooms, NOW),
            push_rules::select_changed(ask.user_id, rules, NOW),
        ]
    }

    fn read_look(&mut self, ask: &Ask<'_>, results: &mut Results) -> Result<(), DatabaseError> {
        self.global = results.rows()?;
        self.of_rooms = results.rows()?;
        self.tags = results.rows()?;
        let has_changed = results.first::<ChangedRow>()?.is_some();
        self.needs_rules = has_changed || ask.since.is_none();
        self.rules = None;
        Ok(())
    }

    fn contents(&self, ask: &Ask<'_>, told: &Told<'_>) -> Vec<Statement> {
        let mut batch = Vec::new();
        if self.needs_rules {
            batch.extend(push_rules::select(ask.user_id.as_str()));
        }
        let rooms = self.new_rooms(told);
        if !rooms.is_empty() {
            batch.push(account_data::select_rooms(ask.user_id, &rooms));
            batch.push(room_tags::select_rooms(ask.user_id, &rooms));
        }
        batch
    }

    fn read_contents(
        &mut self,
        ask: &Ask<'_>,
        told: &Told<'_>,
        results: &mut Results,
    ) -> Result<(), DatabaseError> {
        if self.needs_rules {
            self.rules = Some(StoredRules::read(results)?.content(ask.user_id));
        }
        if !self.new_rooms(told).is_empty() {
            self.of_rooms.extend(results.rows::<RoomAccountDataRow>()?);
            self.tags.extend(results.rows::<TagRow>()?);
        }
        Ok(())
    }

    fn answer(
        &mut self,
        _ask: &Ask<'_>,
        told: &Told<'_>,
        _sent: &HashSet<OwnedEventId>,
        connection: &mut Connection,
    ) -> Option<Part> {
        let scope = self.scope.rooms(told);
        let changed = self.of_rooms.iter().map(|row| &row.room_id);
        let changed: BTreeSet<OwnedRoomId> =
            changed.chain(self.tags.iter().map(|row| &row.room_id)).cloned().collect();
        for (room_id, room) in &mut connection.rooms {
            if scope.contains(room_id) {
                room.account_data = true;
            } else if changed.contains(room_id) {
                // What the client lacks it gets with the rest, when it looks at the room again.
                room.account_data = false;
            }
        }
        let (of_rooms, tags) = (std::mem::take(&mut self.of_rooms), std::mem::take(&mut self.tags));
        let mut extras = RoomExtras::default();
        extras.add_account_data(of_rooms);
        extras.add_tags(tags);
        let mut rooms: BTreeMap<OwnedRoomId, Vec<Box<RawValue>>> = BTreeMap::new();
        for room_id in changed.intersection(&scope) {
            let events = extras.take(room_id).account_data.events;
            if !events.is_empty() {
                rooms.insert(room_id.clone(), events);
            }
        }
        let global = std::mem::take(&mut self.global);
        let global = extras::account_data(global, self.rules.take(), &Filter::empty()).events;
        let is_news = !global.is_empty() || !rooms.is_empty();
        let content = raw_json(&json!({ "global": global, "rooms": rooms }));
        Some(Part { name: "account_data", content, is_news })
    }

    fn is_for_all_rooms(&self) -> bool {
        self.scope.is_all
    }
}
