//! `rooms`, and a room as its writer loads it.

use myelin_protocol::pdu::Pdu;
use myelin_protocol::redaction::{RedactError, redact};
use ruma::room_version_rules::RoomVersionRules;
use ruma::{OwnedEventId, OwnedRoomId, RoomId, RoomVersionId};
use serde::Deserialize;

use super::database::{Statement, boolean};
use super::events::redaction_of;
use super::sliding_sync_connections;

/// Inserts a new room.
pub fn insert(room_id: &str, version: &str, creator: &str, is_public: bool) -> Statement {
    Statement::new(
        "INSERT INTO rooms (room_id, is_public, creator, room_version, has_auth_chain_index)
         VALUES (?1, ?2, ?3, ?4, 0)",
    )
    .bind(room_id)
    .bind(is_public)
    .bind(creator)
    .bind(version)
}

/// Gives a new room its first alias. A taken alias is a constraint error.
pub fn insert_alias(room_id: &str, alias: &str, server: &str, creator: &str) -> [Statement; 2] {
    [
        Statement::new(
            "INSERT INTO room_aliases (room_alias, room_id, creator) VALUES (?1, ?2, ?3)",
        )
        .bind(alias)
        .bind(room_id)
        .bind(creator),
        Statement::new("INSERT INTO room_alias_servers (room_alias, server) VALUES (?1, ?2)")
            .bind(alias)
            .bind(server),
    ]
}

/// A room's own row, with its writer's epoch.
#[derive(Debug, Deserialize)]
pub struct RoomRow {
    pub room_version: RoomVersionId,
    pub epoch: i64,
}

/// A current state event.
#[derive(Debug, Deserialize)]
pub struct StateEventRow {
    pub event_id: OwnedEventId,
    pub json: String,
    /// Whether a redaction of it took effect.
    #[serde(deserialize_with = "boolean")]
    pub redacted: bool,
}

impl StateEventRow {
    /// The event as everyone is to see it.
    ///
    /// # Errors
    /// If the row holds what is not an event.
    pub fn into_event(
        self,
        room_id: &RoomId,
        rules: &RoomVersionRules,
    ) -> Result<Pdu, RedactError> {
        let event = Pdu::from_json(self.event_id, room_id.to_owned(), self.json, rules, false)?;
        if self.redacted { redact(&event, rules) } else { Ok(event) }
    }
}

/// A SELECT of [`StateEventRow`]s; conditions on `c` follow.
fn select_state() -> String {
    // The sender is only looked for in events that have a redaction.
    let redaction = redaction_of("c.event_id", "c.room_id", "(j.json ->> 'sender')");
    format!(
        "SELECT c.event_id, j.json,
                c.type <> 'm.room.create' AND {redaction} IS NOT NULL AS redacted
         FROM current_state_events c JOIN event_json j ON j.event_id = c.event_id"
    )
}

/// A forward extremity.
#[derive(Debug, Deserialize)]
pub struct ExtremityRow {
    pub event_id: OwnedEventId,
    pub depth: i64,
    pub json: String,
    pub state_group: Option<i64>,
    /// How many hops there are from its state group to a full one.
    pub hops: usize,
}

/// The most forward extremities that an event refers to: 20 by the format, and few are enough.
const EXTREMITIES_MAX: u32 = 10;

/// Loads a room: a [`RoomRow`], its [`StateEventRow`]s, its [`ExtremityRow`]s.
pub fn select_for_writer(room_id: &str) -> [Statement; 3] {
    [
        Statement::new(
            "SELECT r.room_version, coalesce(e.epoch, 0) AS epoch
             FROM rooms r LEFT JOIN myelin_room_epochs e ON e.room_id = r.room_id
             WHERE r.room_id = ?1",
        )
        .bind(room_id),
        Statement::new(format!("{} WHERE c.room_id = ?1", select_state())).bind(room_id),
        Statement::new(
            "SELECT x.event_id, e.depth, j.json, g.state_group,
                    (WITH RECURSIVE chain (state_group) AS (
                         SELECT g.state_group
                         UNION ALL
                         SELECT s.prev_state_group FROM chain
                         JOIN state_group_edges s ON s.state_group = chain.state_group)
                     SELECT count(*) - 1 FROM chain) AS hops
             FROM event_forward_extremities x
             JOIN events e ON e.event_id = x.event_id
             JOIN event_json j ON j.event_id = x.event_id
             LEFT JOIN event_to_state_groups g ON g.event_id = x.event_id
             WHERE x.room_id = ?1 ORDER BY e.depth DESC LIMIT ?2 + 0",
        )
        .bind(room_id)
        .bind(EXTREMITIES_MAX),
    ]
}

