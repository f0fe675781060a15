//! The state that a client wants: exact entries, wildcards, those whom the timeline is about.

use super::*;

fn wants(pairs: Value) -> Value {
    let mut request = all(2);
    request["lists"]["all"]["required_state"] = pairs;
    request
}

#[test]
fn wanted_state_is_that_at_the_end() {
    let server = quiet_server();
    let alice = server.register("alice");
    let room = create(&server, &alice, json!({ "name": "A", "preset": "public_chat" }));
    set_state(&server, &alice, &room, "org.example.a/x", json!({ "v": 1 }));
    set_state(&server, &alice, &room, "org.example.a/y", json!({ "v": 2 }));
    let told = |pairs: Value| {
        let body = slide(&server, &alice, None, &wants(pairs));
        state(&body["rooms"][&room])
    };
    assert_eq!(told(json!([])), set(&[]));
    assert_eq!(told(json!([["m.room.name", ""], ["m.room.none", ""]])), set(&["m.room.name"]));
    let both = set(&["org.example.a|x", "org.example.a|y"]);
    assert_eq!(told(json!([["org.example.a", "*"]])), both);
    assert_eq!(told(json!([["*", "x"]])), set(&["org.example.a|x"]));
    assert_eq!(told(json!([["m.room.member", "$ME"]])), set(&["m.room.member|@alice:example.org"]));
    let everything = told(json!([["*", "*"]]));
    assert!(everything.is_superset(&both) && everything.contains("m.room.create"));
    assert_eq!(everything.len(), 8, "{everything:?}");
}

#[test]
fn state_that_changes_is_told_if_it_is_wanted() {
    let server = quiet_server();
    let alice = server.register("alice");
    let room = public_room(&server, &alice);
    let request = wants(json!([["m.room.topic", ""], ["org.example.a", "*"]]));
    let mut body = slide(&server, &alice, None, &request);
    // More happens than the timeline shows.
    for text in ["one", "two"] {
        set_state(&server, &alice, &room, "m.room.topic/", json!({ "topic": text }));
    }
    set_state(&server, &alice, &room, "org.example.a/x", json!({}));
    set_state(&server, &alice, &room, "m.room.name/", json!({ "name": "x" }));
    for text in ["a", "b", "c"] {
        say(&server, &alice, &room, text);
    }
    body = slide(&server, &alice, Some(pos(&body)), &request);
    let told = &body["rooms"][&room];
    assert_eq!(state(told), set(&["m.room.topic", "org.example.a|x"]));
    let topics = told["required_state"].as_array().unwrap().iter();
    let mut topics = topics.filter(|event| event["type"] == "m.room.topic");
    assert_eq!(topics.next().unwrap()["content"]["topic"], "two");
    say(&server, &alice, &room, "d");
    body = slide(&server, &alice, Some(pos(&body)), &request);
    assert_eq!(state(&body["rooms"][&room]), set(&[]));
}

#[test]
fn state_that_is_wanted_later_is_told_then() {
    let server = quiet_server();
    let alice = server.register("alice");
    let room = create(&server, &alice, json!({ "name": "A", "topic": "B" }));
    let (name, topic) = (json!([["m.room.name", ""]]), json!([["m.room.topic", ""]]));
    let first = slide(&server, &alice, None, &wants(name.clone()));
    let both = json!([["m.room.name", ""], ["m.room.topic", ""]]);
    let second = slide(&server, &alice, Some(pos(&first)), &wants(both.clone()));
    let told = &second["rooms"][&room];
    assert_eq!(state(told), set(&["m.room.topic"]));
    assert!(told.get("initial").is_none() && told.get("timeline").is_none());
    // What is no longer wanted and wanted again is told only if it has changed.
    let third = slide(&server, &alice, Some(pos(&second)), &wants(topic.clone()));
    assert!(room_ids(&third).is_empty());
    let fourth = slide(&server, &alice, Some(pos(&third)), &wants(both.clone()));
    assert!(room_ids(&fourth).is_empty(), "{fourth}");
    let fifth = slide(&server, &alice, Some(pos(&fourth)), &wants(topic));
    set_state(&server, &alice, &room, "m.room.name/", json!({ "name": "C" }));
    let sixth = slide(&server, &alice, Some(pos(&fifth)), &wants(json!([["m.room.topic", ""]])));
    assert_eq!(state(&sixth["rooms"][&room]), set(&[]));
    let seventh = slide(&server, &alice, Some(pos(&sixth)), &wants(both));
    assert_eq!(state(&seventh["rooms"][&room]), set(&["m.room.name"]));
    let all = slide(&server, &alice, Some(pos(&seventh)), &wants(json!([["*", "*"]])));
    assert_eq!(state(&all["rooms"][&room]).len(), 8, "{all}");
}

