//! Names that belong to application services: nobody else may make such users and aliases.

use std::rc::Rc;

use myelin_protocol::application_service::ApplicationService;
use ruma::{RoomAliasId, UserId};

use crate::config::Config;
use crate::context::Context;
use crate::error::{ApiError, ErrorCode};
use crate::outbound::application_services as outbound;

/// # Errors
/// `M_EXCLUSIVE` for a user whom another application service has to itself, and for one of whom
/// the one that asks does not say that they are its own.
pub fn must_be_free_user(
    config: &Config,
    user_id: &UserId,
    asks: Option<&Rc<ApplicationService>>,
) -> Result<(), ApiError> {
    if asks.is_some_and(|service| !service.has_user(user_id)) {
        return Err(exclusive("Invalid user localpart for this application service."));
    }
    let is_asking = |one: &ApplicationService| asks.is_some_and(|service| service.id == one.id);
    let mut services = config.application_services.iter();
    match services.any(|one| one.owns_user(user_id) && !is_asking(one)) {
        true => Err(exclusive("This user ID is reserved by an application service.")),
        false => Ok(()),
    }
}

/// # Errors
/// `M_EXCLUSIVE` for an alias that another application service has to itself, and for one of
/// which the one that asks does not say that it is about.
pub fn must_be_free_alias(
    config: &Config,
    alias: &RoomAliasId,
    asks: Option<&Rc<ApplicationService>>,
) -> Result<(), ApiError> {
    if let Some(service) = asks {
        return match service.has_alias(alias) {
            true => Ok(()),
            false => {
                Err(exclusive("This application service has not reserved this kind of alias."))
            }
        };
    }
    match config.application_services.iter().any(|service| service.owns_alias(alias)) {
        true => Err(exclusive("This alias is reserved by an application service.")),
        false => Ok(()),
    }
}

/// Asks the services that an unknown alias is about; whether one of them has made it now.
pub async fn make_alias(context: &Context, alias: &RoomAliasId) -> bool {
    if alias.server_name() != context.server_name() {
        return false;
    }
    for service in context.services_that_listen().filter(|service| service.has_alias(alias)) {
        if outbound::ask(context, &service, &["rooms", alias.as_str()], &[]).await.is_some() {
            return true;
        }
    }
    false
}

pub fn exclusive(message: &str) -> ApiError {
    ApiError::new(ErrorCode::Exclusive, message)
}
