//! The shape of an answer: Client-Server API, "GET /_matrix/client/v3/sync". What is empty stays
//! out, but for the lists of a room.

use std::collections::BTreeMap;

use myelin_protocol::sync::DeviceLists;
use ruma::{OwnedRoomId, OwnedUserId};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::storage::event_push_counts::{Counts, RoomCounts};

#[derive(Debug, Default, Serialize)]
pub struct SyncAnswer {
    pub next_batch: String,
    #[serde(skip_serializing_if = "Events::is_empty")]
    pub account_data: Events,
    #[serde(skip_serializing_if = "Events::is_empty")]
    pub presence: Events,
    #[serde(skip_serializing_if = "Rooms::is_empty")]
    pub rooms: Rooms,
    #[serde(skip_serializing_if = "Events::is_empty")]
    pub to_device: Events,
    #[serde(skip_serializing_if = "DeviceLists::is_empty")]
    pub device_lists: DeviceLists,
    /// Clients with encryption take a missing count for zero and upload keys again.
    pub device_one_time_keys_count: Map<String, Value>,
    pub device_unused_fallback_key_types: Vec<String>,
    /// The same, for clients that know it by the name it had as a proposal.
    #[serde(rename = "org.matrix.msc2732.device_unused_fallback_key_types")]
    pub unstable_unused_fallback_key_types: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
pub struct Events {
    pub events: Vec<Box<RawValue>>,
}

#[derive(Debug, Default, Serialize)]
pub struct Rooms {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub join: BTreeMap<OwnedRoomId, JoinedRoom>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub invite: BTreeMap<OwnedRoomId, InvitedRoom>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub knock: BTreeMap<OwnedRoomId, KnockedRoom>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub leave: BTreeMap<OwnedRoomId, LeftRoom>,
}

#[derive(Debug, Default, Serialize)]
pub struct JoinedRoom {
    #[serde(flatten)]
    pub history: History,
    pub account_data: Events,
    pub ephemeral: Events,
    pub summary: Summary,
    pub unread_notifications: Counts,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unread_thread_notifications: BTreeMap<String, Counts>,
}

#[derive(Debug, Default, Serialize)]
pub struct LeftRoom {
    #[serde(flatten)]
    pub history: History,
    pub account_data: Events,
}

/// State and timeline of a room: the state before the timeline, or that after it.
#[derive(Debug, Default, Serialize)]
pub struct History {
    pub timeline: TimelineAnswer,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Events>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_after: Option<Events>,
    #[serde(rename = "org.matrix.msc4222.state_after", skip_serializing_if = "Option::is_none")]
    pub unstable_state_after: Option<Events>,
}

/// What the client calls the state after the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateAfter {
    Stable,
    Unstable,
}

#[derive(Debug, Default, Serialize)]
pub struct TimelineAnswer {
    pub events: Vec<Box<RawValue>>,
    pub limited: bool,
    pub prev_batch: String,
}

#[derive(Debug, Default, Serialize)]
pub struct InvitedRoom {
    pub invite_state: Events,
}

#[derive(Debug, Default, Serialize)]
pub struct KnockedRoom {
    pub knock_state: Events,
}

/// For clients that load members lazily: Client-Server API, "Lazy-loading room members".
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    #[serde(rename = "m.heroes", skip_serializing_if = "Option::is_none")]
    pub heroes: Option<Vec<OwnedUserId>>,
    #[serde(rename = "m.joined_member_count", skip_serializing_if = "Option::is_none")]
    pub joined_member_count: Option<u64>,
    #[serde(rename = "m.invited_member_count", skip_serializing_if = "Option::is_none")]
    pub invited_member_count: Option<u64>,
}

impl JoinedRoom {
    /// Threads count for themselves only for a client that asks for it.
    pub fn set_counts(&mut self, counts: Option<&RoomCounts>, by_thread: bool) {
        let Some(counts) = counts else { return };
        if by_thread {
            self.unread_notifications = counts.main;
            self.unread_thread_notifications = counts.threads.clone();
        } else {
            self.unread_notifications = counts.total();
        }
    }
}

impl Events {
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

impl Rooms {
    pub fn is_empty(&self) -> bool {
        self.join.is_empty()
            && self.invite.is_empty()
            && self.knock.is_empty()
            && self.leave.is_empty()
    }
}

impl SyncAnswer {
    /// Whether there is nothing to tell: a client that waits goes on waiting.
    pub fn is_empty(&self) -> bool {
        self.account_data.is_empty()
            && self.presence.is_empty()
            && self.rooms.is_empty()
            && self.to_device.is_empty()
            && self.device_lists.is_empty()
    }
}
