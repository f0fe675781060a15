//! The power levels of a new room, with what its creator wants otherwise.
//!
//! Tested with `create_room`.

use ruma::{
    UserId, api::client::room::create_room::v3::Request, room_version_rules::RoomVersionRules,
};
use serde_json::{Map, Value, json};

use crate::create_room::{CreateRoomError, Creator, PlannedEvent, Preset, parse_object};

type JsonObject = Map<String, Value>;

pub(crate) fn default_power_levels(
    request: &Request,
    creator: &Creator,
    preset: &Preset,
    rules: &RoomVersionRules,
    create: &JsonObject,
) -> Result<PlannedEvent, CreateRoomError> {
    let privileged = rules.authorization.explicitly_privilege_room_creators;
    let mut users = JsonObject::new();
    if !privileged {
        let ops = if preset.invitees_have_ops { &request.invite[..] } else { &[] };
        for user_id in std::iter::once(&creator.user_id).chain(ops) {
            users.insert(user_id.to_string(), json!(100));
        }
    }
    let mut content = json!({
        "users": users,
        "users_default": 0,
        "events": {
            "m.room.name": 50,
            "m.room.power_levels": 100,
            "m.room.history_visibility": 100,
            "m.room.canonical_alias": 50,
            "m.room.avatar": 50,
            "m.room.tombstone": if privileged { 150 } else { 100 },
            "m.room.server_acl": 100,
            "m.room.encryption": 100,
        },
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "kick": 50,
        "redact": 50,
        "invite": if preset.is_public { 50 } else { 0 },
    });
    if preset.is_public {
        content["events"]["m.call.invite"] = json!(50);
    }
    if let Some(overrides) = &request.power_level_content_override {
        let overrides = parse_object(overrides.json().get(), "power_level_content_override")?;
        check_power_levels(&overrides, creator, rules, create)?;
        for (key, value) in overrides {
            content[key] = value;
        }
    }
    Ok(PlannedEvent::new("m.room.power_levels", "", content))
}

fn check_power_levels(
    content: &JsonObject,
    creator: &Creator,
    rules: &RoomVersionRules,
    create: &JsonObject,
) -> Result<(), CreateRoomError> {
    let bad = |key: &str| {
        CreateRoomError::BadJson(format!("Not a valid power_level_content_override: '{key}'"))
    };
    for key in
        ["users_default", "events_default", "state_default", "ban", "kick", "redact", "invite"]
    {
        if content.get(key).is_some_and(|level| !level.is_i64()) {
            return Err(bad(key));
        }
    }
    for key in ["events", "notifications", "users"] {
        let is_levels = |levels: &Value| {
            levels.as_object().is_some_and(|levels| levels.values().all(Value::is_i64))
        };
        if content.get(key).is_some_and(|levels| !is_levels(levels)) {
            return Err(bad(key));
        }
    }
    let Some(users) = content.get("users").and_then(Value::as_object) else {
        return Ok(());
    };
    if users.keys().any(|user_id| UserId::parse(user_id.as_str()).is_err()) {
        return Err(bad("users"));
    }
    let invalid = |message: &str| Err(CreateRoomError::InvalidRoomState(message.to_owned()));
    if !rules.authorization.explicitly_privilege_room_creators {
        if !users.contains_key(creator.user_id.as_str()) {
            return invalid("power_level_content_override: 'users' lacks the creator");
        }
        return Ok(());
    }
    let additional = create.get("additional_creators").and_then(Value::as_array);
    let additional = additional.into_iter().flatten().filter_map(Value::as_str);
    if additional.chain([creator.user_id.as_str()]).any(|user_id| users.contains_key(user_id)) {
        return invalid("power_level_content_override: 'users' cannot hold a creator");
    }
    Ok(())
}
