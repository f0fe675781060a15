use std::collections::HashMap;

use ruma::{OwnedEventId, UserId, user_id};

use super::*;
use crate::sliding_sync::RequiredState;

fn me() -> &'static UserId {
    user_id!("@me:example.org")
}

fn id(name: &str) -> OwnedRoomId {
    format!("!{name}:example.org").try_into().unwrap()
}

fn event(name: &str) -> OwnedEventId {
    format!("${name}").try_into().unwrap()
}

fn joined(name: &str, last: i64) -> UserRoom {
    UserRoom {
        room_id: id(name),
        membership: "join".to_owned(),
        sender: me().to_owned(),
        event_id: event("join"),
        stream_ordering: 1,
        joined_stream_ordering: None,
        has_known_state: true,
        room_type: None,
        is_encrypted: false,
        last_stream_ordering: Some(last),
        bump_stamp: Some(last),
    }
}

fn config(timeline_limit: usize, pairs: &[(&str, &str)]) -> RoomConfig {
    let required_state = RequiredState::new(pairs.iter().copied(), me().as_str());
    RoomConfig { timeline_limit, required_state }
}

fn sent(events: Sent, config: RoomConfig) -> SentRoom {
    SentRoom { events, config: Rc::new(config), ..SentRoom::default() }
}

/// Plans for rooms of which the last events are these; the client was told up to 10.
fn plans(
    rooms: &[(&str, i64)],
    known: &[(&str, SentRoom)],
    wanted: &RoomConfig,
    joined_anew: &[&str],
) -> Vec<(String, Option<i64>)> {
    let rooms: BTreeMap<_, _> =
        rooms.iter().map(|(name, last)| (id(name), joined(name, *last))).collect();
    let (direct, tags, ignored) = (HashSet::new(), HashMap::new(), HashSet::new());
    let spaces = HashMap::new();
    let view = View {
        rooms: rooms.keys().map(|room_id| (room_id.clone(), wanted.clone())).collect(),
        ..View::default()
    };
    let since = Some(10);
    let rooms = Rooms {
        user_id: me(),
        since,
        rooms: &rooms,
        direct: &direct,
        tags: &tags,
        spaces: &spaces,
        ignored: &ignored,
    };
    let mut connection = Connection::default();
    connection.rooms.extend(known.iter().map(|(name, room)| (id(name), room.clone())));
    let joined_anew = joined_anew.iter().map(|name| id(name)).collect();
    let plans = plan(&rooms, &view, &connection, &joined_anew, 20, None);
    let name = |plan: &RoomPlan| plan.room.room_id.as_str()[1..2].to_owned();
    let after = |plan: &RoomPlan| (!plan.is_initial()).then_some(plan.window.after);
    plans.iter().map(|plan| (name(plan), after(plan))).collect()
}

#[test]
fn a_room_is_told_of_from_where_it_was_told() {
    let config = config(1, &[]);
    let live = || sent(Sent::Live, config.clone());
    let rooms = [("a", 5), ("b", 15), ("c", 14), ("d", 3), ("e", 13)];
    let known =
        [("a", live()), ("b", live()), ("c", sent(Sent::Until(4), config.clone())), ("e", live())];
    let found = plans(&rooms, &known, &config, &["e"]);
    let expected =
        [("b", Some(10)), ("c", Some(4)), ("e", None), ("d", None)].map(|(n, a)| (n.to_owned(), a));
    assert_eq!(found, expected, "the most recent first; a has not moved, e was joined anew");
}

#[test]
fn a_room_is_told_of_if_more_is_wanted_of_it() {
    let before = config(5, &[("m.room.name", "")]);
    let count = |wanted: RoomConfig| {
        plans(&[("a", 5)], &[("a", sent(Sent::Live, before.clone()))], &wanted, &[]).len()
    };
    assert_eq!(count(before.clone()), 0);
    assert_eq!(count(config(1, &[])), 0);
    assert_eq!(count(config(6, &[("m.room.name", "")])), 1);
    assert_eq!(count(config(5, &[("m.room.topic", "")])), 1);
}

fn plan_of(known: Option<SentRoom>, wanted: RoomConfig) -> RoomPlan {
    let room = joined("a", 15);
    let after = known.as_ref().map(|_| 10);
    RoomPlan { window: room.window(me(), after, 20), room, config: wanted, known }
}

