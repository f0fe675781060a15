//! How devices make their users present, how that ends, and what it costs.

use crate::support::house::House;
use crate::support::{Account, Server};
use myelin::context::Platform;
use myelin::durable::Waited;
use serde_json::{Value, json};

const V3: &str = "/_matrix/client/v3";
const MINUTE_MS: u64 = 60_000;

/// Alice and Bob, who share a room, and Eve, who does not.
struct People {
    house: House,
    alice: Account,
    bob: Account,
    eve: Account,
    room_id: String,
}

impl People {
    fn new() -> Self {
        let house = House::new();
        let [alice, bob, eve] = ["alice", "bob", "eve"].map(|name| house.account(name));
        let room_id = house.room(&alice, "shared");
        house.join(&room_id, &bob);
        Self { house, alice, bob, eve, room_id }
    }

    fn server(&self) -> &Server {
        &self.house.server
    }

    /// What Bob sees of Alice.
    fn status(&self) -> Value {
        let path = format!("{V3}/presence/{}/status", self.alice.user_id);
        self.server().get(&self.bob, &path).ok()
    }

    fn state(&self) -> String {
        self.status()["presence"].as_str().unwrap().to_owned()
    }

    fn put(&self, body: Value) {
        let path = format!("{V3}/presence/{}/status", self.alice.user_id);
        self.server().put(&self.alice, &path, body).ok();
    }

    fn position(&self) -> Value {
        let sql = "SELECT stream_id FROM stream_positions WHERE stream_name = 'presence_stream'";
        self.server().rows(sql)[0]["stream_id"].clone()
    }

    fn sweep(&self) {
        let context = self.server().platform.context();
        self.server().run(async move { myelin::sweep::run(&context).await });
    }

    /// Whether these are woken by what happens: Bob, Eve.
    fn woken_by(&self, happens: impl FnOnce()) -> [bool; 2] {
        let waiter = |account: &Account| {
            let (platform, user_id) = (self.server().platform.clone(), account.user_id.clone());
            let register = async move { platform.register_waiter(&user_id, None, None).await };
            self.server().run(register).unwrap()
        };
        let waiters = [waiter(&self.bob), waiter(&self.eve)];
        happens();
        waiters.map(|mut waiter| {
            self.server().run(async move { waiter.wait(1).await }) == Waited::Woken
        })
    }
}

fn sync(server: &Server, account: &Account, since: Option<&str>, query: &str) -> String {
    let since = since.map(|since| format!("&since={since}")).unwrap_or_default();
    let body = server.get(account, &format!("{V3}/sync?{query}{since}")).ok();
    body["next_batch"].as_str().unwrap().to_owned()
}

#[test]
fn a_client_that_goes_on_syncing_is_noted_rarely_and_tells_nobody_again() {
    let people = People::new();
    let first = people.woken_by(|| {
        sync(people.server(), &people.alice, None, "timeout=0");
    });
    assert_eq!(first, [true, false]);
    let position = people.position();
    let mut notes = std::collections::BTreeSet::new();
    let mut next = sync(people.server(), &people.alice, None, "timeout=0");
    for _ in 0..24 {
        next = sync(people.server(), &people.alice, Some(&next), "timeout=30000");
        people.sweep();
        let note = &people.server().rows("SELECT last_active_ts FROM myelin_presence_devices")[0];
        notes.insert(note["last_active_ts"].as_i64().unwrap());
        assert_eq!(people.state(), "online");
    }
    assert!((2..=4).contains(&notes.len()), "{} notes in 12 minutes", notes.len());
    assert_eq!(people.position(), position, "nothing is news");
}

#[test]
fn who_stops_syncing_is_gone_and_those_who_share_a_room_are_told() {
    let people = People::new();
    sync(people.server(), &people.alice, None, "timeout=0");
    people.server().platform.advance(4 * MINUTE_MS);
    assert_eq!(people.woken_by(|| people.sweep()), [false, false]);
    assert_eq!(people.state(), "online");
    people.server().platform.advance(MINUTE_MS);
    assert_eq!(people.state(), "offline", "as soon as anybody looks");
    assert_eq!(people.woken_by(|| people.sweep()), [true, false]);
    assert!(people.server().rows("SELECT * FROM myelin_presence_devices").is_empty());
    assert_eq!(people.woken_by(|| people.sweep()), [false, false]);
    let status = people.status();
    assert_eq!(status["last_active_ago"].as_u64().unwrap() / MINUTE_MS, 5);
    assert!(status["currently_active"].is_null());
}

