//! The history of one room in an answer: its timeline, and the state that goes with it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use myelin_protocol::filter::{Filterable, pdu_matches, room_event_matches};
use myelin_protocol::room_state::membership;
use ruma::api::client::filter::RoomEventFilter;
use ruma::events::TimelineEventType;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, UserId};

use super::changes::{RoomWindow, Section};
use super::reads::{Contents, Wanted};
use super::state::{Shown, StateIds, StateKey, changed_state, full_state};
use crate::serving::{Reader, StoredEvent, VisibleEvent};
use crate::storage::events::ReaderRow;

const MEMBER: &str = "m.room.member";

/// What is known of one room before its state events have been read.
pub struct RoomHistory {
    pub window: RoomWindow,
    pub timeline: Vec<VisibleEvent>,
    pub limited: bool,
    /// Less is shown than is wanted, and there may be more that the reader sees.
    pub is_short: bool,
    /// The place right before the timeline; after it, if it holds all of the room.
    pub prev_stream: i64,
    pub state: StateIds,
    /// Whom a nameless room is named after.
    pub heroes: Vec<OwnedUserId>,
}

/// Puts the histories of a chunk's rooms together; their state events are still ids.
pub fn histories(
    windows: Vec<RoomWindow>,
    wanted: &Wanted,
    reader: &Reader,
    contents: &mut Contents,
) -> Vec<RoomHistory> {
    let (mut timelines, counts) = visible_timelines(&windows, wanted, reader, contents);
    let build = |window: RoomWindow| {
        let timeline = timelines.remove(&window.room_id).unwrap_or_default();
        let count = counts.get(&window.room_id).copied().unwrap_or_default();
        let is_short = count > wanted.reach && timeline.len() < wanted.limit;
        let limited = !wanted.blocks_timeline && (count > wanted.limit || window.newly_joined);
        let first = timeline.first().map(|visible| visible.event.stream_ordering);
        // Nothing is older than a timeline that holds all of the room. As with Synapse, going
        // back from there repeats it: clients that have shown nothing of it yet count on that.
        // Not where the timeline is said to be cut short: then they do go back.
        let is_all = window.after == 0 && count <= wanted.limit && !limited;
        let mut room = RoomHistory {
            prev_stream: first.filter(|_| !is_all).map_or(window.upto, |first| first - 1),
            timeline,
            limited,
            is_short,
            window,
            state: StateIds::new(),
            heroes: Vec::new(),
        };
        room.add_heroes(contents);
        room.state = room.state(wanted, &reader.user_id, contents);
        room
    };
    windows.into_iter().map(build).collect()
}

type Timelines = HashMap<OwnedRoomId, Vec<VisibleEvent>>;

/// The latest events of each room, and how many there were to choose from.
fn visible_timelines(
    windows: &[RoomWindow],
    wanted: &Wanted,
    reader: &Reader,
    contents: &mut Contents,
) -> (Timelines, HashMap<OwnedRoomId, usize>) {
    let Some(mut timeline) = contents.timeline.take() else {
        return (HashMap::new(), HashMap::new());
    };
    let counts = timeline.counts();
    let mut surplus: HashMap<OwnedRoomId, usize> = counts
        .iter()
        .map(|(room_id, count)| (room_id.clone(), count.saturating_sub(wanted.reach)))
        .collect();
    timeline.events.retain(|event| match surplus.get_mut(&event.pdu.room_id) {
        Some(left) if *left > 0 => {
            *left -= 1;
            false
        }
        _ => pdu_matches(&wanted.filter.room.timeline, &event.pdu),
    });
    let rooms = windows.iter().map(|window| (window.room_id.clone(), reader_row(window)));
    let mut timelines = Timelines::new();
    // Whoever joins sees who is there, also those who came while they were away.
    let known: HashSet<OwnedEventId> =
        contents.current.values().flat_map(|state| state.values().cloned()).collect();
    for visible in timeline.visible_or_known(reader, &rooms.collect(), &known) {
        if is_for_outsider(windows, &visible, &reader.user_id) {
            timelines.entry(visible.event.pdu.room_id.clone()).or_default().push(visible);
        }
    }
    for timeline in timelines.values_mut() {
        timeline.drain(..timeline.len().saturating_sub(wanted.limit));
    }
    (timelines, counts)
}

/// Who was never in a room sees of it what concerns them.
fn is_for_outsider(windows: &[RoomWindow], visible: &VisibleEvent, user_id: &UserId) -> bool {
    let room_id = &visible.event.pdu.room_id;
    let window = windows.iter().find(|window| window.room_id == *room_id);
    !window.is_some_and(RoomWindow::is_outsider)
        || visible.event.is_state_of(&TimelineEventType::RoomMember, user_id.as_str())
}

/// What a room is for the reader at the end of its window.
fn reader_row(window: &RoomWindow) -> ReaderRow {
    let membership = if window.section == Section::Join { "join" } else { "leave" };
    ReaderRow {
        room_id: window.room_id.clone(),
        room_version: None,
        membership: Some(membership.to_owned()),
        member_event_id: window.member_event_id.clone(),
        member_stream_ordering: Some(window.member_stream_ordering),
        member_topological_ordering: None,
        member_state_group: None,
        forgotten: false,
        joined_stream_ordering: window.joined_stream_ordering,
        history_visibility: None,
    }
}

