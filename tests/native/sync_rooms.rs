//! `/sync`: which section a room is in, which of its events and which state are told, and what
//! filters make of it.

use crate::support::{Account, Server, encode};
use serde_json::{Value, json};

const V3: &str = "/_matrix/client/v3";

/// A server with three users, of whom the first has made a public room.
struct Town {
    server: Server,
    alice: Account,
    bob: Account,
    carol: Account,
    room: String,
}

fn limit(limit: u64) -> Value {
    json!({ "room": { "timeline": { "limit": limit } } })
}

fn next(body: &Value) -> &str {
    body["next_batch"].as_str().unwrap()
}

fn events(list: &Value) -> Vec<Value> {
    list["events"].as_array().cloned().unwrap_or_default()
}

/// The text of messages and of the tests' own state, else the type.
fn names(events: &[Value]) -> Vec<String> {
    let name = |event: &Value| {
        let text = event["content"]["body"].as_str().or(event["content"]["v"].as_str());
        text.or(event["type"].as_str()).unwrap_or_default().to_owned()
    };
    events.iter().map(name).collect()
}

fn ids(events: &[Value]) -> Vec<Value> {
    events.iter().map(|event| event["event_id"].clone()).collect()
}

impl Town {
    fn new() -> Self {
        let server = Server::with(&[("PRESENCE", "off")]);
        let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| server.register(name));
        let town = Self { server, alice, bob, carol, room: String::new() };
        let room = town.create(json!({ "preset": "public_chat" }));
        Self { room, ..town }
    }

    fn create(&self, options: Value) -> String {
        let body = self.server.post(&self.alice, &format!("{V3}/createRoom"), options).ok();
        body["room_id"].as_str().unwrap().to_owned()
    }

    fn sync_with(&self, who: &Account, since: Option<&str>, filter: &Value, rest: &str) -> Value {
        let since = since.map(|since| format!("&since={since}")).unwrap_or_default();
        let filter = encode(&filter.to_string());
        self.server.get(who, &format!("{V3}/sync?filter={filter}{since}{rest}")).ok()
    }

    fn sync(&self, who: &Account, since: Option<&str>, filter: &Value) -> Value {
        self.sync_with(who, since, filter, "")
    }

    fn now(&self, who: &Account) -> String {
        next(&self.sync(who, None, &limit(1))).to_owned()
    }

    /// The sections that have the room, with what they have of it.
    fn sections(&self, body: &Value) -> Vec<(String, Value)> {
        let sections = body["rooms"].as_object().cloned().unwrap_or_default().into_iter();
        let of_room = sections.map(|(name, rooms)| (name, rooms[&self.room].clone()));
        of_room.filter(|(_, room)| !room.is_null()).collect()
    }

    /// The only section that has the room.
    #[track_caller]
    fn room(&self, body: &Value) -> (String, Value) {
        let mut sections = self.sections(body);
        assert_eq!(sections.len(), 1, "{body}");
        sections.remove(0)
    }

    fn act(&self, who: &Account, action: &str, whom: Option<&Account>) {
        let body = whom.map_or(json!({}), |whom| json!({ "user_id": whom.user_id }));
        let path = match action {
            "knock" => format!("{V3}/knock/{}", self.room),
            _ => format!("{V3}/rooms/{}/{action}", self.room),
        };
        self.server.post(who, &path, body).ok();
    }

    fn put(&self, who: &Account, path: &str, body: Value) -> String {
        let path = format!("{V3}/rooms/{}/{path}", self.room);
        self.server.put(who, &path, body).ok()["event_id"].as_str().unwrap_or_default().to_owned()
    }

    fn say(&self, who: &Account, text: &str) -> String {
        let path = format!("send/m.room.message/{}", encode(text));
        self.put(who, &path, json!({ "msgtype": "m.text", "body": text }))
    }

    fn set(&self, who: &Account, key: &str, value: &str) -> String {
        self.put(who, &format!("state/org.test/{key}"), json!({ "v": value }))
    }

    fn set_visibility(&self, visibility: &str) {
        let content = json!({ "history_visibility": visibility });
        self.put(&self.alice, "state/m.room.history_visibility", content);
    }

    fn ignore(&self, who: &Account, whom: &Account) {
        let path = format!("{V3}/user/{}/account_data/m.ignored_user_list", who.user_id);
        self.server.put(who, &path, json!({ "ignored_users": { &whom.user_id: {} } })).ok();
    }

    /// All pages between two places.
    fn pages(&self, who: &Account, dir: &str, from: &str, to: Option<&str>) -> Vec<Value> {
        let to = to.map(|to| format!("&to={to}")).unwrap_or_default();
        let (mut all, mut from) = (Vec::new(), from.to_owned());
        loop {
            let path = format!("{V3}/rooms/{}/messages?dir={dir}&limit=4{to}", self.room);
            let body = self.server.get(who, &format!("{path}&from={from}")).ok();
            all.extend(body["chunk"].as_array().unwrap().iter().cloned());
            let Some(end) = body["end"].as_str() else { return all };
            from = end.to_owned();
        }
    }
}

