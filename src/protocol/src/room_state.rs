//! What single state events say: power levels, join rule, history visibility, membership, creators.
//!
//! Invariant: a state event of the wrong shape reads like one that is absent; nothing here fails.
//! Spec: <https://spec.matrix.org/latest/client-server-api/#room-events>

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use ruma::{
    Int, OwnedRoomId, OwnedUserId, RoomVersionId, UserId,
    events::{
        StateEventType, TimelineEventType,
        room::{
            history_visibility::HistoryVisibility, member::MembershipState,
            power_levels::UserPowerLevel,
        },
    },
    power_levels::NotificationPowerLevels,
    push::PushConditionPowerLevelsCtx,
    room::{JoinRuleKind, RoomType},
    room_version_rules::{AuthorizationRules, RoomPowerLevelsRules, RoomVersionRules},
    state_res::events::{RoomCreateEvent, RoomPowerLevelsEvent, RoomPowerLevelsIntField as Field},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, value::RawValue};

use crate::pdu::Pdu;

/// The level of the creator of a room of versions 1 to 11 that has no power levels.
const CREATOR_LEVEL: i32 = 100;
/// What it takes to notify a whole room, unless the room says otherwise.
const NOTIFICATION_LEVEL: i32 = 50;

/// The power of users and the power that actions take, with every default of the version.
#[derive(Debug, Clone)]
pub struct PowerLevels {
    rules: AuthorizationRules,
    creators: HashSet<OwnedUserId>,
    event: Option<RoomPowerLevelsEvent<Pdu>>,
}

impl PowerLevels {
    pub fn new(rules: &RoomVersionRules, create: &Pdu, power_levels: Option<&Pdu>) -> Self {
        Self {
            rules: rules.authorization.clone(),
            creators: creators(rules, create),
            event: power_levels.cloned().map(RoomPowerLevelsEvent::new),
        }
    }

    /// The power levels of a state; `None` if it has no create event.
    pub fn of_state(
        rules: &RoomVersionRules,
        state: impl Fn(&StateEventType, &str) -> Option<Pdu>,
    ) -> Option<Self> {
        let create = state(&StateEventType::RoomCreate, "")?;
        let power_levels = state(&StateEventType::RoomPowerLevels, "");
        Some(Self::new(rules, &create, power_levels.as_ref()))
    }

    pub fn creators(&self) -> &HashSet<OwnedUserId> {
        &self.creators
    }

    /// The power of a user. From version 12 on creators have more than any number.
    pub fn of_user(&self, user_id: &UserId) -> UserPowerLevel {
        let is_creator = self.creators.contains(user_id);
        if is_creator && self.rules.explicitly_privilege_room_creators {
            return UserPowerLevel::Infinite;
        }
        let level = match &self.event {
            Some(event) => event
                .user_power_level(user_id, &self.rules)
                .unwrap_or_else(|_| self.required(Field::UsersDefault)),
            None if is_creator => CREATOR_LEVEL.into(),
            None => Field::UsersDefault.default_value(),
        };
        UserPowerLevel::Int(level)
    }

    /// The level that an action takes.
    pub fn required(&self, field: Field) -> Int {
        let level =
            self.event.as_ref().and_then(|event| event.get_as_int(field, &self.rules).ok()?);
        level.unwrap_or_else(|| field.default_value())
    }

    /// The level that it takes to send an event of a type.
    pub fn required_to_send(&self, event_type: &TimelineEventType, is_state: bool) -> Int {
        let events = self.event.as_ref().and_then(|event| event.events(&self.rules).ok()?);
        let level = events.and_then(|events| events.get(event_type).copied());
        let default = if is_state { Field::StateDefault } else { Field::EventsDefault };
        level.unwrap_or_else(|| self.required(default))
    }

    pub fn can_send(
        &self,
        user_id: &UserId,
        event_type: &TimelineEventType,
        is_state: bool,
    ) -> bool {
        self.of_user(user_id) >= self.required_to_send(event_type, is_state)
    }

    pub fn can_invite(&self, user_id: &UserId) -> bool {
        self.of_user(user_id) >= self.required(Field::Invite)
    }

    pub fn can_kick(&self, user_id: &UserId, target: &UserId) -> bool {
        let level = self.of_user(user_id);
        level >= self.required(Field::Kick) && level > self.of_user(target)
    }

    pub fn can_ban(&self, user_id: &UserId, target: &UserId) -> bool {
        let level = self.of_user(user_id);
        level >= self.required(Field::Ban) && level > self.of_user(target)
    }

    /// Whether a user may redact what others sent.
    pub fn can_redact_others(&self, user_id: &UserId) -> bool {
        self.of_user(user_id) >= self.required(Field::Redact)
    }

    /// What push rules ask about power.
    pub fn push_context(&self) -> PushConditionPowerLevelsCtx {
        let users = self.event.as_ref().and_then(|event| event.users(&self.rules).ok()?.cloned());
        let mut users = users.unwrap_or_default();
        if self.event.is_none() && !self.rules.explicitly_privilege_room_creators {
            users.extend(
                self.creators.iter().map(|user_id| (user_id.clone(), CREATOR_LEVEL.into())),
            );
        }
        let mut notifications = NotificationPowerLevels::new();
        notifications.room = self.required_to_notify("room");
        PushConditionPowerLevelsCtx::new(
            users,
            self.required(Field::UsersDefault),
            notifications,
            RoomPowerLevelsRules::new(&self.rules, self.creators.iter().cloned()),
        )
    }

