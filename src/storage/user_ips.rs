//! `user_ips`, and the columns of `devices` that say the same of the last time.

use ruma::{DeviceId, UserId};
use serde::Deserialize;

use super::database::Statement;

/// A request of somebody's.
pub struct Sighting<'a> {
    pub user_id: &'a UserId,
    pub device_id: Option<&'a DeviceId>,
    pub access_token: &'a str,
    pub address: &'a str,
    pub user_agent: &'a str,
    pub last_seen_ms: u64,
}

/// Records a sighting. Nothing is written for a token that has gone meanwhile.
pub fn record(sighting: &Sighting<'_>) -> [Statement; 2] {
    let upsert = Statement::new(
        "INSERT INTO user_ips (user_id, access_token, device_id, ip, user_agent, last_seen)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE EXISTS
             (SELECT 1 FROM access_tokens WHERE token = ?2)
         ON CONFLICT (user_id, access_token, ip) DO UPDATE SET
             user_agent = excluded.user_agent, last_seen = excluded.last_seen",
    );
    let update = Statement::new(
        "UPDATE devices SET ip = ?3, user_agent = ?4, last_seen = ?5
         WHERE user_id = ?1 AND device_id = ?2",
    );
    let device_id = sighting.device_id.map(DeviceId::as_str);
    [
        upsert
            .bind(sighting.user_id.as_str())
            .bind(sighting.access_token)
            .bind(device_id)
            .bind(sighting.address)
            .bind(sighting.user_agent)
            .bind(sighting.last_seen_ms),
        update
            .bind(sighting.user_id.as_str())
            .bind(device_id)
            .bind(sighting.address)
            .bind(sighting.user_agent)
            .bind(sighting.last_seen_ms),
    ]
}

/// Where somebody was seen.
#[derive(Debug, Deserialize)]
pub struct SightingRow {
    pub device_id: Option<String>,
    pub ip: String,
    pub user_agent: String,
    pub last_seen: u64,
}

/// Reads the [`SightingRow`]s of a user.
pub fn select(user_id: &UserId) -> Statement {
    Statement::new(
        "SELECT device_id, ip, user_agent, last_seen FROM user_ips WHERE user_id = ?1
         ORDER BY last_seen DESC",
    )
    .bind(user_id.as_str())
}

/// Forgets who was seen before this, as Synapse does after 28 days.
pub fn delete_older_than(last_seen_ms: u64) -> Statement {
    Statement::new("DELETE FROM user_ips WHERE last_seen < ?1").bind(last_seen_ms)
}