/// What bob is told whom all this happens to between two syncs.
#[track_caller]
fn told(before: &[&str], meanwhile: &[&str]) -> (Town, Vec<(String, Value)>) {
    let town = Town::new();
    let (alice, bob) = (town.alice.clone(), town.bob.clone());
    let act = |action: &str| match action {
        "join" | "leave" | "forget" | "knock" => town.act(&bob, action, None),
        "profile" => {
            let content = json!({ "membership": "join", "displayname": "Robert" });
            town.put(&bob, &format!("state/m.room.member/{}", bob.user_id), content);
        }
        "closed" => {
            town.put(&alice, "state/m.room.join_rules", json!({ "join_rule": "knock" }));
        }
        "talk" => {
            for n in 0..4 {
                town.say(&alice, &format!("{n}"));
            }
        }
        "state" => {
            town.set(&alice, "", "meanwhile");
        }
        action => town.act(&alice, action, Some(&bob)),
    };
    before.iter().for_each(|action| act(action));
    let since = town.now(&bob);
    meanwhile.iter().for_each(|action| act(action));
    let body = town.sync(&bob, Some(&since), &limit(2));
    let again = town.sync(&bob, Some(next(&body)), &limit(2));
    assert!(again["rooms"].is_null(), "{again}");
    let sections = town.sections(&body);
    (town, sections)
}

#[test]
fn whoever_is_new_in_a_room_gets_it_whole() {
    for (before, meanwhile) in [
        (&[][..], &["state", "talk", "join"][..]),
        (&["invite"], &["state", "talk", "join"]),
        (&["join", "leave"], &["state", "talk", "join"]),
        (&["join"], &["leave", "state", "talk", "join"]),
        (&["join"], &["kick", "state", "talk", "join", "profile"]),
        (&["join"], &["ban", "unban", "state", "talk", "join"]),
        (&["join", "leave", "forget"], &["state", "talk", "join"]),
        (&["closed", "knock"], &["state", "talk", "invite", "join"]),
    ] {
        let (_, sections) = told(before, meanwhile);
        let [(section, room)] = &sections[..] else { panic!("{before:?} {meanwhile:?}") };
        let at = format!("{before:?} {meanwhile:?} {room}");
        assert_eq!(
            (section.as_str(), &room["timeline"]["limited"]),
            ("join", &json!(true)),
            "{at}"
        );
        assert_eq!(events(&room["timeline"]).len(), 2, "{at}");
        let state = names(&events(&room["state"]));
        assert!(state.contains(&"m.room.create".to_owned()), "{at}");
        assert!(state.contains(&"meanwhile".to_owned()), "{at}");
    }
}

