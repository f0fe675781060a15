//! Keys of devices and cross-signing keys as one user sees them: with the signatures of their
//! owner, and those that the reader has made.

use std::borrow::Cow;
use std::collections::BTreeMap;

use myelin_protocol::cross_signing::{KeyType, StoredKeys, public_part};
use ruma::{OwnedUserId, UserId};
use serde_json::{Map, Value, json};

use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::e2e_cross_signing::{self, CrossSigningKeyRow, SignatureRow};
use crate::storage::e2e_device_keys::{self, AskedUser, DeviceKeysRow};

type Object = Map<String, Value>;

/// No device has a longer id.
pub const DEVICE_ID_BYTES_MAX: usize = 512;

/// Users whose keys one statement reads.
const USERS_MAX: usize = 1000;

/// Device ids among them that one statement is given.
const DEVICES_MAX: usize = 2000;

/// Whose keys are asked: all devices of a user, if none is named.
pub type Asked = BTreeMap<OwnedUserId, Vec<String>>;

/// What is asked, in parts that each fit into one statement.
fn parts(asked: &Asked) -> Vec<Vec<AskedUser<'_>>> {
    let mut parts: Vec<(usize, Vec<AskedUser<'_>>)> = Vec::new();
    for (user_id, device_ids) in asked {
        // Who is asked for one device too long to exist is not asked for all.
        let all = if device_ids.is_empty() { vec![&[][..]] } else { Vec::new() };
        for device_ids in all.into_iter().chain(device_ids.chunks(DEVICES_MAX)) {
            let one = AskedUser { user_id, device_ids: Cow::Borrowed(device_ids) };
            match parts.last_mut() {
                Some((count, users))
                    if users.len() < USERS_MAX && *count + device_ids.len() <= DEVICES_MAX =>
                {
                    *count += device_ids.len();
                    users.push(one);
                }
                _ => parts.push((device_ids.len(), vec![one])),
            }
        }
    }
    parts.into_iter().map(|(_, users)| users).collect()
}

/// The statements that read what is asked; [`KeyRing::read`] takes their results. In the batch
/// that authenticates, the token stands for the reader.
pub fn statements(user_or_token: &str, asked: &Asked) -> Vec<Statement> {
    let of_part = |users: Vec<AskedUser<'_>>| {
        let user_ids: Vec<&UserId> = users.iter().map(|one| one.user_id).collect();
        [
            e2e_device_keys::select(&users),
            e2e_cross_signing::select_keys(user_or_token, &user_ids),
            e2e_cross_signing::select_signatures(user_or_token, &user_ids),
        ]
    };
    parts(asked).into_iter().flat_map(of_part).collect()
}

/// The keys of some users.
#[derive(Debug, Default)]
pub struct KeyRing {
    devices: BTreeMap<(OwnedUserId, String), Object>,
    cross_signing: BTreeMap<(String, KeyType), Object>,
}

impl KeyRing {
    /// Takes the results of [`statements`], which are all the results there are.
    ///
    /// # Errors
    /// If the rows are not of those statements.
    pub fn read(reader: &UserId, results: Results) -> Result<Self, DatabaseError> {
        let rest = results.rest();
        let mut ring = Self::default();
        for part in rest.chunks(3) {
            let mut results = Results::new(part.to_vec());
            for row in results.rows::<DeviceKeysRow>()? {
                ring.add_device(row);
            }
            for row in results.rows::<CrossSigningKeyRow>()? {
                ring.add_cross_signing_key(&row);
            }
            for row in results.rows::<SignatureRow>()? {
                ring.add_signature(reader, &row);
            }
        }
        Ok(ring)
    }

    fn add_device(&mut self, row: DeviceKeysRow) {
        let Some(mut keys) = object(&row.key_json) else { return };
        let unsigned = match row.display_name {
            Some(name) => json!({ "device_display_name": name }),
            None => json!({}),
        };
        keys.insert("unsigned".to_owned(), unsigned);
        self.devices.insert((row.user_id, row.device_id), keys);
    }

    fn add_cross_signing_key(&mut self, row: &CrossSigningKeyRow) {
        if let (Some(key_type), Some(key)) = (row.key_type(), object(&row.keydata)) {
            self.cross_signing.insert((row.user_id.to_string(), key_type), key);
        }
    }

    fn add_signature(&mut self, reader: &UserId, row: &SignatureRow) {
        if row.user_id == row.target_user_id {
            let device = (row.target_user_id.clone(), row.target_device_id.clone());
            if let Some(keys) = self.devices.get_mut(&device) {
                sign(keys, row);
            }
        }
        if row.user_id != reader {
            return;
        }
        for key_type in KeyType::ALL {
            let name = (row.target_user_id.to_string(), key_type);
            let key = self.cross_signing.get_mut(&name);
            if let Some(key) = key.filter(|key| public_part(key) == Some(&*row.target_device_id)) {
                sign(key, row);
            }
        }
    }

    /// The answer to a query. Other users' user-signing keys are nobody's business.
    pub fn into_answer(mut self, reader: &UserId, asked: &Asked) -> Object {
        let users = asked.keys().map(|user_id| (user_id.clone(), Object::new()));
        let mut device_keys: BTreeMap<OwnedUserId, Object> = users.collect();
        for ((user_id, device_id), keys) in self.devices {
            let of_user = device_keys.entry(user_id).or_default();
            of_user.insert(device_id, Value::Object(keys));
        }
        let mut answer = Object::new();
        answer.insert("device_keys".to_owned(), json!(device_keys));
        for (key_type, field) in [
            (KeyType::Master, "master_keys"),
            (KeyType::SelfSigning, "self_signing_keys"),
            (KeyType::UserSigning, "user_signing_keys"),
        ] {
            let visible = asked
                .keys()
                .filter(|user_id| key_type != KeyType::UserSigning || *user_id == reader)
                .filter_map(|user_id| {
                    let key = self.cross_signing.remove(&(user_id.to_string(), key_type))?;
                    Some((user_id.to_string(), Value::Object(key)))
                });
            let visible: Object = visible.collect();
            answer.insert(field.to_owned(), Value::Object(visible));
        }
        answer
    }

    /// What signatures of the reader are checked with.
    pub fn into_stored_keys(self, reader: &UserId) -> StoredKeys {
        let devices = self.devices.into_iter().filter(|((user_id, _), _)| user_id == reader);
        StoredKeys {
            devices: devices.map(|((_, device_id), keys)| (device_id, keys)).collect(),
            cross_signing: self.cross_signing,
        }
    }
}

fn object(json: &str) -> Option<Object> {
    serde_json::from_str(json).ok()
}

/// Adds a signature to what it is of.
fn sign(keys: &mut Object, row: &SignatureRow) {
    let entry = |object: &mut Object, name: &str| {
        if !object.get(name).is_some_and(Value::is_object) {
            object.insert(name.to_owned(), json!({}));
        }
    };
    entry(keys, "signatures");
    let Some(signatures) = keys.get_mut("signatures").and_then(Value::as_object_mut) else {
        return;
    };
    entry(signatures, row.user_id.as_str());
    if let Some(of_user) = signatures.get_mut(row.user_id.as_str()).and_then(Value::as_object_mut) {
        of_user.insert(row.key_id.clone(), json!(row.signature));
    }
}
