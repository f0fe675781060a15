//! State as the log keeps it: `state_groups` and its deltas, `event_to_state_groups`, the current
//! state, and what is derived from it (`room_memberships`, `local_current_membership`,
//! `room_stats_*`, the snapshots of sliding sync).
//!
//! A state group is a delta on its parent. Ids come from a counter and are never used again.

use serde::{Deserialize, Serialize};

use super::database::Statement;
use super::room_log::NEWEST;

/// The id of the newest state group of the batch.
const NEWEST_GROUP: &str = "(SELECT value FROM myelin_counters WHERE name = 'state_group_id')";

/// The id that [`advance_groups`] returns.
#[derive(Debug, Deserialize)]
pub struct GroupIdRow {
    pub value: i64,
}

/// Allocates ids for `count` state groups; returns a [`GroupIdRow`] of the last.
pub fn advance_groups(count: usize) -> Statement {
    Statement::new(
        "UPDATE myelin_counters SET value = value + ?1 WHERE name = 'state_group_id'
         RETURNING value",
    )
    .bind(count)
}

/// A state group made by this commit. `index` counts the commit's new groups from 0.
#[derive(Clone, Debug, Serialize)]
pub struct NewGroupRow {
    pub index: usize,
    pub event_id: String,
    /// The parent, if it is older than this commit.
    pub parent_id: Option<i64>,
    /// The parent, if it is of this commit.
    pub parent_index: Option<usize>,
}

/// One entry of a new state group.
#[derive(Clone, Debug, Serialize)]
pub struct GroupStateRow {
    pub index: usize,
    #[serde(rename = "type")]
    pub event_type: String,
    pub state_key: String,
    pub event_id: String,
}

/// Inserts new state groups with their edges and entries.
pub fn insert_groups(
    room_id: &str,
    groups: &[NewGroupRow],
    entries: &[GroupStateRow],
) -> [Statement; 3] {
    [
        Statement::new(format!(
            "INSERT INTO state_groups (id, room_id, event_id)
             SELECT {NEWEST_GROUP} - ?1 + 1 + (e.value ->> 'index'), ?2, e.value ->> 'event_id'
             FROM json_each(?3) e"
        ))
        .bind(groups.len())
        .bind(room_id)
        .bind_json(&groups),
        Statement::new(format!(
            "INSERT INTO state_group_edges (state_group, prev_state_group)
             SELECT {NEWEST_GROUP} - ?1 + 1 + (e.value ->> 'index'),
                    coalesce(e.value ->> 'parent_id',
                             {NEWEST_GROUP} - ?1 + 1 + (e.value ->> 'parent_index'))
             FROM json_each(?2) e
             WHERE coalesce(e.value ->> 'parent_id', e.value ->> 'parent_index') IS NOT NULL"
        ))
        .bind(groups.len())
        .bind_json(&groups),
        Statement::new(format!(
            "INSERT INTO state_groups_state (state_group, room_id, type, state_key, event_id)
             SELECT {NEWEST_GROUP} - ?1 + 1 + (e.value ->> 'index'), ?2, e.value ->> 'type',
                    e.value ->> 'state_key', e.value ->> 'event_id'
             FROM json_each(?3) e"
        ))
        .bind(groups.len())
        .bind(room_id)
        .bind_json(&entries),
    ]
}

/// The state group after an event: an older one, or one of this commit.
#[derive(Clone, Debug, Serialize)]
pub struct EventGroupRow {
    pub event_id: String,
    pub group_id: Option<i64>,
    pub group_index: Option<usize>,
}

/// Says which state group each event of the commit has. `new_groups` is their number.
pub fn insert_event_groups(rows: &[EventGroupRow], new_groups: usize) -> Statement {
    Statement::new(format!(
        "INSERT INTO event_to_state_groups (event_id, state_group)
         SELECT e.value ->> 'event_id',
                coalesce(e.value ->> 'group_id',
                         {NEWEST_GROUP} - ?1 + 1 + (e.value ->> 'group_index'))
         FROM json_each(?2) e"
    ))
    .bind(new_groups)
    .bind_json(&rows)
}

/// A state event of the commit.
#[derive(Clone, Debug, Serialize)]
pub struct StateRow {
    pub event_id: String,
    #[serde(rename = "type")]
    pub event_type: String,
    pub state_key: String,
    pub membership: Option<String>,
    pub prev_event_id: Option<String>,
    /// From the newest event of the commit backwards: 0 is the newest.
    pub from_newest: usize,
    /// No later event of the commit replaces it.
    pub is_current: bool,
    pub auth_events: Vec<String>,
}

