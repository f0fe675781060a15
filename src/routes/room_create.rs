//! Making and upgrading rooms. Client-Server API, "Creation" and "Room Upgrades".

use myelin_protocol::create_room::{CreateRoomError, Creator, PlannedEvent, plan_room};
use myelin_protocol::pdu::Pdu;
use myelin_protocol::room_snapshot::{Author, Draft, RoomSnapshot};
use myelin_protocol::room_upgrade::{Upgrade, lock_power_levels, plan_tombstone};
use ruma::api::client::room::{create_room, upgrade_room};
use ruma::{MilliSecondsSinceUnixEpoch, OwnedRoomId, RoomId, RoomVersionId, UInt, UserId};
use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};

use super::room_send::send_to;
use super::{Access, Caller, Route, batched};
use crate::durable::{CreateRoom, NewEvent, RoomCommand, RoomReply, SendEvent};
use crate::error::{ApiError, ErrorCode};
use crate::storage::database::{Results, Statement};
use crate::storage::profiles::{self, MemberProfileRow};
use crate::storage::rooms::{self, AliasRow, RoomVersionRow, StateEventRow};

/// How often another id is tried when a room has the one that was chosen.
const IDS_TRIED_MAX: usize = 30;

/// Invitations in one creation: as many events as one commit holds with room to spare.
const INVITES_MAX: usize = 500;

