//! Whose devices a client has to learn of: nobody is forgotten, however syncs and changes
//! interleave.

use crate::support::crypto::{Pair, cross_signing_key, device_keys};
use crate::support::platform::Random;
use crate::support::{Account, PASSWORD, Server, crypto};
use futures_util::future::join;
use myelin::context::Platform;
use serde_json::{Value, json};

const SYNC: &str = "/_matrix/client/v3/sync";
const UPLOAD: &str = "/_matrix/client/v3/keys/upload";
const SIGNING: &str = "/_matrix/client/v3/keys/device_signing/upload";
const SIGNATURES: &str = "/_matrix/client/v3/keys/signatures/upload";

fn quiet_server() -> Server {
    Server::with(&[("PRESENCE", "off")])
}

fn create(server: &Server, account: &Account) -> String {
    let options = json!({ "preset": "public_chat" });
    let body = server.post(account, "/_matrix/client/v3/createRoom", options).ok();
    body["room_id"].as_str().unwrap().to_owned()
}

fn change_keys(server: &Server, account: &Account, seed: u8) {
    server.post(account, UPLOAD, json!({ "device_keys": device_keys(account, seed) })).ok();
}

fn sync(server: &Server, account: &Account, since: &str) -> Value {
    let since = if since.is_empty() { String::new() } else { format!("?since={since}") };
    server.get(account, &format!("{SYNC}{since}")).ok()
}

fn next(body: &Value) -> String {
    body["next_batch"].as_str().unwrap().to_owned()
}

/// The names in `changed` and in `left`.
fn lists(lists: &Value) -> (Vec<String>, Vec<String>) {
    let names = |list: &Value| {
        let ids = list.as_array().cloned().unwrap_or_default();
        let name = |id: &Value| id.as_str().unwrap()[1..].split(':').next().unwrap().to_owned();
        let mut names: Vec<String> = ids.iter().map(name).collect();
        names.sort();
        names
    };
    (names(&lists["changed"]), names(&lists["left"]))
}

const SLIDING: &str = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";

/// What sliding sync says since a position.
fn slide(server: &Server, account: &Account, pos: &str) -> Value {
    let body = json!({ "extensions": { "e2ee": { "enabled": true } } });
    server.post(account, &format!("{SLIDING}?pos={pos}"), body).ok()
}

/// What a sync, `/keys/changes` and sliding sync say since a token: the same.
#[track_caller]
fn told(server: &Server, account: &Account, since: &str) -> (Vec<String>, Vec<String>) {
    let body = sync(server, account, since);
    let told = lists(&body["device_lists"]);
    let slid = slide(server, account, &format!("0/{since}"));
    assert_eq!(lists(&slid["extensions"]["e2ee"]["device_lists"]), told);
    let to = next(&body);
    let path = format!("/_matrix/client/v3/keys/changes?from={since}&to={to}");
    assert_eq!(lists(&server.get(account, &path).ok()), told);
    told
}

fn names(changed: &[&str], left: &[&str]) -> (Vec<String>, Vec<String>) {
    let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
    (owned(changed), owned(left))
}

struct Cast {
    server: Server,
    alice: Account,
    bob: Account,
    carol: Account,
    room_id: String,
}

/// Alice and Bob share a room, Carol is a stranger.
fn cast() -> Cast {
    let server = quiet_server();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| server.register(name));
    let room_id = create(&server, &alice);
    server.join(&bob, &room_id);
    Cast { server, alice, bob, carol, room_id }
}

impl Cast {
    fn now(&self, account: &Account) -> String {
        next(&sync(&self.server, account, ""))
    }
}

#[test]
fn changes_are_told_to_those_who_share_a_room_and_to_oneself() {
    let cast = cast();
    let Cast { server, alice, bob, carol, .. } = &cast;
    let since = [alice, bob, carol].map(|account| cast.now(account));
    change_keys(server, bob, 1);
    assert_eq!(told(server, alice, &since[0]), names(&["bob"], &[]));
    assert_eq!(told(server, bob, &since[1]), names(&["bob"], &[]));
    assert_eq!(told(server, carol, &since[2]), names(&[], &[]));
    let path = format!("/_matrix/client/v3/devices/{}", bob.device_id);
    for step in 0..4 {
        let since = cast.now(alice);
        match step {
            0 => server.put(bob, &path, json!({ "display_name": "New" })).ok(),
            1 => json!(server.login("bob").device_id),
            2 => {
                let second = server.login("bob");
                server.post(&second, "/_matrix/client/v3/logout", json!({})).ok()
            }
            _ => server.post(bob, "/_matrix/client/v3/logout/all", json!({})).ok(),
        };
        assert_eq!(told(server, alice, &since), names(&["bob"], &[]), "{step}");
    }
    let since = cast.now(alice);
    assert_eq!(told(server, alice, &since), names(&[], &[]));
}

