//! From rows of the log to events as one reader sees them.
//!
//! How it is used, by everything that serves events:
//! 1. Say which events: a [`Selection`] of `storage::event_pages` or `storage::state_groups`
//!    (events of any number of rooms).
//! 2. Put [`timeline`]`(selection, reader)` (three statements) or [`state`]`(selection)` (one) into
//!    a batch. `reader` is a user id or, in the batch that authenticates, the access token.
//!    `events::readers` and `events::ignored_users` go into the same batch.
//! 3. [`Timeline::read`] or [`read_state`] takes their results.
//! 4. [`Timeline::visible`] drops what the reader may not see; [`aggregations::add`] reads what
//!    relates to the rest; [`Reader::format`] writes it.
//!
//! Invariant: nothing of a timeline leaves without [`Timeline::visible`]. State is served without
//! a check of its own: whoever may see a place of the timeline may see the state there, and
//! [`RoomAccess`] says which state that is.

pub mod aggregations;
pub mod device_keys;
pub mod event_memory;
pub mod expiry;
mod group_states;
pub mod legacy;
mod room_access;
pub mod room_summary;
pub mod search;
pub mod sliding;
mod stored_event;
pub mod sync;

use std::collections::{HashMap, HashSet};

use myelin_protocol::client_event::{EventFormat, EventFormatter, UnsignedExtras};
use myelin_protocol::redaction::redact;
use myelin_protocol::room_state::membership;
use myelin_protocol::self_destruction::self_destructs_ms;
use myelin_protocol::visibility::{StateAtEvent, can_see_event, is_never_shown};
use ruma::events::TimelineEventType;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedUserId};
use serde_json::value::RawValue;

use event_memory::HeldEvents;
pub use room_access::RoomAccess;
pub use stored_event::{InternalMetadata, Replaced, StoredEvent};

use crate::log;
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::events::{self, EventRow, ReaderRow, Selection, ServedRow};
use crate::storage::relations;
use group_states::GroupStates;

/// Who reads.
#[derive(Clone, Debug)]
pub struct Reader {
    pub user_id: OwnedUserId,
    pub device_id: Option<OwnedDeviceId>,
    /// Whose messages the reader does not want to see.
    pub ignored: HashSet<OwnedUserId>,
}

/// Three statements: the events, what decides who sees them, and what relates to them.
pub fn timeline(selection: Selection, user_or_token: &str) -> [Statement; 3] {
    let related = relations::aggregations(selection.clone(), user_or_token);
    let [served, visibility] = judged(selection, user_or_token);
    [served, visibility, related]
}

/// The first two of them, for events with which nothing else is shown.
pub fn judged(selection: Selection, user_or_token: &str) -> [Statement; 2] {
    [events::served(selection.clone()), events::visibility(selection, user_or_token)]
}

/// One statement: state events, which are served without a check of their own.
pub fn state(selection: Selection) -> Statement {
    events::served(selection)
}

/// Takes the result of [`state`].
///
/// # Errors
/// If the rows are not of that statement.
pub fn read_state(results: &mut Results) -> Result<Vec<StoredEvent>, DatabaseError> {
    Ok(parse(results.rows()?))
}

/// As [`state`], for one who holds some of the events. [`read_unless_held`] takes its result.
pub fn state_unless_held(selection: Selection, held: &HeldEvents) -> Statement {
    match held.is_empty() {
        true => events::served(selection),
        false => events::served_unless_held(selection, &event_memory::ids(held)),
    }
}

/// Takes the result of [`state_unless_held`] of the same events.
///
/// # Errors
/// If the rows are not of that statement.
pub fn read_unless_held(
    results: &mut Results,
    held: &HeldEvents,
) -> Result<Vec<StoredEvent>, DatabaseError> {
    if held.is_empty() {
        return read_state(results);
    }
    let (mut rows, mut events) = (Vec::new(), Vec::new());
    for row in results.rows()? {
        match row {
            ServedRow::Event(row) => rows.push(*row),
            ServedRow::Held { held: ids } => {
                let ids: Vec<OwnedEventId> = serde_json::from_str(&ids).unwrap_or_default();
                events.extend(ids.iter().filter_map(|id| held.get(id)).cloned());
            }
        }
    }
    events.extend(parse(rows));
    events.sort_by_key(|event| event.stream_ordering);
    Ok(events)
}

