//! The log of a room: what its single writer commits, as ONE batch. Tables: `events`,
//! `event_json`, `event_edges`, `event_forward_extremities`, `event_txn_id_device_id`,
//! `redactions`, `event_relations`, `threads`, and the room's epoch. State is in `room_state_log`.
//!
//! Positions are allocated inside the batch: the counter is advanced by the number of events
//! first, and the k-th event takes its place below the new value.

use serde::{Deserialize, Serialize};

use super::access_tokens::{self, PresumedToken};
use super::database::{DatabaseError, Statement};
use super::push_rules;
use super::stream_positions::{StreamName, current};

/// The position of the newest event of the batch.
pub(super) const NEWEST: &str = "(SELECT stream_id FROM stream_positions \
     WHERE stream_name = 'events' AND instance_name = 'master')";

/// What a commit takes to be so, and nobody has looked up.
#[derive(Clone, Debug, Default)]
pub struct Presumed<'a> {
    pub tokens: Vec<&'a PresumedToken>,
    /// No joined member has changed push rules after it; `None`: that was looked up.
    pub push_rules_position: Option<i64>,
}

/// The writer's fence: aborts the batch unless the epoch is still `epoch` and what is presumed is
/// so ([`is_presumed_wrongly`]), then raises it.
pub fn fence(room_id: &str, epoch: i64, presumed: &Presumed<'_>, now_ms: u64) -> Statement {
    Statement::new(format!(
        "INSERT INTO myelin_room_epochs (room_id, epoch)
         SELECT ?1, CASE WHEN coalesce((SELECT epoch FROM myelin_room_epochs WHERE room_id = ?1), 0)
                              <> ?2 THEN json('x')
                         WHEN (?3 IS NULL OR NOT EXISTS ({changed_members})) AND {tokens_hold}
                         THEN ?2 + 1 END
         WHERE true
         ON CONFLICT (room_id) DO UPDATE SET epoch = excluded.epoch",
        changed_members = push_rules::changed_members("?1", "?3"),
        tokens_hold = access_tokens::hold("?4", "?5"),
    ))
    .bind(room_id)
    .bind(epoch)
    .bind(presumed.push_rules_position)
    .bind_json(&presumed.tokens)
    .bind(now_ms)
}

/// Whether a batch was aborted by its [`fence`] because something is not as presumed.
pub fn is_presumed_wrongly(error: &DatabaseError) -> bool {
    let column = "myelin_room_epochs.epoch";
    matches!(error, DatabaseError::Constraint(message) if message.contains(column))
}

/// The position that [`advance`] returns.
#[derive(Debug, Deserialize)]
pub struct PositionRow {
    pub stream_id: i64,
    /// Of the stream of push rules.
    pub push_rules_position: i64,
}

/// Allocates `count` positions of the events stream; returns a [`PositionRow`] of the last.
pub fn advance(count: usize) -> Statement {
    Statement::new(format!(
        "UPDATE stream_positions SET stream_id = stream_id + ?1
         WHERE stream_name = 'events' AND instance_name = 'master'
         RETURNING stream_id, {} AS push_rules_position",
        current(StreamName::PushRules)
    ))
    .bind(count)
}

/// One event, but for its JSON.
#[derive(Clone, Debug, Serialize)]
pub struct EventRow {
    pub event_id: String,
    pub depth: i64,
    #[serde(rename = "type")]
    pub event_type: String,
    pub state_key: Option<String>,
    pub sender: String,
    pub origin_server_ts: u64,
    pub contains_url: bool,
}

/// The JSON of an event, as it is stored.
#[derive(Clone, Debug, Serialize)]
pub struct BodyRow {
    pub event_id: String,
    pub json: String,
    /// Synapse's `internal_metadata`: `device_id`, `txn_id`, ...
    pub metadata: String,
}

/// Inserts all events of a commit, in the order of their positions.
pub fn insert_events(room_id: &str, rows: &[EventRow], received_ts: u64) -> Statement {
    Statement::new(format!(
        "INSERT INTO events (stream_ordering, topological_ordering, depth, event_id, type, room_id,
                             processed, outlier, origin_server_ts, received_ts, sender,
                             contains_url, instance_name, state_key)
         SELECT {NEWEST} - ?1 + 1 + e.key, e.value ->> 'depth', e.value ->> 'depth',
                e.value ->> 'event_id', e.value ->> 'type', ?2, 1, 0,
                e.value ->> 'origin_server_ts', ?3, e.value ->> 'sender',
                e.value ->> 'contains_url', 'master', e.value ->> 'state_key'
         FROM json_each(?4) e"
    ))
    .bind(rows.len())
    .bind(room_id)
    .bind(received_ts)
    .bind_json(&rows)
}

