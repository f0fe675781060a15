//! The server's ed25519 keys: Synapse's key file format, signing, old keys for verification.
//!
//! Spec: <https://spec.matrix.org/latest/appendices/#signing-json>

use std::{fmt, sync::Arc};

use ruma::{
    CanonicalJsonObject, ServerName,
    serde::{Base64, base64::Standard},
    signatures::{Ed25519KeyPair, JsonError, KeyPair, Signature, sign_json},
};

/// The DER of a PKCS#8 ed25519 private key, up to the 32 bytes of its seed.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Why a key file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    #[error("the signing key file holds no key")]
    Empty,
    #[error("a signing key is three words: ed25519, its version, its seed in base64")]
    Malformed,
    #[error("signing keys of the algorithm {0:?} are not supported")]
    UnsupportedAlgorithm(String),
    #[error("a key version has letters, digits and underscores only, not {0:?}")]
    InvalidVersion(String),
    #[error("the seed of a signing key is 32 bytes in base64")]
    InvalidSeed,
}

/// An ed25519 key that signs. Cheap to clone.
#[derive(Clone)]
pub struct SigningKey {
    key_pair: Arc<Ed25519KeyPair>,
    seed: [u8; 32],
}

impl SigningKey {
    /// The key of a version (the part of the key id after `ed25519:`) and 32 random bytes.
    pub fn from_seed(version: &str, seed: [u8; 32]) -> Result<Self, SigningKeyError> {
        check_version(version)?;
        let mut document = PKCS8_PREFIX.to_vec();
        document.extend_from_slice(&seed);
        let key_pair = Ed25519KeyPair::from_der(&document, version.to_owned())
            .map_err(|_| SigningKeyError::InvalidSeed)?;
        Ok(Self { key_pair: Arc::new(key_pair), seed })
    }

    /// Reads the first key of a file in Synapse's format, `ed25519 a_xxxx <base64>`.
    pub fn parse(file: &str) -> Result<Self, SigningKeyError> {
        let line =
            file.lines().find(|line| !line.trim().is_empty()).ok_or(SigningKeyError::Empty)?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let [algorithm, version, seed] = words[..] else {
            return Err(SigningKeyError::Malformed);
        };
        if algorithm != "ed25519" {
            return Err(SigningKeyError::UnsupportedAlgorithm(algorithm.to_owned()));
        }
        check_version(version)?;
        Self::from_seed(version, decode_32_bytes(seed)?)
    }

    /// The line that [`SigningKey::parse`] reads.
    pub fn to_file(&self) -> String {
        let seed = Base64::<Standard, _>::new(self.seed).encode();
        format!("ed25519 {} {seed}\n", self.version())
    }

    pub fn version(&self) -> &str {
        self.key_pair.version()
    }

    /// `ed25519:` and the version.
    pub fn key_id(&self) -> String {
        format!("ed25519:{}", self.version())
    }

    /// The public key in unpadded base64, as `/_matrix/key/v2/server` publishes it.
    pub fn public_key(&self) -> String {
        Base64::<Standard, _>::new(self.key_pair.public_key()).encode()
    }

    /// Adds our signature to `signatures`; `signatures` and `unsigned` are not signed.
    pub fn sign_json(
        &self,
        server_name: &ServerName,
        object: &mut CanonicalJsonObject,
    ) -> Result<(), JsonError> {
        sign_json(server_name.as_str(), self, object)
    }
}

impl KeyPair for SigningKey {
    fn sign(&self, message: &[u8]) -> Signature {
        self.key_pair.sign(message)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SigningKey").field(&self.key_id()).finish()
    }
}

/// A key that no longer signs, but still verifies what it signed until it expired:
/// `ed25519:<version> <base64> <milliseconds since the Unix epoch>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldVerifyKey {
    pub key_id: String,
    pub public_key: Base64,
    pub expired_ts: u64,
}

