//! Anybody may put anything into an event, their account data or their profile. Whatever that is,
//! nobody's reading fails of it.

use crate::support::{Account, Server, encode};
use serde_json::{Map, Value, json};

const V3: &str = "/_matrix/client/v3";

/// Message events and what readers look at in them.
const MESSAGES: [(&str, &[&str]); 8] = [
    ("m.room.message", &["body", "msgtype", "url", "file", "info", "formatted_body", "format"]),
    ("m.room.message", &["m.relates_to", "m.mentions", "m.new_content", "org.example"]),
    ("m.room.encrypted", &["algorithm", "ciphertext", "device_id", "sender_key", "session_id"]),
    ("m.reaction", &["m.relates_to", "shortcode"]),
    ("m.room.redaction", &["redacts", "reason"]),
    ("m.sticker", &["body", "url", "info"]),
    ("m.call.invite", &["call_id", "offer", "lifetime"]),
    ("m.room.message", &["org.matrix.self_destruct_after"]),
];

/// State events with an empty state key.
const STATE: [(&str, &[&str]); 18] = [
    ("m.room.name", &["name"]),
    ("m.room.topic", &["topic", "m.topic"]),
    ("m.room.avatar", &["url", "info"]),
    ("m.room.canonical_alias", &["alias", "alt_aliases"]),
    ("m.room.encryption", &["algorithm", "rotation_period_ms"]),
    ("m.room.guest_access", &["guest_access"]),
    ("m.room.history_visibility", &["history_visibility"]),
    ("m.room.pinned_events", &["pinned"]),
    ("m.room.server_acl", &["allow", "deny", "allow_ip_literals"]),
    ("m.room.third_party_invite", &["display_name", "public_key", "public_keys"]),
    ("m.room.retention", &["max_lifetime", "min_lifetime"]),
    ("m.space.parent", &["via", "canonical"]),
    ("m.space.child", &["via", "order", "suggested"]),
    ("m.policy.rule.user", &["entity", "recommendation"]),
    ("m.room.tombstone", &["replacement_room", "body"]),
    ("org.matrix.msc3401.call.member", &["memberships", "expires"]),
    ("m.room.join_rules", &["join_rule", "allow"]),
    ("m.room.power_levels", &["users", "events", "notifications", "ban", "users_default"]),
];

const MEMBER: [&str; 6] = [
    "displayname",
    "avatar_url",
    "reason",
    "is_direct",
    "third_party_invite",
    "join_authorised_via_users_server",
];

const ACCOUNT_DATA: [(&str, &str); 7] = [
    ("m.direct", "@bob:example.org"),
    ("m.ignored_user_list", "ignored_users"),
    ("m.invite_permission_config", "default_action"),
    ("m.accepted_terms", "accepted"),
    ("m.marked_unread", "unread"),
    ("m.tag", "tags"),
    ("org.example", "any"),
];

fn odd_values(event_id: &str) -> Vec<Value> {
    let mut deep = json!("deep");
    for _ in 0..40 {
        deep = json!({ "a": [deep] });
    }
    vec![
        Value::Null,
        json!(true),
        json!(5),
        json!(-9_007_199_254_740_991_i64),
        json!(""),
        json!("text"),
        json!("\0"),
        json!("😀\u{202e}\u{feff}"),
        json!("x".repeat(3000)),
        json!([]),
        json!({}),
        json!([5, null, "a", {}]),
        json!({ "": 5, "event_id": 5, "rel_type": 5, "key": [], "user_ids": "x", "room": 7 }),
        json!({ "event_id": event_id, "rel_type": {}, "key": 5, "m.in_reply_to": 5 }),
        json!({ "event_id": event_id, "rel_type": "m.replace", "key": null }),
        json!({ "event_id": event_id, "rel_type": "m.thread", "m.in_reply_to": { "event_id": 5 } }),
        json!({ "event_id": event_id, "rel_type": "m.annotation", "key": { "a": 1 } }),
        json!({ "@alice:example.org": "100", "@bob:example.org": null }),
        deep,
    ]
}

struct Odd {
    server: Server,
    alice: Account,
    bob: Account,
    carol: Account,
    sent: std::cell::Cell<u32>,
}

impl Odd {
    fn new() -> Self {
        let server = Server::new();
        let (alice, bob) = (server.register("alice"), server.register("bob"));
        let carol = server.register("carol");
        Self { server, alice, bob, carol, sent: 0.into() }
    }

    fn room(&self, options: Value) -> String {
        let created = self.server.post(&self.alice, &format!("{V3}/createRoom"), options).ok();
        let room_id = created["room_id"].as_str().unwrap().to_owned();
        self.server.join(&self.bob, &room_id);
        room_id
    }

