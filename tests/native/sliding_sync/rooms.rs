//! What is told of a room: its timeline, its name, who is in it.

use super::*;

#[test]
fn a_timeline_goes_on_where_it_ended_and_back_from_where_it_began() {
    let server = quiet_server();
    let alice = server.register("alice");
    let room = public_room(&server, &alice);
    for text in ["a", "b", "c", "d"] {
        say(&server, &alice, &room, text);
    }
    let request = all(2);
    let first = slide(&server, &alice, None, &request);
    let told = &first["rooms"][&room];
    assert_eq!(bodies(told), ["c", "d"]);
    assert_eq!((&told["limited"], &told["num_live"]), (&json!(true), &json!(0)));
    let messages = format!(
        "/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=2&from={}",
        told["prev_batch"].as_str().unwrap()
    );
    let page = server.get(&alice, &messages).ok();
    let before: Vec<_> = page["chunk"].as_array().unwrap().iter().collect();
    assert_eq!([&before[0]["content"]["body"], &before[1]["content"]["body"]], ["b", "a"]);
    say(&server, &alice, &room, "e");
    let second = slide(&server, &alice, Some(pos(&first)), &request);
    let told = &second["rooms"][&room];
    assert_eq!(bodies(told), ["e"]);
    assert_eq!((&told["limited"], &told["num_live"]), (&json!(false), &json!(1)));
    assert!(told.get("initial").is_none() && told.get("name").is_none());
    for text in ["f", "g", "h"] {
        say(&server, &alice, &room, text);
    }
    let third = slide(&server, &alice, Some(pos(&second)), &request);
    let told = &third["rooms"][&room];
    assert_eq!(bodies(told), ["g", "h"]);
    assert_eq!((&told["limited"], &told["num_live"]), (&json!(true), &json!(2)));
}

#[test]
fn more_history_is_told_when_more_is_wanted() {
    let server = quiet_server();
    let alice = server.register("alice");
    let room = public_room(&server, &alice);
    for text in ["a", "b", "c", "d"] {
        say(&server, &alice, &room, text);
    }
    let first = slide(&server, &alice, None, &all(1));
    assert_eq!(bodies(&first["rooms"][&room]), ["d"]);
    let second = slide(&server, &alice, Some(pos(&first)), &all(3));
    let told = &second["rooms"][&room];
    assert_eq!(bodies(told), ["b", "c", "d"]);
    assert_eq!((&told["unstable_expanded_timeline"], &told["num_live"]), (&json!(true), &json!(0)));
    assert!(told.get("initial").is_none());
    // It has been told: less, and as much again, is nothing new.
    let third = slide(&server, &alice, Some(pos(&second)), &all(1));
    assert!(room_ids(&third).is_empty());
    say(&server, &alice, &room, "e");
    let fourth = slide(&server, &alice, Some(pos(&third)), &all(1));
    assert_eq!(bodies(&fourth["rooms"][&room]), ["e"]);
    let fifth = slide(&server, &alice, Some(pos(&fourth)), &all(3));
    assert!(room_ids(&fifth).is_empty(), "{fifth}");
    // With a gap the client has no more than the end.
    for text in ["f", "g"] {
        say(&server, &alice, &room, text);
    }
    let sixth = slide(&server, &alice, Some(pos(&fifth)), &all(1));
    assert_eq!(bodies(&sixth["rooms"][&room]), ["g"]);
    let seventh = slide(&server, &alice, Some(pos(&sixth)), &all(3));
    assert_eq!(bodies(&seventh["rooms"][&room]), ["e", "f", "g"]);
}

