//! Who is notified, by the rules of the specification and by those of users.

use ruma::owned_server_name;
use ruma::power_levels::NotificationPowerLevels;
use serde_json::{Value, json};

use super::*;
use crate::push_rules::UserRule;
use crate::test_room::{ALICE, BOB, CAROL, TestRoom};

const DAVE: &str = "@dave:one.test";

fn user(id: &str) -> OwnedUserId {
    id.try_into().unwrap()
}

/// A room with its audience on `one.test`; Carol is of another server.
struct Hall {
    room: TestRoom,
    audience: Audience,
}

impl Hall {
    fn new(members: &[&str]) -> Self {
        let mut room = TestRoom::public("11");
        let room_id = room.room_id.clone().unwrap();
        let mut audience = Audience::new(room_id, owned_server_name!("one.test"));
        for member in members {
            let content = json!({"membership": "join", "displayname": name_of(member)});
            let event = room.state(member, "m.room.member", member, content).unwrap();
            audience.apply(&event);
        }
        Self { room, audience }
    }

    fn set(&mut self, user_id: &str, rules: &[(&str, Value, Value)]) {
        let rules = rules.iter().map(|(id, conditions, actions)| UserRule {
            scoped_rule_id: (*id).to_owned(),
            conditions: conditions.to_string(),
            actions: actions.to_string(),
        });
        let settings = UserSettings { rules: rules.collect(), enabled: Vec::new() };
        self.audience.set_settings(&user(user_id), settings);
    }