/// A row that cannot be parsed (a damaged import) costs its event, not the whole page.
fn parse(rows: Vec<EventRow>) -> Vec<StoredEvent> {
    let parse_row = |row| {
        StoredEvent::read(row).inspect_err(|e| log::error(&format!("unreadable event: {e}"))).ok()
    };
    rows.into_iter().filter_map(parse_row).collect()
}

/// Events, not yet judged, in the order of the stream.
#[derive(Debug)]
pub struct Timeline {
    pub events: Vec<StoredEvent>,
    groups: GroupStates,
}

/// An event that its reader may see.
#[derive(Debug)]
pub struct VisibleEvent {
    pub event: StoredEvent,
    /// The reader's membership after the event.
    pub membership: String,
}

impl Timeline {
    /// Takes the results of [`timeline`].
    ///
    /// # Errors
    /// If the rows are not of those statements.
    pub fn read(results: &mut Results) -> Result<Self, DatabaseError> {
        Self::read_unless_held(results, &HeldEvents::new())
    }

    /// As [`Timeline::read`], where the first statement is [`state_unless_held`].
    ///
    /// # Errors
    /// If the rows are not of those statements.
    pub fn read_unless_held(
        results: &mut Results,
        held: &HeldEvents,
    ) -> Result<Self, DatabaseError> {
        let events = read_unless_held(results, held)?;
        let mut timeline = Self { events, groups: GroupStates::new(results.rows()?) };
        aggregations::distribute(results.rows()?, &mut timeline.events);
        Ok(timeline)
    }

    /// Takes the results of [`judged`].
    ///
    /// # Errors
    /// If the rows are not of those statements.
    pub fn read_judged(results: &mut Results) -> Result<Self, DatabaseError> {
        let events = parse(results.rows()?);
        Ok(Self { events, groups: GroupStates::new(results.rows()?) })
    }

    /// How many events there are of each room.
    pub fn counts(&self) -> HashMap<OwnedRoomId, usize> {
        let mut counts = HashMap::new();
        for event in &self.events {
            *counts.entry(event.pdu.room_id.clone()).or_default() += 1;
        }
        counts
    }

    /// In topological order, as pages of `/messages` are.
    pub fn sort_topologically(&mut self) {
        self.events.sort_by_key(|event| (event.topological_ordering, event.stream_ordering));
    }

    /// What the reader may see of it, in the same order. Rooms that `rooms` does not have show
    /// nothing but what everyone may read.
    pub fn visible(
        self,
        reader: &Reader,
        rooms: &HashMap<OwnedRoomId, ReaderRow>,
    ) -> Vec<VisibleEvent> {
        self.visible_or_known(reader, rooms, &HashSet::new())
    }

    /// As [`Timeline::visible`], with events that the reader may know anyway: state that a member
    /// sees in the room as it is now.
    pub fn visible_or_known(
        self,
        reader: &Reader,
        rooms: &HashMap<OwnedRoomId, ReaderRow>,
        known: &HashSet<OwnedEventId>,
    ) -> Vec<VisibleEvent> {
        let groups = self.groups;
        let judge = |event: StoredEvent| {
            let room = rooms.get(&event.pdu.room_id);
            if known.contains(&event.pdu.event_id) && !is_never_shown(&event.pdu) {
                let has_been_in =
                    room.is_some_and(|room| room.has_been_in_since(event.stream_ordering));
                let state = event.state_group.map(|group| groups.of(group));
                let membership = match has_been_in {
                    true => MembershipState::Join,
                    false => membership(state.and_then(|state| state.member)),
                };
                return Some(VisibleEvent { event, membership: membership.to_string() });
            }
            judge(event, reader, room, &groups)
        };
        self.events.into_iter().filter_map(judge).collect()
    }
}

