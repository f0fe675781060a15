//! Making an event: limits, content hash, signature, id.
//!
//! Invariant: what leaves here passes the format checks of its room version on every server.
//! Spec: <https://spec.matrix.org/latest/server-server-api/#signing-events>

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, EventId, MilliSecondsSinceUnixEpoch, OwnedEventId,
    OwnedRoomId, OwnedUserId, RoomId, ServerName,
    events::TimelineEventType,
    room_version_rules::{EventsReferenceFormatVersion, RoomVersionRules},
    signatures::{JsonError, hash_and_sign_event, reference_hash},
};
use serde_json::{Map, Value};

use crate::{
    canonical_json::{CanonicalJsonError, canonicalise},
    pdu::{Pdu, PduError},
    signing_key::SigningKey,
};

/// The whole event as canonical JSON, in bytes.
pub const EVENT_SIZE_MAX: usize = 65_536;
/// `sender`, `room_id`, `state_key`, `type` and `event_id`, each, in bytes.
pub const FIELD_SIZE_MAX: usize = 255;
/// The greatest integer of canonical JSON: deeper events stay at this depth.
pub const DEPTH_MAX: i64 = 9_007_199_254_740_991;
/// What an event may refer to.
pub const PREV_EVENTS_MAX: usize = 20;
/// What an event may be authorised by.
pub const AUTH_EVENTS_MAX: usize = 10;

/// A reference to an earlier event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventReference {
    pub event_id: OwnedEventId,
    /// The reference hash, which versions 1 and 2 put beside the id.
    pub sha256: Option<String>,
}

impl EventReference {
    /// A reference to an event that is at hand, right for its room version.
    pub fn to(event: &Pdu, rules: &RoomVersionRules) -> Result<Self, BuildError> {
        let sha256 = match rules.events_reference_format {
            EventsReferenceFormatVersion::V1 => Some(reference_sha256(event, rules)?),
            _ => None,
        };
        Ok(Self { event_id: event.event_id.clone(), sha256 })
    }

    /// A reference by id alone, which is all that versions 3 and later have.
    pub fn by_id(event_id: OwnedEventId) -> Self {
        Self { event_id, sha256: None }
    }

    fn to_json(&self, rules: &RoomVersionRules) -> Result<CanonicalJsonValue, BuildError> {
        let id = CanonicalJsonValue::String(self.event_id.to_string());
        if !matches!(rules.events_reference_format, EventsReferenceFormatVersion::V1) {
            return Ok(id);
        }
        let hash = self.sha256.clone().ok_or(BuildError::MissingReferenceHash)?;
        let hashes = CanonicalJsonObject::from([("sha256".to_owned(), hash.into())]);
        Ok(CanonicalJsonValue::Array(vec![id, CanonicalJsonValue::Object(hashes)]))
    }
}

/// The reference hash of an event in unpadded base64, as versions 1 and 2 refer to it.
pub fn reference_sha256(event: &Pdu, rules: &RoomVersionRules) -> Result<String, BuildError> {
    Ok(reference_hash(&event.to_canonical_json()?, rules)?)
}

/// An event to be made. `room_id` is `None` for a create event of version 12, and for no other.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub room_id: Option<OwnedRoomId>,
    pub sender: OwnedUserId,
    pub event_type: TimelineEventType,
    pub state_key: Option<String>,
    pub content: Map<String, Value>,
    /// Ends up at the top level or in the content, as the room version has it.
    pub redacts: Option<OwnedEventId>,
    pub origin_server_ts: MilliSecondsSinceUnixEpoch,
    pub prev_events: Vec<EventReference>,
    pub auth_events: Vec<EventReference>,
    pub depth: i64,
    pub unsigned: Option<Map<String, Value>>,
}

