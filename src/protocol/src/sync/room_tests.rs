use ruma::{OwnedEventId, user_id};
use serde_json::json;

use super::super::test_log::{Draft, Event, TestLog, key, wanted};
use super::super::windows::JoinedRoom;
use super::*;

const LOG: [&str; 15] =
    ["A", "B", "C", "D", "1", "2", "3", "D'", "4", "D''", "5", "B'", "D'''", "D''''", "6"];

/// A state event by its key and a dash for a new version, or a message.
fn draft(name: &str, rank: i64) -> Draft {
    let is_state = name.starts_with(char::is_alphabetic);
    Draft {
        sender: "@alice:one.test".to_owned(),
        event_type: if is_state { name[..1].to_owned() } else { "m.room.message".to_owned() },
        state_key: is_state.then(String::new),
        content: json!({ "body": name }),
        rank,
    }
}

fn log(names: &[&str]) -> TestLog {
    let mut log = TestLog::default();
    for (rank, name) in (0..).zip(names) {
        log.send(&draft(name, rank), 0);
    }
    log
}

fn name(event: &Event) -> String {
    let content: serde_json::Value = serde_json::from_str(event.pdu.content.get()).unwrap();
    content["body"].as_str().unwrap().to_owned()
}

fn window(log: &TestLog, after: i64, is_full: bool) -> RoomWindow {
    let room_id = "!room:one.test".try_into().unwrap();
    let room = JoinedRoom { room_id, member_stream_ordering: 0 };
    RoomWindow { is_full, ..RoomWindow::joined(room, after, log.last()) }
}

/// Timeline and state by their names, and the rest of what is told of a room.
fn told<'a>(
    log: &'a TestLog,
    window: RoomWindow,
    wanted: &Wanted,
) -> (Vec<String>, Vec<String>, RoomHistory<&'a Event>) {
    let room = log.tell(user_id!("@bob:one.test"), window, wanted, log.last());
    let timeline = room.timeline.iter().map(|event| name(event)).collect();
    let state = room.state.values().map(|event_id| name(log.event(event_id))).collect();
    (timeline, state, room)
}

#[test]
fn the_timeline_is_the_end_of_what_is_new_and_the_state_is_that_before_it() {
    let log = log(&LOG);
    let (timeline, state, room) = told(&log, window(&log, 14, false), &wanted(5, false));
    assert_eq!(timeline, ["6"]);
    assert!(state.is_empty());
    assert_eq!((room.limited, room.prev_position), (false, 14));
    let recent = ["5", "B'", "D'''", "D''''", "6"];
    let (timeline, state, room) = told(&log, window(&log, 9, false), &wanted(5, false));
    assert_eq!(timeline, recent);
    assert_eq!(state, ["D''"]);
    assert_eq!((room.limited, room.prev_position), (true, 10));
    let (timeline, state, _) = told(&log, window(&log, 9, true), &wanted(5, false));
    assert_eq!(timeline, recent);
    assert_eq!(state, ["A", "B", "C", "D''"]);
    let (timeline, state, room) = told(&log, window(&log, 0, true), &wanted(5, false));
    assert_eq!(timeline, recent);
    assert_eq!(state, ["A", "B", "C", "D''"]);
    assert_eq!((room.limited, room.prev_position), (true, 10));
    let (_, state, _) = told(&log, window(&log, 9, false), &wanted(5, true));
    assert_eq!(state, ["B'", "D''''"]);
    let (_, state, _) = told(&log, window(&log, 0, true), &wanted(5, true));
    assert_eq!(state, ["A", "B'", "C", "D''''"]);
}

