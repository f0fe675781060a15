//! Backups of message keys. Client-Server API, "Server-side key backups". Which backup there is
//! can be read; making one is not answered yet.

use http::Method;
use serde_json::json;
use serde_json::value::RawValue;

use super::endpoint::{Access, Answer, Incoming, Route, json as answer, raw};
use crate::error::ApiError;
use crate::storage::database::Results;
use crate::storage::room_key_versions::{self, RoomKeyVersionRow};

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
    vec![raw(Method::GET, newest, get_version), raw(Method::GET, one, get_version)]
}

/// `GET /_matrix/client/v3/room_keys/version` and `.../version/{version}`
async fn get_version(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let version = match incoming.arg(0) {
        "" => None,
        // Versions are numbers: another text names none that exists.
        text => Some(text.parse::<u32>().map_or(-1, i64::from)),
    };
    let read = room_key_versions::select(access.token()?, version);
    let (caller, results) = access.authenticate_with(vec![read]).await?;
    caller.must_not_be_guest()?;
    let row: Option<RoomKeyVersionRow> = Results::new(results).first()?;
    let row = row.ok_or_else(|| ApiError::not_found("No backup found"))?;
    answer(&json!({
        "version": row.version.to_string(),
        "algorithm": row.algorithm,
        "auth_data": RawValue::from_string(row.auth_data).map_err(ApiError::internal)?,
        "etag": row.etag.to_string(),
        "count": row.count,
    }))
}
