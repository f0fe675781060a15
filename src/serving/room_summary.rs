//! What a reader is told of a room that they may not be in.
//!
//! Invariant: nothing of a room is told unless [`summary`] says that the reader may know of it.

use myelin_protocol::room_state::allowed_rooms;
use myelin_protocol::room_version;
use myelin_protocol::space::Preview;
use ruma::room::{JoinRuleKind, JoinRuleSummary, RestrictedSummary, RoomSummary, RoomType};
use ruma::{EventEncryptionAlgorithm, RoomId};
use serde_json::Value;

use crate::storage::room_summaries::SummaryRow;

/// The summary of a room that the reader may know of. A room that nobody of ours is in is not
/// known: its state here may be an old one.
pub fn summary(row: SummaryRow) -> Option<RoomSummary> {
    row.local_users_in_room.filter(|members| *members > 0)?;
    // The first rooms had no version.
    let version = room_version::find_supported(row.room_version.as_deref().unwrap_or("1"))?;
    let is_world_readable = row.history_visibility.as_deref() == Some("world_readable");
    let preview = Preview {
        rules: &version.rules()?,
        join_rule: &JoinRuleKind::from(row.join_rules.as_deref().unwrap_or("invite")),
        is_world_readable,
        membership: row.membership.as_ref(),
        is_in_allowed_room: row.is_in_allowed_room,
    };
    if !preview.is_shown() {
        return None;
    }
    let guest_can_join = row.guest_access.as_deref() == Some("can_join");
    let members = row.joined_members.unwrap_or_default().into();
    let join_rule = join_rule(&row);
    let room_id = RoomId::parse(row.room_id).ok()?;
    let mut summary =
        RoomSummary::new(room_id, join_rule, guest_can_join, members, is_world_readable);
    summary.canonical_alias = row.canonical_alias.and_then(|alias| alias.try_into().ok());
    summary.name = row.name;
    summary.topic = row.topic;
    summary.avatar_url = row.avatar.map(Into::into);
    summary.room_type = row.room_type.as_deref().map(RoomType::from);
    summary.encryption = row.encryption.map(EventEncryptionAlgorithm::from);
    summary.room_version = Some(version);
    Some(summary)
}

fn join_rule(row: &SummaryRow) -> JoinRuleSummary {
    let allowed = || {
        let allow: Option<Vec<Value>> =
            row.allow.as_deref().and_then(|allow| serde_json::from_str(allow).ok());
        RestrictedSummary::new(allowed_rooms(&allow.unwrap_or_default()))
    };
    match row.join_rules.as_deref() {
        Some("public") => JoinRuleSummary::Public,
        Some("knock") => JoinRuleSummary::Knock,
        Some("restricted") => JoinRuleSummary::Restricted(allowed()),
        Some("knock_restricted") => JoinRuleSummary::KnockRestricted(allowed()),
        Some("invite") | None => JoinRuleSummary::Invite,
        // A rule that nobody knows lets nobody in.
        Some(_) => JoinRuleSummary::Private,
    }
}
