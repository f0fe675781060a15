//! The push rules that everyone starts with, and what users have made of them.
//!
//! Spec: <https://spec.matrix.org/latest/client-server-api/#predefined-rules>

use ruma::power_levels::NotificationPowerLevelsKey;
use ruma::push::{
    Action, ConditionalPushRule, ConditionalPushRuleInit, EventMatchConditionData,
    HighlightTweakValue, NewConditionalPushRule, NewPatternedPushRule, NewPushRule,
    NewSimplePushRule, PatternedPushRuleInit, PushCondition, RuleKind, Ruleset,
    SenderNotificationPermissionConditionData, SoundTweakValue, Tweak,
};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::{Value, json};

/// The specification's rules for a user, in its order, and those that it had before messages
/// said whom they mention: as long as there are clients that do not say so, Synapse has them too.
pub fn default_rules(user_id: &UserId) -> Ruleset {
    let mut rules = Ruleset::server_default(user_id);
    let place = |rules: &Ruleset, before: &str| {
        rules.override_.get_index_of(before).unwrap_or(rules.override_.len())
    };
    let at = place(&rules, ".m.rule.is_room_mention");
    rules.override_.shift_insert(at, contains_display_name());
    let at = place(&rules, ".m.rule.tombstone");
    rules.override_.shift_insert(at, room_notification());
    rules.content.insert(
        PatternedPushRuleInit {
            actions: highlight_with_sound(),
            default: true,
            enabled: true,
            rule_id: ".m.rule.contains_user_name".to_owned(),
            pattern: user_id.localpart().to_owned(),
        }
        .into(),
    );
    rules
}

fn highlight_with_sound() -> Vec<Action> {
    let sound = Action::SetTweak(Tweak::Sound(SoundTweakValue::Default));
    vec![Action::Notify, sound, Action::SetTweak(Tweak::Highlight(HighlightTweakValue::Yes))]
}

fn contains_display_name() -> ConditionalPushRule {
    #[allow(deprecated)]
    let conditions = vec![PushCondition::ContainsDisplayName];
    default_override(".m.rule.contains_display_name", conditions, highlight_with_sound())
}

fn room_notification() -> ConditionalPushRule {
    let text = EventMatchConditionData::new("content.body".to_owned(), "@room".to_owned());
    let may = SenderNotificationPermissionConditionData::new(NotificationPowerLevelsKey::Room);
    let highlight = Action::SetTweak(Tweak::Highlight(HighlightTweakValue::Yes));
    let conditions = vec![text.into(), may.into()];
    default_override(".m.rule.roomnotif", conditions, vec![Action::Notify, highlight])
}

fn default_override(
    rule_id: &str,
    conditions: Vec<PushCondition>,
    actions: Vec<Action>,
) -> ConditionalPushRule {
    let rule_id = rule_id.to_owned();
    ConditionalPushRuleInit { actions, default: true, enabled: true, rule_id, conditions }.into()
}

/// What a user has set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct UserSettings {
    /// From the most to the least important.
    pub rules: Vec<UserRule>,
    /// Which rules are on, by scoped id.
    pub enabled: Vec<(String, bool)>,
}

impl UserSettings {
    /// Forgets what is about other rooms.
    pub fn retain_room(&mut self, room_id: &RoomId) {
        let concerns = |scoped_rule_id: &str| {
            scoped_rule_id.strip_prefix("global/room/").is_none_or(|of| of == room_id)
        };
        self.rules.retain(|rule| concerns(&rule.scoped_rule_id));
        self.enabled.retain(|(scoped_rule_id, _)| concerns(scoped_rule_id));
        self.enabled.sort();
    }
}

/// A rule as a user has set it: a new one, or other actions for a default one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserRule {
    /// With its scope and kind, as Synapse stores it: `global/override/name`.
    pub scoped_rule_id: String,
    /// A JSON list.
    pub conditions: String,
    /// A JSON list.
    pub actions: String,
}

impl UserRule {
    /// Whether it looks for the reader's display name.
    pub fn asks_for_names(&self) -> bool {
        self.conditions.contains("contains_display_name")
    }
}

/// A rule's id with its scope and kind.
pub fn scoped_rule_id(kind: &RuleKind, rule_id: &str) -> String {
    format!("global/{kind}/{rule_id}")
}

/// The number under which Synapse stores a kind: the higher, the more important.
pub fn priority_class(kind: &RuleKind) -> Option<i64> {
    Some(match kind {
        RuleKind::Override => 5,
        RuleKind::Content => 4,
        RuleKind::Room => 3,
        RuleKind::Sender => 2,
        RuleKind::Underride => 1,
        _ => return None,
    })
}

/// Whether the specification knows the action, or knew it once.
pub fn is_known_action(action: &Action) -> bool {
    match action {
        Action::Notify | Action::SetTweak(_) => true,
        other => serde_json::to_value(other).is_ok_and(|other| {
            other == "dont_notify" || other == "coalesce" || other.get("set_tweak").is_some()
        }),
    }
}

