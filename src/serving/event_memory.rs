//! Events that this isolate has read before, so that they need not be read again.
//!
//! Invariant: an event never changes, and nothing is kept that is more than the event: none that
//! was redacted, that will expire, or whose sender asked for erasure. Whether something has
//! befallen it since is looked up each time, by the statement that would have read it.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use myelin_protocol::self_destruction::self_destructs_ms;
use ruma::events::TimelineEventType;
use ruma::{OwnedEventId, OwnedRoomId};

use super::{StoredEvent, Timeline};
use crate::context::Context;
use crate::storage::event_pages::StreamWindow;
use crate::storage::events::HeldIds;

/// What is kept of all rooms, in bytes of about [`size_of_event`]; an isolate has 128 MB.
const BYTES_MAX: usize = 16 << 20;

/// What is kept of one room, of its messages, its members and its other state each: what is
/// wanted of it is mostly the latest.
const KIND_BYTES_MAX: usize = 512 << 10;

/// Of how many events of a room it is asked whether they are as they were: of its state, and of
/// its members.
const STATE_EVENTS_MAX: usize = 100;

/// Events by their ids.
pub type HeldEvents = HashMap<OwnedEventId, StoredEvent>;

/// What is remembered of rooms that are read.
#[derive(Debug, Default)]
pub struct Held {
    /// Of their timelines.
    pub latest: HeldEvents,
    pub state: HeldEvents,
    /// Those who sent `latest`.
    pub members: HeldEvents,
}

/// Events by their rooms; those of rooms that were not asked for are forgotten first.
#[derive(Default)]
pub struct EventMemory {
    rooms: HashMap<OwnedRoomId, RoomMemory>,
    bytes: usize,
    uses: u64,
}

#[derive(Default)]
struct RoomMemory {
    messages: Events,
    members: Events,
    state: Events,
    last_use: u64,
}

/// Events by their places in the stream.
#[derive(Default)]
struct Events {
    by_place: BTreeMap<i64, StoredEvent>,
    bytes: usize,
}

impl EventMemory {
    /// What the isolate remembers.
    pub fn of_isolate(context: &Context) -> Rc<RefCell<Self>> {
        let mut memo = context.isolate.memo.borrow_mut();
        let entry =
            memo.entry("event_memory").or_insert_with(|| Rc::new(RefCell::new(Self::default())));
        entry.clone().downcast().unwrap_or_default()
    }

    /// The latest `limit` events of windows, of those that are remembered.
    pub fn latest(&mut self, windows: &[StreamWindow], limit: usize) -> HeldEvents {
        let mut held = HeldEvents::new();
        for window in windows {
            let Some(room) = self.room(&window.room_id) else { continue };
            let latest = |events: &Events| {
                let events = events.by_place.range(..=window.upto).rev().take(limit);
                let inside = events.filter(|(place, _)| **place > window.after);
                inside.map(|(_, event)| event.clone()).collect::<Vec<_>>()
            };
            let kinds = [&room.messages, &room.members, &room.state];
            let mut events = kinds.map(latest).concat();
            events.sort_by_key(|event| std::cmp::Reverse(event.stream_ordering));
            held.extend(events.iter().take(limit).map(by_id));
        }
        held
    }

