//! `events` with `event_json` and what serving an event needs: redactions, replaced state, the
//! reader's membership and the history visibility at each event.
//!
//! A [`Selection`] says which events; [`served`] and [`visibility`] read them. Both take the same
//! selection, so that one batch brings a page with all that decides what a reader sees of it.

use std::collections::BTreeMap;

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::Deserialize;

use super::database::{Statement, Value, boolean};
use super::relations::EventIdRow;

/// A SELECT that gives the `stream_ordering` of events, with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    sql: String,
    values: Vec<Value>,
}

impl Selection {
    pub(super) fn new() -> Self {
        Self { sql: String::new(), values: Vec::new() }
    }

    /// Binds a value; its place in the SQL.
    pub(super) fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }

    /// Binds a list for `json_each`; its place in the SQL.
    pub(super) fn bind_json(&mut self, value: &impl serde::Serialize) -> String {
        // Serialising our own lists to memory cannot fail.
        self.bind(serde_json::to_string(value).unwrap_or_default())
    }

    pub(super) fn push(&mut self, sql: &str) {
        self.sql.push_str(sql);
    }

    /// The SQL as it stands, for selections that bring more than positions.
    pub(super) fn into_statement(self) -> Statement {
        Statement { values: self.values, ..Statement::new(self.sql) }
    }

    /// The SQL of what has been selected, to be put into a larger statement.
    pub(super) fn sql(&self) -> &str {
        &self.sql
    }

    pub(super) fn statement(mut self, write: impl FnOnce(&mut Self) -> String) -> Statement {
        let sql = write(&mut self);
        Statement { values: self.values, ..Statement::new(sql) }
    }
}

/// An event as it is stored, with everything that serving it needs but the reader.
#[derive(Clone, Debug, Deserialize)]
pub struct EventRow {
    pub event_id: OwnedEventId,
    pub room_id: OwnedRoomId,
    pub stream_ordering: i64,
    pub topological_ordering: i64,
    /// As in `rooms`; a room without one is of version 1.
    pub room_version: Option<String>,
    pub json: String,
    pub internal_metadata: String,
    #[serde(deserialize_with = "boolean")]
    pub outlier: bool,
    #[serde(deserialize_with = "boolean")]
    pub rejected: bool,
    /// The state after the event; none of an outlier.
    pub state_group: Option<i64>,
    /// Whether the sender has asked for erasure.
    #[serde(deserialize_with = "boolean")]
    pub sender_erased: bool,
    /// The earliest redaction that took effect.
    pub redaction_id: Option<OwnedEventId>,
    pub redaction_json: Option<String>,
    /// The state event that this one replaced.
    pub replaced_id: Option<OwnedEventId>,
    pub replaced_json: Option<String>,
    #[serde(deserialize_with = "boolean")]
    pub replaced_redacted: bool,
}

/// The stream ordering of the earliest redaction of an event that took effect. One that came
/// before its target was known counts if both senders are of one server.
pub(super) fn redaction_of(event_id: &str, room_id: &str, sender: &str) -> String {
    format!(
        "(SELECT min(+r.stream_ordering) FROM redactions d CROSS JOIN events r
          ON r.event_id = d.event_id
          WHERE d.redacts = {event_id} AND r.room_id = {room_id} AND r.rejection_reason IS NULL
            AND (NOT d.recheck OR substr(r.sender, instr(r.sender, ':'))
                                = substr({sender}, instr({sender}, ':'))))"
    )
}

/// Reads [`EventRow`]s, in the order of the stream.
pub fn served(selection: Selection) -> Statement {
    selection.statement(|selection| {
        format!(
            "WITH picked (stream_ordering) AS ({picked})
             SELECT {columns} FROM picked {joins}
             ORDER BY e.stream_ordering",
            picked = selection.sql,
            columns = event_columns(),
            joins = event_joins(),
        )
    })
}

/// What [`served_unless_held`] returns.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum ServedRow {
    /// The ids of those that are held, as a JSON array.
    Held {
        held: String,
    },
    Event(Box<EventRow>),
}

/// Events that somebody holds, by their ids: the ids of those that they replaced.
pub type HeldIds<'a> = BTreeMap<&'a OwnedEventId, Option<&'a OwnedEventId>>;

