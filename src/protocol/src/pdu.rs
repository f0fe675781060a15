//! A stored event, of any room version.
//!
//! Invariant: a `Pdu` never changes. What the server learns about an event later (a redaction, a
//! rejection) makes a new value.
//! Spec: <https://spec.matrix.org/latest/rooms/>, "Event format" of each version.

use std::{ops::Deref, sync::Arc};

use ruma::{
    CanonicalJsonObject, EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId,
    OwnedUserId, RoomId, UserId,
    events::{StateEventType, TimelineEventType},
    room_version_rules::RoomVersionRules,
    state_res::Event,
};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::{RawValue, to_raw_value};

use crate::canonical_json::canonicalise;

/// Why a text is not an event.
#[derive(Debug, thiserror::Error)]
pub enum PduError {
    #[error("malformed event: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("the content of an event must be an object")]
    ContentNotObject,
    #[error("the event has another room id than the room that it was stored for")]
    OtherRoom,
}

/// An event, parsed once. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pdu(Arc<PduFields>);

/// The fields of a [`Pdu`], the same for every room version.
#[derive(Debug)]
pub struct PduFields {
    pub event_id: OwnedEventId,
    /// Of create events of version 12 too, whose JSON does not have it.
    pub room_id: OwnedRoomId,
    pub sender: OwnedUserId,
    pub event_type: TimelineEventType,
    pub state_key: Option<String>,
    pub content: Box<RawValue>,
    pub prev_events: Vec<OwnedEventId>,
    pub auth_events: Vec<OwnedEventId>,
    pub depth: i64,
    pub origin_server_ts: MilliSecondsSinceUnixEpoch,
    /// The target of an `m.room.redaction`, wherever the room version has it.
    pub redacts: Option<OwnedEventId>,
    pub rejected: bool,
    pub unsigned: Option<Box<RawValue>>,
    /// The whole event as it was stored.
    pub json: Box<RawValue>,
    room_id_in_json: bool,
}

impl Deref for Pdu {
    type Target = PduFields;

    fn deref(&self) -> &PduFields {
        &self.0
    }
}

impl Pdu {
    /// Reads an event of our store. The ids come from the row: from version 3 on the JSON does
    /// not have the event's, and a create event of version 12 has no room's.
    pub fn from_json(
        event_id: OwnedEventId,
        room_id: OwnedRoomId,
        json: String,
        rules: &RoomVersionRules,
        rejected: bool,
    ) -> Result<Self, PduError> {
        let raw: PduJson<'_> = serde_json::from_str(&json)?;
        if raw.room_id.as_ref().is_some_and(|in_json| *in_json != room_id) {
            return Err(PduError::OtherRoom);
        }
        if !raw.content.get().starts_with('{') {
            return Err(PduError::ContentNotObject);
        }
        let redacts = find_redacts(&raw, rules);
        let fields = PduFields {
            event_id,
            room_id,
            sender: raw.sender,
            event_type: raw.event_type,
            state_key: raw.state_key,
            content: raw.content.to_owned(),
            prev_events: raw.prev_events.0,
            auth_events: raw.auth_events.0,
            depth: raw.depth,
            origin_server_ts: raw.origin_server_ts,
            redacts,
            rejected,
            unsigned: raw.unsigned.map(ToOwned::to_owned),
            room_id_in_json: raw.room_id.is_some(),
            json: RawValue::from_string(json)?,
        };
        Ok(Self(Arc::new(fields)))
    }

    /// The whole event, for hashing, signing and redacting.
    pub fn to_canonical_json(&self) -> Result<CanonicalJsonObject, PduError> {
        let object = serde_json::from_str(self.json.get())?;
        canonicalise(object).map_err(|error| PduError::Malformed(serde_json::Error::custom(error)))
    }

    /// The key of the room state that this event sets; `None` of a message event.
    pub fn state_entry(&self) -> Option<(StateEventType, &str)> {
        let state_key = self.state_key.as_deref()?;
        Some((StateEventType::from(self.event_type.to_string()), state_key))
    }

