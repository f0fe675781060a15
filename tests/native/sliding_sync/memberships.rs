//! Coming and going: invitations, knocks, leaves, kicks, bans, returns.

use super::*;

fn kinds(list: &Value) -> BTreeSet<&str> {
    list.as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// The membership that a room's state has for somebody.
fn membership<'a>(room: &'a Value, of: &Account) -> Option<&'a str> {
    let events = room["required_state"].as_array()?.iter();
    let mut events = events.filter(|event| event["state_key"] == of.user_id.as_str());
    events.next()?["content"]["membership"].as_str()
}

#[test]
fn an_invitation_shows_what_the_room_is_and_becomes_the_room() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = create(&server, &alice, json!({ "name": "Inner", "preset": "private_chat" }));
    say(&server, &alice, &room, "before");
    let request = all(5);
    let first = slide(&server, &bob, None, &request);
    assert_eq!(first["lists"]["all"]["count"], 0);
    act(&server, &alice, &room, "invite", json!({ "user_id": bob.user_id }));
    let second = slide(&server, &bob, Some(pos(&first)), &request);
    let told = &second["rooms"][&room];
    assert_eq!((&told["initial"], &told["name"]), (&json!(true), &json!("Inner")));
    let kinds = kinds(&told["invite_state"]);
    assert!(kinds.contains("m.room.member") && kinds.contains("m.room.name"), "{kinds:?}");
    for absent in ["timeline", "required_state", "joined_count", "prev_batch", "limited"] {
        assert!(told.get(absent).is_none(), "{absent}");
    }
    assert!(told["bump_stamp"].as_i64().unwrap() > 0);
    // What goes on inside is none of theirs.
    say(&server, &alice, &room, "inside");
    let third = slide(&server, &bob, Some(pos(&second)), &request);
    assert!(room_ids(&third).is_empty(), "{third}");
    join_room(&server, &bob, &room);
    let fourth = slide(&server, &bob, Some(pos(&third)), &request);
    let told = &fourth["rooms"][&room];
    assert_eq!((&told["initial"], &told["joined_count"]), (&json!(true), &json!(2)));
    assert_eq!(bodies(told), ["before", "inside"], "the history is shared");
    assert!(told.get("invite_state").is_none());
}

#[test]
fn an_invitation_that_was_declined_is_told_as_that() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = create(&server, &alice, json!({ "invite": [bob.user_id] }));
    let mut request = all(0);
    request["lists"]["all"]["required_state"] = json!([["m.room.member", "$ME"], ["*", "*"]]);
    let first = slide(&server, &bob, None, &request);
    act(&server, &bob, &room, "leave", json!({}));
    let second = slide(&server, &bob, Some(pos(&first)), &request);
    let told = &second["rooms"][&room];
    assert_eq!(membership(told, &bob), Some("leave"));
    assert_eq!(state(told).len(), 1, "{told}");
}

#[test]
fn a_knock_is_seen_from_outside() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let rules = json!({ "type": "m.room.join_rules", "content": { "join_rule": "knock" } });
    let room = create(&server, &alice, json!({ "initial_state": [rules] }));
    server.post(&bob, &format!("/_matrix/client/v3/knock/{room}"), json!({})).ok();
    let body = slide(&server, &bob, None, &all(5));
    assert!(kinds(&body["rooms"][&room]["invite_state"]).contains("m.room.join_rules"));
    assert_eq!(bodies(&body["rooms"][&room]).len(), 0);
}

