//! Who vouches for whom, over the whole server: with real signatures, and with wrong ones.

use crate::support::crypto::{Pair, cross_signing_key, device_keys};
use crate::support::{Account, PASSWORD, Server};
use serde_json::{Value, json};

const UPLOAD: &str = "/_matrix/client/v3/keys/upload";
const QUERY: &str = "/_matrix/client/v3/keys/query";
const SIGNING: &str = "/_matrix/client/v3/keys/device_signing/upload";
const SIGNATURES: &str = "/_matrix/client/v3/keys/signatures/upload";

/// A person with a device, and a master, a self-signing and a user-signing key.
struct Person {
    account: Account,
    pairs: [Pair; 3],
    seed: u8,
}

impl Person {
    fn new(server: &Server, name: &str, seed: u8) -> Self {
        let account = server.register(name);
        let pairs = [seed + 1, seed + 2, seed + 3].map(Pair::new);
        let keys = json!({ "device_keys": device_keys(&account, seed) });
        server.post(&account, UPLOAD, keys).ok();
        let person = Self { account, pairs, seed };
        server.post(&person.account, SIGNING, person.upload()).ok();
        person
    }

    fn key(&self, usage: &str) -> Value {
        let index = ["master", "self_signing", "user_signing"].iter().position(|u| *u == usage);
        cross_signing_key(&self.account, usage, &self.pairs[index.unwrap()], &self.pairs[0])
    }

    fn upload(&self) -> Value {
        json!({
            "master_key": self.key("master"), "self_signing_key": self.key("self_signing"),
            "user_signing_key": self.key("user_signing"),
        })
    }

    fn device_keys(&self) -> Value {
        device_keys(&self.account, self.seed)
    }

    fn master(&self) -> String {
        self.pairs[0].public()
    }

    /// Something with the signature of one of the keys.
    fn sign(&self, pair: usize, object: Value) -> Value {
        let key_id = format!("ed25519:{}", self.pairs[pair].public());
        self.pairs[pair].sign(object, &self.account.user_id, &key_id)
    }

    fn vouch(&self, server: &Server, for_: &Account, name: &str, signed: Value) -> Value {
        let body = json!({ &for_.user_id: { name: signed } });
        let answer = server.post(&self.account, SIGNATURES, body).ok();
        answer["failures"][&for_.user_id][name].clone()
    }

    fn query(&self, server: &Server, of: &Self) -> Value {
        let body = json!({ "device_keys": { &of.account.user_id: [] } });
        server.post(&self.account, QUERY, body).ok()
    }
}

fn people() -> (Server, Person, Person) {
    let server = Server::new();
    let (alice, bob) = (Person::new(&server, "alice", 10), Person::new(&server, "bob", 20));
    (server, alice, bob)
}

#[test]
fn signatures_are_seen_by_whom_they_concern() {
    let (server, alice, bob) = people();
    let device_id = &bob.account.device_id;
    let signed = bob.sign(1, bob.device_keys());
    assert_eq!(bob.vouch(&server, &bob.account, device_id, signed.clone()), Value::Null);
    let signed_master = alice.sign(2, bob.key("master"));
    let result = alice.vouch(&server, &bob.account, &bob.master(), signed_master);
    assert_eq!(result, Value::Null);
    // The device signs the own master key.
    let pair = Pair::new(bob.seed);
    let key_id = format!("ed25519:{device_id}");
    let by_device = pair.sign(bob.key("master"), &bob.account.user_id, &key_id);
    assert_eq!(bob.vouch(&server, &bob.account, &bob.master(), by_device), Value::Null);
    let (user, other) = (&bob.account.user_id, &alice.account.user_id);
    let seen_by = |reader: &Person| {
        let body = reader.query(&server, &bob);
        let master = body["master_keys"][user].clone();
        let device = body["device_keys"][user][device_id].clone();
        (device["signatures"][user].clone(), master["signatures"].clone(), body)
    };
    let (device, master, body) = seen_by(&alice);
    assert_eq!(device.as_object().unwrap().len(), 2);
    assert_eq!(device, signed["signatures"][user]);
    assert_eq!(master.as_object().unwrap().keys().collect::<Vec<_>>(), [other]);
    assert_eq!(body["self_signing_keys"][user], bob.key("self_signing"));
    assert_eq!(body["user_signing_keys"], json!({}));
    let (_, master, body) = seen_by(&bob);
    assert_eq!(master.as_object().unwrap().keys().collect::<Vec<_>>(), [user]);
    assert_eq!(body["user_signing_keys"][user], bob.key("user_signing"));
    // The same again is no failure, and no change.
    let count = || server.rows("SELECT * FROM e2e_cross_signing_signatures").len();
    let before = count();
    assert_eq!(bob.vouch(&server, &bob.account, device_id, signed), Value::Null);
    assert_eq!(count(), before);
}

