//! What lists and directories show of a room, from its current state.

use myelin_protocol::pdu::Pdu;
use myelin_protocol::room_snapshot::RoomSnapshot;
use myelin_protocol::room_state::membership;
use ruma::events::StateEventType;
use ruma::events::room::member::MembershipState;
use ruma::{ServerName, UserId};
use serde_json::{Map, Value};

use crate::storage::room_state_log::{RoomFacts, RoomStats};

/// One text field of a state event with an empty key.
fn text(room: &RoomSnapshot, event_type: &str, field: &str) -> Option<String> {
    let event = room.get(&StateEventType::from(event_type), "")?;
    let content: Map<String, Value> = event.content_as()?;
    content.get(field)?.as_str().map(str::to_owned)
}

/// Whether people who are not in the room may look into it.
pub fn is_world_readable(room: &RoomSnapshot) -> bool {
    let visibility = text(room, "m.room.history_visibility", "history_visibility");
    visibility.as_deref() == Some("world_readable")
}

/// The facts that lists are sorted and filtered by.
pub fn room_facts(room: &RoomSnapshot) -> RoomFacts {
    RoomFacts {
        room_type: text(room, "m.room.create", "type"),
        name: text(room, "m.room.name", "name"),
        is_encrypted: room.get(&StateEventType::RoomEncryption, "").is_some(),
        tombstone_successor_room_id: text(room, "m.room.tombstone", "replacement_room"),
    }
}

/// What directories show, with the number of members.
pub fn room_stats(room: &RoomSnapshot, server_name: &ServerName) -> RoomStats {
    let create = room.get(&StateEventType::RoomCreate, "");
    let federate = create.and_then(|event| event.content_as::<Map<String, Value>>());
    let federate = federate.and_then(|content| content.get("m.federate")?.as_bool());
    let mut stats = RoomStats {
        name: text(room, "m.room.name", "name"),
        canonical_alias: text(room, "m.room.canonical_alias", "alias"),
        join_rules: text(room, "m.room.join_rules", "join_rule"),
        history_visibility: text(room, "m.room.history_visibility", "history_visibility"),
        encryption: text(room, "m.room.encryption", "algorithm"),
        avatar: text(room, "m.room.avatar", "url"),
        guest_access: text(room, "m.room.guest_access", "guest_access"),
        is_federatable: federate.unwrap_or(true),
        topic: text(room, "m.room.topic", "topic"),
        room_type: text(room, "m.room.create", "type"),
        current_state_events: room.state_len(),
        ..RoomStats::default()
    };
    for event in room.members() {
        count(&mut stats, event, server_name);
    }
    stats
}

fn count(stats: &mut RoomStats, member: &Pdu, server_name: &ServerName) {
    match membership(Some(member)) {
        MembershipState::Join => {
            stats.joined_members += 1;
            let user_id = member.state_key.as_deref().unwrap_or_default();
            let is_local = UserId::parse(user_id).is_ok_and(|u| u.server_name() == server_name);
            stats.local_users_in_room += usize::from(is_local);
        }
        MembershipState::Invite => stats.invited_members += 1,
        MembershipState::Leave => stats.left_members += 1,
        MembershipState::Ban => stats.banned_members += 1,
        MembershipState::Knock => stats.knocked_members += 1,
        _ => {}
    }
}
