//! The second database, for full-text search: words of messages, and of names and topics of
//! rooms. It holds no text, follows the log, and can be made again from nothing.
//!
//! Invariant: it has been filled up to the position of its one row in `search_position`; whoever
//! fills it on begins the batch with [`fence`].

use ruma::{OwnedEventId, OwnedRoomId};
use serde::{Deserialize, Serialize};

use super::database::Statement;
use super::events::text_at;

/// Its tables. The rowid of a row of words is the event's place in the stream.
const SCHEMA: [&str; 5] = [
    "CREATE TABLE IF NOT EXISTS search_position (
        id INTEGER PRIMARY KEY CHECK (id = 1), stream_ordering INTEGER NOT NULL)",
    "INSERT OR IGNORE INTO search_position (id, stream_ordering) VALUES (1, 0)",
    "CREATE TABLE IF NOT EXISTS search_events (
        stream_ordering INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, room_id TEXT NOT NULL,
        sender TEXT NOT NULL, key TEXT NOT NULL)",
    "CREATE VIRTUAL TABLE IF NOT EXISTS search_words USING fts5(
        words, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2')",
    "CREATE INDEX IF NOT EXISTS search_events_room ON search_events (room_id)",
];

/// Makes the tables that are missing.
pub fn create() -> Vec<Statement> {
    SCHEMA.into_iter().map(Statement::new).collect()
}

/// Empties the index: it is filled again from the beginning of the log.
pub fn clear() -> Vec<Statement> {
    let clear = [
        "DROP TABLE IF EXISTS search_words",
        "DROP TABLE IF EXISTS search_events",
        "DROP TABLE IF EXISTS search_position",
    ];
    clear.into_iter().map(Statement::new).chain(create()).collect()
}

/// How far the index has been filled, and how far the log goes.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct PositionRow {
    pub stream_ordering: i64,
}

/// Reads the [`PositionRow`] of the index.
pub fn position() -> Statement {
    Statement::new("SELECT stream_ordering FROM search_position WHERE id = 1")
}

/// Reads the [`PositionRow`] of the log, in the main database.
pub fn log_position() -> Statement {
    Statement::new(
        "SELECT stream_id AS stream_ordering FROM stream_positions
         WHERE stream_name = 'events' AND instance_name = 'master'",
    )
}

/// An event of the log with words in it, or one that takes another's away.
#[derive(Clone, Debug, Deserialize)]
pub struct LogRow {
    pub stream_ordering: i64,
    pub event_id: OwnedEventId,
    pub room_id: OwnedRoomId,
    pub sender: String,
    pub body: Option<String>,
    pub name: Option<String>,
    pub topic: Option<String>,
    pub redacts: Option<String>,
    /// Whether the event has been redacted already.
    pub redacted: Option<i64>,
}

/// Reads the [`LogRow`]s of a part of the log, in the main database.
pub fn log(after: i64, upto: i64) -> Statement {
    let of = |event_type: &str, path: &str| {
        format!("CASE WHEN e.type = '{event_type}' THEN {} END", text_at("j.json", path))
    };
    Statement::new(format!(
        "SELECT e.stream_ordering, e.event_id, e.room_id, e.sender,
                {} AS body, {} AS name, {} AS topic, coalesce({}, {}) AS redacts,
                (SELECT 1 FROM redactions r WHERE r.redacts = e.event_id) AS redacted
         FROM events e CROSS JOIN event_json j ON j.event_id = e.event_id
         WHERE e.stream_ordering > ?1 AND e.stream_ordering <= ?2
           AND e.type IN ('m.room.message', 'm.room.name', 'm.room.topic', 'm.room.redaction')
           AND NOT e.outlier AND e.rejection_reason IS NULL",
        of("m.room.message", "$.content.body"),
        of("m.room.name", "$.content.name"),
        of("m.room.topic", "$.content.topic"),
        of("m.room.redaction", "$.redacts"),
        of("m.room.redaction", "$.content.redacts"),
    ))
    .bind(after)
    .bind(upto)
}

