//! D1, called directly: the rows of a statement come over as one JSON text, not field by field.

use js_sys::{Array, JSON, JsString, Object, Promise, Reflect, Uint8Array};
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

    /// The result of one statement.
    type D1Result;

    #[wasm_bindgen(method, getter)]
    fn results(this: &D1Result) -> Array;

    #[wasm_bindgen(method, getter)]
    fn meta(this: &D1Result) -> D1Meta;

    type D1Meta;

    #[wasm_bindgen(method, getter)]
    fn rows_read(this: &D1Meta) -> Option<f64>;

    #[wasm_bindgen(method, getter)]
    fn rows_written(this: &D1Meta) -> Option<f64>;

    type TextEncoder;

    #[wasm_bindgen(constructor)]
    fn new() -> TextEncoder;

    #[wasm_bindgen(method)]
    fn encode(this: &TextEncoder, text: &JsString) -> Uint8Array;
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
    let encoder = TextEncoder::new();
    Array::from(&results).iter().map(|result| query_result(&encoder, &result)).collect()
}

fn query_result(encoder: &TextEncoder, result: &JsValue) -> Result<QueryResult, DatabaseError> {
    let shape = || DatabaseError::Row("D1 answered in an unknown shape".to_owned());
    let result: &D1Result = result.unchecked_ref();
    let (rows, meta) = (result.results(), result.meta());
    if !Array::is_array(&rows) || !meta.is_object() {
        return Err(shape());
    }
    let rows_json = match rows.length() {
        0 => String::new(),
        _ => text(encoder, &JSON::stringify(&rows).map_err(|_| shape())?).ok_or_else(shape)?,
    };
    Ok(QueryResult {
        rows_json,
        rows_read: meta.rows_read().unwrap_or_default() as u64,
        rows_written: meta.rows_written().unwrap_or_default() as u64,
    })
}

/// Characters from which on a text crosses faster by the encoder than letter by letter.
const LONG_TEXT_MIN: u32 = 500;

fn text(encoder: &TextEncoder, text: &JsString) -> Option<String> {
    if text.length() < LONG_TEXT_MIN {
        return Some(String::from(text));
    }
    String::from_utf8(encoder.encode(text).to_vec()).ok()
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
