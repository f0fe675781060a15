//! Which state events go with a timeline: the difference between what the client has and the
//! state where the timeline begins.
//!
//! The state at a position is what the current state was when the log stood there, from the
//! stream of its changes; it is never folded from the timeline. A change after the beginning
//! that the timeline does not show (a filter left it out) counts as if it were before it.

use std::collections::{BTreeMap, HashSet};

use ruma::{EventId, OwnedEventId};

/// A type and a state key.
pub type StateKey = (String, String);

pub type StateIds = BTreeMap<StateKey, OwnedEventId>;

/// A change of one entry of a room's current state.
#[derive(Clone, Debug)]
pub struct StateChange {
    pub stream_id: i64,
    pub key: StateKey,
    pub event_id: Option<OwnedEventId>,
    pub prev_event_id: Option<OwnedEventId>,
}

/// What the timeline of one room shows.
#[derive(Debug, Default)]
pub struct Shown {
    /// The position of the first event; past the end if there is none.
    pub start: i64,
    pub upto: i64,
    pub event_ids: HashSet<OwnedEventId>,
}

impl Shown {
    /// The entry that a client lacks, of those at the start and at the end of the timeline.
    fn missing(
        &self,
        at_start: Option<OwnedEventId>,
        at_end: Option<OwnedEventId>,
    ) -> Option<OwnedEventId> {
        let is_missing = |id: &OwnedEventId| !self.shows(id);
        at_end.filter(is_missing).or_else(|| at_start.filter(is_missing))
    }

    fn shows(&self, event_id: &EventId) -> bool {
        self.event_ids.contains(event_id)
    }
}

/// The state that has changed since the last sync; `changes` are those since then, oldest first.
pub fn changed_state(changes: &[StateChange], shown: &Shown) -> StateIds {
    let mut ends: BTreeMap<&StateKey, (Option<OwnedEventId>, Option<OwnedEventId>)> =
        BTreeMap::new();
    for change in changes.iter().filter(|change| change.stream_id <= shown.upto) {
        let (at_start, at_end) = ends.entry(&change.key).or_default();
        at_end.clone_from(&change.event_id);
        if change.stream_id < shown.start {
            at_start.clone_from(&change.event_id);
        }
    }
    let missing = ends.into_iter().filter_map(|(key, (at_start, at_end))| {
        Some((key.clone(), shown.missing(at_start, at_end)?))
    });
    missing.collect()
}

