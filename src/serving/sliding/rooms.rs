//! What came is given to `protocol`, which says which events and which state are told; of that a
//! room's part of the answer is written.

use std::collections::{BTreeSet, HashMap, HashSet};

use myelin_protocol::client_event::EventFormat;
use myelin_protocol::filter::{EventFilter, RelatedBy};
use myelin_protocol::sliding_sync::plan::told_of;
use myelin_protocol::sliding_sync::{RoomPlan, RoomState, SentRoom};
use myelin_protocol::sync::members::{MEMBER, Member, heroes, members_at};
use myelin_protocol::sync::state::{Shown, full_state};
use myelin_protocol::sync::{Excerpt, RoomHistory, RoomLog, StateChange, StateIds, Wanted};
use myelin_protocol::sync_token::{RoomStreamToken, StreamToken};
use ruma::api::client::filter::FilterDefinition;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, UserId};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::answer::{Hero, RoomAnswer};
use super::reads::{Chunk, Contents};
use crate::serving::sync::extras::{state_from_outside, stripped};
use crate::serving::sync::history::{excerpts, readers};
use crate::serving::{self, Reader, StoredEvent, VisibleEvent, aggregations};
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::event_pages;

/// The most state events that are read at once.
const STATE_EVENTS_MAX: usize = 1_000;

/// A room before its state events have been read.
pub struct ToldRoom {
    pub plan: RoomPlan,
    pub history: RoomHistory<VisibleEvent>,
    pub state: StateIds,
    /// What the client has of it afterwards.
    pub sent: SentRoom,
    meta: Meta,
}

/// What a room is called and who is in it, as far as it is told.
#[derive(Default)]
struct Meta {
    name: Option<Option<String>>,
    avatar: Option<Option<String>>,
    heroes: Vec<Hero>,
    joined_count: Option<u64>,
    invited_count: Option<u64>,
    invite_state: Vec<Box<RawValue>>,
}

impl Meta {
    fn is_empty(&self) -> bool {
        self.name.is_none()
            && self.avatar.is_none()
            && self.joined_count.is_none()
            && self.invite_state.is_empty()
    }
}

/// Tells of the rooms of a chunk.
pub fn tell(chunk: &Chunk<'_>, reader: &Reader, contents: &mut Contents) -> Vec<ToldRoom> {
    let mut excerpts = visible(chunk, reader, contents);
    let tell = |plan: &RoomPlan| {
        let excerpt = excerpts.remove(&plan.room.room_id).unwrap_or_default();
        tell_room(plan, excerpt, reader, contents)
    };
    chunk.plans.iter().map(tell).collect()
}

/// The latest events of each room, as far as the reader may see them.
fn visible(
    chunk: &Chunk<'_>,
    reader: &Reader,
    contents: &mut Contents,
) -> HashMap<OwnedRoomId, Excerpt<VisibleEvent>> {
    let Some(timeline) = contents.timeline.take() else { return HashMap::new() };
    let limits = chunk.excerpts.iter().flat_map(|group| {
        group.windows.iter().map(|window| (&window.room_id, group.limit as usize))
    });
    let limits: HashMap<_, _> = limits.collect();
    let windows = chunk
        .plans
        .iter()
        .map(|plan| (&plan.window, limits.get(&plan.room.room_id).copied().unwrap_or_default()));
    // Whoever joins sees who is there, also those who came while they were away.
    let known = contents.base.values().flat_map(|state| state.values().cloned()).collect();
    excerpts(timeline, &windows.collect::<Vec<_>>(), |_| true, &known, reader)
}

fn tell_room(
    plan: &RoomPlan,
    excerpt: Excerpt<VisibleEvent>,
    reader: &Reader,
    contents: &Contents,
) -> ToldRoom {
    let room_id = &plan.room.room_id;
    let changes = contents.changes.get(room_id).cloned().unwrap_or_default();
    let base = contents.base.get(room_id).cloned().unwrap_or_default();
    let upto = plan.window.upto;
    let log = RoomLog {
        window: plan.window.clone(),
        excerpt,
        changes: changes.clone(),
        base: if plan.is_initial() { base.clone() } else { StateIds::new() },
        members: Vec::new(),
        heroes: Vec::new(),
    };
    let mut history = log.tell(&reader.user_id, &wanted(plan));
    let at_end = Shown { start: upto + 1, upto, event_ids: HashSet::new() };
    let state = std::mem::take(&mut history.state);
    let (base, mut changed) = match plan.is_initial() {
        true => (state, StateIds::new()),
        false => {
            let mut base = full_state(base, &changes, &at_end);
            let looked_up = plan.looked_up();
            base.retain(|key, _| looked_up.wants(key));
            (base, state)
        }
    };
    if plan.window.is_outsider() {
        // Of a room that they were never in people are told that they are not.
        let own = (MEMBER.to_owned(), reader.user_id.to_string());
        changed.insert(own, plan.room.event_id.clone());
    }
    let meta = meta(plan, contents, &changes);
    let members: Vec<Member> =
        contents.of_room(&contents.members, room_id).filter_map(StoredEvent::member).collect();
    let (state, sent) = plan.tell(RoomState {
        changed,
        base,
        members: members_at(members.iter(), upto),
        told_of: told_of(&history.timeline),
        is_limited: history.limited,
    });
    ToldRoom { plan: plan.clone(), history, state, sent, meta }
}