    /// Does something that may be refused, but does not fail.
    fn put(&self, account: &Account, path: &str, body: &Value) -> bool {
        let reply = self.server.put(account, path, body.clone());
        assert!(reply.status < 500, "{path} {body}: {}", reply.body);
        reply.status == 200
    }

    fn send(&self, room_id: &str, event_type: &str, content: &Value) -> bool {
        self.sent.set(self.sent.get() + 1);
        let txn_id = self.sent.get();
        let path = format!("{V3}/rooms/{room_id}/send/{event_type}/{txn_id}");
        self.put(&self.alice, &path, content)
    }

    /// Whatever anybody can read of a room, and of those who are in it.
    fn read_everything(&self, room_id: &str, event_id: &str, cause: &str) {
        for account in [&self.alice, &self.bob, &self.carol] {
            self.read_room(room_id, event_id, account, cause);
            self.read_own(room_id, account, cause);
        }
    }

    fn get(&self, account: &Account, path: &str, cause: &str) {
        let reply = self.server.get(account, path);
        assert!(reply.status < 500, "{cause}: {path}: {}", reply.body);
    }

    fn read_room(&self, room_id: &str, event_id: &str, account: &Account, cause: &str) {
        let (room, event) = (encode(room_id), encode(event_id));
        let parts = [
            "initialSync",
            "messages?dir=b&limit=500",
            "state",
            "members",
            "joined_members",
            &format!("context/{event}?limit=100"),
        ];
        for part in parts {
            self.get(account, &format!("{V3}/rooms/{room}/{part}"), cause);
        }
        let parts = [
            "threads",
            "hierarchy",
            "timestamp_to_event?ts=0&dir=f",
            &format!("relations/{event}?limit=100"),
        ];
        for part in parts {
            self.get(account, &format!("/_matrix/client/v1/rooms/{room}/{part}"), cause);
        }
        self.get(account, &format!("/_matrix/client/v1/room_summary/{room}"), cause);
    }

