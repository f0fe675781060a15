//! What somebody is notified about: reading it. Client-Server API, "Push Rules API".

use http::Method;
use serde_json::{Value, json};

use super::access::Access;
use super::endpoint::{Answer, Incoming, Route, json as answer, raw};
use crate::error::ApiError;
use crate::storage::database::Results;
use crate::storage::push_rules::{self, StoredRules};

macro_rules! paths {
    ($path:literal) => {
        &[
            concat!("/_matrix/client/v3/pushrules/", $path),
            concat!("/_matrix/client/r0/pushrules/", $path),
            concat!("/_matrix/client/api/v1/pushrules/", $path),
        ]
    };
}

pub fn routes() -> Vec<Route> {
    vec![
        raw(Method::GET, paths!(""), get_all),
        raw(Method::GET, paths!("global/"), get_scope),
        raw(Method::GET, paths!("global/{kind}/"), get_kind),
        raw(Method::GET, paths!("global/{kind}/{rule_id}"), get_rule),
        raw(Method::GET, paths!("global/{kind}/{rule_id}/enabled"), get_enabled),
        raw(Method::GET, paths!("global/{kind}/{rule_id}/actions"), get_actions),
        raw(Method::GET, paths!("{*rest}"), refuse),
        raw(Method::PUT, paths!("{*rest}"), refuse),
        raw(Method::PUT, paths!(""), refuse),
        raw(Method::PUT, paths!("global/{kind}/"), refuse),
        raw(Method::DELETE, paths!("{*rest}"), refuse),
    ]
}

/// `GET /_matrix/client/v3/pushrules/`
async fn get_all(access: Access, _incoming: Incoming) -> Result<Answer, ApiError> {
    answer(&content(access).await?)
}

/// `GET /_matrix/client/v3/pushrules/global/`
async fn get_scope(access: Access, _incoming: Incoming) -> Result<Answer, ApiError> {
    answer(&content(access).await?["global"])
}

/// `GET /_matrix/client/v3/pushrules/global/{kind}/`
async fn get_kind(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let content = content(access).await?;
    answer(content["global"].get(incoming.arg(0)).ok_or_else(not_a_rule)?)
}

/// `GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`
async fn get_rule(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    answer(&rule(access, &incoming).await?)
}

/// `GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled`
async fn get_enabled(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    answer(&json!({ "enabled": rule(access, &incoming).await?["enabled"] }))
}

/// `GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions`
async fn get_actions(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    answer(&json!({ "actions": rule(access, &incoming).await?["actions"] }))
}

/// A path that names no rule: another scope, kind or attribute, or no slash where one belongs.
async fn refuse(access: Access, _incoming: Incoming) -> Result<Answer, ApiError> {
    access.authenticate_with(Vec::new()).await?;
    Err(not_a_rule())
}

fn not_a_rule() -> ApiError {
    ApiError::unrecognized().with_status(400)
}

async fn rule(access: Access, incoming: &Incoming) -> Result<Value, ApiError> {
    let content = content(access).await?;
    let rules = content["global"].get(incoming.arg(0)).and_then(Value::as_array);
    let rules = rules.ok_or_else(not_a_rule)?;
    let rule = rules.iter().find(|rule| rule["rule_id"] == incoming.arg(1));
    rule.cloned().ok_or_else(|| ApiError::not_found("There is no such push rule"))
}

/// The caller's rules as `m.push_rules` has them.
async fn content(access: Access) -> Result<Value, ApiError> {
    let reads = push_rules::select(access.token()?).to_vec();
    let (caller, results) = access.authenticate_with(reads).await?;
    caller.must_not_be_guest()?;
    Ok(StoredRules::read(&mut Results::new(results))?.content(&caller.user_id))
}
