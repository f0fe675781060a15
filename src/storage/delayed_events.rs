//! `delayed_events`: events that are to be sent later, and our `myelin_delayed_event_txns`.
//!
//! Invariant: a row goes in the batch that commits its event, and that batch is aborted unless the
//! row is still there and due. So an event is sent once at most, and not lost when a commit fails.
//! `send_ts` is in no index: to restart a delayed event writes one row.

use ruma::{OwnedRoomId, RoomId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::database::Statement;
use super::events::reader;

/// An event that is to be sent later.
pub struct NewDelayedEvent<'a> {
    pub delay_id: &'a str,
    pub user_id: &'a UserId,
    pub device_id: Option<&'a str>,
    pub room_id: &'a RoomId,
    pub event_type: &'a str,
    pub state_key: Option<&'a str>,
    pub content: &'a RawValue,
    pub delay_ms: u64,
    pub txn_id: Option<&'a str>,
}

/// What a statement has found out; none of them reads all of it.
#[derive(Debug, Deserialize)]
pub struct FoundRow {
    pub delay_id: Option<String>,
    pub room_id: Option<OwnedRoomId>,
    /// When the next of the room's events is due.
    pub room_next_ts: Option<u64>,
    /// When the first of the user's events is due.
    pub user_next_ts: Option<u64>,
}

const OF_TRANSACTION: &str = "user_id = ?1 AND device_id = ?2 AND room_id = ?3 AND txn_id = ?4";

/// Schedules an event, unless its transaction has done so before, or the user has `count_max`.
/// The last of the statements reads a [`FoundRow`] with the id of the new event, or of the one
/// that is there already: none if there are too many. All of them may be repeated.
pub fn schedule(new: &NewDelayedEvent<'_>, count_max: u64, now_ms: u64) -> [Statement; 3] {
    let of_transaction = |statement: Statement| {
        let statement = statement.bind(new.user_id.as_str()).bind(new.device_id);
        statement.bind(new.room_id.as_str()).bind(new.txn_id).bind(new.delay_id)
    };
    let insert = Statement::new(format!(
        "INSERT INTO delayed_events (user_localpart, device_id, room_id, delay_id, event_type,
                                     state_key, content, delay, send_ts)
         SELECT ?6, ?2, ?3, ?5, ?7, ?8, ?9, ?10, ?11
         WHERE (SELECT count(*) FROM delayed_events WHERE user_localpart = ?6) < ?12
           AND NOT EXISTS (SELECT 1 FROM myelin_delayed_event_txns WHERE {OF_TRANSACTION})
         ON CONFLICT DO NOTHING"
    ));
    let localpart = new.user_id.localpart();
    let insert = of_transaction(insert).bind(localpart).bind(new.event_type).bind(new.state_key);
    let insert = insert.bind(new.content.get()).bind(new.delay_ms);
    let insert_txn = Statement::new(
        "INSERT INTO myelin_delayed_event_txns (user_id, device_id, room_id, txn_id, delay_id,
                                                inserted_ts)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6
         WHERE ?2 IS NOT NULL AND ?4 IS NOT NULL
           AND EXISTS (SELECT 1 FROM delayed_events WHERE delay_id = ?5)
         ON CONFLICT DO NOTHING",
    );
    let select = Statement::new(format!(
        "SELECT coalesce(
                    (SELECT delay_id FROM myelin_delayed_event_txns WHERE {OF_TRANSACTION}),
                    (SELECT delay_id FROM delayed_events WHERE delay_id = ?5)) AS delay_id,
                (SELECT min(send_ts) FROM delayed_events WHERE room_id = ?3) AS room_next_ts,
                (SELECT min(send_ts) FROM delayed_events
                 WHERE user_localpart = ?6) AS user_next_ts"
    ));
    [
        insert.bind(now_ms.saturating_add(new.delay_ms)).bind(count_max),
        of_transaction(insert_txn).bind(now_ms),
        of_transaction(select).bind(localpart),
    ]
}

/// Reads what a transaction of the owner of a token has scheduled: a [`FoundRow`] with its id.
pub fn select_transaction(token: &str, room_id: &RoomId, txn_id: Option<&str>) -> Statement {
    Statement::new(
        "SELECT x.delay_id FROM access_tokens t
         JOIN myelin_delayed_event_txns x ON x.user_id = t.user_id AND x.device_id = t.device_id
         WHERE t.token = ?1 AND x.room_id = ?2 AND x.txn_id = ?3",
    )
    .bind(token)
    .bind(room_id.as_str())
    .bind(txn_id)
}

