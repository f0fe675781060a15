//! Spaces and the rooms in them, and what is told of a room to those who are not in it.

use crate::support::{Account, Reply, Server};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

const V3: &str = "/_matrix/client/v3";

fn create(server: &Server, owner: &Account, options: Value) -> String {
    let body = server.post(owner, &format!("{V3}/createRoom"), options).ok();
    body["room_id"].as_str().unwrap().to_owned()
}

fn space(server: &Server, owner: &Account, name: &str) -> String {
    let kind = json!({ "type": "m.space" });
    let options = json!({ "name": name, "preset": "public_chat", "creation_content": kind });
    create(server, owner, options)
}

/// A room that needs an invitation unless these events say otherwise.
fn room(server: &Server, owner: &Account, name: &str, state: &[(&str, Value)]) -> String {
    let event = |event: &(&str, Value)| {
        let (event_type, content) = event;
        json!({ "type": event_type, "state_key": "", "content": content })
    };
    let initial: Vec<Value> = state.iter().map(event).collect();
    let preset = "private_chat";
    let options = json!({ "name": name, "preset": preset, "initial_state": initial });
    create(server, owner, options)
}

fn open_room(server: &Server, owner: &Account, name: &str) -> String {
    create(server, owner, json!({ "name": name, "preset": "public_chat" }))
}

fn state(server: &Server, sender: &Account, room_id: &str, key: (&str, &str), content: Value) {
    let path = format!("{V3}/rooms/{room_id}/state/{}/{}", key.0, key.1);
    server.put(sender, &path, content).ok();
}

fn add(server: &Server, sender: &Account, space_id: &str, child: &str, content: Value) {
    let mut content = content;
    content["via"] = json!(["example.org"]);
    state(server, sender, space_id, ("m.space.child", child), content);
}

fn hierarchy(space_id: &str, query: &str) -> String {
    format!("/_matrix/client/v1/rooms/{space_id}/hierarchy?{query}")
}

fn names(body: &Value) -> Vec<&str> {
    let rooms = body["rooms"].as_array().unwrap().iter();
    rooms.map(|room| room["name"].as_str().unwrap()).collect()
}

fn summary(server: &Server, token: impl AsRef<str>, room: &str) -> Reply {
    let room = utf8_percent_encode(room, NON_ALPHANUMERIC);
    server.get(token, &format!("/_matrix/client/v1/room_summary/{room}"))
}

#[test]
fn a_space_shows_its_rooms_in_order_with_one_round_trip() {
    let server = Server::new();
    let alice = server.register("alice");
    let root = space(&server, &alice, "root");
    let [last, sub, first, inner] = ["last", "sub", "first", "inner"].map(|name| match name {
        "sub" => space(&server, &alice, name),
        _ => open_room(&server, &alice, name),
    });
    add(&server, &alice, &root, &last, json!({}));
    add(&server, &alice, &root, &sub, json!({ "order": "b" }));
    add(&server, &alice, &root, &first, json!({ "order": "a", "suggested": true }));
    add(&server, &alice, &sub, &inner, json!({}));
    let reply = server.get(&alice, &hierarchy(&root, ""));
    assert_eq!(reply.cost.round_trips.get(), 1);
    assert_eq!(reply.cost.rows_written.get(), 0);
    let body = reply.ok();
    assert_eq!(names(&body), ["root", "first", "sub", "inner", "last"]);
    assert_eq!(body["next_batch"], Value::Null);
    let of_root = &body["rooms"][0];
    assert_eq!(of_root["room_type"], "m.space");
    assert_eq!(of_root["room_id"], root);
    assert_eq!(
        (&of_root["num_joined_members"], &of_root["room_version"]),
        (&json!(1), &json!("12"))
    );
    let child = &of_root["children_state"][0];
    let ts = child["origin_server_ts"].as_u64().unwrap();
    let content = json!({ "via": ["example.org"], "order": "a", "suggested": true });
    let expected = json!({
        "type": "m.space.child", "state_key": first, "sender": alice.user_id, "content": content,
        "origin_server_ts": ts,
    });
    assert_eq!(*child, expected);
    assert_eq!(of_root["children_state"].as_array().unwrap().len(), 3);
    assert_eq!(body["rooms"][1]["children_state"], json!([]));
    assert_eq!(body["rooms"][1]["room_type"], Value::Null);
}

