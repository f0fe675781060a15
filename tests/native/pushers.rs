//! Notifications on phones: who has a pusher, and what its gateway is told.

use crate::support::{Account, PASSWORD, Reply, Server};
use serde_json::{Value, json};

const GATEWAY: &str = "https://push.example.com/_matrix/push/v1/notify";
const MINUTE_MS: u64 = 60_000;

struct World {
    server: Server,
    alice: Account,
    bob: Account,
    room: String,
    sent: std::cell::Cell<u32>,
}

impl World {
    /// Alice and Bob in a room of Bob's, and a gateway that takes everything.
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(variables: &[(&str, &str)]) -> Self {
        let server = Server::with(variables);
        let (alice, bob) = (server.register("alice"), server.register("bob"));
        let create = json!({ "preset": "public_chat", "name": "Tea" });
        let room = server.post(&bob, "/_matrix/client/v3/createRoom", create).ok();
        let room = room["room_id"].as_str().unwrap().to_owned();
        server.post(&alice, &format!("/_matrix/client/v3/join/{room}"), json!({})).ok();
        server.platform.internet.answer(GATEWAY, 200, "{}");
        Self { server, alice, bob, room, sent: Default::default() }
    }

    fn set(&self, account: &Account, body: Value) -> Reply {
        self.server.post(account, "/_matrix/client/v3/pushers/set", body)
    }

    fn list(&self, account: &Account) -> Vec<Value> {
        let pushers = self.server.get(account, "/_matrix/client/v3/pushers").ok();
        pushers["pushers"].as_array().unwrap().clone()
    }

    fn pushkeys(&self, account: &Account) -> Vec<String> {
        let pushers = self.list(account);
        pushers.iter().map(|pusher| pusher["pushkey"].as_str().unwrap().to_owned()).collect()
    }

    fn say(&self, sender: &Account, body: &str) -> Reply {
        let txn = self.sent.replace(self.sent.get() + 1);
        let path = format!("/_matrix/client/v3/rooms/{}/send/m.room.message/{txn}", self.room);
        let reply = self.server.put(sender, &path, json!({ "msgtype": "m.text", "body": body }));
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply
    }

    fn read(&self, account: &Account, event_id: &str) {
        let path = format!("/_matrix/client/v3/rooms/{}/receipt/m.read/{event_id}", self.room);
        self.server.post(account, &path, json!({})).ok();
    }

    /// The notifications that gateways were told since the last call.
    fn told(&self) -> Vec<Value> {
        let requests = self.server.platform.internet.take_requests();
        let told = requests.iter().map(|request| {
            assert_eq!(
                (request.method().as_str(), request.uri().to_string().as_str()),
                ("POST", GATEWAY)
            );
            let body: Value = serde_json::from_slice(request.body()).unwrap();
            body["notification"].clone()
        });
        told.collect()
    }

    /// What their texts were.
    fn texts(&self) -> Vec<Value> {
        self.told().iter().map(|told| told["content"]["body"].clone()).collect()
    }

    /// Lets so much time pass.
    fn wait(&self, duration_ms: u64) {
        self.server.platform.advance(duration_ms);
        self.server.run(async {});
    }

    fn changes(&self) -> i64 {
        self.server.rows("SELECT total_changes() AS n")[0]["n"].as_i64().unwrap()
    }
}

fn pusher(pushkey: &str) -> Value {
    json!({
        "kind": "http", "app_id": "app.test", "pushkey": pushkey, "lang": "en",
        "app_display_name": "App", "device_display_name": "Phone", "profile_tag": "x",
        "data": { "url": GATEWAY, "brand": "B" },
    })
}

