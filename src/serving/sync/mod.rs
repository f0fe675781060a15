//! What one `/sync` answers: from the log to the answer.
//!
//! 1. [`changes`]: the first look, one batch: how far the log goes and what concerns the user.
//! 2. [`reads`]: the second look, one batch for a chunk of rooms. [`messages`] takes both looks at
//!    once, where a wait was ended by messages in known rooms.
//! 3. [`history`]: what came is given to `protocol::sync`, which says which events and which
//!    state are told.
//! 4. State events that have not come along are read, and the answer is written.
//!
//! Invariant: a token stands for everything up to its positions; what an answer leaves out lies
//! behind its `prev_batch` or is none of the reader's.

pub mod answer;
pub mod changes;
pub mod devices;
pub mod extras;
pub mod history;
pub mod messages;
mod reads;
pub mod turn;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use myelin_protocol::client_event::EventFormat;
use myelin_protocol::filter::{pdu_matches, project_fields, room_matches};
use myelin_protocol::pdu::raw_json;
use myelin_protocol::sync::{RoomHistory, RoomWindow, Section, Wanted, Windows};
use myelin_protocol::sync_token::{RoomStreamToken, StreamToken};
use ruma::api::client::filter::{EventFormat as WantedFormat, FilterDefinition};
use ruma::{OwnedEventId, OwnedRoomId};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::context::Context;
use crate::error::ApiError;
use crate::serving::event_memory::EventMemory;
use crate::serving::{self, Reader, StoredEvent, VisibleEvent, aggregations};
use crate::storage::database::Results;
use crate::storage::presence::PresenceRow;
use crate::storage::relations::{self, EventIdRow};
use crate::storage::sync::{self, MembershipRow};
use crate::storage::{event_pages, push_rules};
use answer::{
    Events, History, JoinedRoom, LeftRoom, StateAfter, Summary, SyncAnswer, TimelineAnswer,
};
use changes::Changes;
use extras::RoomExtras;
use history::{histories, missing, readers};
use reads::{Chunk, Contents, STATE_EVENTS_MAX, STATE_IDS_MAX, rooms_max};
use turn::Turn;

/// One request, as far as it decides what is answered.
pub struct Sync<'a> {
    pub context: &'a Context,
    pub reader: &'a Reader,
    pub wanted: &'a Wanted,
    pub state_after: Option<StateAfter>,
    pub since: Option<&'a StreamToken>,
}

