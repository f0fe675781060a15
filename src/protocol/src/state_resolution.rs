//! The state of a room where its history forks.
//!
//! Versions 2 to 12 are resolved by `ruma::state_res`, version 1 here, which it does not have.
//! Invariant: the order in which states are given makes no difference.
//! Spec: <https://spec.matrix.org/latest/rooms/v1/#state-resolution> and of versions 2 and 12.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ruma::{
    EventId, OwnedEventId,
    events::StateEventType,
    room_version_rules::{RoomVersionRules, StateResolutionVersion},
    state_res::{resolve as resolve_v2, utils::event_id_set::EventIdSet},
};
use sha1::{Digest, Sha1};

use crate::{auth::authorise, pdu::Pdu};

/// The state of a room: which event sets each type and state key.
pub type StateMap = ruma::state_res::StateMap<OwnedEventId>;

/// The auth chain of every event of a state, together.
pub type AuthChain = EventIdSet<OwnedEventId>;

/// Why a state cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The caller loads the events and tries again.
    #[error("{} events are missing", .0.len())]
    Missing(BTreeSet<OwnedEventId>),
    #[error("{0}")]
    Malformed(#[from] ruma::state_res::Error),
}

/// Resolves the states after the forward extremities into one.
///
/// `auth_chains` has one entry a state, in any order; version 1 does without. `fetch` knows the
/// events of the states where they differ, and all of their auth chains; in version 12 the
/// create event too.
pub fn resolve(
    rules: &RoomVersionRules,
    states: &[StateMap],
    auth_chains: Vec<AuthChain>,
    fetch: impl Fn(&EventId) -> Option<Pdu>,
) -> Result<StateMap, ResolveError> {
    if let [state] = states {
        return Ok(state.clone());
    }
    check_known(conflicted_events(states), &fetch)?;
    let StateResolutionVersion::V2(v2_rules) = &rules.state_res else {
        return Ok(resolve_v1(rules, states, &fetch));
    };
    let subgraph = if v2_rules.consider_conflicted_state_subgraph {
        Some(conflicted_subgraph(states, &fetch)?)
    } else {
        None
    };
    let resolved = resolve_v2(&rules.authorization, v2_rules, states, auth_chains, &fetch, |_| {
        subgraph.clone()
    })?;
    Ok(resolved)
}

/// The events of the states under keys that not all of them have alike.
pub fn conflicted_events(states: &[StateMap]) -> BTreeSet<OwnedEventId> {
    let mut counts: HashMap<(&(StateEventType, String), &OwnedEventId), usize> = HashMap::new();
    for entry in states.iter().flatten() {
        *counts.entry(entry).or_default() += 1;
    }
    let conflicted = counts.into_iter().filter(|(_, count)| *count < states.len());
    conflicted.map(|((_, event_id), _)| event_id.clone()).collect()
}

/// The auth chain of some events, without themselves unless one is in another's.
pub fn auth_chain<'a>(
    events: impl IntoIterator<Item = &'a OwnedEventId>,
    fetch: impl Fn(&EventId) -> Option<Pdu>,
) -> Result<AuthChain, ResolveError> {
    let mut chain = AuthChain::new();
    let mut missing = BTreeSet::new();
    let mut seen = HashSet::new();
    let mut pending: Vec<OwnedEventId> = events.into_iter().cloned().collect();
    while let Some(event_id) = pending.pop() {
        if !seen.insert(event_id.clone()) {
            continue;
        }
        let Some(event) = fetch(&event_id) else {
            missing.insert(event_id);
            continue;
        };
        for auth_event in &event.auth_events {
            chain.insert(auth_event.clone());
            pending.push(auth_event.clone());
        }
    }
    if missing.is_empty() { Ok(chain) } else { Err(ResolveError::Missing(missing)) }
}

fn check_known(
    events: BTreeSet<OwnedEventId>,
    fetch: impl Fn(&EventId) -> Option<Pdu>,
) -> Result<(), ResolveError> {
    let missing: BTreeSet<OwnedEventId> =
        events.into_iter().filter(|event_id| fetch(event_id).is_none()).collect();
    if missing.is_empty() { Ok(()) } else { Err(ResolveError::Missing(missing)) }
}

