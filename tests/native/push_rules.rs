//! Push rules: the defaults, and what users make of them.

use crate::support::{Account, Reply, Server};
use serde_json::{Value, json};

struct Rules {
    server: Server,
    alice: Account,
}

impl Rules {
    fn new() -> Self {
        let server = Server::new();
        let alice = server.register("alice");
        Self { server, alice }
    }

    fn call(&self, method: &str, rest: &str, body: Value) -> Reply {
        let path = format!("/_matrix/client/v3/pushrules/global/{rest}");
        self.server.call(method, &self.alice, &path, body)
    }

    fn put(&self, rest: &str, body: Value) -> Reply {
        self.call("PUT", rest, body)
    }

    fn get(&self, rest: &str) -> Value {
        self.call("GET", rest, Value::Null).ok()
    }

    /// The ids of a kind, the most important first.
    fn ids(&self, kind: &str) -> Vec<String> {
        let rules = self.get(&format!("{kind}/"));
        let rules = rules.as_array().unwrap();
        rules.iter().map(|rule| rule["rule_id"].as_str().unwrap().to_owned()).collect()
    }

    fn position(&self) -> i64 {
        let sql = "SELECT stream_id FROM stream_positions WHERE stream_name = 'push_rules_stream'";
        self.server.rows(sql)[0]["stream_id"].as_i64().unwrap()
    }
}

fn simple() -> Value {
    json!({ "actions": ["notify"] })
}

#[test]
fn rules_of_every_kind_can_be_added_and_come_back() {
    let rules = Rules::new();
    let conditional = json!({
        "actions": ["notify", { "set_tweak": "sound", "value": "ping" }],
        "conditions": [{ "kind": "event_match", "key": "type", "pattern": "m.x" }],
    });
    let cases = [
        ("override/mine", conditional.clone()),
        ("underride/mine", conditional),
        ("content/mine", json!({ "actions": ["notify"], "pattern": "cake*" })),
        ("room/!a:b.test", simple()),
        ("sender/@a:b.test", simple()),
    ];
    for (path, rule) in cases {
        let put = rules.put(path, rule.clone());
        assert_eq!(put.cost.round_trips.get(), 2);
        put.ok();
        let mut expected = rule;
        expected["rule_id"] = json!(path.split_once('/').unwrap().1);
        expected["default"] = json!(false);
        expected["enabled"] = json!(true);
        assert_eq!(rules.get(path), expected);
    }
    let data = format!("/_matrix/client/v3/user/{}/account_data/m.push_rules", rules.alice.user_id);
    let content = rules.server.get(&rules.alice, &data).ok();
    assert_eq!(content["global"]["room"][0]["rule_id"], "!a:b.test");
}

#[test]
fn a_new_rule_comes_first_unless_it_is_placed_and_setting_it_again_changes_it() {
    let rules = Rules::new();
    for name in ["one", "two"] {
        rules.put(&format!("sender/@{name}:b.test"), simple()).ok();
    }
    rules.put("sender/@three:b.test?before=@one:b.test", simple()).ok();
    rules.put("sender/@four:b.test?after=@one:b.test", simple()).ok();
    let order = ["@two:b.test", "@three:b.test", "@one:b.test", "@four:b.test"];
    assert_eq!(rules.ids("sender"), order);
    rules.put("sender/@one:b.test?after=@four:b.test", json!({ "actions": [] })).ok();
    assert_eq!(rules.ids("sender")[2..], ["@four:b.test", "@one:b.test"]);
    assert_eq!(rules.get("sender/@one:b.test/actions"), json!({ "actions": [] }));
    rules.put("sender/@x:b.test?after=@gone:b.test", simple()).error(400, "M_INVALID_PARAM");
    rules.put("override/mine", json!({ "actions": [], "conditions": [] })).ok();
    assert_eq!(rules.ids("override")[..2], [".m.rule.master", "mine"]);
}