fn with(mut body: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[test]
fn pushers_are_set_listed_changed_and_deleted() {
    let world = World::new();
    assert!(world.list(&world.alice).is_empty());
    assert_eq!(world.set(&world.alice, pusher("one")).cost.round_trips.get(), 2);
    world.set(&world.alice, pusher("two")).ok();
    assert_eq!(world.list(&world.alice)[0], pusher("one"));
    let changed = with(pusher("one"), json!({ "lang": "de" }));
    world.set(&world.alice, changed.clone()).ok();
    assert_eq!(world.list(&world.alice), [pusher("two"), changed]);
    let null = json!({ "app_id": "app.test", "pushkey": "two", "kind": null });
    world.set(&world.alice, null.clone()).ok();
    world.set(&world.alice, null).ok();
    assert_eq!(world.pushkeys(&world.alice), ["one"]);
    let deleted = world.server.rows("SELECT user_id, pushkey FROM deleted_pushers");
    assert_eq!(deleted, [json!({ "user_id": "@alice:example.org", "pushkey": "two" })]);
    let positions = "SELECT stream_id FROM stream_positions WHERE stream_name = 'pushers'
                     UNION ALL SELECT max(stream_id) FROM deleted_pushers";
    let positions = world.server.rows(positions);
    assert_eq!(positions[0], positions[1], "what was deleted in vain took no position");
}

#[test]
fn what_makes_no_pusher_is_refused() {
    let world = World::new();
    for name in
        ["kind", "app_id", "pushkey", "lang", "app_display_name", "device_display_name", "data"]
    {
        let mut body = pusher("one");
        body.as_object_mut().unwrap().remove(name);
        world.set(&world.alice, body).error(400, "M_MISSING_PARAM");
    }
    let refused = [
        (json!({ "kind": "pigeon" }), "M_INVALID_PARAM"),
        (json!({ "kind": "email" }), "M_THREEPID_NOT_FOUND"),
        (json!({ "data": {} }), "M_MISSING_PARAM"),
        (json!({ "data": { "url": "https://push.example.com/" } }), "M_INVALID_PARAM"),
        (json!({ "data": "here" }), "M_BAD_JSON"),
        (json!({ "app_id": "a".repeat(65) }), "M_INVALID_PARAM"),
        (json!({ "pushkey": "a".repeat(513) }), "M_INVALID_PARAM"),
    ];
    for (changes, errcode) in refused {
        world.set(&world.alice, with(pusher("one"), changes)).error(400, errcode);
    }
    assert!(world.list(&world.alice).is_empty());
}

#[test]
fn a_phone_belongs_to_who_uses_it_unless_the_pusher_is_appended() {
    let world = World::new();
    world.set(&world.alice, pusher("phone")).ok();
    world.set(&world.bob, with(pusher("phone"), json!({ "append": true }))).ok();
    assert_eq!(world.pushkeys(&world.alice), ["phone"]);
    world.set(&world.bob, pusher("phone")).ok();
    assert!(world.list(&world.alice).is_empty());
    assert_eq!(world.pushkeys(&world.bob), ["phone"]);
}

#[test]
fn pushers_go_with_their_device_and_other_devices_when_the_password_changes() {
    let world = World::new();
    let (phone, tablet) = (world.server.login("alice"), world.server.login("alice"));
    for (account, key) in [(&world.alice, "desk"), (&phone, "phone"), (&tablet, "tablet")] {
        world.set(account, pusher(key)).ok();
    }
    // Changed from elsewhere, it still belongs to the phone.
    world.set(&tablet, pusher("phone")).ok();
    world.server.post(&phone, "/_matrix/client/v3/logout", json!({})).ok();
    assert_eq!(world.pushkeys(&world.alice), ["desk", "tablet"]);
    let auth = json!({
        "type": "m.login.password", "password": PASSWORD,
        "identifier": { "type": "m.id.user", "user": "alice" },
    });
    let change = json!({ "new_password": "another long passphrase", "auth": auth });
    world.server.post(&world.alice, "/_matrix/client/v3/account/password", change).ok();
    assert_eq!(world.pushkeys(&world.alice), ["desk"]);
    let gone = world.server.rows("SELECT pushkey FROM deleted_pushers ORDER BY stream_id");
    assert_eq!(gone, [json!({ "pushkey": "phone" }), json!({ "pushkey": "tablet" })]);
}

#[test]
fn a_gateway_is_told_all_of_an_event_or_its_id_only() {
    let world = World::new();
    let name = format!("/_matrix/client/v3/profile/{}/displayname", world.bob.user_id);
    world.server.put(&world.bob, &name, json!({ "displayname": "Bob B." })).ok();
    world.set(&world.alice, pusher("full")).ok();
    world.told();
    let event_id = world.say(&world.bob, "hello").ok()["event_id"].clone();
    let pushkey_ts = world.server.platform.context().now_ms() / 1000;
    let full = json!({
        "id": event_id, "event_id": event_id, "room_id": world.room, "type": "m.room.message",
        "sender": world.bob.user_id, "sender_display_name": "Bob B.", "room_name": "Tea",
        "prio": "high", "counts": { "unread": 1 },
        "content": { "msgtype": "m.text", "body": "hello" },
        "devices": [{
            "app_id": "app.test", "pushkey": "full", "pushkey_ts": pushkey_ts,
            "data": { "brand": "B" }, "tweaks": { "sound": "default" },
        }],
    });
    assert_eq!(world.told(), [full]);

    let data = json!({ "url": GATEWAY, "format": "event_id_only" });
    world.set(&world.alice, with(pusher("full"), json!({ "data": data }))).ok();
    let event_id = world.say(&world.bob, "hello").ok()["event_id"].clone();
    let id_only = json!({
        "event_id": event_id, "room_id": world.room, "prio": "high", "counts": { "unread": 1 },
        "devices": [{
            "app_id": "app.test", "pushkey": "full", "pushkey_ts": pushkey_ts,
            "data": { "format": "event_id_only" },
        }],
    });
    assert_eq!(world.told(), [id_only]);
    world.say(&world.alice, "my own words");
    assert!(world.told().is_empty());
}

#[test]
fn an_invitation_says_whom_it_is_for() {
    let world = World::new();
    world.set(&world.alice, pusher("phone")).ok();
    let create = json!({ "invite": [world.alice.user_id], "is_direct": true });
    world.server.post(&world.bob, "/_matrix/client/v3/createRoom", create).ok();
    let told = world.told();
    assert_eq!(told.len(), 1, "{told:?}");
    let found = [&told[0]["type"], &told[0]["membership"], &told[0]["user_is_target"]];
    assert_eq!(found, [&json!("m.room.member"), &json!("invite"), &json!(true)]);
    assert_eq!(told[0]["counts"]["unread"], 1, "an invitation counts");
}

#[test]
fn each_device_is_told_and_rejected_ones_are_removed() {
    let world = World::new();
    for key in ["one", "two"] {
        world.set(&world.alice, pusher(key)).ok();
    }
    let rejects = r#"{ "rejected": ["two", "somebody else's"] }"#;
    world.server.platform.internet.answer(GATEWAY, 200, rejects);
    world.say(&world.bob, "hello");
    let told = world.told();
    let keys = told.iter().map(|told| &told["devices"][0]["pushkey"]);
    assert_eq!(keys.collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(world.pushkeys(&world.alice), ["one"]);
    world.say(&world.bob, "again");
    assert_eq!(world.told().len(), 1);
}

#[test]
fn events_sent_at_once_are_pushed_once_each_and_in_order() {
    let world = World::new();
    world.set(&world.alice, pusher("phone")).ok();
    let send = |n: usize| {
        let path = format!("/_matrix/client/v3/rooms/{}/send/m.room.message/x{n}", world.room);
        let body = json!({ "msgtype": "m.text", "body": n.to_string() });
        world.server.request("PUT", &world.bob, &path, &body)
    };
    let sends: Vec<_> = (0..30).map(send).collect();
    let all = async move { futures_util::future::join_all(sends).await.len() };
    assert_eq!(world.server.run(all), 30);
    world.server.run(async {});
    let order =
        "SELECT event_id FROM events WHERE type = 'm.room.message' ORDER BY stream_ordering";
    let order: Vec<Value> =
        world.server.rows(order).iter().map(|r| r["event_id"].clone()).collect();
    let told: Vec<Value> = world.told().iter().map(|told| told["event_id"].clone()).collect();
    assert_eq!(told, order);
}

#[test]
fn a_gateway_that_fails_is_tried_again_also_after_a_restart_and_misses_nothing() {
    let world = World::new();
    world.set(&world.alice, pusher("phone")).ok();
    world.server.platform.internet.answer(GATEWAY, 500, "");
    world.say(&world.bob, "one");
    assert_eq!(world.texts(), ["one"]);
    world.say(&world.bob, "two");
    assert!(world.told().is_empty(), "not before it is time");
    for wait_ms in [1_000, 1_000, 2_000, 4_000] {
        world.wait(wait_ms - 1);
        assert!(world.told().is_empty(), "{wait_ms}");
        world.wait(1);
        assert_eq!(world.texts(), ["one"], "{wait_ms}");
    }
    world.server.platform.restart();
    world.say(&world.bob, "three");
    assert!(world.told().is_empty(), "a restart is no reason to hurry");
    world.server.platform.internet.answer(GATEWAY, 200, "{}");
    world.wait(8_000);
    assert_eq!(world.texts(), ["one", "two", "three"]);
    world.say(&world.bob, "four");
    assert_eq!(world.texts(), ["four"]);
}

#[test]
fn after_a_long_failure_there_is_no_flood() {
    let world = World::new();
    world.set(&world.alice, pusher("phone")).ok();
    world.server.platform.internet.forget(GATEWAY);
    world.say(&world.bob, "one");
    world.wait(11 * MINUTE_MS);
    for text in ["two", "three"] {
        world.say(&world.bob, text);
    }
    world.server.platform.internet.answer(GATEWAY, 200, "{}");
    world.told();
    world.wait(10 * MINUTE_MS);
    let told = world.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&told[0]["content"]["body"], &told[0]["counts"]["unread"]),
        (&json!("three"), &json!(1))
    );
    world.wait(120 * MINUTE_MS);
    assert!(world.told().is_empty());
    world.say(&world.bob, "four");
    assert_eq!(world.texts(), ["four"]);
}