impl Sync<'_> {
    /// Answers what the first look has found.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn answer(&self, mut changes: Changes) -> Result<SyncAnswer, ApiError> {
        let upto = changes.upto.take().unwrap_or_else(|| StreamToken::at(RoomStreamToken::live(0)));
        let mut answer = SyncAnswer { next_batch: upto.to_string(), ..SyncAnswer::default() };
        let mut places = self.add_devices(std::mem::take(&mut changes.devices), &mut answer);
        self.add_invitations_shown_again(&mut changes, &upto).await?;
        self.drop_unwanted(&mut changes);
        answer.presence = self.presence(changes.presence.iter(), self.since.is_none());
        answer.account_data = self.account_data(&mut changes).await?;
        let mut quiet = changes.quiet_rooms();
        let mut extras = RoomExtras::new(&mut changes, &self.reader.user_id);
        let mut foreseen = changes.foreseen.take();
        let (windows, mut invitations) = split(std::mem::take(&mut changes.rooms));
        let mut windows = windows.into_iter().peekable();
        loop {
            let is_initial = self.since.is_none();
            let turn = if is_initial { Some(Turn::take(self.context).await) } else { None };
            let rooms_max = rooms_max(self.wanted, is_initial);
            let rooms = turn.as_ref().map_or(rooms_max, |turn| turn.rooms(rooms_max));
            let mut chunk = Chunk {
                windows: windows.by_ref().take(rooms).collect(),
                invitations: std::mem::take(&mut invitations),
                quiet: std::mem::take(&mut quiet),
                is_initial,
                shows_presence: self.context.config.presence,
                places: std::mem::take(&mut places),
                ..Chunk::default()
            };
            chunk.contents = foreseen.take().and_then(|foreseen| foreseen.contents_of(&chunk));
            self.answer_chunk(chunk, &upto, &mut extras, &mut answer).await?;
            if windows.peek().is_none() {
                return Ok(answer);
            }
        }
    }

    /// Who is ignored no longer may have invited the user meanwhile; so may others while the user
    /// took no invitations.
    async fn add_invitations_shown_again(
        &self,
        changes: &mut Changes,
        upto: &StreamToken,
    ) -> Result<(), ApiError> {
        let Some(since) = self.since.filter(|_| changes.may_show_more_invitations()) else {
            return Ok(());
        };
        let read = sync::memberships(&self.reader.user_id);
        let rows: Vec<MembershipRow> =
            Results::new(self.context.batch(vec![read]).await?).rows()?;
        let windows = Windows {
            user_id: &self.reader.user_id,
            since: Some(since.room_key.stream()),
            upto: upto.room_key.stream(),
            ignored: &changes.ignored,
        };
        let memberships = rows.into_iter().map(Into::into).collect();
        windows.add_invitations(&mut changes.rooms, memberships);
        Ok(())
    }

    /// Drops rooms that the filter does not want.
    fn drop_unwanted(&self, changes: &mut Changes) {
        let filter = &self.wanted.filter.room;
        let is_initial = self.since.is_none();
        changes.rooms.retain(|_, window| window.is_wanted(filter, is_initial));
        let wants = |room_id: &OwnedRoomId| room_matches(filter, room_id);
        changes.room_account_data.retain(|row| wants(&row.room_id));
        changes.tags.retain(|row| wants(&row.room_id));
        changes.receipts.retain(|row| wants(&row.room_id));
        changes.typing.retain(|row| wants(&row.room_id));
    }

    async fn answer_chunk(
        &self,
        mut chunk: Chunk,
        upto: &StreamToken,
        extras: &mut RoomExtras,
        answer: &mut SyncAnswer,
    ) -> Result<(), ApiError> {
        let mut contents = match chunk.contents.take() {
            Some(contents) => contents,
            None => self.read(&mut chunk).await?,
        };
        if contents.too_many_changes {
            // Who has missed so much gets the whole state instead of what has changed.
            chunk.windows.iter_mut().for_each(|window| window.is_full = true);
            contents = self.read(&mut chunk).await?;
        }
        answer.device_lists.meet(std::mem::take(&mut contents.meetings));
        extras.add(&mut contents);
        let rows = std::mem::take(&mut contents.presence);
        answer.presence.events.extend(self.presence(rows.iter(), false).events);
        let windows = std::mem::take(&mut chunk.windows);
        let rooms = histories(windows, self.wanted, self.reader, &mut contents);
        let looks_farther = self.wanted.farther().is_some();
        let (short, mut rooms): (Vec<_>, Vec<_>) =
            rooms.into_iter().partition(|room| room.is_short && looks_farther);
        self.read_missing(&mut rooms, &mut contents).await?;
        for room in rooms {
            self.add_room(room, &contents, upto, extras, answer);
        }
        self.add_invitations(&chunk.invitations, &contents, answer);
        for room_id in std::mem::take(&mut contents.quiet) {
            let mut room = JoinedRoom::default();
            extras.fill(&room_id, &self.wanted.filter.room, &mut room);
            room.history = self.history(Vec::new(), false, upto.to_string(), Vec::new());
            room.set_counts(contents.counts.get(&room_id), self.counts_threads());
            let has_read = extras.read.contains(&room_id);
            if has_read || !room.account_data.is_empty() || !room.ephemeral.is_empty() {
                answer.rooms.join.insert(room_id, room);
            }
        }
        self.answer_farther(short, upto, extras, answer).await
    }

    /// Rooms in which what was looked at is not the reader's are looked at once more, farther back.
    async fn answer_farther(
        &self,
        rooms: Vec<RoomHistory<VisibleEvent>>,
        upto: &StreamToken,
        extras: &mut RoomExtras,
        answer: &mut SyncAnswer,
    ) -> Result<(), ApiError> {
        let Some(wanted) = self.wanted.farther().filter(|_| !rooms.is_empty()) else {
            return Ok(());
        };
        let sync = Sync { wanted: &wanted, ..*self };
        let mut windows = rooms.into_iter().map(|room| room.window).peekable();
        while windows.peek().is_some() {
            let windows = windows.by_ref().take(rooms_max(&wanted, true)).collect();
            let chunk = Chunk { windows, ..Chunk::default() };
            Box::pin(sync.answer_chunk(chunk, upto, extras, answer)).await?;
        }
        Ok(())
    }

    async fn read(&self, chunk: &mut Chunk) -> Result<Contents, ApiError> {
        let memory = EventMemory::of_isolate(self.context);
        chunk.take_held(&mut memory.borrow_mut(), self.wanted);
        let statements = chunk.statements(self.wanted, &self.reader.user_id);
        if statements.is_empty() {
            return Ok(Contents::default());
        }
        let mut results = Results::new(self.context.batch(statements).await?);
        let contents = chunk.read(self.wanted, &mut results)?;
        memory.borrow_mut().keep_contents(contents.timeline.as_ref(), &contents.events);
        Ok(contents)
    }

    /// Reads the state events that have not come along, so many at a time, and with the first of
    /// them what relates to the events of the timelines.
    async fn read_missing(
        &self,
        rooms: &mut [RoomHistory<VisibleEvent>],
        contents: &mut Contents,
    ) -> Result<(), ApiError> {
        self.retain_related_state(rooms).await?;
        let missing: BTreeSet<OwnedEventId> =
            rooms.iter().flat_map(|room| missing(room, contents)).collect();
        let missing: Vec<OwnedEventId> = missing.into_iter().collect();
        let mut chunks = missing.chunks(STATE_EVENTS_MAX);
        let timelines = rooms.iter().flat_map(|room| &room.timeline);
        let related = aggregations::wanted(timelines.map(|visible| &visible.event));
        if !related.is_empty() {
            let mut batch = aggregations::statements(&related, &self.reader.user_id).to_vec();
            batch.extend(chunks.next().map(|ids| serving::state(event_pages::by_id(ids))));
            let mut results = Results::new(self.context.batch(batch).await?);
            let readers = readers(rooms.iter().map(|room| &room.window));
            let related = aggregations::read(&mut results, self.reader, &readers)?;
            let timelines = rooms.iter_mut().flat_map(|room| &mut room.timeline);
            aggregations::attach(timelines.map(|visible| &mut visible.event), &related);
            self.add_read(&mut results, contents)?;
        }
        for ids in chunks {
            let statement = serving::state(event_pages::by_id(ids));
            let mut results = Results::new(self.context.batch(vec![statement]).await?);
            self.add_read(&mut results, contents)?;
        }
        Ok(())
    }

    fn add_read(&self, results: &mut Results, contents: &mut Contents) -> Result<(), ApiError> {
        let events = serving::read_state(results)?;
        EventMemory::of_isolate(self.context).borrow_mut().keep(&events);
        contents.add_events(events);
        Ok(())
    }

    /// Drops state events that nobody relates to, if the filter wants it so.
    async fn retain_related_state(
        &self,
        rooms: &mut [RoomHistory<VisibleEvent>],
    ) -> Result<(), ApiError> {
        let related_by = &self.wanted.state_related_by;
        if related_by.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = rooms.iter().flat_map(|room| room.state.values()).cloned().collect();
        let mut related = HashSet::new();
        for ids in ids.chunks(STATE_IDS_MAX) {
            let batch = vec![relations::related(ids, related_by)];
            let mut results = Results::new(self.context.batch(batch).await?);
            let rows: Vec<EventIdRow> = results.rows()?;
            related.extend(rows.into_iter().map(|row| row.event_id));
        }
        for room in rooms {
            room.state.retain(|_, event_id| related.contains(event_id));
        }
        Ok(())
    }

    fn add_room(
        &self,
        room: RoomHistory<VisibleEvent>,
        contents: &Contents,
        upto: &StreamToken,
        extras: &mut RoomExtras,
        answer: &mut SyncAnswer,
    ) {
        let room_id = room.window.room_id.clone();
        let state_filter = &self.wanted.filter.room.state;
        let state = room.state.values().filter_map(|event_id| contents.events.get(event_id));
        let state = state.filter(|event| pdu_matches(state_filter, &event.pdu));
        let state: Vec<_> = state.map(|event| self.format(event, None)).collect();
        let prev_batch = upto.with_room_key(RoomStreamToken::live(room.prev_position)).to_string();
        let events = room.timeline.iter();
        let events = events.map(|visible| self.format(&visible.event, Some(&visible.membership)));
        let mut joined = JoinedRoom::default();
        let is_silent =
            state.is_empty() && room.timeline.is_empty() && !room.limited && !room.window.is_full;
        joined.history = self.history(events.collect(), room.limited, prev_batch, state);
        extras.fill(&room_id, &self.wanted.filter.room, &mut joined);
        if room.window.section != Section::Join {
            let JoinedRoom { history, account_data, .. } = joined;
            answer.rooms.leave.insert(room_id, LeftRoom { history, account_data });
            return;
        }
        let has_read = extras.read.contains(&room_id);
        let has_extras = !joined.account_data.is_empty() || !joined.ephemeral.is_empty();
        if is_silent && !has_read && !has_extras {
            return;
        }
        joined.set_counts(contents.counts.get(&room_id), self.counts_threads());
        if self.wanted.lazy_members && (room.window.is_full || room.has_members()) {
            joined.summary = summary(&room, contents);
        }
        answer.rooms.join.insert(room_id, joined);
    }

    fn counts_threads(&self) -> bool {
        self.wanted.timeline.unread_thread_notifications
    }

    fn history(
        &self,
        events: Vec<Box<RawValue>>,
        limited: bool,
        prev_batch: String,
        state: Vec<Box<RawValue>>,
    ) -> History {
        let timeline = TimelineAnswer { events, limited, prev_batch };
        let state = Some(Events { events: state });
        let history = History { timeline, ..History::default() };
        match self.state_after {
            None => History { state, ..history },
            Some(StateAfter::Stable) => History { state_after: state, ..history },
            Some(StateAfter::Unstable) => History { unstable_state_after: state, ..history },
        }
    }

    /// Whether events are told as clients have them, with all of their fields.
    fn shows_whole_events(&self) -> bool {
        let filter = &self.wanted.filter;
        filter.event_fields.is_none() && filter.event_format != WantedFormat::Federation
    }

    fn format(&self, event: &StoredEvent, membership: Option<&str>) -> Box<RawValue> {
        let filter: &FilterDefinition = &self.wanted.filter;
        let format = match filter.event_format {
            WantedFormat::Federation => EventFormat::Federation,
            _ => EventFormat::ClientWithoutRoomId,
        };
        let event = self.reader.format(event, membership, format, self.context.now_ms());
        let fields = filter.event_fields.as_ref().filter(|fields| !fields.is_empty());
        let Some(fields) = fields else { return event };
        match serde_json::from_str(event.get()) {
            Ok(event) => raw_json(&with_relations(project_fields(&event, fields), &event)),
            Err(_) => event,
        }
    }

    async fn account_data(&self, changes: &mut Changes) -> Result<Events, ApiError> {
        let user_id = &self.reader.user_id;
        let mut rules = changes.push_rules.take();
        if changes.push_rules_changed && rules.is_none() {
            let statements = push_rules::select(user_id.as_str()).to_vec();
            let mut results = Results::new(self.context.batch(statements).await?);
            rules = Some(push_rules::StoredRules::read(&mut results)?);
        }
        let rules = rules.map(|rules| rules.content(user_id));
        let rows = std::mem::take(&mut changes.account_data);
        Ok(extras::account_data(rows, rules, &self.wanted.filter.account_data))
    }

    fn presence<'a>(&self, rows: impl Iterator<Item = &'a PresenceRow>, is_new: bool) -> Events {
        let now_ms = self.context.now_ms();
        extras::presence(rows, &self.wanted.filter.presence, is_new, now_ms)
    }
}

