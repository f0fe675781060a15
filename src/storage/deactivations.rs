//! What goes from many tables when an account ends: `users_pending_deactivation`, `erased_users`,
//! and everything that only its owner could read.

use ruma::{OwnedUserId, UserId};
use serde::Deserialize;

use super::database::Statement;
use super::pushers;

/// A user whose rooms have not all been left.
#[derive(Debug, Deserialize)]
pub struct PendingRow {
    pub user_id: OwnedUserId,
}

fn of_user(statements: &[&'static str], user_id: &UserId) -> Vec<Statement> {
    statements.iter().map(|sql| Statement::new(*sql).bind(user_id.as_str())).collect()
}

/// Marks the account as deactivated and its rooms as to be left, and removes addresses, pushers,
/// account data and key backups. Devices and tokens are removed by their own files.
pub fn deactivate(user_id: &UserId) -> Vec<Statement> {
    let bind = |statement: Statement| statement.bind(user_id.as_str());
    let mut statements = pushers::delete_where("user_name = ?1", bind).to_vec();
    statements.extend(of_user(
        &[
            "UPDATE users SET deactivated = 1, password_hash = NULL WHERE name = ?1",
            "INSERT INTO users_pending_deactivation (user_id) VALUES (?1)",
            "DELETE FROM user_threepids WHERE user_id = ?1",
            "DELETE FROM user_threepid_id_server WHERE user_id = ?1",
            "DELETE FROM account_validity WHERE user_id = ?1",
            "DELETE FROM account_data WHERE user_id = ?1",
            "DELETE FROM room_account_data WHERE user_id = ?1",
            "DELETE FROM ignored_users WHERE ignorer_user_id = ?1",
            "DELETE FROM push_rules WHERE user_name = ?1",
            "DELETE FROM push_rules_enable WHERE user_name = ?1",
            "DELETE FROM push_rules_stream WHERE user_id = ?1",
            "DELETE FROM thread_subscriptions WHERE user_id = ?1",
            "DELETE FROM delayed_events
             WHERE user_localpart = substr(?1, 2, instr(?1, ':') - 2)",
            "DELETE FROM e2e_room_keys WHERE user_id = ?1",
            "DELETE FROM myelin_room_key_counts WHERE user_id = ?1",
            "DELETE FROM e2e_room_keys_versions WHERE user_id = ?1",
        ],
        user_id,
    ));
    statements
}

/// Removes the profile, and hides the user's messages from who joins later.
pub fn erase(user_id: &UserId) -> Vec<Statement> {
    of_user(
        &[
            "DELETE FROM profiles WHERE full_user_id = ?1",
            "INSERT OR IGNORE INTO erased_users (user_id) VALUES (?1)",
        ],
        user_id,
    )
}

/// Reads some [`PendingRow`]s.
pub fn select_pending(users_max: u32) -> Statement {
    Statement::new("SELECT DISTINCT user_id FROM users_pending_deactivation LIMIT ?1 + 0")
        .bind(users_max)
}

/// The rooms have been left: they are forgotten, and nothing is pending.
pub fn finish(user_id: &UserId) -> [Statement; 2] {
    [
        Statement::new("UPDATE room_memberships SET forgotten = 1 WHERE user_id = ?1")
            .bind(user_id.as_str()),
        Statement::new("DELETE FROM users_pending_deactivation WHERE user_id = ?1")
            .bind(user_id.as_str()),
    ]
}
