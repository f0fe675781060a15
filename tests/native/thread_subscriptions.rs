//! Threads that users follow: MSC4306 and MSC4308.

use crate::support::house::{Room, room};
use crate::support::{Account, Reply};
use serde_json::{Value, json};

impl Room {
    fn reply(&self, root: &str) -> String {
        let relates_to = json!({ "rel_type": "m.thread", "event_id": root });
        let content = json!({ "body": "reply", "m.relates_to": relates_to });
        let event = json!({ "type": "m.room.message", "content": content });
        self.house.send(&self.room_id, &self.alice, event)
    }

    fn call(&self, method: &str, who: &Account, root: &str, body: Value) -> Reply {
        let base = "/_matrix/client/unstable/io.element.msc4306/rooms";
        let path = format!("{base}/{}/thread/{root}/subscription", self.room_id);
        self.house.server.call(method, who, &path, body)
    }

    fn get(&self, root: &str) -> Reply {
        self.call("GET", &self.bob, root, Value::Null)
    }

    fn subscribe(&self, root: &str) {
        self.call("PUT", &self.bob, root, json!({})).ok();
    }

    fn subscribe_for(&self, root: &str, event_id: &str) -> Reply {
        self.call("PUT", &self.bob, root, json!({ "automatic": event_id }))
    }

    fn unsubscribe(&self, root: &str) {
        self.call("DELETE", &self.bob, root, Value::Null).ok();
    }

    fn list(&self, query: &str) -> Reply {
        let base = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions";
        self.house.server.get(&self.bob, &format!("{base}?{query}"))
    }
}

#[test]
fn a_thread_is_followed_until_it_no_longer_is() {
    let room = room();
    let root = room.house.message(&room.room_id, &room.alice, "root");
    room.get(&root).error(404, "M_NOT_FOUND");
    room.subscribe(&root);
    assert_eq!(room.get(&root).ok(), json!({ "automatic": false }));
    room.call("GET", &room.alice, &root, Value::Null).error(404, "M_NOT_FOUND");
    room.unsubscribe(&root);
    room.get(&root).error(404, "M_NOT_FOUND");
    room.unsubscribe(&root);
    room.get("$unknown").error(404, "M_NOT_FOUND");
    room.get("unknown").error(400, "M_INVALID_PARAM");
    room.call("PUT", &room.bob, &root, json!({ "automatic": 1 })).error(400, "M_BAD_JSON");
    let carol = room.house.account("carol");
    for method in ["PUT", "DELETE"] {
        room.call(method, &carol, &root, json!({})).error(404, "M_NOT_FOUND");
    }
}

#[test]
fn what_a_client_does_on_its_own_gives_way_to_what_the_user_wants() {
    let room = room();
    let root = room.house.message(&room.room_id, &room.alice, "root");
    let first = room.reply(&root);
    room.subscribe_for(&root, "$unknown").error(404, "M_NOT_FOUND");
    let not_in_thread = room.house.message(&room.room_id, &room.alice, "other");
    let code = "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD";
    room.subscribe_for(&root, &not_in_thread).error(400, code);
    room.subscribe_for(&root, &root).error(400, code);
    room.subscribe_for(&root, &first).ok();
    assert_eq!(room.get(&root).ok(), json!({ "automatic": true }));
    room.subscribe(&root);
    room.subscribe_for(&root, &first).ok();
    assert_eq!(room.get(&root).ok(), json!({ "automatic": false }));
    room.unsubscribe(&root);
    let code = "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION";
    room.subscribe_for(&root, &first).error(409, code);
    room.get(&root).error(404, "M_NOT_FOUND");
    let second = room.reply(&root);
    room.subscribe_for(&root, &second).ok();
    assert_eq!(room.get(&root).ok(), json!({ "automatic": true }));
}

