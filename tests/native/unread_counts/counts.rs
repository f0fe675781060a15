//! What notifies whom, and how receipts take it back.

use serde_json::{Value, json};

use super::house::{COMMIT, House, counts, encode};
use crate::support::{Account, Failure};

#[test]
fn messages_of_others_count_until_they_are_read() {
    let house = House::new();
    assert_eq!(house.counts(&house.bob), (0, 0));
    house.say(&house.alice, "one");
    let second = house.say(&house.alice, "two");
    assert_eq!(house.counts(&house.bob), (2, 0));
    assert_eq!(house.counts(&house.alice), (0, 0));
    house.receipt(&house.bob, "m.read", &second, json!({})).ok();
    assert_eq!(house.counts(&house.bob), (0, 0));
    let third = house.say(&house.alice, "three");
    house.say(&house.alice, "four");
    house.receipt(&house.bob, "m.read.private", &third, json!({})).ok();
    assert_eq!(house.counts(&house.bob), (1, 0));
    house.say(&house.bob, "what one says does not mark as read what others said");
    assert_eq!(house.counts(&house.bob), (1, 0));
    assert_eq!(house.counts(&house.alice), (1, 0));
}

#[test]
fn what_is_written_is_what_synapse_writes() {
    let house = House::new();
    house.say(&house.alice, "in a room of two there is a sound");
    house.mention(&house.alice, json!({"user_ids": [house.bob.user_id]}));
    let carol = house.server.register("carol");
    house.join(&carol);
    house.say(&house.alice, "hello");
    let row = |user: &Account, actions: &str, highlight: i64| {
        json!({
            "user_id": user.user_id, "actions": actions, "notif": 1, "highlight": highlight,
            "unread": 0, "thread_id": "main", "profile_tag": null,
        })
    };
    let one_to_one = json!(["notify", {"set_tweak": "sound", "value": "default"}]);
    let actions = house.actions();
    let stored: Value = serde_json::from_str(actions[0]["actions"].as_str().unwrap()).unwrap();
    assert_eq!(stored, one_to_one);
    let expected = [row(&house.bob, "", 1), row(&house.bob, "", 0), row(&carol, "", 0)];
    assert_eq!(actions[1..], expected);
    let orders = "SELECT count(*) AS n FROM event_push_actions a JOIN events e USING (event_id)
                  WHERE a.stream_ordering = e.stream_ordering
                      AND a.topological_ordering = e.topological_ordering
                      AND a.room_id = e.room_id";
    assert_eq!(house.server.rows(orders), [json!({"n": 4})]);
}

#[test]
fn mentions_names_and_the_whole_room_are_highlights() {
    let house = House::new();
    house.mention(&house.alice, json!({"user_ids": [house.bob.user_id, "@else:example.org"]}));
    assert_eq!(house.counts(&house.bob), (1, 1));
    house.say(&house.alice, "an old client asks Bob something");
    assert_eq!(house.counts(&house.bob), (2, 2));
    house.say(&house.alice, "bobsleigh is a sport");
    assert_eq!(house.counts(&house.bob), (3, 2));
    house.mention(&house.alice, json!({"room": true}));
    assert_eq!(house.counts(&house.bob), (4, 3));
    house.mention(&house.bob, json!({"room": true}));
    assert_eq!(house.counts(&house.alice), (1, 0), "bob may not notify the whole room");
    let text = json!({"msgtype": "m.text", "body": "bob: no", "m.mentions": {}});
    house.send_event(&house.alice, "m.room.message", text);
    assert_eq!(house.counts(&house.bob), (5, 3), "who mentions on purpose says so");
    let profile = format!("/_matrix/client/v3/profile/{}/displayname", house.bob.user_id);
    house.server.put(&house.bob, &profile, json!({"displayname": "Robert"})).ok();
    house.say(&house.alice, "where is robert?");
    assert_eq!(house.counts(&house.bob).1, 1, "a new membership event is a new beginning");
}

