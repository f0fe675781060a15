//! Which events: by id, a page of a room, around an event, the latest of many rooms, their state.
//!
//! Every function here gives a [`Selection`] for [`super::events`]. Events that were rejected or
//! that are not part of the room's timeline (outliers) are never on a page.

use std::collections::BTreeMap;

use myelin_protocol::filter::{EventFilter, RelatedBy};
use myelin_protocol::sync_token::RoomStreamToken;
use ruma::api::client::filter::UrlFilter;
use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId};
use serde::Serialize;

use super::events::{Selection, reader};

/// Terms of one compound SELECT: D1 takes 5.
const EXCERPTS_MAX: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Backward,
    Forward,
}

/// A page of one room's events in topological order.
#[derive(Clone, Debug)]
pub struct PageQuery<'a> {
    pub room_id: &'a RoomId,
    pub direction: Direction,
    /// Where it begins; at the start or the end of the room if there is none.
    pub from: Option<RoomStreamToken>,
    pub to: Option<RoomStreamToken>,
    pub limit: u32,
    pub filter: &'a EventFilter,
    /// A user id or a token: somebody who has left gets nothing from after the leave.
    pub reader: &'a str,
}

/// The part of a room's stream that a sync sends: after `after`, up to and with `upto`.
#[derive(Clone, Debug, Serialize)]
pub struct StreamWindow {
    pub room_id: OwnedRoomId,
    pub after: i64,
    pub upto: i64,
}

/// One event, if it is of that room.
pub fn of_room(room_id: &RoomId, event_id: &EventId) -> Selection {
    let mut selection = Selection::new();
    let event_id = selection.bind(event_id.as_str());
    let room_id = selection.bind(room_id.as_str());
    selection.push(&format!(
        "SELECT stream_ordering FROM events WHERE event_id = {event_id} AND room_id = {room_id}
           AND rejection_reason IS NULL"
    ));
    selection
}

/// One event, whatever its room.
pub fn one(event_id: &EventId) -> Selection {
    let mut selection = Selection::new();
    let event_id = selection.bind(event_id.as_str());
    selection.push(&format!(
        "SELECT stream_ordering FROM events WHERE event_id = {event_id}
           AND rejection_reason IS NULL"
    ));
    selection
}

/// Events by id, whichever they are.
pub fn by_id(event_ids: &[OwnedEventId]) -> Selection {
    let mut selection = Selection::new();
    let ids = selection.bind_json(&event_ids);
    selection.push(&format!(
        "SELECT e.stream_ordering FROM json_each({ids}) i
         CROSS JOIN events e ON e.event_id = i.value"
    ));
    selection
}

/// A page of a room.
pub fn page(query: &PageQuery<'_>) -> Selection {
    let mut selection = Selection::new();
    push_page(&mut selection, query);
    selection
}

fn push_page(selection: &mut Selection, query: &PageQuery<'_>) {
    let room_id = selection.bind(query.room_id.as_str());
    selection.push(&format!(
        "SELECT e.stream_ordering FROM events e
         WHERE e.room_id = {room_id} AND NOT e.outlier AND e.rejection_reason IS NULL"
    ));
    push_place(selection, query);
}

/// The place and the size of a page of the events `e`, and what of it the reader wants and may see.
pub(super) fn push_place(selection: &mut Selection, query: &PageQuery<'_>) {
    let (after, until, order) = match query.direction {
        Direction::Backward => (&query.to, &query.from, "DESC"),
        Direction::Forward => (&query.from, &query.to, "ASC"),
    };
    if let Some(token) = after {
        push_bound(selection, ">", token);
    }
    if let Some(token) = until {
        push_bound(selection, "<=", token);
    }
    let room_id = selection.bind(query.room_id.as_str());
    push_leave(selection, &room_id, query.reader);
    push_filter(selection, query.filter);
    let limit = selection.bind(query.limit);
    selection.push(&format!(
        " ORDER BY e.topological_ordering {order}, e.stream_ordering {order} LIMIT {limit} + 0"
    ));
}

