//! The single writer of a room: groups, failures, races.

use std::collections::HashSet;

use crate::support::{Account, Failure, Server};
use futures_util::future::join_all;
use myelin::durable::room::Room;
use myelin::durable::{NewEvent, RoomCommand, RoomReply, SendEvent, TransactionKey};
use ruma::OwnedRoomId;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

/// What is in every batch that commits an event, and in no other.
const COMMIT: &str = "INSERT INTO event_edges";

fn room(server: &Server, account: &Account) -> OwnedRoomId {
    let options = json!({"preset": "public_chat"});
    let body = server.post(account, "/_matrix/client/v3/createRoom", options).ok();
    body["room_id"].as_str().unwrap().try_into().unwrap()
}

fn path(room_id: &OwnedRoomId, txn_id: &str) -> String {
    format!("/_matrix/client/v3/rooms/{room_id}/send/m.room.message/{txn_id}")
}

fn text(body: &str) -> Value {
    json!({"msgtype": "m.text", "body": body})
}

fn count_messages(server: &Server) -> Value {
    server.rows("SELECT count(*) AS n FROM events WHERE type = 'm.room.message'")[0]["n"].clone()
}

fn command(account: &Account, txn_id: &str) -> RoomCommand {
    RoomCommand::Send(SendEvent {
        event: NewEvent {
            sender: account.user_id.as_str().try_into().unwrap(),
            event_type: "m.room.message".to_owned(),
            state_key: None,
            content: to_raw_value(&text(txn_id)).unwrap(),
            redacts: None,
        },
        transaction: Some(TransactionKey {
            user_id: account.user_id.as_str().try_into().unwrap(),
            device_id: account.device_id.as_str().into(),
            txn_id: txn_id.to_owned(),
        }),
        origin_server_ts: None,
        push_rules_position: 0,
        presumed: None,
        parent: None,
        delayed: None,
    })
}

#[test]
fn a_commit_that_fails_before_it_lands_is_decided_once_more() {
    let server = Server::new();
    let alice = server.register("alice");
    let room_id = room(&server, &alice);
    server.platform.sqlite.fail_next(COMMIT, Failure::BeforeLanding);
    let sent = server.put(&alice, &path(&room_id, "1"), text("once")).ok();
    assert_eq!(server.platform.sqlite.planned_failures(), 0);
    assert_eq!(count_messages(&server), 1);
    assert_eq!(server.put(&alice, &path(&room_id, "1"), text("once")).ok(), sent);
}

#[test]
fn a_commit_that_landed_without_an_answer_is_found() {
    let server = Server::new();
    let alice = server.register("alice");
    let room_id = room(&server, &alice);
    server.platform.sqlite.fail_next(COMMIT, Failure::AfterLanding);
    let sent = server.put(&alice, &path(&room_id, "1"), text("once")).ok();
    assert_eq!(server.platform.sqlite.planned_failures(), 0);
    assert_eq!(count_messages(&server), 1);
    assert_eq!(server.put(&alice, &path(&room_id, "1"), text("once")).ok(), sent);
    server.put(&alice, &path(&room_id, "2"), text("twice")).ok();
    assert_eq!(count_messages(&server), 2);
}

#[test]
fn a_commit_that_keeps_failing_is_an_error_and_a_retry_makes_one_event() {
    let server = Server::new();
    let alice = server.register("alice");
    let room_id = room(&server, &alice);
    for _ in 0..3 {
        server.platform.sqlite.fail_next(COMMIT, Failure::BeforeLanding);
    }
    server.put(&alice, &path(&room_id, "1"), text("once")).error(500, "M_UNKNOWN");
    assert_eq!(count_messages(&server), 0);
    server.put(&alice, &path(&room_id, "1"), text("once")).ok();
    assert_eq!(count_messages(&server), 1);
}

#[test]
fn equal_requests_at_the_same_moment_make_one_event() {
    let server = Server::new();
    let alice = server.register("alice");
    let room_id = room(&server, &alice);
    let request = || server.request("PUT", &alice, &path(&room_id, "same"), &text("once"));
    let replies = server.run(join_all([request(), request(), request()]));
    let ids: HashSet<String> =
        replies.into_iter().map(|reply| reply.ok()["event_id"].to_string()).collect();
    assert_eq!((ids.len(), count_messages(&server)), (1, json!(1)));
}

