//! `receipts_linearized`, `receipts_graph`: how far somebody has read.
//!
//! Invariant: a receipt never moves back in the order of the room's events, and there is one for
//! each room, type, user and thread.
//!
//! For `/sync`: [`updated_since`] reads the receipts written in `(from, to]` of the receipts
//! stream in the rooms where the user is joined, by the index on the position; [`in_rooms`] reads
//! those of whole rooms (an initial sync, rooms that are new to a sync). Both leave out the
//! private receipts of others.

use myelin_protocol::filter::EventFilter;
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::Deserialize;

use super::database::Statement;
use super::event_pages::{Excerpts, push_latest};
use super::events::Selection;
use super::stream_positions::{StreamName, current};

/// The largest number of receipts that one sync carries: bounds the read of an old `since`.
const RECEIPTS_MAX: i64 = 10_000;

/// A receipt as others see it.
#[derive(Debug, Deserialize)]
pub struct ReceiptRow {
    pub room_id: OwnedRoomId,
    pub receipt_type: String,
    pub user_id: OwnedUserId,
    pub event_id: OwnedEventId,
    pub thread_id: Option<String>,
    /// JSON: `{"ts": milliseconds}`; `thread_id` belongs into what is served too.
    pub data: String,
}

/// What decides whether a receipt may be written; there is a row if the event is in the room.
#[derive(Debug, Deserialize)]
pub struct EventOrderRow {
    pub stream_ordering: i64,
    pub topological_ordering: i64,
}

/// A receipt that is about to be written.
pub struct Receipt<'a> {
    pub room_id: &'a RoomId,
    pub receipt_type: &'a str,
    pub user_id: &'a UserId,
    pub event_id: &'a EventId,
    pub thread_id: Option<&'a str>,
    pub ts_ms: u64,
}

/// Reads the [`ReceiptRow`]s written in `(from, to]` in the rooms that the user is joined to.
pub fn updated_since(user_id: &UserId, from: i64, to: i64) -> Statement {
    Statement::new(
        "SELECT r.room_id, r.receipt_type, r.user_id, r.event_id, r.thread_id, r.data
         FROM receipts_linearized r INDEXED BY receipts_linearized_id
         CROSS JOIN local_current_membership m
             ON m.user_id = ?1 AND m.room_id = r.room_id AND m.membership = 'join'
         WHERE r.stream_id > ?2 AND r.stream_id <= ?3
             AND (r.receipt_type <> 'm.read.private' OR r.user_id = ?1)
         ORDER BY r.stream_id DESC LIMIT ?4 + 0",
    )
    .bind(user_id.as_str())
    .bind(from)
    .bind(to)
    .bind(RECEIPTS_MAX)
    .small::<ReceiptRow>()
}

/// Reads the public [`ReceiptRow`]s of a room written in `(from, to]`, for those who look in.
pub fn updated_in_room_since(room_id: &RoomId, from: i64, to: i64) -> Statement {
    Statement::new(
        "SELECT room_id, receipt_type, user_id, event_id, thread_id, data
         FROM receipts_linearized INDEXED BY receipts_linearized_id
         WHERE stream_id > ?2 AND stream_id <= ?3 AND room_id = ?1
             AND receipt_type <> 'm.read.private'
         ORDER BY stream_id DESC LIMIT ?4 + 0",
    )
    .bind(room_id.as_str())
    .bind(from)
    .bind(to)
    .bind(RECEIPTS_MAX)
}

/// Reads the [`ReceiptRow`]s of these rooms, as far as `to`.
pub fn in_rooms(user_id: &UserId, room_ids: &[OwnedRoomId], to: i64) -> Statement {
    Statement::new(
        "SELECT r.room_id, r.receipt_type, r.user_id, r.event_id, r.thread_id, r.data
         FROM json_each(?2) j CROSS JOIN receipts_linearized r ON r.room_id = j.value
         WHERE r.stream_id <= ?3 AND (r.receipt_type <> 'm.read.private' OR r.user_id = ?1)
         LIMIT ?4 + 0",
    )
    .bind(user_id.as_str())
    .bind_json(&room_ids)
    .bind(to)
    .bind(RECEIPTS_MAX)
}