/// The timeline of a room as the request wants it, and the state after it.
fn wanted(plan: &RoomPlan) -> Wanted {
    let limit = plan.config.timeline_limit;
    Wanted {
        filter: FilterDefinition::default(),
        timeline: EventFilter::default(),
        state_related_by: RelatedBy::default(),
        limit,
        reach: limit,
        blocks_timeline: limit == 0,
        blocks_state: plan.is_from_outside(),
        lazy_members: false,
        state_after: true,
    }
}

fn meta(plan: &RoomPlan, contents: &Contents, changes: &[StateChange]) -> Meta {
    let room_id = &plan.room.room_id;
    if plan.is_from_outside() {
        return meta_from_outside(plan, contents);
    }
    if !plan.room.is_joined() {
        return meta_of_past(plan, contents);
    }
    let Some(row) = contents.meta.get(room_id) else { return Meta::default() };
    let within = || changes.iter().filter(|change| change.stream_id <= plan.window.upto);
    let has_changed =
        |event_type: &str| plan.is_initial() || within().any(|change| change.key.0 == event_type);
    let mut meta = Meta::default();
    let name = row.name.clone().filter(|name| !name.is_empty());
    if has_changed(MEMBER) {
        meta.joined_count = Some(row.joined_members);
        meta.invited_count = Some(row.invited_members);
    }
    if name.is_none() && (has_changed(MEMBER) || has_changed("m.room.name")) {
        let events: Vec<_> = contents.of_room(&contents.heroes, room_id).collect();
        meta.heroes = told_heroes(&events);
    }
    if has_changed("m.room.name") {
        meta.name = (name.is_some() || !plan.is_initial()).then_some(name);
    }
    if has_changed("m.room.avatar") {
        let avatar = row.avatar.clone();
        meta.avatar = (avatar.is_some() || !plan.is_initial()).then_some(avatar);
    }
    meta
}

/// What those who are invited or knock are told.
fn meta_from_outside(plan: &RoomPlan, contents: &Contents) -> Meta {
    let Some(member) = contents.events.get(&plan.room.event_id) else { return Meta::default() };
    let current = contents.stripped.get(&plan.room.room_id).into_iter().flatten();
    let current = current.filter_map(|event_id| contents.events.get(event_id));
    let mut invite_state = state_from_outside(member, current);
    invite_state.push(stripped(member));
    let text = |event_type: &str, field: &str| {
        let events = invite_state.iter();
        let mut events =
            events.filter_map(|event| serde_json::from_str::<Map<String, Value>>(event.get()).ok());
        let event =
            events.find(|event| event.get("type").and_then(Value::as_str) == Some(event_type))?;
        Some(event.get("content")?.get(field)?.as_str()?.to_owned())
    };
    Meta {
        name: text("m.room.name", "name").filter(|name| !name.is_empty()).map(Some),
        avatar: text("m.room.avatar", "url").map(Some),
        invite_state,
        ..Meta::default()
    }
}

/// What those who have left are told: what the room was called then.
fn meta_of_past(plan: &RoomPlan, contents: &Contents) -> Meta {
    let state = contents.base.get(&plan.room.room_id).filter(|_| plan.is_initial());
    let text = |event_type: &str, field: &str| {
        let event_id = state?.get(&(event_type.to_owned(), String::new()))?;
        let content: Map<String, Value> = contents.events.get(event_id)?.pdu.content_as()?;
        Some(content.get(field)?.as_str()?.to_owned())
    };
    Meta {
        name: text("m.room.name", "name").filter(|name| !name.is_empty()).map(Some),
        avatar: text("m.room.avatar", "url").map(Some),
        ..Meta::default()
    }
}

fn told_heroes(events: &[&StoredEvent]) -> Vec<Hero> {
    let members: Vec<Member> = events.iter().copied().filter_map(StoredEvent::member).collect();
    let hero = |user_id: OwnedUserId| {
        let of_user = |event: &&&StoredEvent| {
            event.pdu.state_key.as_deref() == Some(UserId::as_str(&user_id))
        };
        let event = events.iter().find(of_user);
        let content = event.and_then(|event| event.pdu.content_as::<Map<String, Value>>());
        let text = |field: &str| Some(content.as_ref()?.get(field)?.as_str()?.to_owned());
        Hero { displayname: text("displayname"), avatar_url: text("avatar_url"), user_id }
    };
    heroes(&members).into_iter().map(hero).collect()
}

