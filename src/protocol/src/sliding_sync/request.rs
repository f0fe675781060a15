//! What a client asks for: its connection, lists of rooms, single rooms, and extensions. The types
//! of ruma lack filters and take their absence for an empty list.

use std::collections::BTreeMap;

use ruma::OwnedRoomId;
use ruma::api::client::sync::sync_events::v5::request::Extensions;
use serde::{Deserialize, Serialize};

use super::required_state::RequiredState;
use crate::sync::wanted::TIMELINE_EVENTS_MAX;

/// Lists of a request, as in Synapse.
const LISTS_MAX: usize = 100;

/// Bytes of the name of a list, as in Synapse.
const LIST_NAME_MAX: usize = 64;

/// The largest `timeline_limit` that is understood, as in Synapse. Fewer events are sent: the
/// timeline then says that it is limited.
const TIMELINE_LIMIT_MAX: u64 = 1_000;

const RANGES_MAX: usize = 20;
const SPACES_MAX: usize = 100;
const SUBSCRIPTIONS_MAX: usize = 1_000;
const REQUIRED_STATE_MAX: usize = 1_000;
const CONN_ID_MAX: usize = 255;

/// What the database and JSON hold exactly.
const POSITION_MAX: i64 = (1 << 53) - 1;

/// The body of a request.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct SlidingSyncRequest {
    pub conn_id: Option<String>,
    pub txn_id: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub lists: BTreeMap<String, List>,
    /// What is no room's id is ignored, as rooms are that do not exist.
    #[serde(default, deserialize_with = "rooms_only")]
    pub room_subscriptions: BTreeMap<OwnedRoomId, RoomWish>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub extensions: Extensions,
}

/// A list of rooms, the most recent first, of which some places are wanted.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct List {
    /// Both ends are part of a range.
    #[serde(default, deserialize_with = "null_is_default")]
    pub ranges: Vec<(u64, u64)>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub filters: ListFilters,
    #[serde(flatten)]
    pub wish: RoomWish,
}

/// What is wanted of each room.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RoomWish {
    #[serde(default)]
    pub required_state: Vec<(String, String)>,
    pub timeline_limit: u64,
}

/// Which rooms are in a list: those that fulfil all of it. What is not said excludes none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct ListFilters {
    pub is_dm: Option<bool>,
    pub is_encrypted: Option<bool>,
    pub is_invite: Option<bool>,
    /// `null` among them is a room without a type.
    pub room_types: Option<Vec<Option<String>>>,
    pub not_room_types: Option<Vec<Option<String>>>,
    pub tags: Option<Vec<String>>,
    pub not_tags: Option<Vec<String>>,
    /// Rooms of one of these spaces, not of those below them.
    pub spaces: Option<Vec<OwnedRoomId>>,
    pub room_name_like: Option<String>,
}

/// What is sent of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomConfig {
    pub timeline_limit: usize,
    pub required_state: RequiredState,
}

/// Why a request is refused. The errcode is `M_INVALID_PARAM`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    #[error("There may be at most {0}")]
    TooMany(&'static str),
    #[error("The range of list {0:?} ends before it begins")]
    Range(String),
    #[error("The filter {0} is not supported")]
    Filter(&'static str),
    #[error("to_device.since is not a position")]
    ToDeviceSince,
}

impl SlidingSyncRequest {
    /// # Errors
    /// If it asks for more than a server can be asked for, or for what this one does not know.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        let at_most = |is_within: bool, what| match is_within {
            true => Ok(()),
            false => Err(InvalidRequest::TooMany(what)),
        };
        let conn_id = self.conn_id.as_deref().unwrap_or_default();
        at_most(conn_id.len() <= CONN_ID_MAX, "255 bytes in conn_id")?;
        at_most(self.lists.len() <= LISTS_MAX, "100 lists")?;
        at_most(self.room_subscriptions.len() <= SUBSCRIPTIONS_MAX, "1000 room subscriptions")?;
        let wishes = self.lists.values().map(|list| &list.wish);
        for wish in wishes.chain(self.room_subscriptions.values()) {
            at_most(wish.timeline_limit <= TIMELINE_LIMIT_MAX, "1000 events in a timeline")?;
            let entries = wish.required_state.len();
            at_most(entries <= REQUIRED_STATE_MAX, "1000 entries in required_state")?;
        }
        for (name, list) in &self.lists {
            at_most(name.len() <= LIST_NAME_MAX, "64 bytes in the name of a list")?;
            at_most(list.ranges.len() <= RANGES_MAX, "20 ranges in a list")?;
            if list.ranges.iter().any(|(start, end)| start > end) {
                return Err(InvalidRequest::Range(name.clone()));
            }
            list.filters.check()?;
        }
        self.to_device_since().map(|_| ())
    }

    /// Up to where the client has the messages to its device; at first, 0.
    ///
    /// # Errors
    /// If what it says is no position.
    pub fn to_device_since(&self) -> Result<i64, InvalidRequest> {
        let asked = &self.extensions.to_device;
        let since = asked.since.as_deref().filter(|_| asked.enabled == Some(true));
        let Some(since) = since else { return Ok(0) };
        let is_number = since.bytes().all(|byte| byte.is_ascii_digit());
        let position = since.parse().ok().filter(|since| is_number && *since <= POSITION_MAX);
        position.ok_or(InvalidRequest::ToDeviceSince)
    }

    /// Whether it asks for rooms at all. If not, a connection has no state.
    pub fn has_rooms(&self) -> bool {
        !self.lists.is_empty() || !self.room_subscriptions.is_empty()
    }
}

