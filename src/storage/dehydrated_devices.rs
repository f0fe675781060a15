//! `dehydrated_devices`: a device of a user that sleeps on the server, and takes messages while
//! no other is there. A user has one at most; its row in `devices` is like any other.

use ruma::UserId;
use serde::Deserialize;

use super::database::Statement;

#[derive(Debug, Deserialize)]
pub struct DehydratedDeviceRow {
    pub device_id: String,
    /// JSON.
    pub device_data: String,
}

/// Reads the [`DehydratedDeviceRow`] of the token's user.
pub fn select_of_token(token: &str) -> Statement {
    Statement::new(
        "SELECT d.device_id, d.device_data FROM access_tokens t
         CROSS JOIN dehydrated_devices d ON d.user_id = t.user_id WHERE t.token = ?1",
    )
    .bind(token)
}

/// Aborts the batch if a device has this id.
pub fn fence(user_id: &UserId, device_id: &str) -> Statement {
    Statement::new(
        "SELECT CASE WHEN EXISTS (SELECT 1 FROM devices WHERE user_id = ?1 AND device_id = ?2)
                     THEN json('x') END",
    )
    .bind(user_id.as_str())
    .bind(device_id)
}

/// Writes the device that sleeps. Fails if there is one.
pub fn insert(user_id: &UserId, device_id: &str, device_data: &str) -> Statement {
    Statement::new(
        "INSERT INTO dehydrated_devices (user_id, device_id, device_data) VALUES (?1, ?2, ?3)",
    )
    .bind(user_id.as_str())
    .bind(device_id)
    .bind(device_data)
}