#[test]
fn events_that_are_no_messages_do_not_notify() {
    let house = House::new();
    let text = |msgtype: &str| json!({"msgtype": msgtype, "body": "beep"});
    let event_id = house.send_event(&house.alice, "m.room.message", text("m.notice"));
    let reaction = json!({"rel_type": "m.annotation", "event_id": event_id, "key": "x"});
    house.send_event(&house.alice, "m.reaction", json!({"m.relates_to": reaction}));
    let edit = json!({"rel_type": "m.replace", "event_id": event_id});
    let content = json!({"msgtype": "m.text", "body": "* beep", "m.relates_to": edit});
    house.send_event(&house.alice, "m.room.message", content);
    house.server.put(&house.alice, &house.path("state/m.room.topic"), json!({"topic": "x"})).ok();
    house.send_event(&house.alice, "com.example.custom", json!({"body": "x"}));
    assert_eq!(house.actions(), [] as [Value; 0]);
    house.send_event(
        &house.alice,
        "m.room.encrypted",
        json!({"algorithm": "m.megolm.v1.aes-sha2"}),
    );
    assert_eq!(house.counts(&house.bob), (1, 0));
}

#[test]
fn rules_and_their_changes_take_effect_with_the_next_event() {
    let house = House::new();
    house.say(&house.alice, "one");
    assert_eq!(house.counts(&house.bob), (1, 0));
    house.set_rule(&house.bob, &format!("room/{}", house.room_id), json!({"actions": []}));
    house.say(&house.alice, "two");
    assert_eq!(house.counts(&house.bob), (1, 0));
    let pattern = json!({"pattern": "cake*", "actions": ["notify", {"set_tweak": "highlight"}]});
    house.set_rule(&house.bob, "content/cake", pattern);
    house.say(&house.alice, "there are cakes");
    assert_eq!(house.counts(&house.bob), (2, 1));
    house.set_rule(&house.bob, "content/cake/enabled", json!({"enabled": false}));
    house.say(&house.alice, "more cakes");
    assert_eq!(house.counts(&house.bob), (2, 1));
    house.set_rule(&house.bob, "content/cake/enabled", json!({"enabled": true}));
    house.server.platform.restart();
    house.say(&house.alice, "even more cakes");
    assert_eq!(house.counts(&house.bob), (3, 2));
    house.set_rule(&house.bob, "override/.m.rule.master/enabled", json!({"enabled": true}));
    house.say(&house.alice, "the last of the cakes");
    assert_eq!(house.counts(&house.bob), (3, 2));
}

#[test]
fn rules_of_those_who_come_later_are_known_too() {
    let house = House::new();
    let carol = house.server.register("carol");
    let rule = json!({"actions": []});
    house.set_rule(&carol, &format!("room/{}", house.room_id), rule);
    house.say(&house.alice, "the room learns that rules have changed");
    house.join(&carol);
    assert_eq!(house.cost("cost"), 1, "their rules came with the commit of the join");
    assert_eq!(house.counts(&carol), (0, 0));
    assert_eq!(house.counts(&house.bob), (2, 0));
}

#[test]
fn a_message_costs_no_further_round_trip_and_nothing_if_nobody_is_notified() {
    let house = House::new();
    house.cost("first");
    assert_eq!(house.cost("second"), 1);
    assert_eq!(house.actions().len(), 2);
    house.set_rule(&house.bob, "override/.m.rule.master/enabled", json!({"enabled": true}));
    assert_eq!(house.cost("third"), 4, "somebody's rules have changed");
    assert_eq!(house.cost("fourth"), 1);
    assert_eq!(house.actions().len(), 2);
}

#[test]
fn each_thread_has_its_counts_and_its_receipt() {
    let house = House::new();
    let root = house.say(&house.alice, "root");
    let reply = house.say_in_thread(&house.alice, &root, "in the thread");
    let reaction = json!({"rel_type": "m.reference", "event_id": reply});
    let content = json!({"msgtype": "m.text", "body": "about it", "m.relates_to": reaction});
    house.send_event(&house.alice, "m.room.message", content);
    house.say(&house.alice, "outside");
    assert_eq!(house.threads(&house.bob), json!([counts(2, 0), {&root: counts(2, 0)}]));
    assert_eq!(house.counts(&house.bob), (4, 0));
    let last = house.say_in_thread(&house.alice, &root, "bob?");
    assert_eq!(house.threads(&house.bob), json!([counts(2, 0), {&root: counts(3, 1)}]));
    house.receipt(&house.bob, "m.read", &reply, json!({"thread_id": root})).ok();
    assert_eq!(house.threads(&house.bob), json!([counts(2, 0), {&root: counts(2, 1)}]));
    house.receipt(&house.bob, "m.read", &root, json!({"thread_id": "main"})).ok();
    assert_eq!(house.threads(&house.bob), json!([counts(1, 0), {&root: counts(2, 1)}]));
    house.receipt(&house.bob, "m.read", &last, json!({})).ok();
    assert_eq!(house.threads(&house.bob), json!([counts(0, 0), null]));
}

