//! What else a client can ask for over a connection: one file for each extension.
//!
//! To add one: a file with a type that implements [`Extension`], and its line in [`enabled`]. It
//! puts its statements into the batches that are run anyway, and takes their results:
//! 1. [`Extension::look`]: what is new since the client's position, with the first look.
//! 2. [`Extension::contents`]: what belongs to rooms that are told of, with their contents.
//! 3. [`Extension::answer`]: its part of the answer.
//!
//! Whatever it tells of has to wake the client: its stream is announced, and its position is one
//! of `serving::sync::changes::SHOWN_STREAMS` or of its own [`Extension::streams`].

mod account_data;
mod e2ee;
mod receipts;
mod thread_subscriptions;
mod to_device;
mod typing;

use std::collections::{BTreeSet, HashSet};

use myelin_protocol::sliding_sync::{Connection, InvalidRequest, SlidingSyncRequest, View};
use myelin_protocol::sync_token::StreamToken;
use myelin_protocol::thread_subscriptions::{LIST_DEFAULT, LIST_MAX};
use ruma::api::client::sync::sync_events::v5::request::ExtensionRoomConfig;
use ruma::{DeviceId, OwnedEventId, OwnedRoomId, UserId};
use serde_json::value::RawValue;

use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::device_inbox::MESSAGES_MAX;
use crate::storage::event_pages::Excerpts;
use crate::storage::stream_positions::StreamName;

/// Who asks, and from where on.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub user_id: &'a UserId,
    pub device_id: Option<&'a DeviceId>,
    /// `None`: everything is new.
    pub since: Option<&'a StreamToken>,
    pub now_ms: u64,
}

/// What is told of rooms.
pub struct Told<'a> {
    pub view: &'a View,
    /// Rooms that are not in the view have not moved, and have been told.
    pub is_settled: bool,
    /// Rooms that are told as new or with more of their history.
    pub anew: &'a HashSet<OwnedRoomId>,
    /// Rooms that the user is in, as far as they were looked at.
    pub joined: &'a HashSet<OwnedRoomId>,
    /// The timelines that are read.
    pub excerpts: &'a [Excerpts],
    /// What the client has been told before.
    pub connection: &'a Connection,
}

/// Part of an answer.
pub struct Part {
    pub name: &'static str,
    pub content: Box<RawValue>,
    /// Whether a client that waits is told of it at once.
    pub is_news: bool,
}