#[test]
fn whoever_is_there_already_is_told_what_is_new_alone() {
    // To join again, or to change nothing of one's profile, is no event.
    for (meanwhile, count) in [(&["join"][..], 0), (&["profile"], 1), (&["profile", "profile"], 1)]
    {
        let (_, sections) = told(&["join", "talk"], meanwhile);
        assert_eq!(sections.len(), count, "{meanwhile:?} {sections:?}");
        for (section, room) in sections {
            assert_eq!((section.as_str(), &room["timeline"]["limited"]), ("join", &json!(false)));
            assert_eq!(names(&events(&room["timeline"])), ["m.room.member"]);
            assert!(events(&room["state"]).is_empty());
        }
    }
}

#[test]
fn whoever_is_gone_is_told_up_to_there() {
    for (before, meanwhile, expected) in [
        (&["join"][..], &["state", "leave", "talk"][..], vec!["meanwhile", "m.room.member"]),
        (&["join"], &["state", "kick", "talk"], vec!["meanwhile", "m.room.member"]),
        (&["join"], &["state", "ban", "talk"], vec!["meanwhile", "m.room.member"]),
        (&["join"], &["state", "ban", "unban", "talk"], vec!["m.room.member", "m.room.member"]),
        (&[], &["join", "leave", "talk"], vec!["m.room.member", "m.room.member"]),
        (&["invite"], &["state", "leave", "talk"], vec!["m.room.member"]),
        (&["invite"], &["state", "kick", "talk"], vec!["m.room.member"]),
        (&["closed", "knock"], &["state", "kick", "talk"], vec!["m.room.member"]),
        (&[], &["state", "ban", "talk"], vec!["m.room.member"]),
        (&["join", "leave"], &["state", "ban", "talk"], vec!["m.room.member"]),
    ] {
        let (_, sections) = told(before, meanwhile);
        let [(section, room)] = &sections[..] else { panic!("{before:?} {meanwhile:?}") };
        let at = format!("{before:?} {meanwhile:?} {room}");
        assert_eq!(section, "leave", "{at}");
        assert_eq!(names(&events(&room["timeline"])), expected, "{at}");
        let was_member = before.contains(&"join") || meanwhile.contains(&"join");
        assert!(was_member || events(&room["state"]).is_empty(), "{at}");
    }
}

#[test]
fn the_last_word_decides_the_section() {
    for (before, meanwhile, expected) in [
        (&[][..], &["invite"][..], "invite"),
        (&["join"], &["leave", "talk", "invite"], "invite"),
        (&["join"], &["ban", "unban", "invite"], "invite"),
        (&["closed"], &["knock"], "knock"),
        (&["closed", "knock"], &["invite"], "invite"),
        (&["join", "closed"], &["leave", "knock"], "knock"),
        (&["closed", "invite"], &["leave", "knock"], "knock"),
    ] {
        let (town, sections) = told(before, meanwhile);
        let [(section, room)] = &sections[..] else { panic!("{before:?} {meanwhile:?}") };
        assert_eq!(section, expected, "{before:?} {meanwhile:?}");
        let initial = town.sync(&town.bob, None, &limit(2));
        assert_eq!(&town.room(&initial).0, expected);
        let state = events(&room[format!("{section}_state")]);
        assert_eq!(state.last().unwrap()["content"]["membership"], expected);
    }
}

#[test]
fn the_archive_has_what_was_left_until_it_is_forgotten() {
    for (out, shown) in [("leave", false), ("kick", true), ("ban", true)] {
        let town = Town::new();
        town.act(&town.bob, "join", None);
        town.set(&town.alice, "", "while in");
        match out {
            "leave" => town.act(&town.bob, out, None),
            _ => town.act(&town.alice, out, Some(&town.bob)),
        }
        town.set(&town.alice, "", "too late");
        let plain = town.sync(&town.bob, None, &limit(1));
        assert_eq!(town.sections(&plain).len(), usize::from(shown), "{out}");
        let archive = json!({ "room": { "include_leave": true, "timeline": { "limit": 1 } } });
        let (section, room) = town.room(&town.sync(&town.bob, None, &archive));
        assert_eq!(section, "leave");
        assert_eq!(names(&events(&room["timeline"])), ["m.room.member"]);
        let state = names(&events(&room["state"]));
        assert!(state.contains(&"while in".to_owned()) && !state.contains(&"too late".to_owned()));
        town.act(&town.bob, "forget", None);
        assert!(town.sections(&town.sync(&town.bob, None, &archive)).is_empty(), "{out}");
    }
}

