//! `/initialSync`, of all rooms and of one: how old clients begin, and how anyone looks into a
//! room that everyone may read. Deprecated since version r0 of the client-server API.

use std::collections::{BTreeMap, HashMap, HashSet};

use http::Method;
use myelin_protocol::client_event::EventFormat;
use myelin_protocol::filter::{EventFilter, LIMIT_MAX};
use myelin_protocol::sync_token::StreamToken;
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Map, Value, json};

use super::room_read::RoomRead;
use super::{Access, Answer, Caller, Incoming, Route, json as answer, raw};
use crate::error::ApiError;
use crate::serving::legacy::{as_first_version, data_event, presence_event, receipt_events};
use crate::serving::sync::changes;
use crate::serving::{Reader, RoomAccess, StoredEvent, Timeline, VisibleEvent};
use crate::serving::{aggregations, read_state, state, timeline};
use crate::storage::account_data::{self, AccountDataRow, RoomAccountDataRow};
use crate::storage::database::{Results, Statement};
use crate::storage::event_pages::{self, StreamWindow};
use crate::storage::events::{self, IgnoredRow, ReaderRow};
use crate::storage::presence::{self, PresenceRow};
use crate::storage::receipts::{self, ReceiptRow};
use crate::storage::room_members::{self, InitialRoomRow};
use crate::storage::room_tags::{self, TagRow};
use crate::storage::state_groups::{self, StateFilter};
use crate::storage::stream_positions::{self, NOW};

pub fn routes() -> Vec<Route> {
    vec![
        raw(
            Method::GET,
            &[
                "/_matrix/client/v3/initialSync",
                "/_matrix/client/r0/initialSync",
                "/_matrix/client/api/v1/initialSync",
            ],
            initial_sync,
        ),
        raw(
            Method::GET,
            &[
                "/_matrix/client/v3/rooms/{room_id}/initialSync",
                "/_matrix/client/r0/rooms/{room_id}/initialSync",
                "/_matrix/client/api/v1/rooms/{room_id}/initialSync",
            ],
            initial_sync_of_room,
        ),
    ]
}

/// How many messages of a room come when nobody says how many.
const MESSAGES_DEFAULT: u32 = 10;
/// Rooms that are read with one batch, so that nobody else waits long for the database.
const ROOMS_OF_BATCH_MAX: usize = 20;

/// `GET /_matrix/client/v3/initialSync`
async fn initial_sync(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let limit = limit(&incoming)?;
    let archived = incoming.query("archived").as_deref() == Some("true");
    let token = access.token()?.to_owned();
    let batch = vec![
        room_members::select_initial_rooms(&token, archived),
        events::ignored_users(&token),
        stream_positions::select_all(),
    ];
    let (caller, results) = access.authenticate_with(batch).await?;
    caller.must_not_be_guest()?;
    let mut results = Results::new(results);
    let rows: Vec<InitialRoomRow> = results.rows()?;
    let reader = reader(&caller, results.rows()?);
    let upto = changes::token(&results.rows()?);
    let mut rooms = Vec::with_capacity(rows.len());
    let mut all_receipts = Vec::new();
    for chunk in rows.chunks(ROOMS_OF_BATCH_MAX) {
        let mut contents = Contents::read(&caller, &reader, chunk, limit).await?;
        all_receipts.append(&mut contents.receipts);
        rooms.extend(chunk.iter().map(|row| contents.room(row, &upto)));
    }
    let user_id = &caller.user_id;
    let batch = vec![
        account_data::updated_since(user_id, 0, NOW),
        presence::updated_since(user_id, 0, NOW),
    ];
    let mut results = Results::new(caller.context.batch(batch).await?);
    let data: Vec<AccountDataRow> = results.rows()?;
    let presences = presence_events(&caller, &results.rows()?);
    let data = data.iter().map(|row| data_event(&row.event_type, &row.content));
    answer(&json!({
        "end": upto.to_string(),
        "rooms": rooms,
        "presence": presences,
        "receipts": receipt_events(&all_receipts),
        "account_data": data.collect::<Vec<_>>(),
    }))
}

