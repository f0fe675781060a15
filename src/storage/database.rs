//! SQL as values: statements in, rows out; one batch is one transaction and one round trip.
//!
//! Behind `Database` is D1 in the Worker and SQLite in native tests. Both hand rows over as JSON
//! text (an array of objects), which serde turns into typed rows.
//!
//! A bound limit is written `LIMIT ?1 + 0`: SQLite would plan with the value of `LIMIT ?1`, and so
//! compile the statement anew each time that it is run.

use std::borrow::Cow;

use async_trait::async_trait;
use serde::de::{self, DeserializeOwned, Deserializer};
use serde::forward_to_deserialize_any;

/// The largest integer that survives JavaScript's number type.
const SAFE_INTEGER_MAX: i64 = (1 << 53) - 1;

/// A bound parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    /// Bound as a JavaScript number: SQLite sees a REAL, which INTEGER columns convert.
    Integer(i64),
    Text(String),
    Blob(Vec<u8>),
}

macro_rules! value_from {
    ($($from:ty, $value:ident => $into:expr;)*) => {
        $(impl From<$from> for Value {
            fn from($value: $from) -> Self { $into }
        })*
    };
}

value_from! {
    i64, value => {
        debug_assert!(value.abs() <= SAFE_INTEGER_MAX, "{value} does not fit a JavaScript number");
        Value::Integer(value)
    };
    u64, value => Value::from(i64::try_from(value).unwrap_or(SAFE_INTEGER_MAX));
    u32, value => Value::Integer(i64::from(value));
    i32, value => Value::Integer(i64::from(value));
    usize, value => Value::from(value as u64);
    bool, value => Value::Integer(i64::from(value));
    String, value => Value::Text(value);
    &String, value => Value::Text(value.clone());
    &str, value => Value::Text(value.to_owned());
    Vec<u8>, value => Value::Blob(value);
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// One SQL statement with its parameters (`?1`, `?2`, ...).
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    pub sql: Cow<'static, str>,
    pub values: Vec<Value>,
    /// The names of what it reads, if it is small enough to be packed with others.
    pub columns: Vec<&'static str>,
}

impl Statement {
    pub fn new(sql: impl Into<Cow<'static, str>>) -> Self {
        Self { sql: sql.into(), values: Vec::new(), columns: Vec::new() }
    }

    /// A read that mostly finds few and short rows of this type: it may be packed with others.
    pub fn small<Row: DeserializeOwned>(self) -> Self {
        Self { columns: field_names::<Row>().to_vec(), ..self }
    }

    /// Binds the next parameter.
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// A read of this list's things, which asks nothing where the list is empty: it keeps its place
    /// in the batch, and has no rows.
    pub fn unless_empty<T>(self, list: &[T]) -> Self {
        if list.is_empty() { Self::new("") } else { self }
    }

    /// As [`Statement::small`], with the names of the columns.
    pub fn small_of(self, columns: &[&'static str]) -> Self {
        Self { columns: columns.to_vec(), ..self }
    }

    /// Whether it may be packed with others.
    pub fn is_small(&self) -> bool {
        !self.columns.is_empty()
    }

    /// Whether there is anything to ask.
    pub fn asks(&self) -> bool {
        !self.sql.is_empty()
    }

    /// Binds a list as one JSON parameter, for `json_each(?)`.
    pub fn bind_json(self, value: &impl serde::Serialize) -> Self {
        // Serialising our own lists and rows to memory cannot fail.
        self.bind(serde_json::to_string(value).unwrap_or_default())
    }
}

/// The largest list that [`json_lists`] makes of several items: D1 takes 2 MB as one value.
const LIST_BYTES_MAX: usize = 1_000_000;

/// A list as JSON texts that each fit into a bound parameter, if every item does.
pub fn json_lists(items: &[impl serde::Serialize]) -> Vec<String> {
    let mut lists: Vec<String> = Vec::new();
    for item in items {
        // Serialising our own rows to memory cannot fail.
        let item = serde_json::to_string(item).unwrap_or_default();
        match lists.last_mut() {
            Some(list) if list.len() + item.len() < LIST_BYTES_MAX => {
                list.push(',');
                list.push_str(&item);
            }
            _ => lists.push(format!("[{item}")),
        }
    }
    lists.iter_mut().for_each(|list| list.push(']'));
    lists
}

/// What one statement of a batch returned.
#[derive(Clone, Debug, Default)]
pub struct QueryResult {
    /// A JSON array of row objects; empty if there are none.
    pub rows_json: String,
    pub rows_read: u64,
    pub rows_written: u64,
}

impl QueryResult {
    /// All rows, typed.
    pub fn rows<T: DeserializeOwned>(&self) -> Result<Vec<T>, DatabaseError> {
        if self.rows_json.is_empty() {
            return Ok(Vec::new());
        }
        serde_json::from_str(&self.rows_json).map_err(|e| DatabaseError::Row(e.to_string()))
    }

