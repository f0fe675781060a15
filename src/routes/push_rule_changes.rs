//! What somebody is notified about: changing it. Client-Server API, "Push Rules API".

use http::Method;
use myelin_protocol::push_rule_list::is_default;
use myelin_protocol::push_rules::{
    UserRule, UserSettings, is_known_action, priority_class, scoped_rule_id,
};
use ruma::api::client::push::{RuleKind, delete_pushrule, set_pushrule_actions};
use ruma::push::{Action, PushCondition};
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::{Access, Caller};
use super::endpoint::{Answer, Incoming, Route, batched, json as answer, raw};
use crate::durable::Announcement;
use crate::error::{ApiError, ErrorCode};
use crate::storage::database::{Results, Statement};
use crate::storage::push_rule_changes;
use crate::storage::push_rules::{self, StoredRules};

/// Every event is compared with all of them.
const OWN_RULES_OF_A_KIND_MAX: usize = 1000;

/// Every answer with the rules carries their ids: enough for any room's or user's.
const RULE_ID_BYTES_MAX: usize = 300;

/// A rule as clients send it: which of the fields it needs depends on its kind.
#[derive(Deserialize)]
struct NewRule {
    actions: Vec<Action>,
    conditions: Option<Vec<PushCondition>>,
    pattern: Option<String>,
}

pub fn routes() -> Vec<Route> {
    let enabled = &[
        "/_matrix/client/v3/pushrules/global/{kind}/{rule_id}/enabled",
        "/_matrix/client/r0/pushrules/global/{kind}/{rule_id}/enabled",
    ];
    let rule = &[
        "/_matrix/client/v3/pushrules/global/{kind}/{rule_id}",
        "/_matrix/client/r0/pushrules/global/{kind}/{rule_id}",
    ];
    vec![
        raw(Method::PUT, rule, set_rule),
        batched(remove_rule),
        batched(set_actions),
        raw(Method::PUT, enabled, set_enabled),
    ]
}

/// The caller, and what they have set.
async fn load(access: Access) -> Result<(Caller, UserSettings), ApiError> {
    let reads = push_rules::select(access.token()?).to_vec();
    let (caller, results) = access.authenticate_with(reads).await?;
    caller.must_not_be_guest()?;
    Ok((caller, StoredRules::read(&mut Results::new(results))?.settings))
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
async fn set_rule(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let (caller, settings) = load(access).await?;
    let (kind, rule_id) = (RuleKind::from(incoming.arg(0)), incoming.arg(1));
    let class = priority_class(&kind).ok_or_else(|| ApiError::unrecognized().with_status(400))?;
    if rule_id.len() > RULE_ID_BYTES_MAX {
        let message = format!("A rule's id has {RULE_ID_BYTES_MAX} bytes at most");
        return Err(ApiError::new(ErrorCode::TooLarge, message));
    }
    if rule_id.starts_with('.') || rule_id.contains(['/', '\\']) {
        return Err(ApiError::invalid_param("A rule's id begins with no dot and has no slashes"));
    }
    let rule: NewRule = incoming.json()?;
    let missing = |name: &str| ApiError::missing_param(format!("The rule has no {name}"));
    let rule = match kind {
        RuleKind::Override | RuleKind::Underride => {
            let conditions = rule.conditions.ok_or_else(|| missing("conditions"))?;
            UserRule::conditional(&kind, rule_id, &conditions, &rule.actions)
        }
        RuleKind::Content => {
            let pattern = rule.pattern.ok_or_else(|| missing("pattern"))?;
            UserRule::matching(&kind, rule_id, "content.body", &pattern, &rule.actions)
        }
        RuleKind::Room => UserRule::matching(&kind, rule_id, "room_id", rule_id, &rule.actions),
        _ => UserRule::matching(&kind, rule_id, "user_id", rule_id, &rule.actions),
    };
    let rule = rule.map_err(ApiError::internal)?;
    let actions: Vec<Action> = serde_json::from_str(&rule.actions).map_err(ApiError::internal)?;
    check_actions(&actions)?;
    let (before, after) = (incoming.query("before"), incoming.query("after"));
    let order = settings.order_with(&kind, rule_id, before.as_deref(), after.as_deref());
    let unknown = "The rule that before or after names is not one of yours";
    let order = order.ok_or_else(|| ApiError::invalid_param(unknown))?;
    if order.len() > OWN_RULES_OF_A_KIND_MAX {
        let message = format!("There are at most {OWN_RULES_OF_A_KIND_MAX} rules of a kind");
        return Err(ApiError::invalid_param(message));
    }
    let writes = push_rule_changes::set(&caller.user_id, &rule, class, &order);
    write(caller, writes).await?;
    answer(&json!({}))
}

/// `DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`
async fn remove_rule(
    access: Access,
    request: delete_pushrule::v3::Request,
) -> Result<delete_pushrule::v3::Response, ApiError> {
    let (caller, settings) = load(access).await?;
    if !settings.has_own(&request.kind, &request.rule_id) {
        return Err(not_found());
    }
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
    let (caller, settings) = load(access).await?;
    let is_own = settings.has_own(&request.kind, &request.rule_id);
    if !is_own && !is_default(&caller.user_id, &request.kind, &request.rule_id) {
        return Err(not_found());
    }
    check_actions(&request.actions)?;
    let rule = UserRule {
        scoped_rule_id: scoped_rule_id(&request.kind, &request.rule_id),
        conditions: "[]".to_owned(),
        actions: serde_json::to_string(&request.actions).map_err(ApiError::internal)?,
    };
    let writes = push_rule_changes::set_actions(&caller.user_id, &rule, !is_own);
    write(caller, writes).await?;
    Ok(set_pushrule_actions::v3::Response::new())
}

/// `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled`
async fn set_enabled(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let (caller, settings) = load(access).await?;
    let (kind, rule_id) = (RuleKind::from(incoming.arg(0)), incoming.arg(1));
    let body: Value = incoming.json()?;
    // Some clients send the value alone.
    let enabled = body.get("enabled").unwrap_or(&body).as_bool();
    let enabled = enabled.ok_or_else(|| ApiError::bad_json("enabled must be true or false"))?;
    if !settings.has_own(&kind, rule_id) && !is_default(&caller.user_id, &kind, rule_id) {
        return Err(not_found());
    }
    let scoped = scoped_rule_id(&kind, rule_id);
    let writes = push_rule_changes::set_enabled(&caller.user_id, &scoped, enabled);
    write(caller, writes).await?;
    answer(&json!({}))
}