/// Why an event cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("{0}")]
    BadJson(#[from] CanonicalJsonError),
    #[error("event too large")]
    EventTooLarge,
    #[error("'{0}' too large")]
    FieldTooLarge(&'static str),
    #[error("an event has at most {PREV_EVENTS_MAX} prev_events and {AUTH_EVENTS_MAX} auth_events")]
    TooManyReferences,
    #[error("the create event of this room version has no room id, and every other event has one")]
    RoomId,
    #[error("this room version refers to events with their hashes")]
    MissingReferenceHash,
    #[error("could not sign: {0}")]
    Sign(#[from] JsonError),
    #[error("{0}")]
    Pdu(#[from] PduError),
    #[error("invalid identifier: {0}")]
    Identifier(#[from] ruma::IdParseError),
    #[error("could not serialise: {0}")]
    Serialise(#[from] serde_json::Error),
}

impl BuildError {
    /// The specification's errcode; what a client cannot cause is `M_UNKNOWN`.
    pub fn errcode(&self) -> &'static str {
        match self {
            Self::BadJson(_) => "M_BAD_JSON",
            Self::EventTooLarge | Self::FieldTooLarge(_) => "M_TOO_LARGE",
            Self::Sign(JsonError::PduTooLarge) => "M_TOO_LARGE",
            _ => "M_UNKNOWN",
        }
    }
}

/// Hashes and signs an event as this server. `event_id_localpart` is random, and is used where
/// the event's id is not its hash (versions 1 and 2).
pub fn build_event(
    rules: &RoomVersionRules,
    event: NewEvent,
    server_name: &ServerName,
    key: &SigningKey,
    event_id_localpart: &str,
) -> Result<Pdu, BuildError> {
    check_field_sizes(&event)?;
    check_room_id(&event, rules)?;
    let room_id = event.room_id.clone();
    let mut json = to_canonical_event(event, rules)?;
    if rules.event_format.require_event_id {
        let event_id = format!("${event_id_localpart}:{server_name}");
        json.insert("event_id".to_owned(), event_id.into());
    }
    hash_and_sign_event(server_name.as_str(), key, &mut json, &rules.redaction)?;

    let event_id = event_id_of(&json, rules)?;
    let room_id = match room_id {
        Some(room_id) => room_id,
        None => room_id_of_create(&event_id)?,
    };
    let text = serde_json::to_string(&json)?;
    if text.len() > EVENT_SIZE_MAX {
        return Err(BuildError::EventTooLarge);
    }
    Ok(Pdu::from_json(event_id, room_id, text, rules, false)?)
}

/// The id of an event: its hash, or in versions 1 and 2 what the event says.
pub fn event_id_of(
    event: &CanonicalJsonObject,
    rules: &RoomVersionRules,
) -> Result<OwnedEventId, BuildError> {
    let event_id = if rules.event_format.require_event_id {
        let event_id = event.get("event_id").and_then(CanonicalJsonValue::as_str);
        event_id.unwrap_or_default().to_owned()
    } else {
        format!("${}", reference_hash(event, rules)?)
    };
    if event_id.len() > FIELD_SIZE_MAX {
        return Err(BuildError::FieldTooLarge("event_id"));
    }
    Ok(EventId::parse(event_id)?)
}

/// The room id that a create event of version 12 gives its room.
pub fn room_id_of_create(create: &EventId) -> Result<OwnedRoomId, BuildError> {
    Ok(RoomId::parse(format!("!{}", create.localpart()))?)
}

fn check_room_id(event: &NewEvent, rules: &RoomVersionRules) -> Result<(), BuildError> {
    let is_create = event.event_type == TimelineEventType::RoomCreate;
    let expected = !is_create || rules.event_format.require_room_create_room_id;
    if event.room_id.is_some() == expected { Ok(()) } else { Err(BuildError::RoomId) }
}

fn check_field_sizes(event: &NewEvent) -> Result<(), BuildError> {
    let event_type = event.event_type.to_string();
    let fields = [
        ("sender", event.sender.as_str()),
        ("room_id", event.room_id.as_ref().map_or("", |room_id| room_id.as_str())),
        ("state_key", event.state_key.as_deref().unwrap_or_default()),
        ("type", &event_type),
    ];
    match fields.into_iter().find(|(_, value)| value.len() > FIELD_SIZE_MAX) {
        Some((name, _)) => Err(BuildError::FieldTooLarge(name)),
        None => Ok(()),
    }
}

fn to_canonical_event(
    mut event: NewEvent,
    rules: &RoomVersionRules,
) -> Result<CanonicalJsonObject, BuildError> {
    if event.prev_events.len() > PREV_EVENTS_MAX || event.auth_events.len() > AUTH_EVENTS_MAX {
        return Err(BuildError::TooManyReferences);
    }
    let mut json = CanonicalJsonObject::new();
    let mut set = |key: &str, value: CanonicalJsonValue| json.insert(key.to_owned(), value);
    if let Some(redacts) = event.redacts.take().or_else(|| take_redacts(&mut event, rules)) {
        if rules.redaction.content_field_redacts {
            event.content.insert("redacts".to_owned(), redacts.to_string().into());
        } else {
            set("redacts", redacts.to_string().into());
        }
    }
    if let Some(room_id) = event.room_id {
        set("room_id", room_id.to_string().into());
    }
    if let Some(state_key) = event.state_key {
        set("state_key", state_key.into());
    }
    if let Some(unsigned) = event.unsigned {
        set("unsigned", CanonicalJsonValue::Object(canonicalise(unsigned)?));
    }
    set("sender", event.sender.to_string().into());
    set("type", event.event_type.to_string().into());
    set("content", CanonicalJsonValue::Object(canonicalise(event.content)?));
    set("origin_server_ts", CanonicalJsonValue::from(event.origin_server_ts.0));
    set("prev_events", references_to_json(&event.prev_events, rules)?);
    set("auth_events", references_to_json(&event.auth_events, rules)?);
    let depth = event.depth.clamp(0, DEPTH_MAX);
    let depth = depth.try_into().map_err(|_| CanonicalJsonError::IntegerOutOfRange)?;
    set("depth", CanonicalJsonValue::Integer(depth));
    Ok(json)
}

/// Clients may put the target into the content in every version; before 11 that is not its place.
fn take_redacts(event: &mut NewEvent, rules: &RoomVersionRules) -> Option<OwnedEventId> {
    let is_redaction = event.event_type == TimelineEventType::RoomRedaction;
    if !is_redaction || rules.redaction.content_field_redacts {
        return None;
    }
    let redacts = EventId::parse(event.content.get("redacts")?.as_str()?).ok()?;
    event.content.remove("redacts");
    Some(redacts)
}

fn references_to_json(
    references: &[EventReference],
    rules: &RoomVersionRules,
) -> Result<CanonicalJsonValue, BuildError> {
    let items = references.iter().map(|reference| reference.to_json(rules));
    Ok(CanonicalJsonValue::Array(items.collect::<Result<_, _>>()?))
}

#[cfg(test)]
#[path = "event_builder_tests.rs"]
mod tests;
