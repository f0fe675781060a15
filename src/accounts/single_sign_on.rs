//! Signing in elsewhere: whose account a name of an identity provider is, and the token with
//! which a client then logs in.
//!
//! Invariant: what the identity provider says is believed: its user `alice` is ours.

use myelin_protocol::{token, user_name};
use ruma::{OwnedUserId, UserId};
use url::Url;

use super::new_user;
use crate::config::Config;
use crate::context::Context;
use crate::error::{ApiError, ErrorCode};
use crate::outbound::cas::CasServer;
use crate::storage::database::Results;
use crate::storage::login_tokens::{self, LoginTokenRow};
use crate::storage::user_external_ids::{self, ExternalIdRow};
use crate::storage::users::{self, NewUser, UserRow};

/// The identity provider's id, under which Synapse keeps names of a CAS server.
pub const CAS: &str = "cas";

/// How long a login token is good for: Synapse's.
pub const LOGIN_TOKEN_LIFETIME_MS: u64 = 120_000;

/// Whether people can sign in elsewhere.
pub fn is_enabled(config: &Config) -> bool {
    CasServer::of(config).is_some()
}

/// Whether a client that is logged in can have a token for another one.
pub fn gives_login_tokens(config: &Config) -> bool {
    config.variable("LOGIN_VIA_EXISTING_SESSION").is_some_and(|value| value == "true")
}

/// Whose name it is, if they have ever signed in with it.
///
/// # Errors
/// If it cannot be read.
pub async fn find(context: &Context, external_id: &str) -> Result<Option<OwnedUserId>, ApiError> {
    let statement = user_external_ids::select(CAS, external_id);
    let row: Option<ExternalIdRow> = context.batch(vec![statement]).await?[0].first()?;
    Ok(row.map(|row| row.user_id))
}

/// The user who signs in with this name; they are made if there is none.
///
/// # Errors
/// `M_INVALID_USERNAME` for a name that no account can have; `M_FORBIDDEN` if it is a guest's, or
/// if no account is to be made.
pub async fn find_or_create(context: &Context, external_id: &str) -> Result<UserRow, ApiError> {
    match try_find_or_create(context, external_id).await {
        // Somebody who signs in twice at once.
        Err(error) if error.code() == ErrorCode::UserInUse => {
            try_find_or_create(context, external_id).await
        }
        outcome => outcome,
    }
}

async fn try_find_or_create(context: &Context, external_id: &str) -> Result<UserRow, ApiError> {
    let user_id = match find(context, external_id).await? {
        Some(user_id) => user_id,
        None => new_user::user_id(context, &user_name::mapped_localpart(external_id))?,
    };
    let select = users::select(std::slice::from_ref(&user_id));
    let user: Option<UserRow> = context.batch(vec![select.clone()]).await?[0].first()?;
    let insert = user_external_ids::insert(CAS, external_id, &user_id);
    match user {
        Some(user) if user.is_guest => return Err(ApiError::forbidden("This name is a guest's")),
        Some(_) => {
            context.batch(vec![insert]).await?;
        }
        None if !may_register(&context.config) => {
            return Err(ApiError::forbidden("There is no account for you on this server"));
        }
        None => {
            let user = NewUser::named_after(user_id);
            let aborted = || ApiError::internal("the registration was aborted");
            new_user::create(context, &user, None, vec![insert], aborted).await?;
        }
    }
    let user: Option<UserRow> = context.batch(vec![select]).await?[0].first()?;
    user.ok_or_else(|| ApiError::internal("a user who was just made is gone"))
}

fn may_register(config: &Config) -> bool {
    config.variable("CAS_REGISTRATION").is_none_or(|value| value == "true")
}

/// Makes a token with which a client logs in as this user, once.
///
/// # Errors
/// If it cannot be written.
pub async fn make_login_token(
    context: &Context,
    user_id: &UserId,
    auth_provider: Option<&str>,
) -> Result<String, ApiError> {
    let token = token::login_token(&context.random_string(token::RANDOM_LENGTH));
    let expiry_ts = context.now_ms() + LOGIN_TOKEN_LIFETIME_MS;
    let statement = login_tokens::insert(&token, user_id, expiry_ts, auth_provider);
    context.batch(vec![statement]).await?;
    Ok(token)
}

/// Uses a login token up. Two batches.
///
/// # Errors
/// `M_FORBIDDEN` unless the token is good.
pub async fn use_login_token(context: &Context, token: &str) -> Result<UserRow, ApiError> {
    let invalid = || ApiError::forbidden("Invalid login token");
    let statement = login_tokens::consume(token, context.now_ms());
    let row: Option<LoginTokenRow> = context.batch(vec![statement]).await?[0].first()?;
    let row = row.ok_or_else(invalid)?;
    let user: Option<UserRow> =
        context.batch(vec![users::select(&[row.user_id])]).await?[0].first()?;
    user.ok_or_else(invalid)
}

/// How a user can prove who they are.
pub struct Proofs {
    pub password: bool,
    pub single_sign_on: bool,
}

/// Reads how a user can prove who they are.
///
/// # Errors
/// If it cannot be read.
pub async fn proofs_of(context: &Context, user_id: &OwnedUserId) -> Result<Proofs, ApiError> {
    let statements = vec![
        users::select(std::slice::from_ref(user_id)),
        user_external_ids::select_of_user(CAS, user_id),
    ];
    let mut results = Results::new(context.batch(statements).await?);
    let user: Option<UserRow> = results.first()?;
    let external_id: Option<ExternalIdRow> = results.first()?;
    Ok(Proofs {
        password: user.is_some_and(|user| user.password_hash.is_some()),
        single_sign_on: external_id.is_some(),
    })
}

/// Where a client wants its user back, with a login token.
pub struct ClientRedirect(Url);

/// Schemes of which a browser runs or shows the rest, rather than going anywhere.
const SCHEMES_REFUSED: &[&str] = &["about", "blob", "data", "file", "javascript", "vbscript"];

impl ClientRedirect {
    /// # Errors
    /// `M_INVALID_PARAM` for what is no URL that one can be sent to.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        match Url::parse(text) {
            Ok(url) if !SCHEMES_REFUSED.contains(&url.scheme()) => Ok(Self(url)),
            _ => Err(ApiError::invalid_param("redirectUrl is not a URL of a client")),
        }
    }

    /// Whether the operator trusts this client with its users' accounts.
    pub fn is_trusted(&self, config: &Config) -> bool {
        let trusted = config.variable("SSO_CLIENT_WHITELIST").unwrap_or_default();
        trusted.split_whitespace().any(|prefix| self.0.as_str().starts_with(prefix))
    }

    /// Who is asked to be trusted, in words that cannot mislead.
    pub fn client(&self) -> String {
        match (self.0.scheme(), self.0.host_str()) {
            ("https", Some(host)) => host.to_owned(),
            (scheme, Some(host)) => format!("{scheme}://{host}"),
            (scheme, None) => format!("{scheme}:"),
        }
    }

    pub fn with_token(mut self, token: &str) -> Url {
        self.0.query_pairs_mut().append_pair("loginToken", token);
        self.0
    }
}
