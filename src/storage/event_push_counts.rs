//! How much somebody has not read: counted from `event_push_actions` after the receipts, and from
//! `event_push_summary`, which holds the sums of actions that are there no longer.
//!
//! A room is read up to the unthreaded receipt, or, without one, up to the reader's latest
//! membership event; a thread of it (`main` is one) up to its own receipt, if that stands later.
//! A summary counts if it was made for the place up to which the thread is read.

use std::collections::{BTreeMap, HashMap};

use ruma::{OwnedRoomId, UserId};
use serde::{Deserialize, Serialize};

use super::database::Statement;

/// The thread of everything that is in no thread.
const MAIN_TIMELINE: &str = "main";

/// How many unread events notify.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub notification_count: u64,
    pub highlight_count: u64,
}

/// The counts of a room, and of each of its threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomCounts {
    pub main: Counts,
    pub threads: BTreeMap<String, Counts>,
}

/// The counts of a thread.
#[derive(Debug, Deserialize)]
pub struct CountRow {
    pub room_id: OwnedRoomId,
    pub thread_id: String,
    pub notification_count: u64,
    pub highlight_count: u64,
}

impl RoomCounts {
    /// Those of the whole room.
    pub fn total(&self) -> Counts {
        self.threads.values().fold(self.main, |sum, counts| Counts {
            notification_count: sum.notification_count + counts.notification_count,
            highlight_count: sum.highlight_count + counts.highlight_count,
        })
    }
}

/// Sorts the rows of [`select`] by room. Rooms in which everything is read have none.
pub fn by_room(rows: Vec<CountRow>) -> HashMap<OwnedRoomId, RoomCounts> {
    let mut rooms: HashMap<OwnedRoomId, RoomCounts> = HashMap::new();
    for row in rows {
        let CountRow { room_id, thread_id, notification_count, highlight_count } = row;
        let counts = Counts { notification_count, highlight_count };
        let room = rooms.entry(room_id).or_default();
        if thread_id == MAIN_TIMELINE {
            room.main = counts;
        } else {
            room.threads.insert(thread_id, counts);
        }
    }
    rooms
}

/// The place up to which a thread of a room of `rooms` is read.
pub(super) fn read_to(thread_id: &str) -> String {
    format!(
        "max(rooms.read_to, coalesce((SELECT max(t.event_stream_ordering)
             FROM receipts_linearized t
             WHERE t.room_id = rooms.room_id AND t.receipt_type IN ('m.read', 'm.read.private')
                 AND t.user_id = rooms.user_id AND t.thread_id = {thread_id}), 0))"
    )
}

/// The place up to which the room of a row `m` of `local_current_membership` is read.
pub(super) const ROOM_READ_TO: &str = "coalesce((SELECT max(r.event_stream_ordering)
     FROM receipts_linearized r
     WHERE r.room_id = m.room_id AND r.receipt_type IN ('m.read', 'm.read.private')
         AND r.user_id = m.user_id AND r.thread_id IS NULL), m.event_stream_ordering, 0)";

/// Reads the [`CountRow`]s of a user's joined rooms among these.
pub fn select(user_id: &UserId, room_ids: &[OwnedRoomId]) -> Statement {
    let rooms = "json_each(?2) j CROSS JOIN local_current_membership m
                 ON m.user_id = ?1 AND m.room_id = j.value";
    Statement::new(counts(rooms)).bind(user_id.as_str()).bind_json(&room_ids).small::<CountRow>()
}

/// What an app's icon shows.
#[derive(Debug, Deserialize)]
pub struct BadgeRow {
    pub unread: u64,
}

/// Reads the [`BadgeRow`] of a user: in how many rooms something unread notifies, and how many
/// invitations there are.
pub fn select_badge(user_id: &UserId) -> Statement {
    let counts = counts("(SELECT * FROM local_current_membership WHERE user_id = ?1) m");
    Statement::new(format!(
        "SELECT (SELECT count(*) FROM local_current_membership
                 WHERE user_id = ?1 AND membership = 'invite')
             + (SELECT count(DISTINCT room_id) FROM ({counts}) WHERE notification_count > 0)
             AS unread"
    ))
    .bind(user_id.as_str())
}

/// The counts of the joined ones of these rooms.
fn counts(rooms: &str) -> String {
    let is_valid = |read_to: &str| {
        format!(
            "(s.last_receipt_stream_ordering = {read_to}
              OR (s.last_receipt_stream_ordering IS NULL AND s.stream_ordering > {read_to}))
             AND s.notif_count > 0"
        )
    };
    let (valid, valid_for_action) = (is_valid(&read_to("s.thread_id")), is_valid("a.read_to"));
    format!(
        "WITH rooms AS MATERIALIZED (
             SELECT m.room_id, m.user_id, {ROOM_READ_TO} AS read_to
             FROM {rooms} WHERE m.membership = 'join'),
         counted AS (SELECT stream_ordering AS upto FROM event_push_summary_stream_ordering),
         actions AS (
             SELECT a.room_id, a.thread_id, a.stream_ordering, a.notif, a.highlight,
                 {read_to_action} AS read_to
             FROM rooms CROSS JOIN event_push_actions a
                 ON a.user_id = rooms.user_id AND a.room_id = rooms.room_id
             WHERE a.stream_ordering > rooms.read_to)
         SELECT room_id, thread_id, sum(notification_count) AS notification_count,
             sum(highlight_count) AS highlight_count
         FROM (
             SELECT s.room_id, s.thread_id, s.notif_count AS notification_count,
                 0 AS highlight_count
             FROM rooms CROSS JOIN event_push_summary s
                 ON s.user_id = rooms.user_id AND s.room_id = rooms.room_id
             WHERE {valid}
             UNION ALL
             SELECT a.room_id, a.thread_id,
                 a.notif = 1 AND NOT (
                     a.stream_ordering <= (SELECT upto FROM counted) AND EXISTS (
                         SELECT 1 FROM event_push_summary s
                         WHERE s.user_id = ?1 AND s.room_id = a.room_id
                             AND s.thread_id = a.thread_id AND {valid_for_action})),
                 a.highlight = 1
             FROM actions a WHERE a.stream_ordering > a.read_to)
         GROUP BY room_id, thread_id",
        read_to_action = read_to("a.thread_id"),
    )
}