#[test]
fn only_rooms_that_the_reader_may_know_of_are_shown() {
    let server = Server::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| server.register(name));
    let root = space(&server, &alice, "root");
    let rule = |rule: &str| [("m.room.join_rules", json!({ "join_rule": rule }))];
    let allow = json!([{ "type": "m.room_membership", "room_id": root }, "odd", { "room_id": 1 }]);
    let allowing =
        |rule: &str| [("m.room.join_rules", json!({ "join_rule": rule, "allow": allow }))];
    let readable =
        [("m.room.history_visibility", json!({ "history_visibility": "world_readable" }))];
    let rooms = [
        ("public", &rule("public")),
        ("knock", &rule("knock")),
        ("invite", &rule("invite")),
        ("unknown rule", &rule("org.example.rule")),
        ("invited", &rule("invite")),
        ("joined", &rule("invite")),
        ("left", &rule("invite")),
        ("banned", &rule("invite")),
        ("restricted", &allowing("restricted")),
        ("knock_restricted", &allowing("knock_restricted")),
        ("readable", &readable),
    ];
    for (index, (name, events)) in rooms.iter().enumerate() {
        let room_id = room(&server, &alice, name, &events[..]);
        let order = format!("{index:02}");
        add(&server, &alice, &root, &room_id, json!({ "order": order }));
        let act = |by: &Account, what: &str, of: &Account| {
            let path = format!("{V3}/rooms/{room_id}/{what}");
            server.post(by, &path, json!({ "user_id": of.user_id })).ok();
        };
        if ["invited", "joined", "left"].contains(name) {
            act(&alice, "invite", &bob);
        }
        if ["joined", "left"].contains(name) {
            server.post(&bob, &format!("{V3}/join/{room_id}"), json!({})).ok();
        }
        match *name {
            "left" => {
                server.post(&bob, &format!("{V3}/rooms/{room_id}/leave"), json!({})).ok();
            }
            "banned" => act(&alice, "ban", &bob),
            _ => {}
        }
    }
    add(&server, &alice, &root, "!elsewhere:example.com", json!({}));
    add(&server, &alice, &root, "not-a-room", json!({}));
    let seen = |reader: &Account| {
        let body = server.get(reader, &hierarchy(&root, "")).ok();
        names(&body).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let open = ["root", "public", "knock"];
    let to_all = ["knock_restricted", "readable"];
    assert_eq!(seen(&carol), [&open[..], &to_all[..]].concat());
    assert_eq!(seen(&bob), [&open[..], &["invited", "joined"], &to_all[..]].concat());
    server.post(&bob, &format!("{V3}/join/{root}"), json!({})).ok();
    let all = [&open[..], &["invited", "joined", "restricted"], &to_all[..]].concat();
    assert_eq!(seen(&bob), all);
    let body = server.get(&bob, &hierarchy(&root, "")).ok();
    let restricted = &body["rooms"][5];
    assert_eq!(restricted["join_rule"], "restricted");
    assert_eq!(restricted["allowed_room_ids"], json!([root]));
    // What is not shown is still a child of the space.
    assert_eq!(body["rooms"][0]["children_state"].as_array().unwrap().len(), rooms.len() + 2);
}

#[test]
fn a_hidden_space_hides_what_is_below_it() {
    let server = Server::new();
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    let root = space(&server, &alice, "root");
    let kind = json!({ "type": "m.space" });
    let options = json!({ "name": "secret", "preset": "private_chat", "creation_content": kind });
    let secret = create(&server, &alice, options);
    let inner = open_room(&server, &alice, "inner");
    add(&server, &alice, &root, &secret, json!({}));
    add(&server, &alice, &secret, &inner, json!({}));
    assert_eq!(names(&server.get(&alice, &hierarchy(&root, "")).ok()), ["root", "secret", "inner"]);
    assert_eq!(names(&server.get(&bob, &hierarchy(&root, "")).ok()), ["root"]);
    server.get(&bob, &hierarchy(&secret, "")).error(403, "M_FORBIDDEN");
    // A room that everyone has left is not known any more.
    server.post(&alice, &format!("{V3}/rooms/{inner}/leave"), json!({})).ok();
    assert_eq!(names(&server.get(&alice, &hierarchy(&root, "")).ok()), ["root", "secret"]);
}