impl ListFilters {
    fn check(&self) -> Result<(), InvalidRequest> {
        if self.spaces.as_ref().is_some_and(|spaces| spaces.len() > SPACES_MAX) {
            return Err(InvalidRequest::TooMany("100 spaces in a filter"));
        }
        match self.room_name_like {
            Some(_) => Err(InvalidRequest::Filter("room_name_like")),
            None => Ok(()),
        }
    }

    /// Whether it looks at the user's tags.
    pub fn has_tags(&self) -> bool {
        self.tags.is_some() || self.not_tags.is_some()
    }
}

impl RoomWish {
    pub fn config(&self, user_id: &str) -> RoomConfig {
        let pairs = self.required_state.iter();
        let pairs = pairs.map(|(event_type, key)| (event_type.as_str(), key.as_str()));
        let limit = usize::try_from(self.timeline_limit).unwrap_or(usize::MAX);
        RoomConfig {
            timeline_limit: limit.min(TIMELINE_EVENTS_MAX),
            required_state: RequiredState::new(pairs, user_id),
        }
    }
}

impl RoomConfig {
    /// What either wants.
    pub fn union(&self, other: &Self) -> Self {
        Self {
            timeline_limit: self.timeline_limit.max(other.timeline_limit),
            required_state: self.required_state.union(&other.required_state),
        }
    }

    /// Whether this wants more than `before`.
    pub fn is_beyond(&self, before: &Self) -> bool {
        self.timeline_limit > before.timeline_limit
            || !self.required_state.beyond(&before.required_state).is_empty()
    }
}

fn rooms_only<'de, D>(deserializer: D) -> Result<BTreeMap<OwnedRoomId, RoomWish>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let rooms = Option::<BTreeMap<String, RoomWish>>::deserialize(deserializer)?;
    let rooms = rooms.unwrap_or_default().into_iter();
    Ok(rooms.filter_map(|(room_id, wish)| Some((room_id.try_into().ok()?, wish))).collect())
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn refusal(body: Value) -> InvalidRequest {
        serde_json::from_value::<SlidingSyncRequest>(body).unwrap().check().unwrap_err()
    }

    #[test]
    fn the_usual_request_is_understood() {
        let body = json!({
            "conn_id": "room-list",
            "lists": { "all_rooms": {
                "ranges": [[0, 19]], "timeline_limit": 5000,
                "filters": { "not_room_types": ["m.space", null], "is_dm": null },
            } },
            "room_subscriptions": { "!a:example.org": {
                "required_state": [["m.room.member", "$ME"]], "timeline_limit": 20,
            } },
            "extensions": { "typing": { "enabled": true }, "org.example.other": {} },
        });
        let mut request: SlidingSyncRequest = serde_json::from_value(body).unwrap();
        assert_eq!(request.check(), Err(InvalidRequest::TooMany("1000 events in a timeline")));
        let list = request.lists.get_mut("all_rooms").unwrap();
        list.wish.timeline_limit = 1000;
        assert_eq!(list.wish.config("@me:example.org").timeline_limit, TIMELINE_EVENTS_MAX);
        assert!(request.check().is_ok() && request.has_rooms());
        let empty: SlidingSyncRequest = serde_json::from_value(json!({ "lists": null })).unwrap();
        assert!(empty.check().is_ok() && !empty.has_rooms());
    }

    #[test]
    fn what_is_too_much_or_unknown_is_refused() {
        let list = |rest: Value| {
            let mut list = json!({ "timeline_limit": 1 });
            list.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            json!({ "lists": { "a": list } })
        };
        assert_eq!(refusal(list(json!({"ranges": [[3, 2]]}))), InvalidRequest::Range("a".into()));
        let ranges: Vec<_> = (0..21).map(|n| (n, n)).collect();
        let too_many = InvalidRequest::TooMany("20 ranges in a list");
        assert_eq!(refusal(list(json!({ "ranges": ranges }))), too_many);
        let filters = json!({ "filters": { "room_name_like": "a" } });
        assert_eq!(refusal(list(filters)), InvalidRequest::Filter("room_name_like"));
        let spaces: Vec<_> = (0..101).map(|n| format!("!{n}:example.org")).collect();
        let too_many = InvalidRequest::TooMany("100 spaces in a filter");
        assert_eq!(refusal(list(json!({ "filters": { "spaces": spaces } }))), too_many);
        let lists: BTreeMap<_, _> =
            (0..101).map(|n| (n.to_string(), json!({ "timeline_limit": 1 }))).collect();
        let too_many = InvalidRequest::TooMany("100 lists");
        assert_eq!(refusal(json!({ "lists": lists })), too_many);
        let too_long = InvalidRequest::TooMany("64 bytes in the name of a list");
        let name = "a".repeat(65);
        assert_eq!(refusal(json!({ "lists": { name: { "timeline_limit": 1 } } })), too_long);
    }
}
