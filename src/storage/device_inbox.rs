//! `device_inbox`: messages that wait for devices; `myelin_to_device_txns`: which requests have
//! been done.
//!
//! Invariant: the messages of one device are in the order of their positions, and each stays until
//! the device has said, by the position of its next sync, that it has it.

use myelin_protocol::to_device::Message;
use ruma::{DeviceId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::database::{Statement, json_lists};
use super::stream_positions::{StreamName, advance, current};

/// Messages of one answer.
pub const MESSAGES_MAX: usize = 100;

/// Messages that a sync reads: those of the answer before, those of this one, and one more.
const READ_MAX: usize = 2 * MESSAGES_MAX + 1;

/// Messages that one statement removes.
pub const REMOVED_MAX: u32 = 1000;

/// How the table names a transaction: a request is known by its whole path, and no two paths have
/// the same name.
fn transaction_name(event_type: &str, txn_id: &str) -> String {
    json!([event_type, txn_id]).to_string()
}

/// Reads one row if the transaction of the token's device has been done.
pub fn select_transaction(token: &str, event_type: &str, txn_id: &str) -> Statement {
    Statement::new(
        "SELECT 1 AS done FROM access_tokens t CROSS JOIN myelin_to_device_txns d
             ON d.user_id = t.user_id AND d.device_id = coalesce(t.device_id, '') AND d.txn_id = ?2
         WHERE t.token = ?1",
    )
    .bind(token)
    .bind(transaction_name(event_type, txn_id))
}

/// Notes that a transaction is done. Fails if it has been done before.
pub fn insert_transaction(
    user_id: &UserId,
    device_id: Option<&DeviceId>,
    event_type: &str,
    txn_id: &str,
    now_ms: u64,
) -> Statement {
    Statement::new(
        "INSERT INTO myelin_to_device_txns (user_id, device_id, txn_id, inserted_ts)
         VALUES (?1, ?2, ?3, ?4)",
    )
    .bind(user_id.as_str())
    .bind(device_id.map_or("", DeviceId::as_str))
    .bind(transaction_name(event_type, txn_id))
    .bind(now_ms)
}

/// Forgets the transactions before this time. Walks through the table.
pub fn delete_transactions_before(ts_ms: u64) -> Statement {
    Statement::new("DELETE FROM myelin_to_device_txns WHERE inserted_ts < ?1").bind(ts_ms)
}

/// Somebody for whom messages have been written.
#[derive(Debug, Deserialize)]
pub struct RecipientRow {
    pub user_id: OwnedUserId,
}

#[derive(Serialize)]
struct ToDevice<'a>(&'a str, &'a str, &'a str);

#[derive(Serialize)]
struct ToUser<'a>(&'a str, &'a str);

/// Writes messages at one new position, for the devices that exist. Every statement but the first
/// returns [`RecipientRow`]s.
pub fn insert(messages: &[Message]) -> Vec<Statement> {
    let to_device = |m: &Message| m.device_id.is_some();
    let (one, all): (Vec<&Message>, Vec<&Message>) = messages.iter().partition(|m| to_device(m));
    let one: Vec<_> = one
        .iter()
        .map(|m| ToDevice(&m.user_id, &m.json, m.device_id.as_deref().unwrap_or_default()))
        .collect();
    let all: Vec<_> = all.iter().map(|m| ToUser(&m.user_id, &m.json)).collect();
    let mut statements = vec![advance(StreamName::ToDevice)];
    statements.extend(insert_where("AND d.device_id = m.value ->> 2", json_lists(&one)));
    statements.extend(insert_where("", json_lists(&all)));
    statements
}

fn insert_where(condition: &str, lists: Vec<String>) -> impl Iterator<Item = Statement> {
    let sql = format!(
        "INSERT INTO device_inbox (user_id, device_id, stream_id, message_json, instance_name)
         SELECT d.user_id, d.device_id, {}, m.value ->> 1, 'master'
         FROM json_each(?1) m CROSS JOIN devices d ON d.user_id = m.value ->> 0 {condition}
         WHERE d.hidden = 0 RETURNING user_id",
        current(StreamName::ToDevice)
    );
    lists.into_iter().map(move |list| Statement::new(sql.clone()).bind(list))
}

/// A message; or, without one, a sign that there are messages which the device has.
#[derive(Debug, Deserialize)]
pub struct MessageRow {
    pub stream_id: i64,
    /// How far the stream goes.
    pub now: i64,
    /// JSON: an event with `content`, `sender` and `type`.
    pub message_json: Option<String>,
}

/// Reads the first [`MessageRow`]s of a device, in their order, for an [`Inbox`] since a position.
/// Those which the device has are removed after each sync, so they are fewer than are read.
pub fn select(user_id: &UserId, device_id: &DeviceId, since: i64) -> Statement {
    let now = current(StreamName::ToDevice);
    Statement::new(format!(
        "SELECT stream_id, {now} AS now,
             CASE WHEN stream_id > ?3 OR ?3 > {now} THEN message_json END AS message_json
         FROM device_inbox WHERE user_id = ?1 AND device_id = ?2 ORDER BY stream_id LIMIT ?4 + 0"
    ))
    .bind(user_id.as_str())
    .bind(device_id.as_str())
    .bind(since)
    .bind(READ_MAX)
    .small::<MessageRow>()
}

/// Reads the first [`MessageRow`]s of a device after `since`, one more than are wanted.
pub fn select_after(
    user_id: &UserId,
    device_id: &DeviceId,
    since: i64,
    messages_max: usize,
) -> Statement {
    Statement::new(format!(
        "SELECT stream_id, {} AS now, message_json FROM device_inbox
         WHERE user_id = ?1 AND device_id = ?2 AND stream_id > ?3
         ORDER BY stream_id LIMIT ?4 + 1",
        current(StreamName::ToDevice)
    ))
    .bind(user_id.as_str())
    .bind(device_id.as_str())
    .bind(since)
    .bind(messages_max)
}

/// Removes messages of a device up to this position, the first [`REMOVED_MAX`].
pub fn delete_upto(user_id: &UserId, device_id: &DeviceId, upto: i64) -> Statement {
    Statement::new(
        "DELETE FROM device_inbox WHERE rowid IN
             (SELECT rowid FROM device_inbox
              WHERE user_id = ?1 AND device_id = ?2 AND stream_id <= ?3
              ORDER BY stream_id LIMIT ?4 + 0)",
    )
    .bind(user_id.as_str())
    .bind(device_id.as_str())
    .bind(upto)
    .bind(REMOVED_MAX)
}

/// The messages of one answer.
#[derive(Debug, Default)]
pub struct Inbox {
    pub events: Vec<Box<RawValue>>,
    /// Of the last of them.
    pub last: Option<i64>,
    /// There are more.
    pub is_limited: bool,
    /// There are messages that the device has acknowledged.
    pub has_acknowledged: bool,
}

impl Inbox {
    /// Takes the rows of a [`select`] or a [`select_after`], so many messages of them.
    pub fn of(rows: Vec<MessageRow>, messages_max: usize) -> Self {
        let mut inbox = Self::default();
        let mut count = 0;
        for row in rows {
            let Some(json) = row.message_json else {
                inbox.has_acknowledged = true;
                continue;
            };
            if count == messages_max {
                inbox.is_limited = true;
                break;
            }
            count += 1;
            inbox.last = Some(row.stream_id);
            // What is no JSON cannot be sent to anybody.
            inbox.events.extend(RawValue::from_string(json).ok());
        }
        inbox
    }
}
