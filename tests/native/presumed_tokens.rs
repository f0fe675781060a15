//! A message is written without looking its sender's token up first: the commit looks. What that
//! saves, and that nothing is written for a token that does not hold any more.

use crate::support::{Account, Reply, Server};
use futures_util::future::join_all;
use serde_json::{Value, json};

struct World {
    server: Server,
    alice: Account,
    bob: Account,
    room_id: String,
}

impl World {
    /// Alice and Bob in a room, in which both have spoken.
    fn new() -> Self {
        let server = Server::new();
        let (alice, bob) = (server.register("alice"), server.register("bob"));
        let options = json!({"preset": "public_chat"});
        let room = server.post(&alice, "/_matrix/client/v3/createRoom", options).ok();
        let room_id = room["room_id"].as_str().unwrap().to_owned();
        server.post(&bob, &format!("/_matrix/client/v3/join/{room_id}"), json!({})).ok();
        let world = Self { server, alice, bob, room_id };
        world.say(&world.alice, "a").ok();
        world.say(&world.bob, "b").ok();
        world
    }

    fn path(&self, txn_id: &str) -> String {
        let room_id = &self.room_id;
        format!("/_matrix/client/v3/rooms/{room_id}/send/m.room.message/{txn_id}")
    }

    fn say(&self, who: &Account, txn_id: &str) -> Reply {
        self.server.put(who, &self.path(txn_id), text(txn_id))
    }

    /// The batches of a message, and how often the room was asked.
    fn cost(&self, who: &Account, txn_id: &str) -> (u64, u64) {
        let before = self.server.platform.sqlite.batches();
        let reply = self.say(who, txn_id);
        assert_eq!(reply.status, 200, "{}", reply.body);
        (self.server.platform.sqlite.batches() - before, reply.cost.hops.get())
    }

    /// What has been said since everybody had spoken.
    fn said(&self) -> Vec<Value> {
        let rows = self.server.rows(
            "SELECT json ->> 'content' ->> 'body' AS body FROM event_json JOIN events
             USING (event_id) WHERE type = 'm.room.message' ORDER BY stream_ordering",
        );
        rows.into_iter().skip(2).map(|mut row| row["body"].take()).collect()
    }
}

fn text(body: &str) -> Value {
    json!({"msgtype": "m.text", "body": body})
}

#[test]
fn a_message_is_one_round_trip_once_the_token_is_known() {
    let world = World::new();
    assert_eq!(world.cost(&world.alice, "second"), (1, 1));
    let again = [(); 2].map(|()| world.say(&world.alice, "second").ok());
    assert_eq!(again[0], again[1], "the same transaction is the same event");
    assert_eq!(world.said(), ["second"]);
    world.server.platform.restart();
    assert!(world.cost(&world.alice, "third").0 > 1, "a new isolate looks");
    assert_eq!(world.cost(&world.alice, "fourth"), (1, 1));
}

#[test]
fn nothing_is_written_for_a_token_that_does_not_hold_any_more() {
    let ends = [
        ("UPDATE users SET suspended = 1 WHERE name = '@alice:example.org'", 403),
        ("UPDATE users SET locked = 1 WHERE name = '@alice:example.org'", 401),
        ("UPDATE users SET deactivated = 1 WHERE name = '@alice:example.org'", 403),
        ("UPDATE access_tokens SET valid_until_ms = 1", 401),
        ("DELETE FROM access_tokens", 401),
        ("UPDATE access_tokens SET token = token || 'x'", 401),
    ];
    for (sql, status) in ends {
        let world = World::new();
        world.server.rows(sql);
        let reply = world.say(&world.alice, "late");
        assert_eq!(reply.status, status, "{sql}: {}", reply.body);
        assert!(world.said().is_empty(), "{sql}");
    }
}

