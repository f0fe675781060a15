//! What a client has been told over one connection: the value that is kept for each `pos`.
//!
//! Invariant: the client has the newest, as of that position, of every entry of the state that a
//! room's `config` names, and of the memberships of its `members`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use ruma::OwnedRoomId;
use serde::{Deserialize, Serialize};

use super::request::RoomConfig;
use super::required_state::RequiredState;

/// Members of a room that are remembered as sent. One who is forgotten is sent again.
pub const MEMBERS_MAX: usize = 100;

/// The largest value that is kept, in bytes: a database takes 2 MB.
const BYTES_MAX: usize = 1_000_000;

/// How much of a stream of a room has been sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sent {
    #[default]
    Never,
    /// Everything up to the position of the connection.
    Live,
    /// Everything up to there; there is more.
    Until(i64),
}

/// What has been sent of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SentRoom {
    pub events: Sent,
    pub receipts: Sent,
    /// Whether all of the user's data for the room has been sent.
    pub account_data: bool,
    pub config: Rc<RoomConfig>,
    /// Whose memberships have been sent because the timeline was about them.
    pub members: BTreeSet<Rc<str>>,
}

/// What has been sent over a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    pub rooms: BTreeMap<OwnedRoomId, SentRoom>,
    /// How many rooms each list had.
    pub counts: BTreeMap<String, usize>,
}

impl Sent {
    /// Something after `position` has not been sent.
    pub fn miss(&mut self, position: i64) {
        if *self == Self::Live {
            *self = Self::Until(position);
        }
    }

    /// From where on something is to be sent, if everything after `since` is new; `None`: all.
    pub fn after(self, since: i64) -> Option<i64> {
        match self {
            Self::Never => None,
            Self::Live => Some(since),
            Self::Until(position) => Some(position),
        }
    }
}

/// As it is kept: users and configurations stand once, rooms refer to them.
#[derive(Serialize, Deserialize)]
struct Compact<'a> {
    configs: Vec<(usize, RequiredState)>,
    users: Vec<Rc<str>>,
    counts: BTreeMap<String, usize>,
    #[serde(borrow)]
    rooms: BTreeMap<std::borrow::Cow<'a, str>, CompactRoom>,
}

/// Events, receipts, account data, configuration, members.
type CompactRoom = (CompactSent, CompactSent, bool, usize, Vec<usize>);

/// `null`: never; -1: live.
type CompactSent = Option<i64>;

const LIVE: i64 = -1;

impl From<Sent> for CompactSent {
    fn from(sent: Sent) -> Self {
        match sent {
            Sent::Never => None,
            Sent::Live => Some(LIVE),
            Sent::Until(position) => Some(position),
        }
    }
}

impl From<CompactSent> for Sent {
    fn from(sent: CompactSent) -> Self {
        match sent {
            None => Self::Never,
            Some(LIVE) => Self::Live,
            Some(position) => Self::Until(position),
        }
    }
}

impl Connection {
    /// What has been sent of a room; nothing, if it is not there.
    pub fn room(&self, room_id: &OwnedRoomId) -> SentRoom {
        self.rooms.get(room_id).cloned().unwrap_or_default()
    }

    /// Reads what [`Connection::to_json`] wrote; `None` if it is of another version.
    pub fn from_json(text: &str) -> Option<Self> {
        let compact: Compact<'_> = serde_json::from_str(text).ok()?;
        let configs = compact.configs.into_iter();
        let configs = configs.map(|(timeline_limit, required_state)| {
            Rc::new(RoomConfig { timeline_limit, required_state })
        });
        let configs: Vec<Rc<RoomConfig>> = configs.collect();
        let room = |(room_id, room): (std::borrow::Cow<'_, str>, CompactRoom)| {
            let (events, receipts, account_data, config, members) = room;
            let members = members.into_iter().map(|index| compact.users.get(index).cloned());
            let room = SentRoom {
                events: events.into(),
                receipts: receipts.into(),
                account_data,
                config: configs.get(config)?.clone(),
                members: members.collect::<Option<_>>()?,
            };
            Some((OwnedRoomId::try_from(&*room_id).ok()?, room))
        };
        let rooms = compact.rooms.into_iter().map(room).collect::<Option<_>>()?;
        Some(Self { rooms, counts: compact.counts })
    }

