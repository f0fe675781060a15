//! Events that are sent later, unless somebody prevents it.

use crate::support::platform::give_way;
use crate::support::{Account, Failure, PASSWORD, Reply, Server};
use futures_util::future::join;
use myelin::context::Platform;
use myelin::storage::database::Statement;
use serde_json::{Value, json};

const LIST: &str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events";
const CALL_MEMBER: &str = "org.matrix.msc3401.call.member";

/// What is in every batch that commits an event, and in no other.
const COMMIT: &str = "INSERT INTO event_edges";

struct House {
    server: Server,
    alice: Account,
    bob: Account,
    room_id: String,
}

impl House {
    fn new() -> Self {
        Self::with(&[])
    }

    /// Alice's room, in which Bob is too and everyone may say that they are in a call.
    fn with(variables: &[(&str, &str)]) -> Self {
        let server = Server::with(variables);
        let (alice, bob) = (server.register("alice"), server.register("bob"));
        let levels = json!({ "events": { CALL_MEMBER: 0, "m.room.topic": 0 } });
        let options = json!({ "preset": "public_chat", "power_level_content_override": levels });
        let room = server.post(&alice, "/_matrix/client/v3/createRoom", options).ok();
        let room_id = room["room_id"].as_str().unwrap().to_owned();
        server.post(&bob, &format!("/_matrix/client/v3/join/{room_id}"), json!({})).ok();
        Self { server, alice, bob, room_id }
    }

    fn path(&self, rest: &str) -> String {
        format!("/_matrix/client/v3/rooms/{}/{rest}", self.room_id)
    }

    fn delay_message(&self, account: &Account, txn_id: &str, delay_ms: u64) -> Reply {
        let rest = format!("send/m.room.message/{txn_id}?org.matrix.msc4140.delay={delay_ms}");
        self.server.put(account, &self.path(&rest), json!({ "msgtype": "m.text", "body": txn_id }))
    }

    fn delay_state(&self, account: &Account, key: &str, content: Value, delay_ms: u64) -> String {
        let rest = format!("state/{CALL_MEMBER}/{key}?org.matrix.msc4140.delay={delay_ms}");
        delay_id(self.server.put(account, &self.path(&rest), content))
    }

    fn set_state(&self, account: &Account, key: &str, content: Value) {
        let path = self.path(&format!("state/{CALL_MEMBER}/{key}"));
        self.server.put(account, &path, content).ok();
    }

    fn state(&self, key: &str) -> Value {
        let path = self.path(&format!("state/{CALL_MEMBER}/{key}"));
        self.server.get(&self.alice, &path).body
    }

    fn act(&self, token: impl AsRef<str>, delay_id: &str, action: &str) -> Reply {
        self.server.post(token, &format!("{LIST}/{delay_id}/{action}"), json!({}))
    }

    fn scheduled(&self, account: &Account) -> Vec<Value> {
        self.server.get(account, LIST).ok()["delayed_events"].as_array().unwrap().clone()
    }

    /// Time goes by, and whatever is due happens.
    fn pass(&self, duration_ms: u64) {
        self.server.platform.advance(duration_ms);
        self.server.run(async {});
    }

    fn ring(&self) {
        let (platform, room_id) = (self.server.platform.clone(), self.room_id.clone());
        self.server.run(async move { platform.ring(&room_id).await });
    }

    fn messages(&self, reader: &Account) -> Vec<Value> {
        let page = self.server.get(reader, &self.path("messages?dir=b&limit=100")).ok();
        let events = page["chunk"].as_array().unwrap().iter();
        events.filter(|event| event["type"] == "m.room.message").cloned().collect()
    }

    fn write(&self, statement: Statement) {
        self.server.platform.sqlite.batch(&[statement]).unwrap();
    }

    /// Locks or suspends somebody.
    fn set_user(&self, account: &Account, measure: &str) {
        let sql = format!("UPDATE users SET {measure} = 1 WHERE name = ?1");
        self.write(Statement::new(sql).bind(account.user_id.as_str()));
    }

    /// How many events are scheduled.
    fn count(&self) -> u64 {
        self.server.rows("SELECT count(*) AS n FROM delayed_events")[0]["n"].as_u64().unwrap()
    }