#[test]
fn one_bad_event_among_sixteen_takes_no_other_along() {
    let server = Server::new();
    let alice = server.register("alice");
    let room_id = room(&server, &alice);
    let requests = (0..16).map(|index| {
        let body = if index == 7 { json!({"body": "x".repeat(70_000)}) } else { text("good") };
        server.request("PUT", &alice, &path(&room_id, &index.to_string()), &body)
    });
    let replies = server.run(join_all(requests.collect::<Vec<_>>()));
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 15);
    assert_eq!(statuses[7], 413);
    assert_eq!(count_messages(&server), 15);
}

#[test]
fn sixteen_senders_at_once_are_committed_in_few_groups_without_gap_or_double() {
    let server = Server::new();
    let alice = server.register("alice");
    let room_id = room(&server, &alice);
    let users: Vec<Account> = (0..16).map(|i| server.register(&format!("user{i}"))).collect();
    for user in &users {
        let join = format!("/_matrix/client/v3/join/{room_id}");
        server.post(user, &join, json!({})).ok();
    }
    let epoch = "SELECT epoch FROM myelin_room_epochs";
    let before = server.rows(epoch)[0]["epoch"].as_i64().unwrap();
    let requests = users.iter().enumerate().map(|(index, user)| {
        server.request("PUT", user, &path(&room_id, &index.to_string()), &text("hi"))
    });
    let replies = server.run(join_all(requests.collect::<Vec<_>>()));
    assert!(replies.iter().all(|reply| reply.status == 200));
    let commits = server.rows(epoch)[0]["epoch"].as_i64().unwrap() - before;
    assert!(commits <= 3, "16 messages took {commits} commits");
    let rows = server.rows(
        "SELECT count(*) AS n, count(DISTINCT stream_ordering) AS positions,
                count(DISTINCT topological_ordering) AS depths,
                max(stream_ordering) - min(stream_ordering) + 1 AS span
         FROM events WHERE type = 'm.room.message'",
    );
    assert_eq!(rows[0], json!({"n": 16, "positions": 16, "depths": 16, "span": 16}));
    let extremities = server.rows("SELECT count(*) AS n FROM event_forward_extremities");
    assert_eq!(extremities[0]["n"], 1);
}

#[test]
fn two_instances_of_one_room_never_both_commit_from_the_same_state() {
    let server = Server::new();
    let alice = server.register("alice");
    let room_id = room(&server, &alice);
    let instances = [Room::new(room_id.clone()), Room::new(room_id.clone())];
    for round in 0..5 {
        let executions = instances.iter().enumerate().map(|(index, instance)| {
            let (instance, context) = (instance.clone(), server.platform.context());
            let command = command(&alice, &format!("{round}-{index}"));
            async move { instance.execute(&context, command).await }
        });
        let replies = server.run(join_all(executions.collect::<Vec<_>>()));
        for reply in replies {
            assert!(matches!(reply, Ok(RoomReply::Event { .. })), "{reply:?}");
        }
    }
    assert_eq!(count_messages(&server), 10);
    // One line without forks: every message has its own depth, and one is the end.
    let rows = server
        .rows("SELECT count(DISTINCT depth) AS depths FROM events WHERE type = 'm.room.message'");
    assert_eq!(rows[0]["depths"], 10);
    let extremities = server.rows("SELECT count(*) AS n FROM event_forward_extremities");
    assert_eq!(extremities[0]["n"], 1);
}

#[test]
fn commands_cross_to_the_writer_in_this_shape() {
    let server = Server::new();
    let alice = server.register("alice");
    let shape = json!({"send": {
        "event": {
            "sender": "@alice:example.org",
            "type": "m.room.message",
            "content": {"msgtype": "m.text", "body": "1"},
        },
        "transaction": {
            "user_id": "@alice:example.org", "device_id": alice.device_id, "txn_id": "1",
        },
        "push_rules_position": 0,
    }});
    assert_eq!(serde_json::to_value(command(&alice, "1")).unwrap(), shape);
    let reply = RoomReply::Event { event_id: "$a".try_into().unwrap(), stream_ordering: 3 };
    let shape = json!({"event": {"event_id": "$a", "stream_ordering": 3}});
    assert_eq!(serde_json::to_value(reply).unwrap(), shape);
}
