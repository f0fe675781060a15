//! Every write of every stream, between any two steps of a sync that waits: it is told of, its
//! position moves, and it wakes those whom it concerns and nobody else.
//!
//! A stream is a row of [`writes`].

use std::rc::Rc;

use crate::support::house::House;
use crate::support::steps::{Gate, Happening};
use crate::support::{Account, Reply, Server};
use futures_util::future::FutureExt;
use myelin::context::Platform;
use myelin::durable::Waited;
use serde_json::{Value, json};

const V3: &str = "/_matrix/client/v3";
const TIMEOUT_MS: u64 = 30_000;

/// Later than this after a write, a sync has not been woken by it but by its own end.
const PROMPT_MS: u64 = 1_000;

/// Alice has two devices, one of which syncs; Bob is in her room; Eve is not.
struct World {
    house: House,
    alice: Account,
    other_device: Account,
    bob: Account,
    eve: Account,
    room_id: String,
    event_id: String,
    /// What is written the next time differs from what was written before.
    number: usize,
}

/// Who a write may wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wakes {
    alice: bool,
    bob: bool,
}

const BOTH: Wakes = Wakes { alice: true, bob: true };
const ALICE: Wakes = Wakes { alice: true, bob: false };

/// A write of a stream that Alice is to be told of.
struct Write {
    name: &'static str,
    /// Its place among the positions of a token.
    position: usize,
    wakes: Wakes,
    request: fn(&World) -> (&'static str, Account, String, Value),
    /// Where the answer has it, and what is there.
    told: fn(&World, &Value) -> bool,
}

fn path(rest: String) -> String {
    format!("{V3}/{rest}")
}

fn has(events: &Value, matches: impl Fn(&Value) -> bool) -> bool {
    events["events"].as_array().is_some_and(|events| events.iter().any(matches))
}

fn room<'a>(world: &World, answer: &'a Value) -> &'a Value {
    &answer["rooms"]["join"][&world.room_id]
}

/// Whether there is an event of this type with this at a path of its content.
fn has_content(events: &Value, event_type: &str, pointer: &str, value: &Value) -> bool {
    has(events, |event| {
        event["type"] == event_type && event["content"].pointer(pointer) == Some(value)
    })
}

fn rooms_writes() -> Vec<Write> {
    vec![
        Write {
            name: "a message",
            position: 0,
            wakes: BOTH,
            request: |world| {
                let path =
                    path(format!("rooms/{}/send/m.room.message/t{}", world.room_id, world.number));
                let content = json!({ "msgtype": "m.text", "body": world.written() });
                ("PUT", world.bob.clone(), path, content)
            },
            told: |world, answer| {
                let timeline = &room(world, answer)["timeline"];
                has_content(timeline, "m.room.message", "/body", &world.written())
            },
        },
        Write {
            name: "state",
            position: 0,
            wakes: BOTH,
            request: |world| {
                let path = path(format!("rooms/{}/state/m.room.topic", world.room_id));
                ("PUT", world.alice.clone(), path, json!({ "topic": world.written() }))
            },
            told: |world, answer| {
                let timeline = &room(world, answer)["timeline"];
                has_content(timeline, "m.room.topic", "/topic", &world.written())
            },
        },
        Write {
            name: "an invite",
            position: 0,
            wakes: BOTH,
            request: |world| {
                let body = json!({ "invite": [world.alice.user_id] });
                ("POST", world.bob.clone(), path("createRoom".to_owned()), body)
            },
            told: |_, answer| answer["rooms"]["invite"].is_object(),
        },
        Write {
            name: "a receipt",
            position: 3,
            wakes: BOTH,
            request: |world| {
                let World { room_id, event_id, .. } = world;
                let path = path(format!("rooms/{room_id}/receipt/m.read/{event_id}"));
                ("POST", world.bob.clone(), path, json!({}))
            },
            told: |world, answer| {
                has(&room(world, answer)["ephemeral"], |event| {
                    let of_event = &event["content"][&world.event_id];
                    of_event["m.read"][&world.bob.user_id]["ts"].is_u64()
                })
            },
        },
        Write {
            name: "typing",
            position: 2,
            wakes: BOTH,
            request: |world| {
                let World { room_id, bob, .. } = world;
                let path = path(format!("rooms/{room_id}/typing/{}", bob.user_id));
                ("PUT", bob.clone(), path, json!({ "typing": true, "timeout": 120_000 }))
            },
            told: |world, answer| {
                let users = json!([world.bob.user_id]);
                has_content(&room(world, answer)["ephemeral"], "m.typing", "/user_ids", &users)
            },
        },
        Write {
            name: "presence",
            position: 1,
            wakes: BOTH,
            request: |world| {
                let path = path(format!("presence/{}/status", world.bob.user_id));
                let body = json!({ "presence": "unavailable", "status_msg": world.written() });
                ("PUT", world.bob.clone(), path, body)
            },
            told: |world, answer| {
                let message = world.written();
                has_content(&answer["presence"], "m.presence", "/status_msg", &message)
            },
        },
    ]
}

