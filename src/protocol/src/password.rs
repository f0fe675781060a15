//! Passwords in the form that is hashed, the same as Synapse's, so that hashes can move both ways.

use icu_normalizer::ComposingNormalizerBorrowed;

/// Characters of a password, at most.
pub const LENGTH_MAX: usize = 512;

/// The password in Unicode's normal form KC, with the server's pepper after it.
pub fn prepare(password: &str, pepper: &str) -> String {
    let mut prepared = ComposingNormalizerBorrowed::new_nfkc().normalize(password).into_owned();
    prepared.push_str(pepper);
    prepared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_looking_passwords_are_equal() {
        assert_eq!(prepare("u\u{308}ber\u{ff11}", ""), "über1");
        assert_eq!(prepare("secret", "pepper"), "secretpepper");
    }
}
