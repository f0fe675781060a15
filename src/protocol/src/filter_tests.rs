use proptest::prelude::*;
use ruma::{api::client::filter::FilterDefinition, room_id, uint};
use serde_json::json;

use super::*;
use crate::{
    pdu::raw_json,
    test_room::{ALICE, BOB, TestRoom},
};

fn room_filter(json: Value) -> RoomEventFilter {
    serde_json::from_value(json).unwrap()
}

fn message_passes(filter: Value) -> bool {
    let mut room = TestRoom::public("1");
    let message = room.message(ALICE, "hello").unwrap();
    pdu_matches(&room_filter(filter), &message)
}

#[test]
fn an_empty_filter_lets_everything_through() {
    assert!(message_passes(json!({})));
}

#[test]
fn types_senders_and_rooms_are_wanted_or_not() {
    assert!(message_passes(json!({"types": ["m.room.message"]})));
    assert!(message_passes(json!({"types": ["m.x", "m.room.*"]})));
    assert!(!message_passes(json!({"types": ["m.x"]})));
    assert!(!message_passes(json!({"types": []})));
    assert!(!message_passes(json!({"types": ["m.room.message"], "not_types": ["m.room.m*"]})));
    assert!(message_passes(json!({"senders": [ALICE]})));
    assert!(!message_passes(json!({"senders": [BOB]})));
    assert!(!message_passes(json!({"senders": []})));
    assert!(!message_passes(json!({"senders": [ALICE], "not_senders": [ALICE]})));
    assert!(message_passes(json!({"rooms": ["!room:one.test"]})));
    assert!(!message_passes(json!({"rooms": ["!other:one.test"]})));
    assert!(!message_passes(json!({"not_rooms": ["!room:one.test"]})));
}

#[test]
fn events_with_a_url_are_told_from_those_without() {
    let passes = |filter: &Value, content: Value| {
        let content = raw_json(&content);
        let event = Filterable {
            event_type: "m.room.message",
            sender: None,
            room_id: None,
            content: Some(&content),
        };
        room_event_matches(&room_filter(filter.clone()), event)
    };
    let (with, without) = (json!({"contains_url": true}), json!({"contains_url": false}));
    assert!(passes(&with, json!({"url": "mxc://a/b"})));
    assert!(!passes(&with, json!({"url": 1})) && !passes(&with, json!({})));
    assert!(!passes(&without, json!({"url": "x"})) && passes(&without, json!({"url": 1})));
}

#[test]
fn account_data_without_a_sender_passes_only_without_wanted_senders() {
    let event = Filterable { event_type: "m.direct", sender: None, room_id: None, content: None };
    let passes = |filter| event_matches(&serde_json::from_value(filter).unwrap(), event);
    assert!(passes(json!({"types": ["m.*"], "not_senders": [ALICE]})));
    assert!(!passes(json!({"senders": [ALICE]})));
    assert!(!passes(json!({"not_types": ["*direct"]})));
}

#[test]
fn rooms_are_chosen_for_all_kinds_at_once() {
    let filter: FilterDefinition =
        serde_json::from_value(json!({"room": {"rooms": ["!a:b.c"], "not_rooms": ["!d:b.c"]}}))
            .unwrap();
    assert!(room_matches(&filter.room, room_id!("!a:b.c")));
    assert!(!room_matches(&filter.room, room_id!("!d:b.c")));
    assert!(!room_matches(&filter.room, room_id!("!e:b.c")));
    assert!(room_matches(&RoomFilter::default(), room_id!("!e:b.c")));
}

#[test]
fn filters_that_let_nothing_through_are_known() {
    for filter in [json!({"types": []}), json!({"not_types": ["*"]}), json!({"senders": []})] {
        assert!(blocks_all_room_events(&room_filter(filter.clone())));
        assert!(blocks_all_events(&serde_json::from_value(filter).unwrap()));
    }
    assert!(blocks_all_room_events(&room_filter(json!({"rooms": []}))));
    assert!(!blocks_all_room_events(&room_filter(json!({"types": ["*"]}))));
    assert!(!blocks_all_events(&Filter::default()));
}

#[test]
fn limits_have_bounds() {
    assert_eq!(effective_limit(None, TIMELINE_LIMIT_DEFAULT), 10);
    assert_eq!(effective_limit(Some(uint!(0)), 10), 1);
    assert_eq!(effective_limit(Some(uint!(25)), 10), 25);
    assert_eq!(effective_limit(Some(UInt::MAX), 10), LIMIT_MAX);
}

#[test]
fn paths_split_as_the_specification_says() {
    let vectors: Value =
        serde_json::from_str(include_str!("../tests/fixtures/test-vectors.json")).unwrap();
    for example in vectors["identifiers"]["dot_path"]["examples"].as_array().unwrap() {
        assert_eq!(json!(split_path(example["path"].as_str().unwrap())), example["keys"]);
    }
}

#[test]
fn only_the_wanted_fields_are_left() {
    let event = json!({
        "type": "m.room.message", "sender": ALICE,
        "content": {"body": "hi", "msgtype": "m.text", "a.b": {"c": 1, "d": 2}},
    });
    let project = |fields: &[&str]| {
        let fields: Vec<String> = fields.iter().map(|&field| field.to_owned()).collect();
        Value::Object(project_fields(event.as_object().unwrap(), &fields))
    };
    assert_eq!(
        project(&["type", "content.body"]),
        json!({
            "type": "m.room.message", "content": {"body": "hi"},
        })
    );
    assert_eq!(
        project(&[r"content.a\.b.c", "content.msgtype", "nothing", "sender.x"]),
        json!({
            "content": {"a.b": {"c": 1}, "msgtype": "m.text"},
        })
    );
    assert_eq!(project(&["content.a.b", "content.nothing"]), json!({}));
}

proptest! {
    #[test]
    fn a_type_matches_itself_and_its_prefixes(text in "[a-z.]{0,12}", cut in 0..12_usize) {
        let cut = cut.min(text.len());
        prop_assert!(pattern_matches(&text, &text));
        let prefix = format!("{}*", &text[..cut]);
        let suffix = format!("*{}", &text[cut..]);
        let both = format!("{}*{}", &text[..cut], &text[cut..]);
        prop_assert!(pattern_matches(&prefix, &text), "{}", prefix);
        prop_assert!(pattern_matches(&suffix, &text), "{}", suffix);
        prop_assert!(pattern_matches(&both, &text), "{}", both);
    }

    #[test]
    fn no_path_makes_the_splitter_panic(path in ".*") {
        prop_assert!(!split_path(&path).is_empty());
    }
}