/// Reads [`ServedRow`]s, in no order: events whole, but for those `held` that nothing has befallen:
/// no redaction of the event or of what it replaced, no erasure that its sender asked for.
pub fn served_unless_held(selection: Selection, held: &HeldIds<'_>) -> Statement {
    selection.statement(|selection| {
        let held = selection.bind_json(held);
        format!(
            "WITH picked (stream_ordering, held) AS MATERIALIZED (
                SELECT e.stream_ordering,
                       CASE WHEN e.event_id IN (SELECT w.key FROM json_each({held}) w
                                                WHERE {REPLACES_THE_SAME})
                                AND {as_it_was} THEN e.event_id END
                FROM ({picked}) q CROSS JOIN events e ON e.stream_ordering = q.stream_ordering)
             SELECT {columns}, NULL AS held FROM picked {joins}
             WHERE picked.held IS NULL
             UNION ALL
             SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
                    NULL, NULL, NULL,
                    (SELECT json_group_array(held) FROM picked WHERE held IS NOT NULL)",
            picked = selection.sql,
            as_it_was = is_as_it_was(),
            columns = event_columns(),
            joins = event_joins(),
        )
    })
}

/// Reads an `EventIdRow` of each of these events that nothing has befallen.
pub fn as_they_were(held: &HeldIds<'_>) -> Statement {
    Statement::new(format!(
        "SELECT e.event_id FROM json_each(?1) w CROSS JOIN events e ON e.event_id = w.key
         WHERE {REPLACES_THE_SAME} AND {}",
        is_as_it_was()
    ))
    .bind_json(held)
    .small::<EventIdRow>()
}

/// Whether what the held event `w` replaced, if anything, has not been redacted. It does not matter
/// whether such a redaction took effect.
const REPLACES_THE_SAME: &str = "(w.value IS NULL
     OR NOT EXISTS (SELECT 1 FROM redactions x WHERE x.redacts = w.value))";

/// Whether neither a redaction nor an erasure has come to the event `e`.
fn is_as_it_was() -> String {
    let redaction = redaction_of("e.event_id", "e.room_id", "e.sender");
    format!(
        "{redaction} IS NULL
         AND NOT EXISTS (SELECT 1 FROM erased_users u WHERE u.user_id = e.sender)"
    )
}

fn event_columns() -> String {
    let replaced_redaction = redaction_of("p.event_id", "p.room_id", "p.sender");
    format!(
        "e.event_id, e.room_id, e.stream_ordering, e.topological_ordering,
         o.room_version, j.json, j.internal_metadata, e.outlier,
         e.rejection_reason IS NOT NULL AS rejected, g.state_group,
         u.user_id IS NOT NULL AS sender_erased,
         r.event_id AS redaction_id, rj.json AS redaction_json,
         p.event_id AS replaced_id, pj.json AS replaced_json,
         p.event_id IS NOT NULL AND {replaced_redaction} IS NOT NULL AS replaced_redacted"
    )
}

/// What [`event_columns`] are read from, beside `picked`.
fn event_joins() -> String {
    let redaction = redaction_of("e.event_id", "e.room_id", "e.sender");
    format!(
        "CROSS JOIN events e ON e.stream_ordering = picked.stream_ordering
         CROSS JOIN event_json j ON j.event_id = e.event_id
         LEFT JOIN rooms o ON o.room_id = e.room_id
         LEFT JOIN event_to_state_groups g ON g.event_id = e.event_id
         LEFT JOIN erased_users u ON u.user_id = e.sender
         LEFT JOIN events r ON e.type <> 'm.room.create' AND r.stream_ordering = {redaction}
         LEFT JOIN event_json rj ON rj.event_id = r.event_id
         LEFT JOIN events p ON e.state_key IS NOT NULL
            AND p.event_id = json_extract(j.json, '$.unsigned.replaces_state')
         LEFT JOIN event_json pj ON pj.event_id = p.event_id"
    )
}

/// What a state group on the way from events to the start of their room sets for a reader.
#[derive(Clone, Debug, Deserialize)]
pub struct VisibilityRow {
    pub state_group: i64,
    pub prev_state_group: Option<i64>,
    pub room_id: Option<OwnedRoomId>,
    /// The `m.room.history_visibility`, if this very group sets it.
    pub visibility_id: Option<OwnedEventId>,
    pub visibility_json: Option<String>,
    /// The `m.room.member` of the reader, if this very group sets it.
    pub member_id: Option<OwnedEventId>,
    pub member_json: Option<String>,
}

/// The user of a parameter that has a user id or, in the batch that authenticates, a token.
pub(super) fn reader(parameter: &str) -> String {
    format!("coalesce((SELECT user_id FROM access_tokens WHERE token = {parameter}), {parameter})")
}

/// Text at a path of a JSON document; NULL if there is something else.
pub(super) fn text_at(json: &str, path: &str) -> String {
    format!("CASE json_type({json}, '{path}') WHEN 'text' THEN json_extract({json}, '{path}') END")
}

