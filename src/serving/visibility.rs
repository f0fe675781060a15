//! Who may see an event: the history visibility and the reader's membership AT the event.
//!
//! Spec: Client-Server API, "Room History Visibility"; boundaries count as the laxer side.

use std::collections::HashMap;

use ruma::OwnedEventId;

use crate::storage::events::VisibilityRow;

/// What the state after an event says for one reader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateForReader {
    /// `None`: the room does not say.
    pub history_visibility: Option<String>,
    pub member_event_id: Option<OwnedEventId>,
    /// `None`: never in the room.
    pub membership: Option<String>,
}

/// [`StateForReader`] of state groups.
#[derive(Default)]
pub struct GroupStates {
    groups: HashMap<i64, Group>,
}

#[derive(Default)]
struct Group {
    parent: Option<i64>,
    visibility: Option<Option<String>>,
    member: Option<(OwnedEventId, Option<String>)>,
}

impl GroupStates {
    pub fn new(rows: Vec<VisibilityRow>) -> Self {
        let group = |row: VisibilityRow| Group {
            parent: row.prev_state_group,
            visibility: row.visibility_event_id.map(|_| row.history_visibility),
            member: row.member_event_id.map(|event_id| (event_id, row.membership)),
        };
        Self { groups: rows.into_iter().map(|row| (row.state_group, group(row))).collect() }
    }

    /// The state of a group: on the way to the root the nearest group that sets an entry counts.
    pub fn of(&self, state_group: i64) -> StateForReader {
        let (mut visibility, mut member) = (None, None);
        let mut next = Some(state_group);
        // A chain is never longer than the groups that were read.
        for _ in 0..self.groups.len() {
            let Some(group) = next.and_then(|id| self.groups.get(&id)) else { break };
            visibility = visibility.or(group.visibility.as_ref());
            member = member.or(group.member.as_ref());
            if visibility.is_some() && member.is_some() {
                break;
            }
            next = group.parent;
        }
        StateForReader {
            history_visibility: visibility.cloned().flatten(),
            member_event_id: member.map(|(event_id, _)| event_id.clone()),
            membership: member.and_then(|(_, membership)| membership.clone()),
        }
    }
}

/// An event at which somebody looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sighting<'a> {
    /// The history visibility after the event, and before it if the event has changed it.
    pub visibility: Option<&'a str>,
    pub visibility_before: Option<&'a str>,
    /// The reader's membership after the event, and before it if the event has changed it.
    pub membership: Option<&'a str>,
    pub membership_before: Option<&'a str>,
    pub is_own_membership: bool,
    /// Whether the reader is in the room now, or joined it after the event.
    pub joined_later: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    Hidden,
    /// Visible to somebody who was not in the room at the event.
    FromOutside,
    FromInside,
}

/// Laxest first.
const VISIBILITIES: [&str; 4] = ["world_readable", "shared", "invited", "joined"];
/// Most joined first.
const MEMBERSHIPS: [&str; 5] = ["join", "invite", "knock", "leave", "ban"];

impl Sighting<'_> {
    pub fn decide(&self) -> Sight {
        let left = self.is_own_membership && self.membership == Some("leave");
        if left && matches!(self.membership_before, Some("join" | "invite")) {
            return Sight::FromOutside;
        }
        let membership = rank(&MEMBERSHIPS, self.membership, 3);
        let before = rank(&MEMBERSHIPS, self.membership_before, 3);
        let most_joined = if self.is_own_membership { membership.min(before) } else { membership };
        if MEMBERSHIPS[most_joined] == "join" {
            return Sight::FromInside;
        }
        let visibility = rank(&VISIBILITIES, self.visibility, 1);
        let laxer = match self.visibility_before {
            Some(before) => visibility.min(rank(&VISIBILITIES, Some(before), 1)),
            None => visibility,
        };
        let visible = match VISIBILITIES[laxer] {
            "world_readable" => true,
            "shared" => self.joined_later,
            "invited" => MEMBERSHIPS[most_joined] == "invite",
            _ => false,
        };
        if visible { Sight::FromOutside } else { Sight::Hidden }
    }
}

fn rank(known: &[&str], value: Option<&str>, default: usize) -> usize {
    value.and_then(|value| known.iter().position(|k| *k == value)).unwrap_or(default)
}
