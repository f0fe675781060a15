//! The first look of a sync: how far the log goes, and what of it concerns this user.
//!
//! Invariant: all of it is read in one batch, so `upto` and what is found belong together; the
//! next sync goes on from there. Where nothing has moved, nothing is read.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use myelin_protocol::sync_token::{RoomStreamToken, StreamToken};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, UserId};

use crate::log;
use crate::storage::account_data::{self, AccountDataRow, RoomAccountDataRow};
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::events::{self, IgnoredRow};
use crate::storage::presence::{self, PresenceRow};
use crate::storage::push_rules::{self, ChangedRow, StoredRules};
use crate::storage::receipts::{self, ReceiptRow};
use crate::storage::room_tags::{self, TagRow};
use crate::storage::stream_positions::{self, NOW, PositionRow, StreamName};
use crate::storage::sync::{self, MembershipChangeRow, MembershipRow, MovedRoomRow};
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
}

/// Where the answer has a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Section {
    Join,
    Leave {
        /// Whether the user was in the room at any time of the window.
        was_joined: bool,
        /// Nobody else made the user leave.
        by_choice: bool,
    },
    Invite(OwnedEventId),
    Knock(OwnedEventId),
}

/// A room of the answer, and which part of its stream is new.
#[derive(Clone, Debug)]
pub struct RoomWindow {
    pub room_id: OwnedRoomId,
    pub section: Section,
    pub after: i64,
    pub upto: i64,
    /// The client does not have the room, or wants all of it again.
    pub is_full: bool,
    /// The room is new to a client that has synced before.
    pub newly_joined: bool,
    /// The user's latest membership event: after it, a joined user sees everything.
    pub member_stream_ordering: i64,
    pub member_event_id: Option<OwnedEventId>,
    pub joined_stream_ordering: Option<i64>,
}

impl RoomWindow {
    /// Whether the user was never in the room: then it is none of theirs to see.
    pub fn is_outsider(&self) -> bool {
        matches!(self.section, Section::Leave { was_joined: false, .. })
    }
}

/// What is new for a user.
#[derive(Debug, Default)]
pub struct Changes {
    pub upto: Option<StreamToken>,
    pub rooms: BTreeMap<OwnedRoomId, RoomWindow>,
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
    /// When somebody in one of the user's rooms stops typing by themselves.
    pub typing_expires_ts: Option<u64>,
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
        push_rules::select_changed(user_id, from(|token| token.push_rules_key), NOW),
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
    batch
}

/// Takes the results of [`statements`].
///
/// # Errors
/// If the rows are not of those statements.
pub fn read(look: &Look<'_>, results: &mut Results) -> Result<Changes, DatabaseError> {
    let upto = match look.since {
        Some(since) => token_after(since, &results.first()?.unwrap_or_default()),
        None => token(&results.rows()?),
    };
    let mut changes = Changes {
        account_data: results.rows()?,
        room_account_data: results.rows()?,
        tags: results.rows()?,
        typing_states: results.rows()?,
        push_rules_changed: results.first::<ChangedRow>()?.is_some(),
        ignored: results.rows()?.into_iter().map(|r: IgnoredRow| r.ignored_user_id).collect(),
        ..Changes::default()
    };
    changes.sort_typing(look.since.is_none());
    if look.presence {
        changes.presence = results.rows()?;
    }
    if let Some(since) = look.since {
        changes.receipts = results.rows()?;
        let (moved, memberships) = (results.rows()?, results.rows()?);
        let since = since.room_key.stream();
        changes.add_moved_rooms(moved, memberships, since, upto.room_key.stream());
    }
    if look.since.is_none() {
        changes.push_rules = Some(StoredRules::read(results)?);
    }
    if look.since.is_none() || look.all_rooms {
        let after = look.since.map(|since| since.room_key.stream());
        changes.add_all_rooms(look.user_id, results.rows()?, after, upto.room_key.stream());
    }
    changes.upto = Some(upto);
    Ok(changes)
}

/// The streams of which an answer shows something. The others stay where the client has them.
const SHOWN_STREAMS: [StreamName; 6] = [
    StreamName::Events,
    StreamName::AccountData,
    StreamName::Receipts,
    StreamName::Presence,
    StreamName::Typing,
    StreamName::PushRules,
];

/// A token of all positions.
pub fn token(rows: &[PositionRow]) -> StreamToken {
    let positions = rows.iter().map(|row| (row.stream_name.clone(), row.stream_id));
    token_after(&StreamToken::at(RoomStreamToken::live(0)), &positions.collect())
}

