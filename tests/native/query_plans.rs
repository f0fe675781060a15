//! No query that a client can repeat walks through a table.

use std::borrow::Cow;

use myelin::storage::access_tokens;
use myelin::storage::access_tokens::PresumedToken;
use myelin::storage::database::Statement;
use myelin::storage::dehydrated_devices;
use myelin::storage::delayed_events::{self, Chosen, Delayed};
use myelin::storage::device_inbox;
use myelin::storage::device_lists;
use myelin::storage::devices;
use myelin::storage::e2e_cross_signing;
use myelin::storage::e2e_device_keys::{self, AskedUser};
use myelin::storage::e2e_one_time_keys::{self, Claim};
use myelin::storage::e2e_room_keys;
use myelin::storage::e2e_room_keys_versions;
use myelin::storage::event_pages::{self, Direction, PageQuery, StreamWindow};
use myelin::storage::events::{self, Selection};
use myelin::storage::login_tokens;
use myelin::storage::presence;
use myelin::storage::public_rooms::{self, ListPlace, ListQuery, Network};
use myelin::storage::push_rules;
use myelin::storage::receipts;
use myelin::storage::registration_tokens;
use myelin::storage::relations::{self, ChildrenQuery, NewRelation};
use myelin::storage::room_aliases;
use myelin::storage::room_log::{self, Presumed, RedactionRow};
use myelin::storage::room_members;
use myelin::storage::room_state_log;
use myelin::storage::room_summaries::{self, Tree};
use myelin::storage::rooms;
use myelin::storage::schema;
use myelin::storage::sessions;
use myelin::storage::sliding_sync::{self, RoomsQuery, WantedState};
use myelin::storage::sliding_sync_connections::{self, NewState, Place};
use myelin::storage::state_groups::{self, StateFilter};
use myelin::storage::stream_positions::{self, StreamName};
use myelin::storage::sync::{self, StateWindow};
use myelin::storage::thread_subscriptions;
use myelin::storage::threads::{self, ThreadPlace, ThreadsQuery};
use myelin::storage::typing;
use myelin::storage::ui_auth_sessions;
use myelin::storage::user_directory::{self, Entry, Lookup, RoomUser};
use myelin::storage::user_external_ids;
use myelin::storage::users;
use myelin_protocol::device_keys::NamedKey;
use myelin_protocol::filter::{EventFilter, RelatedBy};
use myelin_protocol::sliding_sync::Pattern;
use myelin_protocol::sync::MeetingPlace;
use myelin_protocol::sync::device_lists::Encounter;
use myelin_protocol::sync_token::RoomStreamToken;
use myelin_protocol::to_device::Message;
use ruma::api::client::filter::{RoomEventFilter, UrlFilter};
use ruma::{
    OwnedRoomId, owned_device_id, owned_event_id, owned_room_alias_id, owned_room_id, owned_user_id,
};
use rusqlite::Connection;

fn database() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    for statement in schema::statements() {
        connection.execute_batch(&statement).unwrap();
    }
    connection
}

/// The steps of a plan that walk through a whole table or index.
fn walks(connection: &Connection, statement: &Statement) -> Vec<String> {
    let sql = format!("EXPLAIN QUERY PLAN {}", statement.sql);
    let mut prepared = connection.prepare(&sql).unwrap();
    let nulls = vec![rusqlite::types::Null; statement.values.len()];
    let nulls = rusqlite::params_from_iter(nulls);
    let steps = prepared.query_map(nulls, |row| row.get::<_, String>("detail")).unwrap();
    let steps: Vec<String> = steps.map(Result::unwrap).collect();
    assert!(!steps.is_empty());
    // Lists of ours, and what has been picked by index, are walked through.
    let small = [
        "picked",
        "q",
        "parent",
        "w",
        "s",
        "t",
        "a",
        "asked",
        "CONSTANT",
        "look",
        "moved",
        "far",
        "starts",
        "k",
        "chain",
        "due",
        "(subquery",
    ];
    let is_small = |name: &str| small.iter().any(|s| name == *s || name.starts_with("(subquery"));
    let is_walk = |step: &&String| {
        // Along the stream a room is only read from a place on.
        if step.contains("AUTOMATIC") || step.contains("events_room_stream (room_id=?)") {
            return true;
        }
        let mut words = step.split(' ');
        words.next() == Some("SCAN")
            && !step.contains("VIRTUAL TABLE")
            && !words.next().is_some_and(is_small)
    };
    let found: Vec<String> = steps.iter().filter(is_walk).cloned().collect();
    if found.is_empty() { found } else { steps }
}

