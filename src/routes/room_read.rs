//! What all reading of a room begins with: ONE batch that authenticates, says what the room is
//! for the caller, and brings what is to be read.

use std::collections::{HashMap, HashSet};

use myelin_protocol::client_event::EventFormat;
use ruma::OwnedRoomId;
use ruma::serde::Raw;

use super::{Access, Caller};
use crate::error::ApiError;
use crate::serving::{Reader, RoomAccess, StoredEvent, Timeline, VisibleEvent};
use crate::serving::{aggregations, read_state, state};
use crate::storage::database::{Results, Statement};
use crate::storage::events::{self, IgnoredRow, ReaderRow, Selection};
use crate::storage::state_groups::{self, StateFilter};

/// A room that somebody reads, and the results of the statements that were given.
pub struct RoomRead {
    pub caller: Caller,
    pub reader: Reader,
    pub room_id: OwnedRoomId,
    pub room: Option<ReaderRow>,
    pub results: Results,
}

impl RoomRead {
    /// Runs the batch. `read` gets what stands for the reader in the statements.
    ///
    /// # Errors
    /// As [`Access::authenticate`].
    pub async fn begin(
        access: Access,
        room_id: OwnedRoomId,
        read: impl FnOnce(&str) -> Vec<Statement>,
    ) -> Result<Self, ApiError> {
        let token = access.token()?.to_owned();
        let rooms = [room_id];
        let mut batch = vec![events::readers(&rooms, &token), events::ignored_users(&token)];
        batch.extend(read(&token));
        let (caller, results) = access.authenticate_with(batch).await?;
        let mut results = Results::new(results);
        let room: Option<ReaderRow> = results.first()?;
        let ignored: Vec<IgnoredRow> = results.rows()?;
        let ignored: HashSet<_> = ignored.into_iter().map(|row| row.ignored_user_id).collect();
        let reader = Reader {
            user_id: caller.user_id.clone(),
            device_id: caller.device_id.clone(),
            ignored,
        };
        let [room_id] = rooms;
        Ok(Self { caller, reader, room_id, room, results })
    }

    /// # Errors
    /// `M_FORBIDDEN` for those who may not read the room at all.
    pub fn access(&self) -> Result<RoomAccess, ApiError> {
        RoomAccess::of(self.room.as_ref())
    }

    /// Takes the next three results: what the reader may see of a timeline.
    ///
    /// # Errors
    /// If the rows are not those of a timeline.
    pub fn timeline(&mut self) -> Result<Timeline, ApiError> {
        Ok(Timeline::read(&mut self.results)?)
    }

    /// Takes the next two results, those of one event: if it is there, and the reader may see it.
    ///
    /// # Errors
    /// If the rows are not those of events.
    pub fn event(&mut self) -> Result<Option<StoredEvent>, ApiError> {
        let timeline = Timeline::read_judged(&mut self.results)?;
        Ok(self.visible(timeline).into_iter().next().map(|visible| visible.event))
    }

    /// What the reader may see of it.
    pub fn visible(&self, timeline: Timeline) -> Vec<VisibleEvent> {
        timeline.visible(&self.reader, &self.rooms())
    }

    fn rooms(&self) -> HashMap<OwnedRoomId, ReaderRow> {
        HashMap::from_iter(self.room.clone().map(|room| (room.room_id.clone(), room)))
    }

    /// Reads what relates to events and is shown with them: one batch, or none.
    ///
    /// # Errors
    /// The batch's own.
    pub async fn add_aggregations(&self, visible: &mut [VisibleEvent]) -> Result<(), ApiError> {
        aggregations::add(&self.caller.context, &self.reader, &self.rooms(), visible).await
    }

    /// Takes the next result, which must be the room's present state; for those who have left,
    /// reads the state at their leave instead.
    ///
    /// # Errors
    /// `M_FORBIDDEN` for those who may not read the room at all.
    pub async fn state(&mut self, filter: &StateFilter) -> Result<Vec<StoredEvent>, ApiError> {
        let present = self.results.take();
        match self.access()? {
            RoomAccess::Departed { state_group } => {
                self.select_state(state_groups::of_groups(&[state_group], filter)).await
            }
            RoomAccess::Joined | RoomAccess::WorldReadable => {
                Ok(read_state(&mut Results::new(vec![present]))?)
            }
        }
    }

    /// Reads state with a batch of its own.
    ///
    /// # Errors
    /// The batch's own.
    pub async fn select_state(&self, selection: Selection) -> Result<Vec<StoredEvent>, ApiError> {
        let results = self.caller.context.batch(vec![state(selection)]).await?;
        Ok(read_state(&mut Results::new(results))?)
    }

    /// State events as clients see them.
    pub fn format_state<T>(&self, events: &[StoredEvent]) -> Vec<Raw<T>> {
        events.iter().map(|event| self.format(event, None)).collect()
    }

    /// Events of a timeline as clients see them.
    pub fn format_timeline<T>(&self, events: &[VisibleEvent]) -> Vec<Raw<T>> {
        events.iter().map(|visible| self.format_visible(visible)).collect()
    }

    pub fn format_visible<T>(&self, visible: &VisibleEvent) -> Raw<T> {
        self.format(&visible.event, Some(&visible.membership))
    }

    fn format<T>(&self, event: &StoredEvent, membership: Option<&str>) -> Raw<T> {
        let now_ms = self.caller.context.now_ms();
        Raw::from_json(self.reader.format(event, membership, EventFormat::Client, now_ms))
    }
}
