use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::test_room::{ALICE, BOB, CAROL, TestRoom};

const VERSIONS: [&str; 12] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];

/// Alice made it, Bob is a moderator, Carol a member; everyone of 50 may change power levels.
fn room(version: &str) -> TestRoom {
    let mut room = TestRoom::with_power_levels(version, Some(levels(version, json!({BOB: 50}))));
    room.join(BOB);
    room.join(CAROL);
    room.state(ALICE, "m.room.name", "", json!({"name": "first"})).unwrap();
    room
}

fn levels(version: &str, mut users: Value) -> Value {
    if version != "12" {
        users[ALICE] = json!(100);
    }
    json!({"users": users, "events": {"m.room.power_levels": 50}})
}

fn resolve_forks(forks: &[&TestRoom]) -> StateMap {
    let fetch = |id: &EventId| forks.iter().find_map(|fork| fork.fetch(id));
    let states: Vec<StateMap> = forks.iter().map(|fork| fork.state.clone()).collect();
    let chains = states.iter().map(|state| auth_chain(state.values(), fetch).unwrap()).collect();
    resolve(&forks[0].rules, &states, chains, fetch).unwrap()
}

/// The content of one entry of the resolved state; the same for every order of the forks.
fn merged(forks: &[&TestRoom], event_type: &str, state_key: &str) -> Value {
    let resolved = resolve_forks(forks);
    let mut reversed = forks.to_vec();
    reversed.reverse();
    assert_eq!(resolve_forks(&reversed), resolved);
    let id = resolved.get(&(event_type.into(), state_key.to_owned())).unwrap();
    forks.iter().find_map(|fork| fork.fetch(id)).unwrap().content_as().unwrap()
}

#[test]
fn one_state_and_equal_states_resolve_to_themselves() {
    for version in VERSIONS {
        let room = room(version);
        assert_eq!(resolve_forks(&[&room]), room.state);
        assert_eq!(resolve_forks(&[&room, &room, &room]), room.state);
    }
}

#[test]
fn what_only_one_side_has_done_stays() {
    for version in VERSIONS {
        let (base, mut left) = (room(version), room(version));
        let right = left.clone();
        left.state(BOB, "m.room.topic", "", json!({"topic": "new"})).unwrap();
        left.state(ALICE, "m.room.name", "", json!({"name": "second"})).unwrap();
        assert_eq!(merged(&[&left, &right], "m.room.topic", "")["topic"], "new");
        assert_eq!(merged(&[&left, &right], "m.room.name", "")["name"], "second");
        assert_eq!(base.state.len() + 1, left.state.len());
    }
}

#[test]
fn a_ban_undoes_what_the_banned_did_meanwhile() {
    for version in &VERSIONS[1..] {
        let mut left = room(version);
        let mut right = left.clone();
        right.state(BOB, "m.room.name", "", json!({"name": "Bob was here"})).unwrap();
        left.membership(ALICE, BOB, "ban").unwrap();
        assert_eq!(merged(&[&left, &right], "m.room.member", BOB)["membership"], "ban");
        assert_eq!(merged(&[&left, &right], "m.room.name", "")["name"], "first", "{version}");
    }
}

#[test]
fn a_ban_wins_over_a_join_of_the_other_side() {
    for version in VERSIONS {
        let mut left = room(version);
        let mut right = left.clone();
        right.message(ALICE, "one deeper").unwrap();
        right.state(CAROL, "m.room.member", CAROL, json!({"membership": "join", "n": 1})).unwrap();
        left.membership(ALICE, CAROL, "ban").unwrap();
        let member = merged(&[&left, &right], "m.room.member", CAROL);
        assert_eq!(member["membership"], "ban", "version {version}");
    }
}

