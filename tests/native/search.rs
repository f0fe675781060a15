//! Looking for words: who finds what, in which order, page by page.

use crate::support::{Account, Server};
use serde_json::{Value, json};

const SEARCH: &str = "/_matrix/client/v3/search";

fn room(server: &Server, who: &Account, body: Value) -> String {
    let answer = server.post(who, "/_matrix/client/v3/createRoom", body).ok();
    answer["room_id"].as_str().unwrap().to_owned()
}

fn say(server: &Server, who: &Account, room_id: &str, body: &str) -> String {
    let txn = server.platform.sqlite.batches();
    let path = format!("/_matrix/client/v3/rooms/{room_id}/send/m.room.message/{txn}");
    let sent = server.put(who, &path, json!({ "body": body, "msgtype": "m.text" })).ok();
    sent["event_id"].as_str().unwrap().to_owned()
}

fn join(server: &Server, who: &Account, room_id: &str) {
    server.post(who, &format!("/_matrix/client/v3/join/{room_id}"), json!({})).ok();
}

fn ask(server: &Server, who: &Account, criteria: Value) -> Value {
    ask_from(server, who, criteria, "")
}

fn ask_from(server: &Server, who: &Account, criteria: Value, token: &str) -> Value {
    let path =
        if token.is_empty() { SEARCH.to_owned() } else { format!("{SEARCH}?next_batch={token}") };
    let body = json!({ "search_categories": { "room_events": criteria } });
    server.post(who, &path, body).ok()["search_categories"]["room_events"].clone()
}

fn bodies(found: &Value) -> Vec<&str> {
    let results = found["results"].as_array().unwrap().iter();
    results.map(|result| result["result"]["content"]["body"].as_str().unwrap_or("-")).collect()
}

#[test]
fn words_are_found_in_messages_names_and_topics() {
    let server = Server::new();
    let alice = server.register("alice");
    let room_id = room(&server, &alice, json!({ "name": "Gardening", "topic": "tomatoes" }));
    say(&server, &alice, &room_id, "The Tomatoes are ripe");
    say(&server, &alice, &room_id, "Nothing else");
    let found = ask(&server, &alice, json!({ "search_term": "tomato" }));
    assert_eq!((&found["count"], found["results"].as_array().unwrap().len()), (&json!(2), 2));
    assert_eq!(found["highlights"], json!(["tomato"]));
    assert_eq!(found["results"][0]["context"], json!({}));
    assert!(found["results"][0]["rank"].as_f64().unwrap() > 0.0);
    let body = json!({ "search_term": "tomato ripe", "keys": ["content.body"] });
    assert_eq!(bodies(&ask(&server, &alice, body)), ["The Tomatoes are ripe"]);
    let name = json!({ "search_term": "gardening", "keys": ["content.name"] });
    assert_eq!(ask(&server, &alice, name)["results"][0]["result"]["type"], "m.room.name");
    let none = ask(&server, &alice, json!({ "search_term": "cucumber" }));
    assert_eq!(none, json!({ "count": 0, "results": [], "highlights": ["cucumber"] }));
    let nothing = ask(&server, &alice, json!({ "search_term": "\"*" }));
    assert_eq!(nothing, json!({ "count": 0, "results": [], "highlights": [] }));
}

#[test]
fn words_of_scripts_without_spaces_are_found() {
    let server = Server::new();
    let alice = server.register("alice");
    let room_id = room(&server, &alice, json!({}));
    for body in ["東京都庁へ行く", "我喜欢吃苹果", "한국어를 배웁니다", "Straße und Äpfel"]
    {
        say(&server, &alice, &room_id, body);
    }
    for (term, body) in [
        ("都庁", "東京都庁へ行く"),
        ("東", "東京都庁へ行く"),
        ("く", "東京都庁へ行く"),
        ("苹果", "我喜欢吃苹果"),
        ("국어", "한국어를 배웁니다"),
        ("apfel", "Straße und Äpfel"),
    ] {
        let found = ask(&server, &alice, json!({ "search_term": term }));
        assert_eq!(bodies(&found), [body], "{term}");
    }
    assert_eq!(ask(&server, &alice, json!({ "search_term": "京庁" }))["count"], 0);
}

#[test]
fn everyone_finds_what_they_may_see_and_no_more() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let shared = room(
        &server,
        &alice,
        json!({ "preset": "public_chat", "initial_state": [{
        "type": "m.room.history_visibility", "content": { "history_visibility": "joined" }
    }] }),
    );
    let secret = room(&server, &alice, json!({}));
    say(&server, &alice, &shared, "pear before");
    say(&server, &alice, &secret, "pear alone");
    join(&server, &bob, &shared);
    say(&server, &alice, &shared, "pear after");
    let found = ask(&server, &bob, json!({ "search_term": "pear", "order_by": "recent" }));
    assert_eq!(bodies(&found), ["pear after"]);
    let found = ask(&server, &alice, json!({ "search_term": "pear", "order_by": "recent" }));
    assert_eq!(bodies(&found), ["pear after", "pear alone", "pear before"]);
    let filter = json!({ "rooms": [secret] });
    let found = ask(&server, &alice, json!({ "search_term": "pear", "filter": filter }));
    assert_eq!(bodies(&found), ["pear alone"]);
    let ignore =
        format!("/_matrix/client/v3/user/{}/account_data/m.ignored_user_list", bob.user_id);
    server.put(&bob, &ignore, json!({ "ignored_users": { alice.user_id.as_str(): {} } })).ok();
    assert_eq!(bodies(&ask(&server, &bob, json!({ "search_term": "pear" }))), Vec::<&str>::new());
}

