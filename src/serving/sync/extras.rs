//! What is in an answer beside the history of rooms: account data, tags, receipts, typing,
//! presence, invitations. Their rows become events here.

use std::collections::{BTreeMap, HashMap, HashSet};

use myelin_protocol::filter::{Filterable, event_matches, room_event_matches};
use myelin_protocol::pdu::raw_json;
use myelin_protocol::sync::{RoomWindow, Section};
use ruma::api::client::filter::{Filter, RoomEventFilter, RoomFilter};
use ruma::presence::PresenceState;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::Sync;
use super::answer::{Events, InvitedRoom, JoinedRoom, KnockedRoom, SyncAnswer};
use super::changes::Changes;
use super::reads::Contents;
use crate::serving::StoredEvent;
use crate::storage::account_data::{AccountDataRow, RoomAccountDataRow};
use crate::storage::presence::PresenceRow;
use crate::storage::receipts::ReceiptRow;
use crate::storage::room_tags::TagRow;
use crate::storage::typing::RoomTyping;

/// What belongs to rooms and is no event.
#[derive(Default)]
pub struct RoomExtras {
    account_data: HashMap<OwnedRoomId, BTreeMap<String, String>>,
    tags: HashMap<OwnedRoomId, Map<String, Value>>,
    receipts: HashMap<OwnedRoomId, Map<String, Value>>,
    typing: HashMap<OwnedRoomId, Value>,
    /// Whose presence the client is told of.
    present: HashSet<OwnedUserId>,
    /// Rooms in which the user has read on: their counts are news.
    pub read: HashSet<OwnedRoomId>,
}

impl RoomExtras {
    /// Takes what the first look has found.
    pub fn new(changes: &mut Changes, user_id: &UserId) -> Self {
        let present = changes.presence.iter().map(|row| row.user_id.clone()).collect();
        let own = changes.receipts.iter().filter(|row| row.user_id == user_id);
        let read = own.map(|row| row.room_id.clone()).collect();
        let mut extras = Self { present, read, ..Self::default() };
        extras.add_account_data(std::mem::take(&mut changes.room_account_data));
        extras.add_tags(std::mem::take(&mut changes.tags));
        extras.add_receipts(std::mem::take(&mut changes.receipts));
        for RoomTyping { room_id, user_ids } in std::mem::take(&mut changes.typing) {
            extras.typing.insert(room_id, json!({ "user_ids": user_ids }));
        }
        extras
    }

    /// Adds what came with the contents of rooms that are new to the client.
    pub fn add(&mut self, contents: &mut Contents) {
        self.add_account_data(std::mem::take(&mut contents.room_account_data));
        self.add_tags(std::mem::take(&mut contents.tags));
        self.add_receipts(std::mem::take(&mut contents.receipts));
        contents.presence.retain(|row| self.present.insert(row.user_id.clone()));
    }

    /// Adds account data of rooms; a later row of a type counts.
    pub fn add_account_data(&mut self, rows: Vec<RoomAccountDataRow>) {
        for row in rows {
            let of_room = self.account_data.entry(row.room_id).or_default();
            of_room.insert(row.event_type, row.content);
        }
    }

    /// Adds tags of rooms.
    pub fn add_tags(&mut self, rows: Vec<TagRow>) {
        for row in rows {
            let of_room = self.tags.entry(row.room_id).or_default();
            if let (Some(tag), Some(content)) = (row.tag, row.content) {
                of_room.insert(tag, parse(&content));
            }
        }
    }

    /// By event, type and user: Client-Server API, "m.receipt".
    pub fn add_receipts(&mut self, rows: Vec<ReceiptRow>) {
        for row in rows {
            let mut data = parse(&row.data);
            if let (Some(thread_id), Some(data)) = (row.thread_id, data.as_object_mut()) {
                data.insert("thread_id".to_owned(), json!(thread_id));
            }
            let of_room = self.receipts.entry(row.room_id).or_default();
            let of_event = of_room.entry(row.event_id.as_str()).or_insert_with(|| json!({}));
            of_event[row.receipt_type.as_str()][row.user_id.as_str()] = data;
        }
    }

    /// What belongs to a room, all of it.
    pub fn take(&mut self, room_id: &OwnedRoomId) -> JoinedRoom {
        let mut room = JoinedRoom::default();
        self.fill(room_id, &RoomFilter::empty(), &mut room);
        room
    }

    /// Moves what belongs to a room into its place in the answer.
    pub fn fill(&mut self, room_id: &OwnedRoomId, filter: &RoomFilter, room: &mut JoinedRoom) {
        let mut account_data = Vec::new();
        if let Some(tags) = self.tags.remove(room_id) {
            account_data.push(("m.tag".to_owned(), raw_json(&json!({ "tags": tags }))));
        }
        for (event_type, content) in self.account_data.remove(room_id).unwrap_or_default() {
            account_data.push((event_type, raw(content)));
        }
        room.account_data = room_events(room_id, account_data, &filter.account_data);
        let mut ephemeral = Vec::new();
        if let Some(receipts) = self.receipts.remove(room_id) {
            ephemeral.push(("m.receipt".to_owned(), raw_json(&receipts)));
        }
        if let Some(typing) = self.typing.remove(room_id) {
            ephemeral.push(("m.typing".to_owned(), raw_json(&typing)));
        }
        room.ephemeral = room_events(room_id, ephemeral, &filter.ephemeral);
    }
}

