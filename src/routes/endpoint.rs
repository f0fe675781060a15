//! What an endpoint is: method, paths, and a handler from a decoded request to an answer.

use std::future::Future;
use std::rc::Rc;

use futures_util::future::LocalBoxFuture;
use http::Method;
use ruma::api::error::{DeserializationError, FromHttpRequestError};
use ruma::api::path_builder::PathBuilder;
use ruma::api::{IncomingRequest, IncomingRequestExt, Metadata, OutgoingResponseExt};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::access::{Access, Caller};
use crate::context::Context;
use crate::error::{ApiError, ErrorCode};

pub type Answer = http::Response<Vec<u8>>;

/// A request as it came, with the arguments of its path decoded.
pub struct Incoming {
    pub http: http::Request<Vec<u8>>,
    pub path_args: Vec<String>,
}

impl Incoming {
    /// The argument at this place of the path; empty if the path was a shorter form.
    pub fn arg(&self, index: usize) -> &str {
        self.path_args.get(index).map_or("", String::as_str)
    }

    /// The argument at this place of the path, as an identifier.
    ///
    /// # Errors
    /// `M_INVALID_PARAM` if it is none.
    pub fn id<T: std::str::FromStr>(&self, index: usize) -> Result<T, ApiError> {
        let text = self.arg(index);
        text.parse().map_err(|_| ApiError::invalid_param(format!("{text:?} is not a valid id")))
    }

    /// The first query parameter of this name.
    pub fn query(&self, name: &str) -> Option<String> {
        query_pairs(self.http.uri()).find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The body, as this shape. An empty body counts as `{}`.
    ///
    /// # Errors
    /// `M_NOT_JSON`, or `M_BAD_JSON` for JSON of another shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let body: &[u8] = if self.http.body().is_empty() { b"{}" } else { self.http.body() };
        serde_json::from_slice(body).map_err(|error| body_error(body, &error.to_string()))
    }

    /// A header, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.http.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// The address of the client, as the platform's edge gives it.
    pub fn address(&self) -> String {
        self.header("cf-connecting-ip").or(self.header("x-forwarded-for")).unwrap_or("-").to_owned()
    }

    pub fn user_agent(&self) -> String {
        self.header("user-agent").unwrap_or_default().to_owned()
    }

    /// The server's own address as its configuration has it, else as the request has it.
    ///
    /// # Errors
    /// `M_INVALID_PARAM` if the request has none.
    pub fn base_url(&self, context: &Context) -> Result<url::Url, ApiError> {
        let configured = &context.config.public_baseurl;
        if !configured.is_empty() {
            return url::Url::parse(configured).map_err(ApiError::internal);
        }
        let host = self.header("host").unwrap_or(context.server_name().as_str());
        let is_loopback = host.starts_with("127.") || host.starts_with("localhost");
        let default = if is_loopback { "http" } else { "https" };
        let scheme = self.header("x-forwarded-proto").unwrap_or(default);
        let message = "The request's Host is not valid";
        url::Url::parse(&format!("{scheme}://{host}")).map_err(|_| ApiError::invalid_param(message))
    }

    /// Where a CAS server sends people back: for the client that they log in with, or the session
    /// whose stage they complete.
    ///
    /// # Errors
    /// As [`Incoming::base_url`].
    pub fn cas_service(
        &self,
        context: &Context,
        name: &str,
        value: &str,
    ) -> Result<url::Url, ApiError> {
        let base_url = self.base_url(context)?;
        let base_url = base_url.as_str().trim_end_matches('/');
        // The version is the one that CAS servers know from Synapse.
        let service = format!("{base_url}/_matrix/client/r0/login/cas/ticket");
        url::Url::parse_with_params(&service, [(name, value)]).map_err(ApiError::internal)
    }

    pub fn access_token(&self) -> Option<String> {
        let bearer = self.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let bearer = bearer.map(|token| token.trim().to_owned());
        bearer.or_else(|| self.query("access_token")).filter(|token| !token.is_empty())
    }
}

/// The decoded pairs of a query string.
pub fn query_pairs(uri: &http::Uri) -> impl Iterator<Item = (String, String)> + '_ {
    let query = uri.query().unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes()).map(|(k, v)| (k.into_owned(), v.into_owned()))
}

type Handler = Rc<dyn Fn(Context, Incoming) -> LocalBoxFuture<'static, Result<Answer, ApiError>>>;

/// One endpoint.
#[derive(Clone)]
pub struct Route {
    pub method: Method,
    pub paths: Vec<&'static str>,
    pub(super) handler: Handler,
}

impl Route {
    /// Adds a path that ruma does not list: an older or a shorter form.
    pub fn also(mut self, path: &'static str) -> Self {
        self.paths.push(path);
        self
    }
}

fn typed<R: IncomingRequest + 'static>(handler: Handler) -> Route {
    Route { method: R::METHOD, paths: R::PATH_BUILDER.all_paths().collect(), handler }
}

/// An endpoint for which the caller has been authenticated.
pub fn authenticated<R, F, Fut>(handler: F) -> Route
where
    R: IncomingRequest + 'static,
    F: Fn(Caller, R) -> Fut + Copy + 'static,
    Fut: Future<Output = Result<R::OutgoingResponse, ApiError>> + 'static,
{
    batched(move |access: Access, request: R| async move {
        handler(access.authenticate().await?, request).await
    })
}

