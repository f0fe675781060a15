//! `user_directory`, `users_in_public_rooms`, `user_directory_stream_pos`: who can be found, and
//! by which words (`myelin_user_directory_words`).
//!
//! Invariant: what is written is what the log says at that moment, not what a delta said, so that
//! it may be written twice, late, or by two at once. The position never passes a delta that has
//! not been followed.
//!
//! Whom somebody shares a private room with is looked up in the memberships themselves: rows for
//! each pair would be the square of a room's members.

use ruma::{OwnedMxcUri, OwnedRoomId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};

use super::database::{Statement, boolean};
use super::events::reader;
use super::stream_positions::{StreamName, current};

/// Entries of the words that one search looks at: those that are the word itself come first.
const WORDS_MAX: i64 = 2_000;

/// People that one search ranks.
const CANDIDATES_MAX: i64 = 500;

/// Changes of state that are followed at once.
pub const DELTAS_MAX: i64 = 200;

/// Members of a room that are written at once when it becomes public, or ceases to be.
const MEMBERS_MAX: i64 = 500;

/// Somebody who was found.
#[derive(Debug, Deserialize)]
pub struct FoundRow {
    pub user_id: OwnedUserId,
    pub display_name: Option<String>,
    pub avatar_url: Option<OwnedMxcUri>,
}

/// Who looks whom up.
pub struct Lookup<'a> {
    /// In the batch that authenticates, the token stands for its user.
    pub user_or_token: &'a str,
    /// The beginning of a word.
    pub key: &'a str,
    /// Also those whom the user has never met.
    pub all_users: bool,
}

/// Reads the [`FoundRow`]s of those with a word that begins with the key: who has a public room
/// (oneself too, as in Synapse), or shares one with the user.
pub fn search(lookup: &Lookup<'_>) -> Statement {
    let shares = "EXISTS (
             SELECT 1 FROM local_current_membership o
             CROSS JOIN local_current_membership m ON m.user_id = t.reader
                 AND m.room_id = o.room_id AND m.membership = 'join'
             WHERE o.user_id = t.user_id AND o.membership = 'join')
         OR u.name IS NULL AND EXISTS (
             SELECT 1 FROM local_current_membership m
             CROSS JOIN current_state_events c ON c.room_id = m.room_id
                 AND c.type = 'm.room.member' AND c.state_key = t.user_id
                 AND c.membership = 'join'
             WHERE m.user_id = t.reader AND m.membership = 'join')";
    Statement::new(format!(
        "SELECT d.user_id, d.display_name, d.avatar_url
         FROM (SELECT w.user_id, max(w.word = ?2) AS is_exact, {reader} AS reader
               FROM (SELECT user_id, word FROM myelin_user_directory_words
                     WHERE word >= ?2 AND word < ?3 ORDER BY word LIMIT ?4 + 0) w
               GROUP BY w.user_id) t
         CROSS JOIN user_directory d ON d.user_id = t.user_id
         LEFT JOIN users u ON u.name = t.user_id
         WHERE (u.name IS NULL OR u.locked = 0 AND {is_shown})
             AND CASE WHEN ?5 THEN t.user_id <> t.reader ELSE
                 EXISTS (SELECT 1 FROM users_in_public_rooms p WHERE p.user_id = t.user_id)
                 OR t.user_id <> t.reader AND ({shares}) END
         ORDER BY t.is_exact DESC, d.display_name IS NULL, d.avatar_url IS NULL LIMIT ?6 + 0",
        reader = reader("?1"),
        is_shown = is_shown("u"),
    ))
    .bind(lookup.user_or_token)
    .bind(lookup.key)
    .bind(format!("{}\u{10ffff}", lookup.key))
    .bind(WORDS_MAX)
    .bind(lookup.all_users)
    .bind(CANDIDATES_MAX)
}

/// A change of the log that the directory has not followed.
#[derive(Clone, Debug, Deserialize)]
pub struct DeltaRow {
    pub stream_id: i64,
    pub room_id: OwnedRoomId,
    #[serde(rename = "type")]
    pub event_type: String,
    pub state_key: String,
    /// Nobody of this server is in the room any more.
    #[serde(deserialize_with = "boolean")]
    pub is_abandoned: bool,
}

const PENDING: &str = "FROM user_directory_stream_pos p
     CROSS JOIN current_state_delta_stream d ON d.stream_id > p.stream_id";

/// Reads the first [`DELTAS_MAX`] [`DeltaRow`]s after the directory's position.
pub fn select_pending() -> Statement {
    Statement::new(format!(
        "SELECT d.stream_id, d.room_id, d.type, d.state_key,
             d.type = 'm.room.member' AND coalesce((SELECT local_users_in_room
                 FROM room_stats_current k WHERE k.room_id = d.room_id), 0) = 0 AS is_abandoned
         {PENDING} ORDER BY d.stream_id LIMIT ?1 + 0"
    ))
    .bind(DELTAS_MAX)
}

