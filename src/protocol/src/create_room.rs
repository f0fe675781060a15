//! From the options of `createRoom` to the events that make the room.
//!
//! Invariant: the events are in the order in which each is authorised by those before it, unless
//! the caller's own options forbid it; then the authorisation of an event says so.
//! Spec: <https://spec.matrix.org/latest/client-server-api/#post_matrixclientv3createroom>

use ruma::{
    OwnedRoomAliasId, OwnedUserId, RoomAliasId, RoomVersionId, UserId,
    api::client::room::{
        Visibility,
        create_room::v3::{Request, RoomPreset},
    },
    events::{StateEventType, TimelineEventType},
    room_version_rules::RoomVersionRules,
};
use serde_json::{Map, Value, json};

use crate::{
    event_builder::FIELD_SIZE_MAX, initial_power_levels::default_power_levels,
    room_version::find_supported,
};

type JsonObject = Map<String, Value>;

/// A state event that the creator of a room sends.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedEvent {
    pub event_type: TimelineEventType,
    pub state_key: String,
    pub content: JsonObject,
}

impl PlannedEvent {
    pub(crate) fn new(event_type: &str, state_key: &str, content: Value) -> Self {
        let content = match content {
            Value::Object(content) => content,
            _ => JsonObject::new(),
        };
        Self { event_type: event_type.into(), state_key: state_key.to_owned(), content }
    }

    fn is(&self, event_type: &str) -> bool {
        self.event_type.to_string() == event_type && self.state_key.is_empty()
    }
}

/// Who creates a room, with the profile that their membership shows.
#[derive(Debug, Clone)]
pub struct Creator {
    pub user_id: OwnedUserId,
    pub displayname: Option<String>,
    pub avatar_url: Option<String>,
}

impl Creator {
    /// The event by which the creator joins.
    pub fn join(&self) -> PlannedEvent {
        let mut content = json!({"membership": "join"});
        if let Some(displayname) = &self.displayname {
            content["displayname"] = json!(displayname);
        }
        if let Some(avatar_url) = &self.avatar_url {
            content["avatar_url"] = json!(avatar_url);
        }
        PlannedEvent::new("m.room.member", self.user_id.as_str(), content)
    }
}

/// A room to be made. All events are sent by the creator, in this order.
#[derive(Debug, Clone)]
pub struct RoomPlan {
    pub room_version: RoomVersionId,
    pub rules: RoomVersionRules,
    /// Comes first: from version 12 on it names the room.
    pub create: PlannedEvent,
    /// What follows it, the creator's own membership first.
    pub events: Vec<PlannedEvent>,
    /// The memberships of those who are invited, each to be completed with their profile.
    pub invites: Vec<PlannedEvent>,
    pub alias: Option<OwnedRoomAliasId>,
    /// Whether the room is listed in the public directory.
    pub is_public: bool,
}

/// Why a room cannot be made from these options.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateRoomError {
    #[error("Your homeserver does not support this room version")]
    UnsupportedRoomVersion,
    #[error("{0}")]
    BadJson(String),
    #[error("{0}")]
    InvalidParam(String),
    #[error("{0}")]
    InvalidRoomState(String),
    #[error("Inviting by third-party identifier is not possible on this server")]
    ThirdPartyInvite,
}

impl CreateRoomError {
    pub fn errcode(&self) -> &'static str {
        match self {
            Self::UnsupportedRoomVersion => "M_UNSUPPORTED_ROOM_VERSION",
            Self::BadJson(_) => "M_BAD_JSON",
            Self::InvalidParam(_) => "M_INVALID_PARAM",
            Self::InvalidRoomState(_) => "M_INVALID_ROOM_STATE",
            Self::ThirdPartyInvite => "M_THREEPID_DENIED",
        }
    }

    pub fn status(&self) -> u16 {
        if *self == Self::ThirdPartyInvite { 403 } else { 400 }
    }
}

/// What a preset stands for.
pub(crate) struct Preset {
    join_rule: &'static str,
    guests_can_join: bool,
    pub(crate) invitees_have_ops: bool,
    pub(crate) is_public: bool,
}

