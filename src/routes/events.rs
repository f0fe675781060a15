//! `/events`: the stream of old clients, and of those who look into a room that everyone may
//! read. Deprecated since version r0 of the client-server API.
//!
//! Invariant: a token stands for everything up to its positions. Where a room has more events
//! than one answer takes, the token goes no further than what was given.

use std::collections::{BTreeMap, HashMap, HashSet};

use http::Method;
use myelin_protocol::client_event::EventFormat;
use myelin_protocol::filter::EventFilter;
use myelin_protocol::sync_token::{RoomStreamToken, StreamToken};
use ruma::presence::PresenceState;
use ruma::{OwnedEventId, OwnedRoomId, RoomId};
use serde_json::{Map, Value, json};

use super::{Access, Answer, Caller, Incoming, Route, json as answer, raw};
use crate::accounts::presence::note_sync;
use crate::durable::Waited;
use crate::error::ApiError;
use crate::serving::legacy::{as_first_version, data_event, presence_event, receipt_events};
use crate::serving::sync::changes;
use crate::serving::{Reader, RoomAccess, StoredEvent, Timeline};
use crate::serving::{aggregations, read_state, state, timeline};
use crate::storage::account_data::{self, AccountDataRow, RoomAccountDataRow};
use crate::storage::database::{Results, Statement};
use crate::storage::event_pages::{self, StreamWindow};
use crate::storage::events::{self, IgnoredRow, ReaderRow};
use crate::storage::presence::{self, PresenceRow};
use crate::storage::receipts::{self, ReceiptRow};
use crate::storage::room_members::{self, InitialRoomRow};
use crate::storage::room_tags::{self, TagRow};
use crate::storage::stream_positions;
use crate::storage::typing::{self, RoomTyping};

pub fn routes() -> Vec<Route> {
    let paths =
        ["/_matrix/client/v3/events", "/_matrix/client/r0/events", "/_matrix/client/api/v1/events"];
    let one = [
        "/_matrix/client/v3/events/{event_id}",
        "/_matrix/client/r0/events/{event_id}",
        "/_matrix/client/api/v1/events/{event_id}",
    ];
    vec![raw(Method::GET, &paths, get_events), raw(Method::GET, &one, get_one)]
}

/// How long a request waits unless it says otherwise, and at most.
const TIMEOUT_DEFAULT_MS: u64 = 30_000;
const TIMEOUT_MAX_MS: u64 = 300_000;
/// Events of one room in one answer.
const EVENTS_OF_ROOM_MAX: u32 = 100;

/// `GET /_matrix/client/v3/events`
async fn get_events(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let from = incoming.query("from").map(|from| from.parse::<StreamToken>()).transpose();
    let from = from.map_err(|error| ApiError::invalid_param(error.to_string()))?;
    let room_id = incoming.query("room_id").map(RoomId::parse).transpose();
    let room_id = room_id.map_err(|_| ApiError::invalid_param("That is not a room id"))?;
    let timeout_ms = match incoming.query("timeout").map(|timeout| timeout.parse::<u64>()) {
        None => TIMEOUT_DEFAULT_MS,
        Some(Ok(timeout_ms)) => timeout_ms.min(TIMEOUT_MAX_MS),
        Some(Err(_)) => return Err(ApiError::invalid_param("timeout must be a number")),
    };
    let deadline_ms = access.context.now_ms() + timeout_ms;
    let token = access.token()?.to_owned();
    let mut statements = Look::statements(&token, room_id.as_ref());
    statements.push(presence::select_device_of(&token));
    let (caller, results) = access.authenticate_with(statements).await?;
    if caller.is_guest && room_id.is_none() {
        return Err(ApiError::missing_param("Guests must say which room they look into"));
    }
    let mut results = Results::new(results);
    let look = Look::read(&mut results)?;
    note_sync(&caller.actor(), results.first()?, &PresenceState::Online, deadline_ms);
    let access = room_id.as_ref().map(|_| RoomAccess::of(look.room.as_ref())).transpose()?;
    let is_peeking = access == Some(RoomAccess::WorldReadable);
    let from = from.unwrap_or_else(|| look.upto.clone());
    let start = from.to_string();
    let stream = EventStream { caller, room_id, is_peeking, from };
    let (chunk, end) = stream.wait(look, deadline_ms).await?;
    answer(&json!({ "chunk": chunk, "start": start, "end": end.to_string() }))
}