/// The profile of somebody whom the directory does not have, or has otherwise.
#[derive(Clone, Debug, Deserialize)]
pub struct ProfileRow {
    pub user_id: OwnedUserId,
    pub display_name: Option<String>,
    pub avatar_url: Option<String>,
}

/// Reads the [`ProfileRow`]s of the members whom the pending deltas name. Of other servers only
/// public rooms tell: elsewhere somebody may show another name than to everyone.
pub fn select_unindexed() -> Statement {
    Statement::new(format!(
        "SELECT DISTINCT t.user_id, t.display_name, t.avatar_url FROM (
             SELECT u.name AS user_id, p.displayname AS display_name, p.avatar_url
             FROM ({members}) t CROSS JOIN users u ON u.name = t.state_key
             LEFT JOIN profiles p ON p.full_user_id = u.name
             WHERE {is_shown}
             UNION ALL
             SELECT r.user_id, r.display_name, r.avatar_url
             FROM ({members}) t CROSS JOIN current_state_events c ON c.room_id = t.room_id
                 AND c.type = 'm.room.member' AND c.state_key = t.state_key
                 AND c.membership = 'join'
             CROSS JOIN room_memberships r ON r.event_id = c.event_id
             WHERE NOT EXISTS (SELECT 1 FROM users u WHERE u.name = t.state_key)
                 AND {is_listed}
         ) t LEFT JOIN user_directory d ON d.user_id = t.user_id
         WHERE d.user_id IS NULL OR d.display_name IS NOT t.display_name
             OR d.avatar_url IS NOT t.avatar_url",
        members = format_args!(
            "SELECT d.room_id, d.type, d.state_key {PENDING} ORDER BY d.stream_id LIMIT ?1 + 0"
        ),
        is_shown = format_args!("t.type = 'm.room.member' AND {}", is_shown("u")),
        is_listed = format_args!("t.type = 'm.room.member' AND {}", is_listed("t.room_id")),
    ))
    .bind(DELTAS_MAX)
}

/// Whom of its own users a server shows: Synapse's `should_include_local_user_in_dir`.
fn is_shown(user: &str) -> String {
    format!(
        "{user}.deactivated = 0 AND coalesce({user}.user_type, '') <> 'support'
         AND {user}.appservice_id IS NULL"
    )
}

/// Whether anybody may join the room or look into it, and it is one of ours.
fn is_listed(room_id: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM room_stats_state s
             CROSS JOIN room_stats_current k ON k.room_id = s.room_id
             WHERE s.room_id = {room_id} AND k.local_users_in_room > 0
                 AND (s.join_rules = 'public' OR s.history_visibility = 'world_readable'))"
    )
}

/// Whether a member, who may be of another server, is to be found by this room.
fn belongs(room_id: &str, user_id: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM current_state_events c WHERE c.room_id = {room_id}
             AND c.type = 'm.room.member' AND c.state_key = {user_id} AND c.membership = 'join')
         AND NOT EXISTS (SELECT 1 FROM users u WHERE u.name = {user_id} AND NOT ({}))
         AND {}",
        is_shown("u"),
        is_listed(room_id),
    )
}

/// Somebody in a room.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RoomUser {
    pub room_id: OwnedRoomId,
    pub user_id: OwnedUserId,
}

/// Makes `users_in_public_rooms` say of these people what the log says.
pub fn update_members(members: &[RoomUser]) -> Vec<Statement> {
    let pair = ("e.value ->> '$.room_id'", "e.value ->> '$.user_id'");
    let belongs = belongs(pair.0, pair.1);
    let delete = format!(
        "DELETE FROM users_in_public_rooms WHERE (user_id, room_id) IN (
             SELECT {}, {} FROM json_each(?1) e WHERE NOT ({belongs}))",
        pair.1, pair.0,
    );
    let insert = format!(
        "INSERT OR IGNORE INTO users_in_public_rooms (user_id, room_id)
         SELECT {}, {} FROM json_each(?1) e WHERE {belongs}",
        pair.1, pair.0,
    );
    [delete, insert].map(|sql| Statement::new(sql).bind_json(&members)).to_vec()
}

const ROOM_MEMBERS: &str = "json_each(?1) a CROSS JOIN current_state_events m
     ON m.room_id = a.value AND m.type = 'm.room.member'
     LEFT JOIN users_in_public_rooms i ON i.user_id = m.state_key AND i.room_id = m.room_id";

