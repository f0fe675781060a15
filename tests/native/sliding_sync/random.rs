//! Random histories, seen through random windows with answers that get lost: in the end a client
//! knows what one knows that has just begun. A failure prints its seed.

use std::collections::BTreeMap;

use super::*;
use crate::support::platform::Random;

/// What a client makes of what it is told.
#[derive(Default)]
struct View {
    pos: Option<String>,
    rooms: BTreeMap<String, RoomView>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct RoomView {
    state: BTreeMap<(String, String), String>,
    last_event: Option<String>,
    joined_count: Option<u64>,
}

impl View {
    fn take(&mut self, body: &Value) {
        self.pos = Some(pos(body).to_owned());
        for (room_id, told) in body["rooms"].as_object().unwrap() {
            let room = self.rooms.entry(room_id.clone()).or_default();
            if told["initial"] == true {
                *room = RoomView::default();
            }
            for event in told["required_state"].as_array().map(Vec::as_slice).unwrap_or_default() {
                let text = |name: &str| event[name].as_str().unwrap().to_owned();
                room.state.insert((text("type"), text("state_key")), text("event_id"));
            }
            let timeline = told["timeline"].as_array().map(Vec::as_slice).unwrap_or_default();
            if let Some(event) = timeline.last() {
                room.last_event = event["event_id"].as_str().map(str::to_owned);
            }
            room.joined_count = told["joined_count"].as_u64().or(room.joined_count);
        }
    }
}

struct History {
    server: Server,
    people: [Account; 3],
    rooms: Vec<String>,
    random: Random,
    count: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        let server = quiet_server();
        let people = ["alice", "bob", "carol"].map(|name| server.register(name));
        let rooms = (0..5).map(|_| public_room(&server, &people[1])).collect();
        Self { server, people, rooms, random: Random::new(seed), count: 0 }
    }

    /// Something happens, if it may.
    fn step(&mut self) {
        self.count += 1;
        let n = self.count;
        let room = self.random.pick(&self.rooms).clone();
        let who = self.random.pick(&self.people).clone();
        let alice = json!({ "user_id": self.people[0].user_id });
        let of_room = |rest: &str| format!("/_matrix/client/v3/rooms/{room}/{rest}");
        let server = &self.server;
        let bob = &self.people[1];
        // What is forbidden just then does not happen.
        match self.random.below(9) {
            0 => drop(server.post(&who, &of_room("leave"), json!({}))),
            1 | 2 => drop(server.post(&who, &of_room("join"), json!({}))),
            3 => drop(server.post(bob, &of_room("kick"), alice)),
            4 => drop(server.post(bob, &of_room("invite"), alice)),
            5 | 6 => {
                let path = of_room(&format!("state/org.example.x/{}", n % 3));
                drop(server.put(&who, &path, json!({ "n": n })));
            }
            _ => {
                let content = json!({ "msgtype": "m.text", "body": n.to_string() });
                drop(server.put(&who, &message_path(&room, &n.to_string()), content));
            }
        }
    }

    /// A request with a window of its own.
    fn request(&self) -> Value {
        let (start, length) = (self.random.below(3), self.random.below(5));
        let mut request = list(json!([[start, start + length]]), self.random.below(4));
        request["lists"]["all"]["required_state"] = match self.random.below(3) {
            0 => json!([["org.example.x", "*"]]),
            1 => json!([["org.example.x", "0"], ["m.room.member", "$LAZY"]]),
            _ => json!([["*", "*"]]),
        };
        if self.random.one_in(3) {
            let wish = json!({ "timeline_limit": 2, "required_state": [["m.room.member", "*"]] });
            request["room_subscriptions"][self.random.pick(&self.rooms)] = wish;
        }
        request
    }
}

/// In how many rooms they are in the end.
fn follow(seed: u64) -> usize {
    let mut history = History::new(seed);
    let alice = history.people[0].clone();
    let mut view = View::default();
    for _ in 0..40 {
        for _ in 0..history.random.below(4) {
            history.step();
        }
        let request = history.request();
        let body = slide(&history.server, &alice, view.pos.as_deref(), &request);
        // Some answers never arrive.
        if history.random.below(4) > 0 {
            view.take(&body);
        }
    }
    let mut whole = list(json!([[0, 9]]), 3);
    whole["lists"]["all"]["required_state"] = json!([["*", "*"]]);
    for _ in 0..3 {
        view.take(&slide(&history.server, &alice, view.pos.as_deref(), &whole));
    }
    let quiet = slide(&history.server, &alice, view.pos.as_deref(), &whole);
    assert!(room_ids(&quiet).is_empty(), "seed {seed}: {quiet}");
    let mut anew = View::default();
    whole["conn_id"] = json!("anew");
    anew.take(&slide(&history.server, &alice, None, &whole));
    assert_eq!(quiet["lists"]["all"]["count"], anew.rooms.len(), "seed {seed}");
    let joined = anew.rooms.values().filter(|room| room.joined_count.is_some()).count();
    // Rooms that were left are told once, to who was there.
    for (room_id, expected) in &anew.rooms {
        let found = view.rooms.get(room_id).cloned().unwrap_or_default();
        // Whoever is out keeps what they knew, which may be less than all.
        if expected.joined_count.is_some() {
            assert_eq!(*expected, found, "seed {seed}: {room_id}");
        }
    }
    joined
}

#[test]
fn in_the_end_every_client_knows_the_same() {
    let joined: usize = (1..=20).map(follow).sum();
    assert!(joined >= 20, "there is something to compare: {joined}");
}