    /// Whether this is the state event of that type and state key.
    pub fn is_state(&self, event_type: &StateEventType, state_key: &str) -> bool {
        self.state_key.as_deref() == Some(state_key)
            && self.event_type.to_string() == event_type.to_string()
    }

    /// Reads the content as some type; `None` if it has another shape.
    pub fn content_as<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_str(self.content.get()).ok()
    }

    /// A stand-in for a state event that a room lacks, for rules that define a default.
    pub(crate) fn with_content(&self, event_type: TimelineEventType, content: &str) -> Self {
        let content = RawValue::from_string(content.to_owned()).unwrap_or_else(|_| empty_object());
        Self(Arc::new(PduFields {
            event_id: self.event_id.clone(),
            room_id: self.room_id.clone(),
            sender: self.sender.clone(),
            event_type,
            state_key: Some(String::new()),
            content,
            prev_events: Vec::new(),
            auth_events: Vec::new(),
            depth: self.depth,
            origin_server_ts: self.origin_server_ts,
            redacts: None,
            rejected: false,
            unsigned: None,
            json: empty_object(),
            room_id_in_json: true,
        }))
    }
}

fn empty_object() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap_or_default()
}

impl Event for Pdu {
    type Id = OwnedEventId;

    fn event_id(&self) -> &OwnedEventId {
        &self.0.event_id
    }

    fn room_id(&self) -> Option<&RoomId> {
        self.room_id_in_json.then_some(&*self.0.room_id)
    }

    fn sender(&self) -> &UserId {
        &self.0.sender
    }

    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        self.0.origin_server_ts
    }

    fn event_type(&self) -> &TimelineEventType {
        &self.0.event_type
    }

    fn content(&self) -> &RawValue {
        &self.0.content
    }

    fn state_key(&self) -> Option<&str> {
        self.0.state_key.as_deref()
    }

    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.0.prev_events.iter())
    }

    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.0.auth_events.iter())
    }

    fn redacts(&self) -> Option<&OwnedEventId> {
        self.0.redacts.as_ref()
    }

    fn rejected(&self) -> bool {
        self.0.rejected
    }
}

#[derive(Deserialize)]
struct PduJson<'a> {
    room_id: Option<OwnedRoomId>,
    sender: OwnedUserId,
    #[serde(rename = "type")]
    event_type: TimelineEventType,
    state_key: Option<String>,
    #[serde(borrow)]
    content: &'a RawValue,
    #[serde(default)]
    prev_events: EventReferences,
    #[serde(default)]
    auth_events: EventReferences,
    depth: i64,
    origin_server_ts: MilliSecondsSinceUnixEpoch,
    redacts: Option<&'a RawValue>,
    unsigned: Option<&'a RawValue>,
}

fn find_redacts(raw: &PduJson<'_>, rules: &RoomVersionRules) -> Option<OwnedEventId> {
    #[derive(Deserialize)]
    struct Content {
        redacts: Option<OwnedEventId>,
    }

    if raw.event_type != TimelineEventType::RoomRedaction {
        return None;
    }
    if rules.redaction.content_field_redacts {
        let content: Content = serde_json::from_str(raw.content.get()).ok()?;
        return content.redacts;
    }
    serde_json::from_str(raw.redacts?.get()).ok()
}

/// `prev_events` and `auth_events`: ids, or in versions 1 and 2 pairs of an id and its hashes.
#[derive(Default)]
struct EventReferences(Vec<OwnedEventId>);

impl<'de> Deserialize<'de> for EventReferences {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let references: Vec<EventReferenceJson> = Vec::deserialize(deserializer)?;
        Ok(Self(references.into_iter().map(|reference| reference.0).collect()))
    }
}

struct EventReferenceJson(OwnedEventId);

impl<'de> Deserialize<'de> for EventReferenceJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EventReferenceVisitor)
    }
}

struct EventReferenceVisitor;

impl<'de> Visitor<'de> for EventReferenceVisitor {
    type Value = EventReferenceJson;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an event id, or a pair of an event id and its hashes")
    }

    fn visit_str<E: serde::de::Error>(self, id: &str) -> Result<Self::Value, E> {
        EventId::parse(id).map(EventReferenceJson).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Self::Value, A::Error> {
        let id = pair.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        while pair.next_element::<IgnoredAny>()?.is_some() {}
        Ok(EventReferenceJson(id))
    }
}

