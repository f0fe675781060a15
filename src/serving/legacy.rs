//! Events as the first version of the client-server API had them: parts of `unsigned` stand
//! beside the content, and the sender is the `user_id` too. Old clients read `/initialSync` so.

use std::collections::BTreeMap;

use ruma::presence::PresenceState;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::storage::presence::PresenceRow;
use crate::storage::receipts::ReceiptRow;

/// What of `unsigned` is repeated beside the content.
const REPEATED: [&str; 6] = [
    "age",
    "invite_room_state",
    "knock_room_state",
    "prev_content",
    "redacted_because",
    "replaces_state",
];

/// An event in the client format, in the first version's.
pub fn as_first_version(event: &RawValue) -> Value {
    let mut event: Map<String, Value> = serde_json::from_str(event.get()).unwrap_or_default();
    let sender = event.get("sender").cloned().unwrap_or_default();
    event.insert("user_id".to_owned(), sender);
    for key in REPEATED {
        let value = event.get("unsigned").and_then(|unsigned| unsigned.get(key)).cloned();
        if let Some(value) = value {
            event.insert(key.to_owned(), value);
        }
    }
    Value::Object(event)
}

/// `m.presence` of somebody.
pub fn presence_event(row: &PresenceRow, now_ms: u64) -> Value {
    let row = row.clone().at(now_ms);
    let mut content = json!({
        "user_id": row.user_id,
        "presence": row.state.as_str(),
    });
    if row.state == PresenceState::Online {
        content["currently_active"] = json!(row.currently_active);
    }
    if row.last_active_ts > 0 {
        content["last_active_ago"] = json!(now_ms.saturating_sub(row.last_active_ts));
    }
    if let Some(status_msg) = &row.status_msg {
        content["status_msg"] = json!(status_msg);
    }
    json!({ "type": "m.presence", "sender": row.user_id, "content": content })
}

/// One `m.receipt` for each room.
pub fn receipt_events(rows: &[ReceiptRow]) -> Vec<Value> {
    let mut rooms: BTreeMap<&str, Value> = BTreeMap::new();
    for row in rows {
        let mut data: Value = serde_json::from_str(&row.data).unwrap_or_else(|_| json!({}));
        if let (Some(thread_id), Value::Object(data)) = (&row.thread_id, &mut data) {
            data.insert("thread_id".to_owned(), json!(thread_id));
        }
        let content = rooms.entry(row.room_id.as_str()).or_insert_with(|| json!({}));
        let of_event = &mut content[row.event_id.as_str()];
        of_event[row.receipt_type.as_str()][row.user_id.as_str()] = data;
    }
    let event =
        |(room_id, content)| json!({ "type": "m.receipt", "room_id": room_id, "content": content });
    rooms.into_iter().map(event).collect()
}

/// A room's private data of a user: `m.tag` and what was set.
pub fn data_event(event_type: &str, content: &str) -> Value {
    let content: Value = serde_json::from_str(content).unwrap_or_else(|_| json!({}));
    json!({ "type": event_type, "content": content })
}