#[test]
fn who_is_ignored_neither_speaks_nor_invites() {
    let town = Town::new();
    for user in [&town.bob, &town.carol] {
        town.act(user, "join", None);
    }
    town.ignore(&town.bob, &town.carol);
    let since = town.now(&town.bob);
    town.say(&town.alice, "first");
    for n in 0..40 {
        town.say(&town.carol, &format!("noise {n}"));
    }
    town.say(&town.alice, "second");
    let (_, room) = town.room(&town.sync(&town.bob, Some(&since), &limit(5)));
    assert_eq!(names(&events(&room["timeline"])), ["first", "second"]);
    assert_eq!(room["timeline"]["limited"], false);
    // What they change of the room is seen.
    let since = town.now(&town.bob);
    let content = json!({ "membership": "join", "displayname": "Carola" });
    town.put(&town.carol, &format!("state/m.room.member/{}", town.carol.user_id), content);
    let (_, room) = town.room(&town.sync(&town.bob, Some(&since), &limit(5)));
    assert_eq!(names(&events(&room["timeline"])), ["m.room.member"]);
    let since = town.now(&town.bob);
    let options = json!({ "invite": [town.bob.user_id] });
    town.server.post(&town.carol, &format!("{V3}/createRoom"), options).ok();
    for since in [None, Some(since.as_str())] {
        assert!(town.sync(&town.bob, since, &limit(5))["rooms"]["invite"].is_null());
    }
}

#[test]
fn every_event_comes_once_backwards_and_forwards_across_gaps() {
    let town = Town::new();
    town.act(&town.bob, "join", None);
    let mut told = Vec::new();
    let mut since: Option<String> = None;
    let mut places = Vec::new();
    for (round, count) in [3, 12, 0, 7, 1, 20].into_iter().enumerate() {
        for n in 0..count {
            let visibility = ["joined", "shared", "invited"][n % 3];
            match n % 5 {
                3 => town.set_visibility(visibility),
                4 => _ = town.set(&town.alice, "x", &format!("{round} {n}")),
                _ => _ = town.say(&town.alice, &format!("{round} {n}")),
            }
        }
        let body = town.sync(&town.bob, since.as_deref(), &limit(4));
        if let Some((_, room)) = town.sections(&body).pop() {
            let prev_batch = room["timeline"]["prev_batch"].as_str().unwrap().to_owned();
            if room["timeline"]["limited"] == true {
                let mut gap = town.pages(&town.bob, "b", &prev_batch, since.as_deref());
                gap.reverse();
                if let Some(since) = &since {
                    let forwards = town.pages(&town.bob, "f", since, Some(&prev_batch));
                    assert_eq!(ids(&forwards), ids(&gap));
                }
                told.extend(gap);
            }
            told.extend(events(&room["timeline"]));
            places.push(prev_batch);
        }
        since = Some(next(&body).to_owned());
    }
    let log = town.server.rows("SELECT event_id FROM events ORDER BY stream_ordering");
    let log: Vec<_> = log.iter().map(|row| row["event_id"].clone()).collect();
    assert_eq!(ids(&told), log);
    // From each place all there is, once.
    for place in places {
        let mut all = town.pages(&town.bob, "b", &place, None);
        all.reverse();
        all.extend(town.pages(&town.bob, "f", &place, None));
        assert_eq!(ids(&all), log);
    }
}

