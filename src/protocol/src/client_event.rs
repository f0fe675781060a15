//! Events as clients see them.
//!
//! The content is copied as text, never parsed, except that of redactions.
//! Spec: <https://spec.matrix.org/latest/client-server-api/#room-event-format>

use std::{borrow::Cow, collections::BTreeMap};

use ruma::{
    EventId, RoomId, UserId, events::TimelineEventType, room_version_rules::RoomVersionRules,
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::pdu::{Pdu, raw_json};

/// The state that tells someone who is invited what the room is.
pub const STRIPPED_STATE_TYPES: [&str; 7] = [
    "m.room.create",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.avatar",
    "m.room.encryption",
    "m.room.name",
    "m.room.topic",
];

/// The shapes that a client can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventFormat {
    /// With `room_id`: everywhere but in /sync.
    #[default]
    Client,
    /// In /sync, where the room is known from the place of the event.
    ClientWithoutRoomId,
    /// As it is sent between servers, for filters with `event_format: federation`.
    Federation,
}

/// What the server adds to `unsigned`, for this reader or from its own knowledge.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnsignedExtras<'a> {
    /// Only for the device that sent the event.
    pub transaction_id: Option<&'a str>,
    /// Only for the sender: MSC4140.
    pub delay_id: Option<&'a str>,
    /// The content, sender and id of the state event that this one replaced.
    pub prev_content: Option<&'a RawValue>,
    pub prev_sender: Option<&'a UserId>,
    pub replaces_state: Option<&'a EventId>,
    /// The redaction of the event, which has been redacted by the caller.
    pub redacted_because: Option<&'a Pdu>,
    /// The reader's membership at the event.
    pub membership: Option<&'a str>,
    /// Bundled aggregations.
    pub relations: Option<&'a RawValue>,
    /// Whether `invite_room_state` and `knock_room_state` are shown.
    pub include_room_state: bool,
}

/// Formats events of one room.
#[derive(Debug, Clone, Copy)]
pub struct EventFormatter<'a> {
    pub rules: &'a RoomVersionRules,
    pub format: EventFormat,
    pub now_ms: u64,
}