#[test]
fn the_most_present_device_counts() {
    let people = People::new();
    let server = people.server();
    let phone = server.login("alice");
    sync(server, &phone, None, "timeout=0");
    let position = people.position();
    for _ in 0..12 {
        server.platform.advance(MINUTE_MS / 2);
        sync(server, &people.alice, None, "timeout=0&set_presence=unavailable");
        sync(server, &phone, None, "timeout=0");
        people.sweep();
        assert_eq!(people.state(), "online");
    }
    assert_eq!(people.position(), position, "the devices do not take turns");
    for _ in 0..5 {
        server.platform.advance(MINUTE_MS);
        sync(server, &people.alice, None, "timeout=0&set_presence=unavailable");
    }
    people.sweep();
    assert_eq!(people.state(), "unavailable", "the phone is gone");
    people.put(json!({ "presence": "offline" }));
    assert_eq!(people.state(), "offline");
}

#[test]
fn a_sync_that_lasts_long_keeps_its_user_there_but_idle() {
    let people = People::new();
    let next = sync(people.server(), &people.alice, None, "timeout=0&set_presence=offline");
    let (server, alice) = (people.server(), &people.alice);
    let path = format!("{V3}/sync?timeout=300000&since={next}");
    let waits = server.request("GET", alice, &path, &Value::Null);
    let platform = server.platform.clone();
    let looks = async move {
        platform.sleep(299_000).await;
        platform.context()
    };
    let both = async move { futures_util::future::join(waits, looks).await };
    server.run(both).0.ok();
    assert_eq!(people.state(), "online");
    server.platform.advance(2_000);
    assert_eq!(people.woken_by(|| people.sweep()), [true, false]);
    assert_eq!(people.state(), "unavailable");
}

#[test]
fn doing_something_ends_being_idle() {
    let people = People::new();
    let (server, alice) = (people.server(), &people.alice);
    sync(server, alice, None, "timeout=0&set_presence=unavailable");
    assert_eq!(people.state(), "unavailable");
    let typing = format!("{V3}/rooms/{}/typing/{}", people.room_id, alice.user_id);
    let body = json!({ "typing": true });
    assert_eq!(people.woken_by(|| drop(server.put(alice, &typing, body))), [true, false]);
    assert_eq!(people.state(), "online");
    sync(server, alice, None, "timeout=0&set_presence=unavailable");
    let event_id = people.house.message(&people.room_id, &people.bob, "hello");
    let receipt = format!("{V3}/rooms/{}/receipt/m.read/{event_id}", people.room_id);
    server.post(alice, &receipt, json!({})).ok();
    assert_eq!(people.state(), "online");
    people.put(json!({ "presence": "offline" }));
    server.post(alice, &receipt, json!({})).ok();
    assert_eq!(people.state(), "offline", "who hides stays hidden");
}

#[test]
fn a_message_lasts_until_another_is_set_and_syncs_leave_it() {
    let people = People::new();
    people.put(json!({ "presence": "online", "status_msg": "here" }));
    let position = people.position();
    people.put(json!({ "presence": "online", "status_msg": "here" }));
    assert_eq!(people.position(), position);
    sync(people.server(), &people.alice, None, "timeout=0&set_presence=unavailable");
    assert_eq!(people.status()["status_msg"], "here");
    people.put(json!({ "presence": "unavailable", "status_msg": "away" }));
    assert_eq!(people.status()["status_msg"], "away");
    people.put(json!({ "presence": "offline" }));
    assert!(people.status()["status_msg"].is_null());
    let path = format!("{V3}/presence/{}/status", people.alice.user_id);
    people.server().get(&people.eve, &path).error(403, "M_FORBIDDEN");
    people
        .server()
        .put(&people.bob, &path, json!({ "presence": "online" }))
        .error(403, "M_FORBIDDEN");
}

#[test]
fn where_presence_is_off_nothing_is_noted() {
    let server = Server::with(&[("PRESENCE", "off")]);
    let alice = server.register("alice");
    let path = format!("{V3}/presence/{}/status", alice.user_id);
    server.put(&alice, &path, json!({ "presence": "online" })).ok();
    sync(&server, &alice, None, "timeout=0");
    assert_eq!(server.get(&alice, &path).ok(), json!({ "presence": "offline" }));
    assert!(server.rows("SELECT user_id FROM myelin_presence_devices").is_empty());
    assert!(server.rows("SELECT user_id FROM presence_stream").is_empty());
}