#[test]
fn rules_are_switched_and_given_other_actions_defaults_too() {
    let rules = Rules::new();
    rules.put("room/!a:b.test", simple()).ok();
    for rule in ["room/!a:b.test", "underride/.m.rule.message"] {
        for enabled in [false, true] {
            rules.put(&format!("{rule}/enabled"), json!({ "enabled": enabled })).ok();
            assert_eq!(rules.get(rule)["enabled"], enabled);
        }
        rules.put(&format!("{rule}/enabled"), json!(false)).ok();
        rules.put(&format!("{rule}/actions"), json!({ "actions": ["dont_notify"] })).ok();
        let found = rules.get(rule);
        assert_eq!(
            (&found["enabled"], &found["actions"]),
            (&json!(false), &json!(["dont_notify"]))
        );
    }
    for attribute in ["enabled", "actions"] {
        let body = json!({ "enabled": true, "actions": [] });
        for rule in ["room/!gone:b.test", "override/.m.rule.gone"] {
            rules.put(&format!("{rule}/{attribute}"), body.clone()).error(404, "M_NOT_FOUND");
        }
    }
}

#[test]
fn a_rule_can_be_removed_and_a_default_cannot() {
    let rules = Rules::new();
    rules.put("room/!a:b.test", simple()).ok();
    rules.put("room/!a:b.test/enabled", json!(false)).ok();
    rules.call("DELETE", "room/!a:b.test", Value::Null).ok();
    rules.call("GET", "room/!a:b.test", Value::Null).error(404, "M_NOT_FOUND");
    rules.call("DELETE", "room/!a:b.test", Value::Null).error(404, "M_NOT_FOUND");
    rules.call("DELETE", "override/.m.rule.master", Value::Null).error(404, "M_NOT_FOUND");
    rules.put("room/!a:b.test", simple()).ok();
    assert_eq!(rules.get("room/!a:b.test")["enabled"], true, "the old switch is gone");
}

#[test]
fn rules_of_rooms_and_senders_may_have_any_id_and_then_match_nothing() {
    let rules = Rules::new();
    let odd = ["room/%23spam:b.test", "room/%23more:b.test", "sender/bob", "room/!r:b.test"];
    for path in odd {
        rules.put(path, json!({ "actions": [] })).ok();
        assert_eq!(rules.get(path)["enabled"], true);
    }
    assert_eq!(rules.ids("room"), ["!r:b.test", "#more:b.test", "#spam:b.test"]);
    rules.put("room/%23top:b.test?before=%23more:b.test", simple()).ok();
    let order = ["!r:b.test", "#top:b.test", "#more:b.test", "#spam:b.test"];
    assert_eq!(rules.ids("room"), order);
    rules.put("room/%23top:b.test/enabled", json!({ "enabled": false })).ok();
    rules.put("room/%23top:b.test/actions", json!({ "actions": ["dont_notify"] })).ok();
    let expected = json!({
        "rule_id": "#top:b.test", "default": false, "enabled": false, "actions": ["dont_notify"],
    });
    assert_eq!(rules.get("room/%23top:b.test"), expected);
    let sync = rules.server.get(&rules.alice, "/_matrix/client/v3/sync").ok();
    let events = sync["account_data"]["events"].as_array().unwrap();
    let shown = events.iter().find(|event| event["type"] == "m.push_rules").unwrap();
    assert_eq!(shown["content"]["global"]["sender"][0]["rule_id"], "bob");

    let bob = rules.server.register("bob");
    let create = json!({ "preset": "public_chat" });
    let room = rules.server.post(&bob, "/_matrix/client/v3/createRoom", create).ok();
    let room = room["room_id"].as_str().unwrap();
    let join = format!("/_matrix/client/v3/join/{room}");
    rules.server.post(&rules.alice, &join, json!({})).ok();
    let send = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/1");
    rules.server.put(&bob, &send, json!({ "msgtype": "m.text", "body": "hello" })).ok();
    let sql = "SELECT count(*) AS n FROM event_push_actions WHERE user_id = '@alice:example.org'";
    assert_eq!(rules.server.rows(sql)[0]["n"], 1, "the default rules still notify");

    rules.call("DELETE", "room/%23top:b.test", Value::Null).ok();
    rules.call("DELETE", "room/%23top:b.test", Value::Null).error(404, "M_NOT_FOUND");
    assert_eq!(rules.ids("room"), ["!r:b.test", "#more:b.test", "#spam:b.test"]);
}

