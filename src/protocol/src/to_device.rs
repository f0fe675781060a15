//! Messages to devices: Client-Server API, "Send-to-Device messaging".

use serde_json::{Map, Value};

/// The largest content of one message, as JSON without spaces: it has to fit into a transaction
/// between servers. Bytes.
pub const CONTENT_BYTES_MAX: usize = 65_536;

/// The most devices that one request names.
pub const MESSAGES_MAX: usize = 10_000;

/// The longest id of a user or a device, type of a message, and transaction id.
pub const ID_BYTES_MAX: usize = 512;

/// Why messages are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedMessages {
    /// The errcode is `M_BAD_JSON`.
    #[error("messages must map users to devices to objects")]
    Malformed,
    /// The errcode is `M_TOO_LARGE`.
    #[error(
        "To-device message for {recipient} is too large to send ({bytes} > {CONTENT_BYTES_MAX})"
    )]
    TooLarge { recipient: String, bytes: usize },
    /// The errcode is `M_TOO_LARGE`.
    #[error("More than {MESSAGES_MAX} messages in one request")]
    TooMany,
}

/// A message to a device, or to all devices of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub user_id: String,
    /// `None`: all devices.
    pub device_id: Option<String>,
    /// The event as the device gets it: JSON with `content`, `sender` and `type`.
    pub json: String,
}

/// Reads the `messages` of a request. `*` stands for all devices if it is the only one named.
/// Messages to what nobody is called are dropped.
///
/// # Errors
/// What is not of the specified shape, or too large.
pub fn read(
    messages: &Map<String, Value>,
    event_type: &str,
    sender: &str,
) -> Result<Vec<Message>, RefusedMessages> {
    let mut read = Vec::new();
    for (user_id, devices) in messages {
        let devices = devices.as_object().ok_or(RefusedMessages::Malformed)?;
        for (device_id, content) in devices {
            let content = content.as_object().ok_or(RefusedMessages::Malformed)?;
            let content = serde_json::to_string(content).map_err(|_| RefusedMessages::Malformed)?;
            if content.len() > CONTENT_BYTES_MAX {
                let recipient = format!("{user_id}:{device_id}");
                let recipient = recipient.chars().take(ID_BYTES_MAX).collect();
                let bytes = content.len();
                return Err(RefusedMessages::TooLarge { recipient, bytes });
            }
            if user_id.len().max(device_id.len()) > ID_BYTES_MAX {
                continue;
            }
            let is_for_all = device_id == "*" && devices.len() == 1;
            read.push(Message {
                user_id: user_id.clone(),
                device_id: (!is_for_all).then(|| device_id.clone()),
                json: event(&content, event_type, sender),
            });
        }
    }
    if read.len() > MESSAGES_MAX { Err(RefusedMessages::TooMany) } else { Ok(read) }
}

fn event(content: &str, event_type: &str, sender: &str) -> String {
    let (event_type, sender) = (Value::from(event_type), Value::from(sender));
    format!(r#"{{"content":{content},"sender":{sender},"type":{event_type}}}"#)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_all(messages: &Value) -> Result<Vec<Message>, RefusedMessages> {
        read(messages.as_object().unwrap(), "m.\"type\"", "@a:b")
    }

    #[test]
    fn each_device_gets_an_event() {
        let messages =
            json!({ "@b:b": { "D": { "b": 1.5, "a": "é" }, "*": {} }, "@c:b": { "*": {} } });
        let read = read_all(&messages).unwrap();
        let devices: Vec<_> = read.iter().map(|m| m.device_id.as_deref()).collect();
        assert_eq!(devices, [Some("*"), Some("D"), None]);
        let event = r#"{"content":{"a":"é","b":1.5},"sender":"@a:b","type":"m.\"type\""}"#;
        assert_eq!(read[1].json, event);
        assert!(serde_json::from_str::<Value>(event).is_ok());
    }

    #[test]
    fn what_is_malformed_or_too_large_is_refused() {
        for messages in [json!({ "@a:b": [] }), json!({ "@a:b": { "D": "text" } })] {
            assert_eq!(read_all(&messages), Err(RefusedMessages::Malformed), "{messages}");
        }
        let content = |length| json!({ "@a:b": { "D": { "k": "x".repeat(length) } } });
        assert!(read_all(&content(CONTENT_BYTES_MAX - 8)).is_ok());
        let refused = read_all(&content(CONTENT_BYTES_MAX - 7));
        assert!(matches!(refused, Err(RefusedMessages::TooLarge { bytes: 65_537, .. })));
        let devices: Map<String, Value> =
            (0..=MESSAGES_MAX).map(|n| (n.to_string(), json!({}))).collect();
        assert_eq!(read_all(&json!({ "@a:b": devices })), Err(RefusedMessages::TooMany));
    }
}
