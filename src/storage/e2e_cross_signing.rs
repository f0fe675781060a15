//! `e2e_cross_signing_keys` and `e2e_cross_signing_signatures`: who vouches for whom.
//!
//! Invariant: the newest key of a type counts. Cross-signing keys are hidden devices, so that no
//! device has the id of one.

use myelin_protocol::cross_signing::{KeyType, NewKey, NewSignature};
use ruma::{OwnedUserId, UserId};
use serde::Deserialize;

use super::database::Statement;
use super::stream_positions::{StreamName, advance, current};

/// A cross-signing key.
#[derive(Debug, Deserialize)]
pub struct CrossSigningKeyRow {
    pub user_id: OwnedUserId,
    pub keytype: String,
    /// JSON.
    pub keydata: String,
}

impl CrossSigningKeyRow {
    /// What the key is for; `None` for a type that is not known here.
    pub fn key_type(&self) -> Option<KeyType> {
        KeyType::ALL.into_iter().find(|key_type| key_type.as_str() == self.keytype)
    }
}

/// The user of a token, or the user; in the batch that authenticates, the token stands for both.
const USER: &str = "coalesce((SELECT user_id FROM access_tokens WHERE token = ?1), ?1)";

/// Reads the [`CrossSigningKeyRow`]s of users, and of the one who asks.
pub fn select_keys(user_or_token: &str, user_ids: &[&UserId]) -> Statement {
    Statement::new(format!(
        "SELECT k.user_id, k.keytype, k.keydata
         FROM (SELECT value AS user_id FROM json_each(?2) UNION SELECT {USER}) a
         CROSS JOIN json_each('[\"master\", \"self_signing\", \"user_signing\"]') t
         CROSS JOIN e2e_cross_signing_keys k ON k.stream_id =
             (SELECT n.stream_id FROM e2e_cross_signing_keys n
              WHERE n.user_id = a.user_id AND n.keytype = t.value
              ORDER BY n.stream_id DESC LIMIT 1)"
    ))
    .bind(user_or_token)
    .bind_json(&user_ids)
    .small::<CrossSigningKeyRow>()
}

/// A signature.
#[derive(Debug, Deserialize)]
pub struct SignatureRow {
    pub user_id: OwnedUserId,
    pub key_id: String,
    pub target_user_id: OwnedUserId,
    pub target_device_id: String,
    pub signature: String,
}

/// Reads the [`SignatureRow`]s that users, and the one who asks, have made of these users' keys.
/// Others' signatures are nobody's business.
pub fn select_signatures(user_or_token: &str, user_ids: &[&UserId]) -> Statement {
    Statement::new(format!(
        "SELECT s.user_id, s.key_id, s.target_user_id, s.target_device_id, s.signature
         FROM json_each(?2) a CROSS JOIN e2e_cross_signing_signatures s
             ON s.user_id = a.value AND s.target_user_id = a.value
         UNION
         SELECT s.user_id, s.key_id, s.target_user_id, s.target_device_id, s.signature
         FROM json_each(?2) a CROSS JOIN e2e_cross_signing_signatures s
             ON s.user_id = {USER} AND s.target_user_id = a.value"
    ))
    .bind(user_or_token)
    .bind_json(&user_ids)
    .small::<SignatureRow>()
}

/// Writes a key. Aborts the batch if a device has its id.
pub fn insert_key(user_id: &UserId, key: &NewKey) -> Vec<Statement> {
    let fence = Statement::new(
        "SELECT CASE WHEN EXISTS (SELECT 1 FROM devices WHERE user_id = ?1 AND device_id = ?2
                                  AND hidden = 0) THEN json('x') END",
    );
    let hidden = Statement::new(
        "INSERT OR IGNORE INTO devices (user_id, device_id, display_name, hidden)
         VALUES (?1, ?2, ?3, 1)",
    );
    let insert = Statement::new(format!(
        "INSERT INTO e2e_cross_signing_keys (user_id, keytype, keydata, stream_id, instance_name)
         VALUES (?1, ?2, ?3, {}, 'master')",
        current(StreamName::CrossSigningKeys)
    ));
    let key_type = key.key_type.as_str();
    vec![
        fence.bind(user_id.as_str()).bind(key.public_part.as_str()),
        hidden
            .bind(user_id.as_str())
            .bind(key.public_part.as_str())
            .bind(format!("{key_type} signing key")),
        advance(StreamName::CrossSigningKeys),
        insert.bind(user_id.as_str()).bind(key_type).bind_json(&key.key),
    ]
}

/// Writes signatures that a user has made.
pub fn insert_signatures(user_id: &UserId, signatures: &[NewSignature]) -> Statement {
    let rows: Vec<_> = signatures
        .iter()
        .map(|s| (&s.key_id, &s.target_user_id, &s.target_device_id, &s.signature))
        .collect();
    Statement::new(
        "INSERT INTO e2e_cross_signing_signatures
             (user_id, key_id, target_user_id, target_device_id, signature)
         SELECT ?1, a.value ->> 0, a.value ->> 1, a.value ->> 2, a.value ->> 3
         FROM json_each(?2) a WHERE true
         ON CONFLICT (user_id, target_user_id, target_device_id, key_id)
         DO UPDATE SET signature = excluded.signature",
    )
    .bind(user_id.as_str())
    .bind_json(&rows)
}
