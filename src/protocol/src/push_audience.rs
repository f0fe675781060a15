//! Who of a room's local members is to be notified of an event.
//!
//! Most people have the same rules, so members are sorted into classes, and an event is compared
//! once with the rules of each class. Only those for whom it matters who they are, because the
//! event mentions them or has their name in its text, are looked at one by one.
//!
//! Spec: <https://spec.matrix.org/latest/client-server-api/#push-rules>

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ruma::events::TimelineEventType;
use ruma::events::room::member::MembershipState;
use ruma::push::Ruleset;
use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId, UserId};
use serde_json::{Map, Value};

use crate::pdu::Pdu;
use crate::push_evaluation::{Evaluation, Outcome, retain_comparable};
use crate::push_rules::{UserSettings, rules_of};
use crate::room_state::{Member, PowerLevels};

/// The default rules that match only because of who somebody is.
const PERSONAL_RULES: [&str; 4] = [
    ".m.rule.invite_for_me",
    ".m.rule.is_user_mention",
    ".m.rule.contains_display_name",
    ".m.rule.contains_user_name",
];

/// For whom the rules of a class are made, without the personal ones.
const ANYBODY: &str = "@anybody:invalid";

/// Users who are notified in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub outcome: Outcome,
    pub user_ids: Vec<OwnedUserId>,
}

/// Everybody who has set the same.
struct Class {
    settings: UserSettings,
    rules: Ruleset,
    /// Somebody's own rule asks for the display name.
    asks_for_names: bool,
}

/// A joined local member.
struct Listener {
    class: usize,
    display_name: Option<String>,
    /// What is looked for in texts: the name in small letters, and the localpart.
    name: Option<Word>,
    localpart: Word,
}

struct Word {
    text: String,
    has_wildcards: bool,
}

impl Word {
    fn new(text: &str) -> Self {
        Self { text: text.to_lowercase(), has_wildcards: text.contains(['*', '?']) }
    }

    /// Whether a text may have this word in it.
    fn may_be_in(&self, text: &str) -> bool {
        self.has_wildcards || text.contains(&self.text)
    }
}

/// The local members of a room with their rules, and how many there are with those elsewhere.
pub struct Audience {
    room_id: OwnedRoomId,
    server_name: OwnedServerName,
    listeners: BTreeMap<OwnedUserId, Listener>,
    remote: HashSet<String>,
    /// The first is of those who have set nothing.
    classes: Vec<Class>,
    class_of_settings: HashMap<UserSettings, usize>,
    /// Of those who have set something.
    class_of_user: HashMap<OwnedUserId, usize>,
}

impl Audience {
    pub fn new(room_id: OwnedRoomId, server_name: OwnedServerName) -> Self {
        let mut audience = Self {
            room_id,
            server_name,
            listeners: BTreeMap::new(),
            remote: HashSet::new(),
            classes: Vec::new(),
            class_of_settings: HashMap::new(),
            class_of_user: HashMap::new(),
        };
        audience.class(UserSettings::default());
        audience
    }

    /// Takes what somebody has set, a member or not.
    pub fn set_settings(&mut self, user_id: &UserId, mut settings: UserSettings) {
        settings.retain_room(&self.room_id);
        let class = self.class(settings);
        if class == 0 {
            self.class_of_user.remove(user_id);
        } else {
            self.class_of_user.insert(user_id.to_owned(), class);
        }
        if let Some(listener) = self.listeners.get_mut(user_id) {
            listener.class = class;
        }
        // Changed settings leave classes behind.
        if self.classes.len() > 100 + 2 * self.listeners.len() {
            self.drop_unused_classes();
        }
    }

    fn class(&mut self, settings: UserSettings) -> usize {
        if let Some(class) = self.class_of_settings.get(&settings) {
            return *class;
        }
        let anybody = UserId::parse(ANYBODY).map(|anybody| compile(&anybody, &settings));
        let mut rules = anybody.unwrap_or_default();
        rules.override_.retain(|rule| !PERSONAL_RULES.contains(&rule.rule_id.as_str()));
        rules.content.retain(|rule| !PERSONAL_RULES.contains(&rule.rule_id.as_str()));
        let asks_for_names = settings.rules.iter().any(|rule| rule.asks_for_names());
        self.class_of_settings.insert(settings.clone(), self.classes.len());
        self.classes.push(Class { settings, rules, asks_for_names });
        self.classes.len() - 1
    }

    fn drop_unused_classes(&mut self) {
        let (room_id, server_name) = (self.room_id.clone(), self.server_name.clone());
        let old = std::mem::replace(self, Self::new(room_id, server_name));
        (self.listeners, self.remote) = (old.listeners, old.remote);
        let members = |user_id: &OwnedUserId| self.listeners.contains_key(user_id);
        let kept: Vec<_> = old.class_of_user.into_iter().filter(|(id, _)| members(id)).collect();
        for (user_id, class) in kept {
            let class = self.class(old.classes[class].settings.clone());
            if let Some(listener) = self.listeners.get_mut(&user_id) {
                listener.class = class;
            }
            self.class_of_user.insert(user_id, class);
        }
    }

