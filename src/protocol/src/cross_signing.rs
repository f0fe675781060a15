//! Cross-signing keys, and the signatures that they and devices make.
//!
//! Client-Server API, "Cross-signing". Invariant: what is accepted here carries a signature that
//! has been verified with the key that it names.

use std::collections::BTreeMap;

use ruma::SigningKeyAlgorithm;
use ruma::serde::Base64;
use ruma::signatures::{to_canonical_json_string_for_signing, verify_canonical_json_bytes};
use serde_json::{Map, Value};

use crate::canonical_json::canonicalise;

type Object = Map<String, Value>;

/// What a cross-signing key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyType {
    Master,
    SelfSigning,
    UserSigning,
}

impl KeyType {
    pub const ALL: [Self; 3] = [Self::Master, Self::SelfSigning, Self::UserSigning];

    /// As `usage` and the database have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::SelfSigning => "self_signing",
            Self::UserSigning => "user_signing",
        }
    }

    /// The field of `/keys/device_signing/upload`.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Master => "master_key",
            Self::SelfSigning => "self_signing_key",
            Self::UserSigning => "user_signing_key",
        }
    }
}

/// Why a key or a signature is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("Invalid {0} key")]
    InvalidKey(&'static str),
    #[error("Invalid signature on {0} key")]
    InvalidKeySignature(&'static str),
    #[error("No master key available")]
    NoMasterKey,
    #[error("Invalid signature")]
    InvalidSignature,
    #[error("Unknown device")]
    UnknownDevice,
    #[error("No device keys found")]
    NoDeviceKeys,
    #[error("No {0} key found for {1}")]
    NoKey(&'static str, String),
    #[error("Key does not match")]
    OtherKey,
    #[error("Invalid parameter")]
    InvalidParam,
    #[error("More than {SIGNATURES_MAX} signatures in one request")]
    TooMany,
}

impl Refused {
    /// Status and errcode.
    pub fn code(&self) -> (u16, &'static str) {
        match self {
            Self::InvalidKey(_) | Self::InvalidParam => (400, "M_INVALID_PARAM"),
            Self::InvalidKeySignature(_) | Self::InvalidSignature => (400, "M_INVALID_SIGNATURE"),
            Self::NoMasterKey => (400, "M_MISSING_PARAM"),
            Self::UnknownDevice | Self::NoDeviceKeys | Self::NoKey(..) => (404, "M_NOT_FOUND"),
            Self::OtherKey => (400, "M_UNKNOWN"),
            Self::TooMany => (413, "M_TOO_LARGE"),
        }
    }
}

/// An ed25519 key under its id, `ed25519:` and a device or the key itself.
struct VerifyKey {
    key_id: String,
    bytes: Vec<u8>,
}

impl VerifyKey {
    fn new(key_id: &str, encoded: &str) -> Option<Self> {
        let bytes = Base64::<ruma::serde::base64::Standard>::parse(encoded).ok()?.into_inner();
        let is_ed25519 = key_id.starts_with("ed25519:") && bytes.len() == 32;
        is_ed25519.then(|| Self { key_id: key_id.to_owned(), bytes })
    }

    /// The key in a cross-signing key: there is one, named after itself.
    fn of_cross_signing_key(key: &Object) -> Option<Self> {
        let (key_id, encoded) = single_key(key)?;
        Self::new(key_id, encoded)
    }

    /// What stands for a device where a cross-signing key is signed.
    fn version(&self) -> &str {
        self.key_id.split_once(':').map_or("", |(_, version)| version)
    }

    /// Whether this key has signed the object for the user.
    fn has_signed(&self, object: &Object, user_id: &str) -> bool {
        signature(object, user_id, &self.key_id)
            .is_some_and(|signature| self.verify(object, signature).is_some())
    }

    fn verify(&self, object: &Object, signature: &str) -> Option<()> {
        let signature = Base64::<ruma::serde::base64::Standard>::parse(signature).ok()?;
        let object = canonicalise(object.clone()).ok()?;
        let json = to_canonical_json_string_for_signing(&object).ok()?;
        let algorithm = SigningKeyAlgorithm::Ed25519;
        verify_canonical_json_bytes(&algorithm, &self.bytes, signature.as_bytes(), json.as_bytes())
            .ok()
    }
}

fn signatures_of<'a>(object: &'a Object, user_id: &str) -> Option<&'a Object> {
    object.get("signatures")?.get(user_id)?.as_object()
}

fn signature<'a>(object: &'a Object, user_id: &str, key_id: &str) -> Option<&'a str> {
    signatures_of(object, user_id)?.get(key_id)?.as_str()
}

fn single_key(key: &Object) -> Option<(&str, &str)> {
    let keys = key.get("keys")?.as_object()?;
    let (key_id, encoded) = keys.iter().next()?;
    (keys.len() == 1).then_some((key_id.as_str(), encoded.as_str()?))
}

/// The public part of a cross-signing key, which stands for a device id.
pub fn public_part(key: &Object) -> Option<&str> {
    single_key(key).map(|(_, encoded)| encoded)
}

