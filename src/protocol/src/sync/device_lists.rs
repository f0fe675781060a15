//! Of whose devices a client has to learn: who has been met in a room, and who is met no longer.
//!
//! A client keeps the devices of everyone with whom it shares a room, and is told of their
//! changes. Of somebody new it has none, and of somebody gone it is told nothing more.

use std::collections::BTreeSet;

use ruma::{OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};

use super::{RoomWindow, Section};

/// What a window means for those whom the user meets in the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Encounter {
    /// The user was there all the time: others come and go.
    Known,
    /// The user has come: everyone in the room is met.
    Joined,
    /// The user has gone: everyone in the room is left behind.
    Left,
}

/// A room in which others may have been met or left, after `after` and up to `upto`.
#[derive(Clone, Debug, Serialize)]
pub struct MeetingPlace {
    pub room_id: OwnedRoomId,
    pub after: i64,
    pub upto: i64,
    pub encounter: Encounter,
}

/// The rooms of a sync in which somebody may have been met or left.
pub fn meeting_places<'a>(
    windows: impl Iterator<Item = &'a RoomWindow>,
    since: i64,
) -> Vec<MeetingPlace> {
    let place = |window: &RoomWindow| {
        let encounter = match window.section {
            Section::Join if window.newly_joined => Encounter::Joined,
            Section::Join => Encounter::Known,
            Section::Leave { was_joined: true, .. } => Encounter::Left,
            _ => return None,
        };
        let room_id = window.room_id.clone();
        Some(MeetingPlace { room_id, after: since, upto: window.upto, encounter })
    };
    windows.filter_map(place).collect()
}

/// Somebody who was met or left.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Meeting {
    /// When; those who are in a room that the user has joined or left come at its end.
    pub stream_id: i64,
    pub user_id: OwnedUserId,
    /// Whether they came (joined, were invited, knocked) or went.
    #[serde(deserialize_with = "number_as_bool")]
    pub came: bool,
    /// Whether the user is in a room with those who went.
    #[serde(default, deserialize_with = "number_as_bool")]
    pub is_shared: bool,
}

fn number_as_bool<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::<i64>::deserialize(deserializer)?.unwrap_or(0) != 0)
}

/// The `device_lists` of a sync.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeviceLists {
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub changed: BTreeSet<OwnedUserId>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub left: BTreeSet<OwnedUserId>,
}

impl DeviceLists {
    /// Whose devices have changed.
    pub fn changed(changed: Vec<OwnedUserId>) -> Self {
        Self { changed: changed.into_iter().collect(), left: BTreeSet::new() }
    }

    /// Adds whom the user has met and left.
    pub fn meet(&mut self, mut meetings: Vec<Meeting>) {
        let mut lists = Self::default();
        meetings.sort_by_key(|meeting| meeting.stream_id);
        for meeting in meetings {
            let user_id = meeting.user_id;
            if meeting.came {
                lists.left.remove(&user_id);
                lists.changed.insert(user_id);
                continue;
            }
            lists.changed.remove(&user_id);
            if !meeting.is_shared {
                lists.left.insert(user_id);
            }
        }
        self.changed.extend(lists.changed);
        self.left.extend(lists.left);
    }

    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.left.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    fn lists(meetings: &[(i64, bool, bool)]) -> (bool, bool) {
        let user_id = user_id!("@bob:example.org");
        let meetings = meetings.iter().map(|&(stream_id, came, is_shared)| Meeting {
            stream_id,
            user_id: user_id.to_owned(),
            came,
            is_shared,
        });
        let mut lists = DeviceLists::default();
        lists.meet(meetings.collect());
        (lists.changed.contains(user_id), lists.left.contains(user_id))
    }

    #[test]
    fn the_last_word_counts_whatever_the_order_of_the_rows() {
        assert_eq!(lists(&[]), (false, false));
        assert_eq!(lists(&[(1, true, false)]), (true, false));
        assert_eq!(lists(&[(1, false, false)]), (false, true));
        assert_eq!(lists(&[(1, false, false), (2, true, false)]), (true, false));
        assert_eq!(lists(&[(2, true, false), (1, false, false)]), (true, false));
        assert_eq!(lists(&[(1, true, false), (2, false, false)]), (false, true));
    }

    #[test]
    fn whoever_is_met_elsewhere_is_not_left() {
        assert_eq!(lists(&[(1, false, true)]), (false, false));
    }

    #[test]
    fn a_change_is_told_of_those_who_went_from_one_room_too() {
        let user_id = user_id!("@bob:example.org").to_owned();
        let went = Meeting { stream_id: 1, user_id: user_id.clone(), came: false, is_shared: true };
        let mut lists = DeviceLists::changed(vec![user_id.clone()]);
        lists.meet(vec![went]);
        assert_eq!((lists.changed.contains(&user_id), lists.left.is_empty()), (true, true));
    }
}
