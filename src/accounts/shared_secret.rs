//! Synapse's registration by a shared secret: nonces that need no table, and the HMAC over a
//! registration.

use hmac::digest::InvalidLength;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

/// Milliseconds that a nonce is good for.
pub const NONCE_LIFETIME_MS: u64 = 60_000;

/// Bytes of a nonce: when it was made, something random, the HMAC over both.
const TIME_LENGTH: usize = 8;
const RANDOM_LENGTH: usize = 24;

/// A nonce that this server recognises.
///
/// # Errors
/// Never, as HMAC takes keys of every length.
pub fn nonce(
    secret: &[u8],
    now_ms: u64,
    random: [u8; RANDOM_LENGTH],
) -> Result<String, InvalidLength> {
    let mut bytes = now_ms.to_be_bytes().to_vec();
    bytes.extend(random);
    let tag = authenticate(secret, &bytes)?.finalize().into_bytes();
    bytes.extend(tag);
    Ok(hex(&bytes))
}

/// Whether this is a nonce of this server's that is not too old.
pub fn is_nonce(secret: &[u8], nonce: &str, now_ms: u64) -> bool {
    let Some(bytes) = from_hex(nonce) else { return false };
    let Some((made, tag)) = bytes.split_at_checked(TIME_LENGTH + RANDOM_LENGTH) else {
        return false;
    };
    let mut time = [0; TIME_LENGTH];
    time.copy_from_slice(&made[..TIME_LENGTH]);
    let age_ms = now_ms.checked_sub(u64::from_be_bytes(time));
    authenticate(secret, made).is_ok_and(|mac| mac.verify_slice(tag).is_ok())
        && age_ms.is_some_and(|age_ms| age_ms <= NONCE_LIFETIME_MS)
}

fn authenticate(secret: &[u8], made: &[u8]) -> Result<Hmac<Sha256>, InvalidLength> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret)?;
    mac.update(b"registration nonce");
    mac.update(made);
    Ok(mac)
}

/// What the HMAC of a registration is over.
pub struct Registration<'a> {
    pub nonce: &'a str,
    pub username: &'a str,
    pub password: &'a str,
    pub admin: bool,
    pub user_type: Option<&'a str>,
}

impl Registration<'_> {
    /// Whether this is the right HMAC, in constant time.
    pub fn is_signed_by(&self, shared_secret: &str, mac: &str) -> bool {
        let Some(mac) = from_hex(mac) else { return false };
        let admin = if self.admin { "admin" } else { "notadmin" };
        let mut parts = vec![self.nonce, self.username, self.password, admin];
        parts.extend(self.user_type);
        let Ok(mut expected) = Hmac::<Sha1>::new_from_slice(shared_secret.as_bytes()) else {
            return false;
        };
        expected.update(parts.join("\0").as_bytes());
        expected.verify_slice(&mac).is_ok()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pair = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).ok();
    (0..text.len()).step_by(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_recognised_for_a_minute_by_whoever_made_it() {
        let nonce = nonce(b"secret", 1_000_000, [7; RANDOM_LENGTH]).unwrap();
        assert_eq!(nonce.len(), 128);
        assert!(is_nonce(b"secret", &nonce, 1_000_000));
        assert!(is_nonce(b"secret", &nonce, 1_060_000));
        assert!(!is_nonce(b"secret", &nonce, 1_060_001));
        assert!(!is_nonce(b"secret", &nonce, 999_999));
        assert!(!is_nonce(b"other", &nonce, 1_000_000));
        for other in ["", "00", "zz", &nonce[2..], &nonce.replacen("07", "08", 1)] {
            assert!(!is_nonce(b"secret", other, 1_000_000), "{other}");
        }
    }

    #[test]
    fn the_hmac_is_synapses() {
        // Python: hmac.new(b"s", b"n\0alice\0p\0admin\0bot", "sha1").hexdigest()
        let mut registration = Registration {
            nonce: "n",
            username: "alice",
            password: "p",
            admin: true,
            user_type: Some("bot"),
        };
        assert!(registration.is_signed_by("s", "524aff28862d128d288f17a4d2b96e6355d87bf8"));
        assert!(!registration.is_signed_by("t", "524aff28862d128d288f17a4d2b96e6355d87bf8"));
        registration.admin = false;
        assert!(!registration.is_signed_by("s", "524aff28862d128d288f17a4d2b96e6355d87bf8"));
        assert!(!registration.is_signed_by("s", "") && !registration.is_signed_by("s", "é"));
    }
}