#[test]
fn what_was_redacted_is_not_found() {
    let server = Server::new();
    let alice = server.register("alice");
    let room_id = room(&server, &alice, json!({}));
    let find = || ask(&server, &alice, json!({ "search_term": "plum" }))["count"].clone();
    for early in [true, false] {
        let event_id = say(&server, &alice, &room_id, "plum");
        if early {
            assert_eq!(find(), 1);
        }
        let redact = format!("/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/{early}");
        server.put(&alice, &redact, json!({})).ok();
        assert_eq!(find(), 0);
    }
}

#[test]
fn pages_follow_each_other_and_groups_have_their_own() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let rooms = [0, 1].map(|_| room(&server, &alice, json!({ "preset": "public_chat" })));
    rooms.iter().for_each(|room_id| join(&server, &bob, room_id));
    for i in 0..12 {
        let who = if i % 3 == 0 { &bob } else { &alice };
        say(&server, who, &rooms[i % 2], &format!("fig {i}"));
    }
    for order in ["recent", "rank"] {
        let criteria = json!({ "search_term": "fig", "order_by": order, "filter": { "limit": 5 } });
        let (mut seen, mut token) = (Vec::new(), String::new());
        for length in [5, 5, 2] {
            let found = ask_from(&server, &alice, criteria.clone(), &token);
            assert_eq!((&found["count"], bodies(&found).len()), (&json!(12), length));
            seen.extend(bodies(&found).iter().map(|body| (*body).to_owned()));
            token = found["next_batch"].as_str().unwrap_or_default().to_owned();
        }
        assert!(token.is_empty());
        if order == "recent" {
            assert_eq!(seen, (0..12).rev().map(|i| format!("fig {i}")).collect::<Vec<_>>());
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 12);
    }
    let group_by = json!([{ "key": "room_id" }, { "key": "sender" }]);
    let criteria = json!({ "search_term": "fig", "order_by": "recent", "filter": { "limit": 4 },
        "groupings": { "group_by": group_by } });
    let found = ask(&server, &alice, criteria.clone());
    let group = &found["groups"]["room_id"][&rooms[0]];
    assert_eq!((&group["order"], group["results"].as_array().unwrap().len()), (&json!(2), 2));
    let next = ask_from(&server, &alice, criteria.clone(), group["next_batch"].as_str().unwrap());
    assert_eq!(bodies(&next), ["fig 6", "fig 4", "fig 2", "fig 0"]);
    let group = &found["groups"]["sender"][&bob.user_id];
    let next = ask_from(&server, &alice, criteria, group["next_batch"].as_str().unwrap());
    assert_eq!(bodies(&next), ["fig 6", "fig 3", "fig 0"]);
}

#[test]
fn what_is_around_a_result_and_the_state_come_along() {
    let server = Server::new();
    let alice = server.register("alice");
    let room_id = room(&server, &alice, json!({ "name": "Orchard" }));
    for body in ["one", "two", "quince", "four", "five"] {
        say(&server, &alice, &room_id, body);
    }
    let around = json!({ "before_limit": 1, "after_limit": 5, "include_profile": true });
    let criteria = json!({
        "search_term": "quince", "event_context": around, "include_state": true,
    });
    let found = ask(&server, &alice, criteria);
    let context = &found["results"][0]["context"];
    let texts = |name: &str| {
        let events = context[name].as_array().unwrap().iter();
        events.map(|event| event["content"]["body"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(texts("events_before"), ["two"]);
    assert_eq!(texts("events_after"), ["four", "five"]);
    assert_eq!(context["profile_info"][&alice.user_id]["displayname"], "alice");
    assert!(context["start"].is_string() && context["end"].is_string());
    let state = found["state"][&room_id].as_array().unwrap();
    assert!(state.iter().any(|event| event["content"]["name"] == "Orchard"));
}

#[test]
fn the_index_is_made_again_while_the_server_runs() {
    let server = Server::new();
    let alice = server.register("alice");
    let room_id = room(&server, &alice, json!({}));
    say(&server, &alice, &room_id, "medlar");
    let count = || ask(&server, &alice, json!({ "search_term": "medlar" }))["count"].clone();
    assert_eq!(count(), 1);
    let path = "/_myelin/search/reindex";
    server.post(&alice, path, json!({})).error(403, "M_FORBIDDEN");
    server.rows("UPDATE users SET admin = 1 RETURNING name");
    assert_eq!(server.post(&alice, path, json!({})).ok(), json!({ "done": true }));
    assert_eq!(count(), 1);
}

#[test]
fn what_is_asked_for_has_to_make_sense() {
    let server = Server::new();
    let alice = server.register("alice");
    let post = |path: &str, body: Value| server.post(&alice, path, body);
    post(SEARCH, json!({})).error(400, "M_MISSING_PARAM");
    let asked = |criteria: Value| json!({ "search_categories": { "room_events": criteria } });
    post(SEARCH, asked(json!({}))).error(400, "M_BAD_JSON");
    let order = json!({ "search_term": "x", "order_by": "age" });
    post(SEARCH, asked(order)).error(400, "M_INVALID_PARAM");
    let group = json!({ "search_term": "x", "groupings": { "group_by": [{ "key": "age" }] } });
    post(SEARCH, asked(group)).error(400, "M_INVALID_PARAM");
    let path = format!("{SEARCH}?next_batch=x");
    post(&path, asked(json!({ "search_term": "x" }))).error(400, "M_INVALID_PARAM");
    server.post("", SEARCH, json!({})).error(401, "M_MISSING_TOKEN");
}