/// `GET /_matrix/client/v3/rooms/{roomId}/initialSync`
async fn initial_sync_of_room(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let limit = limit(&incoming)?;
    let room_id = RoomId::parse(incoming.arg(0))
        .map_err(|_| ApiError::invalid_param("That is not a room id"))?;
    let asked = room_id.clone();
    let statements = |reader: &str| {
        vec![
            room_members::select_initial_room(reader, &asked),
            stream_positions::select_all(),
            presence::select_in_room(&asked),
        ]
    };
    let mut read = RoomRead::begin(access, room_id, statements).await?;
    let how = read.access()?;
    let row: Option<InitialRoomRow> = read.results.first()?;
    let upto = changes::token(&read.results.rows()?);
    let presences: Vec<PresenceRow> = read.results.rows()?;
    let (asked, is_peeking) = match (row, how) {
        (Some(row), RoomAccess::Joined | RoomAccess::Departed { .. }) => (Asked::of(&row), false),
        _ => (Asked::peek(&read.room_id), true),
    };
    let mut contents = Contents::read_asked(&read.caller, &read.reader, vec![asked], limit).await?;
    let receipts = receipt_events(&std::mem::take(&mut contents.receipts));
    let mut room = contents.fields(&read.room_id, &upto);
    room.insert("receipts".to_owned(), json!(receipts));
    let is_past = matches!(how, RoomAccess::Departed { .. });
    let shown = if is_past { Vec::new() } else { presence_events(&read.caller, &presences) };
    room.insert("presence".to_owned(), json!(shown));
    if !is_peeking {
        let membership = read.room.as_ref().and_then(|room| room.membership.clone());
        room.insert("membership".to_owned(), json!(membership));
    }
    answer(&Value::Object(room))
}

fn limit(incoming: &Incoming) -> Result<u32, ApiError> {
    let Some(limit) = incoming.query("limit") else { return Ok(MESSAGES_DEFAULT) };
    let limit: u32 =
        limit.parse().map_err(|_| ApiError::invalid_param("limit must be a number"))?;
    Ok(limit.min(u32::try_from(LIMIT_MAX).unwrap_or(u32::MAX)))
}

fn reader(caller: &Caller, ignored: Vec<IgnoredRow>) -> Reader {
    Reader {
        user_id: caller.user_id.clone(),
        device_id: caller.device_id.clone(),
        ignored: ignored.into_iter().map(|row| row.ignored_user_id).collect::<HashSet<_>>(),
    }
}

fn presence_events(caller: &Caller, rows: &[PresenceRow]) -> Vec<Value> {
    if !caller.context.config.presence {
        return Vec::new();
    }
    let now_ms = caller.context.now_ms();
    rows.iter().map(|row| presence_event(row, now_ms)).collect()
}

/// A room to be read: its present, or its past up to a membership event.
struct Asked {
    room_id: OwnedRoomId,
    upto: i64,
    past_group: Option<i64>,
    is_past: bool,
}

impl Asked {
    fn of(row: &InitialRoomRow) -> Self {
        let is_past = row.membership != "join";
        let upto = row.stream_ordering.filter(|_| is_past).unwrap_or(NOW);
        let past_group = row.state_group.filter(|_| is_past);
        Self { room_id: row.room_id.clone(), upto, past_group, is_past }
    }

    fn peek(room_id: &RoomId) -> Self {
        Self { room_id: room_id.to_owned(), upto: NOW, past_group: None, is_past: false }
    }
}

/// What has been read of some rooms.
struct Contents<'a> {
    reader: &'a Reader,
    now_ms: u64,
    /// Of invitations, by their room.
    invitations: HashMap<OwnedRoomId, StoredEvent>,
    messages: BTreeMap<OwnedRoomId, Vec<VisibleEvent>>,
    state: HashMap<OwnedRoomId, Vec<StoredEvent>>,
    receipts: Vec<ReceiptRow>,
    tags: Vec<TagRow>,
    data: Vec<RoomAccountDataRow>,
}

impl<'a> Contents<'a> {
    async fn read(
        caller: &Caller,
        reader: &'a Reader,
        rows: &[InitialRoomRow],
        limit: u32,
    ) -> Result<Self, ApiError> {
        let (invited, entered): (Vec<_>, Vec<_>) =
            rows.iter().partition(|row| row.membership == "invite");
        let asked = entered.into_iter().map(Asked::of).collect();
        let mut contents = Self::read_asked(caller, reader, asked, limit).await?;
        let invitations: Vec<_> = invited.iter().map(|row| row.event_id.clone()).collect();
        if !invitations.is_empty() {
            let batch = vec![state(event_pages::by_id(&invitations))];
            let mut results = Results::new(caller.context.batch(batch).await?);
            let events = read_state(&mut results)?.into_iter();
            contents.invitations = events.map(|event| (event.pdu.room_id.clone(), event)).collect();
        }
        Ok(contents)
    }