/// Reads the [`ReceiptRow`]s of excerpts' rooms at their first event or later.
pub fn in_excerpts(user_id: &UserId, excerpts: &[Excerpts]) -> Statement {
    let mut selection = Selection::new();
    let user_id = selection.bind(user_id.as_str());
    let receipts_max = selection.bind(RECEIPTS_MAX);
    selection.push("WITH starts (room_id, start) AS MATERIALIZED (");
    for (index, Excerpts { windows, limit }) in excerpts.iter().enumerate() {
        let windows = selection.bind_json(windows);
        selection.push(if index > 0 { " UNION ALL " } else { "" });
        selection.push("SELECT w.value ->> '$.room_id', (SELECT min(stream_ordering) FROM (");
        push_latest(&mut selection, *limit, &EventFilter::default());
        selection.push(&format!(")) FROM json_each({windows}) w"));
    }
    if excerpts.is_empty() {
        selection.push("SELECT NULL, NULL WHERE 0");
    }
    selection.push(&format!(
        ") SELECT r.room_id, r.receipt_type, r.user_id, r.event_id, r.thread_id, r.data
         FROM starts s CROSS JOIN receipts_linearized r ON r.room_id = s.room_id
         WHERE r.event_stream_ordering >= s.start
             AND (r.receipt_type <> 'm.read.private' OR r.user_id = {user_id})
         LIMIT {receipts_max} + 0"
    ));
    selection.into_statement()
}

/// A room that a user has read farther.
#[derive(Debug, Deserialize)]
pub struct ReadRoomRow {
    pub room_id: OwnedRoomId,
}

/// Reads the [`ReadRoomRow`]s of a user since a position.
pub fn read_rooms_since(user_id: &UserId, from: i64) -> Statement {
    Statement::new(
        "SELECT DISTINCT room_id FROM receipts_linearized INDEXED BY receipts_linearized_id
         WHERE stream_id > ?2 AND user_id = ?1 LIMIT ?3 + 0",
    )
    .bind(user_id.as_str())
    .bind(from)
    .bind(RECEIPTS_MAX)
}

/// Reads the user's own [`ReceiptRow`]s of these rooms.
pub fn own_in_rooms(user_id: &UserId, room_ids: &[OwnedRoomId]) -> Statement {
    Statement::new(
        "SELECT r.room_id, r.receipt_type, r.user_id, r.event_id, r.thread_id, r.data
         FROM json_each(?2) j
         CROSS JOIN (SELECT 'm.read' AS name UNION ALL SELECT 'm.read.private') t
         CROSS JOIN receipts_linearized r
             ON r.room_id = j.value AND r.receipt_type = t.name AND r.user_id = ?1",
    )
    .bind(user_id.as_str())
    .bind_json(&room_ids)
}

/// Reads the [`ReceiptRow`]s of rooms that were written after a position of each.
pub fn in_rooms_since(user_id: &UserId, rooms: &[(OwnedRoomId, i64)]) -> Statement {
    Statement::new(
        "SELECT r.room_id, r.receipt_type, r.user_id, r.event_id, r.thread_id, r.data
         FROM json_each(?2) j CROSS JOIN receipts_linearized r ON r.room_id = j.value ->> 0
         WHERE r.stream_id > j.value ->> 1
             AND (r.receipt_type <> 'm.read.private' OR r.user_id = ?1)
         LIMIT ?3 + 0",
    )
    .bind(user_id.as_str())
    .bind_json(&rooms)
    .bind(RECEIPTS_MAX)
}

/// Reads an [`EventOrderRow`]: where an event stands in its room.
pub fn select_event_order(room_id: &RoomId, event_id: &EventId) -> Statement {
    Statement::new(
        "SELECT stream_ordering, topological_ordering FROM events
         WHERE event_id = ?1 AND room_id = ?2 AND outlier = 0",
    )
    .bind(event_id.as_str())
    .bind(room_id.as_str())
}

/// Reads an [`EventOrderRow`]: where a receipt stands, if its event is known.
pub fn select_order(receipt: &Receipt<'_>) -> Statement {
    Statement::new(
        "SELECT event_stream_ordering AS stream_ordering, 0 AS topological_ordering
         FROM receipts_linearized
         WHERE room_id = ?1 AND receipt_type = ?2 AND user_id = ?3 AND thread_id IS ?4
             AND event_stream_ordering IS NOT NULL",
    )
    .bind(receipt.room_id.as_str())
    .bind(receipt.receipt_type)
    .bind(receipt.user_id.as_str())
    .bind(receipt.thread_id)
}

/// An event on the way up from an event to what it is about, and so on.
#[derive(Debug, Deserialize)]
pub struct RelatedRow {
    pub event_id: OwnedEventId,
    pub relation_type: Option<String>,
}

