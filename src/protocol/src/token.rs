//! Access and refresh tokens, in the shape that Synapse gives them: a prefix, the user's localpart
//! in base64, a random part, and a checksum by which leaked tokens are recognised.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Characters of a token's random part.
pub const RANDOM_LENGTH: usize = 20;

/// `syt_<base64 localpart>_<random>_<checksum>`
pub fn access_token(localpart: &str, random: &str) -> String {
    token("syt", localpart, random)
}

/// `syr_<base64 localpart>_<random>_<checksum>`
pub fn refresh_token(localpart: &str, random: &str) -> String {
    token("syr", localpart, random)
}

/// `syl_<random>_<checksum>`: of no user, as it is shown to whoever the user is sent back to.
pub fn login_token(random: &str) -> String {
    let base = format!("syl_{random}");
    let checksum = checksum_of(&base);
    format!("{base}_{checksum}")
}

/// Whether this can be a refresh token at all: its prefix and checksum are right.
pub fn is_refresh_token(token: &str) -> bool {
    let parts: Vec<&str> = token.split('_').collect();
    let &[prefix @ "syr", localpart, random, checksum] = parts.as_slice() else { return false };
    checksum == checksum_of(&format!("{prefix}_{localpart}_{random}"))
}

fn token(prefix: &str, localpart: &str, random: &str) -> String {
    let base = format!("{prefix}_{}_{random}", STANDARD_NO_PAD.encode(localpart));
    let checksum = checksum_of(&base);
    format!("{base}_{checksum}")
}

/// CRC 32 in base 62, at least six digits.
fn checksum_of(base: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = crc32fast::hash(base.as_bytes()) as usize;
    let mut digits = Vec::new();
    while rest > 0 || digits.len() < 6 {
        digits.push(char::from(DIGITS[rest % 62]));
        rest /= 62;
    }
    digits.into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_synapses_shape_and_checksum() {
        // The checksums are those of Python's binascii.crc32 in Synapse's base 62.
        assert_eq!(
            access_token("alice", "abcdefghijklmnopqrst"),
            "syt_YWxpY2U_abcdefghijklmnopqrst_1TMI8I"
        );
        assert_eq!(
            refresh_token("alice", "abcdefghijklmnopqrst"),
            "syr_YWxpY2U_abcdefghijklmnopqrst_3ycNnG"
        );
        assert_eq!(login_token("abcdefghijklmnopqrst"), "syl_abcdefghijklmnopqrst_2LvTf9");
    }

    #[test]
    fn a_refresh_token_with_a_wrong_checksum_is_none() {
        let token = refresh_token("alice", "abcdefghijklmnopqrst");
        assert!(is_refresh_token(&token));
        assert!(!is_refresh_token(&token.replace("_abc", "_abd")));
        assert!(!is_refresh_token(&access_token("alice", "abcdefghijklmnopqrst")));
        assert!(!is_refresh_token("") && !is_refresh_token("syr___000000"));
    }
}
