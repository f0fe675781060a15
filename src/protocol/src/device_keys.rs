//! What a client uploads for its device: identity keys, one-time keys, fallback keys.
//!
//! Client-Server API, "End-to-end encryption". Signatures are checked by those who receive keys,
//! never by the server that keeps them.

use serde_json::{Map, Value};

use crate::canonical_json::{CanonicalJsonError, canonicalise};

/// The largest identity, one-time or fallback key that is kept. Bytes of JSON.
pub const KEY_BYTES_MAX: usize = 64 * 1024;

/// The most one-time keys that one request brings: clients keep fewer on the server.
pub const ONE_TIME_KEYS_MAX: usize = 1000;

/// The longest name of a key.
const NAME_BYTES_MAX: usize = 512;

/// Why an upload is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedKeys {
    /// The errcode is `M_BAD_JSON`.
    #[error("{0}")]
    BadJson(String),
    /// The errcode is `M_TOO_LARGE`.
    #[error("{0}")]
    TooLarge(String),
}

impl From<CanonicalJsonError> for RefusedKeys {
    fn from(error: CanonicalJsonError) -> Self {
        Self::BadJson(error.to_string())
    }
}

/// A one-time or fallback key under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedKey {
    pub algorithm: String,
    pub key_id: String,
    /// Canonical JSON: text or an object.
    pub json: String,
}

/// The identity keys of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityKeys {
    pub user_id: String,
    pub device_id: String,
    /// Canonical JSON.
    pub json: String,
}

/// The body of `/keys/upload`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadedKeys {
    pub device_keys: Option<IdentityKeys>,
    pub one_time_keys: Vec<NamedKey>,
    pub fallback_keys: Vec<NamedKey>,
}

impl UploadedKeys {
    /// # Errors
    /// What is not of the specified shape, or larger than anybody's keys are.
    pub fn read(mut body: Map<String, Value>) -> Result<Self, RefusedKeys> {
        let device_keys = body.remove("device_keys").map(identity_keys).transpose()?;
        let one_time_keys = named_keys("one_time_keys", body.remove("one_time_keys"))?;
        let fallback_keys = match body.remove("fallback_keys") {
            None => body.remove("org.matrix.msc2732.fallback_keys"),
            stable => stable,
        };
        let fallback_keys = named_keys("fallback_keys", fallback_keys)?;
        Ok(Self { device_keys, one_time_keys, fallback_keys })
    }

    pub fn is_empty(&self) -> bool {
        self.device_keys.is_none() && self.one_time_keys.is_empty() && self.fallback_keys.is_empty()
    }
}

fn bad(message: impl Into<String>) -> RefusedKeys {
    RefusedKeys::BadJson(message.into())
}

fn identity_keys(value: Value) -> Result<IdentityKeys, RefusedKeys> {
    let Value::Object(keys) = value else {
        return Err(bad("device_keys must be an object"));
    };
    let text = |name: &str| {
        let text = keys.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        text.ok_or_else(|| bad(format!("device_keys.{name} must be a string")))
    };
    let (user_id, device_id) = (text("user_id")?, text("device_id")?);
    let algorithms = keys.get("algorithms").and_then(Value::as_array);
    if !algorithms.is_some_and(|algorithms| algorithms.iter().all(Value::is_string)) {
        return Err(bad("device_keys.algorithms must be a list of strings"));
    }
    if !keys.get("keys").is_some_and(is_map_of_texts) {
        return Err(bad("device_keys.keys must map names to strings"));
    }
    if !keys.get("signatures").is_some_and(are_signatures) {
        return Err(bad("device_keys.signatures must map users to signatures by key"));
    }
    Ok(IdentityKeys { user_id, device_id, json: canonical(Value::Object(keys))? })
}

fn is_map_of_texts(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.values().all(Value::is_string))
}

fn are_signatures(value: &Value) -> bool {
    value.as_object().is_some_and(|users| users.values().all(is_map_of_texts))
}

fn named_keys(field: &str, value: Option<Value>) -> Result<Vec<NamedKey>, RefusedKeys> {
    let keys = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(keys)) => keys,
        Some(_) => return Err(bad(format!("{field} must be an object"))),
    };
    if keys.len() > ONE_TIME_KEYS_MAX {
        let message = format!("{field} has more than {ONE_TIME_KEYS_MAX} keys");
        return Err(RefusedKeys::TooLarge(message));
    }
    keys.into_iter().map(|(name, key)| named_key(field, &name, key)).collect()
}

fn named_key(field: &str, name: &str, key: Value) -> Result<NamedKey, RefusedKeys> {
    let is_short = name.len() <= NAME_BYTES_MAX;
    let (algorithm, key_id) = match name.split_once(':') {
        Some((algorithm, key_id)) if is_short && !key_id.contains(':') => (algorithm, key_id),
        _ => {
            let name: String = name.chars().take(NAME_BYTES_MAX).collect();
            let message = format!("Invalid {field} key {name:?}: expected \"<algorithm>:<id>\"");
            return Err(bad(message));
        }
    };
    let is_signed = |key: &Map<String, Value>| {
        key.get("key").is_some_and(Value::is_string)
            && key.get("signatures").is_some_and(are_signatures)
            && key
                .get("fallback")
                .is_none_or(|fallback| fallback.is_boolean() || fallback.is_null())
    };
    if !(key.is_string() || key.as_object().is_some_and(is_signed)) {
        return Err(bad(format!("{field}.{name} must be a string or a signed key")));
    }
    Ok(NamedKey {
        algorithm: algorithm.to_owned(),
        key_id: key_id.to_owned(),
        json: canonical(key)?,
    })
}

