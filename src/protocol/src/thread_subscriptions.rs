//! Threads that a user follows: what a new subscription changes, and how changes are listed.
//!
//! MSC4306 and, for the list, MSC4308.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ruma::{OwnedEventId, OwnedRoomId};
use serde::Serialize;

use crate::sync_token::{InvalidToken, StreamToken};

/// How many changes are listed when nobody says how many, and at most: as in Synapse.
pub const LIST_DEFAULT: u32 = 100;
pub const LIST_MAX: u32 = 512;

/// Where an event, or the end of a room, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub stream_ordering: i64,
    pub topological_ordering: i64,
}

/// What a user has decided about a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscription {
    /// By hand, or by a client on its own.
    Subscribed { automatic: bool },
    /// With the end of the room at that time.
    Unsubscribed { at: Place },
}

/// What comes of the wish to subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscribe {
    Change,
    /// It is so already, or more than that.
    Unchanged,
    /// The user has unsubscribed after the event that the client goes by.
    Conflict,
}

/// Whether a subscription is to be written. `cause`: the event for which a client subscribes on its
/// own; none if the user wants it.
pub fn subscribe(current: Option<Subscription>, cause: Option<Place>) -> Subscribe {
    match (current, cause) {
        (Some(Subscription::Subscribed { automatic }), cause) if !automatic || cause.is_some() => {
            Subscribe::Unchanged
        }
        (Some(Subscription::Unsubscribed { at }), Some(cause)) if knew(at, cause) => {
            Subscribe::Conflict
        }
        _ => Subscribe::Change,
    }
}

/// Whether an event was there at a time. Events from before we were in the room have a negative
/// place in the stream: they go by the room's graph.
fn knew(at: Place, event: Place) -> bool {
    if event.stream_ordering > 0 {
        return at.stream_ordering >= event.stream_ordering;
    }
    at.topological_ordering >= event.topological_ordering
}

/// A place in the stream of subscriptions: `ts12`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionsToken(pub i64);

impl fmt::Display for SubscriptionsToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ts{}", self.0)
    }
}

impl FromStr for SubscriptionsToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let position = text.strip_prefix("ts").ok_or(InvalidToken)?;
        position.parse().map(Self).map_err(|_| InvalidToken)
    }
}

impl SubscriptionsToken {
    /// Where a list ends: at such a token, or at the `pos` of a sliding sync.
    ///
    /// # Errors
    /// For everything else.
    pub fn from_end(text: &str) -> Result<Self, InvalidToken> {
        if let Ok(token) = text.parse() {
            return Ok(token);
        }
        let (_, streams) = text.split_once('/').ok_or(InvalidToken)?;
        let streams: StreamToken = streams.parse()?;
        Ok(Self(streams.thread_subscriptions_key))
    }
}

/// A change of what a user follows.
#[derive(Debug, Clone)]
pub struct SubscriptionChange {
    pub stream_id: i64,
    pub room_id: OwnedRoomId,
    pub thread_id: OwnedEventId,
    /// `None`: unsubscribed; else whether automatically.
    pub automatic: Option<bool>,
}

/// The threads of each room.
type ByThread<T> = BTreeMap<OwnedRoomId, BTreeMap<OwnedEventId, T>>;

/// Changes, as clients read them.
#[derive(Debug, Default, Serialize)]
pub struct SubscriptionChanges {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subscribed: ByThread<Subscribed>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unsubscribed: ByThread<Unsubscribed>,
}

#[derive(Debug, Serialize)]
pub struct Subscribed {
    pub automatic: bool,
    pub bump_stamp: i64,
}

#[derive(Debug, Serialize)]
pub struct Unsubscribed {
    pub bump_stamp: i64,
}

/// Sorts the latest changes, at most `limit`, oldest first. The token is where those before them
/// end, if there may be any.
pub fn list_changes(
    changes: Vec<SubscriptionChange>,
    limit: usize,
) -> (SubscriptionChanges, Option<SubscriptionsToken>) {
    let oldest = changes.first().filter(|_| changes.len() >= limit);
    let end = oldest.map(|change| SubscriptionsToken(change.stream_id - 1));
    let mut list = SubscriptionChanges::default();
    for change in changes {
        let SubscriptionChange { stream_id: bump_stamp, room_id, thread_id, automatic } = change;
        if let Some(automatic) = automatic {
            let threads = list.subscribed.entry(room_id).or_default();
            threads.insert(thread_id, Subscribed { automatic, bump_stamp });
        } else {
            let threads = list.unsubscribed.entry(room_id).or_default();
            threads.insert(thread_id, Unsubscribed { bump_stamp });
        }
    }
    (list, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(stream_ordering: i64, topological_ordering: i64) -> Place {
        Place { stream_ordering, topological_ordering }
    }

    #[test]
    fn what_the_user_wants_wins_over_what_a_client_does() {
        let by_hand = Some(Subscription::Subscribed { automatic: false });
        let on_its_own = Some(Subscription::Subscribed { automatic: true });
        let cause = Some(place(5, 5));
        assert_eq!(subscribe(None, None), Subscribe::Change);
        assert_eq!(subscribe(None, cause), Subscribe::Change);
        assert_eq!(subscribe(by_hand, None), Subscribe::Unchanged);
        assert_eq!(subscribe(by_hand, cause), Subscribe::Unchanged);
        assert_eq!(subscribe(on_its_own, cause), Subscribe::Unchanged);
        assert_eq!(subscribe(on_its_own, None), Subscribe::Change);
    }

    #[test]
    fn no_event_from_before_an_unsubscription_subscribes_again() {
        let unsubscribed = Some(Subscription::Unsubscribed { at: place(5, 9) });
        assert_eq!(subscribe(unsubscribed, Some(place(5, 5))), Subscribe::Conflict);
        assert_eq!(subscribe(unsubscribed, Some(place(6, 5))), Subscribe::Change);
        assert_eq!(subscribe(unsubscribed, Some(place(-1, 9))), Subscribe::Conflict);
        assert_eq!(subscribe(unsubscribed, Some(place(-1, 10))), Subscribe::Change);
        assert_eq!(subscribe(unsubscribed, None), Subscribe::Change);
    }

    #[test]
    fn a_list_ends_at_a_token_of_its_own_or_at_that_of_a_sync() {
        assert_eq!(SubscriptionsToken::from_end("ts7"), Ok(SubscriptionsToken(7)));
        let pos = "3/s1_2_3_4_5_6_7_8_0_10_4242";
        assert_eq!(SubscriptionsToken::from_end(pos), Ok(SubscriptionsToken(4242)));
        for bad in ["", "7", "ts", "tsx", "3/x"] {
            assert!(SubscriptionsToken::from_end(bad).is_err(), "{bad}");
        }
    }
}
