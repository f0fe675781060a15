//! The Worker's runtime: entry points, the exported objects, and `Platform` over them.

mod d1;
mod fetch;
mod files;
mod http;
mod notifier;
mod objects;
mod platform;
mod stub;
mod waiter;

use std::rc::Rc;

use worker::{Env, Request, Response, ScheduleContext, ScheduledEvent, event};

use crate::routes;
use crate::storage::media_files::FilePart;
use platform::{EdgePlatform, Spawner};

/// Every HTTP request that is not for a static asset.
#[event(fetch)]
async fn fetch(request: Request, env: Env, context: worker::Context) -> worker::Result<Response> {
    let spawner = Spawner::Worker(Rc::new(context));
    let answer = match http::read(request).await {
        Ok((request, connection)) => {
            let file = connection.body.clone();
            let answer = match EdgePlatform::context_with(&env, spawner, connection) {
                Ok(context) => routes::dispatch(context, request).await,
                Err(error) => routes::error_answer(&error),
            };
            http::drain(&file).await;
            answer
        }
        Err(error) => routes::error_answer(&error),
    };
    match answer.extensions().get::<FilePart>().cloned() {
        Some(part) => http::write_file(&env, answer, &part).await,
        None => http::write(answer),
    }
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