#[test]
fn a_receipt_is_news_to_the_readers_other_devices() {
    let house = House::new();
    let event_id = house.say(&house.alice, "one");
    let since = house.sync(&house.bob, "")["next_batch"].as_str().unwrap().to_owned();
    house.receipt(&house.bob, "m.read.private", &event_id, json!({})).ok();
    let filter = encode(r#"{"room":{"ephemeral":{"types":[]}}}"#);
    for query in [format!("since={since}"), format!("since={since}&filter={filter}")] {
        let body = house.sync(&house.bob, &query);
        let room = &body["rooms"]["join"][&house.room_id];
        assert_eq!(room["unread_notifications"], counts(0, 0), "{body}");
    }
    let others = house.sync(&house.alice, &format!("since={since}"));
    assert_eq!(others["rooms"], Value::Null);
}

#[test]
fn invitations_notify_the_invited() {
    let house = House::new();
    let carol = house.server.register("carol");
    let invite = |user: &Account| {
        let body = json!({"user_id": user.user_id});
        house.server.post(&house.alice, &house.path("invite"), body).ok();
    };
    invite(&carol);
    let rows = house.actions();
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0]["user_id"], &rows[0]["notif"]), (&json!(carol.user_id), &json!(1)));
    let list = house.server.get(&carol, "/_matrix/client/v3/notifications").ok();
    assert_eq!(list["notifications"][0]["event"]["content"]["membership"], "invite");
    house.join(&carol);
    assert_eq!(house.counts(&carol), (0, 0), "whoever joins has read the invitation");
    let dave = house.server.register("dave");
    house.set_rule(&dave, "override/.m.rule.invite_for_me/enabled", json!({"enabled": false}));
    invite(&dave);
    assert_eq!(house.actions().len(), 1);
    let options = json!({"preset": "private_chat", "invite": [house.bob.user_id, dave.user_id]});
    house.server.post(&house.alice, "/_matrix/client/v3/createRoom", options).ok();
    assert_eq!(house.actions().len(), 2);
}

#[test]
fn nobody_is_notified_by_those_whom_they_ignore() {
    let house = House::new();
    house.say(&house.alice, "one");
    let path =
        format!("/_matrix/client/v3/user/{}/account_data/m.ignored_user_list", house.bob.user_id);
    let ignored = json!({"ignored_users": {&house.alice.user_id: {}}});
    house.server.put(&house.bob, &path, ignored).ok();
    house.say(&house.alice, "two");
    assert_eq!(house.actions().len(), 1);
    house.server.put(&house.bob, &path, json!({"ignored_users": {}})).ok();
    house.say(&house.alice, "three");
    assert_eq!(house.actions().len(), 2);
}

#[test]
fn what_is_redacted_is_unread_no_longer() {
    let house = House::new();
    let event_id = house.say(&house.alice, "oops");
    house.say(&house.alice, "two");
    house.server.put(&house.alice, &house.path(&format!("redact/{event_id}/r")), json!({})).ok();
    assert_eq!(house.counts(&house.bob), (1, 0));
}

#[test]
fn whoever_has_left_is_not_notified() {
    let house = House::new();
    house.server.post(&house.bob, &house.path("leave"), json!({})).ok();
    house.say(&house.alice, "now that bob is gone");
    assert_eq!(house.actions(), [] as [Value; 0]);
    house.join(&house.bob);
    assert_eq!(house.counts(&house.bob), (0, 0));
    house.say(&house.alice, "welcome back");
    assert_eq!(house.counts(&house.bob), (1, 0));
}

#[test]
fn an_event_and_its_count_land_together_or_not_at_all() {
    for failure in [Failure::BeforeLanding, Failure::AfterLanding] {
        let house = House::new();
        house.say(&house.alice, "one");
        house.server.platform.sqlite.fail_next(COMMIT, failure);
        house.say(&house.alice, "two");
        assert_eq!(house.server.platform.sqlite.planned_failures(), 0);
        assert_eq!(house.counts(&house.bob), (2, 0), "{failure:?}");
        for _ in 0..3 {
            house.server.platform.sqlite.fail_next(COMMIT, Failure::BeforeLanding);
        }
        let path = house.path("send/m.room.message/lost");
        let lost = house.server.put(&house.alice, &path, json!({"msgtype": "m.text", "body": "x"}));
        lost.error(500, "M_UNKNOWN");
        assert_eq!(house.counts(&house.bob), (2, 0));
        assert_eq!(house.actions().len(), 2);
    }
}
