//! `device_lists_stream` and `device_lists_changes_in_room`: which devices have changed, and who
//! has to hear of it.
//!
//! Invariant: every device that changes takes a position of its own.

use ruma::UserId;

use super::database::Statement;

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