    fn sent(&self) -> usize {
        self.messages(&self.alice).len()
    }
}

fn delay_id(reply: Reply) -> String {
    reply.ok()["delay_id"].as_str().unwrap().to_owned()
}

#[test]
fn an_event_is_sent_when_its_time_has_come_and_not_before() {
    let house = House::new();
    let start_ms = house.server.platform.now_ms();
    let later = delay_id(house.delay_message(&house.bob, "1", 9_000));
    let state = house.delay_state(&house.bob, "_@bob:example.org_D", json!({}), 5_000);
    assert!(later.starts_with("syd_") && later != state);
    let first = json!({
        "delay_id": state, "room_id": house.room_id, "type": CALL_MEMBER,
        "state_key": "_@bob:example.org_D", "delay": 5000, "delay_ms": 5000,
        "running_since": start_ms, "delayed_since_ts": start_ms, "content": {},
    });
    let listed = house.scheduled(&house.bob);
    assert_eq!((&listed[0], &listed[1]["delay_id"]), (&first, &json!(later)));
    assert_eq!(listed[1].get("state_key"), None);
    assert_eq!(house.server.get(&house.bob, &format!("{LIST}/{state}")).ok(), first);
    assert!(house.scheduled(&house.alice).is_empty());
    house.server.get(&house.alice, &format!("{LIST}/{state}")).error(404, "M_NOT_FOUND");

    house.pass(4_999);
    assert_eq!(house.state("_@bob:example.org_D")["errcode"], "M_NOT_FOUND");
    house.pass(1);
    assert_eq!(house.state("_@bob:example.org_D"), json!({}));
    assert_eq!((house.scheduled(&house.bob).len(), house.sent()), (1, 0));
    house.pass(60_000);
    let sent = house.messages(&house.bob);
    assert_eq!((sent.len(), &sent[0]["sender"]), (1, &json!("@bob:example.org")));
    assert_eq!(sent[0]["origin_server_ts"], start_ms + 9_000);
    assert_eq!(sent[0]["unsigned"]["org.matrix.msc4140.delay_id"], later);
    let seen = &house.messages(&house.alice)[0]["unsigned"];
    assert_eq!(seen.get("org.matrix.msc4140.delay_id"), None);
    assert!(house.scheduled(&house.bob).is_empty());
}

#[test]
fn an_event_that_is_restarted_is_sent_later_and_a_restart_costs_one_row() {
    let house = House::new();
    let id = delay_id(house.delay_message(&house.alice, "1", 10_000));
    let alarms = house.server.platform.alarms_set.get();
    for _ in 0..3 {
        house.pass(6_000);
        let alarms = house.server.platform.alarms_set.get();
        let reply = house.act(&house.alice, &id, "restart");
        let cost = &reply.cost;
        let cost = (cost.round_trips.get(), cost.rows_written.get(), cost.hops.get());
        assert_eq!((cost, house.server.platform.alarms_set.get()), ((1, 1, 0), alarms));
        assert_eq!(reply.ok(), json!({}));
        assert_eq!(house.sent(), 0);
    }
    // It rang twice in the meantime, in vain, and was set anew.
    assert_eq!(house.server.platform.alarms_set.get(), alarms + 2);
    house.pass(9_999);
    assert_eq!(house.sent(), 0);
    house.pass(1);
    assert_eq!(house.sent(), 1);
    house.act(&house.alice, &id, "restart").error(404, "M_NOT_FOUND");
}

#[test]
fn who_knows_the_id_can_cancel_in_either_form() {
    let house = House::new();
    let ids = ["1", "2", "3"].map(|txn| delay_id(house.delay_message(&house.alice, txn, 5_000)));
    house.act(&house.alice, &ids[0], "cancel").ok();
    let body = json!({ "action": "cancel" });
    house.server.post("", &format!("{LIST}/{}", ids[1]), body).ok();
    house.act("nobody's token", &ids[2], "cancel").error(401, "M_UNKNOWN_TOKEN");
    for token in ["", house.alice.token.as_str()] {
        house.act(token, &ids[0], "cancel").error(404, "M_NOT_FOUND");
        house.act(token, &ids[2], "postpone").error(404, "M_UNRECOGNIZED");
    }
    let path = format!("{LIST}/{}", ids[2]);
    house.server.post("", &path, json!({})).error(400, "M_MISSING_PARAM");
    house.server.post("", &path, json!({ "action": "postpone" })).error(400, "M_INVALID_PARAM");
    house.server.get("", LIST).error(401, "M_MISSING_TOKEN");
    house.pass(5_000);
    assert_eq!(house.messages(&house.alice)[0]["content"]["body"], "3");
    assert_eq!(house.sent(), 1);
}

