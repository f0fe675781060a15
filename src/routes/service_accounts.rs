//! Accounts that application services make and log in to. Application Service API, "Server admin
//! style permissions" and "Using m.login.application_service".

use std::rc::Rc;

use myelin_protocol::application_service::ApplicationService;
use myelin_protocol::user_name;
use ruma::OwnedUserId;
use serde_json::{Map, Value};

use super::{Access, Answer, json};
use crate::accounts::application_services::{exclusive, must_be_free_user};
use crate::accounts::new_user;
use crate::accounts::session::SessionRequest;
use crate::error::{ApiError, ErrorCode};
use crate::storage::users::{self, NewUser, UserRow};

/// The type of registrations and logins by application services.
pub const APPLICATION_SERVICE: &str = "m.login.application_service";

/// The service that asks, for what a user of its namespace is needed.
fn service(access: &Access) -> Result<&Rc<ApplicationService>, ApiError> {
    if !access.has_token() {
        return Err(ApiError::missing_token());
    }
    access.service().ok_or_else(|| ApiError::unknown_token(false))
}

/// `POST /_matrix/client/v3/register` of an application service: no stages, no password.
pub async fn register(access: &Access, body: &Map<String, Value>) -> Result<Answer, ApiError> {
    let (context, service) = (&access.context, service(access)?);
    let username = body.get("username").and_then(Value::as_str);
    let username = username.ok_or_else(|| ApiError::missing_param("username is missing"))?;
    let user_id = user_name::any_user_id(username, context.server_name())
        .map_err(|error| ApiError::new(ErrorCode::InvalidUsername, error.to_string()))?;
    must_be_free_user(&context.config, &user_id, Some(service))?;
    let request = SessionRequest::read(body)?;
    let is_inhibited = body.get("inhibit_login").and_then(Value::as_bool).unwrap_or(false);
    let user = NewUser { appservice_id: Some(service.id.clone()), ..NewUser::named_after(user_id) };
    let session = (!is_inhibited).then_some(&request);
    let aborted = || ApiError::internal("the registration was aborted");
    json(&new_user::create(context, &user, session, Vec::new(), aborted).await?)
}

/// Whom an application service logs in: `POST /_matrix/client/v3/login`.
pub async fn log_in(access: &Access, body: &Map<String, Value>) -> Result<UserRow, ApiError> {
    let (context, service) = (&access.context, service(access)?);
    let name = body.get("identifier").and_then(|identifier| identifier.get("user"));
    let name = name.or_else(|| body.get("user")).and_then(Value::as_str);
    let name = name.ok_or_else(|| ApiError::missing_param("identifier.user is missing"))?;
    let named = user_name::parse_login_name(name, context.server_name()).map(|name| name.exact);
    let is_its = |user_id: &OwnedUserId| {
        user_id.server_name() == context.server_name() && service.has_user(user_id)
    };
    let foreign = || exclusive("This user is not one of the application service's.");
    let user_id = named.filter(is_its).ok_or_else(foreign)?;
    let read = vec![users::select(std::slice::from_ref(&user_id))];
    let row: Option<UserRow> = context.batch(read).await?[0].first()?;
    row.ok_or_else(|| ApiError::forbidden("There is no such user"))
}
