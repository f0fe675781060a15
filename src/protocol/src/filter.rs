//! Filters of clients: which events they want, and which fields of them.
//!
//! Spec: <https://spec.matrix.org/latest/client-server-api/#filtering>

use std::ops::Deref;

use ruma::{
    RoomId, UInt,
    api::client::filter::{
        EventFormat, Filter, FilterDefinition, RoomEventFilter, RoomFilter, UrlFilter,
    },
};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use crate::pdu::Pdu;

/// How many timeline events a room has in /sync unless the filter says otherwise.
pub const TIMELINE_LIMIT_DEFAULT: usize = 10;
/// The most events that one filter gets, whatever it asks for.
pub const LIMIT_MAX: usize = 1_000;

/// The parts of an event, of account data or an EDU that filters look at.
#[derive(Debug, Clone, Copy)]
pub struct Filterable<'a> {
    pub event_type: &'a str,
    pub sender: Option<&'a str>,
    pub room_id: Option<&'a str>,
    pub content: Option<&'a RawValue>,
}

/// What a filter wants of the events that relate to an event. With both lists, one of those must
/// be of a sender and of a type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct RelatedBy {
    #[serde(rename = "related_by_senders", default)]
    pub senders: Vec<String>,
    #[serde(rename = "related_by_rel_types", default)]
    pub rel_types: Vec<String>,
}

impl RelatedBy {
    pub fn is_empty(&self) -> bool {
        self.senders.is_empty() && self.rel_types.is_empty()
    }
}

/// A filter for events of rooms, whole.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    pub own: RoomEventFilter,
    pub related_by: RelatedBy,
}

impl EventFilter {
    /// Reads the rest of a filter.
    ///
    /// # Errors
    /// If its lists are none.
    pub fn new(own: RoomEventFilter, json: &str) -> serde_json::Result<Self> {
        Ok(Self { own, related_by: serde_json::from_str(json)? })
    }
}

impl Deref for EventFilter {
    type Target = RoomEventFilter;

    fn deref(&self) -> &RoomEventFilter {
        &self.own
    }
}

/// What a filter for syncs wants of relations, by the lists of events of a room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct SyncRelations {
    #[serde(default)]
    pub room: RoomRelations,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RoomRelations {
    pub timeline: RelatedBy,
    pub state: RelatedBy,
}

/// Whether the form in which a filter wants events is one that there is.
pub fn has_known_format(filter: &FilterDefinition) -> bool {
    matches!(filter.event_format, EventFormat::Client | EventFormat::Federation)
}

/// Whether a filter for events of rooms lets an event through.
pub fn room_event_matches(filter: &RoomEventFilter, event: Filterable<'_>) -> bool {
    type_matches(filter.types.as_deref(), &filter.not_types, event.event_type)
        && id_matches(filter.senders.as_deref(), &filter.not_senders, event.sender)
        && id_matches(filter.rooms.as_deref(), &filter.not_rooms, event.room_id)
        && url_matches(filter.url_filter, event.content)
}

/// [`room_event_matches`] for a stored event.
pub fn pdu_matches(filter: &RoomEventFilter, event: &Pdu) -> bool {
    let event_type = event.event_type.to_string();
    room_event_matches(
        filter,
        Filterable {
            event_type: &event_type,
            sender: Some(event.sender.as_str()),
            room_id: Some(event.room_id.as_str()),
            content: Some(&event.content),
        },
    )
}

/// Whether a filter for presence or account data lets an event through.
pub fn event_matches(filter: &Filter, event: Filterable<'_>) -> bool {
    type_matches(filter.types.as_deref(), &filter.not_types, event.event_type)
        && id_matches(filter.senders.as_deref(), &filter.not_senders, event.sender)
}

/// Whether a filter wants a room at all.
pub fn room_matches(filter: &RoomFilter, room_id: &RoomId) -> bool {
    id_matches(filter.rooms.as_deref(), &filter.not_rooms, Some(room_id.as_str()))
}

