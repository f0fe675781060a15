//! Reading rooms: who sees what of them, in which order, and at what cost.

use crate::support::Account;
use crate::support::house::House;
use myelin::context::Platform;
use myelin::durable::MembershipAction;
use myelin::storage::database::Statement;
use serde_json::{Value, json};

const V3: &str = "/_matrix/client/v3";

/// What an answer has at a path of every item of a list.
fn each<'a>(list: &'a Value, pointer: &str) -> Vec<&'a str> {
    let items = list.as_array().unwrap();
    items.iter().map(|item| item.pointer(pointer).and_then(Value::as_str).unwrap_or("")).collect()
}

/// The bodies of the messages that somebody finds by going back in a room.
fn history(house: &House, reader: &Account, room_id: &str) -> Vec<String> {
    let path = format!("{V3}/rooms/{room_id}/messages?dir=b&limit=100");
    let body = house.server.get(reader, &path).ok();
    let bodies = each(&body["chunk"], "/content/body");
    bodies.into_iter().filter(|body| !body.is_empty()).map(ToOwned::to_owned).collect()
}

#[test]
fn history_is_paged_in_both_directions_without_a_gap_or_a_repeat() {
    let house = House::new();
    let alice = house.account("alice");
    let room_id = house.room(&alice, "shared");
    for number in 1..=20 {
        house.message(&room_id, &alice, &number.to_string());
    }
    let mut found = Vec::new();
    for (direction, from) in [("b", ""), ("f", "&from=t0-0")] {
        let (mut all, mut from) = (Vec::new(), from.to_owned());
        loop {
            let path = format!("{V3}/rooms/{room_id}/messages?dir={direction}&limit=7{from}");
            let reply = house.server.get(&alice, &path);
            assert_eq!(reply.cost.round_trips.get(), 1);
            let body = reply.ok();
            all.extend(each(&body["chunk"], "/event_id").into_iter().map(ToOwned::to_owned));
            let Some(end) = body["end"].as_str() else { break };
            from = format!("&from={end}");
        }
        found.push(all);
    }
    found[1].reverse();
    assert_eq!(found[0].len(), 25);
    assert_eq!(found[0], found[1]);
}

#[test]
fn a_page_keeps_to_its_filter_and_its_bounds() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let room_id = house.room(&alice, "shared");
    house.join(&room_id, &bob);
    house.message(&room_id, &alice, "a1");
    house.message(&room_id, &bob, "b1");
    house.name(&room_id, &alice, "n");
    house.message(&room_id, &bob, "b2");
    let get = |query: &str| {
        let path = format!("{V3}/rooms/{room_id}/messages?dir=b&{query}");
        house.server.get(&alice, &path).ok()
    };
    let filter = |filter: Value| {
        let text = filter.to_string();
        let encoded = url::form_urlencoded::byte_serialize(text.as_bytes());
        format!("filter={}", encoded.collect::<String>())
    };
    let of_bob = json!({ "senders": ["@bob:example.org"], "types": ["m.*age"] });
    let filtered = get(&filter(of_bob));
    assert_eq!(each(&filtered["chunk"], "/content/body"), ["b2", "b1"]);
    let none = get(&filter(json!({ "types": ["m.room.me*ber"], "not_types": ["m.*"] })));
    assert_eq!(none["chunk"], json!([]));
    let lazy = get(&format!("limit=1&{}", filter(json!({ "lazy_load_members": true }))));
    assert_eq!(each(&lazy["state"], "/state_key"), ["@bob:example.org"]);
    let first = get("limit=2");
    let (end, query) = (first["end"].as_str().unwrap(), "limit=9");
    assert_eq!(get(&format!("{query}&to={end}"))["chunk"], first["chunk"]);
    let path = format!("{V3}/rooms/{room_id}/messages?dir=b&from=nonsense");
    house.server.get(&alice, &path).error(400, "M_INVALID_PARAM");
}