    /// State events of rooms that are wanted, in force or not, apart from memberships.
    pub fn state<'a>(
        &mut self,
        room_ids: impl IntoIterator<Item = &'a OwnedRoomId>,
        is_wanted: impl Fn(&StoredEvent) -> bool,
    ) -> HeldEvents {
        self.of_rooms(room_ids, |room| &room.state, is_wanted)
    }

    /// Memberships in rooms that are wanted, in force or not.
    pub fn members<'a>(
        &mut self,
        room_ids: impl IntoIterator<Item = &'a OwnedRoomId>,
        is_wanted: impl Fn(&StoredEvent) -> bool,
    ) -> HeldEvents {
        self.of_rooms(room_ids, |room| &room.members, is_wanted)
    }

    /// Memberships in rooms of those who sent any of these events.
    pub fn members_of_senders<'a>(
        &mut self,
        room_ids: impl IntoIterator<Item = &'a OwnedRoomId>,
        events: &HeldEvents,
    ) -> HeldEvents {
        let senders: HashSet<&str> =
            events.values().map(|event| event.pdu.sender.as_str()).collect();
        let is_of_sender = |event: &StoredEvent| {
            event.pdu.state_key.as_deref().is_some_and(|member| senders.contains(member))
        };
        self.members(room_ids, is_of_sender)
    }

    fn of_rooms<'a>(
        &mut self,
        room_ids: impl IntoIterator<Item = &'a OwnedRoomId>,
        kind: impl Fn(&RoomMemory) -> &Events,
        is_wanted: impl Fn(&StoredEvent) -> bool,
    ) -> HeldEvents {
        let mut held = HeldEvents::new();
        for room_id in room_ids {
            let Some(room) = self.room(room_id) else { continue };
            let wanted = kind(room).by_place.values().rev().filter(|event| is_wanted(event));
            held.extend(wanted.take(STATE_EVENTS_MAX).map(by_id));
        }
        held
    }

    /// Remembers what may be remembered of what a chunk of rooms has brought.
    pub fn keep_contents(&mut self, timeline: Option<&Timeline>, events: &HeldEvents) {
        let timeline = timeline.into_iter().flat_map(|timeline| &timeline.events);
        self.keep(timeline.chain(events.values()));
    }

    /// Remembers what may be remembered.
    pub fn keep<'a>(&mut self, events: impl IntoIterator<Item = &'a StoredEvent>) {
        for event in events {
            if is_no_more_than_itself(event) {
                self.keep_one(event);
            }
        }
        self.forget_rooms();
    }

    fn keep_one(&mut self, event: &StoredEvent) {
        self.uses += 1;
        let room = self.rooms.entry(event.pdu.room_id.clone()).or_default();
        room.last_use = self.uses;
        let events = match event.pdu.event_type {
            _ if !event.is_state() => &mut room.messages,
            TimelineEventType::RoomMember => &mut room.members,
            _ => &mut room.state,
        };
        let before = events.bytes;
        events.keep(event);
        self.bytes = self.bytes + events.bytes - before;
    }

    /// Forgets the rooms that were not asked for the longest, until there is room for others.
    fn forget_rooms(&mut self) {
        if self.bytes <= BYTES_MAX {
            return;
        }
        let mut rooms: Vec<_> =
            self.rooms.iter().map(|(room_id, room)| (room.last_use, room_id.clone())).collect();
        rooms.sort();
        for (_, room_id) in rooms {
            if self.bytes <= BYTES_MAX / 4 * 3 {
                return;
            }
            self.bytes -= self.rooms.remove(&room_id).map_or(0, |room| room.bytes());
        }
    }

    fn room(&mut self, room_id: &OwnedRoomId) -> Option<&RoomMemory> {
        self.uses += 1;
        let room = self.rooms.get_mut(room_id)?;
        room.last_use = self.uses;
        Some(room)
    }
}

impl RoomMemory {
    fn bytes(&self) -> usize {
        self.messages.bytes + self.members.bytes + self.state.bytes
    }
}

impl Events {
    /// Keeps an event, and forgets the oldest ones that leave no room for it.
    fn keep(&mut self, event: &StoredEvent) {
        let place = event.stream_ordering;
        if self.by_place.get(&place).is_some_and(|old| old.pdu.event_id == event.pdu.event_id) {
            return;
        }
        self.bytes += size_of_event(event);
        let event = StoredEvent { aggregations: None, ..event.clone() };
        let replaced = self.by_place.insert(place, event);
        self.bytes -= replaced.map_or(0, |event| size_of_event(&event));
        while self.bytes > KIND_BYTES_MAX {
            let Some((_, oldest)) = self.by_place.pop_first() else { return };
            self.bytes -= size_of_event(&oldest);
        }
    }
}

/// The ids of events, and of what they replaced.
pub fn ids(held: &HeldEvents) -> HeldIds<'_> {
    let replaced = held.values().map(|event| Some(&event.replaced.as_ref()?.event_id));
    held.keys().zip(replaced).collect()
}

fn by_id(event: &StoredEvent) -> (OwnedEventId, StoredEvent) {
    (event.pdu.event_id.clone(), event.clone())
}

/// Whether nothing but the event itself decides how it is served.
fn is_no_more_than_itself(event: &StoredEvent) -> bool {
    event.redaction.is_none()
        && !event.sender_erased
        && !event.outlier
        && self_destructs_ms(&event.pdu).is_none()
}

