//! Which rooms are told of now, from where on, and what is remembered of it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

use ruma::OwnedRoomId;

use super::connection::{Connection, MEMBERS_MAX, Sent, SentRoom};
use super::lists::{Rooms, UserRoom, View};
use super::request::RoomConfig;
use super::required_state::RequiredState;
use crate::sync::members::MEMBER;
use crate::sync::{RoomWindow, StateIds, StateKey};

/// A room that is told of.
#[derive(Clone, Debug)]
pub struct RoomPlan {
    pub room: UserRoom,
    /// What is new of it; of a room that is new to the client, everything.
    pub window: RoomWindow,
    /// What the client wants now.
    pub config: RoomConfig,
    /// What it has; `None` if the room is new to it.
    pub known: Option<SentRoom>,
}

/// What is wanted of a room's state beyond what has changed.
#[derive(Debug, Default)]
pub struct RoomState<'a> {
    /// What has changed since the client was told; of a room that is new to it, nothing.
    pub changed: StateIds,
    /// What is in force of [`RoomPlan::looked_up`].
    pub base: StateIds,
    /// The memberships of those whom the timeline is about.
    pub members: StateIds,
    /// Whom the timeline is about.
    pub told_of: BTreeSet<&'a str>,
    /// Whether events are left out before the timeline.
    pub is_limited: bool,
}

/// The rooms to tell of, the most recent first: those that the request looks at and of which the
/// client lacks something. At most so many if there is a limit; the rest is for the next time.
pub fn plan(
    rooms: &Rooms<'_>,
    view: &View,
    connection: &Connection,
    newly_joined: &HashSet<OwnedRoomId>,
    upto: i64,
    rooms_max: Option<usize>,
) -> Vec<RoomPlan> {
    let plan = |(room_id, config): (&OwnedRoomId, &RoomConfig)| {
        let room = rooms.rooms.get(room_id)?;
        let known = rooms.since.and_then(|since| {
            let known = connection.room(room_id);
            let after = known.events.after(since).filter(|_| !newly_joined.contains(room_id))?;
            Some((known, after))
        });
        let has_all = |(known, since): (&SentRoom, i64)| {
            known.events == Sent::Live && !room.has_moved(since) && !config.is_beyond(&known.config)
        };
        if known
            .as_ref()
            .zip(rooms.since)
            .is_some_and(|((known, _), since)| has_all((known, since)))
        {
            return None;
        }
        let after = known.as_ref().map(|(_, after)| *after);
        Some(RoomPlan {
            window: room.window(rooms.user_id, after, upto),
            config: config.clone(),
            known: known.map(|(known, _)| known),
            room: room.clone(),
        })
    };
    let mut plans: Vec<RoomPlan> = view.rooms.iter().filter_map(plan).collect();
    plans.sort_by_key(|plan| std::cmp::Reverse(plan.room.activity()));
    plans.truncate(rooms_max.unwrap_or(usize::MAX));
    plans
}

/// Remembers what is not told now though it has happened.
pub fn miss(
    rooms: &Rooms<'_>,
    connection: &mut Connection,
    newly_joined: &HashSet<OwnedRoomId>,
    told: &HashSet<OwnedRoomId>,
) {
    let Some(since) = rooms.since else { return };
    for (room_id, sent) in &mut connection.rooms {
        let moved = rooms.rooms.get(room_id).is_some_and(|room| room.has_moved(since));
        if !moved || told.contains(room_id) {
            continue;
        }
        sent.events.miss(since);
        if newly_joined.contains(room_id) {
            // What the client has is of the time before: it is told anew.
            *sent = SentRoom { receipts: sent.receipts, ..SentRoom::default() };
        }
    }
}

impl RoomPlan {
    pub fn is_initial(&self) -> bool {
        self.known.is_none()
    }

    /// More of the history is wanted than the client has been sent.
    pub fn is_expanded(&self) -> bool {
        let known = self.known.as_ref();
        known.is_some_and(|known| known.config.timeline_limit < self.config.timeline_limit)
    }

    /// Where the timeline may begin.
    pub fn timeline_after(&self) -> i64 {
        if self.is_expanded() { 0 } else { self.window.after }
    }

