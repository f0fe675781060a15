//! `event_relations` as it is read: what is shown with an event, and the events that are about one.
//! The room's writer fills it: `room_log`.

use myelin_protocol::filter::{EventFilter, RelatedBy};
use myelin_protocol::relations::Parent;
use myelin_protocol::sync_token::RoomStreamToken;
use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId};
use serde::{Deserialize, Serialize};

use super::database::{Statement, boolean};
use super::event_pages::{Direction, PageQuery, push_place, push_related_by, visible_until};
use super::events::{Selection, reader};
use super::stream_positions::{StreamName, current};

/// How far relations are followed; deeper ones are those of nobody's client.
pub const DEPTH_MAX: u32 = 3;

/// One thing that is shown with an event.
#[derive(Clone, Debug, Deserialize)]
pub struct AggregationRow {
    pub parent_id: OwnedEventId,
    pub relation_type: String,
    /// The latest edit, the latest event of the thread, or a reference.
    pub event_id: Option<OwnedEventId>,
    /// Of a thread: how many events are in it.
    pub count: Option<u64>,
    /// Of a thread: whether the reader has written any of them, or its root.
    #[serde(deserialize_with = "boolean")]
    pub participated: bool,
}

/// Reads the [`AggregationRow`]s of events and of the latest events of their threads; references
/// in topological order. An event that nothing is about costs one look into an index.
pub fn aggregations(selection: Selection, user_or_token: &str) -> Statement {
    selection
        .statement(|selection| {
            let reader = reader(&selection.bind(user_or_token));
            let until = visible_until(&reader, "e.room_id");
            let child = |relation_type: &str| child_of("s", relation_type, &reader);
            let (replies, edits, references) =
                (child("m.thread"), child("m.replace"), child("m.reference"));
            let shown = shown("s", &reader);
            format!(
                "WITH picked (stream_ordering) AS ({picked}),
             parent AS MATERIALIZED (
                SELECT e.event_id, e.room_id, e.sender, e.type, {until} AS until
                FROM picked CROSS JOIN events e ON e.stream_ordering = picked.stream_ordering
                WHERE e.state_key IS NULL
                  AND EXISTS (SELECT 1 FROM event_relations r WHERE r.relates_to_id = e.event_id)
                  AND NOT EXISTS (SELECT 1 FROM event_relations o WHERE o.event_id = e.event_id
                                    AND o.relation_type IN ('m.annotation', 'm.replace'))),
             thread AS MATERIALIZED (
                SELECT s.event_id, s.until, count(*) AS count,
                       max(c.sender = {reader} OR s.sender = {reader}) AS participated,
                       coalesce(
                           (SELECT c.event_id FROM threads t
                            CROSS JOIN events c ON c.event_id = t.latest_event_id
                            WHERE t.room_id = s.room_id AND t.thread_id = s.event_id AND {shown}),
                           (SELECT c.event_id FROM {replies}
                            ORDER BY c.topological_ordering DESC, c.stream_ordering DESC
                            LIMIT 1)) AS latest
                FROM parent s CROSS JOIN {replies}
                WHERE NOT EXISTS (SELECT 1 FROM event_relations o WHERE o.event_id = s.event_id)
                GROUP BY s.event_id),
             subject AS MATERIALIZED (
                SELECT event_id, room_id, sender, type, until FROM parent
                UNION
                SELECT e.event_id, e.room_id, e.sender, e.type, t.until FROM thread t
                CROSS JOIN events e ON e.event_id = t.latest)
             SELECT t.event_id AS parent_id, 'm.thread' AS relation_type, t.latest AS event_id,
                    t.count, t.participated, 0 AS topological_ordering, 0 AS stream_ordering
             FROM thread t
             UNION ALL
             SELECT s.event_id, 'm.replace',
                    (SELECT c.event_id FROM {edits}
                     WHERE c.sender = s.sender AND c.type = s.type AND c.state_key IS NULL
                       AND (c.type = 'm.room.encrypted' OR 'object' =
                            (SELECT json_type(j.json, '$.content.\"m.new_content\"')
                             FROM event_json j WHERE j.event_id = c.event_id))
                     ORDER BY c.origin_server_ts DESC, c.event_id DESC LIMIT 1),
                    NULL, 0, 0, 0
             FROM subject s
             UNION ALL
             SELECT s.event_id, 'm.reference', c.event_id, NULL, 0,
                    c.topological_ordering, c.stream_ordering
             FROM subject s CROSS JOIN {references}
             ORDER BY topological_ordering, stream_ordering",
                picked = selection.sql(),
            )
        })
        .small::<AggregationRow>()
}

