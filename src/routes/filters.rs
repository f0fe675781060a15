//! Filters that requests name by a number. Client-Server API, "Filtering".

use http::Method;
use myelin_protocol::canonical_json::canonicalise;
use myelin_protocol::filter::{SyncRelations, has_known_format};
use ruma::OwnedUserId;
use ruma::api::client::filter::FilterDefinition;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::access::Access;
use super::endpoint::{Answer, Incoming, Route, json as answer, object, raw};
use crate::error::ApiError;
use crate::storage::database::Results;
use crate::storage::user_filters::{self, FilterIdRow, FilterRow};

/// Why a filter is refused.
pub const UNKNOWN_FORMAT: &str = "event_format is client or federation";

pub fn routes() -> Vec<Route> {
    let all =
        &["/_matrix/client/v3/user/{user_id}/filter", "/_matrix/client/r0/user/{user_id}/filter"];
    let one = &[
        "/_matrix/client/v3/user/{user_id}/filter/{filter_id}",
        "/_matrix/client/r0/user/{user_id}/filter/{filter_id}",
    ];
    vec![raw(Method::POST, all, create_filter), raw(Method::GET, one, get_filter)]
}

/// `POST /_matrix/client/v3/user/{userId}/filter`
async fn create_filter(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let user_id: OwnedUserId = incoming.id(0)?;
    let caller = access.authenticate().await?;
    caller.must_not_be_guest()?;
    caller.must_be(&user_id)?;
    let filter = canonical_filter(object(incoming.json()?)?)?;
    let statements = user_filters::insert(&user_id, &filter).to_vec();
    let mut results = Results::new(caller.context.batch(statements).await?);
    results.skip(1);
    let row: Option<FilterIdRow> = results.first()?;
    let row = row.ok_or_else(|| ApiError::internal("the filter was not stored"))?;
    answer(&json!({ "filter_id": row.filter_id.to_string() }))
}

/// The filter as it is stored, with everything in it that we do not know.
fn canonical_filter(filter: Map<String, Value>) -> Result<String, ApiError> {
    let shape: Result<FilterDefinition, _> = serde_json::from_value(Value::Object(filter.clone()));
    let shape =
        shape.map_err(|error| ApiError::bad_json(format!("The filter is not valid: {error}")))?;
    let relations: Result<SyncRelations, _> = serde_json::from_value(Value::Object(filter.clone()));
    if let Err(error) = relations {
        return Err(ApiError::bad_json(format!("The filter is not valid: {error}")));
    }
    if !has_known_format(&shape) {
        return Err(ApiError::bad_json(UNKNOWN_FORMAT));
    }
    let canonical = canonicalise(filter).map_err(|error| ApiError::bad_json(error.to_string()))?;
    serde_json::to_string(&canonical).map_err(ApiError::internal)
}

/// `GET /_matrix/client/v3/user/{userId}/filter/{filterId}`
async fn get_filter(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let user_id: OwnedUserId = incoming.id(0)?;
    let filter_id: u32 = incoming.id(1)?;
    let read = user_filters::select(&user_id, i64::from(filter_id));
    let (caller, results) = access.authenticate_with(vec![read]).await?;
    caller.must_not_be_guest()?;
    caller.must_be(&user_id)?;
    let row: Option<FilterRow> = Results::new(results).first()?;
    let row = row.ok_or_else(|| ApiError::not_found("No such filter"))?;
    answer(&RawValue::from_string(row.filter_json).map_err(ApiError::internal)?)
}