fn own_writes() -> Vec<Write> {
    vec![
        Write {
            name: "account data",
            position: 4,
            wakes: ALICE,
            request: |world| {
                let World { other_device, .. } = world;
                let path = path(format!("user/{}/account_data/m.x", other_device.user_id));
                ("PUT", other_device.clone(), path, json!({ "a": world.written() }))
            },
            told: |world, answer| {
                has_content(&answer["account_data"], "m.x", "/a", &world.written())
            },
        },
        Write {
            name: "account data of a room",
            position: 4,
            wakes: ALICE,
            request: |world| {
                let World { other_device, room_id, .. } = world;
                let user_id = &other_device.user_id;
                let path = path(format!("user/{user_id}/rooms/{room_id}/account_data/m.x"));
                ("PUT", other_device.clone(), path, json!({ "a": world.written() }))
            },
            told: |world, answer| {
                let data = &room(world, answer)["account_data"];
                has_content(data, "m.x", "/a", &world.written())
            },
        },
        Write {
            name: "a tag",
            position: 4,
            wakes: ALICE,
            request: |world| {
                let World { other_device, room_id, .. } = world;
                let path = path(format!("user/{}/rooms/{room_id}/tags/u.x", other_device.user_id));
                ("PUT", other_device.clone(), path, json!({ "order": world.number }))
            },
            told: |world, answer| {
                let data = &room(world, answer)["account_data"];
                has_content(data, "m.tag", "/tags/u.x/order", &json!(world.number))
            },
        },
    ]
}

fn read_marks_and_rules() -> Vec<Write> {
    vec![
        Write {
            name: "the fully read marker",
            position: 4,
            wakes: ALICE,
            request: |world| {
                let World { other_device, room_id, event_id, .. } = world;
                let path = path(format!("rooms/{room_id}/read_markers"));
                ("POST", other_device.clone(), path, json!({ "m.fully_read": event_id }))
            },
            told: |world, answer| {
                let data = &room(world, answer)["account_data"];
                has_content(data, "m.fully_read", "/event_id", &json!(world.event_id))
            },
        },
        Write {
            name: "a private receipt",
            position: 3,
            wakes: ALICE,
            request: |world| {
                let World { other_device, room_id, event_id, .. } = world;
                let path = path(format!("rooms/{room_id}/receipt/m.read.private/{event_id}"));
                ("POST", other_device.clone(), path, json!({ "thread_id": "main" }))
            },
            told: |world, answer| {
                has(&room(world, answer)["ephemeral"], |event| {
                    let of_event = &event["content"][&world.event_id];
                    of_event["m.read.private"][&world.alice.user_id]["thread_id"] == "main"
                })
            },
        },
        Write {
            name: "a push rule",
            position: 5,
            wakes: ALICE,
            request: |world| {
                let body = json!({ "pattern": world.written(), "actions": ["notify"] });
                let path = path("pushrules/global/content/x".to_owned());
                ("PUT", world.other_device.clone(), path, body)
            },
            told: |world, answer| {
                let pattern = world.written();
                let rules = &answer["account_data"];
                has_content(rules, "m.push_rules", "/global/content/0/pattern", &pattern)
            },
        },
    ]
}

