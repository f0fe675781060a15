//! The second look: the contents of the rooms that are told of.
//!
//! Invariant: one batch for all rooms of a chunk, whatever their number.

use std::collections::HashMap;

use myelin_protocol::client_event::STRIPPED_STATE_TYPES;
use myelin_protocol::filter::EventFilter;
use myelin_protocol::sliding_sync::{RequiredState, RoomPlan};
use myelin_protocol::sync::{StateChange, StateIds};
use ruma::{OwnedEventId, OwnedRoomId, UserId};

use crate::serving::event_memory::{EventMemory, Held};
use crate::serving::{self, StoredEvent, Timeline};
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::event_pages::{self, Excerpts, StreamWindow};
use crate::storage::event_push_counts::{self, RoomCounts};
use crate::storage::events;
use crate::storage::relations;
use crate::storage::sliding_sync::{self, RoomMetaRow, WantedState};
use crate::storage::state_groups::{self, StateFilter};
use crate::storage::sync::{self, StateChangeRow, StateWindow};

/// The most timeline events of a batch.
const BATCH_EVENTS_MAX: usize = 2_000;

/// The most rooms of a batch that are new to the client: small, for a message that is sent waits
/// as long.
const NEW_ROOMS_MAX: usize = 25;

/// The most changes of state of a batch.
const STATE_CHANGES_MAX: usize = 5_000;

/// How many rooms are read at once.
pub fn rooms_max(timeline_limit: usize, is_first: bool) -> usize {
    let rooms_max = (BATCH_EVENTS_MAX / (timeline_limit + 1)).max(1);
    if is_first { rooms_max.min(NEW_ROOMS_MAX) } else { rooms_max }
}

/// Rooms that are read together, sorted by what is read of them.
pub struct Chunk<'a> {
    pub plans: &'a [RoomPlan],
    /// Other rooms of which it is counted what is unread.
    pub read: &'a [OwnedRoomId],
    /// One event more than is shown tells whether there are more.
    pub excerpts: Vec<Excerpts>,
    user_id: &'a UserId,
    /// What is remembered of rooms that are new to the client.
    held: Held,
}

/// What a batch brought.
#[derive(Default)]
pub struct Contents {
    pub timeline: Option<Timeline>,
    pub changes: HashMap<OwnedRoomId, Vec<StateChange>>,
    /// What is in force of the state that is looked up, or was when the user left.
    pub base: HashMap<OwnedRoomId, StateIds>,
    /// The present memberships of those whom timelines are about.
    pub members: Vec<OwnedEventId>,
    pub counts: HashMap<OwnedRoomId, RoomCounts>,
    pub meta: HashMap<OwnedRoomId, RoomMetaRow>,
    pub heroes: Vec<OwnedEventId>,
    pub stripped: HashMap<OwnedRoomId, Vec<OwnedEventId>>,
    /// State events that came along.
    pub events: HashMap<OwnedEventId, StoredEvent>,
}

impl<'a> Chunk<'a> {
    pub fn new(plans: &'a [RoomPlan], read: &'a [OwnedRoomId], user_id: &'a UserId) -> Self {
        let told = plans.iter().filter(|plan| plan.config.timeline_limit > 0);
        let told = told.filter(|plan| !plan.is_from_outside());
        let excerpt =
            |plan: &RoomPlan| (stream_window(plan), plan.config.timeline_limit as u32 + 1);
        let excerpts = event_pages::excerpts(told.map(excerpt));
        Self { plans, read, excerpts, user_id, held: Held::default() }
    }

    /// Takes from memory what need not be read.
    pub fn take_held(&mut self, memory: &mut EventMemory) {
        let new = self.plans.iter().filter(|plan| plan.is_initial() && plan.room.is_joined());
        let new: HashMap<&OwnedRoomId, &RoomPlan> =
            new.map(|plan| (&plan.room.room_id, plan)).collect();
        for Excerpts { windows, limit } in &self.excerpts {
            let windows = windows.iter().filter(|window| new.contains_key(&window.room_id));
            let windows: Vec<StreamWindow> = windows.cloned().collect();
            self.held.latest.extend(memory.latest(&windows, *limit as usize));
        }
        self.held.members = memory.members_of_senders(new.keys().copied(), &self.held.latest);
        for (room_id, plan) in new {
            let looked_up = plan.looked_up();
            let is_wanted = |event: &StoredEvent| {
                let key = event.pdu.state_key.clone();
                let key = key.map(|state_key| (event.pdu.event_type.to_string(), state_key));
                key.is_some_and(|key| looked_up.wants(&key))
            };
            self.held.state.extend(memory.state([room_id], is_wanted));
        }
    }

