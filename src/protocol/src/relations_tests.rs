use ruma::room_version_rules::RoomVersionRules;
use ruma::{event_id, owned_room_id};
use serde_json::json;

use super::*;

fn event(event_id: &str, sender: &str, event_type: &str, content: Value) -> Pdu {
    let json = json!({
        "type": event_type, "room_id": "!r:b", "sender": sender, "content": content, "depth": 1,
        "origin_server_ts": 1,
    });
    let event_id = event_id.try_into().unwrap();
    Pdu::from_json(
        event_id,
        owned_room_id!("!r:b"),
        json.to_string(),
        &RoomVersionRules::V10,
        false,
    )
    .unwrap()
}

fn edit(sender: &str, event_type: &str, content: Value) -> Pdu {
    let mut content = content;
    content["m.relates_to"] = json!({"rel_type": "m.replace", "event_id": "$original"});
    event("$edit", sender, event_type, content)
}

#[test]
fn a_replacement_is_of_the_same_sender_and_type_and_has_new_content() {
    let original = event("$original", "@a:b", "m.room.message", json!({"body": "1"}));
    let new = json!({"body": "* 2", "m.new_content": {"body": "2"}});
    let good = edit("@a:b", "m.room.message", new.clone());
    assert!(is_valid_replacement(&original, &good));
    for bad in [
        edit("@other:b", "m.room.message", new.clone()),
        edit("@a:b", "m.room.other", new.clone()),
        edit("@a:b", "m.room.message", json!({"body": "* 2"})),
        edit("@a:b", "m.room.message", json!({"m.new_content": "2"})),
        event("$edit", "@a:b", "m.room.message", new.clone()),
    ] {
        assert!(!is_valid_replacement(&original, &bad), "{}", bad.content);
    }
    assert!(!is_valid_replacement(&good, &edit("@a:b", "m.room.message", new)));
}

#[test]
fn what_replaces_an_encrypted_event_has_its_new_content_inside() {
    let encrypted = event("$original", "@a:b", "m.room.encrypted", json!({"ciphertext": "x"}));
    let replacement = edit("@a:b", "m.room.encrypted", json!({"ciphertext": "y"}));
    assert!(is_valid_replacement(&encrypted, &replacement));
    let clear = event("$original", "@a:b", "m.room.message", json!({"body": "x"}));
    assert!(!is_valid_replacement(&clear, &replacement));
}

#[test]
fn a_relation_needs_a_type_and_an_event() {
    let relation = |content: Value| Relation::of(content.as_object().unwrap());
    for bad in [
        json!({}),
        json!({"m.relates_to": 1}),
        json!({"m.relates_to": {"m.in_reply_to": {"event_id": "$a"}}}),
        json!({"m.relates_to": {"rel_type": "m.thread"}}),
        json!({"m.relates_to": {"rel_type": 1, "event_id": "$a"}}),
    ] {
        assert_eq!(relation(bad.clone()), None, "{bad}");
    }
    let thread =
        relation(json!({"m.relates_to": {"rel_type": "m.thread", "event_id": "$a", "key": "k"}}));
    assert_eq!(thread.unwrap().key, None);
}

#[test]
fn new_relations_keep_to_the_rules() {
    let known = Parent { is_in_room: Some(true), ..Parent::default() };
    let relation = |rel_type: &str, key: Option<&str>| Relation {
        rel_type: rel_type.to_owned(),
        event_id: "$a".to_owned(),
        key: key.map(ToOwned::to_owned),
    };
    let reaction = relation(ANNOTATION, Some("x"));
    assert_eq!(check_new(&reaction, known), Ok(()));
    let twice = Parent { has_same_annotation: true, ..known };
    assert_eq!(check_new(&reaction, twice), Err(RelationError::SameAnnotation));
    assert_eq!(check_new(&relation(ANNOTATION, None), known), Err(RelationError::NoKey));
    let long = "x".repeat(501);
    assert_eq!(
        check_new(&relation(ANNOTATION, Some(&long)), known),
        Err(RelationError::KeyTooLong)
    );
    let child = Parent { is_child: true, ..known };
    assert_eq!(check_new(&relation(THREAD, None), child), Err(RelationError::ThreadOfChild));
    assert_eq!(check_new(&relation(REFERENCE, None), child), Ok(()));
    let elsewhere = Parent { is_in_room: Some(false), ..known };
    assert_eq!(check_new(&reaction, elsewhere), Err(RelationError::OtherRoom));
    assert_eq!(check_new(&reaction, Parent::default()), Err(RelationError::UnknownEvent));
    let rumoured = Parent { has_children: true, ..Parent::default() };
    assert_eq!(check_new(&reaction, rumoured), Ok(()));
}

#[test]
fn a_bundle_shows_only_what_there_is() {
    assert!(Bundle::default().to_json().is_none());
    assert!(ReferenceBundle::new([]).is_none());
    let reference = ReferenceBundle::new([event_id!("$a"), event_id!("$b")]);
    let bundle = Bundle { reference, ..Bundle::default() };
    let expected = r#"{"m.reference":{"chunk":[{"event_id":"$a"},{"event_id":"$b"}]}}"#;
    assert_eq!(bundle.to_json().unwrap().get(), expected);
}