impl EventFormatter<'_> {
    /// One event, ready to be put into an answer.
    pub fn format(&self, event: &Pdu, extras: &UnsignedExtras<'_>) -> Box<RawValue> {
        let unsigned = self.format_unsigned(event, extras);
        if self.format == EventFormat::Federation {
            return self.format_for_federation(event, unsigned);
        }
        // A create event of version 12 does not tell its room otherwise.
        let with_room_id = self.format == EventFormat::Client
            || (event.event_type == TimelineEventType::RoomCreate
                && !self.rules.event_format.require_room_create_room_id);
        raw_json(&ClientEvent {
            content: self.format_content(event),
            event_id: &event.event_id,
            origin_server_ts: event.origin_server_ts.0.into(),
            redacts: event.redacts.as_deref(),
            room_id: with_room_id.then_some(&*event.room_id),
            sender: &event.sender,
            state_key: event.state_key.as_deref(),
            event_type: event.event_type.to_string(),
            unsigned,
        })
    }

    /// Readers of any age find the target of a redaction where they look for it.
    fn format_content<'e>(&self, event: &'e Pdu) -> Cow<'e, RawValue> {
        let Some(redacts) = &event.redacts else {
            return Cow::Borrowed(&event.content);
        };
        if self.rules.redaction.content_field_redacts {
            return Cow::Borrowed(&event.content);
        }
        let mut content = parse_fields(&event.content).unwrap_or_default();
        content.insert("redacts".into(), Cow::Owned(raw_json(redacts)));
        Cow::Owned(raw_json(&content))
    }

    fn format_unsigned(&self, event: &Pdu, extras: &UnsignedExtras<'_>) -> Box<RawValue> {
        let mut fields: Fields<'_> = event
            .unsigned
            .as_deref()
            .and_then(|unsigned| parse_fields(unsigned))
            .unwrap_or_default();
        let arrived_ms =
            fields.remove("age_ts").and_then(|age_ts| serde_json::from_str(age_ts.get()).ok());
        fields.retain(|key, _| !SET_BY_US.contains(&&**key));
        if !extras.include_room_state {
            fields.remove("invite_room_state");
            fields.remove("knock_room_state");
        }
        let sent_ms = arrived_ms.unwrap_or_else(|| event.origin_server_ts.0.into());
        let age = i64::try_from(self.now_ms).unwrap_or(i64::MAX).saturating_sub(sent_ms);
        fields.insert("age".into(), Cow::Owned(raw_json(&age)));
        if let Some(redaction) = extras.redacted_because {
            let nested = Self { format: EventFormat::Client, ..*self };
            let because = nested.format(redaction, &UnsignedExtras::default());
            fields.insert("redacted_because".into(), Cow::Owned(because));
        }
        let redacted_by = extras.redacted_because.map(|redaction| redaction.event_id.as_str());
        let texts = [
            ("redacted_by", redacted_by),
            ("transaction_id", extras.transaction_id),
            (DELAY_ID, extras.delay_id),
            ("membership", extras.membership),
            ("prev_sender", extras.prev_sender.map(UserId::as_str)),
            ("replaces_state", extras.replaces_state.map(EventId::as_str)),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                fields.insert(key.into(), Cow::Owned(raw_json(&value)));
            }
        }
        let objects = [("prev_content", extras.prev_content), ("m.relations", extras.relations)];
        for (key, value) in objects {
            if let Some(value) = value {
                fields.insert(key.into(), Cow::Borrowed(value));
            }
        }
        raw_json(&fields)
    }

    fn format_for_federation(&self, event: &Pdu, unsigned: Box<RawValue>) -> Box<RawValue> {
        let mut json = parse_fields(&event.json).unwrap_or_default();
        json.insert("event_id".into(), Cow::Owned(raw_json(&event.event_id)));
        json.insert("room_id".into(), Cow::Owned(raw_json(&event.room_id)));
        json.insert("unsigned".into(), Cow::Owned(unsigned));
        raw_json(&json)
    }
}

/// The fields of an object, whose values stay text.
type Fields<'a> = BTreeMap<Cow<'a, str>, Cow<'a, RawValue>>;

/// What no stored event can say in our place.
const SET_BY_US: [&str; 6] =
    ["age", "transaction_id", DELAY_ID, "redacted_because", "redacted_by", "membership"];

const DELAY_ID: &str = "org.matrix.msc4140.delay_id";

fn parse_fields(object: &RawValue) -> Option<Fields<'_>> {
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(object.get()).ok()?;
    Some(fields.into_iter().map(|(key, value)| (key, Cow::Borrowed(value))).collect())
}

/// What someone outside sees of a state event, before joining.
pub fn strip_state(event: &Pdu) -> Box<RawValue> {
    raw_json(&StrippedState {
        content: &event.content,
        sender: &event.sender,
        state_key: event.state_key.as_deref().unwrap_or_default(),
        event_type: event.event_type.to_string(),
    })
}

#[derive(Serialize)]
struct ClientEvent<'a> {
    content: Cow<'a, RawValue>,
    event_id: &'a EventId,
    origin_server_ts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    redacts: Option<&'a EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_id: Option<&'a RoomId>,
    sender: &'a UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_key: Option<&'a str>,
    #[serde(rename = "type")]
    event_type: String,
    unsigned: Box<RawValue>,
}

#[derive(Serialize)]
struct StrippedState<'a> {
    content: &'a RawValue,
    sender: &'a UserId,
    state_key: &'a str,
    #[serde(rename = "type")]
    event_type: String,
}

#[cfg(test)]
#[path = "client_event_tests.rs"]
mod tests;