/// An extension, for one request.
pub trait Extension {
    /// The streams that only this extension tells of.
    fn streams(&self) -> &'static [StreamName] {
        &[]
    }

    /// Reads what is new; run again with each look.
    fn look(&self, ask: &Ask<'_>) -> Vec<Statement>;

    /// Takes the results of [`Extension::look`], in place of those of the look before.
    ///
    /// # Errors
    /// If the rows are not of those statements.
    fn read_look(&mut self, ask: &Ask<'_>, results: &mut Results) -> Result<(), DatabaseError>;

    /// Reads what belongs to rooms.
    fn contents(&self, _ask: &Ask<'_>, _told: &Told<'_>) -> Vec<Statement> {
        Vec::new()
    }

    /// Takes the results of [`Extension::contents`].
    ///
    /// # Errors
    /// If the rows are not of those statements.
    fn read_contents(
        &mut self,
        _ask: &Ask<'_>,
        _told: &Told<'_>,
        _results: &mut Results,
    ) -> Result<(), DatabaseError> {
        Ok(())
    }

    /// Its part of the answer, if there is one; `sent` are the events of the timelines. What the
    /// client has got of rooms is noted in `connection`.
    fn answer(
        &mut self,
        ask: &Ask<'_>,
        told: &Told<'_>,
        sent: &HashSet<OwnedEventId>,
        connection: &mut Connection,
    ) -> Option<Part>;

    /// When something will have happened of which nobody is told.
    fn due_ms(&self) -> Option<u64> {
        None
    }

    /// Whether it is about all rooms that the request looks at.
    fn is_for_all_rooms(&self) -> bool {
        true
    }
}

/// The extensions that a request asks for.
///
/// # Errors
/// If it says something of one that makes no sense.
pub fn enabled(asked: &SlidingSyncRequest) -> Result<Vec<Box<dyn Extension>>, InvalidRequest> {
    let request = &asked.extensions;
    let since = asked.to_device_since()?;
    let mut enabled: Vec<Box<dyn Extension>> = Vec::new();
    if request.to_device.enabled == Some(true) {
        let asked = &request.to_device;
        let limit = asked.limit.and_then(|limit| usize::try_from(u64::from(limit)).ok());
        let limit = limit.unwrap_or(MESSAGES_MAX).clamp(1, MESSAGES_MAX);
        enabled.push(Box::new(to_device::ToDevice::new(limit, since)));
    }
    if request.e2ee.enabled == Some(true) {
        enabled.push(Box::new(e2ee::EndToEnd::default()));
    }
    if request.account_data.enabled == Some(true) {
        let asked = &request.account_data;
        let scope = Scope::new(asked.lists.as_deref(), asked.rooms.as_deref());
        enabled.push(Box::new(account_data::AccountData::new(scope)));
    }
    if request.receipts.enabled == Some(true) {
        let asked = &request.receipts;
        let scope = Scope::new(asked.lists.as_deref(), asked.rooms.as_deref());
        enabled.push(Box::new(receipts::Receipts::new(scope)));
    }
    if request.typing.enabled == Some(true) {
        let asked = &request.typing;
        let scope = Scope::new(asked.lists.as_deref(), asked.rooms.as_deref());
        enabled.push(Box::new(typing::Typing::new(scope)));
    }
    if request.thread_subscriptions.enabled == Some(true) {
        let limit = request.thread_subscriptions.limit.map(u64::from);
        let limit = limit.map_or(LIST_DEFAULT, |limit| u32::try_from(limit).unwrap_or(LIST_MAX));
        let limit = limit.clamp(1, LIST_MAX);
        enabled.push(Box::new(thread_subscriptions::ThreadSubscriptions::new(limit)));
    }
    Ok(enabled)
}

/// The rooms that an extension is about.
#[derive(Debug)]
struct Scope {
    /// Everything that the request looks at.
    is_all: bool,
    is_all_lists: bool,
    lists: Vec<String>,
    rooms: HashSet<OwnedRoomId>,
}

impl Scope {
    /// Without a word on rooms it is about all of them.
    fn new(lists: Option<&[String]>, rooms: Option<&[ExtensionRoomConfig]>) -> Self {
        let is_any = |room: &ExtensionRoomConfig| *room == ExtensionRoomConfig::AllSubscribed;
        let room = |room: &ExtensionRoomConfig| match room {
            ExtensionRoomConfig::Room(room_id) => Some(room_id.clone()),
            _ => None,
        };
        Self {
            is_all: rooms.is_none_or(|rooms| rooms.iter().any(is_any)),
            is_all_lists: lists.is_none_or(|lists| lists.iter().any(|list| list == "*")),
            lists: lists.unwrap_or_default().to_vec(),
            rooms: rooms.unwrap_or_default().iter().filter_map(room).collect(),
        }
    }

    /// Of the rooms that the request looks at, those that the extension is about.
    fn rooms(&self, told: &Told<'_>) -> BTreeSet<OwnedRoomId> {
        let mut rooms: BTreeSet<OwnedRoomId> = BTreeSet::new();
        let view = told.view;
        if self.is_all {
            rooms.extend(view.rooms.keys().cloned());
        }
        rooms.extend(view.rooms.keys().filter(|id| self.rooms.contains(*id)).cloned());
        for (name, list) in &view.lists {
            if self.is_all_lists || self.lists.contains(name) {
                rooms.extend(list.rooms.iter().cloned());
            }
        }
        if told.is_settled {
            rooms.extend(told.connection.rooms.keys().cloned());
        }
        rooms
    }
}
