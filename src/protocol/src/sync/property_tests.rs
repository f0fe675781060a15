//! Clients that sync in steps, and those that sync once, end with the same.

use proptest::prelude::*;
use ruma::api::client::filter::LazyLoadOptions;
use ruma::{OwnedEventId, UserId, user_id};
use serde_json::{Value, json};

use super::members::MEMBER;
use super::test_log::{Draft, Event, TestLog, VISIBILITY, key, section_name, wanted};
use super::{RoomHistory, StateIds, Wanted};

const USERS: [&str; 3] = ["@alice:one.test", "@bob:one.test", "@carol:one.test"];
const LEVELS: [&str; 4] = ["shared", "joined", "invited", "world_readable"];
const MEMBERSHIPS: [&str; 6] = ["join", "leave", "join", "invite", "ban", "join"];

fn reader() -> &'static UserId {
    user_id!("@bob:one.test")
}

/// One event of a history: what, by whom, after what, and how it fares where it conflicts.
#[derive(Clone, Debug)]
struct Act {
    what: usize,
    who: usize,
    value: usize,
    back: usize,
    rank: i64,
}

fn act(forks: bool) -> impl Strategy<Value = Act> {
    let back =
        if forks { prop_oneof![4 => Just(0), 1 => 1..4usize].boxed() } else { Just(0).boxed() };
    (0..14usize, 0..3usize, 0..24usize, back, 0..50i64)
        .prop_map(|(what, who, value, back, rank)| Act { what, who, value, back, rank })
}

fn draft(act: &Act, place: usize) -> Draft {
    let member = |who: usize, membership: &str| {
        (MEMBER, Some(USERS[who].to_owned()), json!({ "membership": membership }))
    };
    let (event_type, state_key, content): (&str, Option<String>, Value) = match act.what {
        0..6 => ("m.room.message", None, json!({ "body": place })),
        6..9 => (["a", "b", "c"][act.value % 3], Some(String::new()), json!({ "v": place })),
        9 => (
            VISIBILITY,
            Some(String::new()),
            json!({ "history_visibility": LEVELS[act.value % 4] }),
        ),
        // The reader comes and goes most of all.
        10..12 => member(1, MEMBERSHIPS[act.value % 6]),
        _ => member(act.who, MEMBERSHIPS[act.value % 6]),
    };
    let sender = USERS[act.who].to_owned();
    // In what decides who sees what the last word counts.
    let rank = if event_type.len() > 1 { place as i64 } else { act.rank };
    Draft { sender, event_type: event_type.to_owned(), state_key, content, rank }
}

fn log_of(acts: &[Act]) -> TestLog {
    let mut log = TestLog::default();
    let joins = Act { what: 12, who: 1, value: 0, back: 0, rank: 0 };
    for (place, act) in std::iter::once(&joins).chain(acts).enumerate() {
        log.send(&draft(act, place), act.back.min(place.saturating_sub(1)));
    }
    log
}

/// What a client wants, always.
#[derive(Clone, Debug)]
struct Wishes {
    limit: usize,
    state_after: bool,
    lazy: bool,
    /// Of the timeline: all, messages, state of some types, one sender.
    filter: usize,
}

impl Wishes {
    /// Who leaves out some senders' state and takes the rest of the timeline for it is mistaken.
    fn knows_state(&self) -> bool {
        self.state_after || self.filter != 2
    }

    fn wanted(&self) -> Wanted {
        let mut wanted = wanted(self.limit, self.state_after);
        let timeline = &mut wanted.timeline.own;
        match self.filter {
            0 => timeline.types = Some(vec!["m.room.mess*".to_owned()]),
            1 => timeline.not_types = vec!["m.room.message".to_owned(), "a".to_owned()],
            2 => timeline.senders = Some(vec![USERS[0].try_into().unwrap()]),
            _ => {}
        }
        if self.lazy {
            let lazy = LazyLoadOptions::Enabled { include_redundant_members: false };
            wanted.filter.room.state.lazy_load_options = lazy;
            wanted.lazy_members = true;
        }
        wanted
    }
}

fn wishes() -> impl Strategy<Value = Wishes> {
    (0..8usize, any::<bool>(), any::<bool>(), 0..8usize)
        .prop_map(|(limit, state_after, lazy, filter)| Wishes { limit, state_after, lazy, filter })
}

#[derive(Default)]
struct Client {
    since: Option<i64>,
    section: &'static str,
    timeline: Vec<OwnedEventId>,
    state: StateIds,
}