/// Turns the options into events.
pub fn plan_room(
    request: &Request,
    creator: &Creator,
    default_version: &RoomVersionId,
) -> Result<RoomPlan, CreateRoomError> {
    let wanted = request.room_version.as_ref().unwrap_or(default_version);
    let room_version =
        find_supported(wanted.as_str()).ok_or(CreateRoomError::UnsupportedRoomVersion)?;
    let rules = room_version.rules().ok_or(CreateRoomError::UnsupportedRoomVersion)?;
    if !request.invite_3pid.is_empty() {
        return Err(CreateRoomError::ThirdPartyInvite);
    }
    let preset = find_preset(request)?;
    let alias = parse_alias(request, &creator.user_id)?;
    let create = create_content(request, creator, &preset, &room_version, &rules)?;
    let mut initial_state = parse_initial_state(request)?;
    let power_levels = match take_power_levels(&mut initial_state) {
        Some(power_levels) => power_levels,
        None => default_power_levels(request, creator, &preset, &rules, &create)?,
    };
    let mut events = vec![creator.join(), power_levels];
    events.extend(preset_state(&preset, alias.as_deref(), &initial_state));
    events.extend(initial_state);
    events.extend(named_state(request));
    Ok(RoomPlan {
        create: PlannedEvent::new("m.room.create", "", Value::Object(create)),
        events,
        invites: request.invite.iter().map(|user_id| plan_invite(user_id, request)).collect(),
        alias,
        is_public: request.visibility == Visibility::Public,
        room_version,
        rules,
    })
}

fn find_preset(request: &Request) -> Result<Preset, CreateRoomError> {
    let default = match request.visibility {
        Visibility::Public => RoomPreset::PublicChat,
        _ => RoomPreset::PrivateChat,
    };
    let preset = request.preset.as_ref().unwrap_or(&default);
    let private = Preset {
        join_rule: "invite",
        guests_can_join: true,
        invitees_have_ops: false,
        is_public: false,
    };
    Ok(match preset {
        RoomPreset::PrivateChat => private,
        RoomPreset::TrustedPrivateChat => Preset { invitees_have_ops: true, ..private },
        RoomPreset::PublicChat => {
            Preset { join_rule: "public", guests_can_join: false, is_public: true, ..private }
        }
        other => {
            return Err(CreateRoomError::BadJson(format!("'{other}' is not a valid preset")));
        }
    })
}

fn parse_alias(
    request: &Request,
    creator: &UserId,
) -> Result<Option<OwnedRoomAliasId>, CreateRoomError> {
    let Some(name) = &request.room_alias_name else {
        return Ok(None);
    };
    let invalid = |message: &str| CreateRoomError::InvalidParam(message.to_owned());
    if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c == '\0') {
        return Err(invalid("Invalid characters in room alias"));
    }
    if name.contains(':') {
        return Err(invalid("':' is not permitted in the room alias name: give its local part"));
    }
    let alias = format!("#{name}:{}", creator.server_name());
    if alias.len() > FIELD_SIZE_MAX {
        return Err(invalid("The room alias is too long"));
    }
    RoomAliasId::parse(alias).map(Some).map_err(|_| invalid("Invalid room alias"))
}

fn create_content(
    request: &Request,
    creator: &Creator,
    preset: &Preset,
    room_version: &RoomVersionId,
    rules: &RoomVersionRules,
) -> Result<JsonObject, CreateRoomError> {
    let mut content = match &request.creation_content {
        Some(content) => parse_object(content.json().get(), "creation_content")?,
        None => JsonObject::new(),
    };
    content.insert("room_version".to_owned(), json!(room_version.as_str()));
    if !rules.authorization.use_room_create_sender {
        content.insert("creator".to_owned(), json!(creator.user_id));
    }
    if rules.authorization.additional_room_creators {
        let mut creators = parse_additional_creators(&content)?;
        if preset.invitees_have_ops {
            creators.extend(request.invite.iter().cloned());
        }
        let mut seen = std::collections::BTreeSet::new();
        creators.retain(|user_id| seen.insert(user_id.clone()));
        if !creators.is_empty() {
            content.insert("additional_creators".to_owned(), json!(creators));
        }
    }
    Ok(content)
}

