//! Threads: their list, what the room's writer keeps of them, and the events about an event.

use crate::support::Account;
use crate::support::house::{Room, room};
use serde_json::{Value, json};

const V1: &str = "/_matrix/client/v1";
const V3: &str = "/_matrix/client/v3";

impl Room {
    fn relate(&self, sender: &Account, rel_type: &str, parent: &str, body: &str) -> String {
        let relates_to = json!({ "rel_type": rel_type, "event_id": parent });
        let content = json!({ "body": body, "m.relates_to": relates_to });
        let event = json!({ "type": "m.room.message", "content": content });
        self.house.send(&self.room_id, sender, event)
    }

    fn root(&self, sender: &Account) -> String {
        self.house.message(&self.room_id, sender, "root")
    }

    fn redact(&self, sender: &Account, event_id: &str) {
        let path = format!("{V3}/rooms/{}/redact/{event_id}/redact{event_id}", self.room_id);
        self.house.server.put(sender, &path, json!({})).ok();
    }

    fn threads(&self, reader: &Account, query: &str) -> Value {
        let path = format!("{V1}/rooms/{}/threads?{query}", self.room_id);
        self.house.server.get(reader, &path).ok()
    }

    fn relations(&self, reader: &Account, rest: &str) -> Value {
        let path = format!("{V1}/rooms/{}/relations/{rest}", self.room_id);
        self.house.server.get(reader, &path).ok()
    }

    /// The threads that the writer has kept, with their latest events.
    fn kept(&self) -> Vec<(String, String)> {
        let sql = "SELECT t.*, e.topological_ordering AS depth, e.stream_ordering AS position
                   FROM threads t JOIN events e ON e.event_id = t.latest_event_id
                   ORDER BY t.stream_ordering DESC";
        let rows = self.house.server.rows(sql).into_iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        rows.map(|row| {
            assert_eq!(row["topological_ordering"], row["depth"]);
            assert_eq!(row["stream_ordering"], row["position"]);
            (text(&row["thread_id"]), text(&row["latest_event_id"]))
        })
        .collect()
    }
}

