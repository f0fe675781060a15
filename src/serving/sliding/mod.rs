//! What one request of simplified sliding sync (MSC4186) answers: from the log to the answer.
//!
//! 1. [`look`]: the first look, one batch: how far the log goes, what the client has been told over
//!    the connection, and what of the user's has moved since.
//! 2. `protocol::sliding_sync` says which rooms are told of, and from where on.
//! 3. [`reads`]: the second look, one batch for a chunk of rooms, with what extensions need.
//! 4. [`rooms`]: `protocol::sync` says which events and which state; rooms are written.
//! 5. What the client has been told is kept, in one batch with reading state that has not come
//!    along; nothing is written if it is what it was.
//!
//! Invariant: a position stands for everything up to its streams' positions but for what its
//! connection's value says is missing.

pub mod answer;
pub mod extensions;
pub mod look;
mod reads;
mod rooms;

use std::collections::{BTreeMap, HashSet};

use myelin_protocol::sliding_sync::plan::{miss, plan, remember};
use myelin_protocol::sliding_sync::{
    Connection, ListView, Position, RoomPlan, SentRoom, SlidingSyncRequest, View,
};
use ruma::{OwnedEventId, OwnedRoomId};

use crate::context::Context;
use crate::error::ApiError;
use crate::serving::Reader;
use crate::serving::event_memory::EventMemory;
use crate::serving::sync::turn::Turn;
use crate::storage::database::{Results, Statement};
use crate::storage::sliding_sync_connections::{self, NewState, PositionRow};
use answer::{ListAnswer, RoomAnswer, SlidingSyncAnswer};
use extensions::{Ask, Extension, Told};
use look::Looked;
use reads::{Chunk, Contents, rooms_max};
use rooms::{Missing, ToldRoom, tell};

/// One request, as far as it decides what is answered.
pub struct SlidingSync<'a> {
    pub context: &'a Context,
    pub reader: &'a Reader,
    pub request: &'a SlidingSyncRequest,
    pub request_hash: &'a str,
    pub since: Option<&'a Position>,
}

/// An answer that has not been kept yet: a client that goes on waiting never gets it.
pub struct Draft {
    answer: SlidingSyncAnswer,
    looked: Looked,
    connection: Connection,
    /// What stands for the connection if everything has been told.
    is_complete: bool,
    /// Rooms of which state events have not come along.
    rooms: Vec<ToldRoom>,
    contents: Contents,
    pub is_news: bool,
}

/// What has been told of rooms so far.
#[derive(Default)]
struct Telling {
    answers: BTreeMap<OwnedRoomId, RoomAnswer>,
    sent: BTreeMap<OwnedRoomId, SentRoom>,
    events: HashSet<OwnedEventId>,
    rooms: Vec<ToldRoom>,
    contents: Contents,
}