/// A cross-signing key that is to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewKey {
    pub key_type: KeyType,
    pub public_part: String,
    pub key: Object,
}

/// Checks the keys of `/keys/device_signing/upload`: each is the user's, for what it says, and the
/// master key has signed the others.
///
/// # Errors
/// The first key that is not, or no master key at all.
pub fn check_keys(
    user_id: &str,
    body: &Object,
    stored_master: Option<&Object>,
) -> Result<Vec<NewKey>, Refused> {
    let uploaded = |key_type: KeyType| body.get(key_type.field());
    let master = match uploaded(KeyType::Master) {
        Some(key) => Some(well_formed(user_id, KeyType::Master, key)?),
        None => stored_master,
    };
    let master = master.ok_or(Refused::NoMasterKey)?;
    let invalid = || Refused::InvalidKey("master");
    let master = VerifyKey::of_cross_signing_key(master).ok_or_else(invalid)?;
    let mut keys = Vec::new();
    for key_type in KeyType::ALL {
        let Some(key) = uploaded(key_type) else { continue };
        let name = key_type.as_str();
        let key = well_formed(user_id, key_type, key)?;
        if key_type != KeyType::Master && !master.has_signed(key, user_id) {
            return Err(Refused::InvalidKeySignature(name));
        }
        let verify_key = VerifyKey::of_cross_signing_key(key).ok_or(Refused::InvalidKey(name))?;
        let public_part = verify_key.version().to_owned();
        keys.push(NewKey { key_type, public_part, key: key.clone() });
    }
    Ok(keys)
}

fn well_formed<'a>(
    user_id: &str,
    key_type: KeyType,
    key: &'a Value,
) -> Result<&'a Object, Refused> {
    let name = key_type.as_str();
    let is_valid = |key: &&Object| {
        let usage = key.get("usage").and_then(Value::as_array);
        key.get("user_id").and_then(Value::as_str) == Some(user_id)
            && usage.is_some_and(|usage| usage.iter().any(|word| word == name))
            && single_key(key).is_some_and(|(key_id, encoded)| {
                key_id.split_once(':').is_some_and(|(_, version)| version == encoded)
            })
    };
    key.as_object().filter(is_valid).ok_or(Refused::InvalidKey(name))
}

/// The most signatures that one request brings: each is verified.
pub const SIGNATURES_MAX: usize = 1000;

/// A signature that is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSignature {
    /// Of the key that has signed.
    pub key_id: String,
    pub target_user_id: String,
    /// A device, or the public part of a master key.
    pub target_device_id: String,
    pub signature: String,
}

/// The keys that the server has of those who sign and are signed, with the signatures that the
/// one who asks has made.
#[derive(Debug, Default)]
pub struct StoredKeys {
    pub cross_signing: BTreeMap<(String, KeyType), Object>,
    /// Of the user who signs, by id.
    pub devices: BTreeMap<String, Object>,
}

/// What has become of the signatures of a request.
#[derive(Debug, Default, PartialEq)]
pub struct CheckedSignatures {
    pub accepted: Vec<NewSignature>,
    /// By user and device.
    pub failures: BTreeMap<String, BTreeMap<String, Refused>>,
}

/// What has been signed, by user and device.
type Signed = BTreeMap<String, BTreeMap<String, Object>>;

/// Reads the body of `/keys/signatures/upload`.
///
/// # Errors
/// If it is not of the specified shape, or there are too many signatures.
pub fn read_signed(body: Object) -> Result<Signed, Refused> {
    let object = |value| match value {
        Value::Object(object) => Ok(object),
        _ => Err(Refused::InvalidParam),
    };
    let mut signed = Signed::new();
    for (user_id, devices) in body {
        let devices = object(devices)?.into_iter();
        let devices = devices.map(|(device_id, key)| Ok((device_id, object(key)?)));
        signed.insert(user_id, devices.collect::<Result<_, _>>()?);
    }
    let count: usize = signed.values().map(BTreeMap::len).sum();
    if count > SIGNATURES_MAX { Err(Refused::TooMany) } else { Ok(signed) }
}

/// Checks signatures that a user has made: of the own devices by the self-signing key, of the own
/// master key by devices, of others' master keys by the user-signing key.
pub fn check_signatures(user_id: &str, signed: &Signed, stored: &StoredKeys) -> CheckedSignatures {
    let mut checked = CheckedSignatures::default();
    for (target, devices) in signed {
        let results = match target == user_id {
            true => check_own(user_id, devices, stored),
            false => check_other(user_id, target, devices, stored),
        };
        for (device_id, result) in results {
            match result {
                Ok(accepted) => checked.accepted.extend(accepted),
                Err(refused) => {
                    let failures = checked.failures.entry(target.clone()).or_default();
                    failures.insert(device_id, refused);
                }
            }
        }
    }
    checked
}

type Checked = BTreeMap<String, Result<Vec<NewSignature>, Refused>>;