/// `GET /_matrix/client/v3/events/{eventId}`
async fn get_one(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let event_id: OwnedEventId = incoming.id(0)?;
    let token = access.token()?.to_owned();
    let mut batch = timeline(event_pages::one(&event_id), &token).to_vec();
    batch.push(events::ignored_users(&token));
    let (caller, results) = access.authenticate_with(batch).await?;
    let mut results = Results::new(results);
    let timeline = Timeline::read(&mut results)?;
    let ignored: Vec<IgnoredRow> = results.rows()?;
    let reader = Reader {
        user_id: caller.user_id.clone(),
        device_id: caller.device_id.clone(),
        ignored: ignored.into_iter().map(|row| row.ignored_user_id).collect(),
    };
    // Only the event says which room it is of.
    let rooms: Vec<_> = timeline.events.iter().map(|event| event.pdu.room_id.clone()).collect();
    let batch = vec![events::readers(&rooms, caller.user_id.as_str()).unless_empty(&rooms)];
    let rows: Vec<ReaderRow> = Results::new(caller.context.batch(batch).await?).rows()?;
    let rooms = rows.into_iter().map(|room| (room.room_id.clone(), room)).collect();
    let mut visible = timeline.visible(&reader, &rooms);
    aggregations::add(&caller.context, &reader, &rooms, &mut visible).await?;
    // An event that may not be seen is as good as none.
    let visible = visible.first().ok_or_else(|| ApiError::not_found("Event not found."))?;
    let (membership, now_ms) = (Some(visible.membership.as_str()), caller.context.now_ms());
    let event = reader.format(&visible.event, membership, EventFormat::Client, now_ms);
    answer(&as_first_version(&event))
}

/// What a look into the log finds first: how far it goes, and which rooms concern the reader.
struct Look {
    upto: StreamToken,
    rooms: Vec<InitialRoomRow>,
    ignored: Vec<IgnoredRow>,
    /// The room that was asked for.
    room: Option<ReaderRow>,
}

impl Look {
    fn statements(user_or_token: &str, room_id: Option<&OwnedRoomId>) -> Vec<Statement> {
        let asked: Vec<OwnedRoomId> = room_id.into_iter().cloned().collect();
        vec![
            stream_positions::select_all(),
            room_members::select_initial_rooms(user_or_token, true),
            events::ignored_users(user_or_token),
            events::readers(&asked, user_or_token),
        ]
    }

    fn read(results: &mut Results) -> Result<Self, ApiError> {
        Ok(Self {
            upto: changes::token(&results.rows()?),
            rooms: results.rows()?,
            ignored: results.rows()?,
            room: results.first()?,
        })
    }
}

/// One request's stream.
struct EventStream {
    caller: Caller,
    room_id: Option<OwnedRoomId>,
    /// Whether that room is read from outside.
    is_peeking: bool,
    from: StreamToken,
}

impl EventStream {
    /// Waits until there is something: registers FIRST and looks AFTER.
    async fn wait(
        &self,
        look: Look,
        deadline_ms: u64,
    ) -> Result<(Vec<Value>, StreamToken), ApiError> {
        let context = &self.caller.context;
        let (mut chunk, mut end) = self.answer(look).await?;
        if !chunk.is_empty() || context.now_ms() >= deadline_ms {
            return Ok((chunk, end));
        }
        let peeked = self.room_id.as_deref().filter(|_| self.is_peeking);
        let device_id = self.caller.device_id.as_deref();
        let waiter = context.register_waiter(&self.caller.user_id, device_id, peeked);
        let mut waiter = waiter.await?;
        let mut waited = Waited::Woken;
        loop {
            let user_id = self.caller.user_id.as_str();
            let batch = Look::statements(user_id, self.room_id.as_ref());
            let look = Look::read(&mut Results::new(context.batch(batch).await?))?;
            (chunk, end) = self.answer(look).await?;
            let now_ms = context.now_ms();
            if !chunk.is_empty() || waited != Waited::Woken || now_ms >= deadline_ms {
                return Ok((chunk, end));
            }
            waited = waiter.wait(deadline_ms - now_ms).await;
            if waited == Waited::HungUp {
                return Ok((chunk, end));
            }
        }
    }