#[test]
fn the_count_goes_down_when_something_is_read_elsewhere() {
    let world = World::new();
    let event_id = world.say(&world.bob, "before").ok()["event_id"].clone();
    world.read(&world.alice, event_id.as_str().unwrap());
    world.set(&world.alice, pusher("phone")).ok();
    let event_id = world.say(&world.bob, "hello").ok()["event_id"].clone();
    assert_eq!(world.told()[0]["counts"]["unread"], 1);
    world.read(&world.alice, event_id.as_str().unwrap());
    let told = world.told();
    assert_eq!(told.len(), 1);
    assert!(told[0].get("event_id").is_none());
    assert_eq!(told[0]["counts"], json!({ "unread": 0 }));
    world.read(&world.alice, event_id.as_str().unwrap());
    assert!(world.told().is_empty(), "it knows");
}

#[test]
fn what_was_read_before_the_gateway_came_back_is_not_pushed() {
    let world = World::new();
    world.set(&world.alice, pusher("phone")).ok();
    world.server.platform.internet.forget(GATEWAY);
    let event_id = world.say(&world.bob, "hello").ok()["event_id"].clone();
    world.read(&world.alice, event_id.as_str().unwrap());
    world.told();
    world.server.platform.internet.answer(GATEWAY, 200, "{}");
    world.wait(1_000);
    let told = world.told();
    assert_eq!((told.len(), &told[0]["counts"]["unread"]), (1, &json!(0)), "{told:?}");
    assert!(told[0].get("event_id").is_none());
}

