//! The rooms of a space. Client-Server API, "Discovering rooms within spaces".
//!
//! A page is a part of a walk through the space. What the walk needs is read in rounds, each one
//! batch: the rooms that it comes to next, and some levels below them.

use std::collections::HashMap;

use myelin_protocol::space::{KnownRooms, QueuedRoom, SpaceChild, Walk, children};
use ruma::api::client::space::SpaceHierarchyRoomsChunk;
use ruma::api::client::space::get_hierarchy::v1;
use ruma::serde::Raw;
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

use super::{Access, Caller, Route, batched};
use crate::error::ApiError;
use crate::serving::room_summary::summary;
use crate::storage::database::{Results, Statement};
use crate::storage::room_summaries::{self, ChildRow, SummaryRow, Tree};
use crate::storage::sessions::{self, SessionRow};

pub fn routes() -> Vec<Route> {
    vec![batched(get_hierarchy)]
}

/// The most rooms of one answer, and how many come when nobody says how many.
const ROOMS_MAX: usize = 50;
/// Levels that one batch reads below the rooms that it asks for: few spaces are deeper.
const LEVELS_MAX: u64 = 4;
/// Batches of one request: a page may be short, and then has a next one.
const BATCHES_MAX: usize = 10;

const SESSION_TYPE: &str = "room_hierarchy_pagination";
/// How long after a page the next one may be asked for.
const SESSION_LIFETIME_MS: u64 = 5 * 60 * 1000;
const SESSION_ID_LENGTH: usize = 24;

/// What pages of one walk have in common, and where the walk stands.
#[derive(Serialize, Deserialize)]
struct Session {
    requester: String,
    room_id: String,
    suggested_only: bool,
    max_depth: Option<u64>,
    walk: Walk,
}

impl Session {
    fn of(caller: &Caller, request: &v1::Request) -> Self {
        Self {
            requester: caller.user_id.to_string(),
            room_id: request.room_id.to_string(),
            suggested_only: request.suggested_only,
            max_depth: request.max_depth.map(Into::into),
            walk: Walk::from(request.room_id.as_str()),
        }
    }

    /// # Errors
    /// `M_INVALID_PARAM` unless the page that was remembered is of the same walk.
    fn resume(self, row: Option<SessionRow>) -> Result<Self, ApiError> {
        let stored = row.and_then(|row| serde_json::from_str::<Self>(&row.value).ok());
        let is_same = |stored: &Self| {
            stored.requester == self.requester
                && stored.room_id == self.room_id
                && stored.suggested_only == self.suggested_only
                && stored.max_depth == self.max_depth
        };
        let message = "from is not a token of this space; suggested_only and max_depth stay as \
                       they were on the first page";
        stored.filter(is_same).ok_or_else(|| ApiError::invalid_param(message))
    }
}

/// `GET /_matrix/client/v1/rooms/{roomId}/hierarchy`
async fn get_hierarchy(access: Access, request: v1::Request) -> Result<v1::Response, ApiError> {
    let limit = limit(&request)?;
    let token = access.token()?.to_owned();
    let root = [QueuedRoom { room_id: request.room_id.to_string(), depth: 0 }];
    // A later page needs the root only to see whether the caller may still know of it.
    let max_depth = request.from.as_ref().map_or(request.max_depth.map(Into::into), |_| Some(0));
    let mut batch = read(&root, max_depth, &token);
    if let Some(from) = &request.from {
        batch.push(sessions::select(SESSION_TYPE, from, access.context.now_ms()));
    }
    let (caller, results) = access.authenticate_with(batch).await?;
    let mut results = Results::new(results);
    let mut rooms = Rooms { suggested_only: request.suggested_only, ..Rooms::default() };
    rooms.add(&root, &mut results)?;
    if !rooms.chunks.contains_key(request.room_id.as_str()) {
        return Err(ApiError::forbidden("You are not in this room, and it has no preview"));
    }
    let mut session = Session::of(&caller, &request);
    if request.from.is_some() {
        session = session.resume(results.first()?)?;
    }
    let shown = walk(&caller, &mut session, &mut rooms, limit).await?;
    let mut response = v1::Response::new();
    response.rooms = shown.iter().filter_map(|room_id| rooms.chunks.remove(room_id)).collect();
    if !session.walk.is_done() {
        let session_id = caller.context.random_string(SESSION_ID_LENGTH);
        let expiry_ms = caller.context.now_ms() + SESSION_LIFETIME_MS;
        let insert = sessions::insert(SESSION_TYPE, &session_id, &session, expiry_ms);
        caller.context.batch(vec![insert]).await?;
        response.next_batch = Some(session_id);
    }
    Ok(response)
}