    /// All statements, in the order in which [`Chunk::read`] takes their results.
    pub fn statements(&self) -> Vec<Statement> {
        let mut batch = Vec::new();
        let joined = self.ids(|plan| plan.room.is_joined());
        let counted: Vec<_> = joined.iter().chain(self.read).cloned().collect();
        if !counted.is_empty() {
            batch.push(event_push_counts::select(self.user_id, &counted));
        }
        if self.plans.is_empty() {
            return batch;
        }
        let latest = event_pages::latest_of(&self.excerpts);
        batch.push(serving::state_unless_held(latest, &self.held.latest));
        let judged = event_pages::latest_of(&self.judged());
        batch.push(events::visibility(judged, self.user_id.as_str()));
        let shown = event_pages::latest_of(&self.excerpts);
        batch.push(relations::aggregations(shown, self.user_id.as_str()));
        let (windows, filter) = (self.state_windows(), EventFilter::default());
        batch.push(sync::state_changes(&windows, 0, &filter, STATE_CHANGES_MAX));
        let required = sliding_sync::required_state(&self.wanted_state());
        batch.push(serving::state_unless_held(required, &self.held.state));
        let (left, filter) = self.left_state();
        batch.push(serving::state(state_groups::after_events(&left, &filter)));
        let members = sliding_sync::members_of_timelines(&self.lazy_excerpts());
        batch.push(serving::state_unless_held(members, &self.held.members));
        batch.push(sliding_sync::room_meta(&joined));
        batch.push(serving::state(sliding_sync::heroes(&joined, self.user_id)));
        let outside = self.ids(RoomPlan::is_from_outside);
        if !outside.is_empty() {
            let of_outside = self.plans.iter().filter(|plan| plan.is_from_outside());
            let ids: Vec<_> = of_outside.map(|plan| plan.room.event_id.clone()).collect();
            batch.push(serving::state(event_pages::by_id(&ids)));
            let types = StateFilter::Types(STRIPPED_STATE_TYPES.map(str::to_owned).to_vec());
            batch.push(serving::state(state_groups::current(&outside, &types)));
        }
        batch
    }

    /// Takes the results of [`Chunk::statements`].
    ///
    /// # Errors
    /// If the rows are not of those statements.
    pub fn read(&self, results: &mut Results) -> Result<Contents, DatabaseError> {
        let mut contents = Contents::default();
        if !self.read.is_empty() || self.plans.iter().any(|plan| plan.room.is_joined()) {
            contents.counts = event_push_counts::by_room(results.rows()?);
        }
        if self.plans.is_empty() {
            return Ok(contents);
        }
        contents.timeline = Some(Timeline::read_unless_held(results, &self.held.latest)?);
        for row in results.rows::<StateChangeRow>()? {
            contents.changes.entry(row.room_id.clone()).or_default().push(row.into());
        }
        contents.add_base(serving::read_unless_held(results, &self.held.state)?);
        contents.add_base(serving::read_state(results)?);
        let members = serving::read_unless_held(results, &self.held.members)?;
        contents.members = contents.add_events(members);
        let meta = results.rows::<RoomMetaRow>()?.into_iter();
        contents.meta = meta.map(|row| (row.room_id.clone(), row)).collect();
        let heroes = serving::read_state(results)?;
        contents.heroes = contents.add_events(heroes);
        if self.plans.iter().any(RoomPlan::is_from_outside) {
            let members = serving::read_state(results)?;
            contents.add_events(members);
            let stripped = serving::read_state(results)?;
            contents.add_stripped(stripped);
        }
        Ok(contents)
    }

    fn ids(&self, is_wanted: impl Fn(&RoomPlan) -> bool) -> Vec<OwnedRoomId> {
        let wanted = self.plans.iter().filter(|plan| is_wanted(plan));
        wanted.map(|plan| plan.room.room_id.clone()).collect()
    }

    fn plan(&self, room_id: &OwnedRoomId) -> Option<&RoomPlan> {
        self.plans.iter().find(|plan| plan.room.room_id == *room_id)
    }

    /// The parts of the excerpts in which events are judged by the state at them.
    fn judged(&self) -> Vec<Excerpts> {
        let judge = |window: &StreamWindow| {
            let mut judged = self.plan(&window.room_id)?.window.clone();
            judged.after = window.after;
            let upto = judged.judged_upto()?;
            Some(StreamWindow { upto, ..window.clone() })
        };
        let judged = |excerpts: &Excerpts| Excerpts {
            windows: excerpts.windows.iter().filter_map(judge).collect(),
            limit: excerpts.limit,
        };
        self.excerpts.iter().map(judged).collect()
    }

