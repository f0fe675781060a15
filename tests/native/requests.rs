//! Whatever anyone sends, to whichever endpoint, gets an answer that is the caller's to fix.

use std::cell::RefCell;

use crate::support::{Account, Reply, Server, encode};
use http::Request;
use myelin::routes::table;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

/// Names that the specification gives to fields and parameters.
const NAMES: &[&str] = &[
    "account_data",
    "at",
    "auth",
    "avatar_url",
    "ban",
    "body",
    "canonical_alias",
    "content",
    "creation_content",
    "device_id",
    "devices",
    "dir",
    "displayname",
    "event_format",
    "event_id",
    "events",
    "events_default",
    "filter",
    "from",
    "full_state",
    "identifier",
    "initial_state",
    "invite",
    "is_direct",
    "keys",
    "limit",
    "membership",
    "msgtype",
    "name",
    "new_password",
    "not_senders",
    "notifications",
    "password",
    "power_level_content_override",
    "preset",
    "presence",
    "reason",
    "redacts",
    "refresh_token",
    "room",
    "room_alias_name",
    "room_id",
    "room_version",
    "rooms",
    "search_term",
    "session",
    "set_presence",
    "since",
    "state",
    "state_key",
    "timeline",
    "timeout",
    "to",
    "topic",
    "ts",
    "type",
    "types",
    "user",
    "user_id",
    "username",
    "users",
    "visibility",
];

/// Values that mean something to some endpoint.
const TEXTS: &[&str] = &[
    "",
    "@alice:example.org",
    "@bob:elsewhere.org",
    "@:example.org",
    "#room:example.org",
    "!room:example.org",
    "$event:example.org",
    "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "m.room.message",
    "m.room.member",
    "m.room.power_levels",
    "m.room.create",
    "m.direct",
    "m.push_rules",
    "m.login.password",
    "m.login.dummy",
    "m.id.user",
    "private_chat",
    "public_chat",
    "join",
    "leave",
    "ban",
    "1",
    "11",
    "12",
    "b",
    "f",
    "s0_0_0_0_0_0_0_0_0_0",
    "s99999999999999999999_1",
    "t1-2_0_0_0",
    "true",
    "9223372036854775807",
    "-1",
    "1e400",
    "\u{0}",
    "\u{fffd}\u{1f600}\u{202e}",
];

/// A place in a request for something that only exists when the server runs.
#[derive(Clone, Debug)]
enum Text {
    Fixed(String),
    OwnUser,
    OwnRoom,
    OwnEvent,
}

#[derive(Clone, Debug)]
enum Body {
    Json(Value),
    Bytes(Vec<u8>),
}

#[derive(Clone, Debug)]
struct Case {
    route: Index,
    path: Index,
    /// One for each argument of the path; `None` is one of the kind that belongs there.
    args: Vec<Option<Text>>,
    query: Vec<(String, Text)>,
    body: Body,
    token: Option<String>,
    raw_path: Option<String>,
}

