//! A room in memory whose events are built, signed and authorised as real ones are.

use std::{cell::Cell, collections::HashMap};

use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, UInt,
    events::{StateEventType, TimelineEventType},
    room_version_rules::RoomVersionRules,
};
use serde_json::{Map, Value, json};

use crate::{
    auth::{AuthError, EventOutline, authorise, authorise_by_auth_events, select_auth_events},
    event_builder::{EventReference, NewEvent, build_event},
    pdu::{Pdu, raw_json},
    room_version::rules_of,
    signing_key::SigningKey,
};

pub const ALICE: &str = "@alice:one.test";
pub const BOB: &str = "@bob:one.test";
pub const CAROL: &str = "@carol:two.test";

pub type State = HashMap<(StateEventType, String), OwnedEventId>;

thread_local! {
    static CLOCK: Cell<u64> = const { Cell::new(1_000_000) };
}

#[derive(Clone)]
pub struct TestRoom {
    pub version: String,
    pub rules: RoomVersionRules,
    pub room_id: Option<OwnedRoomId>,
    pub events: HashMap<OwnedEventId, Pdu>,
    pub state: State,
    pub last: Vec<OwnedEventId>,
}

impl TestRoom {
    /// Without any event.
    pub fn empty(version: &str) -> Self {
        let rules = rules_of(version).unwrap();
        let room_id = rules
            .event_format
            .require_room_create_room_id
            .then(|| OwnedRoomId::try_from("!room:one.test").unwrap());
        let version = version.to_owned();
        let (events, state, last) = Default::default();
        Self { version, rules, room_id, events, state, last }
    }

    /// A public room made by Alice, with power levels as `content` has them.
    pub fn with_power_levels(version: &str, content: Option<Value>) -> Self {
        let mut room = Self::empty(version);
        room.create(json!({}));
        room.state(ALICE, "m.room.member", ALICE, json!({"membership": "join"})).unwrap();
        if let Some(content) = content {
            room.state(ALICE, "m.room.power_levels", "", content).unwrap();
        }
        room.state(ALICE, "m.room.join_rules", "", json!({"join_rule": "public"})).unwrap();
        room
    }

    pub fn public(version: &str) -> Self {
        let users = if version == "12" { json!({}) } else { json!({ALICE: 100}) };
        Self::with_power_levels(version, Some(json!({"users": users})))
    }

    pub fn create(&mut self, mut content: Value) -> Pdu {
        content["room_version"] = json!(self.version);
        if !self.rules.authorization.use_room_create_sender {
            content["creator"] = json!(ALICE);
        }
        let create = self.state(ALICE, "m.room.create", "", content).unwrap();
        self.room_id = Some(create.room_id.clone());
        create
    }

    pub fn join(&mut self, user_id: &str) -> Pdu {
        self.state(user_id, "m.room.member", user_id, json!({"membership": "join"})).unwrap()
    }

    pub fn membership(
        &mut self,
        sender: &str,
        target: &str,
        membership: &str,
    ) -> Result<Pdu, AuthError> {
        self.state(sender, "m.room.member", target, json!({"membership": membership}))
    }

    pub fn state(
        &mut self,
        sender: &str,
        event_type: &str,
        state_key: &str,
        content: Value,
    ) -> Result<Pdu, AuthError> {
        let pdu = self.build(sender, event_type, Some(state_key), content, None)?;
        self.append(pdu)
    }

    pub fn message(&mut self, sender: &str, text: &str) -> Result<Pdu, AuthError> {
        let pdu = self.build(sender, "m.room.message", None, json!({"body": text}), None)?;
        self.append(pdu)
    }

    pub fn redact(&mut self, sender: &str, target: &Pdu) -> Result<Pdu, AuthError> {
        let target = Some(target.event_id.clone());
        let pdu = self.build(sender, "m.room.redaction", None, json!({}), target)?;
        self.append(pdu)
    }

    pub fn get(&self, event_type: &StateEventType, state_key: &str) -> Option<Pdu> {
        let event_id = self.state.get(&(event_type.clone(), state_key.to_owned()))?;
        self.events.get(event_id).cloned()
    }

    pub fn fetch(&self, event_id: &EventId) -> Option<Pdu> {
        self.events.get(event_id).cloned()
    }

    pub fn build(
        &self,
        sender: &str,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
        redacts: Option<OwnedEventId>,
    ) -> Result<Pdu, AuthError> {
        let sender = OwnedUserId::try_from(sender).unwrap();
        let event_type = TimelineEventType::from(event_type);
        let outline = EventOutline {
            event_type: &event_type,
            sender: &sender,
            state_key,
            content: &raw_json(&content),
        };
        let auth = select_auth_events(&self.rules, outline, |kind, key| self.get(kind, key))?;
        let refer = |event: &Pdu| EventReference::to(event, &self.rules).unwrap();
        let now = CLOCK.replace(CLOCK.get() + 1);
        let key = SigningKey::from_seed("1", [1; 32]).unwrap();
        let event = NewEvent {
            room_id: self.room_id.clone(),
            event_type: event_type.clone(),
            state_key: state_key.map(ToOwned::to_owned),
            content: content.as_object().cloned().unwrap_or_else(Map::new),
            redacts,
            origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::try_from(now).unwrap()),
            prev_events: self.last.iter().map(|id| refer(&self.events[id])).collect(),
            auth_events: auth.iter().map(refer).collect(),
            depth: 1 + self.last.iter().map(|id| self.events[id].depth).max().unwrap_or(0),
            unsigned: None,
            sender,
        };
        let server_name = event.sender.server_name().to_owned();
        Ok(build_event(&self.rules, event, &server_name, &key, &format!("e{now}")).unwrap())
    }

    fn append(&mut self, pdu: Pdu) -> Result<Pdu, AuthError> {
        authorise_by_auth_events(&self.rules, &pdu, |id| self.fetch(id))?;
        authorise(&self.rules, &pdu, |kind, key| self.get(kind, key))?;
        self.events.insert(pdu.event_id.clone(), pdu.clone());
        if let Some((event_type, state_key)) = pdu.state_entry() {
            self.state.insert((event_type, state_key.to_owned()), pdu.event_id.clone());
        }
        self.last = vec![pdu.event_id.clone()];
        Ok(pdu)
    }
}