#[test]
fn the_history_visibility_at_each_event_decides_who_sees_it() {
    let cases: [(&str, &[&str]); 4] = [
        ("world_readable", &["joined", "invited", "before"]),
        ("shared", &["joined", "invited", "before"]),
        ("invited", &["joined", "invited"]),
        ("joined", &["joined"]),
    ];
    for (visibility, expected) in cases {
        let house = House::new();
        let (alice, bob) = (house.account("alice"), house.account("bob"));
        let room_id = house.room(&alice, visibility);
        house.message(&room_id, &alice, "before");
        house.membership(MembershipAction::Invite, &room_id, &alice, &bob);
        house.message(&room_id, &alice, "invited");
        house.join(&room_id, &bob);
        house.message(&room_id, &alice, "joined");
        assert_eq!(history(&house, &bob, &room_id), expected, "{visibility}");
        assert_eq!(history(&house, &alice, &room_id).len(), 3, "{visibility}");
    }
}

#[test]
fn who_has_left_reads_up_to_the_leave() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let room_id = house.room(&alice, "shared");
    house.message(&room_id, &alice, "before bob");
    house.join(&room_id, &bob);
    house.name(&room_id, &alice, "then");
    house.message(&room_id, &alice, "with bob");
    house.leave(&room_id, &bob);
    let after = house.message(&room_id, &alice, "without bob");
    house.name(&room_id, &alice, "now");
    assert_eq!(history(&house, &bob, &room_id), ["with bob", "before bob"]);
    let get = |path: &str| house.server.get(&bob, &format!("{V3}/rooms/{room_id}/{path}"));
    assert_eq!(get("state/m.room.name").ok()["name"], "then");
    let forward = get("messages?dir=f&limit=100").ok();
    assert!(!each(&forward["chunk"], "/content/body").contains(&"without bob"));
    let members = get("members?membership=leave").ok();
    assert_eq!(each(&members["chunk"], "/state_key"), ["@bob:example.org"]);
    get("joined_members").error(403, "M_FORBIDDEN");
    get(&format!("event/{after}")).error(404, "M_NOT_FOUND");
    get(&format!("context/{after}")).error(403, "M_FORBIDDEN");
    assert_eq!(get("state").cost.round_trips.get(), 2);
}

#[test]
fn strangers_read_only_what_is_world_readable() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let closed = house.room(&alice, "shared");
    let open = house.room(&alice, "world_readable");
    let event_id = house.message(&closed, &alice, "closed");
    house.message(&open, &alice, "open");
    let paths = ["state", "members", "joined_members", "messages?dir=b", "state/m.room.create"];
    for path in paths {
        let get = |room_id: &str| house.server.get(&bob, &format!("{V3}/rooms/{room_id}/{path}"));
        get(&closed).error(403, "M_FORBIDDEN");
        get("!unknown:example.org").error(403, "M_FORBIDDEN");
        get(&open).ok();
    }
    assert_eq!(history(&house, &bob, &open), ["open"]);
    let path = format!("{V3}/rooms/{closed}/event/{event_id}");
    house.server.get(&bob, &path).error(404, "M_NOT_FOUND");
}

#[test]
fn state_is_served_whole_and_one_by_one() {
    let house = House::new();
    let alice = house.account("alice");
    let room_id = house.room(&alice, "shared");
    house.name(&room_id, &alice, "one");
    house.name(&room_id, &alice, "two");
    let get = |path: &str| house.server.get(&alice, &format!("{V3}/rooms/{room_id}/{path}"));
    let reply = get("state");
    assert_eq!(reply.cost.round_trips.get(), 1);
    assert_eq!(reply.ok().as_array().unwrap().len(), 6);
    assert_eq!(get("state/m.room.name/").ok(), json!({ "name": "two" }));
    let event = get("state/m.room.name?format=event").ok();
    assert_eq!(event["unsigned"]["prev_content"], json!({ "name": "one" }));
    assert_eq!(event["room_id"], room_id);
    get("state/m.room.name?format=x").error(400, "M_INVALID_PARAM");
    get("state/m.room.topic").error(404, "M_NOT_FOUND");
    get("state/m.room.name/x").error(404, "M_NOT_FOUND");
}

