//! Messages that say until when they may be read (MSC2228): after that they look redacted.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::pdu::Pdu;

/// The field of the content: milliseconds since the Unix epoch.
const FIELD: &str = "org.matrix.self_destruct_after";

/// When the event is to be forgotten, if it says so. State never is.
pub fn self_destructs_ms(event: &Pdu) -> Option<u64> {
    match event.state_key {
        None => read(&event.content),
        Some(_) => None,
    }
}

fn read(content: &RawValue) -> Option<u64> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "org.matrix.self_destruct_after")]
        after_ms: u64,
    }
    // Almost none has it, and events are many.
    if !content.get().contains(FIELD) {
        return None;
    }
    serde_json::from_str::<Content>(content.get()).ok().map(|content| content.after_ms)
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    use super::*;

    fn of(content: &Value) -> Option<u64> {
        read(&to_raw_value(content).unwrap())
    }

    #[test]
    fn the_time_is_an_integer_of_the_content() {
        assert_eq!(
            of(&json!({ FIELD: 1_700_000_000_000_u64, "body": "x" })),
            Some(1_700_000_000_000)
        );
        for other in [json!("1"), json!(-1), json!(1.5), json!(null), json!({ "a": 1 })] {
            assert_eq!(of(&json!({ FIELD: other })), None, "{other}");
        }
        assert_eq!(of(&json!({ "body": FIELD })), None);
        assert_eq!(of(&json!({ "nested": { FIELD: 1 } })), None);
        assert_eq!(of(&json!({})), None);
    }
}
