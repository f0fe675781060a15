//! Redaction: what is left of an event.
//!
//! Spec: <https://spec.matrix.org/latest/rooms/>, "Redactions" of each version.

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue,
    canonical_json::{CanonicalJsonFieldError, redact as redact_object},
    room_version_rules::RoomVersionRules,
};
use serde_json::{Map, Value};

use crate::pdu::{Pdu, PduError};

/// What we noted ourselves in `unsigned`, and keep: neither tells what the sender wrote.
const UNSIGNED_KEPT: [&str; 2] = ["age_ts", "replaces_state"];

/// Why an event cannot be redacted: it is not one.
#[derive(Debug, thiserror::Error)]
pub enum RedactError {
    #[error("{0}")]
    Pdu(#[from] PduError),
    #[error("malformed event: {0}")]
    Field(#[from] CanonicalJsonFieldError),
}

/// The redacted copy of an event, as it is stored and shown. Its id stays the same.
pub fn redact(event: &Pdu, rules: &RoomVersionRules) -> Result<Pdu, RedactError> {
    let json: Map<String, Value> =
        serde_json::from_str(event.json.get()).map_err(PduError::Malformed)?;
    let mut redacted = redact_json(json, rules)?;
    if let Some(unsigned) = event.unsigned.as_deref() {
        let mut unsigned: Map<String, Value> =
            serde_json::from_str(unsigned.get()).unwrap_or_default();
        unsigned.retain(|key, _| UNSIGNED_KEPT.contains(&key.as_str()));
        redacted.insert("unsigned".to_owned(), Value::Object(unsigned));
    }
    let json = Value::Object(redacted).to_string();
    let (event_id, room_id) = (event.event_id.clone(), event.room_id.clone());
    Ok(Pdu::from_json(event_id, room_id, json, rules, event.rejected)?)
}

/// Applies the redaction algorithm of a room version. Numbers that canonical JSON does not have,
/// which versions 1 to 5 allow, are kept as they are.
pub fn redact_json(
    mut event: Map<String, Value>,
    rules: &RoomVersionRules,
) -> Result<Map<String, Value>, CanonicalJsonFieldError> {
    let kept = redact_object(shape_of(&event), &rules.redaction, None)?;
    retain_shape(&mut event, &kept);
    Ok(event)
}

/// The same keys and strings, with every number taken for a zero.
fn shape_of(object: &Map<String, Value>) -> CanonicalJsonObject {
    object.iter().map(|(key, value)| (key.clone(), shape_of_value(value))).collect()
}

fn shape_of_value(value: &Value) -> CanonicalJsonValue {
    match value {
        Value::Null => CanonicalJsonValue::Null,
        Value::Bool(value) => CanonicalJsonValue::Bool(*value),
        Value::Number(_) => CanonicalJsonValue::Integer(0.into()),
        Value::String(value) => CanonicalJsonValue::String(value.clone()),
        // Redaction takes keys from objects, never items from arrays.
        Value::Array(_) => CanonicalJsonValue::Array(Vec::new()),
        Value::Object(object) => CanonicalJsonValue::Object(shape_of(object)),
    }
}

fn retain_shape(object: &mut Map<String, Value>, shape: &CanonicalJsonObject) {
    object.retain(|key, _| shape.contains_key(key));
    for (key, value) in object {
        if let (Value::Object(value), Some(CanonicalJsonValue::Object(shape))) =
            (value, shape.get(key))
        {
            retain_shape(value, shape);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        event_builder::event_id_of,
        room_version::rules_of,
        test_room::{ALICE, TestRoom},
    };

    fn vectors() -> Value {
        let all: Value =
            serde_json::from_str(include_str!("../tests/fixtures/test-vectors.json")).unwrap();
        all["redaction"].clone()
    }

    fn redact_value(event: Value, version: &str) -> Value {
        let rules = rules_of(version).unwrap();
        Value::Object(redact_json(event.as_object().unwrap().clone(), &rules).unwrap())
    }

    #[test]
    fn the_content_of_every_type_is_redacted_as_each_version_says() {
        let mut cases = 0;
        for case in vectors()["cases"].as_array().unwrap() {
            for expected in case["redacted_content"].as_array().unwrap() {
                for version in expected["room_versions"].as_array().unwrap() {
                    let event = json!({"type": case["type"], "content": case["content"]});
                    let redacted = redact_value(event, version.as_str().unwrap());
                    assert_eq!(redacted["content"], expected["content"], "{case} in {version}");
                    cases += 1;
                }
            }
        }
        assert!(cases >= 12 * 9, "{cases}");
    }

    #[test]
    fn the_top_level_keeps_what_each_version_says() {
        let vectors = vectors();
        let old = vectors["top_level_kept_v1_v10"].as_array().unwrap();
        let new = vectors["top_level_kept_v11_v12"].as_array().unwrap();
        let mut event: Map<String, Value> =
            old.iter().map(|key| (key.as_str().unwrap().to_owned(), json!("x"))).collect();
        event.insert("content".to_owned(), json!({"body": "secret"}));
        event.insert("redacts".to_owned(), json!("$e"));
        event.insert("unsigned".to_owned(), json!({"a": 1}));
        for version in 1..=12 {
            let expected = if version <= 10 { old } else { new };
            let redacted = redact_value(Value::Object(event.clone()), &version.to_string());
            let keys: Vec<&String> = redacted.as_object().unwrap().keys().collect();
            assert_eq!(keys.len(), expected.len(), "version {version}");
            assert!(expected.iter().all(|key| keys.iter().any(|kept| key == *kept)));
        }
    }

    #[test]
    fn a_redacted_event_keeps_its_id_and_loses_its_words() {
        for version in 1..=12 {
            let mut room = TestRoom::public(&version.to_string());
            let message = room.message(ALICE, "secret").unwrap();
            let redacted = redact(&message, &room.rules).unwrap();
            assert_eq!(redacted.content.get(), "{}");
            assert!(!redacted.json.get().contains("secret"));
            let json = redacted.to_canonical_json().unwrap();
            assert_eq!(event_id_of(&json, &room.rules).unwrap(), message.event_id);
        }
    }

    #[test]
    fn numbers_of_old_versions_survive_a_redaction() {
        let content = json!({"ban": 50.5, "users": {"@a:b.c": 1e300}, "other": 1.5});
        let redacted =
            redact_value(json!({"type": "m.room.power_levels", "content": content}), "5");
        let expected = json!({"ban": 50.5, "users": {"@a:b.c": 1e300}});
        assert_eq!(redacted["content"], expected);
    }
}