#[test]
fn an_event_can_be_sent_at_once_and_stays_scheduled_if_that_fails() {
    let house = House::new();
    let state = house.delay_state(&house.bob, "call", json!({ "left": true }), 60_000);
    house.act("", &state, "send").ok();
    assert_eq!(house.state("call"), json!({ "left": true }));
    house.act("", &state, "send").error(404, "M_NOT_FOUND");

    let id = delay_id(house.delay_message(&house.bob, "1", 60_000));
    let now_ms = house.server.platform.now_ms();
    house.server.post(&house.bob, &house.path("leave"), json!({})).ok();
    house.act(&house.bob, &id, "send").error(403, "M_FORBIDDEN");
    assert_eq!(house.scheduled(&house.bob).len(), 1);
    house.server.post(&house.bob, &house.path("join"), json!({})).ok();
    house.act(&house.bob, &id, "send").ok();
    assert_eq!(house.messages(&house.bob)[0]["origin_server_ts"], now_ms);
    house.pass(60_000);
    assert_eq!(house.sent(), 1);
}

#[test]
fn an_event_outlives_a_restart_and_lost_or_repeated_alarms() {
    let house = House::new();
    house.delay_message(&house.alice, "1", 5_000).ok();
    house.server.platform.restart();
    house.pass(5_000);
    assert_eq!(house.sent(), 1);

    house.delay_message(&house.alice, "2", 5_000).ok();
    house.server.platform.restart();
    house.server.platform.forget_alarms();
    house.ring();
    house.pass(5_000);
    assert_eq!(house.sent(), 2, "an alarm that rings early sets another");
    house.ring();
    assert_eq!(house.sent(), 2);

    house.delay_message(&house.alice, "3", 5_000).ok();
    house.server.platform.forget_alarms();
    let context = house.server.platform.context();
    house.pass(64_000);
    house.server.run(async move { myelin::sweep::run(&context).await });
    assert_eq!(house.sent(), 2, "an alarm may be late for a minute");
    let context = house.server.platform.context();
    house.pass(2_000);
    house.server.run(async move { myelin::sweep::run(&context).await });
    assert_eq!(house.sent(), 3, "the sweep makes up for a lost alarm");
}

#[test]
fn an_event_is_sent_once_whatever_becomes_of_the_commit() {
    let house = House::new();
    for (index, failure) in [Failure::BeforeLanding, Failure::AfterLanding].into_iter().enumerate()
    {
        house.delay_message(&house.alice, &index.to_string(), 5_000).ok();
        house.server.platform.sqlite.fail_next(COMMIT, failure);
        house.pass(5_000);
        assert_eq!((house.sent(), house.scheduled(&house.alice).len()), (index + 1, 0));
    }
    house.delay_message(&house.alice, "again", 5_000).ok();
    for _ in 0..3 {
        house.server.platform.sqlite.fail_next(COMMIT, Failure::BeforeLanding);
    }
    house.pass(5_000);
    assert_eq!((house.sent(), house.scheduled(&house.alice).len()), (2, 1));
    house.pass(1_000);
    assert_eq!((house.sent(), house.scheduled(&house.alice).len()), (3, 0));

    // The look itself fails, again and again.
    house.delay_message(&house.alice, "late", 5_000).ok();
    for _ in 0..3 {
        house.server.platform.sqlite.fail_next("FROM delayed_events d", Failure::BeforeLanding);
    }
    for (duration_ms, sent) in [(5_000, 3), (1_000, 3), (2_000, 3), (3_999, 3), (1, 4)] {
        house.pass(duration_ms);
        assert_eq!(house.sent(), sent);
    }
}