#[test]
fn both_sides_of_a_join_learn_of_each_other() {
    let cast = cast();
    let Cast { server, alice, bob, carol, room_id } = &cast;
    let since = [alice, bob, carol].map(|account| cast.now(account));
    server.join(carol, room_id);
    assert_eq!(told(server, alice, &since[0]), names(&["carol"], &[]));
    assert_eq!(told(server, bob, &since[1]), names(&["carol"], &[]));
    assert_eq!(told(server, carol, &since[2]), names(&["alice", "bob"], &[]));
}

#[test]
fn an_invitation_is_told_to_those_in_the_room() {
    let cast = cast();
    let Cast { server, alice, bob, carol, room_id } = &cast;
    let since = [alice, bob, carol].map(|account| cast.now(account));
    server.act(alice, room_id, "invite", json!({ "user_id": carol.user_id }));
    assert_eq!(told(server, bob, &since[1]), names(&["carol"], &[]));
    assert_eq!(told(server, carol, &since[2]), names(&[], &[]));
    let since = cast.now(bob);
    server.leave(carol, room_id);
    assert_eq!(told(server, bob, &since), names(&[], &["carol"]));
}

#[test]
fn who_changes_their_keys_between_invitation_and_join_is_told_when_they_join() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = create(&server, &alice);
    let start = next(&sync(&server, &alice, ""));
    server.act(&alice, &room_id, "invite", json!({ "user_id": bob.user_id }));
    let invited = sync(&server, &alice, &start);
    assert_eq!(lists(&invited["device_lists"]), names(&["bob"], &[]));
    change_keys(&server, &bob, 7);
    let since = next(&sync(&server, &alice, &next(&invited)));
    server.join(&bob, &room_id);
    assert_eq!(told(&server, &alice, &since), names(&["bob"], &[]));
    // A new name is no news.
    let since = next(&sync(&server, &alice, &since));
    let name = format!("/_matrix/client/v3/profile/{}/displayname", bob.user_id);
    server.put(&bob, &name, json!({ "displayname": "Bob" })).ok();
    assert_eq!(told(&server, &alice, &since), names(&[], &[]));
}

#[test]
fn the_last_shared_room_that_goes_is_the_end() {
    let cast = cast();
    let Cast { server, alice, bob, .. } = &cast;
    let second = create(server, alice);
    server.join(bob, &second);
    let since = [alice, bob].map(|account| cast.now(account));
    server.leave(bob, &second);
    assert_eq!(told(server, alice, &since[0]), names(&[], &[]));
    assert_eq!(told(server, bob, &since[1]), names(&[], &[]));
    let since = [alice, bob].map(|account| cast.now(account));
    server.leave(bob, &cast.room_id);
    assert_eq!(told(server, alice, &since[0]), names(&[], &["bob"]));
    assert_eq!(told(server, bob, &since[1]), names(&[], &["alice"]));
    // Changes of strangers are nobody's business, until they meet again.
    let since = [alice, bob].map(|account| cast.now(account));
    change_keys(server, bob, 1);
    assert_eq!(told(server, alice, &since[0]), names(&[], &[]));
    server.join(bob, &second);
    assert_eq!(told(server, alice, &since[0]), names(&["bob"], &[]));
    assert_eq!(told(server, bob, &since[1]), names(&["alice", "bob"], &[]));
}

#[test]
fn who_left_before_oneself_is_left_too() {
    let cast = cast();
    let Cast { server, alice, bob, carol, room_id } = &cast;
    server.join(carol, room_id);
    let since = cast.now(alice);
    server.leave(bob, room_id);
    server.leave(alice, room_id);
    assert_eq!(told(server, alice, &since), names(&[], &["bob", "carol"]));
}

#[test]
fn a_filter_for_rooms_does_not_hide_devices() {
    let cast = cast();
    let Cast { server, alice, carol, room_id, .. } = &cast;
    let filter = r#"%7B%22room%22%3A%7B%22rooms%22%3A%5B%5D%7D%7D"#;
    let since = cast.now(alice);
    server.join(carol, room_id);
    let body = server.get(alice, &format!("{SYNC}?since={since}&filter={filter}")).ok();
    assert_eq!(lists(&body["device_lists"]), names(&["carol"], &[]));
    assert!(body["rooms"].is_null());
}

