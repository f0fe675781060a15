use serde_json::json;

use super::*;
use crate::test_room::{ALICE, BOB, CAROL, TestRoom};

const VERSIONS: [&str; 12] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];

fn power_levels(room: &TestRoom) -> PowerLevels {
    PowerLevels::of_state(&room.rules, |kind, key| room.get(kind, key)).unwrap()
}

#[test]
fn a_room_of_every_version_can_be_made_joined_and_talked_in() {
    for version in VERSIONS {
        let mut room = TestRoom::public(version);
        room.join(BOB);
        room.join(CAROL);
        room.message(CAROL, "hello").unwrap();
        room.membership(ALICE, BOB, "leave").unwrap();
        assert!(room.message(BOB, "hello").is_err(), "version {version}");
        room.membership(ALICE, CAROL, "ban").unwrap();
        assert!(room.membership(CAROL, CAROL, "join").is_err(), "version {version}");
    }
}

#[test]
fn the_create_event_authorises_others_except_in_version_12() {
    for version in VERSIONS {
        let mut room = TestRoom::public(version);
        let join = room.join(BOB);
        let create = room.get(&StateEventType::RoomCreate, "").unwrap();
        assert_eq!(join.auth_events.contains(&create.event_id), version != "12");
        let types = auth_types(&room.rules, (&join).into()).unwrap();
        assert!(types.contains(&(StateEventType::RoomJoinRules, String::new())));
        assert!(types.contains(&(StateEventType::RoomMember, BOB.to_owned())));
        let message = room.message(BOB, "hello").unwrap();
        let types = auth_types(&room.rules, (&message).into()).unwrap();
        assert!(!types.contains(&(StateEventType::RoomJoinRules, String::new())));
    }
}

#[test]
fn without_join_rules_an_invitation_is_needed_and_suffices() {
    for version in VERSIONS {
        let mut room = TestRoom::empty(version);
        room.create(json!({}));
        room.join(ALICE);
        assert!(room.membership(BOB, BOB, "join").is_err());
        room.membership(ALICE, BOB, "invite").unwrap();
        room.membership(BOB, BOB, "join").unwrap();
    }
}

#[test]
fn knocking_is_known_from_version_7_on() {
    for version in VERSIONS {
        let mut room = TestRoom::public(version);
        room.state(ALICE, "m.room.join_rules", "", json!({"join_rule": "knock"})).unwrap();
        let knocks = room.membership(BOB, BOB, "knock").is_ok();
        assert_eq!(knocks, room.rules.authorization.knocking, "version {version}");
    }
}

#[test]
fn a_restricted_room_lets_in_whom_a_member_vouches_for() {
    for version in ["8", "9", "10", "11", "12"] {
        let mut room = TestRoom::public(version);
        let rule = json!({"join_rule": "restricted", "allow": []});
        room.state(ALICE, "m.room.join_rules", "", rule).unwrap();
        assert!(room.membership(BOB, BOB, "join").is_err(), "version {version}");
        let by = |user| json!({"membership": "join", "join_authorised_via_users_server": user});
        assert!(room.state(BOB, "m.room.member", BOB, by(CAROL)).is_err(), "version {version}");
        room.state(BOB, "m.room.member", BOB, by(ALICE)).unwrap();
    }
}

#[test]
fn nobody_raises_anyone_above_themselves() {
    for version in VERSIONS {
        let users = if version == "12" { json!({BOB: 50}) } else { json!({ALICE: 100, BOB: 50}) };
        let content = json!({"users": users, "events": {"m.room.power_levels": 50}});
        let mut room = TestRoom::with_power_levels(version, Some(content.clone()));
        room.join(BOB);
        let mut raised = content.clone();
        raised["users"][BOB] = json!(51);
        assert!(room.state(BOB, "m.room.power_levels", "", raised).is_err());
        let mut lowered = content;
        lowered["users"][BOB] = json!(49);
        room.state(BOB, "m.room.power_levels", "", lowered).unwrap();
    }
}

#[test]
fn creators_of_version_12_are_above_every_number_and_not_listed() {
    let mut room = TestRoom::public("12");
    room.join(BOB);
    let users = |user: &str| json!({"users": {user: 100}});
    assert!(room.state(ALICE, "m.room.power_levels", "", users(ALICE)).is_err());
    room.state(ALICE, "m.room.power_levels", "", users(BOB)).unwrap();
    assert!(room.membership(BOB, ALICE, "leave").is_err());
    room.membership(ALICE, BOB, "leave").unwrap();
}

#[test]
fn an_auth_event_that_was_rejected_does_not_authorise() {
    let mut room = TestRoom::public("11");
    let join = room.join(BOB);
    let message = room.message(BOB, "hello").unwrap();
    let rejected = Pdu::from_json(
        join.event_id.clone(),
        join.room_id.clone(),
        join.json.get().to_owned(),
        &room.rules,
        true,
    )
    .unwrap();
    let fetch = |id: &EventId| match id == join.event_id {
        true => Some(rejected.clone()),
        false => room.fetch(id),
    };
    assert!(authorise_by_auth_events(&room.rules, &message, fetch).is_err());
    assert!(authorise_by_auth_events(&room.rules, &message, |id| room.fetch(id)).is_ok());
}

#[test]
fn a_redaction_takes_effect_by_power_or_from_the_same_server() {
    for version in VERSIONS {
        let mut room = TestRoom::public(version);
        room.join(BOB);
        room.join(CAROL);
        let of_bob = room.message(BOB, "hello").unwrap();
        let of_carol = room.message(CAROL, "hello").unwrap();
        let levels = power_levels(&room);
        let by_alice = room.redact(ALICE, &of_carol).unwrap();
        assert!(redaction_allowed(&room.rules, &levels, &by_alice, &of_carol));
        let by_bob = room.redact(BOB, &of_bob).unwrap();
        assert!(redaction_allowed(&room.rules, &levels, &by_bob, &of_bob));
        // In versions 1 and 2 the redaction itself is refused, later it has no effect.
        match room.redact(BOB, &of_carol) {
            Err(_) => assert!(room.rules.authorization.special_case_room_redaction),
            Ok(by_bob) => assert!(!redaction_allowed(&room.rules, &levels, &by_bob, &of_carol)),
        }
    }
}

#[test]
fn our_users_redact_their_own_events_only() {
    let mut room = TestRoom::public("12");
    room.join(BOB);
    let of_bob = room.message(BOB, "hello").unwrap();
    let of_alice = room.message(ALICE, "hello").unwrap();
    let levels = power_levels(&room);
    let create = room.get(&StateEventType::RoomCreate, "").unwrap();
    let by_bob = room.redact(BOB, &of_bob).unwrap();
    let by_alice = room.redact(ALICE, &of_bob).unwrap();
    assert_eq!(check_own_redaction(&levels, &by_bob, Some(&of_bob)), Ok(()));
    assert_eq!(check_own_redaction(&levels, &by_alice, Some(&of_bob)), Ok(()));
    assert_eq!(check_own_redaction(&levels, &by_alice, None), Ok(()));
    let error = |target| check_own_redaction(&levels, &by_bob, target).unwrap_err();
    assert_eq!(error(Some(&of_alice)), RedactionError::Forbidden);
    assert_eq!(error(Some(&create)), RedactionError::CreateEvent);
    assert_eq!(error(None), RedactionError::NotFound);
}
