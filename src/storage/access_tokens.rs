//! `access_tokens` and `refresh_tokens`, with what a request needs to know of its user.

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};

use super::counters::next_id;
use super::database::{Statement, boolean};

/// A token's row, joined with its user's.
#[derive(Clone, Debug, Deserialize)]
pub struct TokenRow {
    pub token_id: i64,
    pub user_id: OwnedUserId,
    pub device_id: Option<OwnedDeviceId>,
    pub valid_until_ms: Option<u64>,
    #[serde(deserialize_with = "boolean")]
    pub is_guest: bool,
    #[serde(deserialize_with = "boolean")]
    pub is_admin: bool,
    #[serde(deserialize_with = "boolean")]
    pub deactivated: bool,
    #[serde(deserialize_with = "boolean")]
    pub is_locked: bool,
    #[serde(deserialize_with = "boolean")]
    pub is_suspended: bool,
    /// The first request with this token ends the refresh token that it was made with.
    #[serde(deserialize_with = "boolean")]
    pub ends_refresh_token: bool,
}

/// Reads one [`TokenRow`]: 2 rows by unique index.
pub fn select(token: &str) -> Statement {
    Statement::new(
        "SELECT t.id AS token_id, t.user_id, t.device_id, t.valid_until_ms,
                u.is_guest, u.admin AS is_admin, u.deactivated, u.locked AS is_locked,
                u.suspended AS is_suspended,
                t.refresh_token_id IS NOT NULL AND NOT coalesce(t.used, 0) AS ends_refresh_token
         FROM access_tokens t JOIN users u ON u.name = t.user_id
         WHERE t.token = ?1",
    )
    .bind(token)
    .small::<TokenRow>()
}

impl TokenRow {
    /// Of somebody who has no row: the own user of an application service.
    pub fn of_unregistered(user_id: OwnedUserId) -> Self {
        Self {
            token_id: 0,
            user_id,
            device_id: None,
            valid_until_ms: None,
            is_guest: false,
            is_admin: false,
            deactivated: false,
            is_locked: false,
            is_suspended: false,
            ends_refresh_token: false,
        }
    }
}

/// Reads the [`TokenRow`] that a user would have, with the device if they have it: ids of tokens
/// begin at 1, so 0 is none.
pub fn select_without(user_id: &UserId, device_id: Option<&DeviceId>) -> Statement {
    Statement::new(
        "SELECT 0 AS token_id, u.name AS user_id, d.device_id, NULL AS valid_until_ms,
                u.is_guest, u.admin AS is_admin, u.deactivated, u.locked AS is_locked,
                u.suspended AS is_suspended,
                0 AS ends_refresh_token
         FROM users u LEFT JOIN devices d ON d.user_id = u.name AND d.device_id = ?2
         WHERE u.name = ?1",
    )
    .bind(user_id.as_str())
    .bind(device_id.map(DeviceId::as_str))
}

/// Whose a token is taken to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PresumedToken {
    pub token: String,
    pub user_id: OwnedUserId,
    pub device_id: OwnedDeviceId,
}

/// The SQL of whether all [`PresumedToken`]s of a JSON array are what they are taken to be, and
/// their users may do what users may do.
pub(super) fn hold(tokens: &str, now_ms: &str) -> String {
    format!(
        "NOT EXISTS (
             SELECT 1 FROM json_each({tokens}) p WHERE NOT EXISTS (
                 SELECT 1 FROM access_tokens t JOIN users u ON u.name = t.user_id
                 WHERE t.token = p.value ->> 'token' AND t.user_id = p.value ->> 'user_id'
                     AND t.device_id = p.value ->> 'device_id'
                     AND coalesce(t.valid_until_ms >= {now_ms}, 1)
                     AND NOT coalesce(u.deactivated, 0) AND NOT coalesce(u.locked, 0)
                     AND NOT coalesce(u.suspended, 0)))"
    )
}

/// Remembers that a token has been used.
pub fn mark_used(token_id: i64) -> Statement {
    Statement::new("UPDATE access_tokens SET used = 1 WHERE id = ?1").bind(token_id)
}

/// Remembers that the owner of a token has just proved who they are.
pub fn mark_validated(token_id: i64, now_ms: u64) -> Statement {
    Statement::new("UPDATE access_tokens SET last_validated = ?2 WHERE id = ?1")
        .bind(token_id)
        .bind(now_ms)
}

/// An access token that is about to exist.
#[derive(Clone, Debug)]
pub struct NewAccessToken<'a> {
    pub user_id: &'a UserId,
    pub device_id: &'a str,
    pub token: &'a str,
    pub valid_until_ms: Option<u64>,
    /// Whether it belongs to the refresh token that was inserted last in the same batch.
    pub is_refreshable: bool,
}

/// Writes an access token under the next id.
pub fn insert(token: &NewAccessToken<'_>, now_ms: u64) -> Vec<Statement> {
    let insert = Statement::new(
        "INSERT INTO access_tokens
             (id, user_id, device_id, token, valid_until_ms, last_validated, used,
              refresh_token_id)
         VALUES ((SELECT value FROM myelin_counters WHERE name = 'access_tokens_id'),
                 ?1, ?2, ?3, ?4, ?5, 0,
                 CASE WHEN ?6 THEN
                     (SELECT value FROM myelin_counters WHERE name = 'refresh_tokens_id') END)",
    );
    vec![
        next_id("access_tokens_id"),
        insert
            .bind(token.user_id.as_str())
            .bind(token.device_id)
            .bind(token.token)
            .bind(token.valid_until_ms)
            .bind(now_ms)
            .bind(token.is_refreshable),
    ]
}