    async fn answer(&self, look: Look) -> Result<(Vec<Value>, StreamToken), ApiError> {
        if look.upto == self.from {
            return Ok((Vec::new(), look.upto));
        }
        let (windows, own) = self.windows(&look);
        let mut batch = self.history_statements(&windows, &own);
        batch.extend(self.other_statements(&look.upto));
        let mut results = Results::new(self.caller.context.batch(batch).await?);
        let reader = Reader {
            user_id: self.caller.user_id.clone(),
            device_id: self.caller.device_id.clone(),
            ignored: look.ignored.iter().map(|row| row.ignored_user_id.clone()).collect(),
        };
        let (mut chunk, last) = self.history(&reader, &own, &mut results).await?;
        if let Some(last) = last {
            // The rest of the rooms comes with the next answer.
            return Ok((chunk, self.from.with_room_key(RoomStreamToken::live(last))));
        }
        chunk.extend(self.others(&mut results)?);
        Ok((chunk, look.upto))
    }

    /// Of which rooms what is new, and the reader's own memberships that are.
    fn windows(&self, look: &Look) -> (Vec<StreamWindow>, Vec<OwnedEventId>) {
        let (after, now) = (self.from.room_key.stream(), look.upto.room_key.stream());
        let mut windows: BTreeMap<OwnedRoomId, StreamWindow> = BTreeMap::new();
        let mut own = Vec::new();
        let mut add = |room_id: &OwnedRoomId, upto: i64| {
            let room_id = room_id.clone();
            windows.insert(room_id.clone(), StreamWindow { room_id, after, upto });
        };
        if let Some(room) = &look.room {
            add(&room.room_id, now);
        }
        for row in &look.rooms {
            let is_asked = self.room_id.as_ref().is_none_or(|room_id| *room_id == row.room_id);
            let position = row.stream_ordering.unwrap_or(0);
            if !is_asked {
                continue;
            }
            if position > after {
                own.push(row.event_id.clone());
            }
            match row.membership.as_str() {
                "join" => add(&row.room_id, now),
                "leave" | "ban" => add(&row.room_id, position),
                _ => {}
            }
        }
        let windows = windows.into_values().filter(|window| window.upto > window.after);
        (windows.collect(), own)
    }

    fn history_statements(&self, windows: &[StreamWindow], own: &[OwnedEventId]) -> Vec<Statement> {
        let user_id = self.caller.user_id.as_str();
        let rooms: Vec<OwnedRoomId> = windows.iter().map(|window| window.room_id.clone()).collect();
        let earliest = event_pages::earliest(windows, EVENTS_OF_ROOM_MAX, &EventFilter::default());
        let mut batch = vec![events::readers(&rooms, user_id)];
        batch.extend(timeline(earliest, user_id));
        batch.push(state(event_pages::by_id(own)));
        batch
    }

    /// The events, and where they end if there are more.
    async fn history(
        &self,
        reader: &Reader,
        own: &[OwnedEventId],
        results: &mut Results,
    ) -> Result<(Vec<Value>, Option<i64>), ApiError> {
        let rooms: Vec<ReaderRow> = results.rows()?;
        let rooms: HashMap<_, _> =
            rooms.into_iter().map(|room| (room.room_id.clone(), room)).collect();
        let timeline = Timeline::read(results)?;
        let last = cut(&timeline.events);
        let own: HashSet<&OwnedEventId> = own.iter().collect();
        let now_ms = self.caller.context.now_ms();
        let format = |event: &StoredEvent, membership: Option<&str>| {
            let event_json = reader.format(event, membership, EventFormat::Client, now_ms);
            (event.stream_ordering, as_first_version(&event_json))
        };
        let mut visible = timeline.visible(reader, &rooms);
        aggregations::add(&self.caller.context, reader, &rooms, &mut visible).await?;
        let visible = visible.iter().filter(|visible| !own.contains(&visible.event.pdu.event_id));
        let mut events: Vec<(i64, Value)> =
            visible.map(|visible| format(&visible.event, Some(&visible.membership))).collect();
        // Whoever is invited or thrown out learns of it, whatever else they may see.
        events.extend(read_state(results)?.iter().map(|event| format(event, None)));
        events.retain(|(position, _)| last.is_none_or(|last| *position <= last));
        events.sort_by_key(|(position, _)| *position);
        Ok((events.into_iter().map(|(_, event)| event).collect(), last))
    }

