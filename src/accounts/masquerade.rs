//! Application services come with their own token, and speak for the user whom `?user_id=` names,
//! on the device that `?device_id=` names. Application Service API, "Identity assertion".

use std::rc::Rc;

use myelin_protocol::application_service::ApplicationService;
use ruma::{OwnedDeviceId, OwnedUserId};
use subtle::ConstantTimeEq;

use crate::config::Config;
use crate::error::{ApiError, ErrorCode};
use crate::storage::access_tokens::{self, TokenRow};
use crate::storage::database::Statement;

/// An application service, as the user for whom it speaks.
#[derive(Clone)]
pub struct Masquerade {
    pub service: Rc<ApplicationService>,
    /// Its own user, if it names none.
    pub user_id: OwnedUserId,
    pub device_id: Option<OwnedDeviceId>,
    /// Whether it names somebody who is not of this server, or nobody.
    is_stranger: bool,
}

impl Masquerade {
    /// Who comes with this token; `None` if it is of no application service.
    pub fn of(
        config: &Config,
        token: &str,
        query: impl Fn(&str) -> Option<String>,
    ) -> Option<Self> {
        let is_its = |service: &&Rc<ApplicationService>| {
            bool::from(service.as_token.as_bytes().ct_eq(token.as_bytes()))
        };
        let service = config.application_services.iter().find(is_its)?.clone();
        let asked = query("user_id").map(OwnedUserId::try_from);
        let is_stranger = asked.as_ref().is_some_and(|asked| {
            asked.as_ref().map_or(true, |user_id| user_id.server_name() != config.server_name)
        });
        let user_id = asked.and_then(Result::ok).unwrap_or_else(|| service.sender.clone());
        let device_id = query("device_id").or_else(|| query("org.matrix.msc3202.device_id"));
        Some(Self { service, user_id, device_id: device_id.map(Into::into), is_stranger })
    }

    /// Reads one [`TokenRow`], as if there were a token of the user.
    pub fn select(&self) -> Statement {
        access_tokens::select_without(&self.user_id, self.device_id.as_deref())
    }

    /// What its token is good for, by what [`Masquerade::select`] has found.
    ///
    /// # Errors
    /// `M_FORBIDDEN` for who is not of its namespace, or not registered; `M_UNKNOWN_DEVICE`.
    pub fn token(&self, row: Option<TokenRow>) -> Result<TokenRow, ApiError> {
        if self.is_stranger || !self.service.has_user(&self.user_id) {
            let message = "Application service cannot masquerade as this user";
            return Err(ApiError::forbidden(message));
        }
        if let Some(row) = row {
            if self.device_id.is_some() && row.device_id.is_none() {
                let message = "Application service trying to use a device that doesn't exist";
                return Err(ApiError::new(ErrorCode::UnknownDevice, message));
            }
            return Ok(row);
        }
        // Its own user need not be registered.
        if self.user_id != self.service.sender {
            let message = "Application service has not registered this user";
            return Err(ApiError::forbidden(message));
        }
        Ok(TokenRow::of_unregistered(self.user_id.clone()))
    }
}