fn push_bound(selection: &mut Selection, operator: &str, token: &RoomStreamToken) {
    let stream = selection.bind(token.stream());
    match token {
        RoomStreamToken::Historic { topological, .. } => {
            let topological = selection.bind(*topological);
            selection.push(&format!(
                " AND (e.topological_ordering, e.stream_ordering) {operator}
                      ({topological}, {stream})"
            ));
        }
        RoomStreamToken::Live(_) => {
            selection.push(&format!(" AND +e.stream_ordering {operator} {stream}"));
        }
    }
}

/// Every bound on the stream alone has a `+`: the page is read along the topological index.
fn push_leave(selection: &mut Selection, room_id: &str, user_or_token: &str) {
    let parameter = selection.bind(user_or_token);
    let until = visible_until(&reader(&parameter), room_id);
    selection.push(&format!(" AND +e.stream_ordering <= {until}"));
}

/// The SQL of the last place of a room that a reader may look at. What came after somebody left is
/// not theirs to see, unless everyone may read it.
pub(super) fn visible_until(reader: &str, room_id: &str) -> String {
    format!(
        "coalesce(
            (SELECT m.event_stream_ordering FROM local_current_membership m
             WHERE m.user_id = {reader} AND m.room_id = {room_id} AND m.membership = 'leave'
               AND NOT EXISTS (SELECT 1 FROM current_state_events v
                   JOIN event_json vj ON vj.event_id = v.event_id
                   WHERE v.room_id = m.room_id AND v.type = 'm.room.history_visibility'
                     AND v.state_key = '' AND json_extract(vj.json,
                         '$.content.history_visibility') = 'world_readable')),
            9007199254740991)"
    )
}

/// Narrows to what a filter lets through. A type with a `*` is narrowed to what stands before
/// it: who reads the rows compares the rest.
fn push_filter(selection: &mut Selection, filter: &EventFilter) {
    if let Some(types) = &filter.types {
        let condition = type_condition(selection, types);
        selection.push(&format!(" AND {condition}"));
    }
    let exact: Vec<&String> = filter.not_types.iter().filter(|t| !t.contains('*')).collect();
    if !exact.is_empty() {
        let types = selection.bind_json(&exact);
        selection.push(&format!(" AND e.type NOT IN (SELECT value FROM json_each({types}))"));
    }
    let prefixes: Vec<&str> = filter.not_types.iter().filter_map(|t| prefix_alone(t)).collect();
    if !prefixes.is_empty() {
        let has_prefix = prefix_condition(selection, &prefixes);
        selection.push(&format!(" AND NOT {has_prefix}"));
    }
    if let Some(rooms) = &filter.rooms {
        let rooms = selection.bind_json(rooms);
        selection.push(&format!(" AND e.room_id IN (SELECT value FROM json_each({rooms}))"));
    }
    if !filter.not_rooms.is_empty() {
        let rooms = selection.bind_json(&filter.not_rooms);
        selection.push(&format!(" AND e.room_id NOT IN (SELECT value FROM json_each({rooms}))"));
    }
    if let Some(senders) = &filter.senders {
        let senders = selection.bind_json(senders);
        selection.push(&format!(" AND e.sender IN (SELECT value FROM json_each({senders}))"));
    }
    if !filter.not_senders.is_empty() {
        let senders = selection.bind_json(&filter.not_senders);
        selection.push(&format!(" AND e.sender NOT IN (SELECT value FROM json_each({senders}))"));
    }
    match filter.url_filter {
        Some(UrlFilter::EventsWithUrl) => selection.push(" AND e.contains_url"),
        Some(UrlFilter::EventsWithoutUrl) => selection.push(" AND NOT e.contains_url"),
        None => {}
    }
    push_related_by(selection, &filter.related_by);
}

