//! What `/sync` reads of users' data: by position, by index, and only what the user may see.

use crate::support::Server;
use myelin::storage::database::{QueryResult, Statement};
use myelin::storage::presence::StatusMessage;
use myelin::storage::receipts::{Receipt, ReceiptRow};
use myelin::storage::stream_positions::{self, NOW, PositionRow};
use myelin::storage::{
    account_data, e2e_room_keys_versions, event_push_actions, local_memberships, presence,
    profiles, push_rules, read_markers, receipts, room_tags, typing, user_filters, user_threepids,
};
use myelin_protocol::presence::OFFLINE_MS;
use ruma::presence::PresenceState;
use ruma::{EventId, RoomId, UserId, event_id, owned_room_id, room_id, user_id};

fn alice() -> &'static UserId {
    user_id!("@alice:example.org")
}

fn bob() -> &'static UserId {
    user_id!("@bob:example.org")
}

fn room() -> &'static RoomId {
    room_id!("!room:example.org")
}

const NOW_MS: u64 = 1_700_000_000_000;

/// A server with its tables, and Alice and Bob joined to one room with three events.
fn server() -> Server {
    let server = Server::new();
    let context = server.platform.context();
    server.run(async move { context.batch(Vec::new()).await }).unwrap();
    let mut statements: Vec<Statement> = [(alice(), "join"), (bob(), "join")]
        .into_iter()
        .map(|(user_id, membership)| {
            Statement::new(
                "INSERT INTO local_current_membership (room_id, user_id, event_id, membership)
                 VALUES (?1, ?2, ?2, ?3)",
            )
            .bind(room().as_str())
            .bind(user_id.as_str())
            .bind(membership)
        })
        .collect();
    statements.extend([(2, "$first"), (3, "$second"), (4, "$third")].map(
        |(position, event_id)| {
            Statement::new(
            "INSERT INTO events (stream_ordering, topological_ordering, event_id, type, room_id,
                 processed, outlier) VALUES (?1, ?1, ?2, 'm.room.message', ?3, 1, 0)",
        )
        .bind(position)
        .bind(event_id)
        .bind(room().as_str())
        },
    ));
    batch(&server, statements);
    server
}

fn batch(server: &Server, statements: Vec<Statement>) -> Vec<QueryResult> {
    server.platform.sqlite.batch(&statements).unwrap()
}

fn rows<T: serde::de::DeserializeOwned>(server: &Server, statement: Statement) -> Vec<T> {
    batch(server, vec![statement])[0].rows().unwrap()
}

fn position(server: &Server, stream: &str) -> i64 {
    let positions: Vec<PositionRow> = rows(server, stream_positions::select_all());
    positions.iter().find(|row| row.stream_name == stream).unwrap().stream_id
}

/// The plan of a query, one line a step.
fn plan(server: &Server, statement: Statement) -> String {
    let Statement { sql, values, .. } = statement;
    let explained = Statement::new(format!("EXPLAIN QUERY PLAN {sql}"));
    let explained = Statement { values, ..explained };
    let steps: Vec<serde_json::Value> = rows(server, explained);
    steps.iter().map(|step| format!("{}\n", step["detail"].as_str().unwrap())).collect()
}

fn receipt<'a>(user_id: &'a UserId, receipt_type: &'a str, event_id: &'a EventId) -> Receipt<'a> {
    Receipt { room_id: room(), receipt_type, user_id, event_id, thread_id: None, ts_ms: NOW_MS }
}

#[test]
fn the_reads_of_a_sync_search_an_index_and_scan_nothing_large() {
    let server = server();
    let rooms = [owned_room_id!("!room:example.org")];
    let reads = [
        account_data::updated_since(alice(), 1, NOW),
        account_data::updated_in_rooms_since(alice(), 1, NOW),
        account_data::select_rooms(alice(), &rooms),
        room_tags::updated_since(alice(), 1, NOW),
        room_tags::select_rooms(alice(), &rooms),
        receipts::updated_since(alice(), 1, NOW),
        receipts::in_rooms(alice(), &rooms, NOW),
        presence::updated_since(alice(), 1, NOW),
        typing::updated_since(alice(), 1, NOW_MS),
        typing::select_next_expiry(alice()),
    ];
    for read in reads {
        let sql = read.sql.clone();
        let plan = plan(&server, read);
        for step in plan.lines().filter(|step| step.starts_with("SCAN")) {
            let is_small = step.starts_with("SCAN t") || step.contains("VIRTUAL TABLE");
            assert!(is_small && !step.contains("room_tags"), "{sql}\n{plan}");
        }
    }
    let plan = plan(&server, receipts::updated_since(alice(), 1, NOW));
    assert!(plan.contains("receipts_linearized_id (stream_id>? AND stream_id<?)"), "{plan}");
}

