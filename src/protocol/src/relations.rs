//! Relations between events: which ones count, and how they are shown with the event that they
//! are about.
//!
//! Spec: <https://spec.matrix.org/latest/client-server-api/#forming-relationships-between-events>

use ruma::{EventId, OwnedEventId, events::TimelineEventType};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use crate::pdu::{Pdu, raw_json};

pub const ANNOTATION: &str = "m.annotation";
pub const REFERENCE: &str = "m.reference";
pub const REPLACE: &str = "m.replace";
pub const THREAD: &str = "m.thread";

/// The longest key of an annotation, in characters: as in Synapse.
const KEY_LENGTH_MAX: usize = 500;

/// What `m.relates_to` of a content says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub rel_type: String,
    /// The event that this is about. Anything can stand there.
    pub event_id: String,
    /// Of an annotation.
    pub key: Option<String>,
}

impl Relation {
    /// `None` if there is no relation, or none that names its type and its event.
    pub fn of(content: &Map<String, Value>) -> Option<Self> {
        let relates_to = content.get("m.relates_to")?;
        let text = |name: &str| relates_to.get(name)?.as_str().map(ToOwned::to_owned);
        let rel_type = text("rel_type")?;
        let key = text("key").filter(|_| rel_type == ANNOTATION);
        Some(Self { event_id: text("event_id")?, rel_type, key })
    }

    pub fn of_pdu(event: &Pdu) -> Option<Self> {
        Self::of(&event.content_as::<Map<String, Value>>()?)
    }
}

/// What the log says about the event that a new one is to be about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Whether it is in the room of the new event; `None` if we do not have it.
    pub is_in_room: Option<bool>,
    /// Whether others are about it: then somebody has seen it.
    pub has_children: bool,
    /// Whether it is itself about another event.
    pub is_child: bool,
    /// Whether the sender has annotated it in the same way before.
    pub has_same_annotation: bool,
}

/// Why an event cannot be about another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RelationError {
    #[error("Relations must be in the same room")]
    OtherRoom,
    #[error("Can't send relation to unknown event")]
    UnknownEvent,
    #[error("Missing aggregation key")]
    NoKey,
    #[error("Aggregation key is too long")]
    KeyTooLong,
    #[error("Can't send same reaction twice")]
    SameAnnotation,
    #[error("Cannot start threads from an event with a relation")]
    ThreadOfChild,
}

/// Whether our user may send such a relation.
///
/// # Errors
/// The first rule that is broken.
pub fn check_new(relation: &Relation, parent: Parent) -> Result<(), RelationError> {
    match parent.is_in_room {
        Some(true) => {}
        Some(false) => return Err(RelationError::OtherRoom),
        None if parent.has_children => {}
        None => return Err(RelationError::UnknownEvent),
    }
    match relation.rel_type.as_str() {
        ANNOTATION => {
            let key = relation.key.as_ref().ok_or(RelationError::NoKey)?;
            if key.chars().count() > KEY_LENGTH_MAX {
                return Err(RelationError::KeyTooLong);
            }
            if parent.has_same_annotation {
                return Err(RelationError::SameAnnotation);
            }
            Ok(())
        }
        THREAD if parent.is_child => Err(RelationError::ThreadOfChild),
        _ => Ok(()),
    }
}

/// "Validity of replacement events". What an encrypted event replaces only its readers know.
pub fn is_valid_replacement(original: &Pdu, replacement: &Pdu) -> bool {
    let has_new_content = |event: &Pdu| {
        let content: Option<Map<String, Value>> = event.content_as();
        content.is_some_and(|content| content.get("m.new_content").is_some_and(Value::is_object))
    };
    let replaces = |relation: Relation| {
        relation.rel_type == REPLACE && relation.event_id == original.event_id.as_str()
    };
    original.room_id == replacement.room_id
        && original.sender == replacement.sender
        && original.event_type == replacement.event_type
        && original.state_key.is_none()
        && replacement.state_key.is_none()
        && Relation::of_pdu(original).is_none_or(|relation| relation.rel_type != REPLACE)
        && Relation::of_pdu(replacement).is_some_and(replaces)
        && (replacement.event_type == TimelineEventType::RoomEncrypted
            || has_new_content(replacement))
}

/// What is shown with an event: "Aggregations of child events".
#[derive(Debug, Default, Serialize)]
pub struct Bundle {
    #[serde(rename = "m.replace", skip_serializing_if = "Option::is_none")]
    pub replace: Option<Box<RawValue>>,
    #[serde(rename = "m.reference", skip_serializing_if = "Option::is_none")]
    pub reference: Option<ReferenceBundle>,
    #[serde(rename = "m.thread", skip_serializing_if = "Option::is_none")]
    pub thread: Option<ThreadBundle>,
}

#[derive(Debug, Serialize)]
pub struct ReferenceBundle {
    chunk: Vec<ReferenceItem>,
}

#[derive(Debug, Serialize)]
struct ReferenceItem {
    event_id: OwnedEventId,
}

#[derive(Debug, Serialize)]
pub struct ThreadBundle {
    /// With its own bundle.
    pub latest_event: Box<RawValue>,
    pub count: u64,
    pub current_user_participated: bool,
}

impl ReferenceBundle {
    /// `None` if there is nothing to show.
    pub fn new<'a>(event_ids: impl IntoIterator<Item = &'a EventId>) -> Option<Self> {
        let item = |event_id: &EventId| ReferenceItem { event_id: event_id.to_owned() };
        let chunk: Vec<_> = event_ids.into_iter().map(item).collect();
        (!chunk.is_empty()).then_some(Self { chunk })
    }
}

impl Bundle {
    /// The value of `m.relations`; `None` if there is nothing to show.
    pub fn to_json(&self) -> Option<Box<RawValue>> {
        let is_empty = self.replace.is_none() && self.reference.is_none() && self.thread.is_none();
        (!is_empty).then(|| raw_json(self))
    }
}

#[cfg(test)]
#[path = "relations_tests.rs"]
mod tests;