#[test]
fn two_alarms_at_once_send_once() {
    let house = House::new();
    house.delay_message(&house.alice, "1", 5_000).ok();
    house.server.platform.forget_alarms();
    house.pass(5_000);
    let (platform, room_id) = (house.server.platform.clone(), house.room_id.clone());
    house.server.run(async move {
        join(platform.ring(&room_id), platform.ring(&room_id)).await;
    });
    assert_eq!(house.sent(), 1);
}

#[test]
fn at_any_moment_an_event_is_either_cancelled_or_sent() {
    let (mut cancelled, mut sent) = (0, 0);
    for steps in 0..12 {
        for action in ["cancel", "restart"] {
            let house = House::new();
            let id = delay_id(house.delay_message(&house.alice, "1", 5_000));
            house.server.platform.forget_alarms();
            house.pass(5_000);
            let (platform, room_id) = (house.server.platform.clone(), house.room_id.clone());
            let path = format!("{LIST}/{id}/{action}");
            let request = house.server.request("POST", &house.alice, &path, &json!({}));
            let reply = house.server.run(async move {
                let acting = async {
                    for _ in 0..steps {
                        give_way().await;
                    }
                    request.await
                };
                join(platform.ring(&room_id), acting).await.1
            });
            let was_sent = house.sent() == 1;
            assert_eq!(reply.status, if was_sent { 404 } else { 200 }, "{action} after {steps}");
            let stays = action == "restart" && !was_sent;
            assert_eq!(house.scheduled(&house.alice).len(), usize::from(stays));
            if was_sent {
                sent += 1
            } else {
                cancelled += 1
            }
            house.pass(5_000);
            assert_eq!(house.sent(), usize::from(was_sent || stays));
        }
    }
    assert!(cancelled > 0 && sent > 0, "{cancelled} {sent}");
}

#[test]
fn a_repeated_request_schedules_one_event() {
    let house = House::new();
    let path = house.path("send/m.room.message/1?org.matrix.msc4140.delay=5000");
    let body = json!({ "msgtype": "m.text", "body": "once" });
    let request = || house.server.request("PUT", &house.alice, &path, &body);
    let (one, other) = house.server.run(join(request(), request()));
    let id = delay_id(one);
    assert_eq!((delay_id(other), house.scheduled(&house.alice).len()), (id.clone(), 1));
    house.server.platform.sqlite.fail_next("INTO delayed_events", Failure::AfterLanding);
    delay_id(house.delay_message(&house.alice, "2", 6_000));
    assert_eq!(house.scheduled(&house.alice).len(), 2);
    house.pass(5_000);
    house.server.platform.restart();
    assert_eq!(delay_id(house.server.put(&house.alice, &path, body)), id);
    assert_eq!((house.scheduled(&house.alice).len(), house.sent()), (1, 1));
    let other_device = house.server.login("alice");
    assert_ne!(delay_id(house.delay_message(&other_device, "1", 5_000)), id);
}

#[test]
fn the_newer_endpoint_takes_everything_in_its_body() {
    let house = House::new();
    let prefix = "/_matrix/client/unstable/org.matrix.msc4140/rooms";
    let path = format!("{prefix}/{}/delayed_event/{CALL_MEMBER}/1", house.room_id);
    let body = json!({ "delay_ms": 5000, "state_key": "call", "content": { "left": true } });
    let id = delay_id(house.server.put(&house.bob, &path, body.clone()));
    assert_eq!(delay_id(house.server.put(&house.bob, &path, body)), id);
    let none = json!({ "delay_ms": 0, "content": {} });
    house.server.put(&house.bob, &path, none).error(400, "M_INVALID_PARAM");
    house.server.put(&house.bob, &path, json!({ "content": {} })).error(400, "M_MISSING_PARAM");
    house.pass(5_000);
    assert_eq!(house.state("call"), json!({ "left": true }));
}