/// Forgets transactions that nobody will repeat.
pub fn delete_transactions_before(inserted_ms: u64) -> Statement {
    Statement::new("DELETE FROM myelin_delayed_event_txns WHERE inserted_ts < ?1").bind(inserted_ms)
}

/// A scheduled event as its owner sees it.
#[derive(Debug, Deserialize)]
pub struct ScheduledEventRow {
    pub delay_id: String,
    pub room_id: OwnedRoomId,
    #[serde(rename = "type")]
    pub event_type: String,
    pub state_key: Option<String>,
    pub delay: u64,
    pub send_ts: u64,
    pub content: String,
}

/// Reads the [`ScheduledEventRow`]s of the owner of a token, or one of them; the first to be sent
/// comes first.
pub fn select_of_token(user_or_token: &str, delay_id: Option<&str>) -> Statement {
    let reader = reader("?1");
    Statement::new(format!(
        "SELECT d.delay_id, d.room_id, d.event_type AS type, d.state_key, d.delay, d.send_ts,
                d.content
         FROM users u
         JOIN delayed_events d ON d.user_localpart = substr(u.name, 2, instr(u.name, ':') - 2)
         WHERE u.name = {reader} AND d.delay_id = coalesce(?2, d.delay_id) ORDER BY d.send_ts"
    ))
    .bind(user_or_token)
    .bind(delay_id)
}

/// Whoever knows the id may manage the event; a token that is sent along has to be in force. An
/// application service's stands for a user.
const MAY_MANAGE: &str = "(?3 IS NULL
     OR EXISTS (SELECT 1 FROM users WHERE name = ?3)
     OR EXISTS (SELECT 1 FROM access_tokens t CROSS JOIN users u ON u.name = t.user_id
                WHERE t.token = ?3 AND coalesce(t.valid_until_ms, ?2) >= ?2
                    AND NOT coalesce(u.locked, 0)))";

fn manage(sql: String, delay_id: &str, token: Option<&str>, now_ms: u64) -> Statement {
    Statement::new(sql).bind(delay_id).bind(now_ms).bind(token)
}

/// Lets the delay begin anew; returns a [`FoundRow`] with its room if there is such an event.
pub fn restart(delay_id: &str, token: Option<&str>, now_ms: u64) -> Statement {
    let sql = format!(
        "UPDATE delayed_events SET send_ts = ?2 + delay WHERE delay_id = ?1 AND {MAY_MANAGE}
         RETURNING room_id"
    );
    manage(sql, delay_id, token, now_ms)
}

/// Cancels; returns a [`FoundRow`] with its room if there is such an event.
pub fn cancel(delay_id: &str, token: Option<&str>, now_ms: u64) -> Statement {
    let sql = format!(
        "DELETE FROM delayed_events WHERE delay_id = ?1 AND {MAY_MANAGE} RETURNING room_id"
    );
    manage(sql, delay_id, token, now_ms)
}

/// Reads the [`FoundRow`] of an event, with its room.
pub fn select_room(delay_id: &str, token: Option<&str>, now_ms: u64) -> Statement {
    let sql = format!("SELECT room_id FROM delayed_events WHERE delay_id = ?1 AND {MAY_MANAGE}");
    manage(sql, delay_id, token, now_ms)
}

/// An event that is to be sent now.
#[derive(Debug, Deserialize)]
pub struct DueRow {
    pub delay_id: String,
    pub user_localpart: String,
    pub send_ts: u64,
    #[serde(rename = "type")]
    pub event_type: String,
    pub state_key: Option<String>,
    pub origin_server_ts: Option<u64>,
    pub content: String,
    #[serde(deserialize_with = "super::database::boolean")]
    pub is_guest: bool,
    /// Locked or deactivated.
    #[serde(deserialize_with = "super::database::boolean")]
    pub is_locked: bool,
    #[serde(deserialize_with = "super::database::boolean")]
    pub is_suspended: bool,
    /// The profile of whose membership it is, if it is one.
    pub displayname: Option<String>,
    pub avatar_url: Option<String>,
}

/// Which events of a room are to be sent.
#[derive(Clone, Copy, Debug)]
pub enum Chosen<'a> {
    /// Those that are due at this time: the first fifty, of each sender the first ten, for those
    /// of somebody else may have to wait.
    Due(u64),
    /// This one.
    Only(&'a str),
}