#[test]
fn what_one_may_not_see_makes_no_timeline_limited() {
    let town = Town::new();
    town.act(&town.bob, "join", None);
    town.set_visibility("joined");
    town.act(&town.bob, "leave", None);
    for n in 0..30 {
        town.say(&town.alice, &format!("secret {n}"));
    }
    town.act(&town.bob, "join", None);
    town.say(&town.alice, "welcome");
    let (_, room) = town.room(&town.sync(&town.bob, None, &limit(100)));
    let timeline = events(&room["timeline"]);
    assert_eq!(room["timeline"]["limited"], false);
    assert!(!names(&timeline).iter().any(|name| name.starts_with("secret")));
    assert_eq!(names(&timeline)[0], "m.room.create");
    let (_, room) = town.room(&town.sync(&town.bob, None, &limit(5)));
    let timeline = events(&room["timeline"]);
    assert_eq!((timeline.len(), &room["timeline"]["limited"]), (5, &json!(true)));
    let prev_batch = room["timeline"]["prev_batch"].as_str().unwrap();
    let mut all = town.pages(&town.bob, "b", prev_batch, None);
    all.reverse();
    all.extend(timeline);
    let whole = town.room(&town.sync(&town.bob, None, &limit(100))).1;
    assert_eq!(ids(&all), ids(&events(&whole["timeline"])));
}

#[test]
fn the_state_after_the_timeline_goes_by_both_names() {
    let town = Town::new();
    let since = town.now(&town.alice);
    for value in ["1", "2", "3"] {
        town.set(&town.alice, "x", value);
    }
    for (parameter, name) in [
        ("use_state_after", "state_after"),
        ("org.matrix.msc4222.use_state_after", "org.matrix.msc4222.state_after"),
    ] {
        let rest = format!("&{parameter}=true");
        for since in [None, Some(since.as_str())] {
            let body = town.sync_with(&town.alice, since, &limit(2), &rest);
            let (_, room) = town.room(&body);
            assert_eq!(names(&events(&room["timeline"])), ["2", "3"]);
            let state = names(&events(&room[name]));
            assert!(state.contains(&"3".to_owned()) && !state.contains(&"2".to_owned()));
            assert_eq!(since.is_some(), state.len() == 1, "{state:?}");
            assert!(room["state"].is_null());
        }
        let body = town.sync_with(&town.alice, Some(&since), &limit(2), "&use_state_after=false");
        assert_eq!(names(&events(&town.room(&body).1["state"])), ["1"]);
    }
}

#[test]
fn unsigned_tells_what_the_reader_is_to_know() {
    let town = Town::new();
    let since = town.now(&town.alice);
    let first = town.set(&town.alice, "x", "1");
    town.set(&town.alice, "x", "2");
    let said = town.say(&town.alice, "oops");
    let path = format!("redact/{}/r1", encode(&said));
    let redaction = town.put(&town.alice, &path, json!({ "reason": "a mistake" }));
    let phone = town.server.login("alice");
    town.act(&town.bob, "join", None);
    let filter = limit(10);
    let timeline = |who: &Account| {
        let since = (who.user_id == town.alice.user_id).then_some(since.as_str());
        let (_, room) = town.room(&town.sync(who, since, &filter));
        let all = events(&room["timeline"]);
        let find = |id: &str| all.iter().find(|event| event["event_id"] == id).unwrap().clone();
        (find(&said), find(&redaction), all)
    };
    for (who, txn_id, membership) in [
        (&town.alice, json!(encode("oops")), "join"),
        (&phone, Value::Null, "join"),
        (&town.bob, Value::Null, "leave"),
    ] {
        let (said, _, all) = timeline(who);
        let unsigned = &said["unsigned"];
        assert_eq!(said["content"], json!({}));
        assert_eq!(unsigned["redacted_because"]["event_id"], json!(redaction));
        assert_eq!(unsigned["redacted_because"]["content"]["reason"], "a mistake");
        assert_eq!(unsigned["transaction_id"], txn_id);
        assert_eq!(unsigned["membership"], membership);
        assert!(unsigned["age"].is_u64());
        let second = all.iter().find(|event| event["content"]["v"] == "2").unwrap();
        assert_eq!(second["unsigned"]["prev_content"], json!({ "v": "1" }));
        assert_eq!(second["unsigned"]["replaces_state"], json!(first));
    }
    // State is served redacted as well.
    let path = format!("redact/{}/r2", encode(&town.set(&town.alice, "x", "3")));
    town.put(&town.alice, &path, json!({}));
    let (_, room) = town.room(&town.sync(&town.bob, None, &limit(1)));
    let state = events(&room["state"]).into_iter().find(|event| event["state_key"] == "x").unwrap();
    assert_eq!(state["content"], json!({}));
    assert!(state["unsigned"]["redacted_because"].is_object());
}

