//! Messages to devices: Client-Server API, "Send-to-Device messaging".

use std::collections::BTreeSet;

use http::Method;
use myelin_protocol::to_device::{self, ID_BYTES_MAX, RefusedMessages};
use ruma::UserId;
use serde_json::{Map, Value, json};

use super::access::Access;
use super::endpoint::{Answer, Incoming, Route, json as answer, raw};
use crate::durable::Announcement;
use crate::error::{ApiError, ErrorCode};
use crate::storage::database::{DatabaseError, Results};
use crate::storage::device_inbox::{self, RecipientRow};

pub fn routes() -> Vec<Route> {
    let paths = &[
        "/_matrix/client/v3/sendToDevice/{eventType}/{txnId}",
        "/_matrix/client/r0/sendToDevice/{eventType}/{txnId}",
        "/_matrix/client/unstable/sendToDevice/{eventType}/{txnId}",
    ];
    vec![raw(Method::PUT, paths, send)]
}

/// `PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}`
async fn send(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    access.token()?;
    let (event_type, txn_id) = (incoming.arg(0), incoming.arg(1));
    if event_type.len().max(txn_id.len()) > ID_BYTES_MAX {
        let message = format!("Types and transaction ids have at most {ID_BYTES_MAX} bytes");
        return Err(ApiError::invalid_param(message));
    }
    let body: Map<String, Value> = incoming.json()?;
    let messages = body.get("messages");
    let messages = messages.ok_or_else(|| ApiError::missing_param("messages is missing"))?;
    let messages = messages.as_object().ok_or_else(|| refused(&RefusedMessages::Malformed))?;
    let done = device_inbox::select_transaction(access.token()?, event_type, txn_id);
    let (caller, results) = access.authenticate_with(vec![done]).await?;
    if Results::new(results).first::<Value>()?.is_some() {
        return answer(&json!({}));
    }
    let sender = caller.user_id.as_str();
    let mut read = to_device::read(messages, event_type, sender).map_err(|e| refused(&e))?;
    // Other servers are not reached.
    let server_name = caller.context.server_name();
    read.retain(|message| {
        UserId::parse(message.user_id.as_str())
            .is_ok_and(|user_id| user_id.server_name() == server_name)
    });
    let device_id = caller.device_id.as_deref();
    let now_ms = caller.context.now_ms();
    let user_id = &caller.user_id;
    let noted = device_inbox::insert_transaction(user_id, device_id, event_type, txn_id, now_ms);
    let mut batch = vec![noted];
    if !read.is_empty() {
        batch.extend(device_inbox::insert(&read));
    }
    let results = match caller.context.batch(batch).await {
        // The same request has been done in the meantime.
        Err(DatabaseError::Constraint(_)) => return answer(&json!({})),
        results => results?,
    };
    let mut recipients = BTreeSet::new();
    for result in results.iter().skip(2) {
        recipients.extend(result.rows::<RecipientRow>()?.into_iter().map(|row| row.user_id));
    }
    if !recipients.is_empty() {
        caller.context.announce(Announcement::Users(recipients.into_iter().collect()));
    }
    answer(&json!({}))
}

fn refused(error: &RefusedMessages) -> ApiError {
    match error {
        RefusedMessages::Malformed => ApiError::bad_json(error.to_string()),
        _ => ApiError::new(ErrorCode::TooLarge, error.to_string()),
    }
}