fn judge(
    mut event: StoredEvent,
    reader: &Reader,
    room: Option<&ReaderRow>,
    groups: &GroupStates,
) -> Option<VisibleEvent> {
    if event.metadata.soft_failed || is_never_shown(&event.pdu) {
        return None;
    }
    if !event.is_state() && reader.ignored.contains(&event.pdu.sender) {
        return None;
    }
    if room.is_some_and(|room| room.has_been_in_since(event.stream_ordering)) {
        return Some(VisibleEvent { event, membership: "join".to_owned() });
    }
    let is_own = event.is_state_of(&TimelineEventType::RoomMember, reader.user_id.as_str());
    let Some(group) = event.state_group.filter(|_| !event.outlier) else {
        // Of what has no state only the reader's own membership is theirs to see.
        let membership = membership(Some(&event.pdu)).to_string();
        return is_own.then_some(VisibleEvent { event, membership });
    };
    let mut state = groups.of(group);
    let own = is_own.then(|| event.pdu.clone());
    state.member = own.as_ref().or(state.member);
    let at_event = StateAtEvent {
        history_visibility: state.history_visibility,
        member: state.member,
        prev_content: event.replaced.as_ref().map(|replaced| &*replaced.content),
    };
    let joined_since = room.is_some_and(|room| room.joined_after(event.stream_ordering));
    if !can_see_event(&reader.user_id, &event.pdu, at_event, joined_since) {
        return None;
    }
    let membership = membership(state.member);
    if event.sender_erased && membership != MembershipState::Join {
        event.pdu = redact(&event.pdu, &event.rules).ok()?;
    }
    Some(VisibleEvent { event, membership: membership.to_string() })
}

impl Reader {
    /// An event as clients see it. `membership` is of [`VisibleEvent`]; state has none.
    pub fn format(
        &self,
        event: &StoredEvent,
        membership: Option<&str>,
        format: EventFormat,
        now_ms: u64,
    ) -> Box<RawValue> {
        let of = event.aggregations.as_ref().filter(|_| format != EventFormat::Federation);
        let relations = of.and_then(|of| of.format(event, self, format, now_ms));
        self.format_with(event, membership, relations.as_deref(), format, now_ms)
    }

    fn format_with(
        &self,
        event: &StoredEvent,
        membership: Option<&str>,
        relations: Option<&RawValue>,
        format: EventFormat,
        now_ms: u64,
    ) -> Box<RawValue> {
        let replaced = event.replaced.as_ref();
        let extras = UnsignedExtras {
            transaction_id: self.transaction_id(event),
            delay_id: event
                .metadata
                .delay_id
                .as_deref()
                .filter(|_| event.pdu.sender == self.user_id),
            prev_content: replaced.map(|replaced| &*replaced.content),
            prev_sender: replaced.map(|replaced| &*replaced.sender),
            replaces_state: replaced.map(|replaced| &*replaced.event_id),
            redacted_because: event.redaction.as_ref(),
            membership,
            relations,
            include_room_state: false,
        };
        let has_expired = self_destructs_ms(&event.pdu).is_some_and(|until_ms| until_ms <= now_ms);
        let pruned = has_expired.then(|| redact(&event.pdu, &event.rules).ok()).flatten();
        let shown = pruned.as_ref().unwrap_or(&event.pdu);
        EventFormatter { rules: &event.rules, format, now_ms }.format(shown, &extras)
    }

    /// Only the device that sent an event learns its transaction id.
    fn transaction_id<'a>(&self, event: &'a StoredEvent) -> Option<&'a str> {
        let metadata = &event.metadata;
        let is_sender = event.pdu.sender == self.user_id
            && self.device_id.is_some()
            && metadata.device_id == self.device_id;
        metadata.txn_id.as_deref().filter(|_| is_sender)
    }
}

impl ReaderRow {
    pub fn is_joined(&self) -> bool {
        self.membership.as_deref() == Some("join")
    }

    /// Whether the reader was in the room at that place of the stream and has not left since:
    /// then the state there need not be looked at.
    pub fn has_been_in_since(&self, stream_ordering: i64) -> bool {
        self.is_joined() && self.member_stream_ordering.is_some_and(|own| own < stream_ordering)
    }

    /// Whether the reader is in the room, or joined it after that place in the stream.
    pub fn joined_after(&self, stream_ordering: i64) -> bool {
        self.is_joined() || self.joined_stream_ordering.is_some_and(|join| join > stream_ordering)
    }
}

#[cfg(test)]
mod tests;
