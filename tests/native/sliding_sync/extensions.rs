//! Extensions: account data, receipts, typing.

use super::*;

fn with(mut request: Value, extension: &str, rest: Value) -> Value {
    request["extensions"][extension] = rest;
    request["extensions"][extension]["enabled"] = json!(true);
    request
}

fn types(list: &Value) -> BTreeSet<&str> {
    let events = list.as_array().map(Vec::as_slice).unwrap_or_default();
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

fn set_data(server: &Server, account: &Account, at: &str, content: Value) {
    let path = format!("/_matrix/client/v3/user/{}/{at}", account.user_id);
    server.put(account, &path, content).ok();
}

fn read(server: &Server, account: &Account, room_id: &str, kind: &str, event_id: &str) {
    act(server, account, room_id, &format!("receipt/{kind}/{event_id}"), json!({}));
}

#[test]
fn extensions_that_are_not_asked_for_are_not_there() {
    let server = quiet_server();
    let alice = server.register("alice");
    public_room(&server, &alice);
    let request = with(all(1), "org.example.unknown", json!({}));
    let body = slide(&server, &alice, None, &request);
    assert_eq!(body["extensions"], json!({}));
    let mut off = all(1);
    off["extensions"] = json!({ "typing": { "enabled": false }, "receipts": {} });
    assert_eq!(slide(&server, &alice, None, &off)["extensions"], json!({}));
}

#[test]
fn account_data_is_told_when_it_changes() {
    let server = quiet_server();
    let alice = server.register("alice");
    let (room, other) = (public_room(&server, &alice), public_room(&server, &alice));
    set_data(&server, &alice, "account_data/org.example", json!({ "v": 1 }));
    set_data(&server, &alice, &format!("rooms/{room}/account_data/org.room"), json!({ "v": 1 }));
    set_data(&server, &alice, &format!("rooms/{room}/tags/u.x"), json!({ "order": 0.1 }));
    let request = with(all(1), "account_data", json!({}));
    let first = slide(&server, &alice, None, &request);
    let data = &first["extensions"]["account_data"];
    assert!(types(&data["global"]).is_superset(&BTreeSet::from(["m.push_rules", "org.example"])));
    assert_eq!(types(&data["rooms"][&room]), BTreeSet::from(["m.tag", "org.room"]));
    assert!(data["rooms"].get(&other).is_none());
    set_data(&server, &alice, "account_data/org.example", json!({ "v": 2 }));
    set_data(&server, &alice, &format!("rooms/{other}/account_data/org.room"), json!({ "v": 2 }));
    let second = slide(&server, &alice, Some(pos(&first)), &request);
    let data = &second["extensions"]["account_data"];
    assert_eq!(data["global"], json!([{ "type": "org.example", "content": { "v": 2 } }]));
    assert_eq!(data["rooms"].as_object().unwrap().len(), 1);
    assert_eq!(types(&data["rooms"][&other]), BTreeSet::from(["org.room"]));
    let path = "/_matrix/client/v3/pushrules/global/override/.m.rule.master/enabled";
    server.put(&alice, path, json!({ "enabled": true })).ok();
    let third = slide(&server, &alice, Some(pos(&second)), &request);
    let data = &third["extensions"]["account_data"];
    assert_eq!(types(&data["global"]), BTreeSet::from(["m.push_rules"]));
    let fourth = slide(&server, &alice, Some(pos(&third)), &request);
    assert_eq!(fourth["extensions"]["account_data"], json!({ "global": [], "rooms": {} }));
}

#[test]
fn account_data_of_a_room_out_of_sight_is_told_when_it_comes_into_sight() {
    let server = quiet_server();
    let alice = server.register("alice");
    let (far, near) = (public_room(&server, &alice), public_room(&server, &alice));
    let wide = with(list(json!([[0, 1]]), 1), "account_data", json!({}));
    let narrow = with(list(json!([[0, 0]]), 1), "account_data", json!({}));
    let first = slide(&server, &alice, None, &wide);
    set_data(&server, &alice, &format!("rooms/{far}/account_data/org.room"), json!({ "v": 1 }));
    set_data(&server, &alice, &format!("rooms/{near}/account_data/org.room"), json!({ "v": 1 }));
    let second = slide(&server, &alice, Some(pos(&first)), &narrow);
    let rooms = second["extensions"]["account_data"]["rooms"].as_object().unwrap().clone();
    assert_eq!(rooms.keys().collect::<Vec<_>>(), [&near]);
    let third = slide(&server, &alice, Some(pos(&second)), &wide);
    let rooms = third["extensions"]["account_data"]["rooms"].as_object().unwrap().clone();
    assert_eq!(rooms.keys().collect::<Vec<_>>(), [&far]);
}

#[test]
fn an_extension_is_about_the_rooms_that_it_says() {
    let server = quiet_server();
    let alice = server.register("alice");
    let (one, two) = (public_room(&server, &alice), public_room(&server, &alice));
    for room in [&one, &two] {
        let at = format!("rooms/{room}/account_data/org.room");
        set_data(&server, &alice, &at, json!({ "v": 1 }));
    }
    let rooms = |rest: Value| -> usize {
        let mut request = with(list(json!([[0, 0]]), 1), "account_data", rest);
        request["room_subscriptions"][&one] = json!({ "timeline_limit": 1 });
        let body = slide(&server, &alice, None, &request);
        body["extensions"]["account_data"]["rooms"].as_object().unwrap().len()
    };
    assert_eq!(rooms(json!({})), 2);
    assert_eq!(rooms(json!({ "lists": [], "rooms": [] })), 0);
    assert_eq!(rooms(json!({ "lists": ["all"], "rooms": [] })), 1);
    assert_eq!(rooms(json!({ "lists": ["none"], "rooms": [one] })), 1);
    assert_eq!(rooms(json!({ "lists": [], "rooms": ["*"] })), 2);
}

#[test]
fn receipts_are_told_of_what_the_client_sees() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = public_room(&server, &alice);
    join_room(&server, &bob, &room);
    let old = say(&server, &alice, &room, "old");
    read(&server, &bob, &room, "m.read", &old);
    read(&server, &alice, &room, "m.read.private", &old);
    let shown = say(&server, &bob, &room, "shown");
    let request = with(all(1), "receipts", json!({}));
    let first = slide(&server, &alice, None, &request);
    let content = &first["extensions"]["receipts"]["rooms"][&room]["content"];
    let own = &content[&old]["m.read.private"][&alice.user_id]["ts"];
    assert!(own.is_u64(), "{content}");
    assert!(content[&old]["m.read"].get(&bob.user_id).is_none(), "not of what is not shown");
    read(&server, &bob, &room, "m.read", &shown);
    read(&server, &bob, &room, "m.read.private", &shown);
    let second = slide(&server, &alice, Some(pos(&first)), &request);
    let event = &second["extensions"]["receipts"]["rooms"][&room];
    assert_eq!(event["type"], "m.receipt");
    assert!(event["content"][&shown]["m.read"][&bob.user_id]["ts"].is_u64());
    assert!(event["content"][&shown].get("m.read.private").is_none(), "none of Alice's business");
    let third = slide(&server, &alice, Some(pos(&second)), &request);
    assert_eq!(third["extensions"]["receipts"]["rooms"], json!({}));
    // More of the history comes with its receipts.
    let fourth = slide(&server, &alice, Some(pos(&third)), &with(all(5), "receipts", json!({})));
    let content = &fourth["extensions"]["receipts"]["rooms"][&room]["content"];
    assert!(content[&shown]["m.read"][&bob.user_id]["ts"].is_u64(), "{content}");
}