    /// Invited, or knocking: seen from outside.
    pub fn is_from_outside(&self) -> bool {
        !self.room.is_joined() && !self.room.is_past()
    }

    /// Which state is looked up, changed or not.
    pub fn looked_up(&self) -> RequiredState {
        match &self.known {
            None => self.config.required_state.clone(),
            Some(known) => self.config.required_state.beyond(&known.config.required_state),
        }
    }

    /// The state that is told, and what the client has afterwards.
    pub fn tell(&self, state: RoomState<'_>) -> (StateIds, SentRoom) {
        let wanted = &self.config.required_state;
        let is_lazy = wanted.is_lazy();
        let known = self.known.clone().unwrap_or_default();
        let has_changed = |key: &StateKey| state.changed.contains_key(key);
        // A client that has seen all changes of members knows all of them if it once did.
        let all_members = is_lazy && !state.is_limited && !self.is_initial();
        let told_of = |key: &StateKey| key.0 == MEMBER && state.told_of.contains(key.1.as_str());
        let mut told: StateIds =
            state.base.into_iter().filter(|(key, _)| wanted.wants(key)).collect();
        for (key, event_id) in &state.changed {
            let is_member = key.0 == MEMBER && is_lazy && (all_members || told_of(key));
            if is_member || wanted.wants(key) {
                told.insert(key.clone(), event_id.clone());
            }
        }
        let mut members = known.members;
        members.retain(|user| !has_changed(&(MEMBER.to_owned(), user.to_string())));
        if is_lazy {
            for (key, event_id) in state.members {
                let has_it = members.contains(key.1.as_str())
                    || (known.config.required_state.wants(&key) && !has_changed(&key));
                if !has_it && state.told_of.contains(key.1.as_str()) {
                    told.entry(key).or_insert(event_id);
                }
            }
            let lazily = told.keys().filter(|key| key.0 == MEMBER && !wanted.wants(key));
            members.extend(lazily.map(|key| Rc::from(key.1.as_str())));
        }
        forget_surplus(&mut members, &state.told_of);
        let before = &known.config.required_state;
        let config = RoomConfig {
            required_state: wanted.with_unchanged(before, has_changed),
            timeline_limit: self.limit_sent(&known.config, state.is_limited),
        };
        let config = if *known.config == config { known.config } else { Rc::new(config) };
        (told, SentRoom { events: Sent::Live, config, members, ..known })
    }

    /// How much of the history the client has, at least. If it has no gap, what it was sent
    /// before counts as well. Whoever wants no timeline has one wherever something has happened.
    fn limit_sent(&self, known: &RoomConfig, is_limited: bool) -> usize {
        let limit = self.config.timeline_limit;
        let has_moved = self.room.has_moved(self.window.after);
        if is_limited || (limit == 0 && has_moved) {
            limit
        } else {
            limit.max(known.timeline_limit)
        }
    }
}

/// Who is forgotten is sent again.
fn forget_surplus(members: &mut BTreeSet<Rc<str>>, told_of: &BTreeSet<&str>) {
    if members.len() > MEMBERS_MAX {
        members.retain(|user| told_of.contains(&**user));
    }
    while members.len() > MEMBERS_MAX {
        members.pop_last();
    }
}

/// Adds what this answer has told of rooms to a connection.
pub fn remember(connection: &mut Connection, told: BTreeMap<OwnedRoomId, SentRoom>) {
    for (room_id, room) in told {
        let known = connection.rooms.entry(room_id).or_default();
        // Extensions keep their own account.
        let (receipts, account_data) = (known.receipts, known.account_data);
        *known = SentRoom { receipts, account_data, ..room };
    }
}

/// Whom a timeline is about: those who speak, and those whose membership it tells of.
pub fn told_of<'a, E: crate::sync::Entry + 'a>(
    timeline: impl IntoIterator<Item = &'a E>,
) -> BTreeSet<&'a str> {
    let mut users = BTreeSet::new();
    for entry in timeline {
        users.insert(entry.sender().as_str());
        if entry.event_type().to_string() == MEMBER {
            users.extend(entry.state_key());
        }
    }
    users
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