#[test]
fn a_push_costs_one_row_and_a_room_without_pushers_nothing() {
    let world = World::new();
    let costs = |text: &str| {
        let before = world.changes();
        let cost = world.say(&world.bob, text).cost;
        (cost.round_trips.get(), world.changes() - before)
    };
    costs("warm");
    costs("warmer");
    let (round_trips, written) = costs("without");
    world.set(&world.alice, pusher("phone")).ok();
    assert_eq!(costs("with"), (round_trips, written + 1));
    assert_eq!(world.told().len(), 1);
}

#[test]
fn gateways_of_the_own_network_are_told_only_if_the_operator_lets_them() {
    let url = "http://10.0.0.7:5000/_matrix/push/v1/notify";
    for (hosts, count) in [("", 0), ("push.intern 10.0.0.7", 1)] {
        let world = World::with(&[("PUSH_GATEWAY_PRIVATE_HOSTS", hosts)]);
        world.server.platform.internet.answer(url, 200, "{}");
        world.set(&world.alice, with(pusher("phone"), json!({ "data": { "url": url } }))).ok();
        world.say(&world.bob, "hello");
        assert_eq!(world.server.platform.internet.take_requests().len(), count, "{hosts:?}");
        let failing = world.server.rows("SELECT failing_since IS NOT NULL AS failing FROM pushers");
        assert_eq!(failing[0]["failing"], i32::from(count == 0));
    }
}

#[test]
fn a_sender_that_nobody_told_is_found_by_the_sweep() {
    let world = World::new();
    world.set(&world.alice, pusher("phone")).ok();
    world.say(&world.bob, "hello");
    world.told();
    let forget = "UPDATE pushers SET last_stream_ordering = last_stream_ordering - 1
                  RETURNING id";
    assert_eq!(world.server.rows(forget).len(), 1);
    let context = world.server.platform.context();
    world.server.run(async move { myelin::sweep::run(&context).await });
    world.server.run(async {});
    assert_eq!(world.texts(), ["hello"]);
}