#[test]
fn a_room_that_was_left_is_told_once() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = public_room(&server, &alice);
    join_room(&server, &bob, &room);
    let mut request = all(5);
    request["lists"]["all"]["required_state"] = json!([["m.room.member", "$ME"]]);
    let first = slide(&server, &bob, None, &request);
    act(&server, &bob, &room, "leave", json!({}));
    say(&server, &alice, &room, "gone");
    let second = slide(&server, &bob, Some(pos(&first)), &request);
    let told = &second["rooms"][&room];
    assert_eq!(membership(told, &bob), Some("leave"));
    assert_eq!(told["timeline"].as_array().unwrap().len(), 1);
    assert!(bodies(told).is_empty() && told.get("initial").is_none());
    assert_eq!(second["lists"]["all"]["count"], 1);
    let third = slide(&server, &bob, Some(pos(&second)), &request);
    assert!(room_ids(&third).is_empty());
    assert_eq!(third["lists"]["all"]["count"], 0);
    // Back again, it is as new.
    join_room(&server, &bob, &room);
    let fourth = slide(&server, &bob, Some(pos(&third)), &request);
    let told = &fourth["rooms"][&room];
    assert_eq!((&told["initial"], membership(told, &bob)), (&json!(true), Some("join")));
    // A new connection does not know that there was another.
    act(&server, &bob, &room, "leave", json!({}));
    let anew = slide(&server, &bob, None, &request);
    assert!(room_ids(&anew).is_empty());
}

#[test]
fn whoever_was_kicked_or_banned_sees_no_more_than_that() {
    let server = quiet_server();
    let alice = server.register("alice");
    for (name, action) in [("bob", "kick"), ("carol", "ban")] {
        let other = server.register(name);
        let room = create(&server, &alice, json!({ "preset": "public_chat", "name": "Then" }));
        join_room(&server, &other, &room);
        let mut request = all(2);
        let wanted = json!([["m.room.member", "$ME"], ["m.room.topic", ""], ["m.room.name", ""]]);
        request["lists"]["all"]["required_state"] = wanted;
        let first = slide(&server, &other, None, &request);
        act(&server, &alice, &room, action, json!({ "user_id": other.user_id }));
        set_state(&server, &alice, &room, "m.room.topic/", json!({ "topic": "secret" }));
        set_state(&server, &alice, &room, "m.room.name/", json!({ "name": "Now" }));
        say(&server, &alice, &room, "secret");
        let second = slide(&server, &other, Some(pos(&first)), &request);
        let told = &second["rooms"][&room];
        assert_eq!(state(told), set(&[&format!("m.room.member|{}", other.user_id)]), "{action}");
        assert_eq!(told["timeline"].as_array().unwrap().len(), 1);
        let third = slide(&server, &other, Some(pos(&second)), &request);
        assert!(room_ids(&third).is_empty());
        assert_eq!(third["lists"]["all"]["count"], 1, "until it is forgotten");
        let anew = slide(&server, &other, None, &request);
        let told = &anew["rooms"][&room];
        let own = format!("m.room.member|{}", other.user_id);
        assert_eq!(state(told), set(&[&own, "m.room.name"]));
        assert_eq!(told["name"], "Then", "what it was called when they left");
        assert!(bodies(told).is_empty() && told.get("joined_count").is_none());
        act(&server, &other, &room, "forget", json!({}));
        assert_eq!(slide(&server, &other, None, &request)["lists"]["all"]["count"], 0);
    }
}

#[test]
fn a_subscription_to_a_room_of_others_shows_nothing() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = public_room(&server, &alice);
    let request = subscription(&room, 5, json!([["*", "*"]]));
    let first = slide(&server, &bob, None, &request);
    assert!(room_ids(&first).is_empty());
    join_room(&server, &bob, &room);
    let second = slide(&server, &bob, Some(pos(&first)), &request);
    assert_eq!(second["rooms"][&room]["initial"], true);
    // One that was left stays subscribed to, and is not told again and again.
    act(&server, &bob, &room, "leave", json!({}));
    let third = slide(&server, &bob, Some(pos(&second)), &request);
    assert_eq!(membership(&third["rooms"][&room], &bob), Some("leave"));
    let fourth = slide(&server, &bob, Some(pos(&third)), &request);
    assert!(room_ids(&fourth).is_empty(), "{fourth}");
}

#[test]
fn an_invitation_of_somebody_who_is_ignored_is_not_there() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let data = format!("/_matrix/client/v3/user/{}/account_data", bob.user_id);
    let list = json!({ "ignored_users": { &alice.user_id: {} } });
    server.put(&bob, &format!("{data}/m.ignored_user_list"), list).ok();
    create(&server, &alice, json!({ "invite": [bob.user_id] }));
    let body = slide(&server, &bob, None, &all(1));
    assert!(room_ids(&body).is_empty());
    assert_eq!(body["lists"]["all"]["count"], 0);
}
