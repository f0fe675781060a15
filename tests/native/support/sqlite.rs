//! D1 as SQLite in memory: the same statements, the same bindings, rows as the same JSON.

use std::cell::{Cell, RefCell};

use myelin::storage::database::{DatabaseError, QueryResult, Statement, Value};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, StatementStatus, ToSql};
use serde_json::{Map, json};

/// D1 refuses a statement with more parameters.
const PARAMETERS_MAX: usize = 100;

/// Where a batch is made to fail. Either way its caller sees an unknown outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing of it is written.
    BeforeLanding,
    /// All of it is written.
    AfterLanding,
}

struct PlannedFailure {
    /// A piece of SQL in the batch that is to fail; empty: any batch.
    sql: String,
    failure: Failure,
}

pub struct Sqlite {
    connection: RefCell<Connection>,
    failures: RefCell<Vec<PlannedFailure>>,
    batches: Cell<u64>,
}

impl Sqlite {
    pub fn new() -> Self {
        let connection = Connection::open_in_memory().expect("SQLite opens");
        connection.pragma_update(None, "foreign_keys", true).expect("SQLite checks foreign keys");
        connection.set_prepared_statement_cache_capacity(1000);
        let limit = i32::try_from(VALUE_BYTES_MAX).expect("a length");
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, limit).expect("SQLite has limits");
        Self {
            connection: RefCell::new(connection),
            failures: RefCell::default(),
            batches: Cell::new(0),
        }
    }

    /// Makes the next batch fail that has this piece of SQL in it; an empty one is in every batch.
    pub fn fail_next(&self, sql: &str, failure: Failure) {
        self.failures.borrow_mut().push(PlannedFailure { sql: sql.to_owned(), failure });
    }

    /// The failures that have been planned and have not happened.
    pub fn planned_failures(&self) -> usize {
        self.failures.borrow().len()
    }

    /// How many batches there have been.
    pub fn batches(&self) -> u64 {
        self.batches.get()
    }

    /// Nothing fails from now on.
    pub fn forget_failures(&self) {
        self.failures.borrow_mut().clear();
    }

    pub fn batch(&self, statements: &[Statement]) -> Result<Vec<QueryResult>, DatabaseError> {
        self.batches.set(self.batches.get() + 1);
        let failure = self.take_failure(statements);
        if failure == Some(Failure::BeforeLanding) {
            return Err(DatabaseError::Unknown("failed before it landed".to_owned()));
        }
        let mut connection = self.connection.borrow_mut();
        let transaction = connection.transaction().map_err(|error| database_error(&error))?;
        let results = statements.iter().map(|statement| run(&transaction, statement));
        let results = results.collect::<Result<Vec<_>, _>>()?;
        transaction.commit().map_err(|error| database_error(&error))?;
        match failure {
            Some(_) => Err(DatabaseError::Unknown("failed after it had landed".to_owned())),
            None => Ok(results),
        }
    }

    fn take_failure(&self, statements: &[Statement]) -> Option<Failure> {
        let mut failures = self.failures.borrow_mut();
        let fails = |planned: &PlannedFailure| {
            statements.iter().any(|statement| statement.sql.contains(&planned.sql))
        };
        let index = failures.iter().position(fails)?;
        Some(failures.remove(index).failure)
    }
}

/// Runs one statement. Rows read are not known here: the rows returned stand for them.
fn run(connection: &Connection, statement: &Statement) -> Result<QueryResult, DatabaseError> {
    assert!(statement.values.len() <= PARAMETERS_MAX, "too many parameters: {}", statement.sql);
    let changes_before = connection.total_changes();
    let mut prepared =
        connection.prepare_cached(&statement.sql).map_err(|error| database_error(&error))?;
    let columns: Vec<String> = prepared.column_names().into_iter().map(str::to_owned).collect();
    let values: Vec<Box<dyn ToSql>> = statement.values.iter().map(bound).collect();
    let values = rusqlite::params_from_iter(values.iter().map(AsRef::as_ref));
    let mut rows = prepared.query(values).map_err(|error| database_error(&error))?;
    let mut objects = Vec::new();
    while let Some(row) = rows.next().map_err(|error| database_error(&error))? {
        let field = |(index, name): (usize, &String)| {
            (name.clone(), json_value(row.get_ref(index).expect("the column exists")))
        };
        objects.push(columns.iter().enumerate().map(field).collect::<Map<_, _>>());
    }
    drop(rows);
    // A bound value that the planner has looked at makes every run a compilation.
    let compiled_anew = prepared.get_status(StatementStatus::RePrepare);
    let changes_schema = ["CREATE", "DROP"].iter().any(|word| statement.sql.starts_with(word));
    let is_compiled_once = compiled_anew == 0 || changes_schema;
    assert!(is_compiled_once, "compiled for its values: {}", statement.sql);
    if changes_schema {
        drop(prepared);
        connection.flush_prepared_statement_cache();
    }
    Ok(QueryResult {
        rows_read: objects.len() as u64,
        rows_written: connection.total_changes() - changes_before,
        rows_json: serde_json::to_string(&objects).expect("rows are JSON"),
    })
}

/// What D1 takes, and makes, as one value. Bytes.
const VALUE_BYTES_MAX: usize = 2_000_000;

/// D1 binds every JavaScript number as a REAL.
fn bound(value: &Value) -> Box<dyn ToSql> {
    if let Value::Text(text) = value {
        assert!(text.len() <= VALUE_BYTES_MAX, "D1 refuses a value of {} bytes", text.len());
    }
    match value {
        Value::Null => Box::new(rusqlite::types::Null),
        Value::Integer(number) => Box::new(*number as f64),
        Value::Text(text) => Box::new(text.clone()),
        Value::Blob(bytes) => Box::new(bytes.clone()),
    }
}

/// As `JSON.stringify` writes what D1 gives to JavaScript.
fn json_value(value: ValueRef<'_>) -> serde_json::Value {
    match value {
        ValueRef::Null => serde_json::Value::Null,
        ValueRef::Integer(number) => json!(number),
        ValueRef::Real(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            json!(number as i64)
        }
        ValueRef::Real(number) => json!(number),
        ValueRef::Text(text) => json!(std::str::from_utf8(text).expect("text is UTF-8")),
        ValueRef::Blob(bytes) => json!(bytes),
    }
}

/// D1 names the kind of an error in its message.
fn database_error(error: &rusqlite::Error) -> DatabaseError {
    match error {
        rusqlite::Error::SqliteFailure(cause, Some(message)) => {
            let kind = if cause.extended_code == 1 { ": SQLITE_ERROR" } else { "" };
            DatabaseError::from_message(format!("{message}{kind}"))
        }
        rusqlite::Error::SqlInputError { msg, sql, .. } => {
            DatabaseError::from_message(format!("{msg}: SQLITE_ERROR in {sql}"))
        }
        other => DatabaseError::Refused(other.to_string()),
    }
}
