//! `event_push_summary`: sums of what notifies, so that old rows of `event_push_actions` need not
//! stay. Two positions go with it: up to which event actions have been summed up
//! (`event_push_summary_stream_ordering`), and up to which receipt they have been thrown away
//! (`event_push_summary_last_receipt_stream_id`).
//!
//! Invariant: each step begins with a fence on its position, so no action is summed up twice. A
//! summary names the place up to which its thread was read when it was made; for another place
//! it does not count.

use serde::Deserialize;

use super::database::Statement;
use super::event_push_counts::{ROOM_READ_TO, read_to};
use super::stream_positions::{StreamName, current};

/// A part of a stream, without its beginning and with its end.
#[derive(Debug, Deserialize)]
pub struct Range {
    pub after: i64,
    pub upto: Option<i64>,
}

const RECEIPT_TYPES: &str = "('m.read', 'm.read.private')";

/// Reads the [`Range`] of receipts that are new, at most 100. `upto` moves on also if there is
/// none.
pub fn select_new_receipts() -> Statement {
    let now = current(StreamName::Receipts);
    Statement::new(format!(
        "SELECT p.stream_id AS after, coalesce(
             (SELECT r.stream_id FROM receipts_linearized r WHERE r.stream_id > p.stream_id
              ORDER BY r.stream_id LIMIT 1 OFFSET 99), {now}) AS upto
         FROM event_push_summary_last_receipt_stream_id p"
    ))
}

/// Reads the [`Range`] of events received before a time that have not been summed up: of the next
/// 500, until 5,000 actions are together. Without `upto` there is none.
pub fn select_old_events(received_before_ms: u64) -> Statement {
    let next = "SELECT e.stream_ordering, e.received_ts, e.room_id, e.event_id FROM events e
         WHERE e.stream_ordering > (SELECT stream_ordering FROM event_push_summary_stream_ordering)
         ORDER BY e.stream_ordering LIMIT";
    Statement::new(format!(
        "SELECT p.stream_ordering AS after,
             CASE WHEN (SELECT received_ts <= ?1 FROM ({next} 1)) THEN min(
                 (SELECT max(stream_ordering) FROM ({next} 500) WHERE received_ts <= ?1),
                 coalesce((SELECT n.stream_ordering FROM ({next} 500) n
                      CROSS JOIN event_push_actions a
                          ON a.room_id = n.room_id AND a.event_id = n.event_id
                      LIMIT 1 OFFSET 4999), 9e15)) END AS upto
         FROM event_push_summary_stream_ordering p"
    ))
    .bind(received_before_ms)
}

/// Moves a position, or aborts the batch if somebody else has.
fn fence(table: &str, column: &str, after: i64, upto: i64) -> Statement {
    Statement::new(format!(
        "UPDATE {table} SET {column} = CASE WHEN {column} = ?1 THEN ?2 ELSE json('x') END"
    ))
    .bind(after)
    .bind(upto)
}

