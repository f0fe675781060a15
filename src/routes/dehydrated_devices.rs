//! A device that sleeps on the server, and takes messages for a user who is logged out everywhere:
//! the proposal MSC3814.

use http::Method;
use myelin_protocol::device_keys::UploadedKeys;
use ruma::{DeviceId, OwnedDeviceId};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::Caller;
use super::access::Access;
use super::endpoint::{Answer, Incoming, Route, json as answer, raw};
use super::keys_upload::refused;
use crate::accounts::device_changes;
use crate::accounts::session::DISPLAY_NAME_LENGTH_MAX;
use crate::error::{ApiError, ErrorCode};
use crate::serving::device_keys::DEVICE_ID_BYTES_MAX;
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::dehydrated_devices::{self, DehydratedDeviceRow};
use crate::storage::device_inbox::{self, Inbox, MESSAGES_MAX};
use crate::storage::devices::{self, Selection};
use crate::storage::stream_positions::{self, StreamName};
use crate::storage::{e2e_device_keys, e2e_one_time_keys};

/// The largest description of a device that sleeps. Bytes of JSON.
const DEVICE_DATA_BYTES_MAX: usize = 256 * 1024;

pub fn routes() -> Vec<Route> {
    let device = &["/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"];
    let events =
        &["/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{deviceId}/events"];
    vec![
        raw(Method::GET, device, get_device),
        raw(Method::PUT, device, put_device),
        raw(Method::DELETE, device, delete_device),
        raw(Method::GET, events, get_events),
        raw(Method::POST, events, post_events),
    ]
}

async fn authenticate(access: Access) -> Result<(Caller, Option<DehydratedDeviceRow>), ApiError> {
    let read = dehydrated_devices::select_of_token(access.token()?);
    let (caller, results) = access.authenticate_with(vec![read]).await?;
    caller.must_not_be_guest()?;
    Ok((caller, Results::new(results).first()?))
}

fn none() -> ApiError {
    ApiError::not_found("No dehydrated device available")
}

/// `GET /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device`
async fn get_device(access: Access, _incoming: Incoming) -> Result<Answer, ApiError> {
    let (_, row) = authenticate(access).await?;
    let row = row.ok_or_else(none)?;
    let device_data = RawValue::from_string(row.device_data).map_err(ApiError::internal)?;
    answer(&json!({ "device_id": row.device_id, "device_data": device_data }))
}

/// The device that is to sleep.
#[derive(Deserialize)]
struct NewDevice {
    device_id: String,
    device_data: Map<String, Value>,
    initial_device_display_name: Option<String>,
}

/// `PUT /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device`
async fn put_device(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let (caller, old) = authenticate(access).await?;
    let device: NewDevice = incoming.json()?;
    let keys = UploadedKeys::read(incoming.json()?).map_err(refused)?;
    let device_data = check(&caller, &device, &keys)?;
    let (context, user_id) = (&caller.context, &caller.user_id);
    let device_id: &DeviceId = device.device_id.as_str().into();
    let now_ms = context.now_ms();
    let mut batch: Vec<Statement> = Vec::new();
    if let Some(old) = old {
        let old = [OwnedDeviceId::from(old.device_id)];
        batch.extend(devices::delete(user_id, Selection::Only(&old), now_ms));
    }
    batch.push(dehydrated_devices::fence(user_id, &device.device_id));
    let display_name = device.initial_device_display_name.as_deref();
    batch.extend(devices::insert(user_id, &device.device_id, display_name, now_ms));
    batch.push(dehydrated_devices::insert(user_id, &device.device_id, &device_data));
    if let Some(keys) = &keys.device_keys {
        batch.push(e2e_device_keys::upsert(user_id, device_id, &keys.json, now_ms));
    }
    let one_time_keys: Vec<_> = keys.one_time_keys.iter().collect();
    batch.extend(e2e_one_time_keys::insert(user_id, device_id, &one_time_keys, now_ms));
    batch.extend(e2e_one_time_keys::upsert_fallback(user_id, device_id, &keys.fallback_keys));
    batch.push(e2e_one_time_keys::recount(user_id, device_id));
    match device_changes::commit(context, user_id, batch).await {
        Ok(_) => answer(&json!({ "device_id": device.device_id })),
        Err(DatabaseError::Fenced) => {
            Err(ApiError::invalid_param("There is another device with this id"))
        }
        Err(DatabaseError::Constraint(_)) => {
            let message = "Another dehydrated device has been stored at the same time";
            Err(ApiError::new(ErrorCode::Unknown, message).with_status(409))
        }
        Err(error) => Err(error.into()),
    }
}

