//! Backups of message keys: Client-Server API, "Server-side key backups".

use std::fmt::Write as _;

use http::Method;
use myelin_protocol::key_backup::{self, RefusedBackup};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::Caller;
use super::access::Access;
use super::endpoint::{Answer, Incoming, Route, json as answer, raw};
use crate::error::{ApiError, ErrorCode};
use crate::storage::database::{DatabaseError, Results};
use crate::storage::e2e_room_keys::{self, PAGE_MAX, RoomKeyRow, Selection};
use crate::storage::e2e_room_keys_versions::{self, NewVersionRow, RoomKeyVersionRow};

/// How often a backup may be replaced while keys are added to it.
const ATTEMPTS_MAX: usize = 3;

pub fn routes() -> Vec<Route> {
    let newest = &[
        "/_matrix/client/v3/room_keys/version",
        "/_matrix/client/r0/room_keys/version",
        "/_matrix/client/unstable/room_keys/version",
    ];
    let one = &[
        "/_matrix/client/v3/room_keys/version/{version}",
        "/_matrix/client/r0/room_keys/version/{version}",
        "/_matrix/client/unstable/room_keys/version/{version}",
    ];
    let keys = &[
        "/_matrix/client/v3/room_keys/keys",
        "/_matrix/client/r0/room_keys/keys",
        "/_matrix/client/unstable/room_keys/keys",
        "/_matrix/client/v3/room_keys/keys/{roomId}",
        "/_matrix/client/r0/room_keys/keys/{roomId}",
        "/_matrix/client/unstable/room_keys/keys/{roomId}",
        "/_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}",
        "/_matrix/client/r0/room_keys/keys/{roomId}/{sessionId}",
        "/_matrix/client/unstable/room_keys/keys/{roomId}/{sessionId}",
    ];
    vec![
        raw(Method::GET, newest, get_version),
        raw(Method::POST, newest, create_version),
        raw(Method::GET, one, get_version),
        raw(Method::PUT, one, update_version),
        raw(Method::DELETE, one, delete_version),
        raw(Method::PUT, keys, put_keys),
        raw(Method::GET, keys, get_keys),
        raw(Method::DELETE, keys, delete_keys),
    ]
}

fn no_backup() -> ApiError {
    ApiError::not_found("No backup found")
}

/// Versions are numbers: another text names none that exists.
fn version_number(text: &str) -> i64 {
    text.parse::<u32>().map_or(-1, i64::from)
}

/// Which backup a request is about.
fn wanted_version(incoming: &Incoming) -> Result<i64, ApiError> {
    let version = incoming.query("version");
    let version = version.ok_or_else(|| ApiError::missing_param("version is missing"))?;
    Ok(version_number(&version))
}

/// Authenticates, and reads a backup: this one, or the newest.
async fn read_version(
    access: Access,
    version: Option<i64>,
) -> Result<(Caller, Option<RoomKeyVersionRow>), ApiError> {
    let read = e2e_room_keys_versions::select(access.token()?, version);
    let (caller, results) = access.authenticate_with(vec![read]).await?;
    caller.must_not_be_guest()?;
    Ok((caller, Results::new(results).first()?))
}

/// `GET /_matrix/client/v3/room_keys/version` and `.../version/{version}`
async fn get_version(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let version = match incoming.arg(0) {
        "" => None,
        text => Some(version_number(text)),
    };
    let (_, row) = read_version(access, version).await?;
    let row = row.ok_or_else(no_backup)?;
    answer(&json!({
        "version": row.version.to_string(),
        "algorithm": row.algorithm,
        "auth_data": RawValue::from_string(row.auth_data).map_err(ApiError::internal)?,
        "etag": row.etag.to_string(),
        "count": row.count,
    }))
}

/// The largest description of how keys are encrypted. Bytes of JSON.
const AUTH_DATA_BYTES_MAX: usize = 64 * 1024;

/// The algorithm and the `auth_data` of a body.
fn description(body: &Map<String, Value>) -> Result<(&str, String), ApiError> {
    let missing = |name: &str| ApiError::missing_param(format!("{name} is missing"));
    let algorithm = body.get("algorithm").ok_or_else(|| missing("algorithm"))?;
    let algorithm = algorithm.as_str().filter(|algorithm| algorithm.len() <= 255);
    let algorithm = algorithm.ok_or_else(|| ApiError::bad_json("algorithm must be a string"))?;
    let auth_data = body.get("auth_data").ok_or_else(|| missing("auth_data"))?.to_string();
    if auth_data.len() > AUTH_DATA_BYTES_MAX {
        let message = format!("auth_data is larger than {AUTH_DATA_BYTES_MAX} bytes");
        return Err(ApiError::new(ErrorCode::TooLarge, message));
    }
    Ok((algorithm, auth_data))
}