pub fn routes() -> Vec<Route> {
    vec![batched(create), batched(upgrade)]
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
    if request.invite.iter().any(|user| user.server_name() != server_name) {
        let message = "This server does not talk to other servers yet: invite its own users";
        return Err(ApiError::forbidden(message));
    }
    let alias = request.room_alias_name.as_ref().map(|name| format!("#{name}:{server_name}"));
    let aliases: Vec<String> = alias.into_iter().collect();
    let reads = vec![
        profiles::select_for_members(access.token()?, &request.invite),
        rooms::select_aliases(&aliases),
    ];
    let (caller, results) = access.authenticate_with(reads).await?;
    caller.must_not_be_guest()?;
    let mut results = Results::new(results);
    let profiles: Vec<MemberProfileRow> = results.rows()?;
    if results.first::<AliasRow>()?.is_some() {
        return Err(ApiError::new(ErrorCode::RoomInUse, "Room alias already taken"));
    }
    let creator = creator(&caller.user_id, &profiles);
    let default_version = &caller.context.config.default_room_version;
    let plan = plan_room(&request, &creator, default_version).map_err(plan_error)?;
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

struct NewRoom {
    room_version: RoomVersionId,
    /// The first is the create event.
    events: Vec<PlannedEvent>,
    alias: Option<ruma::OwnedRoomAliasId>,
    is_public: bool,
}

/// Makes a room. In version 12 the id is the hash of the create event: if there is such a room,
/// because somebody made an equal one in this millisecond, the time is shifted.
async fn make(
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

fn random_id(caller: &Caller) -> Result<OwnedRoomId, ApiError> {
    let context = &caller.context;
    RoomId::parse(format!("!{}:{}", context.random_string(18), context.server_name()))
        .map_err(ApiError::internal)
}

fn new_event(sender: &UserId, event: &PlannedEvent) -> Result<NewEvent, ApiError> {
    Ok(NewEvent {
        sender: sender.to_owned(),
        event_type: event.event_type.to_string(),
        state_key: Some(event.state_key.clone()),
        content: to_raw_value(&event.content).map_err(ApiError::internal)?,
        redacts: None,
    })
}

fn creator(user_id: &UserId, profiles: &[MemberProfileRow]) -> Creator {
    let profile = profiles.iter().find(|row| row.user_id == user_id);
    Creator {
        user_id: user_id.to_owned(),
        displayname: profile.and_then(|row| row.displayname.clone()),
        avatar_url: profile.and_then(|row| row.avatar_url.clone()),
    }
}

fn with_profile(mut invite: PlannedEvent, profiles: &[MemberProfileRow]) -> PlannedEvent {
    if let Some(profile) = profiles.iter().find(|row| row.user_id == invite.state_key) {
        let fields = [("displayname", &profile.displayname), ("avatar_url", &profile.avatar_url)];
        for (name, value) in fields {
            if let Some(value) = value {
                invite.content.insert(name.to_owned(), json!(value));
            }
        }
    }
    invite
}

fn plan_error(error: CreateRoomError) -> ApiError {
    let code = match error {
        CreateRoomError::UnsupportedRoomVersion => ErrorCode::UnsupportedRoomVersion,
        CreateRoomError::BadJson(_) => ErrorCode::BadJson,
        CreateRoomError::InvalidParam(_) => ErrorCode::InvalidParam,
        CreateRoomError::InvalidRoomState(_) => ErrorCode::InvalidRoomState,
        CreateRoomError::ThirdPartyInvite => ErrorCode::ThreepidDenied,
    };
    ApiError::new(code, error.to_string())
}

/// `POST /_matrix/client/v3/rooms/{roomId}/upgrade`
async fn upgrade(
    access: Access,
    request: upgrade_room::v3::Request,
) -> Result<upgrade_room::v3::Response, ApiError> {
    let old_id = request.room_id.clone();
    let rules = request.new_version.rules();
    let rules = rules.ok_or_else(|| plan_error(CreateRoomError::UnsupportedRoomVersion))?;
    let reads = vec![
        profiles::select_for_members(access.token()?, &[]),
        rooms::select_room(old_id.as_str()),
        rooms::select_state_for_upgrade(old_id.as_str(), access.token()?),
    ];
    let (caller, results) = access.authenticate_with(reads).await?;
    caller.must_not_be_guest()?;
    let mut results = Results::new(results);
    let profiles: Vec<MemberProfileRow> = results.rows()?;
    let old: Option<RoomVersionRow> = results.first()?;
    let old = old.ok_or_else(|| ApiError::not_found("There is no such room on this server"))?;
    let state = parse_state(&old_id, &old.room_version, results.rows()?)?;
    let upgrader = creator(&caller.user_id, &profiles);
    let upgrade = Upgrade {
        room_version: &request.new_version,
        rules: &rules,
        upgrader: &upgrader,
        additional_creators: &request.additional_creators,
    };
    let replacement = replace(&caller, &old_id, &old, &state, &upgrade).await?;
    Ok(upgrade_room::v3::Response::new(replacement))
}

fn parse_state(
    room_id: &OwnedRoomId,
    version: &RoomVersionId,
    rows: Vec<StateEventRow>,
) -> Result<Vec<Pdu>, ApiError> {
    let rules = version.rules().ok_or_else(|| ApiError::internal("unknown room version"))?;
    let parse =
        |row: StateEventRow| Pdu::from_json(row.event_id, room_id.clone(), row.json, &rules, false);
    rows.into_iter().map(parse).collect::<Result<_, _>>().map_err(ApiError::internal)
}

/// Before version 12 the tombstone comes first: it shows that the caller may, and the new create
/// event names it. From version 12 on the new room's id is not known before its create event.
async fn replace(
    caller: &Caller,
    old_id: &OwnedRoomId,
    old: &RoomVersionRow,
    state: &[Pdu],
    upgrade: &Upgrade<'_>,
) -> Result<OwnedRoomId, ApiError> {
    let find = |event_type: &str| state.iter().find(|e| e.event_type.to_string() == event_type);
    let create = find("m.room.create").ok_or_else(|| ApiError::internal("no create event"))?;
    let new_room = |tombstone| {
        let mut events = vec![upgrade.plan_create(create, tombstone)];
        events.extend(upgrade.plan_state(state));
        let (room_version, is_public) = (upgrade.room_version.clone(), old.is_public);
        NewRoom { room_version, events, alias: None, is_public }
    };
    let new_id = if upgrade.rules.event_format.require_room_create_room_id {
        let new_id = random_id(caller)?;
        let tombstone = send_state(caller, old_id, &plan_tombstone(&new_id)).await?;
        make(caller, new_room(Some(&tombstone)), Some(new_id)).await?
    } else {
        must_be_allowed_tombstone(caller, old_id, &old.room_version, state)?;
        let new_id = make(caller, new_room(None), None).await?;
        send_state(caller, old_id, &plan_tombstone(&new_id)).await?;
        new_id
    };
    move_aliases(caller, old_id, &new_id, find("m.room.canonical_alias")).await?;
    if let Some(lock) = find("m.room.power_levels").and_then(lock_power_levels) {
        // Who may send the tombstone may not always change power levels: the room is replaced
        // all the same.
        if let Err(error) = send_state(caller, old_id, &lock).await {
            crate::log::warn(&format!("{old_id} was upgraded but not silenced: {error}"));
        }
    }
    Ok(new_id)
}

/// Asks the authorisation rules before the new room is made.
fn must_be_allowed_tombstone(
    caller: &Caller,
    room_id: &OwnedRoomId,
    version: &RoomVersionId,
    state: &[Pdu],
) -> Result<(), ApiError> {
    let rules = version.rules().ok_or_else(|| ApiError::internal("unknown room version"))?;
    let room = RoomSnapshot::new(
        room_id.clone(),
        version.clone(),
        rules,
        state.iter().cloned(),
        Vec::new(),
        0,
    );
    let power_levels = room.power_levels().ok_or_else(|| ApiError::internal("no create event"))?;
    let is_joined =
        room.membership(&caller.user_id) == ruma::events::room::member::MembershipState::Join;
    if is_joined && power_levels.can_send(&caller.user_id, &"m.room.tombstone".into(), true) {
        return Ok(());
    }
    Err(ApiError::forbidden("You don't have permission to upgrade this room"))
}

async fn send_state(
    caller: &Caller,
    room_id: &OwnedRoomId,
    event: &PlannedEvent,
) -> Result<ruma::OwnedEventId, ApiError> {
    let event = new_event(&caller.user_id, event)?;
    let send = SendEvent { event, transaction: None, origin_server_ts: None };
    send_to(caller, room_id, send).await
}

async fn move_aliases(
    caller: &Caller,
    old_id: &OwnedRoomId,
    new_id: &OwnedRoomId,
    canonical_alias: Option<&Pdu>,
) -> Result<(), ApiError> {
    let moves: Vec<Statement> =
        rooms::move_directory_entries(old_id.as_str(), new_id.as_str()).to_vec();
    caller.context.batch(moves).await?;
    let Some(content) = canonical_alias.and_then(|event| event.content_as::<Map<String, Value>>())
    else {
        return Ok(());
    };
    for (room_id, content) in [(old_id, Map::new()), (new_id, content)] {
        let event = PlannedEvent {
            event_type: "m.room.canonical_alias".into(),
            state_key: String::new(),
            content,
        };
        if let Err(error) = send_state(caller, room_id, &event).await {
            crate::log::warn(&format!("the canonical alias of {room_id} did not move: {error}"));
        }
    }
    Ok(())
}