/// Inserts state events and makes the newest of each key current.
pub fn insert_state(room_id: &str, rows: &[StateRow]) -> Vec<Statement> {
    let bind = |sql: String| Statement::new(sql).bind(room_id).bind_json(&rows);
    vec![
        bind(
            "INSERT INTO state_events (event_id, room_id, type, state_key)
             SELECT e.value ->> 'event_id', ?1, e.value ->> 'type', e.value ->> 'state_key'
             FROM json_each(?2) e"
                .to_owned(),
        ),
        bind(
            "INSERT INTO event_auth (event_id, auth_id, room_id)
             SELECT e.value ->> 'event_id', a.value, ?1
             FROM json_each(?2) e, json_each(e.value, '$.auth_events') a"
                .to_owned(),
        ),
        bind(format!(
            "INSERT INTO current_state_delta_stream
                    (stream_id, room_id, type, state_key, event_id, prev_event_id, instance_name)
             SELECT {NEWEST} - (e.value ->> 'from_newest'), ?1, e.value ->> 'type',
                    e.value ->> 'state_key', e.value ->> 'event_id', e.value ->> 'prev_event_id',
                    'master'
             FROM json_each(?2) e"
        )),
        bind(format!(
            "INSERT INTO current_state_events
                    (event_id, room_id, type, state_key, membership, event_stream_ordering)
             SELECT e.value ->> 'event_id', ?1, e.value ->> 'type', e.value ->> 'state_key',
                    e.value ->> 'membership', {NEWEST} - (e.value ->> 'from_newest')
             FROM json_each(?2) e WHERE e.value ->> 'is_current'
             ON CONFLICT (room_id, type, state_key) DO UPDATE
             SET event_id = excluded.event_id, membership = excluded.membership,
                 event_stream_ordering = excluded.event_stream_ordering"
        )),
    ]
}

/// A membership event of the commit.
#[derive(Clone, Debug, Serialize)]
pub struct MembershipRow {
    pub event_id: String,
    pub user_id: String,
    pub sender: String,
    pub membership: String,
    pub display_name: Option<String>,
    pub avatar_url: Option<String>,
    pub from_newest: usize,
    /// The newest membership of a user of ours.
    pub is_local_current: bool,
}

/// Facts of a room that lists are sorted and filtered by.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RoomFacts {
    pub room_type: Option<String>,
    pub name: Option<String>,
    pub is_encrypted: bool,
    pub tombstone_successor_room_id: Option<String>,
}

/// Inserts memberships, and the current ones of our users.
pub fn insert_memberships(
    room_id: &str,
    rows: &[MembershipRow],
    facts: &RoomFacts,
) -> Vec<Statement> {
    let position = format!("{NEWEST} - (e.value ->> 'from_newest')");
    let bind = |sql: String| Statement::new(sql).bind(room_id).bind_json(&rows);
    let mut statements = vec![bind(format!(
        "INSERT INTO room_memberships (event_id, user_id, sender, room_id, membership, display_name,
                                       avatar_url, event_stream_ordering)
         SELECT e.value ->> 'event_id', e.value ->> 'user_id', e.value ->> 'sender', ?1,
                e.value ->> 'membership', e.value ->> 'display_name', e.value ->> 'avatar_url',
                {position}
         FROM json_each(?2) e"
    ))];
    if !rows.iter().any(|row| row.is_local_current) {
        return statements;
    }
    statements.push(bind(format!(
        "INSERT INTO local_current_membership
                (room_id, user_id, event_id, membership, event_stream_ordering)
         SELECT ?1, e.value ->> 'user_id', e.value ->> 'event_id', e.value ->> 'membership',
                {position}
         FROM json_each(?2) e WHERE e.value ->> 'is_local_current'
         ON CONFLICT (user_id, room_id) DO UPDATE
         SET event_id = excluded.event_id, membership = excluded.membership,
             event_stream_ordering = excluded.event_stream_ordering"
    )));
    statements.push(
        bind(format!(
            "INSERT INTO sliding_sync_membership_snapshots
                    (room_id, user_id, sender, membership_event_id, membership, forgotten,
                     event_stream_ordering, event_instance_name, has_known_state, room_type,
                     room_name, is_encrypted, tombstone_successor_room_id)
             SELECT ?1, e.value ->> 'user_id', e.value ->> 'sender', e.value ->> 'event_id',
                    e.value ->> 'membership', 0, {position}, 'master', 1, ?3 ->> 'room_type',
                    ?3 ->> 'name', ?3 ->> 'is_encrypted', ?3 ->> 'tombstone_successor_room_id'
             FROM json_each(?2) e WHERE e.value ->> 'is_local_current'
             ON CONFLICT (room_id, user_id) DO UPDATE
             SET sender = excluded.sender, membership_event_id = excluded.membership_event_id,
                 membership = excluded.membership, forgotten = 0,
                 event_stream_ordering = excluded.event_stream_ordering, has_known_state = 1,
                 room_type = excluded.room_type, room_name = excluded.room_name,
                 is_encrypted = excluded.is_encrypted,
                 tombstone_successor_room_id = excluded.tombstone_successor_room_id"
        ))
        .bind_json(facts),
    );
    statements
}

