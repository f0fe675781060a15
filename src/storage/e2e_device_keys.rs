//! `e2e_device_keys_json`: the identity keys of devices.

use std::borrow::Cow;

use ruma::{DeviceId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};

use super::database::Statement;

/// The identity keys of the device that a token belongs to.
#[derive(Debug, Deserialize)]
pub struct OwnKeysRow {
    /// JSON.
    pub key_json: String,
}

/// Reads the [`OwnKeysRow`] of the token's device, if it has keys.
pub fn select_of_token(token: &str) -> Statement {
    Statement::new(
        "SELECT k.key_json FROM access_tokens t CROSS JOIN e2e_device_keys_json k
             ON k.user_id = t.user_id AND k.device_id = t.device_id
         WHERE t.token = ?1",
    )
    .bind(token)
}

/// Writes the identity keys of a device.
pub fn upsert(user_id: &UserId, device_id: &DeviceId, key_json: &str, now_ms: u64) -> Statement {
    Statement::new(
        "INSERT INTO e2e_device_keys_json (user_id, device_id, ts_added_ms, key_json)
         VALUES (?1, ?2, ?3, ?4) ON CONFLICT (user_id, device_id)
         DO UPDATE SET ts_added_ms = excluded.ts_added_ms, key_json = excluded.key_json",
    )
    .bind(user_id.as_str())
    .bind(device_id.as_str())
    .bind(now_ms)
    .bind(key_json)
}

/// Aborts the batch unless the device exists.
pub fn fence(user_id: &UserId, device_id: &DeviceId) -> Statement {
    Statement::new(
        "SELECT CASE WHEN NOT EXISTS (SELECT 1 FROM devices WHERE user_id = ?1 AND device_id = ?2
                                      AND hidden = 0) THEN json('x') END",
    )
    .bind(user_id.as_str())
    .bind(device_id.as_str())
}

/// Of whom keys are asked, and of which devices: all if there are none.
#[derive(Clone, Debug, Serialize)]
pub struct AskedUser<'a> {
    pub user_id: &'a UserId,
    pub device_ids: Cow<'a, [String]>,
}

/// A device's identity keys.
#[derive(Debug, Deserialize)]
pub struct DeviceKeysRow {
    pub user_id: OwnedUserId,
    pub device_id: String,
    /// JSON.
    pub key_json: String,
    pub display_name: Option<String>,
}

/// Reads the [`DeviceKeysRow`]s of users.
pub fn select(asked: &[AskedUser<'_>]) -> Statement {
    Statement::new(
        "SELECT k.user_id, k.device_id, k.key_json, d.display_name
         FROM json_each(?1) a
         CROSS JOIN e2e_device_keys_json k ON k.user_id = a.value ->> '$.user_id'
         CROSS JOIN devices d ON d.user_id = k.user_id AND d.device_id = k.device_id
         WHERE d.hidden = 0
             AND (json_array_length(a.value, '$.device_ids') = 0
                  OR k.device_id IN (SELECT value FROM json_each(a.value, '$.device_ids')))",
    )
    .bind_json(&asked)
    .small::<DeviceKeysRow>()
}