pub(super) fn push_related_by(selection: &mut Selection, related_by: &RelatedBy) {
    if related_by.is_empty() {
        return;
    }
    selection.push(
        " AND EXISTS (SELECT 1 FROM event_relations rel
                      CROSS JOIN events c ON c.event_id = rel.event_id
                      WHERE rel.relates_to_id = e.event_id AND +c.room_id = e.room_id",
    );
    let lists = [("rel.relation_type", &related_by.rel_types), ("+c.sender", &related_by.senders)];
    for (column, list) in lists {
        if !list.is_empty() {
            let list = selection.bind_json(list);
            selection.push(&format!(" AND {column} IN (SELECT value FROM json_each({list}))"));
        }
    }
    selection.push(")");
}

fn type_condition(selection: &mut Selection, types: &[String]) -> String {
    let prefixes = types.iter().filter_map(|t| t.split_once('*')).map(|(prefix, _)| prefix);
    let prefixes = prefixes.collect::<Vec<_>>();
    let exact: Vec<&String> = types.iter().filter(|t| !t.contains('*')).collect();
    let exact = selection.bind_json(&exact);
    let exact = format!("e.type IN (SELECT value FROM json_each({exact}))");
    if prefixes.is_empty() {
        return exact;
    }
    let has_prefix = prefix_condition(selection, &prefixes);
    format!("({exact} OR {has_prefix})")
}

fn prefix_condition(selection: &mut Selection, prefixes: &[&str]) -> String {
    let prefixes = selection.bind_json(&prefixes);
    format!(
        "EXISTS (SELECT 1 FROM json_each({prefixes}) prefix
                 WHERE substr(e.type, 1, length(prefix.value)) = prefix.value)"
    )
}

/// What stands before the `*` of a pattern that has none but at its end.
fn prefix_alone(pattern: &str) -> Option<&str> {
    pattern.strip_suffix('*').filter(|prefix| !prefix.contains('*'))
}

/// The events before and after one, and the event itself.
pub fn around(
    room_id: &RoomId,
    event_id: &EventId,
    before_limit: u32,
    after_limit: u32,
    filter: &EventFilter,
) -> Selection {
    let mut selection = Selection::new();
    let room = selection.bind(room_id.as_str());
    let event = selection.bind(event_id.as_str());
    let this = format!(
        "SELECT topological_ordering, stream_ordering FROM events
         WHERE event_id = {event} AND room_id = {room}"
    );
    selection.push(&format!(
        "SELECT stream_ordering FROM events WHERE event_id = {event} AND room_id = {room}"
    ));
    for (operator, order, limit) in [("<", "DESC", before_limit), (">", "ASC", after_limit)] {
        selection.push(&format!(
            " UNION ALL SELECT stream_ordering FROM (SELECT e.stream_ordering FROM events e
              WHERE e.room_id = {room} AND NOT e.outlier AND e.rejection_reason IS NULL
                AND (e.topological_ordering, e.stream_ordering) {operator} ({this})"
        ));
        push_filter(&mut selection, filter);
        let limit = selection.bind(limit);
        selection.push(&format!(
            " ORDER BY e.topological_ordering {order}, e.stream_ordering {order} LIMIT {limit} + 0)"
        ));
    }
    selection
}

/// The latest `limit` events of each window, all rooms at once. One more than is shown tells
/// whether there are more: ask for it.
pub fn latest(windows: &[StreamWindow], limit: u32, filter: &EventFilter) -> Selection {
    of_windows(windows, |selection| push_latest(selection, limit, filter))
}

/// Windows of which as many of the latest events are wanted.
#[derive(Clone, Debug)]
pub struct Excerpts {
    pub windows: Vec<StreamWindow>,
    pub limit: u32,
}

/// Groups of windows by their limit: as many as one statement can take. Where there are more
/// limits than that, the smallest are raised.
pub fn excerpts(windows: impl IntoIterator<Item = (StreamWindow, u32)>) -> Vec<Excerpts> {
    let mut by_limit: BTreeMap<u32, Vec<StreamWindow>> = BTreeMap::new();
    for (window, limit) in windows {
        by_limit.entry(limit).or_default().push(window);
    }
    while by_limit.len() > EXCERPTS_MAX {
        let smallest = by_limit.pop_first().map(|(_, windows)| windows);
        if let Some(mut next) = by_limit.first_entry() {
            next.get_mut().extend(smallest.unwrap_or_default());
        }
    }
    by_limit.into_iter().map(|(limit, windows)| Excerpts { windows, limit }).collect()
}

