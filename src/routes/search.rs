//! Looking for words. Client-Server API, "Search".
//!
//! The index says in which events the words are; the log says what of them the caller may see.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use myelin_protocol::filter::{effective_limit, pdu_matches};
use myelin_protocol::search_terms::{self, Query};
use ruma::api::client::filter::RoomEventFilter;
use ruma::api::client::search::search_events::v3::{Criteria, GroupingKey, OrderBy, SearchKeys};
use ruma::{OwnedEventId, OwnedRoomId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::access::{Access, Caller};
use super::endpoint::{Answer, Incoming, Route, json as answer, raw};
use super::search_context::{self, Context};
use crate::error::ApiError;
use crate::serving::{Reader, Timeline, VisibleEvent, aggregations, search, timeline};
use crate::storage::database::Results;
use crate::storage::events::{self, IgnoredRow, ReaderRow};
use crate::storage::local_memberships::{self, MembershipRow};
use crate::storage::search_index::{self, CountRow, FoundRow, Search};
use crate::storage::{event_pages, state_groups};

const PATHS: &[&str] = &["/_matrix/client/v3/search", "/_matrix/client/r0/search"];
const REINDEX: &[&str] = &["/_myelin/search/reindex"];

/// Results of a page, if the client does not say how many, and at most.
const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 50;

/// How often one looks for more, where much of what is found is not the caller's to see.
const ROUNDS_MAX: usize = 5;

pub fn routes() -> Vec<Route> {
    vec![raw(Method::POST, PATHS, search_events), raw(Method::POST, REINDEX, reindex)]
}

#[derive(Deserialize)]
struct Body {
    search_categories: Categories,
}

#[derive(Deserialize)]
struct Categories {
    room_events: Option<Value>,
}

/// Where a page goes on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Place {
    /// Results that have been passed over.
    offset: u64,
    /// The group that is paged through.
    room_id: Option<OwnedRoomId>,
    sender: Option<String>,
}

impl Place {
    fn read(token: &str) -> Result<Self, ApiError> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok();
        let place = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        place.ok_or_else(|| ApiError::invalid_param("next_batch is none of our tokens"))
    }

    fn to_token(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }
}

/// What is asked for.
struct Asked {
    criteria: Criteria,
    query: Option<Query>,
    keys: Vec<String>,
    by_time: bool,
    limit: usize,
    place: Place,
    shows_context: bool,
}

impl Asked {
    fn read(incoming: &Incoming) -> Result<Option<Self>, ApiError> {
        let body: Body = incoming.json()?;
        let Some(events) = body.search_categories.room_events else { return Ok(None) };
        let shows_context = events.get("event_context").is_some_and(Value::is_object);
        let criteria: Criteria =
            serde_json::from_value(events).map_err(|e| ApiError::bad_json(e.to_string()))?;
        let by_time = match &criteria.order_by {
            None | Some(OrderBy::Rank) => false,
            Some(OrderBy::Recent) => true,
            Some(_) => return Err(ApiError::invalid_param("order_by is rank or recent")),
        };
        let groups = criteria.groupings.group_by.iter().map(|group| &group.key);
        if groups.flatten().any(|key| !matches!(key, GroupingKey::RoomId | GroupingKey::Sender)) {
            return Err(ApiError::invalid_param("Results are grouped by room_id or sender"));
        }
        let all = [SearchKeys::ContentBody, SearchKeys::ContentName, SearchKeys::ContentTopic];
        let keys = criteria.keys.clone().unwrap_or(all.to_vec());
        let place = incoming.query("next_batch").map(|token| Place::read(&token)).transpose()?;
        Ok(Some(Self {
            query: search_terms::query(&criteria.search_term),
            keys: keys.iter().map(ToString::to_string).collect(),
            by_time,
            limit: effective_limit(criteria.filter.limit, LIMIT_DEFAULT).clamp(1, LIMIT_MAX),
            place: place.unwrap_or_default(),
            shows_context,
            criteria,
        }))
    }
}

