//! Logging in at an identity provider: Client-Server API, "SSO client login/authentication".

use http::Method;
use url::Url;

use super::page::{STAGE_DONE, escape, page};
use super::{Access, Answer, Incoming, Route, raw};
use crate::accounts::single_sign_on::{self, CAS, ClientRedirect};
use crate::accounts::user_interactive::complete_by_sign_on;
use crate::context::Context;
use crate::error::ApiError;
use crate::outbound::cas::CasServer;

pub fn routes() -> Vec<Route> {
    let redirects = &[
        "/_matrix/client/v3/login/sso/redirect",
        "/_matrix/client/r0/login/sso/redirect",
        "/_matrix/client/v3/login/sso/redirect/{idp_id}",
        "/_matrix/client/r0/login/sso/redirect/{idp_id}",
        "/_matrix/client/v3/login/cas/redirect",
        "/_matrix/client/r0/login/cas/redirect",
    ];
    let tickets = &["/_matrix/client/v3/login/cas/ticket", "/_matrix/client/r0/login/cas/ticket"];
    vec![raw(Method::GET, redirects, redirect), raw(Method::GET, tickets, take_ticket)]
}

/// `GET /_matrix/client/v3/login/sso/redirect/{idpId}`
async fn redirect(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let context = &access.context;
    let server = CasServer::of(&context.config).ok_or_else(ApiError::unrecognized)?;
    if !matches!(incoming.arg(0), "" | CAS) {
        return Err(ApiError::not_found("Unknown identity provider"));
    }
    let client = incoming.query("redirectUrl");
    let client = client.ok_or_else(|| ApiError::missing_param("redirectUrl is missing"))?;
    ClientRedirect::parse(&client)?;
    let service = incoming.cas_service(context, "redirectUrl", &client)?;
    send_to(&server.login_url(service.as_str())?)
}

fn send_to(url: &Url) -> Result<Answer, ApiError> {
    http::Response::builder()
        .status(302)
        .header("location", url.as_str())
        .header("cache-control", "no-store")
        .body(Vec::new())
        .map_err(ApiError::internal)
}

/// `GET /_matrix/client/r0/login/cas/ticket`: where a CAS server sends people back.
async fn take_ticket(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let context = &access.context;
    let server = CasServer::of(&context.config).ok_or_else(ApiError::unrecognized)?;
    let ticket = incoming.query("ticket");
    let ticket = ticket.ok_or_else(|| ApiError::missing_param("ticket is missing"))?;
    let (name, value) = match (incoming.query("session"), incoming.query("redirectUrl")) {
        (Some(session), _) => ("session", session),
        (None, Some(client)) => ("redirectUrl", client),
        (None, None) => {
            return Err(ApiError::missing_param("redirectUrl and session are missing"));
        }
    };
    let service = incoming.cas_service(context, name, &value)?;
    let external_id = match server.user_of(context, &ticket, service.as_str()).await? {
        Ok(external_id) => external_id,
        Err(error) => {
            crate::log::warn(&format!("a CAS ticket shows nobody: {error}"));
            return failure(401, "The server at which you signed in did not confirm it.");
        }
    };
    if name == "session" {
        return prove(context, &value, &external_id).await;
    }
    log_in(context, &external_id, ClientRedirect::parse(&value)?).await
}

/// Hands a login token to the client, if its user or the operator trusts it.
async fn log_in(
    context: &Context,
    external_id: &str,
    client: ClientRedirect,
) -> Result<Answer, ApiError> {
    let user = match single_sign_on::find_or_create(context, external_id).await {
        Ok(user) => user,
        Err(error) if error.status() < 500 => {
            return failure(error.status(), &escape(error.message()));
        }
        Err(error) => return Err(error),
    };
    if user.deactivated {
        return failure(403, "This account has been deactivated.");
    }
    let token = single_sign_on::make_login_token(context, &user.name, Some(CAS)).await?;
    if client.is_trusted(&context.config) {
        return send_to(&client.with_token(&token));
    }
    let (name, user_id) = (escape(&client.client()), escape(user.name.as_str()));
    let url = client.with_token(&token);
    let content = format!(
        "<p>You are signed in as <strong>{user_id}</strong>.</p>
      <p>If you go on, <strong>{name}</strong> gets access to your account.</p>
      <p><a href=\"{}\">Go on</a></p>",
        escape(url.as_str())
    );
    page(200, "Log in", &content)
}

/// Completes the stage of a session whose user has signed in again.
async fn prove(context: &Context, session: &str, external_id: &str) -> Result<Answer, ApiError> {
    let user_id = single_sign_on::find(context, external_id).await?;
    if complete_by_sign_on(context, session, user_id.as_ref()).await? {
        return page(200, "Confirm that it is you", STAGE_DONE);
    }
    // Synapse's status; the client learns of it from the operation.
    failure(200, "You signed in as somebody else than your client is logged in as.")
}

fn failure(status: u16, message: &str) -> Result<Answer, ApiError> {
    page(status, "Signing in failed", &format!("<p role=\"alert\">{message}</p>"))
}
