//! From an old room to the events that make the room that replaces it.
//!
//! Spec: <https://spec.matrix.org/latest/client-server-api/#room-upgrades>

use ruma::{
    EventId, OwnedUserId, RoomId, RoomVersionId, UserId, room_version_rules::RoomVersionRules,
};
use serde_json::{Map, Value, json};

use crate::{
    create_room::{Creator, PlannedEvent},
    pdu::Pdu,
};

type JsonObject = Map<String, Value>;

/// The state that moves to the new room as it is.
pub const MOVED_STATE_TYPES: [&str; 8] = [
    "m.room.join_rules",
    "m.room.name",
    "m.room.topic",
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.avatar",
    "m.room.encryption",
    "m.room.server_acl",
];

/// What the new room is to be.
#[derive(Debug, Clone)]
pub struct Upgrade<'a> {
    pub room_version: &'a RoomVersionId,
    pub rules: &'a RoomVersionRules,
    pub upgrader: &'a Creator,
    /// Only for versions that have them.
    pub additional_creators: &'a [OwnedUserId],
}

impl Upgrade<'_> {
    /// The create event of the new room. The tombstone is known only where the room's id does
    /// not depend on the create event (before version 12).
    pub fn plan_create(&self, old_create: &Pdu, tombstone: Option<&EventId>) -> PlannedEvent {
        let old: JsonObject = old_create.content_as().unwrap_or_default();
        let mut content = json!({
            "room_version": self.room_version.as_str(),
            "predecessor": {"room_id": old_create.room_id},
        });
        if let Some(tombstone) = tombstone {
            content["predecessor"]["event_id"] = json!(tombstone);
        }
        if !self.rules.authorization.use_room_create_sender {
            content["creator"] = json!(self.upgrader.user_id);
        }
        if self.rules.authorization.additional_room_creators && !self.additional_creators.is_empty()
        {
            content["additional_creators"] = json!(self.additional_creators);
        }
        if old.get("m.federate") == Some(&Value::Bool(false)) {
            content["m.federate"] = json!(false);
        }
        if let Some(room_type) = old.get("type").filter(|room_type| room_type.is_string()) {
            content["type"] = room_type.clone();
        }
        PlannedEvent::new("m.room.create", "", content)
    }

    /// What follows the create event: the upgrader's membership, the power levels (raised as far
    /// as the upgrader needs them), the moved state, the bans, the power levels as they were.
    pub fn plan_state(&self, old_state: &[Pdu]) -> Vec<PlannedEvent> {
        let old_levels = find_state(old_state, "m.room.power_levels");
        let final_levels = self.move_power_levels(old_levels);
        let raised_levels = self.raise_upgrader(final_levels.clone());
        let mut events = vec![self.upgrader.join(), power_levels_event(&raised_levels)];
        let mut moved: Vec<PlannedEvent> =
            old_state.iter().filter_map(|event| move_state(event, old_state)).collect();
        for (event_type, content) in [
            ("m.room.join_rules", json!({"join_rule": "invite"})),
            ("m.room.history_visibility", json!({"history_visibility": "shared"})),
            ("m.room.guest_access", json!({"guest_access": "can_join"})),
        ] {
            if !moved.iter().any(|event| event.event_type.to_string() == event_type) {
                moved.push(PlannedEvent::new(event_type, "", content));
            }
        }
        events.extend(moved);
        events.extend(old_state.iter().filter_map(move_ban));
        if raised_levels != final_levels {
            events.push(power_levels_event(&final_levels));
        }
        events
    }

    /// The old levels as the new version writes them: integers, without its creators.
    fn move_power_levels(&self, old: Option<&Pdu>) -> JsonObject {
        let mut levels = old.map(levels_as_integers).unwrap_or_default();
        if let Some(users) = levels.get_mut("users").and_then(Value::as_object_mut)
            && self.rules.authorization.explicitly_privilege_room_creators
        {
            users.remove(self.upgrader.user_id.as_str());
            users.retain(|user_id, _| {
                !self.additional_creators.iter().any(|creator| creator == user_id.as_str())
            });
        }
        if old.is_none() && !self.rules.authorization.explicitly_privilege_room_creators {
            levels.insert("users".to_owned(), json!({self.upgrader.user_id.as_str(): 100}));
        }
        levels
    }

    fn raise_upgrader(&self, mut levels: JsonObject) -> JsonObject {
        if self.rules.authorization.explicitly_privilege_room_creators {
            return levels;
        }
        let events = levels.get("events").and_then(Value::as_object);
        let of_events = events.into_iter().flat_map(Map::values).filter_map(Value::as_i64);
        let of_state = [level(&levels, "state_default", 50), level(&levels, "ban", 50)];
        let needed = of_state.into_iter().chain(of_events).max().unwrap_or_default();
        let user_id = &self.upgrader.user_id;
        if level_of_user(&levels, user_id) < needed {
            let users = levels.entry("users").or_insert_with(|| json!({}));
            if let Some(users) = users.as_object_mut() {
                users.insert(user_id.to_string(), json!(needed));
            }
        }
        levels
    }
}