/// `POST /_matrix/client/v3/search`
async fn search_events(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let token = access.token()?.to_owned();
    let asked = Asked::read(&incoming)?;
    let batch = vec![
        local_memberships::select_joined_of_token(&token),
        events::ignored_users(&token),
        search_index::log_position(),
    ];
    let (caller, results) = access.authenticate_with(batch).await?;
    let Some(asked) = asked else { return answer(&json!({ "search_categories": {} })) };
    let mut results = Results::new(results);
    let joined: Vec<MembershipRow> = results.rows()?;
    let ignored: Vec<IgnoredRow> = results.rows()?;
    let log = results.first()?;
    let ignored: HashSet<_> = ignored.into_iter().map(|row| row.ignored_user_id).collect();
    let reader =
        Reader { user_id: caller.user_id.clone(), device_id: caller.device_id.clone(), ignored };
    let rooms: Vec<OwnedRoomId> = joined
        .into_iter()
        .map(|row| row.room_id)
        .filter(|room_id| is_wanted(&asked.criteria.filter, room_id))
        .filter(|room_id| asked.place.room_id.as_ref().is_none_or(|only| only == room_id))
        .collect();
    let found = match &asked.query {
        Some(query) if !rooms.is_empty() => {
            search::follow_to(&caller.context, log, search::STEPS_MAX).await?;
            find(&caller, &reader, &asked, query, &rooms).await?
        }
        _ => Found::default(),
    };
    let room_events = found.write(&caller, &reader, &asked).await?;
    answer(&json!({ "search_categories": { "room_events": room_events } }))
}

fn is_wanted(filter: &RoomEventFilter, room_id: &OwnedRoomId) -> bool {
    filter.rooms.as_ref().is_none_or(|rooms| rooms.contains(room_id))
        && !filter.not_rooms.contains(room_id)
}

/// What was found, the best or the newest first.
#[derive(Default)]
struct Found {
    events: Vec<VisibleEvent>,
    /// Of the events; higher is better.
    ranks: Vec<f64>,
    rooms: HashMap<OwnedRoomId, ReaderRow>,
    count: u64,
    next: Option<Place>,
}

async fn find(
    caller: &Caller,
    reader: &Reader,
    asked: &Asked,
    query: &Query,
    room_ids: &[OwnedRoomId],
) -> Result<Found, ApiError> {
    let mut found = Found::default();
    let mut place = asked.place.clone();
    for _ in 0..ROUNDS_MAX {
        let wanted = asked.limit - found.events.len();
        let search = Search {
            expression: &query.expression,
            room_ids,
            keys: &asked.keys,
            sender: asked.place.sender.as_deref(),
            by_time: asked.by_time,
            offset: place.offset,
            // One more tells whether there is a next page.
            limit: wanted as u32 + 1,
        };
        let batch = vec![search_index::find(&search), search_index::count(&search)];
        let mut results = Results::new(search::batch(&caller.context, batch).await?);
        let mut rows: Vec<FoundRow> = results.rows()?;
        found.count = results.first()?.map_or(0, |row: CountRow| row.count);
        let has_more = rows.len() > wanted;
        rows.truncate(wanted);
        place.offset += rows.len() as u64;
        found.add(caller, reader, &asked.criteria.filter, rows).await?;
        if !has_more {
            return Ok(found);
        }
        found.next = Some(place.clone());
        if found.events.len() >= asked.limit {
            return Ok(found);
        }
        found.next = None;
    }
    found.next = Some(place);
    Ok(found)
}

impl Found {
    /// Adds those of the rows that the reader may see and wants.
    async fn add(
        &mut self,
        caller: &Caller,
        reader: &Reader,
        filter: &RoomEventFilter,
        rows: Vec<FoundRow>,
    ) -> Result<(), ApiError> {
        if rows.is_empty() {
            return Ok(());
        }
        let ids: Vec<OwnedEventId> = rows.iter().map(|row| row.event_id.clone()).collect();
        let user_id = reader.user_id.as_str();
        let mut batch = timeline(event_pages::by_id(&ids), user_id).to_vec();
        let rooms: BTreeSet<OwnedRoomId> = rows.iter().map(|row| row.room_id.clone()).collect();
        let rooms: Vec<OwnedRoomId> = rooms.into_iter().collect();
        batch.push(events::readers(&rooms, user_id));
        let mut results = Results::new(caller.context.batch(batch).await?);
        let timeline = Timeline::read(&mut results)?;
        let readers: Vec<ReaderRow> = results.rows()?;
        self.rooms.extend(readers.into_iter().map(|row| (row.room_id.clone(), row)));
        let visible = timeline.visible(reader, &self.rooms).into_iter();
        let is_wanted = |visible: &VisibleEvent| {
            visible.event.redaction.is_none() && pdu_matches(filter, &visible.event.pdu)
        };
        let mut visible: HashMap<OwnedEventId, VisibleEvent> = visible
            .filter(is_wanted)
            .map(|visible| (visible.event.pdu.event_id.clone(), visible))
            .collect();
        for row in rows {
            if let Some(event) = visible.remove(&row.event_id) {
                self.events.push(event);
                self.ranks.push(row.rank);
            }
        }
        Ok(())
    }