#[test]
fn limits_are_told() {
    let max = [("EVENT_DELAY_MAX_MS", "10000"), ("DELAYED_EVENTS_MAX", "2")];
    let house = House::with(&max);
    let error = house.delay_message(&house.alice, "1", 10_001).error(400, "M_UNKNOWN");
    assert_eq!(error["org.matrix.msc4140.errcode"], "M_MAX_DELAY_EXCEEDED");
    assert_eq!(error["org.matrix.msc4140.max_delay"], 10_000);
    for wrong in ["0", "-5", "soon", "1.5"] {
        let rest = format!("send/m.room.message/1?org.matrix.msc4140.delay={wrong}");
        house.server.put(&house.alice, &house.path(&rest), json!({})).error(400, "M_INVALID_PARAM");
    }
    house.delay_message(&house.alice, "1", 10_000).ok();
    house.delay_message(&house.alice, "2", 5_000).ok();
    house.delay_message(&house.bob, "1", 5_000).ok();
    house.pass(500);
    let refused = house.delay_message(&house.alice, "3", 1_000);
    assert_eq!(refused.headers["retry-after"], "5");
    assert_eq!(refused.error(429, "M_LIMIT_EXCEEDED")["retry_after_ms"], 4_500);
    house.delay_message(&house.alice, "2", 5_000).ok();
    house.pass(4_500);
    house.delay_message(&house.alice, "3", 1_000).ok();

    let path = "/_matrix/client/v3/capabilities";
    let capabilities = house.server.get(&house.alice, path).ok()["capabilities"].clone();
    let limits = json!({ "max_delay_ms": 10_000, "max_scheduled": 2 });
    assert_eq!(capabilities["org.matrix.msc4140.delayed_events"], limits);
    for off in ["EVENT_DELAY_MAX_MS", "DELAYED_EVENTS_MAX"] {
        let house = House::with(&[(off, "0")]);
        house.delay_message(&house.alice, "1", 1_000).error(403, "M_FORBIDDEN");
        let versions = house.server.get("", "/_matrix/client/versions").ok();
        assert_eq!(versions["unstable_features"].get("org.matrix.msc4140"), None);
    }
}

#[test]
fn what_is_no_event_is_not_scheduled() {
    let house = House::new();
    let put = |rest: &str, body: Value| house.server.put(&house.alice, &house.path(rest), body);
    let delay = "org.matrix.msc4140.delay=5000";
    put(&format!("send/m.room.message/1?{delay}"), json!([])).error(400, "M_BAD_JSON");
    let large = json!({ "body": "x".repeat(70_000) });
    put(&format!("send/m.room.message/2?{delay}"), large).error(413, "M_TOO_LARGE");
    let long = "x".repeat(256);
    put(&format!("state/{long}/?{delay}"), json!({})).error(413, "M_TOO_LARGE");
    let membership = format!("state/m.room.member/@bob:example.org?{delay}");
    put(&membership, json!({ "membership": "gone" })).error(400, "M_BAD_JSON");
    let alias = json!({ "alias": "#nobodys:example.org" });
    put(&format!("state/m.room.canonical_alias/?{delay}"), alias).error(400, "M_BAD_ALIAS");
    let path = format!("/_matrix/client/v3/rooms/!none:example.org/send/a/1?{delay}");
    house.server.put(&house.alice, &path, json!({})).error(404, "M_NOT_FOUND");
    house.server.put("", &path, json!({})).error(401, "M_MISSING_TOKEN");
    assert!(house.scheduled(&house.alice).is_empty());
}

#[test]
fn whether_somebody_may_send_is_judged_when_it_is_sent() {
    let house = House::new();
    house.delay_message(&house.bob, "1", 5_000).ok();
    house.delay_message(&house.alice, "2", 5_000).ok();
    let kick = json!({ "user_id": house.bob.user_id });
    house.server.post(&house.alice, &house.path("kick"), kick).ok();
    house.pass(5_000);
    assert_eq!(house.messages(&house.alice)[0]["content"]["body"], "2");
    assert_eq!((house.sent(), house.scheduled(&house.bob).len()), (1, 0));
    // And the other way round.
    house.delay_message(&house.bob, "3", 5_000).ok();
    house.server.post(&house.bob, &house.path("join"), json!({})).ok();
    house.pass(5_000);
    assert_eq!(house.sent(), 2);
}

