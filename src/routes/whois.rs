//! Where somebody is logged in. Client-Server API, "Server administration".

use std::collections::BTreeMap;

use ruma::OwnedUserId;
use serde_json::{Value, json};

use super::access::Access;
use super::endpoint::{Answer, Incoming, Route, json as answer, raw};
use crate::error::ApiError;
use crate::storage::database::Results;
use crate::storage::user_ips::{self, SightingRow};

pub fn routes() -> Vec<Route> {
    let paths = [
        "/_matrix/client/r0/admin/whois/{user_id}",
        "/_matrix/client/v3/admin/whois/{user_id}",
        "/_synapse/admin/v1/whois/{user_id}",
    ];
    vec![raw(http::Method::GET, &paths, get_user_info)]
}

/// `GET /_matrix/client/v3/admin/whois/{userId}`. Ruma's answer has no `devices` if there are
/// none, and clients look for them.
async fn get_user_info(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let caller = access.authenticate().await?;
    let user_id: OwnedUserId = incoming.id(0)?;
    if !caller.is_admin && caller.user_id != user_id {
        return Err(ApiError::forbidden("Only administrators can look at others"));
    }
    if user_id.server_name() != caller.context.server_name() {
        return Err(ApiError::invalid_param("Only users of this server can be looked at"));
    }
    let seen = caller.context.batch(vec![user_ips::select(&user_id)]).await?;
    let seen: Vec<SightingRow> = Results::new(seen).rows()?;
    let mut connections: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in seen {
        let SightingRow { device_id, ip, user_agent, last_seen } = row;
        let connection = json!({ "ip": ip, "user_agent": user_agent, "last_seen": last_seen });
        connections.entry(device_id.unwrap_or_default()).or_default().push(connection);
    }
    let device = |(device_id, connections): (String, Vec<Value>)| {
        (device_id, json!({ "sessions": [{ "connections": connections }] }))
    };
    let devices: BTreeMap<String, Value> = connections.into_iter().map(device).collect();
    answer(&json!({ "user_id": user_id, "devices": devices }))
}