#[test]
fn a_timeline_that_holds_all_that_is_new_is_not_limited() {
    let log = log(&LOG);
    for limit in [15, 16, 100] {
        let (timeline, state, room) = told(&log, window(&log, 0, true), &wanted(limit, false));
        assert_eq!(timeline, LOG);
        assert!(state.is_empty());
        assert_eq!((room.limited, room.prev_position), (false, 0));
    }
    let (timeline, _, room) = told(&log, window(&log, 0, true), &wanted(14, false));
    assert_eq!((timeline.len(), room.limited, room.prev_position), (14, true, 1));
    let (timeline, _, room) = told(&log, window(&log, 0, true), &wanted(0, false));
    assert_eq!((timeline.len(), room.limited, room.prev_position), (0, true, 15));
}

/// What a client has that folds the state and the timeline.
fn folded(log: &TestLog, room: &RoomHistory<&Event>) -> Option<String> {
    let state = room.state.get(&key("D", "")).cloned();
    let last = room.timeline.iter().rev().find(|event| event.pdu.event_type.to_string() == "D");
    let id: Option<OwnedEventId> = last.map(|event| event.pdu.event_id.clone()).or(state);
    id.map(|id| name(log.event(&id)))
}

#[test]
fn of_two_that_conflict_the_last_of_the_timeline_is_not_always_the_state() {
    // D'' and D' have the same past, and state resolution prefers D'.
    let mut log = log(&["A", "D", "1", "D'"]);
    log.send(&draft("D''", -1), 1);
    log.send(&draft("2", 0), 0);
    let names: Vec<_> = log.events.iter().map(name).collect();
    assert_eq!(names, ["A", "D", "1", "D'", "D''", "2"]);
    for (after, is_full) in [(0, true), (2, true), (2, false), (3, false)] {
        let (timeline, state, room) = told(&log, window(&log, after, is_full), &wanted(10, false));
        assert_eq!(folded(&log, &room).as_deref(), Some("D'"), "{timeline:?} {state:?}");
        assert_eq!(timeline, ["2"]);
        assert_eq!((room.limited, room.prev_position), (true, 5));
        let (timeline, state, room) = told(&log, window(&log, after, is_full), &wanted(10, true));
        assert!(timeline.contains(&"D''".to_owned()), "nothing misleads who does not fold");
        assert!(!room.limited);
        assert!(state.contains(&"D'".to_owned()) && !state.contains(&"D''".to_owned()));
    }
    // Who had D' before has it still.
    let (timeline, state, room) = told(&log, window(&log, 4, false), &wanted(10, false));
    assert_eq!((timeline, state.len(), room.limited), (vec!["2".to_owned()], 0, true));
}

#[test]
fn an_older_event_that_prevails_later_is_told() {
    let mut log = log(&["A", "D", "D'"]);
    // It loses at first; what comes after both brings it back.
    log.send(&draft("D''", 100), 1);
    assert_eq!(log.state_at(4)[&key("D", "")], log.events[3].pdu.event_id);
    log.send(&draft("3", 0), 0);
    let (timeline, _, room) = told(&log, window(&log, 2, false), &wanted(10, false));
    assert_eq!(timeline, ["D'", "D''", "3"]);
    assert_eq!(folded(&log, &room).as_deref(), Some("D''"));
}

#[test]
fn what_is_not_the_readers_does_not_make_a_timeline_limited() {
    let names: Vec<String> = (0..40).map(|n| format!("{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let log = log(&names);
    let mut few = wanted(5, false);
    few.timeline.own.senders = Some(vec!["@bob:one.test".try_into().unwrap()]);
    let (timeline, _, room) = told(&log, window(&log, 0, true), &few);
    assert_eq!((timeline.len(), room.limited), (0, false));
    let excerpt = Excerpt { events: vec![], is_cut: true, start: Some(30) };
    let room = RoomLog::<&Event> {
        window: window(&log, 0, false),
        excerpt,
        changes: vec![],
        base: StateIds::new(),
        members: vec![],
        heroes: vec![],
    };
    let told = room.tell(user_id!("@bob:one.test"), &few);
    assert_eq!((told.is_short, told.limited, told.prev_position), (true, true, 29));
}
