//! Which events a user may see.
//!
//! Spec: <https://spec.matrix.org/latest/client-server-api/#room-history-visibility>

use ruma::{
    UserId,
    events::{
        TimelineEventType,
        room::{history_visibility::HistoryVisibility, member::MembershipState},
    },
};
use serde_json::{Value, value::RawValue};

use crate::{
    pdu::Pdu,
    room_state::{history_visibility, membership},
};

/// What decides whether a user sees an event: the state of the room right after it.
#[derive(Debug, Clone, Copy)]
pub struct StateAtEvent<'a> {
    pub history_visibility: Option<&'a Pdu>,
    /// The membership of the user who looks.
    pub member: Option<&'a Pdu>,
    /// The content of the state event that the event replaced, if it is one and did.
    pub prev_content: Option<&'a RawValue>,
}

/// Whether a user may see an event. `has_joined_since` says that the user is in the room now, or
/// was at some time after the event; shared history is for those.
pub fn can_see_event(
    user_id: &UserId,
    event: &Pdu,
    state: StateAtEvent<'_>,
    has_joined_since: bool,
) -> bool {
    let visibility = visibility_at(event, state);
    if visibility == HistoryVisibility::WorldReadable {
        return true;
    }
    if visibility == HistoryVisibility::Shared && has_joined_since {
        return true;
    }
    let is_own_membership = event.event_type == TimelineEventType::RoomMember
        && event.state_key.as_deref() == Some(user_id.as_str());
    let at_event = match is_own_membership {
        true => best_own_membership(event, state.prev_content),
        false => Some(membership(state.member)),
    };
    match at_event {
        // The user's own leaving: without it the room would not disappear.
        None | Some(MembershipState::Join) => true,
        Some(MembershipState::Invite) => visibility == HistoryVisibility::Invited,
        Some(_) => false,
    }
}

/// Events that no client is shown: aliases cannot be redacted, dummies mean nothing.
pub fn is_never_shown(event: &Pdu) -> bool {
    let event_type = event.event_type.to_string();
    matches!(event_type.as_str(), "m.room.aliases" | "org.matrix.dummy_event")
}

/// A change of the visibility is seen by those who see what was before it or what comes after.
fn visibility_at(event: &Pdu, state: StateAtEvent<'_>) -> HistoryVisibility {
    let after = history_visibility(state.history_visibility);
    if event.event_type != TimelineEventType::RoomHistoryVisibility {
        return after;
    }
    let before: HistoryVisibility = field_of(state.prev_content, "history_visibility")
        .map_or(HistoryVisibility::Shared, HistoryVisibility::from);
    if openness(&before) > openness(&after) { before } else { after }
}

fn openness(visibility: &HistoryVisibility) -> u8 {
    match visibility {
        HistoryVisibility::WorldReadable => 3,
        HistoryVisibility::Invited => 1,
        HistoryVisibility::Joined => 0,
        _ => 2,
    }
}

/// The closer of the memberships before and after; `None` for leaving, which is always seen.
fn best_own_membership(event: &Pdu, prev_content: Option<&RawValue>) -> Option<MembershipState> {
    let after = membership(Some(event));
    let before =
        field_of(prev_content, "membership").map_or(MembershipState::Leave, MembershipState::from);
    if after == MembershipState::Leave && closeness(&before) > closeness(&after) {
        return None;
    }
    Some(if closeness(&before) > closeness(&after) { before } else { after })
}

fn closeness(membership: &MembershipState) -> u8 {
    match membership {
        MembershipState::Join => 4,
        MembershipState::Invite => 3,
        MembershipState::Knock => 2,
        MembershipState::Ban => 0,
        _ => 1,
    }
}

