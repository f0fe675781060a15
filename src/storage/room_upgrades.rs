//! What users have said about a room that is replaced: read and copied for its joined members of
//! ours. Tables: `room_tags`, `room_tags_revisions`; reads of `account_data` and `push_rules`.

use ruma::OwnedUserId;
use serde::Deserialize;

use super::database::Statement;
use super::stream_positions::{StreamName, advance, current};

/// A user's `m.direct` that names the room.
#[derive(Debug, Deserialize)]
pub struct DirectRow {
    pub user_id: OwnedUserId,
    pub content: String,
}

/// A user's push rule of the room.
#[derive(Debug, Deserialize)]
pub struct RoomRuleRow {
    pub user_id: OwnedUserId,
    pub priority_class: i64,
    pub actions: String,
}

/// [`DirectRow`]s, then [`RoomRuleRow`]s.
pub fn select_user_data(room_id: &str) -> [Statement; 2] {
    [
        Statement::new(
            "SELECT a.user_id, a.content FROM local_current_membership m
             JOIN account_data a ON a.user_id = m.user_id AND a.account_data_type = 'm.direct'
             WHERE m.room_id = ?1 AND m.membership = 'join' AND instr(a.content, ?1) > 0",
        )
        .bind(room_id),
        Statement::new(
            "SELECT r.user_name AS user_id, r.priority_class, r.actions
             FROM local_current_membership m
             JOIN push_rules r ON r.user_name = m.user_id AND r.rule_id = 'global/room/' || ?1
             WHERE m.room_id = ?1 AND m.membership = 'join'",
        )
        .bind(room_id),
    ]
}

/// Gives the new room the tags of the old one.
pub fn copy_tags(old_room_id: &str, new_room_id: &str) -> Vec<Statement> {
    let position = current(StreamName::AccountData);
    let tags = Statement::new(
        "INSERT OR IGNORE INTO room_tags (user_id, room_id, tag, content)
         SELECT t.user_id, ?2, t.tag, t.content FROM local_current_membership m
         JOIN room_tags t ON t.user_id = m.user_id AND t.room_id = m.room_id
         WHERE m.room_id = ?1 AND m.membership = 'join'",
    );
    let revisions = Statement::new(format!(
        "INSERT OR IGNORE INTO room_tags_revisions (user_id, room_id, stream_id, instance_name)
         SELECT DISTINCT t.user_id, ?2, {position}, 'master' FROM local_current_membership m
         JOIN room_tags t ON t.user_id = m.user_id AND t.room_id = m.room_id
         WHERE m.room_id = ?1 AND m.membership = 'join'"
    ));
    let bind = |statement: Statement| statement.bind(old_room_id).bind(new_room_id);
    vec![advance(StreamName::AccountData), bind(tags), bind(revisions)]
}
