//! Whether events may relate to others as they want to: what the log says about those, and what
//! stands in the same group of commands.

use std::collections::HashMap;

use myelin_protocol::pdu::Pdu;
use myelin_protocol::relations::{self, ANNOTATION, Parent, Relation, RelationError};
use myelin_protocol::room_snapshot::Draft;
use ruma::{OwnedUserId, RoomId, UserId};
use serde_json::{Map, Value};

use super::decide::Decided;
use crate::durable::RoomCommand;
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

/// The relations that commands want to make.
pub fn of_commands(commands: &[&RoomCommand]) -> Vec<RelationKey> {
    let relation = |command: &&RoomCommand| {
        let RoomCommand::Send(send) = command else { return None };
        let content: Map<String, Value> = serde_json::from_str(send.event.content.get()).ok()?;
        let relation = Relation::of(&content)?;
        Some(RelationKey::new(relation, send.event.event_type.clone(), &send.event.sender))
    };
    commands.iter().filter_map(relation).collect()
}

/// Reads what [`Parents::read`] takes.
pub fn select(relations: &[RelationKey]) -> Statement {
    let new = relations.iter().map(|relation| NewRelation {
        parent_id: &relation.parent_id,
        relation_type: &relation.relation_type,
        key: relation.key.as_deref(),
        event_type: &relation.event_type,
        sender: &relation.sender,
    });
    parents(&new.collect::<Vec<_>>())
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
    pub fn read(room_id: &RoomId, relations: Vec<RelationKey>, rows: Vec<ParentRow>) -> Self {
        let parent = |row: ParentRow| Parent {
            is_in_room: row.room_id.map(|parent| parent == *room_id),
            has_children: row.has_children,
            is_child: row.is_child,
            has_same_annotation: row.has_same,
        };
        Self(relations.into_iter().zip(rows.into_iter().map(parent)).collect())
    }

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
