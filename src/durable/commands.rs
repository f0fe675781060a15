//! What objects are asked, and what they answer. Every shape here crosses between isolates as
//! JSON and is pinned by a test.

use std::collections::BTreeSet;

use async_trait::async_trait;
pub use myelin_protocol::membership_change::Action as MembershipAction;
use myelin_protocol::relations::Parent;
use ruma::{
    OwnedDeviceId, OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomId, RoomVersionId,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

pub use crate::storage::access_tokens::PresumedToken;
pub use crate::storage::delayed_events::Delayed;

/// An event before it has a place in the room's graph.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewEvent {
    pub sender: OwnedUserId,
    #[serde(rename = "type")]
    pub event_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_key: Option<String>,
    /// A JSON object.
    pub content: Box<RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redacts: Option<OwnedEventId>,
}

/// A redaction that was sent as an event names its target in its content.
pub fn redacts_of(event_type: &str, content: &RawValue) -> Option<OwnedEventId> {
    if event_type != "m.room.redaction" {
        return None;
    }
    let content: Map<String, Value> = serde_json::from_str(content.get()).ok()?;
    content.get("redacts")?.as_str()?.try_into().ok()
}

/// What makes a repeated request the same request: Client-Server API, "Transaction identifiers".
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TransactionKey {
    pub user_id: OwnedUserId,
    pub device_id: OwnedDeviceId,
    pub txn_id: String,
}

/// One event into a room: a message, state, or a redaction.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SendEvent {
    pub event: NewEvent,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<TransactionKey>,
    /// `ts` of the request, which application services may set. Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin_server_ts: Option<u64>,
    /// How far the stream of push rules is known to go: a room that knows less of it looks. 0 if
    /// nobody has asked.
    #[serde(default)]
    pub push_rules_position: i64,
    /// The token, and what it was when it was last looked at: the commit looks whether that holds
    /// and the room knows the push rules, or the answer is [`RoomReply::Unproven`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presumed: Option<PresumedToken>,
    /// What is known of the event that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<KnownParent>,
    /// If its sender asked for it earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delayed: Option<Delayed>,
}

/// What the log said of an event when it went so far.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct KnownParent {
    pub position: i64,
    #[serde(flatten)]
    pub parent: Parent,
}

impl SendEvent {
    /// An event of which nothing else is known.
    pub fn new(event: NewEvent) -> Self {
        Self {
            event,
            transaction: None,
            origin_server_ts: None,
            push_rules_position: 0,
            presumed: None,
            parent: None,
            delayed: None,
        }
    }
}

/// All events of a new room, in ONE commit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreateRoom {
    pub room_version: RoomVersionId,
    /// The first is `m.room.create`, the second the creator's join.
    pub events: Vec<NewEvent>,
    /// Of the create event: in version 12 the room's id depends on it.
    pub origin_server_ts: u64,
    pub alias: Option<OwnedRoomAliasId>,
    /// Whether the room is in the public directory.
    pub is_public: bool,
}

/// A change of somebody's membership.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeMembership {
    pub action: MembershipAction,
    pub sender: OwnedUserId,
    pub target: OwnedUserId,
    /// The member event's content without `membership`: profile, reason, `is_direct`, ...
    pub content: Box<RawValue>,
    pub sender_is_guest: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<TransactionKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delayed: Option<Delayed>,
}

/// An event that is to be sent later.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DelayEvent {
    pub event: NewEvent,
    pub delay_ms: u64,
    pub device_id: Option<OwnedDeviceId>,
    pub txn_id: Option<String>,
}

/// What a room's writer is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomCommand {
    Create(CreateRoom),
    Send(SendEvent),
    ChangeMembership(ChangeMembership),
    /// Something of the room that is not an event has been written (typing, a receipt): wake the
    /// members.
    Announce,
    Delay(DelayEvent),
    /// Send the delayed event of this id now, or those that are due.
    SendDelayed(Option<String>),
}

