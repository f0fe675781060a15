//! An object, called directly: a command goes as one text, and one text comes back. The `worker`
//! crate would read the answer as a stream, chunk by chunk.

use js_sys::{JsString, Object, Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use worker::{Stub, web_sys};

use super::platform::COST_HEADER;
use crate::error::ApiError;

#[wasm_bindgen]
extern "C" {
    type ObjectStub;

    #[wasm_bindgen(method, catch)]
    fn fetch(this: &ObjectStub, url: &str, init: &Object) -> Result<Promise, JsValue>;
}

/// What an object answered.
pub struct ObjectAnswer {
    pub text: String,
    /// See `Meter::to_text`.
    pub cost: Option<String>,
}

/// Posts `body` to an object.
///
/// # Errors
/// If the object cannot be reached, or fails without an answer.
pub async fn post(stub: Stub, body: &str) -> Result<ObjectAnswer, ApiError> {
    exchange(stub.into_rpc(), body).await.map_err(|error| ApiError::internal(format!("{error:?}")))
}

async fn exchange(stub: ObjectStub, body: &str) -> Result<ObjectAnswer, JsValue> {
    let init = Object::new();
    Reflect::set(&init, &"method".into(), &"POST".into())?;
    Reflect::set(&init, &"body".into(), &body.into())?;
    let response = JsFuture::from(stub.fetch("https://object/command", &init)?).await?;
    let response: web_sys::Response = response.dyn_into()?;
    let cost = response.headers().get(COST_HEADER)?;
    let text = JsFuture::from(response.text()?).await?;
    let text = text.dyn_into::<JsString>()?.into();
    Ok(ObjectAnswer { text, cost })
}
