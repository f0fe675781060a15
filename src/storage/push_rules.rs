//! `push_rules`, `push_rules_enable`, `push_rules_stream`: what users have set about being
//! notified, beside the specification's rules.
//!
//! For `/sync`: [`select`] reads what belongs to a user, [`StoredRules::read`] takes its two
//! results, [`StoredRules::content`] is the content of `m.push_rules`; [`select_changed`] says
//! whether it changed in `(from, to]` of the push rules stream.

use myelin_protocol::push_rules::{UserRule, rules_of, rules_to_json};
use ruma::UserId;
use ruma::push::Ruleset;
use serde::Deserialize;

use super::database::{DatabaseError, Results, Statement, boolean};

#[derive(Deserialize)]
struct RuleRow {
    rule_id: String,
    conditions: String,
    actions: String,
}

#[derive(Deserialize)]
struct EnabledRow {
    rule_id: String,
    #[serde(deserialize_with = "boolean")]
    enabled: bool,
}

/// There is one row if rules have changed.
#[derive(Debug, Deserialize)]
pub struct ChangedRow {
    pub stream_id: i64,
}

/// What one user has set.
#[derive(Debug, Default)]
pub struct StoredRules {
    rules: Vec<UserRule>,
    enabled: Vec<(String, bool)>,
}

/// Two statements, for [`StoredRules::read`]. In the batch that authenticates, the access token
/// stands for its user.
pub fn select(user_or_token: &str) -> [Statement; 2] {
    [
        "SELECT rule_id, conditions, actions FROM push_rules
         WHERE user_name = coalesce((SELECT user_id FROM access_tokens WHERE token = ?1), ?1)
         ORDER BY priority_class DESC, priority DESC",
        "SELECT rule_id, enabled FROM push_rules_enable
         WHERE user_name = coalesce((SELECT user_id FROM access_tokens WHERE token = ?1), ?1)",
    ]
    .map(|sql| Statement::new(sql).bind(user_or_token))
}

/// Reads a [`ChangedRow`] if the user's rules changed in `(from, to]`.
pub fn select_changed(user_id: &UserId, from: i64, to: i64) -> Statement {
    Statement::new(
        "SELECT stream_id FROM push_rules_stream
         WHERE user_id = ?1 AND stream_id > ?2 AND stream_id <= ?3 LIMIT 1",
    )
    .bind(user_id.as_str())
    .bind(from)
    .bind(to)
}

impl StoredRules {
    /// Takes the two results of [`select`].
    ///
    /// # Errors
    /// If the rows are not of those statements.
    pub fn read(results: &mut Results) -> Result<Self, DatabaseError> {
        let rules = results.rows::<RuleRow>()?.into_iter().map(|row| UserRule {
            scoped_rule_id: row.rule_id,
            conditions: row.conditions,
            actions: row.actions,
        });
        let rules = rules.collect();
        let enabled = results.rows::<EnabledRow>()?.into_iter();
        Ok(Self { rules, enabled: enabled.map(|row| (row.rule_id, row.enabled)).collect() })
    }

    /// All rules that are in force for the user.
    pub fn ruleset(&self, user_id: &UserId) -> Ruleset {
        rules_of(user_id, &self.rules, self.enabled.iter().cloned())
    }

    /// The content of the user's `m.push_rules`, as JSON.
    pub fn content(&self, user_id: &UserId) -> serde_json::Value {
        serde_json::json!({ "global": rules_to_json(&self.ruleset(user_id)) })
    }
}
