//! Joining, inviting, leaving, kicking, banning, knocking, forgetting. Client-Server API, "Room
//! membership".

use ruma::api::client::knock::knock_room;
use ruma::api::client::membership::{
    ban_user, forget_room, invite_user, join_room_by_id, kick_user, leave_room, unban_user,
};
use ruma::events::room::member::MembershipState;
use ruma::{OwnedRoomId, OwnedRoomOrAliasId, OwnedUserId, RoomAliasId, UserId};
use serde_json::{Map, Value, json};

use super::endpoint::object;
use super::{Access, Answer, Caller, Incoming, Route, batched, json as answer_json, raw};
use crate::accounts::application_services::make_alias;
use crate::context::Context;
use crate::durable::{ChangeMembership, MembershipAction, RoomCommand};
use crate::error::{ApiError, ErrorCode};
use crate::storage::database::Results;
use crate::storage::local_memberships::MembershipRow;
use crate::storage::profiles::{self, MemberProfileRow};
use crate::storage::rooms::{self, AliasRow};

pub fn routes() -> Vec<Route> {
    vec![
        batched(join_by_id),
        raw(http::Method::POST, &JOIN_PATHS, join_by_id_or_alias),
        batched(invite),
        batched(leave),
        batched(kick),
        batched(ban),
        batched(unban),
        batched(knock),
        batched(forget),
    ]
}

const JOIN_PATHS: [&str; 2] =
    ["/_matrix/client/r0/join/{room_id_or_alias}", "/_matrix/client/v3/join/{room_id_or_alias}"];

/// `POST /_matrix/client/v3/rooms/{roomId}/join`
async fn join_by_id(
    access: Access,
    request: join_room_by_id::v3::Request,
) -> Result<join_room_by_id::v3::Response, ApiError> {
    let join = Own { action: MembershipAction::Join, content: with_reason(request.reason) };
    let room_id = join.apply(access, request.room_id.into()).await?;
    Ok(join_room_by_id::v3::Response::new(room_id))
}

/// `POST /_matrix/client/v3/join/{roomIdOrAlias}`: what else the body has becomes content.
async fn join_by_id_or_alias(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    access.token()?;
    let room = OwnedRoomOrAliasId::try_from(incoming.arg(0))
        .map_err(|_| ApiError::invalid_param(format!("{} is not a room", incoming.arg(0))))?;
    let mut content = object(incoming.json()?)?;
    content.remove("third_party_signed");
    let join = Own { action: MembershipAction::Join, content };
    let room_id = join.apply(access, room).await?;
    answer_json(&json!({"room_id": room_id}))
}

/// `POST /_matrix/client/v3/knock/{roomIdOrAlias}`
async fn knock(
    access: Access,
    request: knock_room::v3::Request,
) -> Result<knock_room::v3::Response, ApiError> {
    let knock = Own { action: MembershipAction::Knock, content: with_reason(request.reason) };
    let room_id = knock.apply(access, request.room_id_or_alias).await?;
    Ok(knock_room::v3::Response::new(room_id))
}

/// `POST /_matrix/client/v3/rooms/{roomId}/leave`
async fn leave(
    access: Access,
    request: leave_room::v3::Request,
) -> Result<leave_room::v3::Response, ApiError> {
    let caller = access.authenticate().await?;
    let content = with_reason(request.reason);
    let target = caller.user_id.clone();
    change(&caller, &request.room_id, MembershipAction::Leave, target, content).await?;
    Ok(leave_room::v3::Response::new())
}

/// `POST /_matrix/client/v3/rooms/{roomId}/invite`
async fn invite(
    access: Access,
    request: invite_user::v3::Request,
) -> Result<invite_user::v3::Response, ApiError> {
    let invite_user::v3::InvitationRecipient::UserId(recipient) = request.recipient else {
        return Err(ApiError::new(
            ErrorCode::ThreepidDenied,
            "Inviting by third-party identifier is not possible on this server",
        ));
    };
    let target = recipient.user_id;
    let reads = vec![profiles::select_for_members("", std::slice::from_ref(&target))];
    let (caller, results) = access.authenticate_with(reads).await?;
    caller.must_not_be_guest()?;
    must_be_local(&caller.context, &target)?;
    let profiles: Vec<MemberProfileRow> = Results::new(results).rows()?;
    must_take_invites(&caller, &target, &profiles)?;
    let mut content = with_reason(recipient.reason);
    add_profile(&mut content, target.as_str(), &profiles);
    change(&caller, &request.room_id, MembershipAction::Invite, target, content).await?;
    Ok(invite_user::v3::Response::new())
}

