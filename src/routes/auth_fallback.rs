//! The pages of stages that a client does not know: Client-Server API, "User-interactive
//! Authentication API", "Fallback".

use http::Method;
use myelin_protocol::user_interactive::{RECAPTCHA, REGISTRATION_TOKEN, SSO, TERMS};
use serde_json::{Map, Value, json};

use super::page::{STAGE_DONE, escape, page};
use super::{Access, Answer, Incoming, Route, raw};
use crate::accounts::terms::Terms;
use crate::accounts::user_interactive::{complete_elsewhere, description_for_sign_on};
use crate::context::Context;
use crate::error::{ApiError, ErrorCode};
use crate::outbound::cas::CasServer;
use crate::outbound::recaptcha::Recaptcha;

const TITLE: &str = "Registration";

/// The field in which the captcha's own script puts its response.
const CAPTCHA_FIELD: &str = "g-recaptcha-response";

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
    if incoming.arg(0) == SSO {
        return show_sign_on(&access.context, &incoming, &session).await;
    }
    page(200, TITLE, &form(&access.context, incoming.arg(0), &session, "")?)
}

/// Sends somebody to sign in again, once they know what for.
async fn show_sign_on(
    context: &Context,
    incoming: &Incoming,
    session: &str,
) -> Result<Answer, ApiError> {
    let server = CasServer::of(&context.config).ok_or_else(no_page)?;
    let description = description_for_sign_on(context, session).await?;
    let service = incoming.cas_service(context, "session", session)?;
    let content = format!(
        "<p>A client wants to {}. To confirm it, sign in again.</p>
      <p>If that was not you, close this window: your account may be in danger.</p>
      <p><a href=\"{}\">Sign in</a></p>",
        escape(&description),
        escape(server.login_url(service.as_str())?.as_str())
    );
    page(200, "Confirm that it is you", &content)
}

fn no_page() -> ApiError {
    ApiError::not_found("There is no page for this stage")
}

/// `POST` to the same, from the form.
async fn complete(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let context = &access.context;
    let mut fields: Map<String, Value> = url::form_urlencoded::parse(incoming.http.body())
        .map(|(name, value)| (name.into_owned(), json!(value)))
        .collect();
    if let Some(response) = fields.remove(CAPTCHA_FIELD) {
        fields.insert("response".to_owned(), response);
    }
    let session = fields.get("session").and_then(Value::as_str);
    let session = session.ok_or_else(|| ApiError::missing_param("session is missing"))?;
    let stage = incoming.arg(0);
    // A stage that has no page cannot be completed here either.
    form(context, stage, session, "")?;
    match complete_elsewhere(context, session, stage, &fields, &access.address).await {
        Ok(()) => page(200, TITLE, STAGE_DONE),
        Err(error)
            if matches!(error.code(), ErrorCode::Unauthorized | ErrorCode::CaptchaNeeded) =>
        {
            page(401, TITLE, &form(context, stage, session, error.message())?)
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
        RECAPTCHA => {
            let recaptcha = Recaptcha::of(&context.config).ok_or_else(no_page)?;
            let script = "https://www.recaptcha.net/recaptcha/api.js";
            let key = escape(recaptcha.public_key);
            format!(
                "<script src=\"{script}\" async defer></script>
        <div class=\"g-recaptcha\" data-sitekey=\"{key}\"></div>
        <button>Go on</button>"
            )
        }
        _ => return Err(no_page()),
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