#[test]
fn a_filter_picks_rooms_and_events() {
    let town = Town::new();
    let other = town.create(json!({}));
    town.act(&town.bob, "join", None);
    town.say(&town.bob, "from bob");
    let content = json!({ "msgtype": "m.image", "body": "image", "url": "mxc://one.test/a" });
    town.put(&town.alice, "send/m.room.message/image", content);
    town.put(&town.alice, "send/org.test.a/a", json!({ "body": "a" }));
    town.put(&town.alice, "send/org.other/b", json!({ "body": "b" }));
    let rooms = |filter: Value| {
        let body = town.sync(&town.alice, None, &json!({ "room": filter }));
        let rooms = body["rooms"]["join"].as_object().cloned().unwrap_or_default();
        rooms.into_iter().map(|(room_id, _)| room_id).collect::<Vec<_>>()
    };
    assert_eq!(rooms(json!({ "rooms": [&other] })), [other.as_str()]);
    assert_eq!(rooms(json!({ "not_rooms": [&other] })), [town.room.as_str()]);
    assert!(rooms(json!({ "rooms": [] })).is_empty());
    let timeline = |filter: Value| {
        let body = town.sync(&town.alice, None, &json!({ "room": { "timeline": filter } }));
        let (_, room) = town.room(&body);
        (names(&events(&room["timeline"])), room["timeline"]["limited"].clone())
    };
    for (filter, expected) in [
        (json!({ "types": ["org.*"] }), vec!["a", "b"]),
        (json!({ "types": ["org.*t*.a", "m.room.message"] }), vec!["from bob", "image", "a"]),
        (json!({ "not_types": ["m.*", "org.o*"] }), vec!["a"]),
        (json!({ "not_types": ["*.room.*", "*.a"] }), vec!["b"]),
        (json!({ "senders": [town.bob.user_id] }), vec!["m.room.member", "from bob"]),
        (json!({ "not_senders": [town.bob.user_id], "types": ["*.message"] }), vec!["image"]),
        (json!({ "contains_url": true }), vec!["image"]),
        (json!({ "contains_url": false, "types": ["m.room.message"] }), vec!["from bob"]),
        (json!({ "not_rooms": [town.room] }), vec![]),
        (json!({ "rooms": [other] }), vec![]),
        (json!({ "types": [] }), vec![]),
    ] {
        let (names, limited) = timeline(filter.clone());
        assert_eq!(names, expected, "{filter}");
        assert_eq!(limited, false, "{filter}");
    }
    let (names, limited) = timeline(json!({ "types": ["org.*"], "limit": 1 }));
    assert_eq!((names, limited), (vec!["b".to_owned()], json!(true)));
}

