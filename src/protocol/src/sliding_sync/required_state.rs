//! Which state a client wants of a room: pairs of a type and a state key, where either may be `*`.
//!
//! Of members, `$LAZY` stands for those whom the timeline is about, `$ME` for the user.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::sync::StateKey;
use crate::sync::members::MEMBER;

pub const WILDCARD: &str = "*";
pub const LAZY: &str = "$LAZY";
pub const ME: &str = "$ME";

/// State keys of one type that are remembered as sent though they are no longer wanted.
const REMEMBERED_MAX: usize = 100;

/// Wanted state keys by type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequiredState(BTreeMap<String, BTreeSet<String>>);

/// A pair as it is looked up: `None` is any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Pattern {
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    pub state_key: Option<String>,
}

impl RequiredState {
    /// What a request says, for this user.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>, user_id: &str) -> Self {
        let mut required = Self::default();
        for (event_type, state_key) in pairs {
            required.add(event_type, if state_key == ME { user_id } else { state_key });
        }
        required
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a pair, and drops those that it covers.
    fn add(&mut self, event_type: &str, state_key: &str) {
        if self.covers(event_type, state_key) {
            return;
        }
        if event_type == WILDCARD {
            self.0.retain(|_, keys| {
                keys.retain(|key| state_key != WILDCARD && key != state_key);
                !keys.is_empty()
            });
        }
        let keys = self.0.entry(event_type.to_owned()).or_default();
        if state_key == WILDCARD {
            keys.clear();
        }
        keys.insert(state_key.to_owned());
    }

    /// Whether a pair, which may be a pattern itself, is in what is wanted.
    fn covers(&self, event_type: &str, state_key: &str) -> bool {
        let of_type = |event_type: &str| {
            let keys = self.0.get(event_type);
            keys.is_some_and(|keys| keys.contains(WILDCARD) || keys.contains(state_key))
        };
        of_type(WILDCARD) || of_type(event_type)
    }

    /// Whether an entry of the state is wanted, whoever speaks.
    pub fn wants(&self, (event_type, state_key): &StateKey) -> bool {
        self.covers(event_type, state_key)
    }

    /// Whether members are wanted as the timeline is about them.
    pub fn is_lazy(&self) -> bool {
        self.0.get(MEMBER).is_some_and(|keys| keys.contains(LAZY))
    }

    /// What either wants.
    pub fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        for (event_type, state_key) in other.pairs() {
            union.add(event_type, state_key);
        }
        union
    }

    /// What this wants beyond `before`.
    pub fn beyond(&self, before: &Self) -> Self {
        let mut beyond = Self::default();
        for (event_type, state_key) in self.pairs() {
            if !before.covers(event_type, state_key) {
                beyond.add(event_type, state_key);
            }
        }
        beyond
    }

    /// What a client has the newest of, after it was sent what this wants: that, and single
    /// entries that it wanted `before` and that have not changed since.
    pub fn with_unchanged(&self, before: &Self, has_changed: impl Fn(&StateKey) -> bool) -> Self {
        let mut known = self.clone();
        let mut remembered: BTreeMap<&str, usize> = BTreeMap::new();
        for (event_type, state_key) in before.pairs() {
            let is_pattern = event_type == WILDCARD || matches!(state_key, WILDCARD | LAZY);
            let key = (event_type.to_owned(), state_key.to_owned());
            let count = remembered.entry(event_type).or_default();
            if is_pattern || *count >= REMEMBERED_MAX || self.wants(&key) || has_changed(&key) {
                continue;
            }
            *count += 1;
            known.add(event_type, state_key);
        }
        known
    }

    /// What is looked up whoever speaks.
    pub fn patterns(&self) -> Vec<Pattern> {
        let part = |text: &str| (text != WILDCARD).then(|| text.to_owned());
        let pairs = self.pairs().filter(|pair| *pair != (MEMBER, LAZY));
        let pattern = |(event_type, state_key)| Pattern {
            event_type: part(event_type),
            state_key: part(state_key),
        };
        pairs.map(pattern).collect()
    }

    /// The number of pairs.
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(event_type, keys)| {
            keys.iter().map(move |key| (event_type.as_str(), key.as_str()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn required(pairs: &[(&'static str, &'static str)]) -> RequiredState {
        RequiredState::new(pairs.iter().copied(), "@me:example.org")
    }

    fn key(event_type: &str, state_key: &str) -> StateKey {
        (event_type.to_owned(), state_key.to_owned())
    }

    #[test]
    fn wildcards_stand_for_any() {
        let all = required(&[("m.room.name", ""), ("*", "*")]);
        assert_eq!(all, required(&[("*", "*"), ("m.room.topic", "")]));
        assert!(all.wants(&key("org.example", "x")) && all.len() == 1);
        let of_type = required(&[("m.space.child", "!a"), ("m.space.child", "*")]);
        assert!(of_type.wants(&key("m.space.child", "!b")) && of_type.len() == 1);
        assert!(!of_type.wants(&key("m.space.parent", "!b")));
        let of_key = required(&[("m.room.name", ""), ("*", "")]);
        assert!(of_key.wants(&key("org.example", "")) && of_key.len() == 1);
        assert!(!of_key.wants(&key("org.example", "x")));
    }

    #[test]
    fn one_s_own_membership_is_named_by_the_user() {
        let me = required(&[(MEMBER, ME), (MEMBER, LAZY)]);
        assert!(me.wants(&key(MEMBER, "@me:example.org")) && me.is_lazy());
        assert!(!me.wants(&key(MEMBER, "@other:example.org")));
        assert!(!required(&[(MEMBER, LAZY), (MEMBER, "*")]).is_lazy(), "all of them are wanted");
        let pattern = me.patterns();
        assert_eq!(pattern.len(), 1, "{pattern:?}");
        assert_eq!(pattern[0].state_key.as_deref(), Some("@me:example.org"));
    }

    #[test]
    fn what_is_new_is_what_was_not_covered() {
        let before = required(&[("m.room.name", ""), ("m.space.child", "*")]);
        let now = required(&[("m.room.name", ""), ("m.space.child", "!a"), ("m.room.topic", "")]);
        assert_eq!(now.beyond(&before), required(&[("m.room.topic", "")]));
        let all = required(&[("*", "*")]);
        assert_eq!(all.beyond(&before), all);
        assert!(before.beyond(&all).is_empty());
        assert_eq!(before.union(&all), all);
    }

    #[test]
    fn what_is_dropped_and_wanted_again_is_sent_again_only_if_it_changed() {
        let before = required(&[("a", ""), ("b", ""), ("c", "*")]);
        let now = required(&[("d", "")]);
        let known = now.with_unchanged(&before, |changed| changed.0 == "b");
        assert_eq!(known, required(&[("a", ""), ("d", "")]));
        assert!(now.with_unchanged(&required(&[("*", "*")]), |_| false) == now);
        let many: Vec<String> = (0..300).map(|n| format!("@{n}:example.org")).collect();
        let many = RequiredState::new(many.iter().map(|user| (MEMBER, user.as_str())), "@me:x");
        assert_eq!(now.with_unchanged(&many, |_| false).len(), 101);
    }
}
