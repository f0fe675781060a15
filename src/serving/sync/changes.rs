//! The first look of a sync: how far the log goes, and what of it concerns this user.
//!
//! Invariant: all of it is read in one batch, so `upto` and what is found belong together; the
//! next sync goes on from there. Where nothing has moved, nothing is read.

use std::collections::{BTreeSet, HashMap, HashSet};

use myelin_protocol::sync::Windows;
use myelin_protocol::sync::windows::RoomWindows;
use myelin_protocol::sync_token::{RoomStreamToken, StreamToken};
use ruma::{DeviceId, OwnedRoomId, OwnedUserId, UserId};

use super::devices::DeviceNews;

use super::messages::Foreseen;
use crate::log;
use crate::storage::account_data::{self, AccountDataRow, RoomAccountDataRow};
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::events::{self, IgnoredRow};
use crate::storage::presence::{self, PresenceRow};
use crate::storage::push_rules::{self, StoredRules};
use crate::storage::receipts::{self, ReceiptRow};
use crate::storage::room_tags::{self, TagRow};
use crate::storage::stream_positions::{self, NOW, PositionRow, StreamName};
use crate::storage::sync::{self, MembershipRow};
use crate::storage::typing::{self, RoomTyping, TypingStateRow};

/// What decides how the first look is taken.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    pub user_id: &'a UserId,
    /// `None`: from the beginning.
    pub since: Option<&'a StreamToken>,
    /// All joined rooms are wanted, moved or not.
    pub all_rooms: bool,
    pub presence: bool,
    pub now_ms: u64,
    /// Whose messages and keys are told of.
    pub device_id: Option<&'a DeviceId>,
}

/// What is new for a user.
#[derive(Debug, Default)]
pub struct Changes {
    pub upto: Option<StreamToken>,
    pub rooms: RoomWindows,
    pub account_data: Vec<AccountDataRow>,
    pub room_account_data: Vec<RoomAccountDataRow>,
    pub tags: Vec<TagRow>,
    pub receipts: Vec<ReceiptRow>,
    pub typing: Vec<RoomTyping>,
    typing_states: Vec<TypingStateRow>,
    pub presence: Vec<PresenceRow>,
    pub push_rules_changed: bool,
    /// Read for a first sync only.
    pub push_rules: Option<StoredRules>,
    pub ignored: HashSet<OwnedUserId>,
    pub devices: DeviceNews,
    /// When somebody in one of the user's rooms stops typing by themselves.
    pub typing_expires_ts: Option<u64>,
    /// Contents of rooms that have been read already.
    pub foreseen: Option<Foreseen>,
}

/// The statements of a look; [`read`] takes their results.
pub fn statements(look: &Look<'_>) -> Vec<Statement> {
    let user_id = look.user_id;
    let from = |key: fn(&StreamToken) -> i64| look.since.map_or(0, key);
    let account_data = from(|token| token.account_data_key);
    let mut batch = vec![
        match look.since {
            Some(_) => stream_positions::select_some(&SHOWN_STREAMS),
            None => stream_positions::select_all(),
        },
        account_data::updated_since(user_id, account_data, NOW),
        account_data::updated_in_rooms_since(user_id, account_data, NOW),
        room_tags::updated_since(user_id, account_data, NOW),
        typing::state_since(user_id, from(|token| token.typing_key), look.now_ms),
        push_rules::select_news(user_id, from(|token| token.push_rules_key)),
        events::ignored_users(user_id.as_str()),
    ];
    if look.presence {
        batch.push(presence::updated_since(user_id, from(|token| token.presence_key), NOW));
    }
    if let Some(since) = look.since {
        let stream = since.room_key.stream();
        batch.push(receipts::updated_since(user_id, since.receipt_key.stream, NOW));
        batch.push(sync::moved_rooms(user_id, stream));
        batch.push(sync::membership_changes(user_id, stream));
    }
    if look.since.is_none() {
        batch.extend(push_rules::select(user_id.as_str()));
    }
    if look.since.is_none() || look.all_rooms {
        batch.push(sync::memberships(user_id));
    }
    batch.extend(DeviceNews::statements(look));
    batch
}

