//! The user directory follows the log: what rooms and profiles became is written into it some
//! changes at a time, before somebody searches and in the sweep.
//!
//! Invariant: one step is one batch, and bounded; a step that two take at once does no harm.

use std::collections::BTreeSet;

use myelin_protocol::user_search::index_words;
use ruma::{OwnedRoomId, OwnedUserId, ServerName, UserId};

use crate::context::Context;
use crate::error::ApiError;
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::user_directory::{self, DELTAS_MAX, DeltaRow, Entry, ProfileRow, RoomUser};

/// Steps that one search, or one sweep, takes at most.
pub const STEPS_MAX: usize = 20;

/// The state that decides whether a room's members are shown to everyone.
const PUBLICITY_TYPES: [&str; 2] = ["m.room.join_rules", "m.room.history_visibility"];

/// What the log has that the directory has not.
pub struct Pending {
    deltas: Vec<DeltaRow>,
    unindexed: Vec<ProfileRow>,
}

/// The reads of [`Pending::read`].
pub fn reads() -> [Statement; 2] {
    [user_directory::select_pending(), user_directory::select_unindexed()]
}

/// What the directory has of somebody after a change of their profile.
pub fn entry(
    server_name: &ServerName,
    user_id: &UserId,
    display_name: Option<&str>,
    avatar_url: Option<&str>,
) -> Entry {
    Entry {
        words: index_words(user_id, display_name, server_name),
        user_id: user_id.to_owned(),
        display_name: display_name.map(ToOwned::to_owned),
        avatar_url: avatar_url.map(ToOwned::to_owned),
    }
}

impl Pending {
    /// # Errors
    /// If the rows are not of [`reads`].
    pub fn read(results: &mut Results) -> Result<Self, DatabaseError> {
        Ok(Self { deltas: results.rows()?, unindexed: results.rows()? })
    }

    pub fn is_empty(&self) -> bool {
        self.deltas.is_empty()
    }

    /// What follows these changes, with the position after them.
    pub fn writes(mut self, server_name: &ServerName) -> Vec<Statement> {
        let rooms_whole = self.end_at_position();
        let Some(position) = self.deltas.last().map(|row| row.stream_id) else {
            return Vec::new();
        };
        let is_whole = |row: &&DeltaRow| {
            rooms_whole || row.is_abandoned || PUBLICITY_TYPES.contains(&row.event_type.as_str())
        };
        let rooms: BTreeSet<OwnedRoomId> =
            self.deltas.iter().filter(is_whole).map(|row| row.room_id.clone()).collect();
        let rooms: Vec<OwnedRoomId> = rooms.into_iter().collect();
        let members: BTreeSet<RoomUser> = self.deltas.iter().filter_map(member).collect();
        let members: Vec<RoomUser> = members.into_iter().collect();
        let entries: Vec<Entry> =
            self.unindexed.into_iter().map(|row| profile_entry(server_name, row)).collect();
        let mut batch = Vec::new();
        if !entries.is_empty() {
            batch.extend(user_directory::write(&entries));
        }
        if !members.is_empty() {
            batch.extend(user_directory::update_members(&members));
            batch.extend(user_directory::remove_strangers(&members));
        }
        if !rooms.is_empty() {
            batch.extend(user_directory::update_rooms(&rooms));
        }
        batch.push(user_directory::follow(&rooms, position));
        batch
    }

    /// Leaves the changes of the last position to the next step, as more of them may follow; true
    /// if there is no other position: then one change of the state replaced more than is read.
    fn end_at_position(&mut self) -> bool {
        if (self.deltas.len() as i64) < DELTAS_MAX {
            return false;
        }
        let last = self.deltas.last().map(|row| row.stream_id);
        if self.deltas.first().map(|row| row.stream_id) == last {
            return true;
        }
        self.deltas.retain(|row| Some(row.stream_id) != last);
        false
    }
}

fn member(row: &DeltaRow) -> Option<RoomUser> {
    let user_id: OwnedUserId = row.state_key.as_str().try_into().ok()?;
    let is_member = row.event_type == "m.room.member";
    is_member.then(|| RoomUser { room_id: row.room_id.clone(), user_id })
}

fn profile_entry(server_name: &ServerName, row: ProfileRow) -> Entry {
    let ProfileRow { user_id, display_name, avatar_url } = row;
    let words = index_words(&user_id, display_name.as_deref(), server_name);
    Entry { words, user_id, display_name, avatar_url }
}

/// Follows the log to its end, or as far as the steps go: for the cron sweep.
///
/// # Errors
/// If the database fails.
pub async fn follow(context: &Context) -> Result<(), ApiError> {
    let mut batch = vec![user_directory::bound_position()];
    for _ in 0..STEPS_MAX {
        let written = batch.len();
        batch.extend(reads());
        let mut results = Results::new(context.batch(batch).await?);
        results.skip(written);
        let pending = Pending::read(&mut results)?;
        if pending.is_empty() {
            return Ok(());
        }
        batch = pending.writes(context.server_name());
    }
    context.batch(batch).await?;
    Ok(())
}