/// Whether no event can pass, so that none needs to be read.
pub fn blocks_all_room_events(filter: &RoomEventFilter) -> bool {
    blocks_all(filter.types.as_deref(), &filter.not_types)
        || filter.senders.as_ref().is_some_and(Vec::is_empty)
        || filter.rooms.as_ref().is_some_and(Vec::is_empty)
}

/// Whether no presence or account data can pass.
pub fn blocks_all_events(filter: &Filter) -> bool {
    blocks_all(filter.types.as_deref(), &filter.not_types)
        || filter.senders.as_ref().is_some_and(Vec::is_empty)
}

/// How many events a filter gets.
pub fn effective_limit(limit: Option<UInt>, default: usize) -> usize {
    let limit =
        limit.map_or(default, |limit| usize::try_from(u64::from(limit)).unwrap_or(usize::MAX));
    limit.clamp(1, LIMIT_MAX)
}

fn blocks_all(types: Option<&[String]>, not_types: &[String]) -> bool {
    types.is_some_and(<[String]>::is_empty) || not_types.iter().any(|pattern| pattern == "*")
}

fn type_matches(types: Option<&[String]>, not_types: &[String], event_type: &str) -> bool {
    let matches = |pattern: &String| pattern_matches(pattern, event_type);
    !not_types.iter().any(matches) && types.is_none_or(|types| types.iter().any(matches))
}

/// `*` stands for any number of characters, wherever it is.
fn pattern_matches(pattern: &str, text: &str) -> bool {
    let Some((prefix, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(prefix) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let suffix = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(start) => text = &text[start + part.len()..],
            None => return false,
        }
    }
    text.ends_with(suffix)
}

fn id_matches<T: AsRef<str>>(wanted: Option<&[T]>, unwanted: &[T], id: Option<&str>) -> bool {
    let is = |other: &T| Some(other.as_ref()) == id;
    !unwanted.iter().any(is) && wanted.is_none_or(|wanted| wanted.iter().any(is))
}

fn url_matches(filter: Option<UrlFilter>, content: Option<&RawValue>) -> bool {
    let Some(filter) = filter else {
        return true;
    };
    let content: Option<Value> =
        content.and_then(|content| serde_json::from_str(content.get()).ok());
    let has_url = content.is_some_and(|content| content["url"].is_string());
    has_url == matches!(filter, UrlFilter::EventsWithUrl)
}

/// The event with nothing but some fields, as paths with dots (`content.body`).
pub fn project_fields(event: &Map<String, Value>, fields: &[String]) -> Map<String, Value> {
    let mut projected = Map::new();
    for field in fields {
        copy_field(event, &mut projected, &split_path(field));
    }
    projected
}

fn copy_field(from: &Map<String, Value>, to: &mut Map<String, Value>, path: &[String]) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    let Some(value) = from.get(key) else {
        return;
    };
    if rest.is_empty() {
        to.insert(key.clone(), value.clone());
        return;
    }
    let Value::Object(value) = value else {
        return;
    };
    let mut copied = match to.remove(key) {
        Some(Value::Object(copied)) => copied,
        _ => Map::new(),
    };
    copy_field(value, &mut copied, rest);
    if !copied.is_empty() {
        to.insert(key.clone(), Value::Object(copied));
    }
}

/// The keys of a path; `\.` and `\\` are a dot and a backslash within a key.
pub fn split_path(path: &str) -> Vec<String> {
    let mut keys = vec![String::new()];
    let mut characters = path.chars().peekable();
    while let Some(character) = characters.next() {
        let escaped = match character {
            '\\' => characters.next_if(|next| matches!(next, '.' | '\\')),
            _ => None,
        };
        match (character, keys.last_mut()) {
            ('.', _) => keys.push(String::new()),
            (_, Some(key)) => key.push(escaped.unwrap_or(character)),
            (_, None) => {}
        }
    }
    keys
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
