//! Whose devices there are, and a key of each to begin a conversation with: Client-Server API,
//! "End-to-end encryption", "Key management API".

use std::collections::BTreeMap;

use http::Method;
use ruma::{OwnedServerName, OwnedUserId, UserId};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::access::Access;
use super::endpoint::{Answer, Incoming, Route, json as answer, raw};
use crate::context::Context;
use crate::error::ApiError;
use crate::serving::device_keys::{self, Asked, DEVICE_ID_BYTES_MAX, KeyRing};
use crate::storage::database::{Results, Statement};
use crate::storage::e2e_one_time_keys::{self, CLAIMS_MAX, Claim, ClaimedRow};

/// Milliseconds that other servers are waited for, unless the client says otherwise.
const TIMEOUT_MS: u64 = 10_000;

pub fn routes() -> Vec<Route> {
    let query_paths = &[
        "/_matrix/client/v3/keys/query",
        "/_matrix/client/r0/keys/query",
        "/_matrix/client/unstable/keys/query",
    ];
    let claim_paths = &[
        "/_matrix/client/v3/keys/claim",
        "/_matrix/client/r0/keys/claim",
        "/_matrix/client/unstable/keys/claim",
    ];
    vec![raw(Method::POST, query_paths, query), raw(Method::POST, claim_paths, claim)]
}

/// How long other servers may take: from the body, or from the query as older clients have it.
fn timeout_ms(incoming: &Incoming, body: &Map<String, Value>) -> Result<u64, ApiError> {
    let invalid = || ApiError::invalid_param("timeout must be a number of milliseconds");
    match (body.get("timeout"), incoming.query("timeout")) {
        (Some(timeout), _) if !timeout.is_null() => timeout.as_u64().ok_or_else(invalid),
        (_, Some(timeout)) => timeout.parse().map_err(|_| invalid()),
        _ => Ok(TIMEOUT_MS),
    }
}

/// Servers that did not answer in time, by name.
type Failures = BTreeMap<OwnedServerName, Value>;

/// Other servers are not reached: their users' keys are not known.
fn unreachable(user_ids: impl Iterator<Item = OwnedUserId>) -> Failures {
    let failure = json!({ "status": 503, "message": "This server cannot be reached" });
    user_ids.map(|user_id| (user_id.server_name().to_owned(), failure.clone())).collect()
}

fn is_local(context: &Context, user_id: &UserId) -> bool {
    user_id.server_name() == context.server_name()
}

/// `POST /_matrix/client/v3/keys/query`
async fn query(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    access.token()?;
    let body: Map<String, Value> = incoming.json()?;
    timeout_ms(&incoming, &body)?;
    let asked = read_asked(&body)?;
    let is_mine = |user_id: &OwnedUserId| is_local(&access.context, user_id);
    let (local, remote): (Asked, Asked) = asked.into_iter().partition(|(user, _)| is_mine(user));
    let statements = device_keys::statements(access.token()?, &local);
    let (caller, results) = access.authenticate_with(statements).await?;
    let ring = KeyRing::read(&caller.user_id, Results::new(results))?;
    let mut body = ring.into_answer(&caller.user_id, &local);
    body.insert("failures".to_owned(), json!(unreachable(remote.into_keys())));
    answer(&body)
}

/// Whose keys a body asks for. An id that is none has no keys.
fn read_asked(body: &Map<String, Value>) -> Result<Asked, ApiError> {
    let users = body.get("device_keys").and_then(Value::as_object);
    let users = users.ok_or_else(|| ApiError::bad_json("'device_keys' must be a JSON object"))?;
    let mut asked = Asked::new();
    for (user_id, device_ids) in users {
        let device_ids = Vec::<String>::deserialize(device_ids);
        let message = "'device_keys' values must be a list of strings";
        let mut device_ids = device_ids.map_err(|_| ApiError::bad_json(message))?;
        let Ok(user_id) = UserId::parse(user_id.as_str()) else { continue };
        // An id that is too long to exist stays as one that does not.
        for device_id in &mut device_ids {
            if device_id.len() > DEVICE_ID_BYTES_MAX {
                device_id.clear();
            }
        }
        asked.insert(user_id, device_ids);
    }
    Ok(asked)
}

/// `POST /_matrix/client/v3/keys/claim`
async fn claim(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    access.token()?;
    let body: Map<String, Value> = incoming.json()?;
    timeout_ms(&incoming, &body)?;
    let (local, remote): (Vec<Claim>, Vec<Claim>) = read_claims(&body)?
        .into_iter()
        .partition(|claim| is_local(&access.context, &claim.user_id));
    let caller = access.authenticate().await?;
    let batch: Vec<Statement> =
        local.chunks(CLAIMS_MAX).flat_map(e2e_one_time_keys::claim).collect();
    let results = match batch.is_empty() {
        true => Vec::new(),
        false => caller.context.batch(batch).await?,
    };
    let mut keys: BTreeMap<OwnedUserId, BTreeMap<String, Map<String, Value>>> = BTreeMap::new();
    for result in results {
        for row in result.rows::<ClaimedRow>()? {
            let key = serde_json::from_str(&row.key_json).map_err(ApiError::internal)?;
            let of_device = keys.entry(row.user_id).or_default().entry(row.device_id).or_default();
            of_device.insert(format!("{}:{}", row.algorithm, row.key_id), key);
        }
    }
    let failures = unreachable(remote.into_iter().map(|claim| claim.user_id));
    answer(&json!({ "one_time_keys": keys, "failures": failures }))
}

fn read_claims(body: &Map<String, Value>) -> Result<Vec<Claim>, ApiError> {
    let malformed =
        || ApiError::bad_json("'one_time_keys' must map users to devices to algorithms");
    let users = match body.get("one_time_keys") {
        None => return Ok(Vec::new()),
        Some(users) => users.as_object().ok_or_else(malformed)?,
    };
    let mut claims = Vec::new();
    for (user_id, devices) in users {
        let message = || ApiError::invalid_param(format!("{user_id:?} is not a valid user id"));
        let user_id = UserId::parse(user_id.as_str()).map_err(|_| message())?;
        for (device_id, algorithm) in devices.as_object().ok_or_else(malformed)? {
            let algorithm = algorithm.as_str().ok_or_else(malformed)?;
            if device_id.len().max(algorithm.len()) <= DEVICE_ID_BYTES_MAX {
                claims.push(Claim {
                    user_id: user_id.clone(),
                    device_id: device_id.clone(),
                    algorithm: algorithm.to_owned(),
                });
            }
        }
    }
    Ok(claims)
}
