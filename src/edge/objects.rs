//! The exported Durable Object classes: each hands its commands to `durable`.

use worker::{DurableObject, Env, Request, Response, State, durable_object};

use crate::error::ApiError;

/// See `durable::room`.
#[durable_object]
pub struct Room {
    #[expect(dead_code)]
    state: State,
}

impl DurableObject for Room {
    fn new(state: State, _env: Env) -> Self {
        Self { state }
    }

    async fn fetch(&self, _request: Request) -> worker::Result<Response> {
        Response::from_json(&Err::<(), _>(ApiError::unrecognized()))
    }
}
