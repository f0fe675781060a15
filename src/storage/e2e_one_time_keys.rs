//! `e2e_one_time_keys_json`, `e2e_fallback_keys_json`, and `myelin_device_key_counts`, which says
//! how many of them a device has left.
//!
//! Invariant: a one-time key is handed out once: the statement that returns it removes it. Whoever
//! changes the keys of a device ends with [`recount`] or [`recount_claimed`].

use myelin_protocol::device_keys::NamedKey;
use ruma::{DeviceId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::database::{Statement, json_lists};

/// A key that is stored under a name that is about to be uploaded.
#[derive(Debug, Deserialize)]
pub struct StoredKeyRow {
    pub algorithm: String,
    pub key_id: String,
    /// JSON.
    pub key_json: String,
}

/// Reads the [`StoredKeyRow`]s of the token's device that have one of these names.
pub fn select_stored(token: &str, keys: &[NamedKey]) -> Statement {
    let names: Vec<_> = keys.iter().map(|key| (&key.algorithm, &key.key_id)).collect();
    Statement::new(
        "SELECT k.algorithm, k.key_id, k.key_json FROM access_tokens t
         CROSS JOIN json_each(?2) a CROSS JOIN e2e_one_time_keys_json k
             ON k.user_id = t.user_id AND k.device_id = t.device_id
             AND k.algorithm = a.value ->> 0 AND k.key_id = a.value ->> 1
         WHERE t.token = ?1",
    )
    .bind(token)
    .bind_json(&names)
}

/// Writes one-time keys, in their order. Fails on a name that is taken.
pub fn insert(
    user_id: &UserId,
    device_id: &DeviceId,
    keys: &[&NamedKey],
    now_ms: u64,
) -> Vec<Statement> {
    let rows: Vec<_> = keys.iter().map(|key| (&key.algorithm, &key.key_id, &key.json)).collect();
    let insert = |list: String| {
        Statement::new(
            "INSERT INTO e2e_one_time_keys_json
                 (user_id, device_id, algorithm, key_id, ts_added_ms, key_json)
             SELECT ?1, ?2, a.value ->> 0, a.value ->> 1, ?3, a.value ->> 2 FROM json_each(?4) a",
        )
        .bind(user_id.as_str())
        .bind(device_id.as_str())
        .bind(now_ms)
        .bind(list)
    };
    json_lists(&rows).into_iter().map(insert).collect()
}

/// Writes fallback keys, one of each algorithm. One that is there already stays as used as it is.
pub fn upsert_fallback(
    user_id: &UserId,
    device_id: &DeviceId,
    keys: &[NamedKey],
) -> Vec<Statement> {
    let rows: Vec<_> = keys.iter().map(|key| (&key.algorithm, &key.key_id, &key.json)).collect();
    let upsert = |list: String| {
        Statement::new(
            "INSERT INTO e2e_fallback_keys_json
                 (user_id, device_id, algorithm, key_id, key_json, used)
             SELECT ?1, ?2, a.value ->> 0, a.value ->> 1, a.value ->> 2, 0
             FROM json_each(?3) a WHERE true
             ON CONFLICT (user_id, device_id, algorithm)
             DO UPDATE SET key_id = excluded.key_id, key_json = excluded.key_json, used = 0
             WHERE key_json <> excluded.key_json",
        )
        .bind(user_id.as_str())
        .bind(device_id.as_str())
        .bind(list)
    };
    json_lists(&rows).into_iter().map(upsert).collect()
}

/// What a device has left.
#[derive(Debug, Default, Deserialize)]
pub struct CountsRow {
    /// JSON: how many, by algorithm.
    pub one_time_keys: String,
    /// JSON: a list of algorithms.
    pub unused_fallback_keys: String,
}

impl CountsRow {
    /// How many keys there are of each algorithm. The usual one is always named: clients take a
    /// missing count for "not changed".
    pub fn one_time_keys(&self) -> Map<String, Value> {
        let mut counts = Map::from_iter([("signed_curve25519".to_owned(), Value::from(0))]);
        let stored: Map<String, Value> =
            serde_json::from_str(&self.one_time_keys).unwrap_or_default();
        counts.extend(stored);
        counts
    }

    /// The algorithms of unused fallback keys.
    pub fn unused_fallback_keys(&self) -> Vec<String> {
        serde_json::from_str(&self.unused_fallback_keys).unwrap_or_default()
    }
}

/// Counts of the device with the id `device` of the user `user`, both SQL.
fn counts(user: &str, device: &str) -> (String, String) {
    let one_time_keys = format!(
        "(SELECT json_group_object(algorithm, n) || '' FROM
             (SELECT algorithm, count(*) AS n FROM e2e_one_time_keys_json
              WHERE user_id = {user} AND device_id = {device} GROUP BY algorithm))"
    );
    let unused_fallback_keys = format!(
        "(SELECT json_group_array(algorithm) || '' FROM e2e_fallback_keys_json
          WHERE user_id = {user} AND device_id = {device} AND used = 0)"
    );
    (one_time_keys, unused_fallback_keys)
}

