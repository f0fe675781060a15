//! D1, called directly: a batch's rows come over as one JSON text, not field by field.

use js_sys::{Array, JSON, Object, Promise, Reflect, Uint8Array};
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
    Array::from(&results).iter().map(|result| query_result(&result)).collect()
}

fn js_value(value: &Value) -> JsValue {
    match value {
        Value::Null => JsValue::NULL,
        Value::Integer(number) => JsValue::from_f64(*number as f64),
        Value::Text(text) => JsValue::from_str(text),
        Value::Blob(bytes) => Uint8Array::from(bytes.as_slice()).into(),
    }
}

fn query_result(result: &JsValue) -> Result<QueryResult, DatabaseError> {
    let shape = |_| DatabaseError::Row("D1 answered in an unknown shape".to_owned());
    let rows = Reflect::get(result, &"results".into()).map_err(shape)?;
    let meta = Reflect::get(result, &"meta".into()).map_err(shape)?;
    let count = |name: &str| {
        let value = Reflect::get(&meta, &name.into()).ok().and_then(|value| value.as_f64());
        value.unwrap_or(0.0) as u64
    };
    Ok(QueryResult {
        rows_json: JSON::stringify(&rows).map(String::from).map_err(shape)?,
        rows_read: count("rows_read"),
        rows_written: count("rows_written"),
    })
}

fn message(error: &JsValue) -> String {
    let text =
        |value: &JsValue| value.dyn_ref::<js_sys::Error>().map(|e| String::from(e.message()));
    let cause = error.dyn_ref::<Object>().and_then(|e| Reflect::get(e, &"cause".into()).ok());
    let cause = cause.and_then(|cause| text(&cause)).unwrap_or_default();
    format!("{} {cause}", text(error).unwrap_or_else(|| format!("{error:?}")))
}