/// The event by which the old room points to the new one.
pub fn plan_tombstone(new_room: &RoomId) -> PlannedEvent {
    let content = json!({"body": "This room has been replaced", "replacement_room": new_room});
    PlannedEvent::new("m.room.tombstone", "", content)
}

/// The power levels that silence the old room; `None` if it is silent already, or has none.
pub fn lock_power_levels(old_levels: &Pdu) -> Option<PlannedEvent> {
    let mut levels = levels_as_integers(old_levels);
    let restricted = level(&levels, "users_default", 0).saturating_add(1).max(50);
    let mut changed = false;
    for key in ["invite", "events_default"] {
        if level(&levels, key, 0) < restricted {
            levels.insert(key.to_owned(), json!(restricted));
            changed = true;
        }
    }
    changed.then(|| power_levels_event(&levels))
}

fn power_levels_event(levels: &JsonObject) -> PlannedEvent {
    PlannedEvent::new("m.room.power_levels", "", Value::Object(levels.clone()))
}

fn find_state<'a>(state: &'a [Pdu], event_type: &str) -> Option<&'a Pdu> {
    state.iter().find(|event| event.is_state(&event_type.into(), ""))
}

fn move_state(event: &Pdu, old_state: &[Pdu]) -> Option<PlannedEvent> {
    let event_type = event.event_type.to_string();
    let state_key = event.state_key.as_deref()?;
    let content: JsonObject = event.content_as()?;
    let moved = MOVED_STATE_TYPES.contains(&event_type.as_str()) && state_key.is_empty();
    let child = event_type == "m.space.child" && !content.is_empty() && is_space(old_state);
    (moved || child).then(|| PlannedEvent::new(&event_type, state_key, Value::Object(content)))
}

fn is_space(state: &[Pdu]) -> bool {
    let create = find_state(state, "m.room.create").and_then(|create| create.content_as::<Value>());
    create.is_some_and(|content| content["type"] == "m.space")
}

fn move_ban(event: &Pdu) -> Option<PlannedEvent> {
    let content: Value = event.content_as()?;
    let is_ban = event.event_type.to_string() == "m.room.member" && content["membership"] == "ban";
    is_ban.then(|| {
        PlannedEvent::new("m.room.member", event.state_key.as_deref().unwrap_or_default(), content)
    })
}

fn level(levels: &JsonObject, key: &str, default: i64) -> i64 {
    levels.get(key).and_then(Value::as_i64).unwrap_or(default)
}

fn level_of_user(levels: &JsonObject, user_id: &UserId) -> i64 {
    let users = levels.get("users").and_then(Value::as_object);
    let own = users.and_then(|users| users.get(user_id.as_str())).and_then(Value::as_i64);
    own.unwrap_or_else(|| level(levels, "users_default", 0))
}

/// Old rooms may write levels as strings, which no new room may; what is no level is left out.
fn levels_as_integers(event: &Pdu) -> JsonObject {
    let content: JsonObject = event.content_as().unwrap_or_default();
    let as_integer = |(key, value): (String, Value)| match value {
        Value::Object(levels) => {
            let levels = levels.into_iter();
            let levels = levels.filter_map(|(key, value)| Some((key, level_as_integer(&value)?)));
            Some((key, Value::Object(levels.collect())))
        }
        value => Some((key, level_as_integer(&value)?)),
    };
    content.into_iter().filter_map(as_integer).collect()
}

fn level_as_integer(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => text.trim().parse::<i64>().ok().map(Value::from),
        Value::Number(number) => {
            number.as_i64().or_else(|| Some(number.as_f64()? as i64)).map(Value::from)
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "room_upgrade_tests.rs"]
mod tests;
