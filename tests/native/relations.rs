//! Events about events: what is shown with an event, what is not, and at what cost.

use crate::support::house::{House, Room, room};
use crate::support::{Account, Reply};
use myelin::durable::MembershipAction;
use serde_json::{Value, json};

const V3: &str = "/_matrix/client/v3";

fn relation(rel_type: &str, parent: &str) -> Value {
    json!({ "rel_type": rel_type, "event_id": parent })
}

fn relate(
    house: &House,
    room_id: &str,
    sender: &Account,
    rel_type: &str,
    parent: &str,
    content: Value,
) -> String {
    let mut content = content;
    content["m.relates_to"] = relation(rel_type, parent);
    house.send(room_id, sender, json!({ "type": "m.room.message", "content": content }))
}

fn edit(house: &House, room_id: &str, sender: &Account, parent: &str, body: &str) -> String {
    let content = json!({ "body": format!("* {body}"), "m.new_content": { "body": body } });
    relate(house, room_id, sender, "m.replace", parent, content)
}

fn reply(house: &House, room_id: &str, sender: &Account, root: &str, body: &str) -> String {
    relate(house, room_id, sender, "m.thread", root, json!({ "body": body }))
}

fn redact(house: &House, room_id: &str, sender: &Account, event_id: &str) {
    let path = format!("{V3}/rooms/{room_id}/redact/{event_id}/redact{event_id}");
    house.server.put(sender, &path, json!({})).ok();
}

fn ignore(house: &House, reader: &Account, whom: &Account) {
    let path = format!("{V3}/user/{}/account_data/m.ignored_user_list", reader.user_id);
    let content = json!({ "ignored_users": { &whom.user_id: {} } });
    house.server.put(reader, &path, content).ok();
}

fn react(house: &House, room_id: &str, sender: &Account, parent: &str, key: &str) -> Reply {
    let content =
        json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": parent, "key": key } });
    let count = house.server.rows("SELECT 1 FROM events").len();
    let path = format!("{V3}/rooms/{room_id}/send/m.reaction/{count}{key}");
    house.server.put(sender, &path, content)
}

/// What relates to an event, as it is shown to somebody who asks for the event.
fn shown(house: &House, reader: &Account, room_id: &str, event_id: &str) -> Value {
    let path = format!("{V3}/rooms/{room_id}/event/{event_id}");
    let event = house.server.get(reader, &path).ok();
    event["unsigned"]["m.relations"].clone()
}

#[test]
fn everywhere_an_event_is_served_it_shows_what_relates_to_it() {
    let Room { house, alice, bob, room_id } = room();
    let root = house.message(&room_id, &alice, "root");
    let latest_edit = edit(&house, &room_id, &alice, &root, "rooot");
    let reference = relate(&house, &room_id, &bob, "m.reference", &root, json!({ "body": "r" }));
    reply(&house, &room_id, &bob, &root, "first");
    let last = reply(&house, &room_id, &alice, &root, "last");
    let edit_of_last = edit(&house, &room_id, &alice, &last, "laast");
    let get = |path: String| house.server.get(&bob, &path).ok();
    let of_root = |events: &Value| -> Value {
        let events = events.as_array().unwrap();
        events.iter().find(|event| event["event_id"] == root.as_str()).unwrap().clone()
    };
    let sync = get(format!("{V3}/sync"));
    let events = [
        get(format!("{V3}/rooms/{room_id}/event/{root}")),
        get(format!("{V3}/rooms/{room_id}/context/{root}"))["event"].clone(),
        of_root(&get(format!("{V3}/rooms/{room_id}/messages?dir=b&limit=50"))["chunk"]),
        of_root(&sync["rooms"]["join"][&room_id]["timeline"]["events"]),
        of_root(&get(format!("{V3}/rooms/{room_id}/initialSync"))["messages"]["chunk"]),
        of_root(&get(format!("/_matrix/client/v1/rooms/{room_id}/threads"))["chunk"]),
    ];
    for event in events {
        assert_eq!(event["content"]["body"], "root");
        let relations = &event["unsigned"]["m.relations"];
        assert_eq!(relations["m.replace"]["event_id"], latest_edit.as_str());
        assert_eq!(relations["m.replace"]["content"]["m.new_content"]["body"], "rooot");
        assert_eq!(relations["m.reference"], json!({ "chunk": [{ "event_id": reference }] }));
        let thread = &relations["m.thread"];
        assert_eq!(
            (&thread["count"], &thread["current_user_participated"]),
            (&json!(2), &json!(true))
        );
        assert_eq!(thread["latest_event"]["event_id"], last.as_str());
        let nested = &thread["latest_event"]["unsigned"]["m.relations"];
        assert_eq!(nested["m.replace"]["event_id"], edit_of_last.as_str());
        assert!(nested["m.replace"]["unsigned"].get("m.relations").is_none());
        assert!(relations.get("m.annotation").is_none());
    }
}

