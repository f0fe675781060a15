use ruma::{event_id, owned_user_id, room_id};

use super::*;
use crate::{
    room_version::rules_of,
    test_room::{ALICE, BOB, CAROL, TestRoom},
};

fn alice() -> Creator {
    let user_id = owned_user_id!("@alice:one.test");
    Creator { user_id, displayname: None, avatar_url: None }
}

fn old_room(version: &str, levels: Value) -> TestRoom {
    let mut room = TestRoom::with_power_levels(version, Some(levels));
    room.join(BOB);
    let mut set = |event_type, content| room.state(ALICE, event_type, "", content).unwrap();
    set("m.room.name", json!({"name": "Old"}));
    set("m.room.encryption", json!({"algorithm": "m.megolm.v1.aes-sha2"}));
    set("m.custom", json!({"stays": true}));
    room.membership(ALICE, CAROL, "ban").unwrap();
    room
}

fn state_of(room: &TestRoom) -> Vec<Pdu> {
    room.state.values().map(|event_id| room.events[event_id].clone()).collect()
}

/// Builds and authorises the new room.
fn upgrade(old: &TestRoom, version: &str, additional: &[OwnedUserId]) -> TestRoom {
    let (room_version, rules) = (version.try_into().unwrap(), rules_of(version).unwrap());
    let upgrade = Upgrade {
        room_version: &room_version,
        rules: &rules,
        upgrader: &alice(),
        additional_creators: additional,
    };
    let create = old.get(&"m.room.create".into(), "").unwrap();
    let planned = upgrade.plan_create(&create, None);
    let mut room = TestRoom::empty(version);
    let content = Value::Object(planned.content);
    let create = room.state(ALICE, "m.room.create", "", content).unwrap();
    room.room_id = Some(create.room_id.clone());
    for event in upgrade.plan_state(&state_of(old)) {
        let content = Value::Object(event.content);
        room.state(ALICE, &event.event_type.to_string(), &event.state_key, content).unwrap();
    }
    room
}

fn content(room: &TestRoom, event_type: &str, state_key: &str) -> Value {
    room.get(&event_type.into(), state_key).unwrap().content_as().unwrap()
}

#[test]
fn state_and_bans_move_and_the_rest_stays() {
    for (from, to) in [("1", "12"), ("9", "10"), ("12", "12"), ("12", "11"), ("10", "9")] {
        let users = if from == "12" { json!({BOB: 50}) } else { json!({ALICE: 100, BOB: 50}) };
        let old = old_room(from, json!({"users": users}));
        let new = upgrade(&old, to, &[]);
        assert_eq!(content(&new, "m.room.name", "")["name"], "Old");
        assert_eq!(content(&new, "m.room.join_rules", "")["join_rule"], "public");
        assert_eq!(content(&new, "m.room.member", CAROL)["membership"], "ban");
        assert_eq!(content(&new, "m.room.history_visibility", "")["history_visibility"], "shared");
        assert!(new.get(&"m.custom".into(), "").is_none());
        assert!(new.get(&"m.room.member".into(), BOB).is_none());
        assert_eq!(content(&new, "m.room.power_levels", "")["users"][BOB], 50, "{from} to {to}");
    }
}

#[test]
fn an_upgrader_of_little_power_is_raised_only_while_the_room_is_made() {
    let levels = json!({"users": {ALICE: 100}, "events": {"m.room.name": 60}});
    let mut old = old_room("10", levels);
    let lowered = json!({"users": {ALICE: 55}, "events": {"m.room.name": 60}});
    old.state(ALICE, "m.room.power_levels", "", lowered.clone()).unwrap();
    let new = upgrade(&old, "11", &[]);
    assert_eq!(content(&new, "m.room.power_levels", ""), lowered);
    assert_eq!(content(&new, "m.room.name", "")["name"], "Old");
}

#[test]
fn creators_of_the_new_room_leave_its_list_of_users() {
    let old = old_room("11", json!({"users": {ALICE: 100, BOB: 100, CAROL: 1}}));
    let new = upgrade(&old, "12", &[owned_user_id!("@bob:one.test")]);
    assert_eq!(content(&new, "m.room.power_levels", "")["users"], json!({CAROL: 1}));
    assert_eq!(content(&new, "m.room.create", "")["additional_creators"], json!([BOB]));
}

#[test]
fn levels_that_were_strings_become_numbers() {
    let old = old_room("9", json!({"users": {ALICE: "100"}, "ban": " 55 ", "x": "no level"}));
    let new = upgrade(&old, "10", &[]);
    let expected = json!({"users": {ALICE: 100}, "ban": 55});
    assert_eq!(content(&new, "m.room.power_levels", ""), expected);
}

#[test]
fn the_create_event_remembers_the_old_room() {
    let mut old = TestRoom::empty("11");
    let content = json!({"type": "m.space", "m.federate": false, "additional_creators": [BOB]});
    let create = old.create(content);
    let (room_version, rules) = (RoomVersionId::V10, RoomVersionRules::V10);
    let upgrade = Upgrade {
        room_version: &room_version,
        rules: &rules,
        upgrader: &alice(),
        additional_creators: &[owned_user_id!("@carol:two.test")],
    };
    let planned = upgrade.plan_create(&create, Some(event_id!("$tombstone")));
    let expected = json!({
        "room_version": "10", "creator": ALICE, "type": "m.space", "m.federate": false,
        "predecessor": {"room_id": create.room_id, "event_id": "$tombstone"},
    });
    assert_eq!(Value::Object(planned.content), expected);
}

#[test]
fn the_children_of_a_space_move_with_it() {
    let mut old = TestRoom::empty("11");
    old.create(json!({"type": "m.space"}));
    old.join(ALICE);
    let child = json!({"via": ["one.test"]});
    old.state(ALICE, "m.space.child", "!a:one.test", child.clone()).unwrap();
    old.state(ALICE, "m.space.child", "!removed:one.test", json!({})).unwrap();
    let new = upgrade(&old, "12", &[]);
    assert_eq!(content(&new, "m.space.child", "!a:one.test"), child);
    assert!(new.get(&"m.space.child".into(), "!removed:one.test").is_none());
}

#[test]
fn the_old_room_points_on_and_falls_silent() {
    let tombstone = plan_tombstone(room_id!("!new:one.test"));
    assert_eq!(tombstone.content["replacement_room"], "!new:one.test");
    let lock = |levels| {
        let room = old_room("10", levels);
        lock_power_levels(&room.get(&"m.room.power_levels".into(), "").unwrap())
    };
    let levels = lock(json!({"users": {ALICE: 100}, "users_default": 50})).unwrap().content;
    assert_eq!((&levels["invite"], &levels["events_default"]), (&json!(51), &json!(51)));
    let levels = lock(json!({"users": {ALICE: 100}, "invite": 70})).unwrap().content;
    assert_eq!((&levels["invite"], &levels["events_default"]), (&json!(70), &json!(50)));
    let silent = json!({"users": {ALICE: 100, BOB: 60}, "invite": 50, "events_default": 50});
    assert_eq!(lock(silent), None);
}
