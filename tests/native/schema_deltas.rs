//! How a database of an older revision is brought up to date, with made-up deltas.

use myelin::storage::schema::{self, Delta, PendingBatch, Step};
use rusqlite::Connection;

const DELTAS: &[Delta] = &[
    Delta {
        revision: 2,
        name: "add_colour",
        steps: &[
            Step::Once(&["ALTER TABLE rooms ADD COLUMN colour TEXT"]),
            Step::UntilUnchanged(
                "UPDATE rooms SET colour = 'blue' WHERE rowid IN \
                 (SELECT rowid FROM rooms WHERE colour IS NULL LIMIT 10) RETURNING 1",
            ),
        ],
    },
    Delta {
        revision: 3,
        name: "count_colours",
        steps: &[Step::Once(&["INSERT INTO myelin_counters (name, value) VALUES ('colours', 1)"])],
    },
];

fn installed() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    for statement in schema::install_batches(7).concat() {
        connection.execute_batch(&statement).unwrap();
    }
    for room in 0..25 {
        connection.execute("INSERT INTO rooms (room_id) VALUES (?1)", [room]).unwrap();
    }
    connection
}

fn applied(connection: &Connection) -> Vec<String> {
    let mut statement = connection.prepare(schema::APPLIED_SQL).unwrap();
    let marks = statement.query_map([], |row| row.get(0)).unwrap();
    marks.map(Result::unwrap).collect()
}

/// One batch as D1 runs it: all or nothing. Counts the rows that come back.
fn run(connection: &Connection, statements: &[String]) -> rusqlite::Result<usize> {
    let transaction = connection.unchecked_transaction()?;
    let mut returned = 0;
    for statement in statements {
        let mut statement = transaction.prepare(statement)?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {
            returned += 1;
        }
    }
    transaction.commit()?;
    Ok(returned)
}

fn run_batch(connection: &Connection, batch: &PendingBatch) -> rusqlite::Result<usize> {
    match batch {
        PendingBatch::Once(statements) => run(connection, statements),
        PendingBatch::UntilUnchanged(statement) => {
            let mut runs = 0;
            while run(connection, std::slice::from_ref(statement))? > 0 {
                runs += 1;
            }
            Ok(runs)
        }
    }
}

fn number(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn each_step_is_run_once_and_marked() {
    let connection = installed();
    let steps = schema::pending_steps(DELTAS, &applied(&connection));
    assert_eq!(steps.len(), 3);
    let batches: Vec<_> = steps.iter().flat_map(|step| step.batches()).collect();
    let done: Vec<_> = batches.iter().map(|batch| run_batch(&connection, batch).unwrap()).collect();
    assert_eq!(done[1], 3, "25 rows by tens");
    assert_eq!(number(&connection, "SELECT count(*) FROM rooms WHERE colour = 'blue'"), 25);
    assert!(schema::pending_steps(DELTAS, &applied(&connection)).is_empty());
    let of_the_server = schema::install_marks(schema::DELTAS).len();
    assert_eq!(applied(&connection).len(), of_the_server + 3);
}

#[test]
fn an_interrupted_update_goes_on_where_it_was() {
    let connection = installed();
    let steps = schema::pending_steps(DELTAS, &applied(&connection));
    run_batch(&connection, &steps[0].batches()[0]).unwrap();
    let PendingBatch::UntilUnchanged(statement) = &steps[1].batches()[0] else {
        panic!("the second step is repeated");
    };
    assert_eq!(run(&connection, std::slice::from_ref(statement)).unwrap(), 10);

    let rest = schema::pending_steps(DELTAS, &applied(&connection));
    assert_eq!(rest.len(), 2);
    let batches: Vec<_> = rest.iter().flat_map(|step| step.batches()).collect();
    let done: Vec<_> = batches.iter().map(|batch| run_batch(&connection, batch).unwrap()).collect();
    assert_eq!(done[0], 2, "the 15 rows that are left");
    assert_eq!(number(&connection, "SELECT count(*) FROM rooms WHERE colour = 'blue'"), 25);
}

#[test]
fn the_slower_of_two_isolates_changes_nothing() {
    let connection = installed();
    let of_both = schema::pending_steps(DELTAS, &applied(&connection));
    let last = of_both.last().unwrap().batches();
    run_batch(&connection, &last[0]).unwrap();
    connection
        .execute_batch("UPDATE myelin_counters SET value = 5 WHERE name = 'colours'")
        .unwrap();
    assert!(run_batch(&connection, &last[0]).is_err());
    let value = "SELECT value FROM myelin_counters WHERE name = 'colours'";
    assert_eq!(number(&connection, value), 5);
    assert_eq!(schema::pending_steps(DELTAS, &applied(&connection)).len(), 2);
}

#[test]
fn a_new_database_is_marked_with_all_steps() {
    let marks = schema::install_marks(DELTAS);
    assert!(schema::is_installed(&marks));
    assert!(schema::pending_steps(DELTAS, &marks).is_empty());
    assert_eq!(applied(&installed()).len(), schema::install_marks(schema::DELTAS).len());
}

#[test]
fn an_interrupted_installation_is_not_taken_for_complete() {
    let batches = schema::install_batches(7);
    assert!(batches.iter().all(|batch| !batch.is_empty() && batch.len() <= 7));
    let connection = Connection::open_in_memory().unwrap();
    for batch in &batches[..batches.len() - 1] {
        run(&connection, batch).unwrap();
    }
    assert!(!schema::is_installed(&applied(&connection)));
    for batch in &batches {
        run(&connection, batch).unwrap();
    }
    assert!(schema::is_installed(&applied(&connection)));
}

#[test]
fn revisions_rise_by_one() {
    let expected = (2..).zip(schema::DELTAS);
    assert!(expected.clone().all(|(revision, delta)| delta.revision == revision));
    assert_eq!(expected.last().map_or(1, |(revision, _)| revision), schema::REVISION);
}