/// Takes the results of [`statements`].
///
/// # Errors
/// If the rows are not of those statements.
pub fn read(look: &Look<'_>, results: &mut Results) -> Result<Changes, DatabaseError> {
    let mut upto = match look.since {
        Some(since) => token_after(since, &results.first()?.unwrap_or_default()),
        None => token(&results.rows()?),
    };
    let mut changes = Changes {
        account_data: results.rows()?,
        room_account_data: results.rows()?,
        tags: results.rows()?,
        typing_states: results.rows()?,
        push_rules_changed: read_push_rules(results, &mut upto)?,
        ignored: results.rows()?.into_iter().map(|r: IgnoredRow| r.ignored_user_id).collect(),
        ..Changes::default()
    };
    if look.presence {
        changes.presence = results.rows()?;
    }
    let windows = Windows {
        user_id: look.user_id,
        since: look.since.map(|since| since.room_key.stream()),
        upto: upto.room_key.stream(),
        ignored: &changes.ignored,
    };
    if look.since.is_some() {
        changes.receipts = results.rows()?;
        changes.rooms = windows.of_changes(results.rows()?, results.rows()?);
    }
    if look.since.is_none() {
        changes.push_rules = Some(StoredRules::read(results)?);
    }
    if look.since.is_none() || look.all_rooms {
        let rows: Vec<MembershipRow> = results.rows()?;
        windows.add_all(&mut changes.rooms, rows.into_iter().map(Into::into).collect());
    }
    changes.devices = DeviceNews::read(look, results, &changes.rooms, &mut upto)?;
    changes.sort_typing(look.since.is_none());
    changes.upto = Some(upto);
    Ok(changes)
}

/// Whether the push rules have changed; says how far their stream goes.
fn read_push_rules(results: &mut Results, upto: &mut StreamToken) -> Result<bool, DatabaseError> {
    let Some(row) = results.first::<push_rules::NewsRow>()? else { return Ok(false) };
    upto.push_rules_key = row.position;
    Ok(row.has_changed)
}

/// The streams of which an answer shows something, but for those whose position comes with their
/// news: that is one row less to read. The others stay where the client has them.
pub const SHOWN_STREAMS: [StreamName; 5] = [
    StreamName::Events,
    StreamName::AccountData,
    StreamName::Receipts,
    StreamName::Presence,
    StreamName::Typing,
];

/// A token of all positions.
pub fn token(rows: &[PositionRow]) -> StreamToken {
    let positions = rows.iter().map(|row| (row.stream_name.clone(), row.stream_id));
    token_after(&StreamToken::at(RoomStreamToken::live(0)), &positions.collect())
}

/// A token with these positions, by name; where there is none, it stays as it was.
pub fn token_after(since: &StreamToken, positions: &HashMap<String, i64>) -> StreamToken {
    let of = |name: &str, or: i64| positions.get(name).copied().unwrap_or(or);
    StreamToken {
        room_key: RoomStreamToken::live(of("events", since.room_key.stream())),
        presence_key: of("presence_stream", since.presence_key),
        typing_key: of("typing", since.typing_key),
        receipt_key: of("receipts", since.receipt_key.stream).into(),
        account_data_key: of("account_data", since.account_data_key),
        push_rules_key: of("push_rules_stream", since.push_rules_key),
        to_device_key: of("to_device", since.to_device_key),
        device_list_key: of("device_lists_stream", since.device_list_key.stream).into(),
        groups_key: since.groups_key,
        un_partial_stated_rooms_key: of(
            "un_partial_stated_room_stream",
            since.un_partial_stated_rooms_key,
        ),
        thread_subscriptions_key: of("thread_subscriptions", since.thread_subscriptions_key),
        sticky_events_key: of("sticky_events", since.sticky_events_key),
        quarantined_media_key: of("quarantined_media", since.quarantined_media_key.stream).into(),
    }
}

/// Brings a token that is ahead of the log back to its end: the database is older than the
/// client's memory of it, as after a restore. `None` if it is not ahead. The position of messages
/// to devices stays: it is that of a queue, and [`DeviceNews`] looks after it.
pub fn bounded(since: &StreamToken, upto: &StreamToken) -> Option<StreamToken> {
    let bounded = lower(since, upto);
    if bounded == lower(since, since) {
        return None;
    }
    log::warn(&format!("a sync token is ahead of the log: {since} of {upto}"));
    Some(bounded)
}

