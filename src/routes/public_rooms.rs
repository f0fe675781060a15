//! The public list of rooms. Client-Server API, "Published room directory".

use ruma::api::client::directory::{get_public_rooms, get_public_rooms_filtered};
use ruma::directory::{Filter, PublicRoomsChunk, PublicRoomsChunkInit, RoomNetwork};
use ruma::room::RoomType;
use ruma::{OwnedServerName, RoomId, UInt};

use super::{Access, Route, batched, public};
use crate::context::Context;
use crate::error::ApiError;
use crate::storage::database::{Results, Statement};
use crate::storage::public_rooms::{self, CountRow, ListPlace, ListQuery, Network, PublicRoomRow};

pub fn routes() -> Vec<Route> {
    vec![public(get_list).also("/_matrix/client/api/v1/publicRooms"), batched(search_list)]
}

/// The most rooms of one answer, as Synapse has it.
const ROOMS_MAX: u32 = 100;

/// `GET /_matrix/client/v3/publicRooms`
async fn get_list(
    context: Context,
    request: get_public_rooms::v3::Request,
) -> Result<get_public_rooms::v3::Response, ApiError> {
    must_be_ours(&context, request.server.as_ref())?;
    let query = query(request.limit, request.since.as_deref(), &Filter::new())?;
    let results = context.batch(statements(&query)).await?;
    let page = Page::read(&query, &mut Results::new(results))?;
    let mut response = get_public_rooms::v3::Response::new(page.rooms);
    response.next_batch = page.next_batch;
    response.prev_batch = page.prev_batch;
    response.total_room_count_estimate = Some(page.total.into());
    Ok(response)
}

/// `POST /_matrix/client/v3/publicRooms`
async fn search_list(
    access: Access,
    request: get_public_rooms_filtered::v3::Request,
) -> Result<get_public_rooms_filtered::v3::Response, ApiError> {
    must_be_ours(&access.context, request.server.as_ref())?;
    let mut query = query(request.limit, request.since.as_deref(), &request.filter)?;
    query.network = network(request.room_network)?;
    let (_, results) = access.authenticate_with(statements(&query)).await?;
    let page = Page::read(&query, &mut Results::new(results))?;
    let mut response = get_public_rooms_filtered::v3::Response::new();
    response.chunk = page.rooms;
    response.next_batch = page.next_batch;
    response.prev_batch = page.prev_batch;
    response.total_room_count_estimate = Some(page.total.into());
    Ok(response)
}

fn must_be_ours(context: &Context, server: Option<&OwnedServerName>) -> Result<(), ApiError> {
    match server {
        Some(server) if server != context.server_name() => {
            Err(ApiError::not_found("The list of that server cannot be reached"))
        }
        _ => Ok(()),
    }
}

/// One room more than is shown tells whether there are more.
fn query(limit: Option<UInt>, since: Option<&str>, filter: &Filter) -> Result<ListQuery, ApiError> {
    let limit = limit.map(u64::from).filter(|limit| *limit > 0);
    let limit = limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(ROOMS_MAX);
    let place = since.filter(|since| !since.is_empty()).map(parse_place).transpose()?;
    let room_types = filter.room_types.iter();
    let search = filter.generic_search_term.clone().filter(|term| !term.is_empty());
    Ok(ListQuery {
        place,
        limit: limit.min(ROOMS_MAX) + 1,
        search,
        network: Network::Matrix,
        room_types: room_types.map(|kind| kind.as_str().map(ToOwned::to_owned)).collect(),
    })
}

/// An instance of a third-party network is named after its service and itself: `bridge|irc`.
fn network(network: RoomNetwork) -> Result<Network, ApiError> {
    match network {
        RoomNetwork::All => Ok(Network::All),
        RoomNetwork::ThirdParty(instance) => {
            let parts = instance.split_once('|');
            let (as_id, network_id) = parts
                .ok_or_else(|| ApiError::invalid_param("third_party_instance_id is not known"))?;
            Ok(Network::Of { as_id: as_id.to_owned(), network_id: network_id.to_owned() })
        }
        _ => Ok(Network::Matrix),
    }
}

fn statements(query: &ListQuery) -> Vec<Statement> {
    vec![public_rooms::select(query), public_rooms::count(&query.network)]
}

/// `n12_!room:server`: on from there; `p12_!room:server`: back from there.
fn parse_place(token: &str) -> Result<ListPlace, ApiError> {
    let parse = || {
        let (direction, rest) = token.split_at_checked(1)?;
        let (joined_members, room_id) = rest.split_once('_')?;
        let joined_members = joined_members.parse::<u32>().ok()?.into();
        let is_forward = match direction {
            "n" => true,
            "p" => false,
            _ => return None,
        };
        Some(ListPlace { is_forward, joined_members, room_id: room_id.to_owned() })
    };
    parse().ok_or_else(|| ApiError::invalid_param("since is not a token of this list"))
}

/// A page of the list, the largest room first.
struct Page {
    rooms: Vec<PublicRoomsChunk>,
    next_batch: Option<String>,
    prev_batch: Option<String>,
    total: u32,
}

impl Page {
    fn read(query: &ListQuery, results: &mut Results) -> Result<Self, ApiError> {
        let mut rows: Vec<PublicRoomRow> = results.rows()?;
        let total = results.first()?.map_or(0, |row: CountRow| row.count);
        let shown = usize::try_from(query.limit - 1).unwrap_or(usize::MAX);
        let has_more = rows.len() > shown;
        rows.truncate(shown);
        let is_forward = query.place.as_ref().is_none_or(|place| place.is_forward);
        if !is_forward {
            rows.reverse();
        }
        let token = |direction: &str, row: Option<&PublicRoomRow>| match row {
            Some(row) => format!("{direction}{}_{}", row.joined_members, row.room_id),
            // Beyond the smallest room: what comes before it is everything.
            None => format!("{direction}0_"),
        };
        // Where somebody came from there is something; where they go, if more was found.
        let (has_next, has_prev) = match is_forward {
            true => (has_more, query.place.is_some()),
            false => (!rows.is_empty(), has_more),
        };
        Ok(Self {
            next_batch: has_next.then(|| token("n", rows.last())),
            prev_batch: has_prev.then(|| token("p", rows.first())),
            rooms: rows.into_iter().filter_map(chunk).collect(),
            total,
        })
    }
}

/// A room whose id is none (of a damaged import) is left out.
fn chunk(row: PublicRoomRow) -> Option<PublicRoomsChunk> {
    let mut chunk = PublicRoomsChunk::from(PublicRoomsChunkInit {
        num_joined_members: row.joined_members.into(),
        room_id: RoomId::parse(row.room_id).ok()?,
        world_readable: row.history_visibility.as_deref() == Some("world_readable"),
        guest_can_join: row.guest_access.as_deref() == Some("can_join"),
    });
    chunk.canonical_alias = row.canonical_alias.and_then(|alias| alias.try_into().ok());
    chunk.name = row.name;
    chunk.topic = row.topic;
    chunk.avatar_url = row.avatar.map(Into::into);
    chunk.join_rule = row.join_rules.as_deref().unwrap_or("invite").into();
    chunk.room_type = row.room_type.as_deref().map(RoomType::from);
    Some(chunk)
}
