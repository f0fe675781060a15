//! A client's keys: real signatures, made with a key of the test's choice.

use myelin_protocol::signing_key::SigningKey;
use ruma::signatures::to_canonical_json_string_for_signing;
use serde_json::{Value, json};

use super::Account;

/// An ed25519 key pair; the same seed gives the same.
pub struct Pair(SigningKey);

impl Pair {
    pub fn new(seed: u8) -> Self {
        Self(SigningKey::from_seed("1", [seed; 32]).unwrap())
    }

    pub fn public(&self) -> String {
        self.0.public_key()
    }

    /// Adds the signature of `user_id` under this key id.
    pub fn sign(&self, mut object: Value, user_id: &str, key_id: &str) -> Value {
        let canonical = serde_json::from_value(object.clone()).unwrap();
        let text = to_canonical_json_string_for_signing(&canonical).unwrap();
        let mut stripped: ruma::CanonicalJsonObject = serde_json::from_str(&text).unwrap();
        let signer = ruma::server_name!("signer");
        self.0.sign_json(signer, &mut stripped).unwrap();
        let signed = serde_json::to_value(stripped).unwrap();
        let signature = signed["signatures"]["signer"].as_object().unwrap().values().next();
        object["signatures"][user_id][key_id] = signature.unwrap().clone();
        object
    }
}

/// The identity keys of an account's device.
pub fn device_keys(account: &Account, seed: u8) -> Value {
    let (user_id, device_id) = (&account.user_id, &account.device_id);
    let pair = Pair::new(seed);
    let key_id = format!("ed25519:{device_id}");
    let curve = format!("curve25519:{device_id}");
    let keys = json!({
        "user_id": user_id, "device_id": device_id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": { &key_id: pair.public(), curve: Pair::new(seed ^ 0x80).public() },
    });
    pair.sign(keys, user_id, &key_id)
}

/// A signed one-time key.
pub fn signed_key(account: &Account, text: &str) -> Value {
    let signature = json!({ format!("ed25519:{}", account.device_id): "signature" });
    json!({ "key": text, "signatures": { &account.user_id: signature } })
}

/// So many one-time keys, from this number on.
pub fn one_time_keys(account: &Account, from: u64, count: u64) -> Value {
    let key =
        |n: u64| (format!("signed_curve25519:AAA{n:03}"), signed_key(account, &n.to_string()));
    (from..from + count).map(key).collect::<serde_json::Map<_, _>>().into()
}

/// A cross-signing key: the master key, or one that the master key has signed.
pub fn cross_signing_key(account: &Account, usage: &str, pair: &Pair, master: &Pair) -> Value {
    let user_id = &account.user_id;
    let public = pair.public();
    let keys = json!({ format!("ed25519:{public}"): public });
    let key = json!({ "user_id": user_id, "usage": [usage], "keys": keys });
    if usage == "master" {
        return key;
    }
    master.sign(key, user_id, &format!("ed25519:{}", master.public()))
}