#[test]
fn members_are_told_when_the_timeline_is_about_them() {
    let server = quiet_server();
    let [alice, bob, carol, dave] = ["alice", "bob", "carol", "dave"].map(|n| server.register(n));
    let room = public_room(&server, &alice);
    for other in [&bob, &carol, &dave] {
        join_room(&server, other, &room);
    }
    say(&server, &alice, &room, "a");
    say(&server, &bob, &room, "b");
    let member = |of: &Account| format!("m.room.member|{}", of.user_id);
    let request = wants(json!([["m.room.member", "$LAZY"]]));
    let first = slide(&server, &alice, None, &request);
    assert_eq!(state(&first["rooms"][&room]), set(&[&member(&alice), &member(&bob)]));
    say(&server, &bob, &room, "b again");
    let second = slide(&server, &alice, Some(pos(&first)), &request);
    assert_eq!(state(&second["rooms"][&room]), set(&[]), "the client has it");
    say(&server, &carol, &room, "c");
    let third = slide(&server, &alice, Some(pos(&second)), &request);
    assert_eq!(state(&third["rooms"][&room]), set(&[&member(&carol)]));
    // A client that misses nothing is told of every change.
    let profile = format!("/_matrix/client/v3/profile/{}/displayname", dave.user_id);
    server.put(&dave, &profile, json!({ "displayname": "D" })).ok();
    let fourth = slide(&server, &alice, Some(pos(&third)), &request);
    assert_eq!(state(&fourth["rooms"][&room]), set(&[&member(&dave)]));
    // One that does is told when it has to know.
    let profile = format!("/_matrix/client/v3/profile/{}/displayname", bob.user_id);
    server.put(&bob, &profile, json!({ "displayname": "B" })).ok();
    for text in ["1", "2", "3"] {
        say(&server, &carol, &room, text);
    }
    let fifth = slide(&server, &alice, Some(pos(&fourth)), &request);
    assert_eq!(fifth["rooms"][&room]["limited"], true);
    assert_eq!(state(&fifth["rooms"][&room]), set(&[]));
    say(&server, &bob, &room, "b at last");
    let sixth = slide(&server, &alice, Some(pos(&fifth)), &request);
    assert_eq!(state(&sixth["rooms"][&room]), set(&[&member(&bob)]));
}

#[test]
fn whom_a_membership_is_about_is_told_with_it() {
    let server = quiet_server();
    let [alice, bob] = ["alice", "bob"].map(|n| server.register(n));
    let room = public_room(&server, &alice);
    join_room(&server, &bob, &room);
    act(&server, &alice, &room, "kick", json!({ "user_id": bob.user_id }));
    say(&server, &alice, &room, "and stay away");
    let request = wants(json!([["m.room.member", "$LAZY"]]));
    let body = slide(&server, &alice, None, &request);
    let told = &body["rooms"][&room]["required_state"].as_array().unwrap().clone();
    let of_bob = told.iter().find(|event| event["state_key"] == bob.user_id.as_str()).unwrap();
    assert_eq!(of_bob["content"]["membership"], "leave");
}