    /// The value that is kept. What does not fit is forgotten first: members, then rooms of which
    /// there is more to send anyway.
    pub fn to_json(&mut self) -> String {
        let text = self.write();
        if text.len() <= BYTES_MAX {
            return text;
        }
        self.rooms.values_mut().for_each(|room| room.members.clear());
        let text = self.write();
        if text.len() <= BYTES_MAX {
            return text;
        }
        self.rooms.retain(|_, room| room.events == Sent::Live);
        while self.write().len() > BYTES_MAX {
            let half = self.rooms.len() / 2;
            let kept = std::mem::take(&mut self.rooms).into_iter().take(half);
            self.rooms = kept.collect();
        }
        self.write()
    }

    fn write(&self) -> String {
        let mut configs: Vec<&RoomConfig> = Vec::new();
        let mut users: Vec<Rc<str>> = Vec::new();
        let mut places: HashMap<Rc<str>, usize> = HashMap::new();
        let mut rooms = BTreeMap::new();
        for (room_id, room) in &self.rooms {
            let known = configs.iter().position(|config| **config == *room.config);
            let config = known.unwrap_or_else(|| {
                configs.push(&room.config);
                configs.len() - 1
            });
            let place = |user: &Rc<str>| {
                *places.entry(user.clone()).or_insert_with(|| {
                    users.push(user.clone());
                    users.len() - 1
                })
            };
            let members = room.members.iter().map(place).collect();
            let compact: CompactRoom =
                (room.events.into(), room.receipts.into(), room.account_data, config, members);
            rooms.insert(room_id.as_str().into(), compact);
        }
        let config = |config: &RoomConfig| (config.timeline_limit, config.required_state.clone());
        let compact = Compact {
            configs: configs.into_iter().map(config).collect(),
            users,
            counts: self.counts.clone(),
            rooms,
        };
        // Serialising our own values to memory cannot fail.
        serde_json::to_string(&compact).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(rooms: usize, members: usize) -> Connection {
        let config = RoomConfig {
            timeline_limit: 20,
            required_state: RequiredState::new([("m.room.name", "")], "@me:example.org"),
        };
        let config = Rc::new(config);
        let mut connection = Connection::default();
        connection.counts.insert("all".to_owned(), rooms);
        for index in 0..rooms {
            let names = (0..members).map(|n| format!("@user{n}:example.org").into());
            let room = SentRoom {
                events: if index % 2 == 0 { Sent::Live } else { Sent::Until(index as i64) },
                receipts: if index % 3 == 0 { Sent::Never } else { Sent::Live },
                account_data: index % 5 == 0,
                config: config.clone(),
                members: names.collect(),
            };
            let room_id = format!("!{index:05}:example.org");
            connection.rooms.insert(OwnedRoomId::try_from(room_id).unwrap(), room);
        }
        connection
    }

    #[test]
    fn a_connection_is_read_as_it_was_written_and_is_small() {
        let mut connection = connection(300, 20);
        let text = connection.to_json();
        assert_eq!(Connection::from_json(&text).unwrap(), connection);
        assert!(text.len() < 35_000, "{}", text.len());
        assert_eq!(Connection::from_json("{}"), None);
        assert_eq!(Connection::from_json(""), None);
        let damaged = text.replacen(",0,[0,", ",7,[0,", 1);
        assert_ne!(damaged, text);
        assert_eq!(Connection::from_json(&damaged), None);
    }

    #[test]
    fn what_does_not_fit_is_forgotten() {
        let mut crowded = connection(4000, MEMBERS_MAX);
        assert!(crowded.to_json().len() <= BYTES_MAX);
        assert_eq!(crowded.rooms.len(), 4000);
        assert!(crowded.rooms.values().all(|room| room.members.is_empty()));
        let mut huge = connection(60_000, 0);
        let text = huge.to_json();
        assert!(text.len() <= BYTES_MAX && huge.rooms.len() > 5_000);
        assert_eq!(Connection::from_json(&text).unwrap(), huge);
    }

    #[test]
    fn what_is_missed_is_remembered_from_where_it_began() {
        let mut sent = Sent::Live;
        assert_eq!(sent.after(7), Some(7));
        sent.miss(7);
        sent.miss(9);
        assert_eq!((sent, sent.after(9)), (Sent::Until(7), Some(7)));
        let mut never = Sent::Never;
        never.miss(7);
        assert_eq!((never, never.after(9)), (Sent::Never, None));
    }
}