/// The `device_data` of a device whose keys are its own.
fn check(caller: &Caller, device: &NewDevice, keys: &UploadedKeys) -> Result<String, ApiError> {
    if device.device_id.is_empty() || device.device_id.len() > DEVICE_ID_BYTES_MAX {
        return Err(ApiError::invalid_param("device_id is empty or too long"));
    }
    let name = device.initial_device_display_name.as_deref().unwrap_or_default();
    if name.chars().count() > DISPLAY_NAME_LENGTH_MAX {
        return Err(ApiError::invalid_param(format!(
            "Device display name is too long (max {DISPLAY_NAME_LENGTH_MAX})"
        )));
    }
    if !device.device_data.get("algorithm").is_some_and(Value::is_string) {
        return Err(ApiError::bad_json("device_data.algorithm must be a string"));
    }
    let message = "Device key(s) not found, these must be provided.";
    let own = keys.device_keys.as_ref().ok_or_else(|| ApiError::missing_param(message))?;
    if own.user_id != caller.user_id.as_str() || own.device_id != device.device_id {
        return Err(ApiError::bad_json("device_keys are not those of this device"));
    }
    let device_data = serde_json::to_string(&device.device_data).map_err(ApiError::internal)?;
    if device_data.len() > DEVICE_DATA_BYTES_MAX {
        let message = format!("device_data is larger than {DEVICE_DATA_BYTES_MAX} bytes");
        return Err(ApiError::new(ErrorCode::TooLarge, message));
    }
    Ok(device_data)
}

/// `DELETE /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device`
async fn delete_device(access: Access, _incoming: Incoming) -> Result<Answer, ApiError> {
    let (caller, row) = authenticate(access).await?;
    let device_id = row.ok_or_else(none)?.device_id;
    let only = [OwnedDeviceId::from(device_id.as_str())];
    let now_ms = caller.context.now_ms();
    let batch = devices::delete(&caller.user_id, Selection::Only(&only), now_ms);
    device_changes::commit(&caller.context, &caller.user_id, batch).await?;
    answer(&json!({ "device_id": device_id }))
}

/// `GET /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{deviceId}/events`
async fn get_events(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let page = page(access, &incoming, incoming.query("from").as_deref()).await?;
    let mut body = json!({ "events": page.events });
    if page.is_limited {
        body["next_batch"] = json!(page.next_batch);
    }
    answer(&body)
}

/// `POST /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{deviceId}/events`, as
/// an earlier draft has it.
async fn post_events(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        next_batch: Option<String>,
    }
    let body: Body = incoming.json()?;
    let page = page(access, &incoming, body.next_batch.as_deref()).await?;
    answer(&json!({ "events": page.events, "next_batch": page.next_batch }))
}

struct Page {
    events: Vec<Box<RawValue>>,
    next_batch: String,
    is_limited: bool,
}

/// Messages for the device that sleeps. They stay until it is replaced.
async fn page(access: Access, incoming: &Incoming, from: Option<&str>) -> Result<Page, ApiError> {
    let invalid = |name: &str| ApiError::invalid_param(format!("{name} has an invalid format"));
    let since = match from {
        None => 0,
        Some(token) => {
            let number = token.strip_prefix('d').and_then(|number| number.parse::<u32>().ok());
            i64::from(number.ok_or_else(|| invalid("from"))?)
        }
    };
    let limit = match incoming.query("limit") {
        None => MESSAGES_MAX,
        Some(limit) => limit.parse().map_err(|_| invalid("limit"))?,
    };
    let limit = limit.clamp(1, MESSAGES_MAX);
    let (caller, row) = authenticate(access).await?;
    let row = row.ok_or_else(|| ApiError::forbidden("No dehydrated device exists"))?;
    if row.device_id != incoming.arg(0) {
        let message = "You may only fetch messages for your dehydrated device";
        return Err(ApiError::forbidden(message));
    }
    let device_id: &DeviceId = row.device_id.as_str().into();
    let batch = vec![
        stream_positions::select_some(&[StreamName::ToDevice]),
        device_inbox::select_after(&caller.user_id, device_id, since, limit),
    ];
    let mut results = Results::new(caller.context.batch(batch).await?);
    #[derive(Deserialize)]
    struct Position {
        to_device: i64,
    }
    let now: Option<Position> = results.first()?;
    let inbox = Inbox::of(results.rows()?, limit);
    let now = now.map_or(0, |now| now.to_device);
    let last = inbox.last.filter(|_| inbox.is_limited);
    let (next, is_limited) = (last.unwrap_or(now), inbox.is_limited);
    Ok(Page { events: inbox.events, next_batch: format!("d{next}"), is_limited })
}
