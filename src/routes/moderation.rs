//! Accounts that an administrator locks or suspends. Client-Server API, "Server administration",
//! "Account moderation".

use http::Method;
use ruma::OwnedUserId;
use serde_json::{Map, json};

use super::access::{Access, Caller};
use super::endpoint::{Answer, Incoming, Route, json as answer, object, raw};
use crate::error::ApiError;
use crate::storage::database::Results;
use crate::storage::users::{self, UserRow};

pub fn routes() -> Vec<Route> {
    let get = |paths, measure| {
        raw(Method::GET, paths, move |access, incoming| tell(access, incoming, measure))
    };
    let put = |paths, measure| {
        raw(Method::PUT, paths, move |access, incoming| take(access, incoming, measure))
    };
    vec![
        get(&LOCK, Measure::Lock),
        put(&LOCK, Measure::Lock),
        get(&SUSPEND, Measure::Suspend),
        put(&SUSPEND, Measure::Suspend),
    ]
}

const LOCK: [&str; 2] = [
    "/_matrix/client/v1/admin/lock/{user_id}",
    "/_matrix/client/unstable/uk.timedout.msc4323/admin/lock/{user_id}",
];
const SUSPEND: [&str; 2] = [
    "/_matrix/client/v1/admin/suspend/{user_id}",
    "/_matrix/client/unstable/uk.timedout.msc4323/admin/suspend/{user_id}",
];

#[derive(Clone, Copy)]
enum Measure {
    /// The account cannot be used.
    Lock,
    /// The account can only be used to read, and to leave.
    Suspend,
}

impl Measure {
    fn name(self) -> &'static str {
        match self {
            Self::Lock => "locked",
            Self::Suspend => "suspended",
        }
    }

    fn answer(self, is_taken: bool) -> Result<Answer, ApiError> {
        answer(&Map::from_iter([(self.name().to_owned(), json!(is_taken))]))
    }
}

/// `GET /_matrix/client/v1/admin/lock/{userId}`, `GET /_matrix/client/v1/admin/suspend/{userId}`
async fn tell(access: Access, incoming: Incoming, measure: Measure) -> Result<Answer, ApiError> {
    let (_, user) = target(access, &incoming).await?;
    measure.answer(match measure {
        Measure::Lock => user.locked,
        Measure::Suspend => user.suspended,
    })
}

/// `PUT /_matrix/client/v1/admin/lock/{userId}`, `PUT /_matrix/client/v1/admin/suspend/{userId}`
async fn take(access: Access, incoming: Incoming, measure: Measure) -> Result<Answer, ApiError> {
    let (caller, user) = target(access, &incoming).await?;
    let body = object(incoming.json()?)?;
    let name = measure.name();
    let value = body.get(name).ok_or_else(|| ApiError::missing_param(format!("{name} is missing")));
    let is_taken = value?.as_bool();
    let is_taken = is_taken.ok_or_else(|| ApiError::bad_json(format!("{name} is no boolean")))?;
    let write = match measure {
        Measure::Lock => users::set_locked(&user.name, is_taken),
        Measure::Suspend => users::set_suspended(&user.name, is_taken),
    };
    caller.context.batch(vec![write]).await?;
    measure.answer(is_taken)
}

/// Who asks, and about whom. Only administrators learn who has an account.
///
/// # Errors
/// `M_FORBIDDEN` for those who are none, and about others who are one; `M_INVALID_PARAM` for a
/// user of another server; `M_NOT_FOUND` for one who has no account any more, or never had.
async fn target(access: Access, incoming: &Incoming) -> Result<(Caller, UserRow), ApiError> {
    let user_id = incoming.id::<OwnedUserId>(0);
    let asked: Vec<OwnedUserId> = user_id.iter().cloned().collect();
    let (caller, results) = access.authenticate_with(vec![users::select(&asked)]).await?;
    if !caller.is_admin {
        return Err(ApiError::forbidden("Only administrators can look at others"));
    }
    if user_id?.server_name() != caller.context.server_name() {
        return Err(ApiError::invalid_param("Only users of this server can be looked at"));
    }
    let user: Option<UserRow> = Results::new(results).first()?;
    let user = user.filter(|user| !user.deactivated);
    let user = user.ok_or_else(|| ApiError::not_found("There is no such user"))?;
    if user.admin {
        return Err(ApiError::forbidden("That user is an administrator"));
    }
    Ok((caller, user))
}