    fn other_statements(&self, upto: &StreamToken) -> Vec<Statement> {
        let (user_id, from) = (&self.caller.user_id, &self.from);
        let now_ms = self.caller.context.now_ms();
        let data = (from.account_data_key, upto.account_data_key);
        let presence = (from.presence_key, upto.presence_key);
        let receipts = (from.receipt_key.stream, upto.receipt_key.stream);
        let ephemeral = match self.room_id.as_deref().filter(|_| self.is_peeking) {
            Some(room_id) => [
                presence::updated_in_room_since(room_id, presence.0, presence.1),
                receipts::updated_in_room_since(room_id, receipts.0, receipts.1),
                typing::updated_in_room_since(room_id, from.typing_key, now_ms),
            ],
            None => [
                presence::updated_since(user_id, presence.0, presence.1),
                receipts::updated_since(user_id, receipts.0, receipts.1),
                typing::updated_since(user_id, from.typing_key, now_ms),
            ],
        };
        let private = [
            room_tags::updated_since(user_id, data.0, data.1),
            account_data::updated_in_rooms_since(user_id, data.0, data.1),
            account_data::updated_since(user_id, data.0, data.1),
        ];
        ephemeral.into_iter().chain(private).collect()
    }

    /// What is not an event of a room: of the room that was asked for, or of all.
    fn others(&self, results: &mut Results) -> Result<Vec<Value>, ApiError> {
        let now_ms = self.caller.context.now_ms();
        let presences: Vec<PresenceRow> = results.rows()?;
        let receipts: Vec<ReceiptRow> = results.rows()?;
        let typing: Vec<RoomTyping> = results.rows()?;
        let tags: Vec<TagRow> = results.rows()?;
        let room_data: Vec<RoomAccountDataRow> = results.rows()?;
        let data: Vec<AccountDataRow> = results.rows()?;
        let mut events = Vec::new();
        if self.caller.context.config.presence {
            events.extend(presences.iter().map(|row| presence_event(row, now_ms)));
        }
        events.extend(receipt_events(&receipts));
        events.extend(typing.iter().map(|room| {
            let content = json!({ "user_ids": room.user_ids });
            json!({ "type": "m.typing", "room_id": room.room_id, "content": content })
        }));
        events.extend(tag_events(&tags));
        events.extend(room_data.iter().map(|row| {
            let mut event = data_event(&row.event_type, &row.content);
            event["room_id"] = json!(row.room_id);
            event
        }));
        if self.room_id.is_none() {
            events.extend(data.iter().map(|row| data_event(&row.event_type, &row.content)));
        }
        let is_asked = |event: &Value| match (&self.room_id, &event["room_id"]) {
            (Some(asked), Value::String(room_id)) => asked == room_id,
            _ => true,
        };
        events.retain(is_asked);
        Ok(events)
    }
}

/// Where the earliest of the rooms ends that have more events than were read.
fn cut(events: &[StoredEvent]) -> Option<i64> {
    let mut rooms: HashMap<&RoomId, (u32, i64)> = HashMap::new();
    for event in events {
        let room = rooms.entry(&event.pdu.room_id).or_default();
        *room = (room.0 + 1, event.stream_ordering);
    }
    let full = rooms.into_values().filter(|(count, _)| *count >= EVENTS_OF_ROOM_MAX);
    full.map(|(_, last)| last).min()
}

fn tag_events(rows: &[TagRow]) -> Vec<Value> {
    let mut rooms: BTreeMap<&RoomId, Map<String, Value>> = BTreeMap::new();
    for row in rows {
        let tags = rooms.entry(&row.room_id).or_default();
        if let (Some(tag), Some(content)) = (&row.tag, &row.content) {
            tags.insert(tag.clone(), serde_json::from_str(content).unwrap_or_default());
        }
    }
    let content = |tags| json!({ "tags": tags });
    let event =
        |(room, tags)| json!({ "type": "m.tag", "room_id": room, "content": content(tags) });
    rooms.into_iter().map(event).collect()
}
