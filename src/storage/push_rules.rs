//! `push_rules`, `push_rules_enable`, `push_rules_stream`: what users have set about being
//! notified, beside the specification's rules.
//!
//! For `/sync`: [`select`] reads what belongs to a user, [`StoredRules::read`] takes its two
//! results, [`StoredRules::content`] is the content of `m.push_rules`; [`select_changed`] says
//! whether it changed in `(from, to]` of the push rules stream.

use std::collections::HashMap;

use myelin_protocol::push_rules::{UserRule, UserSettings};
use ruma::{OwnedUserId, RoomId, UserId};
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

#[derive(Deserialize)]
struct UserRow {
    user_id: OwnedUserId,
}

#[derive(Deserialize)]
struct RuleOfUserRow {
    user_id: OwnedUserId,
    #[serde(flatten)]
    rule: RuleRow,
}

#[derive(Deserialize)]
struct EnabledOfUserRow {
    user_id: OwnedUserId,
    #[serde(flatten)]
    enabled: EnabledRow,
}

/// There is one row if rules have changed.
#[derive(Debug, Deserialize)]
pub struct ChangedRow {
    pub stream_id: i64,
}

/// What one user has set.
#[derive(Debug, Default)]
pub struct StoredRules {
    pub settings: UserSettings,
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

/// How far the stream of push rules goes, and whether the user's are among what is new.
#[derive(Deserialize)]
pub struct NewsRow {
    pub position: i64,
    #[serde(deserialize_with = "boolean")]
    pub has_changed: bool,
}

/// Reads the [`NewsRow`] since a position: one row while the stream has not moved.
pub fn select_news(user_id: &UserId, since: i64) -> Statement {
    Statement::new(
        "SELECT p.stream_id AS position, CASE WHEN p.stream_id > ?2 THEN EXISTS
             (SELECT 1 FROM push_rules_stream WHERE user_id = ?1 AND stream_id > ?2) END
             AS has_changed
         FROM stream_positions p
         WHERE p.stream_name = 'push_rules_stream' AND p.instance_name = 'master'",
    )
    .bind(user_id.as_str())
    .bind(since)
    .small::<NewsRow>()
}

/// Three statements for [`read_settings`]: what the joined members of a room have set.
pub fn select_of_members(room_id: &RoomId) -> [Statement; 3] {
    select_of(
        "SELECT user_id FROM local_current_membership WHERE room_id = ?1 AND membership = 'join'",
        |statement| statement.bind(room_id.as_str()),
    )
}

/// As [`select_of_members`], of those whose rules have changed after a position.
pub fn select_of_changed_members(room_id: &RoomId, after: i64) -> [Statement; 3] {
    select_of(&changed_members("?1", "?2"), |statement| {
        statement.bind(room_id.as_str()).bind(after)
    })
}

/// The SQL of the joined members of a room who have changed their rules after a position.
pub(super) fn changed_members(room_id: &str, after: &str) -> String {
    format!(
        "SELECT DISTINCT s.user_id FROM push_rules_stream s INDEXED BY push_rules_stream_id
         CROSS JOIN local_current_membership m ON m.user_id = s.user_id AND m.room_id = {room_id}
         WHERE s.stream_id > {after} AND m.membership = 'join'"
    )
}

/// As [`select_of_members`], of these users.
pub fn select_of_users(user_ids: &[&UserId]) -> [Statement; 3] {
    select_of("SELECT value AS user_id FROM json_each(?1)", |statement| {
        statement.bind_json(&user_ids)
    })
}

fn select_of(users: &str, bind: impl Fn(Statement) -> Statement) -> [Statement; 3] {
    [
        users.to_owned(),
        format!(
            "SELECT u.user_id, r.rule_id, r.conditions, r.actions
             FROM ({users}) u CROSS JOIN push_rules r ON r.user_name = u.user_id
             ORDER BY r.priority_class DESC, r.priority DESC"
        ),
        format!(
            "SELECT u.user_id, e.rule_id, e.enabled
             FROM ({users}) u CROSS JOIN push_rules_enable e ON e.user_name = u.user_id"
        ),
    ]
    .map(|sql| bind(Statement::new(sql)))
}

/// Takes the three results of [`select_of_members`] and its like; everyone is in the map, also
/// those who have set nothing.
///
/// # Errors
/// If the rows are not of those statements.
pub fn read_settings(
    results: &mut Results,
) -> Result<HashMap<OwnedUserId, UserSettings>, DatabaseError> {
    let users = results.rows::<UserRow>()?.into_iter();
    let mut settings: HashMap<OwnedUserId, UserSettings> =
        users.map(|row| (row.user_id, UserSettings::default())).collect();
    for RuleOfUserRow { user_id, rule } in results.rows()? {
        settings.entry(user_id).or_default().rules.push(UserRule {
            scoped_rule_id: rule.rule_id,
            conditions: rule.conditions,
            actions: rule.actions,
        });
    }
    for EnabledOfUserRow { user_id, enabled } in results.rows()? {
        let of_user = settings.entry(user_id).or_default();
        of_user.enabled.push((enabled.rule_id, enabled.enabled));
    }
    Ok(settings)
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
        let enabled = enabled.map(|row| (row.rule_id, row.enabled)).collect();
        Ok(Self { settings: UserSettings { rules, enabled } })
    }

    /// The content of the user's `m.push_rules`, as JSON.
    pub fn content(&self, user_id: &UserId) -> serde_json::Value {
        serde_json::json!({ "global": self.settings.to_json(user_id) })
    }
}
