//! The Worker's runtime: entry points, the exported objects, and `Platform` over them.

mod d1;
mod notifier;
mod objects;
mod platform;
mod waiter;

use std::rc::Rc;

use worker::{Env, Request, Response, ScheduleContext, ScheduledEvent, event};

use crate::routes;
use platform::{EdgePlatform, Spawner};

/// Every HTTP request that is not for a static asset.
#[event(fetch)]
async fn fetch(request: Request, env: Env, context: worker::Context) -> worker::Result<Response> {
    let spawner = Spawner::Worker(Rc::new(context));
    let answer = match http_request(request).await {
        Ok(request) => match EdgePlatform::context(&env, spawner) {
            Ok(context) => routes::dispatch(context, request).await,
            Err(error) => routes::error_answer(&error),
        },
        Err(error) => routes::error_answer(&error),
    };
    response(answer)
}

/// The cron trigger.
#[event(scheduled)]
async fn scheduled(_event: ScheduledEvent, env: Env, context: ScheduleContext) {
    let spawner = Spawner::Schedule(Rc::new(context));
    match EdgePlatform::context(&env, spawner) {
        Ok(context) => crate::sweep::run(&context).await,
        Err(error) => crate::log::error(&format!("the sweep did not start: {error}")),
    }
}

/// Reads a request with its body.
async fn http_request(
    mut request: Request,
) -> Result<http::Request<Vec<u8>>, crate::error::ApiError> {
    use crate::error::ApiError;
    let url = request.inner().url();
    let path = url.splitn(4, '/').nth(3).map_or("/".to_owned(), |path| format!("/{path}"));
    let method = request.inner().method();
    let mut builder = http::Request::builder().method(method.as_str()).uri(path);
    for (name, value) in request.headers().entries() {
        builder = builder.header(name, value);
    }
    let body = request.bytes().await.map_err(|_| {
        ApiError::new(crate::error::ErrorCode::NotJson, "The body could not be read")
    })?;
    builder.body(body).map_err(|error| ApiError::invalid_param(error.to_string()))
}

fn response(answer: routes::Answer) -> worker::Result<Response> {
    let (parts, body) = answer.into_parts();
    let response = Response::from_bytes(body)?.with_status(parts.status.as_u16());
    let headers = worker::Headers::new();
    for (name, value) in &parts.headers {
        headers.append(name.as_str(), value.to_str().unwrap_or_default())?;
    }
    Ok(response.with_headers(headers))
}
