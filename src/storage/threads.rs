//! `threads`: the threads of rooms by their latest events. The room's writer keeps it: `room_log`.

use ruma::{OwnedEventId, RoomId};
use serde::Deserialize;

use super::database::Statement;
use super::events::{Selection, reader};

/// A place in the list of a room's threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct ThreadPlace {
    pub topological_ordering: i64,
    pub stream_ordering: i64,
}

/// Which threads of a room.
#[derive(Clone, Debug)]
pub struct ThreadsQuery<'a> {
    pub room_id: &'a RoomId,
    /// Only threads with a word of the reader's.
    pub participated: bool,
    /// Only threads that are below this place.
    pub from: Option<ThreadPlace>,
    pub limit: u32,
    /// A user id or a token.
    pub reader: &'a str,
}

/// A thread of the list.
#[derive(Clone, Debug, Deserialize)]
pub struct ThreadRow {
    pub thread_id: OwnedEventId,
    #[serde(flatten)]
    pub place: ThreadPlace,
}

/// Reads the [`ThreadRow`]s of a page, the one with the latest event first.
pub fn page(query: &ThreadsQuery<'_>) -> Statement {
    let mut selection = Selection::new();
    push_page(&mut selection, query, "t.thread_id, t.topological_ordering, t.stream_ordering");
    selection.into_statement()
}

/// The roots of the same page.
pub fn roots(query: &ThreadsQuery<'_>) -> Selection {
    let mut selection = Selection::new();
    push_page(&mut selection, query, "root.stream_ordering");
    selection
}

fn push_page(selection: &mut Selection, query: &ThreadsQuery<'_>, columns: &str) {
    let room_id = selection.bind(query.room_id.as_str());
    selection.push(&format!(
        "SELECT {columns} FROM threads t
         CROSS JOIN events root ON root.event_id = t.thread_id AND +root.room_id = t.room_id
         WHERE t.room_id = {room_id}"
    ));
    if let Some(from) = query.from {
        let topological = selection.bind(from.topological_ordering);
        let stream = selection.bind(from.stream_ordering);
        selection.push(&format!(
            " AND (t.topological_ordering, t.stream_ordering) < ({topological}, {stream})"
        ));
    }
    if query.participated {
        let reader = reader(&selection.bind(query.reader));
        selection.push(&format!(
            " AND (root.sender = {reader} OR EXISTS (
                SELECT 1 FROM event_relations r CROSS JOIN events c ON c.event_id = r.event_id
                WHERE r.relates_to_id = t.thread_id AND r.relation_type = 'm.thread'
                  AND +c.room_id = t.room_id AND +c.sender = {reader}))"
        ));
    }
    let limit = selection.bind(query.limit);
    selection.push(&format!(
        " ORDER BY t.topological_ordering DESC, t.stream_ordering DESC LIMIT {limit} + 0"
    ));
}
