//! Who asks: a request's token, and the user that it turns out to be.

use std::rc::Rc;

use myelin_protocol::application_service::ApplicationService;
use ruma::{OwnedDeviceId, OwnedUserId, UserId};

use super::endpoint::Incoming;
use crate::accounts::last_seen;
use crate::accounts::masquerade::Masquerade;
use crate::accounts::presence::Actor;
use crate::context::Context;
use crate::error::{ApiError, ErrorCode};
use crate::storage::access_tokens::{self, PresumedToken, TokenRow};
use crate::storage::database::{QueryResult, Statement};

/// Who calls: a user, on a device, with a valid token.
#[derive(Clone)]
pub struct Caller {
    pub context: Context,
    pub user_id: OwnedUserId,
    /// `None` for tokens without a device (an administrator's for a user).
    pub device_id: Option<OwnedDeviceId>,
    pub token_id: i64,
    pub is_guest: bool,
    pub is_admin: bool,
    pub is_suspended: bool,
    /// That speaks for the user.
    pub service: Option<Rc<ApplicationService>>,
    pub address: String,
    pub user_agent: String,
}

impl Caller {
    /// The caller as somebody whose presence this concerns.
    pub fn actor(&self) -> Actor {
        Actor {
            context: self.context.clone(),
            user_id: self.user_id.clone(),
            device_id: self.device_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// # Errors
    /// `M_FORBIDDEN` unless the path names the caller.
    pub fn must_be(&self, user_id: &UserId) -> Result<(), ApiError> {
        if self.user_id == user_id {
            return Ok(());
        }
        Err(ApiError::forbidden("You can only do this for yourself"))
    }

    /// # Errors
    /// `M_GUEST_ACCESS_FORBIDDEN` for guests.
    pub fn must_not_be_guest(&self) -> Result<(), ApiError> {
        if !self.is_guest {
            return Ok(());
        }
        Err(ApiError::new(ErrorCode::GuestAccessForbidden, "Guests cannot do this"))
    }

    /// # Errors
    /// `M_USER_SUSPENDED` for those whom an administrator has suspended.
    pub fn must_not_be_suspended(&self) -> Result<(), ApiError> {
        if !self.is_suspended {
            return Ok(());
        }
        Err(ApiError::suspended())
    }
}

/// Tokens whose row an isolate remembers: about 300 bytes each.
const TOKEN_ROWS_MAX: usize = 10_000;

/// A request whose token has not been looked at yet, so that a handler can look at it in the
/// same batch as its own reads.
#[derive(Clone)]
pub struct Access {
    pub context: Context,
    token: Option<String>,
    masquerade: Option<Masquerade>,
    admits_locked: bool,
    pub address: String,
    pub user_agent: String,
}

impl Access {
    /// The access that a request asks for.
    pub fn of(context: Context, incoming: &Incoming) -> Self {
        let token = incoming.access_token();
        let of =
            |token: &String| Masquerade::of(&context.config, token, |name| incoming.query(name));
        Self {
            masquerade: token.as_ref().and_then(of),
            context,
            token,
            admits_locked: false,
            address: incoming.address(),
            user_agent: incoming.user_agent(),
        }
    }

    /// The application service whose token it is.
    pub fn service(&self) -> Option<&Rc<ApplicationService>> {
        self.masquerade.as_ref().map(|masquerade| &masquerade.service)
    }

    /// The same for those as well whose account is locked.
    pub fn even_if_locked(self) -> Self {
        Self { admits_locked: true, ..self }
    }

    /// Authenticates with a batch of its own.
    ///
    /// # Errors
    /// `M_MISSING_TOKEN`, `M_UNKNOWN_TOKEN` (with `soft_logout`), `M_USER_DEACTIVATED`.
    pub async fn authenticate(self) -> Result<Caller, ApiError> {
        Ok(self.authenticate_with(Vec::new()).await?.0)
    }

    /// The token, for reads about its user that run before the user is known; the user for whom
    /// an application service speaks.
    ///
    /// # Errors
    /// `M_MISSING_TOKEN`
    pub fn token(&self) -> Result<&str, ApiError> {
        let user_id = self.masquerade.as_ref().map(|masquerade| masquerade.user_id.as_str());
        user_id.or(self.token.as_deref()).ok_or_else(ApiError::missing_token)
    }

    /// Whether the request has a token at all.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Authenticates and runs `statements` in the same batch.
    ///
    /// # Errors
    /// As [`Access::authenticate`].
    pub async fn authenticate_with(
        self,
        statements: Vec<Statement>,
    ) -> Result<(Caller, Vec<QueryResult>), ApiError> {
        let (caller, results) = self.try_authenticate_with(statements).await?;
        Ok((caller?, results))
    }

    /// As [`Access::authenticate_with`], but hands over the results also when the token is bad.
    async fn try_authenticate_with(
        self,
        statements: Vec<Statement>,
    ) -> Result<(Result<Caller, ApiError>, Vec<QueryResult>), ApiError> {
        let token = self.token.as_deref().ok_or_else(ApiError::missing_token)?;
        let mut batch = vec![match &self.masquerade {
            Some(masquerade) => masquerade.select(),
            None => access_tokens::select(token),
        }];
        batch.extend(statements);
        let mut results = self.context.batch(batch).await?;
        let row: Option<TokenRow> = results.remove(0).first()?;
        Ok((self.caller(row), results))
    }

    /// Whose the token was when this isolate last saw it. For reads by user in the batch that
    /// authenticates: what they bring counts only if the caller turns out to be that user.
    pub fn expected_user(&self) -> Option<OwnedUserId> {
        self.expected_device().map(|(user_id, _)| user_id)
    }

    /// As [`Access::expected_user`], with the device.
    pub fn expected_device(&self) -> Option<(OwnedUserId, Option<OwnedDeviceId>)> {
        if let Some(masquerade) = &self.masquerade {
            return Some((masquerade.user_id.clone(), masquerade.device_id.clone()));
        }
        let rows = self.context.isolate.token_rows.borrow();
        let row = rows.get(self.token.as_deref()?)?;
        Some((row.user_id.clone(), row.device_id.clone()))
    }

    /// The token as this isolate last saw it, for a write that itself looks whether that still
    /// holds. `None` where there is a reason to look before.
    pub fn presume(&self) -> Option<PresumedToken> {
        if self.masquerade.is_some() {
            return None;
        }
        let token = self.token.clone()?;
        let row = self.context.isolate.token_rows.borrow().get(&token)?.clone();
        if row.is_suspended || row.ends_refresh_token {
            return None;
        }
        let row = self.checked(Some(row)).ok()?;
        Some(PresumedToken { token, user_id: row.user_id, device_id: row.device_id? })
    }

    /// What [`Access::presume`] said has proved right.
    pub fn note_presumed(&self) {
        let Some(token) = &self.token else { return };
        let row = self.context.isolate.token_rows.borrow().get(token).cloned();
        if let Some(row) = row {
            last_seen::note(&self.context, &row, token, &self.address, &self.user_agent);
        }
    }

    /// It has not: who asks next is looked up.
    pub fn forget_presumed(&self) {
        let Some(token) = &self.token else { return };
        self.context.isolate.token_rows.borrow_mut().remove(token);
    }

    fn remember(&self, row: &TokenRow) {
        let Some(token) = &self.token else { return };
        let mut rows = self.context.isolate.token_rows.borrow_mut();
        if rows.len() >= TOKEN_ROWS_MAX {
            rows.clear();
        }
        rows.insert(token.clone(), row.clone());
    }

    fn caller(self, row: Option<TokenRow>) -> Result<Caller, ApiError> {
        let row = self.checked(row)?;
        if self.masquerade.is_none() {
            let token = self.token.as_deref().unwrap_or_default();
            last_seen::note(&self.context, &row, token, &self.address, &self.user_agent);
            self.remember(&row);
        }
        Ok(Caller {
            user_id: row.user_id,
            device_id: row.device_id,
            token_id: row.token_id,
            is_guest: row.is_guest,
            is_admin: row.is_admin,
            is_suspended: row.is_suspended,
            service: self.masquerade.map(|masquerade| masquerade.service),
            context: self.context,
            address: self.address,
            user_agent: self.user_agent,
        })
    }

    /// The row of a token that holds.
    fn checked(&self, row: Option<TokenRow>) -> Result<TokenRow, ApiError> {
        let row = match &self.masquerade {
            Some(masquerade) => masquerade.token(row)?,
            None => row.ok_or_else(|| ApiError::unknown_token(false))?,
        };
        if row.deactivated {
            return Err(ApiError::new(ErrorCode::UserDeactivated, "This account is deactivated"));
        }
        if row.valid_until_ms.is_some_and(|until_ms| until_ms < self.context.now_ms()) {
            return Err(ApiError::unknown_token(true));
        }
        if row.is_locked && !self.admits_locked {
            return Err(ApiError::user_locked());
        }
        Ok(row)
    }
}