#[test]
fn a_filter_picks_state_and_what_else_is_of_a_room() {
    let town = Town::new();
    town.set(&town.alice, "x", "1");
    town.put(&town.alice, &format!("typing/{}", town.alice.user_id), json!({ "typing": true }));
    let path = format!("{V3}/user/{}/rooms/{}/account_data", town.alice.user_id, town.room);
    town.server.put(&town.alice, &format!("{path}/org.a"), json!({})).ok();
    town.server.put(&town.alice, &format!("{path}/org.b"), json!({})).ok();
    let room = |filter: Value| town.room(&town.sync(&town.alice, None, &filter)).1;
    let of = |part: &str, filter: Value| {
        let room = room(json!({ "room": { part: filter, "timeline": { "limit": 0 } } }));
        let types = events(&room[part]).into_iter().map(|event| event["type"].clone());
        types.map(|event_type| event_type.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of("state", json!({ "types": ["org.*"] })), ["org.test"]);
    assert_eq!(of("state", json!({ "not_types": ["m.*"] })), ["org.test"]);
    assert!(of("state", json!({ "senders": [town.bob.user_id] })).is_empty());
    assert!(of("state", json!({ "rooms": [] })).is_empty());
    assert_eq!(of("account_data", json!({ "types": ["*.b"] })), ["org.b"]);
    assert_eq!(
        of("account_data", json!({ "rooms": [town.room], "not_types": ["*.b"] })),
        ["org.a"]
    );
    assert!(of("account_data", json!({ "not_rooms": [town.room] })).is_empty());
    assert_eq!(of("ephemeral", json!({ "rooms": [town.room] })), ["m.typing"]);
    assert!(of("ephemeral", json!({ "not_types": ["m.typing"] })).is_empty());
}

#[test]
fn a_filter_picks_fields_and_the_format() {
    let town = Town::new();
    town.say(&town.alice, "hello");
    let last = |filter: Value| {
        let mut filter = filter;
        filter["room"] = limit(1)["room"].clone();
        let (_, room) = town.room(&town.sync(&town.alice, None, &filter));
        (events(&room["timeline"]).pop().unwrap(), events(&room["state"]))
    };
    let (event, state) = last(json!({ "event_fields": ["type", "content.body"] }));
    assert_eq!(event, json!({ "type": "m.room.message", "content": { "body": "hello" } }));
    assert!(state.iter().all(|event| event["event_id"].is_null() && event["type"].is_string()));
    let (event, state) = last(json!({ "event_format": "federation" }));
    for event in state.iter().chain([&event]) {
        assert!(event["hashes"]["sha256"].is_string() && event["prev_events"].is_array());
        assert!(event["room_id"].is_string() && event["depth"].is_u64());
    }
    let (event, _) = last(json!({}));
    assert!(event["room_id"].is_null() && event["hashes"].is_null());
}

#[test]
fn a_summary_counts_and_names_who_is_there() {
    let town = Town::new();
    town.act(&town.bob, "join", None);
    town.act(&town.alice, "invite", Some(&town.carol));
    let lazy = json!({ "room": {
        "state": { "lazy_load_members": true, "include_redundant_members": true },
        "timeline": { "limit": 1 },
    } });
    let summary = |since: Option<&str>| {
        let body = town.sync(&town.alice, since, &lazy);
        (town.room(&body).1["summary"].clone(), next(&body).to_owned())
    };
    let (first, since) = summary(None);
    assert_eq!(first["m.heroes"], json!([town.bob.user_id, town.carol.user_id]));
    assert_eq!(first["m.joined_member_count"], 2);
    assert_eq!(first["m.invited_member_count"], 1);
    town.act(&town.bob, "leave", None);
    let (second, since) = summary(Some(&since));
    assert_eq!(second["m.heroes"], json!([town.carol.user_id]));
    assert_eq!(second["m.joined_member_count"], 1);
    town.act(&town.carol, "leave", None);
    let (third, since) = summary(Some(&since));
    assert_eq!(third["m.heroes"], json!([town.bob.user_id, town.carol.user_id]));
    assert_eq!(
        (&third["m.joined_member_count"], &third["m.invited_member_count"]),
        (&json!(1), &json!(0))
    );
    town.put(&town.alice, "state/m.room.name", json!({ "name": "Square" }));
    town.act(&town.bob, "join", None);
    let (named, _) = summary(Some(&since));
    assert!(named["m.heroes"].is_null());
    assert_eq!(named["m.joined_member_count"], 2);
}

#[test]
fn a_client_of_a_log_that_went_back_goes_on() {
    let town = Town::new();
    town.act(&town.bob, "join", None);
    let now = town.now(&town.bob);
    let (events_at, rest) = now[1..].split_once('_').unwrap();
    let ahead = format!("s{}_{rest}", events_at.parse::<u64>().unwrap() + 500);
    let body = town.sync(&town.bob, Some(&ahead), &limit(5));
    assert!(body["rooms"].is_null());
    assert_eq!(next(&body), now);
    town.say(&town.alice, "hello again");
    for since in [&ahead, &now] {
        let body = town.sync_with(&town.bob, Some(since), &limit(5), "&full_state=true");
        let (_, room) = town.room(&body);
        let state = names(&events(&room["state"]));
        assert!(state.contains(&"m.room.create".to_owned()));
    }
    let (_, room) = town.room(&town.sync(&town.bob, Some(next(&body)), &limit(5)));
    assert_eq!(names(&events(&room["timeline"])), ["hello again"]);
}

#[test]
fn who_was_there_is_told_so_with_the_state_of_a_first_sync() {
    let town = Town::new();
    town.server.join(&town.bob, &town.room);
    let path = format!("{V3}/rooms/{}/state/m.room.topic/", town.room);
    town.server.put(&town.alice, &path, json!({ "topic": "t" })).ok();
    let sync = town.sync_with(&town.alice, None, &limit(50), "");
    let timeline = events(&sync["rooms"]["join"][&town.room]["timeline"]);
    let own = timeline.iter().position(|event| event["state_key"] == town.alice.user_id).unwrap();
    assert!(timeline.len() > own + 3);
    for event in &timeline[own..] {
        assert_eq!(event["unsigned"]["membership"], "join", "{event}");
    }
}

#[test]
fn fields_and_formats_leave_invitations_whole() {
    let town = Town::new();
    let invite = json!({ "user_id": town.bob.user_id });
    town.server.act(&town.alice, &town.room, "invite", invite);
    for filter in [json!({ "event_fields": ["type"] }), json!({ "event_format": "federation" })] {
        let sync = town.sync_with(&town.bob, None, &filter, "");
        let state = events(&sync["rooms"]["invite"][&town.room]["invite_state"]);
        let own = state.iter().find(|event| event["state_key"] == town.bob.user_id).unwrap();
        assert_eq!(own["content"]["membership"], "invite");
        assert!(own.get("auth_events").is_none(), "{own}");
    }
    // No field at all is as good as no wish.
    let sync = town.sync_with(&town.alice, None, &json!({ "event_fields": [] }), "");
    let timeline = events(&sync["rooms"]["join"][&town.room]["timeline"]);
    assert!(timeline.iter().all(|event| event["type"].is_string()));
}

#[test]
fn of_a_room_that_was_left_only_the_members_who_speak_are_told_lazily() {
    let town = Town::new();
    town.server.join(&town.bob, &town.room);
    town.server.join(&town.carol, &town.room);
    for index in 0..12 {
        let path = format!("{V3}/rooms/{}/send/m.room.message/{index}", town.room);
        town.server.put(&town.alice, &path, json!({ "body": "a", "msgtype": "m.text" })).ok();
    }
    town.server.act(&town.alice, &town.room, "kick", json!({ "user_id": town.bob.user_id }));
    let members = |lazy: bool| {
        let filter = json!({ "room": { "state": { "lazy_load_members": lazy } } });
        let sync = town.sync_with(&town.bob, None, &filter, "");
        let state = events(&sync["rooms"]["leave"][&town.room]["state"]);
        let members = state.iter().filter(|event| event["type"] == "m.room.member");
        members.map(|event| event["state_key"].clone()).collect::<Vec<_>>()
    };
    assert!(members(false).contains(&json!(town.carol.user_id)));
    let lazy = members(true);
    assert!(lazy.contains(&json!(town.alice.user_id)), "{lazy:?}");
    assert!(!lazy.contains(&json!(town.carol.user_id)), "{lazy:?}");
}

#[test]
fn a_filter_that_cannot_be_read_is_told_why() {
    let town = Town::new();
    for filter in ["{bad", r#"{"room": {"timeline": {"limit": "5"}}}"#] {
        let reply = town.server.get(&town.alice, &format!("{V3}/sync?filter={}", encode(filter)));
        let error = reply.error(400, "M_INVALID_PARAM");
        assert!(error["error"].as_str().unwrap().contains("cannot be read: "), "{error}");
    }
}