/// The latest events of each window, all rooms at once.
pub fn latest_of(excerpts: &[Excerpts]) -> Selection {
    let mut selection = Selection::new();
    for (index, Excerpts { windows, limit }) in excerpts.iter().enumerate() {
        let windows = selection.bind_json(windows);
        selection.push(if index > 0 { " UNION ALL " } else { "" });
        selection.push(&format!(
            "SELECT l.stream_ordering FROM json_each({windows}) w
             CROSS JOIN events l ON l.stream_ordering IN ("
        ));
        push_latest(&mut selection, *limit, &EventFilter::default());
        selection.push(")");
    }
    if excerpts.is_empty() {
        selection.push("SELECT NULL WHERE 0");
    }
    selection
}

/// The earliest `limit` events of each window, all rooms at once.
pub fn earliest(windows: &[StreamWindow], limit: u32, filter: &EventFilter) -> Selection {
    of_windows(windows, |selection| push_window(selection, "ASC", limit, filter))
}

fn of_windows(windows: &[StreamWindow], push: impl FnOnce(&mut Selection)) -> Selection {
    let mut selection = Selection::new();
    let windows = selection.bind_json(&windows);
    selection.push(&format!(
        "SELECT l.stream_ordering FROM json_each({windows}) w
         CROSS JOIN events l ON l.stream_ordering IN ("
    ));
    push(&mut selection);
    selection.push(")");
    selection
}

/// The latest `limit` events of the window `w`.
pub(super) fn push_latest(selection: &mut Selection, limit: u32, filter: &EventFilter) {
    push_window(selection, "DESC", limit, filter);
}

fn push_window(selection: &mut Selection, order: &str, limit: u32, filter: &EventFilter) {
    selection.push(
        "SELECT e.stream_ordering FROM events e
         WHERE e.room_id = w.value ->> '$.room_id'
           AND e.stream_ordering > w.value ->> '$.after'
           AND e.stream_ordering <= w.value ->> '$.upto'
           AND NOT e.outlier AND e.rejection_reason IS NULL",
    );
    push_filter(selection, filter);
    let limit = selection.bind(limit);
    selection.push(&format!(" ORDER BY e.stream_ordering {order} LIMIT {limit} + 0"));
}

/// The event of a room that is nearest to a time, looking in one direction.
pub fn nearest_in_time(room_id: &RoomId, origin_server_ts: u64, direction: Direction) -> Selection {
    let mut selection = Selection::new();
    let room_id = selection.bind(room_id.as_str());
    let ts = selection.bind(origin_server_ts);
    let (operator, order) = match direction {
        Direction::Backward => ("<=", "DESC"),
        Direction::Forward => (">=", "ASC"),
    };
    selection.push(&format!(
        "SELECT e.stream_ordering FROM events e
         WHERE e.room_id = {room_id} AND e.origin_server_ts {operator} {ts}
           AND NOT e.outlier AND e.rejection_reason IS NULL
         ORDER BY e.origin_server_ts {order}, e.topological_ordering {order},
                  e.stream_ordering {order} LIMIT 1"
    ));
    selection
}

/// The last event of a room at a position of the stream.
pub fn last_at(room_id: &RoomId, stream_ordering: i64) -> Selection {
    let mut selection = Selection::new();
    let room_id = selection.bind(room_id.as_str());
    let stream = selection.bind(stream_ordering);
    selection.push(&format!(
        "SELECT e.stream_ordering FROM events e
         WHERE e.room_id = {room_id} AND e.stream_ordering <= {stream}
           AND NOT e.outlier AND e.rejection_reason IS NULL
         ORDER BY e.stream_ordering DESC LIMIT 1"
    ));
    selection
}