#[test]
fn in_a_fight_over_power_the_more_powerful_wins() {
    for version in &VERSIONS[1..] {
        let mut left = room(version);
        let mut right = left.clone();
        let by_bob = levels(version, json!({BOB: 50, CAROL: 50}));
        right.state(BOB, "m.room.power_levels", "", by_bob).unwrap();
        right.state(CAROL, "m.room.topic", "", json!({"topic": "mine"})).unwrap();
        let by_alice = levels(version, json!({BOB: 0}));
        left.state(ALICE, "m.room.power_levels", "", by_alice).unwrap();
        let users = merged(&[&left, &right], "m.room.power_levels", "")["users"].clone();
        assert_eq!((&users[BOB], users.get(CAROL)), (&json!(0), None), "version {version}");
        let resolved = resolve_forks(&[&left, &right]);
        assert!(!resolved.contains_key(&("m.room.topic".into(), String::new())));
    }
}

#[test]
fn of_equal_changes_the_later_wins_from_version_2_on() {
    for version in &VERSIONS[1..] {
        let mut left = room(version);
        let mut right = left.clone();
        left.state(BOB, "m.room.name", "", json!({"name": "earlier"})).unwrap();
        right.state(BOB, "m.room.name", "", json!({"name": "later"})).unwrap();
        assert_eq!(merged(&[&left, &right], "m.room.name", "")["name"], "later");
    }
}

/// Two states that differ in the power levels only: the newest, sent by Bob with power that he
/// got in between, and the first. Both know the change in between from elsewhere.
fn forks_around_a_forgotten_change(version: &str) -> (TestRoom, TestRoom) {
    let mut left = room(version);
    let first = left.state[&("m.room.power_levels".into(), String::new())].clone();
    left.state(ALICE, "m.room.power_levels", "", levels(version, json!({BOB: 90}))).unwrap();
    left.state(BOB, "m.room.power_levels", "", levels(version, json!({BOB: 80}))).unwrap();
    left.state(ALICE, "m.room.name", "", json!({"name": "second"})).unwrap();
    let mut right = left.clone();
    right.state.insert(("m.room.power_levels".into(), String::new()), first);
    (left, right)
}

#[test]
fn power_levels_are_no_longer_reset_from_version_12_on() {
    for (version, expected) in [("11", 50), ("12", 80)] {
        let (left, right) = forks_around_a_forgotten_change(version);
        let users = merged(&[&left, &right], "m.room.power_levels", "")["users"].clone();
        assert_eq!(users[BOB], expected, "version {version}");
    }
}

#[test]
fn the_conflicted_subgraph_is_what_lies_between_conflicted_events() {
    let (left, right) = forks_around_a_forgotten_change("12");
    let states = [left.state.clone(), right.state.clone()];
    let subgraph = conflicted_subgraph(&states, |id| left.fetch(id)).unwrap();
    let found: Vec<Pdu> = subgraph.iter().map(|id| left.fetch(id).unwrap()).collect();
    let mut levels: Vec<i64> = found
        .iter()
        .filter(|event| event.is_state(&"m.room.power_levels".into(), ""))
        .map(|event| event.content_as::<Value>().unwrap()["users"][BOB].as_i64().unwrap())
        .collect();
    levels.sort_unstable();
    assert_eq!(levels, [50, 80, 90]);
    // The newest levels also lead to the first ones by way of Bob's membership, which the join
    // rules allowed. Nothing else lies between.
    let is_between = |kind: &str, key| found.iter().any(|event| event.is_state(&kind.into(), key));
    assert!(is_between("m.room.member", BOB) && is_between("m.room.join_rules", ""));
    assert_eq!(found.len(), 5);
}

#[test]
fn version_1_takes_the_deepest_of_other_events() {
    let mut left = room("1");
    let mut right = left.clone();
    left.message(ALICE, "one deeper").unwrap();
    left.state(BOB, "m.room.name", "", json!({"name": "deeper"})).unwrap();
    right.state(BOB, "m.room.name", "", json!({"name": "later"})).unwrap();
    assert_eq!(merged(&[&left, &right], "m.room.name", "")["name"], "deeper");
}

