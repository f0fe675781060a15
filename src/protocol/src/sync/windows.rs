//! Which rooms a sync tells of, in which section, and which part of each one's stream is new.

use std::collections::{BTreeMap, HashSet};

use ruma::api::client::filter::RoomFilter;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, UserId};
use serde::Deserialize;

use crate::filter::room_matches;

/// Where an answer has a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Section {
    Join,
    Leave {
        /// Whether the user was in the room at any time of the window.
        was_joined: bool,
        /// Nobody else made the user leave.
        by_choice: bool,
    },
    Invite(OwnedEventId),
    Knock(OwnedEventId),
}

/// A room of an answer, and which part of its stream is new: after `after`, up to and with
/// `upto`.
#[derive(Clone, Debug)]
pub struct RoomWindow {
    pub room_id: OwnedRoomId,
    pub section: Section,
    pub after: i64,
    pub upto: i64,
    /// The client does not have the room, or wants all of its state again.
    pub is_full: bool,
    /// The room is new to a client that has synced before.
    pub newly_joined: bool,
    /// The user's latest membership event: after it, a joined user sees everything.
    pub member_stream_ordering: i64,
    pub member_event_id: Option<OwnedEventId>,
    pub joined_stream_ordering: Option<i64>,
}

/// A room that the user is joined to, in which something has happened.
#[derive(Clone, Debug, Deserialize)]
pub struct JoinedRoom {
    pub room_id: OwnedRoomId,
    /// Of the user's present membership event.
    pub member_stream_ordering: i64,
}

/// A change of the user's membership in a room.
#[derive(Clone, Debug, Deserialize)]
pub struct MembershipChange {
    pub room_id: OwnedRoomId,
    pub event_id: OwnedEventId,
    pub sender: OwnedUserId,
    pub membership: String,
    pub stream_ordering: i64,
    /// The user's membership where the window begins.
    pub membership_before: Option<String>,
}

/// Where a user is.
#[derive(Clone, Debug)]
pub struct Membership {
    pub room_id: OwnedRoomId,
    pub event_id: OwnedEventId,
    pub sender: Option<OwnedUserId>,
    pub membership: String,
    pub stream_ordering: i64,
    pub forgotten: bool,
    /// Of the latest join, of those who are out.
    pub joined_stream_ordering: Option<i64>,
}

/// Which positions are told of: after `since`, up to and with `upto`.
#[derive(Clone, Copy, Debug)]
pub struct Windows<'a> {
    pub user_id: &'a UserId,
    /// `None`: the client has nothing.
    pub since: Option<i64>,
    pub upto: i64,
    /// Whose invitations the user does not want to see.
    pub ignored: &'a HashSet<OwnedUserId>,
}

pub type RoomWindows = BTreeMap<OwnedRoomId, RoomWindow>;

impl RoomWindow {
    /// A joined room that the client has.
    pub fn joined(room: JoinedRoom, after: i64, upto: i64) -> Self {
        Self {
            room_id: room.room_id,
            section: Section::Join,
            after,
            upto,
            is_full: false,
            newly_joined: false,
            member_stream_ordering: room.member_stream_ordering,
            member_event_id: None,
            joined_stream_ordering: None,
        }
    }

    pub fn is_joined(&self) -> bool {
        self.section == Section::Join
    }

    /// Whether the user was never in the room: then it is none of theirs to see.
    pub fn is_outsider(&self) -> bool {
        matches!(self.section, Section::Leave { was_joined: false, .. })
    }

    /// Whether a filter wants the room. A first sync has those that were left only if it says so.
    pub fn is_wanted(&self, filter: &RoomFilter, is_initial: bool) -> bool {
        let is_past = matches!(self.section, Section::Leave { by_choice: true, .. });
        room_matches(filter, &self.room_id) && (!is_past || !is_initial || filter.include_leave)
    }

    /// The part in which events are judged by the state at them; `None` if there is none. What
    /// came after the user joined is theirs.
    pub fn judged_upto(&self) -> Option<i64> {
        let upto = match self.is_joined() {
            true => self.upto.min(self.member_stream_ordering),
            false => self.upto,
        };
        (upto > self.after).then_some(upto)
    }
}

