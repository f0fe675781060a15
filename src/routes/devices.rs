//! One's own devices: Client-Server API, "Device management".

use http::Method;
use ruma::api::client::device::{Device, get_device, get_devices, update_device};
use ruma::{MilliSecondsSinceUnixEpoch, OwnedDeviceId, UInt};
use serde_json::{Map, Value, json};

use super::endpoint::{decode, json_with_status};
use super::user_interactive::{proof_body, prove_identity};
use super::{Access, Answer, Caller, Incoming, Route, authenticated, json, raw};
use crate::accounts::device_changes;
use crate::accounts::session::{DEVICE_ID_LENGTH_MAX, DISPLAY_NAME_LENGTH_MAX};
use crate::error::ApiError;
use crate::storage::database::{DatabaseError, Results};
use crate::storage::devices::{self, DeviceRow, Selection};

/// Devices that one request can remove.
const DELETED_DEVICES_MAX: usize = 1000;

pub fn routes() -> Vec<Route> {
    vec![
        authenticated(list_devices),
        authenticated(get_one),
        raw(
            Method::PUT,
            &["/_matrix/client/v3/devices/{device_id}", "/_matrix/client/r0/devices/{device_id}"],
            rename,
        ),
        raw(
            Method::DELETE,
            &["/_matrix/client/v3/devices/{device_id}", "/_matrix/client/r0/devices/{device_id}"],
            delete_one,
        ),
        raw(
            Method::POST,
            &["/_matrix/client/v3/delete_devices", "/_matrix/client/r0/delete_devices"],
            delete_several,
        ),
    ]
}

fn device(row: DeviceRow) -> Device {
    let mut device = Device::new(row.device_id);
    device.display_name = row.display_name;
    device.last_seen_ip = row.ip;
    device.last_seen_ts = row.last_seen.and_then(UInt::new).map(MilliSecondsSinceUnixEpoch);
    device
}

fn no_device() -> ApiError {
    ApiError::not_found("No device found")
}

/// `GET /_matrix/client/v3/devices`
async fn list_devices(
    caller: Caller,
    _request: get_devices::v3::Request,
) -> Result<get_devices::v3::Response, ApiError> {
    let results = caller.context.batch(vec![devices::select_all(&caller.user_id)]).await?;
    let rows: Vec<DeviceRow> = results[0].rows()?;
    Ok(get_devices::v3::Response::new(rows.into_iter().map(device).collect()))
}

/// `GET /_matrix/client/v3/devices/{deviceId}`
async fn get_one(
    caller: Caller,
    request: get_device::v3::Request,
) -> Result<get_device::v3::Response, ApiError> {
    let statement = devices::select(&caller.user_id, request.device_id.as_str());
    let row: Option<DeviceRow> = caller.context.batch(vec![statement]).await?[0].first()?;
    Ok(get_device::v3::Response::new(device(row.ok_or_else(no_device)?)))
}

/// `PUT /_matrix/client/v3/devices/{deviceId}`: an application service also makes devices so.
async fn rename(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let caller = access.authenticate().await?;
    let request: update_device::v3::Request = decode(&incoming)?;
    let display_name = request.display_name.as_deref();
    if display_name.is_some_and(|name| name.chars().count() > DISPLAY_NAME_LENGTH_MAX) {
        return Err(ApiError::invalid_param(format!(
            "Device display name is too long (max {DISPLAY_NAME_LENGTH_MAX})"
        )));
    }
    let now_ms = caller.context.now_ms();
    let device_id = request.device_id.as_str();
    let statements = devices::rename(&caller.user_id, device_id, display_name, now_ms);
    let last = statements.len() - 1;
    let results = match display_name {
        Some(_) => device_changes::commit(&caller.context, &caller.user_id, statements).await?,
        None => caller.context.batch(statements).await?,
    };
    let mut results = Results::new(results);
    results.skip(last);
    let row: Option<DeviceRow> = results.first()?;
    match row {
        Some(_) => json(&json!({})),
        None if caller.service.is_some() => make(&caller, device_id, display_name).await,
        None => Err(no_device()),
    }
}

async fn make(
    caller: &Caller,
    device_id: &str,
    display_name: Option<&str>,
) -> Result<Answer, ApiError> {
    if device_id.len() > DEVICE_ID_LENGTH_MAX {
        let message = format!("A device id has {DEVICE_ID_LENGTH_MAX} bytes at most");
        return Err(ApiError::invalid_param(message));
    }
    let now_ms = caller.context.now_ms();
    let statements = devices::insert(&caller.user_id, device_id, display_name, now_ms);
    match device_changes::commit(&caller.context, &caller.user_id, statements).await {
        Ok(_) => json_with_status(201, &json!({})),
        Err(DatabaseError::Fenced) => {
            Err(ApiError::invalid_param("A cross-signing key has this id"))
        }
        Err(error) => Err(error.into()),
    }
}

/// `DELETE /_matrix/client/v3/devices/{deviceId}`
async fn delete_one(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let caller = access.authenticate().await?;
    caller.must_not_be_guest()?;
    let body = proof_body(&incoming)?;
    let description = "remove a device from your account";
    prove_identity(&caller, &incoming, body, description).await?;
    delete(&caller, &[OwnedDeviceId::from(incoming.arg(0))]).await
}

/// `POST /_matrix/client/v3/delete_devices`
async fn delete_several(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let caller = access.authenticate().await?;
    caller.must_not_be_guest()?;
    let body = proof_body(&incoming)?;
    if body.contains_key("devices") || !body.contains_key("auth") {
        device_ids(&body)?;
    }
    let description = "remove device(s) from your account";
    let body = prove_identity(&caller, &incoming, body, description).await?;
    delete(&caller, &device_ids(&body)?).await
}

fn device_ids(body: &Map<String, Value>) -> Result<Vec<OwnedDeviceId>, ApiError> {
    let devices =
        body.get("devices").ok_or_else(|| ApiError::missing_param("devices is missing"))?;
    let device_ids: Vec<OwnedDeviceId> = serde_json::from_value(devices.clone())
        .map_err(|_| ApiError::bad_json("devices must be a list of device ids"))?;
    if device_ids.len() > DELETED_DEVICES_MAX {
        let message = format!("At most {DELETED_DEVICES_MAX} devices can be removed at once");
        return Err(ApiError::invalid_param(message));
    }
    Ok(device_ids)
}

async fn delete(caller: &Caller, device_ids: &[OwnedDeviceId]) -> Result<Answer, ApiError> {
    let now_ms = caller.context.now_ms();
    let statements = devices::delete(&caller.user_id, Selection::Only(device_ids), now_ms);
    device_changes::commit(&caller.context, &caller.user_id, statements).await?;
    json(&json!({}))
}