fn filter() -> EventFilter {
    let mut filter = RoomEventFilter::empty();
    filter.types = Some(vec!["m.room.message".to_owned(), "org.*".to_owned()]);
    filter.not_types = vec!["m.room.topic".to_owned()];
    filter.senders = Some(vec![owned_user_id!("@a:b")]);
    filter.not_senders = vec![owned_user_id!("@c:b")];
    filter.url_filter = Some(UrlFilter::EventsWithUrl);
    let (senders, rel_types) = (vec!["@a:b".to_owned()], vec!["m.thread".to_owned()]);
    EventFilter { own: filter, related_by: RelatedBy { senders, rel_types } }
}

fn rooms() -> Vec<OwnedRoomId> {
    vec![owned_room_id!("!a:b")]
}

fn pages(selections: &mut Vec<(&'static str, Selection)>) {
    let (room_id, filter) = (owned_room_id!("!a:b"), filter());
    let historic = Some(RoomStreamToken::historic(1, 1));
    let live = Some(RoomStreamToken::live(1));
    for direction in [Direction::Backward, Direction::Forward] {
        for (from, to) in [(None, None), (historic.clone(), historic.clone()), (live.clone(), None)]
        {
            let room_id = &room_id;
            let (limit, reader, filter) = (10, "@a:b", &filter);
            let query = PageQuery { room_id, direction, from, to, limit, filter, reader };
            selections.push(("a page", event_pages::page(&query)));
        }
    }
    let event_id = owned_event_id!("$e");
    selections.push(("around", event_pages::around(&room_id, &event_id, 5, 5, &filter)));
    let windows = [StreamWindow { room_id: room_id.clone(), after: 0, upto: 9 }];
    selections.push(("the latest", event_pages::latest(&windows, 10, &filter)));
    selections.push(("the earliest", event_pages::earliest(&windows, 10, &filter)));
    selections.push(("by id and room", event_pages::of_room(&room_id, &event_id)));
    selections.push(("by id", event_pages::by_id(&[event_id])));
    selections.push(("the last", event_pages::last_at(&room_id, 1)));
}

fn related(selections: &mut Vec<(&'static str, Selection)>) {
    let (room_id, parent_id) = (owned_room_id!("!a:b"), owned_event_id!("$e"));
    let ids = [parent_id.clone()];
    selections.push(("before joining", relations::before_joining(&ids, "@a:b")));
    let place = ThreadPlace { topological_ordering: 1, stream_ordering: 1 };
    for flag in [false, true] {
        let query = ChildrenQuery {
            room_id: &room_id,
            parent_id: &parent_id,
            relation_type: Some("m.thread"),
            event_type: Some("m.room.message"),
            recurse: flag,
            direction: Direction::Backward,
            from: Some(RoomStreamToken::historic(1, 1)),
            to: Some(RoomStreamToken::live(1)),
            limit: 5,
            reader: "@a:b",
        };
        selections.push(("children", relations::children(&query)));
        let (from, limit, reader) = (Some(place), 5, "@a:b");
        let query = ThreadsQuery { room_id: &room_id, participated: flag, from, limit, reader };
        selections.push(("threads", threads::roots(&query)));
    }
}

fn states(selections: &mut Vec<(&'static str, Selection)>) {
    let filters = [
        ("all", StateFilter::All),
        ("keys", StateFilter::key("m.room.name", "")),
        ("types", StateFilter::Types(vec!["m.room.member".to_owned()])),
        ("lazy members", StateFilter::LazyMembers(vec![owned_user_id!("@a:b")])),
    ];
    for (name, filter) in filters {
        selections.push((name, state_groups::current(&rooms(), &filter)));
        selections.push((name, state_groups::of_groups(&[1], &filter)));
        selections.push((name, state_groups::at(&owned_room_id!("!a:b"), 1, &filter)));
        let event_ids = [owned_event_id!("$e")];
        selections.push((name, state_groups::after_events(&event_ids, &filter)));
    }
}

#[test]
fn events_and_their_states_are_found_by_index() {
    let connection = database();
    let mut selections = Vec::new();
    pages(&mut selections);
    states(&mut selections);
    related(&mut selections);
    let (event_id, replaced_id) = (owned_event_id!("$e"), owned_event_id!("$f"));
    let held = [(&event_id, Some(&replaced_id))].into();
    for (name, selection) in selections {
        let served = events::served(selection.clone());
        assert_eq!(walks(&connection, &served), [""; 0], "{name}: {}", served.sql);
        let served = events::served_unless_held(selection.clone(), &held);
        assert_eq!(walks(&connection, &served), [""; 0], "{name}: {}", served.sql);
        let visibility = events::visibility(selection.clone(), "@a:b");
        assert_eq!(walks(&connection, &visibility), [""; 0], "{name}: {}", visibility.sql);
        let related = relations::aggregations(selection, "@a:b");
        assert_eq!(walks(&connection, &related), [""; 0], "{name}: {}", related.sql);
    }
    let spaces = room_summaries::children_of_joined(&owned_user_id!("@a:b"), &rooms());
    assert_eq!(walks(&connection, &spaces), [""; 0], "{}", spaces.sql);
    let as_they_were = events::as_they_were(&held);
    assert_eq!(walks(&connection, &as_they_were), [""; 0], "{}", as_they_were.sql);
}

#[test]
fn what_a_new_event_is_about_is_found_by_index() {
    let sender = owned_user_id!("@a:b");
    let new = NewRelation {
        parent_id: "$e",
        relation_type: "m.annotation",
        key: Some("+"),
        event_type: "m.reaction",
        sender: "@a:b",
    };
    let redaction = RedactionRow { event_id: "$r".to_owned(), redacts: "$e".to_owned() };
    let mut statements = vec![relations::parents(&[new])];
    let (room_id, thread_id) = (owned_room_id!("!a:b"), owned_event_id!("$e"));
    statements.push(thread_subscriptions::select("@a:b", &room_id, &thread_id));
    statements.push(thread_subscriptions::updated_since("@a:b", 1, 9, 10));
    statements.extend(thread_subscriptions::unsubscribe(&sender, &room_id, &thread_id));
    statements.extend(room_log::delete_relations("!a:b", &[redaction]));
    statements.extend(rooms::select_for_writer("!a:b"));
    statements.push(room_state_log::clear_profiles(&["$m"]));
    let connection = database();
    for statement in statements {
        assert_eq!(walks(&connection, &statement), [""; 0], "{}", statement.sql);
    }
}

#[test]
fn what_a_commit_presumes_is_found_by_index() {
    let token = PresumedToken {
        token: "syt".to_owned(),
        user_id: owned_user_id!("@a:b"),
        device_id: "D".into(),
    };
    let presumed = Presumed { tokens: vec![&token], push_rules_position: Some(1) };
    let walked = walks(&database(), &room_log::fence("!a:b", 1, &presumed, 1));
    // The list of tokens is no table.
    let walked: Vec<String> = walked.into_iter().filter(|step| !step.contains("SCAN p")).collect();
    assert_eq!(walked, Vec::<String>::new());
}

#[test]
fn what_a_room_is_for_a_reader_is_found_by_index() {
    let connection = database();
    for statement in [events::readers(&rooms(), "@a:b"), events::ignored_users("@a:b")] {
        assert_eq!(walks(&connection, &statement), [""; 0], "{}", statement.sql);
    }
}

fn syncs() -> Vec<Statement> {
    let (user_id, filter) = (owned_user_id!("@a:b"), filter());
    let window = StreamWindow { room_id: owned_room_id!("!a:b"), after: 0, upto: 9 };
    let windows = [window.clone()];
    let states = [StateWindow { window, is_full: true, until_now: true }];
    vec![
        sync::moved_rooms(&user_id, 1),
        sync::membership_changes(&user_id, 1),
        sync::memberships(&user_id),
        sync::joined_of(&user_id, &rooms()),
        stream_positions::select_some(&[StreamName::Events, StreamName::Typing]),
        presence::of_newcomers(&user_id, &rooms(), &windows),
        sync::state_changes(&states, 10, &filter, 1000),
        sync::current_state_ids(&rooms(), false),
        sync::current_state_ids(&rooms(), true),
        events::served(sync::members_of_senders(&windows, 10, &filter, &user_id)),
        sync::summaries(&rooms()),
        events::served(sync::heroes(&rooms(), &user_id)),
    ]
}

#[test]
fn what_a_sync_asks_is_found_by_index() {
    let connection = database();
    for statement in syncs() {
        let mut steps = walks(&connection, &statement);
        // Along the index of positions, from the last one that the client has seen.
        steps.retain(|step| !step.contains("event_stream_ordering>?"));
        assert_eq!(steps, [""; 0], "{}", statement.sql);
    }
}

#[test]
fn the_directory_is_read_by_index() {
    let (alias, room_id) = (owned_room_alias_id!("#a:b"), owned_room_id!("!a:b"));
    let place =
        |is_forward| Some(ListPlace { is_forward, joined_members: 1, room_id: String::new() });
    let search = Some("term".to_owned());
    let all = ListQuery { limit: 9, ..ListQuery::default() };
    let on = ListQuery { place: place(true), search, room_types: vec![None], ..all.clone() };
    let back = ListQuery { place: place(false), ..on.clone() };
    let network = Network::Of { as_id: "bridge".to_owned(), network_id: "irc".to_owned() };
    let of_service = ListQuery { network, ..on.clone() };
    let connection = database();
    let statements = [
        room_aliases::select(&alias),
        room_aliases::select_of_room(&room_id),
        room_aliases::select_servers(&alias),
        room_aliases::select_listed(&room_id),
        room_aliases::update_listed(&room_id, true),
        public_rooms::select(&all),
        public_rooms::select(&on),
        public_rooms::select(&back),
        public_rooms::select(&of_service),
        public_rooms::count(&all.network),
        public_rooms::count(&of_service.network),
        room_members::select_joined(&room_id),
        room_members::select_rooms_of("@a:b"),
        room_members::select_initial_rooms("@a:b", true),
        room_members::select_initial_room("@a:b", &room_id),
        presence::select_in_room(&room_id),
        presence::updated_in_room_since(&room_id, 1, 2),
        receipts::updated_in_room_since(&room_id, 1, 2),
        typing::updated_in_room_since(&room_id, 1, 2),
    ];
    let delete = room_aliases::delete(&alias);
    for statement in statements.into_iter().chain(delete) {
        assert_eq!(walks(&connection, &statement), [""; 0], "{}", statement.sql);
    }
}

#[test]
fn spaces_are_walked_by_index() {
    let connection = database();
    let alias = owned_room_alias_id!("#a:b");
    let tree = Tree { room_ids: &["!a:b"], levels: 4 };
    let one = [
        room_summaries::select((&*alias).into(), "@a:b"),
        sessions::select("room_hierarchy_pagination", "s", 1),
    ];
    for statement in room_summaries::select_tree(&tree, "@a:b").into_iter().chain(one) {
        assert_eq!(walks(&connection, &statement), [""; 0], "{}", statement.sql);
    }
}

#[test]
fn the_user_directory_is_searched_and_followed_by_index() {
    let (room_id, user_id) = (owned_room_id!("!a:b"), owned_user_id!("@a:b"));
    let connection = database();
    let member = RoomUser { room_id: room_id.clone(), user_id: user_id.clone() };
    let entry = Entry { user_id, display_name: None, avatar_url: None, words: Vec::new() };
    let mut statements = vec![
        user_directory::search(&Lookup { user_or_token: "@a:b", key: "a", all_users: false }),
        user_directory::select_pending(),
        user_directory::select_unindexed(),
        user_directory::follow(std::slice::from_ref(&room_id), 1),
        user_directory::bound_position(),
    ];
    let members = std::slice::from_ref(&member);
    statements.extend(user_directory::update_members(members));
    statements.extend(user_directory::remove_strangers(members));
    statements.extend(user_directory::update_rooms(std::slice::from_ref(&room_id)));
    statements.extend(user_directory::write(&[entry]));
    statements.extend(user_directory::remove(&member.user_id));
    for statement in statements {
        let mut steps = walks(&connection, &statement);
        // One row; and what follows it in the log.
        steps.retain(|step| step != "SCAN p" && step != "SCAN user_directory_stream_pos");
        let is_by_index = |step: &String| step.starts_with("SEARCH") || !step.contains("SCAN");
        let is_list = |step: &String| step.contains("VIRTUAL TABLE") || step.contains("(subquery");
        let walked: Vec<_> = steps.iter().filter(|s| !is_by_index(s) && !is_list(s)).collect();
        assert!(
            walked.iter().all(|step| step.starts_with("SCAN t")),
            "{walked:?} {}",
            statement.sql
        );
    }
}

#[test]
fn accounts_are_read_and_written_by_index() {
    let (user_id, device_id) = (owned_user_id!("@a:b"), owned_device_id!("D"));
    let connection = database();
    let mut statements = vec![
        access_tokens::select("t"),
        access_tokens::select_refresh("t"),
        access_tokens::mark_used(1),
        users::select(std::slice::from_ref(&user_id)),
        users::select_by_threepid("email", "a@b"),
        user_external_ids::select("cas", "a"),
        user_external_ids::select_of_user("cas", &user_id),
        login_tokens::consume("token", 1),
        devices::select_all(&user_id),
        registration_tokens::select_usable("t", 1),
    ];
    statements.extend(access_tokens::delete(1));
    statements.extend(access_tokens::delete_of_device(&user_id, "D"));
    statements.extend(access_tokens::delete_all_but(&user_id, Some(1)));
    statements.extend(devices::insert(&user_id, "D", None, 1));
    statements.extend(devices::rename(&user_id, "D", Some("n"), 1));
    statements.extend(ui_auth_sessions::select("s"));
    for selection in [devices::Selection::Only(&[device_id]), devices::Selection::AllBut(None)] {
        statements.extend(devices::delete(&user_id, selection, 1));
    }
    for statement in statements {
        // There are few pushers, and they go with their device only; values have no plan.
        if !["FROM pushers", "VALUES"].iter().any(|part| statement.sql.contains(part)) {
            assert_eq!(walks(&connection, &statement), [""; 0], "{}", statement.sql);
        }
    }
}

fn of_keys() -> Vec<Statement> {
    let (user_id, device_id) = (owned_user_id!("@a:b"), owned_device_id!("D"));
    let key = NamedKey { algorithm: "a".into(), key_id: "k".into(), json: "{}".into() };
    let keys = std::slice::from_ref(&key);
    let claim =
        Claim { user_id: user_id.clone(), device_id: "D".to_owned(), algorithm: "a".to_owned() };
    let asked = AskedUser { user_id: &user_id, device_ids: Cow::Owned(vec!["D".to_owned()]) };
    let mut statements = vec![
        e2e_device_keys::select_of_token("t"),
        e2e_device_keys::fence(&user_id, &device_id),
        e2e_device_keys::select(&[asked]),
        e2e_one_time_keys::select_stored("t", keys),
        e2e_one_time_keys::select_counts(&user_id, &device_id),
        e2e_cross_signing::select_keys("t", &[&user_id]),
        e2e_cross_signing::select_signatures("t", &[&user_id]),
        dehydrated_devices::select_of_token("t"),
        e2e_room_keys_versions::select("t", None),
        e2e_room_keys_versions::insert(&user_id, "a", "{}"),
        e2e_room_keys_versions::fence(&user_id, 1),
        device_inbox::select_transaction("t", "m.t", "x"),
        device_inbox::select(&user_id, &device_id, 1),
        device_inbox::select_after(&user_id, &device_id, 1, 100),
        push_rules::select_news(&user_id, 1),
        device_lists::select_news(&user_id, 1),
        device_inbox::delete_upto(&user_id, &device_id, 1),
    ];
    statements.extend(e2e_one_time_keys::insert(&user_id, &device_id, &[&key], 1));
    statements.extend(e2e_one_time_keys::claim(&[claim]));
    statements.extend(e2e_room_keys_versions::delete(&user_id, 1));
    for (room_id, session_id) in [("", ""), ("!a:b", ""), ("!a:b", "S")] {
        let selection = e2e_room_keys::Selection { version: 1, room_id, session_id };
        statements.push(e2e_room_keys::select(&user_id, selection, ("", "")));
        statements.extend(e2e_room_keys::delete(&user_id, selection));
    }
    for device_id in [None, Some("D".to_owned())] {
        let (user_id, json) = ("@a:b".to_owned(), "{}".to_owned());
        statements.extend(device_inbox::insert(&[Message { user_id, device_id, json }]));
    }
    statements
}

#[test]
fn keys_and_messages_of_devices_are_found_by_index() {
    let connection = database();
    for statement in of_keys() {
        assert_eq!(walks(&connection, &statement), [""; 0], "{}", statement.sql);
    }
    let user_id = owned_user_id!("@a:b");
    let place = MeetingPlace {
        room_id: owned_room_id!("!a:b"),
        after: 1,
        upto: 2,
        encounter: Encounter::Known,
    };
    for statement in
        [device_lists::changed_since(&user_id, 1, 2), device_lists::meetings(&user_id, &[place])]
    {
        let mut steps = walks(&connection, &statement);
        // Along the stream, from the last position that the client has seen.
        steps.retain(|step| !step.contains("SCAN u VIRTUAL"));
        assert_eq!(steps, [""; 0], "{}", statement.sql);
    }
}

#[test]
fn delayed_events_are_found_by_index() {
    let (room_id, delayed) = (owned_room_id!("!a:b"), [&Delayed::default()]);
    let mut statements = vec![delayed_events::select_of_token("t", None)];
    statements.push(delayed_events::restart("d", Some("t"), 1));
    statements.push(delayed_events::cancel("d", Some("t"), 1));
    statements.push(delayed_events::select_due(&room_id, "b", Chosen::Due(1)));
    statements.push(delayed_events::select_next(&room_id, 1));
    statements.push(delayed_events::cancel_by_state(&room_id, &[]));
    statements.push(delayed_events::select_transaction("t", &room_id, Some("x")));
    statements.extend(delayed_events::take(&delayed));
    for statement in statements {
        assert_eq!(walks(&database(), &statement), [""; 0], "{}", statement.sql);
    }
}

#[test]
fn a_query_that_walks_through_a_table_would_be_seen() {
    let statement = Statement::new("SELECT * FROM events WHERE sender = 'x'");
    assert_eq!(walks(&database(), &statement), ["SCAN events"]);
}

#[test]
fn sliding_sync_is_read_by_index() {
    let connection = database();
    let user_id = owned_user_id!("@alice:example.org");
    let room_ids = [owned_room_id!("!a:example.org")];
    let place = Place { device_id: "D", conn_id: "", position: 1, request: "" };
    let query = RoomsQuery {
        user_id: &user_id,
        place,
        since: Some(1),
        account_data_since: 1,
        subscriptions: &room_ids,
    };
    let window = StreamWindow { room_id: room_ids[0].clone(), after: 0, upto: 9 };
    let excerpts = event_pages::excerpts((1..9).map(|limit| (window.clone(), limit)));
    assert_eq!(excerpts.len(), 4, "as many as a statement may have");
    let pattern = |event_type: Option<&str>, state_key: Option<&str>| Pattern {
        event_type: event_type.map(str::to_owned),
        state_key: state_key.map(str::to_owned),
    };
    let patterns =
        vec![pattern(Some("a"), Some("")), pattern(Some("a"), None), pattern(None, None)];
    let wanted = [WantedState { rooms: room_ids.to_vec(), patterns }];
    let new = NewState { device_id: "D", conn_id: "", from: 0, state: "{}", settled_request: None };
    let mut statements = sliding_sync::user_rooms(&query).to_vec();
    statements.extend(sliding_sync_connections::record(&user_id, &new, 1));
    statements.push(sliding_sync_connections::select(&user_id, place));
    statements.push(sliding_sync::room_meta(&room_ids));
    statements.push(events::served(sliding_sync::required_state(&wanted)));
    statements.push(events::served(sliding_sync::members_of_timelines(&excerpts)));
    statements.push(events::served(sliding_sync::heroes(&room_ids, &user_id)));
    statements.push(events::served(event_pages::latest_of(&excerpts)));
    statements.push(events::visibility(event_pages::latest_of(&excerpts), user_id.as_str()));
    statements.push(receipts::in_excerpts(&user_id, &excerpts));
    statements.push(receipts::own_in_rooms(&user_id, &room_ids));
    statements.push(receipts::in_rooms_since(&user_id, &[(room_ids[0].clone(), 1)]));
    statements.push(receipts::read_rooms_since(&user_id, 1));
    for statement in statements {
        assert_eq!(walks(&connection, &statement), [""; 0], "{}", statement.sql);
    }
}
