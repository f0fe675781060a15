//! Names of accounts: what a new one may be, and what someone types to log in.
//!
//! Spec: <https://spec.matrix.org/latest/appendices/#user-identifiers>

use std::fmt::Write as _;

use ruma::{OwnedUserId, ServerName, UserId};

/// The whole user id, in bytes.
pub const USER_ID_SIZE_MAX: usize = 255;

/// Why a name cannot be registered. The errcode is `M_INVALID_USERNAME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUserName {
    #[error("User ID can only contain characters a-z, 0-9, or '=_-./+'")]
    Characters,
    #[error("User ID cannot be empty")]
    Empty,
    #[error("User ID may not begin with _")]
    Underscore,
    #[error("User ID may not be longer than {USER_ID_SIZE_MAX} characters")]
    TooLong,
    #[error("Numeric user IDs are reserved for guest users.")]
    Numeric,
}

impl InvalidUserName {
    pub fn errcode(&self) -> &'static str {
        "M_INVALID_USERNAME"
    }
}

/// The user id of a new account. Capitals become small letters, as Synapse does.
pub fn new_user_id(name: &str, server_name: &ServerName) -> Result<OwnedUserId, InvalidUserName> {
    let localpart = name.to_lowercase();
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"=_-./+".contains(&byte);
    if !localpart.bytes().all(allowed) {
        return Err(InvalidUserName::Characters);
    }
    if localpart.is_empty() {
        return Err(InvalidUserName::Empty);
    }
    if localpart.starts_with('_') {
        return Err(InvalidUserName::Underscore);
    }
    let user_id = format!("@{localpart}:{server_name}");
    if user_id.len() > USER_ID_SIZE_MAX {
        return Err(InvalidUserName::TooLong);
    }
    if localpart.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidUserName::Numeric);
    }
    UserId::parse(user_id).map_err(|_| InvalidUserName::Characters)
}

/// The user id of an account that an application service makes: any name that there can be.
pub fn any_user_id(name: &str, server_name: &ServerName) -> Result<OwnedUserId, InvalidUserName> {
    if name.is_empty() {
        return Err(InvalidUserName::Empty);
    }
    let user_id = format!("@{name}:{server_name}");
    if user_id.len() > USER_ID_SIZE_MAX {
        return Err(InvalidUserName::TooLong);
    }
    let user_id = UserId::parse(user_id).map_err(|_| InvalidUserName::Characters)?;
    match user_id.server_name() == server_name && !name.contains(':') {
        true => Ok(user_id),
        false => Err(InvalidUserName::Characters),
    }
}

/// The user id of a guest, out of the number that the server gave it.
pub fn guest_user_id(
    number: u64,
    server_name: &ServerName,
) -> Result<OwnedUserId, InvalidUserName> {
    UserId::parse(format!("@{number}:{server_name}")).map_err(|_| InvalidUserName::Characters)
}

/// The localpart for somebody who has this name elsewhere: small letters, and what a localpart
/// cannot have as `=` and the byte in hexadecimal. Spec: "Mapping from other character sets".
pub fn mapped_localpart(name: &str) -> String {
    let mut localpart = String::new();
    for (index, byte) in name.to_ascii_lowercase().bytes().enumerate() {
        let allowed =
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-./+".contains(&byte);
        // An underscore at the beginning is for application services.
        if allowed && (index > 0 || byte != b'_') {
            localpart.push(char::from(byte));
        } else {
            let _ = write!(localpart, "={byte:02x}");
        }
    }
    localpart
}

/// Which accounts someone may mean who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginName {
    /// As it was typed: goes first.
    pub exact: OwnedUserId,
    /// In small letters, if that is another.
    pub lowercase: Option<OwnedUserId>,
}