#[test]
fn changes_are_listed_from_the_latest_backwards() {
    let room = room();
    let message = || room.house.message(&room.room_id, &room.alice, "root");
    let roots: Vec<String> = (0..5).map(|_| message()).collect();
    for root in &roots {
        room.subscribe(root);
    }
    room.unsubscribe(&roots[0]);
    // What changes nothing is no change.
    room.subscribe(&roots[4]);
    let first = room.list("dir=b&limit=2");
    assert_eq!(first.cost.round_trips.get(), 1);
    let first = first.ok();
    let stamp = &first["subscribed"][&room.room_id][&roots[4]]["bump_stamp"];
    assert_eq!(first["subscribed"][&room.room_id][&roots[4]]["automatic"], false);
    let unsubscribed = &first["unsubscribed"][&room.room_id][&roots[0]];
    assert!(unsubscribed["bump_stamp"].as_i64() > stamp.as_i64());
    let mut found: Vec<String> = Vec::new();
    let mut end = first["end"].as_str().map(ToOwned::to_owned);
    while let Some(from) = end {
        let page = room.list(&format!("dir=b&limit=2&from={from}")).ok();
        if let Some(threads) = page["subscribed"][&room.room_id].as_object() {
            found.extend(threads.keys().cloned());
        }
        end = page["end"].as_str().map(ToOwned::to_owned);
    }
    let mut expected = roots[1..4].to_vec();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let to = first["end"].as_str().unwrap();
    assert!(room.list(&format!("dir=b&to={to}")).ok().get("end").is_none());
    room.list("dir=f").error(400, "M_INVALID_PARAM");
    room.list("").error(400, "M_MISSING_PARAM");
    room.list("dir=b&limit=0").error(400, "M_INVALID_PARAM");
    room.list("dir=b&from=x").error(400, "M_INVALID_PARAM");
    assert_eq!(
        room.house
            .server
            .get(
                &room.alice,
                "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions?dir=b"
            )
            .ok(),
        json!({})
    );
}

#[test]
fn each_change_takes_a_position_of_its_own() {
    let room = room();
    let root = room.house.message(&room.room_id, &room.alice, "root");
    let position = || {
        let sql =
            "SELECT stream_id FROM stream_positions WHERE stream_name = 'thread_subscriptions'";
        room.house.server.rows(sql)[0]["stream_id"].as_i64().unwrap()
    };
    let before = position();
    room.subscribe(&root);
    room.subscribe(&root);
    assert_eq!(position(), before + 1);
    room.unsubscribe(&root);
    assert_eq!(position(), before + 2);
    let row = &room.house.server.rows("SELECT * FROM thread_subscriptions")[0];
    assert_eq!(row["stream_id"], before + 2);
    assert_eq!(row["unsubscribed_at_topological_ordering"], 7);
}

#[test]
fn a_sliding_sync_tells_what_has_changed_and_wakes_for_it() {
    let room = room();
    let message = || room.house.message(&room.room_id, &room.alice, "root");
    let roots: Vec<String> = (0..3).map(|_| message()).collect();
    for root in &roots {
        room.subscribe(root);
    }
    const NAME: &str = "io.element.msc4308.thread_subscriptions";
    let base = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";
    let body = json!({ "extensions": { NAME: { "enabled": true, "limit": 2 } } });
    let slide = |query: &str| {
        let path = format!("{base}?{query}");
        room.house.server.request("POST", &room.bob, &path, &body)
    };
    let first = room.house.server.run(slide("")).ok();
    let told = &first["extensions"][NAME];
    assert_eq!(told["subscribed"][&room.room_id].as_object().unwrap().len(), 2);
    let rest = room.list(&format!("dir=b&from={}", told["prev_batch"].as_str().unwrap())).ok();
    assert_eq!(rest["subscribed"][&room.room_id][&roots[0]]["automatic"], false);
    let pos = first["pos"].as_str().unwrap();
    let quiet = room.house.server.run(slide(&format!("pos={pos}"))).ok();
    assert!(quiet["extensions"].get(NAME).is_none(), "{quiet}");
    let pos = quiet["pos"].as_str().unwrap();
    let waiting = slide(&format!("pos={pos}&timeout=30000"));
    let base = "/_matrix/client/unstable/io.element.msc4306/rooms";
    let path = format!("{base}/{}/thread/{}/subscription", room.room_id, roots[1]);
    let delete = room.house.server.request("DELETE", &room.bob, &path, &Value::Null);
    let (woken, deleted) =
        room.house.server.run(async move { futures_util::join!(waiting, delete) });
    deleted.ok();
    let woken = woken.ok();
    let unsubscribed = &woken["extensions"][NAME]["unsubscribed"][&room.room_id][&roots[1]];
    assert!(unsubscribed["bump_stamp"].is_number(), "{woken}");
    let to = woken["pos"].as_str().unwrap();
    let to: String = url::form_urlencoded::byte_serialize(to.as_bytes()).collect();
    assert_eq!(room.list(&format!("dir=b&to={to}")).ok(), json!({}));
}
