//! The look of a sync that was woken for messages in rooms that were named to it: what moved, and
//! what they were, come with one batch.
//!
//! Invariant: the token moves on in the streams that are read, and in no other; and what was read
//! of the rooms counts only if they turn out to be what has moved.

use std::collections::HashSet;

use myelin_protocol::filter::room_matches;
use myelin_protocol::sync::{JoinedRoom, RoomWindow, Wanted, Windows};
use myelin_protocol::sync_token::StreamToken;
use ruma::{OwnedRoomId, OwnedUserId};

use super::changes::{Changes, Look, token_after};
use super::devices::{self, DeviceNews};
use super::reads::{Chunk, Contents};
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::stream_positions::{self, NOW, StreamName};
use crate::storage::sync;

/// Contents of rooms that were read before it was known whether they are wanted.
#[derive(Debug)]
pub struct Foreseen {
    rooms: Vec<OwnedRoomId>,
    /// Those of them in which others may have been met.
    places: Vec<OwnedRoomId>,
    contents: Contents,
}

impl Foreseen {
    /// The contents of a chunk, if they are those that were foreseen.
    pub fn contents_of(self, chunk: &Chunk) -> Option<Contents> {
        let rooms = chunk.windows.iter().map(|window| &window.room_id);
        let is_plain = |window: &RoomWindow| window.is_joined() && !window.is_full;
        let fits = rooms.eq(&self.rooms)
            && chunk.windows.iter().all(is_plain)
            && chunk.invitations.is_empty()
            && chunk.quiet.is_empty()
            && chunk.places.iter().map(|place| &place.room_id).eq(&self.places);
        fits.then_some(self.contents)
    }
}

/// A look at messages, and at what is told to the device with every answer.
pub struct MessagesLook<'a> {
    look: Look<'a>,
    since: &'a StreamToken,
    wanted: &'a Wanted,
    chunk: Chunk,
}

/// The streams that are read.
const READ_STREAMS: [StreamName; 3] =
    [StreamName::Events, StreamName::ToDevice, StreamName::DeviceLists];

impl<'a> MessagesLook<'a> {
    /// A look at messages in these rooms, in the order of their ids.
    pub fn new(
        look: Look<'a>,
        since: &'a StreamToken,
        wanted: &'a Wanted,
        rooms: impl Iterator<Item = OwnedRoomId>,
    ) -> Self {
        let rooms = rooms.filter(|room_id| room_matches(&wanted.filter.room, room_id));
        // The user has been in the room all the time: otherwise it is looked at once more.
        let room = |room_id| JoinedRoom { room_id, member_stream_ordering: 0 };
        let window = |room_id| RoomWindow::joined(room(room_id), since.room_key.stream(), NOW);
        let windows: Vec<RoomWindow> = rooms.map(window).collect();
        let places = devices::places(&look, windows.iter());
        let chunk = Chunk { windows, places, shows_presence: look.presence, ..Chunk::default() };
        Self { look, since, wanted, chunk }
    }

    /// All statements, in the order in which [`MessagesLook::read`] takes their results.
    pub fn statements(&self) -> Vec<Statement> {
        let (user_id, stream) = (self.look.user_id, self.since.room_key.stream());
        let mut batch = self.chunk.statements(self.wanted, user_id);
        batch.push(stream_positions::select_some(&READ_STREAMS));
        batch.push(sync::moved_rooms(user_id, stream));
        batch.push(sync::membership_changes(user_id, stream));
        batch.extend(DeviceNews::statements(&self.look));
        batch
    }

    /// Takes the results of [`MessagesLook::statements`].
    ///
    /// # Errors
    /// If the rows are not of those statements.
    pub fn read(
        self,
        ignored: HashSet<OwnedUserId>,
        results: &mut Results,
    ) -> Result<Changes, DatabaseError> {
        let contents = self.chunk.read(self.wanted, results)?;
        let mut upto = token_after(self.since, &results.first()?.unwrap_or_default());
        let windows = Windows {
            user_id: self.look.user_id,
            since: Some(self.since.room_key.stream()),
            upto: upto.room_key.stream(),
            ignored: &ignored,
        };
        let rooms = windows.of_changes(results.rows()?, results.rows()?);
        let devices = DeviceNews::read(&self.look, results, &rooms, &mut upto)?;
        let places = self.chunk.places.into_iter().map(|place| place.room_id).collect();
        let foreseen = self.chunk.windows.into_iter().map(|window| window.room_id).collect();
        let mut changes = Changes::default();
        changes.upto = Some(upto);
        changes.rooms = rooms;
        changes.devices = devices;
        changes.ignored = ignored;
        changes.foreseen = Some(Foreseen { rooms: foreseen, places, contents });
        Ok(changes)
    }
}
