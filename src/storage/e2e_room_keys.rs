//! `e2e_room_keys`: the keys in backups.
//!
//! Invariant: a key is replaced by a better one only: one from a verified device, else one that
//! reads more messages, else one that went through fewer hands.

use myelin_protocol::key_backup::RoomKey;
use ruma::UserId;
use serde::{Deserialize, Serialize};

use super::database::{Statement, boolean, json_lists};

/// Keys that one statement reads.
pub const PAGE_MAX: usize = 2000;

#[derive(Serialize)]
struct Row<'a>(&'a str, &'a str, u64, u64, bool, &'a str);

/// Adds keys to a backup, and raises its etag if that changes anything.
pub fn insert(user_id: &UserId, version: i64, keys: &[RoomKey]) -> Vec<Statement> {
    let row = |key: &'_ RoomKey| (key.first_message_index, key.forwarded_count, key.is_verified);
    let rows: Vec<_> = keys
        .iter()
        .map(|key| {
            let (index, count, is_verified) = row(key);
            Row(&key.room_id, &key.session_id, index, count, is_verified, &key.session_data)
        })
        .collect();
    let bound = |sql: &'static str| Statement::new(sql).bind(user_id.as_str()).bind(version);
    let mut statements = vec![bound(
        "INSERT INTO myelin_room_key_counts (user_id, version, key_count)
         SELECT ?1, ?2, (SELECT count(*) FROM e2e_room_keys WHERE user_id = ?1 AND version = ?2)
         WHERE NOT EXISTS (SELECT 1 FROM myelin_room_key_counts
                           WHERE user_id = ?1 AND version = ?2)",
    )];
    for list in json_lists(&rows) {
        statements.push(
            bound(
                "UPDATE myelin_room_key_counts SET key_count = key_count +
                     (SELECT count(*) FROM json_each(?3) a WHERE NOT EXISTS
                         (SELECT 1 FROM e2e_room_keys k WHERE k.user_id = ?1 AND k.version = ?2
                              AND k.room_id = a.value ->> 0 AND k.session_id = a.value ->> 1))
                 WHERE user_id = ?1 AND version = ?2",
            )
            .bind(list.clone()),
        );
        statements.push(
            bound(
                "INSERT INTO e2e_room_keys (user_id, version, room_id, session_id,
                     first_message_index, forwarded_count, is_verified, session_data)
                 SELECT ?1, ?2, a.value ->> 0, a.value ->> 1, a.value ->> 2, a.value ->> 3,
                        a.value ->> 4, a.value ->> 5
                 FROM json_each(?3) a WHERE true
                 ON CONFLICT (user_id, version, room_id, session_id) DO UPDATE SET
                     first_message_index = excluded.first_message_index,
                     forwarded_count = excluded.forwarded_count,
                     is_verified = excluded.is_verified, session_data = excluded.session_data
                 WHERE (NOT excluded.is_verified, excluded.first_message_index,
                        excluded.forwarded_count)
                     < (NOT is_verified, first_message_index, forwarded_count)",
            )
            .bind(list),
        );
        statements.push(bound(
            "UPDATE e2e_room_keys_versions SET etag = coalesce(etag, 0) + 1
             WHERE user_id = ?1 AND version = ?2 AND changes() > 0",
        ));
    }
    statements
}

/// Which keys of a backup are meant: all, those of a room, or one. An empty id stands for none.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    pub version: i64,
    pub room_id: &'a str,
    pub session_id: &'a str,
}

impl Selection<'_> {
    /// The condition on ?3 and ?4; ?1 is the user, ?2 the version.
    fn condition(self) -> &'static str {
        match (self.room_id.is_empty(), self.session_id.is_empty()) {
            (true, _) => "user_id = ?1 AND version = ?2 AND (?3 = '' AND ?4 = '')",
            (_, true) => "user_id = ?1 AND version = ?2 AND room_id = ?3 AND ?4 = ''",
            _ => "user_id = ?1 AND version = ?2 AND room_id = ?3 AND session_id = ?4",
        }
    }

    fn bind(self, statement: Statement, user_id: &UserId) -> Statement {
        let statement = statement.bind(user_id.as_str()).bind(self.version);
        statement.bind(self.room_id).bind(self.session_id)
    }
}

/// Removes keys, raises the etag of the backup, and counts what is left.
pub fn delete(user_id: &UserId, selection: Selection<'_>) -> [Statement; 3] {
    let sql = format!("DELETE FROM e2e_room_keys WHERE {}", selection.condition());
    let bound =
        |sql: &'static str| Statement::new(sql).bind(user_id.as_str()).bind(selection.version);
    [
        selection.bind(Statement::new(sql), user_id),
        bound(
            "UPDATE e2e_room_keys_versions SET etag = coalesce(etag, 0) + 1
             WHERE user_id = ?1 AND version = ?2",
        ),
        bound(
            "UPDATE myelin_room_key_counts SET key_count =
                 (SELECT count(*) FROM e2e_room_keys WHERE user_id = ?1 AND version = ?2)
             WHERE user_id = ?1 AND version = ?2",
        ),
    ]
}

/// A key in a backup.
#[derive(Debug, Deserialize)]
pub struct RoomKeyRow {
    pub room_id: String,
    pub session_id: String,
    pub first_message_index: i64,
    pub forwarded_count: i64,
    #[serde(deserialize_with = "boolean")]
    pub is_verified: bool,
    /// JSON.
    pub session_data: String,
}

/// Reads the first [`RoomKeyRow`]s in the order of rooms and sessions, after this one.
pub fn select(user_id: &UserId, selection: Selection<'_>, after: (&str, &str)) -> Statement {
    let sql = format!(
        "SELECT room_id, session_id, coalesce(first_message_index, 0) AS first_message_index,
                coalesce(forwarded_count, 0) AS forwarded_count, is_verified, session_data
         FROM e2e_room_keys
         WHERE {} AND (room_id, session_id) > (?5, ?6)
         ORDER BY room_id, session_id LIMIT ?7 + 0",
        selection.condition()
    );
    selection.bind(Statement::new(sql), user_id).bind(after.0).bind(after.1).bind(PAGE_MAX)
}
