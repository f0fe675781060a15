//! Memberships for clients that load them lazily: those of who speaks in the timeline, told again
//! with each timeline; and those whom a nameless room is named after.
//!
//! Spec: <https://spec.matrix.org/latest/client-server-api/#lazy-loading-room-members>

use std::collections::BTreeSet;

use ruma::events::TimelineEventType;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedEventId, OwnedUserId};

use super::room::Entry;
use super::state::StateIds;

pub const MEMBER: &str = "m.room.member";

/// A present membership.
#[derive(Clone, Debug)]
pub struct Member {
    pub user_id: OwnedUserId,
    pub event_id: OwnedEventId,
    pub stream_ordering: i64,
    pub membership: MembershipState,
    /// The membership event that this one replaced.
    pub replaces: Option<OwnedEventId>,
}

/// The first others in a room; who has left only if nobody is there.
pub fn heroes(members: &[Member]) -> Vec<OwnedUserId> {
    let is_there = |member: &Member| {
        matches!(member.membership, MembershipState::Join | MembershipState::Invite)
    };
    let somebody_is_there = members.iter().any(is_there);
    let heroes = members.iter().filter(|member| is_there(member) || !somebody_is_there);
    let mut heroes: Vec<_> = heroes.map(|member| member.user_id.clone()).collect();
    heroes.sort();
    heroes
}

/// Memberships as they were at `upto`: one that came after counts as what it replaced.
pub fn members_at<'a>(members: impl Iterator<Item = &'a Member>, upto: i64) -> StateIds {
    let entry = |member: &Member| {
        let event_id = match member.stream_ordering > upto {
            true => member.replaces.clone()?,
            false => member.event_id.clone(),
        };
        Some(((MEMBER.to_owned(), member.user_id.to_string()), event_id))
    };
    members.filter_map(entry).collect()
}

/// Senders whose membership the timeline does not tell before they say something; to whom it tells
/// no state, `folds` is false, all of them.
pub fn needed_senders<E: Entry>(timeline: &[E], folds: bool) -> BTreeSet<&str> {
    let mut told: BTreeSet<&str> = BTreeSet::new();
    let mut needed: BTreeSet<&str> = BTreeSet::new();
    for entry in timeline {
        if folds
            && *entry.event_type() == TimelineEventType::RoomMember
            && let Some(state_key) = entry.state_key()
        {
            told.insert(state_key);
        }
        if !told.contains(entry.sender().as_str()) {
            needed.insert(entry.sender().as_str());
        }
    }
    needed
}
