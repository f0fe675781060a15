//! The first look: how far the log goes, what the client has been told, and which rooms and other
//! things of the user's have moved since.
//!
//! Invariant: all of it is read in one batch, so `upto` and what is found belong together.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use myelin_protocol::sliding_sync::{Connection, Position, Rooms, SlidingSyncRequest, UserRoom};
use myelin_protocol::sync::{MembershipChange, Windows};
use myelin_protocol::sync_token::StreamToken;
use ruma::{DeviceId, OwnedRoomId, OwnedUserId, UserId};
use serde_json::{Map, Value};

use super::extensions::{Ask, Extension};
use crate::error::{ApiError, ErrorCode};
use crate::serving::sync::changes::{self, SHOWN_STREAMS};
use crate::storage::account_data::{self, AccountDataRow, InvitePermissionRow};
use crate::storage::database::{Results, Statement};
use crate::storage::events::{self, IgnoredRow};
use crate::storage::receipts::{self, ReadRoomRow};
use crate::storage::room_summaries::{self, ChildIdRow};
use crate::storage::room_tags::{self, TagRow};
use crate::storage::sliding_sync::{self, RoomsQuery, SettledRow, UserRoomRow};
use crate::storage::sliding_sync_connections::{self, ConnectionRow, Place};
use crate::storage::stream_positions::{self, NOW};
use crate::storage::sync;

/// What decides how a look is taken.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    pub user_id: &'a UserId,
    pub device_id: Option<&'a DeviceId>,
    pub request: &'a SlidingSyncRequest,
    /// A hash of the request.
    pub request_hash: &'a str,
    pub since: Option<&'a Position>,
    pub now_ms: u64,
}

/// What a look has found.
pub struct Looked {
    pub upto: StreamToken,
    /// What the client has been told up to its position.
    pub connection: Connection,
    /// For what the connection's value stands, if it is kept.
    pub settled_request: Option<String>,
    /// All rooms that have not moved have been told, and are not among `rooms`.
    pub is_settled: bool,
    pub rooms: BTreeMap<OwnedRoomId, UserRoom>,
    pub newly_joined: HashSet<OwnedRoomId>,
    pub direct: HashSet<OwnedRoomId>,
    /// Rooms that the user has read farther: less is unread in them.
    pub read: HashSet<OwnedRoomId>,
    pub tags: HashMap<OwnedRoomId, HashSet<String>>,
    pub spaces: HashMap<OwnedRoomId, HashSet<OwnedRoomId>>,
    pub ignored: HashSet<OwnedUserId>,
}

