//! Making rooms. Client-Server API, "Creation".

use myelin_protocol::create_room::{CreateRoomError, Creator, PlannedEvent, plan_room};
use myelin_protocol::room_snapshot::{Author, Draft, RoomSnapshot};
use ruma::api::client::room::create_room;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedRoomId, RoomAliasId, RoomId, RoomVersionId, UInt, UserId,
};
use serde_json::value::to_raw_value;

use super::membership::{add_profile, must_be_local, must_take_invites};
use super::room_send::new_aliases;
use super::{Access, Caller, Route, batched};
use crate::accounts::application_services::must_be_free_alias;
use crate::durable::{CreateRoom, NewEvent, RoomCommand, RoomReply};
use crate::error::{ApiError, ErrorCode};
use crate::storage::database::Results;
use crate::storage::profiles::{self, MemberProfileRow};
use crate::storage::rooms::{self, AliasRow};

/// How often another id is tried when a room has the one that was chosen.
const IDS_TRIED_MAX: usize = 30;

/// Invitations in one creation: as many events as one commit holds with room to spare.
const INVITES_MAX: usize = 500;

pub fn routes() -> Vec<Route> {
    vec![batched(create)]
}

/// `POST /_matrix/client/v3/createRoom`
async fn create(
    access: Access,
    request: create_room::v3::Request,
) -> Result<create_room::v3::Response, ApiError> {
    let server_name = access.context.server_name().clone();
    if request.invite.len() > INVITES_MAX {
        let message = format!("A room can be made with {INVITES_MAX} invitations at most");
        return Err(ApiError::invalid_param(message));
    }
    request.invite.iter().try_for_each(|user| must_be_local(&access.context, user))?;
    let alias = request.room_alias_name.as_ref().map(|name| format!("#{name}:{server_name}"));
    let aliases: Vec<String> = alias.into_iter().collect();
    let reads = vec![
        profiles::select_for_members(access.token()?, &request.invite),
        rooms::select_aliases(&aliases),
    ];
    let (caller, results) = access.authenticate_with(reads).await?;
    caller.must_not_be_guest()?;
    caller.must_not_be_suspended()?;
    let mut results = Results::new(results);
    let profiles: Vec<MemberProfileRow> = results.rows()?;
    for user_id in &request.invite {
        must_take_invites(&caller, user_id, &profiles)?;
    }
    if results.first::<AliasRow>()?.is_some() {
        return Err(ApiError::new(ErrorCode::RoomInUse, "Room alias already taken"));
    }
    if let Some(Ok(alias)) = aliases.first().map(RoomAliasId::parse) {
        must_be_free_alias(&caller.context.config, &alias, caller.service.as_ref())?;
    }
    let creator = creator(&caller.user_id, &profiles);
    let default_version = &caller.context.config.default_room_version;
    let plan = plan_room(&request, &creator, default_version).map_err(plan_error)?;
    plan.events.iter().try_for_each(|event| must_be_alias_of_room(event, &aliases))?;
    let mut events = vec![plan.create];
    events.extend(plan.events);
    events.extend(plan.invites.into_iter().map(|invite| with_profile(invite, &profiles)));
    let room = NewRoom {
        room_version: plan.room_version,
        events,
        alias: plan.alias,
        is_public: plan.is_public,
    };
    Ok(create_room::v3::Response::new(make(&caller, room, None).await?))
}

/// A new room has the alias that is made with it, and no other.
fn must_be_alias_of_room(event: &PlannedEvent, aliases: &[String]) -> Result<(), ApiError> {
    let named = new_aliases(&event.event_type.to_string(), &event.content)?;
    match named.iter().find(|alias| !aliases.contains(alias)) {
        Some(alias) => {
            let message = format!("Room alias {alias} does not point to the room");
            Err(ApiError::new(ErrorCode::BadAlias, message))
        }
        None => Ok(()),
    }
}

pub(super) struct NewRoom {
    pub room_version: RoomVersionId,
    /// The first is the create event.
    pub events: Vec<PlannedEvent>,
    pub alias: Option<ruma::OwnedRoomAliasId>,
    pub is_public: bool,
}