#[test]
fn new_state_of_another_user_cancels_and_own_does_not() {
    let house = House::new();
    let key = "call";
    let id = house.delay_state(&house.bob, key, json!({ "by": "delay" }), 5_000);
    house.delay_state(&house.bob, "other", json!({ "by": "delay" }), 5_000);
    house.set_state(&house.bob, key, json!({ "by": "bob" }));
    assert_eq!(house.scheduled(&house.bob).len(), 2);
    house.set_state(&house.alice, key, json!({ "by": "alice" }));
    assert_eq!(house.scheduled(&house.bob).len(), 1);
    house.act(&house.bob, &id, "restart").error(404, "M_NOT_FOUND");
    house.pass(5_000);
    assert_eq!(house.state(key), json!({ "by": "alice" }));
    assert_eq!(house.state("other"), json!({ "by": "delay" }));
}

#[test]
fn of_two_users_who_set_the_same_state_the_first_cancels_the_other() {
    let house = House::new();
    house.delay_state(&house.bob, "call", json!({ "by": "bob" }), 4_000);
    house.delay_state(&house.bob, "call", json!({ "by": "bob again" }), 5_000);
    house.delay_state(&house.alice, "call", json!({ "by": "alice" }), 4_500);
    house.pass(5_000);
    assert_eq!(house.state("call"), json!({ "by": "bob again" }));
    let sql = "SELECT count(*) AS n FROM events WHERE type = 'org.matrix.msc3401.call.member'";
    assert_eq!(house.server.rows(sql)[0]["n"], 2);
    assert!(house.scheduled(&house.alice).is_empty());
}

#[test]
fn state_that_is_so_already_settles_the_event() {
    let house = House::new();
    house.delay_state(&house.bob, "call", json!({}), 5_000);
    house.set_state(&house.bob, "call", json!({}));
    house.pass(5_000);
    assert!(house.scheduled(&house.bob).is_empty());
    let id = house.delay_state(&house.bob, "call", json!({}), 5_000);
    house.act(&house.bob, &id, "send").ok();
    assert!(house.scheduled(&house.bob).is_empty());
    let sql = "SELECT count(*) AS n FROM events WHERE type = 'org.matrix.msc3401.call.member'";
    assert_eq!(house.server.rows(sql)[0]["n"], 1);
}

#[test]
fn a_membership_can_be_changed_later() {
    let house = House::new();
    let path = house.path("state/m.room.member/@bob:example.org?org.matrix.msc4140.delay=5000");
    delay_id(house.server.put(&house.bob, &path, json!({ "membership": "leave" })));
    house.pass(5_000);
    let member = house.path("state/m.room.member/@bob:example.org");
    let content = house.server.get(&house.alice, &member).ok();
    assert_eq!(content["membership"], "leave");
    let name = json!({ "displayname": "Robert" });
    let profile = "/_matrix/client/v3/profile/@bob:example.org/displayname";
    house.server.put(&house.bob, profile, name).ok();
    delay_id(house.server.put(&house.alice, &path, json!({ "membership": "invite" })));
    house.pass(5_000);
    let content = house.server.get(&house.alice, &member).ok();
    assert_eq!(content, json!({ "membership": "invite", "displayname": "Robert" }));
}

#[test]
fn a_redaction_can_be_sent_later() {
    let house = House::new();
    let text = json!({ "msgtype": "m.text", "body": "for a moment" });
    let path = house.path("send/m.room.message/1");
    let target = house.server.put(&house.bob, &path, text).ok()["event_id"].clone();
    let path = house.path("send/m.room.redaction/2?org.matrix.msc4140.delay=5000");
    delay_id(house.server.put(&house.bob, &path, json!({ "redacts": target })));
    assert_eq!(house.messages(&house.alice)[0]["content"]["body"], "for a moment");
    house.pass(5_000);
    assert_eq!(house.messages(&house.alice)[0]["content"], json!({}));
}

