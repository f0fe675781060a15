//! What a device publishes for others to write to it: Client-Server API, "End-to-end encryption",
//! "Key management API".
//!
//! A first batch authenticates and reads what is stored under the same names, a second writes. If
//! something has come between, the second is refused as a whole and all is done once more.

use http::Method;
use myelin_protocol::device_keys::{IdentityKeys, RefusedKeys, UploadedKeys, is_same_key};
use ruma::DeviceId;
use serde_json::{Map, Value, json};

use super::access::{Access, Caller};
use super::endpoint::{Answer, Incoming, Route, json as answer, raw};
use crate::accounts::device_changes;
use crate::error::{ApiError, ErrorCode};
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::device_lists;
use crate::storage::e2e_device_keys::{self, OwnKeysRow};
use crate::storage::e2e_one_time_keys::{self, CountsRow, StoredKeyRow};

/// Uploads of one device that may get in each other's way before one is given up.
const ATTEMPTS_MAX: usize = 5;

pub fn routes() -> Vec<Route> {
    let paths = &[
        "/_matrix/client/v3/keys/upload",
        "/_matrix/client/r0/keys/upload",
        "/_matrix/client/unstable/keys/upload",
    ];
    vec![raw(Method::POST, paths, upload)]
}

/// `POST /_matrix/client/v3/keys/upload`
async fn upload(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    access.token()?;
    let body: Map<String, Value> = incoming.json()?;
    let keys = UploadedKeys::read(body).map_err(refused)?;
    for _ in 0..ATTEMPTS_MAX {
        match attempt(access.clone(), &keys).await {
            Ok(counts) => return answer(&json!({ "one_time_key_counts": counts? })),
            Err(DatabaseError::Constraint(_) | DatabaseError::Fenced) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::internal("uploads of keys keep getting in each other's way"))
}

/// What a refusal is to the client.
pub(super) fn refused(error: RefusedKeys) -> ApiError {
    match error {
        RefusedKeys::BadJson(message) => ApiError::bad_json(message),
        RefusedKeys::TooLarge(message) => ApiError::new(ErrorCode::TooLarge, message),
    }
}

type Counts = Result<Map<String, Value>, ApiError>;

/// One attempt: `Err` if the database refused it, `Ok(Err)` for what the caller is told.
async fn attempt(access: Access, keys: &UploadedKeys) -> Result<Counts, DatabaseError> {
    let token = match access.token() {
        Ok(token) => token,
        Err(error) => return Ok(Err(error)),
    };
    let reads = vec![
        e2e_device_keys::select_of_token(token),
        e2e_one_time_keys::select_stored(token, &keys.one_time_keys),
    ];
    let (caller, results) = match access.authenticate_with(reads).await {
        Ok(found) => found,
        Err(error) => return Ok(Err(error)),
    };
    let mut results = Results::new(results);
    let own: Option<OwnKeysRow> = results.first()?;
    let stored: Vec<StoredKeyRow> = results.rows()?;
    let Some(device_id) = caller.device_id.clone() else {
        let message = "To upload keys, you must pass device_id when authenticating";
        return Ok(Err(ApiError::new(ErrorCode::Unknown, message).with_status(400)));
    };
    if let Err(error) = must_be_own(&caller, &device_id, keys.device_keys.as_ref()) {
        return Ok(Err(error));
    }
    if let Some(error) = conflict(keys, &stored) {
        return Ok(Err(error));
    }
    write(&caller, &device_id, keys, own.as_ref(), &stored).await
}

fn must_be_own(
    caller: &Caller,
    device_id: &DeviceId,
    keys: Option<&IdentityKeys>,
) -> Result<(), ApiError> {
    let message = match keys {
        Some(keys) if keys.user_id != caller.user_id.as_str() => "`user_id` in `device_keys`",
        Some(keys) if keys.device_id != device_id.as_str() => "`device_id` in `device_keys`",
        _ => return Ok(()),
    };
    Err(ApiError::bad_json(format!("Provided {message} is not that of the authenticated device")))
}

/// A name under which another key is stored.
fn conflict(keys: &UploadedKeys, stored: &[StoredKeyRow]) -> Option<ApiError> {
    let (key, row) = keys.one_time_keys.iter().find_map(|key| {
        let is_other = |row: &&StoredKeyRow| {
            row.algorithm == key.algorithm
                && row.key_id == key.key_id
                && !is_same_key(&row.key_json, &key.json)
        };
        Some((key, stored.iter().find(is_other)?))
    })?;
    // Clients recognise these words.
    Some(ApiError::invalid_param(format!(
        "One time key {}:{} already exists. Old key: {}; new key: {}",
        key.algorithm, key.key_id, row.key_json, key.json
    )))
}

async fn write(
    caller: &Caller,
    device_id: &DeviceId,
    keys: &UploadedKeys,
    own: Option<&OwnKeysRow>,
    stored: &[StoredKeyRow],
) -> Result<Counts, DatabaseError> {
    let (context, user_id) = (&caller.context, &caller.user_id);
    let now_ms = context.now_ms();
    let is_stored = |algorithm: &str, key_id: &str| {
        stored.iter().any(|row| row.algorithm == algorithm && row.key_id == key_id)
    };
    let new = keys.one_time_keys.iter().filter(|key| !is_stored(&key.algorithm, &key.key_id));
    let new: Vec<_> = new.collect();
    let changed =
        keys.device_keys.as_ref().filter(|keys| own.is_none_or(|own| own.key_json != keys.json));
    let mut batch: Vec<Statement> = vec![e2e_device_keys::fence(user_id, device_id)];
    batch.extend(e2e_one_time_keys::insert(user_id, device_id, &new, now_ms));
    batch.extend(e2e_one_time_keys::upsert_fallback(user_id, device_id, &keys.fallback_keys));
    let is_quiet = batch.len() == 1;
    let counted = batch.len();
    batch.push(match is_quiet {
        true => e2e_one_time_keys::select_counts(user_id, device_id),
        false => e2e_one_time_keys::recount(user_id, device_id),
    });
    if let Some(keys) = changed {
        batch.push(e2e_device_keys::upsert(user_id, device_id, &keys.json, now_ms));
        batch.extend(device_lists::record_ids(user_id, &[device_id.as_str()], now_ms));
        batch.push(device_changes::observers(user_id));
    }
    let results = context.batch(batch).await?;
    if changed.is_some() {
        device_changes::announce(context, user_id, &results)?;
    }
    let mut results = Results::new(results);
    results.skip(counted);
    let row: CountsRow = results.first()?.unwrap_or_default();
    Ok(Ok(row.one_time_keys()))
}
