//! `users`: the accounts of this server.

use ruma::{OwnedUserId, UserId};
use serde::Deserialize;

use super::database::{Statement, boolean};
use super::profiles;

/// What a login needs to know of a user.
#[derive(Clone, Debug, Deserialize)]
pub struct UserRow {
    pub name: OwnedUserId,
    pub password_hash: Option<String>,
    #[serde(deserialize_with = "boolean")]
    pub admin: bool,
    #[serde(deserialize_with = "boolean")]
    pub is_guest: bool,
    #[serde(deserialize_with = "boolean")]
    pub deactivated: bool,
    #[serde(deserialize_with = "boolean")]
    pub locked: bool,
    #[serde(deserialize_with = "boolean")]
    pub suspended: bool,
}

/// A user who is about to exist.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub user_id: OwnedUserId,
    pub password_hash: Option<String>,
    pub display_name: Option<String>,
    pub admin: bool,
    pub is_guest: bool,
    /// Whether a guest of that name is to become this user.
    pub is_upgrade: bool,
    pub user_type: Option<String>,
    /// The version of the terms that the user has accepted.
    pub consent_version: Option<String>,
    /// The application service that makes the user.
    pub appservice_id: Option<String>,
}

impl NewUser {
    /// A user whose first display name is their localpart.
    pub fn named_after(user_id: OwnedUserId) -> Self {
        Self {
            display_name: Some(user_id.localpart().to_owned()),
            user_id,
            password_hash: None,
            admin: false,
            is_guest: false,
            is_upgrade: false,
            user_type: None,
            consent_version: None,
            appservice_id: None,
        }
    }
}

const COLUMNS: &str = "name, password_hash, admin, is_guest, deactivated, locked, suspended";

/// Reads the [`UserRow`]s that exist of these: by unique index.
pub fn select(user_ids: &[OwnedUserId]) -> Statement {
    Statement::new(format!(
        "SELECT {COLUMNS} FROM users WHERE name IN (SELECT value FROM json_each(?1))"
    ))
    .bind_json(&user_ids)
}

/// Reads the [`UserRow`] of whom a third-party address belongs to.
pub fn select_by_threepid(medium: &str, address: &str) -> Statement {
    Statement::new(format!(
        "SELECT {COLUMNS} FROM users WHERE name =
             (SELECT user_id FROM user_threepids WHERE medium = ?1 AND address = ?2)"
    ))
    .bind(medium)
    .bind(address)
}

/// Reads one row if there is an administrator.
pub fn select_an_administrator() -> Statement {
    Statement::new("SELECT name FROM users WHERE admin = 1 LIMIT 1")
}

/// Aborts the batch if there is an administrator.
pub fn fence_no_administrator() -> Statement {
    Statement::new(
        "SELECT CASE WHEN EXISTS (SELECT 1 FROM users WHERE admin = 1) THEN json('x') END",
    )
}

/// Writes the user and their profile. Fails on a constraint if the name is taken; aborts the
/// batch if it is to be a guest's and is not.
pub fn write(user: &NewUser, now_ms: u64) -> Vec<Statement> {
    if user.is_upgrade { upgrade(user, now_ms).to_vec() } else { insert(user, now_ms).to_vec() }
}

/// The guest keeps their profile and rooms.
fn upgrade(user: &NewUser, now_ms: u64) -> [Statement; 2] {
    let fence = Statement::new(
        "SELECT CASE WHEN NOT EXISTS (SELECT 1 FROM users WHERE name = ?1 AND is_guest = 1)
                     THEN json('x') END",
    );
    let update = Statement::new(
        "UPDATE users SET password_hash = ?2, upgrade_ts = ?3, is_guest = 0, user_type = ?4,
                          consent_version = ?5, consent_ts = ?6
         WHERE name = ?1",
    );
    let update = update
        .bind(user.user_id.as_str())
        .bind(user.password_hash.clone())
        .bind(now_ms / 1000)
        .bind(user.user_type.clone())
        .bind(user.consent_version.clone())
        .bind(user.consent_version.as_ref().map(|_| now_ms));
    [fence.bind(user.user_id.as_str()), update]
}

fn insert(user: &NewUser, now_ms: u64) -> [Statement; 2] {
    let consent_ts = user.consent_version.as_ref().map(|_| now_ms);
    let insert_user = Statement::new(
        "INSERT INTO users (name, password_hash, creation_ts, admin, is_guest, user_type,
                            consent_version, consent_ts, appservice_id, approved, shadow_banned)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1, 0)",
    )
    .bind(user.user_id.as_str())
    .bind(user.password_hash.clone())
    .bind(now_ms / 1000)
    .bind(user.admin)
    .bind(user.is_guest)
    .bind(user.user_type.clone())
    .bind(user.consent_version.clone())
    .bind(consent_ts)
    .bind(user.appservice_id.clone());
    let insert_profile = profiles::insert(&user.user_id, user.display_name.as_deref());
    [insert_user, insert_profile]
}

/// Takes the next number for a user without a name of their own, and reads it as `value`.
pub fn next_number() -> Statement {
    Statement::new(
        "UPDATE myelin_counters SET value = value + 1 WHERE name = 'user_id' RETURNING value",
    )
}

/// Sets the hash of a new password.
pub fn set_password_hash(user_id: &UserId, hash: &str) -> Statement {
    Statement::new("UPDATE users SET password_hash = ?2 WHERE name = ?1")
        .bind(user_id.as_str())
        .bind(hash)
}

/// Sets whether somebody is locked out.
pub fn set_locked(user_id: &UserId, locked: bool) -> Statement {
    Statement::new("UPDATE users SET locked = ?2 WHERE name = ?1")
        .bind(user_id.as_str())
        .bind(locked)
}

/// Sets whether somebody may only read.
pub fn set_suspended(user_id: &UserId, suspended: bool) -> Statement {
    Statement::new("UPDATE users SET suspended = ?2 WHERE name = ?1")
        .bind(user_id.as_str())
        .bind(suspended)
}