    /// The first row, if there is one.
    pub fn first<T: DeserializeOwned>(&self) -> Result<Option<T>, DatabaseError> {
        Ok(self.rows()?.into_iter().next())
    }
}

/// Takes the results of a batch one after the other, in the order of its statements.
pub struct Results(std::vec::IntoIter<QueryResult>);

impl Results {
    pub fn new(results: Vec<QueryResult>) -> Self {
        Self(results.into_iter())
    }

    /// The next statement's result; empty if the batch had fewer statements.
    pub fn take(&mut self) -> QueryResult {
        self.0.next().unwrap_or_default()
    }

    /// All rows of the next statement.
    pub fn rows<T: DeserializeOwned>(&mut self) -> Result<Vec<T>, DatabaseError> {
        self.take().rows()
    }

    /// The first row of the next statement.
    pub fn first<T: DeserializeOwned>(&mut self) -> Result<Option<T>, DatabaseError> {
        self.take().first()
    }

    /// The results that have not been taken yet.
    pub fn rest(self) -> Vec<QueryResult> {
        self.0.collect()
    }

    /// Passes over the results of `count` statements.
    pub fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.take();
        }
    }
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DatabaseError {
    /// The database refused the batch; nothing of it was written.
    #[error("the database refused the batch: {0}")]
    Refused(String),
    /// A fence, written as `json('x')` on a condition, aborted the batch.
    #[error("the batch was decided from data that has changed since")]
    Fenced,
    /// A constraint failed; nothing was written.
    #[error("constraint failed: {0}")]
    Constraint(String),
    /// The database did not answer: the batch may have been written or not.
    #[error("the outcome of the batch is unknown: {0}")]
    Unknown(String),
    #[error("a row does not have the expected shape: {0}")]
    Row(String),
    /// A value would be larger than the database makes; nothing was written.
    #[error("too large for the database: {0}")]
    TooLarge(String),
}

impl DatabaseError {
    /// Sorts an error message of SQLite's or D1's.
    pub fn from_message(message: String) -> Self {
        if message.contains("malformed JSON") {
            Self::Fenced
        } else if message.contains("constraint failed") {
            Self::Constraint(message)
        } else if message.contains("too big") {
            Self::TooLarge(message)
        } else if message.contains("SQLITE_ERROR")
            || message.contains("no such table")
            || message.contains("syntax error")
        {
            Self::Refused(message)
        } else {
            Self::Unknown(message)
        }
    }

    /// Whether the database has no tables yet.
    pub fn is_missing_table(&self) -> bool {
        matches!(self, Self::Refused(message) if message.contains("no such table"))
    }
}

/// A database that runs batches: each is one transaction; none interleaves with another.
#[async_trait(?Send)]
pub trait Database {
    /// Runs all statements in order as one transaction.
    ///
    /// # Errors
    /// `Unknown` says that the batch may have been committed all the same.
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>, DatabaseError>;
}

/// Booleans are stored as 0 and 1.
pub fn boolean<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value = <Option<i64> as serde::Deserialize>::deserialize(deserializer)?;
    Ok(value.unwrap_or(0) != 0)
}

/// The names of a struct's fields, as serde reads them; none of anything else.
fn field_names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // It stops as soon as it has heard the names.
    let _ = T::deserialize(FieldNames(&mut names));
    names
}

/// A deserialiser that has nothing to read, and hears what is asked of it.
struct FieldNames<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = de::value::Error;

    fn deserialize_struct<V: de::Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        Err(de::Error::custom("there is nothing to read"))
    }

    fn deserialize_any<V: de::Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("there is nothing to read"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