impl Windows<'_> {
    /// The rooms in which something has happened: those that the user is in and that have
    /// `moved`, and those in which the user's membership has changed, by all changes in any order.
    pub fn of_changes(
        &self,
        moved: Vec<JoinedRoom>,
        changes: Vec<MembershipChange>,
    ) -> RoomWindows {
        let since = self.since.unwrap_or(0);
        let moved = moved.into_iter().map(|room| RoomWindow::joined(room, since, self.upto));
        let mut windows: RoomWindows =
            moved.map(|window| (window.room_id.clone(), window)).collect();
        let mut by_room: BTreeMap<OwnedRoomId, Vec<MembershipChange>> = BTreeMap::new();
        for change in changes {
            by_room.entry(change.room_id.clone()).or_default().push(change);
        }
        for (room_id, mut changes) in by_room {
            changes.sort_by_key(|change| change.stream_ordering);
            if let Some(window) = self.changed(&changes) {
                windows.insert(room_id, window);
            }
        }
        windows
    }

    /// Adds all rooms of a first sync; where there is a `since`, all joined ones, whole.
    pub fn add_all(&self, windows: &mut RoomWindows, memberships: Vec<Membership>) {
        for membership in memberships {
            if let Some(mut window) = self.whole(membership) {
                let known = windows.get(&window.room_id);
                window.newly_joined = known.is_some_and(|known| known.newly_joined);
                windows.insert(window.room_id.clone(), window);
            }
        }
    }

    /// Adds the invitations among these: of those whose senders were ignored until now, the client
    /// has not been told.
    pub fn add_invitations(&self, windows: &mut RoomWindows, memberships: Vec<Membership>) {
        let first = Self { since: None, ..*self };
        let invitations = memberships.into_iter().filter(|of| of.membership == "invite");
        for window in invitations.filter_map(|of| first.whole(of)) {
            windows.entry(window.room_id.clone()).or_insert(window);
        }
    }

    fn whole(&self, of: Membership) -> Option<RoomWindow> {
        let joined = JoinedRoom { room_id: of.room_id, member_stream_ordering: of.stream_ordering };
        let mut window = RoomWindow::joined(joined, self.since.unwrap_or(0), self.upto);
        window.is_full = true;
        window.member_event_id = Some(of.event_id.clone());
        window.joined_stream_ordering = of.joined_stream_ordering;
        let is_new = self.since.is_none();
        let is_ignored = of.sender.as_ref().is_some_and(|sender| self.ignored.contains(sender));
        let is_own = of.sender.as_deref() == Some(self.user_id);
        window.section = match of.membership.as_str() {
            "join" => Section::Join,
            "invite" if is_new && !is_ignored => Section::Invite(of.event_id),
            "knock" if is_new => Section::Knock(of.event_id),
            "leave" | "ban" if is_new && !of.forgotten => {
                window.upto = of.stream_ordering;
                let was_joined = of.joined_stream_ordering.is_some();
                let by_choice = of.membership == "leave" && is_own;
                Section::Leave { was_joined, by_choice }
            }
            _ => return None,
        };
        Some(window)
    }

    /// The window of a room by all changes of the user's membership in it, oldest first.
    fn changed(&self, changes: &[MembershipChange]) -> Option<RoomWindow> {
        let last = changes.last()?;
        let was_joined = last.membership_before.as_deref() == Some("join");
        let joins = changes.iter().filter(|change| change.membership == "join");
        let joined_stream_ordering = joins.map(|change| change.stream_ordering).max();
        // Whoever was out in between, or was not in before, has to be told of the room anew.
        let first_out = changes.iter().position(|change| change.membership != "join");
        let rejoined = first_out
            .is_some_and(|first| changes.iter().skip(first).any(|c| c.membership == "join"));
        let newly_joined = joined_stream_ordering.is_some() && (!was_joined || rejoined);
        let joined = JoinedRoom {
            room_id: last.room_id.clone(),
            member_stream_ordering: last.stream_ordering,
        };
        let mut window = RoomWindow::joined(joined, self.since.unwrap_or(0), self.upto);
        window.member_event_id = Some(last.event_id.clone());
        window.joined_stream_ordering = joined_stream_ordering;
        window.newly_joined = newly_joined;
        window.is_full = newly_joined;
        match last.membership.as_str() {
            "join" => {}
            "invite" if self.ignored.contains(&last.sender) => return None,
            "invite" => window.section = Section::Invite(last.event_id.clone()),
            "knock" => window.section = Section::Knock(last.event_id.clone()),
            _ => {
                let was_joined = was_joined || joined_stream_ordering.is_some();
                window.section = Section::Leave { was_joined, by_choice: false };
                window.upto = last.stream_ordering;
            }
        }
        if newly_joined {
            // Its history is as new to the client as what came since.
            window.after = 0;
        }
        Some(window)
    }
}

#[cfg(test)]
#[path = "windows_tests.rs"]
mod tests;
