//! What users tell everyone about themselves. Client-Server API, "Profiles".

use futures_util::StreamExt;
use futures_util::stream;
use http::Method;
use ruma::{OwnedRoomId, OwnedUserId, UserId};
use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};

use super::access::{Access, Caller};
use super::endpoint::{Answer, Incoming, Route, json as answer, raw};
use crate::accounts::user_directory;
use crate::context::Context;
use crate::durable::{ChangeMembership, MembershipAction, RoomCommand};
use crate::error::{ApiError, ErrorCode};
use crate::storage;
use crate::storage::database::{Results, Statement};
use crate::storage::local_memberships::{self, MembershipRow};
use crate::storage::profiles::{self, ProfileRow};

/// By the specification: the whole profile, and the name of a field.
const PROFILE_BYTES_MAX: usize = 65_536;
const FIELD_NAME_BYTES_MAX: usize = 255;

/// Rooms that are asked at once to show a new profile: the platform lets an invocation wait for
/// 6 answers at a time.
const PROPAGATION_IN_FLIGHT_MAX: usize = 4;
/// With more rooms than this, the answer does not wait for them.
const PROPAGATION_AWAITED_MAX: usize = 4;

const ALL: &[&str] = &[
    "/_matrix/client/v3/profile/{user_id}",
    "/_matrix/client/r0/profile/{user_id}",
    "/_matrix/client/api/v1/profile/{user_id}",
];
const FIELD: &[&str] = &[
    "/_matrix/client/v3/profile/{user_id}/{field}",
    "/_matrix/client/r0/profile/{user_id}/{field}",
    "/_matrix/client/api/v1/profile/{user_id}/{field}",
    "/_matrix/client/unstable/uk.tcpip.msc4133/profile/{user_id}/{field}",
];

pub fn routes() -> Vec<Route> {
    vec![
        raw(Method::GET, ALL, get_profile),
        raw(Method::GET, FIELD, get_field),
        raw(Method::PUT, FIELD, set_field),
        raw(Method::DELETE, FIELD, remove_field),
    ]
}

/// `GET /_matrix/client/v3/profile/{userId}`
async fn get_profile(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let profile = read(&access.context, &incoming.id::<OwnedUserId>(0)?).await?;
    let fields = all_fields(profile);
    if fields.is_empty() {
        return Err(not_found());
    }
    answer(&fields)
}

/// `GET /_matrix/client/v3/profile/{userId}/{keyName}`
async fn get_field(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let user_id: OwnedUserId = incoming.id(0)?;
    let name = field_name(&incoming)?;
    let profile = read(&access.context, &user_id).await?;
    match all_fields(profile).remove(name) {
        Some(value) => answer(&json!({ name: value })),
        // These two belong to every profile: they are only not set.
        None if is_propagated(name) => answer(&json!({})),
        None => Err(not_found()),
    }
}

/// `PUT /_matrix/client/v3/profile/{userId}/{keyName}`
async fn set_field(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let user_id: OwnedUserId = incoming.id(0)?;
    let (caller, profile) = authorise(access, &incoming, &user_id).await?;
    let name = field_name(&incoming)?;
    let mut body: Map<String, Value> = super::endpoint::object(incoming.json()?)?;
    let value = body.remove(name);
    let value = value.ok_or_else(|| ApiError::missing_param(format!("There is no {name:?}")))?;
    must_fit(&profile, name, &value)?;
    let text = match name {
        "displayname" => text(name, &value, profiles::DISPLAYNAME_CHARACTERS_MAX)?.trim(),
        "avatar_url" => text(name, &value, profiles::AVATAR_URL_CHARACTERS_MAX)?,
        _ => "",
    };
    let text = Some(text).filter(|text| !text.is_empty());
    let writes = match is_propagated(name) {
        true => set_text(&caller, &user_id, profile, name, text),
        false => vec![profiles::set_field(&user_id, name, &value.to_string())],
    };
    write_and_propagate(caller, user_id, name, writes).await
}

/// `DELETE /_matrix/client/v3/profile/{userId}/{keyName}`
async fn remove_field(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let user_id: OwnedUserId = incoming.id(0)?;
    let (caller, profile) = authorise(access, &incoming, &user_id).await?;
    let name = field_name(&incoming)?;
    let writes = match is_propagated(name) {
        true => set_text(&caller, &user_id, profile, name, None),
        false => vec![profiles::remove_field(&user_id, name)],
    };
    write_and_propagate(caller, user_id, name, writes).await
}

/// Sets the display name or the avatar, in the user directory too.
fn set_text(
    caller: &Caller,
    user_id: &UserId,
    profile: ProfileRow,
    name: &str,
    text: Option<&str>,
) -> Vec<Statement> {
    let (displayname, avatar_url) = (profile.displayname.as_deref(), profile.avatar_url.as_deref());
    let (write, displayname, avatar_url) = match name {
        "displayname" => (profiles::set_displayname(user_id, text), text, avatar_url),
        _ => (profiles::set_avatar_url(user_id, text), displayname, text),
    };
    let server_name = caller.context.server_name();
    let entry = user_directory::entry(server_name, user_id, displayname, avatar_url);
    let mut writes = vec![write];
    writes.extend(storage::user_directory::write(&[entry]));
    writes
}

