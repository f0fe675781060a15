//! From an HTTP request to the endpoint that answers it, and the headers that every answer has.

use std::collections::BTreeMap;
use std::rc::Rc;

use http::{HeaderValue, Method};

pub use super::endpoint::Answer;
use super::endpoint::{Incoming, Route, json_with_status};
use crate::context::Context;
use crate::error::ApiError;

/// The largest body of an endpoint that is not for media: an event is at most 64 KiB, the
/// largest lists of keys and filters stay far below this.
const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Finds the route of a path.
pub struct Router {
    paths: matchit::Router<BTreeMap<String, Route>>,
}

impl Router {
    /// # Errors
    /// Two paths that cannot be told apart: a mistake in the table.
    pub fn new(table: Vec<Route>) -> Result<Self, ApiError> {
        let mut by_path: BTreeMap<String, BTreeMap<String, Route>> = BTreeMap::new();
        for route in table {
            for path in &route.paths {
                let methods = by_path.entry(with_numbered_arguments(path)).or_default();
                methods.insert(route.method.to_string(), route.clone());
            }
        }
        let mut paths = matchit::Router::new();
        for (path, methods) in by_path {
            paths.insert(path.as_str(), methods).map_err(ApiError::internal)?;
        }
        Ok(Self { paths })
    }

    fn find(&self, method: &Method, path: &str) -> Result<(Route, Vec<String>), ApiError> {
        // The specification allows a trailing slash where an empty state key is left out.
        let found = self.paths.at(path).or_else(|_| self.paths.at(path.trim_end_matches('/')));
        let found = found.map_err(|_| ApiError::unrecognized())?;
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let route = found.value.get(method.as_str()).ok_or_else(ApiError::method_not_allowed)?;
        let args = found.params.iter().map(|(_, value)| percent_decode(value));
        Ok((route.clone(), args.collect::<Result<_, _>>()?))
    }
}

/// Names the arguments of a path by their place, so that all endpoints agree on the names.
fn with_numbered_arguments(path: &str) -> String {
    let mut index = 0;
    let segments = path.split('/').map(|segment| {
        if !segment.starts_with('{') {
            return segment.to_owned();
        }
        index += 1;
        let rest = if segment.starts_with("{*") { "*" } else { "" };
        format!("{{{rest}{index}}}")
    });
    segments.collect::<Vec<_>>().join("/")
}

/// SQLite's text functions end at a NUL: an argument with one could be taken for another.
fn percent_decode(value: &str) -> Result<String, ApiError> {
    match percent_encoding::percent_decode_str(value).decode_utf8() {
        Ok(text) if !text.contains('\0') => Ok(text.into_owned()),
        _ => Err(ApiError::invalid_param("The path must be UTF-8 without NUL")),
    }
}

fn router(context: &Context) -> Result<Rc<Router>, ApiError> {
    let name = "router";
    if let Some(memo) = context.isolate.memo.borrow().get(name).cloned()
        && let Ok(router) = memo.downcast::<Router>()
    {
        return Ok(router);
    }
    let router = Rc::new(Router::new(super::table())?);
    context.isolate.memo.borrow_mut().insert(name, router.clone());
    Ok(router)
}

/// Answers a request. Every answer has the CORS headers of the specification.
pub async fn dispatch(context: Context, request: http::Request<Vec<u8>>) -> Answer {
    let development = context.config.development;
    let meter = context.meter.clone();
    let mut answer = if request.method() == Method::OPTIONS {
        json_with_status(200, &serde_json::json!({})).unwrap_or_default()
    } else {
        let outcome = handle(context, request).await;
        outcome.unwrap_or_else(|error| error_answer(&error))
    };
    let headers = answer.headers_mut();
    for (name, value) in CORS_HEADERS {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    if development && let Ok(value) = HeaderValue::from_str(&meter.server_timing()) {
        headers.insert("server-timing", value);
    }
    answer
}

/// Client-Server API, "Web Browser Clients".
const CORS_HEADERS: &[(&str, &str)] = &[
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", "GET, HEAD, POST, PUT, DELETE, OPTIONS"),
    ("access-control-allow-headers", "X-Requested-With, Content-Type, Authorization, Date"),
    ("access-control-expose-headers", "Server-Timing, Retry-After"),
];

async fn handle(context: Context, request: http::Request<Vec<u8>>) -> Result<Answer, ApiError> {
    let router = router(&context)?;
    let (route, path_args) = router.find(request.method(), request.uri().path())?;
    if request.body().len() > BODY_BYTES_MAX {
        let message = format!("The body is larger than {BODY_BYTES_MAX} bytes");
        return Err(ApiError::new(crate::error::ErrorCode::TooLarge, message));
    }
    (route.handler)(context, Incoming { http: request, path_args }).await
}

/// The JSON answer to an error.
pub fn error_answer(error: &ApiError) -> Answer {
    let mut answer = json_with_status(error.status(), &error.body()).unwrap_or_default();
    let retry_after_ms = error.body()["retry_after_ms"].as_u64();
    if let Some(retry_after_ms) = retry_after_ms {
        answer.headers_mut().insert("retry-after", retry_after_ms.div_ceil(1000).into());
    }
    answer
}
