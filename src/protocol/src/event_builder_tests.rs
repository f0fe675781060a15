use std::collections::BTreeMap;

use ruma::{
    owned_event_id, owned_room_id, owned_user_id,
    serde::Base64,
    server_name,
    signatures::{Verified, content_hash, verify_event},
    uint,
};
use serde_json::json;

use super::*;
use crate::room_version::{SUPPORTED, rules_of};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../tests/fixtures/test-vectors.json")).unwrap()
}

fn vector_key() -> SigningKey {
    let seed = vectors()["signing_key"]["seed_base64"].as_str().unwrap().to_owned();
    SigningKey::parse(&format!("ed25519 1 {seed}")).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn new_event(rules: &RoomVersionRules) -> NewEvent {
    let reference = EventReference {
        event_id: owned_event_id!("$earlier:domain"),
        sha256: rules.event_format.require_event_id.then(|| "aGFzaA".to_owned()),
    };
    NewEvent {
        room_id: Some(owned_room_id!("!r:domain")),
        sender: owned_user_id!("@a:domain"),
        event_type: TimelineEventType::RoomMessage,
        state_key: None,
        content: object(json!({"body": "hi", "msgtype": "m.text"})),
        redacts: None,
        origin_server_ts: MilliSecondsSinceUnixEpoch(uint!(1_000_000)),
        prev_events: vec![reference.clone()],
        auth_events: vec![reference],
        depth: 3,
        unsigned: None,
    }
}

fn build(rules: &RoomVersionRules, event: NewEvent) -> Result<Pdu, BuildError> {
    build_event(rules, event, server_name!("domain"), &vector_key(), "local")
}

fn errcode(event: NewEvent) -> &'static str {
    build(&RoomVersionRules::V12, event).unwrap_err().errcode()
}

#[test]
fn the_signed_events_of_the_specification_come_out_equal() {
    for vector in vectors()["event_signing"]["spec"].as_array().unwrap() {
        let mut event = canonicalise(object(vector["input"].clone())).unwrap();
        let rules = RoomVersionRules::V1.redaction;
        hash_and_sign_event("domain", &vector_key(), &mut event, &rules).unwrap();
        assert_eq!(serde_json::to_value(event).unwrap(), vector["output"]);
    }
}

#[test]
fn hashes_signatures_and_ids_of_every_vector_are_right() {
    let vectors = vectors();
    let signing = &vectors["event_signing"];
    for vector in signing["derived"].as_array().unwrap() {
        let Some(version) = vector["room_version"].as_str() else {
            continue;
        };
        let rules = rules_of(version).unwrap();
        let mut event = canonicalise(object(signing["spec"][0]["input"].clone())).unwrap();
        hash_and_sign_event("domain", &vector_key(), &mut event, &rules.redaction).unwrap();
        assert_eq!(content_hash(&event).unwrap().encode(), vector["content_hash"]);
        let signed = serde_json::to_value(&event).unwrap();
        assert_eq!(signed["signatures"]["domain"]["ed25519:1"], vector["signature"]);
        if let Some(event_id) = vector["event_id"].as_str() {
            assert_eq!(event_id_of(&event, &rules).unwrap(), event_id);
        } else {
            assert_eq!(reference_hash(&event, &rules).unwrap(), vector["reference_hash_standard"]);
        }
    }
}

#[test]
fn hashes_with_slashes_are_url_safe_from_version_4_on() {
    let vectors = vectors();
    let all = vectors["event_signing"]["derived"].as_array().unwrap();
    let vector = all.iter().find(|vector| vector["event_id_v3"].is_string()).unwrap();
    let event = canonicalise(object(vector["event"].clone())).unwrap();
    let id = |rules| event_id_of(&event, &rules).unwrap().to_string();
    assert_eq!(id(RoomVersionRules::V3), vector["event_id_v3"].as_str().unwrap());
    assert_eq!(id(RoomVersionRules::V4), vector["event_id_v4_to_v10"].as_str().unwrap());
    assert_eq!(id(RoomVersionRules::V10), vector["event_id_v4_to_v10"].as_str().unwrap());
}

#[test]
fn a_version_12_room_is_named_by_its_create_event() {
    let vectors = vectors();
    let all = vectors["event_signing"]["derived"].as_array().unwrap();
    let vector = all.iter().find(|vector| vector["room_id"].is_string()).unwrap();
    let create = NewEvent {
        room_id: None,
        event_type: TimelineEventType::RoomCreate,
        state_key: Some(String::new()),
        content: object(vector["event"]["content"].clone()),
        prev_events: vec![],
        auth_events: vec![],
        depth: 1,
        unsigned: Some(object(vector["event"]["unsigned"].clone())),
        ..new_event(&RoomVersionRules::V12)
    };
    let pdu = build(&RoomVersionRules::V12, create).unwrap();
    assert_eq!(pdu.event_id, vector["event_id"].as_str().unwrap());
    assert_eq!(pdu.room_id, vector["room_id"].as_str().unwrap());
    let json: Value = serde_json::from_str(pdu.json.get()).unwrap();
    assert_eq!(json, vector["event"]);
}

