//! Events that an isolate remembers are told as if they had been read.

use crate::support::house::{Room, room};
use crate::support::{Account, encode};
use myelin::storage::database::Statement;
use serde_json::{Value, json};

const V3: &str = "/_matrix/client/v3";

fn sync(room: &Room, account: &Account) -> Value {
    let filter = encode(r#"{"room": {"state": {"lazy_load_members": true}}}"#);
    let sync = room.house.server.get(account, &format!("{V3}/sync?filter={filter}")).ok();
    sync["rooms"]["join"][&room.room_id].clone()
}

fn events(room: &Value) -> Vec<Value> {
    let of = |part: &str| room[part]["events"].as_array().unwrap().clone();
    [of("state"), of("timeline")].concat()
}

fn find(room: &Value, event_id: &str) -> Value {
    let events = events(room);
    events.into_iter().find(|event| event["event_id"] == event_id).expect("it is told")
}

/// A name, and thirty messages, so that the state lies before the timeline: the ids of the name
/// and of the last message.
fn fill(room: &Room) -> [String; 2] {
    let name = json!({ "type": "m.room.name", "state_key": "", "content": { "name": "secret" } });
    let name = room.house.send(&room.room_id, &room.alice, name);
    let send = |index: u32| room.house.message(&room.room_id, &room.alice, &index.to_string());
    [name, (0..30).map(send).last().unwrap()]
}

fn redact(room: &Room, event_id: &str) {
    let event = json!({ "type": "m.room.redaction", "redacts": event_id, "content": {} });
    room.house.send(&room.room_id, &room.alice, event);
}

/// An answer without what changes from one moment to the next.
fn without_ages(value: Value) -> Value {
    match value {
        Value::Array(list) => list.into_iter().map(without_ages).collect(),
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(key, _)| key != "age");
            kept.map(|(key, value)| (key, without_ages(value))).collect()
        }
        other => other,
    }
}

#[test]
fn what_is_remembered_is_told_as_what_is_read() {
    let room = room();
    fill(&room);
    let server = &room.house.server;
    let filters = [
        json!({}),
        json!({ "room": { "timeline": { "limit": 3 }, "state": { "lazy_load_members": true } } }),
        json!({ "room": { "timeline": { "types": ["m.room.mem*"] } } }),
        json!({ "room": { "include_leave": true, "timeline": { "limit": 0 } } }),
        json!({ "event_format": "federation" }),
    ];
    for account in [&room.alice, &room.bob] {
        for filter in &filters {
            let filter = encode(&filter.to_string());
            let path = format!("{V3}/sync?set_presence=offline&filter={filter}");
            server.platform.restart();
            server.get(account, &format!("{V3}/account/whoami")).ok();
            let told = || without_ages(server.get(account, &path).ok());
            let (read, remembered) = (told(), told());
            assert_eq!(read, remembered, "{filter}");
        }
    }
}