/// Reads a localpart or a full user id; `None` if it can be no account of any server.
/// A full id may name another server: the caller refuses it.
pub fn parse_login_name(typed: &str, server_name: &ServerName) -> Option<LoginName> {
    let typed = typed.trim();
    let exact = match typed.starts_with('@') {
        true => UserId::parse(typed).ok()?,
        false if typed.is_empty() => return None,
        false => UserId::parse(format!("@{typed}:{server_name}")).ok()?,
    };
    let lowercase = exact.localpart().to_lowercase();
    let lowercase = (lowercase != exact.localpart())
        .then(|| UserId::parse(format!("@{lowercase}:{}", exact.server_name())).ok());
    Some(LoginName { lowercase: lowercase.flatten(), exact })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruma::server_name;

    use super::*;

    fn server() -> &'static ServerName {
        server_name!("one.test")
    }

    fn error(name: &str) -> InvalidUserName {
        new_user_id(name, server()).unwrap_err()
    }

    #[test]
    fn names_from_elsewhere_become_localparts() {
        for (name, localpart) in [
            ("cas_user!", "cas_user=21"),
            ("Alice", "alice"),
            ("_b@c", "=5fb=40c"),
            ("a=b", "a=3db"),
            ("é", "=c3=a9"),
            ("", ""),
        ] {
            assert_eq!(mapped_localpart(name), localpart);
        }
    }

    #[test]
    fn a_new_name_has_the_allowed_characters() {
        assert_eq!(new_user_id("a.b_c=d-e/f+1", server()).unwrap(), "@a.b_c=d-e/f+1:one.test");
        assert_eq!(new_user_id("Alice", server()).unwrap(), "@alice:one.test");
        for name in ["a b", "a!b", "é", "a:b", "@a", "a\0", "a#", "a\"", "名"] {
            assert_eq!(error(name), InvalidUserName::Characters, "{name:?}");
        }
    }

    #[test]
    fn some_names_are_reserved_or_impossible() {
        assert_eq!(error(""), InvalidUserName::Empty);
        assert_eq!(error("_bridge"), InvalidUserName::Underscore);
        assert_eq!(error("12345"), InvalidUserName::Numeric);
        let longest = "x".repeat(255 - "@:one.test".len());
        assert!(new_user_id(&longest, server()).is_ok());
        assert_eq!(error(&format!("{longest}x")), InvalidUserName::TooLong);
        assert_eq!(error("1").errcode(), "M_INVALID_USERNAME");
        assert_eq!(guest_user_id(7, server()).unwrap(), "@7:one.test");
    }

    #[test]
    fn application_services_may_choose_almost_any_name() {
        for name in ["_irc_a", "12", "A|b", "x".repeat(244).as_str()] {
            let user_id = any_user_id(name, server()).unwrap();
            assert_eq!(user_id, format!("@{name}:one.test"));
        }
        assert_eq!(any_user_id("", server()), Err(InvalidUserName::Empty));
        assert_eq!(any_user_id(&"x".repeat(250), server()), Err(InvalidUserName::TooLong));
        for name in ["a:two.test", "a\0"] {
            assert_eq!(any_user_id(name, server()), Err(InvalidUserName::Characters), "{name:?}");
        }
    }

    #[test]
    fn a_login_name_is_a_localpart_or_a_whole_id() {
        let name = parse_login_name("alice", server()).unwrap();
        assert_eq!((name.exact.as_str(), name.lowercase), ("@alice:one.test", None));
        let name = parse_login_name(" @Alice:one.test ", server()).unwrap();
        assert_eq!(name.exact, "@Alice:one.test");
        assert_eq!(name.lowercase.unwrap(), "@alice:one.test");
        let other = parse_login_name("@bob:two.test", server()).unwrap();
        assert_eq!(other.exact.server_name(), "two.test");
        for nobody in ["", "@", "@alice", " ", "a:b c"] {
            assert_eq!(parse_login_name(nobody, server()), None, "{nobody:?}");
        }
    }

    proptest! {
        #[test]
        fn no_name_makes_the_checks_panic(name in ".*") {
            if let Ok(user_id) = new_user_id(&name, server()) {
                let login = parse_login_name(user_id.localpart(), server());
                prop_assert_eq!(login.map(|login| login.exact), Some(user_id));
            }
            let _ = parse_login_name(&name, server());
        }
    }
}