#[test]
fn every_version_verifies_what_it_built() {
    let key = vector_key();
    let keys = BTreeMap::from([(
        "domain".to_owned(),
        BTreeMap::from([(key.key_id(), Base64::parse(key.public_key()).unwrap())]),
    )]);
    for version in SUPPORTED {
        let rules = version.rules().unwrap();
        let pdu = build(&rules, new_event(&rules)).unwrap();
        let json = pdu.to_canonical_json().unwrap();
        let verified = verify_event(&keys, &json, &rules).unwrap();
        assert_eq!(verified, Verified::All, "version {version}");
        assert_eq!(event_id_of(&json, &rules).unwrap(), pdu.event_id);
        assert_eq!(pdu.prev_events, ["$earlier:domain"]);
    }
}

#[test]
fn versions_1_and_2_keep_hashes_beside_ids() {
    let rules = RoomVersionRules::V2;
    let first = build(&rules, new_event(&rules)).unwrap();
    assert_eq!(first.event_id, "$local:domain");
    let reference = EventReference::to(&first, &rules).unwrap();
    let second = NewEvent { prev_events: vec![reference], ..new_event(&rules) };
    let json: Value = serde_json::from_str(build(&rules, second).unwrap().json.get()).unwrap();
    let hash = reference_sha256(&first, &rules).unwrap();
    assert_eq!(json["prev_events"], json!([["$local:domain", {"sha256": hash}]]));
    let without = EventReference::by_id(first.event_id.clone());
    let third = NewEvent { prev_events: vec![without], ..new_event(&rules) };
    assert!(matches!(build(&rules, third), Err(BuildError::MissingReferenceHash)));
}

#[test]
fn the_target_of_a_redaction_goes_where_the_version_has_it() {
    let (own, content) = (Some(owned_event_id!("$target")), json!({"redacts": "$target"}));
    for (rules, in_content, redacts, content) in [
        (RoomVersionRules::V10, false, own.clone(), json!({})),
        (RoomVersionRules::V10, false, None, content.clone()),
        (RoomVersionRules::V11, true, own, json!({})),
        (RoomVersionRules::V11, true, None, content),
    ] {
        let event = NewEvent {
            event_type: TimelineEventType::RoomRedaction,
            redacts,
            content: object(content),
            ..new_event(&rules)
        };
        let pdu = build(&rules, event).unwrap();
        let json: Value = serde_json::from_str(pdu.json.get()).unwrap();
        assert_eq!(json["redacts"].is_string(), !in_content);
        assert_eq!(json["content"]["redacts"].is_string(), in_content);
        assert_eq!(pdu.redacts.as_deref(), Some(ruma::event_id!("$target")));
    }
}

#[test]
fn what_is_too_large_says_so() {
    let rules = RoomVersionRules::V12;
    let event = || new_event(&rules);
    let long = "x".repeat(256);
    assert_eq!(errcode(NewEvent { state_key: Some(long.clone()), ..event() }), "M_TOO_LARGE");
    assert_eq!(errcode(NewEvent { event_type: long.into(), ..event() }), "M_TOO_LARGE");
    for size in [65_300, 65_530, 65_536, 100_000] {
        let content = object(json!({"body": "x".repeat(size)}));
        assert_eq!(errcode(NewEvent { content, ..event() }), "M_TOO_LARGE", "{size}");
    }
    let content = object(json!({"body": "x".repeat(64_900)}));
    let size = build(&rules, NewEvent { content, ..event() }).unwrap().json.get().len();
    let content = object(json!({"body": "x".repeat(64_900 + EVENT_SIZE_MAX - size)}));
    let largest = build(&rules, NewEvent { content, ..event() }).unwrap();
    assert_eq!(largest.json.get().len(), EVENT_SIZE_MAX);
}

#[test]
fn floats_and_integers_out_of_range_are_bad_json() {
    let event = |content| NewEvent { content, ..new_event(&RoomVersionRules::V12) };
    assert_eq!(errcode(event(object(json!({"n": 1.5})))), "M_BAD_JSON");
    assert_eq!(errcode(event(object(json!({"n": [9_007_199_254_740_992_i64]})))), "M_BAD_JSON");
}

#[test]
fn the_depth_stays_at_its_bound() {
    let rules = RoomVersionRules::V12;
    let pdu = build(&rules, NewEvent { depth: i64::MAX, ..new_event(&rules) }).unwrap();
    assert_eq!(pdu.depth, DEPTH_MAX);
}

#[test]
fn only_a_version_12_create_event_has_no_room_id() {
    for rules in [RoomVersionRules::V11, RoomVersionRules::V12] {
        let without = NewEvent { room_id: None, ..new_event(&rules) };
        assert!(matches!(build(&rules, without), Err(BuildError::RoomId)));
    }
}