/// `POST /_matrix/client/v3/rooms/{roomId}/kick`
async fn kick(
    access: Access,
    request: kick_user::v3::Request,
) -> Result<kick_user::v3::Response, ApiError> {
    let caller = access.authenticate().await?;
    caller.must_not_be_guest()?;
    let content = with_reason(request.reason);
    change(&caller, &request.room_id, MembershipAction::Kick, request.user_id, content).await?;
    Ok(kick_user::v3::Response::new())
}

/// `POST /_matrix/client/v3/rooms/{roomId}/ban`
async fn ban(
    access: Access,
    request: ban_user::v3::Request,
) -> Result<ban_user::v3::Response, ApiError> {
    let caller = access.authenticate().await?;
    caller.must_not_be_guest()?;
    let content = with_reason(request.reason);
    change(&caller, &request.room_id, MembershipAction::Ban, request.user_id, content).await?;
    Ok(ban_user::v3::Response::new())
}

/// `POST /_matrix/client/v3/rooms/{roomId}/unban`
async fn unban(
    access: Access,
    request: unban_user::v3::Request,
) -> Result<unban_user::v3::Response, ApiError> {
    let caller = access.authenticate().await?;
    caller.must_not_be_guest()?;
    let content = with_reason(request.reason);
    change(&caller, &request.room_id, MembershipAction::Unban, request.user_id, content).await?;
    Ok(unban_user::v3::Response::new())
}

/// `POST /_matrix/client/v3/rooms/{roomId}/forget`
async fn forget(
    access: Access,
    request: forget_room::v3::Request,
) -> Result<forget_room::v3::Response, ApiError> {
    let room_id = request.room_id;
    let read = rooms::select_membership_by_token(room_id.as_str(), access.token()?);
    let (caller, results) = access.authenticate_with(vec![read]).await?;
    caller.must_not_be_guest()?;
    let row: Option<MembershipRow> = Results::new(results).first()?;
    match row.map(|row| row.membership) {
        None => Err(ApiError::new(ErrorCode::Unknown, "Not a known room").with_status(400)),
        Some(MembershipState::Leave | MembershipState::Ban) => {
            let writes = rooms::forget(caller.user_id.as_str(), room_id.as_str());
            caller.context.batch(writes.to_vec()).await?;
            Ok(forget_room::v3::Response::new())
        }
        Some(_) => {
            let message = format!("User {} in room {room_id}", caller.user_id);
            Err(ApiError::new(ErrorCode::Unknown, message).with_status(400))
        }
    }
}

/// A change of the caller's own membership that carries the profile.
struct Own {
    action: MembershipAction,
    content: Map<String, Value>,
}

impl Own {
    async fn apply(
        self,
        access: Access,
        room: OwnedRoomOrAliasId,
    ) -> Result<OwnedRoomId, ApiError> {
        let reads = vec![
            profiles::select_for_members(access.token()?, &[]),
            rooms::select_aliases(&[room.to_string()]),
        ];
        let (caller, results) = access.authenticate_with(reads).await?;
        if self.action == MembershipAction::Knock {
            caller.must_not_be_guest()?;
        }
        let mut results = Results::new(results);
        let profiles: Vec<MemberProfileRow> = results.rows()?;
        let alias: Option<AliasRow> = results.first()?;
        let room_id = match (alias, OwnedRoomId::try_from(room)) {
            (Some(alias), _) => alias.room_id,
            (None, Ok(room_id)) => room_id,
            (None, Err(alias)) => room_of_new_alias(&caller.context, &alias).await?,
        };
        let mut content = self.content;
        add_profile(&mut content, caller.user_id.as_str(), &profiles);
        let target = caller.user_id.clone();
        change(&caller, &room_id, self.action, target, content).await?;
        Ok(room_id)
    }
}

