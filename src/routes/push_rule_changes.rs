//! What somebody is notified about: changing it. Client-Server API, "Push Rules API".

use http::Method;
use myelin_protocol::push_rules::{
    UserRule, is_known_action, own_rules, priority_class, scoped_rule_id,
};
use ruma::api::client::push::{RuleKind, delete_pushrule, set_pushrule, set_pushrule_actions};
use ruma::push::{Action, Ruleset};
use serde_json::{Value, json};

use super::endpoint::{Access, Answer, Caller, Incoming, Route, batched, json as answer, raw};
use crate::durable::Announcement;
use crate::error::ApiError;
use crate::storage::database::{Results, Statement};
use crate::storage::push_rule_changes;
use crate::storage::push_rules::{self, StoredRules};

/// Every event is compared with all of them.
const OWN_RULES_OF_A_KIND_MAX: usize = 1000;

pub fn routes() -> Vec<Route> {
    let enabled = &[
        "/_matrix/client/v3/pushrules/global/{kind}/{rule_id}/enabled",
        "/_matrix/client/r0/pushrules/global/{kind}/{rule_id}/enabled",
    ];
    vec![
        batched(set_rule),
        batched(remove_rule),
        batched(set_actions),
        raw(Method::PUT, enabled, set_enabled),
    ]
}

/// The caller, and the rules that are in force.
async fn load(access: Access) -> Result<(Caller, Ruleset), ApiError> {
    let reads = push_rules::select(access.token()?).to_vec();
    let (caller, results) = access.authenticate_with(reads).await?;
    caller.must_not_be_guest()?;
    let rules = StoredRules::read(&mut Results::new(results))?.ruleset(&caller.user_id);
    Ok((caller, rules))
}

async fn write(caller: Caller, writes: Vec<Statement>) -> Result<(), ApiError> {
    caller.context.batch(writes).await?;
    caller.context.announce(Announcement::Users(vec![caller.user_id]));
    Ok(())
}

fn not_found() -> ApiError {
    ApiError::not_found("There is no such push rule")
}

fn check_actions(actions: &[Action]) -> Result<(), ApiError> {
    if actions.iter().all(is_known_action) {
        return Ok(());
    }
    Err(ApiError::invalid_param("An action is \"notify\", or an object with set_tweak"))
}

/// `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`
async fn set_rule(
    access: Access,
    request: set_pushrule::v3::Request,
) -> Result<set_pushrule::v3::Response, ApiError> {
    let (caller, mut rules) = load(access).await?;
    let kind = request.rule.kind();
    let stored = UserRule::new(&request.rule).map_err(|e| ApiError::bad_json(e.to_string()))?;
    let actions: Vec<Action> = serde_json::from_str(&stored.actions).map_err(ApiError::internal)?;
    check_actions(&actions)?;
    let rule_id = request.rule.rule_id();
    if [&request.before, &request.after].into_iter().flatten().any(|other| other == rule_id) {
        return Err(ApiError::invalid_param("A rule cannot be placed relative to itself"));
    }
    // A rule that is set again is placed anew: moving it to the end would be out of ruma's bounds.
    let _ = rules.remove(kind.clone(), rule_id);
    rules
        .insert(request.rule, request.after.as_deref(), request.before.as_deref())
        .map_err(|error| ApiError::invalid_param(error.to_string()))?;
    let order = own_rules(&rules, &kind);
    if order.len() > OWN_RULES_OF_A_KIND_MAX {
        let message = format!("There are at most {OWN_RULES_OF_A_KIND_MAX} rules of a kind");
        return Err(ApiError::invalid_param(message));
    }
    let class = priority_class(&kind).ok_or_else(ApiError::unrecognized)?;
    let writes = push_rule_changes::set(&caller.user_id, &stored, class, &order);
    write(caller, writes).await?;
    Ok(set_pushrule::v3::Response::new())
}

/// `DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`
async fn remove_rule(
    access: Access,
    request: delete_pushrule::v3::Request,
) -> Result<delete_pushrule::v3::Response, ApiError> {
    let (caller, mut rules) = load(access).await?;
    rules.remove(request.kind.clone(), &request.rule_id).map_err(|_| not_found())?;
    let scoped = scoped_rule_id(&request.kind, &request.rule_id);
    let writes = push_rule_changes::remove(&caller.user_id, &scoped);
    write(caller, writes).await?;
    Ok(delete_pushrule::v3::Response::new())
}

/// `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions`
async fn set_actions(
    access: Access,
    request: set_pushrule_actions::v3::Request,
) -> Result<set_pushrule_actions::v3::Response, ApiError> {
    let (caller, rules) = load(access).await?;
    let rule = rules.get(request.kind.clone(), &request.rule_id).ok_or_else(not_found)?;
    let is_default = rule.is_server_default();
    check_actions(&request.actions)?;
    let rule = UserRule {
        scoped_rule_id: scoped_rule_id(&request.kind, &request.rule_id),
        conditions: "[]".to_owned(),
        actions: serde_json::to_string(&request.actions).map_err(ApiError::internal)?,
    };
    let writes = push_rule_changes::set_actions(&caller.user_id, &rule, is_default);
    write(caller, writes).await?;
    Ok(set_pushrule_actions::v3::Response::new())
}

/// `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled`
async fn set_enabled(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let (caller, rules) = load(access).await?;
    let (kind, rule_id) = (RuleKind::from(incoming.arg(0)), incoming.arg(1));
    let body: Value = incoming.json()?;
    // Some clients send the value alone.
    let enabled = body.get("enabled").unwrap_or(&body).as_bool();
    let enabled = enabled.ok_or_else(|| ApiError::bad_json("enabled must be true or false"))?;
    rules.get(kind.clone(), rule_id).ok_or_else(not_found)?;
    let scoped = scoped_rule_id(&kind, rule_id);
    let writes = push_rule_changes::set_enabled(&caller.user_id, &scoped, enabled);
    write(caller, writes).await?;
    answer(&json!({}))
}