#[test]
fn a_second_first_sync_reads_no_event_twice() {
    let room = room();
    fill(&room);
    let server = &room.house.server;
    sync(&room, &room.bob);
    server.platform.restart();
    server.get(&room.bob, &format!("{V3}/account/whoami")).ok();
    let filter = encode(r#"{"room": {"state": {"lazy_load_members": true}}}"#);
    let cost = || server.get(&room.bob, &format!("{V3}/sync?filter={filter}")).cost;
    let (read, remembered) = (cost(), cost());
    assert_eq!((read.round_trips.get(), remembered.round_trips.get()), (3, 2));
    let (read, remembered) = (read.rows_read.get(), remembered.rows_read.get());
    assert!(remembered * 4 < read * 3, "{remembered}, {read}");
}

#[test]
fn what_is_redacted_after_it_was_remembered_is_told_redacted() {
    let room = room();
    let [name, last] = fill(&room);
    for account in [&room.alice, &room.bob] {
        let before = sync(&room, account);
        assert_eq!(find(&before, &name)["content"]["name"], "secret");
        assert_eq!(find(&before, &last)["content"]["body"], "29");
    }
    redact(&room, &last);
    redact(&room, &name);
    for account in [&room.bob, &room.alice] {
        // The second one is told what has been read by the first.
        for _ in 0..2 {
            let after = sync(&room, account);
            for event_id in [&last, &name] {
                let event = find(&after, event_id);
                assert_eq!(event["content"], json!({}));
                assert_eq!(event["unsigned"]["redacted_because"]["redacts"], *event_id);
            }
        }
    }
}

#[test]
fn what_an_erased_user_said_is_not_remembered() {
    let room = room();
    let event_id = room.house.message(&room.room_id, &room.alice, "personal");
    let carol = room.house.account("carol");
    room.house.join(&room.room_id, &carol);
    assert_eq!(find(&sync(&room, &carol), &event_id)["content"]["body"], "personal");
    let erase = Statement::new("INSERT INTO erased_users (user_id) VALUES (?1)");
    room.house.batch(vec![erase.bind(&room.alice.user_id)]);
    for _ in 0..2 {
        assert_eq!(find(&sync(&room, &carol), &event_id)["content"], json!({}));
        assert_eq!(find(&sync(&room, &room.bob), &event_id)["content"]["body"], "personal");
    }
}

#[test]
fn only_the_device_that_sent_an_event_is_told_its_transaction() {
    let room = room();
    let server = &room.house.server;
    let path = format!("{V3}/rooms/{}/send/m.room.message/own", room.room_id);
    let sent = server.put(&room.alice, &path, json!({ "body": "a", "msgtype": "m.text" })).ok();
    let event_id = sent["event_id"].as_str().unwrap();
    let other = server.login("alice");
    let transaction =
        |account| find(&sync(&room, account), event_id)["unsigned"]["transaction_id"].clone();
    for _ in 0..2 {
        assert_eq!(transaction(&room.alice), "own");
        assert_eq!(transaction(&other), Value::Null);
        assert_eq!(transaction(&room.bob), Value::Null);
    }
}

#[test]
fn who_may_not_see_what_others_remember_is_not_told() {
    let room = room();
    let house = &room.house;
    let visibility = json!({
        "type": "m.room.history_visibility", "state_key": "",
        "content": { "history_visibility": "joined" },
    });
    house.send(&room.room_id, &room.alice, visibility);
    let event_id = house.message(&room.room_id, &room.alice, "before carol");
    let carol = house.account("carol");
    house.join(&room.room_id, &carol);
    house.message(&room.room_id, &room.alice, "to carol");
    let sees = |account| {
        let events = events(&sync(&room, account));
        events.iter().any(|event| event["event_id"] == event_id)
    };
    for _ in 0..2 {
        assert!(sees(&room.bob));
        assert!(!sees(&carol));
    }
}

#[test]
fn a_database_that_was_restored_is_told_as_it_is() {
    let room = room();
    let lost = room.house.message(&room.room_id, &room.alice, "lost");
    assert_eq!(find(&sync(&room, &room.bob), &lost)["content"]["body"], "lost");
    // The place in the stream now has another event.
    let sql = [
        "UPDATE events SET event_id = '$other' WHERE event_id = ?1",
        "UPDATE event_to_state_groups SET event_id = '$other' WHERE event_id = ?1",
        "UPDATE event_json SET event_id = '$other', json = replace(json, 'lost', 'kept')
         WHERE event_id = ?1",
    ];
    room.house.batch(sql.map(|sql| Statement::new(sql).bind(&lost)).to_vec());
    let sync = sync(&room, &room.bob);
    assert_eq!(find(&sync, "$other")["content"]["body"], "kept");
    assert!(events(&sync).iter().all(|event| event["event_id"] != lost));
}

#[test]
fn sliding_sync_is_told_what_is_remembered() {
    let room = room();
    let [name, last] = fill(&room);
    let server = &room.house.server;
    let request = json!({ "lists": { "all": {
        "ranges": [[0, 9]], "timeline_limit": 5, "required_state": [["m.room.name", ""],
            ["m.room.member", "$LAZY"], ["m.room.create", ""]],
    } } });
    let path = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";
    let told = |account: &Account| {
        let reply = server.post(account, path, request.clone());
        let rows = reply.cost.rows_read.get();
        (without_ages(reply.ok()["rooms"][&room.room_id].clone()), rows)
    };
    told(&room.bob);
    server.platform.restart();
    server.get(&room.bob, &format!("{V3}/account/whoami")).ok();
    let ((read, rows_read), (remembered, rows_remembered)) = (told(&room.bob), told(&room.bob));
    assert_eq!(read, remembered);
    assert!(rows_remembered < rows_read, "{rows_remembered}, {rows_read}");
    redact(&room, &name);
    redact(&room, &last);
    let (after, _) = told(&room.bob);
    let events = [&after["required_state"], &after["timeline"]];
    let events: Vec<&Value> = events.iter().flat_map(|list| list.as_array().unwrap()).collect();
    for event_id in [&name, &last] {
        let event = events.iter().find(|event| event["event_id"] == **event_id).unwrap();
        assert_eq!(event["content"], json!({}));
    }
}
