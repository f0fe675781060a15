//! How many rows a message writes: the tables' rows and the entries of their indexes.

use std::collections::{BTreeMap, BTreeSet};

use myelin::storage::schema;
use rusqlite::Connection;

const DOCUMENT: &str = include_str!("../../docs/schema.md");
const MESSAGE_ROWS_MAX: usize = 22;
const SAVED_IN_A_GROUP_MIN: usize = 5;
const NOTIFIED_MEMBER_ROWS_MAX: usize = 3;

const MESSAGE: [(&str, &str); 5] = [
    (
        "INSERT events",
        "INSERT INTO events (stream_ordering, topological_ordering, event_id, type, room_id, \
         processed, outlier, depth, origin_server_ts, received_ts, sender, contains_url, \
         instance_name) SELECT stream_id, 9, '$new', 'm.room.message', '!room', 1, 0, 9, 1, 1, \
         '@a:x', 0, 'master' FROM stream_positions WHERE stream_name = 'events'",
    ),
    (
        "INSERT event_json",
        "INSERT INTO event_json (event_id, room_id, internal_metadata, json, format_version) \
         VALUES ('$new', '!room', '{}', '{}', 3)",
    ),
    (
        "INSERT event_edges",
        "INSERT INTO event_edges (event_id, prev_event_id, is_state) VALUES ('$new', '$old', 0)",
    ),
    (
        "INSERT event_to_state_groups",
        "INSERT INTO event_to_state_groups (event_id, state_group) VALUES ('$new', 4)",
    ),
    (
        "INSERT event_txn_id_device_id",
        "INSERT INTO event_txn_id_device_id (event_id, room_id, user_id, device_id, txn_id, \
         inserted_ts) VALUES ('$new', '!room', '@a:x', 'D', 't', 1)",
    ),
];

const COMMIT: [(&str, &str); 4] = [
    (
        "UPDATE event_forward_extremities",
        "UPDATE event_forward_extremities SET event_id = '$new' \
         WHERE room_id = '!room' AND event_id = '$old'",
    ),
    (
        "UPDATE sliding_sync_joined_rooms",
        "UPDATE sliding_sync_joined_rooms SET event_stream_ordering = 2, bump_stamp = 2 \
         WHERE room_id = '!room'",
    ),
    (
        "UPDATE stream_positions",
        "UPDATE stream_positions SET stream_id = stream_id + 1 \
         WHERE stream_name = 'events' AND instance_name = 'master'",
    ),
    (
        "UPDATE myelin_room_epochs",
        "UPDATE myelin_room_epochs SET epoch = epoch + 1 WHERE room_id = '!room'",
    ),
];

const NOTIFIED_MEMBER: (&str, &str) = (
    "INSERT event_push_actions (a notified member)",
    "INSERT INTO event_push_actions (room_id, event_id, user_id, actions, topological_ordering, \
     stream_ordering, notif, highlight, unread, thread_id) \
     VALUES ('!room', '$new', '@b:x', '', 9, 2, 1, 0, 1, 'main')",
);

fn room() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    for statement in schema::statements() {
        connection.execute_batch(&statement).unwrap();
    }
    let rows = "INSERT INTO event_forward_extremities (event_id, room_id) VALUES ('$old', '!room');
        INSERT INTO sliding_sync_joined_rooms (room_id, event_stream_ordering) VALUES ('!room', 1);
        INSERT INTO myelin_room_epochs (room_id, epoch) VALUES ('!room', 1);";
    connection.execute_batch(rows).unwrap();
    connection
}

/// Runs a statement that writes one row, and counts what it writes: each of the opcodes `Insert`
/// and `IdxInsert` of its program that goes to a table or an index of the database.
fn rows_written(connection: &Connection, sql: &str) -> usize {
    let mut program = connection.prepare(&format!("EXPLAIN {sql}")).unwrap();
    let opcodes = program.query_map([], |row| Ok((row.get("opcode")?, row.get("p1")?)));
    let opcodes: Vec<(String, i64)> = opcodes.unwrap().map(Result::unwrap).collect();
    let writes_to = |opcode: &'static str| opcodes.iter().filter(move |(name, _)| name == opcode);
    let stored: BTreeSet<_> = writes_to("OpenWrite").map(|(_, cursor)| *cursor).collect();
    let inserts = writes_to("Insert").chain(writes_to("IdxInsert"));
    let count = inserts.filter(|(_, cursor)| stored.contains(cursor)).count();
    assert_eq!(connection.execute(sql, []).unwrap(), 1, "{sql}");
    count
}

fn documented() -> BTreeMap<String, usize> {
    let section = DOCUMENT.split("\n## ").find(|text| text.starts_with("What a message writes"));
    let rows = section.unwrap().lines().filter(|line| line.starts_with("| "));
    let cells = |row: &str| {
        let row = row.replace('`', "");
        let (statement, count) = row.trim_matches('|').split_once('|').unwrap();
        (statement.trim().to_owned(), count.trim().parse().unwrap())
    };
    rows.skip(1).map(cells).collect()
}

#[test]
fn a_message_writes_what_the_document_says_and_at_most_its_budget() {
    let connection = room();
    let mut counted = BTreeMap::new();
    let mut sum = |statements: &[(&str, &str)]| -> usize {
        let count = |(name, sql): &(&str, &str)| {
            let rows = rows_written(&connection, sql);
            counted.insert((*name).to_owned(), rows);
            rows
        };
        statements.iter().map(count).sum()
    };
    let (message, commit) = (sum(&MESSAGE), sum(&COMMIT));
    let notified = sum(&[NOTIFIED_MEMBER]);
    println!("{message} for a message, {commit} for a commit, {notified} for a notified member");
    assert_eq!(counted, documented());
    assert_eq!((message, commit), (13, 6));
    assert!(message + commit <= MESSAGE_ROWS_MAX);
    assert!(commit >= SAVED_IN_A_GROUP_MIN);
    assert!(notified <= NOTIFIED_MEMBER_ROWS_MAX);
}

#[test]
fn another_index_would_be_counted() {
    let connection = room();
    let before = rows_written(&connection, MESSAGE[0].1);
    connection.execute_batch("DELETE FROM events; CREATE INDEX more ON events (sender)").unwrap();
    assert_eq!(rows_written(&connection, MESSAGE[0].1), before + 1);
}