/// The whole state; `base` is the state after all `changes`, which are those since the start of
/// the timeline, oldest first.
pub fn full_state(base: StateIds, changes: &[StateChange], shown: &Shown) -> StateIds {
    let mut ends: BTreeMap<&StateKey, (Option<OwnedEventId>, Option<OwnedEventId>)> =
        BTreeMap::new();
    // Backwards, so that the earliest change after a position says what was there before it.
    for change in changes.iter().rev().filter(|change| change.stream_id >= shown.start) {
        let at_base = || base.get(&change.key).cloned();
        let (at_start, at_end) = ends.entry(&change.key).or_insert_with(|| (at_base(), at_base()));
        at_start.clone_from(&change.prev_event_id);
        if change.stream_id > shown.upto {
            at_end.clone_from(&change.prev_event_id);
        }
    }
    let mut state = BTreeMap::new();
    for (key, (at_start, at_end)) in &ends {
        if let Some(event_id) = shown.missing(at_start.clone(), at_end.clone()) {
            state.insert((*key).clone(), event_id);
        }
    }
    let unchanged = base
        .into_iter()
        .filter(|(key, event_id)| !ends.contains_key(key) && !shown.shows(event_id));
    state.extend(unchanged.collect::<Vec<_>>());
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A room's log: positions from 1, state events by their key and a dash for a new version.
    const LOG: [&str; 15] =
        ["A", "B", "C", "D", "1", "2", "3", "D'", "4", "D''", "5", "B'", "D'''", "D''''", "6"];

    fn id(name: &str) -> OwnedEventId {
        format!("${name}").try_into().unwrap()
    }

    fn key(name: &str) -> Option<StateKey> {
        let is_state = name.starts_with(char::is_alphabetic);
        is_state.then(|| (name[..1].to_owned(), String::new()))
    }

    fn changes(after: i64, upto: i64) -> Vec<StateChange> {
        let mut current = StateIds::new();
        let mut changes = Vec::new();
        for (stream_id, name) in (1..).zip(LOG) {
            let Some(key) = key(name) else { continue };
            let prev_event_id = current.insert(key.clone(), id(name));
            let event_id = Some(id(name));
            changes.push(StateChange { stream_id, key, event_id, prev_event_id });
        }
        changes.retain(|change| change.stream_id > after && change.stream_id <= upto);
        changes
    }

    fn state_at(position: i64) -> StateIds {
        let set = changes(0, position).into_iter();
        set.map(|change| (change.key, change.event_id.unwrap())).collect()
    }

    /// The latest `limit` of the events that pass.
    fn shown(after: i64, upto: i64, limit: usize, passes: fn(&str) -> bool) -> Shown {
        let events = (1..)
            .zip(LOG)
            .filter(|(position, name)| *position > after && *position <= upto && passes(name));
        let mut events: Vec<_> = events.collect();
        let events = events.split_off(events.len().saturating_sub(limit));
        let start = events.first().map_or(upto + 1, |(position, _)| *position);
        let event_ids = events.iter().map(|(_, name)| id(name)).collect();
        Shown { start, upto, event_ids }
    }

    fn ids(state: StateIds) -> Vec<OwnedEventId> {
        state.into_values().collect()
    }

    #[test]
    fn a_short_gap_needs_no_state() {
        let shown = shown(14, 15, 5, |_| true);
        assert_eq!(shown.event_ids, [id("6")].into());
        assert!(changed_state(&changes(14, 15), &shown).is_empty());
    }

    #[test]
    fn what_changed_before_the_timeline_is_its_state() {
        let shown = shown(9, 15, 5, |_| true);
        let timeline = ["5", "B'", "D'''", "D''''", "6"].map(id);
        assert_eq!(shown.event_ids, timeline.into());
        assert_eq!(ids(changed_state(&changes(9, 15), &shown)), [id("D''")]);
    }

    #[test]
    fn a_first_sync_has_the_whole_state_at_the_start() {
        let shown = shown(0, 15, 5, |_| true);
        let state = full_state(state_at(15), &changes(10, 15), &shown);
        assert_eq!(ids(state), [id("A"), id("B"), id("C"), id("D''")]);
    }

    #[test]
    fn what_came_after_the_end_is_taken_back() {
        let shown = shown(0, 11, 2, |_| true);
        let state = full_state(state_at(15), &changes(9, 15), &shown);
        assert_eq!(ids(state), [id("A"), id("B"), id("C"), id("D'")]);
    }

    #[test]
    fn state_that_a_filter_leaves_out_is_sent_as_state() {
        let messages = |name: &str| name.starts_with(char::is_numeric);
        let recent = shown(9, 15, 5, messages);
        assert_eq!(ids(changed_state(&changes(9, 15), &recent)), [id("B'"), id("D''''")]);
        let all = shown(0, 15, 5, messages);
        let state = full_state(state_at(15), &changes(6, 15), &all);
        assert_eq!(ids(state), [id("A"), id("B'"), id("C"), id("D''''")]);
        let none = shown(9, 15, 5, |_| false);
        assert_eq!(ids(changed_state(&changes(9, 15), &none)), [id("B'"), id("D''''")]);
    }

    #[test]
    fn laid_one_over_the_other_state_and_timeline_give_the_state_at_the_end() {
        for after in 0..15 {
            for upto in after..=15 {
                for limit in 0..6 {
                    let shown = shown(after, upto, limit, |_| true);
                    let mut state = state_at(after);
                    state.extend(changed_state(&changes(after, upto), &shown));
                    for change in changes(after, upto) {
                        if change.stream_id >= shown.start {
                            state.insert(change.key, change.event_id.unwrap());
                        }
                    }
                    assert_eq!(state, state_at(upto), "{after} to {upto}, {limit}");
                    let full = full_state(state_at(15), &changes(shown.start - 1, 15), &shown);
                    let mut expected = state_at(shown.start - 1);
                    expected.retain(|_, event_id| !shown.shows(event_id));
                    assert_eq!(full, expected, "{after} to {upto}, {limit}");
                }
            }
        }
    }
}
