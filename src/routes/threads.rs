//! The threads of a room. Client-Server API, "Querying threads in a room".

use std::collections::HashMap;

use ruma::OwnedEventId;
use ruma::api::client::threads::get_threads::v1 as threads;
use ruma::api::client::threads::get_threads::v1::IncludeThreads;

use super::relations::LIMIT_DEFAULT;
use super::room_read::RoomRead;
use super::{Access, Route, batched};
use crate::error::ApiError;
use crate::serving::{VisibleEvent, timeline};
use crate::storage::threads::{self as storage, ThreadPlace, ThreadRow, ThreadsQuery};

pub fn routes() -> Vec<Route> {
    vec![batched(get_threads)]
}

/// The most threads of a page: each comes with its latest event and what relates to both.
const THREADS_MAX: u32 = 100;

/// `GET /_matrix/client/v1/rooms/{roomId}/threads`
async fn get_threads(
    access: Access,
    request: threads::Request,
) -> Result<threads::Response, ApiError> {
    let participated = match request.include {
        IncludeThreads::All => false,
        IncludeThreads::Participated => true,
        _ => return Err(ApiError::invalid_param("include must be all or participated")),
    };
    let from = request.from.as_deref().map(parse_place).transpose()?;
    let limit = request.limit.map(|limit| u32::try_from(u64::from(limit)).unwrap_or(u32::MAX));
    let limit = limit.unwrap_or(LIMIT_DEFAULT).min(THREADS_MAX);
    let room_id = request.room_id.clone();
    let statements = |reader: &str| {
        let query = ThreadsQuery { room_id: &room_id, participated, from, limit, reader };
        let one_more = ThreadsQuery { limit: limit + 1, ..query.clone() };
        let mut batch = vec![storage::page(&one_more)];
        batch.extend(timeline(storage::roots(&query), reader));
        batch
    };
    let mut read = RoomRead::begin(access, request.room_id, statements).await?;
    read.access()?;
    let mut rows: Vec<ThreadRow> = read.results.rows()?;
    let roots = read.timeline()?;
    let has_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let mut visible = in_order(&rows, read.visible(roots));
    read.add_aggregations(&mut visible).await?;
    let mut response = threads::Response::new(read.format_timeline(&visible));
    response.next_batch = rows.last().filter(|_| has_more).map(|row| format_place(row.place));
    Ok(response)
}

/// Roots in the order of their threads.
fn in_order(rows: &[ThreadRow], mut roots: Vec<VisibleEvent>) -> Vec<VisibleEvent> {
    let places = rows.iter().enumerate().map(|(place, row)| (row.thread_id.clone(), place));
    let places: HashMap<OwnedEventId, usize> = places.collect();
    roots.sort_by_key(|root| places.get(&root.event.pdu.event_id).copied());
    roots
}

/// As Synapse writes it, so that its tokens go on being good.
fn format_place(place: ThreadPlace) -> String {
    format!("{}_{}", place.topological_ordering, place.stream_ordering)
}

fn parse_place(text: &str) -> Result<ThreadPlace, ApiError> {
    let place = text.split_once('_').and_then(|(topological, stream)| {
        let (topological_ordering, stream_ordering) =
            (topological.parse().ok()?, stream.parse().ok()?);
        Some(ThreadPlace { topological_ordering, stream_ordering })
    });
    place.ok_or_else(|| ApiError::invalid_param("Invalid threads token"))
}
