//! A room's log in memory, with forks: each event has the state of its own branch, and each
//! position what changed then in the current state.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ruma::api::client::filter::{FilterDefinition, RoomEventFilter};
use ruma::events::TimelineEventType;
use ruma::room_version_rules::RoomVersionRules;
use ruma::{EventId, OwnedEventId, OwnedRoomId, UserId};
use serde_json::{Value, json};

use super::members::MEMBER;
use super::{
    Entry, Excerpt, JoinedRoom, Member, Membership, MembershipChange, RoomHistory, RoomLog,
    RoomWindow, Section, StateChange, StateIds, StateKey, Wanted, Windows,
};
use crate::filter::{SyncRelations, pdu_matches};
use crate::pdu::Pdu;
use crate::room_state::membership;
use crate::visibility::{StateAtEvent, can_see_event};

pub const VISIBILITY: &str = "m.room.history_visibility";

/// What is sent, before it has a place.
#[derive(Clone, Debug)]
pub struct Draft {
    pub sender: String,
    pub event_type: String,
    pub state_key: Option<String>,
    pub content: Value,
    /// Which side wins where the history forks.
    pub rank: i64,
}

pub struct Event {
    pub pdu: Pdu,
    pub position: i64,
    rank: i64,
    /// The state of its branch after the event, by place in the log.
    state: BTreeMap<StateKey, usize>,
    replaced: Option<usize>,
}

#[derive(Default)]
pub struct TestLog {
    pub events: Vec<Event>,
    pub changes: Vec<StateChange>,
    extremities: BTreeSet<usize>,
    current: BTreeMap<StateKey, usize>,
}

impl Entry for &Event {
    fn event_id(&self) -> &EventId {
        &self.pdu.event_id
    }

    fn stream_ordering(&self) -> i64 {
        self.position
    }

    fn sender(&self) -> &UserId {
        &self.pdu.sender
    }

    fn event_type(&self) -> &TimelineEventType {
        &self.pdu.event_type
    }

    fn state_key(&self) -> Option<&str> {
        self.pdu.state_key.as_deref()
    }
}

fn room_id() -> OwnedRoomId {
    "!room:one.test".try_into().unwrap()
}

pub fn key(event_type: &str, state_key: &str) -> StateKey {
    (event_type.to_owned(), state_key.to_owned())
}

impl TestLog {
    /// Appends an event after all that there is or, if `back` says so, after an older one.
    pub fn send(&mut self, draft: &Draft, back: usize) -> OwnedEventId {
        let place = self.events.len();
        let prev: BTreeSet<usize> = match back {
            0 => self.extremities.clone(),
            back => [place.saturating_sub(back + 1)].into(),
        };
        let mut state = self.resolve(&prev);
        let own = draft.state_key.as_ref().map(|state_key| key(&draft.event_type, state_key));
        let replaced = own.and_then(|own| state.insert(own, place));
        let event_id: OwnedEventId = format!("${place}").try_into().unwrap();
        let mut json = json!({
            "type": draft.event_type, "sender": draft.sender, "room_id": room_id(), "depth": 1,
            "content": draft.content, "origin_server_ts": 1, "prev_events": [], "auth_events": [],
        });
        if let Some(state_key) = &draft.state_key {
            json["state_key"] = json!(state_key);
        }
        let (rules, json) = (RoomVersionRules::V1, json.to_string());
        let pdu = Pdu::from_json(event_id.clone(), room_id(), json, &rules, false).unwrap();
        let position = place as i64 + 1;
        self.events.push(Event { pdu, position, rank: draft.rank, state, replaced });
        self.extremities.retain(|extremity| !prev.contains(extremity));
        self.extremities.insert(place);
        self.set_current(self.resolve(&self.extremities), position);
        event_id
    }