    /// Of what is looked up, what has changed after the end of the window is taken back.
    fn state_windows(&self) -> Vec<StateWindow> {
        let inside = self.plans.iter().filter(|plan| !plan.is_from_outside());
        let window = |plan: &RoomPlan| StateWindow {
            window: StreamWindow { after: plan.window.after, ..stream_window(plan) },
            is_full: plan.is_initial(),
            until_now: plan.room.is_joined() && !plan.looked_up().is_empty(),
        };
        inside.map(window).collect()
    }

    /// What is looked up of joined rooms, once for all rooms of which the same is.
    fn wanted_state(&self) -> Vec<WantedState> {
        let mut wanted: Vec<(RequiredState, Vec<OwnedRoomId>)> = Vec::new();
        for plan in self.plans.iter().filter(|plan| plan.room.is_joined()) {
            let state = plan.looked_up();
            let room_id = plan.room.room_id.clone();
            match wanted.iter_mut().find(|(known, _)| *known == state) {
                Some((_, rooms)) => rooms.push(room_id),
                None => wanted.push((state, vec![room_id])),
            }
        }
        let wanted = wanted.into_iter();
        let wanted = wanted.map(|(state, rooms)| WantedState { rooms, patterns: state.patterns() });
        wanted.filter(|wanted| !wanted.patterns.is_empty()).collect()
    }

    /// The events with which rooms were left, and what is looked up of the state after them.
    fn left_state(&self) -> (Vec<OwnedEventId>, StateFilter) {
        let left =
            self.plans.iter().filter(|plan| plan.room.is_past() && !plan.window.is_outsider());
        let left: Vec<&RoomPlan> = left.filter(|plan| !plan.looked_up().is_empty()).collect();
        let ids = left.iter().map(|plan| plan.room.event_id.clone()).collect();
        let patterns = left.iter().flat_map(|plan| plan.looked_up().patterns());
        let types: Option<Vec<String>> = patterns.map(|pattern| pattern.event_type).collect();
        (
            ids,
            types.map_or(StateFilter::All, |mut types| {
                types.extend(["m.room.name".to_owned(), "m.room.avatar".to_owned()]);
                types.sort();
                types.dedup();
                StateFilter::Types(types)
            }),
        )
    }

    /// The excerpts of which members are wanted as they are about them.
    fn lazy_excerpts(&self) -> Vec<Excerpts> {
        let is_lazy = |window: &&StreamWindow| {
            let plan = self.plan(&window.room_id);
            plan.is_some_and(|plan| plan.room.is_joined() && plan.config.required_state.is_lazy())
        };
        let lazy = |excerpts: &Excerpts| Excerpts {
            windows: excerpts.windows.iter().filter(is_lazy).cloned().collect(),
            limit: excerpts.limit,
        };
        self.excerpts.iter().map(lazy).filter(|excerpts| !excerpts.windows.is_empty()).collect()
    }
}

/// The part of the stream in which a room's timeline lies.
fn stream_window(plan: &RoomPlan) -> StreamWindow {
    StreamWindow {
        room_id: plan.room.room_id.clone(),
        after: plan.timeline_after(),
        upto: plan.window.upto,
    }
}

impl Contents {
    fn add_base(&mut self, events: Vec<StoredEvent>) {
        for event in &events {
            let Some(state_key) = event.pdu.state_key.clone() else { continue };
            let state = self.base.entry(event.pdu.room_id.clone()).or_default();
            let key = (event.pdu.event_type.to_string(), state_key);
            state.insert(key, event.pdu.event_id.clone());
        }
        self.add_events(events);
    }

    fn add_stripped(&mut self, events: Vec<StoredEvent>) {
        for event in &events {
            let ids = self.stripped.entry(event.pdu.room_id.clone()).or_default();
            ids.push(event.pdu.event_id.clone());
        }
        self.add_events(events);
    }

    /// Keeps events; their ids.
    pub fn add_events(&mut self, events: Vec<StoredEvent>) -> Vec<OwnedEventId> {
        let keep = |event: StoredEvent| {
            let event_id = event.pdu.event_id.clone();
            self.events.insert(event_id.clone(), event);
            event_id
        };
        events.into_iter().map(keep).collect()
    }

    /// Of these events those of one room.
    pub fn of_room<'a>(
        &'a self,
        ids: &'a [OwnedEventId],
        room_id: &'a OwnedRoomId,
    ) -> impl Iterator<Item = &'a StoredEvent> {
        let events = ids.iter().filter_map(|event_id| self.events.get(event_id));
        events.filter(move |event| event.pdu.room_id == *room_id)
    }
}