fn refuse_all(devices: &BTreeMap<String, Object>, refused: &Refused) -> Checked {
    devices.keys().map(|device_id| (device_id.clone(), Err(refused.clone()))).collect()
}

fn stored_key<'a>(
    stored: &'a StoredKeys,
    user_id: &str,
    key_type: KeyType,
) -> Result<(&'a Object, VerifyKey), Refused> {
    let no_key = || Refused::NoKey(key_type.as_str(), user_id.to_owned());
    let key = stored.cross_signing.get(&(user_id.to_owned(), key_type)).ok_or_else(no_key)?;
    Ok((key, VerifyKey::of_cross_signing_key(key).ok_or_else(no_key)?))
}

fn check_own(user_id: &str, signed: &BTreeMap<String, Object>, stored: &StoredKeys) -> Checked {
    let keys = stored_key(stored, user_id, KeyType::SelfSigning)
        .and_then(|(_, key)| Ok((key, stored_key(stored, user_id, KeyType::Master)?)));
    let (self_signing, (master, master_key)) = match keys {
        Ok(_) if stored.devices.is_empty() => return refuse_all(signed, &Refused::NoDeviceKeys),
        Ok(keys) => keys,
        Err(refused) => return refuse_all(signed, &refused),
    };
    let check = |device_id: &String, key: &Object| {
        signatures_of(key, user_id).ok_or(Refused::InvalidSignature)?;
        if device_id == master_key.version() {
            return check_master(user_id, device_id, key, master, &stored.devices);
        }
        let signature =
            signature(key, user_id, &self_signing.key_id).ok_or(Refused::InvalidSignature)?;
        let device = stored.devices.get(device_id).ok_or(Refused::UnknownDevice)?;
        check_signature(user_id, &self_signing, key, device)?;
        if self::signature(device, user_id, &self_signing.key_id).is_some() {
            return Ok(Vec::new());
        }
        Ok(vec![new_signature(&self_signing.key_id, user_id, device_id, signature)])
    };
    signed.iter().map(|(device_id, key)| (device_id.clone(), check(device_id, key))).collect()
}

/// The signatures of the user's devices on the user's master key.
fn check_master(
    user_id: &str,
    master_id: &str,
    signed: &Object,
    stored: &Object,
    devices: &BTreeMap<String, Object>,
) -> Result<Vec<NewSignature>, Refused> {
    let signatures = signatures_of(signed, user_id).into_iter().flatten();
    let check = |(key_id, signature): (&String, &Value)| {
        let (_, device_id) = key_id.split_once(':')?;
        let encoded = devices.get(device_id)?.get("keys")?.get(key_id)?.as_str()?;
        Some((VerifyKey::new(key_id, encoded)?, signature.as_str()?.to_owned()))
    };
    let mut accepted = Vec::new();
    for entry in signatures {
        let (key, signature) = check(entry).ok_or(Refused::InvalidSignature)?;
        check_signature(user_id, &key, signed, stored)?;
        accepted.push(new_signature(&key.key_id, user_id, master_id, &signature));
    }
    Ok(accepted)
}

fn check_other(
    user_id: &str,
    target: &str,
    signed: &BTreeMap<String, Object>,
    stored: &StoredKeys,
) -> Checked {
    let keys = stored_key(stored, user_id, KeyType::UserSigning)
        .and_then(|(_, key)| Ok((key, stored_key(stored, target, KeyType::Master)?)));
    let (user_signing, (master, master_key)) = match keys {
        Ok(keys) => keys,
        Err(refused) => return refuse_all(signed, &refused),
    };
    let check = |device_id: &String, key: &Object| {
        if device_id != master_key.version() {
            return Err(Refused::UnknownDevice);
        }
        check_signature(user_id, &user_signing, key, master)?;
        if signature(master, user_id, &user_signing.key_id).is_some() {
            return Ok(Vec::new());
        }
        let signature =
            signature(key, user_id, &user_signing.key_id).ok_or(Refused::InvalidSignature)?;
        Ok(vec![new_signature(&user_signing.key_id, target, device_id, signature)])
    };
    signed.iter().map(|(device_id, key)| (device_id.clone(), check(device_id, key))).collect()
}

fn new_signature(key_id: &str, user_id: &str, device_id: &str, signature: &str) -> NewSignature {
    NewSignature {
        key_id: key_id.to_owned(),
        target_user_id: user_id.to_owned(),
        target_device_id: device_id.to_owned(),
        signature: signature.to_owned(),
    }
}

/// What was signed has to be what is stored, and the signature has to be right.
fn check_signature(
    user_id: &str,
    key: &VerifyKey,
    signed: &Object,
    stored: &Object,
) -> Result<(), Refused> {
    let stripped = |object: &Object| {
        let mut object = object.clone();
        object.remove("signatures");
        object.remove("unsigned");
        object
    };
    if stripped(signed) != stripped(stored) {
        return Err(Refused::OtherKey);
    }
    if key.has_signed(signed, user_id) { Ok(()) } else { Err(Refused::InvalidSignature) }
}
