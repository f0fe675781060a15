//! The server, its users and its rooms, and requests that are repeated until they are answered.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::{Value, json};

use super::client::{Client, Wishes};
use crate::support::platform::Random;
use crate::support::{Account, Reply, Server, SqlitePlatform};

const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// Room versions that differ in how events are named, authorised and resolved.
const VERSIONS: [&str; 6] = ["1", "3", "6", "10", "11", "12"];

/// How many times a request is repeated that meets with trouble.
const TRIES_MAX: usize = 30;

#[derive(Clone)]
pub struct World {
    pub server: Rc<Server>,
    pub platform: Rc<SqlitePlatform>,
    pub random: Random,
    pub users: Vec<Account>,
    pub rooms: Vec<String>,
    /// Events that a sender was told of.
    pub sent: Rc<RefCell<Vec<(String, String)>>>,
}

impl World {
    /// Users and rooms, of which the first user of each has made one.
    pub fn new(random: Random) -> Self {
        let server = Rc::new(Server::with(&[("PRESENCE", "off")]));
        let users: Vec<_> = USERS.iter().map(|name| server.register(name)).collect();
        let mut rooms = Vec::new();
        for (creator, visibility) in users.iter().zip(["shared", "shared", "joined", "invited"]) {
            let state = json!([{
                "type": "m.room.history_visibility",
                "content": { "history_visibility": visibility },
            }]);
            let options = json!({
                "preset": "public_chat",
                "room_version": random.pick(&VERSIONS),
                "initial_state": state,
                "power_level_content_override": { "state_default": 0, "invite": 0, "redact": 0 },
            });
            let body = server.post(creator, "/_matrix/client/v3/createRoom", options).ok();
            rooms.push(body["room_id"].as_str().unwrap().to_owned());
        }
        let platform = server.platform.clone();
        Self { server, platform, random, users, rooms, sent: Rc::default() }
    }

    /// A client for each user, and a second one for the first.
    pub fn clients(&self) -> Vec<Rc<Client>> {
        let own = self.users.iter().cloned().map(|account| (account, true));
        let accounts = own.chain([(self.server.login(USERS[0]), false)]);
        let client = |(account, sends)| Client::new(self.clone(), account, self.wishes(), sends);
        accounts.map(|account| Rc::new(client(account))).collect()
    }

    fn wishes(&self) -> Wishes {
        let sender = &self.random.pick(&self.users).user_id;
        let (events, picks) = match self.random.below(8) {
            0 => (json!({ "types": ["m.room.message"] }), false),
            1 => (json!({ "types": ["m.*.m*", "a"] }), false),
            2 => (json!({ "not_types": ["m.room.*e", "b"] }), false),
            3 => (json!({ "senders": [sender] }), true),
            4 => (json!({ "not_senders": [sender] }), true),
            _ => (json!({}), false),
        };
        Wishes {
            limit: *self.random.pick(&[1, 3, 10, 50]),
            events,
            lazy_members: self.random.one_in(3),
            // Who leaves out some senders cannot fold a timeline.
            state_after: picks || self.random.one_in(3),
        }
    }

    /// A request, until it is answered with something else than trouble of the server's.
    pub async fn request(&self, method: &str, who: &Account, path: &str, body: &Value) -> Reply {
        for _ in 0..TRIES_MAX {
            let reply = self.server.request(method, who, path, body).await;
            if reply.status < 500 {
                return reply;
            }
            let is_planned = reply.bytes.is_empty() || reply.status == 500;
            assert!(is_planned, "{method} {path}: {} {}", reply.status, reply.body);
        }
        panic!("{method} {path} is never answered");
    }
}
