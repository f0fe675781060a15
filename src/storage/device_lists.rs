//! `device_lists_stream`, `device_lists_changes_in_room` and `user_signature_stream`: which devices
//! have changed, and who has to hear of it.
//!
//! Invariant: every device that changes takes a position of its own.

use myelin_protocol::sync::MeetingPlace;
use myelin_protocol::sync::device_lists::Meeting;
use ruma::{OwnedUserId, UserId};
use serde::Deserialize;

use super::database::Statement;
use super::stream_positions::{NOW, StreamName, advance, current};

/// Records changes of a user's devices: `chosen` is a query whose `device_id` column names them;
/// its parameters are ?1, the user, and those that `bind` adds. Run it while the query still
/// finds them.
pub fn record(
    user_id: &UserId,
    chosen: &str,
    bind: impl Fn(Statement) -> Statement,
    now_ms: u64,
) -> Vec<Statement> {
    let statement = |sql: String| bind(Statement::new(sql).bind(user_id.as_str()));
    // The newest `n` positions belong to the `n` devices.
    let numbered = format!(
        "(SELECT device_id, (SELECT stream_id FROM stream_positions
              WHERE stream_name = 'device_lists_stream' AND instance_name = 'master')
              + 1 - row_number() OVER (ORDER BY device_id) AS stream_id FROM ({chosen}))"
    );
    vec![
        statement(format!(
            "UPDATE stream_positions SET stream_id = stream_id + (SELECT count(*) FROM ({chosen}))
             WHERE stream_name = 'device_lists_stream' AND instance_name = 'master'"
        )),
        statement(format!(
            "DELETE FROM device_lists_stream WHERE user_id = ?1 AND device_id IN ({chosen})"
        )),
        statement(format!(
            "INSERT INTO device_lists_stream (stream_id, user_id, device_id, instance_name)
             SELECT stream_id, ?1, device_id, 'master' FROM {numbered}"
        )),
        statement(format!(
            "INSERT INTO device_lists_changes_in_room
                 (user_id, device_id, room_id, stream_id, converted_to_destinations,
                  instance_name, inserted_ts)
             SELECT ?1, device_id, room_id, stream_id, 0, 'master', {now_ms}
             FROM {numbered}, local_current_membership
             WHERE user_id = ?1 AND membership = 'join'"
        )),
    ]
}

/// Records changes of these devices of a user, or of cross-signing keys, which count as such.
pub fn record_ids(user_id: &UserId, device_ids: &[&str], now_ms: u64) -> Vec<Statement> {
    let chosen = "SELECT value AS device_id FROM json_each(?2)";
    record(user_id, chosen, |statement| statement.bind_json(&device_ids), now_ms)
}

/// Records that a user has signed the keys of others, or has a new user-signing key. It concerns
/// nobody but the user.
pub fn record_signatures(user_id: &UserId, signed: &[&str]) -> [Statement; 2] {
    let insert = Statement::new(format!(
        "INSERT INTO user_signature_stream (stream_id, from_user_id, user_ids, instance_name)
         VALUES ({}, ?1, ?2, 'master')",
        current(StreamName::DeviceLists)
    ));
    [advance(StreamName::DeviceLists), insert.bind(user_id.as_str()).bind_json(&signed)]
}

/// Somebody whose devices have changed.
#[derive(Debug, Deserialize)]
pub struct ChangedRow {
    pub user_id: OwnedUserId,
}

/// Whether the user ?1 is in a room with the one of this SQL.
fn shares_room(other: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM local_current_membership m CROSS JOIN current_state_events c
             ON c.room_id = m.room_id AND c.type = 'm.room.member' AND c.state_key = {other}
                 AND c.membership = 'join'
         WHERE m.user_id = ?1 AND m.membership = 'join')"
    )
}

/// Reads [`ChangedRow`]s: whose devices have changed in `(from, to]`, of those with whom the user
/// shares a room, and the user; and whose keys the user has signed.
pub fn changed_since(user_id: &UserId, from: i64, to: i64) -> Statement {
    Statement::new(format!(
        "SELECT d.user_id FROM device_lists_stream d INDEXED BY device_lists_stream_id
         WHERE d.stream_id > ?2 AND d.stream_id <= ?3 AND (d.user_id = ?1 OR {})
         UNION ALL
         SELECT u.value FROM user_signature_stream s CROSS JOIN json_each(s.user_ids) u
         WHERE s.stream_id > ?2 AND s.stream_id <= ?3 AND s.from_user_id = ?1",
        shares_room("d.user_id")
    ))
    .bind(user_id.as_str())
    .bind(from)
    .bind(to)
}

/// How far the stream of device lists goes.
#[derive(Debug, Deserialize)]
pub struct NewsRow {
    pub position: i64,
    /// JSON: the ids of [`changed_since`]; `None` if the stream has not moved.
    pub changed: Option<String>,
}

/// Reads the [`NewsRow`] since a position: one row while the stream has not moved.
pub fn select_news(user_id: &UserId, since: i64) -> Statement {
    let Statement { sql, values, .. } = changed_since(user_id, since, NOW);
    let statement = Statement::new(format!(
        "SELECT p.stream_id AS position, CASE WHEN p.stream_id > ?2 THEN
             (SELECT json_group_array(user_id) || '' FROM ({sql})) END AS changed
         FROM stream_positions p
         WHERE p.stream_name = 'device_lists_stream' AND p.instance_name = 'master'"
    ));
    Statement { values, ..statement }.small::<NewsRow>()
}

/// Reads the `Meeting`s of the user with others at these places. Who was invited and joins is met
/// once more: what they did with their devices meanwhile, nobody was told.
pub fn meetings(user_id: &UserId, places: &[MeetingPlace]) -> Statement {
    let membership = |event: &str| {
        format!(
            "coalesce((SELECT r.membership FROM room_memberships r
                       WHERE r.event_id = {event}), 'leave')"
        )
    };
    let (before, now) = (membership("d.prev_event_id"), membership("d.event_id"));
    let shares = |came: &str, other: &str| {
        format!("CASE WHEN NOT {came} THEN {} END AS is_shared", shares_room(other))
    };
    Statement::new(format!(
        "SELECT t.stream_id, t.user_id, t.came, {} FROM
             (SELECT d.stream_id, d.state_key AS user_id, {before} AS before, {now} AS now,
                     {now} IN ('join', 'invite', 'knock') AS came
              FROM json_each(?2) w CROSS JOIN current_state_delta_stream d
                  INDEXED BY current_state_delta_stream_room_idx
                  ON d.room_id = w.value ->> '$.room_id' AND d.stream_id > w.value ->> '$.after'
                      AND d.stream_id <= w.value ->> '$.upto'
              WHERE d.type = 'm.room.member') t
         WHERE (t.came <> (t.before IN ('join', 'invite', 'knock'))
                OR t.now = 'join' AND t.before <> 'join') AND t.user_id <> ?1
         UNION ALL
         SELECT t.stream_id, t.user_id, t.came, {} FROM
             (SELECT w.value ->> '$.upto' AS stream_id, c.state_key AS user_id,
                     w.value ->> '$.encounter' = 'joined' AS came
              FROM json_each(?2) w CROSS JOIN current_state_events c
                  ON c.room_id = w.value ->> '$.room_id' AND c.type = 'm.room.member'
                      AND c.membership = 'join'
              WHERE w.value ->> '$.encounter' <> 'known') t
         WHERE t.user_id <> ?1",
        shares("t.came", "t.user_id"),
        shares("t.came", "t.user_id")
    ))
    .bind(user_id.as_str())
    .bind_json(&places)
    .small::<Meeting>()
}