#[test]
fn pages_give_each_room_once_and_belong_to_their_query() {
    let server = Server::new();
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    let root = space(&server, &alice, "000");
    for index in 1..=110 {
        let child = open_room(&server, &alice, &format!("{index:03}"));
        add(&server, &alice, &root, &child, json!({ "order": format!("{index:03}") }));
    }
    let first = server.get(&alice, &hierarchy(&root, "limit=1000"));
    // One to read the space, one the children that come first, one to remember where it stands.
    assert_eq!((first.cost.round_trips.get(), first.cost.rows_written.get()), (3, 1));
    let first = first.ok();
    let next = first["next_batch"].as_str().unwrap();
    let second = server.get(&alice, &hierarchy(&root, &format!("limit=70&from={next}")));
    assert_eq!(second.cost.round_trips.get(), 3);
    let second = second.ok();
    let last = second["next_batch"].as_str().unwrap();
    let third = server.get(&alice, &hierarchy(&root, &format!("from={last}"))).ok();
    let all = [names(&first), names(&second), names(&third)].concat();
    let expected: Vec<String> = (0..=110).map(|index| format!("{index:03}")).collect();
    assert_eq!(all, expected);
    assert_eq!((names(&first).len(), names(&second).len()), (50, 50));
    assert_eq!(third["next_batch"], Value::Null);
    let again = server.get(&alice, &hierarchy(&root, &format!("from={next}"))).ok();
    assert_eq!(names(&again), names(&second));
    let other = open_room(&server, &alice, "other");
    for (who, space_id, query) in [
        (&alice, &root, format!("from={next}&max_depth=1")),
        (&alice, &root, format!("from={next}&suggested_only=true")),
        (&alice, &other, format!("from={next}")),
        (&bob, &root, format!("from={next}")),
        (&alice, &root, "from=nonsense".to_owned()),
    ] {
        server.get(who, &hierarchy(space_id, &query)).error(400, "M_INVALID_PARAM");
    }
    server.platform.advance(5 * 60 * 1000);
    server.get(&alice, &hierarchy(&root, &format!("from={next}"))).error(400, "M_INVALID_PARAM");
    let context = server.platform.context();
    server.run(async move { myelin::sweep::remove_expired(&context).await.unwrap() });
    assert!(server.rows("SELECT * FROM sessions").is_empty());
}

#[test]
fn depth_and_suggestions_bound_a_walk_and_circles_end_it() {
    let server = Server::new();
    let alice = server.register("alice");
    let root = space(&server, &alice, "root");
    let sub = space(&server, &alice, "sub");
    let inner = open_room(&server, &alice, "inner");
    add(&server, &alice, &root, &sub, json!({ "suggested": true }));
    add(&server, &alice, &sub, &inner, json!({}));
    add(&server, &alice, &sub, &root, json!({ "suggested": true }));
    let get = |query: &str| server.get(&alice, &hierarchy(&root, query)).ok();
    assert_eq!(names(&get("")), ["root", "sub", "inner"]);
    assert_eq!(names(&get("max_depth=0")), ["root"]);
    assert_eq!(names(&get("max_depth=1")), ["root", "sub"]);
    assert_eq!(names(&get("suggested_only=true")), ["root", "sub"]);
    let shallow = get("max_depth=1&suggested_only=true");
    assert_eq!(shallow["rooms"][1]["children_state"].as_array().unwrap().len(), 1);
    // A child that is taken out, and one whose event is redacted.
    state(&server, &alice, &sub, ("m.space.child", &root), json!({}));
    let path = format!("{V3}/rooms/{sub}/state");
    let events = server.get(&alice, &path).ok();
    let mut events = events.as_array().unwrap().iter();
    let event = events.find(|event| event["state_key"] == inner.as_str()).unwrap();
    let event_id = event["event_id"].as_str().unwrap();
    server.put(&alice, &format!("{V3}/rooms/{sub}/redact/{event_id}/1"), json!({})).ok();
    let body = get("");
    assert_eq!(names(&body), ["root", "sub"]);
    assert_eq!(body["rooms"][1]["children_state"], json!([]));
}

#[test]
fn a_deep_space_costs_few_round_trips_and_a_wide_foreign_one_is_bounded() {
    let server = Server::new();
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    let spaces: Vec<String> =
        (0..12).map(|index| space(&server, &alice, &format!("{index:02}"))).collect();
    for pair in spaces.windows(2) {
        add(&server, &alice, &pair[0], &pair[1], json!({}));
    }
    let reply = server.get(&alice, &hierarchy(&spaces[0], ""));
    assert_eq!(reply.cost.round_trips.get(), 3);
    assert_eq!(names(&reply.ok()).len(), 12);
    let wide = space(&server, &alice, "wide");
    for index in 0..120 {
        let elsewhere = format!("!{index}:example.com");
        add(&server, &alice, &wide, &elsewhere, json!({}));
    }
    let reply = server.get(&bob, &hierarchy(&wide, ""));
    assert_eq!(reply.cost.round_trips.get(), 2);
    let body = reply.ok();
    assert_eq!((names(&body), &body["next_batch"]), (vec!["wide"], &Value::Null));
}