fn lower(since: &StreamToken, upto: &StreamToken) -> StreamToken {
    let of = |key: fn(&StreamToken) -> i64| key(since).min(key(upto));
    StreamToken {
        room_key: RoomStreamToken::live(of(|token| token.room_key.stream())),
        presence_key: of(|token| token.presence_key),
        typing_key: of(|token| token.typing_key),
        receipt_key: of(|token| token.receipt_key.stream).into(),
        account_data_key: of(|token| token.account_data_key),
        push_rules_key: of(|token| token.push_rules_key),
        to_device_key: since.to_device_key,
        device_list_key: of(|token| token.device_list_key.stream).into(),
        groups_key: of(|token| token.groups_key),
        un_partial_stated_rooms_key: of(|token| token.un_partial_stated_rooms_key),
        thread_subscriptions_key: of(|token| token.thread_subscriptions_key),
        sticky_events_key: of(|token| token.sticky_events_key),
        quarantined_media_key: of(|token| token.quarantined_media_key.stream).into(),
    }
}

impl Changes {
    /// Whether there is anything that might be sent.
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
            && self.account_data.is_empty()
            && self.room_account_data.is_empty()
            && self.tags.is_empty()
            && self.receipts.is_empty()
            && self.typing.is_empty()
            && self.presence.is_empty()
            && !self.push_rules_changed
            && self.devices.is_empty()
    }

    /// To whom a room is new, it is news who types there already; that somebody has stopped is
    /// news only to a client that knew they had begun.
    fn sort_typing(&mut self, is_initial: bool) {
        let states = std::mem::take(&mut self.typing_states);
        self.typing_expires_ts = states.iter().filter_map(|row| row.expires_ts).min();
        let is_news = |row: &TypingStateRow| {
            let window = self.rooms.get(&row.typing.room_id);
            match is_initial || window.is_some_and(|window| window.newly_joined) {
                true => !row.typing.user_ids.is_empty(),
                false => row.is_news,
            }
        };
        self.typing = states.into_iter().filter(is_news).map(|row| row.typing).collect();
    }

    /// Whether the user has changed whom they ignore, or whether they take invitations.
    pub fn may_show_more_invitations(&self) -> bool {
        let types = ["m.ignored_user_list", account_data::INVITE_PERMISSION_CONFIG];
        self.account_data.iter().any(|row| types.contains(&row.event_type.as_str()))
    }

    /// Rooms without a window in which something of the user's own has changed.
    pub fn quiet_rooms(&self) -> Vec<OwnedRoomId> {
        let ids = self.room_account_data.iter().map(|row| &row.room_id);
        let ids = ids.chain(self.tags.iter().map(|row| &row.room_id));
        let ids = ids.chain(self.receipts.iter().map(|row| &row.room_id));
        let ids = ids.chain(self.typing.iter().map(|row| &row.room_id));
        let ids: BTreeSet<_> = ids.filter(|id| !self.rooms.contains_key(*id)).collect();
        ids.into_iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ahead_of_the_log_is_brought_back() {
        let upto: StreamToken = "s10_2_3_4_5_6_7_8_0_1_1_1_1".parse().unwrap();
        assert_eq!(bounded(&"s10_2_1_4_5".parse().unwrap(), &upto), None);
        let ahead = "s12_1_9_4_6".parse().unwrap();
        let bounded = bounded(&ahead, &upto).unwrap().to_string();
        assert_eq!(bounded, "s10_1_3_4_5_0_0_0_0_0_0_0_0");
        let far = "s99_99_99_99_99_99_99_99_99_99_99_99_99".parse().unwrap();
        let bounded = super::bounded(&far, &upto).unwrap();
        assert_eq!(bounded.to_string(), "s10_2_3_4_5_6_99_8_0_1_1_1_1");
        for field in 1..13 {
            let mut fields = ["0"; 13];
            fields[field] = "99";
            let one = format!("s{}", fields.join("_")).parse().unwrap();
            assert_eq!(super::bounded(&one, &upto).is_some(), field != 6, "{one}");
        }
    }
}