/// The specification's rules with what a user has set: `rules` from the most to the least
/// important, `enabled` by scoped id. What cannot be understood is left out, as for evaluation.
pub fn rules_of(
    user_id: &UserId,
    rules: &[UserRule],
    enabled: impl IntoIterator<Item = (String, bool)>,
) -> Ruleset {
    let mut ruleset = default_rules(user_id);
    // Each new rule becomes the most important one of its kind.
    for rule in rules.iter().rev() {
        add_rule(&mut ruleset, rule);
    }
    for (scoped_rule_id, enabled) in enabled {
        if let Some((kind, rule_id)) = split(&scoped_rule_id) {
            // A rule that is not there any more is neither on nor off.
            let _ = ruleset.set_enabled(kind, rule_id, enabled);
        }
    }
    ruleset
}

pub(crate) fn split(scoped_rule_id: &str) -> Option<(RuleKind, &str)> {
    let (kind, rule_id) = scoped_rule_id.strip_prefix("global/")?.split_once('/')?;
    Some((RuleKind::from(kind), rule_id))
}

fn add_rule(ruleset: &mut Ruleset, rule: &UserRule) -> Option<()> {
    let (kind, rule_id) = split(&rule.scoped_rule_id)?;
    let actions: Vec<Action> = serde_json::from_str(&rule.actions).ok()?;
    if rule_id.starts_with('.') {
        return ruleset.set_actions(kind, rule_id, actions).ok();
    }
    let new = new_rule(kind, rule_id.to_owned(), &rule.conditions, actions)?;
    ruleset.insert(new, None, None).ok()
}

fn new_rule(
    kind: RuleKind,
    rule_id: String,
    conditions: &str,
    actions: Vec<Action>,
) -> Option<NewPushRule> {
    let conditions = || serde_json::from_str::<Vec<PushCondition>>(conditions).ok();
    Some(match kind {
        RuleKind::Override => {
            NewPushRule::Override(NewConditionalPushRule::new(rule_id, conditions()?, actions))
        }
        RuleKind::Underride => {
            NewPushRule::Underride(NewConditionalPushRule::new(rule_id, conditions()?, actions))
        }
        RuleKind::Content => {
            let Some(PushCondition::EventMatch(condition)) = conditions()?.into_iter().next()
            else {
                return None;
            };
            NewPushRule::Content(NewPatternedPushRule::new(rule_id, condition.pattern, actions))
        }
        RuleKind::Room => {
            NewPushRule::Room(NewSimplePushRule::new(OwnedRoomId::try_from(rule_id).ok()?, actions))
        }
        RuleKind::Sender => NewPushRule::Sender(NewSimplePushRule::new(
            OwnedUserId::try_from(rule_id).ok()?,
            actions,
        )),
        _ => return None,
    })
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
            ".m.rule.contains_display_name",
            ".m.rule.is_room_mention",
            ".m.rule.roomnotif",
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
        assert_eq!(ids(&rules, "content"), [".m.rule.contains_user_name"]);
        for empty in ["room", "sender"] {
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

    fn user_rule(scoped_rule_id: &str, conditions: Value, actions: Value) -> UserRule {
        UserRule {
            scoped_rule_id: scoped_rule_id.to_owned(),
            conditions: conditions.to_string(),
            actions: actions.to_string(),
        }
    }

    #[test]
    fn what_a_user_has_set_stands_above_the_defaults_of_its_kind() {
        let pattern = json!([{"kind": "event_match", "key": "content.body", "pattern": "cake*"}]);
        let rules = [
            user_rule("global/override/first", json!([]), json!(["notify"])),
            user_rule("global/override/second", json!([]), json!([])),
            user_rule("global/content/cake", pattern, json!(["notify"])),
            user_rule("global/room/!a:one.test", json!([]), json!([])),
            user_rule("global/sender/@bob:one.test", json!([]), json!([])),
            user_rule("global/underride/.m.rule.message", json!([]), json!([])),
            user_rule("global/override/broken", json!("x"), json!([])),
        ];
        let enabled = [
            ("global/override/.m.rule.master".to_owned(), true),
            ("global/override/gone".to_owned(), true),
            ("global/content/cake".to_owned(), false),
        ];
        let rules = rules_to_json(&rules_of(user_id!("@alice:one.test"), &rules, enabled));
        assert_eq!(ids(&rules, "override")[..3], [".m.rule.master", "first", "second"]);
        assert_eq!(rules["override"][0]["enabled"], true);
        assert!(!ids(&rules, "override").contains(&"broken".to_owned()));
        assert_eq!(rules["content"][0]["pattern"], "cake*");
        assert_eq!(rules["content"][0]["enabled"], false);
        assert_eq!(ids(&rules, "room"), ["!a:one.test"]);
        assert_eq!(ids(&rules, "sender"), ["@bob:one.test"]);
        let underride = rules["underride"].as_array().unwrap();
        let message = underride.iter().find(|rule| rule["rule_id"] == ".m.rule.message").unwrap();
        assert_eq!(message["actions"], json!([]));
    }
}
