//! The second look: the contents of the rooms that the first one found, some rooms at a time.
//!
//! Invariant: one batch for all rooms of a chunk, whatever their number; a chunk is so small that
//! a batch stays within its rows.

use std::collections::HashMap;

use myelin_protocol::client_event::STRIPPED_STATE_TYPES;
use myelin_protocol::filter::pdu_matches;
use myelin_protocol::sync::device_lists::Meeting;
use myelin_protocol::sync::{
    JoinedRoom, MeetingPlace, Member, RoomWindow, Section, StateChange, StateIds, Wanted,
};
use ruma::{OwnedEventId, OwnedRoomId, UserId};

use crate::serving::event_memory::{self, EventMemory, Held, HeldEvents};
use crate::serving::{self, StoredEvent, Timeline};
use crate::storage::account_data::{self, InvitePermissionRow, RoomAccountDataRow};
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::device_lists;
use crate::storage::event_pages::{self, StreamWindow};
use crate::storage::event_push_counts::{self, RoomCounts};
use crate::storage::events;
use crate::storage::presence::{self, PresenceRow};
use crate::storage::receipts::{self, ReceiptRow};
use crate::storage::relations::{self, EventIdRow};
use crate::storage::room_tags::{self, TagRow};
use crate::storage::state_groups::{self, StateFilter};
use crate::storage::stream_positions::NOW;
use crate::storage::sync::{self, StateChangeRow, StateIdRow, StateWindow, SummaryRow};

/// The most timeline events of a batch.
const BATCH_EVENTS_MAX: usize = 2_000;

/// The most rooms of a batch of which everything is read: small, for a message that is sent waits
/// as long; large enough for two batches of 50 rooms.
const FULL_ROOMS_MAX: usize = 25;

/// The most changes of state of a batch: who has missed more gets the whole state.
const STATE_CHANGES_MAX: usize = 5_000;

/// The most state events that are read at once.
pub const STATE_EVENTS_MAX: usize = 1_000;

/// The most ids of state events in one statement: they are one value of at most 2 MB.
pub const STATE_IDS_MAX: usize = 10_000;

/// How many rooms are read at once.
pub fn rooms_max(wanted: &Wanted, is_initial: bool) -> usize {
    let rooms_max = (BATCH_EVENTS_MAX / (wanted.reach + 1)).max(1);
    if is_initial { rooms_max.min(FULL_ROOMS_MAX) } else { rooms_max }
}

/// A chunk of rooms, sorted by what has to be read of them.
#[derive(Debug, Default)]
pub struct Chunk {
    pub windows: Vec<RoomWindow>,
    /// Rooms to which the user is invited or on which they have knocked.
    pub invitations: Vec<RoomWindow>,
    /// Rooms with news that are no events, if the user is in them.
    pub quiet: Vec<OwnedRoomId>,
    /// The client has never synced: everything of the user has been read with the first look.
    pub is_initial: bool,
    pub shows_presence: bool,
    /// Where others may have been met or left.
    pub places: Vec<MeetingPlace>,
    /// What has been read of them already.
    pub contents: Option<Contents>,
    /// What is remembered of rooms that are new to the client.
    pub held: Held,
}

/// What a batch brought.
#[derive(Debug, Default)]
pub struct Contents {
    pub timeline: Option<Timeline>,
    pub changes: HashMap<OwnedRoomId, Vec<StateChange>>,
    /// There were more changes than are read.
    pub too_many_changes: bool,
    /// The current state of joined rooms of which all is wanted.
    pub current: HashMap<OwnedRoomId, StateIds>,
    /// State events that came along.
    pub events: HashMap<OwnedEventId, StoredEvent>,
    /// The state after the user left, as ids of `events`.
    pub left: HashMap<OwnedRoomId, StateIds>,
    /// The present memberships of those who sent what is shown.
    pub members: HashMap<OwnedRoomId, Vec<Member>>,
    pub summaries: HashMap<OwnedRoomId, SummaryRow>,
    pub heroes: HashMap<OwnedRoomId, Vec<Member>>,
    pub stripped: HashMap<OwnedRoomId, Vec<OwnedEventId>>,
    /// The user takes no invitations.
    pub blocks_invites: bool,
    pub quiet: Vec<OwnedRoomId>,
    pub receipts: Vec<ReceiptRow>,
    pub room_account_data: Vec<RoomAccountDataRow>,
    pub tags: Vec<TagRow>,
    /// Of those in rooms that the user has just joined, and of those who have joined others.
    pub presence: Vec<PresenceRow>,
    /// What is unread, where anything is.
    pub counts: HashMap<OwnedRoomId, RoomCounts>,
    pub meetings: Vec<Meeting>,
}