impl SlidingSync<'_> {
    /// Tells of what a look has found.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn draft(
        &self,
        looked: Looked,
        extensions: &mut [Box<dyn Extension>],
    ) -> Result<Draft, ApiError> {
        let (view, plans, rest) = self.plan(&looked);
        let anew = plans.iter().filter(|plan| plan.is_initial() || plan.is_expanded());
        let anew: HashSet<OwnedRoomId> = anew.map(|plan| plan.room.room_id.clone()).collect();
        let joined = looked.rooms.values().filter(|room| room.is_joined());
        let joined: HashSet<OwnedRoomId> = joined.map(|room| room.room_id.clone()).collect();
        let read = self.read_rooms(&looked, &view, &plans);
        let all = Chunk::new(&plans, &read, &self.reader.user_id);
        let told = Told {
            view: &view,
            is_settled: looked.is_settled,
            anew: &anew,
            joined: &joined,
            excerpts: &all.excerpts,
            connection: &looked.connection,
        };
        let telling = self.tell(&all, &looked, extensions, &told).await?;
        let mut connection = looked.connection.clone();
        let rooms = looked.rooms(&self.reader.user_id, self.since);
        let moved = telling.sent.keys().cloned().collect();
        miss(&rooms, &mut connection, &looked.newly_joined, &moved);
        remember(&mut connection, telling.sent);
        let lists = view.lists.iter();
        connection.counts = lists.map(|(name, list)| (name.clone(), list.count)).collect();
        let mut is_news = !telling.answers.is_empty() || !telling.rooms.is_empty();
        let mut answer = SlidingSyncAnswer { rooms: telling.answers, ..Default::default() };
        let ask = self.ask();
        for extension in extensions.iter_mut() {
            let part = extension.answer(&ask, &told, &telling.events, &mut connection);
            let Some(part) = part else { continue };
            is_news |= part.is_news;
            answer.extensions.insert(part.name, part.content);
        }
        let for_all = extensions.iter().all(|extension| extension.is_for_all_rooms());
        let count = |list: &ListView| ListAnswer { count: list.count };
        answer.lists = view.lists.iter().map(|(name, list)| (name.clone(), count(list))).collect();
        answer.txn_id.clone_from(&self.request.txn_id);
        Ok(Draft {
            is_complete: view.is_complete && rest == 0 && for_all,
            answer,
            connection,
            rooms: telling.rooms,
            contents: telling.contents,
            is_news: is_news || rest > 0,
            looked,
        })
    }

    /// The rooms that the request looks at, those to tell of, and how many are left for later.
    fn plan(&self, looked: &Looked) -> (View, Vec<RoomPlan>, usize) {
        let rooms = looked.rooms(&self.reader.user_id, self.since);
        let view = match looked.is_settled {
            true => rooms.view_moved(self.request, &looked.connection.counts),
            false => rooms.view(self.request),
        };
        let upto = looked.upto.room_key.stream();
        let mut plans = plan(&rooms, &view, &looked.connection, &looked.newly_joined, upto, None);
        let limit = plans.iter().map(|plan| plan.config.timeline_limit).max().unwrap_or(0);
        let rooms_max = self.since.map_or(usize::MAX, |_| rooms_max(limit, false));
        let rest = plans.len().saturating_sub(rooms_max);
        plans.truncate(rooms_max);
        (view, plans, rest)
    }

    /// Rooms of which nothing else is told, in which less is unread.
    fn read_rooms(&self, looked: &Looked, view: &View, plans: &[RoomPlan]) -> Vec<OwnedRoomId> {
        let is_seen = |room_id: &&OwnedRoomId| {
            let is_in_view = view.rooms.contains_key(*room_id) || looked.is_settled;
            let is_told = plans.iter().any(|plan| plan.room.room_id == **room_id);
            is_in_view && !is_told && looked.connection.rooms.contains_key(*room_id)
        };
        looked.read.iter().filter(is_seen).cloned().collect()
    }

    /// Reads what is told of rooms. A first request may be about many rooms: they are read some at
    /// a time, and others are let in between.
    async fn tell(
        &self,
        all: &Chunk<'_>,
        looked: &Looked,
        extensions: &mut [Box<dyn Extension>],
        told: &Told<'_>,
    ) -> Result<Telling, ApiError> {
        let ask = self.ask();
        let mut telling = Telling::default();
        let plans = all.plans;
        let is_first = self.since.is_none();
        let limit = plans.iter().map(|plan| plan.config.timeline_limit).max().unwrap_or(0);
        let size = if is_first { rooms_max(limit, true) } else { plans.len().max(1) };
        let chunks: Vec<&[RoomPlan]> = match plans.is_empty() {
            true => vec![&[]],
            false => plans.chunks(size).collect(),
        };
        let memory = EventMemory::of_isolate(self.context);
        for (index, plans) in chunks.into_iter().enumerate() {
            let _turn = if is_first { Some(Turn::take(self.context).await) } else { None };
            let read = if index == 0 { all.read } else { &[] };
            let mut chunk = Chunk::new(plans, read, &self.reader.user_id);
            chunk.take_held(&mut memory.borrow_mut());
            let mut batch = chunk.statements();
            if index == 0 {
                batch.extend(extensions.iter().flat_map(|e| e.contents(&ask, told)));
            }
            if batch.is_empty() {
                continue;
            }
            let mut results = Results::new(self.context.batch(batch).await?);
            let mut contents = chunk.read(&mut results)?;
            memory.borrow_mut().keep_contents(contents.timeline.as_ref(), &contents.events);
            if index == 0 {
                for extension in extensions.iter_mut() {
                    extension.read_contents(&ask, told, &mut results)?;
                }
            }
            let rooms = tell(&chunk, self.reader, &mut contents);
            for room_id in read {
                let answer = RoomAnswer::of_counts(contents.counts.get(room_id));
                telling.answers.insert(room_id.clone(), answer);
            }
            self.add_chunk(rooms, contents, looked, &mut telling).await?;
        }
        Ok(telling)
    }

    async fn add_chunk(
        &self,
        mut rooms: Vec<ToldRoom>,
        mut contents: Contents,
        looked: &Looked,
        telling: &mut Telling,
    ) -> Result<(), ApiError> {
        for room in &rooms {
            telling.events.extend(room.sent_events().cloned());
            telling.sent.insert(room.plan.room.room_id.clone(), room.sent.clone());
        }
        rooms.retain(ToldRoom::is_news);
        if self.since.is_some() {
            // There is one chunk; what lacks is read when the answer is known to be sent.
            (telling.rooms, telling.contents) = (rooms, contents);
            return Ok(());
        }
        let missing = Missing::of(&rooms, &contents);
        let statements = missing.statements(&self.reader.user_id);
        if !statements.is_empty() {
            let mut results = Results::new(self.context.batch(statements).await?);
            missing.read(self.reader, &mut rooms, &mut contents, &mut results)?;
        }
        for room in rooms {
            let (room_id, answer) = self.answer_room(room, &contents, looked);
            telling.answers.insert(room_id, answer);
        }
        Ok(())
    }

    fn answer_room(
        &self,
        room: ToldRoom,
        contents: &Contents,
        looked: &Looked,
    ) -> (OwnedRoomId, RoomAnswer) {
        let room_id = room.plan.room.room_id.clone();
        let since = self.since.map(|since| since.streams.room_key.stream());
        let now_ms = self.context.now_ms();
        let mut answer = room.answer(self.reader, contents, since, &looked.upto, now_ms);
        answer.is_dm = looked.direct.contains(&room_id);
        (room_id, answer)
    }

    /// Keeps what a draft tells, and finishes it.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn finish(&self, mut draft: Draft) -> Result<SlidingSyncAnswer, ApiError> {
        let missing = Missing::of(&draft.rooms, &draft.contents);
        let mut batch = missing.statements(&self.reader.user_id);
        batch.extend(self.new_state(&mut draft));
        let mut position = self.since.map_or(0, |since| since.connection);
        if !batch.is_empty() {
            let mut results = Results::new(self.context.batch(batch).await?);
            missing.read(self.reader, &mut draft.rooms, &mut draft.contents, &mut results)?;
            if let Some(row) = results.first::<PositionRow>()? {
                position = row.position;
            }
        }
        for room in std::mem::take(&mut draft.rooms) {
            let (room_id, answer) = self.answer_room(room, &draft.contents, &draft.looked);
            draft.answer.rooms.insert(room_id, answer);
        }
        let pos = Position { connection: position, streams: draft.looked.upto };
        draft.answer.pos = pos.to_string();
        Ok(draft.answer)
    }

    /// What is written of a connection: nothing, if it is what it was.
    fn new_state(&self, draft: &mut Draft) -> Vec<Statement> {
        let settled = draft.is_complete.then_some(self.request_hash);
        let is_same = draft.connection == draft.looked.connection
            && draft.looked.settled_request.as_deref() == settled;
        let from = self.since.map_or(0, |since| since.connection);
        if (!self.request.has_rooms() && from == 0) || (is_same && from != 0) {
            return Vec::new();
        }
        let state = draft.connection.to_json();
        let new = NewState {
            device_id: self.reader.device_id.as_ref().map_or("", |id| id.as_str()),
            conn_id: self.request.conn_id.as_deref().unwrap_or_default(),
            from,
            state: &state,
            settled_request: settled,
        };
        sliding_sync_connections::record(&self.reader.user_id, &new, self.context.now_ms())
    }

    fn ask(&self) -> Ask<'_> {
        Ask {
            user_id: &self.reader.user_id,
            device_id: self.reader.device_id.as_deref(),
            since: self.since.map(|since| &since.streams),
            now_ms: self.context.now_ms(),
        }
    }
}
