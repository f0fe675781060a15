//! What a user has set, as lists that are shown and changed.
//!
//! Rules of a room or a sender may have any text for an id: such a rule is kept and shown, and
//! matches nothing unless the text is the id of a room or a user.

use ruma::UserId;
use ruma::push::{Action, PushCondition, RuleKind};
use serde_json::{Value, json};

use crate::push_rules::{
    UserRule, UserSettings, default_rules, rules_of, rules_to_json, scoped_rule_id, split,
};

/// Whether a rule is one of the specification's.
pub fn is_default(user_id: &UserId, kind: &RuleKind, rule_id: &str) -> bool {
    default_rules(user_id).get(kind.clone(), rule_id).is_some()
}

impl UserRule {
    /// A rule with conditions.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn conditional(
        kind: &RuleKind,
        rule_id: &str,
        conditions: &[PushCondition],
        actions: &[Action],
    ) -> serde_json::Result<Self> {
        Ok(Self {
            scoped_rule_id: scoped_rule_id(kind, rule_id),
            conditions: serde_json::to_string(conditions)?,
            actions: serde_json::to_string(actions)?,
        })
    }

    /// A rule that compares one field of an event.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn matching(
        kind: &RuleKind,
        rule_id: &str,
        key: &str,
        pattern: &str,
        actions: &[Action],
    ) -> serde_json::Result<Self> {
        let condition = json!({ "kind": "event_match", "key": key, "pattern": pattern });
        Ok(Self {
            scoped_rule_id: scoped_rule_id(kind, rule_id),
            conditions: json!([condition]).to_string(),
            actions: serde_json::to_string(actions)?,
        })
    }
}

impl UserSettings {
    /// The user's own rules of a kind with their ids, the most important first.
    fn own(&self, kind: &RuleKind) -> impl Iterator<Item = (&str, &UserRule)> {
        self.rules.iter().filter_map(move |rule| {
            let (of_kind, rule_id) = split(&rule.scoped_rule_id)?;
            (of_kind == *kind && !rule_id.starts_with('.')).then_some((rule_id, rule))
        })
    }

    /// Whether the user has made this rule.
    pub fn has_own(&self, kind: &RuleKind, rule_id: &str) -> bool {
        self.own(kind).any(|(own, _)| own == rule_id)
    }

    /// The scoped ids of the user's own rules of a kind, the most important first, once a rule is
    /// placed among them: just above `before`, or just below `after`, or on top. `None` if there
    /// is no such rule.
    pub fn order_with(
        &self,
        kind: &RuleKind,
        rule_id: &str,
        before: Option<&str>,
        after: Option<&str>,
    ) -> Option<Vec<String>> {
        let others = self.own(kind).map(|(own, _)| own).filter(|own| *own != rule_id);
        let mut order: Vec<&str> = others.collect();
        let place = |other: &str| order.iter().position(|own| *own == other);
        let index = match (before, after) {
            (Some(before), _) => place(before)?,
            (None, Some(after)) => place(after)? + 1,
            (None, None) => 0,
        };
        order.insert(index, rule_id);
        Some(order.into_iter().map(|rule_id| scoped_rule_id(kind, rule_id)).collect())
    }

    /// All rules of the user, as `GET /pushrules/global/` answers them.
    pub fn to_json(&self, user_id: &UserId) -> Value {
        let ruleset = rules_of(user_id, &self.rules, self.enabled.iter().cloned());
        let mut kinds = rules_to_json(&ruleset);
        // There are no default rules of these kinds.
        for kind in [RuleKind::Room, RuleKind::Sender] {
            let rules = self.own(&kind).filter_map(|(rule_id, rule)| {
                let actions: Vec<Value> = serde_json::from_str(&rule.actions).ok()?;
                let mut switches = self.enabled.iter();
                let switch = switches.find(|(scoped, _)| *scoped == rule.scoped_rule_id);
                Some(json!({
                    "rule_id": rule_id, "default": false, "actions": actions,
                    "enabled": switch.is_none_or(|(_, enabled)| *enabled),
                }))
            });
            kinds[kind.as_str()] = rules.collect();
        }
        kinds
    }
}
