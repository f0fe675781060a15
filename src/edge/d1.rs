//! D1, called directly: all results of a batch come over as one JSON text, not field by field.

use js_sys::{Array, JSON, Object, Promise, Reflect, Uint8Array};
use serde::Deserialize;
use serde_json::value::RawValue;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::storage::database::{DatabaseError, QueryResult, Statement, Value};

#[wasm_bindgen]
extern "C" {
    /// The binding of a D1 database.
    #[derive(Clone)]
    pub type D1;

    type D1Statement;

    #[wasm_bindgen(method)]
    fn prepare(this: &D1, sql: &str) -> D1Statement;

    #[wasm_bindgen(method, variadic, catch)]
    fn bind(this: &D1Statement, values: &Array) -> Result<D1Statement, JsValue>;

    #[wasm_bindgen(method)]
    fn batch(this: &D1, statements: &Array) -> Promise;
}

/// Runs all statements as one transaction.
pub async fn batch(
    database: &D1,
    statements: Vec<Statement>,
) -> Result<Vec<QueryResult>, DatabaseError> {
    if statements.is_empty() {
        return Ok(Vec::new());
    }
    let prepared = Array::new();
    for statement in statements {
        let bound = database
            .prepare(&statement.sql)
            .bind(&statement.values.iter().map(js_value).collect::<Array>())
            .map_err(|error| DatabaseError::Refused(message(&error)))?;
        prepared.push(&bound);
    }
    let results = JsFuture::from(database.batch(&prepared)).await;
    let results = results.map_err(|error| DatabaseError::from_message(message(&error)))?;
    let shape = |_| DatabaseError::Row("D1 answered in an unknown shape".to_owned());
    query_results(&JSON::stringify(&results).map(String::from).map_err(shape)?)
}

/// The result of one statement, as D1 has it.
#[derive(Deserialize)]
struct D1Result<'a> {
    #[serde(borrow)]
    results: &'a RawValue,
    meta: D1Meta,
}

#[derive(Deserialize)]
struct D1Meta {
    #[serde(default)]
    rows_read: f64,
    #[serde(default)]
    rows_written: f64,
}

fn query_results(text: &str) -> Result<Vec<QueryResult>, DatabaseError> {
    let results: Vec<D1Result<'_>> =
        serde_json::from_str(text).map_err(|error| DatabaseError::Row(error.to_string()))?;
    let result = |result: D1Result<'_>| QueryResult {
        rows_json: result.results.get().to_owned(),
        rows_read: result.meta.rows_read as u64,
        rows_written: result.meta.rows_written as u64,
    };
    Ok(results.into_iter().map(result).collect())
}

fn js_value(value: &Value) -> JsValue {
    match value {
        Value::Null => JsValue::NULL,
        Value::Integer(number) => JsValue::from_f64(*number as f64),
        Value::Text(text) => JsValue::from_str(text),
        Value::Blob(bytes) => Uint8Array::from(bytes.as_slice()).into(),
    }
}

fn message(error: &JsValue) -> String {
    let text =
        |value: &JsValue| value.dyn_ref::<js_sys::Error>().map(|e| String::from(e.message()));
    let cause = error.dyn_ref::<Object>().and_then(|e| Reflect::get(e, &"cause".into()).ok());
    let cause = cause.and_then(|cause| text(&cause)).unwrap_or_default();
    format!("{} {cause}", text(error).unwrap_or_else(|| format!("{error:?}")))
}