    fn read_own(&self, room_id: &str, account: &Account, cause: &str) {
        let lazy = encode(r#"{"room": {"state": {"lazy_load_members": true}}}"#);
        let user = encode(&self.alice.user_id);
        let reads = [
            "sync",
            &format!("sync?filter={lazy}"),
            "initialSync",
            "publicRooms",
            "joined_rooms",
            "notifications",
            "pushrules/",
            &format!("profile/{user}"),
        ];
        for read in reads {
            self.get(account, &format!("{V3}/{read}"), cause);
        }
        for (path, body) in searches(room_id) {
            let reply = self.server.post(account, path, body);
            assert!(reply.status < 500, "{cause}: {path}: {}", reply.body);
        }
    }
}

fn searches(room_id: &str) -> [(&'static str, Value); 4] {
    let list = |filters: Value| {
        json!({ "ranges": [[0, 99]], "timeline_limit": 50, "required_state": [["*", "*"]],
            "filters": filters })
    };
    let enabled = json!({ "enabled": true });
    let slide = json!({
        "lists": { "all": list(json!({})), "space": list(json!({ "spaces": [room_id] })) },
        "extensions": {
            "account_data": enabled, "receipts": enabled, "e2ee": enabled, "to_device": enabled,
        },
    });
    let criteria =
        json!({ "search_term": "text deep", "event_context": {}, "include_state": true });
    [
        ("/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", slide),
        ("/_matrix/client/v3/search", json!({ "search_categories": { "room_events": criteria } })),
        ("/_matrix/client/v3/user_directory/search", json!({ "search_term": "a" })),
        ("/_matrix/client/v3/publicRooms", json!({ "filter": { "generic_search_term": "text" } })),
    ]
}

fn content(field: &str, value: &Value, basis: &Value) -> Value {
    let mut content: Map<String, Value> = basis.as_object().unwrap().clone();
    content.insert(field.to_owned(), value.clone());
    content.into()
}

const PUBLIC: &str = "public_chat";
const UNKNOWN: &str = "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn options(version: &str) -> Value {
    json!({ "preset": PUBLIC, "room_version": version, "visibility": "public" })
}

#[test]
fn odd_messages_break_no_reader() {
    let odd = Odd::new();
    for (index, (event_type, fields)) in MESSAGES.into_iter().enumerate() {
        let room_id = odd.room(options(["10", "12"][index % 2]));
        let text = json!({ "body": "text", "msgtype": "m.text" });
        let path = format!("{V3}/rooms/{room_id}/send/m.room.message/root{event_type}");
        let root = odd.server.put(&odd.alice, &path, text.clone()).ok();
        let root = root["event_id"].as_str().unwrap();
        let mut sent = 0;
        for field in fields {
            for value in odd_values(root) {
                sent += u32::from(odd.send(&room_id, event_type, &content(field, &value, &text)));
                odd.send(&room_id, event_type, &content(field, &value, &json!({})));
            }
        }
        assert!(sent > 3, "{event_type}: most of it is not refused");
        odd.read_everything(&room_id, root, event_type);
    }
}

/// Each round puts another odd value into every kind of state, each in its own room.
#[test]
fn odd_state_breaks_no_reader() {
    let odd = Odd::new();
    let room = |(index, (event_type, _)): (usize, &(&str, &[&str]))| {
        let mut options = options(["5", "12"][index % 2]);
        if event_type.starts_with("m.space") {
            options["creation_content"] = json!({ "type": "m.space" });
        }
        odd.room(options)
    };
    let rooms: Vec<String> = STATE.iter().enumerate().map(room).collect();
    for value in odd_values(UNKNOWN) {
        for round in 0..5 {
            let mut changed = None;
            for ((event_type, fields), room_id) in STATE.iter().zip(&rooms) {
                let Some(field) = fields.get(round) else { continue };
                let key = if *event_type == "m.space.child" { rooms[0].as_str() } else { "" };
                let path = format!("{V3}/rooms/{room_id}/state/{event_type}/{key}");
                if odd.put(&odd.alice, &path, &content(field, &value, &json!({}))) {
                    odd.read_room(
                        room_id,
                        UNKNOWN,
                        &odd.bob,
                        &format!("{event_type} {field} {value:.60}"),
                    );
                    changed = Some(room_id);
                }
            }
            if let Some(room_id) = changed {
                odd.read_everything(room_id, UNKNOWN, &format!("round {round} of {value:.60}"));
            }
        }
    }
}

#[test]
fn odd_members_break_no_reader() {
    let odd = Odd::new();
    let room_id = odd.room(options("10"));
    let path = format!("{V3}/rooms/{room_id}/state/m.room.member/{}", odd.alice.user_id);
    for value in odd_values(UNKNOWN) {
        for field in MEMBER {
            let basis = json!({ "membership": "join" });
            odd.put(&odd.alice, &path, &content(field, &value, &basis));
        }
        odd.read_everything(&room_id, UNKNOWN, &format!("members with {value:.60}"));
    }
}

#[test]
fn odd_rooms_break_no_reader() {
    let odd = Odd::new();
    for field in ["type", "predecessor", "m.federate", "additional_creators", "org.example"] {
        let mut made = None;
        for value in odd_values(UNKNOWN) {
            let mut options = options("12");
            options["creation_content"] = content(field, &value, &json!({}));
            let reply = odd.server.post(&odd.alice, &format!("{V3}/createRoom"), options);
            assert!(reply.status < 500, "{field} {value:.60}: {}", reply.body);
            if reply.status == 200 {
                let room_id = reply.body["room_id"].as_str().unwrap();
                odd.read_room(room_id, UNKNOWN, &odd.carol, &format!("{field} {value:.60}"));
                made = Some(room_id.to_owned());
            }
        }
        odd.read_everything(&made.expect("most is not refused"), UNKNOWN, field);
    }
}

#[test]
fn odd_account_data_and_profiles_break_no_reader() {
    let odd = Odd::new();
    let room_id = odd.room(options("12"));
    let user = encode(&odd.alice.user_id);
    for value in odd_values(UNKNOWN) {
        for (data_type, field) in ACCOUNT_DATA {
            let body = content(field, &value, &json!({}));
            let own = format!("{V3}/user/{user}/account_data/{data_type}");
            let of_room = format!("{V3}/user/{user}/rooms/{room_id}/account_data/{data_type}");
            odd.put(&odd.alice, &own, &body);
            odd.put(&odd.alice, &of_room, &body);
        }
        for field in ["displayname", "avatar_url", "m.tz", "org.example.any"] {
            let path = format!("{V3}/profile/{user}/{field}");
            odd.put(&odd.alice, &path, &content(field, &value, &json!({})));
        }
        odd.read_everything(&room_id, UNKNOWN, &format!("data with {value:.60}"));
        let invite = json!({ "user_id": odd.alice.user_id });
        let path = format!("{V3}/rooms/{room_id}/invite");
        assert!(odd.server.post(&odd.bob, &path, invite).status < 500);
    }
}