impl Look<'_> {
    /// The statements of a look, with those of the extensions; [`Look::read`] takes their results.
    pub fn statements(&self, extensions: &[Box<dyn Extension>]) -> Vec<Statement> {
        let streams = self.since.map(|since| &since.streams);
        let own = extensions.iter().flat_map(|extension| extension.streams());
        let shown: Vec<_> = SHOWN_STREAMS.iter().chain(own).copied().collect();
        let mut batch = vec![
            match streams {
                Some(_) => stream_positions::select_some(&shown),
                None => stream_positions::select_all(),
            },
            events::ignored_users(self.user_id.as_str()),
        ];
        if self.has_connection() {
            batch.push(sliding_sync_connections::select(self.user_id, self.place()));
            let subscriptions: Vec<_> = self.request.room_subscriptions.keys().cloned().collect();
            batch.extend(sliding_sync::user_rooms(&RoomsQuery {
                user_id: self.user_id,
                place: self.place(),
                since: self.since_events(),
                account_data_since: streams.map_or(0, |streams| streams.account_data_key),
                subscriptions: &subscriptions,
            }));
            batch.push(sync::membership_changes(self.user_id, self.since_events().unwrap_or(NOW)));
            batch.push(account_data::select(self.user_id, "m.direct"));
            batch.push(account_data::select_invite_permission(self.user_id));
            let receipts = streams.map_or(NOW, |streams| streams.receipt_key.stream);
            batch.push(receipts::read_rooms_since(self.user_id, receipts));
            if self.looks_at_tags() {
                batch.push(room_tags::updated_since(self.user_id, 0, NOW));
            }
            let spaces = self.spaces();
            let children = room_summaries::children_of_joined(self.user_id, &spaces);
            batch.push(children.unless_empty(&spaces));
        }
        let ask = self.ask();
        batch.extend(extensions.iter().flat_map(|extension| extension.look(&ask)));
        batch
    }

    /// Takes the results of [`Look::statements`].
    ///
    /// # Errors
    /// `M_UNKNOWN_POS` if it is not known what the client has been told.
    pub fn read(
        &self,
        extensions: &mut [Box<dyn Extension>],
        results: &mut Results,
    ) -> Result<Looked, ApiError> {
        let upto = match self.since {
            Some(since) => {
                changes::token_after(&since.streams, &results.first()?.unwrap_or_default())
            }
            None => changes::token(&results.rows()?),
        };
        if self.since.is_some_and(|since| changes::bounded(&since.streams, &upto).is_some()) {
            return Err(unknown_position());
        }
        let ignored = results.rows()?.into_iter().map(|row: IgnoredRow| row.ignored_user_id);
        let mut looked = Looked {
            ignored: ignored.collect(),
            upto,
            connection: Connection::default(),
            settled_request: None,
            is_settled: false,
            rooms: BTreeMap::new(),
            newly_joined: HashSet::new(),
            direct: HashSet::new(),
            read: HashSet::new(),
            tags: HashMap::new(),
            spaces: HashMap::new(),
        };
        if self.has_connection() {
            self.read_rooms(&mut looked, results)?;
        }
        let ask = self.ask();
        for extension in extensions {
            extension.read_look(&ask, results)?;
        }
        Ok(looked)
    }

    fn read_rooms(&self, looked: &mut Looked, results: &mut Results) -> Result<(), ApiError> {
        let row: Option<ConnectionRow> = results.first()?;
        if let Some(row) = row {
            looked.connection = Connection::from_json(&row.state).ok_or_else(unknown_position)?;
            looked.settled_request = row.settled_request;
        } else if self.since.is_some_and(|since| since.connection != 0) {
            return Err(unknown_position());
        }
        looked.is_settled = results.first::<SettledRow>()?.is_some_and(|row| row.is_settled);
        let rooms = results.rows::<UserRoomRow>()?.into_iter().map(UserRoom::from);
        looked.rooms = rooms.map(|room| (room.room_id.clone(), room)).collect();
        looked.newly_joined = self.newly_joined(looked, results.rows()?);
        let direct = results.first::<AccountDataRow>()?;
        looked.direct = direct.map(|row| direct_rooms(&row.content)).unwrap_or_default();
        let permission: Option<InvitePermissionRow> = results.first()?;
        if permission.is_some_and(|row| row.blocks_invites) {
            looked.rooms.retain(|_, room| room.membership != "invite");
        }
        let read = results.rows()?.into_iter();
        looked.read = read.map(|row: ReadRoomRow| row.room_id).collect();
        if self.looks_at_tags() {
            looked.tags = tags(results.rows()?);
        }
        for row in results.rows::<ChildIdRow>()? {
            looked.spaces.entry(row.space_id).or_default().insert(row.room_id);
        }
        Ok(())
    }

    fn newly_joined(
        &self,
        looked: &Looked,
        changes: Vec<MembershipChange>,
    ) -> HashSet<OwnedRoomId> {
        let windows = Windows {
            user_id: self.user_id,
            since: self.since_events(),
            upto: looked.upto.room_key.stream(),
            ignored: &looked.ignored,
        };
        let windows = windows.of_changes(Vec::new(), changes).into_values();
        windows.filter(|window| window.newly_joined).map(|window| window.room_id).collect()
    }

    /// Whether there is anything to keep in mind of what the client has been told. A request that
    /// looks at no room passes over what happens in those that it was told of.
    fn has_connection(&self) -> bool {
        self.request.has_rooms() || self.since.is_some_and(|since| since.connection != 0)
    }

    fn since_events(&self) -> Option<i64> {
        self.since.map(|since| since.streams.room_key.stream())
    }

    fn looks_at_tags(&self) -> bool {
        self.request.lists.values().any(|list| list.filters.has_tags())
    }

    /// The spaces whose rooms lists are made of.
    fn spaces(&self) -> Vec<OwnedRoomId> {
        let lists = self.request.lists.values();
        let spaces = lists.filter_map(|list| list.filters.spaces.as_ref()).flatten();
        spaces.cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn place(&self) -> Place<'_> {
        Place {
            device_id: self.device_id.map_or("", DeviceId::as_str),
            conn_id: self.request.conn_id.as_deref().unwrap_or_default(),
            position: self.since.map_or(0, |since| since.connection),
            request: self.request_hash,
        }
    }

    fn ask(&self) -> Ask<'_> {
        Ask {
            user_id: self.user_id,
            device_id: self.device_id,
            since: self.since.map(|since| &since.streams),
            now_ms: self.now_ms,
        }
    }
}

impl Looked {
    /// The rooms, as lists look at them.
    pub fn rooms<'a>(&'a self, user_id: &'a UserId, since: Option<&Position>) -> Rooms<'a> {
        Rooms {
            user_id,
            since: since.map(|since| since.streams.room_key.stream()),
            rooms: &self.rooms,
            direct: &self.direct,
            tags: &self.tags,
            spaces: &self.spaces,
            ignored: &self.ignored,
        }
    }
}

pub fn unknown_position() -> ApiError {
    let message = "The position is unknown or has expired: begin anew without pos";
    ApiError::new(ErrorCode::UnknownPos, message)
}

/// The rooms of an `m.direct`. Clients write it, so it may hold anything.
fn direct_rooms(content: &str) -> HashSet<OwnedRoomId> {
    let by_user: Map<String, Value> = serde_json::from_str(content).unwrap_or_default();
    let rooms = by_user.values().filter_map(Value::as_array).flatten();
    rooms.filter_map(|room_id| room_id.as_str()?.try_into().ok()).collect()
}

fn tags(rows: Vec<TagRow>) -> HashMap<OwnedRoomId, HashSet<String>> {
    let mut tags: HashMap<OwnedRoomId, HashSet<String>> = HashMap::new();
    for row in rows {
        tags.entry(row.room_id).or_default().extend(row.tag);
    }
    tags
}