impl OldVerifyKey {
    pub fn parse(line: &str) -> Result<Self, SigningKeyError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [key_id, public_key, expired_ts] = words[..] else {
            return Err(SigningKeyError::Malformed);
        };
        let (algorithm, version) = key_id.split_once(':').ok_or(SigningKeyError::Malformed)?;
        if algorithm != "ed25519" {
            return Err(SigningKeyError::UnsupportedAlgorithm(algorithm.to_owned()));
        }
        check_version(version)?;
        let public_key = Base64::new(decode_32_bytes(public_key)?.to_vec());
        let expired_ts = expired_ts.parse().map_err(|_| SigningKeyError::Malformed)?;
        Ok(Self { key_id: key_id.to_owned(), public_key, expired_ts })
    }
}

fn check_version(version: &str) -> Result<(), SigningKeyError> {
    let valid = !version.is_empty()
        && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if valid { Ok(()) } else { Err(SigningKeyError::InvalidVersion(version.to_owned())) }
}

fn decode_32_bytes(text: &str) -> Result<[u8; 32], SigningKeyError> {
    let bytes = Base64::<Standard>::parse(text).map_err(|_| SigningKeyError::InvalidSeed)?;
    bytes.as_bytes().try_into().map_err(|_| SigningKeyError::InvalidSeed)
}

#[cfg(test)]
mod tests {
    use ruma::server_name;
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../tests/fixtures/test-vectors.json")).unwrap()
    }

    fn vector_key() -> SigningKey {
        let seed = vectors()["signing_key"]["seed_base64"].as_str().unwrap().to_owned();
        SigningKey::parse(&format!("ed25519 1 {seed}")).unwrap()
    }

    #[test]
    fn the_public_key_follows_from_the_seed() {
        let vectors = vectors();
        assert_eq!(
            vector_key().public_key(),
            vectors["signing_key"]["public_key_base64_derived"].as_str().unwrap()
        );
        assert_eq!(vector_key().key_id(), vectors["signing_key"]["key_id"].as_str().unwrap());
    }

    #[test]
    fn objects_are_signed_as_the_specification_does() {
        let vectors = vectors();
        let signing = &vectors["json_signing"];
        let all = ["spec", "derived"].iter().flat_map(|kind| signing[kind].as_array().unwrap());
        for vector in all {
            let mut object: CanonicalJsonObject =
                serde_json::from_value(vector["input"].clone()).unwrap();
            vector_key().sign_json(server_name!("domain"), &mut object).unwrap();
            assert_eq!(serde_json::to_value(object).unwrap(), vector["output"]);
        }
    }

    #[test]
    fn a_key_file_survives_a_round_trip() {
        let key = SigningKey::from_seed("a_AbCd", [7; 32]).unwrap();
        let read = SigningKey::parse(&key.to_file()).unwrap();
        assert_eq!(read.key_id(), "ed25519:a_AbCd");
        assert_eq!(read.public_key(), key.public_key());
    }

    #[test]
    fn a_bad_key_file_says_what_is_wrong() {
        let error = |file| SigningKey::parse(file).unwrap_err();
        assert_eq!(error("\n \n"), SigningKeyError::Empty);
        assert_eq!(error("ed25519 a_b"), SigningKeyError::Malformed);
        assert_eq!(error("rsa a AAAA"), SigningKeyError::UnsupportedAlgorithm("rsa".to_owned()));
        assert_eq!(error("ed25519 a-b AAAA"), SigningKeyError::InvalidVersion("a-b".to_owned()));
        assert_eq!(error("ed25519 a AAAA"), SigningKeyError::InvalidSeed);
        assert_eq!(error("ed25519 a ????"), SigningKeyError::InvalidSeed);
    }

    #[test]
    fn old_keys_are_read() {
        let public_key = vector_key().public_key();
        let key = OldVerifyKey::parse(&format!("ed25519:old {public_key} 1500")).unwrap();
        assert_eq!((key.key_id.as_str(), key.public_key.encode()), ("ed25519:old", public_key));
        assert_eq!(key.expired_ts, 1500);
        assert!(OldVerifyKey::parse("ed25519:old").is_err());
        assert!(OldVerifyKey::parse("ed25519 AAAA").is_err());
    }

    #[test]
    fn the_seed_is_not_printed() {
        assert_eq!(format!("{:?}", vector_key()), "SigningKey(\"ed25519:1\")");
    }
}