/// `POST /_matrix/client/v3/room_keys/version`
async fn create_version(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let caller = access.authenticate().await?;
    caller.must_not_be_guest()?;
    let body: Map<String, Value> = incoming.json()?;
    let (algorithm, auth_data) = description(&body)?;
    let insert = e2e_room_keys_versions::insert(&caller.user_id, algorithm, &auth_data);
    let row: Option<NewVersionRow> = caller.context.batch(vec![insert]).await?[0].first()?;
    let row = row.ok_or_else(|| ApiError::internal("a new backup has no version"))?;
    answer(&json!({ "version": row.version.to_string() }))
}

/// `PUT /_matrix/client/v3/room_keys/version/{version}`
async fn update_version(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let version = version_number(incoming.arg(0));
    let (caller, row) = read_version(access, Some(version)).await?;
    let body: Map<String, Value> = incoming.json()?;
    let (algorithm, auth_data) = description(&body)?;
    if body.get("version").is_some_and(|version| version != incoming.arg(0)) {
        return Err(ApiError::invalid_param("Version in body does not match"));
    }
    if row.ok_or_else(no_backup)?.algorithm != algorithm {
        return Err(ApiError::invalid_param("Algorithm does not match"));
    }
    let update = e2e_room_keys_versions::update(&caller.user_id, version, &auth_data);
    caller.context.batch(vec![update]).await?;
    answer(&json!({}))
}

/// `DELETE /_matrix/client/v3/room_keys/version/{version}`
async fn delete_version(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let caller = access.authenticate().await?;
    caller.must_not_be_guest()?;
    let version = version_number(incoming.arg(0));
    let delete = e2e_room_keys_versions::delete(&caller.user_id, version).to_vec();
    let mut results = Results::new(caller.context.batch(delete).await?);
    results.skip(2);
    results.first::<NewVersionRow>()?.ok_or_else(no_backup)?;
    answer(&json!({}))
}

fn refused(error: RefusedBackup) -> ApiError {
    match error {
        RefusedBackup::BadJson(message) => ApiError::bad_json(message),
        RefusedBackup::NotVerifiable(_) => ApiError::invalid_param(error.to_string()),
        RefusedBackup::TooLarge(message) => ApiError::new(ErrorCode::TooLarge, message),
    }
}

/// The answer to a change of keys.
fn state(row: &RoomKeyVersionRow) -> Result<Answer, ApiError> {
    answer(&json!({ "etag": row.etag.to_string(), "count": row.count }))
}

/// `PUT /_matrix/client/v3/room_keys/keys`, `.../keys/{roomId}`, `.../keys/{roomId}/{sessionId}`
async fn put_keys(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    access.token()?;
    let version = wanted_version(&incoming)?;
    let body: Map<String, Value> = incoming.json()?;
    let keys = key_backup::read(body, incoming.arg(0), incoming.arg(1)).map_err(refused)?;
    for _ in 0..ATTEMPTS_MAX {
        let token = access.token()?;
        let reads = vec![
            e2e_room_keys_versions::select(token, None),
            e2e_room_keys_versions::select(token, Some(version)),
        ];
        let (caller, results) = access.clone().authenticate_with(reads).await?;
        caller.must_not_be_guest()?;
        let mut results = Results::new(results);
        let newest: Option<RoomKeyVersionRow> = results.first()?;
        let wanted: Option<RoomKeyVersionRow> = results.first()?;
        let (Some(newest), Some(_)) = (newest, wanted) else { return Err(no_backup()) };
        if newest.version != version {
            let message = "Wrong room_keys version";
            return Err(ApiError::new(ErrorCode::WrongRoomKeysVersion, message)
                .with_field("current_version", json!(newest.version.to_string())));
        }
        if keys.is_empty() {
            return state(&newest);
        }
        let user_id = &caller.user_id;
        let mut batch = vec![e2e_room_keys_versions::fence(user_id, version)];
        batch.extend(e2e_room_keys::insert(user_id, version, &keys));
        batch.push(e2e_room_keys_versions::select(user_id.as_str(), Some(version)));
        match caller.context.batch(batch).await {
            // Another backup is in use by now.
            Err(DatabaseError::Fenced) => {}
            Err(error) => return Err(error.into()),
            Ok(results) => {
                let row: Option<RoomKeyVersionRow> =
                    results.last().map(|result| result.first()).transpose()?.flatten();
                return state(&row.ok_or_else(no_backup)?);
            }
        }
    }
    Err(ApiError::internal("backups of keys are replaced too often"))
}

