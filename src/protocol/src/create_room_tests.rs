use ruma::{owned_user_id, serde::Raw};

use super::*;
use crate::{
    auth::AuthError,
    room_version::SUPPORTED,
    test_room::{ALICE, BOB, CAROL, TestRoom},
};

fn alice() -> Creator {
    Creator {
        user_id: owned_user_id!("@alice:one.test"),
        displayname: Some("Alice".to_owned()),
        avatar_url: None,
    }
}

fn request(version: &str) -> Request {
    let mut request = Request::new();
    request.room_version = Some(version.try_into().unwrap());
    request
}

fn plan(request: &Request) -> RoomPlan {
    plan_room(request, &alice(), &RoomVersionId::V12).unwrap()
}

fn errcode(request: &Request) -> &'static str {
    plan_room(request, &alice(), &RoomVersionId::V12).unwrap_err().errcode()
}

fn raw<T>(value: Value) -> Raw<T> {
    serde_json::from_value(value).unwrap()
}

fn types(plan: &RoomPlan) -> Vec<String> {
    plan.events.iter().map(|event| event.event_type.to_string()).collect()
}

fn content<'a>(plan: &'a RoomPlan, event_type: &str) -> &'a JsonObject {
    let mut found = plan.events.iter().filter(|event| event.event_type == event_type.into());
    let event = found.next().unwrap_or_else(|| panic!("no {event_type}"));
    assert!(found.next().is_none(), "one {event_type}");
    &event.content
}

/// Builds and authorises every event of a plan, invites too.
fn send_all(plan: &RoomPlan) -> Result<TestRoom, AuthError> {
    let mut room = TestRoom::empty(plan.room_version.as_str());
    let create = &plan.create;
    let create = room.state(ALICE, "m.room.create", "", Value::Object(create.content.clone()))?;
    room.room_id = Some(create.room_id.clone());
    for event in plan.events.iter().chain(&plan.invites) {
        let content = Value::Object(event.content.clone());
        room.state(ALICE, &event.event_type.to_string(), &event.state_key, content)?;
    }
    Ok(room)
}

#[test]
fn a_room_with_every_option_is_authorised_in_every_version() {
    for version in SUPPORTED {
        for preset in
            [RoomPreset::PrivateChat, RoomPreset::TrustedPrivateChat, RoomPreset::PublicChat]
        {
            let mut request = request(version.as_str());
            request.preset = Some(preset);
            request.invite = vec![owned_user_id!("@bob:one.test"), CAROL.try_into().unwrap()];
            request.name = Some("Name".to_owned());
            request.topic = Some("Topic".to_owned());
            request.room_alias_name = Some("alias".to_owned());
            let room = send_all(&plan(&request)).unwrap();
            let events = room.state.len();
            assert!(events >= 10, "{events} in {version}");
        }
    }
}

#[test]
fn the_events_come_in_synapse_s_order() {
    let mut request = request("11");
    request.name = Some("Name".to_owned());
    request.topic = Some("Topic".to_owned());
    request.room_alias_name = Some("alias".to_owned());
    request.initial_state = vec![raw(json!({"type": "m.x", "content": {}}))];
    let plan = plan(&request);
    let expected = [
        "m.room.member",
        "m.room.power_levels",
        "m.room.canonical_alias",
        "m.room.join_rules",
        "m.room.history_visibility",
        "m.room.guest_access",
        "m.x",
        "m.room.name",
        "m.room.topic",
    ];
    assert_eq!(types(&plan), expected);
    assert_eq!(plan.events[0].content["displayname"], "Alice");
    let topic = json!({"topic": "Topic", "m.topic": {"m.text": [{"body": "Topic"}]}});
    assert_eq!(Value::Object(content(&plan, "m.room.topic").clone()), topic);
    assert_eq!(plan.alias.unwrap(), "#alias:one.test");
}

#[test]
fn presets_and_visibility_decide_who_gets_in() {
    let mut of_visibility = request("12");
    of_visibility.visibility = Visibility::Public;
    let public = plan(&of_visibility);
    assert!(public.is_public);
    assert_eq!(content(&public, "m.room.join_rules")["join_rule"], "public");
    assert_eq!(content(&public, "m.room.power_levels")["invite"], 50);
    assert!(!types(&public).contains(&"m.room.guest_access".to_owned()));
    let private = plan(&request("12"));
    assert!(!private.is_public);
    assert_eq!(content(&private, "m.room.join_rules")["join_rule"], "invite");
    assert_eq!(content(&private, "m.room.power_levels")["invite"], 0);
    assert_eq!(content(&private, "m.room.guest_access")["guest_access"], "can_join");
    let mut unknown = request("12");
    unknown.preset = Some("loud_chat".into());
    assert_eq!(errcode(&unknown), "M_BAD_JSON");
}

