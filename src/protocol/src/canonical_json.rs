//! JSON as it is hashed and signed.
//!
//! Invariant: a number that leaves here is an integer of the range that a double holds exactly.
//! Spec: <https://spec.matrix.org/latest/appendices/#canonical-json>

use ruma::{CanonicalJsonObject, CanonicalJsonValue, Int};
use serde_json::{Map, Number, Value};

/// Why a JSON value has no canonical form. The errcode is `M_BAD_JSON`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalJsonError {
    #[error("Bad JSON value: float")]
    Float,
    #[error("JSON integer out of range")]
    IntegerOutOfRange,
    #[error("JSON nested too deeply")]
    TooDeep,
}

/// What serde_json reads by itself; values that were built in memory are held to the same.
const DEPTH_MAX: usize = 128;

/// The canonical form of an object. `-0` and `1e10` are integers, written differently.
pub fn canonicalise(object: Map<String, Value>) -> Result<CanonicalJsonObject, CanonicalJsonError> {
    canonicalise_object(object, 0)
}

fn canonicalise_object(
    object: Map<String, Value>,
    depth: usize,
) -> Result<CanonicalJsonObject, CanonicalJsonError> {
    object
        .into_iter()
        .map(|(key, value)| Ok((key, canonicalise_value(value, depth + 1)?)))
        .collect()
}

fn canonicalise_value(
    value: Value,
    depth: usize,
) -> Result<CanonicalJsonValue, CanonicalJsonError> {
    if depth > DEPTH_MAX {
        return Err(CanonicalJsonError::TooDeep);
    }
    Ok(match value {
        Value::Null => CanonicalJsonValue::Null,
        Value::Bool(value) => CanonicalJsonValue::Bool(value),
        Value::Number(number) => CanonicalJsonValue::Integer(canonicalise_number(&number)?),
        Value::String(value) => CanonicalJsonValue::String(value),
        Value::Array(values) => CanonicalJsonValue::Array(
            values
                .into_iter()
                .map(|value| canonicalise_value(value, depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(object) => CanonicalJsonValue::Object(canonicalise_object(object, depth)?),
    })
}

fn canonicalise_number(number: &Number) -> Result<Int, CanonicalJsonError> {
    if number.is_i64() || number.is_u64() {
        let integer = number.as_i64().and_then(|number| Int::try_from(number).ok());
        return integer.ok_or(CanonicalJsonError::IntegerOutOfRange);
    }
    let float = number.as_f64().ok_or(CanonicalJsonError::Float)?;
    if !float.is_finite() || float.fract() != 0.0 {
        return Err(CanonicalJsonError::Float);
    }
    const SAFE_MAX: f64 = 9_007_199_254_740_991.0;
    if float.abs() > SAFE_MAX {
        return Err(CanonicalJsonError::IntegerOutOfRange);
    }
    // Exact: a whole number within the range that a double holds exactly.
    Int::try_from(float as i64).map_err(|_| CanonicalJsonError::IntegerOutOfRange)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn canonical_text(text: &str) -> Result<String, CanonicalJsonError> {
        let object = canonicalise(serde_json::from_str(text).unwrap())?;
        Ok(serde_json::to_string(&object).unwrap())
    }

    #[test]
    fn the_vectors_come_out_as_the_specification_has_them() {
        let vectors: Value =
            serde_json::from_str(include_str!("../tests/fixtures/test-vectors.json")).unwrap();
        let vectors = &vectors["canonical_json"];
        for vector in vectors["spec"].as_array().unwrap() {
            let text = canonical_text(vector["input"].as_str().unwrap()).unwrap();
            assert_eq!(text, vector["output"].as_str().unwrap());
        }
        for vector in vectors["derived"].as_array().unwrap() {
            let text = canonical_text(vector["input_json_ascii"].as_str().unwrap()).unwrap();
            assert_eq!(text, vector["output"].as_str().unwrap());
        }
        for text in vectors["must_reject_in_strict_room_versions"].as_array().unwrap() {
            let text = text.as_str().unwrap();
            let accepted = serde_json::from_str(text).is_ok_and(|o| canonicalise(o).is_ok());
            assert!(!accepted, "{text}");
        }
    }

    #[test]
    fn nesting_that_could_exhaust_the_stack_is_refused() {
        let mut value = json!({});
        for _ in 0..DEPTH_MAX + 1 {
            value = json!([value]);
        }
        let object = Map::from_iter([("a".to_owned(), value)]);
        assert_eq!(canonicalise(object), Err(CanonicalJsonError::TooDeep));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(".*", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn canonical_json_is_its_own_canonical_form(value in any_json()) {
            let object = Map::from_iter([("k".to_owned(), value)]);
            if let Ok(canonical) = canonicalise(object) {
                let text = serde_json::to_string(&canonical).unwrap();
                prop_assert_eq!(canonical_text(&text).unwrap(), text);
            }
        }
    }
}