#[test]
fn what_endpoints_read_and_write_of_users_goes_by_index() {
    let server = server();
    let mut statements = vec![
        account_data::select(alice(), "m.direct"),
        account_data::select_in_room(alice(), room(), "m.tag"),
        event_push_actions::select_notifications("token", Some(9), true, 50),
        local_memberships::select("token", room()),
        local_memberships::select_joined(alice()),
        presence::select(alice()),
        presence::select_visible_to(alice(), bob()),
        presence::select_observers(alice()),
        presence::select_device(alice(), None),
        presence::select_device_of("token"),
        presence::note_device(alice(), "DEVICE", &PresenceState::Online, NOW_MS, NOW_MS),
        presence::rouse(alice(), "DEVICE", NOW_MS),
        profiles::select(alice()),
        profiles::set_displayname(alice(), Some("Alice")),
        profiles::set_field(alice(), "m.tz", "1"),
        profiles::remove_field(alice(), "m.tz"),
        push_rules::select_changed(alice(), 1, NOW),
        e2e_room_keys_versions::select("token", None),
        room_tags::select(alice(), room()),
        user_filters::select(alice(), 0),
        user_threepids::select("token"),
    ];
    statements.extend(push_rules::select("token"));
    statements.extend(account_data::set(alice(), "m.direct", "{}"));
    statements.extend(account_data::set_ignored_users(alice(), &["@eve:example.org"]));
    statements.extend(presence::settle(alice(), StatusMessage::Set(Some("here")), NOW_MS));
    statements.extend(read_markers::set(alice(), room(), event_id!("$first")));
    statements.extend(receipts::set(&receipt(alice(), "m.read", event_id!("$first"))));
    statements.extend(room_tags::set(alice(), room(), "u.work", "{}"));
    statements.extend(room_tags::remove(alice(), room(), "u.work"));
    statements.extend(typing::start(room(), alice(), NOW_MS, NOW_MS));
    statements.extend(typing::stop(room(), alice(), NOW_MS));
    statements.extend(user_filters::insert(alice(), "{}"));
    for statement in statements {
        let sql = statement.sql.clone();
        let plan = plan(&server, statement);
        // A constant row, a list of ours, or relations that were found by index.
        let is_walk = |step: &&str| {
            step.starts_with("SCAN") && !step.contains("CONSTANT") && !step.contains("VIRTUAL")
        };
        assert_eq!(plan.lines().find(is_walk), None, "{sql}\n{plan}");
    }
}