fn parse_additional_creators(content: &JsonObject) -> Result<Vec<OwnedUserId>, CreateRoomError> {
    let Some(creators) = content.get("additional_creators") else {
        return Ok(Vec::new());
    };
    serde_json::from_value(creators.clone()).map_err(|_| {
        CreateRoomError::InvalidParam("additional_creators must be a list of user ids".to_owned())
    })
}

/// A later entry for the same type and state key replaces an earlier one, in its place.
fn parse_initial_state(request: &Request) -> Result<Vec<PlannedEvent>, CreateRoomError> {
    let mut state: Vec<PlannedEvent> = Vec::new();
    for event in &request.initial_state {
        let event = parse_object(event.json().get(), "initial_state")?;
        let event_type = event.get("type").and_then(Value::as_str);
        let state_key = event.get("state_key").map_or(Some(""), Value::as_str);
        let content = event.get("content").filter(|content| content.is_object());
        let (Some(event_type), Some(state_key), Some(content)) = (event_type, state_key, content)
        else {
            return Err(CreateRoomError::BadJson(
                "initial_state events have a type, a content and maybe a state_key".to_owned(),
            ));
        };
        if StateEventType::from(event_type) == StateEventType::RoomCreate {
            return Err(CreateRoomError::InvalidRoomState(
                "initial_state cannot hold the create event".to_owned(),
            ));
        }
        let planned = PlannedEvent::new(event_type, state_key, content.clone());
        let same = |other: &&mut PlannedEvent| {
            other.event_type == planned.event_type && other.state_key == planned.state_key
        };
        match state.iter_mut().find(same) {
            Some(earlier) => *earlier = planned,
            None => state.push(planned),
        }
    }
    Ok(state)
}

fn take_power_levels(initial_state: &mut Vec<PlannedEvent>) -> Option<PlannedEvent> {
    let index = initial_state.iter().position(|event| event.is("m.room.power_levels"))?;
    Some(initial_state.remove(index))
}

fn preset_state(
    preset: &Preset,
    alias: Option<&RoomAliasId>,
    initial_state: &[PlannedEvent],
) -> Vec<PlannedEvent> {
    let mut events = Vec::new();
    if let Some(alias) = alias {
        events.push(("m.room.canonical_alias", json!({"alias": alias})));
    }
    events.push(("m.room.join_rules", json!({"join_rule": preset.join_rule})));
    events.push(("m.room.history_visibility", json!({"history_visibility": "shared"})));
    if preset.guests_can_join {
        events.push(("m.room.guest_access", json!({"guest_access": "can_join"})));
    }
    events
        .into_iter()
        .filter(|(event_type, _)| !initial_state.iter().any(|event| event.is(event_type)))
        .map(|(event_type, content)| PlannedEvent::new(event_type, "", content))
        .collect()
}

fn named_state(request: &Request) -> impl Iterator<Item = PlannedEvent> {
    let name = request.name.as_ref().map(|name| ("m.room.name", json!({"name": name})));
    let topic = request.topic.as_ref().map(|topic| {
        ("m.room.topic", json!({"topic": topic, "m.topic": {"m.text": [{"body": topic}]}}))
    });
    name.into_iter()
        .chain(topic)
        .map(|(event_type, content)| PlannedEvent::new(event_type, "", content))
}

fn plan_invite(user_id: &UserId, request: &Request) -> PlannedEvent {
    let mut content = json!({"membership": "invite"});
    if request.is_direct {
        content["is_direct"] = json!(true);
    }
    PlannedEvent::new("m.room.member", user_id.as_str(), content)
}

pub(crate) fn parse_object(json: &str, name: &str) -> Result<JsonObject, CreateRoomError> {
    serde_json::from_str(json)
        .map_err(|_| CreateRoomError::BadJson(format!("'{name}' must be an object")))
}

#[cfg(test)]
#[path = "create_room_tests.rs"]
mod tests;