#[test]
fn creators_are_named_where_the_version_has_them() {
    let mut request10 = request("10");
    request10.creation_content = Some(raw(json!({"creator": BOB, "room_version": "3", "x": 1})));
    let old = plan(&request10).create.content;
    assert_eq!(Value::Object(old), json!({"creator": ALICE, "room_version": "10", "x": 1}));
    assert!(!plan(&request("11")).create.content.contains_key("creator"));
    let levels = content(&plan(&request("12")), "m.room.power_levels").clone();
    assert_eq!(levels["users"], json!({}));
    assert_eq!(levels["events"]["m.room.tombstone"], 150);
    let levels = content(&plan(&request("11")), "m.room.power_levels").clone();
    assert_eq!(levels["users"], json!({ALICE: 100}));
    assert_eq!(levels["events"]["m.room.tombstone"], 100);
}

#[test]
fn in_a_trusted_private_chat_those_invited_are_equals() {
    let trusted = |version| {
        let mut request = request(version);
        request.preset = Some(RoomPreset::TrustedPrivateChat);
        request.invite = vec![owned_user_id!("@bob:one.test")];
        request.is_direct = true;
        request.creation_content = Some(raw(json!({"additional_creators": [CAROL, CAROL]})));
        plan(&request)
    };
    let old = trusted("11");
    assert_eq!(content(&old, "m.room.power_levels")["users"], json!({ALICE: 100, BOB: 100}));
    let new = trusted("12");
    assert_eq!(new.create.content["additional_creators"], json!([CAROL, BOB]));
    assert_eq!(content(&new, "m.room.power_levels")["users"], json!({}));
    assert_eq!(
        Value::Object(new.invites[0].content.clone()),
        json!({"membership": "invite", "is_direct": true})
    );
    assert_eq!(new.invites[0].state_key, BOB);
}

#[test]
fn initial_state_replaces_what_the_preset_has() {
    let mut request = request("12");
    request.initial_state = vec![
        raw(json!({"type": "m.room.join_rules", "content": {"join_rule": "knock"}})),
        raw(json!({"type": "m.x", "state_key": "k", "content": {"n": 1}})),
        raw(json!({"type": "m.room.power_levels", "state_key": "", "content": {"ban": 7}})),
        raw(json!({"type": "m.x", "state_key": "k", "content": {"n": 2}})),
    ];
    request.power_level_content_override = Some(raw(json!({"ban": 99})));
    let plan = plan(&request);
    assert_eq!(content(&plan, "m.room.join_rules")["join_rule"], "knock");
    assert_eq!(content(&plan, "m.x")["n"], 2);
    assert_eq!(content(&plan, "m.room.power_levels")["ban"], 7);
    assert_eq!(types(&plan)[1], "m.room.power_levels");
}

#[test]
fn overrides_of_power_levels_are_checked() {
    let with = |version, levels| {
        let mut request = request(version);
        request.power_level_content_override = Some(raw(levels));
        request
    };
    let plan = plan(&with("12", json!({"ban": 60, "users": {BOB: 50}})));
    assert_eq!(content(&plan, "m.room.power_levels")["ban"], 60);
    assert_eq!(content(&plan, "m.room.power_levels")["users"], json!({BOB: 50}));
    assert_eq!(errcode(&with("12", json!({"users": {ALICE: 100}}))), "M_INVALID_ROOM_STATE");
    assert_eq!(errcode(&with("11", json!({"users": {BOB: 100}}))), "M_INVALID_ROOM_STATE");
    for bad in [
        json!({"ban": "50"}),
        json!({"events": {"m.x": 1.5}}),
        json!({"users": []}),
        json!({"users": {"bob": 1}}),
        json!({"notifications": {"room": null}}),
        json!([]),
    ] {
        assert_eq!(errcode(&with("12", bad)), "M_BAD_JSON");
    }
}

#[test]
fn what_cannot_be_a_room_says_why() {
    assert_eq!(errcode(&request("13")), "M_UNSUPPORTED_ROOM_VERSION");
    for name in ["a b", "a:b", "", "a\tb", "a\0", &"x".repeat(256)] {
        let mut request = request("12");
        request.room_alias_name = Some(name.to_owned());
        assert_eq!(errcode(&request), "M_INVALID_PARAM", "{name:?}");
    }
    for (state, expected) in [
        (json!({"content": {}}), "M_BAD_JSON"),
        (json!({"type": "m.x"}), "M_BAD_JSON"),
        (json!({"type": "m.x", "content": 1}), "M_BAD_JSON"),
        (json!({"type": "m.x", "state_key": 1, "content": {}}), "M_BAD_JSON"),
        (json!({"type": "m.room.create", "content": {}}), "M_INVALID_ROOM_STATE"),
    ] {
        let mut request = request("12");
        request.initial_state = vec![raw(state)];
        assert_eq!(errcode(&request), expected);
    }
    let mut creators = request("12");
    creators.creation_content = Some(raw(json!({"additional_creators": ["bob"]})));
    assert_eq!(errcode(&creators), "M_INVALID_PARAM");
    let mut content = request("12");
    content.creation_content = Some(raw(json!(1)));
    assert_eq!(errcode(&content), "M_BAD_JSON");
}