/// What a room's writer answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomReply {
    /// The event that was written, or had been written by the same transaction before, or (for
    /// state that is already so) stands there.
    Event {
        event_id: OwnedEventId,
        stream_ordering: i64,
    },
    Created {
        room_id: OwnedRoomId,
        stream_ordering: i64,
    },
    /// There is such a room already: nothing was written.
    Exists,
    /// Nothing was written: what was presumed has to be looked up first.
    Unproven,
    Delayed {
        delay_id: String,
    },
    Done,
}

/// What the guard of an account or an address is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardCommand {
    /// Counts an attempt against a limit: `per_second` refills a bucket of `burst`.
    Count { action: String, per_second: f64, burst: f64 },
    /// Hashes a password (with its pepper appended already) in bcrypt's `$2b$` form.
    HashPassword { password: String, rounds: u32 },
    /// Compares a password with a hash. If `limited`, failures are counted against a limit, and
    /// successes too if they are logins.
    CheckPassword { password: String, hash: String, limited: bool, is_login: bool },
}

/// What the guard answers. A limit that is reached is an `ApiError`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardReply {
    Counted,
    Hash(String),
    Matches(bool),
}

/// What the sender of somebody's notifications is told. It carries no data: the sender looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushCommand {
    /// There may be a notification.
    Notify,
    /// Something may have been read.
    Read,
    /// It is time to try gateways again that have failed.
    Retry,
}

/// Something has been written: who should look? Carries no data, and may be lost.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Announcement {
    /// Events or ephemeral data of a room.
    Room {
        room_id: OwnedRoomId,
        /// Rises when the set of joined local members changes. A notifier that knows another
        /// version answers that it needs the members.
        members_version: i64,
        /// The joined local members, where the notifiers may not know them.
        members: Option<Vec<OwnedUserId>>,
        /// Who else is concerned: invited, kicked, ...
        also: Vec<OwnedUserId>,
        /// Nothing but messages has been written: no state, no ephemeral data.
        only_messages: bool,
        /// The notifiers at which the members wait. Only the sender needs it.
        #[serde(skip)]
        at: Vec<u32>,
    },
    /// Data of these users.
    Users(Vec<OwnedUserId>),
}

/// How a wait ended. The caller looks into the log once more, unless nobody asks any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// Something may have happened; the waiter is still registered.
    Woken,
    /// The time is up.
    TimedOut,
    /// The waiter is registered no longer: nothing would wake it again.
    Closed,
    /// The client has gone. It goes on from where it was.
    HungUp,
}

/// What wakings have told: where to look first. More may have happened, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Messages in these rooms.
    Messages(BTreeSet<OwnedRoomId>),
    Anything,
}

/// Messages in more rooms are looked for as anything is.
const MESSAGE_ROOMS_MAX: usize = 8;

impl News {
    /// How a notifier writes it to a waiter.
    pub fn to_text(message_in: Option<&RoomId>) -> &str {
        message_in.map_or("*", RoomId::as_str)
    }

    /// That nothing has been told yet.
    pub const fn none() -> Self {
        Self::Messages(BTreeSet::new())
    }

    /// Adds what [`News::to_text`] has written. A text of any other kind is news of any kind.
    pub fn add_text(&mut self, text: &str) {
        match (&mut *self, RoomId::parse(text)) {
            (Self::Messages(rooms), Ok(room_id)) if rooms.len() < MESSAGE_ROOMS_MAX => {
                rooms.insert(room_id);
            }
            _ => *self = Self::Anything,
        }
    }
}

/// A registered wait of one `/sync`. Dropping it ends the registration.
#[async_trait(?Send)]
pub trait Waiter {
    /// Returns when something may have happened, at once if it has happened since the last call,
    /// or when the time is up.
    async fn wait(&mut self, timeout_ms: u64) -> Waited;

    /// What has been told since the last call.
    fn take_news(&mut self) -> News;

    /// How many wait at the same notifier, if it says so.
    fn sockets(&self) -> Option<u64> {
        None
    }
}
