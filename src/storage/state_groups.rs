//! The state of rooms: `current_state_events`, and `state_groups_state` with
//! `state_group_edges`, where a group is a delta on its parent.
//!
//! Invariant: of the groups on the way to the root the nearest one says what an entry is.

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId};

use super::events::Selection;

/// Which entries of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateFilter {
    All,
    /// These types with these state keys.
    Keys(Vec<(String, String)>),
    /// All entries of these types.
    Types(Vec<String>),
    /// Everything, but of the members only these: lazy loading.
    LazyMembers(Vec<OwnedUserId>),
}

impl StateFilter {
    pub fn key(event_type: &str, state_key: &str) -> Self {
        Self::Keys(vec![(event_type.to_owned(), state_key.to_owned())])
    }

    /// The membership of these users.
    pub fn members<'a>(users: impl IntoIterator<Item = &'a OwnedUserId>) -> Self {
        let key = |user: &OwnedUserId| ("m.room.member".to_owned(), user.to_string());
        Self::Keys(users.into_iter().map(key).collect())
    }

    /// Joins the entries of a table `s` that pass. `on` fixes the index's first column.
    fn push_join(&self, selection: &mut Selection, table: &str, index: &str, on: &str) {
        match self {
            Self::All => selection.push(&format!(" CROSS JOIN {table} s{index} ON {on}")),
            Self::Keys(keys) => {
                let keys = selection.bind_json(keys);
                selection.push(&format!(
                    " CROSS JOIN json_each({keys}) k CROSS JOIN {table} s{index} ON {on}
                      AND s.type = k.value ->> 0 AND s.state_key = k.value ->> 1"
                ));
            }
            Self::Types(types) => {
                let types = selection.bind_json(types);
                selection.push(&format!(
                    " CROSS JOIN json_each({types}) k CROSS JOIN {table} s{index} ON {on}
                      AND s.type = k.value"
                ));
            }
            Self::LazyMembers(users) => {
                let users = selection.bind_json(users);
                selection.push(&format!(
                    " CROSS JOIN {table} s{index} ON ({on} AND s.type < 'm.room.member')
                      OR ({on} AND s.type > 'm.room.member')
                      OR ({on} AND s.type = 'm.room.member'
                          AND s.state_key IN (SELECT value FROM json_each({users})))"
                ));
            }
        }
    }
}

/// The present state of rooms.
pub fn current(room_ids: &[OwnedRoomId], filter: &StateFilter) -> Selection {
    let mut selection = Selection::new();
    let rooms = selection.bind_json(&room_ids);
    selection.push(&format!("SELECT e.stream_ordering FROM json_each({rooms}) o"));
    filter.push_join(&mut selection, "current_state_events", "", "s.room_id = o.value");
    selection.push(" CROSS JOIN events e ON e.event_id = s.event_id");
    selection
}

/// The state of state groups, each of another room.
pub fn of_groups(state_groups: &[i64], filter: &StateFilter) -> Selection {
    let mut selection = Selection::new();
    let groups = selection.bind_json(&state_groups);
    let starts = format!("SELECT value, value, 0 FROM json_each({groups})");
    push_walk(&mut selection, &starts, filter);
    selection
}

/// The state after events, each of another room.
pub fn after_events(event_ids: &[OwnedEventId], filter: &StateFilter) -> Selection {
    let mut selection = Selection::new();
    let events = selection.bind_json(&event_ids);
    let starts = format!(
        "SELECT g.state_group, g.state_group, 0 FROM json_each({events}) i
         CROSS JOIN event_to_state_groups g ON g.event_id = i.value"
    );
    push_walk(&mut selection, &starts, filter);
    selection
}

/// The state of a room at a position of the stream: after the last event there.
pub fn at(room_id: &RoomId, stream_ordering: i64, filter: &StateFilter) -> Selection {
    let mut selection = Selection::new();
    let room_id = selection.bind(room_id.as_str());
    let stream = selection.bind(stream_ordering);
    let starts = format!(
        "SELECT g.state_group, g.state_group, 0 FROM event_to_state_groups g
         WHERE g.event_id = (
            SELECT l.event_id FROM events l
            WHERE l.room_id = {room_id} AND l.stream_ordering <= {stream}
              AND NOT l.outlier AND l.rejection_reason IS NULL
            ORDER BY l.stream_ordering DESC LIMIT 1)"
    );
    push_walk(&mut selection, &starts, filter);
    selection
}

/// With `min(hop)` SQLite takes the other columns from the row that has the minimum.
fn push_walk(selection: &mut Selection, starts: &str, filter: &StateFilter) {
    selection.push(&format!(
        "SELECT e.stream_ordering FROM (
            WITH RECURSIVE walk (start, state_group, hop) AS (
                {starts}
                UNION ALL
                SELECT w.start, x.prev_state_group, w.hop + 1 FROM walk w
                CROSS JOIN state_group_edges x ON x.state_group = w.state_group)
            SELECT s.event_id, min(w.hop) FROM walk w"
    ));
    // SQLite would otherwise build an index of the whole table for the types of a list.
    filter.push_join(
        selection,
        "state_groups_state",
        " INDEXED BY state_groups_state_type_idx",
        "s.state_group = w.state_group",
    );
    selection.push(
        " GROUP BY w.start, s.type, s.state_key) t
          CROSS JOIN events e ON e.event_id = t.event_id",
    );
}
