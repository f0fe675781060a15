//! Where somebody is logged in. Client-Server API, "Server administration".

use std::collections::BTreeMap;

use ruma::MilliSecondsSinceUnixEpoch;
use ruma::api::client::admin::get_user_info::v3::{self, ConnectionInfo, DeviceInfo, SessionInfo};

use super::endpoint::{Caller, Route, authenticated};
use crate::error::ApiError;
use crate::storage::database::Results;
use crate::storage::user_ips::{self, SightingRow};

pub fn routes() -> Vec<Route> {
    vec![authenticated(get_user_info).also("/_synapse/admin/v1/whois/{user_id}")]
}

/// `GET /_matrix/client/v3/admin/whois/{userId}`
async fn get_user_info(caller: Caller, request: v3::Request) -> Result<v3::Response, ApiError> {
    if !caller.is_admin && caller.user_id != request.user_id {
        return Err(ApiError::forbidden("Only administrators can look at others"));
    }
    if request.user_id.server_name() != caller.context.server_name() {
        return Err(ApiError::invalid_param("Only users of this server can be looked at"));
    }
    let seen = caller.context.batch(vec![user_ips::select(&request.user_id)]).await?;
    let seen: Vec<SightingRow> = Results::new(seen).rows()?;
    let mut devices: BTreeMap<String, DeviceInfo> = BTreeMap::new();
    for row in seen {
        let device = devices.entry(row.device_id.unwrap_or_default()).or_default();
        if device.sessions.is_empty() {
            device.sessions.push(SessionInfo::new());
        }
        let mut connection = ConnectionInfo::new();
        connection.ip = Some(row.ip);
        connection.user_agent = Some(row.user_agent);
        connection.last_seen = row.last_seen.try_into().ok().map(MilliSecondsSinceUnixEpoch);
        device.sessions[0].connections.push(connection);
    }
    let mut response = v3::Response::new();
    response.user_id = Some(request.user_id);
    response.devices = devices;
    Ok(response)
}