/// All events on a path of `auth_events` from one conflicted event to another (version 12).
fn conflicted_subgraph(
    states: &[StateMap],
    fetch: impl Fn(&EventId) -> Option<Pdu>,
) -> Result<AuthChain, ResolveError> {
    let conflicted = conflicted_events(states);
    let mut reached = auth_chain(&conflicted, &fetch)?;
    reached.extend(conflicted.iter().cloned());
    // Who refers to whom, among what conflicted events reach.
    let mut referrers: HashMap<OwnedEventId, Vec<&OwnedEventId>> = HashMap::new();
    for event_id in &reached {
        for auth_event in fetch(event_id).iter().flat_map(|event| &event.auth_events) {
            referrers.entry(auth_event.clone()).or_default().push(event_id);
        }
    }
    let mut subgraph = AuthChain::new();
    let mut pending: Vec<&OwnedEventId> = conflicted.iter().collect();
    while let Some(event_id) = pending.pop() {
        if subgraph.insert(event_id.clone()) {
            pending.extend(referrers.get(event_id).into_iter().flatten());
        }
    }
    Ok(subgraph)
}

type Key = (StateEventType, String);

/// Version 1: each key by itself, first those that decide about others.
fn resolve_v1(
    rules: &RoomVersionRules,
    states: &[StateMap],
    fetch: impl Fn(&EventId) -> Option<Pdu>,
) -> StateMap {
    let (mut resolved, conflicted) = split_v1(states, &fetch);
    let passes = [
        Some(StateEventType::RoomPowerLevels),
        Some(StateEventType::RoomJoinRules),
        Some(StateEventType::RoomMember),
        None,
    ];
    for pass in passes {
        // Keys of one pass do not see each other's result.
        let mut decided = Vec::new();
        for (key, events) in &conflicted {
            let winner = match &pass {
                Some(event_type) if key.0 == *event_type => {
                    resolve_v1_auth_events(rules, events, &resolved, &fetch)
                }
                None if !resolved.contains_key(key) => {
                    resolve_v1_other_events(rules, events, &resolved, &fetch)
                }
                _ => continue,
            };
            decided.extend(winner.map(|winner| (key.clone(), winner)));
        }
        resolved.extend(decided);
    }
    resolved
}

/// In version 1 a key is conflicted only if states have different events for it. The events of a
/// key are in descending depth, then ascending hash of their id.
fn split_v1(
    states: &[StateMap],
    fetch: impl Fn(&EventId) -> Option<Pdu>,
) -> (StateMap, BTreeMap<Key, Vec<Pdu>>) {
    let mut candidates: BTreeMap<&Key, BTreeSet<&OwnedEventId>> = BTreeMap::new();
    for (key, event_id) in states.iter().flatten() {
        candidates.entry(key).or_default().insert(event_id);
    }
    let (mut unconflicted, mut conflicted) = (StateMap::new(), BTreeMap::new());
    for (key, event_ids) in candidates {
        if let (1, Some(&event_id)) = (event_ids.len(), event_ids.first()) {
            unconflicted.insert(key.clone(), event_id.clone());
            continue;
        }
        let mut events: Vec<Pdu> =
            event_ids.into_iter().filter_map(|event_id| fetch(event_id)).collect();
        events.sort_by_cached_key(|event| {
            (std::cmp::Reverse(event.depth), Sha1::digest(event.event_id.as_bytes()).to_vec())
        });
        conflicted.insert(key.clone(), events);
    }
    (unconflicted, conflicted)
}

/// From the oldest on, as long as each is allowed by the one before.
fn resolve_v1_auth_events(
    rules: &RoomVersionRules,
    events: &[Pdu],
    resolved: &StateMap,
    fetch: impl Fn(&EventId) -> Option<Pdu>,
) -> Option<OwnedEventId> {
    let mut oldest_first = events.iter().rev();
    let mut winner = oldest_first.next()?;
    for event in oldest_first {
        let (event_type, state_key) = winner.state_entry()?;
        let state = |kind: &StateEventType, key: &str| {
            if *kind == event_type && key == state_key {
                return Some(winner.clone());
            }
            fetch(resolved.get(&(kind.clone(), key.to_owned()))?)
        };
        if authorise(rules, event, state).is_err() {
            break;
        }
        winner = event;
    }
    Some(winner.event_id.clone())
}

/// The newest that is allowed; if none is, the oldest.
fn resolve_v1_other_events(
    rules: &RoomVersionRules,
    events: &[Pdu],
    resolved: &StateMap,
    fetch: impl Fn(&EventId) -> Option<Pdu>,
) -> Option<OwnedEventId> {
    let state =
        |kind: &StateEventType, key: &str| fetch(resolved.get(&(kind.clone(), key.to_owned()))?);
    let allowed = events.iter().find(|event| authorise(rules, event, state).is_ok());
    allowed.or(events.last()).map(|event| event.event_id.clone())
}

#[cfg(test)]
#[path = "state_resolution_tests.rs"]
mod tests;