/// An estimate, in bytes: the content is kept twice.
fn size_of_event(event: &StoredEvent) -> usize {
    1_000 + event.pdu.json.get().len() + event.pdu.content.get().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::events::EventRow;
    use ruma::RoomId;

    fn event(room_id: &RoomId, stream_ordering: i64, state_key: Option<&str>) -> StoredEvent {
        let content = serde_json::json!({ "body": "a".repeat(30_000) });
        let mut json = serde_json::json!({
            "type": "a", "sender": "@a:b", "room_id": room_id, "depth": 1, "content": content,
            "origin_server_ts": 1, "prev_events": [], "auth_events": [],
        });
        if let Some(state_key) = state_key {
            json["state_key"] = state_key.into();
        }
        StoredEvent::read(EventRow {
            event_id: format!("${stream_ordering}").try_into().unwrap(),
            room_id: room_id.to_owned(),
            stream_ordering,
            topological_ordering: stream_ordering,
            room_version: Some("10".to_owned()),
            json: json.to_string(),
            internal_metadata: "{}".to_owned(),
            outlier: false,
            rejected: false,
            state_group: None,
            sender_erased: false,
            redaction_id: None,
            redaction_json: None,
            replaced_id: None,
            replaced_json: None,
            replaced_redacted: false,
        })
        .unwrap()
    }

    fn window(room_id: &RoomId, after: i64, upto: i64) -> [StreamWindow; 1] {
        [StreamWindow { room_id: room_id.to_owned(), after, upto }]
    }

    fn places(held: &HeldEvents) -> Vec<i64> {
        let mut places: Vec<i64> = held.values().map(|event| event.stream_ordering).collect();
        places.sort_unstable();
        places
    }

    #[test]
    fn the_latest_of_a_window_are_found_and_the_state_of_a_room() {
        let room_id = RoomId::parse("!a:b").unwrap();
        let mut memory = EventMemory::default();
        let events = (1..=9).map(|place| event(&room_id, place, (place < 4).then_some("")));
        memory.keep(&events.collect::<Vec<_>>());
        assert_eq!(places(&memory.latest(&window(&room_id, 0, 8), 2)), [7, 8]);
        assert_eq!(places(&memory.latest(&window(&room_id, 0, 5), 3)), [3, 4, 5]);
        assert_eq!(places(&memory.latest(&window(&room_id, 3, 7), 20)), [4, 5, 6, 7]);
        assert_eq!(places(&memory.state([&room_id], |_| true)), [1, 2, 3]);
        assert_eq!(places(&memory.state([&room_id], |event| event.stream_ordering < 2)), [1]);
        assert!(memory.members([&room_id], |_| true).is_empty());
        let other = RoomId::parse("!c:b").unwrap();
        assert!(memory.latest(&window(&other, 0, 9), 9).is_empty());
    }

    #[test]
    fn what_something_has_befallen_is_not_kept() {
        let room_id = RoomId::parse("!a:b").unwrap();
        let mut memory = EventMemory::default();
        let redaction = Some(event(&room_id, 9, None).pdu);
        memory.keep(&[
            StoredEvent { redaction, ..event(&room_id, 1, None) },
            StoredEvent { sender_erased: true, ..event(&room_id, 2, None) },
            StoredEvent { outlier: true, ..event(&room_id, 3, None) },
        ]);
        assert!(memory.latest(&window(&room_id, 0, 9), 9).is_empty());
    }

    #[test]
    fn no_room_and_no_number_of_rooms_takes_more_than_its_share() {
        let room = |index: usize| RoomId::parse(format!("!{index}:b")).unwrap();
        let mut memory = EventMemory::default();
        for place in 1..=30 {
            memory.keep(&[event(&room(0), place, None)]);
            assert!(memory.bytes <= KIND_BYTES_MAX);
        }
        assert_eq!(places(&memory.latest(&window(&room(0), 0, 30), 3)), [28, 29, 30]);
        for index in 1..400 {
            memory.keep(&[event(&room(index), 1, None)]);
            assert!(memory.bytes <= BYTES_MAX);
            assert!(!memory.latest(&window(&room(0), 0, 30), 1).is_empty(), "it is asked for");
        }
        assert!(memory.latest(&window(&room(1), 0, 30), 1).is_empty(), "it was not");
        let sizes: usize = memory.rooms.values().map(RoomMemory::bytes).sum();
        assert_eq!(sizes, memory.bytes);
    }
}
