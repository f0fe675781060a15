//! How much a client wants of each room.

use ruma::api::client::filter::{FilterDefinition, LazyLoadOptions, RoomEventFilter};

use super::state::{StateIds, StateKey};
use crate::filter::{
    EventFilter, Filterable, RelatedBy, SyncRelations, TIMELINE_LIMIT_DEFAULT,
    blocks_all_room_events, room_event_matches,
};

/// The most timeline events of a room: a longer history is for `/messages`.
pub const TIMELINE_EVENTS_MAX: usize = 100;

/// How far back in a room a timeline is looked for, in events. If all of them are none of the
/// reader's, the timeline is short, and said to be cut.
pub const REACH_MAX: usize = 1_000;

/// What a request wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// All but that of timelines.
    pub filter: FilterDefinition,
    pub timeline: EventFilter,
    /// What others must say of state events.
    pub state_related_by: RelatedBy,
    /// How many timeline events of a room.
    pub limit: usize,
    /// How far back in a room they are looked for, in events: not all may be the reader's.
    pub reach: usize,
    /// No timeline is wanted, so none is cut short.
    pub blocks_timeline: bool,
    pub blocks_state: bool,
    pub lazy_members: bool,
    /// The state after the timeline, not before it.
    pub state_after: bool,
}

impl Wanted {
    pub fn new(mut filter: FilterDefinition, relations: SyncRelations, state_after: bool) -> Self {
        let own = std::mem::take(&mut filter.room.timeline);
        let timeline = EventFilter { own, related_by: relations.room.timeline };
        let asked = timeline.limit.map(|limit| usize::try_from(u64::from(limit)));
        let limit = asked.map_or(TIMELINE_LIMIT_DEFAULT, |asked| asked.unwrap_or(usize::MAX));
        let limit = limit.min(TIMELINE_EVENTS_MAX);
        Self {
            limit,
            reach: limit,
            blocks_timeline: blocks_all_room_events(&timeline),
            blocks_state: blocks_all_room_events(&filter.room.state),
            lazy_members: filter.room.state.lazy_load_options != LazyLoadOptions::Disabled,
            state_after,
            timeline,
            state_related_by: relations.room.state,
            filter,
        }
    }

    /// The same, looked for ten times as far back; `None` if that is too far.
    pub fn farther(&self) -> Option<Self> {
        let reach = (10 * (self.reach + 1)).min(REACH_MAX);
        (reach > self.reach).then(|| Self { reach, ..self.clone() })
    }

    /// Whether the client takes the last of the timeline for the state. It cannot if it leaves out
    /// some events that set an entry and not others.
    pub(super) fn folds_state(&self) -> bool {
        let timeline = &self.timeline;
        let picks = timeline.senders.is_some()
            || !timeline.not_senders.is_empty()
            || timeline.url_filter.is_some()
            || !timeline.related_by.is_empty();
        !self.state_after && !self.blocks_state && !picks
    }

    /// How many events of a room are read: one more than it reaches back tells whether there are
    /// more.
    pub fn read_limit(&self) -> usize {
        if self.blocks_timeline { 0 } else { self.reach + 1 }
    }

    /// Drops state of types that the filter does not let through.
    pub(super) fn retain_state(&self, state: &mut StateIds) {
        let filter = &self.filter.room.state;
        let mut types = RoomEventFilter::empty();
        // The rest of the filter is about what only the event itself tells.
        types.types.clone_from(&filter.types);
        types.not_types.clone_from(&filter.not_types);
        state.retain(|key, _| is_of_types(&types, key));
    }
}

fn is_of_types(types: &RoomEventFilter, key: &StateKey) -> bool {
    let event = Filterable { event_type: &key.0, sender: None, room_id: None, content: None };
    // Aliases in this form were anybody's to set, and cannot be redacted.
    key.0 != "m.room.aliases" && room_event_matches(types, event)
}