#[test]
fn account_data_and_tags_share_one_stream_and_are_read_by_position() {
    let server = server();
    let start = position(&server, "account_data");
    batch(&server, account_data::set(alice(), "m.direct", "{}"));
    batch(&server, account_data::set_in_room(alice(), room(), "m.fully_read", "{}"));
    batch(&server, room_tags::set(alice(), room(), "m.favourite", r#"{"order":0.5}"#));
    assert_eq!(position(&server, "account_data"), start + 3);

    let global = |from| {
        rows::<account_data::AccountDataRow>(
            &server,
            account_data::updated_since(alice(), from, NOW),
        )
    };
    assert_eq!(global(start)[0].event_type, "m.direct");
    assert!(global(start + 1).is_empty());
    let in_rooms = account_data::updated_in_rooms_since(alice(), start + 1, start + 2);
    assert_eq!(rows::<account_data::RoomAccountDataRow>(&server, in_rooms)[0].room_id, room());
    let others = account_data::updated_since(bob(), 0, NOW);
    assert!(rows::<account_data::AccountDataRow>(&server, others).is_empty());
}

#[test]
fn a_room_that_has_lost_its_last_tag_is_read_without_a_tag() {
    let server = server();
    batch(&server, room_tags::set(alice(), room(), "m.favourite", "{}"));
    let before = position(&server, "account_data");
    batch(&server, room_tags::remove(alice(), room(), "m.favourite"));
    let tags: Vec<room_tags::TagRow> =
        rows(&server, room_tags::updated_since(alice(), before, NOW));
    assert_eq!(tags.len(), 1);
    assert_eq!((tags[0].room_id.as_str(), &tags[0].tag), (room().as_str(), &None));
}

#[test]
fn a_receipt_never_moves_back_and_an_older_one_takes_no_position() {
    let server = server();
    let start = position(&server, "receipts");
    batch(&server, receipts::set(&receipt(bob(), "m.read", event_id!("$second"))));
    assert_eq!(position(&server, "receipts"), start + 1);
    batch(&server, receipts::set(&receipt(bob(), "m.read", event_id!("$first"))));
    batch(&server, receipts::set(&receipt(bob(), "m.read", event_id!("$second"))));
    assert_eq!(position(&server, "receipts"), start + 1);
    batch(&server, receipts::set(&receipt(bob(), "m.read", event_id!("$third"))));
    assert_eq!(position(&server, "receipts"), start + 2);

    let seen: Vec<ReceiptRow> = rows(&server, receipts::updated_since(alice(), start, NOW));
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].event_id, "$third");
    let graph = server.rows("SELECT event_ids FROM receipts_graph");
    assert_eq!(graph, [serde_json::json!({ "event_ids": "[\"$third\"]" })]);
}

#[test]
fn receipts_of_threads_stand_beside_the_one_without_a_thread() {
    let server = server();
    let event_id = event_id!("$first");
    for thread_id in [None, Some("main"), Some("$second")] {
        let receipt = Receipt { thread_id, ..receipt(bob(), "m.read", event_id) };
        batch(&server, receipts::set(&receipt));
    }
    let seen: Vec<ReceiptRow> =
        rows(&server, receipts::in_rooms(alice(), &[room().to_owned()], NOW));
    let mut threads: Vec<_> = seen.iter().map(|row| row.thread_id.as_deref()).collect();
    threads.sort();
    assert_eq!(threads, [None, Some("$second"), Some("main")]);
}

#[test]
fn a_private_receipt_is_seen_by_nobody_else_and_receipts_only_by_members() {
    let server = server();
    batch(&server, receipts::set(&receipt(bob(), "m.read.private", event_id!("$first"))));
    let seen_by = |user_id: &UserId| {
        rows::<ReceiptRow>(&server, receipts::updated_since(user_id, 0, NOW)).len()
            + rows::<ReceiptRow>(&server, receipts::in_rooms(user_id, &[room().to_owned()], NOW))
                .len()
    };
    assert_eq!((seen_by(alice()), seen_by(bob())), (0, 2));

    batch(&server, receipts::set(&receipt(bob(), "m.read", event_id!("$first"))));
    let stranger = user_id!("@stranger:example.org");
    let seen: Vec<ReceiptRow> = rows(&server, receipts::updated_since(stranger, 0, NOW));
    assert!(seen.is_empty());
}