/// A refresh token that is about to exist.
#[derive(Clone, Debug)]
pub struct NewRefreshToken<'a> {
    pub user_id: &'a UserId,
    pub device_id: &'a str,
    pub token: &'a str,
    pub expiry_ts: Option<u64>,
    pub ultimate_session_expiry_ts: Option<u64>,
}

/// Writes a refresh token under the next id.
pub fn insert_refresh(token: &NewRefreshToken<'_>) -> Vec<Statement> {
    let insert = Statement::new(
        "INSERT INTO refresh_tokens
             (id, user_id, device_id, token, expiry_ts, ultimate_session_expiry_ts)
         VALUES ((SELECT value FROM myelin_counters WHERE name = 'refresh_tokens_id'),
                 ?1, ?2, ?3, ?4, ?5)",
    );
    vec![
        next_id("refresh_tokens_id"),
        insert
            .bind(token.user_id.as_str())
            .bind(token.device_id)
            .bind(token.token)
            .bind(token.expiry_ts)
            .bind(token.ultimate_session_expiry_ts),
    ]
}

/// A refresh token's row, with what has become of the tokens that it was exchanged for.
#[derive(Debug, Deserialize)]
pub struct RefreshTokenRow {
    pub token_id: i64,
    pub next_token_id: Option<i64>,
    pub user_id: OwnedUserId,
    pub device_id: String,
    pub expiry_ts: Option<u64>,
    pub ultimate_session_expiry_ts: Option<u64>,
    #[serde(deserialize_with = "boolean")]
    pub next_token_is_used: bool,
    #[serde(deserialize_with = "boolean")]
    pub deactivated: bool,
    #[serde(deserialize_with = "boolean")]
    pub locked: bool,
}

/// Reads one [`RefreshTokenRow`].
pub fn select_refresh(token: &str) -> Statement {
    Statement::new(
        "SELECT r.id AS token_id, r.next_token_id, r.user_id, r.device_id, r.expiry_ts,
                r.ultimate_session_expiry_ts, u.deactivated, u.locked,
                n.next_token_id IS NOT NULL OR coalesce(a.used, 0) AS next_token_is_used
         FROM refresh_tokens r JOIN users u ON u.name = r.user_id
         LEFT JOIN refresh_tokens n ON n.id = r.next_token_id
         LEFT JOIN access_tokens a ON a.refresh_token_id = n.id
         WHERE r.token = ?1",
    )
    .bind(token)
}

/// Makes the refresh token that was inserted last in the same batch the successor of this one.
/// The one before it, and an earlier successor that nobody has used, go with their access tokens
/// (the keys cascade). Aborts the batch if there is another earlier successor, or it is in use.
pub fn replace_refresh(token: &RefreshTokenRow) -> Vec<Statement> {
    let (id, next_id) = (token.token_id, token.next_token_id);
    let fence = Statement::new(
        "SELECT CASE WHEN NOT EXISTS (SELECT 1 FROM refresh_tokens
                                      WHERE id = ?1 AND next_token_id IS ?2)
                       OR EXISTS (SELECT 1 FROM access_tokens
                                  WHERE refresh_token_id = ?2 AND used = 1)
                     THEN json('x') END",
    );
    let delete_previous = Statement::new("DELETE FROM refresh_tokens WHERE next_token_id = ?1");
    let update = Statement::new(
        "UPDATE refresh_tokens SET next_token_id =
             (SELECT value FROM myelin_counters WHERE name = 'refresh_tokens_id') WHERE id = ?1",
    );
    let delete_next = Statement::new("DELETE FROM refresh_tokens WHERE id = ?1");
    vec![
        fence.bind(id).bind(next_id),
        delete_previous.bind(id),
        update.bind(id),
        delete_next.bind(next_id),
    ]
}

/// Removes one access token, and the refresh token that it was made with.
pub fn delete(token_id: i64) -> Vec<Statement> {
    let statements = [
        "DELETE FROM refresh_tokens WHERE id =
             (SELECT refresh_token_id FROM access_tokens WHERE id = ?1)",
        "DELETE FROM access_tokens WHERE id = ?1",
    ];
    statements.into_iter().map(|sql| Statement::new(sql).bind(token_id)).collect()
}

/// Removes refresh tokens by the access tokens that belong to them, as there is no index by user:
/// their predecessors, and the access tokens, go with them (the keys cascade). `condition` is on
/// the access tokens; ?1 is the user.
pub(super) fn delete_refresh_tokens(user_id: &UserId, condition: &str) -> Statement {
    Statement::new(format!(
        "DELETE FROM refresh_tokens WHERE id IN
             (SELECT refresh_token_id FROM access_tokens WHERE user_id = ?1 AND {condition})"
    ))
    .bind(user_id.as_str())
}

/// Removes the tokens of one device.
pub fn delete_of_device(user_id: &UserId, device_id: &str) -> [Statement; 2] {
    let delete = Statement::new("DELETE FROM access_tokens WHERE user_id = ?1 AND device_id = ?2");
    [
        delete_refresh_tokens(user_id, "device_id = ?2").bind(device_id),
        delete.bind(user_id.as_str()).bind(device_id),
    ]
}

/// Removes all tokens of a user but this one.
pub fn delete_all_but(user_id: &UserId, kept_token_id: Option<i64>) -> [Statement; 2] {
    let delete = Statement::new("DELETE FROM access_tokens WHERE user_id = ?1 AND id IS NOT ?2");
    [
        delete_refresh_tokens(user_id, "id IS NOT ?2").bind(kept_token_id),
        delete.bind(user_id.as_str()).bind(kept_token_id),
    ]
}