/// Reads [`DueRow`]s of a room.
pub fn select_due(room_id: &RoomId, server_name: &str, chosen: Chosen<'_>) -> Statement {
    let condition = match chosen {
        Chosen::Due(_) => "d.room_id = ?1 AND d.send_ts <= ?3",
        Chosen::Only(_) => "d.delay_id = ?3 AND +d.room_id = ?1",
    };
    let statement = Statement::new(format!(
        "WITH due AS (SELECT d.*, row_number() OVER (PARTITION BY d.user_localpart
                          ORDER BY d.send_ts) AS place
                      FROM delayed_events d WHERE {condition})
         SELECT due.delay_id, due.user_localpart, due.send_ts, due.event_type AS type,
                due.state_key, due.origin_server_ts, due.content, u.is_guest,
                u.locked OR u.deactivated AS is_locked, u.suspended AS is_suspended,
                p.displayname, p.avatar_url
         FROM due LEFT JOIN users u ON u.name = '@' || due.user_localpart || ':' || ?2
         LEFT JOIN profiles p
             ON due.event_type = 'm.room.member' AND p.full_user_id = due.state_key
         WHERE due.place <= 10 ORDER BY due.send_ts LIMIT 50"
    ));
    let statement = statement.bind(room_id.as_str()).bind(server_name);
    match chosen {
        Chosen::Due(now_ms) => statement.bind(now_ms),
        Chosen::Only(delay_id) => statement.bind(delay_id),
    }
}

/// Reads when the next event of a room is due after this time: a [`FoundRow`].
pub fn select_next(room_id: &RoomId, now_ms: u64) -> Statement {
    Statement::new(
        "SELECT min(send_ts) AS room_next_ts FROM delayed_events
         WHERE room_id = ?1 AND send_ts > ?2",
    )
    .bind(room_id.as_str())
    .bind(now_ms)
}

/// Reads the [`FoundRow`]s of rooms that have forgotten to send what has been due before this time.
pub fn select_overdue(before_ms: u64, rooms_max: u32) -> Statement {
    Statement::new("SELECT DISTINCT room_id FROM delayed_events WHERE send_ts < ?1 LIMIT ?2 + 0")
        .bind(before_ms)
        .bind(rooms_max)
}

/// A delayed event whose time has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delayed {
    pub delay_id: String,
    /// It is sent only if it is due at this time; `None`: in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
}

/// Of those in `json_each(?1)` that nobody has cancelled or restarted.
const STANDING: &str = "FROM json_each(?1) e JOIN delayed_events d \
     ON d.delay_id = e.value ->> 'delay_id' \
        AND d.send_ts <= coalesce(e.value ->> 'due_ms', d.send_ts)";

/// Reads which of these nobody has cancelled or restarted: [`FoundRow`]s.
pub fn select_standing(delayed: &[&Delayed]) -> Statement {
    Statement::new(format!("SELECT d.delay_id {STANDING}")).bind_json(&delayed)
}

/// Aborts the batch that sends these unless they all stand, and takes them out.
pub fn take(delayed: &[&Delayed]) -> [Statement; 2] {
    let fence = format!(
        "SELECT CASE WHEN (SELECT count(*) {STANDING}) <> json_array_length(?1)
                THEN json('x') END AS fenced"
    );
    [Statement::new(fence).bind_json(&delayed), settle(delayed)]
}

/// Takes out those that nobody has restarted: they have been sent, or never can be.
pub fn settle(delayed: &[&Delayed]) -> Statement {
    let sql =
        format!("DELETE FROM delayed_events WHERE delay_id IN (SELECT d.delay_id {STANDING})");
    Statement::new(sql).bind_json(&delayed)
}

/// State that somebody has set.
#[derive(Debug, Serialize)]
pub struct SetState<'a> {
    #[serde(rename = "type")]
    pub event_type: &'a str,
    pub state_key: &'a str,
    /// Empty if it is a user of another server.
    pub localpart: &'a str,
}

/// Cancels what other users wanted to set later in the place of this state.
pub fn cancel_by_state(room_id: &RoomId, state: &[SetState<'_>]) -> Statement {
    Statement::new(
        "DELETE FROM delayed_events WHERE delay_id IN (
             SELECT d.delay_id FROM json_each(?2) e
             CROSS JOIN delayed_events d
                 ON d.room_id = ?1 AND d.event_type = e.value ->> 'type'
                    AND d.state_key = e.value ->> 'state_key'
             WHERE d.user_localpart <> e.value ->> 'localpart')",
    )
    .bind(room_id.as_str())
    .bind_json(&state)
}