/// An endpoint that authenticates by itself, in a batch with its own reads.
pub fn batched<R, F, Fut>(handler: F) -> Route
where
    R: IncomingRequest + 'static,
    F: Fn(Access, R) -> Fut + Copy + 'static,
    Fut: Future<Output = Result<R::OutgoingResponse, ApiError>> + 'static,
{
    typed::<R>(Rc::new(move |context, incoming| {
        Box::pin(async move {
            let access = Access::of(context, &incoming);
            if !access.has_token() && needs_token::<R>() {
                return Err(ApiError::missing_token());
            }
            let request = decode::<R>(&incoming)?;
            encode(handler(access, request).await?)
        })
    }))
}

/// An endpoint that anyone may call.
pub fn public<R, F, Fut>(handler: F) -> Route
where
    R: IncomingRequest + 'static,
    F: Fn(Context, R) -> Fut + Copy + 'static,
    Fut: Future<Output = Result<R::OutgoingResponse, ApiError>> + 'static,
{
    typed::<R>(Rc::new(move |context, incoming| {
        Box::pin(async move {
            let request = decode::<R>(&incoming)?;
            encode(handler(context, request).await?)
        })
    }))
}

/// An endpoint whose request or answer ruma's types do not fit.
pub fn raw<F, Fut>(method: Method, paths: &[&'static str], handler: F) -> Route
where
    F: Fn(Access, Incoming) -> Fut + Copy + 'static,
    Fut: Future<Output = Result<Answer, ApiError>> + 'static,
{
    let handler: Handler = Rc::new(move |context, incoming| {
        let access = Access::of(context, &incoming);
        Box::pin(handler(access, incoming))
    });
    Route { method, paths: paths.to_vec(), handler }
}

/// An answer of status 200 with this JSON.
///
/// # Errors
/// If the value cannot be serialised, which is our fault.
pub fn json(value: &impl serde::Serialize) -> Result<Answer, ApiError> {
    json_with_status(200, value)
}

/// An answer with this status and JSON.
///
/// # Errors
/// If the value cannot be serialised, which is our fault.
pub fn json_with_status(status: u16, value: &impl serde::Serialize) -> Result<Answer, ApiError> {
    http::Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(value).map_err(ApiError::internal)?)
        .map_err(ApiError::internal)
}

/// Whether ruma says that the endpoint cannot be called without a token.
fn needs_token<R: Metadata>() -> bool {
    use ruma::api::auth_scheme::AccessToken;
    std::any::type_name::<R::Authentication>() == std::any::type_name::<AccessToken>()
}

/// Decodes a request with ruma's type.
///
/// # Errors
/// `M_NOT_JSON`, `M_BAD_JSON`, `M_INVALID_PARAM`, `M_MISSING_PARAM`.
pub fn decode<R: IncomingRequest>(incoming: &Incoming) -> Result<R, ApiError> {
    let body = incoming.http.body();
    // An empty body is an empty object: for most types ruma does the same.
    let read_as: &[u8] = if body.is_empty() && R::METHOD != Method::GET { b"{}" } else { body };
    let args: Vec<&str> = incoming.path_args.iter().map(String::as_str).collect();
    let read = |read_as: &[u8]| {
        let (method, uri) = (incoming.http.method(), incoming.http.uri());
        let mut request = http::Request::builder().method(method).uri(uri);
        if let Some(headers) = request.headers_mut() {
            *headers = incoming.http.headers().clone();
        }
        let request = request.body(read_as).map_err(ApiError::internal)?;
        R::try_from_http_request(request, &args).map_err(|error| match error {
            FromHttpRequestError::Deserialization(error) => decode_error(body, &error),
            other => ApiError::bad_json(other.to_string()),
        })
    };
    read(read_as).or_else(|error| match without_nulls(body) {
        Some(body) => read(&body),
        None => Err(error),
    })
}

/// A body whose members that are null are left out, which some clients mean by it; `None` if
/// there are none.
fn without_nulls(body: &[u8]) -> Option<Vec<u8>> {
    let Value::Object(mut object) = serde_json::from_slice(body).ok()? else { return None };
    let count = object.len();
    object.retain(|_, value| !value.is_null());
    (object.len() < count).then(|| serde_json::to_vec(&object).ok()).flatten()
}

fn decode_error(body: &[u8], error: &DeserializationError) -> ApiError {
    match error {
        DeserializationError::Json(error) => body_error(body, &error.to_string()),
        DeserializationError::Query(error) if error.to_string().contains("missing field") => {
            ApiError::missing_param(error.to_string())
        }
        other => ApiError::invalid_param(other.to_string()),
    }
}

fn body_error(body: &[u8], message: &str) -> ApiError {
    if std::str::from_utf8(body).is_err() {
        return ApiError::new(ErrorCode::NotJson, "Content not JSON: it is not UTF-8");
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        Err(error) => ApiError::new(ErrorCode::NotJson, format!("Content not JSON: {error}")),
        Ok(_) if message.contains("missing field") && body.trim_ascii().starts_with(b"{") => {
            ApiError::missing_param(message)
        }
        Ok(_) => ApiError::bad_json(message),
    }
}

/// An answer of ruma's type.
///
/// # Errors
/// If it cannot be serialised, which is our fault.
pub fn encode(response: impl OutgoingResponseExt) -> Result<Answer, ApiError> {
    response.try_into_http_response::<Vec<u8>>().map_err(ApiError::internal)
}

/// A JSON object, or `M_BAD_JSON`.
///
/// # Errors
/// `M_BAD_JSON` for anything else.
pub fn object(value: Value) -> Result<serde_json::Map<String, Value>, ApiError> {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(ApiError::bad_json("The body must be a JSON object")),
    }
}
