//! What is told of rooms to those who look for one: `room_stats_state`, `room_stats_current` and
//! what decides who may know of a room; and the rooms of spaces, by `m.space.child` in
//! `current_state_events`.

use ruma::events::room::member::MembershipState;
use ruma::{OwnedRoomId, RoomOrAliasId, UserId};
use serde::Deserialize;

use super::database::{Statement, boolean};
use super::events::{reader, redaction_of};

/// A room that somebody asks about. Of one that we do not know only the id is there.
#[derive(Clone, Debug, Deserialize)]
pub struct SummaryRow {
    pub room_id: String,
    pub room_version: Option<String>,
    pub joined_members: Option<u32>,
    pub local_users_in_room: Option<u32>,
    pub name: Option<String>,
    pub topic: Option<String>,
    pub canonical_alias: Option<String>,
    pub avatar: Option<String>,
    pub join_rules: Option<String>,
    pub history_visibility: Option<String>,
    pub guest_access: Option<String>,
    pub encryption: Option<String>,
    pub room_type: Option<String>,
    /// The reader's.
    pub membership: Option<MembershipState>,
    /// Of a restricted room: the `allow` list of its join rule, as JSON.
    pub allow: Option<String>,
    /// Whether the reader is in a room of that list.
    #[serde(deserialize_with = "boolean")]
    pub is_in_allowed_room: bool,
}

/// An `m.space.child` event with a list of servers, not redacted.
#[derive(Clone, Debug, Deserialize)]
pub struct ChildRow {
    pub space_id: String,
    pub state_key: String,
    pub sender: String,
    pub origin_server_ts: u64,
    /// JSON.
    pub content: String,
}

/// Rooms of spaces: these, and those below them.
#[derive(Clone, Debug)]
pub struct Tree<'a> {
    pub room_ids: &'a [&'a str],
    /// How far below them.
    pub levels: u64,
}

/// The most rooms that a statement reads.
const ROOMS_MAX: u32 = 100;

/// Breadth first, so that the rooms that are asked for are among those that are read.
const TREE: &str = "WITH RECURSIVE tree (room_id, level) AS (
        SELECT value, 0 FROM json_each(?1)
        UNION
        SELECT c.state_key, t.level + 1
        FROM tree t
        CROSS JOIN room_stats_state s ON s.room_id = t.room_id AND s.room_type = 'm.space'
        CROSS JOIN current_state_events c ON c.room_id = t.room_id AND c.type = 'm.space.child'
        CROSS JOIN event_json j ON j.event_id = c.event_id
        WHERE t.level < ?2 AND json_array_length(j.json, '$.content.via') > 0
        LIMIT ?3 + 0),
     asked (room_id) AS (SELECT DISTINCT w.room_id FROM tree w)";

impl Tree<'_> {
    fn statement(&self, sql: String) -> Statement {
        Statement::new(format!("{TREE} {sql}"))
            .bind_json(&self.room_ids)
            .bind(self.levels)
            .bind(ROOMS_MAX)
    }
}

/// Reads the [`SummaryRow`]s of a tree, and the [`ChildRow`]s of the spaces in it.
pub fn select_tree(tree: &Tree<'_>, user_or_token: &str) -> [Statement; 2] {
    let redaction = redaction_of("c.event_id", "c.room_id", "(j.json ->> 'sender')");
    let children = format!(
        "SELECT a.room_id AS space_id, c.state_key, j.json ->> '$.sender' AS sender,
                j.json ->> '$.origin_server_ts' AS origin_server_ts,
                j.json -> '$.content' AS content
         FROM asked a
         CROSS JOIN room_stats_state s ON s.room_id = a.room_id AND s.room_type = 'm.space'
         CROSS JOIN current_state_events c ON c.room_id = a.room_id AND c.type = 'm.space.child'
         CROSS JOIN event_json j ON j.event_id = c.event_id
         WHERE json_array_length(j.json, '$.content.via') > 0 AND {redaction} IS NULL"
    );
    [tree.statement(summaries("?4")).bind(user_or_token), tree.statement(children)]
}

/// A room of a space.
#[derive(Clone, Debug, Deserialize)]
pub struct ChildIdRow {
    pub space_id: OwnedRoomId,
    pub room_id: OwnedRoomId,
}

/// Reads the [`ChildIdRow`]s of those of these spaces that the user has joined, as far as the user
/// has to do with the rooms.
pub fn children_of_joined(user_id: &UserId, space_ids: &[OwnedRoomId]) -> Statement {
    let redaction = redaction_of("c.event_id", "c.room_id", "(j.json ->> 'sender')");
    Statement::new(format!(
        "SELECT c.room_id AS space_id, o.room_id
         FROM json_each(?2) w
         CROSS JOIN local_current_membership m
            ON m.user_id = ?1 AND m.room_id = w.value AND m.membership = 'join'
         CROSS JOIN room_stats_state s ON s.room_id = m.room_id AND s.room_type = 'm.space'
         CROSS JOIN local_current_membership o ON o.user_id = ?1
         CROSS JOIN current_state_events c ON c.room_id = m.room_id AND c.type = 'm.space.child'
            AND c.state_key = o.room_id
         CROSS JOIN event_json j ON j.event_id = c.event_id
         WHERE json_array_length(j.json, '$.content.via') > 0
           AND {redaction} IS NULL"
    ))
    .bind(user_id.as_str())
    .bind_json(&space_ids)
    .small::<ChildIdRow>()
}

/// Reads the [`SummaryRow`] of one room. `reader` may be empty: a stranger.
pub fn select(room: &RoomOrAliasId, reader: &str) -> Statement {
    let asked = "WITH asked (room_id) AS (
        SELECT coalesce((SELECT room_id FROM room_aliases WHERE room_alias = ?1), ?1))";
    Statement::new(format!("{asked} {}", summaries("?2"))).bind(room.as_str()).bind(reader)
}

fn summaries(user_or_token: &str) -> String {
    let reader = reader(user_or_token);
    format!(
        "SELECT a.room_id, o.room_version, n.joined_members, n.local_users_in_room,
                s.name, s.topic, s.canonical_alias, s.avatar, s.join_rules,
                s.history_visibility, s.guest_access, s.encryption, s.room_type,
                m.membership, jj.json -> '$.content.allow' AS allow,
                EXISTS (SELECT 1 FROM json_each(jj.json, '$.content.allow') w
                        CROSS JOIN local_current_membership l ON l.user_id = {reader}
                           AND l.room_id = CASE w.type WHEN 'object' THEN w.value ->> 'room_id' END
                        WHERE l.membership = 'join'
                          AND CASE w.type WHEN 'object' THEN w.value ->> 'type' END
                              = 'm.room_membership') AS is_in_allowed_room
         FROM asked a
         LEFT JOIN rooms o ON o.room_id = a.room_id
         LEFT JOIN room_stats_state s ON s.room_id = a.room_id
         LEFT JOIN room_stats_current n ON n.room_id = a.room_id
         LEFT JOIN local_current_membership m ON m.room_id = a.room_id AND m.user_id = {reader}
         LEFT JOIN current_state_events r ON s.join_rules IN ('restricted', 'knock_restricted')
            AND r.room_id = a.room_id AND r.type = 'm.room.join_rules' AND r.state_key = ''
         LEFT JOIN event_json jj ON jj.event_id = r.event_id"
    )
}
