//! `thread_subscriptions`: the threads that users follow, and when they changed their minds.

use myelin_protocol::thread_subscriptions::{Place, Subscription, SubscriptionChange};
use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId, UserId};
use serde::Deserialize;

use super::database::{Statement, boolean};
use super::events::reader;
use super::stream_positions::{self, StreamName, current};

const STREAM: StreamName = StreamName::ThreadSubscriptions;

/// What a user has decided about a thread.
#[derive(Debug, Deserialize)]
pub struct SubscriptionRow {
    #[serde(deserialize_with = "boolean")]
    subscribed: bool,
    #[serde(deserialize_with = "boolean")]
    automatic: bool,
    unsubscribed_at_stream_ordering: Option<i64>,
    unsubscribed_at_topological_ordering: Option<i64>,
}

impl From<SubscriptionRow> for Subscription {
    fn from(row: SubscriptionRow) -> Self {
        if row.subscribed {
            return Self::Subscribed { automatic: row.automatic };
        }
        let at = Place {
            stream_ordering: row.unsubscribed_at_stream_ordering.unwrap_or_default(),
            topological_ordering: row.unsubscribed_at_topological_ordering.unwrap_or_default(),
        };
        Self::Unsubscribed { at }
    }
}

/// Reads the [`SubscriptionRow`] of a thread.
pub fn select(user_or_token: &str, room_id: &RoomId, thread_id: &EventId) -> Statement {
    let reader = reader("?1");
    Statement::new(format!(
        "SELECT subscribed, automatic, unsubscribed_at_stream_ordering,
                unsubscribed_at_topological_ordering
         FROM thread_subscriptions
         WHERE user_id = {reader} AND room_id = ?2 AND event_id = ?3"
    ))
    .bind(user_or_token)
    .bind(room_id.as_str())
    .bind(thread_id.as_str())
}

/// Subscribes a user to a thread.
pub fn subscribe(
    user_id: &UserId,
    room_id: &RoomId,
    thread_id: &EventId,
    automatic: bool,
) -> [Statement; 2] {
    let insert = Statement::new(format!(
        "INSERT INTO thread_subscriptions (stream_id, instance_name, room_id, event_id, user_id,
                                           subscribed, automatic)
         VALUES ({position}, 'master', ?1, ?2, ?3, 1, ?4)
         ON CONFLICT (room_id, event_id, user_id) DO UPDATE SET
             stream_id = excluded.stream_id, subscribed = 1, automatic = excluded.automatic,
             unsubscribed_at_stream_ordering = NULL, unsubscribed_at_topological_ordering = NULL",
        position = current(STREAM),
    ));
    let insert = insert.bind(room_id.as_str()).bind(thread_id.as_str()).bind(user_id.as_str());
    [stream_positions::advance(STREAM), insert.bind(automatic)]
}

/// Unsubscribes a user from a thread, and notes where the room ends.
pub fn unsubscribe(user_id: &UserId, room_id: &RoomId, thread_id: &EventId) -> [Statement; 2] {
    let update = Statement::new(format!(
        "UPDATE thread_subscriptions SET stream_id = {position}, subscribed = 0,
             unsubscribed_at_stream_ordering =
                 (SELECT max(stream_ordering) FROM events
                  WHERE room_id = ?1 AND stream_ordering <= 9007199254740991),
             unsubscribed_at_topological_ordering =
                 (SELECT max(topological_ordering) FROM events WHERE room_id = ?1)
         WHERE room_id = ?1 AND event_id = ?2 AND user_id = ?3 AND subscribed",
        position = current(STREAM),
    ));
    let update = update.bind(room_id.as_str()).bind(thread_id.as_str()).bind(user_id.as_str());
    [stream_positions::advance(STREAM), update]
}

/// A change of what a user follows.
#[derive(Debug, Deserialize)]
pub struct ChangeRow {
    stream_id: i64,
    room_id: OwnedRoomId,
    event_id: OwnedEventId,
    #[serde(deserialize_with = "boolean")]
    subscribed: bool,
    #[serde(deserialize_with = "boolean")]
    automatic: bool,
}

impl From<ChangeRow> for SubscriptionChange {
    fn from(row: ChangeRow) -> Self {
        Self {
            stream_id: row.stream_id,
            room_id: row.room_id,
            thread_id: row.event_id,
            automatic: row.subscribed.then_some(row.automatic),
        }
    }
}

/// Reads the [`ChangeRow`]s of a user after `after`, up to and with `upto`: the latest `limit`,
/// oldest first.
pub fn updated_since(user_or_token: &str, after: i64, upto: i64, limit: u32) -> Statement {
    let reader = reader("?1");
    Statement::new(format!(
        "SELECT * FROM (
            SELECT stream_id, room_id, event_id, subscribed, automatic FROM thread_subscriptions
            WHERE user_id = {reader} AND stream_id > ?2 AND stream_id <= ?3
            ORDER BY stream_id DESC LIMIT ?4 + 0)
         ORDER BY stream_id"
    ))
    .bind(user_or_token)
    .bind(after)
    .bind(upto)
    .bind(limit)
}
