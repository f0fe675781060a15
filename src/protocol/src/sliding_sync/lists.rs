//! Lists of rooms: who is in them, in which order, and which places a client looks at.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, UserId};

use super::request::{List, ListFilters, RoomConfig, SlidingSyncRequest};
use crate::sync::{RoomWindow, Section};

/// A room that a user has to do with, as far as lists look at it.
#[derive(Clone, Debug)]
pub struct UserRoom {
    pub room_id: OwnedRoomId,
    pub membership: String,
    /// Who made the membership what it is.
    pub sender: OwnedUserId,
    pub event_id: OwnedEventId,
    /// Of the membership.
    pub stream_ordering: i64,
    /// Of the latest join, of those who are out.
    pub joined_stream_ordering: Option<i64>,
    /// Whether the type and the encryption are known.
    pub has_known_state: bool,
    pub room_type: Option<String>,
    pub is_encrypted: bool,
    /// Of a joined room: its newest event.
    pub last_stream_ordering: Option<i64>,
    /// Of a joined room: the newest event that makes it recent.
    pub bump_stamp: Option<i64>,
}

/// All that decides which rooms are in a list.
#[derive(Debug)]
pub struct Rooms<'a> {
    pub user_id: &'a UserId,
    /// Up to where the client has been told; `None`: nothing.
    pub since: Option<i64>,
    pub rooms: &'a BTreeMap<OwnedRoomId, UserRoom>,
    /// Rooms in which the user writes to somebody.
    pub direct: &'a HashSet<OwnedRoomId>,
    pub tags: &'a HashMap<OwnedRoomId, HashSet<String>>,
    /// The rooms of the spaces that lists name, if the user has joined those.
    pub spaces: &'a HashMap<OwnedRoomId, HashSet<OwnedRoomId>>,
    /// Whose invitations the user does not want to see.
    pub ignored: &'a HashSet<OwnedUserId>,
}

/// The rooms that a request looks at.
#[derive(Debug, Default)]
pub struct View {
    pub lists: BTreeMap<String, ListView>,
    /// Rooms in the ranges of lists, and those subscribed to, with what is wanted of them.
    pub rooms: BTreeMap<OwnedRoomId, RoomConfig>,
    /// Every listed room is in a range, and will stay so until a membership changes.
    pub is_complete: bool,
}

/// What a request sees of one list.
#[derive(Debug, Default)]
pub struct ListView {
    /// How many rooms there are.
    pub count: usize,
    pub rooms: BTreeSet<OwnedRoomId>,
}

impl UserRoom {
    pub fn is_joined(&self) -> bool {
        self.membership == "join"
    }

    /// Left, banned or kicked.
    pub fn is_past(&self) -> bool {
        matches!(self.membership.as_str(), "leave" | "ban")
    }

    fn is_left_by_choice(&self, user_id: &UserId) -> bool {
        self.membership == "leave" && self.sender == user_id
    }

    /// Whoever has left a room by themselves is told so once; so is who was banned from a room that
    /// they were never in.
    fn is_told_once(&self, user_id: &UserId) -> bool {
        let is_stranger = self.membership == "ban" && self.joined_stream_ordering.is_none();
        is_stranger || self.is_left_by_choice(user_id)
    }

    /// The `bump_stamp`: how recent the room is to those who look at it.
    pub fn recency(&self) -> i64 {
        let bump_stamp = self.bump_stamp.filter(|_| self.is_joined());
        bump_stamp.unwrap_or(self.stream_ordering).max(0)
    }

    /// The place of the last that happened which the user sees. Lists are sorted by it: so
    /// whatever happens in a room is in sight of those who look at the first places.
    pub fn activity(&self) -> i64 {
        let last = self.last_stream_ordering.filter(|_| self.is_joined());
        last.unwrap_or(self.stream_ordering).max(self.stream_ordering)
    }

    /// Whether something has happened after a position that the user sees.
    pub fn has_moved(&self, since: i64) -> bool {
        self.activity() > since
    }

    /// The part of the room's stream after a position that the user sees; `None`: from its start.
    pub fn window(&self, user_id: &UserId, after: Option<i64>, upto: i64) -> RoomWindow {
        let section = match self.membership.as_str() {
            "join" => Section::Join,
            "invite" => Section::Invite(self.event_id.clone()),
            "knock" => Section::Knock(self.event_id.clone()),
            _ => Section::Leave {
                was_joined: self.joined_stream_ordering.is_some(),
                by_choice: self.is_left_by_choice(user_id),
            },
        };
        RoomWindow {
            room_id: self.room_id.clone(),
            upto: if self.is_past() { self.stream_ordering } else { upto },
            section,
            after: after.unwrap_or(0),
            is_full: after.is_none(),
            newly_joined: false,
            member_stream_ordering: self.stream_ordering,
            member_event_id: Some(self.event_id.clone()),
            joined_stream_ordering: self.joined_stream_ordering,
        }
    }
}