fn device_writes() -> Vec<Write> {
    vec![
        Write {
            name: "a message to a device",
            position: 6,
            wakes: ALICE,
            request: |world| {
                let path = path(format!("sendToDevice/m.x/t{}", world.number));
                let to = json!({ &world.alice.device_id: { "body": world.written() } });
                let body = json!({ "messages": { &world.alice.user_id: to } });
                ("PUT", world.bob.clone(), path, body)
            },
            told: |world, answer| {
                has_content(&answer["to_device"], "m.x", "/body", &world.written())
            },
        },
        Write {
            name: "keys of a device",
            position: 7,
            wakes: BOTH,
            request: |world| {
                let World { bob, .. } = world;
                let key = json!({ format!("ed25519:{}", bob.device_id): world.written() });
                let keys = json!({
                    "user_id": bob.user_id, "device_id": bob.device_id,
                    "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
                    "keys": key, "signatures": {},
                });
                let body = json!({ "device_keys": keys });
                ("POST", bob.clone(), path("keys/upload".to_owned()), body)
            },
            told: |world, answer| {
                let changed = answer["device_lists"]["changed"].as_array();
                changed.is_some_and(|users| users.contains(&json!(world.bob.user_id)))
            },
        },
    ]
}

fn writes() -> Vec<Write> {
    let parts = [rooms_writes(), own_writes(), read_marks_and_rules(), device_writes()];
    parts.into_iter().flatten().collect()
}

impl World {
    fn new() -> Self {
        let house = House::new();
        let [alice, bob, eve] = ["alice", "bob", "eve"].map(|name| house.account(name));
        let other_device = house.server.login("alice");
        let room_id = house.room(&alice, "shared");
        house.join(&room_id, &bob);
        // Who is there is not news.
        for account in [&bob, &alice] {
            house.server.get(account, &path("sync?timeout=0".to_owned())).ok();
        }
        let (event_id, number) = (String::new(), 0);
        let mut world = Self { house, alice, other_device, bob, eve, room_id, event_id, number };
        world.begin_again();
        world
    }

    /// Nothing has been written of what is about to be.
    fn begin_again(&mut self) {
        self.number += 1;
        self.event_id = self.house.message(&self.room_id, &self.bob, "to be read");
        let typing = path(format!("rooms/{}/typing/{}", self.room_id, self.bob.user_id));
        self.server().put(&self.bob, &typing, json!({ "typing": false })).ok();
    }

    fn written(&self) -> Value {
        json!(format!("written {}", self.number))
    }

    fn server(&self) -> &Server {
        &self.house.server
    }

    fn sync(&self, since: Option<&str>) -> Value {
        let since = since.map(|since| format!("&since={since}")).unwrap_or_default();
        self.server().get(&self.alice, &path(format!("sync?timeout=0{since}"))).ok()
    }

    fn happening(&self, write: &Write) -> Happening {
        let (method, account, path, body) = (write.request)(self);
        let request = self.server().request(method, &account, &path, &body);
        request.map(|reply: Reply| drop(reply.ok())).boxed_local()
    }

    /// A message of Bob's, so that there is something to tell of.
    fn trigger(&self) -> Happening {
        let path =
            path(format!("rooms/{}/send/m.room.message/trigger{}", self.room_id, self.number));
        let body = json!({ "msgtype": "m.text", "body": "trigger" });
        let request = self.server().request("PUT", &self.bob, &path, &body);
        request.map(|reply: Reply| drop(reply.ok())).boxed_local()
    }

    /// Alice's sync with the steps of `gate`.
    fn wait(&self, gate: &Rc<Gate>, since: &str) -> Value {
        let uri = path(format!("sync?timeout={TIMEOUT_MS}&since={since}"));
        let request = http::Request::builder()
            .method("GET")
            .uri(uri)
            .header("authorization", format!("Bearer {}", self.alice.token))
            .body(Vec::new())
            .unwrap();
        let context = gate.context();
        let answer =
            self.server().run(async move { myelin::routes::dispatch(context, request).await });
        assert_eq!(answer.status(), 200);
        serde_json::from_slice(answer.body()).unwrap()
    }
}