impl ToldRoom {
    /// State events that have not come along.
    pub fn missing<'a>(
        &'a self,
        contents: &'a Contents,
    ) -> impl Iterator<Item = OwnedEventId> + 'a {
        let ids = self.state.values();
        ids.filter(|id| !contents.events.contains_key(*id) && self.in_timeline(id).is_none())
            .cloned()
    }

    fn in_timeline(&self, event_id: &OwnedEventId) -> Option<&StoredEvent> {
        let events = self.history.timeline.iter().map(|visible| &visible.event);
        events.into_iter().find(|event| event.pdu.event_id == *event_id)
    }

    /// Whether there is anything to tell.
    pub fn is_news(&self) -> bool {
        self.plan.is_initial()
            || !self.state.is_empty()
            || !self.history.timeline.is_empty()
            || !self.meta.is_empty()
    }

    /// The events that the client gets to see.
    pub fn sent_events(&self) -> impl Iterator<Item = &OwnedEventId> {
        self.history.timeline.iter().map(|visible| &visible.event.pdu.event_id)
    }

    /// The room's part of the answer; `since` is the client's position in the events.
    pub fn answer(
        self,
        reader: &Reader,
        contents: &Contents,
        since: Option<i64>,
        upto: &StreamToken,
        now_ms: u64,
    ) -> RoomAnswer {
        let format = |event: &StoredEvent, membership: Option<&str>| {
            reader.format(event, membership, EventFormat::ClientWithoutRoomId, now_ms)
        };
        let state = self.state.values();
        let state = state.filter_map(|id| contents.events.get(id).or_else(|| self.in_timeline(id)));
        let required_state = state.map(|event| format(event, None)).collect();
        let timeline = self.history.timeline.iter();
        let is_live = |visible: &&VisibleEvent| {
            since.is_some_and(|since| visible.event.stream_ordering > since)
        };
        let num_live = timeline.clone().rev().take_while(is_live).count();
        let timeline = timeline.map(|visible| format(&visible.event, Some(&visible.membership)));
        let timeline: Vec<_> = timeline.collect();
        let has_timeline = self.plan.config.timeline_limit > 0 && !self.plan.is_from_outside();
        let prev_batch = upto.with_room_key(RoomStreamToken::live(self.history.prev_position));
        let recency = self.plan.room.recency();
        let is_bumped =
            recency > self.plan.window.after || self.plan.is_initial() || self.history.limited;
        RoomAnswer {
            name: self.meta.name,
            avatar: self.meta.avatar,
            heroes: self.meta.heroes,
            initial: self.plan.is_initial(),
            unstable_expanded_timeline: self.plan.is_expanded(),
            required_state,
            timeline,
            limited: has_timeline.then_some(self.history.limited),
            prev_batch: has_timeline.then(|| prev_batch.to_string()),
            num_live: has_timeline.then_some(num_live),
            invite_state: self.meta.invite_state,
            bump_stamp: is_bumped.then_some(recency),
            joined_count: self.meta.joined_count,
            invited_count: self.meta.invited_count,
            ..RoomAnswer::of_counts(contents.counts.get(&self.plan.room.room_id))
        }
    }
}

/// What has not come along with a chunk: state events, and what relates to the timelines' events.
pub struct Missing {
    state: Vec<OwnedEventId>,
    related: Vec<OwnedEventId>,
}

impl Missing {
    pub fn of(rooms: &[ToldRoom], contents: &Contents) -> Self {
        let state: BTreeSet<OwnedEventId> =
            rooms.iter().flat_map(|room| room.missing(contents)).collect();
        let timelines = rooms.iter().flat_map(|room| &room.history.timeline);
        let related = aggregations::wanted(timelines.map(|visible| &visible.event));
        Self { state: state.into_iter().collect(), related }
    }

    /// The statements that read it, in the order in which [`Missing::read`] takes their results.
    pub fn statements(&self, user_id: &UserId) -> Vec<Statement> {
        let mut batch = Vec::new();
        if !self.related.is_empty() {
            batch.extend(aggregations::statements(&self.related, user_id));
        }
        let read = |ids: &[OwnedEventId]| serving::state(event_pages::by_id(ids));
        batch.extend(self.state.chunks(STATE_EVENTS_MAX).map(read));
        batch
    }

    /// Takes the results of [`Missing::statements`].
    ///
    /// # Errors
    /// If the rows are not of those statements.
    pub fn read(
        &self,
        reader: &Reader,
        rooms: &mut [ToldRoom],
        contents: &mut Contents,
        results: &mut Results,
    ) -> Result<(), DatabaseError> {
        if !self.related.is_empty() {
            let readers = readers(rooms.iter().map(|room| &room.plan.window));
            let related = aggregations::read(results, reader, &readers)?;
            let timelines = rooms.iter_mut().flat_map(|room| &mut room.history.timeline);
            aggregations::attach(timelines.map(|visible| &mut visible.event), &related);
        }
        for _ in self.state.chunks(STATE_EVENTS_MAX) {
            let events = serving::read_state(results)?;
            contents.add_events(events);
        }
        Ok(())
    }
}