impl Rooms<'_> {
    /// The rooms that a request looks at.
    pub fn view(&self, request: &SlidingSyncRequest) -> View {
        let mut view = View { is_complete: true, ..View::default() };
        for (name, list) in &request.lists {
            let rooms = self.listed(&list.filters);
            view.is_complete &= self.is_complete(list, &rooms);
            let mut seen = ListView { count: rooms.len(), rooms: BTreeSet::new() };
            for room in list.ranges.iter().flat_map(|range| places(&rooms, *range)) {
                view.want(&room.room_id, list.wish.config(self.user_id.as_str()));
                seen.rooms.insert(room.room_id.clone());
            }
            view.lists.insert(name.clone(), seen);
        }
        self.add_subscriptions(request, &mut view);
        view
    }

    /// What a request whose last view was complete wants of these rooms, which have moved since:
    /// they are in the ranges of all lists that they are in. `counts` are those of the last view.
    pub fn view_moved(
        &self,
        request: &SlidingSyncRequest,
        counts: &BTreeMap<String, usize>,
    ) -> View {
        let mut view = View { is_complete: true, ..View::default() };
        for (name, list) in &request.lists {
            let rooms = self.listed(&list.filters);
            for room in &rooms {
                view.want(&room.room_id, list.wish.config(self.user_id.as_str()));
            }
            let rooms = rooms.into_iter().map(|room| room.room_id.clone()).collect();
            let count = counts.get(name).copied().unwrap_or_default();
            view.lists.insert(name.clone(), ListView { count, rooms });
        }
        self.add_subscriptions(request, &mut view);
        view
    }

    fn add_subscriptions(&self, request: &SlidingSyncRequest, view: &mut View) {
        for (room_id, wish) in &request.room_subscriptions {
            if self.rooms.contains_key(room_id) {
                view.want(room_id, wish.config(self.user_id.as_str()));
            }
        }
    }

    /// The rooms of a list, the most recent first.
    fn listed(&self, filters: &ListFilters) -> Vec<&UserRoom> {
        let rooms = self.rooms.values();
        let mut rooms: Vec<_> =
            rooms.filter(|room| self.is_listed(room) && self.matches(filters, room)).collect();
        rooms.sort_by_key(|room| (std::cmp::Reverse(room.activity()), room.room_id.clone()));
        rooms
    }

    fn is_listed(&self, room: &UserRoom) -> bool {
        let is_news = self.since.is_some_and(|since| room.stream_ordering > since);
        let is_ignored = room.membership == "invite" && self.ignored.contains(&room.sender);
        !is_ignored && (is_news || !room.is_told_once(self.user_id))
    }

    fn matches(&self, filters: &ListFilters, room: &UserRoom) -> bool {
        let is = |wanted: Option<bool>, is: bool| wanted.is_none_or(|wanted| wanted == is);
        let is_typed = filters.room_types.is_some() || filters.not_room_types.is_some();
        let is_unknown = (is_typed || filters.is_encrypted.is_some()) && !room.has_known_state;
        let has_type =
            |types: &Option<Vec<_>>| types.as_ref().map(|types| types.contains(&room.room_type));
        let tags = self.tags.get(&room.room_id);
        let has_tag = |wanted: &Option<Vec<String>>| {
            let has = |tag: &String| tags.is_some_and(|tags| tags.contains(tag));
            wanted.as_ref().map(|wanted| wanted.iter().any(has))
        };
        let is_in_space = |spaces: &Vec<OwnedRoomId>| {
            let mut children = spaces.iter().filter_map(|space_id| self.spaces.get(space_id));
            children.any(|children| children.contains(&room.room_id))
        };
        !is_unknown
            && filters.spaces.as_ref().is_none_or(is_in_space)
            && is(filters.is_dm, self.direct.contains(&room.room_id))
            && is(filters.is_encrypted, room.is_encrypted)
            && is(filters.is_invite, room.membership == "invite")
            && has_type(&filters.room_types).unwrap_or(true)
            && !has_type(&filters.not_room_types).unwrap_or(false)
            && has_tag(&filters.tags).unwrap_or(true)
            && !has_tag(&filters.not_tags).unwrap_or(false)
    }

    /// Whether one range holds all rooms, and only a membership changes which they are.
    fn is_complete(&self, list: &List, rooms: &[&UserRoom]) -> bool {
        let holds_all = |(start, end): &(u64, u64)| *start == 0 && *end + 1 >= rooms.len() as u64;
        list.filters.is_encrypted.is_none()
            && list.filters.spaces.is_none()
            && (rooms.is_empty() || list.ranges.iter().any(holds_all))
            && !rooms.iter().any(|room| room.is_told_once(self.user_id))
    }
}

/// The rooms at the places of a range.
fn places<'a, 'b>(rooms: &'b [&'a UserRoom], (start, end): (u64, u64)) -> &'b [&'a UserRoom] {
    let place = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(rooms.len());
    rooms.get(place(start)..place(end.saturating_add(1))).unwrap_or_default()
}

impl View {
    fn want(&mut self, room_id: &OwnedRoomId, config: RoomConfig) {
        let union = match self.rooms.get(room_id) {
            Some(known) => known.union(&config),
            None => config,
        };
        self.rooms.insert(room_id.clone(), union);
    }
}

#[cfg(test)]
#[path = "lists_tests.rs"]
mod tests;