/// The room of an alias that an application service makes when it is asked for it.
async fn room_of_new_alias(
    context: &Context,
    alias: &RoomAliasId,
) -> Result<OwnedRoomId, ApiError> {
    let found = match make_alias(context, alias).await {
        true => {
            let read = vec![rooms::select_aliases(&[alias.to_string()])];
            Results::new(context.batch(read).await?).first::<AliasRow>()?
        }
        false => None,
    };
    let unknown = || ApiError::not_found(format!("Room alias {alias} not found"));
    found.map(|row| row.room_id).ok_or_else(unknown)
}

fn with_reason(reason: Option<String>) -> Map<String, Value> {
    reason.map(|reason| ("reason".to_owned(), json!(reason))).into_iter().collect()
}

/// Adds the target's display name and avatar, unless the content has its own.
pub(super) fn add_profile(
    content: &mut Map<String, Value>,
    target: &str,
    rows: &[MemberProfileRow],
) {
    if let Some(row) = rows.iter().find(|row| row.user_id == target) {
        profiles::add_to_member(content, row.displayname.as_deref(), row.avatar_url.as_deref());
    }
}

pub(super) fn must_be_local(context: &Context, target: &OwnedUserId) -> Result<(), ApiError> {
    if target.server_name() == context.server_name() {
        return Ok(());
    }
    Err(ApiError::forbidden("This server does not talk to other servers yet: invite its own users"))
}

/// Administrators invite whom they want, as in Synapse.
///
/// # Errors
/// `M_INVITE_BLOCKED`. Client-Server API, "Invite permission".
pub(super) fn must_take_invites(
    caller: &Caller,
    target: &UserId,
    rows: &[MemberProfileRow],
) -> Result<(), ApiError> {
    if caller.is_admin || !rows.iter().any(|row| row.user_id == target && row.blocks_invites) {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::InviteBlocked, format!("{target} takes no invitations")))
}

async fn change(
    caller: &Caller,
    room_id: &OwnedRoomId,
    action: MembershipAction,
    target: OwnedUserId,
    content: Map<String, Value>,
) -> Result<(), ApiError> {
    let command = command(caller, action, target, &content)?;
    caller.context.room(room_id, command).await.map(drop)
}

fn command(
    caller: &Caller,
    action: MembershipAction,
    target: OwnedUserId,
    content: &Map<String, Value>,
) -> Result<RoomCommand, ApiError> {
    if !action.lets_go() {
        caller.must_not_be_suspended()?;
    }
    Ok(RoomCommand::ChangeMembership(ChangeMembership {
        action,
        sender: caller.user_id.clone(),
        target,
        content: serde_json::value::to_raw_value(content).map_err(ApiError::internal)?,
        sender_is_guest: caller.is_guest,
        transaction: None,
        delayed: None,
    }))
}

/// The command for a membership that was put as a state event.
///
/// # Errors
/// `M_BAD_JSON` without a membership that there is; what the action itself forbids.
pub(super) fn membership_command(
    caller: &Caller,
    target: OwnedUserId,
    mut content: Map<String, Value>,
    profiles: &[MemberProfileRow],
) -> Result<RoomCommand, ApiError> {
    let membership = content.remove("membership");
    let membership = membership.as_ref().and_then(Value::as_str).unwrap_or_default();
    let action = MembershipAction::put(membership, target == caller.user_id);
    let action = action.ok_or_else(|| match membership {
        "join" => ApiError::forbidden("You cannot join somebody else"),
        _ => ApiError::bad_json("Invalid membership key"),
    })?;
    let is_own_action = matches!(action, MembershipAction::Join | MembershipAction::Leave);
    if caller.is_guest && !is_own_action {
        return Err(ApiError::new(ErrorCode::GuestAccessForbidden, "Guest access not allowed"));
    }
    if action == MembershipAction::Invite {
        must_be_local(&caller.context, &target)?;
        must_take_invites(caller, &target, profiles)?;
    }
    if action.shows_profile() {
        add_profile(&mut content, target.as_str(), profiles);
    }
    command(caller, action, target, &content)
}
