//! A room as its single writer knows it: the current state and the forward extremities. New
//! events are appended to it, each authorised by the state that the ones before it made.

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
use crate::room_state::{PowerLevels, membership};
use crate::signing_key::SigningKey;

/// Why an event cannot be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("{0}")]
    Build(#[from] BuildError),
    #[error("{0}")]
    Auth(#[from] AuthError),
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

impl RoomSnapshot {
    /// A room without events.
    pub fn empty(room_id: OwnedRoomId, version: RoomVersionId, rules: RoomVersionRules) -> Self {
        let (state, extremities) = (BTreeMap::new(), Vec::new());
        Self { room_id, version, rules, state, extremities, depth: 0 }
    }

    /// A stored room.
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

    /// Appends an event that has been prepared.
    ///
    /// # Errors
    /// If the event cannot be referred to; nothing has changed then.
    pub fn push(&mut self, event: &Pdu) -> Result<(), BuildError> {
        self.extremities = vec![EventReference::to(event, &self.rules)?];
        self.depth = event.depth;
        if event.state_key.is_some() {
            self.put(event.clone());
        }
        Ok(())
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
            unsigned.insert(name.to_owned(), json!(self.stripped_state(&draft.sender)));
        }
        (!unsigned.is_empty()).then_some(unsigned)
    }

    /// What somebody outside is shown of the room, and of the member who invites them.
    fn stripped_state(&self, sender: &ruma::UserId) -> Vec<Box<RawValue>> {
        let keys = STRIPPED_STATE_TYPES.iter().map(|event_type| (*event_type, ""));
        let keys = keys.chain([("m.room.member", sender.as_str())]);
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