/// The words of an event.
#[derive(Clone, Debug, Serialize)]
pub struct WordsRow<'a> {
    pub stream_ordering: i64,
    pub event_id: &'a str,
    pub room_id: &'a str,
    pub sender: &'a str,
    /// `content.body`, `content.name` or `content.topic`.
    pub key: &'static str,
    pub words: String,
}

/// Aborts the batch unless the index has been filled just up to there.
pub fn fence(position: i64) -> Statement {
    Statement::new(
        "SELECT CASE WHEN NOT EXISTS
             (SELECT 1 FROM search_position WHERE id = 1 AND stream_ordering = CAST(?1 AS INTEGER))
         THEN json('x') END",
    )
    .bind(position)
}

/// Adds words, takes away those of redacted events, and moves the position.
pub fn write(rows: &[WordsRow<'_>], redacted: &[String], position: i64) -> Vec<Statement> {
    let mut batch = Vec::new();
    if !rows.is_empty() {
        let events = "INSERT OR REPLACE INTO search_events
                (stream_ordering, event_id, room_id, sender, key)
             SELECT value ->> 'stream_ordering', value ->> 'event_id', value ->> 'room_id',
                    value ->> 'sender', value ->> 'key' FROM json_each(?1)";
        let words = "INSERT OR REPLACE INTO search_words (rowid, words)
             SELECT value ->> 'stream_ordering', value ->> 'words' FROM json_each(?1)";
        batch.push(Statement::new(events).bind_json(&rows));
        batch.push(Statement::new(words).bind_json(&rows));
    }
    if !redacted.is_empty() {
        batch.extend(delete(redacted));
    }
    let advance = "UPDATE search_position SET stream_ordering = CAST(?1 AS INTEGER) WHERE id = 1";
    batch.push(Statement::new(advance).bind(position));
    batch
}

/// Takes away the words of these events.
pub fn delete(event_ids: &[String]) -> [Statement; 2] {
    let words = "DELETE FROM search_words WHERE rowid IN (
         SELECT s.stream_ordering FROM json_each(?1) w
         CROSS JOIN search_events s ON s.event_id = w.value)";
    let events = "DELETE FROM search_events WHERE event_id IN (SELECT value FROM json_each(?1))";
    [words, events].map(|sql| Statement::new(sql).bind_json(&event_ids))
}

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    /// For `MATCH`.
    pub expression: &'a str,
    pub room_ids: &'a [OwnedRoomId],
    pub keys: &'a [String],
    /// Nobody else's; all if there is none.
    pub sender: Option<&'a str>,
    /// The newest first, not the best.
    pub by_time: bool,
    /// How many to pass over.
    pub offset: u64,
    pub limit: u32,
}

/// An event that was found.
#[derive(Clone, Debug, Deserialize)]
pub struct FoundRow {
    pub event_id: OwnedEventId,
    pub room_id: OwnedRoomId,
    /// Higher is better.
    pub rank: f64,
}

const MATCHING: &str = "FROM search_words CROSS JOIN search_events s
     ON s.stream_ordering = search_words.rowid
     WHERE search_words MATCH ?1 AND s.room_id IN (SELECT value FROM json_each(?2))
       AND s.key IN (SELECT value FROM json_each(?3)) AND (?4 IS NULL OR s.sender = ?4)";

/// Reads [`FoundRow`]s.
pub fn find(search: &Search<'_>) -> Statement {
    let order = match search.by_time {
        true => "s.stream_ordering DESC",
        false => "bm25(search_words), s.stream_ordering DESC",
    };
    bound(
        format!(
            "SELECT s.event_id, s.room_id, -bm25(search_words) AS rank {MATCHING}
             ORDER BY {order} LIMIT CAST(?5 AS INTEGER) OFFSET CAST(?6 AS INTEGER)"
        ),
        search,
    )
    .bind(search.limit)
    .bind(search.offset)
}

/// How many there are.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct CountRow {
    pub count: u64,
}

/// Reads the [`CountRow`] of a search.
pub fn count(search: &Search<'_>) -> Statement {
    bound(format!("SELECT count(*) AS count {MATCHING}"), search)
}

fn bound(sql: String, search: &Search<'_>) -> Statement {
    Statement::new(sql)
        .bind(search.expression)
        .bind_json(&search.room_ids)
        .bind_json(&search.keys)
        .bind(search.sender)
}
