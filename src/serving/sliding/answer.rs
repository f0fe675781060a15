//! The shape of an answer: MSC4186. What has not changed stays out.

use std::collections::BTreeMap;

use ruma::{OwnedRoomId, OwnedUserId};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::storage::event_push_counts::{Counts, RoomCounts};

#[derive(Debug, Default, Serialize)]
pub struct SlidingSyncAnswer {
    pub pos: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txn_id: Option<String>,
    pub lists: BTreeMap<String, ListAnswer>,
    pub rooms: BTreeMap<OwnedRoomId, RoomAnswer>,
    pub extensions: BTreeMap<&'static str, Box<RawValue>>,
}

#[derive(Debug, Serialize)]
pub struct ListAnswer {
    pub count: usize,
}

/// A room. Those that are seen from outside have an `invite_state`, the others a timeline.
#[derive(Debug, Default, Serialize)]
pub struct RoomAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Option<String>>,
    /// `None` within: it has been taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<Option<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub heroes: Vec<Hero>,
    #[serde(skip_serializing_if = "is_false")]
    pub is_dm: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub initial: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub unstable_expanded_timeline: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required_state: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limited: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prev_batch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_live: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub invite_state: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bump_stamp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joined_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invited_count: Option<u64>,
    pub notification_count: u64,
    pub highlight_count: u64,
}

/// Somebody whom a nameless room is named after.
#[derive(Debug, Serialize)]
pub struct Hero {
    pub user_id: OwnedUserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub displayname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

impl RoomAnswer {
    /// A room of which only what is unread has changed.
    pub fn of_counts(counts: Option<&RoomCounts>) -> Self {
        let Counts { notification_count, highlight_count } =
            counts.map(RoomCounts::total).unwrap_or_default();
        Self { notification_count, highlight_count, ..Self::default() }
    }
}
