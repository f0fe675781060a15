//! The events about an event. Client-Server API, "Relationships API".

use http::Method;
use myelin_protocol::filter::LIMIT_MAX;
use myelin_protocol::relations::{REPLACE, Relation};
use myelin_protocol::sync_token::StreamToken;
use ruma::events::AnyTimelineEvent;
use ruma::serde::Raw;
use ruma::{OwnedEventId, OwnedRoomId};
use serde::Serialize;

use super::room_messages::parse_token;
use super::room_read::RoomRead;
use super::{Access, Answer, Incoming, Route, json as answer, raw};
use crate::error::ApiError;
use crate::serving::{StoredEvent, Timeline, VisibleEvent, judged, timeline};
use crate::storage::event_pages::{self, Direction};
use crate::storage::relations::{self, ChildrenQuery, DEPTH_MAX};

pub fn routes() -> Vec<Route> {
    vec![raw(Method::GET, &PATHS, get_relations)]
}

/// What the unstable ones answer has the event itself, too.
const PATHS: [&str; 6] = [
    "/_matrix/client/v1/rooms/{room_id}/relations/{event_id}",
    "/_matrix/client/v1/rooms/{room_id}/relations/{event_id}/{rel_type}",
    "/_matrix/client/v1/rooms/{room_id}/relations/{event_id}/{rel_type}/{event_type}",
    "/_matrix/client/unstable/rooms/{room_id}/relations/{event_id}",
    "/_matrix/client/unstable/rooms/{room_id}/relations/{event_id}/{rel_type}",
    "/_matrix/client/unstable/rooms/{room_id}/relations/{event_id}/{rel_type}/{event_type}",
];

/// How many events come when nobody says how many.
pub(super) const LIMIT_DEFAULT: u32 = 5;

/// What is asked for.
struct Asked {
    room_id: OwnedRoomId,
    parent_id: OwnedEventId,
    relation_type: Option<String>,
    event_type: Option<String>,
    recurse: bool,
    direction: Direction,
    from: Option<StreamToken>,
    to: Option<StreamToken>,
    limit: u32,
    is_unstable: bool,
}

#[derive(Serialize)]
struct Relations {
    chunk: Vec<Raw<AnyTimelineEvent>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_batch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_batch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recursion_depth: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_event: Option<Raw<AnyTimelineEvent>>,
}

/// `GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}`
async fn get_relations(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    if !access.has_token() {
        return Err(ApiError::missing_token());
    }
    let asked = Asked::read(&incoming)?;
    let statements = |reader: &str| {
        let parent = event_pages::of_room(&asked.room_id, &asked.parent_id);
        let mut batch = judged(parent, reader).to_vec();
        batch.extend(timeline(relations::children(&asked.query(reader)), reader));
        batch
    };
    let mut read = RoomRead::begin(access, asked.room_id.clone(), statements).await?;
    read.access()?;
    let parent = Timeline::read_judged(&mut read.results)?;
    let children = read.timeline()?;
    let parent = read.visible(parent).into_iter().next();
    let parent = parent.ok_or_else(|| ApiError::not_found("Unknown parent event."))?;
    let (children, next_batch) = asked.cut(children);
    let mut visible = read.visible(children);
    if parent.event.redaction.is_some() {
        // An edit would tell what a redacted event said.
        visible.retain(|visible| !is_edit(&visible.event));
    }
    read.add_aggregations(&mut visible).await?;
    answer(&asked.respond(&read, &parent, &visible, next_batch))
}

fn is_edit(event: &StoredEvent) -> bool {
    Relation::of_pdu(&event.pdu).is_some_and(|relation| relation.rel_type == REPLACE)
}

pub(super) fn read_limit(text: Option<String>) -> Result<u32, ApiError> {
    let parse = |text: String| {
        text.parse::<u32>().map_err(|_| ApiError::invalid_param("limit must be a number"))
    };
    let limit = text.map(parse).transpose()?.unwrap_or(LIMIT_DEFAULT);
    Ok(limit.min(u32::try_from(LIMIT_MAX).unwrap_or(u32::MAX)))
}

impl Asked {
    fn read(incoming: &Incoming) -> Result<Self, ApiError> {
        let kind = |index: usize| Some(incoming.arg(index).to_owned()).filter(|t| !t.is_empty());
        let token = |name: &str| incoming.query(name).map(|text| parse_token(&text)).transpose();
        let is_true = |name: &str| match incoming.query(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(ApiError::invalid_param(format!("{name} must be true or false"))),
        };
        let direction = match incoming.query("dir").as_deref() {
            None | Some("b") => Direction::Backward,
            Some("f") => Direction::Forward,
            Some(_) => return Err(ApiError::invalid_param("dir must be b or f")),
        };
        Ok(Self {
            room_id: incoming.id(0)?,
            parent_id: incoming.id(1)?,
            relation_type: kind(2),
            event_type: kind(3),
            recurse: is_true("recurse")? || is_true("org.matrix.msc3981.recurse")?,
            direction,
            from: token("from")?,
            to: token("to")?,
            limit: read_limit(incoming.query("limit"))?,
            is_unstable: incoming.http.uri().path().starts_with("/_matrix/client/unstable/"),
        })
    }

    fn query<'a>(&'a self, reader: &'a str) -> ChildrenQuery<'a> {
        let place = |token: &Option<StreamToken>| Some(token.as_ref()?.room_key.clone());
        ChildrenQuery {
            room_id: &self.room_id,
            parent_id: &self.parent_id,
            relation_type: self.relation_type.as_deref(),
            event_type: self.event_type.as_deref(),
            recurse: self.recurse,
            direction: self.direction,
            from: place(&self.from),
            to: place(&self.to),
            // One more tells whether there are more.
            limit: self.limit + 1,
            reader,
        }
    }

    /// The page in its order, and where the next one begins.
    fn cut(&self, mut page: Timeline) -> (Timeline, Option<String>) {
        page.sort_topologically();
        if self.direction == Direction::Backward {
            page.events.reverse();
        }
        let limit = self.limit as usize;
        let has_more = page.events.len() > limit;
        page.events.truncate(limit);
        let last = page.events.last().filter(|_| has_more);
        let key = last.map(|last| match self.direction {
            Direction::Backward => last.token_before(),
            Direction::Forward => last.token_after(),
        });
        let token = |key| match &self.from {
            Some(from) => from.with_room_key(key),
            None => StreamToken::at(key),
        };
        (page, key.map(|key| token(key).to_string()))
    }

    fn respond(
        &self,
        read: &RoomRead,
        parent: &VisibleEvent,
        visible: &[VisibleEvent],
        next_batch: Option<String>,
    ) -> Relations {
        Relations {
            chunk: read.format_timeline(visible),
            next_batch,
            prev_batch: self.from.as_ref().map(ToString::to_string),
            recursion_depth: self.recurse.then_some(DEPTH_MAX),
            original_event: self.is_unstable.then(|| read.format_visible(parent)),
        }
    }
}