#[test]
fn a_token_that_is_somebody_elses_now_does_not_speak_for_its_last_owner() {
    let world = World::new();
    world.server.rows(
        "UPDATE access_tokens SET user_id = '@bob:example.org', device_id = (
             SELECT device_id FROM access_tokens WHERE user_id = '@bob:example.org')
         WHERE user_id = '@alice:example.org'",
    );
    world.say(&world.alice, "whose").ok();
    let sender = "SELECT sender FROM events ORDER BY stream_ordering DESC LIMIT 1";
    assert_eq!(world.server.rows(sender), [json!({"sender": "@bob:example.org"})]);
}

#[test]
fn a_log_out_takes_nothing_from_who_writes_at_the_same_time() {
    let world = World::new();
    let other = world.server.login("alice");
    world.say(&other, "other").ok();
    world.server.rows(
        "DELETE FROM access_tokens WHERE device_id <> (
        SELECT device_id FROM access_tokens WHERE user_id = '@bob:example.org')",
    );
    let (alice, bob) = (&world.alice, &world.bob);
    let requests = [(alice, "1"), (bob, "2"), (&other, "3"), (bob, "4")]
        .map(|(who, txn_id)| world.server.request("PUT", who, &world.path(txn_id), &text(txn_id)));
    let replies = world.server.run(join_all(requests));
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [401, 200, 401, 200]);
    assert_eq!(world.said(), ["other", "2", "4"]);
    // One line without forks, and the writer goes on from its end.
    assert_eq!(world.cost(bob, "5"), (1, 1));
    let depths = "SELECT count(*) = count(DISTINCT depth) AS is_line FROM events";
    assert_eq!(world.server.rows(depths), [json!({"is_line": 1})]);
    let ends = "SELECT count(*) AS n FROM event_forward_extremities";
    assert_eq!(world.server.rows(ends), [json!({"n": 1})]);
}

#[test]
fn what_a_message_notifies_follows_the_latest_rules() {
    let world = World::new();
    let rule = format!("/_matrix/client/v3/pushrules/global/room/{}", world.room_id);
    let notified = || world.server.rows("SELECT user_id FROM event_push_actions").len();
    let before = notified();
    world.server.put(&world.bob, &rule, json!({"actions": []})).ok();
    // In vain, then the Worker looks, the room reads the rules, and writes.
    assert_eq!(world.cost(&world.alice, "unheard"), (4, 2));
    assert_eq!(world.cost(&world.alice, "unheard-too"), (1, 1));
    assert_eq!(notified(), before);
    world.server.delete(&world.bob, &rule, json!({})).ok();
    world.say(&world.alice, "heard").ok();
    assert_eq!(notified(), before + 1);
}

#[test]
fn a_transaction_is_found_in_the_log_where_the_writer_has_forgotten_it() {
    let world = World::new();
    let sent = world.say(&world.alice, "once").ok();
    world.server.platform.forget_rooms();
    assert_eq!(world.say(&world.alice, "once").ok(), sent);
    let requests = [(); 2]
        .map(|()| world.server.request("PUT", &world.alice, &world.path("twice"), &text("twice")));
    let replies = world.server.run(join_all(requests));
    assert_eq!(replies[0].body, replies[1].body);
    assert_eq!(world.said(), ["once", "twice"]);
}

#[test]
fn what_is_refused_is_refused_for_the_same_reason() {
    let world = World::new();
    let ban = format!("/_matrix/client/v3/rooms/{}/ban", world.room_id);
    world.server.post(&world.alice, &ban, json!({"user_id": world.bob.user_id})).ok();
    world.say(&world.bob, "banned").error(403, "M_FORBIDDEN");
    let path = "/_matrix/client/v3/rooms/!none:example.org/send/m.room.message/1";
    world.server.put(&world.alice, path, text("nowhere")).error(404, "M_NOT_FOUND");
    world.server.rows("DELETE FROM access_tokens");
    world.say(&world.bob, "gone").error(401, "M_UNKNOWN_TOKEN");
    assert!(world.said().is_empty());
}