fn canonical(value: Value) -> Result<String, RefusedKeys> {
    let json = match value {
        Value::Object(object) => {
            serde_json::to_string(&canonicalise(object)?).map_err(|e| bad(e.to_string()))?
        }
        other => other.to_string(),
    };
    if json.len() > KEY_BYTES_MAX {
        return Err(RefusedKeys::TooLarge(format!("A key is larger than {KEY_BYTES_MAX} bytes")));
    }
    Ok(json)
}

/// Whether a one-time key is the one that is stored under the same name. It may be signed anew.
pub fn is_same_key(stored: &str, uploaded: &str) -> bool {
    let unsigned = |json: &str| {
        let mut key: Value = serde_json::from_str(json).unwrap_or_default();
        if let Some(key) = key.as_object_mut() {
            key.remove("signatures");
        }
        key
    };
    unsigned(stored) == unsigned(uploaded)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<UploadedKeys, RefusedKeys> {
        UploadedKeys::read(body.as_object().unwrap().clone())
    }

    fn signed(key: &str) -> Value {
        json!({ "key": key, "signatures": { "@a:b": { "ed25519:D": "sig" } } })
    }

    #[test]
    fn keys_are_kept_in_canonical_form() {
        let device_keys = json!({
            "user_id": "@a:b", "device_id": "D", "algorithms": ["m.olm"],
            "keys": { "ed25519:D": "k" }, "signatures": {}, "dehydrated": true,
        });
        let uploaded = read(json!({
            "device_keys": device_keys,
            "one_time_keys": { "curve25519:AA": "key", "signed_curve25519:AB": signed("k") },
            "org.matrix.msc2732.fallback_keys": { "signed_curve25519:F": signed("f") },
        }));
        let uploaded = uploaded.unwrap();
        let expected = r#"{"algorithms":["m.olm"],"dehydrated":true,"device_id":"D","#;
        assert!(uploaded.device_keys.unwrap().json.starts_with(expected));
        let [plain, signed] = uploaded.one_time_keys.as_slice() else { panic!() };
        assert_eq!(
            (&*plain.algorithm, &*plain.key_id, &*plain.json),
            ("curve25519", "AA", "\"key\"")
        );
        let expected = r#"{"key":"k","signatures":{"@a:b":{"ed25519:D":"sig"}}}"#;
        assert_eq!((&*signed.algorithm, &*signed.json), ("signed_curve25519", expected));
        assert_eq!(uploaded.fallback_keys[0].key_id, "F");
    }

    #[test]
    fn what_has_another_shape_is_refused() {
        let id = json!({ "user_id": "@a:b", "device_id": "D" });
        for body in [
            json!({ "device_keys": null }),
            json!({ "device_keys": [] }),
            json!({ "device_keys": id }),
            json!({ "one_time_keys": [] }),
            json!({ "one_time_keys": { "nocolon": "key" } }),
            json!({ "one_time_keys": { "a:b:c": "key" } }),
            json!({ "one_time_keys": { "a:b": 5 } }),
            json!({ "one_time_keys": { "a:b": { "key": "k" } } }),
            json!({ "one_time_keys": { "a:b": { "key": "k", "signatures": { "@a:b": "s" } } } }),
            json!({ "fallback_keys": { "a": "key" } }),
            json!({ "one_time_keys": { "a:b": { "key": "k", "signatures": {}, "n": 0.5 } } }),
        ] {
            assert!(matches!(read(body.clone()), Err(RefusedKeys::BadJson(_))), "{body}");
        }
    }

    #[test]
    fn too_many_and_too_large_keys_are_refused() {
        let many: Map<String, Value> =
            (0..=ONE_TIME_KEYS_MAX).map(|n| (format!("a:{n}"), json!("key"))).collect();
        let large = json!({ "a:b": "k".repeat(KEY_BYTES_MAX) });
        for keys in [Value::Object(many), large] {
            let refused = read(json!({ "one_time_keys": keys }));
            assert!(matches!(refused, Err(RefusedKeys::TooLarge(_))));
        }
        assert_eq!(read(json!({ "one_time_keys": null })), Ok(UploadedKeys::default()));
    }

    #[test]
    fn a_key_may_be_signed_anew() {
        let (one, other) = (signed("k").to_string(), json!({ "key": "k" }).to_string());
        assert!(is_same_key(&one, &other));
        assert!(!is_same_key(&one, &signed("l").to_string()));
        assert!(is_same_key("\"k\"", "\"k\"") && !is_same_key("\"k\"", &one));
    }
}