#[test]
fn rules_that_make_no_sense_are_refused_and_write_nothing() {
    let rules = Rules::new();
    let before = rules.position();
    let refused = [
        ("override/.mine", json!({ "actions": [], "conditions": [] })),
        ("override/mine", simple()),
        ("underride/mine", json!({ "actions": [], "conditions": [{}] })),
        ("content/mine", simple()),
        ("room/!a:b.test", json!({})),
        ("room/!a:b.test", json!({ "actions": ["dance"] })),
        ("room/!a:b.test", json!({ "actions": [{ "dance": true }] })),
        ("odd/mine", simple()),
        ("sender/@a:b.test?after=@a:b.test", simple()),
        ("sender/@a:b.test?before=@a:b.test", simple()),
        ("override/mine?after=.m.rule.master", json!({ "actions": [], "conditions": [] })),
        ("room/%23a%5Cb:b.test", simple()),
        ("override/.m.rule.master/enabled", json!({ "enabled": "yes" })),
        ("override/.m.rule.master/actions", json!({ "actions": "notify" })),
    ];
    for (path, body) in refused {
        let reply = rules.put(path, body);
        assert_eq!(reply.status, 400, "{path}: {}", reply.body);
    }
    assert_eq!(rules.position(), before);
}

#[test]
fn paths_that_name_no_rule_are_refused() {
    let rules = Rules::new();
    let call = |method: &str, path: &str| {
        let path = format!("/_matrix/client/v3/pushrules{path}");
        let body = if method == "PUT" { simple() } else { Value::Null };
        rules.server.call(method, &rules.alice, &path, body)
    };
    for path in [
        "/global",
        "/global/room",
        "/not_a_scope/",
        "/not_a_scope/room/a",
        "/global/not_a_template/",
        "/global/not_a_template/foo",
        "/global/override/.m.rule.master/not_an_attr",
    ] {
        call("GET", path).error(400, "M_UNRECOGNIZED");
    }
    for path in ["/", "/not_a_scope/room/a", "/global", "/global/room", "/global/room/"] {
        call("PUT", path).error(400, "M_UNRECOGNIZED");
    }
    call("PUT", "/global/override/.m.rule.master/not_an_attr").error(400, "M_UNRECOGNIZED");
    call("PUT", &format!("/global/override/{}", "x".repeat(301))).error(413, "M_TOO_LARGE");
    call("DELETE", "/global/room").error(400, "M_UNRECOGNIZED");
    call("GET", "").error(404, "M_UNRECOGNIZED");
    call("GET", "/global/override/not_a_rule_id").error(404, "M_NOT_FOUND");
}

#[test]
fn every_change_takes_a_position_and_is_noted() {
    let rules = Rules::new();
    let before = rules.position();
    rules.put("room/!a:b.test", simple()).ok();
    rules.put("room/!a:b.test/enabled", json!(false)).ok();
    rules.put("override/.m.rule.master/enabled", json!(true)).ok();
    rules.put("underride/.m.rule.call/actions", json!({ "actions": [] })).ok();
    rules.call("DELETE", "room/!a:b.test", Value::Null).ok();
    assert_eq!(rules.position(), before + 5);
    let sql = "SELECT stream_id, rule_id, op, priority_class, actions FROM push_rules_stream";
    let room = "global/room/!a:b.test";
    let row = |index: i64, rule_id: &str, op: &str, class: Value, actions: Value| {
        json!({
            "stream_id": before + index, "rule_id": rule_id, "op": op,
            "priority_class": class, "actions": actions,
        })
    };
    let null = Value::Null;
    let expected = [
        row(1, room, "ADD", json!(3), json!("[\"notify\"]")),
        row(2, room, "DISABLE", null.clone(), null.clone()),
        row(3, "global/override/.m.rule.master", "ENABLE", null.clone(), null.clone()),
        row(4, "global/underride/.m.rule.call", "ACTIONS", null.clone(), json!("[]")),
        row(5, room, "DELETE", null.clone(), null),
    ];
    assert_eq!(rules.server.rows(sql), expected);
}