impl Client {
    /// One sync at a time when the log was at `upto`, the room being read when it was at `now`.
    fn sync(&mut self, log: &TestLog, wishes: &Wishes, upto: i64, now: i64, full_state: bool) {
        let (wanted, since) = (wishes.wanted(), self.since.replace(upto));
        let Some(window) = log.window(reader(), since, upto, full_state) else { return };
        self.section = section_name(&window.section);
        if matches!(self.section, "invite" | "knock") {
            return;
        }
        let is_full = window.is_full;
        let room = log.tell(reader(), window, &wanted, now);
        self.check_timeline(log, &wanted, &room);
        let ids = room.timeline.iter().map(|event| event.pdu.event_id.clone());
        if room.limited || room.window.newly_joined {
            self.timeline = self.page_back(log, &wanted, &room);
        }
        for id in ids {
            assert!(!self.timeline.contains(&id), "{id} comes twice");
            self.timeline.push(id);
        }
        if is_full {
            self.state.clear();
        }
        self.state.extend(room.state.clone());
        for event in room.timeline.iter().filter(|_| !wanted.state_after) {
            if let Some(state_key) = &event.pdu.state_key {
                let key = key(&event.pdu.event_type.to_string(), state_key);
                self.state.insert(key, event.pdu.event_id.clone());
            }
        }
        if room.window.is_joined() && wishes.knows_state() {
            self.check_state(log, wishes, &room);
        }
    }

    /// All before the timeline that the reader sees now.
    fn page_back(
        &self,
        log: &TestLog,
        wanted: &Wanted,
        room: &RoomHistory<&Event>,
    ) -> Vec<OwnedEventId> {
        let visible = log.visible(reader(), &room.window, &wanted.timeline);
        let before = visible.filter(|event| event.position <= room.prev_position);
        before.map(|event| event.pdu.event_id.clone()).collect()
    }

    /// `limited` says what is: there is more in the window that the reader may see, or not.
    fn check_timeline(&self, log: &TestLog, wanted: &Wanted, room: &RoomHistory<&Event>) {
        let window = &room.window;
        let shown: Vec<_> = room.timeline.iter().map(|event| event.position).collect();
        assert!(shown.is_sorted_by(|one, next| one < next));
        let visible = log.visible(reader(), window, &wanted.timeline);
        let new = |event: &&Event| event.position > window.after && event.position <= window.upto;
        let new: Vec<_> = visible.filter(new).map(|event| event.position).collect();
        assert!(shown.iter().all(|position| new.contains(position)), "{shown:?} of {new:?}");
        if window.is_outsider() {
            return;
        }
        assert!(new.ends_with(&shown), "{shown:?} of {new:?}");
        let is_more = new.len() > shown.len();
        assert_eq!(room.limited, is_more || window.newly_joined, "{shown:?} of {new:?}");
        assert!(shown.len() <= wanted.limit);
        assert!(shown.first().is_none_or(|first| *first == room.prev_position + 1));
    }

    /// The client's state is the room's; one that loads members lazily has those who speak.
    fn check_state(&self, log: &TestLog, wishes: &Wishes, room: &RoomHistory<&Event>) {
        let mut state = log.state_at(room.window.upto);
        let mut known = self.state.clone();
        if wishes.lazy {
            for event in &room.timeline {
                let sender = key(MEMBER, event.pdu.sender.as_str());
                assert!(!state.contains_key(&sender) || known.contains_key(&sender), "{sender:?}");
            }
            assert!(
                known.iter().all(|(key, id)| state.get(key) == Some(id)),
                "{known:?} {state:?}"
            );
            state.retain(|key, _| key.0 != MEMBER);
            known.retain(|key, _| key.0 != MEMBER);
        }
        assert_eq!(known, state);
    }
}

/// Steps: how many events come, how many more until the room is read, whether all state is wanted.
fn steps() -> impl Strategy<Value = Vec<(i64, i64, bool)>> {
    prop::collection::vec((0..12i64, 0..4i64, prop::bool::weighted(0.1)), 0..8)
}

fn check(acts: &[Act], wishes: &Wishes, steps: &[(i64, i64, bool)]) {
    let log = log_of(acts);
    let mut client = Client::default();
    let mut upto = 1;
    for (step, ahead, full_state) in steps {
        upto = (upto + step).min(log.last());
        client.sync(&log, wishes, upto, (upto + ahead).min(log.last()), *full_state);
    }
    client.sync(&log, wishes, log.last(), log.last(), false);
    let mut fresh = Client::default();
    fresh.sync(&log, &Wishes { limit: 1_000, ..wishes.clone() }, log.last(), log.last(), false);
    assert_eq!(client.section, fresh.section);
    if client.section != "join" {
        return;
    }
    let filter = wishes.wanted().timeline;
    let window = log.window(reader(), None, log.last(), false).unwrap();
    let all: Vec<_> = log.visible(reader(), &window, &filter).collect();
    let all: Vec<_> = all.iter().map(|event| event.pdu.event_id.clone()).collect();
    if wishes.state_after {
        assert_eq!(fresh.timeline, all);
    }
    assert_eq!(client.timeline, all);
    if !wishes.lazy && wishes.knows_state() {
        assert_eq!(client.state, fresh.state);
    }
}

proptest! {
    // What fails is printed in full: there is nothing to be kept.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn steps_tell_the_same_as_one_sync(
        acts in prop::collection::vec(act(false), 1..50),
        wishes in wishes(),
        steps in steps(),
    ) {
        check(&acts, &wishes, &steps);
    }

    #[test]
    fn so_they_do_where_the_history_forks(
        acts in prop::collection::vec(act(true), 1..50),
        wishes in wishes(),
        steps in steps(),
    ) {
        check(&acts, &wishes, &steps);
    }
}