#[test]
fn a_change_wakes_a_waiting_sync() {
    let cast = cast();
    let Cast { server, alice, bob, .. } = &cast;
    let path = format!("{SYNC}?since={}&timeout=30000", cast.now(alice));
    let wait = server.request("GET", alice, &path, &Value::Null);
    let body = json!({ "device_keys": device_keys(bob, 1) });
    let upload = server.request("POST", bob, UPLOAD, &body);
    let began_ms = server.platform.now_ms();
    let (woken, _) = server.run(join(wait, upload));
    assert_eq!(lists(&woken.ok()["device_lists"]), names(&["bob"], &[]));
    assert!(server.platform.now_ms() < began_ms + 30_000);
}

#[test]
fn counts_come_with_every_answer() {
    let server = quiet_server();
    let alice = server.register("alice");
    let body = sync(&server, &alice, "");
    assert_eq!(body["device_one_time_keys_count"], json!({ "signed_curve25519": 0 }));
    assert_eq!(body["device_unused_fallback_key_types"], json!([]));
    let keys = crypto::one_time_keys(&alice, 0, 3);
    let fallback = crypto::signed_key(&alice, "f");
    let fallback = json!({ "signed_curve25519:F": fallback });
    server.post(&alice, UPLOAD, json!({ "one_time_keys": keys, "fallback_keys": fallback })).ok();
    let body = sync(&server, &alice, &next(&body));
    assert_eq!(body["device_one_time_keys_count"], json!({ "signed_curve25519": 3 }));
    assert_eq!(body["device_unused_fallback_key_types"], json!(["signed_curve25519"]));
    let unstable = &body["org.matrix.msc2732.device_unused_fallback_key_types"];
    assert_eq!(unstable, &json!(["signed_curve25519"]));
    // An imported database has the keys, and no counts of them.
    let forget = myelin::storage::database::Statement::new("DELETE FROM myelin_device_key_counts");
    server.platform.sqlite.batch(&[forget]).unwrap();
    let again = sync(&server, &alice, &next(&body));
    assert_eq!(again["device_one_time_keys_count"], body["device_one_time_keys_count"]);
    assert_eq!(again["device_unused_fallback_key_types"], body["device_unused_fallback_key_types"]);
}

fn publish_cross_signing(server: &Server, account: &Account, seed: u8) -> [Pair; 3] {
    let pairs = [seed, seed + 1, seed + 2].map(Pair::new);
    let key = |usage, index: usize| cross_signing_key(account, usage, &pairs[index], &pairs[0]);
    let body = json!({
        "master_key": key("master", 0), "self_signing_key": key("self_signing", 1),
        "user_signing_key": key("user_signing", 2),
    });
    server.post(account, SIGNING, body).ok();
    pairs
}

#[test]
fn cross_signing_is_told_to_whom_it_concerns() {
    let cast = cast();
    let Cast { server, alice, bob, carol, .. } = &cast;
    change_keys(server, bob, 1);
    let since = [alice, bob, carol].map(|account| cast.now(account));
    let bobs = publish_cross_signing(server, bob, 20);
    publish_cross_signing(server, carol, 40);
    assert_eq!(told(server, alice, &since[0]), names(&["bob"], &[]));
    assert_eq!(told(server, bob, &since[1]), names(&["bob"], &[]));
    assert_eq!(told(server, carol, &since[2]), names(&["carol"], &[]));
    // A signature of an own device concerns everyone.
    let since = [alice, bob].map(|account| cast.now(account));
    let key_id = format!("ed25519:{}", bobs[1].public());
    let signed = bobs[1].sign(device_keys(bob, 1), &bob.user_id, &key_id);
    let body = json!({ &bob.user_id: { &bob.device_id: signed } });
    let answer = server.post(bob, SIGNATURES, body).ok();
    assert_eq!(answer["failures"], json!({}));
    assert_eq!(told(server, alice, &since[0]), names(&["bob"], &[]));
    // A signature of another's master key concerns the one who has made it.
    let alices = publish_cross_signing(server, alice, 60);
    let since = [alice, bob].map(|account| cast.now(account));
    let master = cross_signing_key(bob, "master", &bobs[0], &bobs[0]);
    let key_id = format!("ed25519:{}", alices[2].public());
    let signed = alices[2].sign(master, &alice.user_id, &key_id);
    let body = json!({ &bob.user_id: { bobs[0].public(): signed } });
    assert_eq!(server.post(alice, SIGNATURES, body).ok()["failures"], json!({}));
    assert_eq!(told(server, alice, &since[0]), names(&["bob"], &[]));
    assert_eq!(told(server, bob, &since[1]), names(&[], &[]));
}

