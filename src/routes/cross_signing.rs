//! Keys that stand for a person rather than a device, and who vouches for whom: Client-Server API,
//! "Cross-signing".

use http::Method;
use myelin_protocol::cross_signing::{
    CheckedSignatures, KeyType, NewKey, Refused, check_keys, check_signatures, read_signed,
};
use ruma::{OwnedUserId, UserId};
use serde_json::{Map, Value, json};

use super::Caller;
use super::access::Access;
use super::endpoint::{Answer, Incoming, Route, json as answer, raw};
use super::user_interactive::prove_identity;
use crate::accounts::device_changes;
use crate::error::{ApiError, ErrorCode};
use crate::serving::device_keys::{self, Asked, KeyRing};
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::device_lists;
use crate::storage::e2e_cross_signing::{self, CrossSigningKeyRow};

pub fn routes() -> Vec<Route> {
    let keys = &[
        "/_matrix/client/v3/keys/device_signing/upload",
        "/_matrix/client/unstable/keys/device_signing/upload",
    ];
    let signatures = &[
        "/_matrix/client/v3/keys/signatures/upload",
        "/_matrix/client/r0/keys/signatures/upload",
        "/_matrix/client/unstable/keys/signatures/upload",
    ];
    vec![raw(Method::POST, keys, upload_keys), raw(Method::POST, signatures, upload_signatures)]
}

fn refused(refused: &Refused) -> ApiError {
    let (status, errcode) = refused.code();
    let code = match errcode {
        "M_INVALID_PARAM" => ErrorCode::InvalidParam,
        "M_INVALID_SIGNATURE" => ErrorCode::InvalidSignature,
        "M_MISSING_PARAM" => ErrorCode::MissingParam,
        "M_NOT_FOUND" => ErrorCode::NotFound,
        "M_TOO_LARGE" => ErrorCode::TooLarge,
        _ => ErrorCode::Unknown,
    };
    ApiError::new(code, refused.to_string()).with_status(status)
}

/// `POST /_matrix/client/v3/keys/device_signing/upload`
async fn upload_keys(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let stored = e2e_cross_signing::select_keys(access.token()?, &[]);
    let (caller, results) = access.authenticate_with(vec![stored]).await?;
    caller.must_not_be_guest()?;
    let mut body: Map<String, Value> = incoming.json()?;
    let rows: Vec<CrossSigningKeyRow> = Results::new(results).rows()?;
    let stored = |key_type: KeyType| {
        let row = rows.iter().find(|row| row.key_type() == Some(key_type))?;
        serde_json::from_str::<Map<String, Value>>(&row.keydata).ok()
    };
    let differs = |body: &Map<String, Value>, key_type: KeyType| {
        let uploaded = body.get(key_type.field());
        uploaded.is_some_and(|key| Some(key) != stored(key_type).map(Value::Object).as_ref())
    };
    let has_keys = |body: &Map<String, Value>| {
        KeyType::ALL.iter().any(|key_type| body.contains_key(key_type.field()))
    };
    // A request that continues a session may leave out the keys.
    if (has_keys(&body) || !body.contains_key("auth"))
        && !KeyType::ALL.iter().any(|key_type| differs(&body, *key_type))
    {
        return answer(&json!({}));
    }
    // Who has no keys yet need not prove anything; nobody's trust is lost.
    if stored(KeyType::Master).is_some() {
        let description = "reset the device signing key on your account";
        body = prove_identity(&caller, &incoming, body, description).await?;
    }
    let user_id = caller.user_id.as_str();
    let keys = check_keys(user_id, &body, stored(KeyType::Master).as_ref());
    let mut keys = keys.map_err(|error| refused(&error))?;
    keys.retain(|key| differs(&body, key.key_type));
    store_keys(&caller, &keys).await?;
    answer(&json!({}))
}

async fn store_keys(caller: &Caller, keys: &[NewKey]) -> Result<(), ApiError> {
    let (context, user_id) = (&caller.context, &caller.user_id);
    let mut batch: Vec<Statement> =
        keys.iter().flat_map(|key| e2e_cross_signing::insert_key(user_id, key)).collect();
    // Others see the master and the self-signing key, as if they were devices.
    let visible = keys.iter().filter(|key| key.key_type != KeyType::UserSigning);
    let visible: Vec<&str> = visible.map(|key| key.public_part.as_str()).collect();
    if !visible.is_empty() {
        batch.extend(device_lists::record_ids(user_id, &visible, context.now_ms()));
    }
    if keys.iter().any(|key| key.key_type == KeyType::UserSigning) {
        batch.extend(device_lists::record_signatures(user_id, &[user_id.as_str()]));
    }
    if batch.is_empty() {
        return Ok(());
    }
    match device_changes::commit(context, user_id, batch).await {
        Ok(_) => Ok(()),
        Err(DatabaseError::Fenced) => {
            Err(ApiError::invalid_param("A device has the id of this key"))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /_matrix/client/v3/keys/signatures/upload`
async fn upload_signatures(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    access.token()?;
    let body: Map<String, Value> = incoming.json()?;
    let signed = read_signed(body).map_err(|error| refused(&error))?;
    let local = |user_id: &OwnedUserId| user_id.server_name() == access.context.server_name();
    let users = signed.keys().filter_map(|user_id| UserId::parse(user_id.as_str()).ok());
    let asked: Asked = users.filter(local).map(|user_id| (user_id, Vec::new())).collect();
    let statements = device_keys::statements(access.token()?, &asked);
    let (caller, results) = access.authenticate_with(statements).await?;
    let user_id = &caller.user_id;
    let ring = KeyRing::read(user_id, Results::new(results))?;
    let checked = check_signatures(user_id.as_str(), &signed, &ring.into_stored_keys(user_id));
    store_signatures(&caller, &checked).await?;
    answer(&json!({ "failures": failures(&checked) }))
}

async fn store_signatures(caller: &Caller, checked: &CheckedSignatures) -> Result<(), ApiError> {
    if checked.accepted.is_empty() {
        return Ok(());
    }
    let (context, user_id) = (&caller.context, &caller.user_id);
    let is_own = |target: &str| target == user_id.as_str();
    let mut batch = vec![e2e_cross_signing::insert_signatures(user_id, &checked.accepted)];
    let own = checked.accepted.iter().filter(|signature| is_own(&signature.target_user_id));
    let mut own: Vec<&str> = own.map(|signature| signature.target_device_id.as_str()).collect();
    own.sort_unstable();
    own.dedup();
    if !own.is_empty() {
        batch.extend(device_lists::record_ids(user_id, &own, context.now_ms()));
    }
    let others = checked.accepted.iter().map(|signature| signature.target_user_id.as_str());
    let others: Vec<&str> = others.filter(|target| !is_own(target)).collect();
    if !others.is_empty() {
        batch.extend(device_lists::record_signatures(user_id, &others));
    }
    device_changes::commit(context, user_id, batch).await?;
    Ok(())
}

/// By user and device: the error as the specification has it, and in the words of Synapse.
fn failures(checked: &CheckedSignatures) -> Value {
    let failure = |refused: &Refused| {
        let (status, errcode) = refused.code();
        let message = refused.to_string();
        json!({ "status": status, "errcode": errcode, "error": message, "message": message })
    };
    let of_user = |devices: &std::collections::BTreeMap<String, Refused>| -> Map<String, Value> {
        devices.iter().map(|(device, refused)| (device.clone(), failure(refused))).collect()
    };
    let users = checked.failures.iter().map(|(user_id, d)| (user_id.clone(), json!(of_user(d))));
    Value::Object(users.collect())
}
