//! Backups of message keys: Client-Server API, "Server-side key backups". What is in them is
//! encrypted, and nobody's business.

use serde_json::{Map, Value};

/// The largest key that is kept. Bytes of JSON.
pub const SESSION_DATA_BYTES_MAX: usize = 64 * 1024;

/// The most keys that one request brings: clients send a few hundred.
pub const KEYS_MAX: usize = 20_000;

const ID_BYTES_MAX: usize = 512;

/// Why keys are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedBackup {
    /// The errcode is `M_BAD_JSON`.
    #[error("{0}")]
    BadJson(String),
    /// The errcode is `M_INVALID_PARAM`.
    #[error("is_verified must be a boolean in keys for session {0}")]
    NotVerifiable(String),
    /// The errcode is `M_TOO_LARGE`.
    #[error("{0}")]
    TooLarge(String),
}

/// The key of a session of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomKey {
    pub room_id: String,
    pub session_id: String,
    pub first_message_index: u64,
    pub forwarded_count: u64,
    pub is_verified: bool,
    /// JSON.
    pub session_data: String,
}

fn bad(message: &str) -> RefusedBackup {
    RefusedBackup::BadJson(message.to_owned())
}

/// Reads a body: all keys, those of a room, or that of one session of it, as the path has it. An
/// empty id stands for none.
///
/// # Errors
/// What is not of the specified shape, or too large.
pub fn read(
    body: Map<String, Value>,
    room_id: &str,
    session_id: &str,
) -> Result<Vec<RoomKey>, RefusedBackup> {
    let mut keys = Vec::new();
    if !session_id.is_empty() {
        keys.push(room_key(room_id, session_id, &body)?);
    } else if !room_id.is_empty() {
        add_sessions(room_id, &body, &mut keys)?;
    } else {
        let rooms = body.get("rooms").and_then(Value::as_object);
        for (room_id, room) in rooms.ok_or_else(|| bad("rooms must be an object"))? {
            let room = room.as_object().ok_or_else(|| bad("A room must be an object"))?;
            add_sessions(room_id, room, &mut keys)?;
        }
    }
    if keys.len() > KEYS_MAX {
        let message = format!("More than {KEYS_MAX} keys in one request");
        return Err(RefusedBackup::TooLarge(message));
    }
    Ok(keys)
}

fn add_sessions(
    room_id: &str,
    room: &Map<String, Value>,
    keys: &mut Vec<RoomKey>,
) -> Result<(), RefusedBackup> {
    let sessions = room.get("sessions").and_then(Value::as_object);
    for (session_id, key) in sessions.ok_or_else(|| bad("sessions must be an object"))? {
        let key = key.as_object().ok_or_else(|| bad("A key must be an object"))?;
        keys.push(room_key(room_id, session_id, key)?);
    }
    Ok(())
}

fn room_key(
    room_id: &str,
    session_id: &str,
    key: &Map<String, Value>,
) -> Result<RoomKey, RefusedBackup> {
    let number = |name: &str| {
        let number = key.get(name).and_then(Value::as_u64).filter(|n| *n < 1 << 53);
        number.ok_or_else(|| bad(&format!("{name} must be a whole number")))
    };
    let is_verified = match key.get("is_verified") {
        Some(Value::Bool(is_verified)) => *is_verified,
        None => return Err(bad("is_verified is missing")),
        Some(_) => {
            let session_id = session_id.chars().take(ID_BYTES_MAX).collect();
            return Err(RefusedBackup::NotVerifiable(session_id));
        }
    };
    let session_data = key.get("session_data").ok_or_else(|| bad("session_data is missing"))?;
    let session_data = session_data.to_string();
    if session_data.len() > SESSION_DATA_BYTES_MAX {
        let message = format!("session_data is larger than {SESSION_DATA_BYTES_MAX} bytes");
        return Err(RefusedBackup::TooLarge(message));
    }
    if room_id.len().max(session_id.len()) > ID_BYTES_MAX {
        return Err(bad(&format!("Ids have at most {ID_BYTES_MAX} bytes")));
    }
    Ok(RoomKey {
        room_id: room_id.to_owned(),
        session_id: session_id.to_owned(),
        first_message_index: number("first_message_index")?,
        forwarded_count: number("forwarded_count")?,
        is_verified,
        session_data,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key() -> Value {
        json!({
            "first_message_index": 1, "forwarded_count": 0, "is_verified": false,
            "session_data": { "ciphertext": "x" },
        })
    }

    fn read_value(body: &Value, room: &str, session: &str) -> Result<Vec<RoomKey>, RefusedBackup> {
        read(body.as_object().unwrap().clone(), room, session)
    }

    #[test]
    fn the_three_forms_name_the_same_key() {
        let sessions = json!({ "sessions": { "S": key() } });
        let all = json!({ "rooms": { "!a:b": sessions } });
        let keys = read_value(&all, "", "").unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].session_data, r#"{"ciphertext":"x"}"#);
        assert_eq!(read_value(&sessions, "!a:b", ""), Ok(keys.clone()));
        assert_eq!(read_value(&key(), "!a:b", "S"), Ok(keys));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let with = |name: &str, value: Value| {
            let mut key = key();
            key[name] = value;
            read_value(&key, "!a:b", "S")
        };
        assert!(matches!(with("is_verified", json!(1)), Err(RefusedBackup::NotVerifiable(_))));
        assert!(matches!(with("first_message_index", json!(-1)), Err(RefusedBackup::BadJson(_))));
        assert!(matches!(with("forwarded_count", json!("1")), Err(RefusedBackup::BadJson(_))));
        let large = json!("x".repeat(SESSION_DATA_BYTES_MAX));
        assert!(matches!(with("session_data", large), Err(RefusedBackup::TooLarge(_))));
        for (body, room) in [
            (json!({}), ""),
            (json!({}), "!a:b"),
            (json!({ "rooms": [] }), ""),
            (json!({ "rooms": { "!a:b": 1 } }), ""),
            (json!({ "sessions": { "S": 1 } }), "!a:b"),
            (json!({ "sessions": { "S": {} } }), "!a:b"),
        ] {
            assert!(
                matches!(read_value(&body, room, ""), Err(RefusedBackup::BadJson(_))),
                "{body}"
            );
        }
    }
}