fn field_of(content: Option<&RawValue>, key: &str) -> Option<String> {
    let content: Value = serde_json::from_str(content?.get()).ok()?;
    content[key].as_str().map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use ruma::user_id;
    use serde_json::json;

    use super::*;
    use crate::{
        pdu::raw_json,
        test_room::{ALICE, BOB, TestRoom},
    };

    const LEVELS: [&str; 4] = ["world_readable", "shared", "invited", "joined"];

    fn set_visibility(room: &mut TestRoom, visibility: &str) -> Pdu {
        let content = json!({"history_visibility": visibility});
        room.state(ALICE, "m.room.history_visibility", "", content).unwrap()
    }

    /// Whether Bob sees an event, given the room as it is right after it.
    fn bob_sees(
        room: &TestRoom,
        event: &Pdu,
        prev_content: Option<Value>,
        has_joined_since: bool,
    ) -> bool {
        let visibility = room.get(&"m.room.history_visibility".into(), "");
        let member = room.get(&"m.room.member".into(), BOB);
        let prev_content = prev_content.map(|content| raw_json(&content));
        let state = StateAtEvent {
            history_visibility: visibility.as_ref(),
            member: member.as_ref(),
            prev_content: prev_content.as_deref(),
        };
        can_see_event(user_id!("@bob:one.test"), event, state, has_joined_since)
    }

    #[test]
    fn messages_are_seen_by_membership_and_visibility() {
        // Who sees what: outsider, outsider who joins later, invited, joined.
        let expected = [
            ("world_readable", [true, true, true, true]),
            ("shared", [false, true, false, true]),
            ("invited", [false, false, true, true]),
            ("joined", [false, false, false, true]),
        ];
        for (visibility, [outsider, later, invited, joined]) in expected {
            let mut room = TestRoom::public("12");
            set_visibility(&mut room, visibility);
            let message = room.message(ALICE, "hello").unwrap();
            assert_eq!(bob_sees(&room, &message, None, false), outsider, "{visibility}");
            assert_eq!(bob_sees(&room, &message, None, true), later, "{visibility}");
            room.membership(ALICE, BOB, "invite").unwrap();
            let message = room.message(ALICE, "hello").unwrap();
            assert_eq!(bob_sees(&room, &message, None, false), invited, "{visibility}");
            room.join(BOB);
            let message = room.message(ALICE, "hello").unwrap();
            assert_eq!(bob_sees(&room, &message, None, false), joined, "{visibility}");
            room.membership(ALICE, BOB, "ban").unwrap();
            let message = room.message(ALICE, "hello").unwrap();
            assert_eq!(bob_sees(&room, &message, None, false), outsider, "{visibility}");
        }
    }

    #[test]
    fn without_a_visibility_history_is_shared() {
        let mut room = TestRoom::public("12");
        let message = room.message(ALICE, "hello").unwrap();
        assert!(bob_sees(&room, &message, None, true));
        assert!(!bob_sees(&room, &message, None, false));
    }

    #[test]
    fn a_change_of_visibility_is_seen_from_either_side() {
        for (before, after, seen) in [
            ("world_readable", "joined", true),
            ("joined", "world_readable", true),
            ("joined", "invited", false),
            ("unheard_of", "joined", false),
        ] {
            let mut room = TestRoom::public("12");
            let event = set_visibility(&mut room, after);
            let prev_content = Some(json!({"history_visibility": before}));
            let sees = bob_sees(&room, &event, prev_content, false);
            assert_eq!(sees, seen, "{before} to {after}");
        }
    }

    #[test]
    fn one_sees_one_s_own_comings_and_goings() {
        for visibility in LEVELS {
            let mut room = TestRoom::public("12");
            set_visibility(&mut room, visibility);
            let mut change = |sender, membership, before: Option<&str>| {
                let event = room.membership(sender, BOB, membership).unwrap();
                let prev_content = before.map(|before| json!({"membership": before}));
                bob_sees(&room, &event, prev_content, false)
            };
            assert_eq!(change(ALICE, "invite", None), !matches!(visibility, "shared" | "joined"));
            assert!(change(BOB, "leave", Some("invite")), "declined under {visibility}");
            assert!(change(BOB, "join", Some("leave")), "joined under {visibility}");
            assert!(change(ALICE, "leave", Some("join")), "kicked under {visibility}");
            assert!(change(BOB, "join", Some("leave")), "came back under {visibility}");
            assert!(change(ALICE, "ban", Some("join")), "banned under {visibility}");
        }
    }

    #[test]
    fn aliases_are_never_shown() {
        let mut room = TestRoom::public("5");
        let aliases = room.state(ALICE, "m.room.aliases", "one.test", json!({})).unwrap();
        assert!(is_never_shown(&aliases));
        assert!(!is_never_shown(&room.message(ALICE, "hello").unwrap()));
    }
}