/// Takes the names and pictures out of memberships.
pub fn clear_profiles(event_ids: &[&str]) -> Statement {
    Statement::new(
        "UPDATE room_memberships SET display_name = NULL, avatar_url = NULL
         WHERE event_id IN (SELECT value FROM json_each(?1))",
    )
    .bind_json(&event_ids)
}

/// Writes the facts of a room of which we have joined members.
pub fn upsert_joined_room(room_id: &str, facts: &RoomFacts, bumps: Option<usize>) -> Statement {
    Statement::new(format!(
        "INSERT INTO sliding_sync_joined_rooms
                (room_id, event_stream_ordering, bump_stamp, room_type, room_name, is_encrypted,
                 tombstone_successor_room_id)
         VALUES (?1, {NEWEST}, {NEWEST} - ?2, ?3 ->> 'room_type', ?3 ->> 'name',
                 ?3 ->> 'is_encrypted', ?3 ->> 'tombstone_successor_room_id')
         ON CONFLICT (room_id) DO UPDATE
         SET event_stream_ordering = excluded.event_stream_ordering,
             bump_stamp = coalesce(excluded.bump_stamp, bump_stamp),
             room_type = excluded.room_type, room_name = excluded.room_name,
             is_encrypted = excluded.is_encrypted,
             tombstone_successor_room_id = excluded.tombstone_successor_room_id"
    ))
    .bind(room_id)
    .bind(bumps)
    .bind_json(facts)
}

/// What directories show of a room.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RoomStats {
    pub name: Option<String>,
    pub canonical_alias: Option<String>,
    pub join_rules: Option<String>,
    pub history_visibility: Option<String>,
    pub encryption: Option<String>,
    pub avatar: Option<String>,
    pub guest_access: Option<String>,
    pub is_federatable: bool,
    pub topic: Option<String>,
    pub room_type: Option<String>,
    pub current_state_events: usize,
    pub joined_members: usize,
    pub invited_members: usize,
    pub left_members: usize,
    pub banned_members: usize,
    pub knocked_members: usize,
    pub local_users_in_room: usize,
}

/// Writes what directories show of a room.
pub fn upsert_stats(room_id: &str, stats: &RoomStats) -> [Statement; 2] {
    [
        Statement::new(
            "INSERT INTO room_stats_state
                    (room_id, name, canonical_alias, join_rules, history_visibility, encryption,
                     avatar, guest_access, is_federatable, topic, room_type)
             VALUES (?1, ?2 ->> 'name', ?2 ->> 'canonical_alias', ?2 ->> 'join_rules',
                     ?2 ->> 'history_visibility', ?2 ->> 'encryption', ?2 ->> 'avatar',
                     ?2 ->> 'guest_access', ?2 ->> 'is_federatable', ?2 ->> 'topic',
                     ?2 ->> 'room_type')
             ON CONFLICT (room_id) DO UPDATE
             SET name = excluded.name, canonical_alias = excluded.canonical_alias,
                 join_rules = excluded.join_rules,
                 history_visibility = excluded.history_visibility,
                 encryption = excluded.encryption, avatar = excluded.avatar,
                 guest_access = excluded.guest_access, is_federatable = excluded.is_federatable,
                 topic = excluded.topic, room_type = excluded.room_type",
        )
        .bind(room_id)
        .bind_json(stats),
        Statement::new(format!(
            "INSERT INTO room_stats_current
                    (room_id, current_state_events, joined_members, invited_members, left_members,
                     banned_members, local_users_in_room, completed_delta_stream_id,
                     knocked_members)
             VALUES (?1, ?2 ->> 'current_state_events', ?2 ->> 'joined_members',
                     ?2 ->> 'invited_members', ?2 ->> 'left_members', ?2 ->> 'banned_members',
                     ?2 ->> 'local_users_in_room', {NEWEST}, ?2 ->> 'knocked_members')
             ON CONFLICT (room_id) DO UPDATE
             SET current_state_events = excluded.current_state_events,
                 joined_members = excluded.joined_members,
                 invited_members = excluded.invited_members,
                 left_members = excluded.left_members, banned_members = excluded.banned_members,
                 local_users_in_room = excluded.local_users_in_room,
                 completed_delta_stream_id = excluded.completed_delta_stream_id,
                 knocked_members = excluded.knocked_members"
        ))
        .bind(room_id)
        .bind_json(stats),
    ]
}
