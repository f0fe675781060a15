//! Whether events may relate to others as they want to: what the log says about those, and what
//! stands in the same group of commands.

use std::collections::HashMap;

use myelin_protocol::pdu::Pdu;
use myelin_protocol::relations::{self, ANNOTATION, Parent, Relation, RelationError};
use myelin_protocol::room_snapshot::Draft;
use ruma::{OwnedUserId, RoomId, UserId};
use serde_json::{Map, Value};

use super::decide::Decided;
use super::load::Loaded;
use crate::durable::{KnownParent, RoomCommand};
use crate::error::{ApiError, ErrorCode};
use crate::storage::database::Statement;
use crate::storage::relations::{NewRelation, ParentRow, parents};

/// What makes two relations the same: what one user says only once about an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RelationKey {
    parent_id: String,
    relation_type: String,
    key: Option<String>,
    event_type: String,
    sender: OwnedUserId,
}

impl RelationKey {
    fn new(relation: Relation, event_type: String, sender: &UserId) -> Self {
        Self {
            parent_id: relation.event_id,
            relation_type: relation.rel_type,
            key: relation.key,
            event_type,
            sender: sender.to_owned(),
        }
    }

    fn of(event: &Pdu) -> Option<Self> {
        let relation = Relation::of_pdu(event)?;
        Some(Self::new(relation, event.event_type.to_string(), &event.sender))
    }
}

/// The relations that commands want to make, and what the log says about their events.
#[derive(Default)]
pub struct Wanted {
    known: HashMap<RelationKey, Parent>,
    /// Of which nothing is known that holds.
    unknown: Vec<RelationKey>,
}

impl Wanted {
    pub fn new(loaded: Option<&Loaded>, commands: &[&RoomCommand]) -> Self {
        let holds_from = loaded.and_then(|loaded| loaded.relations_position);
        let mut wanted = Self::default();
        for command in commands {
            let RoomCommand::Send(send) = command else { continue };
            let content: Option<Map<String, Value>> =
                serde_json::from_str(send.event.content.get()).ok();
            let relation = content.as_ref().and_then(Relation::of);
            let Some(relation) = relation else { continue };
            let event_type = send.event.event_type.clone();
            let key = RelationKey::new(relation, event_type, &send.event.sender);
            let holds = |known: &KnownParent| holds_from.is_some_and(|p| known.position >= p);
            match send.parent.filter(holds) {
                Some(known) => drop(wanted.known.insert(key, known.parent)),
                None => wanted.unknown.push(key),
            }
        }
        wanted
    }

    /// Whether nothing has to be read.
    pub fn is_empty(&self) -> bool {
        self.unknown.is_empty()
    }

    /// Reads what [`Wanted::read`] takes.
    pub fn statement(&self) -> Statement {
        let new = self.unknown.iter().map(|relation| NewRelation {
            parent_id: &relation.parent_id,
            relation_type: &relation.relation_type,
            key: relation.key.as_deref(),
            event_type: &relation.event_type,
            sender: relation.sender.as_str(),
        });
        parents(&new.collect::<Vec<_>>())
    }

    pub fn read(self, room_id: &RoomId, rows: &[ParentRow]) -> Parents {
        let mut parents = self.known;
        let read = rows.iter().map(|row| row.parent_in(room_id));
        parents.extend(self.unknown.into_iter().zip(read));
        Parents(parents)
    }
}

/// Whether what was read of annotations before this commit is old after it.
pub fn changes(decided: &Decided) -> bool {
    let is_annotation = |event: &Pdu| {
        Relation::of_pdu(event).is_some_and(|relation| relation.rel_type == ANNOTATION)
    };
    let mut events = decided.events.iter().map(|written| &written.event);
    events.any(|event| event.redacts.is_some() || is_annotation(event))
}

/// Whether a draft annotates an event as one of the same group does already.
pub fn is_repeated(decided: &Decided, draft: &Draft) -> bool {
    let relation = Relation::of(&draft.content).filter(|relation| relation.rel_type == ANNOTATION);
    let Some(relation) = relation else { return false };
    let key = RelationKey::new(relation, draft.event_type.to_string(), &draft.sender);
    decided.events.iter().any(|written| RelationKey::of(&written.event).as_ref() == Some(&key))
}

/// What the log says about the events that new ones are to be about.
#[derive(Default)]
pub struct Parents(HashMap<RelationKey, Parent>);

impl Parents {
    /// # Errors
    /// `M_DUPLICATE_ANNOTATION`, or `M_INVALID_PARAM` for a relation that cannot be.
    pub fn check(&self, event: &Pdu, same_in_group: bool) -> Result<(), ApiError> {
        let Some(relation) = Relation::of_pdu(event) else { return Ok(()) };
        let key = RelationKey::new(relation.clone(), event.event_type.to_string(), &event.sender);
        let mut parent = self.0.get(&key).copied().unwrap_or_default();
        parent.has_same_annotation |= same_in_group;
        relations::check_new(&relation, parent).map_err(|error| {
            let code = match error {
                RelationError::SameAnnotation => ErrorCode::DuplicateAnnotation,
                _ => ErrorCode::InvalidParam,
            };
            ApiError::new(code, error.to_string())
        })
    }
}