#[test]
fn a_room_is_called_by_its_name_or_its_heroes() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = public_room(&server, &alice);
    join_room(&server, &bob, &room);
    let request = all(10);
    let first = slide(&server, &alice, None, &request);
    let told = &first["rooms"][&room];
    assert!(told.get("name").is_none() && told.get("avatar").is_none());
    assert_eq!(told["heroes"], json!([{ "user_id": bob.user_id, "displayname": "bob" }]));
    assert_eq!((&told["joined_count"], &told["invited_count"]), (&json!(2), &json!(0)));
    set_state(&server, &alice, &room, "m.room.name/", json!({ "name": "A name" }));
    set_state(&server, &alice, &room, "m.room.avatar/", json!({ "url": "mxc://example.org/a" }));
    let second = slide(&server, &alice, Some(pos(&first)), &request);
    let told = &second["rooms"][&room];
    assert_eq!((&told["name"], &told["avatar"]), (&json!("A name"), &json!("mxc://example.org/a")));
    assert!(told.get("joined_count").is_none() && told.get("heroes").is_none());
    set_state(&server, &alice, &room, "m.room.avatar/", json!({}));
    act(&server, &bob, &room, "leave", json!({}));
    let third = slide(&server, &alice, Some(pos(&second)), &request);
    let told = &third["rooms"][&room];
    assert_eq!(told.get("avatar"), Some(&Value::Null), "it is gone");
    assert_eq!((&told["joined_count"], told.get("heroes")), (&json!(1), None));
}

#[test]
fn a_room_is_bumped_by_what_people_say() {
    let server = quiet_server();
    let alice = server.register("alice");
    let room = public_room(&server, &alice);
    let first = slide(&server, &alice, None, &all(1));
    let created = first["rooms"][&room]["bump_stamp"].as_i64().unwrap();
    set_state(&server, &alice, &room, "m.room.topic/", json!({ "topic": "nothing" }));
    let second = slide(&server, &alice, Some(pos(&first)), &all(1));
    assert!(second["rooms"][&room].get("bump_stamp").is_none(), "{second}");
    say(&server, &alice, &room, "hello");
    let third = slide(&server, &alice, Some(pos(&second)), &all(1));
    assert!(third["rooms"][&room]["bump_stamp"].as_i64().unwrap() > created);
}

#[test]
fn events_are_what_they_are_elsewhere() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = public_room(&server, &alice);
    let first = slide(&server, &alice, None, &all(10));
    join_room(&server, &bob, &room);
    say(&server, &alice, &room, "mine");
    let body = slide(&server, &alice, Some(pos(&first)), &all(10));
    let timeline = body["rooms"][&room]["timeline"].as_array().unwrap();
    assert_eq!(timeline[1]["unsigned"]["transaction_id"], "mine");
    assert_eq!(timeline[1]["unsigned"]["membership"], "join");
    assert!(timeline[1].get("room_id").is_none());
    let data = format!("/_matrix/client/v3/user/{}/account_data", alice.user_id);
    let ignore = format!("{data}/m.ignored_user_list");
    server.put(&alice, &ignore, json!({ "ignored_users": { &bob.user_id: {} } })).ok();
    say(&server, &bob, &room, "unheard");
    let body = slide(&server, &alice, Some(pos(&body)), &all(10));
    assert!(bodies(&body["rooms"][&room]).is_empty());
}

#[test]
fn whoever_waits_is_told_at_once() {
    let server = quiet_server();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = public_room(&server, &alice);
    join_room(&server, &bob, &room);
    let request = all(5);
    let first = slide(&server, &alice, None, &request);
    let long = path(Some(pos(&first)), "timeout=30000");
    let waiting = server.request("POST", &alice, &long, &request);
    let content = json!({ "msgtype": "m.text", "body": "wake up" });
    let saying = server.request("PUT", &bob, &message_path(&room, "wake up"), &content);
    let platform = server.platform.clone();
    let said = async move {
        myelin::context::Platform::sleep(&*platform, 1000).await;
        saying.await.ok()
    };
    let (woken, _) = server.run(join(waiting, said));
    let started_ms = server.platform.context().now_ms();
    let body = woken.ok();
    assert_eq!(bodies(&body["rooms"][&room]), ["wake up"]);
    // With nothing to tell it ends when its time is up, with a position to go on from.
    let quiet = server.post(&alice, &path(Some(pos(&body)), "timeout=30000"), request.clone());
    assert!(quiet.cost.round_trips.get() <= 3, "{}", quiet.cost.round_trips.get());
    let quiet = quiet.ok();
    assert!(room_ids(&quiet).is_empty());
    assert!(server.platform.context().now_ms() >= started_ms + 30_000);
    say(&server, &bob, &room, "later");
    let later = slide(&server, &alice, Some(pos(&quiet)), &request);
    assert_eq!(bodies(&later["rooms"][&room]), ["later"]);
}
