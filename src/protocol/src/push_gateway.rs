//! What a push gateway is told: where it is, and a notification as it wants it.
//!
//! Spec: <https://spec.matrix.org/latest/push-gateway-api/>

use serde_json::{Map, Value, json};
use url::Url;

/// The path of every gateway.
const PATH: &str = "/_matrix/push/v1/notify";

/// The data of a pusher: where its gateway is, and what the gateway is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    pub url: Url,
    /// No more than which event it is about.
    pub is_event_id_only: bool,
    /// Everything but the address: the gateway gets it back.
    pub data: Map<String, Value>,
}

/// Why the data of a pusher names no gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    #[error("data has no url: the address of the push gateway")]
    NoUrl,
    #[error("data.url must be an http(s) address with the path /_matrix/push/v1/notify")]
    BadUrl,
}

impl Gateway {
    /// Reads the data of a pusher of kind `http`.
    ///
    /// # Errors
    /// If it has no address, or not one of a push gateway.
    pub fn read(data: &Map<String, Value>) -> Result<Self, GatewayError> {
        let url = data.get("url").ok_or(GatewayError::NoUrl)?;
        let url = url.as_str().and_then(|url| Url::parse(url).ok()).ok_or(GatewayError::BadUrl)?;
        if !matches!(url.scheme(), "http" | "https") || url.path() != PATH {
            return Err(GatewayError::BadUrl);
        }
        let mut data = data.clone();
        data.remove("url");
        let is_event_id_only = data.get("format").is_some_and(|format| format == "event_id_only");
        Ok(Self { url, is_event_id_only, data })
    }
}

/// A device that is told.
#[derive(Clone, Debug)]
pub struct Device<'a> {
    pub app_id: &'a str,
    pub pushkey: &'a str,
    pub pushkey_ts_ms: u64,
    pub data: &'a Map<String, Value>,
}

/// An event that somebody is notified of.
#[derive(Clone, Debug)]
pub struct Notified<'a> {
    pub event_id: &'a str,
    pub room_id: &'a str,
    pub event_type: &'a str,
    /// Of the rule that matched.
    pub actions: &'a Value,
    /// The rest, for gateways that want to know all; they get no more than this without it.
    pub details: Option<Details>,
}

/// What a gateway is told that wants to know all.
#[derive(Clone, Debug, Default)]
pub struct Details {
    pub sender: String,
    pub content: Map<String, Value>,
    pub sender_display_name: Option<String>,
    pub room_name: Option<String>,
    pub room_alias: Option<String>,
    /// Of a membership event: whether it is the reader's own.
    pub user_is_target: Option<bool>,
}

impl Notified<'_> {
    /// The body of the request, in the form that the devices' gateway wants.
    pub fn body(&self, unread: u64, devices: &[Device<'_>]) -> Value {
        let tweaks = tweaks(self.actions);
        let mut body = json!({
            "event_id": self.event_id,
            "room_id": self.room_id,
            "prio": self.priority(&tweaks),
            "counts": { "unread": unread },
        });
        let Some(details) = &self.details else {
            body["devices"] = devices.iter().map(|device| device.to_json(None)).collect();
            return json!({ "notification": body });
        };
        // The older name of the event's id.
        body["id"] = json!(self.event_id);
        body["type"] = json!(self.event_type);
        body["sender"] = json!(details.sender);
        let texts = [
            ("sender_display_name", &details.sender_display_name),
            ("room_name", &details.room_name),
            ("room_alias", &details.room_alias),
        ];
        for (name, text) in texts {
            if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
                body[name] = json!(text);
            }
        }
        if let Some(user_is_target) = details.user_is_target {
            body["user_is_target"] = json!(user_is_target);
            body["membership"] = details.content.get("membership").cloned().unwrap_or_default();
        }
        if !details.content.is_empty() {
            body["content"] = json!(details.content);
        }
        body["devices"] = devices.iter().map(|device| device.to_json(Some(&tweaks))).collect();
        json!({ "notification": body })
    }

    /// As in Synapse: high for what makes a sound, is highlighted, or may be either.
    fn priority(&self, tweaks: &Map<String, Value>) -> &'static str {
        let is_set = |name: &str| {
            tweaks.get(name).is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false)))
        };
        let is_high =
            self.event_type == "m.room.encrypted" || is_set("highlight") || is_set("sound");
        if is_high { "high" } else { "low" }
    }
}

/// The body of a request that tells no event, only how much is unread.
pub fn badge(unread: u64, devices: &[Device<'_>]) -> Value {
    let devices: Vec<Value> = devices.iter().map(|device| device.to_json(None)).collect();
    json!({
        "notification": {
            "id": "",
            "type": null,
            "sender": "",
            "counts": { "unread": unread },
            "devices": devices,
        },
    })
}

impl Device<'_> {
    fn to_json(&self, tweaks: Option<&Map<String, Value>>) -> Value {
        let mut device = json!({
            "app_id": self.app_id,
            "pushkey": self.pushkey,
            "pushkey_ts": self.pushkey_ts_ms / 1000,
            "data": self.data,
        });
        if let Some(tweaks) = tweaks.filter(|tweaks| !tweaks.is_empty()) {
            device["tweaks"] = json!(tweaks);
        }
        device
    }
}

