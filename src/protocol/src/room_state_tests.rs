use ruma::user_id;
use serde_json::json;

use super::*;
use crate::test_room::{ALICE, BOB, CAROL, TestRoom};

fn levels(room: &TestRoom) -> PowerLevels {
    PowerLevels::of_state(&room.rules, |kind, key| room.get(kind, key)).unwrap()
}

fn alice() -> &'static UserId {
    user_id!("@alice:one.test")
}

fn bob() -> &'static UserId {
    user_id!("@bob:one.test")
}

#[test]
fn without_power_levels_the_creator_has_100_or_everything() {
    for (version, level) in
        [("1", UserPowerLevel::Int(100.into())), ("12", UserPowerLevel::Infinite)]
    {
        let levels = levels(&TestRoom::with_power_levels(version, None));
        assert_eq!(levels.of_user(alice()), level);
        assert_eq!(levels.of_user(bob()), UserPowerLevel::Int(0.into()));
        assert_eq!(levels.required(Field::Ban), Int::from(50));
        assert_eq!(levels.required(Field::Invite), Int::from(0));
        assert!(levels.can_send(bob(), &TimelineEventType::RoomMessage, false));
        assert!(!levels.can_send(bob(), &TimelineEventType::RoomTopic, true));
        assert_eq!(levels.required_to_notify("room"), Int::from(50));
    }
}

#[test]
fn levels_of_old_rooms_may_be_strings_and_of_new_ones_not() {
    let content = json!({"users": {ALICE: "100", BOB: " +60 "}, "ban": "55", "invite": "1"});
    let levels = levels(&TestRoom::with_power_levels("9", Some(content)));
    assert_eq!(levels.of_user(bob()), UserPowerLevel::Int(60.into()));
    assert_eq!(levels.required(Field::Ban), Int::from(55));
    assert!(levels.can_invite(bob()) && !levels.can_invite(user_id!("@carol:two.test")));
}

#[test]
fn every_level_has_its_place() {
    let content = json!({
        "users": {ALICE: 100, BOB: 20}, "users_default": 5, "events_default": 10,
        "state_default": 30, "kick": 15, "ban": 40, "redact": 25,
        "events": {"m.room.topic": 20}, "notifications": {"room": 20},
    });
    let levels = levels(&TestRoom::with_power_levels("11", Some(content)));
    let carol = user_id!("@carol:two.test");
    assert!(levels.can_kick(bob(), carol) && !levels.can_kick(bob(), alice()));
    assert!(!levels.can_ban(bob(), carol) && levels.can_ban(alice(), bob()));
    assert!(!levels.can_kick(bob(), bob()), "equals do not kick each other");
    assert!(!levels.can_redact_others(bob()) && levels.can_redact_others(alice()));
    assert!(levels.can_send(bob(), &TimelineEventType::RoomTopic, true));
    assert!(!levels.can_send(bob(), &TimelineEventType::RoomName, true));
    assert!(!levels.can_send(carol, &TimelineEventType::RoomMessage, false));
    assert_eq!(levels.required_to_notify("room"), Int::from(20));
    assert_eq!(levels.required_to_notify("other"), Int::from(50));
}

#[test]
fn additional_creators_count_from_version_12_on() {
    for (version, expected) in [("11", false), ("12", true)] {
        let mut room = TestRoom::empty(version);
        let create = room.create(json!({"additional_creators": [BOB]}));
        assert_eq!(creators(&room.rules, &create).contains(bob()), expected);
        assert!(creators(&room.rules, &create).contains(alice()));
    }
}

#[test]
fn join_rules_are_read_with_the_rooms_that_they_allow() {
    assert_eq!(JoinRule::of(None).kind, JoinRuleKind::Invite);
    let mut room = TestRoom::public("10");
    let content = json!({"join_rule": "knock_restricted", "allow": [
        {"type": "m.room_membership", "room_id": "!space:one.test"},
        {"type": "other", "room_id": "!no:one.test"},
        {"type": "m.room_membership", "room_id": 1},
        7,
    ]});
    let event = room.state(ALICE, "m.room.join_rules", "", content).unwrap();
    let rule = JoinRule::of(Some(&event));
    assert_eq!(rule.kind, JoinRuleKind::KnockRestricted);
    assert_eq!(rule.allow_rooms, ["!space:one.test"]);
    assert!(rule.is_restricted(&RoomVersionRules::V10));
    assert!(!rule.is_restricted(&RoomVersionRules::V9));
}

#[test]
fn the_default_history_visibility_is_shared() {
    let mut room = TestRoom::public("12");
    let mut read = |value| {
        let content = json!({"history_visibility": value});
        let event = room.state(ALICE, "m.room.history_visibility", "", content).unwrap();
        history_visibility(Some(&event))
    };
    assert_eq!(history_visibility(None), HistoryVisibility::Shared);
    assert_eq!(read(json!("joined")), HistoryVisibility::Joined);
    assert_eq!(read(json!("world_readable")), HistoryVisibility::WorldReadable);
    assert_eq!(read(json!("unheard_of")), HistoryVisibility::Shared);
    assert_eq!(read(json!(7)), HistoryVisibility::Shared);
}

#[test]
fn membership_content_of_any_shape_is_read() {
    let room = TestRoom::public("7");
    let content = json!({
        "membership": "join", "displayname": "Bob", "avatar_url": 7, "is_direct": "no",
        "join_authorised_via_users_server": 7,
    });
    let event = room.build(BOB, "m.room.member", Some(BOB), content, None).unwrap();
    let member = Member::of(&event).unwrap();
    assert_eq!(member.membership, MembershipState::Join);
    assert_eq!(member.displayname.as_deref(), Some("Bob"));
    assert_eq!((member.avatar_url, member.join_authorised_via_users_server), (None, None));
    assert!(!member.is_direct);
    assert_eq!(membership(Some(&event)), MembershipState::Join);
    assert_eq!(membership(None), MembershipState::Leave);
}

#[test]
fn a_create_event_tells_of_its_room() {
    let mut room = TestRoom::empty("11");
    let predecessor = json!({"room_id": "!old:one.test", "event_id": "$e"});
    let content = json!({"type": "m.space", "m.federate": false, "predecessor": predecessor});
    let info = CreateInfo::of(&room.create(content));
    assert_eq!(info.room_version, RoomVersionId::V11);
    assert_eq!(info.room_type, Some(RoomType::Space));
    assert!(!info.federate);
    assert_eq!(info.predecessor.unwrap(), "!old:one.test");
    room.join(ALICE);
    let refused = room.membership(CAROL, CAROL, "join").unwrap_err();
    assert!(refused.0.contains("federated"), "{refused}");
}

#[test]
fn push_rules_learn_who_may_notify_the_room() {
    let key = ruma::power_levels::NotificationPowerLevelsKey::Room;
    let carol = user_id!("@carol:two.test");
    for version in ["1", "11", "12"] {
        let context = levels(&TestRoom::with_power_levels(version, None)).push_context();
        assert!(context.has_sender_notification_permission(alice(), &key), "{version}");
        assert!(!context.has_sender_notification_permission(bob(), &key), "{version}");
    }
    let content = json!({"users": {BOB: 20}, "notifications": {"room": 20}});
    let context = levels(&TestRoom::with_power_levels("12", Some(content))).push_context();
    assert!(context.has_sender_notification_permission(alice(), &key));
    assert!(context.has_sender_notification_permission(bob(), &key));
    assert!(!context.has_sender_notification_permission(carol, &key));
}
