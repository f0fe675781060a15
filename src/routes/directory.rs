//! Room aliases, and whether a room is in the public list. Client-Server API, "Room aliases",
//! "Published room directory".

use myelin_protocol::room_state::{PowerLevels, membership};
use ruma::api::client::alias::{create_alias, delete_alias, get_alias};
use ruma::api::client::directory::{get_room_visibility, set_room_visibility};
use ruma::api::client::room::{Visibility, aliases};
use ruma::events::TimelineEventType;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedRoomId, OwnedServerName, RoomAliasId};
use serde_json::value::to_raw_value;
use serde_json::{Map, Value};

use super::room_read::RoomRead;
use super::{Access, Caller, Route, authenticated, batched, public};
use crate::accounts::application_services::{make_alias, must_be_free_alias};
use crate::context::Context;
use crate::durable::{NewEvent, RoomCommand, SendEvent};
use crate::error::{ApiError, ErrorCode};
use crate::serving::{RoomAccess, StoredEvent, read_state, state};
use crate::storage::database::{DatabaseError, Results};
use crate::storage::events::{self, ReaderRow};
use crate::storage::room_aliases::{self, AliasRow, ListedRow, ServerRow};
use crate::storage::rooms;
use crate::storage::state_groups::{self, StateFilter};

pub fn routes() -> Vec<Route> {
    vec![
        public(get_room_of_alias).also("/_matrix/client/api/v1/directory/room/{room_alias}"),
        batched(put_alias).also("/_matrix/client/api/v1/directory/room/{room_alias}"),
        batched(remove_alias).also("/_matrix/client/api/v1/directory/room/{room_alias}"),
        batched(list_aliases),
        public(get_visibility),
        authenticated(set_visibility),
    ]
}

/// `GET /_matrix/client/v3/directory/room/{roomAlias}`
async fn get_room_of_alias(
    context: Context,
    request: get_alias::v3::Request,
) -> Result<get_alias::v3::Response, ApiError> {
    let alias = &request.room_alias;
    let batch = vec![room_aliases::select(alias), room_aliases::select_servers(alias)];
    let mut results = Results::new(context.batch(batch.clone()).await?);
    let mut row: Option<AliasRow> = results.first()?;
    if row.is_none() && make_alias(&context, alias).await {
        results = Results::new(context.batch(batch).await?);
        row = results.first()?;
    }
    let row = row.ok_or_else(|| ApiError::not_found(format!("Room alias {alias} not found")))?;
    let servers: Vec<ServerRow> = results.rows()?;
    let mut servers: Vec<OwnedServerName> = servers.into_iter().map(|row| row.server).collect();
    // Who asks us gets in fastest through us.
    servers.sort_by_key(|server| server != context.server_name());
    Ok(get_alias::v3::Response::new(row.room_id, servers))
}

/// `PUT /_matrix/client/v3/directory/room/{roomAlias}`
async fn put_alias(
    access: Access,
    request: create_alias::v3::Request,
) -> Result<create_alias::v3::Response, ApiError> {
    let alias = request.room_alias;
    let read = RoomRead::begin(access, request.room_id, |_| Vec::new()).await?;
    read.caller.must_not_be_guest()?;
    read.caller.must_not_be_suspended()?;
    must_be_ours(&read.caller.context, &alias)?;
    let service = read.caller.service.as_ref();
    must_be_free_alias(&read.caller.context.config, &alias, service)?;
    let is_joined = match &read.room {
        Some(room) => room.is_joined() || read.caller.is_admin || service.is_some(),
        None => {
            return Err(ApiError::new(ErrorCode::Unknown, "Room does not exist").with_status(400));
        }
    };
    if !is_joined {
        return Err(ApiError::forbidden("You must be in the room to create an alias for it"));
    }
    let context = &read.caller.context;
    let (server, creator) = (context.server_name().as_str(), read.caller.user_id.as_str());
    let insert = rooms::insert_alias(read.room_id.as_str(), alias.as_str(), server, creator);
    match context.batch(insert.to_vec()).await {
        Ok(_) => Ok(create_alias::v3::Response::new()),
        Err(DatabaseError::Constraint(_)) => {
            let message = format!("Room alias {alias} already exists");
            Err(ApiError::new(ErrorCode::Unknown, message).with_status(409))
        }
        Err(error) => Err(error.into()),
    }
}