#[test]
fn wrong_signatures_fail_one_by_one() {
    let (server, alice, bob) = people();
    let device_id = &bob.account.device_id;
    let own = |name: &str, signed: Value| {
        let failure = bob.vouch(&server, &bob.account, name, signed);
        (failure["status"].as_u64(), failure["errcode"].as_str().unwrap_or("").to_owned())
    };
    let signature = (Some(400), "M_INVALID_SIGNATURE".to_owned());
    let not_found = (Some(404), "M_NOT_FOUND".to_owned());
    let unknown = (Some(400), "M_UNKNOWN".to_owned());
    let mut wrong = bob.sign(1, bob.device_keys());
    let key_id = format!("ed25519:{}", bob.pairs[1].public());
    wrong["signatures"][&bob.account.user_id][&key_id] = json!("AAAA");
    assert_eq!(own(device_id, wrong), signature);
    assert_eq!(own(device_id, bob.device_keys()), signature);
    assert_eq!(own(device_id, json!({})), signature);
    assert_eq!(own("NONE", bob.sign(1, bob.device_keys())), not_found);
    let mut changed = bob.device_keys();
    changed["algorithms"] = json!([]);
    assert_eq!(own(device_id, bob.sign(1, changed)), unknown);
    // Signed with the key of somebody else, or by nobody known.
    assert_eq!(own(&bob.master(), bob.sign(1, bob.key("master"))), signature);
    let other = |name: &str, signed: Value| {
        let failure = alice.vouch(&server, &bob.account, name, signed);
        (failure["status"].as_u64(), failure["errcode"].as_str().unwrap_or("").to_owned())
    };
    assert_eq!(other(device_id, alice.sign(2, bob.device_keys())), not_found);
    assert_eq!(other(&bob.master(), alice.sign(1, bob.key("master"))), signature);
    // One wrong signature does not keep a right one out.
    let body = json!({ &bob.account.user_id: {
        device_id: bob.sign(1, bob.device_keys()), "NONE": bob.sign(1, bob.device_keys()),
    } });
    let answer = server.post(&bob.account, SIGNATURES, body).ok();
    let failures = answer["failures"][&bob.account.user_id].as_object().unwrap();
    assert_eq!(failures.keys().collect::<Vec<_>>(), ["NONE"]);
    assert_eq!(server.rows("SELECT * FROM e2e_cross_signing_signatures").len(), 1);
}

#[test]
fn a_good_signature_hides_no_wrong_one() {
    let (server, alice, bob) = people();
    let (user_id, device_id) = (&bob.account.user_id, &bob.account.device_id);
    let key_id = |person: &Person, pair: usize| format!("ed25519:{}", person.pairs[pair].public());
    let code = |failure: Value| failure["errcode"].as_str().unwrap_or("").to_owned();
    let own = |signed: Value| code(bob.vouch(&server, &bob.account, device_id, signed));
    let other = |signed: Value| code(alice.vouch(&server, &bob.account, &bob.master(), signed));
    let (device, master) = (bob.sign(1, bob.device_keys()), alice.sign(2, bob.key("master")));
    let stored = || {
        server.rows("SELECT key_id, signature FROM e2e_cross_signing_signatures ORDER BY key_id")
    };
    assert_eq!((own(device.clone()), other(master.clone())), Default::default());
    let good = stored();
    assert_eq!(good.len(), 2);
    let mut wrong = device.clone();
    wrong["signatures"][user_id][key_id(&bob, 1)] = json!("AAAA");
    assert_eq!(own(wrong), "M_INVALID_SIGNATURE");
    let mut wrong = master.clone();
    wrong["signatures"][&alice.account.user_id][key_id(&alice, 2)] = json!("AAAA");
    assert_eq!(other(wrong), "M_INVALID_SIGNATURE");
    // Something else than what is stored, whether the signature fits it or not.
    let mut changed = bob.device_keys();
    changed["algorithms"] = json!([]);
    let message = bob.vouch(&server, &bob.account, device_id, bob.sign(1, changed));
    assert_eq!(message["message"], "Key does not match");
    let mut changed = device.clone();
    changed["algorithms"] = json!([]);
    assert_eq!(own(changed), "M_UNKNOWN");
    let mut changed = bob.key("master");
    changed["usage"] = json!(["master", "more"]);
    assert_eq!(other(alice.sign(2, changed)), "M_UNKNOWN");
    assert_eq!((own(device), other(master)), Default::default());
    assert_eq!(stored(), good);
}