/// The events `c` that relate to `parent` in this way, as a table expression.
fn child_of(parent: &str, relation_type: &str, reader: &str) -> String {
    let shown = shown(parent, reader);
    format!(
        "event_relations r CROSS JOIN events c
             ON r.relates_to_id = {parent}.event_id AND r.relation_type = '{relation_type}'
            AND c.event_id = r.event_id AND {shown}"
    )
}

/// Whether the event `c` is one of the parent's room that the reader wants and may see.
fn shown(parent: &str, reader: &str) -> String {
    format!(
        "+c.room_id = {parent}.room_id AND +c.stream_ordering <= {parent}.until
         AND NOT c.outlier AND c.rejection_reason IS NULL
         AND NOT EXISTS (SELECT 1 FROM ignored_users i
                         WHERE i.ignorer_user_id = {reader} AND i.ignored_user_id = c.sender)"
    )
}

/// Those of these events that are older than the reader's present stay in their room: who sees
/// them depends on the state at them.
pub fn before_joining(event_ids: &[OwnedEventId], user_or_token: &str) -> Selection {
    let mut selection = Selection::new();
    let ids = selection.bind_json(&event_ids);
    let reader = reader(&selection.bind(user_or_token));
    selection.push(&format!(
        "SELECT e.stream_ordering FROM json_each({ids}) i
         CROSS JOIN events e ON e.event_id = i.value
         WHERE NOT EXISTS (SELECT 1 FROM local_current_membership m
             WHERE m.user_id = {reader} AND m.room_id = e.room_id AND m.membership = 'join'
               AND m.event_stream_ordering < e.stream_ordering)"
    ));
    selection
}

/// Reads the ids of those of these events that others of their rooms relate to in this way.
pub fn related(event_ids: &[OwnedEventId], related_by: &RelatedBy) -> Statement {
    let mut selection = Selection::new();
    let ids = selection.bind_json(&event_ids);
    selection.push(&format!(
        "SELECT e.event_id FROM json_each({ids}) i
         CROSS JOIN events e ON e.event_id = i.value WHERE 1"
    ));
    push_related_by(&mut selection, related_by);
    selection.into_statement()
}

/// The id of an event.
#[derive(Clone, Debug, Deserialize)]
pub struct EventIdRow {
    pub event_id: OwnedEventId,
}

/// A page of the events that are about one.
#[derive(Clone, Debug)]
pub struct ChildrenQuery<'a> {
    pub room_id: &'a RoomId,
    pub parent_id: &'a EventId,
    pub relation_type: Option<&'a str>,
    pub event_type: Option<&'a str>,
    /// Those that are about them, too, and so on.
    pub recurse: bool,
    pub direction: Direction,
    pub from: Option<RoomStreamToken>,
    pub to: Option<RoomStreamToken>,
    pub limit: u32,
    pub reader: &'a str,
}