/// Reads the [`RelatedRow`]s of an event and of those that it relates to, at most 4 deep.
pub fn select_related(event_id: &EventId) -> Statement {
    Statement::new(
        "WITH RECURSIVE related (event_id, depth) AS (
             SELECT ?1, 0
             UNION
             SELECT json_extract(e.json, '$.content.\"m.relates_to\".event_id'), r.depth + 1
             FROM related r CROSS JOIN event_json e ON e.event_id = r.event_id
             WHERE r.depth <= 3
                 AND json_type(e.json, '$.content.\"m.relates_to\".event_id') = 'text'
         )
         SELECT r.event_id,
             (SELECT CASE json_type(e.json, '$.content.\"m.relates_to\".rel_type')
                     WHEN 'text' THEN json_extract(e.json, '$.content.\"m.relates_to\".rel_type')
                     END
              FROM event_json e WHERE e.event_id = r.event_id) AS relation_type
         FROM related r ORDER BY r.depth",
    )
    .bind(event_id.as_str())
}

/// Writes a receipt, unless one for a later event stands there. The position moves only with it.
pub fn set(receipt: &Receipt<'_>) -> Vec<Statement> {
    let data = format!("{{\"ts\":{}}}", receipt.ts_ms);
    let event_ids = [receipt.event_id];
    let insert_linearized = format!(
        "INSERT INTO receipts_linearized (stream_id, room_id, receipt_type, user_id, event_id,
             thread_id, event_stream_ordering, data, instance_name)
         SELECT {}, ?1, ?2, ?3, ?5, ?4,
             (SELECT stream_ordering FROM events WHERE event_id = ?5), ?6, 'master'
         WHERE NOT EXISTS ({SELECT_LINEARIZED})",
        current(StreamName::Receipts),
    );
    let update_linearized = format!(
        "UPDATE receipts_linearized SET stream_id = {}, event_id = ?5, data = ?6,
             event_stream_ordering = (SELECT stream_ordering FROM events WHERE event_id = ?5),
             instance_name = 'master'
         WHERE {WHERE_THREAD} AND {IS_NEWER}",
        current(StreamName::Receipts),
    );
    let bind = |sql: String, last: &str| {
        Statement::new(sql)
            .bind(receipt.room_id.as_str())
            .bind(receipt.receipt_type)
            .bind(receipt.user_id.as_str())
            .bind(receipt.thread_id)
            .bind(receipt.event_id.as_str())
            .bind(last)
    };
    let event_ids = serde_json::to_string(&event_ids).unwrap_or_default();
    vec![
        advance_if_newer(receipt),
        bind(update_linearized, &data),
        bind(insert_linearized, &data),
        set_graph(receipt, &event_ids, &data),
    ]
}

const WHERE_THREAD: &str =
    "room_id = ?1 AND receipt_type = ?2 AND user_id = ?3 AND thread_id IS ?4";
const SELECT_LINEARIZED: &str = "SELECT 1 FROM receipts_linearized
     WHERE room_id = ?1 AND receipt_type = ?2 AND user_id = ?3 AND thread_id IS ?4";
/// Without an order of its own a receipt is a remote one for an event that we do not have.
const IS_NEWER: &str = "coalesce(event_stream_ordering, -9e15)
     < (SELECT stream_ordering FROM events WHERE event_id = ?5)";

fn advance_if_newer(receipt: &Receipt<'_>) -> Statement {
    Statement::new(format!(
        "UPDATE stream_positions SET stream_id = stream_id + 1
         WHERE stream_name = 'receipts' AND instance_name = 'master'
             AND NOT EXISTS ({SELECT_LINEARIZED} AND NOT ({IS_NEWER}))"
    ))
    .bind(receipt.room_id.as_str())
    .bind(receipt.receipt_type)
    .bind(receipt.user_id.as_str())
    .bind(receipt.thread_id)
    .bind(receipt.event_id.as_str())
}

/// The same receipt for servers that order events differently; written only if the linear one
/// of the same batch says the same.
fn set_graph(receipt: &Receipt<'_>, event_ids: &str, data: &str) -> Statement {
    let conflict = match receipt.thread_id {
        Some(_) => "(room_id, receipt_type, user_id, thread_id)",
        None => "(room_id, receipt_type, user_id) WHERE thread_id IS NULL",
    };
    Statement::new(format!(
        "INSERT INTO receipts_graph (room_id, receipt_type, user_id, thread_id, event_ids, data)
         SELECT ?1, ?2, ?3, ?4, ?6, ?7
         WHERE EXISTS ({SELECT_LINEARIZED} AND event_id = ?5)
         ON CONFLICT {conflict} DO UPDATE
         SET event_ids = excluded.event_ids, data = excluded.data"
    ))
    .bind(receipt.room_id.as_str())
    .bind(receipt.receipt_type)
    .bind(receipt.user_id.as_str())
    .bind(receipt.thread_id)
    .bind(receipt.event_id.as_str())
    .bind(event_ids)
    .bind(data)
}
