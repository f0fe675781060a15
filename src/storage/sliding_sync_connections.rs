//! `myelin_sliding_sync_connections`: what each connection of a device has been told, one value
//! for a position. (Synapse's tables copy many rows at each position.)
//!
//! Invariant: of a connection there are at most the two positions of the last request that changed
//! it: the one it came with, which the client may repeat, and the one it was answered. A position
//! is never used again.

use ruma::UserId;
use serde::Deserialize;

use super::database::Statement;
use super::events::Selection;

/// Connections of a device that are kept: those that were begun or told something last.
const CONNECTIONS_MAX: u32 = 16;

/// Where a connection stands.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Empty for a token without a device.
    pub device_id: &'a str,
    pub conn_id: &'a str,
    pub position: i64,
    /// A hash of the request.
    pub request: &'a str,
}

/// What a connection has been told.
#[derive(Clone, Debug, Deserialize)]
pub struct ConnectionRow {
    pub state: String,
    /// The hash of the last request, if all rooms of its lists have been told.
    pub settled_request: Option<String>,
}

/// The position of what has been [`record`]ed.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct PositionRow {
    pub position: i64,
}

/// Reads the [`ConnectionRow`] of a position, if it is known.
pub fn select(user_id: &UserId, place: Place<'_>) -> Statement {
    let mut selection = Selection::new();
    let user_id = selection.bind(user_id.as_str());
    selection.push("SELECT c.state, c.settled_request");
    push_from(&mut selection, &user_id, place);
    selection.into_statement()
}

fn push_from(selection: &mut Selection, user_id: &str, place: Place<'_>) {
    let device_id = selection.bind(place.device_id);
    let conn_id = selection.bind(place.conn_id);
    let position = selection.bind(place.position);
    selection.push(&format!(
        " FROM myelin_sliding_sync_connections c
          WHERE c.user_id = {user_id} AND c.device_id = {device_id} AND c.conn_id = {conn_id}
            AND c.position = {position}"
    ));
}

/// Makes a user's connections look at all rooms once more.
pub(super) fn unsettle(user_id: &str) -> Statement {
    Statement::new(
        "UPDATE myelin_sliding_sync_connections SET settled_request = NULL
         WHERE user_id = ?1 AND settled_request IS NOT NULL",
    )
    .bind(user_id)
}

/// An expression: all rooms of this very request have been told at the position.
pub(super) fn push_is_settled(selection: &mut Selection, user_id: &str, place: Place<'_>) {
    selection.push("EXISTS (SELECT 1");
    push_from(selection, user_id, place);
    let request = selection.bind(place.request);
    selection.push(&format!(" AND c.settled_request = {request})"));
}

/// What is kept of a connection.
#[derive(Clone, Copy, Debug)]
pub struct NewState<'a> {
    pub device_id: &'a str,
    pub conn_id: &'a str,
    /// The position of the request; 0 if it began the connection.
    pub from: i64,
    pub state: &'a str,
    pub settled_request: Option<&'a str>,
}

/// Keeps what a connection has been told, and forgets what came before the request's position.
/// The first statement returns the [`PositionRow`]. Positions rise with the clock, so one of a
/// connection that was forgotten means nothing to one that was begun later.
pub fn record(user_id: &UserId, new: &NewState<'_>, now_ms: u64) -> Vec<Statement> {
    let bind = |sql: &'static str| {
        Statement::new(sql).bind(user_id.as_str()).bind(new.device_id).bind(new.conn_id)
    };
    let insert = bind(
        "INSERT INTO myelin_sliding_sync_connections
                (user_id, device_id, conn_id, position, settled_request, state)
         SELECT ?1, ?2, ?3, max(?4, coalesce(max(c.position), 0) + 1), ?5, ?6
         FROM myelin_sliding_sync_connections c
         WHERE c.user_id = ?1 AND c.device_id = ?2 AND c.conn_id = ?3
         RETURNING position",
    );
    let forget = bind(
        "DELETE FROM myelin_sliding_sync_connections
         WHERE user_id = ?1 AND device_id = ?2 AND conn_id = ?3 AND position <> ?4
           AND position <> (SELECT max(position) FROM myelin_sliding_sync_connections
                            WHERE user_id = ?1 AND device_id = ?2 AND conn_id = ?3)",
    );
    let mut batch =
        vec![insert.bind(now_ms).bind(new.settled_request).bind(new.state), forget.bind(new.from)];
    if new.from == 0 {
        let surplus = Statement::new(
            "DELETE FROM myelin_sliding_sync_connections
             WHERE user_id = ?1 AND device_id = ?2 AND conn_id NOT IN (
                SELECT conn_id FROM myelin_sliding_sync_connections
                WHERE user_id = ?1 AND device_id = ?2
                GROUP BY conn_id ORDER BY max(position) DESC LIMIT ?3 + 0)",
        );
        batch.push(surplus.bind(user_id.as_str()).bind(new.device_id).bind(CONNECTIONS_MAX));
    }
    batch
}

/// Forgets connections that have been told nothing new since `before_ms`, of devices that have
/// not been seen since.
pub fn forget_unused(before_ms: u64) -> Statement {
    Statement::new(
        "DELETE FROM myelin_sliding_sync_connections
         WHERE position < ?1 AND NOT EXISTS (
            SELECT 1 FROM devices d
            WHERE d.user_id = myelin_sliding_sync_connections.user_id
              AND d.device_id = myelin_sliding_sync_connections.device_id
              AND d.last_seen >= ?1)",
    )
    .bind(before_ms)
}
