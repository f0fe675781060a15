//! Proving who one is before something grave: Client-Server API, "User-Interactive
//! Authentication API".

use myelin_protocol::user_interactive::{Flows, PASSWORD, SSO};
use serde_json::{Map, Value};

use super::{Caller, Incoming};
use crate::accounts::passwords;
use crate::accounts::single_sign_on;
use crate::accounts::user_interactive::{Operation, Session, advance};
use crate::error::ApiError;
use crate::storage::access_tokens;

/// What a caller asks for who has proved who they are. An application service has, by its token.
///
/// # Errors
/// The challenge, as long as they have not.
pub async fn prove_identity(
    caller: &Caller,
    incoming: &Incoming,
    mut body: Map<String, Value>,
    description: &'static str,
) -> Result<Map<String, Value>, ApiError> {
    if caller.service.is_some() {
        body.remove("auth");
        return Ok(body);
    }
    let session = prove_identity_keeping(caller, incoming, body, description, None).await?;
    Ok(session.client)
}

/// The session of a request whose caller has proved who they are. One that has to be continued
/// keeps the hash of this password.
///
/// # Errors
/// The challenge, as long as the caller has not proved who they are.
pub async fn prove_identity_keeping(
    caller: &Caller,
    incoming: &Incoming,
    body: Map<String, Value>,
    description: &'static str,
    new_password: Option<&str>,
) -> Result<Session, ApiError> {
    let context = &caller.context;
    let operation = Operation {
        flows: flows(caller).await?,
        params: Map::new(),
        method: incoming.http.method().to_string(),
        uri: incoming.http.uri().path().to_owned(),
        description,
        user_id: Some(caller.user_id.clone()),
        address: caller.address.clone(),
        user_agent: caller.user_agent.clone(),
    };
    let mut session = advance(context, &operation, body).await?;
    if !session.is_complete(&operation) {
        let guard = passwords::guard_of(&caller.user_id);
        session.remember_password(context, &guard, new_password).await?;
        return Err(session.challenge(context, &operation).await);
    }
    context.batch(vec![access_tokens::mark_validated(caller.token_id, context.now_ms())]).await?;
    Ok(session)
}

/// The ways in which the caller can prove who they are. Without single sign-on there is one, and
/// nothing has to be read.
async fn flows(caller: &Caller) -> Result<Flows, ApiError> {
    let context = &caller.context;
    if !single_sign_on::is_enabled(&context.config) {
        return Ok(vec![vec![PASSWORD]]);
    }
    let proofs = single_sign_on::proofs_of(context, &caller.user_id).await?;
    let stages = [(PASSWORD, proofs.password), (SSO, proofs.single_sign_on)];
    Ok(stages.into_iter().filter(|(_, usable)| *usable).map(|(stage, _)| vec![stage]).collect())
}

/// The body of a request that is only a proof: what is not JSON counts as empty.
///
/// # Errors
/// `M_BAD_JSON` for JSON that is no object.
pub fn proof_body(incoming: &Incoming) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_slice(incoming.http.body()) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err(ApiError::bad_json("The body must be a JSON object")),
        Err(_) => Ok(Map::new()),
    }
}