/// One event of a room, for the writer.
#[derive(Debug, Deserialize)]
pub struct TargetRow {
    pub event_id: OwnedEventId,
    pub room_id: OwnedRoomId,
    pub json: String,
}

/// Reads events by their ids: [`TargetRow`]s.
pub fn select_targets(event_ids: &[&str]) -> Statement {
    Statement::new(
        "SELECT event_id, room_id, json FROM event_json
         WHERE event_id IN (SELECT value FROM json_each(?1))",
    )
    .bind_json(&event_ids)
}

/// A room that a user is joined to.
#[derive(Debug, Deserialize)]
pub struct JoinedRoomRow {
    pub room_id: OwnedRoomId,
}

/// Which of these rooms a user of ours is joined to: [`JoinedRoomRow`]s.
pub fn select_joined_among(user_id: &str, room_ids: &[OwnedRoomId]) -> Statement {
    Statement::new(
        "SELECT room_id FROM local_current_membership
         WHERE user_id = ?1 AND membership = 'join'
           AND room_id IN (SELECT value FROM json_each(?2))",
    )
    .bind(user_id)
    .bind_json(&room_ids)
}

/// An alias and its room.
#[derive(Debug, Deserialize)]
pub struct AliasRow {
    pub room_alias: String,
    pub room_id: OwnedRoomId,
}

/// Which rooms these aliases name: [`AliasRow`]s.
pub fn select_aliases(aliases: &[String]) -> Statement {
    Statement::new(
        "SELECT room_alias, room_id FROM room_aliases
         WHERE room_alias IN (SELECT value FROM json_each(?1))",
    )
    .bind_json(&aliases)
}

/// The JSON of one current state event: a [`StateEventRow`].
pub fn select_current_state(room_id: &str, event_type: &str, state_key: &str) -> Statement {
    Statement::new(format!(
        "{} WHERE c.room_id = ?1 AND c.type = ?2 AND c.state_key = ?3",
        select_state()
    ))
    .bind(room_id)
    .bind(event_type)
    .bind(state_key)
}

/// A room's version and whether it is in the directory: see [`select_room`].
#[derive(Debug, Deserialize)]
pub struct RoomVersionRow {
    pub room_version: RoomVersionId,
    #[serde(deserialize_with = "super::database::boolean")]
    pub is_public: bool,
}

/// A room's own row.
pub fn select_room(room_id: &str) -> Statement {
    Statement::new("SELECT room_version, is_public FROM rooms WHERE room_id = ?1").bind(room_id)
}

/// The state that an upgrade looks at, without the members but for those banned and the caller:
/// [`StateEventRow`]s.
pub fn select_state_for_upgrade(room_id: &str, token: &str) -> Statement {
    Statement::new(format!(
        "{} WHERE c.room_id = ?1
           AND (c.type <> 'm.room.member' OR c.membership = 'ban'
                OR c.state_key =
                    coalesce((SELECT user_id FROM access_tokens WHERE token = ?2), ?2))",
        select_state()
    ))
    .bind(room_id)
    .bind(token)
}

/// Moves the aliases and the place in the directory from an upgraded room to the one that
/// replaces it.
pub fn move_directory_entries(old_room_id: &str, new_room_id: &str) -> [Statement; 2] {
    [
        Statement::new("UPDATE room_aliases SET room_id = ?2 WHERE room_id = ?1")
            .bind(old_room_id)
            .bind(new_room_id),
        Statement::new("UPDATE rooms SET is_public = 0 WHERE room_id = ?1").bind(old_room_id),
    ]
}

/// Marks a room that the user has left as forgotten.
pub fn forget(user_id: &str, room_id: &str) -> [Statement; 3] {
    let set = |table: &str| {
        Statement::new(format!(
            "UPDATE {table} SET forgotten = 1 WHERE user_id = ?1 AND room_id = ?2"
        ))
        .bind(user_id)
        .bind(room_id)
    };
    [
        set("room_memberships"),
        set("sliding_sync_membership_snapshots"),
        sliding_sync_connections::unsettle(user_id),
    ]
}

/// The membership of a token's owner: a `MembershipRow` of `local_memberships`.
pub fn select_membership_by_token(room_id: &str, token: &str) -> Statement {
    Statement::new(
        "SELECT room_id, membership FROM local_current_membership
         WHERE user_id = coalesce((SELECT user_id FROM access_tokens WHERE token = ?1), ?1)
             AND room_id = ?2",
    )
    .bind(token)
    .bind(room_id)
}
