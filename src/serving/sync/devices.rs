//! What a sync tells a device: messages, whose devices have changed, how many keys it has left.
//!
//! Invariant: messages are told in their order until the device has acknowledged them by its next
//! token. A message that does not fit into an answer is behind the token that goes with it.

use myelin_protocol::sync::device_lists::meeting_places;
use myelin_protocol::sync::windows::RoomWindows;
use myelin_protocol::sync::{DeviceLists, MeetingPlace, RoomWindow};
use myelin_protocol::sync_token::StreamToken;
use ruma::{DeviceId, OwnedUserId, UserId};

use super::Sync;
use super::answer::{Events, SyncAnswer};
use super::changes::Look;
use crate::context::Context;
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::device_inbox::{self, Inbox, MESSAGES_MAX};
use crate::storage::device_lists::{self, NewsRow};
use crate::storage::e2e_one_time_keys::{self, CountsRow};

/// What the first look has found.
#[derive(Debug, Default)]
pub struct DeviceNews {
    inbox: Inbox,
    counts: CountsRow,
    /// Whose devices have changed.
    changed: Vec<OwnedUserId>,
    /// Where others may have been met or left.
    places: Vec<MeetingPlace>,
}

/// The position from which a client is told of changes; a first sync tells of none, as the client
/// asks for everyone's devices anyway.
fn lists_since(since: Option<&StreamToken>) -> Option<i64> {
    since.map(|since| since.device_list_key.stream).filter(|since| *since > 0)
}

/// Where others may have been met or left in these windows, for a client that is told.
pub fn places<'a>(
    look: &Look<'_>,
    windows: impl Iterator<Item = &'a RoomWindow>,
) -> Vec<MeetingPlace> {
    match (lists_since(look.since), look.since) {
        (Some(_), Some(since)) => meeting_places(windows, since.room_key.stream()),
        _ => Vec::new(),
    }
}

fn parse(ids: &str) -> Result<Vec<OwnedUserId>, DatabaseError> {
    serde_json::from_str(ids).map_err(|error| DatabaseError::Row(error.to_string()))
}

impl DeviceNews {
    /// The statements of a look; [`DeviceNews::read`] takes their results.
    pub fn statements(look: &Look<'_>) -> Vec<Statement> {
        let mut batch = Vec::new();
        if let Some(device_id) = look.device_id {
            let since = look.since.map_or(0, |since| since.to_device_key);
            batch.push(device_inbox::select(look.user_id, device_id, since));
            batch.push(e2e_one_time_keys::select_counts(look.user_id, device_id));
        }
        if let Some(since) = look.since {
            batch.push(device_lists::select_news(look.user_id, since.device_list_key.stream));
        }
        batch
    }

    /// Takes the results of [`DeviceNews::statements`]. `upto` goes to the last message that is
    /// told, or stays where the client is while what it has got is still there. It is 0 where
    /// nothing is queued: whatever comes is new, also after a restore of an older database.
    ///
    /// # Errors
    /// If the rows are not of those statements.
    pub fn read(
        look: &Look<'_>,
        results: &mut Results,
        rooms: &RoomWindows,
        upto: &mut StreamToken,
    ) -> Result<Self, DatabaseError> {
        let mut news = Self::default();
        if look.device_id.is_some() {
            news.inbox = Inbox::of(results.rows()?, MESSAGES_MAX);
            news.counts = results.first()?.unwrap_or_default();
            upto.to_device_key = match news.inbox.last {
                Some(last) => last,
                None if news.inbox.has_acknowledged => upto.to_device_key,
                None => 0,
            };
        }
        let row: Option<NewsRow> = match look.since {
            Some(_) => results.first()?,
            None => None,
        };
        if let Some(row) = &row {
            upto.device_list_key = row.position.into();
        }
        if lists_since(look.since).is_some() {
            let changed = row.and_then(|row| row.changed);
            news.changed = changed.map(|ids| parse(&ids)).transpose()?.unwrap_or_default();
            news.places = places(look, rooms.values());
        }
        Ok(news)
    }

    pub fn is_empty(&self) -> bool {
        self.inbox.events.is_empty() && self.changed.is_empty() && self.places.is_empty()
    }
}

/// Removes what a device has acknowledged, after the answer.
pub fn forget_acknowledged(context: &Context, user_id: &UserId, device_id: &DeviceId, upto: i64) {
    let statement = device_inbox::delete_upto(user_id, device_id, upto);
    let platform = context.platform.clone();
    context.platform.spawn(Box::pin(async move {
        if let Err(error) = platform.batch(vec![statement]).await {
            // They are passed over, and removed after the next sync.
            crate::log::warn(&format!("acknowledged messages were not removed: {error}"));
        }
    }));
}

impl Sync<'_> {
    /// Adds what concerns the device, and says where others may have been met or left, also in
    /// rooms that the filter does not want.
    pub(super) fn add_devices(
        &self,
        news: DeviceNews,
        answer: &mut SyncAnswer,
    ) -> Vec<MeetingPlace> {
        let user_id = &self.reader.user_id;
        if news.inbox.has_acknowledged
            && let (Some(since), Some(device_id)) = (self.since, &self.reader.device_id)
        {
            forget_acknowledged(self.context, user_id, device_id, since.to_device_key);
        }
        answer.to_device = Events { events: news.inbox.events };
        answer.device_lists = DeviceLists::changed(news.changed);
        answer.device_one_time_keys_count = news.counts.one_time_keys();
        answer.device_unused_fallback_key_types = news.counts.unused_fallback_keys();
        let fallback = answer.device_unused_fallback_key_types.clone();
        answer.unstable_unused_fallback_key_types = fallback;
        news.places
    }
}