#[test]
fn version_1_takes_the_lower_hash_at_equal_depth() {
    for _ in 0..8 {
        let mut left = room("1");
        let mut right = left.clone();
        let name = |name: &str| json!({"name": name});
        let a = left.state(BOB, "m.room.name", "", name("left")).unwrap();
        let b = right.state(BOB, "m.room.name", "", name("right")).unwrap();
        assert_eq!(a.depth, b.depth);
        let hash = |event: &Pdu| Sha1::digest(event.event_id.as_bytes()).to_vec();
        let expected = if hash(&a) < hash(&b) { "left" } else { "right" };
        assert_eq!(merged(&[&left, &right], "m.room.name", "")["name"], expected);
    }
}

#[test]
fn version_1_stops_at_the_first_change_of_power_that_is_not_allowed() {
    let mut left = room("1");
    let mut right = left.clone();
    let by_alice = levels("1", json!({BOB: 0}));
    left.state(ALICE, "m.room.power_levels", "", by_alice.clone()).unwrap();
    right.message(ALICE, "one deeper").unwrap();
    let by_bob = levels("1", json!({BOB: 50, CAROL: 50}));
    right.state(BOB, "m.room.power_levels", "", by_bob).unwrap();
    assert_eq!(merged(&[&left, &right], "m.room.power_levels", ""), by_alice);
}

#[test]
fn what_is_missing_is_named() {
    for version in ["1", "11", "12"] {
        let mut left = room(version);
        let right = left.clone();
        let event = left.state(BOB, "m.room.name", "", json!({"name": "new"})).unwrap();
        let states = [left.state.clone(), right.state.clone()];
        let fetch = |id: &EventId| left.fetch(id).filter(|found| found.event_id != event.event_id);
        let missing = |result| match result {
            Err(ResolveError::Missing(ids)) => ids.contains(&event.event_id),
            _ => false,
        };
        assert!(missing(resolve(&left.rules, &states, vec![], fetch).map(|_| ())));
        assert!(missing(auth_chain(left.state.values(), fetch).map(|_| ())));
    }
}

/// One thing that someone tries; what is not allowed is left undone.
fn act(room: &mut TestRoom, action: (u8, u8, u8)) {
    let people = [ALICE, BOB, CAROL];
    let (who, whom) = (people[action.1 as usize % 3], people[action.2 as usize % 3]);
    let version = room.version.clone();
    let _ = match action.0 % 9 {
        0 => room.membership(who, whom, "ban"),
        1 => room.membership(who, whom, "leave"),
        2 => room.membership(who, who, "join"),
        3 => room.membership(who, whom, "invite"),
        4 => room.state(who, "m.room.name", "", json!({"name": who})),
        5 => room.state(who, "m.room.topic", "", json!({"topic": whom})),
        6 => room.state(who, "m.room.join_rules", "", json!({"join_rule": "invite"})),
        7 => {
            let users = json!({BOB: i32::from(action.2) % 101, CAROL: i32::from(action.1) % 51});
            room.state(who, "m.room.power_levels", "", levels(&version, users))
        }
        _ => room.message(who, "hello"),
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_order_of_states_resolves_to_the_same(
        version in prop::sample::select(VERSIONS.to_vec()),
        forks in prop::collection::vec(
            prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>()), 0..8),
            2..4,
        ),
    ) {
        let base = room(version);
        let forks: Vec<TestRoom> = forks
            .into_iter()
            .map(|actions| {
                let mut fork = base.clone();
                actions.into_iter().for_each(|action| act(&mut fork, action));
                fork
            })
            .collect();
        let mut order: Vec<&TestRoom> = forks.iter().collect();
        let expected = resolve_forks(&order);
        for _ in 0..order.len() {
            order.rotate_left(1);
            prop_assert_eq!(&resolve_forks(&order), &expected);
            order.swap(0, 1);
            prop_assert_eq!(&resolve_forks(&order), &expected);
        }
        for (key, event_id) in &expected {
            prop_assert!(forks.iter().any(|fork| fork.events.contains_key(event_id)), "{key:?}");
        }
    }
}