    fn event(
        &self,
        sender: &str,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> Pdu {
        self.room.build(sender, event_type, state_key, content, None).unwrap()
    }

    /// Who is notified, and who of them with a highlight.
    fn notified(&self, event: &Pdu) -> (Vec<String>, Vec<String>) {
        let (mut all, mut highlighted) = (Vec::new(), Vec::new());
        let levels =
            || PowerLevels::of_state(&self.room.rules, |kind, key| self.room.get(kind, key));
        for notice in self.audience.notices(event, levels) {
            let users = notice.user_ids.iter().map(|id| id.localpart().to_owned());
            all.extend(users.clone());
            highlighted.extend(users.filter(|_| notice.outcome.is_highlight));
        }
        all.sort();
        highlighted.sort();
        (all, highlighted)
    }

    fn said(&self, sender: &str, content: Value) -> (Vec<String>, Vec<String>) {
        self.notified(&self.event(sender, "m.room.message", None, content))
    }
}

fn name_of(user_id: &str) -> String {
    let localpart = user(user_id).localpart().to_owned();
    format!("{}{} Smith", localpart[..1].to_uppercase(), &localpart[1..])
}

fn names(all: &[&str], highlighted: &[&str]) -> (Vec<String>, Vec<String>) {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    (owned(all), owned(highlighted))
}

fn text(body: &str) -> Value {
    json!({"msgtype": "m.text", "body": body})
}

#[test]
fn everyone_here_but_the_sender_is_notified_of_a_message() {
    let hall = Hall::new(&[ALICE, BOB, CAROL, DAVE]);
    assert_eq!(hall.said(ALICE, text("hello")), names(&["bob", "dave"], &[]));
    assert_eq!(hall.said(CAROL, text("hello")), names(&["alice", "bob", "dave"], &[]));
    let notice = json!({"msgtype": "m.notice", "body": "hello bob"});
    assert_eq!(hall.said(ALICE, notice), names(&[], &[]));
}

#[test]
fn a_name_is_a_word_of_the_text() {
    let hall = Hall::new(&[ALICE, BOB, DAVE]);
    for body in ["BOB!", "ask bob", "Bob Smith?", "(bob)"] {
        assert_eq!(hall.said(ALICE, text(body)), names(&["bob", "dave"], &["bob"]), "{body}");
    }
    for body in ["bobby", "", "b ob", "\u{e000}no display name\u{e000}", "anybody", "nobody"] {
        assert_eq!(hall.said(ALICE, text(body)), names(&["bob", "dave"], &[]), "{body}");
    }
    let without_text = json!({"msgtype": "m.text", "body": ["bob"]});
    assert_eq!(hall.said(ALICE, without_text), names(&["bob", "dave"], &[]));
}

#[test]
fn mentions_with_intent_take_the_place_of_names() {
    let hall = Hall::new(&[ALICE, BOB, DAVE]);
    let mention = |mentions: Value| json!({"body": "bob", "m.mentions": mentions});
    let said = |mentions: Value| hall.said(ALICE, mention(mentions));
    assert_eq!(said(json!({"user_ids": [DAVE]})), names(&["bob", "dave"], &["dave"]));
    assert_eq!(said(json!({"user_ids": ["@anybody:invalid", "@nobody:invalid", 3]})).1, [""; 0]);
    assert_eq!(said(json!({"room": true})).1, ["bob", "dave"]);
    assert_eq!(hall.said(BOB, mention(json!({"room": true}))).1, [""; 0]);
    for odd in [json!(3), json!({"user_ids": DAVE}), json!({"room": "true"}), json!(null)] {
        assert_eq!(said(odd.clone()).1, [""; 0], "{odd}");
    }
}

#[test]
fn the_power_to_notify_everyone_is_that_of_the_room() {
    let mut hall = Hall::new(&[ALICE, BOB, DAVE]);
    assert_eq!(NotificationPowerLevels::new().room, ruma::int!(50));
    assert_eq!(hall.said(ALICE, text("@room")).1, ["bob", "dave"]);
    assert_eq!(hall.said(BOB, text("@room")).1, [""; 0]);
    let levels = json!({"users": {ALICE: 100}, "notifications": {"room": 0}});
    hall.room.state(ALICE, "m.room.power_levels", "", levels).unwrap();
    assert_eq!(hall.said(BOB, text("@room")).1, ["alice", "dave"]);
}

#[test]
fn a_room_of_two_is_counted_over_all_servers() {
    let sound = |hall: &Hall| {
        let event = hall.event(ALICE, "m.room.message", None, text("hi"));
        let notices = hall.audience.notices(&event, || None);
        notices[0].outcome.actions.contains("sound")
    };
    assert!(sound(&Hall::new(&[ALICE, BOB])));
    let mut hall = Hall::new(&[ALICE, BOB, CAROL]);
    assert!(!sound(&hall));
    let left = hall.room.membership(CAROL, CAROL, "leave").unwrap();
    hall.audience.apply(&left);
    assert!(sound(&hall));
}

#[test]
fn a_membership_concerns_the_one_whose_it_is() {
    let mut hall = Hall::new(&[ALICE, BOB]);
    let member = |hall: &Hall, sender: &str, target: &str, membership: &str| {
        let content = json!({"membership": membership});
        hall.notified(&hall.event(sender, "m.room.member", Some(target), content))
    };
    assert_eq!(member(&hall, ALICE, DAVE, "invite"), names(&["dave"], &[]));
    assert_eq!(member(&hall, ALICE, "@eve:two.test", "invite"), names(&[], &[]));
    assert_eq!(member(&hall, ALICE, DAVE, "ban"), names(&[], &[]));
    assert_eq!(member(&hall, DAVE, DAVE, "join"), names(&[], &[]));
    assert_eq!(member(&hall, ALICE, BOB, "leave"), names(&[], &[]));
    let kicked = json!([{"kind": "event_match", "key": "content.membership", "pattern": "leave"}]);
    hall.set(BOB, &[("global/override/kicked", kicked, json!(["notify"]))]);
    assert_eq!(member(&hall, ALICE, BOB, "leave"), names(&["bob"], &[]));
    hall.set(DAVE, &[("global/override/.m.rule.invite_for_me", json!([]), json!([]))]);
    assert_eq!(member(&hall, ALICE, DAVE, "invite"), names(&[], &[]));
}

#[test]
fn rules_of_every_kind_and_condition_are_compared() {
    let highlight = json!(["notify", {"set_tweak": "highlight"}]);
    let of = |kind: &str, conditions: Value| {
        let mut hall = Hall::new(&[ALICE, BOB, DAVE]);
        hall.set(BOB, &[(kind, conditions, highlight.clone())]);
        let content = json!({
            "body": "there is cake for dave", "msgtype": "m.text", "n": 3, "list": ["a", 1],
        });
        let (all, highlighted) = hall.said(ALICE, content);
        assert_eq!(all, ["bob", "dave"]);
        highlighted.contains(&"bob".to_owned())
    };
    let one = |condition: Value| of("global/override/x", json!([condition]));
    let matching = |key: &str, pattern: &str| {
        one(json!({"kind": "event_match", "key": key, "pattern": pattern}))
    };
    assert!(matching("content.body", "c?k*") && matching("type", "m.room.*"));
    assert!(matching("sender", ALICE) && !matching("content.body", "cak"));
    assert!(one(json!({"kind": "event_property_is", "key": "content.n", "value": 3})));
    assert!(!one(json!({"kind": "event_property_is", "key": "content.n", "value": "3"})));
    let contains = |value: Value| {
        one(json!({"kind": "event_property_contains", "key": "content.list", "value": value}))
    };
    assert!(contains(json!("a")) && contains(json!(1)) && !contains(json!("b")));
    assert!(one(json!({"kind": "room_member_count", "is": ">=3"})));
    assert!(!one(json!({"kind": "room_member_count", "is": "2"})));
    assert!(one(json!({"kind": "sender_notification_permission", "key": "room"})));
    assert!(!one(json!({"kind": "contains_display_name"})));
    assert!(!one(json!({"kind": "of_another_world"})));
    let pattern = json!([{"kind": "event_match", "key": "content.body", "pattern": "cake"}]);
    assert!(of("global/content/cake", pattern));
    assert!(of(&format!("global/sender/{ALICE}"), json!([])));
    assert!(!of(&format!("global/sender/{DAVE}"), json!([])));
    assert!(!of("global/room/!other:one.test", json!([])));
    assert!(of("global/underride/x", json!([])), "before the defaults of its kind");
}

#[test]
fn a_rule_of_ones_own_may_ask_for_the_name_despite_mentions() {
    let mut hall = Hall::new(&[ALICE, BOB, DAVE]);
    let name = json!([{"kind": "contains_display_name"}]);
    hall.set(BOB, &[("global/override/x", name, json!(["notify", {"set_tweak": "highlight"}]))]);
    let said = json!({"body": "bob smith and dave smith", "m.mentions": {}});
    assert_eq!(hall.said(ALICE, said).1, ["bob"]);
}

#[test]
fn people_with_the_same_rules_are_one_class() {
    let mut hall = Hall::new(&[ALICE, BOB, DAVE]);
    hall.set(BOB, &[("global/room/!other:one.test", json!([]), json!([]))]);
    assert_eq!(hall.audience.classes.len(), 1, "rules for other rooms make no difference");
    let here = format!("global/room/{}", hall.audience.room_id);
    for member in [BOB, DAVE] {
        hall.set(member, &[(&here, json!([]), json!([]))]);
    }
    assert_eq!(hall.audience.classes.len(), 2);
    assert_eq!(hall.said(ALICE, text("hello")), names(&[], &[]));
    for n in 0..500 {
        let sender = format!("global/sender/@spammer{n}:one.test");
        hall.set(BOB, &[(&sender, json!([]), json!([]))]);
    }
    assert!(hall.audience.classes.len() <= 110);
    assert_eq!(hall.said(ALICE, text("hello")), names(&["bob"], &[]), "and dave's rule stays");
}

#[test]
fn nothing_that_anyone_says_makes_it_fail() {
    let mut hall = Hall::new(&[ALICE, BOB, DAVE]);
    let patterns = ["?".repeat(60_000), "a".repeat(60_000), "?*".repeat(400), "[(\\".to_owned()];
    for pattern in patterns {
        let match_ = json!([{"kind": "event_match", "key": "content.body", "pattern": pattern}]);
        hall.set(
            BOB,
            &[
                ("global/override/x", match_.clone(), json!([])),
                ("global/content/x", match_, json!([])),
            ],
        );
        for body in ["bob a1 ".repeat(8_000), "?".repeat(60_000), "é".repeat(20_000)] {
            assert!(hall.said(ALICE, text(&body)).0.contains(&"dave".to_owned()));
        }
    }
    let member = json!({"membership": "join", "displayname": "?".repeat(50_000)});
    let event = hall.room.state(DAVE, "m.room.member", DAVE, member).unwrap();
    hall.audience.apply(&event);
    let short_name = json!({"membership": "join", "displayname": "a"});
    let event = hall.room.state(BOB, "m.room.member", BOB, short_name).unwrap();
    hall.audience.apply(&event);
    let long = "a1 ".repeat(20_000);
    assert_eq!(hall.said(ALICE, text(&long)), names(&["bob", "dave"], &[]));
    assert_eq!(hall.said(ALICE, text("a")), names(&["bob", "dave"], &["bob"]));
    let mut deep = json!("bob");
    for _ in 0..100 {
        deep = json!([deep]);
    }
    assert_eq!(hall.said(ALICE, json!({"body": "x", "deep": deep})), names(&["bob", "dave"], &[]));
}
