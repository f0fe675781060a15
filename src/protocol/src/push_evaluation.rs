//! What push rules make of one event, by ruma's evaluator.
//!
//! Invariant: nothing that an event or a rule says makes the evaluator fail: what it cannot take
//! counts as matching nothing.
//! Spec: <https://spec.matrix.org/latest/client-server-api/#push-rules>

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ruma::push::{
    Action, FlattenedJson, PushCondition, PushConditionPowerLevelsCtx, PushConditionRoomCtx,
    Ruleset,
};
use ruma::serde::Raw;
use ruma::{OwnedRoomId, OwnedUserId, UInt, UserId};
use serde_json::{Map, Value, json};

use crate::pdu::Pdu;

/// Words of a message's text that are looked at: the evaluator calls itself for each of them.
const BODY_WORDS_MAX: usize = 2_000;

/// Bytes of a pattern that is compared.
const PATTERN_BYTES_MAX: usize = 1_000;

/// Question marks of a pattern: each is a state of a regular expression.
const QUESTION_MARKS_MAX: usize = 100;

/// Stands for the display name of those who have none; the empty one is in every text.
const NO_NAME: &str = "\u{e000}no display name\u{e000}";

/// What a rule tells to do about an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outcome {
    /// JSON, or empty for the two usual lists: as Synapse stores them.
    pub actions: String,
    pub is_highlight: bool,
}

/// An event in its room, ready to be compared with rules.
pub struct Evaluation {
    event: FlattenedJson,
    room: PushConditionRoomCtx,
}

impl Evaluation {
    /// `None` if the event is nested too deep for the evaluator.
    pub fn new(
        event: &Pdu,
        content: &Map<String, Value>,
        room_id: &OwnedRoomId,
        member_count: u64,
        power_levels: Option<PushConditionPowerLevelsCtx>,
    ) -> Option<Self> {
        let mut content = content.clone();
        if let Some(Value::String(body)) = content.get_mut("body") {
            shorten(body);
        }
        let event = Raw::new(&json!({
            "type": event.event_type,
            "event_id": event.event_id,
            "room_id": room_id,
            "sender": event.sender,
            "state_key": event.state_key,
            "redacts": event.redacts,
            "origin_server_ts": event.origin_server_ts,
            "content": content,
        }));
        let event = event.ok()?;
        // What cannot be read back would make the evaluator panic.
        serde_json::from_str::<Value>(event.json().get()).ok()?;
        let member_count = UInt::new_saturating(member_count);
        let nobody = UserId::parse("@nobody:invalid").ok()?;
        let mut room =
            PushConditionRoomCtx::new(room_id.clone(), member_count, nobody, NO_NAME.to_owned());
        room.power_levels = power_levels;
        Some(Self { event: FlattenedJson::from_raw(&event), room })
    }

    /// Goes on for somebody in particular.
    pub fn set_user(&mut self, user_id: OwnedUserId, display_name: Option<&str>) {
        let usable = display_name.filter(|name| !name.is_empty() && is_comparable(name));
        self.room.user_id = user_id;
        self.room.user_display_name = usable.unwrap_or(NO_NAME).to_owned();
    }

    /// What the first rule that matches tells; `None` if it is not to notify.
    pub fn outcome(&self, rules: &Ruleset) -> Option<Outcome> {
        let mut rules = rules.iter();
        let rule = rules.find(|rule| at_once(rule.applies(&self.event, &self.room)) == Some(true));
        let actions = rule?.actions().to_vec();
        actions.iter().any(Action::should_notify).then(|| Outcome::new(&actions))
    }
}

impl Outcome {
    fn new(actions: &[Action]) -> Self {
        let is_highlight = actions.iter().any(Action::is_highlight);
        let actions = actions.iter().filter_map(|action| serde_json::to_value(action).ok());
        // Actions that do nothing; the specification had them once.
        let actions: Vec<Value> =
            actions.filter(|action| *action != "dont_notify" && *action != "coalesce").collect();
        // Without a word about highlighting, there is none.
        let is_plain = actions == ["notify"] || actions == usual_actions(is_highlight);
        let actions = if is_plain { String::new() } else { Value::from(actions).to_string() };
        Self { actions, is_highlight }
    }
}

/// The actions that are stored as an empty text.
pub fn usual_actions(is_highlight: bool) -> Vec<Value> {
    match is_highlight {
        false => vec![json!("notify"), json!({ "set_tweak": "highlight", "value": false })],
        true => vec![
            json!("notify"),
            json!({ "set_tweak": "sound", "value": "default" }),
            json!({ "set_tweak": "highlight" }),
        ],
    }
}

/// Whether the evaluator can take a pattern.
fn is_comparable(pattern: &str) -> bool {
    pattern.len() <= PATTERN_BYTES_MAX && pattern.matches('?').count() <= QUESTION_MARKS_MAX
}

/// Takes the rules out that the evaluator cannot take, and those that are switched off.
pub fn retain_comparable(rules: &mut Ruleset) {
    let comparable = |conditions: &[PushCondition]| {
        conditions.iter().all(|condition| match condition {
            PushCondition::EventMatch(condition) => is_comparable(&condition.pattern),
            _ => true,
        })
    };
    rules.override_.retain(|rule| rule.enabled && comparable(&rule.conditions));
    rules.underride.retain(|rule| rule.enabled && comparable(&rule.conditions));
    rules.content.retain(|rule| rule.enabled && is_comparable(&rule.pattern));
    rules.room.retain(|rule| rule.enabled);
    rules.sender.retain(|rule| rule.enabled);
}

/// The evaluator waits only for thread subscriptions, and nobody asks it for those.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Ends a text after so many words.
fn shorten(text: &mut String) {
    let (mut words, mut in_word, mut end) = (0, false, None);
    for (index, char) in text.char_indices() {
        let is_word_char = char.is_ascii_alphanumeric() || char == '_';
        if is_word_char && !in_word {
            words += 1;
            if words > BODY_WORDS_MAX {
                end = Some(index);
                break;
            }
        }
        in_word = is_word_char;
    }
    if let Some(end) = end {
        text.truncate(end);
    }
}
