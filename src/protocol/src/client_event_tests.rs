use ruma::{event_id, owned_event_id, owned_room_id, user_id};
use serde_json::{Value, json};

use super::*;
use crate::{
    redaction::redact,
    test_room::{ALICE, BOB, TestRoom},
};

fn format(rules: &RoomVersionRules, format: EventFormat, event: &Pdu) -> Value {
    let formatter = EventFormatter { rules, format, now_ms: 5_000_000 };
    parse(&formatter.format(event, &UnsignedExtras::default()))
}

fn parse(json: &RawValue) -> Value {
    serde_json::from_str(json.get()).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn stored(unsigned: Value) -> Pdu {
    let json = json!({
        "type": "m.room.message", "room_id": "!r:one.test", "sender": "@a:one.test",
        "content": {"body": "hi"}, "depth": 3, "origin_server_ts": 1000, "unsigned": unsigned,
    });
    let (event_id, room_id) = (owned_event_id!("$e"), owned_room_id!("!r:one.test"));
    Pdu::from_json(event_id, room_id, json.to_string(), &RoomVersionRules::V12, false).unwrap()
}

#[test]
fn clients_see_the_fields_of_the_specification_in_every_version() {
    for version in 1..=12 {
        let mut room = TestRoom::public(&version.to_string());
        let message = room.message(ALICE, "hello").unwrap();
        let event = format(&room.rules, EventFormat::Client, &message);
        let expected =
            ["content", "event_id", "origin_server_ts", "room_id", "sender", "type", "unsigned"];
        assert_eq!(keys(&event), expected, "version {version}");
        assert_eq!(event["event_id"], message.event_id.as_str());
        assert_eq!(event["content"], json!({"body": "hello"}));
        let event = format(&room.rules, EventFormat::ClientWithoutRoomId, &message);
        assert!(event.get("room_id").is_none());
        let join = room.join(BOB);
        let event = format(&room.rules, EventFormat::Client, &join);
        assert_eq!(event["state_key"], BOB);
    }
}

#[test]
fn the_federation_format_is_the_whole_event_with_its_ids() {
    for version in ["1", "10", "12"] {
        let room = TestRoom::public(version);
        for event in room.events.values() {
            let formatted = format(&room.rules, EventFormat::Federation, event);
            for key in ["auth_events", "prev_events", "hashes", "signatures", "depth"] {
                assert!(formatted.get(key).is_some(), "{key} in {formatted}");
            }
            assert_eq!(formatted["event_id"], event.event_id.as_str());
            assert_eq!(formatted["room_id"], event.room_id.as_str());
        }
    }
}

#[test]
fn the_create_event_of_version_12_tells_its_room() {
    for (version, expected) in [("11", false), ("12", true)] {
        let mut room = TestRoom::empty(version);
        let create = room.create(json!({}));
        let event = format(&room.rules, EventFormat::ClientWithoutRoomId, &create);
        assert_eq!(event.get("room_id").is_some(), expected);
    }
}

#[test]
fn the_target_of_a_redaction_is_shown_in_both_places() {
    for version in ["1", "10", "11", "12"] {
        let mut room = TestRoom::public(version);
        let message = room.message(ALICE, "hello").unwrap();
        let redaction = room.redact(ALICE, &message).unwrap();
        let event = format(&room.rules, EventFormat::Client, &redaction);
        assert_eq!(event["redacts"], message.event_id.as_str());
        assert_eq!(event["content"]["redacts"], message.event_id.as_str());
        let federation = format(&room.rules, EventFormat::Federation, &redaction);
        assert_ne!(federation.get("redacts").is_some(), matches!(version, "11" | "12"));
    }
}

#[test]
fn a_redacted_event_shows_why() {
    let mut room = TestRoom::public("12");
    let message = room.message(ALICE, "secret").unwrap();
    let redaction = room.redact(ALICE, &message).unwrap();
    let redacted = redact(&message, &room.rules).unwrap();
    let formatter = EventFormatter {
        rules: &room.rules,
        format: EventFormat::ClientWithoutRoomId,
        now_ms: 5_000_000,
    };
    let extras = UnsignedExtras { redacted_because: Some(&redaction), ..Default::default() };
    let event = parse(&formatter.format(&redacted, &extras));
    assert_eq!(event["content"], json!({}));
    assert_eq!(event["unsigned"]["redacted_by"], redaction.event_id.as_str());
    let because = &event["unsigned"]["redacted_because"];
    assert_eq!(because["event_id"], redaction.event_id.as_str());
    assert_eq!(because["type"], "m.room.redaction");
    assert_eq!(because["room_id"], message.room_id.as_str());
}

#[test]
fn unsigned_has_what_the_server_knows_and_nothing_of_its_own_notes() {
    let event = stored(json!({
        "age_ts": 4_000_000, "age": 7, "invite_room_state": [1], "knock_room_state": [2],
        "prev_content": {"old": 1}, "transaction_id": "forged", "membership": "forged", "x": 1,
    }));
    let unsigned = &format(&RoomVersionRules::V12, EventFormat::Client, &event)["unsigned"];
    let expected = json!({"age": 1_000_000, "prev_content": {"old": 1}, "x": 1});
    assert_eq!(unsigned, &expected);
    let prev_content = raw_json(&json!({"new": 1}));
    let extras = UnsignedExtras {
        transaction_id: Some("txn"),
        prev_content: Some(&prev_content),
        prev_sender: Some(user_id!("@a:one.test")),
        replaces_state: Some(event_id!("$before")),
        membership: Some("join"),
        include_room_state: true,
        ..Default::default()
    };
    let formatter = EventFormatter {
        rules: &RoomVersionRules::V12,
        format: EventFormat::Client,
        now_ms: 5_000_000,
    };
    let formatted = parse(&formatter.format(&event, &extras));
    let expected = json!({
        "age": 1_000_000, "transaction_id": "txn", "prev_content": {"new": 1}, "x": 1,
        "prev_sender": "@a:one.test", "replaces_state": "$before", "membership": "join",
        "invite_room_state": [1], "knock_room_state": [2],
    });
    assert_eq!(formatted["unsigned"], expected);
}

#[test]
fn without_a_note_of_its_arrival_the_age_counts_from_the_sender_s_clock() {
    for unsigned in [json!({}), json!(null), json!("text"), json!({"age_ts": "x"})] {
        let event = stored(unsigned);
        let formatted = format(&RoomVersionRules::V12, EventFormat::Client, &event);
        assert_eq!(formatted["unsigned"], json!({"age": 4_999_000}));
    }
}

#[test]
fn stripped_state_has_four_fields() {
    let room = TestRoom::public("12");
    for event in room.events.values() {
        let stripped = parse(&strip_state(event));
        assert_eq!(keys(&stripped), ["content", "sender", "state_key", "type"]);
    }
}
