//! Alice and Bob in a public room.

use serde_json::{Value, json};

use crate::support::{Account, Reply, Server};

/// What is in every batch that commits an event, and in no other.
pub const COMMIT: &str = "INSERT INTO event_edges";

pub struct House {
    pub server: Server,
    pub alice: Account,
    pub bob: Account,
    pub room_id: String,
}

impl House {
    pub fn new() -> Self {
        let server = Server::new();
        let (alice, bob) = (server.register("alice"), server.register("bob"));
        let options = json!({"preset": "public_chat"});
        let body = server.post(&alice, "/_matrix/client/v3/createRoom", options).ok();
        let room_id = body["room_id"].as_str().unwrap().to_owned();
        let house = Self { server, alice, bob, room_id };
        house.join(&house.bob);
        house
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/_matrix/client/v3/rooms/{}/{rest}", self.room_id)
    }

    pub fn join(&self, account: &Account) {
        self.server.post(account, &self.path("join"), json!({})).ok();
    }

    pub fn send_event(&self, sender: &Account, event_type: &str, content: Value) -> String {
        let txn_id = self.server.rows("SELECT count(*) AS n FROM events")[0]["n"].clone();
        let path = self.path(&format!("send/{event_type}/{txn_id}"));
        let body = self.server.put(sender, &path, content).ok();
        body["event_id"].as_str().unwrap().to_owned()
    }

    /// Round trips of a message of Alice's.
    pub fn cost(&self, txn_id: &str) -> u64 {
        let path = self.path(&format!("send/m.room.message/{txn_id}"));
        let before = self.server.platform.sqlite.batches();
        self.server.put(&self.alice, &path, json!({"msgtype": "m.text", "body": "x"})).ok();
        self.server.platform.sqlite.batches() - before
    }

    pub fn say(&self, sender: &Account, body: &str) -> String {
        self.send_event(sender, "m.room.message", json!({"msgtype": "m.text", "body": body}))
    }

    pub fn say_in_thread(&self, sender: &Account, root: &str, body: &str) -> String {
        let relation = json!({"rel_type": "m.thread", "event_id": root});
        let content = json!({"msgtype": "m.text", "body": body, "m.relates_to": relation});
        self.send_event(sender, "m.room.message", content)
    }

    pub fn mention(&self, sender: &Account, mentions: Value) -> String {
        let content = json!({"msgtype": "m.text", "body": "you", "m.mentions": mentions});
        self.send_event(sender, "m.room.message", content)
    }

    pub fn receipt(&self, reader: &Account, kind: &str, event_id: &str, body: Value) -> Reply {
        self.server.post(reader, &self.path(&format!("receipt/{kind}/{event_id}")), body)
    }

    pub fn sync(&self, reader: &Account, query: &str) -> Value {
        self.server.get(reader, &format!("/_matrix/client/v3/sync?{query}")).ok()
    }

    /// Notifications and highlights, as a first sync has them.
    pub fn counts(&self, reader: &Account) -> (i64, i64) {
        let body = self.sync(reader, "");
        let counts = &body["rooms"]["join"][&self.room_id]["unread_notifications"];
        let count = |name: &str| counts[name].as_i64().unwrap();
        (count("notification_count"), count("highlight_count"))
    }

    pub fn threads(&self, reader: &Account) -> Value {
        let filter = r#"{"room":{"timeline":{"unread_thread_notifications":true}}}"#;
        let body = self.sync(reader, &format!("filter={}", encode(filter)));
        let room = &body["rooms"]["join"][&self.room_id];
        json!([room["unread_notifications"], room["unread_thread_notifications"]])
    }

    pub fn set_rule(&self, account: &Account, rest: &str, body: Value) {
        let path = format!("/_matrix/client/v3/pushrules/global/{rest}");
        self.server.put(account, &path, body).ok();
    }

    pub fn actions(&self) -> Vec<Value> {
        let sql = "SELECT user_id, actions, notif, highlight, unread, thread_id, profile_tag
                   FROM event_push_actions ORDER BY stream_ordering, user_id";
        self.server.rows(sql)
    }
}

pub fn encode(text: &str) -> String {
    text.replace('{', "%7B").replace('}', "%7D").replace('"', "%22").replace(' ', "%20")
}

pub fn counts(notification_count: i64, highlight_count: i64) -> Value {
    json!({"notification_count": notification_count, "highlight_count": highlight_count})
}
