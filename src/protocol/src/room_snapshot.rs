//! A room as its single writer knows it: the current state and the forward extremities. New
//! events are appended to it, each authorised by the state that the ones before it made.
//!
//! Invariant: state that has been redacted is here without what its redaction took away.

use std::collections::BTreeMap;

use ruma::events::{StateEventType, TimelineEventType};
use ruma::room_version_rules::RoomVersionRules;
use ruma::{MilliSecondsSinceUnixEpoch, OwnedRoomId, RoomVersionId, ServerName};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::auth::{AuthError, EventOutline, authorise, select_auth_events};
use crate::client_event::{STRIPPED_STATE_TYPES, strip_state};
use crate::event_builder::{self, BuildError, EventReference, build_event};
use crate::pdu::Pdu;
use crate::redaction::{RedactError, redact};
use crate::room_state::{PowerLevels, membership};
use crate::signing_key::SigningKey;

/// Why an event cannot be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("{0}")]
    Build(#[from] BuildError),
    #[error("{0}")]
    Auth(#[from] AuthError),
    #[error("{0}")]
    Redact(#[from] RedactError),
}

/// What an event says, before it has a place in the room's graph.
#[derive(Clone, Debug)]
pub struct Draft {
    pub event_type: TimelineEventType,
    pub state_key: Option<String>,
    pub sender: ruma::OwnedUserId,
    pub content: Map<String, Value>,
    pub redacts: Option<ruma::OwnedEventId>,
    pub origin_server_ts: MilliSecondsSinceUnixEpoch,
}

/// Who signs, and what the caller draws by chance.
#[derive(Clone, Copy)]
pub struct Author<'a> {
    pub server_name: &'a ServerName,
    pub key: &'a SigningKey,
    /// The localpart of the event's id in versions 1 and 2; 18 letters, say.
    pub event_id_localpart: &'a str,
}

/// The current state of a room and the end of its graph.
#[derive(Clone, Debug)]
pub struct RoomSnapshot {
    pub room_id: OwnedRoomId,
    pub version: RoomVersionId,
    pub rules: RoomVersionRules,
    /// By type and state key.
    state: BTreeMap<String, BTreeMap<String, Pdu>>,
    pub extremities: Vec<EventReference>,
    /// The greatest depth of the extremities; 0 in an empty room.
    pub depth: i64,
}

/// The end of a room's graph: what an event without a state key changes of a snapshot.
#[derive(Clone, Debug)]
pub struct RoomEnd {
    extremities: Vec<EventReference>,
    depth: i64,
}

impl RoomSnapshot {
    /// A room without events.
    pub fn empty(room_id: OwnedRoomId, version: RoomVersionId, rules: RoomVersionRules) -> Self {
        let (state, extremities) = (BTreeMap::new(), Vec::new());
        Self { room_id, version, rules, state, extremities, depth: 0 }
    }

    /// A stored room, whose redacted state is redacted already.
    pub fn new(
        room_id: OwnedRoomId,
        version: RoomVersionId,
        rules: RoomVersionRules,
        state: impl IntoIterator<Item = Pdu>,
        extremities: Vec<EventReference>,
        depth: i64,
    ) -> Self {
        let mut room = Self { extremities, depth, ..Self::empty(room_id, version, rules) };
        for event in state {
            room.put(event);
        }
        room
    }

    /// Where the graph ends.
    pub fn end(&self) -> RoomEnd {
        RoomEnd { extremities: self.extremities.clone(), depth: self.depth }
    }

    /// Takes messages back: all that was appended after `end`, if none of it changed the state.
    pub fn rewind(&mut self, end: RoomEnd) {
        let RoomEnd { extremities, depth } = end;
        (self.extremities, self.depth) = (extremities, depth);
    }

    /// Whether the room has no events yet.
    pub fn is_empty(&self) -> bool {
        self.extremities.is_empty()
    }

    /// The current state event of a type and key.
    pub fn get(&self, event_type: &StateEventType, state_key: &str) -> Option<&Pdu> {
        self.state.get(&event_type.to_string())?.get(state_key)
    }

    /// All current state.
    pub fn state(&self) -> impl Iterator<Item = &Pdu> {
        self.state.values().flat_map(BTreeMap::values)
    }

    /// How many state events are current.
    pub fn state_len(&self) -> usize {
        self.state.values().map(BTreeMap::len).sum()
    }

    /// All current membership events.
    pub fn members(&self) -> impl Iterator<Item = &Pdu> {
        self.state.get("m.room.member").into_iter().flat_map(BTreeMap::values)
    }

    /// The current membership event of a user.
    pub fn member(&self, user_id: &ruma::UserId) -> Option<&Pdu> {
        self.get(&StateEventType::RoomMember, user_id.as_str())
    }

    /// The current membership of a user; `leave` without an event.
    pub fn membership(
        &self,
        user_id: &ruma::UserId,
    ) -> ruma::events::room::member::MembershipState {
        membership(self.member(user_id))
    }

    /// The room's power levels; `None` in an empty room.
    pub fn power_levels(&self) -> Option<PowerLevels> {
        let create = self.get(&StateEventType::RoomCreate, "")?;
        let event = self.get(&StateEventType::RoomPowerLevels, "");
        Some(PowerLevels::new(&self.rules, create, event))
    }

    /// The state event that a draft would replace.
    pub fn replaced_by(&self, draft: &Draft) -> Option<&Pdu> {
        let state_key = draft.state_key.as_deref()?;
        self.state.get(&draft.event_type.to_string())?.get(state_key)
    }

    /// The current state event that already says what the draft says, by the same sender.
    pub fn equal_to(&self, draft: &Draft) -> Option<&Pdu> {
        let current = self.replaced_by(draft)?;
        let content: Map<String, Value> = current.content_as()?;
        (current.sender == draft.sender && content == draft.content).then_some(current)
    }

    /// Builds, signs and authorises an event at the end of the room, without appending it.
    ///
    /// # Errors
    /// What is wrong with the event, or why the room does not allow it.
    pub fn prepare(&self, draft: Draft, author: Author<'_>) -> Result<Pdu, AppendError> {
        let event = self.build(draft, author)?;
        authorise(&self.rules, &event, |event_type, state_key| {
            self.get(event_type, state_key).cloned()
        })?;
        Ok(event)
    }

    /// Appends an event that has been prepared; a redaction is one that takes effect. Returns the
    /// current state event that it redacts, as it is from now on.
    ///
    /// # Errors
    /// If the event cannot be referred to; nothing has changed then.
    pub fn push(&mut self, event: &Pdu) -> Result<Option<Pdu>, AppendError> {
        let reference = EventReference::to(event, &self.rules)?;
        let redacted = self.redacted_by(event)?;
        self.extremities = vec![reference];
        self.depth = event.depth;
        if let Some(redacted) = &redacted {
            self.put(redacted.clone());
        }
        if event.state_key.is_some() {
            self.put(event.clone());
        }
        Ok(redacted)
    }

    /// What a redaction makes of current state. Create events stay as they are, for everyone.
    fn redacted_by(&self, redaction: &Pdu) -> Result<Option<Pdu>, RedactError> {
        let Some(target) = redaction.redacts.as_deref() else { return Ok(None) };
        let is_target = |event: &&Pdu| {
            event.event_id == target && event.event_type != TimelineEventType::RoomCreate
        };
        self.state().find(is_target).map(|event| redact(event, &self.rules)).transpose()
    }

    fn build(&self, draft: Draft, author: Author<'_>) -> Result<Pdu, AppendError> {
        let content = serde_json::value::to_raw_value(&draft.content).map_err(BuildError::from)?;
        let outline = EventOutline {
            event_type: &draft.event_type,
            sender: &draft.sender,
            state_key: draft.state_key.as_deref(),
            content: &content,
        };
        let auth_events = select_auth_events(&self.rules, outline, |event_type, state_key| {
            self.get(event_type, state_key)
        })?;
        let auth_events = auth_events
            .into_iter()
            .map(|event| EventReference::to(event, &self.rules))
            .collect::<Result<_, _>>()?;
        let unsigned = self.unsigned_of(&draft);
        let is_create = draft.event_type == TimelineEventType::RoomCreate;
        let with_room_id = !is_create || self.rules.event_format.require_room_create_room_id;
        let event = event_builder::NewEvent {
            room_id: with_room_id.then(|| self.room_id.clone()),
            sender: draft.sender,
            event_type: draft.event_type,
            state_key: draft.state_key,
            content: draft.content,
            redacts: draft.redacts,
            origin_server_ts: draft.origin_server_ts,
            prev_events: self.extremities.clone(),
            auth_events,
            depth: self.depth + 1,
            unsigned,
        };
        let Author { server_name, key, event_id_localpart } = author;
        Ok(build_event(&self.rules, event, server_name, key, event_id_localpart)?)
    }

    /// What is stored with the event for those who are served it: the state that it replaces; what
    /// an invited or knocking user is shown of the room.
    fn unsigned_of(&self, draft: &Draft) -> Option<Map<String, Value>> {
        let mut unsigned = Map::new();
        if let Some(old) = self.replaced_by(draft) {
            unsigned.insert("replaces_state".to_owned(), json!(old.event_id));
        }
        let stripped = match draft.content.get("membership").and_then(Value::as_str) {
            _ if draft.event_type != TimelineEventType::RoomMember => None,
            Some("invite") => Some("invite_room_state"),
            Some("knock") => Some("knock_room_state"),
            _ => None,
        };
        if let Some(name) = stripped {
            // Of who knocks the event itself is shown, not what they were before.
            let member = (name == "invite_room_state").then_some(&*draft.sender);
            unsigned.insert(name.to_owned(), json!(self.stripped_state(member)));
        }
        (!unsigned.is_empty()).then_some(unsigned)
    }

    /// What somebody outside is shown of the room, and of the member who invites them.
    fn stripped_state(&self, member: Option<&ruma::UserId>) -> Vec<Box<RawValue>> {
        let keys = STRIPPED_STATE_TYPES.iter().map(|event_type| (*event_type, ""));
        let keys = keys.chain(member.map(|member| ("m.room.member", member.as_str())));
        keys.filter_map(|(event_type, key)| {
            Some(strip_state(self.state.get(event_type)?.get(key)?))
        })
        .collect()
    }

    fn put(&mut self, event: Pdu) {
        let event_type = event.event_type.to_string();
        let state_key = event.state_key.clone().unwrap_or_default();
        self.state.entry(event_type).or_default().insert(state_key, event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_room::{ALICE, BOB, CAROL, TestRoom};

    const VERSIONS: [&str; 5] = ["1", "5", "10", "11", "12"];

    fn snapshot(room: &TestRoom) -> RoomSnapshot {
        let version = RoomVersionId::try_from(room.version.as_str()).unwrap();
        let state = room.state.values().map(|event_id| room.events[event_id].clone());
        let last = room.last.iter().map(|event_id| &room.events[event_id]);
        let last = last.map(|event| EventReference::to(event, &room.rules).unwrap()).collect();
        let room_id = room.room_id.clone().unwrap();
        RoomSnapshot::new(room_id, version, room.rules.clone(), state, last, 10)
    }

    /// The `invite_room_state` of an invitation by Alice.
    fn shown_to_invited(room: &RoomSnapshot) -> String {
        let content = json!({"membership": "invite"}).as_object().unwrap().clone();
        let draft = Draft {
            event_type: TimelineEventType::RoomMember,
            state_key: Some(CAROL.to_owned()),
            sender: ALICE.try_into().unwrap(),
            content,
            redacts: None,
            origin_server_ts: MilliSecondsSinceUnixEpoch(1_u32.into()),
        };
        let key = SigningKey::from_seed("1", [1; 32]).unwrap();
        let server_name = ruma::server_name!("one.test");
        let author = Author { server_name, key: &key, event_id_localpart: "e" };
        let invite = room.prepare(draft, author).unwrap();
        let unsigned: Value =
            serde_json::from_str(invite.unsigned.as_ref().unwrap().get()).unwrap();
        assert!(unsigned["invite_room_state"].as_array().unwrap().len() >= 3);
        unsigned["invite_room_state"].to_string()
    }

    #[test]
    fn a_redaction_takes_words_out_of_current_state() {
        for version in VERSIONS {
            let mut room = TestRoom::public(version);
            let name = room.state(ALICE, "m.room.name", "", json!({"name": "secret"})).unwrap();
            let member = json!({"membership": "join", "displayname": "secret"});
            let member = room.state(ALICE, "m.room.member", ALICE, member).unwrap();
            let mut snapshot = snapshot(&room);
            assert_eq!(shown_to_invited(&snapshot).matches("secret").count(), 2);
            for target in [&name, &member] {
                let redaction = room.redact(ALICE, target).unwrap();
                let redacted = snapshot.push(&redaction).unwrap().unwrap();
                assert_eq!(redacted.event_id, target.event_id);
                assert_eq!(snapshot.depth, redaction.depth);
            }
            assert!(snapshot.state().all(|event| !event.json.get().contains("secret")));
            let (is_joined, shown) =
                (snapshot.membership(&member.sender), shown_to_invited(&snapshot));
            assert_eq!(is_joined, ruma::events::room::member::MembershipState::Join);
            assert!(!shown.contains("secret") && shown.contains("m.room.name"), "{shown}");
        }
    }

    #[test]
    fn a_redaction_leaves_other_events_and_the_create_event() {
        for version in VERSIONS {
            let mut room = TestRoom::public(version);
            room.join(BOB);
            let old = room.state(ALICE, "m.room.name", "", json!({"name": "old"})).unwrap();
            room.state(ALICE, "m.room.name", "", json!({"name": "new"})).unwrap();
            let said = room.message(BOB, "oops").unwrap();
            let create = room.get(&StateEventType::RoomCreate, "").unwrap();
            let mut snapshot = snapshot(&room);
            let before: Vec<String> = snapshot.state().map(|e| e.json.to_string()).collect();
            for target in [&old, &said, &create] {
                let redaction = room.redact(ALICE, target).unwrap();
                assert!(snapshot.push(&redaction).unwrap().is_none());
            }
            let after: Vec<String> = snapshot.state().map(|e| e.json.to_string()).collect();
            assert_eq!(before, after);
        }
    }
}