fn ids(events: &Value) -> Vec<String> {
    let events = events.as_array().unwrap().iter();
    events.map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn threads_are_listed_by_their_latest_events() {
    let room = room();
    let (alice, bob) = (&room.alice, &room.bob);
    let roots: Vec<String> = (0..5).map(|_| room.root(alice)).collect();
    for root in &roots {
        room.relate(alice, "m.thread", root, "reply");
    }
    room.relate(bob, "m.thread", &roots[1], "again");
    let expected: Vec<String> = [1, 4, 3, 2, 0].map(|index: usize| roots[index].clone()).to_vec();
    let (mut found, mut from) = (Vec::new(), String::new());
    for _ in 0..3 {
        let page = room.threads(bob, &format!("limit=2{from}"));
        found.extend(ids(&page["chunk"]));
        let Some(next) = page["next_batch"].as_str() else { break };
        from = format!("&from={next}");
    }
    assert_eq!(found, expected);
    assert_eq!(ids(&room.threads(bob, "")["chunk"]), expected);
    assert_eq!(ids(&room.threads(bob, "include=participated")["chunk"]), [roots[1].clone()]);
    assert_eq!(ids(&room.threads(alice, "include=participated")["chunk"]), expected);
    let path = format!("{V1}/rooms/{}/threads?from=nonsense", room.room_id);
    room.house.server.get(bob, &path).error(400, "M_INVALID_PARAM");
    let path = format!("{V1}/rooms/{}/threads?include=nonsense", room.room_id);
    room.house.server.get(bob, &path).error(400, "M_INVALID_PARAM");
    let carol = room.house.account("carol");
    let path = format!("{V1}/rooms/{}/threads", room.room_id);
    room.house.server.get(&carol, &path).error(403, "M_FORBIDDEN");
}

#[test]
fn a_page_of_threads_costs_two_round_trips() {
    let room = room();
    for _ in 0..20 {
        let root = room.root(&room.alice);
        let reply = room.relate(&room.bob, "m.thread", &root, "reply");
        room.relate(&room.alice, "m.reference", &reply, "reference");
    }
    let path = format!("{V1}/rooms/{}/threads?limit=20", room.room_id);
    let reply = room.house.server.get(&room.bob, &path);
    assert_eq!(reply.cost.round_trips.get(), 2);
    let chunk = reply.ok()["chunk"].clone();
    for root in chunk.as_array().unwrap() {
        let latest = &root["unsigned"]["m.relations"]["m.thread"]["latest_event"];
        let references = &latest["unsigned"]["m.relations"]["m.reference"]["chunk"];
        assert_eq!(references.as_array().unwrap().len(), 1);
    }
    assert_eq!(chunk.as_array().unwrap().len(), 20);
}

#[test]
fn a_thread_that_loses_its_latest_event_goes_back_to_the_one_before() {
    let room = room();
    let (alice, bob) = (&room.alice, &room.bob);
    let root = room.root(alice);
    let replies: Vec<String> =
        (0..3).map(|n| room.relate(bob, "m.thread", &root, &n.to_string())).collect();
    assert_eq!(room.kept(), [(root.clone(), replies[2].clone())]);
    room.redact(bob, &replies[1]);
    assert_eq!(room.kept(), [(root.clone(), replies[2].clone())]);
    room.redact(bob, &replies[2]);
    assert_eq!(room.kept(), [(root.clone(), replies[0].clone())]);
    let thread = &room.threads(alice, "")["chunk"][0]["unsigned"]["m.relations"]["m.thread"];
    assert_eq!(thread["count"], 1);
    assert_eq!(thread["latest_event"]["event_id"], replies[0].as_str());
    room.redact(bob, &replies[0]);
    assert_eq!(room.kept(), []);
    assert_eq!(room.threads(alice, "")["chunk"], json!([]));
}

#[test]
fn no_thread_starts_at_an_event_that_is_about_another() {
    let room = room();
    let root = room.root(&room.alice);
    let reply = room.relate(&room.bob, "m.thread", &root, "reply");
    let relates_to = json!({ "rel_type": "m.thread", "event_id": reply });
    let content = json!({ "body": "nested", "m.relates_to": relates_to });
    let path = format!("{V3}/rooms/{}/send/m.room.message/1", room.room_id);
    room.house.server.put(&room.bob, &path, content).error(400, "M_INVALID_PARAM");
    assert_eq!(room.kept(), [(root, reply)]);
}

#[test]
fn the_events_about_an_event_are_paged_in_both_directions() {
    let room = room();
    let (alice, bob) = (&room.alice, &room.bob);
    let root = room.root(alice);
    let replies: Vec<String> =
        (0..7).map(|n| room.relate(bob, "m.thread", &root, &n.to_string())).collect();
    let newest_first: Vec<String> = replies.iter().rev().cloned().collect();
    let first = room.relations(alice, &root);
    assert_eq!(ids(&first["chunk"]), newest_first[..5]);
    for (direction, expected) in [("b", &newest_first), ("f", &replies)] {
        let (mut found, mut from) = (Vec::new(), String::new());
        loop {
            let rest = format!("{root}/m.thread?dir={direction}&limit=3{from}");
            let page = room.relations(alice, &rest);
            found.extend(ids(&page["chunk"]));
            assert_eq!(page["prev_batch"].is_string(), !from.is_empty());
            let Some(next) = page["next_batch"].as_str() else { break };
            from = format!("&from={next}");
        }
        assert_eq!(found, *expected);
    }
    let to = first["next_batch"].as_str().unwrap();
    let rest = room.relations(alice, &format!("{root}?limit=10&to={to}"));
    assert_eq!(ids(&rest["chunk"]), newest_first[..5]);
}

#[test]
fn relations_are_narrowed_by_their_type_and_that_of_the_event() {
    let room = room();
    let root = room.root(&room.alice);
    let thread = room.relate(&room.bob, "m.thread", &root, "t");
    let reference = room.relate(&room.bob, "m.reference", &root, "r");
    let content =
        json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": root, "key": "+" } });
    let event = json!({ "type": "m.reaction", "content": content });
    let reaction = room.house.send(&room.room_id, &room.bob, event);
    let found = |rest: &str| ids(&room.relations(&room.alice, &format!("{root}{rest}"))["chunk"]);
    assert_eq!(found(""), [reaction.clone(), reference.clone(), thread.clone()]);
    assert_eq!(found("/m.reference"), [reference]);
    assert_eq!(found("/m.annotation/m.reaction"), [reaction]);
    assert_eq!(found("/m.annotation/m.room.message"), [""; 0]);
    room.redact(&room.bob, &thread);
    assert_eq!(found("/m.thread"), [""; 0]);
}

#[test]
fn relations_of_relations_come_along_when_asked_for() {
    let room = room();
    let root = room.root(&room.alice);
    let reply = room.relate(&room.bob, "m.thread", &root, "t");
    let reference = room.relate(&room.bob, "m.reference", &reply, "r");
    let deeper = room.relate(&room.bob, "m.reference", &reference, "r");
    room.relate(&room.bob, "m.reference", &deeper, "too deep");
    let plain = room.relations(&room.alice, &root);
    assert_eq!(ids(&plain["chunk"]), std::slice::from_ref(&reply));
    assert!(plain.get("recursion_depth").is_none());
    let all = room.relations(&room.alice, &format!("{root}?recurse=true"));
    assert_eq!(ids(&all["chunk"]), [deeper.clone(), reference.clone(), reply]);
    assert_eq!(all["recursion_depth"], 3);
    let references = room.relations(&room.alice, &format!("{root}/m.reference?recurse=true"));
    assert_eq!(ids(&references["chunk"]), [deeper, reference]);
}

#[test]
fn relations_show_no_more_than_their_reader_may_see() {
    let room = room();
    let (alice, bob) = (&room.alice, &room.bob);
    let root = room.root(alice);
    let seen = room.relate(bob, "m.thread", &root, "seen");
    room.house.leave(&room.room_id, bob);
    room.relate(alice, "m.thread", &root, "unseen");
    assert_eq!(ids(&room.relations(bob, &root)["chunk"]), [seen]);
    let carol = room.house.account("carol");
    let path = format!("{V1}/rooms/{}/relations/{root}", room.room_id);
    room.house.server.get(&carol, &path).error(403, "M_FORBIDDEN");
    let path = format!("{V1}/rooms/{}/relations/$unknown", room.room_id);
    room.house.server.get(alice, &path).error(404, "M_NOT_FOUND");
    room.house.server.get("", &path).error(401, "M_MISSING_TOKEN");
    let path = format!("{V1}/rooms/{}/relations/{root}?limit=-1", room.room_id);
    room.house.server.get(alice, &path).error(400, "M_INVALID_PARAM");
}

#[test]
fn a_redacted_event_has_no_edits_in_its_relations() {
    let room = room();
    let root = room.root(&room.alice);
    let relates_to = json!({ "rel_type": "m.replace", "event_id": root });
    let new_content = json!({ "body": "edited" });
    let content = json!({ "m.new_content": new_content, "m.relates_to": relates_to });
    let event = json!({ "type": "m.room.message", "content": content });
    let edit = room.house.send(&room.room_id, &room.alice, event);
    let reply = room.relate(&room.bob, "m.thread", &root, "reply");
    assert_eq!(ids(&room.relations(&room.bob, &root)["chunk"]), [reply.clone(), edit]);
    let path = format!("/_matrix/client/unstable/rooms/{}/relations/{root}", room.room_id);
    let unstable = room.house.server.get(&room.bob, &path).ok();
    assert_eq!(unstable["original_event"]["content"]["body"], "root");
    room.redact(&room.alice, &root);
    assert_eq!(ids(&room.relations(&room.bob, &root)["chunk"]), [reply]);
}
