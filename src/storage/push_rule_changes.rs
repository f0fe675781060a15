//! Writes of `push_rules` and `push_rules_enable`. Each takes a position of the push rules
//! stream, and notes in `push_rules_stream` what it did, as Synapse's workers would read it.

use myelin_protocol::push_rules::UserRule;
use ruma::UserId;

use super::counters::next_id;
use super::database::Statement;
use super::stream_positions::{StreamName, advance, current};

/// A default rule whose actions a user has set has a row of this class, as Synapse writes it.
const DEFAULT_RULE_CLASS: i64 = -1;

/// Sets a rule of a user's own; `order` are the scoped ids of all that the user then has of its
/// kind, the most important first.
pub fn set(
    user_id: &UserId,
    rule: &UserRule,
    priority_class: i64,
    order: &[String],
) -> Vec<Statement> {
    let rule_id = &rule.scoped_rule_id;
    let prioritise = Statement::new(
        "UPDATE push_rules SET priority = (SELECT json_array_length(?2) - 1 - o.key
                                           FROM json_each(?2) o WHERE o.value = rule_id)
         WHERE user_name = ?1 AND rule_id IN (SELECT value FROM json_each(?2))",
    )
    .bind(user_id.as_str())
    .bind_json(&order);
    let mut batch = vec![advance(StreamName::PushRules)];
    batch.extend(upsert(user_id, rule, priority_class));
    batch.push(prioritise);
    // Synapse takes a rule without such a row for one that is not there.
    batch.extend(upsert_enabled(user_id, rule_id, true, "DO NOTHING"));
    batch.push(note(user_id, rule_id, "ADD", "priority_class, priority, conditions, actions"));
    batch
}

/// Sets the actions of a rule that is there.
pub fn set_actions(user_id: &UserId, rule: &UserRule, is_default: bool) -> Vec<Statement> {
    let mut batch = vec![advance(StreamName::PushRules)];
    if is_default {
        batch.extend(upsert(user_id, rule, DEFAULT_RULE_CLASS));
    } else {
        let update = Statement::new(
            "UPDATE push_rules SET actions = ?3 WHERE user_name = ?1 AND rule_id = ?2",
        );
        let update = update.bind(user_id.as_str()).bind(&rule.scoped_rule_id);
        batch.push(update.bind(&rule.actions));
    }
    batch.push(note(user_id, &rule.scoped_rule_id, "ACTIONS", "NULL, NULL, NULL, actions"));
    batch
}

/// Switches a rule on or off that is there.
pub fn set_enabled(user_id: &UserId, scoped_rule_id: &str, enabled: bool) -> Vec<Statement> {
    let mut batch = vec![advance(StreamName::PushRules)];
    let conflict = "DO UPDATE SET enabled = excluded.enabled";
    batch.extend(upsert_enabled(user_id, scoped_rule_id, enabled, conflict));
    batch.push(note_without_rule(
        user_id,
        scoped_rule_id,
        if enabled { "ENABLE" } else { "DISABLE" },
    ));
    batch
}

/// Removes a rule of a user's own.
pub fn remove(user_id: &UserId, scoped_rule_id: &str) -> Vec<Statement> {
    let delete =
        |sql: &'static str| Statement::new(sql).bind(user_id.as_str()).bind(scoped_rule_id);
    vec![
        advance(StreamName::PushRules),
        delete("DELETE FROM push_rules WHERE user_name = ?1 AND rule_id = ?2"),
        delete("DELETE FROM push_rules_enable WHERE user_name = ?1 AND rule_id = ?2"),
        note_without_rule(user_id, scoped_rule_id, "DELETE"),
    ]
}

fn upsert(user_id: &UserId, rule: &UserRule, priority_class: i64) -> [Statement; 2] {
    let upsert = Statement::new(
        "INSERT INTO push_rules
             (id, user_name, rule_id, priority_class, priority, conditions, actions)
         VALUES ((SELECT value FROM myelin_counters WHERE name = 'push_rules_id'),
             ?1, ?2, ?3, 1, ?4, ?5)
         ON CONFLICT (user_name, rule_id) DO UPDATE
         SET priority_class = excluded.priority_class, conditions = excluded.conditions,
             actions = excluded.actions",
    )
    .bind(user_id.as_str())
    .bind(&rule.scoped_rule_id)
    .bind(priority_class)
    .bind(&rule.conditions)
    .bind(&rule.actions);
    [next_id("push_rules_id"), upsert]
}

fn upsert_enabled(
    user_id: &UserId,
    scoped_rule_id: &str,
    enabled: bool,
    on_conflict: &str,
) -> [Statement; 2] {
    let upsert = Statement::new(format!(
        "INSERT INTO push_rules_enable (id, user_name, rule_id, enabled)
         VALUES ((SELECT value FROM myelin_counters WHERE name = 'push_rules_enable_id'),
             ?1, ?2, ?3)
         ON CONFLICT (user_name, rule_id) {on_conflict}"
    ));
    let upsert = upsert.bind(user_id.as_str()).bind(scoped_rule_id).bind(enabled);
    [next_id("push_rules_enable_id"), upsert]
}

/// Notes a change with columns of the rule as it now is.
fn note(user_id: &UserId, scoped_rule_id: &str, op: &str, columns: &str) -> Statement {
    let (position, event) = (current(StreamName::PushRules), current(StreamName::Events));
    Statement::new(format!(
        "INSERT INTO push_rules_stream (stream_id, event_stream_ordering, user_id, rule_id, op,
             priority_class, priority, conditions, actions, instance_name)
         SELECT {position}, {event}, ?1, ?2, ?3, {columns}, 'master'
         FROM push_rules WHERE user_name = ?1 AND rule_id = ?2"
    ))
    .bind(user_id.as_str())
    .bind(scoped_rule_id)
    .bind(op)
}

fn note_without_rule(user_id: &UserId, scoped_rule_id: &str, op: &str) -> Statement {
    let (position, event) = (current(StreamName::PushRules), current(StreamName::Events));
    Statement::new(format!(
        "INSERT INTO push_rules_stream
             (stream_id, event_stream_ordering, user_id, rule_id, op, instance_name)
         VALUES ({position}, {event}, ?1, ?2, ?3, 'master')"
    ))
    .bind(user_id.as_str())
    .bind(scoped_rule_id)
    .bind(op)
}