#[test]
fn what_is_sent_later_is_limited_like_anything_else_and_waits_for_its_turn() {
    let house = House::with(&[("RATE_LIMITS", "on")]);
    for txn in ["1", "2", "3", "4", "5", "6"] {
        house.delay_message(&house.bob, txn, 5_000).ok();
    }
    house.delay_message(&house.alice, "on-time", 7_000).ok();
    // Five tokens are left, with the one that has come back.
    house.pass(5_000);
    assert_eq!((house.sent(), house.scheduled(&house.bob).len()), (5, 1));
    house.pass(2_000);
    assert_eq!(house.messages(&house.alice)[0]["content"]["body"], "on-time");
    house.pass(3_000);
    assert_eq!((house.sent(), house.scheduled(&house.bob).len()), (7, 0));

    let id = delay_id(house.delay_message(&house.alice, "1", 60_000));
    let restarts = (0..6).map(|_| house.act("", &id, "restart").status);
    assert_eq!(restarts.collect::<Vec<_>>(), [200, 200, 200, 200, 200, 429]);
    assert_eq!(house.act(&house.alice, &id, "restart").status, 200);
    house.pass(1_000);
    assert_eq!(house.act("", &id, "restart").status, 200);
}

#[test]
fn an_account_that_ends_sends_nothing_any_more() {
    let house = House::new();
    house.delay_message(&house.bob, "1", 5_000).ok();
    let identifier = json!({ "type": "m.id.user", "user": "bob" });
    let auth = json!({
        "type": "m.login.password", "identifier": identifier, "password": PASSWORD,
    });
    let path = "/_matrix/client/v3/account/deactivate";
    house.server.post(&house.bob, path, json!({ "auth": auth })).ok();
    assert_eq!(house.server.rows("SELECT count(*) AS n FROM delayed_events")[0]["n"], 0);
    house.pass(5_000);
    assert_eq!(house.sent(), 0);
}

#[test]
fn who_is_locked_or_suspended_sends_nothing_any_more() {
    for (measure, error) in [("locked", "M_FORBIDDEN"), ("suspended", "M_USER_SUSPENDED")] {
        let house = House::new();
        house.delay_message(&house.bob, "1", 5_000).ok();
        let later = delay_id(house.delay_message(&house.bob, "2", 60_000));
        let own = house.path(&format!("state/m.room.member/{}", house.bob.user_id));
        let leave = format!("{own}?org.matrix.msc4140.delay=90000");
        delay_id(house.server.put(&house.bob, &leave, json!({ "membership": "leave" })));
        house.set_user(&house.bob, measure);
        house.act("", &later, "send").error(403, error);
        house.pass(5_000);
        house.pass(55_000);
        assert_eq!((house.sent(), house.count()), (0, 1), "{measure}");
        house.pass(30_000);
        let membership = house.server.get(&house.alice, &own).ok()["membership"].clone();
        let expected = if measure == "suspended" { "leave" } else { "join" };
        assert_eq!((membership, house.count()), (json!(expected), 0), "{measure}");
    }
}

#[test]
fn a_token_that_is_not_in_force_manages_nothing() {
    let house = House::new();
    let id = delay_id(house.delay_message(&house.bob, "1", 60_000));
    house.set_user(&house.bob, "locked");
    for action in ["cancel", "restart", "send"] {
        house.act(&house.bob, &id, action).error(401, "M_USER_LOCKED");
    }
    house.act("unknown", &id, "cancel").error(401, "M_UNKNOWN_TOKEN");
    assert_eq!((house.sent(), house.count()), (0, 1));
}

#[test]
fn many_events_of_one_do_not_hold_up_those_of_another() {
    let house = House::with(&[("RATE_LIMITS", "on")]);
    house.delay_message(&house.bob, "1", 5_000).ok();
    let copies: Vec<u32> = (0..80).collect();
    let copy = "INSERT INTO delayed_events SELECT delay_id || value, user_localpart, device_id,
                    delay, send_ts, room_id, event_type, state_key, origin_server_ts, content,
                    is_processed, sticky_duration_ms
                FROM delayed_events CROSS JOIN json_each(?1)";
    house.write(Statement::new(copy).bind_json(&copies));
    house.delay_message(&house.alice, "on-time", 6_000).ok();
    house.pass(5_000);
    house.pass(1_000);
    assert_eq!(house.messages(&house.alice)[0]["content"]["body"], "on-time");
}