    /// Of every entry in which branches differ the one of the highest rank.
    fn resolve(&self, branches: &BTreeSet<usize>) -> BTreeMap<StateKey, usize> {
        let mut resolved: BTreeMap<StateKey, usize> = BTreeMap::new();
        for branch in branches {
            for (key, place) in &self.events[*branch].state {
                let of = |place: &usize| (self.events[*place].rank, *place);
                let known = resolved.entry(key.clone()).or_insert(*place);
                *known = std::cmp::max_by_key(*known, *place, of);
            }
        }
        resolved
    }

    fn set_current(&mut self, current: BTreeMap<StateKey, usize>, stream_id: i64) {
        for (key, place) in &current {
            let before = self.current.get(key).copied();
            if before != Some(*place) {
                self.changes.push(StateChange {
                    stream_id,
                    key: key.clone(),
                    event_id: Some(self.id(*place)),
                    prev_event_id: before.map(|before| self.id(before)),
                });
            }
        }
        self.current = current;
    }

    fn id(&self, place: usize) -> OwnedEventId {
        self.events[place].pdu.event_id.clone()
    }

    pub fn last(&self) -> i64 {
        self.events.len() as i64
    }

    pub fn event(&self, event_id: &EventId) -> &Event {
        self.events.iter().find(|event| event.pdu.event_id == *event_id).unwrap()
    }

    /// The current state as it was at a position.
    pub fn state_at(&self, position: i64) -> StateIds {
        let changes = self.changes.iter().filter(|change| change.stream_id <= position);
        changes.map(|c| (c.key.clone(), c.event_id.clone().unwrap())).collect()
    }

    fn content(&self, event_id: &EventId, field: &str) -> String {
        let content: Value = serde_json::from_str(self.event(event_id).pdu.content.get()).unwrap();
        content[field].as_str().unwrap_or_default().to_owned()
    }

    pub fn membership_at(&self, user_id: &UserId, position: i64) -> Option<String> {
        let state = self.state_at(position);
        let event_id = state.get(&key(MEMBER, user_id.as_str()))?;
        Some(self.content(event_id, "membership"))
    }

    /// The changes of a user's membership, with the membership before the first.
    fn memberships(&self, user_id: &UserId, after: i64, upto: i64) -> Vec<MembershipChange> {
        let key = key(MEMBER, user_id.as_str());
        let changes = self.changes.iter().filter(|c| c.key == key);
        let changes = changes.filter(|c| c.stream_id > after && c.stream_id <= upto);
        let membership_before = self.membership_at(user_id, after);
        let change = |change: &StateChange| {
            let event_id = change.event_id.clone().unwrap();
            MembershipChange {
                room_id: room_id(),
                sender: self.event(&event_id).pdu.sender.clone(),
                membership: self.content(&event_id, "membership"),
                stream_ordering: change.stream_id,
                membership_before: membership_before.clone(),
                event_id,
            }
        };
        changes.map(change).collect()
    }

    /// The window of a sync.
    pub fn window(
        &self,
        user_id: &UserId,
        since: Option<i64>,
        upto: i64,
        full_state: bool,
    ) -> Option<RoomWindow> {
        let ignored = HashSet::new();
        let windows = Windows { user_id, since, upto, ignored: &ignored };
        let all = self.memberships(user_id, 0, upto);
        let last = all.last()?.clone();
        let mut found = match since {
            Some(since) => {
                let is_moved = last.membership == "join" && upto > since;
                let member_stream_ordering = last.stream_ordering;
                let joined = JoinedRoom { room_id: room_id(), member_stream_ordering };
                let changes = self.memberships(user_id, since, upto);
                windows.of_changes(is_moved.then_some(joined).into_iter().collect(), changes)
            }
            None => BTreeMap::new(),
        };
        if since.is_none() || full_state {
            let joins = all.iter().filter(|change| change.membership == "join");
            let membership = Membership {
                room_id: room_id(),
                event_id: last.event_id,
                sender: Some(last.sender),
                membership: last.membership,
                stream_ordering: last.stream_ordering,
                forgotten: false,
                joined_stream_ordering: joins.map(|change| change.stream_ordering).max(),
            };
            windows.add_all(&mut found, vec![membership]);
        }
        found.into_values().next()
    }