#[test]
fn what_replaces_is_the_latest_valid_edit() {
    let Room { house, alice, bob, room_id } = room();
    let original = house.message(&room_id, &alice, "one");
    let replaced = |reader: &Account| {
        let shown = shown(&house, reader, &room_id, &original);
        shown["m.replace"]["content"]["m.new_content"]["body"].clone()
    };
    assert_eq!(replaced(&bob), Value::Null);
    edit(&house, &room_id, &alice, &original, "two");
    house.server.platform.advance(1_000);
    let third = edit(&house, &room_id, &alice, &original, "three");
    house.server.platform.advance(1_000);
    // None of these is valid: another sender, nothing new, another type, an edit of an edit.
    edit(&house, &room_id, &bob, &original, "mine");
    let nothing = json!({ "body": "* nothing" });
    relate(&house, &room_id, &alice, "m.replace", &original, nothing);
    let content = json!({ "m.new_content": {}, "m.relates_to": relation("m.replace", &original) });
    house.send(&room_id, &alice, json!({ "type": "org.example", "content": content }));
    edit(&house, &room_id, &alice, &third, "four");
    assert_eq!(replaced(&bob), "three");
    assert_eq!(shown(&house, &bob, &room_id, &third), Value::Null);
    redact(&house, &room_id, &alice, &third);
    assert_eq!(replaced(&bob), "two");
    redact(&house, &room_id, &alice, &original);
    assert_eq!(shown(&house, &bob, &room_id, &original), Value::Null);
}

#[test]
fn an_encrypted_event_is_replaced_by_an_encrypted_one() {
    let Room { house, alice, bob, room_id } = room();
    let encrypted = |mut content: Value, relates_to: Option<Value>| {
        if let Some(relates_to) = relates_to {
            content["m.relates_to"] = relates_to;
        }
        house.send(&room_id, &alice, json!({ "type": "m.room.encrypted", "content": content }))
    };
    let original = encrypted(json!({ "ciphertext": "1" }), None);
    let edited = encrypted(json!({ "ciphertext": "2" }), Some(relation("m.replace", &original)));
    edit(&house, &room_id, &alice, &original, "in the clear");
    let replace = shown(&house, &bob, &room_id, &original)["m.replace"].clone();
    assert_eq!(replace["event_id"], edited.as_str());
}

#[test]
fn ignored_users_relate_to_nothing() {
    let Room { house, alice, bob, room_id } = room();
    let root = house.message(&room_id, &alice, "root");
    let mine = reply(&house, &room_id, &alice, &root, "mine");
    reply(&house, &room_id, &bob, &root, "theirs");
    relate(&house, &room_id, &bob, "m.reference", &root, json!({}));
    let before = shown(&house, &alice, &room_id, &root);
    assert_eq!(before["m.thread"]["count"], 2);
    ignore(&house, &alice, &bob);
    let after = shown(&house, &alice, &room_id, &root);
    assert_eq!(after["m.thread"]["count"], 1);
    assert_eq!(after["m.thread"]["latest_event"]["event_id"], mine.as_str());
    assert!(after.get("m.reference").is_none());
    ignore(&house, &bob, &alice);
    let other_root = house.message(&room_id, &bob, "of bob");
    reply(&house, &room_id, &alice, &other_root, "unseen");
    assert_eq!(shown(&house, &bob, &room_id, &other_root), Value::Null);
}