/// `DELETE /_matrix/client/v3/room_keys/keys`, `.../keys/{roomId}`, `.../{roomId}/{sessionId}`
async fn delete_keys(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let version = wanted_version(&incoming)?;
    let (caller, row) = read_version(access, Some(version)).await?;
    row.ok_or_else(no_backup)?;
    let user_id = &caller.user_id;
    let selection = Selection { version, room_id: incoming.arg(0), session_id: incoming.arg(1) };
    let mut batch = e2e_room_keys::delete(user_id, selection).to_vec();
    batch.push(e2e_room_keys_versions::select(user_id.as_str(), Some(version)));
    let results = caller.context.batch(batch).await?;
    let row: Option<RoomKeyVersionRow> =
        results.last().map(|result| result.first()).transpose()?.flatten();
    state(&row.ok_or_else(no_backup)?)
}

/// `GET /_matrix/client/v3/room_keys/keys`, `.../keys/{roomId}`, `.../keys/{roomId}/{sessionId}`
async fn get_keys(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let version = wanted_version(&incoming)?;
    let (caller, row) = read_version(access, Some(version)).await?;
    row.ok_or_else(no_backup)?;
    let (room_id, session_id) = (incoming.arg(0), incoming.arg(1));
    let selection = Selection { version, room_id, session_id };
    let mut rooms = Rooms::default();
    let mut after = (String::new(), String::new());
    loop {
        let page = e2e_room_keys::select(&caller.user_id, selection, (&after.0, &after.1));
        let rows: Vec<RoomKeyRow> = caller.context.batch(vec![page]).await?[0].rows()?;
        if !session_id.is_empty() {
            let row = rows.first().ok_or_else(|| ApiError::not_found("No room_keys found"))?;
            return text(key(row)?);
        }
        let is_last = rows.len() < PAGE_MAX;
        for row in rows {
            rooms.add(&row)?;
            after = (row.room_id, row.session_id);
        }
        if is_last {
            break;
        }
    }
    text(rooms.finish(!room_id.is_empty()))
}

/// Keys as text: there may be so many that they are in memory once only.
#[derive(Default)]
struct Rooms {
    text: String,
    room_id: Option<String>,
}

impl Rooms {
    fn add(&mut self, row: &RoomKeyRow) -> Result<(), ApiError> {
        if self.room_id.as_ref() == Some(&row.room_id) {
            self.text.push(',');
        } else {
            let end = if self.room_id.is_some() { "}}," } else { "" };
            let room_id = json!(row.room_id);
            let written = write!(self.text, "{end}{room_id}:{{\"sessions\":{{");
            written.map_err(ApiError::internal)?;
            self.room_id = Some(row.room_id.clone());
        }
        let written = write!(self.text, "{}:{}", json!(row.session_id), key(row)?);
        written.map_err(ApiError::internal)
    }

    /// All rooms, or the content of the only one.
    fn finish(mut self, is_one: bool) -> String {
        match (is_one, self.room_id) {
            (false, None) => "{\"rooms\":{}}".to_owned(),
            (true, None) => "{\"sessions\":{}}".to_owned(),
            (false, Some(_)) => {
                self.text.insert_str(0, "{\"rooms\":{");
                self.text.push_str("}}}}");
                self.text
            }
            (true, Some(room_id)) => {
                let name = json!(room_id).to_string().len() + 1;
                self.text.push_str("}}");
                self.text.split_off(name)
            }
        }
    }
}

fn key(row: &RoomKeyRow) -> Result<String, ApiError> {
    let session_data = RawValue::from_string(row.session_data.clone());
    let session_data = session_data.map_err(ApiError::internal)?;
    Ok(format!(
        "{{\"first_message_index\":{},\"forwarded_count\":{},\"is_verified\":{},\
         \"session_data\":{session_data}}}",
        row.first_message_index, row.forwarded_count, row.is_verified
    ))
}

fn text(body: String) -> Result<Answer, ApiError> {
    http::Response::builder()
        .header("content-type", "application/json")
        .body(body.into_bytes())
        .map_err(ApiError::internal)
}
