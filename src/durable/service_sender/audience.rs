//! Which services an event concerns: those whose namespaces have its room, an alias of it, the
//! sender, whose membership it sets, or a member of the room.

use std::collections::{HashMap, HashSet};

use myelin_protocol::application_service::ApplicationService;
use ruma::{OwnedRoomId, OwnedUserId};

use super::look::Look;
use crate::context::Context;
use crate::error::ApiError;
use crate::outbound::application_services as outbound;
use crate::storage::application_services::{self as storage, AliasRow, MemberRow};
use crate::storage::application_services::{NewEventRow, NewTransaction};
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::users::{self, UserRow};

/// Rooms of which is remembered which services have a member in them.
const ROOMS_MAX: usize = 10_000;

/// The ids of services.
type Services = HashSet<String>;

#[derive(Default)]
pub struct Audience {
    /// By room, who has a member in it.
    of_members: HashMap<OwnedRoomId, Services>,
    /// By room, who has an alias of it: as of this step.
    of_aliases: HashMap<OwnedRoomId, Services>,
}

impl Audience {
    /// Three statements, for [`Audience::learn`].
    pub fn statements(&mut self, context: &Context, look: &Look) -> [Statement; 3] {
        let ghosts = ghosts(context, &look.new);
        for event in &look.new {
            // Who is in the room for a service may have changed.
            let of_service = |member: &str| ghosts.iter().any(|ghost| ghost == member);
            if event.member.as_deref().is_some_and(of_service) {
                self.of_members.remove(&event.room_id);
            }
        }
        if self.of_members.len() >= ROOMS_MAX {
            self.of_members.clear();
        }
        let mut rooms: Vec<OwnedRoomId> = look.new.iter().map(|e| e.room_id.clone()).collect();
        rooms.sort();
        rooms.dedup();
        let is_unknown = |room: &&OwnedRoomId| !self.of_members.contains_key(*room);
        let unknown: Vec<OwnedRoomId> = rooms.iter().filter(is_unknown).cloned().collect();
        let members = storage::select_members(&unknown);
        self.of_members.extend(unknown.into_iter().map(|room| (room, Services::new())));
        self.of_aliases.clear();
        let existing = users::select(&ghosts).unless_empty(&ghosts);
        [storage::select_aliases(&rooms), members, existing]
    }

    /// Takes the results; asks services for users of theirs who do not exist yet.
    pub async fn learn(
        &mut self,
        context: &Context,
        look: &Look,
        results: &mut Results,
    ) -> Result<(), ApiError> {
        self.note(context, results).inspect_err(|_| self.of_members.clear())?;
        let existing: Vec<UserRow> = results.rows()?;
        let mut missing = ghosts(context, &look.new);
        missing.retain(|ghost| existing.iter().all(|row| row.name != *ghost));
        for user_id in missing {
            for service in context.services_that_listen().filter(|one| one.has_user(&user_id)) {
                let path = ["users", user_id.as_str()];
                if outbound::ask(context, &service, &path, &[]).await.is_some() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, context: &Context, results: &mut Results) -> Result<(), DatabaseError> {
        let aliases: Vec<AliasRow> = results.rows()?;
        let members: Vec<MemberRow> = results.rows()?;
        for service in context.services_that_listen() {
            for row in aliases.iter().filter(|row| service.has_alias(&row.room_alias)) {
                let services = self.of_aliases.entry(row.room_id.clone()).or_default();
                services.insert(service.id.clone());
            }
            for row in members.iter().filter(|row| service.has_user(&row.user_id)) {
                let services = self.of_members.entry(row.room_id.clone()).or_default();
                services.insert(service.id.clone());
            }
        }
        Ok(())
    }

    /// What is written of the new events: who is to be told of which.
    pub fn transactions(&self, context: &Context, look: &Look) -> Vec<Statement> {
        let Some(last) = look.new.last() else { return Vec::new() };
        let of_service = |service: std::rc::Rc<ApplicationService>| {
            let events = look.new.iter().filter(|event| self.concerns(&service, event));
            let event_ids: Vec<_> = events.map(|event| event.event_id.clone()).collect();
            let is_told = !event_ids.is_empty();
            is_told.then(|| NewTransaction { as_id: service.id.clone(), event_ids })
        };
        let new: Vec<_> = context.services_that_listen().filter_map(of_service).collect();
        storage::insert(&new, look.from, last.stream_ordering)
    }

    fn concerns(&self, service: &ApplicationService, event: &NewEventRow) -> bool {
        let has = |rooms: &HashMap<OwnedRoomId, Services>| {
            rooms.get(&event.room_id).is_some_and(|services| services.contains(&service.id))
        };
        service.has_user(&event.sender)
            || member(event).is_some_and(|member| service.has_user(&member))
            || service.has_room(&event.room_id)
            || has(&self.of_members)
            || has(&self.of_aliases)
    }
}

fn member(event: &NewEventRow) -> Option<OwnedUserId> {
    event.member.as_deref()?.try_into().ok()
}

/// Users of ours, and of a service, whose membership the events set.
fn ghosts(context: &Context, events: &[NewEventRow]) -> Vec<OwnedUserId> {
    let is_ghost = |user_id: &OwnedUserId| {
        let mut services = context.services_that_listen();
        user_id.server_name() == context.server_name()
            && services.any(|service| service.has_user(user_id))
    };
    let mut ghosts: Vec<OwnedUserId> = events.iter().filter_map(member).filter(is_ghost).collect();
    ghosts.sort();
    ghosts.dedup();
    ghosts
}