fn next(answer: &Value) -> String {
    answer["next_batch"].as_str().unwrap().to_owned()
}

fn position(token: &str, index: usize) -> i64 {
    token.trim_start_matches('s').split('_').nth(index).unwrap().parse().unwrap()
}

#[derive(Clone, Copy)]
struct How {
    /// A message comes while the sync waits, so that it has something to tell of.
    with_trigger: bool,
    /// The sync goes on before what the write sets off has come to its end.
    in_haste: bool,
}

/// One write at one place; false if the sync has no such place.
fn interleave(world: &World, write: &Write, at: usize, how: How) -> bool {
    let How { with_trigger, in_haste } = how;
    let platform = world.server().platform.clone();
    let since = next(&world.sync(None));
    let trigger = with_trigger.then(|| world.trigger());
    let gate = Gate::new(platform.clone(), at, world.happening(write), trigger, in_haste);
    let first = world.wait(&gate, &since);
    let Some(happened_at_ms) = gate.happened_at_ms.get() else { return false };
    let names = gate.names.borrow();
    let place = format!("{} {} ({at}), {with_trigger} {in_haste}", write.name, names[at]);
    let answered_after_ms = platform.now_ms() - happened_at_ms;
    assert!(answered_after_ms < PROMPT_MS, "{place}: it was not woken: {first}");
    let second = world.sync(Some(&next(&first)));
    let told = [&first, &second].map(|answer| usize::from((write.told)(world, answer)));
    assert!(told[0] + told[1] >= 1, "{place}: {first} {second}");
    if write.position == 0 {
        assert_eq!(told[0] + told[1], 1, "{place}: twice");
    }
    let third = world.sync(Some(&next(&second)));
    assert!(!(write.told)(world, &third), "{place}: again {third}");
    let [before, after] = [&since, &next(&second)].map(|token| position(token, write.position));
    assert!(after > before, "{place}: the position has not moved: {before} {after}");
    true
}

fn interleave_everywhere(writes: Vec<Write>, with_trigger: bool) {
    for write in writes {
        for in_haste in [false, true] {
            let mut world = World::new();
            let places = (0..).take_while(|at| {
                world.begin_again();
                interleave(&world, &write, *at, How { with_trigger, in_haste })
            });
            let expected = if with_trigger { 11 } else { 9 };
            let count = places.count();
            assert!(count >= expected, "{}: {count} places", write.name);
        }
    }
}

/// The tests share the writes, so that they run side by side.
fn interleave_part(part: fn() -> Vec<Write>) {
    for with_trigger in [false, true] {
        interleave_everywhere(part(), with_trigger);
    }
}

#[test]
fn what_happens_in_rooms_between_two_steps_of_a_sync_is_told_of() {
    interleave_part(rooms_writes);
}

#[test]
fn what_a_user_writes_between_two_steps_of_a_sync_is_told_of() {
    interleave_part(own_writes);
}

#[test]
fn what_a_user_reads_between_two_steps_of_a_sync_is_told_of() {
    interleave_part(read_marks_and_rules);
}

#[test]
fn what_devices_tell_between_two_steps_of_a_sync_is_told_of() {
    interleave_part(device_writes);
}

#[test]
fn a_write_wakes_those_whom_it_concerns_and_nobody_else() {
    for write in writes() {
        let world = World::new();
        let waiter = |account: &Account| {
            let (platform, user_id) = (world.server().platform.clone(), account.user_id.clone());
            let register = async move { platform.register_waiter(&user_id, None, None).await };
            world.server().run(register).unwrap()
        };
        let waiters = [&world.alice, &world.bob, &world.eve].map(waiter);
        world.server().run(world.happening(&write));
        let woken = waiters.map(|mut waiter| {
            world.server().run(async move { waiter.wait(1).await }) == Waited::Woken
        });
        let expected = [write.wakes.alice, write.wakes.bob, false];
        assert_eq!(woken, expected, "{}", write.name);
    }
}
