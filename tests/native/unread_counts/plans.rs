//! Nothing here walks through a table of all users, rooms or events.

use myelin::storage::database::Statement;
use myelin::storage::event_push_actions::{self, NoticeRow};
use myelin::storage::{event_push_counts, event_push_summary, push_queue, push_rules};
use ruma::{room_id, user_id};
use serde_json::Value;

use super::house::House;

/// What is no table, lists of ours, tables of one row, and what has been picked by index.
const SMALL: [&str; 12] = [
    "CONSTANT",
    "reached",
    "n",
    "rooms",
    "actions",
    "places",
    "p",
    "counted",
    "u",
    "related",
    "event_push_summary_stream_ordering",
    "event_push_summary_last_receipt_stream_id",
];

fn plan(house: &House, statement: &Statement) -> Vec<String> {
    let explain = Statement {
        values: statement.values.clone(),
        ..Statement::new(format!("EXPLAIN QUERY PLAN {}", statement.sql))
    };
    let results = house.server.platform.sqlite.batch(&[explain]).unwrap();
    let rows: Vec<Value> = results[0].rows().unwrap();
    rows.iter().map(|row| row["detail"].as_str().unwrap().to_owned()).collect()
}

fn walks(house: &House, statement: &Statement) -> Vec<String> {
    let is_walk = |step: &String| {
        let mut words = step.split(' ');
        let is_scan = words.next() == Some("SCAN") && !step.contains("VIRTUAL TABLE");
        let name = words.next().unwrap_or_default();
        step.contains("AUTOMATIC")
            || (is_scan && !name.starts_with("(subquery-") && !SMALL.contains(&name))
    };
    plan(house, statement).into_iter().filter(is_walk).collect()
}

#[test]
fn everything_is_found_by_index() {
    let house = House::new();
    let (user_id, room_id) = (user_id!("@a:example.org"), room_id!("!a:example.org"));
    let notice = NoticeRow {
        event_id: "$a",
        sender: "@b:example.org",
        depth: 1,
        from_newest: 0,
        actions: "",
        highlight: false,
        relates_to: Some("$b".to_owned()),
        is_threaded: false,
        can_be_ignored: true,
        users: &[user_id.to_owned()],
    };
    let mut statements = vec![
        event_push_counts::select(user_id, &[room_id.to_owned()]),
        event_push_actions::insert(room_id.as_str(), &[notice]),
        event_push_actions::delete_of_events(room_id.as_str(), &["$a"]),
        event_push_actions::select_notifications("@a:example.org", Some(9), true, 50),
        event_push_summary::select_new_receipts(),
        event_push_summary::select_old_events(9),
    ];
    statements.extend(event_push_summary::follow_receipts(1, 2).into_iter().skip(1));
    statements.extend(event_push_summary::sum_up(1, 2).into_iter().skip(1));
    statements.extend(push_rules::select_of_members(room_id));
    statements.extend(push_rules::select_of_changed_members(room_id, 1));
    statements.extend(push_rules::select_of_users(&[user_id]));
    statements.extend([
        event_push_counts::select_badge(user_id),
        push_queue::select_pushed(room_id.as_str(), &["$a"]),
        push_queue::select_user(user_id),
        push_queue::select_destinations(user_id),
        push_queue::select_oldest(user_id, None),
        push_queue::select_newest(user_id, 9),
    ]);
    statements.extend(push_queue::select_details(user_id, room_id.as_str(), "$a"));
    for statement in statements {
        let found = walks(&house, &statement);
        assert_eq!(found, [""; 0], "{}\n{:#?}", statement.sql, plan(&house, &statement));
    }
}

#[test]
fn counting_begins_where_reading_has_ended() {
    let house = House::new();
    let select = event_push_counts::select(
        user_id!("@a:example.org"),
        &[room_id!("!a:example.org").to_owned()],
    );
    let range = "USING INDEX myelin_event_push_actions_unread \
                 (user_id=? AND room_id=? AND stream_ordering>?)";
    let plan = plan(&house, &select);
    assert!(plan.iter().any(|step| step.contains(range)), "{plan:#?}");
}