impl Chunk {
    /// All statements, in the order in which [`Chunk::read`] takes their results.
    pub fn statements(&self, wanted: &Wanted, user_id: &UserId) -> Vec<Statement> {
        let (limit, filter) = (wanted.read_limit() as u32, &wanted.timeline);
        let mut batch = Vec::new();
        if !self.windows.is_empty() {
            let streams: Vec<StreamWindow> = self.windows.iter().map(stream_window).collect();
            let latest = event_pages::latest(&streams, limit, filter);
            batch.push(serving::state_unless_held(latest, &self.held.latest));
            let judged: Vec<StreamWindow> = self.windows.iter().filter_map(judged_window).collect();
            let visibility =
                events::visibility(event_pages::latest(&judged, limit, filter), user_id.as_str());
            batch.push(visibility.unless_empty(&judged));
            let shown = event_pages::latest(&streams, limit, filter);
            batch.push(relations::aggregations(shown, user_id.as_str()));
            let states: Vec<StateWindow> = self.windows.iter().map(state_window).collect();
            batch.push(sync::state_changes(&states, limit, filter, STATE_CHANGES_MAX));
            let (full, left) = self.full_rooms();
            let current = sync::current_state_ids(&full, wanted.lazy_members);
            batch.push(current.unless_empty(&full));
            let state = &self.held.state;
            let as_they_were = events::as_they_were(&event_memory::ids(state));
            batch.push(if state.is_empty() { Statement::new("") } else { as_they_were });
            let states = serving::state(state_groups::after_events(&left, &StateFilter::All));
            batch.push(states.unless_empty(&left));
            let new = self.rooms_new_to_client();
            batch.push(receipts::in_rooms(user_id, &new, NOW).unless_empty(&new));
            batch.push(account_data::select_rooms(user_id, &new).unless_empty(&new));
            batch.push(room_tags::select_rooms(user_id, &new).unless_empty(&new));
            if self.shows_presence {
                let (rooms, windows) = (self.newly_joined_rooms(), self.known_windows());
                batch.push(presence::of_newcomers(user_id, &rooms, &windows));
            }
            if wanted.lazy_members {
                let joined = self.joined_windows();
                let ids: Vec<_> = joined.iter().map(|window| window.room_id.clone()).collect();
                let members = sync::members_of_senders(&joined, limit, filter, user_id);
                batch.push(serving::state_unless_held(members, &self.held.members));
                batch.push(sync::summaries(&ids));
                let heroes = sync::heroes(&ids, user_id);
                batch.push(serving::state_unless_held(heroes, &self.held.members));
            }
        }
        if !self.invitations.is_empty() {
            let (rooms, event_ids) = self.invited_rooms();
            let types = STRIPPED_STATE_TYPES.map(str::to_owned).to_vec();
            batch.push(serving::state(event_pages::by_id(&event_ids)));
            let stripped = state_groups::current(&rooms, &StateFilter::Types(types));
            batch.push(serving::state(stripped));
            batch.push(account_data::select_invite_permission(user_id));
        }
        if !self.quiet.is_empty() {
            batch.push(sync::joined_of(user_id, &self.quiet));
        }
        let counted = self.counted_rooms();
        if !counted.is_empty() {
            batch.push(event_push_counts::select(user_id, &counted));
        }
        if !self.places.is_empty() {
            batch.push(device_lists::meetings(user_id, &self.places));
        }
        batch
    }

