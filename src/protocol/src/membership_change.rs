//! Changes of membership: what is asked, whether the room's present state lets it make sense,
//! and the content of the event. The authorisation rules have the last word; what is checked
//! here is what they cannot say, or say less clearly.

use ruma::events::StateEventType;
use ruma::events::room::member::MembershipState;
use ruma::room::JoinRuleKind;
use ruma::{OwnedRoomId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::pdu::Pdu;
use crate::room_snapshot::RoomSnapshot;
use crate::room_state::{JoinRule, guests_can_join, membership};

/// What somebody wants to happen to a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Join,
    Invite,
    Knock,
    Leave,
    Kick,
    Ban,
    Unban,
    /// A joined member's new profile; nothing happens if the user is not joined.
    UpdateProfile,
}

impl Action {
    /// What somebody does who sets their own or another's membership to this. `None`: there is no
    /// such membership, or nobody can set it for another.
    pub fn put(membership: &str, is_own: bool) -> Option<Self> {
        match membership {
            "join" if is_own => Some(Self::Join),
            "invite" => Some(Self::Invite),
            "knock" => Some(Self::Knock),
            "leave" if is_own => Some(Self::Leave),
            "leave" => Some(Self::Kick),
            "ban" => Some(Self::Ban),
            _ => None,
        }
    }

    /// Whether it lets somebody go: that also those may do who are suspended.
    pub fn lets_go(self) -> bool {
        matches!(self, Self::Leave | Self::Kick | Self::Unban)
    }

    /// Whether the event shows the profile of its target.
    pub fn shows_profile(self) -> bool {
        matches!(self, Self::Join | Self::Invite | Self::Knock)
    }
}

/// Why a change of membership is refused before the authorisation rules are asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("Cannot unban user who was not banned (membership={0})")]
    NotBanned(MembershipState),
    #[error("Cannot {0} user who was banned")]
    Banned(&'static str),
    #[error("The target user is not in the room")]
    NotInRoom,
    #[error("{0} is already in the room")]
    AlreadyInRoom(OwnedUserId),
    #[error("Guest access not allowed")]
    GuestAccess,
    #[error("You are not invited to this room")]
    NotInvited,
    #[error("You don't belong to any of the required rooms/spaces to join this room")]
    NotInAllowedRoom,
    #[error("Nobody of this server can let you into the room")]
    CannotGrant,
    #[error("{0} is too long (at most {1} characters)")]
    TooLong(&'static str, usize),
}

/// The longest display name, as Synapse has it. Characters.
pub const DISPLAYNAME_MAX: usize = 256;
/// The longest avatar URL, as Synapse has it. Characters.
pub const AVATAR_URL_MAX: usize = 1000;

/// A change of membership.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    pub action: Action,
    pub sender: &'a UserId,
    pub target: &'a UserId,
    pub content: Map<String, Value>,
    pub sender_is_guest: bool,
    /// Rooms of the join rule's `allow` list that the target is joined to.
    pub joined_allowed_rooms: &'a [OwnedRoomId],
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Append a membership event with this content.
    Append(Map<String, Value>),
    /// Nothing would change.
    Unchanged,
}

/// The rooms whose members may join, if the target could only join that way: the caller has to
/// find out which of them the target is joined to.
pub fn allowed_rooms_to_check(
    room: &RoomSnapshot,
    action: Action,
    target: &UserId,
) -> Vec<OwnedRoomId> {
    let rule = JoinRule::of(room.get(&StateEventType::RoomJoinRules, ""));
    let present =
        matches!(room.membership(target), MembershipState::Join | MembershipState::Invite);
    if action == Action::Join && rule.is_restricted(&room.rules) && !present {
        return rule.allow_rooms;
    }
    Vec::new()
}

/// Decides a change of membership.
///
/// # Errors
/// The reason, in words for the caller.
pub fn decide(
    room: &RoomSnapshot,
    change: Change<'_>,
    is_local: impl Fn(&UserId) -> bool,
) -> Result<Decision, ChangeError> {
    check_lengths(&change.content)?;
    let old = room.member(change.target);
    let old_membership = membership(old);
    if old.is_none() && change.action == Action::Leave {
        return Err(ChangeError::NotInRoom);
    }
    check_present(&change, &old_membership)?;
    let mut content = change.content.clone();
    content.remove("join_authorised_via_users_server");
    content.insert("membership".to_owned(), json!(target_membership(change.action).to_string()));
    match change.action {
        Action::Join => check_join(room, &change, &old_membership, is_local, &mut content)?,
        Action::UpdateProfile if old_membership != MembershipState::Join => {
            return Ok(Decision::Unchanged);
        }
        _ => {}
    }
    let same = old.is_some_and(|old| {
        old.sender == change.sender
            && old.content_as::<Map<String, Value>>() == Some(content.clone())
    });
    Ok(if same { Decision::Unchanged } else { Decision::Append(content) })
}

