//! The pages of stages that a client does not know: Client-Server API, "User-interactive
//! Authentication API", "Fallback".

use http::Method;
use myelin_protocol::user_interactive::{REGISTRATION_TOKEN, TERMS};
use serde_json::{Map, Value, json};

use super::{Access, Answer, Incoming, Route, raw};
use crate::accounts::terms::Terms;
use crate::accounts::user_interactive::complete_elsewhere;
use crate::context::Context;
use crate::error::{ApiError, ErrorCode};

const PAGE: &str = include_str!("auth_fallback.html");

/// What is shown when the stage is complete: it tells the client, which opened this page.
const DONE: &str = "<p>Thank you. You can close this window and go back to your client.</p>
      <script>
        if (window.onAuthDone) window.onAuthDone();
        else if (window.opener) window.opener.postMessage(\"authDone\", \"*\");
      </script>";

const PATHS: &[&str] = &[
    "/_matrix/client/v3/auth/{auth_type}/fallback/web",
    "/_matrix/client/r0/auth/{auth_type}/fallback/web",
];

pub fn routes() -> Vec<Route> {
    vec![raw(Method::GET, PATHS, show), raw(Method::POST, PATHS, complete)]
}

/// `GET /_matrix/client/v3/auth/{authType}/fallback/web`
async fn show(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let session = incoming.query("session");
    let session = session.ok_or_else(|| ApiError::missing_param("session is missing"))?;
    page(200, &form(&access.context, incoming.arg(0), &session, "")?)
}

/// `POST` to the same, from the form.
async fn complete(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let context = &access.context;
    let fields: Map<String, Value> = url::form_urlencoded::parse(incoming.http.body())
        .map(|(name, value)| (name.into_owned(), json!(value)))
        .collect();
    let session = fields.get("session").and_then(Value::as_str);
    let session = session.ok_or_else(|| ApiError::missing_param("session is missing"))?;
    let stage = incoming.arg(0);
    // A stage that has no page cannot be completed here either.
    form(context, stage, session, "")?;
    match complete_elsewhere(context, session, stage, &fields).await {
        Ok(()) => page(200, DONE),
        Err(error) if error.code() == ErrorCode::Unauthorized => {
            page(401, &form(context, stage, session, error.message())?)
        }
        Err(error) => Err(error),
    }
}

/// The form of a stage.
fn form(context: &Context, stage: &str, session: &str, problem: &str) -> Result<String, ApiError> {
    let content = match stage {
        TERMS => {
            let terms = Terms::of(&context.config);
            let terms = terms.ok_or_else(|| ApiError::not_found("There are no terms"))?;
            let (url, name) = (escape(terms.url), escape(terms.name));
            format!(
                "<p>Please read <a href=\"{url}\" target=\"_blank\" rel=\"noopener\">{name}</a>.</p>
        <button>I agree</button>"
            )
        }
        REGISTRATION_TOKEN => "<label for=\"token\">Registration token</label>
        <input id=\"token\" name=\"token\" autocomplete=\"off\" required>
        <button>Go on</button>"
            .to_owned(),
        _ => return Err(ApiError::not_found("There is no page for this stage")),
    };
    Ok(format!(
        "<form method=\"post\">
        <input type=\"hidden\" name=\"session\" value=\"{}\">
        {content}
      </form>
      <p role=\"alert\">{}</p>",
        escape(session),
        escape(problem)
    ))
}

fn escape(text: &str) -> String {
    let replaced = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    replaced.replace('"', "&quot;").replace('\'', "&#39;")
}

fn page(status: u16, content: &str) -> Result<Answer, ApiError> {
    http::Response::builder()
        .status(status)
        .header("content-type", "text/html; charset=utf-8")
        .header("x-frame-options", "DENY")
        .header("referrer-policy", "no-referrer")
        .body(PAGE.replace("<!-- content -->", content).into_bytes())
        .map_err(ApiError::internal)
}