#[test]
fn who_has_left_sees_nothing_of_what_came_after() {
    let Room { house, alice, bob, room_id } = room();
    let root = house.message(&room_id, &alice, "root");
    let seen_edit = edit(&house, &room_id, &alice, &root, "seen");
    let seen = reply(&house, &room_id, &alice, &root, "seen");
    house.leave(&room_id, &bob);
    house.server.platform.advance(1_000);
    edit(&house, &room_id, &alice, &root, "secret");
    reply(&house, &room_id, &alice, &root, "secret");
    relate(&house, &room_id, &alice, "m.reference", &root, json!({ "body": "secret" }));
    let shown = shown(&house, &bob, &room_id, &root);
    assert_eq!(shown["m.replace"]["event_id"], seen_edit.as_str());
    assert_eq!(shown["m.thread"]["latest_event"]["event_id"], seen.as_str());
    assert_eq!(shown["m.thread"]["count"], 1);
    assert!(!shown.to_string().contains("secret"), "{shown}");
}

#[test]
fn what_was_said_while_somebody_was_away_is_not_shown_with_what_they_know() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let room_id = house.room(&alice, "joined");
    house.join(&room_id, &bob);
    let root = house.message(&room_id, &alice, "root");
    house.leave(&room_id, &bob);
    edit(&house, &room_id, &alice, &root, "secret");
    house.membership(MembershipAction::Invite, &room_id, &alice, &bob);
    house.join(&room_id, &bob);
    assert_eq!(shown(&house, &bob, &room_id, &root), Value::Null);
    house.server.platform.advance(1_000);
    let known = edit(&house, &room_id, &alice, &root, "known");
    assert_eq!(shown(&house, &bob, &room_id, &root)["m.replace"]["event_id"], known.as_str());
}

#[test]
fn a_user_annotates_an_event_once_in_each_way() {
    let Room { house, alice, bob, room_id } = room();
    let message = house.message(&room_id, &alice, "hi");
    let first = react(&house, &room_id, &bob, &message, "+").ok();
    react(&house, &room_id, &bob, &message, "+").error(400, "M_DUPLICATE_ANNOTATION");
    react(&house, &room_id, &bob, &message, "-").ok();
    react(&house, &room_id, &alice, &message, "+").ok();
    redact(&house, &room_id, &bob, first["event_id"].as_str().unwrap());
    react(&house, &room_id, &bob, &message, "+").ok();
    react(&house, &room_id, &bob, "$unknown", "+").error(400, "M_INVALID_PARAM");
    react(&house, &room_id, &bob, &message, &"+".repeat(501)).error(400, "M_INVALID_PARAM");
    let other = house.room(&bob, "shared");
    react(&house, &other, &bob, &message, "+").error(400, "M_INVALID_PARAM");
}

#[test]
fn an_event_about_another_costs_one_look_more_than_one_that_is_not() {
    let Room { house, alice, bob, room_id } = room();
    let message = house.message(&room_id, &alice, "hi");
    let batches = |send: &dyn Fn() -> Reply| {
        let before = house.server.platform.sqlite.batches();
        let reply = send();
        (house.server.platform.sqlite.batches() - before, reply)
    };
    let send = |txn_id: &str| {
        let path = format!("{V3}/rooms/{room_id}/send/m.room.message/{txn_id}");
        house.server.put(&bob, &path, json!({ "body": "hi" }))
    };
    send("warm").ok();
    let plain = batches(&|| send("plain"));
    let first = batches(&|| react(&house, &room_id, &bob, &message, "1"));
    let second = batches(&|| react(&house, &room_id, &bob, &message, "2"));
    // One of each counts the events for its transaction id.
    assert_eq!((plain.0, first.0, second.0), (1, 3, 3));
    react(&house, &room_id, &bob, &message, "2").error(400, "M_DUPLICATE_ANNOTATION");
    let event_id = first.1.ok()["event_id"].as_str().unwrap().to_owned();
    redact(&house, &room_id, &bob, &event_id);
    react(&house, &room_id, &bob, &message, "1").ok();
}