#[test]
fn members_are_listed_now_and_as_they_were() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let room_id = house.room(&alice, "shared");
    house.message(&room_id, &alice, "alone");
    let position =
        house.server.rows("SELECT max(stream_ordering) AS s FROM events")[0]["s"].clone();
    house.join(&room_id, &bob);
    let get = |path: &str| house.server.get(&alice, &format!("{V3}/rooms/{room_id}/{path}"));
    assert_eq!(get("members").ok()["chunk"].as_array().unwrap().len(), 2);
    assert_eq!(get("members?not_membership=join").ok()["chunk"], json!([]));
    let then = get(&format!("members?at=s{position}_0_0"));
    assert_eq!(then.cost.round_trips.get(), 1);
    assert_eq!(each(&then.ok()["chunk"], "/state_key"), ["@alice:example.org"]);
    get("members?at=s0").error(404, "M_NOT_FOUND");
    get("members?at=x").error(400, "M_INVALID_PARAM");
    let profile = json!({ "display_name": null, "avatar_url": null });
    let joined = json!({ "@alice:example.org": profile, "@bob:example.org": profile });
    assert_eq!(get("joined_members").ok(), json!({ "joined": joined }));
    let rooms = house.server.get(&bob, &format!("{V3}/joined_rooms"));
    assert_eq!(rooms.cost.round_trips.get(), 1);
    assert_eq!(rooms.ok(), json!({ "joined_rooms": [room_id] }));
}

#[test]
fn an_event_is_shown_with_what_is_around_it() {
    let house = House::new();
    let alice = house.account("alice");
    let room_id = house.room(&alice, "shared");
    let ids: Vec<String> =
        (0..7).map(|n| house.message(&room_id, &alice, &n.to_string())).collect();
    let get = |path: &str| house.server.get(&alice, &format!("{V3}/rooms/{room_id}/{path}"));
    let reply = get(&format!("context/{}?limit=4", ids[3]));
    assert_eq!(reply.cost.round_trips.get(), 2);
    let body = reply.ok();
    assert_eq!(each(&body["events_before"], "/content/body"), ["2", "1"]);
    assert_eq!(body["event"]["content"]["body"], "3");
    assert_eq!(each(&body["events_after"], "/content/body"), ["4", "5"]);
    assert_eq!(body["state"].as_array().unwrap().len(), 5);
    let (start, end) = (body["start"].as_str().unwrap(), body["end"].as_str().unwrap());
    let before = get(&format!("messages?dir=b&limit=1&from={start}")).ok();
    assert_eq!(each(&before["chunk"], "/content/body"), ["0"]);
    let after = get(&format!("messages?dir=f&limit=1&from={end}")).ok();
    assert_eq!(each(&after["chunk"], "/content/body"), ["6"]);
    get("context/$unknown").error(404, "M_NOT_FOUND");
}

#[test]
fn a_redacted_event_is_served_pruned_and_says_why() {
    let house = House::new();
    let alice = house.account("alice");
    let room_id = house.room(&alice, "shared");
    let event_id = house.message(&room_id, &alice, "secret");
    let redaction = json!({ "type": "m.room.redaction", "content": {}, "redacts": event_id });
    let redaction = house.send(&room_id, &alice, redaction);
    let event = house.server.get(&alice, &format!("{V3}/rooms/{room_id}/event/{event_id}")).ok();
    assert_eq!(event["content"], json!({}));
    assert_eq!(event["unsigned"]["redacted_because"]["event_id"], redaction);
    assert_eq!(event["unsigned"]["redacted_because"]["redacts"], event_id);
    assert!(history(&house, &alice, &room_id).is_empty());
}

#[test]
fn only_the_sending_device_learns_its_transaction_id() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let room_id = house.room(&alice, "shared");
    house.join(&room_id, &bob);
    let event = json!({ "type": "m.room.message", "content": {}, "txn_id": "t1" });
    let event_id = house.send(&room_id, &alice, event);
    let unsigned = |reader: &Account| {
        let path = format!("{V3}/rooms/{room_id}/event/{event_id}");
        house.server.get(reader, &path).ok()["unsigned"].clone()
    };
    assert_eq!(unsigned(&alice)["transaction_id"], "t1");
    assert_eq!(unsigned(&bob)["transaction_id"], Value::Null);
    assert_eq!(unsigned(&bob)["membership"], "join");
}

#[test]
fn what_an_ignored_user_says_is_not_served() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let room_id = house.room(&alice, "shared");
    house.join(&room_id, &bob);
    house.message(&room_id, &bob, "noise");
    let ignore = Statement::new("INSERT INTO ignored_users VALUES (?1, ?2)");
    house.batch(vec![ignore.bind(&alice.user_id).bind(&bob.user_id)]);
    assert!(history(&house, &alice, &room_id).is_empty());
    assert_eq!(history(&house, &bob, &room_id), ["noise"]);
}