/// Inserts the JSON of events. `format_version` is Synapse's: 1 for versions 1 and 2, 2 for
/// version 3, 3 for versions 4 to 11, 4 for version 12.
pub fn insert_bodies(room_id: &str, rows: &[BodyRow], format_version: u32) -> Statement {
    Statement::new(
        "INSERT INTO event_json (event_id, room_id, internal_metadata, json, format_version)
         SELECT e.value ->> 'event_id', ?1, e.value ->> 'metadata', e.value ->> 'json', ?2
         FROM json_each(?3) e",
    )
    .bind(room_id)
    .bind(format_version)
    .bind_json(&rows)
}

/// An event and one before it.
#[derive(Clone, Debug, Serialize)]
pub struct EdgeRow {
    pub event_id: String,
    pub prev_event_id: String,
}

/// Inserts the edges of the graph.
pub fn insert_edges(rows: &[EdgeRow]) -> Statement {
    Statement::new(
        "INSERT INTO event_edges (event_id, prev_event_id, room_id, is_state)
         SELECT e.value ->> 'event_id', e.value ->> 'prev_event_id', NULL, 0
         FROM json_each(?1) e",
    )
    .bind_json(&rows)
}

/// Makes `newest` the only forward extremity of the room.
pub fn replace_extremities(room_id: &str, old: &[String], newest: &str) -> Vec<Statement> {
    if let [old] = old {
        let sql = "UPDATE event_forward_extremities SET event_id = ?1
                   WHERE event_id = ?2 AND room_id = ?3";
        return vec![Statement::new(sql).bind(newest).bind(old).bind(room_id)];
    }
    vec![
        Statement::new("DELETE FROM event_forward_extremities WHERE room_id = ?1").bind(room_id),
        Statement::new("INSERT INTO event_forward_extremities (event_id, room_id) VALUES (?1, ?2)")
            .bind(newest)
            .bind(room_id),
    ]
}

/// The transaction that an event answers.
#[derive(Clone, Debug, Serialize)]
pub struct TransactionRow {
    pub event_id: String,
    pub user_id: String,
    pub device_id: String,
    pub txn_id: String,
}

/// Inserts transaction ids.
pub fn insert_transactions(room_id: &str, rows: &[TransactionRow], now_ms: u64) -> Statement {
    Statement::new(
        "INSERT INTO event_txn_id_device_id
                (event_id, room_id, user_id, device_id, txn_id, inserted_ts)
         SELECT e.value ->> 'event_id', ?1, e.value ->> 'user_id', e.value ->> 'device_id',
                e.value ->> 'txn_id', ?2
         FROM json_each(?3) e",
    )
    .bind(room_id)
    .bind(now_ms)
    .bind_json(&rows)
}

/// Which event a transaction has made; reads a [`TransactionEventRow`].
pub fn select_transaction(
    room_id: &str,
    user_id: &str,
    device_id: &str,
    txn_id: &str,
) -> Statement {
    Statement::new(
        "SELECT event_id FROM event_txn_id_device_id
         WHERE user_id = ?1 AND device_id = ?2 AND room_id = ?3 AND txn_id = ?4",
    )
    .bind(user_id)
    .bind(device_id)
    .bind(room_id)
    .bind(txn_id)
}

/// The event of a transaction.
#[derive(Debug, Deserialize)]
pub struct TransactionEventRow {
    pub event_id: ruma::OwnedEventId,
}

/// A redaction and its target.
#[derive(Clone, Debug, Serialize)]
pub struct RedactionRow {
    pub event_id: String,
    pub redacts: String,
}

/// Inserts redactions that have been checked: they need no second look when they are served.
pub fn insert_redactions(rows: &[RedactionRow], now_ms: u64) -> Statement {
    Statement::new(
        "INSERT INTO redactions (event_id, redacts, have_censored, received_ts, recheck)
         SELECT e.value ->> 'event_id', e.value ->> 'redacts', 0, ?1, 0 FROM json_each(?2) e",
    )
    .bind(now_ms)
    .bind_json(&rows)
}

/// An event that relates to another: `m.relates_to` of its content.
#[derive(Clone, Debug, Serialize)]
pub struct RelationRow {
    pub event_id: String,
    pub relates_to_id: String,
    pub relation_type: String,
    pub aggregation_key: Option<String>,
}

/// Inserts relations.
pub fn insert_relations(rows: &[RelationRow]) -> Statement {
    Statement::new(
        "INSERT INTO event_relations (event_id, relates_to_id, relation_type, aggregation_key)
         SELECT e.value ->> 'event_id', e.value ->> 'relates_to_id', e.value ->> 'relation_type',
                e.value ->> 'aggregation_key'
         FROM json_each(?1) e",
    )
    .bind_json(&rows)
}