    /// Whether a user in whose view the room is as in a window may see an event.
    pub fn can_see(&self, user_id: &UserId, window: &RoomWindow, event: &Event) -> bool {
        let at = |key: &StateKey| event.state.get(key).map(|place| &self.events[*place].pdu);
        let replaced = event.replaced.map(|place| &*self.events[place].pdu.content);
        let state = StateAtEvent {
            history_visibility: at(&key(VISIBILITY, "")),
            member: at(&key(MEMBER, user_id.as_str())),
            prev_content: replaced,
        };
        let joined_since = window.is_joined()
            || window.joined_stream_ordering.is_some_and(|join| join > event.position);
        can_see_event(user_id, &event.pdu, state, joined_since)
    }

    /// What the reader may see and wants of a part of the log.
    pub fn visible<'a>(
        &'a self,
        user_id: &'a UserId,
        window: &'a RoomWindow,
        filter: &'a RoomEventFilter,
    ) -> impl Iterator<Item = &'a Event> {
        let wanted = self.events.iter().filter(|event| pdu_matches(filter, &event.pdu));
        wanted.filter(|event| self.can_see(user_id, window, event))
    }

    /// What a sync tells whose second look is taken when the log has gone on to `now`.
    pub fn tell(
        &self,
        user_id: &UserId,
        window: RoomWindow,
        wanted: &Wanted,
        now: i64,
    ) -> RoomHistory<&Event> {
        let read = self.events.iter();
        let read = read.filter(|event| event.position > window.after);
        let mut read: Vec<&Event> = read.filter(|event| event.position <= window.upto).collect();
        read.drain(..read.len().saturating_sub(wanted.read_limit()));
        let start = read.first().map(|event| event.position);
        let is_cut = read.len() >= wanted.read_limit() && !wanted.blocks_timeline;
        read.retain(|event| pdu_matches(&wanted.timeline, &event.pdu));
        read.retain(|event| self.can_see(user_id, &window, event));
        let senders: BTreeSet<_> = read.iter().map(|event| event.pdu.sender.as_str()).collect();
        let upto = if window.is_joined() { now } else { window.upto };
        let after = match window.is_full {
            true => start.map_or(window.upto, |start| start - 1),
            false => window.after,
        };
        let changes = self.changes.iter().filter(|c| c.stream_id > after && c.stream_id <= upto);
        let base = self.state_at(upto);
        let member = |(key, event_id): (&StateKey, &OwnedEventId)| {
            let event = self.event(event_id);
            Member {
                user_id: key.1.as_str().try_into().unwrap(),
                event_id: event_id.clone(),
                stream_ordering: event.position,
                membership: membership(Some(&event.pdu)),
                replaces: event.replaced.map(|place| self.id(place)),
            }
        };
        let members = base.iter().filter(|(key, _)| {
            key.0 == MEMBER && (senders.contains(key.1.as_str()) || key.1 == user_id.as_str())
        });
        let log = RoomLog {
            excerpt: Excerpt { events: read, is_cut, start },
            changes: changes.cloned().collect(),
            members: members.map(member).collect(),
            heroes: Vec::new(),
            base,
            window,
        };
        let room = log.tell(user_id, wanted);
        match wanted.farther() {
            Some(wanted) if room.is_short => self.tell(user_id, room.window, &wanted, now),
            _ => room,
        }
    }
}

/// A request for timelines of some length.
pub fn wanted(limit: usize, state_after: bool) -> Wanted {
    let mut filter = FilterDefinition::default();
    filter.room.timeline.limit = Some((limit as u32).into());
    Wanted::new(filter, SyncRelations::default(), state_after)
}

pub fn section_name(section: &Section) -> &'static str {
    match section {
        Section::Join => "join",
        Section::Leave { .. } => "leave",
        Section::Invite(_) => "invite",
        Section::Knock(_) => "knock",
    }
}
