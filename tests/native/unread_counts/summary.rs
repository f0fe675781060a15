//! Old actions are summed up, read ones are thrown away: nobody's counts change by it.

use serde_json::{Value, json};

use super::house::{House, counts};
use crate::support::Failure;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn sweep(house: &House) {
    let context = house.server.platform.context();
    house.server.run(async move { myelin::sweep::run(&context).await });
}

fn sweep_a_day_later(house: &House) {
    house.server.platform.advance(DAY_MS + 1);
    sweep(house);
}

fn summaries(house: &House) -> Vec<Value> {
    let sql = "SELECT user_id, thread_id, notif_count, unread_count FROM event_push_summary
               ORDER BY user_id, thread_id";
    house.server.rows(sql)
}

fn summary(house: &House, thread_id: &str, notif_count: i64) -> Value {
    json!({
        "user_id": house.bob.user_id, "thread_id": thread_id, "notif_count": notif_count,
        "unread_count": 0,
    })
}

fn number(house: &House, sql: &'static str) -> Value {
    house.server.rows(sql)[0]["n"].clone()
}

#[test]
fn what_is_a_day_old_is_summed_up_and_counts_as_before() {
    let house = House::new();
    house.say(&house.alice, "one");
    house.say(&house.alice, "bob, two");
    sweep(&house);
    assert_eq!(house.actions().len(), 2, "it is of today");
    assert_eq!(summaries(&house), [] as [Value; 0]);
    sweep_a_day_later(&house);
    assert_eq!(house.actions().len(), 1, "the highlight stays");
    assert_eq!(summaries(&house), [summary(&house, "main", 2)]);
    assert_eq!(house.counts(&house.bob), (2, 1));
    sweep(&house);
    house.say(&house.alice, "three");
    assert_eq!(house.counts(&house.bob), (3, 1));
    sweep_a_day_later(&house);
    assert_eq!(summaries(&house), [summary(&house, "main", 3)]);
    assert_eq!(house.counts(&house.bob), (3, 1));
    let newest = number(&house, "SELECT max(stream_ordering) AS n FROM events");
    let sql = "SELECT stream_ordering AS n FROM event_push_summary_stream_ordering";
    assert_eq!(number(&house, sql), newest);
}

#[test]
fn a_receipt_empties_the_summary() {
    let house = House::new();
    house.say(&house.alice, "bob, one");
    let second = house.say(&house.alice, "two");
    sweep_a_day_later(&house);
    house.say(&house.alice, "three");
    house.receipt(&house.bob, "m.read", &second, json!({})).ok();
    assert_eq!(house.counts(&house.bob), (1, 0), "before the receipt has been followed");
    sweep(&house);
    assert_eq!(house.counts(&house.bob), (1, 0));
    assert_eq!(summaries(&house), [summary(&house, "main", 0)]);
    let place = house.server.rows(
        "SELECT s.last_receipt_stream_ordering = r.event_stream_ordering AS n
         FROM event_push_summary s JOIN receipts_linearized r USING (user_id, room_id)",
    );
    assert_eq!(place, [json!({"n": 1})]);
    let newest = number(&house, "SELECT max(stream_id) AS n FROM receipts_linearized");
    let sql = "SELECT stream_id AS n FROM event_push_summary_last_receipt_stream_id";
    assert_eq!(number(&house, sql), newest);
    sweep_a_day_later(&house);
    assert_eq!(summaries(&house), [summary(&house, "main", 1)]);
    assert_eq!(house.counts(&house.bob), (1, 0));
}

#[test]
fn what_has_been_read_is_thrown_away_by_the_next_sweep() {
    let house = House::new();
    house.say(&house.alice, "bob, one");
    house.say(&house.alice, "two");
    let third = house.say(&house.alice, "three");
    house.say(&house.alice, "four");
    house.receipt(&house.bob, "m.read.private", &third, json!({})).ok();
    sweep(&house);
    assert_eq!(house.actions().len(), 2, "the highlight and what is unread");
    assert_eq!(house.counts(&house.bob), (1, 0));
}

#[test]
fn threads_are_summed_up_and_read_for_themselves() {
    let house = House::new();
    let root = house.say(&house.alice, "root");
    let first = house.say_in_thread(&house.alice, &root, "one");
    house.say_in_thread(&house.alice, &root, "two");
    sweep_a_day_later(&house);
    assert_eq!(house.threads(&house.bob), json!([counts(1, 0), {&root: counts(2, 0)}]));
    house.receipt(&house.bob, "m.read", &root, json!({"thread_id": "main"})).ok();
    assert_eq!(house.threads(&house.bob), json!([counts(0, 0), {&root: counts(2, 0)}]));
    sweep(&house);
    assert_eq!(house.threads(&house.bob), json!([counts(0, 0), {&root: counts(2, 0)}]));
    // Of what has been thrown away nobody knows where it was: the rest of the thread is read too.
    house.receipt(&house.bob, "m.read", &first, json!({"thread_id": root})).ok();
    assert_eq!(house.threads(&house.bob), json!([counts(0, 0), null]));
    house.say_in_thread(&house.alice, &root, "three");
    sweep(&house);
    assert_eq!(house.threads(&house.bob), json!([counts(0, 0), {&root: counts(1, 0)}]));
}

#[test]
fn a_sweep_that_fails_counts_nothing_twice() {
    for failure in [Failure::BeforeLanding, Failure::AfterLanding] {
        for table in ["INSERT INTO event_push_summary", "UPDATE event_push_summary"] {
            let house = House::new();
            let first = house.say(&house.alice, "one");
            house.say(&house.alice, "two");
            house.server.platform.sqlite.fail_next(table, failure);
            house.receipt(&house.bob, "m.read", &first, json!({})).ok();
            sweep_a_day_later(&house);
            sweep(&house);
            assert_eq!(house.server.platform.sqlite.planned_failures(), 0);
            assert_eq!(house.counts(&house.bob), (1, 0), "{failure:?} {table}");
            assert_eq!(summaries(&house), [summary(&house, "main", 1)]);
        }
    }
}