/// What a rule sets; without a value it is true.
fn tweaks(actions: &Value) -> Map<String, Value> {
    let actions = actions.as_array().into_iter().flatten();
    let tweak = |action: &Value| {
        let name = action.get("set_tweak")?.as_str()?.to_owned();
        Some((name, action.get("value").cloned().unwrap_or(Value::Bool(true))))
    };
    actions.filter_map(tweak).collect()
}

/// The pushkeys that a gateway wants to hear no more of, from the body of its answer.
pub fn rejected(answer: &[u8]) -> Vec<String> {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let rejected = answer.get("rejected").and_then(Value::as_array);
    let keys = rejected.into_iter().flatten().filter_map(Value::as_str);
    keys.map(str::to_owned).collect()
}

/// What a room without a name is called: after the first others in it, as in Synapse after none
/// if there is one other only.
pub fn name_after(others: &[String], others_count: u64) -> Option<String> {
    match (others, others_count) {
        ([first, second, ..], 2) => Some(format!("{first} and {second}")),
        ([first, ..], 3..) => Some(format!("{first} and {} others", others_count - 1)),
        _ => None,
    }
}

const SECOND_MS: u64 = 1_000;
const HOUR_MS: u64 = 60 * 60 * SECOND_MS;

/// A gateway that failed for so long gets the newest notification only, once it is there again.
pub const LONG_FAILURE_MS: u64 = 10 * 60 * SECOND_MS;

/// When a gateway is tried next that has been failing: the waits double from a second up to an
/// hour. It depends on nothing else, so a restart changes nothing.
pub fn next_try_ms(failing_since_ms: u64, now_ms: u64) -> u64 {
    let elapsed_ms = now_ms.saturating_sub(failing_since_ms);
    let mut after_ms = SECOND_MS;
    while after_ms <= elapsed_ms && after_ms < HOUR_MS {
        after_ms *= 2;
    }
    if after_ms <= elapsed_ms {
        after_ms += ((elapsed_ms - after_ms) / HOUR_MS + 1) * HOUR_MS;
    }
    failing_since_ms + after_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_an_hour_whenever_one_asks() {
        let tries: Vec<u64> = std::iter::successors(Some(0), |now| Some(next_try_ms(0, *now)))
            .take(16)
            .map(|ms| ms / SECOND_MS)
            .collect();
        let hours = [4096, 4096 + 3600, 4096 + 7200];
        let doubled = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048];
        assert_eq!(tries, [&doubled[..], &hours[..]].concat());
        assert_eq!(next_try_ms(5_000, 5_000), 6_000);
        assert_eq!(next_try_ms(5_000, 4_000), 6_000, "clocks may go back");
        assert_eq!(next_try_ms(0, 4_500_000), 7_696_000);
    }

    #[test]
    fn a_gateway_is_known_by_its_path() {
        let read = |data: Value| Gateway::read(data.as_object().unwrap());
        assert_eq!(read(json!({})), Err(GatewayError::NoUrl));
        for url in [
            json!(7),
            json!("push.test"),
            json!("ftp://push.test/_matrix/push/v1/notify"),
            json!("https://push.test/notify"),
            json!("https://push.test/_matrix/push/v1/notify/"),
        ] {
            assert_eq!(read(json!({ "url": url })), Err(GatewayError::BadUrl), "{url}");
        }
        let url = "https://push.test/_matrix/push/v1/notify";
        let gateway = read(json!({ "url": url, "format": "event_id_only", "brand": "x" })).unwrap();
        assert!(gateway.is_event_id_only);
        assert_eq!(json!(gateway.data), json!({ "format": "event_id_only", "brand": "x" }));
    }

    #[test]
    fn rooms_are_called_after_those_who_are_there() {
        let others = ["Bob".to_owned(), "Carol".to_owned()];
        assert_eq!(name_after(&[], 0), None);
        assert_eq!(name_after(&others[..1], 1), None);
        assert_eq!(name_after(&others, 2).unwrap(), "Bob and Carol");
        assert_eq!(name_after(&others, 7).unwrap(), "Bob and 6 others");
    }

    #[test]
    fn what_a_gateway_rejects_is_read_from_whatever_it_says() {
        assert_eq!(rejected(br#"{"rejected": ["a", 1, "b"]}"#), ["a", "b"]);
        for answer in ["", "[]", "{}", "no", r#"{"rejected": "a"}"#] {
            assert!(rejected(answer.as_bytes()).is_empty(), "{answer}");
        }
    }
}