async fn read(context: &Context, user_id: &UserId) -> Result<ProfileRow, ApiError> {
    let results = context.batch(vec![profiles::select(user_id)]).await?;
    Results::new(results).first()?.ok_or_else(not_found)
}

fn not_found() -> ApiError {
    ApiError::not_found("Profile was not found")
}

fn all_fields(profile: ProfileRow) -> Map<String, Value> {
    let mut fields = profile.fields;
    for (name, value) in [("displayname", profile.displayname), ("avatar_url", profile.avatar_url)]
    {
        if let Some(value) = value {
            fields.insert(name.to_owned(), Value::String(value));
        }
    }
    fields
}

/// The fields that are shown in the member events of rooms.
fn is_propagated(name: &str) -> bool {
    matches!(name, "displayname" | "avatar_url")
}

/// Who may change the profile: its user, or an administrator. Guests may have a name.
async fn authorise(
    access: Access,
    incoming: &Incoming,
    user_id: &UserId,
) -> Result<(Caller, ProfileRow), ApiError> {
    let read = profiles::select(user_id);
    let (caller, results) = access.authenticate_with(vec![read]).await?;
    caller.must_not_be_suspended()?;
    if incoming.arg(1) != "displayname" {
        caller.must_not_be_guest()?;
    }
    if !caller.is_admin {
        caller.must_be(user_id)?;
    }
    let profile: Option<ProfileRow> = Results::new(results).first()?;
    if profile.is_none() && caller.user_id != user_id {
        return Err(not_found());
    }
    Ok((caller, profile.unwrap_or_default()))
}

/// Appendices, "Common Namespaced Identifier Grammar".
fn field_name(incoming: &Incoming) -> Result<&str, ApiError> {
    let name = incoming.arg(1);
    if name.len() > FIELD_NAME_BYTES_MAX {
        let message = format!("The name of a field has at most {FIELD_NAME_BYTES_MAX} bytes");
        return Err(ApiError::new(ErrorCode::KeyTooLarge, message));
    }
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
    };
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) || !name.bytes().all(allowed) {
        return Err(ApiError::invalid_param("This is not the name of a profile field"));
    }
    Ok(name)
}

fn text<'a>(name: &str, value: &'a Value, characters_max: usize) -> Result<&'a str, ApiError> {
    let text = value.as_str();
    let text = text.ok_or_else(|| ApiError::invalid_param(format!("{name:?} must be a string")))?;
    if text.chars().count() > characters_max {
        let message = format!("{name:?} has at most {characters_max} characters");
        return Err(ApiError::invalid_param(message));
    }
    Ok(text)
}

fn must_fit(profile: &ProfileRow, name: &str, value: &Value) -> Result<(), ApiError> {
    let mut fields = all_fields(profile.clone());
    fields.insert(name.to_owned(), value.clone());
    if Value::Object(fields).to_string().len() <= PROFILE_BYTES_MAX {
        return Ok(());
    }
    let message = format!("A profile has at most {PROFILE_BYTES_MAX} bytes");
    Err(ApiError::new(ErrorCode::ProfileTooLarge, message))
}

async fn write_and_propagate(
    caller: Caller,
    user_id: OwnedUserId,
    name: &str,
    writes: Vec<Statement>,
) -> Result<Answer, ApiError> {
    let (written, mut batch) = (writes.len(), writes);
    if is_propagated(name) {
        batch.push(profiles::select(&user_id));
        batch.push(local_memberships::select_joined(&user_id));
    }
    let mut results = Results::new(caller.context.batch(batch).await?);
    results.skip(written);
    let profile: Option<ProfileRow> = results.first()?;
    if let Some(profile) = profile {
        let rooms = results.rows::<MembershipRow>()?.into_iter().map(|row| row.room_id).collect();
        propagate(&caller, user_id, profile, rooms).await?;
    }
    answer(&json!({}))
}

/// Shows the new profile in the rooms that the user is joined to.
async fn propagate(
    caller: &Caller,
    user_id: OwnedUserId,
    profile: ProfileRow,
    rooms: Vec<OwnedRoomId>,
) -> Result<(), ApiError> {
    let content = all_fields(ProfileRow { fields: Map::new(), ..profile });
    let change = ChangeMembership {
        action: MembershipAction::UpdateProfile,
        sender: user_id.clone(),
        target: user_id,
        content: to_raw_value(&content).map_err(ApiError::internal)?,
        sender_is_guest: caller.is_guest,
        transaction: None,
        delayed: None,
    };
    let is_awaited = rooms.len() <= PROPAGATION_AWAITED_MAX;
    let context = caller.context.clone();
    let all = stream::iter(rooms).for_each_concurrent(PROPAGATION_IN_FLIGHT_MAX, move |room_id| {
        let (context, change) = (context.clone(), change.clone());
        async move {
            // A room that refuses the event keeps the old profile; the others go on.
            let command = RoomCommand::ChangeMembership(change);
            if let Err(error) = context.room(&room_id, command).await {
                crate::log::warn(&format!("a profile was not shown in {room_id}: {error}"));
            }
        }
    });
    if is_awaited {
        all.await;
    } else {
        caller.context.platform.spawn(Box::pin(all));
    }
    Ok(())
}