/// Counts the keys of a device, and returns the [`CountsRow`].
pub fn recount(user_id: &UserId, device_id: &DeviceId) -> Statement {
    let (one_time_keys, unused_fallback_keys) = counts("?1", "?2");
    Statement::new(format!(
        "INSERT OR REPLACE INTO myelin_device_key_counts
             (user_id, device_id, one_time_keys, unused_fallback_keys)
         VALUES (?1, ?2, {one_time_keys}, {unused_fallback_keys})
         RETURNING one_time_keys, unused_fallback_keys"
    ))
    .bind(user_id.as_str())
    .bind(device_id.as_str())
}

/// Reads the [`CountsRow`] of a device: one row. Of a device without a row, as from an imported
/// database, the keys are counted.
pub fn select_counts(user_id: &UserId, device_id: &DeviceId) -> Statement {
    let (one_time_keys, unused_fallback_keys) = counts("?1", "?2");
    Statement::new(format!(
        "SELECT coalesce(c.one_time_keys, {one_time_keys}) AS one_time_keys,
             coalesce(c.unused_fallback_keys, {unused_fallback_keys}) AS unused_fallback_keys
         FROM (SELECT 1) LEFT JOIN myelin_device_key_counts c
             ON c.user_id = ?1 AND c.device_id = ?2"
    ))
    .bind(user_id.as_str())
    .bind(device_id.as_str())
    .small::<CountsRow>()
}

/// A key of this algorithm is wanted of this device.
#[derive(Clone, Debug, Serialize)]
pub struct Claim {
    pub user_id: OwnedUserId,
    pub device_id: String,
    pub algorithm: String,
}

/// A key that is handed out.
#[derive(Debug, Deserialize)]
pub struct ClaimedRow {
    pub user_id: OwnedUserId,
    pub device_id: String,
    pub algorithm: String,
    pub key_id: String,
    /// JSON.
    pub key_json: String,
}

/// Devices whose keys one statement claims.
pub const CLAIMS_MAX: usize = 1000;

/// Hands out keys: the first statement returns the [`ClaimedRow`]s of fallback keys, for devices
/// that have no other, and the second those of one-time keys, the oldest of each device.
pub fn claim(claims: &[Claim]) -> [Statement; 3] {
    let matches = "user_id = a.value ->> '$.user_id' AND k.device_id = a.value ->> '$.device_id'
                   AND k.algorithm = a.value ->> '$.algorithm'";
    let fallback = Statement::new(format!(
        "UPDATE e2e_fallback_keys_json SET used = 1 WHERE rowid IN (
             SELECT k.rowid FROM json_each(?1) a CROSS JOIN e2e_fallback_keys_json k ON k.{matches}
             WHERE NOT EXISTS (SELECT 1 FROM e2e_one_time_keys_json o
                 WHERE o.user_id = k.user_id AND o.device_id = k.device_id
                     AND o.algorithm = k.algorithm))
         RETURNING user_id, device_id, algorithm, key_id, key_json"
    ));
    let one_time = Statement::new(format!(
        "DELETE FROM e2e_one_time_keys_json WHERE rowid IN (
             SELECT (SELECT k.rowid FROM e2e_one_time_keys_json k WHERE k.{matches}
                     ORDER BY k.ts_added_ms, k.rowid LIMIT 1)
             FROM json_each(?1) a)
         RETURNING user_id, device_id, algorithm, key_id, key_json"
    ));
    let [fallback, one_time] = [fallback, one_time].map(|statement| statement.bind_json(&claims));
    [fallback, one_time, recount_claimed(claims)]
}

/// Counts the keys of devices anew whose keys were counted before.
fn recount_claimed(claims: &[Claim]) -> Statement {
    let table = "myelin_device_key_counts";
    let (one_time_keys, unused_fallback_keys) =
        counts(&format!("{table}.user_id"), &format!("{table}.device_id"));
    Statement::new(format!(
        "UPDATE {table} SET one_time_keys = {one_time_keys},
             unused_fallback_keys = {unused_fallback_keys}
         WHERE (user_id, device_id) IN
             (SELECT value ->> '$.user_id', value ->> '$.device_id' FROM json_each(?1))"
    ))
    .bind_json(&claims)
}
