//! What somebody is notified about: reading it. Client-Server API, "Push Rules API".

use http::Method;
use serde_json::{Value, json};

use super::endpoint::{Access, Answer, Incoming, Route, json as answer, raw};
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
    answer(content["global"].get(incoming.arg(0)).ok_or_else(ApiError::unrecognized)?)
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

async fn rule(access: Access, incoming: &Incoming) -> Result<Value, ApiError> {
    let content = content(access).await?;
    let rules = content["global"].get(incoming.arg(0)).and_then(Value::as_array);
    let rules = rules.ok_or_else(ApiError::unrecognized)?;
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
