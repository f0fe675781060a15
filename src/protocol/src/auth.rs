//! Authorisation: which events authorise another, whether they do, who may redact what.
//!
//! The rules are those of `ruma::state_res`; this file adds the defaults that it leaves out.
//! Spec: <https://spec.matrix.org/latest/server-server-api/#authorisation-rules>

use ruma::{
    EventId, UserId,
    events::{StateEventType, TimelineEventType},
    room_version_rules::RoomVersionRules,
    state_res::{
        auth_types_for_event, check_state_dependent_auth_rules, check_state_independent_auth_rules,
    },
};
use serde_json::value::RawValue;

use crate::{pdu::Pdu, room_state::PowerLevels};

/// The rule that an event breaks, in words. The errcode is `M_FORBIDDEN`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuthError(pub String);

impl AuthError {
    pub fn errcode(&self) -> &'static str {
        "M_FORBIDDEN"
    }
}

/// The parts of an event, made or not, that decide what authorises it.
#[derive(Debug, Clone, Copy)]
pub struct EventOutline<'a> {
    pub event_type: &'a TimelineEventType,
    pub sender: &'a UserId,
    pub state_key: Option<&'a str>,
    pub content: &'a RawValue,
}

impl<'a> From<&'a Pdu> for EventOutline<'a> {
    fn from(event: &'a Pdu) -> Self {
        Self {
            event_type: &event.event_type,
            sender: &event.sender,
            state_key: event.state_key.as_deref(),
            content: &event.content,
        }
    }
}

/// The entries of the room state that authorise an event, present or not.
pub fn auth_types(
    rules: &RoomVersionRules,
    event: EventOutline<'_>,
) -> Result<Vec<(StateEventType, String)>, AuthError> {
    let EventOutline { event_type, sender, state_key, content } = event;
    auth_types_for_event(event_type, sender, state_key, content, &rules.authorization)
        .map_err(AuthError)
}

/// The auth events of an event, out of the state before it.
pub fn select_auth_events<T>(
    rules: &RoomVersionRules,
    event: EventOutline<'_>,
    state: impl Fn(&StateEventType, &str) -> Option<T>,
) -> Result<Vec<T>, AuthError> {
    let types = auth_types(rules, event)?;
    Ok(types.iter().filter_map(|(event_type, key)| state(event_type, key)).collect())
}

/// Checks an event against its own `auth_events`: their selection, and what they allow.
/// `fetch_event` knows the auth events, and in version 12 the create event.
pub fn authorise_by_auth_events(
    rules: &RoomVersionRules,
    event: &Pdu,
    fetch_event: impl Fn(&EventId) -> Option<Pdu>,
) -> Result<(), AuthError> {
    check_state_independent_auth_rules(&rules.authorization, event, &fetch_event)
        .map_err(AuthError)?;
    let mut auth_events: Vec<Pdu> =
        event.auth_events.iter().filter_map(|event_id| fetch_event(event_id)).collect();
    if rules.authorization.room_create_event_id_as_room_id {
        let create = EventId::parse(format!("${}", event.room_id.strip_sigil())).ok();
        auth_events.extend(create.and_then(|event_id| fetch_event(&event_id)));
    }
    authorise(rules, event, |event_type, state_key| {
        auth_events.iter().find(|event| event.is_state(event_type, state_key)).cloned()
    })
}

/// Checks an event against a state of its room: the one before it, or the current one.
pub fn authorise(
    rules: &RoomVersionRules,
    event: &Pdu,
    state: impl Fn(&StateEventType, &str) -> Option<Pdu>,
) -> Result<(), AuthError> {
    if event.event_type == TimelineEventType::RoomCreate {
        return check_state_independent_auth_rules(&rules.authorization, event, |_| None::<Pdu>)
            .map_err(AuthError);
    }
    let state = |event_type: &StateEventType, state_key: &str| {
        state(event_type, state_key).or_else(|| default_state(event_type, &state))
    };
    check_state_dependent_auth_rules(&rules.authorization, event, state).map_err(AuthError)
}

/// A room without join rules is one that needs an invitation.
fn default_state(
    event_type: &StateEventType,
    state: impl Fn(&StateEventType, &str) -> Option<Pdu>,
) -> Option<Pdu> {
    if *event_type != StateEventType::RoomJoinRules {
        return None;
    }
    let create = state(&StateEventType::RoomCreate, "")?;
    Some(create.with_content(TimelineEventType::RoomJoinRules, r#"{"join_rule":"invite"}"#))
}

/// Whether a redaction that is itself authorised takes effect on its target.
///
/// From version 3 on: the redactor has the power, or is on the server of the target's sender.
/// In versions 1 and 2 the authorisation of the redaction has already decided.
pub fn redaction_allowed(
    rules: &RoomVersionRules,
    power_levels: &PowerLevels,
    redaction: &Pdu,
    target: &Pdu,
) -> bool {
    if redaction.room_id != target.room_id {
        return false;
    }
    rules.authorization.special_case_room_redaction
        || power_levels.can_redact_others(&redaction.sender)
        || redaction.sender.server_name() == target.sender.server_name()
}

/// Why one of our users may not redact an event, beyond what the room version says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedactionError {
    #[error("Redacting create events is not permitted")]
    CreateEvent,
    #[error("Redacting server ACL events is not permitted")]
    ServerAclEvent,
    #[error("Cannot redact event from a different room")]
    OtherRoom,
    #[error("You don't have permission to redact events")]
    Forbidden,
    #[error("Could not find the event to redact")]
    NotFound,
}

impl RedactionError {
    pub fn errcode(&self) -> &'static str {
        match self {
            Self::OtherRoom => "M_UNKNOWN",
            Self::NotFound => "M_NOT_FOUND",
            _ => "M_FORBIDDEN",
        }
    }
}

/// Whether one of our users may redact an event: any with the power to, else only their own.
/// A target that we do not have takes the power.
pub fn check_own_redaction(
    power_levels: &PowerLevels,
    redaction: &Pdu,
    target: Option<&Pdu>,
) -> Result<(), RedactionError> {
    let Some(target) = target else {
        let allowed = power_levels.can_redact_others(&redaction.sender);
        return if allowed { Ok(()) } else { Err(RedactionError::NotFound) };
    };
    if target.event_type == TimelineEventType::RoomCreate {
        return Err(RedactionError::CreateEvent);
    }
    if target.room_id != redaction.room_id {
        return Err(RedactionError::OtherRoom);
    }
    if target.event_type == TimelineEventType::RoomServerAcl {
        return Err(RedactionError::ServerAclEvent);
    }
    if power_levels.can_redact_others(&redaction.sender) || redaction.sender == target.sender {
        return Ok(());
    }
    Err(RedactionError::Forbidden)
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
