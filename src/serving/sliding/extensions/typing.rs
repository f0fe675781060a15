//! Who is writing in which room just now (MSC3961).

use std::collections::{BTreeMap, HashSet};

use myelin_protocol::pdu::raw_json;
use myelin_protocol::sliding_sync::Connection;
use ruma::OwnedEventId;
use serde_json::json;

use super::{Ask, Extension, Part, Scope, Told};
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::typing::{self, TypingStateRow};

pub struct Typing {
    scope: Scope,
    rooms: Vec<TypingStateRow>,
}

impl Typing {
    pub(super) fn new(scope: Scope) -> Self {
        Self { scope, rooms: Vec::new() }
    }
}

impl Extension for Typing {
    fn look(&self, ask: &Ask<'_>) -> Vec<Statement> {
        let since = ask.since.map_or(0, |since| since.typing_key);
        vec![typing::state_since(ask.user_id, since, ask.now_ms)]
    }

    fn read_look(&mut self, _ask: &Ask<'_>, results: &mut Results) -> Result<(), DatabaseError> {
        self.rooms = results.rows()?;
        Ok(())
    }

    fn answer(
        &mut self,
        ask: &Ask<'_>,
        told: &Told<'_>,
        _sent: &HashSet<OwnedEventId>,
        _connection: &mut Connection,
    ) -> Option<Part> {
        let scope = self.scope.rooms(told);
        let is_told = |row: &&TypingStateRow| {
            let typing = &row.typing;
            // That somebody has stopped is news only to a client that knew they had begun.
            let is_new = ask.since.is_none() || told.anew.contains(&typing.room_id);
            let is_news = if is_new { !typing.user_ids.is_empty() } else { row.is_news };
            is_news && scope.contains(&typing.room_id)
        };
        let rooms: BTreeMap<_, _> = self
            .rooms
            .iter()
            .filter(is_told)
            .map(|row| {
                let content = json!({ "user_ids": row.typing.user_ids });
                (&row.typing.room_id, json!({ "type": "m.typing", "content": content }))
            })
            .collect();
        let is_news = !rooms.is_empty();
        Some(Part { name: "typing", content: raw_json(&json!({ "rooms": rooms })), is_news })
    }

    fn due_ms(&self) -> Option<u64> {
        self.rooms.iter().filter_map(|row| row.expires_ts).min()
    }

    fn is_for_all_rooms(&self) -> bool {
        self.scope.is_all
    }
}