#[test]
fn who_has_no_keys_can_vouch_for_nobody() {
    let (server, _, bob) = people();
    let carol = server.register("carol");
    let body = json!({
        &carol.user_id: { &carol.device_id: {} }, &bob.account.user_id: { bob.master(): {} },
        "@far:elsewhere.example": { "D": {} },
    });
    let failures = server.post(&carol, SIGNATURES, body).ok()["failures"].clone();
    for (user_id, name) in
        [(&carol.user_id, &carol.device_id), (&bob.account.user_id, &bob.master())]
    {
        assert_eq!(failures[user_id][name]["errcode"], "M_NOT_FOUND");
    }
    assert_eq!(failures["@far:elsewhere.example"]["D"]["errcode"], "M_NOT_FOUND");
    for body in [json!({ "@a:b": [] }), json!({ "@a:b": { "D": 1 } })] {
        server.post(&carol, SIGNATURES, body).error(400, "M_INVALID_PARAM");
    }
    let many: serde_json::Map<_, _> = (0..1001).map(|n| (n.to_string(), json!({}))).collect();
    let body = json!({ &carol.user_id: many });
    server.post(&carol, SIGNATURES, body).error(413, "M_TOO_LARGE");
}

#[test]
fn keys_that_are_not_what_they_say_are_refused() {
    let server = Server::new();
    let account = server.register("carol");
    let pairs = [1, 2, 3].map(Pair::new);
    let carol = Person { account, pairs, seed: 9 };
    let refuse = |body: Value, errcode: &str| {
        server.post(&carol.account, SIGNING, body).error(400, errcode);
    };
    let of = |usage: &str| carol.key(usage);
    refuse(json!({ "self_signing_key": of("self_signing") }), "M_MISSING_PARAM");
    refuse(json!({ "master_key": of("self_signing") }), "M_INVALID_PARAM");
    refuse(json!({ "master_key": 1 }), "M_INVALID_PARAM");
    let mut two = of("master");
    two["keys"]["ed25519:more"] = json!("more");
    refuse(json!({ "master_key": two }), "M_INVALID_PARAM");
    let mut foreign = of("master");
    foreign["user_id"] = json!("@dave:example.org");
    refuse(json!({ "master_key": foreign }), "M_INVALID_PARAM");
    let mut malformed = of("master");
    malformed["keys"] = json!({ "ed25519:AAAA": "AAAA" });
    refuse(json!({ "master_key": malformed }), "M_INVALID_PARAM");
    let mut unsigned = of("user_signing");
    unsigned["signatures"] = json!({});
    let body = json!({ "master_key": of("master"), "user_signing_key": unsigned });
    refuse(body, "M_INVALID_SIGNATURE");
    assert!(server.rows("SELECT * FROM e2e_cross_signing_keys").is_empty());
    // No device has the id of a key, and no key that of a device.
    server.post(&carol.account, SIGNING, carol.upload()).ok();
    let login = json!({
        "type": "m.login.password", "password": PASSWORD, "device_id": carol.master(),
        "identifier": { "type": "m.id.user", "user": "carol" },
    });
    server.post("", "/_matrix/client/v3/login", login).error(400, "M_FORBIDDEN");
    assert!(server.rows("SELECT * FROM devices WHERE hidden = 1").len() == 3);
}
