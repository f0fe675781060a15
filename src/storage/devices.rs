//! `devices`, and everything that goes when a device goes.

use ruma::{OwnedDeviceId, UserId};
use serde::Deserialize;

use super::database::Statement;
use super::{access_tokens, device_lists, pushers};

/// A device as its owner sees it.
#[derive(Debug, Deserialize)]
pub struct DeviceRow {
    pub device_id: OwnedDeviceId,
    pub display_name: Option<String>,
    pub last_seen: Option<u64>,
    pub ip: Option<String>,
    pub user_agent: Option<String>,
}

/// Makes a device unless it exists. Aborts the batch if the id is that of a cross-signing key.
pub fn insert(
    user_id: &UserId,
    device_id: &str,
    display_name: Option<&str>,
    now_ms: u64,
) -> Vec<Statement> {
    let fence = Statement::new(
        "SELECT CASE WHEN EXISTS (SELECT 1 FROM devices WHERE user_id = ?1 AND device_id = ?2
                                  AND hidden = 1) THEN json('x') END",
    );
    let insert = Statement::new(
        "INSERT INTO devices (user_id, device_id, display_name, hidden) VALUES (?1, ?2, ?3, 0)
         ON CONFLICT (user_id, device_id) DO NOTHING",
    );
    let if_new = "SELECT ?2 AS device_id WHERE NOT EXISTS
                      (SELECT 1 FROM devices WHERE user_id = ?1 AND device_id = ?2)";
    let mut statements = vec![fence.bind(user_id.as_str()).bind(device_id)];
    statements.extend(device_lists::record(user_id, if_new, |s| s.bind(device_id), now_ms));
    statements.push(insert.bind(user_id.as_str()).bind(device_id).bind(display_name));
    statements
}

const COLUMNS: &str = "device_id, display_name, last_seen, ip, user_agent";

/// Reads all [`DeviceRow`]s of a user.
pub fn select_all(user_id: &UserId) -> Statement {
    Statement::new(format!(
        "SELECT {COLUMNS} FROM devices WHERE user_id = ?1 AND hidden = 0 ORDER BY device_id"
    ))
    .bind(user_id.as_str())
}

/// Reads one [`DeviceRow`].
pub fn select(user_id: &UserId, device_id: &str) -> Statement {
    Statement::new(format!(
        "SELECT {COLUMNS} FROM devices WHERE user_id = ?1 AND device_id = ?2 AND hidden = 0"
    ))
    .bind(user_id.as_str())
    .bind(device_id)
}

/// Renames a device, and tells whoever follows the user's devices. Without a name nothing
/// changes. The last statement reads the device's row, if there is one.
pub fn rename(
    user_id: &UserId,
    device_id: &str,
    display_name: Option<&str>,
    now_ms: u64,
) -> Vec<Statement> {
    let mut statements = Vec::new();
    if let Some(display_name) = display_name {
        let update = Statement::new(
            "UPDATE devices SET display_name = ?3
             WHERE user_id = ?1 AND device_id = ?2 AND hidden = 0",
        );
        statements.push(update.bind(user_id.as_str()).bind(device_id).bind(display_name));
        let chosen = "SELECT device_id FROM devices
                      WHERE user_id = ?1 AND device_id = ?2 AND hidden = 0";
        statements.extend(device_lists::record(user_id, chosen, |s| s.bind(device_id), now_ms));
    }
    statements.push(select(user_id, device_id));
    statements
}

/// Which devices of a user are meant.
#[derive(Clone, Copy, Debug)]
pub enum Selection<'a> {
    /// These.
    Only(&'a [OwnedDeviceId]),
    /// All but this one; all if there is none.
    AllBut(Option<&'a str>),
}

/// What belongs to a device: table, column of the user.
const TABLES: &[(&str, &str)] = &[
    ("access_tokens", "user_id"),
    ("device_auth_providers", "user_id"),
    ("device_inbox", "user_id"),
    ("e2e_device_keys_json", "user_id"),
    ("e2e_one_time_keys_json", "user_id"),
    ("e2e_fallback_keys_json", "user_id"),
    ("myelin_device_key_counts", "user_id"),
    ("dehydrated_devices", "user_id"),
    ("event_txn_id_device_id", "user_id"),
    ("myelin_to_device_txns", "user_id"),
    ("myelin_delayed_event_txns", "user_id"),
    ("myelin_sliding_sync_connections", "user_id"),
];

/// Removes devices with their tokens, keys, messages, transaction ids and pushers, and tells
/// whoever follows the user's devices.
pub fn delete(user_id: &UserId, selection: Selection<'_>, now_ms: u64) -> Vec<Statement> {
    let chosen = |statement: Statement| match selection {
        Selection::Only(device_ids) => statement.bind_json(&device_ids),
        Selection::AllBut(kept) => statement.bind(kept.unwrap_or_default()),
    };
    let condition = match selection {
        Selection::Only(_) => "device_id IN (SELECT value FROM json_each(?2))",
        Selection::AllBut(_) => "device_id <> ?2",
    };
    let existing =
        format!("SELECT device_id FROM devices WHERE user_id = ?1 AND hidden = 0 AND {condition}");
    let mut statements = device_lists::record(user_id, &existing, chosen, now_ms);
    statements.push(chosen(access_tokens::delete_refresh_tokens(user_id, condition)));
    let of_devices = format!("user_name = ?1 AND {condition}");
    let bind = |statement: Statement| chosen(statement.bind(user_id.as_str()));
    statements.extend(pushers::delete_where(&of_devices, bind));
    for (table, user) in TABLES {
        let sql = format!("DELETE FROM {table} WHERE {user} = ?1 AND {condition}");
        statements.push(chosen(Statement::new(sql).bind(user_id.as_str())));
    }
    let sql = format!("DELETE FROM devices WHERE user_id = ?1 AND hidden = 0 AND {condition}");
    statements.push(chosen(Statement::new(sql).bind(user_id.as_str())));
    statements
}