    /// Takes the results of [`Chunk::statements`].
    ///
    /// # Errors
    /// If the rows are not of those statements.
    pub fn read(&self, wanted: &Wanted, results: &mut Results) -> Result<Contents, DatabaseError> {
        let mut contents = Contents::default();
        if !self.windows.is_empty() {
            contents.timeline = Some(Timeline::read_unless_held(results, &self.held.latest)?);
            contents.add_changes(results.rows()?);
            contents.add_current(results.rows()?);
            contents.add_held(results.rows()?, &self.held.state);
            contents.add_left(serving::read_state(results)?);
            contents.receipts = results.rows()?;
            contents.room_account_data = results.rows()?;
            contents.tags = results.rows()?;
            if self.shows_presence {
                contents.presence = results.rows()?;
            }
            if wanted.lazy_members {
                let events = serving::read_unless_held(results, &self.held.members)?;
                contents.members = members(&events);
                contents.add_events(events);
                let summaries = results.rows()?.into_iter();
                contents.summaries =
                    summaries.map(|row: SummaryRow| (row.room_id.clone(), row)).collect();
                let events = serving::read_unless_held(results, &self.held.members)?;
                contents.heroes = members(&events);
                contents.add_events(events);
            }
        }
        if !self.invitations.is_empty() {
            let invitations = serving::read_state(results)?;
            contents.add_events(invitations);
            let stripped = serving::read_state(results)?;
            contents.stripped = contents.add_events(stripped);
            let permission: Option<InvitePermissionRow> = results.first()?;
            contents.blocks_invites = permission.is_some_and(|row| row.blocks_invites);
        }
        if !self.quiet.is_empty() {
            let joined = results.rows()?.into_iter();
            contents.quiet = joined.map(|row: JoinedRoom| row.room_id).collect();
        }
        if !self.counted_rooms().is_empty() {
            contents.counts = event_push_counts::by_room(results.rows()?);
        }
        if !self.places.is_empty() {
            contents.meetings = results.rows()?;
        }
        Ok(contents)
    }

    /// Takes from memory what need not be read.
    pub fn take_held(&mut self, memory: &mut EventMemory, wanted: &Wanted) {
        let new = || self.windows.iter().filter(|window| window.is_full);
        let streams: Vec<StreamWindow> = new().map(stream_window).collect();
        let latest = memory.latest(&streams, wanted.read_limit());
        let joined = || new().filter(|window| window.is_joined()).map(|window| &window.room_id);
        // What comes with the timeline need not be looked up once more.
        let is_wanted = |event: &StoredEvent| {
            let is_wanted = pdu_matches(&wanted.filter.room.state, &event.pdu);
            is_wanted && !wanted.blocks_state && !latest.contains_key(&event.pdu.event_id)
        };
        let mut state = HeldEvents::new();
        let mut members = HeldEvents::new();
        if wanted.lazy_members {
            // They are looked up by what they sent.
            members = memory.members_of_senders(joined(), &latest);
        } else {
            state = memory.members(joined(), is_wanted);
        }
        state.extend(memory.state(joined(), is_wanted));
        self.held = Held { latest, state, members };
    }

    /// Joined rooms of which all state is wanted, and the events with which others were left.
    fn full_rooms(&self) -> (Vec<OwnedRoomId>, Vec<OwnedEventId>) {
        let full = || self.windows.iter().filter(|window| window.is_full);
        let joined = full().filter(|window| window.section == Section::Join);
        let left = full().filter(|window| window.section != Section::Join);
        let left = left.filter_map(|window| window.member_event_id.clone());
        (joined.map(|window| window.room_id.clone()).collect(), left.collect())
    }

    /// Rooms of which the client lacks what the user keeps for them, and the receipts.
    fn rooms_new_to_client(&self) -> Vec<OwnedRoomId> {
        let joined = self.windows.iter().filter(|window| window.section == Section::Join);
        let new = joined.filter(|window| self.is_initial || window.newly_joined);
        new.map(|window| window.room_id.clone()).collect()
    }