/// Reads [`VisibilityRow`]s of all state groups at and below the events. Every group is read
/// once, however many of the events stand on it.
pub fn visibility(selection: Selection, user_or_token: &str) -> Statement {
    selection.statement(|selection| {
        let parameter = selection.bind(user_or_token);
        format!(
            "WITH RECURSIVE picked (stream_ordering) AS ({picked}),
             walk (state_group) AS (
                SELECT g.state_group FROM picked
                CROSS JOIN events e ON e.stream_ordering = picked.stream_ordering
                CROSS JOIN event_to_state_groups g ON g.event_id = e.event_id
                UNION
                SELECT x.prev_state_group FROM walk w
                CROSS JOIN state_group_edges x ON x.state_group = w.state_group)
             SELECT w.state_group, x.prev_state_group, coalesce(v.room_id, m.room_id) AS room_id,
                    v.event_id AS visibility_id, vj.json AS visibility_json,
                    m.event_id AS member_id, mj.json AS member_json
             FROM walk w
             LEFT JOIN state_group_edges x ON x.state_group = w.state_group
             LEFT JOIN state_groups_state v ON v.state_group = w.state_group
                AND v.type = 'm.room.history_visibility' AND v.state_key = ''
             LEFT JOIN event_json vj ON vj.event_id = v.event_id
             LEFT JOIN state_groups_state m ON m.state_group = w.state_group
                AND m.type = 'm.room.member' AND m.state_key = {reader}
             LEFT JOIN event_json mj ON mj.event_id = m.event_id",
            picked = selection.sql,
            reader = reader(&parameter),
        )
    })
}

/// What a room is for a reader now.
#[derive(Clone, Debug, Deserialize)]
pub struct ReaderRow {
    pub room_id: OwnedRoomId,
    pub room_version: Option<String>,
    /// The reader's present membership.
    pub membership: Option<String>,
    pub member_event_id: Option<OwnedEventId>,
    pub member_stream_ordering: Option<i64>,
    pub member_topological_ordering: Option<i64>,
    /// The state after the membership event.
    pub member_state_group: Option<i64>,
    #[serde(deserialize_with = "boolean")]
    pub forgotten: bool,
    /// Of the reader's latest join.
    pub joined_stream_ordering: Option<i64>,
    /// Of the present state.
    pub history_visibility: Option<String>,
}

/// Reads a [`ReaderRow`] of each of the rooms that we know.
pub fn readers(room_ids: &[OwnedRoomId], user_or_token: &str) -> Statement {
    let reader = reader("?2");
    let visibility = text_at("vj.json", "$.content.history_visibility");
    Statement::new(format!(
        "WITH asked (room_id, user_id) AS (SELECT value, {reader} FROM json_each(?1))
         SELECT o.room_id, o.room_version, m.membership, m.event_id AS member_event_id,
                e.stream_ordering AS member_stream_ordering,
                e.topological_ordering AS member_topological_ordering,
                g.state_group AS member_state_group,
                (SELECT count(*) > 0 AND min(f.forgotten) = 1 FROM room_memberships f
                 WHERE f.user_id = a.user_id AND f.room_id = a.room_id) AS forgotten,
                (SELECT max(f.event_stream_ordering) FROM room_memberships f
                 WHERE f.user_id = a.user_id AND f.room_id = a.room_id
                   AND f.membership = 'join') AS joined_stream_ordering,
                {visibility} AS history_visibility
         FROM asked a
         CROSS JOIN rooms o ON o.room_id = a.room_id
         LEFT JOIN local_current_membership m
            ON m.user_id = a.user_id AND m.room_id = a.room_id
         LEFT JOIN events e ON e.event_id = m.event_id
         LEFT JOIN event_to_state_groups g ON g.event_id = m.event_id
         LEFT JOIN current_state_events v ON v.room_id = a.room_id
            AND v.type = 'm.room.history_visibility' AND v.state_key = ''
         LEFT JOIN event_json vj ON vj.event_id = v.event_id"
    ))
    .bind_json(&room_ids)
    .bind(user_or_token)
}

/// A user whose events a reader does not want to see.
#[derive(Clone, Debug, Deserialize)]
pub struct IgnoredRow {
    pub ignored_user_id: OwnedUserId,
}

/// Reads [`IgnoredRow`]s of a reader.
pub fn ignored_users(user_or_token: &str) -> Statement {
    let reader = reader("?1");
    Statement::new(format!(
        "SELECT ignored_user_id FROM ignored_users WHERE ignorer_user_id = {reader}"
    ))
    .bind(user_or_token)
    .small::<IgnoredRow>()
}