/// A token with these positions, by name; where there is none, it stays as it was.
fn token_after(since: &StreamToken, positions: &HashMap<String, i64>) -> StreamToken {
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
/// client's memory of it, as after a restore. `None` if it is not ahead.
pub fn bounded(since: &StreamToken, upto: &StreamToken) -> Option<StreamToken> {
    let stream = since.room_key.stream().min(upto.room_key.stream());
    let token = StreamToken {
        room_key: RoomStreamToken::live(stream),
        presence_key: since.presence_key.min(upto.presence_key),
        typing_key: since.typing_key.min(upto.typing_key),
        receipt_key: since.receipt_key.stream.min(upto.receipt_key.stream).into(),
        account_data_key: since.account_data_key.min(upto.account_data_key),
        push_rules_key: since.push_rules_key.min(upto.push_rules_key),
        to_device_key: since.to_device_key.min(upto.to_device_key),
        device_list_key: since.device_list_key.stream.min(upto.device_list_key.stream).into(),
        ..since.clone()
    };
    let is_ahead = stream < since.room_key.stream()
        || token.presence_key < since.presence_key
        || token.typing_key < since.typing_key
        || token.receipt_key.stream < since.receipt_key.stream
        || token.account_data_key < since.account_data_key
        || token.push_rules_key < since.push_rules_key
        || token.to_device_key < since.to_device_key
        || token.device_list_key.stream < since.device_list_key.stream;
    if !is_ahead {
        return None;
    }
    log::warn(&format!("a sync token is ahead of the log: {since} of {upto}"));
    Some(token)
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
    }

    /// That somebody has stopped is news only to a client that knew they had begun.
    fn sort_typing(&mut self, is_initial: bool) {
        let states = std::mem::take(&mut self.typing_states);
        self.typing_expires_ts = states.iter().filter_map(|row| row.expires_ts).min();
        let news = states.into_iter().filter(|row| row.is_news).map(|row| row.typing);
        self.typing = news.filter(|room| !is_initial || !room.user_ids.is_empty()).collect();
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

    fn add_moved_rooms(
        &mut self,
        moved: Vec<MovedRoomRow>,
        mut memberships: Vec<MembershipChangeRow>,
        since: i64,
        upto: i64,
    ) {
        for row in moved {
            let window = joined_window(row.room_id, row.member_stream_ordering, since, upto);
            self.rooms.insert(window.room_id.clone(), window);
        }
        memberships.sort_by_key(|row| row.stream_ordering);
        let mut by_room: BTreeMap<OwnedRoomId, Vec<MembershipChangeRow>> = BTreeMap::new();
        for row in memberships {
            by_room.entry(row.room_id.clone()).or_default().push(row);
        }
        for (room_id, rows) in by_room {
            if let Some(window) = changed_window(&rows, since, upto)
                && !self.is_ignored_invite(&window, &rows)
            {
                self.rooms.insert(room_id, window);
            }
        }
    }

    fn add_all_rooms(
        &mut self,
        user_id: &UserId,
        rows: Vec<MembershipRow>,
        after: Option<i64>,
        upto: i64,
    ) {
        for row in rows {
            if let Some(window) = self.initial_window(user_id, row, after, upto) {
                let known = self.rooms.get(&window.room_id);
                let newly_joined = known.is_some_and(|known| known.newly_joined);
                self.rooms.insert(window.room_id.clone(), RoomWindow { newly_joined, ..window });
            }
        }
    }

    /// The window of a room in a first sync, or in one with `full_state` after `after`.
    fn initial_window(
        &self,
        user_id: &UserId,
        row: MembershipRow,
        after: Option<i64>,
        upto: i64,
    ) -> Option<RoomWindow> {
        let mut window = joined_window(row.room_id, row.stream_ordering, after.unwrap_or(0), upto);
        window.is_full = true;
        window.member_event_id = Some(row.event_id.clone());
        window.joined_stream_ordering = row.joined_stream_ordering;
        let is_new = after.is_none();
        let ignored = row.sender.as_ref().is_some_and(|sender| self.ignored.contains(sender));
        let is_own = row.sender.as_deref() == Some(user_id);
        window.section = match row.membership.as_str() {
            "join" => Section::Join,
            "invite" if is_new && !ignored => Section::Invite(row.event_id),
            "knock" if is_new => Section::Knock(row.event_id),
            "leave" | "ban" if is_new && !row.forgotten => {
                window.upto = row.stream_ordering;
                let was_joined = row.joined_stream_ordering.is_some();
                let by_choice = row.membership == "leave" && is_own;
                Section::Leave { was_joined, by_choice }
            }
            _ => return None,
        };
        Some(window)
    }

    fn is_ignored_invite(&self, window: &RoomWindow, rows: &[MembershipChangeRow]) -> bool {
        matches!(window.section, Section::Invite(_))
            && rows.last().is_some_and(|row| self.ignored.contains(&row.sender))
    }
}

fn joined_window(room_id: OwnedRoomId, member: i64, after: i64, upto: i64) -> RoomWindow {
    RoomWindow {
        room_id,
        section: Section::Join,
        after,
        upto,
        is_full: false,
        newly_joined: false,
        member_stream_ordering: member,
        member_event_id: None,
        joined_stream_ordering: None,
    }
}

/// The window of a room in which the user's membership has changed, by all changes of it.
fn changed_window(rows: &[MembershipChangeRow], since: i64, upto: i64) -> Option<RoomWindow> {
    let last = rows.last()?;
    let was_joined = last.membership_before.as_deref() == Some("join");
    let joins = rows.iter().filter(|row| row.membership == "join");
    let joined_stream_ordering = joins.map(|row| row.stream_ordering).max();
    // Whoever was out in between, or was not in before, has to be told of the room anew.
    let first_out = rows.iter().position(|row| row.membership != "join");
    let rejoined =
        first_out.is_some_and(|first| rows.iter().skip(first).any(|row| row.membership == "join"));
    let newly_joined = joined_stream_ordering.is_some() && (!was_joined || rejoined);
    let mut window = joined_window(last.room_id.clone(), last.stream_ordering, since, upto);
    window.member_event_id = Some(last.event_id.clone());
    window.joined_stream_ordering = joined_stream_ordering;
    window.newly_joined = newly_joined;
    window.is_full = newly_joined;
    match last.membership.as_str() {
        "join" => {}
        "invite" => window.section = Section::Invite(last.event_id.clone()),
        "knock" => window.section = Section::Knock(last.event_id.clone()),
        _ => {
            let was_joined = was_joined || joined_stream_ordering.is_some();
            window.section = Section::Leave { was_joined, by_choice: false };
            window.upto = last.stream_ordering;
        }
    }
    if newly_joined {
        // Its history is as new to the client as what came since.
        window.after = 0;
    }
    Some(window)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(before: Option<&str>, memberships: &[&str]) -> RoomWindow {
        let rows =
            (11..).zip(memberships).map(|(stream_ordering, membership)| MembershipChangeRow {
                room_id: "!room:example.org".try_into().unwrap(),
                event_id: format!("${stream_ordering}").try_into().unwrap(),
                sender: "@alice:example.org".try_into().unwrap(),
                membership: (*membership).to_owned(),
                stream_ordering,
                membership_before: before.map(ToOwned::to_owned),
            });
        changed_window(&rows.collect::<Vec<_>>(), 10, 20).unwrap()
    }

    #[test]
    fn whoever_joins_gets_the_whole_room() {
        for (before, memberships) in [
            (None, vec!["join"]),
            (Some("invite"), vec!["join", "join"]),
            (Some("leave"), vec!["invite", "join"]),
            (Some("join"), vec!["leave", "join"]),
        ] {
            let window = window(before, &memberships);
            assert!(window.is_full && window.newly_joined, "{before:?} {memberships:?}");
            assert_eq!((window.section, window.after, window.upto), (Section::Join, 0, 20));
        }
    }

    #[test]
    fn a_new_profile_is_no_join() {
        let window = window(Some("join"), &["join", "join"]);
        assert!(!window.is_full && !window.newly_joined);
        assert_eq!((window.section, window.after), (Section::Join, 10));
    }

    #[test]
    fn whoever_leaves_gets_what_came_before() {
        let left = window(Some("join"), &["join", "leave"]);
        assert_eq!(left.section, Section::Leave { was_joined: true, by_choice: false });
        assert_eq!((left.after, left.upto, left.is_full), (10, 12, false));
        let visited = window(None, &["invite", "join", "ban"]);
        assert_eq!(visited.section, Section::Leave { was_joined: true, by_choice: false });
        assert_eq!((visited.after, visited.upto, visited.is_full), (0, 13, true));
        let declined = window(Some("invite"), &["leave"]);
        assert_eq!(declined.section, Section::Leave { was_joined: false, by_choice: false });
        assert_eq!((declined.upto, declined.is_full), (11, false));
    }

    #[test]
    fn the_last_word_counts() {
        let invited = window(Some("leave"), &["knock", "invite"]);
        assert_eq!(invited.section, Section::Invite("$12".try_into().unwrap()));
        let knocking = window(None, &["knock"]);
        assert_eq!(knocking.section, Section::Knock("$11".try_into().unwrap()));
    }

    #[test]
    fn a_token_ahead_of_the_log_is_brought_back() {
        let upto: StreamToken = "s10_2_3_4_5_6_7_8_0_1_1_1_1".parse().unwrap();
        assert_eq!(bounded(&"s10_2_1_4_5".parse().unwrap(), &upto), None);
        let ahead = "s12_1_9_4_6".parse().unwrap();
        let bounded = bounded(&ahead, &upto).unwrap().to_string();
        assert_eq!(bounded, "s10_1_3_4_5_0_0_0_0_0_0_0_0");
    }
}