    /// The level that it takes to notify with a key, for instance `room`.
    pub fn required_to_notify(&self, key: &str) -> Int {
        let levels = self.event.as_ref().and_then(|event| event.notifications(&self.rules).ok()?);
        levels.and_then(|levels| levels.get(key).copied()).unwrap_or(NOTIFICATION_LEVEL.into())
    }
}

/// Who may join a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRule {
    pub kind: JoinRuleKind,
    /// The rooms whose members may join a restricted room.
    pub allow_rooms: Vec<OwnedRoomId>,
}

impl JoinRule {
    /// Reads the join rules of a room; without any an invitation is needed.
    pub fn of(join_rules: Option<&Pdu>) -> Self {
        let kind = join_rules.and_then(|event| field::<JoinRuleKind>(event, "join_rule"));
        let kind = kind.unwrap_or(JoinRuleKind::Invite);
        let restricted = matches!(kind, JoinRuleKind::Restricted | JoinRuleKind::KnockRestricted);
        let allow_rooms = match join_rules {
            Some(event) if restricted => find_allow_rooms(event),
            _ => Vec::new(),
        };
        Self { kind, allow_rooms }
    }

    /// Whether membership of another room lets a user in, in a room of this version.
    pub fn is_restricted(&self, rules: &RoomVersionRules) -> bool {
        match self.kind {
            JoinRuleKind::Restricted => rules.authorization.restricted_join_rule,
            JoinRuleKind::KnockRestricted => rules.authorization.knock_restricted_join_rule,
            _ => false,
        }
    }
}

fn find_allow_rooms(join_rules: &Pdu) -> Vec<OwnedRoomId> {
    allowed_rooms(&field::<Vec<Value>>(join_rules, "allow").unwrap_or_default())
}

/// The rooms that the `allow` list of a join rule names.
pub fn allowed_rooms(allow: &[Value]) -> Vec<OwnedRoomId> {
    allow
        .iter()
        .filter(|condition| condition["type"] == "m.room_membership")
        .filter_map(|condition| condition["room_id"].as_str()?.try_into().ok())
        .collect()
}

/// The history visibility of a room: `shared` unless it says otherwise.
pub fn history_visibility(event: Option<&Pdu>) -> HistoryVisibility {
    let visibility = event.and_then(|event| field(event, "history_visibility"));
    match visibility {
        Some(
            known @ (HistoryVisibility::Invited
            | HistoryVisibility::Joined
            | HistoryVisibility::WorldReadable),
        ) => known,
        _ => HistoryVisibility::Shared,
    }
}

/// Whether guests may join: only if the room says so.
pub fn guests_can_join(event: Option<&Pdu>) -> bool {
    event.and_then(|event| field::<String>(event, "guest_access")).as_deref() == Some("can_join")
}

/// The content of a membership event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub membership: MembershipState,
    pub displayname: Option<String>,
    pub avatar_url: Option<String>,
    pub reason: Option<String>,
    pub is_direct: bool,
    pub join_authorised_via_users_server: Option<OwnedUserId>,
}

impl Member {
    /// Reads a membership event; `None` if it has no membership.
    pub fn of(event: &Pdu) -> Option<Self> {
        let content: Value = event.content_as()?;
        let text = |key: &str| content[key].as_str().map(ToOwned::to_owned);
        Some(Self {
            membership: text("membership")?.into(),
            displayname: text("displayname"),
            avatar_url: text("avatar_url"),
            reason: text("reason"),
            is_direct: content["is_direct"].as_bool().unwrap_or(false),
            join_authorised_via_users_server: text("join_authorised_via_users_server")
                .and_then(|user_id| user_id.try_into().ok()),
        })
    }
}

/// The membership that an event, or the absence of one, gives a user: `leave` if none.
pub fn membership(event: Option<&Pdu>) -> MembershipState {
    event.and_then(|event| field(event, "membership")).unwrap_or(MembershipState::Leave)
}

/// Who made the room. More than one only from version 12 on, with `additional_creators`.
pub fn creators(rules: &RoomVersionRules, create: &Pdu) -> HashSet<OwnedUserId> {
    let creators = RoomCreateEvent::new(create).creators(&rules.authorization);
    creators.unwrap_or_else(|_| HashSet::from([create.sender.clone()]))
}

/// What a create event says of its room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateInfo {
    pub room_version: RoomVersionId,
    pub room_type: Option<RoomType>,
    pub federate: bool,
    pub predecessor: Option<OwnedRoomId>,
}

impl CreateInfo {
    pub fn of(create: &Pdu) -> Self {
        let predecessor: Option<Value> = field(create, "predecessor");
        Self {
            room_version: field(create, "room_version").unwrap_or(RoomVersionId::V1),
            room_type: field(create, "type"),
            federate: field(create, "m.federate").unwrap_or(true),
            predecessor: predecessor
                .and_then(|predecessor| predecessor["room_id"].as_str()?.try_into().ok()),
        }
    }
}

/// One field of an event's content; `None` if it is absent or of another type.
fn field<T: DeserializeOwned>(event: &Pdu, key: &str) -> Option<T> {
    let content: HashMap<Cow<'_, str>, &RawValue> = event.content_as()?;
    serde_json::from_str(content.get(key)?.get()).ok()
}

#[cfg(test)]
#[path = "room_state_tests.rs"]
mod tests;