/// Throws away what has been read, but for highlights, which stay; and brings the summaries up to
/// the receipts.
pub fn follow_receipts(after: i64, upto: i64) -> Vec<Statement> {
    let new = "receipts_linearized r INDEXED BY receipts_linearized_id";
    let is_new =
        format!("r.stream_id > ?1 AND r.stream_id <= ?2 AND r.receipt_type IN {RECEIPT_TYPES}");
    let delete = format!(
        "DELETE FROM event_push_actions WHERE rowid IN (
             SELECT a.rowid FROM {new} CROSS JOIN event_push_actions a
                 ON a.user_id = r.user_id AND a.room_id = r.room_id
             WHERE {is_new} AND a.stream_ordering <= r.event_stream_ordering
                 AND (r.thread_id IS NULL OR r.thread_id = a.thread_id) AND a.highlight = 0)"
    );
    let unread = |column: &str| {
        format!(
            "(SELECT count(*) FROM event_push_actions a
              WHERE a.user_id = p.user_id AND a.room_id = p.room_id
                  AND a.stream_ordering > p.position AND a.stream_ordering <= (
                      SELECT stream_ordering FROM event_push_summary_stream_ordering)
                  AND a.thread_id = p.thread_id AND a.{column} = 1)"
        )
    };
    let update = format!(
        "WITH rooms AS MATERIALIZED (
             SELECT DISTINCT s.rowid AS summary, s.user_id, s.room_id, s.thread_id,
                 {ROOM_READ_TO} AS read_to
             FROM (SELECT r.room_id AS in_room, r.user_id AS by_user, r.thread_id AS in_thread
                   FROM {new} WHERE {is_new}) n
             CROSS JOIN event_push_summary s ON s.user_id = n.by_user AND s.room_id = n.in_room
             CROSS JOIN local_current_membership m
                 ON m.user_id = s.user_id AND m.room_id = s.room_id
             WHERE n.in_thread IS NULL OR n.in_thread = s.thread_id),
         places AS MATERIALIZED (SELECT rooms.*, {read_to} AS position FROM rooms)
         UPDATE event_push_summary
         SET notif_count = {notif}, unread_count = {unread},
             stream_ordering = (SELECT stream_ordering FROM event_push_summary_stream_ordering),
             last_receipt_stream_ordering = p.position
         FROM places p
         WHERE event_push_summary.rowid = p.summary
             AND event_push_summary.last_receipt_stream_ordering IS NOT p.position",
        read_to = read_to("rooms.thread_id"),
        notif = unread("notif"),
        unread = unread("unread"),
    );
    let table = "event_push_summary_last_receipt_stream_id";
    let bind = |sql: String| Statement::new(sql).bind(after).bind(upto);
    vec![fence(table, "stream_id", after, upto), bind(delete), bind(update)]
}

/// Sums up the unread actions of a range of events, and throws them away but for highlights.
pub fn sum_up(after: i64, upto: i64) -> Vec<Statement> {
    let range = "events e CROSS JOIN event_push_actions a
             ON a.room_id = e.room_id AND a.event_id = e.event_id";
    let insert = format!(
        "INSERT INTO event_push_summary (user_id, room_id, thread_id, notif_count, unread_count,
             stream_ordering, last_receipt_stream_ordering)
         WITH rooms AS MATERIALIZED (
             SELECT a.user_id, a.room_id, a.thread_id, a.stream_ordering, a.notif, a.unread,
                 {ROOM_READ_TO} AS read_to
             FROM {range} CROSS JOIN local_current_membership m
                 ON m.user_id = a.user_id AND m.room_id = a.room_id
             WHERE e.stream_ordering > ?1 AND e.stream_ordering <= ?2),
         places AS MATERIALIZED (SELECT rooms.*, {read_to} AS position FROM rooms)
         SELECT user_id, room_id, thread_id, sum(notif = 1), sum(unread = 1), max(stream_ordering),
             position
         FROM places WHERE stream_ordering > position GROUP BY user_id, room_id, thread_id
         ON CONFLICT (user_id, room_id, thread_id) DO UPDATE
         SET notif_count = excluded.notif_count + CASE WHEN {IS_VALID} THEN notif_count ELSE 0 END,
             unread_count = excluded.unread_count
                 + CASE WHEN {IS_VALID} THEN coalesce(unread_count, 0) ELSE 0 END,
             stream_ordering = excluded.stream_ordering,
             last_receipt_stream_ordering = excluded.last_receipt_stream_ordering",
        read_to = read_to("rooms.thread_id"),
    );
    let delete = format!(
        "DELETE FROM event_push_actions WHERE rowid IN (
             SELECT a.rowid FROM {range}
             WHERE e.stream_ordering > ?1 AND e.stream_ordering <= ?2 AND a.highlight = 0)"
    );
    let table = "event_push_summary_stream_ordering";
    let bind = |sql: String| Statement::new(sql).bind(after).bind(upto);
    vec![fence(table, "stream_ordering", after, upto), bind(insert), bind(delete)]
}

/// Whether the summary that is there was made for the place of the one that comes. One without a
/// place was made by a server that knew no other than the newest.
const IS_VALID: &str = "(last_receipt_stream_ordering = excluded.last_receipt_stream_ordering
     OR (last_receipt_stream_ordering IS NULL
         AND event_push_summary.stream_ordering > excluded.last_receipt_stream_ordering))";