#[test]
fn pages_are_narrowed_to_what_others_relate_to() {
    let Room { house, alice, bob, room_id } = room();
    let root = house.message(&room_id, &alice, "root");
    house.message(&room_id, &alice, "alone");
    reply(&house, &room_id, &bob, &root, "reply");
    let found = |filter: Value| {
        let filter = filter.to_string();
        let filter: String = url::form_urlencoded::byte_serialize(filter.as_bytes()).collect();
        let path = format!("{V3}/rooms/{room_id}/messages?dir=b&filter={filter}");
        let chunk = house.server.get(&alice, &path).ok()["chunk"].clone();
        let ids = chunk.as_array().unwrap().iter();
        ids.map(|event| event["event_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let by_bob = json!([bob.user_id]);
    assert_eq!(found(json!({ "related_by_rel_types": ["m.thread"] })), std::slice::from_ref(&root));
    assert_eq!(found(json!({ "related_by_senders": by_bob })), std::slice::from_ref(&root));
    let both = json!({ "related_by_senders": by_bob, "related_by_rel_types": ["m.replace"] });
    assert_eq!(found(both), [""; 0]);
    assert_eq!(found(json!({ "related_by_senders": [alice.user_id] })), [""; 0]);
    let path =
        format!("{V3}/rooms/{room_id}/messages?dir=b&filter=%7B%22related_by_senders%22:1%7D");
    house.server.get(&alice, &path).error(400, "M_INVALID_PARAM");
}

#[test]
fn syncs_and_contexts_are_narrowed_to_what_others_relate_to() {
    let Room { house, alice, bob, room_id } = room();
    let root = house.message(&room_id, &alice, "root");
    let alone = house.message(&room_id, &alice, "alone");
    reply(&house, &room_id, &bob, &root, "reply");
    let get = |path: &str, filter: &str| {
        let filter: String = url::form_urlencoded::byte_serialize(filter.as_bytes()).collect();
        house.server.get(&alice, &format!("{V3}/{path}filter={filter}"))
    };
    let ids = |events: &Value| {
        let ids = events.as_array().unwrap().iter();
        ids.map(|event| event["event_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let threads = json!({ "related_by_rel_types": ["m.thread"] });
    let filter = json!({ "room": { "timeline": threads } });
    let path = format!("{V3}/user/{}/filter", alice.user_id);
    let stored = house.server.post(&alice, &path, filter.clone()).ok()["filter_id"].clone();
    for filter in [filter.to_string(), stored.as_str().unwrap().to_owned()] {
        let answer = get("sync?", &filter).ok();
        let timeline = &answer["rooms"]["join"][&room_id]["timeline"];
        assert_eq!(ids(&timeline["events"]), std::slice::from_ref(&root));
        assert_eq!(timeline["limited"], false);
    }
    let create = house.server.rows("SELECT event_id FROM events WHERE type = 'm.room.create'");
    let create = create[0]["event_id"].as_str().unwrap();
    react(&house, &room_id, &bob, create, "+").ok();
    let related = json!({ "related_by_senders": [bob.user_id] });
    let filter = json!({ "room": { "state": related, "timeline": { "limit": 1 } } });
    let answer = get("sync?", &filter.to_string()).ok();
    assert_eq!(ids(&answer["rooms"]["join"][&room_id]["state"]["events"]), [create]);
    let context = format!("rooms/{room_id}/context/{alone}?");
    let answer = get(&context, &threads.to_string()).ok();
    assert_eq!(ids(&answer["events_before"]), [root]);
    assert_eq!(answer["events_after"], json!([]));
    let broken = json!({ "room": { "timeline": { "related_by_senders": 1 } } });
    get("sync?", &broken.to_string()).error(400, "M_INVALID_PARAM");
    house.server.post(&alice, &path, broken).error(400, "M_BAD_JSON");
    get(&context, r#"{"related_by_senders":1}"#).error(400, "M_INVALID_PARAM");
}

#[test]
fn of_two_equal_reactions_at_once_one_stays() {
    let Room { house, alice, bob, room_id } = room();
    let message = house.message(&room_id, &alice, "hi");
    let content = json!({
        "m.relates_to": { "rel_type": "m.annotation", "event_id": message, "key": "+" }
    });
    let send = |txn: &str| {
        let path = format!("{V3}/rooms/{room_id}/send/m.reaction/{txn}");
        house.server.request("PUT", &bob, &path, &content)
    };
    let (one, two) = (send("one"), send("two"));
    let replies = house.server.run(async move { futures_util::join!(one, two) });
    let statuses = [replies.0.status, replies.1.status];
    assert!(statuses.contains(&200) && statuses.contains(&400), "{statuses:?}");
    let sql = "SELECT 1 FROM event_relations WHERE relation_type = 'm.annotation'";
    assert_eq!(house.server.rows(sql).len(), 1);
}

#[test]
fn a_page_with_relations_costs_two_round_trips_and_one_without_costs_one() {
    let Room { house, alice, bob, room_id } = room();
    for number in 0..99 {
        house.message(&room_id, &alice, &number.to_string());
    }
    let page = format!("{V3}/rooms/{room_id}/messages?dir=b&limit=100");
    let plain = house.server.get(&bob, &page);
    assert_eq!(plain.cost.round_trips.get(), 1);
    let events: Vec<String> = plain.ok()["chunk"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["type"] == "m.room.message")
        .map(|event| event["event_id"].as_str().unwrap().to_owned())
        .collect();
    let cost_of_sync = || {
        // An isolate that remembers no event.
        house.server.platform.restart();
        house.server.get(&bob, &format!("{V3}/account/whoami")).ok();
        house.server.get(&bob, &format!("{V3}/sync")).cost.round_trips.get()
    };
    // Whoever has just come online is told of it by the first of all syncs.
    cost_of_sync();
    let without = cost_of_sync();
    for event_id in events.iter().take(33) {
        edit(&house, &room_id, &alice, event_id, "edited");
        let last = reply(&house, &room_id, &alice, event_id, "reply");
        edit(&house, &room_id, &alice, &last, "edited");
    }
    let rich = house.server.get(&bob, &format!("{page}&from=t105-9007199254740991"));
    assert_eq!(rich.cost.round_trips.get(), 2);
    let rows = rich.cost.rows_read.get();
    let chunk = rich.ok()["chunk"].clone();
    let shown = chunk.as_array().unwrap().iter();
    let shown = shown.filter(|event| {
        let thread = &event["unsigned"]["m.relations"]["m.thread"];
        thread["latest_event"]["unsigned"]["m.relations"]["m.replace"].is_object()
    });
    assert_eq!(shown.count(), 33, "{rows}");
    let with = cost_of_sync();
    // What relates to a timeline comes with the state that has not come along.
    assert!(with <= without, "{with}, {without}");
}

#[test]
fn fields_and_formats_of_a_filter_concern_relations_too() {
    let Room { house, alice, bob, room_id } = room();
    let root = house.message(&room_id, &alice, "root");
    edit(&house, &room_id, &alice, &root, "edited");
    let relations = |filter: Value| {
        let filter = filter.to_string();
        let filter: String = url::form_urlencoded::byte_serialize(filter.as_bytes()).collect();
        let body = house.server.get(&bob, &format!("{V3}/sync?filter={filter}")).ok();
        let events = body["rooms"]["join"][&room_id]["timeline"]["events"].clone();
        let of_root = |event: &&Value| event["content"]["body"] == "root";
        let event = events.as_array().unwrap().iter().find(of_root).unwrap().clone();
        event["unsigned"]["m.relations"].clone()
    };
    let projected = relations(json!({ "event_fields": ["content.body"] }));
    assert_eq!(projected["m.replace"]["content"]["m.new_content"]["body"], "edited");
    assert_eq!(relations(json!({ "event_format": "federation" })), Value::Null);
}