#[test]
fn receipts_out_of_sight_are_told_when_the_room_comes_into_sight() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let (far, near) = (public_room(&server, &alice), public_room(&server, &alice));
    join_room(&server, &bob, &far);
    let event = say(&server, &alice, &far, "far");
    say(&server, &alice, &near, "near");
    let wide = with(list(json!([[0, 1]]), 1), "receipts", json!({}));
    let narrow = with(list(json!([[0, 0]]), 1), "receipts", json!({}));
    let first = slide(&server, &alice, None, &wide);
    read(&server, &bob, &far, "m.read", &event);
    let second = slide(&server, &alice, Some(pos(&first)), &narrow);
    assert_eq!(second["extensions"]["receipts"]["rooms"], json!({}));
    let third = slide(&server, &alice, Some(pos(&second)), &wide);
    let content = &third["extensions"]["receipts"]["rooms"][&far]["content"];
    assert!(content[&event]["m.read"][&bob.user_id]["ts"].is_u64(), "{third}");
}

#[test]
fn typing_is_told_while_it_lasts_and_when_it_ends() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = public_room(&server, &alice);
    join_room(&server, &bob, &room);
    let request = with(all(1), "typing", json!({}));
    let first = slide(&server, &alice, None, &request);
    assert_eq!(first["extensions"]["typing"], json!({ "rooms": {} }));
    let typing = format!("/_matrix/client/v3/rooms/{room}/typing/{}", bob.user_id);
    server.put(&bob, &typing, json!({ "typing": true, "timeout": 20_000 })).ok();
    let second = slide(&server, &alice, Some(pos(&first)), &request);
    let event = &second["extensions"]["typing"]["rooms"][&room];
    assert_eq!(event["type"], "m.typing");
    assert_eq!(event["content"]["user_ids"], json!([bob.user_id]));
    // Whoever waits is told when it ends by itself.
    let long = path(Some(pos(&second)), "timeout=60000");
    let third = server.post(&alice, &long, request.clone()).ok();
    let event = &third["extensions"]["typing"]["rooms"][&room];
    assert_eq!(event["content"]["user_ids"], json!([]));
    let fourth = slide(&server, &alice, Some(pos(&third)), &request);
    assert_eq!(fourth["extensions"]["typing"]["rooms"], json!({}));
}

#[test]
fn what_is_unread_is_counted_and_goes_down_by_reading() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = public_room(&server, &alice);
    join_room(&server, &bob, &room);
    let first = slide(&server, &alice, None, &all(5));
    assert_eq!(first["rooms"][&room]["notification_count"], 0);
    say(&server, &bob, &room, "hello");
    let event = say(&server, &bob, &room, "hello alice");
    let second = slide(&server, &alice, Some(pos(&first)), &all(5));
    let told = &second["rooms"][&room];
    assert_eq!((&told["notification_count"], &told["highlight_count"]), (&json!(2), &json!(1)));
    read(&server, &alice, &room, "m.read", &event);
    let third = slide(&server, &alice, Some(pos(&second)), &all(5));
    let told = &third["rooms"][&room];
    assert_eq!((&told["notification_count"], &told["highlight_count"]), (&json!(0), &json!(0)));
    assert!(told.get("initial").is_none() && told.get("timeline").is_none());
    let fourth = slide(&server, &alice, Some(pos(&third)), &all(5));
    assert!(room_ids(&fourth).is_empty());
}
