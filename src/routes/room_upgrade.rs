//! Upgrading rooms. Client-Server API, "Room Upgrades".

use myelin_protocol::create_room::{CreateRoomError, PlannedEvent};
use myelin_protocol::pdu::Pdu;
use myelin_protocol::push_rules::UserRule;
use myelin_protocol::room_snapshot::RoomSnapshot;
use myelin_protocol::room_upgrade::{Upgrade, lock_power_levels, plan_tombstone};
use myelin_protocol::room_version::find_supported;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomVersionId};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::room_create::{NewRoom, creator, make, new_event, plan_error, random_id};
use super::room_send::{room_id, send_to};
use super::{Access, Answer, Caller, Incoming, Route, json as answer_json, raw};
use crate::durable::{Announcement, SendEvent};
use crate::error::ApiError;
use crate::storage::database::{Results, Statement};
use crate::storage::profiles::{self, MemberProfileRow};
use crate::storage::rooms::{self, RoomVersionRow, StateEventRow};
use crate::storage::{account_data, push_rule_changes, room_upgrades};

pub fn routes() -> Vec<Route> {
    let paths = [
        "/_matrix/client/r0/rooms/{room_id}/upgrade",
        "/_matrix/client/v3/rooms/{room_id}/upgrade",
    ];
    vec![raw(http::Method::POST, &paths, upgrade)]
}

/// Any text may name a version: an unknown one is an error of its own.
#[derive(Deserialize)]
struct Request {
    new_version: String,
    #[serde(default)]
    additional_creators: Vec<OwnedUserId>,
}

/// `POST /_matrix/client/v3/rooms/{roomId}/upgrade`
async fn upgrade(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let old_id = room_id(incoming.arg(0))?;
    access.token()?;
    let request: Request = incoming.json()?;
    let version = find_supported(&request.new_version);
    let rules = version.as_ref().and_then(RoomVersionId::rules);
    let (Some(version), Some(rules)) = (version, rules) else {
        return Err(plan_error(CreateRoomError::UnsupportedRoomVersion));
    };
    let reads = vec![
        profiles::select_for_members(access.token()?, &[]),
        rooms::select_room(old_id.as_str()),
        rooms::select_state_for_upgrade(old_id.as_str(), access.token()?),
    ];
    let (caller, results) = access.authenticate_with(reads).await?;
    caller.must_not_be_guest()?;
    caller.must_not_be_suspended()?;
    let mut results = Results::new(results);
    let profiles: Vec<MemberProfileRow> = results.rows()?;
    let old: Option<RoomVersionRow> = results.first()?;
    let old = old.ok_or_else(|| ApiError::not_found("There is no such room on this server"))?;
    let state = parse_state(&old_id, &old.room_version, results.rows()?)?;
    let upgrader = creator(&caller.user_id, &profiles);
    let upgrade = Upgrade {
        room_version: &version,
        rules: &rules,
        upgrader: &upgrader,
        additional_creators: &request.additional_creators,
    };
    let replacement = replace(&caller, &old_id, &old, &state, &upgrade).await?;
    answer_json(&json!({"replacement_room": replacement}))
}

fn parse_state(
    room_id: &OwnedRoomId,
    version: &RoomVersionId,
    rows: Vec<StateEventRow>,
) -> Result<Vec<Pdu>, ApiError> {
    let rules = version.rules().ok_or_else(|| ApiError::internal("unknown room version"))?;
    let parse = |row: StateEventRow| row.into_event(room_id, &rules);
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
    copy_user_data(caller, old_id, &new_id).await?;
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
    let is_joined = room.membership(&caller.user_id) == MembershipState::Join;
    if is_joined && power_levels.can_send(&caller.user_id, &"m.room.tombstone".into(), true) {
        return Ok(());
    }
    Err(ApiError::forbidden("You don't have permission to upgrade this room"))
}

async fn send_state(
    caller: &Caller,
    room_id: &OwnedRoomId,
    event: &PlannedEvent,
) -> Result<OwnedEventId, ApiError> {
    let event = new_event(&caller.user_id, event)?;
    let send = SendEvent::new(event);
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

/// Takes what the members of ours have said about the old room over to the new one: tags, that
/// it is a direct chat, push rules of the room.
async fn copy_user_data(
    caller: &Caller,
    old_id: &OwnedRoomId,
    new_id: &OwnedRoomId,
) -> Result<(), ApiError> {
    let context = &caller.context;
    let reads = room_upgrades::select_user_data(old_id.as_str()).to_vec();
    let mut results = Results::new(context.batch(reads).await?);
    let direct: Vec<room_upgrades::DirectRow> = results.rows()?;
    let rules: Vec<room_upgrades::RoomRuleRow> = results.rows()?;
    let mut batch = room_upgrades::copy_tags(old_id.as_str(), new_id.as_str());
    let mut users = Vec::new();
    for row in direct {
        if let Some(content) = with_replacement(&row.content, old_id, new_id) {
            batch.extend(account_data::set(&row.user_id, "m.direct", &content));
            users.push(row.user_id);
        }
    }
    for row in rules {
        let pattern = json!([{"kind": "event_match", "key": "room_id", "pattern": new_id}]);
        let rule = UserRule {
            scoped_rule_id: format!("global/room/{new_id}"),
            conditions: pattern.to_string(),
            actions: row.actions,
        };
        batch.extend(push_rule_changes::set(&row.user_id, &rule, row.priority_class, &[]));
    }
    context.batch(batch).await?;
    context.announce(Announcement::Users(users));
    Ok(())
}

/// The content of `m.direct` with the new room beside the old one; `None` if it does not name it.
fn with_replacement(content: &str, old_id: &OwnedRoomId, new_id: &OwnedRoomId) -> Option<String> {
    let mut content: Map<String, Value> = serde_json::from_str(content).ok()?;
    let mut is_direct = false;
    for rooms in content.values_mut().filter_map(Value::as_array_mut) {
        if rooms.iter().any(|room| room == old_id.as_str()) {
            rooms.push(json!(new_id));
            is_direct = true;
        }
    }
    is_direct.then(|| Value::Object(content).to_string())
}