    /// Follows a membership event; passes over all others.
    pub fn apply(&mut self, event: &Pdu) {
        if event.event_type != TimelineEventType::RoomMember {
            return;
        }
        let user_id = event.state_key.as_deref().and_then(|key| UserId::parse(key).ok());
        let (Some(user_id), Some(member)) = (user_id, Member::of(event)) else { return };
        let is_joined = member.membership == MembershipState::Join;
        if user_id.server_name() != self.server_name {
            match is_joined {
                true => self.remote.insert(user_id.to_string()),
                false => self.remote.remove(user_id.as_str()),
            };
        } else if is_joined {
            let listener = self.listener(&user_id, member.displayname);
            self.listeners.insert(user_id, listener);
        } else {
            self.listeners.remove(&user_id);
        }
    }

    fn listener(&self, user_id: &UserId, display_name: Option<String>) -> Listener {
        Listener {
            class: self.class_of_user.get(user_id).copied().unwrap_or(0),
            name: display_name.as_deref().filter(|name| !name.is_empty()).map(Word::new),
            localpart: Word::new(user_id.localpart()),
            display_name,
        }
    }

    /// Who is to be notified of an event that is not applied yet.
    pub fn notices(
        &self,
        event: &Pdu,
        power_levels: impl FnOnce() -> Option<PowerLevels>,
    ) -> Vec<Notice> {
        let is_membership = event.event_type == TimelineEventType::RoomMember;
        let others = self.listeners.keys().any(|user_id| *user_id != event.sender);
        if !others && !is_membership {
            return Vec::new();
        }
        let Some(content) = event.content_as::<Map<String, Value>>() else { return Vec::new() };
        let power_levels = power_levels().map(|levels| levels.push_context());
        let count = (self.listeners.len() + self.remote.len()) as u64;
        let evaluation = Evaluation::new(event, &content, &self.room_id, count, power_levels);
        let Some(mut evaluation) = evaluation else { return Vec::new() };
        let mut notices = BTreeMap::new();
        if is_membership {
            self.notify_target(event, &mut evaluation, &mut notices);
        } else {
            self.notify_members(event, &content, evaluation, &mut notices);
        }
        let notice = |(outcome, user_ids)| Notice { outcome, user_ids };
        notices.into_iter().map(notice).collect()
    }

    /// A change of membership concerns the one whose it is, who is in the room or invited to it:
    /// Synapse asks nobody else's rules.
    fn notify_target(&self, event: &Pdu, evaluation: &mut Evaluation, notices: &mut Notices) {
        let target = event.state_key.as_deref().and_then(|key| UserId::parse(key).ok());
        let (Some(target), Some(member)) = (target, Member::of(event)) else { return };
        if target == event.sender || target.server_name() != self.server_name {
            return;
        }
        let known = self.listeners.get(&target);
        if known.is_none() && member.membership != MembershipState::Invite {
            return;
        }
        let name = known.and_then(|listener| listener.display_name.clone());
        let class = self.class_of_user.get(&target).copied().unwrap_or(0);
        let rules = compile(&target, &self.classes[class].settings);
        evaluation.set_user(target.clone(), name.or(member.displayname).as_deref());
        if let Some(outcome) = evaluation.outcome(&rules) {
            notices.entry(outcome).or_default().push(target);
        }
    }

    fn notify_members(
        &self,
        event: &Pdu,
        content: &Map<String, Value>,
        mut evaluation: Evaluation,
        notices: &mut Notices,
    ) {
        let of_classes: Vec<Option<Outcome>> =
            self.classes.iter().map(|class| evaluation.outcome(&class.rules)).collect();
        let named = self.named(content);
        for (user_id, listener) in &self.listeners {
            if *user_id == event.sender {
                continue;
            }
            let outcome = if named.contains(&**user_id) {
                let rules = compile(user_id, &self.classes[listener.class].settings);
                evaluation.set_user(user_id.clone(), listener.display_name.as_deref());
                evaluation.outcome(&rules)
            } else {
                of_classes[listener.class].clone()
            };
            if let Some(outcome) = outcome {
                notices.entry(outcome).or_default().push(user_id.clone());
            }
        }
    }

    /// The members for whom it may matter who they are.
    fn named(&self, content: &Map<String, Value>) -> BTreeSet<&UserId> {
        let mentions = content.get("m.mentions");
        let user_ids = mentions.and_then(|mentions| mentions.get("user_ids")?.as_array());
        let user_ids = user_ids.into_iter().flatten().filter_map(Value::as_str);
        let user_ids = user_ids.filter_map(|id| <&UserId>::try_from(id).ok());
        let member = |id: &UserId| self.listeners.get_key_value(id).map(|(id, _)| &**id);
        let mut named: BTreeSet<&UserId> = user_ids.filter_map(member).collect();
        let text = content.get("body").and_then(Value::as_str);
        // Who mentions with intent does not mention by writing names.
        let looks_for_names =
            mentions.is_none() || self.classes.iter().any(|class| class.asks_for_names);
        if let Some(text) = text.filter(|_| looks_for_names) {
            let text = text.to_lowercase();
            let is_in = |word: &Word| word.may_be_in(&text);
            let in_text = self.listeners.iter().filter(|(_, listener)| {
                listener.name.as_ref().is_some_and(is_in) || is_in(&listener.localpart)
            });
            named.extend(in_text.map(|(user_id, _)| &**user_id));
        }
        named
    }
}

type Notices = BTreeMap<Outcome, Vec<OwnedUserId>>;

/// The rules that are in force for somebody, as far as they can be compared.
fn compile(user_id: &UserId, settings: &UserSettings) -> Ruleset {
    let mut rules = rules_of(user_id, &settings.rules, settings.enabled.iter().cloned());
    retain_comparable(&mut rules);
    rules
}

#[cfg(test)]
#[path = "push_audience_tests.rs"]
mod tests;