#[test]
fn what_is_taken_back_does_not_count_against_the_limit() {
    let server = Server::with(&[("RATE_LIMITS", "on")]);
    let alice = server.register("alice");
    let room = server.post(&alice, "/_matrix/client/v3/createRoom", json!({})).ok();
    let room_id = room["room_id"].as_str().unwrap();
    let send = |n: usize| {
        // Alice is a member whose rules have changed each time.
        let rule = format!("/_matrix/client/v3/pushrules/global/room/!{n}:example.org");
        server.put(&alice, &rule, json!({"actions": []})).ok();
        let path = format!("/_matrix/client/v3/rooms/{room_id}/send/m.room.message/{n}");
        server.put(&alice, &path, text("hi"))
    };
    for n in 0..10 {
        send(n).ok();
    }
    send(10).error(429, "M_LIMIT_EXCEEDED");
}

#[test]
fn a_token_that_was_presumed_in_vain_is_not_presumed_again() {
    let world = World::new();
    world.server.rows("UPDATE users SET locked = 1 WHERE name = '@alice:example.org'");
    assert_eq!(world.say(&world.alice, "first").cost.hops.get(), 1);
    let again = world.say(&world.alice, "second");
    assert_eq!((again.status, again.cost.hops.get()), (401, 0));
    world.server.rows("UPDATE users SET locked = 0");
    world.say(&world.alice, "third").ok();
    assert_eq!(world.cost(&world.alice, "fourth"), (1, 1));
}

#[test]
fn who_is_refused_leaves_no_trace_of_where_they_are() {
    let world = World::new();
    world.server.platform.advance(600_000);
    world.server.rows("UPDATE users SET locked = 1 WHERE name = '@alice:example.org'");
    let seen = "SELECT max(last_seen) AS at FROM devices WHERE user_id = '@alice:example.org'";
    let before = world.server.rows(seen);
    assert_eq!(world.say(&world.alice, "late").status, 401);
    assert_eq!(world.server.rows(seen), before);
    world.server.rows("UPDATE users SET locked = 0");
    world.say(&world.alice, "there").ok();
    world.server.platform.advance(600_000);
    let before = world.server.rows(seen);
    assert_eq!(world.say(&world.alice, "and-again").cost.hops.get(), 1);
    assert_ne!(world.server.rows(seen), before, "who is presumed rightly is seen");
}

#[test]
fn rules_of_others_than_members_do_not_matter() {
    let world = World::new();
    let carol = world.server.register("carol");
    for n in 0..3 {
        let rule = format!("/_matrix/client/v3/pushrules/global/room/!{n}:example.org");
        world.server.put(&carol, &rule, json!({"actions": []})).ok();
        assert_eq!(world.cost(&world.alice, &n.to_string()), (1, 1));
    }
}

#[test]
fn one_token_that_does_not_hold_costs_the_others_one_commit() {
    let world = World::new();
    let users: Vec<Account> = (0..12).map(|n| world.server.register(&format!("user{n}"))).collect();
    let join = format!("/_matrix/client/v3/join/{}", world.room_id);
    for user in &users {
        world.server.post(user, &join, json!({})).ok();
    }
    world.server.rows("UPDATE users SET locked = 1 WHERE name = '@alice:example.org'");
    let epoch = || world.server.rows("SELECT epoch FROM myelin_room_epochs")[0]["epoch"].as_i64();
    let before = epoch().unwrap();
    let path = |n: usize| world.path(&format!("at-once-{n}"));
    let state = format!("/_matrix/client/v3/rooms/{}/send/m.room.message", world.room_id);
    // Those who send without a transaction id presume nothing, and are in one group with Alice.
    let mut requests = vec![world.server.request("PUT", &world.alice, &path(99), &text("no"))];
    let others = users.iter().map(|user| world.server.request("POST", user, &state, &text("hi")));
    requests.extend(others);
    let replies = world.server.run(join_all(requests));
    let refused = replies.iter().filter(|reply| reply.status != 200).count();
    assert_eq!((refused, world.said().len()), (1, 12));
    assert!(epoch().unwrap() - before <= 3, "{} commits", epoch().unwrap() - before);
}