/// The events of that page.
pub fn children(query: &ChildrenQuery<'_>) -> Selection {
    let mut selection = Selection::new();
    let parent = selection.bind(query.parent_id.as_str());
    if query.recurse {
        selection.push(&format!(
            "WITH RECURSIVE related (event_id, relation_type, depth) AS (
                SELECT r.event_id, r.relation_type, 1 FROM event_relations r
                WHERE r.relates_to_id = {parent}
                UNION
                SELECT r.event_id, r.relation_type, w.depth + 1 FROM related w
                CROSS JOIN event_relations r ON r.relates_to_id = w.event_id
                WHERE w.depth < {DEPTH_MAX}),
             child AS (SELECT DISTINCT w.event_id, w.relation_type FROM related w)"
        ));
    } else {
        selection.push(&format!(
            "WITH child AS (SELECT event_id, relation_type FROM event_relations
                             WHERE relates_to_id = {parent})"
        ));
    }
    let room_id = selection.bind(query.room_id.as_str());
    selection.push(&format!(
        " SELECT e.stream_ordering FROM child w CROSS JOIN events e ON e.event_id = w.event_id
          WHERE +e.room_id = {room_id} AND NOT e.outlier AND e.rejection_reason IS NULL"
    ));
    if let Some(relation_type) = query.relation_type {
        let relation_type = selection.bind(relation_type);
        selection.push(&format!(" AND w.relation_type = {relation_type}"));
    }
    if let Some(event_type) = query.event_type {
        let event_type = selection.bind(event_type);
        selection.push(&format!(" AND +e.type = {event_type}"));
    }
    push_place(
        &mut selection,
        &PageQuery {
            room_id: query.room_id,
            direction: query.direction,
            from: query.from.clone(),
            to: query.to.clone(),
            limit: query.limit,
            filter: &EventFilter::default(),
            reader: query.reader,
        },
    );
    selection
}

/// What a new event is to be about, and how.
#[derive(Clone, Debug, Serialize)]
pub struct NewRelation<'a> {
    pub parent_id: &'a str,
    pub relation_type: &'a str,
    pub key: Option<&'a str>,
    pub event_type: &'a str,
    /// A user id or a token.
    pub sender: &'a str,
}

/// What the log says of the event that a new one is to be about.
#[derive(Clone, Debug, Deserialize)]
pub struct ParentRow {
    pub room_id: Option<OwnedRoomId>,
    #[serde(deserialize_with = "boolean")]
    pub has_children: bool,
    #[serde(deserialize_with = "boolean")]
    pub is_child: bool,
    #[serde(deserialize_with = "boolean")]
    pub has_same: bool,
    /// How far the log went.
    pub position: i64,
}

impl ParentRow {
    /// What it means for a new event of this room.
    pub fn parent_in(&self, room_id: &RoomId) -> Parent {
        Parent {
            is_in_room: self.room_id.as_ref().map(|parent| *parent == *room_id),
            has_children: self.has_children,
            is_child: self.is_child,
            has_same_annotation: self.has_same,
        }
    }
}

/// Reads a [`ParentRow`] for each new relation, in their order.
pub fn parents(relations: &[NewRelation<'_>]) -> Statement {
    let sender = reader("(w.value ->> 'sender')");
    let position = current(StreamName::Events);
    Statement::new(format!(
        "SELECT p.room_id, {position} AS position,
                EXISTS (SELECT 1 FROM event_relations r
                        WHERE r.relates_to_id = w.value ->> 'parent_id') AS has_children,
                EXISTS (SELECT 1 FROM event_relations r
                        WHERE r.event_id = w.value ->> 'parent_id') AS is_child,
                EXISTS (SELECT 1 FROM event_relations r
                        CROSS JOIN events e ON e.event_id = r.event_id
                        WHERE r.relates_to_id = w.value ->> 'parent_id'
                          AND r.relation_type = w.value ->> 'relation_type'
                          AND r.aggregation_key = w.value ->> 'key'
                          AND +e.type = w.value ->> 'event_type'
                          AND +e.sender = {sender}) AS has_same
         FROM json_each(?1) w LEFT JOIN events p ON p.event_id = w.value ->> 'parent_id'
         ORDER BY w.key"
    ))
    .bind_json(&relations)
}