fn room_events(
    room_id: &RoomId,
    events: Vec<(String, Box<RawValue>)>,
    filter: &RoomEventFilter,
) -> Events {
    let wanted = events.into_iter().filter(|(event_type, content)| {
        let (room_id, content) = (Some(room_id.as_str()), Some(&**content));
        room_event_matches(filter, Filterable { event_type, sender: None, room_id, content })
    });
    Events { events: wanted.map(|(event_type, content)| event(&event_type, &content)).collect() }
}

fn event(event_type: &str, content: &RawValue) -> Box<RawValue> {
    raw_json(&json!({ "type": event_type, "content": content }))
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!({}))
}

/// Stored JSON as it is; what is none counts as empty.
fn raw(text: String) -> Box<RawValue> {
    RawValue::from_string(text).unwrap_or_else(|_| raw_json(&json!({})))
}

/// The account data for all rooms, with the push rules, which are not stored as such.
pub fn account_data(rows: Vec<AccountDataRow>, rules: Option<Value>, filter: &Filter) -> Events {
    let rules = rules.map(|rules| ("m.push_rules".to_owned(), raw_json(&rules)));
    let rows = rows.into_iter().map(|row| (row.event_type, raw(row.content)));
    let wanted = rules.into_iter().chain(rows).filter(|(event_type, content)| {
        let content = Some(&**content);
        event_matches(filter, Filterable { event_type, sender: None, room_id: None, content })
    });
    Events { events: wanted.map(|(event_type, content)| event(&event_type, &content)).collect() }
}

/// Who is online; whoever is not is no news to a client that has never synced.
pub fn presence<'a>(
    rows: impl Iterator<Item = &'a PresenceRow>,
    filter: &Filter,
    is_initial: bool,
    now_ms: u64,
) -> Events {
    let rows = rows.map(|row| row.clone().at(now_ms));
    let wanted = rows.filter(|row| {
        let sender = Some(row.user_id.as_str());
        let event = Filterable { event_type: "m.presence", sender, room_id: None, content: None };
        event_matches(filter, event) && (!is_initial || row.state != PresenceState::Offline)
    });
    let event = |row: PresenceRow| {
        let mut content = json!({ "presence": row.state });
        if row.last_active_ts > 0 {
            content["last_active_ago"] = json!(now_ms.saturating_sub(row.last_active_ts));
        }
        if row.state == PresenceState::Online {
            content["currently_active"] = json!(row.currently_active);
        }
        if let Some(status_msg) = &row.status_msg {
            content["status_msg"] = json!(status_msg);
        }
        raw_json(&json!({ "type": "m.presence", "sender": row.user_id, "content": content }))
    };
    Events { events: wanted.map(event).collect() }
}

impl Sync<'_> {
    /// Rooms as they are seen from outside: what they are, and the invitation or the knock.
    pub(super) fn add_invitations(
        &self,
        windows: &[RoomWindow],
        contents: &Contents,
        answer: &mut SyncAnswer,
    ) {
        for window in windows {
            let (Section::Invite(event_id) | Section::Knock(event_id)) = &window.section else {
                continue;
            };
            if contents.blocks_invites && matches!(window.section, Section::Invite(_)) {
                continue;
            }
            let Some(member) = contents.events.get(event_id) else { continue };
            let ids = contents.stripped.get(&window.room_id).into_iter().flatten();
            let current = ids.filter_map(|id| contents.events.get(id));
            let mut events = state_from_outside(member, current);
            // Stripped state has all of its fields, whatever is wanted of events.
            events.push(match self.shows_whole_events() {
                true => self.format(member, None),
                false => stripped(member),
            });
            let (room_id, events) = (window.room_id.clone(), Events { events });
            if matches!(window.section, Section::Invite(_)) {
                answer.rooms.invite.insert(room_id, InvitedRoom { invite_state: events });
            } else {
                answer.rooms.knock.insert(room_id, KnockedRoom { knock_state: events });
            }
        }
    }
}

/// What those who are invited or knock are told of a room: what came with the membership, else
/// what is in force.
pub fn state_from_outside<'a>(
    member: &StoredEvent,
    current: impl Iterator<Item = &'a StoredEvent>,
) -> Vec<Box<RawValue>> {
    told_state(member).unwrap_or_else(|| current.map(stripped).collect())
}

/// The state that came with an invitation or an answer to a knock.
fn told_state(member: &StoredEvent) -> Option<Vec<Box<RawValue>>> {
    let unsigned: Map<String, Value> =
        serde_json::from_str(member.pdu.unsigned.as_deref()?.get()).ok()?;
    let told = unsigned.get("invite_room_state").or(unsigned.get("knock_room_state"))?;
    Some(told.as_array()?.iter().filter(|event| event.is_object()).map(raw_json).collect())
}

/// Client-Server API, "Stripped state".
pub fn stripped(event: &StoredEvent) -> Box<RawValue> {
    raw_json(&json!({
        "type": event.pdu.event_type.to_string(),
        "state_key": event.pdu.state_key,
        "sender": event.pdu.sender,
        "content": event.pdu.content,
    }))
}