    async fn read_asked(
        caller: &Caller,
        reader: &'a Reader,
        asked: Vec<Asked>,
        limit: u32,
    ) -> Result<Self, ApiError> {
        let mut results =
            Results::new(caller.context.batch(statements(reader, &asked, limit)).await?);
        let rooms: Vec<ReaderRow> = results.rows()?;
        let rooms = rooms.into_iter().map(|room| (room.room_id.clone(), room)).collect();
        let mut messages: BTreeMap<OwnedRoomId, Vec<VisibleEvent>> = BTreeMap::new();
        let mut visible = Timeline::read(&mut results)?.visible(reader, &rooms);
        aggregations::add(&caller.context, reader, &rooms, &mut visible).await?;
        for visible in visible {
            messages.entry(visible.event.pdu.room_id.clone()).or_default().push(visible);
        }
        let mut state: HashMap<OwnedRoomId, Vec<StoredEvent>> = HashMap::new();
        for event in read_state(&mut results)?.into_iter().chain(read_state(&mut results)?) {
            state.entry(event.pdu.room_id.clone()).or_default().push(event);
        }
        Ok(Self {
            reader,
            now_ms: caller.context.now_ms(),
            invitations: HashMap::new(),
            messages,
            state,
            receipts: results.rows()?,
            tags: results.rows()?,
            data: results.rows()?,
        })
    }

    /// A room of the list of all rooms.
    fn room(&self, row: &InitialRoomRow, upto: &StreamToken) -> Value {
        let mut room = match self.invitations.get(&row.room_id) {
            Some(event) => Map::from_iter([
                ("room_id".to_owned(), json!(row.room_id)),
                ("inviter".to_owned(), json!(event.pdu.sender)),
                ("invite".to_owned(), self.format(event, None)),
            ]),
            None => self.fields(&row.room_id, upto),
        };
        room.insert("membership".to_owned(), json!(row.membership));
        let visibility = if row.is_public { "public" } else { "private" };
        room.insert("visibility".to_owned(), json!(visibility));
        room.into()
    }

    /// What all answers have of a room that has been entered.
    fn fields(&self, room_id: &OwnedRoomId, upto: &StreamToken) -> Map<String, Value> {
        let messages = self.messages.get(room_id).map_or(&[][..], Vec::as_slice);
        let start = messages.first().map(|visible| visible.event.token_before());
        let start = start.map_or_else(|| upto.clone(), |key| upto.with_room_key(key));
        let chunk = messages.iter();
        let chunk = chunk.map(|visible| self.format(&visible.event, Some(&visible.membership)));
        let messages = json!({
            "chunk": chunk.collect::<Vec<_>>(),
            "start": start.to_string(),
            "end": upto.to_string(),
        });
        let state = self.state.get(room_id).map_or(&[][..], Vec::as_slice).iter();
        let state: Vec<Value> = state.map(|event| self.format(event, None)).collect();
        Map::from_iter([
            ("room_id".to_owned(), json!(room_id)),
            ("messages".to_owned(), messages),
            ("state".to_owned(), json!(state)),
            ("account_data".to_owned(), json!(self.account_data(room_id))),
        ])
    }

    fn account_data(&self, room_id: &RoomId) -> Vec<Value> {
        let mut tags = Map::new();
        for row in self.tags.iter().filter(|row| row.room_id == *room_id) {
            if let (Some(tag), Some(content)) = (&row.tag, &row.content) {
                tags.insert(tag.clone(), serde_json::from_str(content).unwrap_or_default());
            }
        }
        let data = self.data.iter().filter(|row| row.room_id == *room_id);
        let tags =
            (!tags.is_empty()).then(|| json!({ "type": "m.tag", "content": { "tags": tags } }));
        tags.into_iter().chain(data.map(|row| data_event(&row.event_type, &row.content))).collect()
    }

    fn format(&self, event: &StoredEvent, membership: Option<&str>) -> Value {
        let format = EventFormat::Client;
        as_first_version(&self.reader.format(event, membership, format, self.now_ms))
    }
}

/// What is read of rooms, in the order in which it is taken.
fn statements(reader: &Reader, asked: &[Asked], limit: u32) -> Vec<Statement> {
    let user_id = &reader.user_id;
    let ids: Vec<OwnedRoomId> = asked.iter().map(|room| room.room_id.clone()).collect();
    let present = asked.iter().filter(|room| !room.is_past);
    let present: Vec<OwnedRoomId> = present.map(|room| room.room_id.clone()).collect();
    let past: Vec<i64> = asked.iter().filter_map(|room| room.past_group).collect();
    let window =
        |room: &Asked| StreamWindow { room_id: room.room_id.clone(), after: 0, upto: room.upto };
    let windows: Vec<StreamWindow> = asked.iter().map(window).collect();
    let latest = event_pages::latest(&windows, limit, &EventFilter::default());
    let mut batch = vec![events::readers(&ids, user_id.as_str())];
    batch.extend(timeline(latest, user_id.as_str()));
    batch.extend([
        state(state_groups::current(&present, &StateFilter::All)),
        state(state_groups::of_groups(&past, &StateFilter::All)),
        receipts::in_rooms(user_id, &present, NOW),
        room_tags::select_rooms(user_id, &ids),
        account_data::select_rooms(user_id, &ids),
    ]);
    batch
}
