//! One room of an answer: its timeline, and the state that goes with it.

use std::collections::HashSet;

use ruma::events::TimelineEventType;
use ruma::{EventId, OwnedUserId, UserId};

use super::members::{MEMBER, Member, heroes, members_at, needed_senders};
use super::state::{Shown, StateChange, StateIds, changed_state, full_state};
use super::wanted::Wanted;
use super::windows::RoomWindow;

/// An event of the log, as far as it decides what is told.
pub trait Entry {
    fn event_id(&self) -> &EventId;
    fn stream_ordering(&self) -> i64;
    fn sender(&self) -> &UserId;
    fn event_type(&self) -> &TimelineEventType;
    fn state_key(&self) -> Option<&str>;
}

/// The latest events of a window: those of so many that the reader may see and wants.
#[derive(Debug)]
pub struct Excerpt<E> {
    /// Oldest first.
    pub events: Vec<E>,
    /// There may be older events in the window than those that were looked at.
    pub is_cut: bool,
    /// The oldest event that was looked at; `None` if none was.
    pub start: Option<i64>,
}

impl<E> Default for Excerpt<E> {
    fn default() -> Self {
        Self { events: Vec::new(), is_cut: false, start: None }
    }
}

/// What was read of a room for a sync.
#[derive(Debug)]
pub struct RoomLog<E> {
    pub window: RoomWindow,
    pub excerpt: Excerpt<E>,
    /// Changes of the state, oldest first: for a full window those since the start of the
    /// excerpt, else those in the window.
    pub changes: Vec<StateChange>,
    /// For a full window: the state after all changes. It may lack members if they are loaded
    /// lazily.
    pub base: StateIds,
    /// Of clients that load members lazily: at least those of who sent the excerpt's events.
    pub members: Vec<Member>,
    /// Whom a nameless room may be named after.
    pub heroes: Vec<Member>,
}

/// What is told of a room; its state events are still ids.
#[derive(Debug)]
pub struct RoomHistory<E> {
    pub window: RoomWindow,
    /// Oldest first.
    pub timeline: Vec<E>,
    /// There are events in the window before the timeline that the reader may see and wants, or
    /// the room is new to the client.
    pub limited: bool,
    /// Less is shown than is wanted, and there may be more: look farther back.
    pub is_short: bool,
    /// The place right before the timeline.
    pub prev_position: i64,
    pub state: StateIds,
    pub heroes: Vec<OwnedUserId>,
}

impl<E: Entry> RoomLog<E> {
    /// Puts a room together for a reader.
    pub fn tell(mut self, user_id: &UserId, wanted: &Wanted) -> RoomHistory<E> {
        let mut timeline = std::mem::take(&mut self.excerpt.events);
        if self.window.is_outsider() {
            timeline.retain(|entry| is_membership_of(entry, user_id));
        }
        let is_more = timeline.len() > wanted.limit;
        let is_short = self.excerpt.is_cut && !is_more && !self.window.is_outsider();
        timeline.drain(..timeline.len().saturating_sub(wanted.limit));
        let misleading = self.misleading(&timeline, wanted);
        timeline.drain(..misleading);
        let is_more = is_more || misleading > 0;
        let first = timeline.first().map(Entry::stream_ordering);
        let looked_at = self.excerpt.start.filter(|_| is_short && misleading == 0);
        let mut room = RoomHistory {
            limited: !wanted.blocks_timeline && (is_more || is_short || self.window.newly_joined),
            prev_position: first.or(looked_at).map_or(self.window.upto, |first| first - 1),
            timeline,
            is_short,
            state: StateIds::new(),
            heroes: heroes(&self.heroes),
            window: self.window.clone(),
        };
        room.state = room.state(self, user_id, wanted);
        room
    }

    /// How much of a timeline to leave out for a client that folds it: all up to the last state
    /// event that is not the state, as state resolution has turned it down, or what replaced it is
    /// none of the reader's. The client would take it for the state.
    fn misleading(&self, timeline: &[E], wanted: &Wanted) -> usize {
        if !wanted.folds_state() || !self.window.is_joined() {
            return 0;
        }
        let mut settled: HashSet<(&TimelineEventType, &str)> = HashSet::new();
        for (index, entry) in timeline.iter().enumerate().rev() {
            let Some(state_key) = entry.state_key() else { continue };
            if settled.insert((entry.event_type(), state_key)) && !self.is_in_force(entry) {
                return index + 1;
            }
        }
        0
    }

    /// Whether a state event is the state at the end of the window.
    fn is_in_force(&self, entry: &E) -> bool {
        let (event_type, state_key) = (entry.event_type().to_string(), entry.state_key());
        let is_of_key = |change: &&StateChange| {
            change.key.0 == event_type && Some(change.key.1.as_str()) == state_key
        };
        let changes = self.changes.iter().filter(|change| change.stream_id <= self.window.upto);
        match changes.rev().find(is_of_key) {
            Some(last) => last.event_id.as_deref() == Some(entry.event_id()),
            // A log from elsewhere may lack its old changes.
            None => self.base.values().any(|event_id| event_id == entry.event_id()),
        }
    }
}

fn is_membership_of(entry: &impl Entry, user_id: &UserId) -> bool {
    *entry.event_type() == TimelineEventType::RoomMember
        && entry.state_key() == Some(user_id.as_str())
}

impl<E: Entry> RoomHistory<E> {
    /// Whether who is in the room may have changed for the client.
    pub fn has_members(&self) -> bool {
        let is_member = |entry: &E| *entry.event_type() == TimelineEventType::RoomMember;
        self.timeline.iter().any(is_member)
            || (self.limited && self.state.keys().any(|(kind, _)| kind == MEMBER))
    }

    fn shown(&self, wanted: &Wanted) -> Shown {
        let upto = self.window.upto;
        if wanted.state_after {
            return Shown { start: upto + 1, upto, event_ids: HashSet::new() };
        }
        let start = self.timeline.first().map_or(upto + 1, Entry::stream_ordering);
        let event_ids = self.timeline.iter().map(|entry| entry.event_id().to_owned());
        Shown { start, upto, event_ids: event_ids.collect() }
    }

    fn state(&self, log: RoomLog<E>, user_id: &UserId, wanted: &Wanted) -> StateIds {
        if wanted.blocks_state || self.window.is_outsider() {
            return StateIds::new();
        }
        let shown = self.shown(wanted);
        // Of a room that was left the whole state is the base.
        let members = match wanted.lazy_members && self.window.is_joined() {
            true => members_at(log.members.iter().chain(&log.heroes), self.window.upto),
            false => StateIds::new(),
        };
        let mut needed = needed_senders(&self.timeline, !wanted.state_after);
        let mut state = if self.window.is_full {
            let mut base = log.base;
            base.extend(members);
            let mut state = full_state(base, &log.changes, &shown);
            if wanted.lazy_members {
                needed.insert(user_id.as_str());
                needed.extend(self.heroes.iter().map(|hero| hero.as_str()));
                state.retain(|key, _| key.0 != MEMBER || needed.contains(key.1.as_str()));
            }
            state
        } else {
            let mut state = full_state(members, &log.changes, &shown);
            state.retain(|key, _| key.0 == MEMBER && needed.contains(key.1.as_str()));
            state.extend(changed_state(&log.changes, &shown));
            state
        };
        wanted.retain_state(&mut state);
        state
    }
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