/// Makes `users_in_public_rooms` say of whole rooms what the log says, [`MEMBERS_MAX`] members at
/// a time.
pub fn update_rooms(room_ids: &[OwnedRoomId]) -> Vec<Statement> {
    let belongs = belongs("m.room_id", "m.state_key");
    let delete = format!(
        "DELETE FROM users_in_public_rooms WHERE (user_id, room_id) IN (
             SELECT m.state_key, m.room_id FROM {ROOM_MEMBERS}
             WHERE i.user_id IS NOT NULL AND NOT ({belongs}) LIMIT ?2 + 0)"
    );
    let insert = format!(
        "INSERT OR IGNORE INTO users_in_public_rooms (user_id, room_id)
         SELECT m.state_key, m.room_id FROM {ROOM_MEMBERS}
         WHERE i.user_id IS NULL AND {belongs} LIMIT ?2 + 0"
    );
    let bind = |sql: String| Statement::new(sql).bind_json(&room_ids).bind(MEMBERS_MAX);
    [delete, insert].map(bind).to_vec()
}

/// Moves the position on, unless members of these rooms have yet to be written.
pub fn follow(room_ids: &[OwnedRoomId], position: i64) -> Statement {
    let belongs = belongs("m.room_id", "m.state_key");
    Statement::new(format!(
        "UPDATE user_directory_stream_pos SET stream_id = ?2
         WHERE stream_id < ?2 AND NOT EXISTS (
             SELECT 1 FROM {ROOM_MEMBERS} WHERE (i.user_id IS NULL) = ({belongs}))"
    ))
    .bind_json(&room_ids)
    .bind(position)
}

/// Brings the position back to the end of the log: it is ahead when an older database was
/// restored.
pub fn bound_position() -> Statement {
    let end = current(StreamName::Events);
    Statement::new(format!(
        "UPDATE user_directory_stream_pos SET stream_id = {end} WHERE stream_id > {end}"
    ))
}

/// Somebody as the directory is to have them.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub user_id: OwnedUserId,
    pub display_name: Option<String>,
    pub avatar_url: Option<String>,
    pub words: Vec<String>,
}

/// Writes people whom the server shows, with their words; the others are left out.
pub fn write(entries: &[Entry]) -> Vec<Statement> {
    let upsert = format!(
        "INSERT INTO user_directory (user_id, display_name, avatar_url)
         SELECT e.value ->> '$.user_id', e.value ->> '$.display_name', e.value ->> '$.avatar_url'
         FROM json_each(?1) e WHERE NOT EXISTS (
             SELECT 1 FROM users u WHERE u.name = e.value ->> '$.user_id' AND NOT ({}))
         ON CONFLICT (user_id) DO UPDATE SET display_name = excluded.display_name,
             avatar_url = excluded.avatar_url",
        is_shown("u"),
    );
    let forget = "DELETE FROM myelin_user_directory_words WHERE (user_id, word) IN (
             SELECT o.user_id, o.word FROM json_each(?1) a
             CROSS JOIN myelin_user_directory_words o ON o.user_id = a.value ->> '$.user_id'
             WHERE o.word NOT IN (SELECT value FROM json_each(a.value, '$.words')))";
    let add = "INSERT OR IGNORE INTO myelin_user_directory_words (user_id, word)
         SELECT e.value ->> '$.user_id', w.value
         FROM json_each(?1) e, json_each(e.value, '$.words') w
         WHERE EXISTS (SELECT 1 FROM user_directory d WHERE d.user_id = e.value ->> '$.user_id')";
    let bind = |sql: String| Statement::new(sql).bind_json(&entries);
    vec![bind(upsert), bind(forget.to_owned()), bind(add.to_owned())]
}

/// Removes somebody whose account has ended.
pub fn remove(user_id: &UserId) -> [Statement; 3] {
    [
        "DELETE FROM user_directory WHERE user_id = ?1",
        "DELETE FROM myelin_user_directory_words WHERE user_id = ?1",
        "DELETE FROM users_in_public_rooms WHERE user_id = ?1",
    ]
    .map(|sql| Statement::new(sql).bind(user_id.as_str()))
}

/// Removes those of these people of other servers who are in no room of ours any more.
pub fn remove_strangers(members: &[RoomUser]) -> Vec<Statement> {
    let strangers = "SELECT e.value ->> '$.user_id' FROM json_each(?1) e
         WHERE NOT EXISTS (SELECT 1 FROM users u WHERE u.name = e.value ->> '$.user_id')
             AND NOT EXISTS (
                 SELECT 1 FROM room_memberships r
                 CROSS JOIN current_state_events c ON c.event_id = r.event_id
                 CROSS JOIN room_stats_current k ON k.room_id = c.room_id
                 WHERE r.user_id = e.value ->> '$.user_id' AND r.membership = 'join'
                     AND c.type = 'm.room.member' AND k.local_users_in_room > 0)"
        .to_string();
    ["user_directory", "myelin_user_directory_words"]
        .map(|table| Statement::new(format!("DELETE FROM {table} WHERE user_id IN ({strangers})")))
        .map(|statement| statement.bind_json(&members))
        .to_vec()
}