/// An event of a thread.
#[derive(Clone, Debug, Serialize)]
pub struct ThreadRow {
    pub thread_id: String,
    pub event_id: String,
    pub depth: i64,
    /// Its place in the commit from the end; 0 is the newest.
    pub from_newest: usize,
}

/// Makes these the latest events of their threads, at most one for each.
pub fn upsert_threads(room_id: &str, rows: &[ThreadRow]) -> Statement {
    Statement::new(format!(
        "INSERT INTO threads (room_id, thread_id, latest_event_id, topological_ordering,
                              stream_ordering)
         SELECT ?1, e.value ->> 'thread_id', e.value ->> 'event_id', e.value ->> 'depth',
                {NEWEST} - (e.value ->> 'from_newest')
         FROM json_each(?2) e WHERE true
         ON CONFLICT (room_id, thread_id) DO UPDATE SET
             latest_event_id = excluded.latest_event_id,
             topological_ordering = excluded.topological_ordering,
             stream_ordering = excluded.stream_ordering
         WHERE threads.topological_ordering <= excluded.topological_ordering
           AND threads.stream_ordering < excluded.stream_ordering"
    ))
    .bind(room_id)
    .bind_json(&rows)
}

/// Takes the relations of redacted events out. A thread that has lost its latest event has the one
/// before as its latest, or is none.
pub fn delete_relations(room_id: &str, rows: &[RedactionRow]) -> Vec<Statement> {
    let redacted = "(SELECT e.value ->> 'redacts' FROM json_each(?1) e)";
    let concerned = format!(
        "room_id = ?2 AND latest_event_id IN {redacted}
         AND thread_id IN (SELECT relates_to_id FROM event_relations
                           WHERE event_id IN {redacted} AND relation_type = 'm.thread')"
    );
    let rest = format!(
        "FROM event_relations r CROSS JOIN events e ON e.event_id = r.event_id
         WHERE r.relates_to_id = threads.thread_id AND r.relation_type = 'm.thread'
           AND +e.room_id = threads.room_id AND e.event_id NOT IN {redacted}"
    );
    let latest = format!("{rest} ORDER BY e.topological_ordering DESC, e.stream_ordering DESC");
    let statements = [
        format!("DELETE FROM threads WHERE {concerned} AND NOT EXISTS (SELECT 1 {rest})"),
        format!(
            "UPDATE threads SET (latest_event_id, topological_ordering, stream_ordering) =
                (SELECT e.event_id, e.topological_ordering, e.stream_ordering {latest} LIMIT 1)
             WHERE {concerned}"
        ),
    ];
    let delete = format!("DELETE FROM event_relations WHERE event_id IN {redacted}");
    let threads = statements.map(|sql| Statement::new(sql).bind_json(&rows).bind(room_id));
    threads.into_iter().chain([Statement::new(delete).bind_json(&rows)]).collect()
}

/// Moves the room up in the lists that are sorted by recency. `bumps` is the index of the newest
/// event of the commit that counts as activity, from the end (0 is the newest).
pub fn update_recency(room_id: &str, bumps: Option<usize>) -> Statement {
    Statement::new(format!(
        "UPDATE sliding_sync_joined_rooms
         SET event_stream_ordering = {NEWEST}, bump_stamp = coalesce({NEWEST} - ?2, bump_stamp)
         WHERE room_id = ?1"
    ))
    .bind(room_id)
    .bind(bumps)
}

/// Where an event stands in the log, if it is there.
#[derive(Debug, Deserialize)]
pub struct LandedRow {
    pub event_id: ruma::OwnedEventId,
    pub stream_ordering: i64,
}

/// Which of these events are in the log: [`LandedRow`]s.
pub fn select_landed(event_ids: &[&str]) -> Statement {
    Statement::new(
        "SELECT event_id, stream_ordering FROM events
         WHERE event_id IN (SELECT value FROM json_each(?1))",
    )
    .bind_json(&event_ids)
}

/// As [`select_transaction`], for the user and the device of a token.
pub fn select_transaction_by_token(room_id: &str, token: &str, txn_id: &str) -> Statement {
    Statement::new(
        "SELECT x.event_id FROM access_tokens t
         JOIN event_txn_id_device_id x ON x.user_id = t.user_id AND x.device_id = t.device_id
         WHERE t.token = ?1 AND x.room_id = ?2 AND x.txn_id = ?3",
    )
    .bind(token)
    .bind(room_id)
    .bind(txn_id)
    .small::<TransactionEventRow>()
}