#[test]
fn the_relations_of_an_event_are_followed_up_to_the_root() {
    let server = server();
    let events = [
        ("$root", r#"{"content":{"m.relates_to":"odd"}}"#),
        ("$reply", r#"{"content":{"m.relates_to":{"rel_type":"m.thread","event_id":"$root"}}}"#),
        (
            "$reaction",
            r#"{"content":{"m.relates_to":{"rel_type":"m.annotation","event_id":"$reply"}}}"#,
        ),
    ];
    let inserts = events.map(|(event_id, json)| {
        Statement::new(
            "INSERT INTO event_json (event_id, room_id, internal_metadata, json)
             VALUES (?1, '!room:example.org', '{}', ?2)",
        )
        .bind(event_id)
        .bind(json)
    });
    batch(&server, inserts.to_vec());
    let related: Vec<receipts::RelatedRow> =
        rows(&server, receipts::select_related(event_id!("$reaction")));
    let found: Vec<_> =
        related.iter().map(|row| (row.event_id.as_str(), row.relation_type.as_deref())).collect();
    let expected =
        [("$reaction", Some("m.annotation")), ("$reply", Some("m.thread")), ("$root", None)];
    assert_eq!(found, expected);
}

#[test]
fn typing_takes_a_position_when_it_begins_ends_or_expires_and_not_when_it_goes_on() {
    let server = server();
    let start = position(&server, "typing");
    let typing_now = |from: i64, now_ms: u64| {
        rows::<typing::RoomTyping>(&server, typing::updated_since(alice(), from, now_ms))
    };
    batch(&server, typing::start(room(), bob(), NOW_MS, NOW_MS + 30_000));
    batch(&server, typing::start(room(), bob(), NOW_MS + 1, NOW_MS + 40_000));
    assert_eq!(position(&server, "typing"), start + 1);
    assert_eq!(typing_now(start, NOW_MS + 30_000)[0].user_ids, [bob()]);
    let next: Vec<typing::ExpiryRow> = rows(&server, typing::select_next_expiry(alice()));
    assert_eq!(next[0].expires_ts, Some(NOW_MS + 40_000));

    assert!(batch(&server, typing::expire(NOW_MS + 39_999))[1].rows_json.eq("[]"));
    let expired: Vec<typing::ExpiredRow> =
        batch(&server, typing::expire(NOW_MS + 40_000))[1].rows().unwrap();
    assert_eq!(expired[0].room_id, room());
    assert_eq!(position(&server, "typing"), start + 2);
    assert!(typing_now(start + 1, NOW_MS + 40_000)[0].user_ids.is_empty());

    batch(&server, typing::stop(room(), bob(), NOW_MS + 50_000));
    assert_eq!(position(&server, "typing"), start + 2, "who does not type cannot stop");
    batch(&server, typing::expire(NOW_MS + 40_000 + 600_001));
    assert!(server.rows("SELECT * FROM myelin_typing").is_empty());
}

#[test]
fn presence_is_seen_by_those_who_share_a_room() {
    let server = server();
    let carol = user_id!("@carol:example.org");
    let member = Statement::new(
        "INSERT INTO current_state_events (event_id, room_id, type, state_key, membership)
         VALUES ('$join', ?1, 'm.room.member', ?2, 'join')",
    );
    batch(&server, vec![member.bind(room().as_str()).bind(bob().as_str())]);
    let set = |state: PresenceState, message: Option<&str>, now_ms: u64| {
        let note = presence::note_device(bob(), "DEVICE", &state, now_ms, now_ms);
        batch(&server, vec![note]);
        batch(&server, presence::settle(bob(), StatusMessage::Set(message), now_ms));
    };
    set(PresenceState::Online, Some("here"), NOW_MS);
    set(PresenceState::Unavailable, None, NOW_MS + 1);
    let seen = |user_id: &UserId| {
        rows::<presence::PresenceRow>(&server, presence::updated_since(user_id, 0, NOW))
    };
    assert_eq!(seen(alice()).len(), 1);
    assert_eq!(seen(bob())[0].state, PresenceState::Unavailable);
    assert!(seen(carol).is_empty());

    let before = position(&server, "presence_stream");
    batch(&server, presence::expire(NOW_MS + 1 + OFFLINE_MS));
    assert_eq!(position(&server, "presence_stream"), before);
    let gone: Vec<presence::ObserverRow> =
        batch(&server, presence::expire(NOW_MS + 2 + OFFLINE_MS))[1].rows().unwrap();
    assert_eq!(gone[0].user_id, bob());
    assert_eq!(seen(alice())[0].state, PresenceState::Offline);
}

#[test]
fn the_same_filter_has_one_number_and_each_user_counts_from_zero() {
    let server = server();
    let insert = |user_id: &UserId, filter: &str| {
        let results = batch(&server, user_filters::insert(user_id, filter).to_vec());
        results[1].first::<user_filters::FilterIdRow>().unwrap().unwrap().filter_id
    };
    let numbers = [
        insert(alice(), "{}"),
        insert(alice(), r#"{"room":{}}"#),
        insert(alice(), "{}"),
        insert(bob(), r#"{"room":{}}"#),
    ];
    assert_eq!(numbers, [0, 1, 0, 0]);
    let stored: Vec<user_filters::FilterRow> = rows(&server, user_filters::select(alice(), 1));
    assert_eq!(stored[0].filter_json, r#"{"room":{}}"#);
}