/// Windows on the log, and rooms that are seen from outside.
fn split(rooms: BTreeMap<OwnedRoomId, RoomWindow>) -> (Vec<RoomWindow>, Vec<RoomWindow>) {
    rooms
        .into_values()
        .partition(|window| matches!(window.section, Section::Join | Section::Leave { .. }))
}

/// What relates to an event is shown whatever fields are wanted of it.
fn with_relations(
    mut projected: Map<String, Value>,
    event: &Map<String, Value>,
) -> Map<String, Value> {
    let relations = event.get("unsigned").and_then(|unsigned| unsigned.get("m.relations"));
    if let Some(relations) = relations {
        let unsigned = projected.entry("unsigned").or_insert_with(|| Value::Object(Map::new()));
        if let Some(unsigned) = unsigned.as_object_mut() {
            unsigned.insert("m.relations".to_owned(), relations.clone());
        }
    }
    projected
}

fn summary(room: &RoomHistory<VisibleEvent>, contents: &Contents) -> Summary {
    let Some(row) = contents.summaries.get(&room.window.room_id) else {
        return Summary::default();
    };
    Summary {
        heroes: (!row.is_named).then(|| room.heroes.clone()),
        joined_member_count: Some(row.joined_members),
        invited_member_count: Some(row.invited_members),
    }
}
