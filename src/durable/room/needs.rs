//! What commands need from the database before they can be decided.

use std::collections::HashMap;

use myelin_protocol::membership_change;
use myelin_protocol::pdu::Pdu;
use ruma::{OwnedRoomId, OwnedUserId};

use super::delayed::Standing;
use super::push::{Rules, WantedRules};
use super::{Room, related};
use crate::context::Context;
use crate::durable::{Delayed, RoomCommand};
use crate::error::ApiError;
use crate::storage::database::Results;
use crate::storage::delayed_events;
use crate::storage::rooms::{self, JoinedRoomRow, TargetRow};

/// By event, user, ...: what has been read.
#[derive(Default)]
pub struct Needs {
    pub targets: HashMap<ruma::OwnedEventId, Pdu>,
    /// By user: the rooms of the join rule's list that they are joined to.
    pub joined: HashMap<OwnedUserId, Vec<OwnedRoomId>>,
    pub rules: Rules,
    pub relations: related::Parents,
    pub standing: Standing,
}

impl Room {
    /// One batch, and only if a command needs one.
    pub(super) async fn load_needs(
        &self,
        context: &Context,
        commands: &[&RoomCommand],
    ) -> Result<Needs, ApiError> {
        let mut targets: Vec<&str> = Vec::new();
        let mut joins: Vec<(OwnedUserId, Vec<OwnedRoomId>)> = Vec::new();
        if let Some(loaded) = self.loaded.borrow().as_ref() {
            for command in commands {
                match command {
                    RoomCommand::Send(send) => {
                        targets.extend(send.event.redacts.as_ref().map(|id| id.as_str()));
                    }
                    RoomCommand::ChangeMembership(change) => {
                        let (action, target) = (change.action, &change.target);
                        let snapshot = &loaded.snapshot;
                        let rooms =
                            membership_change::allowed_rooms_to_check(snapshot, action, target);
                        joins.extend((!rooms.is_empty()).then(|| (target.clone(), rooms)));
                    }
                    _ => {}
                }
            }
        }
        let server_name = context.server_name();
        let rules = WantedRules::new(self.loaded.borrow().as_ref(), commands, server_name);
        let relations = related::Wanted::new(self.loaded.borrow().as_ref(), commands);
        let delayed = delayed_of(commands);
        if delayed.is_empty()
            && targets.is_empty()
            && joins.is_empty()
            && rules.is_empty()
            && relations.is_empty()
        {
            let relations = relations.read(&self.room_id, &[]);
            return Ok(Needs { relations, ..Needs::default() });
        }
        let mut batch = vec![rooms::select_targets(&targets), relations.statement()];
        batch.extend(
            joins.iter().map(|(user, rooms)| rooms::select_joined_among(user.as_str(), rooms)),
        );
        batch.extend(rules.statements(&self.room_id));
        batch.push(delayed_events::select_standing(&delayed).unless_empty(&delayed));
        let mut results = Results::new(context.batch(batch).await?);
        let mut needs = Needs::default();
        for row in results.rows::<TargetRow>()? {
            let loaded = self.loaded.borrow();
            if let Some(rules) = loaded.as_ref().map(|loaded| &loaded.snapshot.rules) {
                let event = Pdu::from_json(row.event_id, row.room_id, row.json, rules, false);
                let event = event.map_err(ApiError::internal)?;
                needs.targets.insert(event.event_id.clone(), event);
            }
        }
        needs.relations = relations.read(&self.room_id, &results.rows()?);
        for (user, _) in joins {
            let rows: Vec<JoinedRoomRow> = results.rows()?;
            needs.joined.insert(user, rows.into_iter().map(|row| row.room_id).collect());
        }
        needs.rules = rules.read(&mut results)?;
        needs.standing = Standing::new(results.rows()?);
        Ok(needs)
    }
}

/// The delayed events that commands send.
fn delayed_of<'a>(commands: &[&'a RoomCommand]) -> Vec<&'a Delayed> {
    let delayed = |command: &&'a RoomCommand| match command {
        RoomCommand::Send(send) => send.delayed.as_ref(),
        RoomCommand::ChangeMembership(change) => change.delayed.as_ref(),
        _ => None,
    };
    commands.iter().filter_map(delayed).collect()
}
