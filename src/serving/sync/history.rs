//! From what was read to what `protocol::sync` tells of each room.

use std::collections::{HashMap, HashSet};

use myelin_protocol::filter::pdu_matches;
use myelin_protocol::sync::{Entry, Excerpt, RoomHistory, RoomLog, RoomWindow, Wanted};
use ruma::events::TimelineEventType;
use ruma::{EventId, OwnedEventId, OwnedRoomId, UserId};

use super::reads::Contents;
use crate::serving::{Reader, StoredEvent, Timeline, VisibleEvent};
use crate::storage::events::ReaderRow;

impl Entry for VisibleEvent {
    fn event_id(&self) -> &EventId {
        &self.event.pdu.event_id
    }

    fn stream_ordering(&self) -> i64 {
        self.event.stream_ordering
    }

    fn sender(&self) -> &UserId {
        &self.event.pdu.sender
    }

    fn event_type(&self) -> &TimelineEventType {
        &self.event.pdu.event_type
    }

    fn state_key(&self) -> Option<&str> {
        self.event.pdu.state_key.as_deref()
    }
}

/// Puts the histories of a chunk's rooms together; their state events are still ids.
pub fn histories(
    windows: Vec<RoomWindow>,
    wanted: &Wanted,
    reader: &Reader,
    contents: &mut Contents,
) -> Vec<RoomHistory<VisibleEvent>> {
    // Whoever joins sees who is there, also those who came while they were away.
    let current = contents.current.values().flat_map(|state| state.values().cloned());
    // Whoever is out learns how.
    let gone = windows.iter().filter(|window| !window.is_joined());
    let known = current.chain(gone.filter_map(|window| window.member_event_id.clone())).collect();
    let mut excerpts = match contents.timeline.take() {
        Some(timeline) => {
            let windows: Vec<_> = windows.iter().map(|w| (w, wanted.read_limit())).collect();
            let wants = |event: &StoredEvent| pdu_matches(&wanted.timeline, &event.pdu);
            excerpts(timeline, &windows, wants, &known, reader)
        }
        None => HashMap::new(),
    };
    let tell = |window: RoomWindow| {
        let room_id = &window.room_id;
        let base = if window.is_joined() { &mut contents.current } else { &mut contents.left };
        let log = RoomLog {
            excerpt: excerpts.remove(room_id).unwrap_or_default(),
            changes: contents.changes.remove(room_id).unwrap_or_default(),
            base: base.remove(room_id).unwrap_or_default(),
            members: contents.members.remove(room_id).unwrap_or_default(),
            heroes: contents.heroes.remove(room_id).unwrap_or_default(),
            window,
        };
        log.tell(&reader.user_id, wanted)
    };
    windows.into_iter().map(tell).collect()
}

/// The latest events of windows, as far as the reader may see and wants them, and `known` ones.
/// With each window stands how many of its events were read at most.
pub fn excerpts(
    mut timeline: Timeline,
    windows: &[(&RoomWindow, usize)],
    wants: impl Fn(&StoredEvent) -> bool,
    known: &HashSet<OwnedEventId>,
    reader: &Reader,
) -> HashMap<OwnedRoomId, Excerpt<VisibleEvent>> {
    let mut excerpts: HashMap<OwnedRoomId, Excerpt<VisibleEvent>> = HashMap::new();
    for event in &timeline.events {
        let excerpt = excerpts.entry(event.pdu.room_id.clone()).or_default();
        excerpt.start = excerpt.start.or(Some(event.stream_ordering));
    }
    let counts = timeline.counts();
    for (window, read_limit) in windows {
        let count = counts.get(&window.room_id).copied().unwrap_or_default();
        let excerpt = excerpts.entry(window.room_id.clone()).or_default();
        excerpt.is_cut = count > 0 && count >= *read_limit;
    }
    timeline.events.retain(wants);
    let rooms = readers(windows.iter().map(|(window, _)| *window));
    for visible in timeline.visible_or_known(reader, &rooms, known) {
        excerpts.entry(visible.event.pdu.room_id.clone()).or_default().events.push(visible);
    }
    excerpts
}

/// What rooms are for the reader at the end of their windows.
pub fn readers<'a>(
    windows: impl IntoIterator<Item = &'a RoomWindow>,
) -> HashMap<OwnedRoomId, ReaderRow> {
    let windows = windows.into_iter();
    windows.map(|window| (window.room_id.clone(), reader_row(window))).collect()
}

/// What a room is for the reader at the end of its window.
fn reader_row(window: &RoomWindow) -> ReaderRow {
    let membership = if window.is_joined() { "join" } else { "leave" };
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

/// State events that have not been read yet.
pub fn missing<'a>(
    room: &'a RoomHistory<VisibleEvent>,
    contents: &'a Contents,
) -> impl Iterator<Item = OwnedEventId> + 'a {
    room.state.values().filter(|id| !contents.events.contains_key(*id)).cloned()
}