#[test]
fn a_hierarchy_refuses_what_it_cannot_answer() {
    let server = Server::new();
    let alice = server.register("alice");
    let root = space(&server, &alice, "root");
    for query in ["limit=0", "limit=-1", "limit=x", "max_depth=-1", "suggested_only=1"] {
        server.get(&alice, &hierarchy(&root, query)).error(400, "M_INVALID_PARAM");
    }
    server.get(&alice, &hierarchy("!none:example.org", "")).error(403, "M_FORBIDDEN");
    server.get(&alice, &hierarchy("none", "")).error(400, "M_INVALID_PARAM");
    server.get("", &hierarchy(&root, "")).error(401, "M_MISSING_TOKEN");
    server.get("bad", &hierarchy(&root, "")).error(401, "M_UNKNOWN_TOKEN");
    // A room that is no space is all that there is to see.
    let alone = open_room(&server, &alice, "alone");
    add(&server, &alice, &alone, &root, json!({}));
    let body = server.get(&alice, &hierarchy(&alone, "")).ok();
    assert_eq!((names(&body), &body["rooms"][0]["children_state"]), (vec!["alone"], &json!([])));
}

#[test]
fn a_summary_says_what_a_room_is_and_what_the_reader_is_there() {
    let server = Server::new();
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    let encryption = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
    let event = json!({ "type": "m.room.encryption", "state_key": "", "content": encryption });
    let options = json!({
        "name": "name", "topic": "topic", "preset": "public_chat", "room_alias_name": "alias",
        "room_version": "10", "initial_state": [event],
    });
    let room_id = create(&server, &alice, options);
    let expected = |membership: Option<&str>| {
        let mut expected = json!({
            "room_id": room_id, "name": "name", "topic": "topic", "num_joined_members": 1,
            "canonical_alias": "#alias:example.org", "guest_can_join": false,
            "world_readable": false, "encryption": "m.megolm.v1.aes-sha2", "room_version": "10",
        });
        if let Some(membership) = membership {
            expected["membership"] = json!(membership);
        }
        expected
    };
    let reply = summary(&server, &alice, &room_id);
    assert_eq!(reply.cost.round_trips.get(), 1);
    assert_eq!(reply.ok(), expected(Some("join")));
    assert_eq!(summary(&server, &bob, "#alias:example.org").ok(), expected(Some("leave")));
    assert_eq!(summary(&server, "", "#alias:example.org").ok(), expected(None));
    for path in ["rooms/%23alias:example.org/summary", "summary/%23alias:example.org"] {
        let path = format!("/_matrix/client/unstable/im.nheko.summary/{path}");
        assert_eq!(server.get(&bob, &path).ok(), expected(Some("leave")));
    }
    summary(&server, "bad", &room_id).error(401, "M_UNKNOWN_TOKEN");
    summary(&server, &bob, "nothing").error(400, "M_INVALID_PARAM");
    summary(&server, &bob, "#none:example.org").error(404, "M_NOT_FOUND");
    summary(&server, &bob, "!none:example.org").error(404, "M_NOT_FOUND");
}

#[test]
fn a_summary_is_for_those_who_may_know_of_the_room() {
    let server = Server::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| server.register(name));
    let allow = json!([{ "type": "m.room_membership", "room_id": "!x:example.org" }]);
    let rules = json!({ "join_rule": "knock_restricted", "allow": allow });
    let knockable = room(&server, &alice, "a", &[("m.room.join_rules", rules)]);
    let body = summary(&server, "", &knockable).ok();
    let shown = (&body["join_rule"], &body["allowed_room_ids"]);
    assert_eq!(shown, (&json!("knock_restricted"), &json!(["!x:example.org"])));
    server.post(&bob, &format!("{V3}/knock/{knockable}"), json!({})).ok();
    assert_eq!(summary(&server, &bob, &knockable).ok()["membership"], "knock");
    let hidden = room(&server, &alice, "b", &[]);
    for reader in [carol.as_ref(), ""] {
        summary(&server, reader, &hidden).error(404, "M_NOT_FOUND");
    }
    let invite = json!({ "user_id": carol.user_id });
    server.post(&alice, &format!("{V3}/rooms/{hidden}/invite"), invite).ok();
    let body = summary(&server, &carol, &hidden).ok();
    assert_eq!((&body["membership"], &body["join_rule"]), (&json!("invite"), &json!("invite")));
    let odd = json!({ "join_rule": "org.example.rule" });
    state(&server, &alice, &hidden, ("m.room.join_rules", ""), odd);
    let body = summary(&server, &alice, &hidden).ok();
    assert_eq!((&body["membership"], &body["join_rule"]), (&json!("join"), &json!("private")));
}