fn must_be_ours(context: &Context, alias: &RoomAliasId) -> Result<(), ApiError> {
    if alias.server_name() != context.server_name() {
        return Err(ApiError::invalid_param("Room alias must be local"));
    }
    if alias.alias().is_empty() || alias.alias().contains(char::is_whitespace) {
        return Err(ApiError::invalid_param("Invalid characters in room alias"));
    }
    Ok(())
}

/// `DELETE /_matrix/client/v3/directory/room/{roomAlias}`
async fn remove_alias(
    access: Access,
    request: delete_alias::v3::Request,
) -> Result<delete_alias::v3::Response, ApiError> {
    let alias = request.room_alias;
    let select = room_aliases::select(&alias);
    let (caller, results) = access.authenticate_with(vec![select]).await?;
    caller.must_not_be_guest()?;
    caller.must_not_be_suspended()?;
    must_be_free_alias(&caller.context.config, &alias, caller.service.as_ref())?;
    let row: Option<AliasRow> = Results::new(results).first()?;
    let row = row.ok_or_else(|| ApiError::not_found("Unknown room alias"))?;
    let rights = Rights::read(&caller, row.room_id.clone()).await?;
    let is_creator = row.creator.as_deref() == Some(caller.user_id.as_str());
    if !is_creator && caller.service.is_none() && !rights.can_change_directory(&caller) {
        return Err(ApiError::forbidden("You don't have permission to delete the alias."));
    }
    caller.context.batch(room_aliases::delete(&alias).to_vec()).await?;
    if let Some(content) = rights.canonical_alias_without(&alias) {
        let event = NewEvent {
            sender: caller.user_id.clone(),
            event_type: "m.room.canonical_alias".to_owned(),
            state_key: Some(String::new()),
            content: to_raw_value(&content).map_err(ApiError::internal)?,
            redacts: None,
        };
        let send = SendEvent::new(event);
        let sent = caller.context.room(&row.room_id, RoomCommand::Send(send)).await;
        // Who made the alias may delete it also where they may not change the room's state.
        if let Err(error) = sent
            && error.code() != ErrorCode::Forbidden
        {
            return Err(error);
        }
    }
    Ok(delete_alias::v3::Response::new())
}

/// `GET /_matrix/client/v3/rooms/{roomId}/aliases`
async fn list_aliases(
    access: Access,
    request: aliases::v3::Request,
) -> Result<aliases::v3::Response, ApiError> {
    let select = room_aliases::select_of_room(&request.room_id);
    let mut read = RoomRead::begin(access, request.room_id, |_| vec![select]).await?;
    if !read.caller.is_admin && matches!(read.access()?, RoomAccess::Departed { .. }) {
        return Err(ApiError::forbidden("You are no longer in this room"));
    }
    let rows: Vec<AliasRow> = read.results.rows()?;
    Ok(aliases::v3::Response::new(rows.into_iter().map(|row| row.room_alias).collect()))
}

/// `GET /_matrix/client/v3/directory/list/room/{roomId}`
async fn get_visibility(
    context: Context,
    request: get_room_visibility::v3::Request,
) -> Result<get_room_visibility::v3::Response, ApiError> {
    let batch = vec![room_aliases::select_listed(&request.room_id)];
    let row: Option<ListedRow> = Results::new(context.batch(batch).await?).first()?;
    let row = row.ok_or_else(|| ApiError::not_found("Unknown room"))?;
    let visibility = if row.is_public { Visibility::Public } else { Visibility::Private };
    Ok(get_room_visibility::v3::Response::new(visibility))
}