/// Raw JSON of a value that always serialises.
pub fn raw_json(value: &impl serde::Serialize) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruma::{event_id, owned_event_id, owned_room_id};
    use serde_json::json;

    use super::*;

    fn parse(json: serde_json::Value, rules: &RoomVersionRules) -> Result<Pdu, PduError> {
        let room_id = owned_room_id!("!r:one.test");
        Pdu::from_json(owned_event_id!("$e:one.test"), room_id, json.to_string(), rules, false)
    }

    fn message() -> serde_json::Value {
        json!({
            "type": "m.room.message", "room_id": "!r:one.test", "sender": "@a:one.test",
            "content": {"body": "hi", "n": 1.5}, "depth": 3, "origin_server_ts": 1000,
            "prev_events": [], "auth_events": [], "hashes": {}, "signatures": {},
        })
    }

    #[test]
    fn references_are_read_in_both_forms() {
        let mut event = message();
        event["prev_events"] = json!([["$a:one.test", {"sha256": "x"}], "$b"]);
        let pdu = parse(event, &RoomVersionRules::V1).unwrap();
        assert_eq!(pdu.prev_events, [event_id!("$a:one.test"), event_id!("$b")]);
    }

    #[test]
    fn the_target_of_a_redaction_is_where_the_version_has_it() {
        let mut event = message();
        event["type"] = json!("m.room.redaction");
        event["redacts"] = json!("$top");
        event["content"] = json!({"redacts": "$content"});
        let old = parse(event.clone(), &RoomVersionRules::V10).unwrap();
        let new = parse(event, &RoomVersionRules::V11).unwrap();
        assert_eq!(old.redacts.as_deref(), Some(event_id!("$top")));
        assert_eq!(new.redacts.as_deref(), Some(event_id!("$content")));
    }

    #[test]
    fn the_room_id_of_a_version_12_create_event_is_not_in_its_json() {
        let mut event = message();
        event.as_object_mut().unwrap().remove("room_id");
        let pdu = parse(event, &RoomVersionRules::V12).unwrap();
        assert_eq!(Event::room_id(&pdu), None);
        assert_eq!(pdu.room_id, "!r:one.test");
    }

    #[test]
    fn an_event_of_another_room_or_without_an_object_as_content_is_refused() {
        let mut event = message();
        event["room_id"] = json!("!other:one.test");
        assert!(matches!(parse(event, &RoomVersionRules::V11), Err(PduError::OtherRoom)));
        let mut event = message();
        event["content"] = json!("text");
        assert!(matches!(parse(event, &RoomVersionRules::V11), Err(PduError::ContentNotObject)));
    }

    #[test]
    fn old_versions_may_hold_floats_but_no_canonical_form() {
        let pdu = parse(message(), &RoomVersionRules::V5).unwrap();
        assert_eq!(pdu.content_as::<serde_json::Value>().unwrap()["n"], json!(1.5));
        assert!(pdu.to_canonical_json().is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let (event_id, room_id) = (owned_event_id!("$e"), owned_room_id!("!r"));
            let _ = Pdu::from_json(event_id, room_id, text, &RoomVersionRules::V11, false);
        }

        #[test]
        fn no_field_of_another_type_makes_the_parser_panic(
            field in prop::sample::select(vec![
                "type", "room_id", "sender", "content", "depth", "origin_server_ts",
                "prev_events", "auth_events", "redacts", "unsigned", "state_key",
            ]),
            value in prop::sample::select(vec![
                json!(null), json!(1), json!(-1), json!(1.5), json!("x"), json!([]), json!([[]]),
                json!([1]), json!({}), json!([["$a"]]), json!(u64::MAX), json!(true),
            ]),
        ) {
            let mut event = message();
            event[field] = value;
            event["type"] = json!("m.room.redaction");
            let parsed = parse(event, &RoomVersionRules::V1);
            if let Ok(pdu) = parsed {
                prop_assert_eq!(pdu.content.get().chars().next(), Some('{'));
            }
        }
    }
}
