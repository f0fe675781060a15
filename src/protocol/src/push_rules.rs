//! The push rules that everyone starts with.
//!
//! Spec: <https://spec.matrix.org/latest/client-server-api/#predefined-rules>

use ruma::{UserId, push::Ruleset};
use serde_json::{Value, json};

/// The specification's rules for a user, in its order.
pub fn default_rules(user_id: &UserId) -> Ruleset {
    Ruleset::server_default(user_id)
}

/// A ruleset as `GET /pushrules/global/` answers it: every kind is there, if only as an empty list.
pub fn rules_to_json(rules: &Ruleset) -> Value {
    let mut kinds = json!({});
    if let Ok(Value::Object(rules)) = serde_json::to_value(rules) {
        kinds = Value::Object(rules);
    }
    for kind in ["override", "content", "room", "sender", "underride"] {
        if kinds[kind].is_null() {
            kinds[kind] = json!([]);
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    fn rules() -> Value {
        rules_to_json(&default_rules(user_id!("@alice:one.test")))
    }

    fn ids(rules: &Value, kind: &str) -> Vec<String> {
        let rules = rules[kind].as_array().unwrap();
        rules.iter().map(|rule| rule["rule_id"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_rules_are_those_of_the_specification_in_its_order() {
        let rules = rules();
        let overrides = [
            ".m.rule.master",
            ".m.rule.suppress_notices",
            ".m.rule.invite_for_me",
            ".m.rule.member_event",
            ".m.rule.is_user_mention",
            ".m.rule.is_room_mention",
            ".m.rule.tombstone",
            ".m.rule.reaction",
            ".m.rule.room.server_acl",
            ".m.rule.suppress_edits",
        ];
        assert_eq!(ids(&rules, "override"), overrides);
        let underrides = [
            ".m.rule.call",
            ".m.rule.encrypted_room_one_to_one",
            ".m.rule.room_one_to_one",
            ".m.rule.message",
            ".m.rule.encrypted",
        ];
        assert_eq!(ids(&rules, "underride"), underrides);
        for empty in ["content", "room", "sender"] {
            assert_eq!(rules[empty], json!([]));
        }
    }

    #[test]
    fn rules_about_the_user_name_the_user() {
        let rules = rules();
        let rule = |id| {
            let all = rules["override"].as_array().unwrap();
            all.iter().find(|rule| rule["rule_id"] == id).unwrap()
        };
        assert_eq!(
            rule(".m.rule.is_user_mention"),
            &json!({
                "rule_id": ".m.rule.is_user_mention", "default": true, "enabled": true,
                "conditions": [{
                    "kind": "event_property_contains", "key": "content.m\\.mentions.user_ids",
                    "value": "@alice:one.test",
                }],
                "actions": ["notify", {"set_tweak": "sound", "value": "default"},
                    {"set_tweak": "highlight"}],
            })
        );
        assert_eq!(rule(".m.rule.invite_for_me")["conditions"][2]["pattern"], "@alice:one.test");
        assert_eq!(rule(".m.rule.master")["enabled"], false);
    }
}