fn limit(request: &v1::Request) -> Result<usize, ApiError> {
    let Some(limit) = request.limit else { return Ok(ROOMS_MAX) };
    match usize::try_from(u64::from(limit)).unwrap_or(ROOMS_MAX) {
        0 => Err(ApiError::invalid_param("limit must be greater than zero")),
        limit => Ok(limit.min(ROOMS_MAX)),
    }
}

/// Walks on, and reads what is not known yet. Returns the rooms of the page.
async fn walk(
    caller: &Caller,
    session: &mut Session,
    rooms: &mut Rooms,
    limit: usize,
) -> Result<Vec<String>, ApiError> {
    let max_depth = session.max_depth;
    let mut shown = Vec::new();
    for _ in 0..BATCHES_MAX {
        let missing = limit - shown.len();
        shown.extend(session.walk.advance(&rooms.known, missing, max_depth));
        if shown.len() == limit || session.walk.is_done() {
            break;
        }
        let unknown = session.walk.unknown(&rooms.known, ROOMS_MAX, max_depth);
        let batch = read(&unknown, max_depth, caller.user_id.as_str());
        let results = caller.context.batch(batch).await?;
        rooms.add(&unknown, &mut Results::new(results))?;
    }
    Ok(shown)
}

/// Reads rooms and what is below them.
fn read(rooms: &[QueuedRoom], max_depth: Option<u64>, user_or_token: &str) -> Vec<Statement> {
    let room_ids: Vec<&str> = rooms.iter().map(|room| room.room_id.as_str()).collect();
    let highest = rooms.iter().map(|room| room.depth).min().unwrap_or(0);
    let levels = max_depth.map_or(LEVELS_MAX, |max_depth| max_depth.saturating_sub(highest));
    let tree = Tree { room_ids: &room_ids, levels: levels.min(LEVELS_MAX) };
    room_summaries::select_tree(&tree, user_or_token).to_vec()
}

/// What has been read.
#[derive(Default)]
struct Rooms {
    suggested_only: bool,
    known: KnownRooms,
    /// Those that are shown.
    chunks: HashMap<String, SpaceHierarchyRoomsChunk>,
}

impl Rooms {
    /// Takes the results of [`read`].
    fn add(&mut self, asked: &[QueuedRoom], results: &mut Results) -> Result<(), ApiError> {
        let rows: Vec<SummaryRow> = results.rows()?;
        let mut events: HashMap<String, Vec<SpaceChild>> = HashMap::new();
        for row in results.rows::<ChildRow>()? {
            events.entry(row.space_id.clone()).or_default().push(space_child(row));
        }
        for room in asked {
            // A walk must not come to a stop at one that was not found.
            self.known.entry(room.room_id.clone()).or_default();
        }
        for row in rows {
            let room_id = row.room_id.clone();
            let events = events.remove(&room_id).unwrap_or_default();
            let Some(summary) = summary(row) else {
                self.known.insert(room_id, None);
                continue;
            };
            let children = children(events, self.suggested_only);
            let ids = children.iter().map(|child| child.state_key.clone()).collect();
            let children = children.iter().map(|child| Ok(Raw::from_json(to_raw_value(child)?)));
            let children: Result<_, serde_json::Error> = children.collect();
            let children = children.map_err(ApiError::internal)?;
            let chunk = SpaceHierarchyRoomsChunk::new(summary, children);
            self.known.insert(room_id.clone(), Some(ids));
            self.chunks.insert(room_id, chunk);
        }
        Ok(())
    }
}

fn space_child(row: ChildRow) -> SpaceChild {
    SpaceChild {
        event_type: "m.space.child",
        state_key: row.state_key,
        sender: row.sender,
        origin_server_ts: row.origin_server_ts,
        // Damaged content has no servers, so it makes no child.
        content: serde_json::from_str(&row.content).unwrap_or_default(),
    }
}