/// `PUT /_matrix/client/v3/directory/list/room/{roomId}`
async fn set_visibility(
    caller: Caller,
    request: set_room_visibility::v3::Request,
) -> Result<set_room_visibility::v3::Response, ApiError> {
    caller.must_not_be_guest()?;
    caller.must_not_be_suspended()?;
    let is_public = match request.visibility {
        Visibility::Public => true,
        Visibility::Private => false,
        _ => return Err(ApiError::invalid_param("visibility must be public or private")),
    };
    let rights = Rights::read(&caller, request.room_id.clone()).await?;
    if rights.room.is_none() {
        return Err(ApiError::not_found("Unknown room"));
    }
    if !rights.can_change_directory(&caller) {
        let message = "You must be a moderator in the room to edit its room list entry";
        return Err(ApiError::forbidden(message));
    }
    let update = room_aliases::update_listed(&request.room_id, is_public);
    caller.context.batch(vec![update]).await?;
    Ok(set_room_visibility::v3::Response::new())
}

/// What decides who may change how a room is found.
struct Rights {
    room: Option<ReaderRow>,
    state: Vec<StoredEvent>,
}

impl Rights {
    async fn read(caller: &Caller, room_id: OwnedRoomId) -> Result<Self, ApiError> {
        let key = |event_type: &str| (event_type.to_owned(), String::new());
        let types = ["m.room.create", "m.room.power_levels", "m.room.canonical_alias"].map(key);
        let mut keys = types.to_vec();
        keys.push(("m.room.member".to_owned(), caller.user_id.to_string()));
        let rooms = [room_id];
        let batch = vec![
            events::readers(&rooms, caller.user_id.as_str()),
            state(state_groups::current(&rooms, &StateFilter::Keys(keys))),
        ];
        let mut results = Results::new(caller.context.batch(batch).await?);
        Ok(Self { room: results.first()?, state: read_state(&mut results)? })
    }

    fn find(&self, event_type: TimelineEventType, state_key: &str) -> Option<&StoredEvent> {
        self.state.iter().find(|event| event.is_state_of(&event_type, state_key))
    }

    /// An administrator, or a member with the power to set the canonical alias.
    fn can_change_directory(&self, caller: &Caller) -> bool {
        if caller.is_admin {
            return true;
        }
        let member = self.find(TimelineEventType::RoomMember, caller.user_id.as_str());
        if membership(member.map(|member| &member.pdu)) != MembershipState::Join {
            return false;
        }
        let Some(create) = self.find(TimelineEventType::RoomCreate, "") else { return false };
        let levels = self.find(TimelineEventType::RoomPowerLevels, "").map(|event| &event.pdu);
        PowerLevels::new(&create.rules, &create.pdu, levels).can_send(
            &caller.user_id,
            &TimelineEventType::RoomCanonicalAlias,
            true,
        )
    }

    /// The content of `m.room.canonical_alias` without an alias; `None` if it does not name it.
    fn canonical_alias_without(&self, alias: &RoomAliasId) -> Option<Map<String, Value>> {
        let event = self.find(TimelineEventType::RoomCanonicalAlias, "")?;
        let mut content: Map<String, Value> = event.pdu.content_as()?;
        let was_main = content.get("alias").and_then(Value::as_str) == Some(alias.as_str());
        if was_main {
            content.remove("alias");
        }
        let others = content.get_mut("alt_aliases").and_then(Value::as_array_mut);
        let (mut was_other, mut is_empty) = (false, false);
        if let Some(others) = others {
            let before = others.len();
            others.retain(|other| other.as_str() != Some(alias.as_str()));
            (was_other, is_empty) = (others.len() < before, others.is_empty());
        }
        if was_other && is_empty {
            content.remove("alt_aliases");
        }
        (was_main || was_other).then_some(content)
    }
}