#[test]
fn the_event_nearest_to_a_time_is_found() {
    let house = House::new();
    let alice = house.account("alice");
    let room_id = house.room(&alice, "shared");
    house.server.platform.advance(1000);
    let first = house.message(&room_id, &alice, "first");
    let ts = house.server.platform.now_ms() + 10;
    house.server.platform.advance(1000);
    let second = house.message(&room_id, &alice, "second");
    let find = |ts: u64, direction: &str| {
        let path = format!("/_matrix/client/v1/rooms/{room_id}/timestamp_to_event");
        house.server.get(&alice, &format!("{path}?ts={ts}&dir={direction}"))
    };
    assert_eq!(find(ts, "b").ok()["event_id"], first);
    assert_eq!(find(ts, "f").ok()["event_id"], second);
    find(0, "b").error(404, "M_NOT_FOUND");
}

#[test]
fn rooms_of_every_version_are_read_alike() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let server = &house.server;
    for version in 1..=12 {
        let body = json!({ "room_version": version.to_string(), "preset": "public_chat" });
        let created = server.post(&alice, &format!("{V3}/createRoom"), body).ok();
        let room_id = created["room_id"].as_str().unwrap();
        let room = format!("{V3}/rooms/{room_id}");
        let send = |body: &str| {
            let content = json!({ "msgtype": "m.text", "body": body });
            let path = format!("{room}/send/m.room.message/{version}{body}");
            server.put(&alice, &path, content).ok()["event_id"].as_str().unwrap().to_owned()
        };
        let (secret, kept) = (send("secret"), send("kept"));
        let encoded = |event_id: &str| {
            percent_encoding::utf8_percent_encode(event_id, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let path = format!("{room}/redact/{}/{version}r", encoded(&secret));
        server.put(&alice, &path, json!({ "reason": "oops" })).ok();
        server.post(&bob, &format!("{room}/join"), json!({})).ok();
        let event = server.get(&bob, &format!("{room}/event/{}", encoded(&secret))).ok();
        assert_eq!(event["content"], json!({}), "version {version}");
        let because = &event["unsigned"]["redacted_because"];
        assert_eq!(because["content"]["redacts"], secret, "version {version}");
        assert_eq!(because["content"]["reason"], "oops", "version {version}");
        let context = server.get(&bob, &format!("{room}/context/{}?limit=2", encoded(&kept))).ok();
        assert_eq!(context["event"]["content"]["body"], "kept", "version {version}");
        assert_eq!(context["events_before"][0]["event_id"], secret, "version {version}");
        assert_eq!(context["events_after"][0]["type"], "m.room.redaction", "version {version}");
        let page = server.get(&bob, &format!("{room}/messages?dir=f&limit=1")).ok();
        assert_eq!(page["chunk"][0]["type"], "m.room.create", "version {version}");
        assert_eq!(page["chunk"][0]["room_id"], room_id, "version {version}");
        let create = server.get(&bob, &format!("{room}/state/m.room.create?format=event")).ok();
        assert_eq!(create["room_id"], room_id, "version {version}");
        let members = server.get(&bob, &format!("{room}/joined_members")).ok();
        assert_eq!(members["joined"].as_object().unwrap().len(), 2, "version {version}");
    }
}

#[test]
fn who_was_not_there_sees_an_erased_users_events_pruned() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let room_id = house.room(&alice, "shared");
    let event_id = house.message(&room_id, &alice, "personal");
    house.join(&room_id, &bob);
    house.message(&room_id, &alice, "to bob");
    let erase = Statement::new("INSERT INTO erased_users (user_id) VALUES (?1)");
    house.batch(vec![erase.bind(&alice.user_id)]);
    assert_eq!(history(&house, &bob, &room_id), ["to bob"]);
    let path = format!("{V3}/rooms/{room_id}/event/{event_id}");
    assert_eq!(house.server.get(&bob, &path).ok()["content"], json!({}));
}

#[test]
fn somebody_who_only_rejected_an_invitation_reads_nothing() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let room_id = house.room(&alice, "shared");
    house.membership(MembershipAction::Invite, &room_id, &alice, &bob);
    house.leave(&room_id, &bob);
    for path in ["state", "members", "messages?dir=b", "state/m.room.create"] {
        let path = format!("{V3}/rooms/{room_id}/{path}");
        house.server.get(&bob, &path).error(403, "M_FORBIDDEN");
    }
}