    fn newly_joined_rooms(&self) -> Vec<OwnedRoomId> {
        let new = self.windows.iter().filter(|window| window.newly_joined);
        let joined = new.filter(|window| window.section == Section::Join);
        joined.map(|window| window.room_id.clone()).collect()
    }

    /// Windows of joined rooms that the client has already.
    fn known_windows(&self) -> Vec<StreamWindow> {
        let joined = self.windows.iter().filter(|window| window.section == Section::Join);
        let known = joined.filter(|window| !self.is_initial && !window.newly_joined);
        known.map(stream_window).collect()
    }

    fn joined_windows(&self) -> Vec<StreamWindow> {
        let joined = self.windows.iter().filter(|window| window.section == Section::Join);
        joined.map(stream_window).collect()
    }

    /// Rooms that are shown with what is unread in them.
    fn counted_rooms(&self) -> Vec<OwnedRoomId> {
        let joined = self.windows.iter().filter(|window| window.section == Section::Join);
        joined.map(|window| &window.room_id).chain(&self.quiet).cloned().collect()
    }

    fn invited_rooms(&self) -> (Vec<OwnedRoomId>, Vec<OwnedEventId>) {
        let invited = self.invitations.iter().filter_map(|window| match &window.section {
            Section::Invite(event_id) | Section::Knock(event_id) => {
                Some((window.room_id.clone(), event_id.clone()))
            }
            Section::Join | Section::Leave { .. } => None,
        });
        invited.unzip()
    }
}

fn stream_window(window: &RoomWindow) -> StreamWindow {
    StreamWindow { room_id: window.room_id.clone(), after: window.after, upto: window.upto }
}

/// The part of a window in which events are judged by the state at them.
fn judged_window(window: &RoomWindow) -> Option<StreamWindow> {
    Some(StreamWindow { upto: window.judged_upto()?, ..stream_window(window) })
}

fn state_window(window: &RoomWindow) -> StateWindow {
    let until_now = window.is_full && window.section == Section::Join;
    StateWindow { window: stream_window(window), is_full: window.is_full, until_now }
}

/// Membership events by room.
fn members(events: &[StoredEvent]) -> HashMap<OwnedRoomId, Vec<Member>> {
    let mut members: HashMap<OwnedRoomId, Vec<Member>> = HashMap::new();
    for event in events {
        if let Some(member) = event.member() {
            members.entry(event.pdu.room_id.clone()).or_default().push(member);
        }
    }
    members
}

impl Contents {
    fn add_changes(&mut self, rows: Vec<StateChangeRow>) {
        self.too_many_changes = rows.len() >= STATE_CHANGES_MAX;
        for row in rows {
            self.changes.entry(row.room_id.clone()).or_default().push(row.into());
        }
    }

    fn add_current(&mut self, rows: Vec<StateIdRow>) {
        for row in rows {
            let state = self.current.entry(row.room_id).or_default();
            state.insert((row.event_type, row.state_key), row.event_id);
        }
    }

    fn add_held(&mut self, rows: Vec<EventIdRow>, held: &HeldEvents) {
        let held = rows.iter().filter_map(|row| held.get(&row.event_id));
        self.add_events(held.cloned().collect());
    }

    fn add_left(&mut self, events: Vec<StoredEvent>) {
        for event in &events {
            let state = self.left.entry(event.pdu.room_id.clone()).or_default();
            if let Some(state_key) = event.pdu.state_key.clone() {
                let key = (event.pdu.event_type.to_string(), state_key);
                state.insert(key, event.pdu.event_id.clone());
            }
        }
        self.add_events(events);
    }

    /// Keeps events; their ids by room.
    pub fn add_events(
        &mut self,
        events: Vec<StoredEvent>,
    ) -> HashMap<OwnedRoomId, Vec<OwnedEventId>> {
        let mut ids: HashMap<OwnedRoomId, Vec<OwnedEventId>> = HashMap::new();
        for event in events {
            let event_id = event.pdu.event_id.clone();
            ids.entry(event.pdu.room_id.clone()).or_default().push(event_id.clone());
            self.events.insert(event_id, event);
        }
        ids
    }
}