fn ids(entries: &[(&str, &str)]) -> StateIds {
    let entry = |(kind, key): &(&str, &str)| {
        (((*kind).to_owned(), (*key).to_owned()), event(&format!("{kind}{key}")))
    };
    entries.iter().map(entry).collect()
}

#[test]
fn what_has_changed_is_told_if_it_is_wanted_and_forgotten_if_not() {
    let before = config(5, &[("a", ""), ("b", ""), ("c", "")]);
    let plan = plan_of(Some(sent(Sent::Live, before)), config(5, &[("a", ""), ("d", "")]));
    assert_eq!(plan.looked_up(), config(0, &[("d", "")]).required_state);
    let state = RoomState {
        changed: ids(&[("a", ""), ("b", ""), ("x", "")]),
        base: ids(&[("d", "")]),
        ..RoomState::default()
    };
    let (told, sent) = plan.tell(state);
    assert_eq!(told, ids(&[("a", ""), ("d", "")]));
    let has = config(0, &[("a", ""), ("c", ""), ("d", "")]);
    assert_eq!(sent.config.required_state, has.required_state, "of b the client has an old one");
    assert_eq!(sent.events, Sent::Live);
}

#[test]
fn members_are_told_once_until_they_change() {
    let lazy = config(5, &[(MEMBER, "$LAZY")]);
    let (ann, ben, cid) = ("@ann:x", "@ben:x", "@cid:x");
    let members = ids(&[(MEMBER, ann), (MEMBER, ben)]);
    let told_of = BTreeSet::from([ann, ben]);
    let state = RoomState { members: members.clone(), told_of, ..RoomState::default() };
    let (told, sent) = plan_of(None, lazy.clone()).tell(state);
    assert_eq!((told, sent.members.len()), (members.clone(), 2));
    // Ben changes behind a gap: what the client has of him is old.
    let told_of = BTreeSet::from([ann, cid]);
    let all = ids(&[(MEMBER, ann), (MEMBER, cid)]);
    let state = RoomState {
        changed: ids(&[(MEMBER, ben)]),
        members: all,
        told_of,
        is_limited: true,
        ..RoomState::default()
    };
    let (told, sent) = plan_of(Some(sent), lazy.clone()).tell(state);
    assert_eq!(told, ids(&[(MEMBER, cid)]));
    let names: Vec<&str> = sent.members.iter().map(|user| &**user).collect();
    assert_eq!(names, [ann, cid]);
    // Without a gap every change is told.
    let state = RoomState { changed: ids(&[(MEMBER, ben)]), ..RoomState::default() };
    let (told, sent) = plan_of(Some(sent), lazy).tell(state);
    assert_eq!((told, sent.members.len()), (ids(&[(MEMBER, ben)]), 3));
}

#[test]
fn a_gap_takes_away_the_history_that_was_sent_before() {
    let limit = |before: usize, wanted: usize, is_limited: bool| {
        let plan = plan_of(Some(sent(Sent::Live, config(before, &[]))), config(wanted, &[]));
        plan.tell(RoomState { is_limited, ..RoomState::default() }).1.config.timeline_limit
    };
    assert_eq!((limit(20, 5, false), limit(20, 5, true), limit(5, 20, false)), (20, 5, 20));
    assert_eq!(limit(20, 0, false), 0, "something has happened that was not shown");
}

#[test]
fn a_room_does_not_remember_everybody() {
    let lazy = config(5, &[(MEMBER, "$LAZY")]);
    let names: Vec<String> = (0..150).map(|n| format!("@u{n}:x")).collect();
    let mut known = sent(Sent::Live, lazy.clone());
    known.members = names.iter().take(100).map(|name| name.as_str().into()).collect();
    let newcomer = names[120].as_str();
    let state = RoomState {
        members: ids(&[(MEMBER, newcomer)]),
        told_of: BTreeSet::from([newcomer]),
        ..RoomState::default()
    };
    let (told, sent) = plan_of(Some(known), lazy).tell(state);
    assert_eq!((told.len(), sent.members.len()), (1, 1), "the others are sent again");
}
