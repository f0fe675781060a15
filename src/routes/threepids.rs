//! Email addresses and telephone numbers. Client-Server API, "Adding Account Administrative
//! Contact Information".

use http::Method;
use serde_json::{Value, json};

use super::access::Access;
use super::endpoint::{Answer, Incoming, Route, json as answer, raw};
use crate::error::ApiError;
use crate::storage::database::Results;
use crate::storage::user_threepids::{self, ThreepidRow};

pub fn routes() -> Vec<Route> {
    let paths = &["/_matrix/client/v3/account/3pid", "/_matrix/client/r0/account/3pid"];
    vec![raw(Method::GET, paths, list_threepids)]
}

/// `GET /_matrix/client/v3/account/3pid`
async fn list_threepids(access: Access, _incoming: Incoming) -> Result<Answer, ApiError> {
    let read = user_threepids::select(access.token()?);
    let (caller, results) = access.authenticate_with(vec![read]).await?;
    caller.must_not_be_guest()?;
    let to_json = |row: ThreepidRow| {
        json!({
            "medium": row.medium,
            "address": row.address,
            "validated_at": row.validated_at,
            "added_at": row.added_at,
        })
    };
    let rows = Results::new(results).rows()?;
    let threepids: Vec<Value> = rows.into_iter().map(to_json).collect();
    answer(&json!({ "threepids": threepids }))
}