fn text() -> impl Strategy<Value = Text> {
    prop_oneof![
        3 => select(TEXTS).prop_map(|text| Text::Fixed(text.to_owned())),
        2 => any::<String>().prop_map(Text::Fixed),
        1 => "[a-z]{300}".prop_map(Text::Fixed),
        2 => Just(Text::OwnUser),
        4 => Just(Text::OwnRoom),
        2 => Just(Text::OwnEvent),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-3i64..200).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(TEXTS).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(Value::from("x".repeat(70_000))),
    ];
    let name = prop_oneof![
        9 => select(NAMES).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(name.clone(), inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn body() -> impl Strategy<Value = Body> {
    let object = btree_map(select(NAMES).prop_map(str::to_owned), value(), 0..8);
    prop_oneof![
        8 => object.prop_map(|fields| Body::Json(Value::Object(fields.into_iter().collect()))),
        2 => value().prop_map(Body::Json),
        1 => vec(any::<u8>(), 0..40).prop_map(Body::Bytes),
        1 => (1usize..40_000).prop_map(|depth| Body::Bytes(vec![b'['; depth])),
        1 => Just(Body::Bytes(Vec::new())),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let token = prop_oneof![
        8 => Just(None),
        1 => Just(Some(String::new())),
        1 => "[ -~]{0,40}".prop_map(Some),
    ];
    let raw_path = prop_oneof![
        15 => Just(None),
        1 => "(/|%[0-9a-fA-F]{2}|%|[a-z{}!@#:_.~*+-]){0,30}".prop_map(Some),
    ];
    let query = vec((select(NAMES).prop_map(str::to_owned), text()), 0..5);
    (
        any::<Index>(),
        any::<Index>(),
        vec(proptest::option::weighted(0.4, text()), 6),
        query,
        body(),
        token,
        raw_path,
    )
        .prop_map(|(route, path, args, query, body, token, raw_path)| Case {
            route,
            path,
            args,
            query,
            body,
            token,
            raw_path,
        })
}

/// A server, and somebody on it who has a room; both are made anew when they are spoiled.
struct World {
    server: Server,
    who: RefCell<Who>,
}

struct Who {
    account: Account,
    room_id: String,
    event_id: String,
    count: u32,
}

impl World {
    fn new() -> Self {
        let server = Server::new();
        let who = RefCell::new(settle(&server, 0));
        Self { server, who }
    }

    fn text(&self, text: &Text) -> String {
        let who = self.who.borrow();
        match text {
            Text::Fixed(text) => text.clone(),
            Text::OwnUser => who.account.user_id.clone(),
            Text::OwnRoom => who.room_id.clone(),
            Text::OwnEvent => who.event_id.clone(),
        }
    }

    /// What the argument of this name stands for.
    fn fitting(&self, name: &str) -> String {
        match name {
            "{room_id}" | "{room_id_or_alias}" => self.text(&Text::OwnRoom),
            "{event_id}" => self.text(&Text::OwnEvent),
            "{event_type}" => "m.room.message".to_owned(),
            "{user_id}" => self.text(&Text::OwnUser),
            _ => "1".to_owned(),
        }
    }

    /// The request's target: the route's path with its arguments, and the query.
    fn target(&self, case: &Case, path: &str) -> String {
        let mut args = case.args.iter();
        let mut target = fill(path, |name| match args.next().expect("a path has few arguments") {
            Some(text) => self.text(text),
            None => self.fitting(name),
        });
        if let Some(raw) = &case.raw_path {
            target.push_str(raw);
        }
        let pairs = case.query.iter();
        let pairs = pairs.map(|(name, text)| format!("{name}={}", encode(&self.text(text))));
        let query = pairs.collect::<Vec<_>>().join("&");
        if query.is_empty() { target } else { format!("{target}?{query}") }
    }

    fn send(&self, case: &Case) -> Option<(String, Reply)> {
        let table = table();
        let route = case.route.get(&table);
        let path: &str = case.path.get::<&str>(&route.paths);
        let target = self.target(case, path);
        let bytes = match &case.body {
            Body::Json(value) => value.to_string().into_bytes(),
            Body::Bytes(bytes) => bytes.clone(),
        };
        let own = self.who.borrow().account.token.clone();
        let request = Request::builder()
            .method(&route.method)
            .uri(&target)
            .header("authorization", format!("Bearer {}", case.token.as_ref().unwrap_or(&own)))
            .body(bytes);
        // What is no HTTP at all does not reach a Worker.
        let reply = self.server.run(self.server.send(request.ok()?));
        if case.token.is_none() && reply.body["errcode"] == "M_UNKNOWN_TOKEN" {
            let count = self.who.borrow().count + 1;
            self.who.replace(settle(&self.server, count));
        }
        Some((format!("{} {target}", route.method), reply))
    }
}

/// The path with its arguments in it, percent-encoded.
fn fill(path: &str, mut arg: impl FnMut(&str) -> String) -> String {
    let segments = path.split('/').map(|segment| match segment.starts_with('{') {
        true => encode(&arg(segment)),
        false => segment.to_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
}

fn settle(server: &Server, count: u32) -> Who {
    let account = server.register(&format!("somebody{count}"));
    let room = server.post(&account, "/_matrix/client/v3/createRoom", json!({})).ok();
    let room_id = room["room_id"].as_str().unwrap().to_owned();
    let path = format!("/_matrix/client/v3/rooms/{room_id}/send/m.room.message/one");
    let sent = server.put(&account, &path, json!({ "msgtype": "m.text", "body": "one" })).ok();
    let event_id = sent["event_id"].as_str().unwrap().to_owned();
    Who { account, room_id, event_id, count }
}

/// Not our fault, JSON where it is an error, and an errcode unless it asks for authentication.
fn check(what: &str, reply: &Reply) -> Result<(), TestCaseError> {
    prop_assert!(reply.status < 500, "{what}: {} {}", reply.status, reply.body);
    if reply.status >= 400 {
        let asks = reply.status == 401 && reply.body["flows"].is_array();
        prop_assert!(reply.body["errcode"].is_string() || asks, "{what}: {}", reply.body);
    }
    Ok(())
}

#[test]
fn no_request_is_our_fault() {
    let world = World::new();
    let config = ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&case(), |case| match world.send(&case) {
        Some((what, reply)) => check(&what, &reply),
        None => Ok(()),
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    world.server.get("", "/_matrix/client/versions").ok();
}

#[test]
fn every_endpoint_refuses_what_is_not_json_and_nobody_in_particular() {
    let world = World::new();
    let (own, room_id) = {
        let who = world.who.borrow();
        (who.account.token.clone(), who.room_id.clone())
    };
    for route in table() {
        for path in &route.paths {
            for token in ["", "no such token", &own] {
                for bytes in [&b"{"[..], b"\xff\xfe", b"[]", b"null", b"\"\"", b""] {
                    let target = fill(path, |_| room_id.clone());
                    let method = route.method.as_str();
                    let sent = world.server.request_bytes(method, token, &target, bytes.to_vec());
                    let reply = world.server.run(sent);
                    check(&format!("{method} {target}"), &reply).unwrap();
                }
            }
        }
    }
}