fn target_membership(action: Action) -> MembershipState {
    match action {
        Action::Join | Action::UpdateProfile => MembershipState::Join,
        Action::Invite => MembershipState::Invite,
        Action::Knock => MembershipState::Knock,
        Action::Leave | Action::Kick | Action::Unban => MembershipState::Leave,
        Action::Ban => MembershipState::Ban,
    }
}

fn check_lengths(content: &Map<String, Value>) -> Result<(), ChangeError> {
    let limits = [("displayname", DISPLAYNAME_MAX), ("avatar_url", AVATAR_URL_MAX)];
    for (name, max) in limits {
        let length = content.get(name).and_then(Value::as_str).map_or(0, |t| t.chars().count());
        if length > max {
            return Err(ChangeError::TooLong(name, max));
        }
    }
    Ok(())
}

fn check_present(change: &Change<'_>, old: &MembershipState) -> Result<(), ChangeError> {
    use MembershipState::{Ban, Join, Leave};
    match (change.action, old) {
        (Action::Unban, Ban) => Ok(()),
        (Action::Unban, _) => Err(ChangeError::NotBanned(old.clone())),
        (Action::Join, Ban) => Err(ChangeError::Banned("join")),
        (Action::Invite, Ban) => Err(ChangeError::Banned("invite")),
        (Action::Knock, Ban) => Err(ChangeError::Banned("knock")),
        (Action::Kick, Ban) => Err(ChangeError::Banned("kick")),
        (Action::Kick, Leave) => Err(ChangeError::NotInRoom),
        (Action::Invite, Join) => Err(ChangeError::AlreadyInRoom(change.target.to_owned())),
        _ => Ok(()),
    }
}

fn check_join(
    room: &RoomSnapshot,
    change: &Change<'_>,
    old: &MembershipState,
    is_local: impl Fn(&UserId) -> bool,
    content: &mut Map<String, Value>,
) -> Result<(), ChangeError> {
    if change.sender_is_guest {
        let guest_access = room.get(&StateEventType::RoomGuestAccess, "");
        if !guests_can_join(guest_access) {
            return Err(ChangeError::GuestAccess);
        }
        content.insert("kind".to_owned(), json!("guest"));
    }
    if matches!(old, MembershipState::Join | MembershipState::Invite) {
        return Ok(());
    }
    let rule = JoinRule::of(room.get(&StateEventType::RoomJoinRules, ""));
    if !rule.is_restricted(&room.rules) {
        let open = rule.kind == JoinRuleKind::Public;
        let first = room.members().next().is_none();
        return if open || first { Ok(()) } else { Err(ChangeError::NotInvited) };
    }
    if change.joined_allowed_rooms.is_empty() {
        return Err(ChangeError::NotInAllowedRoom);
    }
    let authoriser = find_authoriser(room, is_local).ok_or(ChangeError::CannotGrant)?;
    content.insert("join_authorised_via_users_server".to_owned(), json!(authoriser));
    Ok(())
}

/// The guests of ours who have to go because the room does not let guests in any longer.
pub fn guests_to_remove(
    room: &RoomSnapshot,
    is_local: impl Fn(&UserId) -> bool,
) -> Vec<OwnedUserId> {
    if guests_can_join(room.get(&StateEventType::RoomGuestAccess, "")) {
        return Vec::new();
    }
    let is_guest = |event: &&Pdu| {
        let content: Map<String, Value> = event.content_as().unwrap_or_default();
        membership(Some(event)) == MembershipState::Join
            && content.get("kind").and_then(Value::as_str) == Some("guest")
    };
    let guests = room.members().filter(is_guest);
    let guests = guests.filter_map(|event| UserId::parse(event.state_key.as_deref()?).ok());
    guests.filter(|user| is_local(user)).collect()
}

/// A joined user of ours who may invite: the one of the highest power.
fn find_authoriser(room: &RoomSnapshot, is_local: impl Fn(&UserId) -> bool) -> Option<OwnedUserId> {
    let power_levels = room.power_levels()?;
    let joined = room.members().filter(|event| membership(Some(event)) == MembershipState::Join);
    let users = joined.filter_map(|event| UserId::parse(event.state_key.as_deref()?).ok());
    users
        .filter(|user| is_local(user) && power_levels.can_invite(user))
        .max_by_key(|user| power_levels.of_user(user))
}
