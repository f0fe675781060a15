//! The threads that the user follows (MSC4308).

use std::collections::HashSet;

use myelin_protocol::pdu::raw_json;
use myelin_protocol::sliding_sync::Connection;
use myelin_protocol::thread_subscriptions::{SubscriptionChanges, list_changes};
use ruma::OwnedEventId;
use serde::Serialize;

use super::{Ask, Extension, Part, Told};
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::stream_positions::{NOW, StreamName};
use crate::storage::thread_subscriptions::{self, ChangeRow};

pub struct ThreadSubscriptions {
    limit: u32,
    changes: Vec<ChangeRow>,
}

#[derive(Serialize)]
struct Content {
    #[serde(flatten)]
    changes: SubscriptionChanges,
    /// Where the changes end that are not here.
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_batch: Option<String>,
}

impl ThreadSubscriptions {
    /// At most so many changes.
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, changes: Vec::new() }
    }
}

impl Extension for ThreadSubscriptions {
    fn streams(&self) -> &'static [StreamName] {
        &[StreamName::ThreadSubscriptions]
    }

    fn look(&self, ask: &Ask<'_>) -> Vec<Statement> {
        let since = ask.since.map_or(0, |since| since.thread_subscriptions_key);
        let user_id = ask.user_id.as_str();
        vec![thread_subscriptions::updated_since(user_id, since, NOW, self.limit)]
    }

    fn read_look(&mut self, _ask: &Ask<'_>, results: &mut Results) -> Result<(), DatabaseError> {
        self.changes = results.rows()?;
        Ok(())
    }

    fn answer(
        &mut self,
        _ask: &Ask<'_>,
        _told: &Told<'_>,
        _sent: &HashSet<OwnedEventId>,
        _connection: &mut Connection,
    ) -> Option<Part> {
        let changes = std::mem::take(&mut self.changes);
        if changes.is_empty() {
            return None;
        }
        let changes = changes.into_iter().map(Into::into).collect();
        let (changes, end) = list_changes(changes, self.limit as usize);
        let content = Content { changes, prev_batch: end.map(|end| end.to_string()) };
        let name = "io.element.msc4308.thread_subscriptions";
        Some(Part { name, content: raw_json(&content), is_news: true })
    }
}