    async fn write(
        mut self,
        caller: &Caller,
        reader: &Reader,
        asked: &Asked,
    ) -> Result<Value, ApiError> {
        let context = &caller.context;
        aggregations::add(context, reader, &self.rooms, &mut self.events).await?;
        let mut contexts: HashMap<OwnedEventId, Context> = match asked.shows_context {
            true => {
                let ids = self.events.iter().map(|visible| &visible.event.pdu);
                let around = &asked.criteria.event_context;
                search_context::read(context, reader, &self.rooms, ids, around).await?
            }
            false => HashMap::new(),
        };
        let results = self.ranks.iter().zip(&self.events).map(|(rank, visible)| {
            let around = contexts.remove(&visible.event.pdu.event_id);
            json!({
                "rank": rank,
                "result": search_context::format(context, reader, visible),
                "context": around.map_or(json!({}), |around| around.content),
            })
        });
        let mut body = json!({
            "results": results.collect::<Vec<_>>(),
            "count": self.count,
            "highlights": asked.query.as_ref().map(|query| &query.highlights).into_iter()
                .flatten().collect::<Vec<_>>(),
        });
        let groups = self.groups(asked);
        if !groups.is_empty() {
            body["groups"] = Value::Object(groups);
        }
        if let Some(next) = &self.next {
            body["next_batch"] = json!(next.to_token());
        }
        if asked.criteria.include_state == Some(true) {
            body["state"] = self.state(caller, reader).await?;
        }
        Ok(body)
    }

    /// The results once more, by what they are grouped by, in the order of each group's first.
    fn groups(&self, asked: &Asked) -> Map<String, Value> {
        let mut all = Map::new();
        for key in asked.criteria.groupings.group_by.iter().filter_map(|group| group.key.as_ref()) {
            let mut groups: BTreeMap<String, (usize, Vec<&OwnedEventId>)> = BTreeMap::new();
            for visible in &self.events {
                let pdu = &visible.event.pdu;
                let name = match key {
                    GroupingKey::Sender => pdu.sender.to_string(),
                    _ => pdu.room_id.to_string(),
                };
                let order = groups.len() + 1;
                groups.entry(name).or_insert((order, Vec::new())).1.push(&pdu.event_id);
            }
            let groups = groups.into_iter().map(|(name, (order, results))| {
                let mut group = json!({ "order": order, "results": results });
                let next = Place { offset: results.len() as u64, ..Place::default() };
                let next = match key {
                    GroupingKey::Sender => Place { sender: Some(name.clone()), ..next },
                    _ => Place { room_id: name.as_str().try_into().ok(), ..next },
                };
                if self.next.is_some() {
                    group["next_batch"] = json!(next.to_token());
                }
                (name, group)
            });
            all.insert(key.to_string(), Value::Object(groups.collect()));
        }
        all
    }

    /// The present state of the rooms in which something was found.
    async fn state(&self, caller: &Caller, reader: &Reader) -> Result<Value, ApiError> {
        let rooms = self.events.iter().map(|visible| visible.event.pdu.room_id.clone());
        let rooms: Vec<OwnedRoomId> = rooms.collect::<BTreeSet<_>>().into_iter().collect();
        let all = state_groups::current(&rooms, &state_groups::StateFilter::All);
        let results = caller.context.batch(vec![crate::serving::state(all)]).await?;
        let events = crate::serving::read_state(&mut Results::new(results))?;
        let mut state: BTreeMap<OwnedRoomId, Vec<_>> = BTreeMap::new();
        for event in events {
            let content = search_context::format_state(&caller.context, reader, &event);
            state.entry(event.pdu.room_id.clone()).or_default().push(content);
        }
        serde_json::to_value(state).map_err(ApiError::internal)
    }
}

/// `POST /_myelin/search/reindex`: empties the index, which the next sweeps and searches fill.
async fn reindex(access: Access, _incoming: Incoming) -> Result<Answer, ApiError> {
    let caller = access.authenticate().await?;
    if !caller.is_admin {
        return Err(ApiError::forbidden("Only administrators can do this"));
    }
    caller.context.search_batch(search_index::clear()).await?;
    let is_done = search::follow(&caller.context, search::STEPS_MAX).await?;
    answer(&json!({ "done": is_done }))
}
