//! What a message writes in rooms of 2, 20 and 1,000 members.

use futures_util::future::join_all;
use myelin::context::Platform;
use myelin::durable::{ChangeMembership, MembershipAction, RoomCommand};
use myelin::storage::push_rule_changes;
use ruma::{OwnedUserId, RoomId};
use serde_json::json;
use serde_json::value::to_raw_value;

use super::house::House;

fn member(index: usize) -> OwnedUserId {
    format!("@member{index}:example.org").try_into().unwrap()
}

/// Lets so many join besides Alice and Bob.
fn fill(house: &House, count: usize) {
    let room_id = RoomId::parse(&house.room_id).unwrap();
    let join = |index: usize| {
        RoomCommand::ChangeMembership(ChangeMembership {
            action: MembershipAction::Join,
            sender: member(index),
            target: member(index),
            content: to_raw_value(&json!({"displayname": format!("Member {index}")})).unwrap(),
            sender_is_guest: false,
            transaction: None,
            delayed: None,
        })
    };
    let commands: Vec<_> = (0..count).map(join).collect();
    let platform = house.server.platform.clone();
    house.server.run(async move {
        for group in commands.chunks(50) {
            let joins = group.iter().map(|join| platform.room(&room_id, join.clone()));
            assert!(join_all(joins).await.iter().all(Result::is_ok));
        }
    });
}

/// Rows of a message, those of the notified counted for themselves.
fn rows_of_a_message(house: &House) -> (i64, i64) {
    let all = "SELECT total_changes() AS n";
    let count = |sql: &'static str| house.server.rows(sql)[0]["n"].as_i64().unwrap();
    let actions = "SELECT count(*) AS n FROM event_push_actions";
    let (rows_before, actions_before) = (count(all), count(actions));
    house.say(&house.alice, "hello");
    let notified = count(actions) - actions_before;
    (count(all) - rows_before - notified, notified)
}

#[test]
fn a_message_writes_one_row_for_each_notified_member_and_none_for_the_others() {
    let house = House::new();
    house.say(&house.alice, "the first");
    let (base, notified) = rows_of_a_message(&house);
    assert_eq!(notified, 1);
    fill(&house, 18);
    assert_eq!(rows_of_a_message(&house), (base, 19));
    fill(&house, 998);
    assert_eq!(rows_of_a_message(&house), (base, 999));
    let off = (0..500).flat_map(|index| {
        let rule_id = "global/override/.m.rule.master";
        push_rule_changes::set_enabled(&member(index), rule_id, true)
    });
    house.server.platform.sqlite.batch(&off.collect::<Vec<_>>()).unwrap();
    assert_eq!(rows_of_a_message(&house), (base, 499));
    house.server.platform.restart();
    assert_eq!(rows_of_a_message(&house).1, 499, "a room that has been loaded anew");
    assert_eq!(rows_of_a_message(&house), (base, 499));
    house.mention(&house.alice, json!({"user_ids": [member(0), member(700)]}));
    let highlights = house.server.rows("SELECT user_id FROM event_push_actions WHERE highlight");
    assert_eq!(highlights, [json!({"user_id": member(700)})]);
}

#[test]
fn each_row_costs_three_as_the_platform_counts() {
    let house = House::new();
    let indexes = house.server.rows("SELECT name FROM pragma_index_list('event_push_actions')");
    assert_eq!(indexes.len(), 2, "the row and two entries");
}