impl RoomHistory {
    /// Whether who is in the room may have changed for the client.
    pub fn has_members(&self) -> bool {
        let in_timeline = self
            .timeline
            .iter()
            .any(|visible| visible.event.pdu.event_type == TimelineEventType::RoomMember);
        in_timeline || (self.limited && self.state.keys().any(|(kind, _)| kind == MEMBER))
    }

    fn shown(&self, wanted: &Wanted) -> Shown {
        let upto = self.window.upto;
        if wanted.state_after {
            return Shown { start: upto + 1, upto, event_ids: HashSet::new() };
        }
        let first = self.timeline.first().map(|visible| visible.event.stream_ordering);
        let event_ids = self.timeline.iter().map(|visible| visible.event.pdu.event_id.clone());
        Shown { start: first.unwrap_or(upto + 1), upto, event_ids: event_ids.collect() }
    }

    fn state(&self, wanted: &Wanted, user_id: &UserId, contents: &Contents) -> StateIds {
        if wanted.blocks_state || self.window.is_outsider() {
            return StateIds::new();
        }
        let room_id = &self.window.room_id;
        let is_joined = self.window.section == Section::Join;
        let changes = contents.changes.get(room_id).map(Vec::as_slice).unwrap_or_default();
        let shown = self.shown(wanted);
        let lazy = wanted.lazy_members && is_joined;
        let members = if lazy { self.lazy_members(contents) } else { StateIds::new() };
        let mut state = if self.window.is_full {
            let all = if is_joined { &contents.current } else { &contents.left };
            let mut base = all.get(room_id).cloned().unwrap_or_default();
            base.extend(members);
            full_state(base, changes, &shown)
        } else {
            let mut state = full_state(members, changes, &shown);
            let needed = self.needed_members();
            state.retain(|key, _| key.0 == MEMBER && needed.contains(key.1.as_str()));
            state.extend(changed_state(changes, &shown));
            state
        };
        if lazy && self.window.is_full {
            let mut needed = self.needed_members();
            needed.insert(user_id.as_str());
            needed.extend(self.heroes.iter().map(|hero| hero.as_str()));
            state.retain(|key, _| key.0 != MEMBER || needed.contains(key.1.as_str()));
        }
        let types = types_only(&wanted.filter.room.state);
        state.retain(|key, _| is_wanted(&types, key));
        state
    }

    /// Senders whose membership the timeline does not tell before they say something.
    fn needed_members(&self) -> BTreeSet<&str> {
        let mut told: BTreeSet<&str> = BTreeSet::new();
        let mut needed: BTreeSet<&str> = BTreeSet::new();
        for VisibleEvent { event, .. } in &self.timeline {
            if event.pdu.event_type == TimelineEventType::RoomMember
                && let Some(state_key) = &event.pdu.state_key
            {
                told.insert(state_key);
            }
            if !told.contains(event.pdu.sender.as_str()) {
                needed.insert(event.pdu.sender.as_str());
            }
        }
        needed
    }

    /// The memberships that came along: of senders, of the user and of those whom the room is
    /// named after. One that came after the window counts as what it replaced.
    fn lazy_members(&self, contents: &Contents) -> StateIds {
        let room_id = &self.window.room_id;
        let ids = contents.members.get(room_id).into_iter().flatten();
        let ids = ids.chain(contents.heroes.get(room_id).into_iter().flatten());
        let events = ids.filter_map(|event_id| contents.events.get(event_id));
        let entry = |event: &StoredEvent| {
            let state_key = event.pdu.state_key.clone()?;
            let event_id = match event.stream_ordering > self.window.upto {
                true => event.replaced.as_ref()?.event_id.clone(),
                false => event.pdu.event_id.clone(),
            };
            Some(((MEMBER.to_owned(), state_key), event_id))
        };
        events.filter_map(entry).collect::<BTreeMap<_, _>>()
    }

    /// The first others in the room; who has left only if nobody is there.
    fn add_heroes(&mut self, contents: &Contents) {
        let ids = contents.heroes.get(&self.window.room_id).into_iter().flatten();
        let events = ids.filter_map(|event_id| contents.events.get(event_id));
        let member = |event: &StoredEvent| {
            let user_id: OwnedUserId = event.pdu.state_key.as_deref()?.try_into().ok()?;
            let membership = membership(Some(&event.pdu));
            Some((user_id, matches!(membership, MembershipState::Join | MembershipState::Invite)))
        };
        let members: Vec<_> = events.filter_map(member).collect();
        let somebody_is_there = members.iter().any(|(_, is_there)| *is_there);
        let heroes = members.into_iter().filter(|(_, is_there)| *is_there || !somebody_is_there);
        self.heroes = heroes.map(|(user_id, _)| user_id).collect();
        self.heroes.sort();
    }

    /// State events that have not been read yet.
    pub fn missing<'a>(
        &'a self,
        contents: &'a Contents,
    ) -> impl Iterator<Item = OwnedEventId> + 'a {
        self.state.values().filter(|id| !contents.events.contains_key(*id)).cloned()
    }
}

/// A filter's types, without what only the event itself tells.
fn types_only(filter: &RoomEventFilter) -> RoomEventFilter {
    let mut types = RoomEventFilter::empty();
    types.types.clone_from(&filter.types);
    types.not_types.clone_from(&filter.not_types);
    types
}

fn is_wanted(types: &RoomEventFilter, key: &StateKey) -> bool {
    let event = Filterable { event_type: &key.0, sender: None, room_id: None, content: None };
    // Aliases in this form were anybody's to set, and cannot be redacted.
    key.0 != "m.room.aliases" && room_event_matches(types, event)
}