/// One who follows others as a client does: marks whom it has to ask again, and asks.
struct Follower {
    account: Account,
    since: String,
    /// By name: the device keys as they were asked for last.
    known: std::collections::BTreeMap<String, Value>,
}

impl Follower {
    fn follow(&mut self, server: &Server) {
        let body = sync(server, &self.account, &self.since);
        self.since = next(&body);
        let of = |name: &str| body["device_lists"][name].as_array().cloned().unwrap_or_default();
        for user_id in of("left") {
            self.known.remove(user_id.as_str().unwrap());
        }
        for user_id in of("changed") {
            let user_id = user_id.as_str().unwrap();
            let keys = ask(server, &self.account, user_id);
            self.known.insert(user_id.to_owned(), keys);
        }
    }
}

fn ask(server: &Server, account: &Account, user_id: &str) -> Value {
    let body = json!({ "device_keys": { user_id: [] } });
    server.post(account, "/_matrix/client/v3/keys/query", body).ok()["device_keys"][user_id].clone()
}

#[test]
fn no_change_is_lost_however_syncs_and_changes_interleave() {
    for seed in 0..12 {
        let server = quiet_server();
        let accounts: Vec<Account> =
            ["alice", "bob", "carol"].iter().map(|name| server.register(name)).collect();
        let rooms: Vec<String> = accounts.iter().take(2).map(|a| create(&server, a)).collect();
        let random = Random::new(seed);
        let since = next(&sync(&server, &accounts[0], ""));
        let mut follower =
            Follower { account: accounts[0].clone(), since, known: Default::default() };
        for step in 0..60_u8 {
            let (who, room_id) = (random.pick(&accounts), random.pick(&rooms));
            let path = |action| format!("/_matrix/client/v3/rooms/{room_id}/{action}");
            match random.below(5) {
                0 => drop(server.post(who, &path("join"), json!({}))),
                1 => drop(server.post(who, &path("leave"), json!({}))),
                2 => change_keys(&server, who, step),
                3 => {
                    let device = format!("/_matrix/client/v3/devices/{}", who.device_id);
                    server.put(who, &device, json!({ "display_name": step.to_string() })).ok();
                }
                _ => follower.follow(&server),
            }
        }
        follower.follow(&server);
        let shared = server.rows(
            "SELECT DISTINCT o.user_id FROM local_current_membership m
             JOIN local_current_membership o ON o.room_id = m.room_id AND o.membership = 'join'
             WHERE m.user_id = '@alice:example.org' AND m.membership = 'join'",
        );
        for row in shared {
            let user_id = row["user_id"].as_str().unwrap();
            // Oneself is known from the beginning, and told of as others are.
            let known = follower.known.get(user_id).cloned().unwrap_or(json!({}));
            let now = ask(&server, &accounts[0], user_id);
            assert_eq!(known, now, "seed {seed}: {user_id}");
        }
    }
}

#[test]
fn replacing_keys_takes_a_password() {
    let server = quiet_server();
    let alice = server.register("alice");
    let pairs = publish_cross_signing(&server, &alice, 1);
    // The same keys again are no change.
    let position = || server.rows("SELECT * FROM e2e_cross_signing_keys").len();
    publish_cross_signing(&server, &alice, 1);
    assert_eq!(position(), 3);
    let other = Pair::new(9);
    let body = json!({ "master_key": cross_signing_key(&alice, "master", &other, &other) });
    let challenge = server.post(&alice, SIGNING, body.clone());
    assert_eq!(challenge.status, 401);
    let auth = json!({ "type": "m.login.password", "password": PASSWORD,
        "session": challenge.body["session"],
        "identifier": { "type": "m.id.user", "user": "alice" } });
    server.post(&alice, SIGNING, json!({ "auth": auth })).ok();
    assert_eq!(position(), 4);
    let body = json!({ "device_keys": { &alice.user_id: [] } });
    let answer = server.post(&alice, "/_matrix/client/v3/keys/query", body).ok();
    let master = &answer["master_keys"][&alice.user_id]["keys"];
    assert_eq!(master, &json!({ format!("ed25519:{}", other.public()): other.public() }));
    assert_ne!(other.public(), pairs[0].public());
}