/// Makes a room. In version 12 the id is the hash of the create event: if there is such a room,
/// because somebody made an equal one in this millisecond, the time is shifted.
pub(super) async fn make(
    caller: &Caller,
    room: NewRoom,
    room_id: Option<OwnedRoomId>,
) -> Result<OwnedRoomId, ApiError> {
    let events: Vec<NewEvent> = room
        .events
        .iter()
        .map(|event| new_event(&caller.user_id, event))
        .collect::<Result<_, _>>()?;
    let mut origin_server_ts = caller.context.now_ms();
    for _ in 0..IDS_TRIED_MAX {
        let chosen = match &room_id {
            Some(room_id) => room_id.clone(),
            None => choose_id(caller, &room, origin_server_ts).await?,
        };
        let command = RoomCommand::Create(CreateRoom {
            room_version: room.room_version.clone(),
            events: events.clone(),
            origin_server_ts,
            alias: room.alias.clone(),
            is_public: room.is_public,
        });
        match caller.context.room(&chosen, command).await? {
            RoomReply::Exists => {
                let [shift_ms] = caller.context.random::<1>();
                origin_server_ts += 1 + u64::from(shift_ms);
            }
            _ => return Ok(chosen),
        }
    }
    Err(ApiError::internal("every id that was tried for a new room is taken"))
}

/// A random id, or in version 12 the id that the create event gives.
async fn choose_id(
    caller: &Caller,
    room: &NewRoom,
    origin_server_ts: u64,
) -> Result<OwnedRoomId, ApiError> {
    let context = &caller.context;
    let random = random_id(caller)?;
    let rules = room
        .room_version
        .rules()
        .ok_or_else(|| plan_error(CreateRoomError::UnsupportedRoomVersion))?;
    if rules.event_format.require_room_create_room_id {
        return Ok(random);
    }
    let keys = context.keys().await?;
    let snapshot = RoomSnapshot::empty(random, room.room_version.clone(), rules);
    let create = &room.events[0];
    let draft = Draft {
        event_type: create.event_type.clone(),
        state_key: Some(create.state_key.clone()),
        sender: caller.user_id.clone(),
        content: create.content.clone(),
        redacts: None,
        origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::new_saturating(origin_server_ts)),
    };
    let author = Author {
        server_name: context.server_name(),
        key: &keys.signing_key,
        event_id_localpart: "",
    };
    let event = snapshot.prepare(draft, author);
    event.map(|event| event.room_id.clone()).map_err(|e| ApiError::bad_json(e.to_string()))
}

pub(super) fn random_id(caller: &Caller) -> Result<OwnedRoomId, ApiError> {
    let context = &caller.context;
    RoomId::parse(format!("!{}:{}", context.random_string(18), context.server_name()))
        .map_err(ApiError::internal)
}

pub(super) fn new_event(sender: &UserId, event: &PlannedEvent) -> Result<NewEvent, ApiError> {
    Ok(NewEvent {
        sender: sender.to_owned(),
        event_type: event.event_type.to_string(),
        state_key: Some(event.state_key.clone()),
        content: to_raw_value(&event.content).map_err(ApiError::internal)?,
        redacts: None,
    })
}

pub(super) fn creator(user_id: &UserId, profiles: &[MemberProfileRow]) -> Creator {
    let profile = profiles.iter().find(|row| row.user_id == user_id);
    Creator {
        user_id: user_id.to_owned(),
        displayname: profile.and_then(|row| row.displayname.clone()),
        avatar_url: profile.and_then(|row| row.avatar_url.clone()),
    }
}

fn with_profile(mut invite: PlannedEvent, profiles: &[MemberProfileRow]) -> PlannedEvent {
    add_profile(&mut invite.content, &invite.state_key, profiles);
    invite
}

pub(super) fn plan_error(error: CreateRoomError) -> ApiError {
    let code = match error {
        CreateRoomError::UnsupportedRoomVersion => ErrorCode::UnsupportedRoomVersion,
        CreateRoomError::BadJson(_) => ErrorCode::BadJson,
        CreateRoomError::InvalidParam(_) => ErrorCode::InvalidParam,
        CreateRoomError::InvalidRoomState(_) => ErrorCode::InvalidRoomState,
        CreateRoomError::ThirdPartyInvite => ErrorCode::ThreepidDenied,
    };
    ApiError::new(code, error.to_string())
}
