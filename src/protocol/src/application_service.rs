//! Application services: bridges and bots that speak for many users. What a registration says,
//! and which users, aliases and rooms it is about.
//!
//! Spec: <https://spec.matrix.org/latest/application-service-api/#registration>

use regex::bytes::{Regex, RegexBuilder};
use ruma::{OwnedUserId, RoomAliasId, RoomId, ServerName, UserId};
use serde::Deserialize;

/// Bytes of one compiled expression.
const EXPRESSION_BYTES_MAX: usize = 256 * 1024;

/// Why registrations cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    #[error("it is no JSON list of registrations: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}: {1}")]
    Expression(String, regex::Error),
    #[error("{0} is not the name of a user")]
    Sender(String),
    #[error("two of them have the same id or as_token, or one is empty")]
    NotDistinct,
}

#[derive(Deserialize)]
struct Registration {
    id: String,
    url: Option<String>,
    as_token: String,
    hs_token: String,
    sender_localpart: String,
    #[serde(default)]
    namespaces: Namespaces,
    rate_limited: Option<bool>,
    #[serde(default)]
    protocols: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Namespaces {
    users: Vec<NamespaceEntry>,
    aliases: Vec<NamespaceEntry>,
    rooms: Vec<NamespaceEntry>,
}

#[derive(Deserialize)]
struct NamespaceEntry {
    exclusive: bool,
    regex: String,
}

#[derive(Clone, Debug)]
struct Namespace {
    exclusive: bool,
    expression: Regex,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct ApplicationService {
    pub id: String,
    /// Where it is told of events; `None` if it wants to hear of none.
    pub url: Option<String>,
    /// What it shows us.
    pub as_token: String,
    /// What we show it.
    pub hs_token: String,
    /// Its own user.
    pub sender: OwnedUserId,
    pub rate_limited: bool,
    /// Networks that it is a bridge to.
    pub protocols: Vec<String>,
    users: Vec<Namespace>,
    aliases: Vec<Namespace>,
    rooms: Vec<Namespace>,
}

impl ApplicationService {
    /// Reads a JSON list of registrations.
    ///
    /// # Errors
    /// If one cannot be understood.
    pub fn read_all(json: &str, server_name: &ServerName) -> Result<Vec<Self>, RegistrationError> {
        let registrations: Vec<Registration> = serde_json::from_str(json)?;
        let services = registrations.into_iter().map(|one| Self::new(one, server_name));
        let services = services.collect::<Result<Vec<_>, _>>()?;
        let is_new = |(index, service): (usize, &Self)| {
            let others = &services[..index];
            !service.id.is_empty()
                && !service.as_token.is_empty()
                && others.iter().all(|o| o.id != service.id && o.as_token != service.as_token)
        };
        match services.iter().enumerate().all(is_new) {
            true => Ok(services),
            false => Err(RegistrationError::NotDistinct),
        }
    }

    fn new(from: Registration, server_name: &ServerName) -> Result<Self, RegistrationError> {
        let sender = UserId::parse(format!("@{}:{server_name}", from.sender_localpart));
        Ok(Self {
            sender: sender.map_err(|_| RegistrationError::Sender(from.sender_localpart))?,
            users: compile(from.namespaces.users)?,
            aliases: compile(from.namespaces.aliases)?,
            rooms: compile(from.namespaces.rooms)?,
            id: from.id,
            url: from.url.filter(|url| !url.is_empty()),
            as_token: from.as_token,
            hs_token: from.hs_token,
            rate_limited: from.rate_limited.unwrap_or(true),
            protocols: from.protocols.unwrap_or_default(),
        })
    }

    /// Whether it may speak for this user, and wants to hear of what concerns them.
    pub fn has_user(&self, user_id: &UserId) -> bool {
        self.sender == *user_id || matches(&self.users, user_id.as_str())
    }

    pub fn has_alias(&self, alias: &RoomAliasId) -> bool {
        matches(&self.aliases, alias.as_str())
    }

    pub fn has_room(&self, room_id: &RoomId) -> bool {
        matches(&self.rooms, room_id.as_str())
    }

    /// Whether nobody else may make this user.
    pub fn owns_user(&self, user_id: &UserId) -> bool {
        self.sender == *user_id || owns(&self.users, user_id.as_str())
    }

    /// Whether nobody else may make this alias.
    pub fn owns_alias(&self, alias: &RoomAliasId) -> bool {
        owns(&self.aliases, alias.as_str())
    }
}

/// Expressions begin to match at the beginning, as they do in Synapse.
fn compile(entries: Vec<NamespaceEntry>) -> Result<Vec<Namespace>, RegistrationError> {
    let compile = |entry: NamespaceEntry| {
        let expression = RegexBuilder::new(&format!("^(?:{})", entry.regex))
            .unicode(false)
            .size_limit(EXPRESSION_BYTES_MAX)
            .build()
            .map_err(|error| RegistrationError::Expression(entry.regex, error))?;
        Ok(Namespace { exclusive: entry.exclusive, expression })
    };
    entries.into_iter().map(compile).collect()
}

fn matches(namespaces: &[Namespace], id: &str) -> bool {
    namespaces.iter().any(|namespace| namespace.expression.is_match(id.as_bytes()))
}

fn owns(namespaces: &[Namespace], id: &str) -> bool {
    let owns = |one: &Namespace| one.exclusive && one.expression.is_match(id.as_bytes());
    namespaces.iter().any(owns)
}

#[cfg(test)]
mod tests {
    use ruma::{room_alias_id, room_id, server_name, user_id};
    use serde_json::{Value, json};

    use super::*;

    fn registration() -> Value {
        json!({
            "id": "irc",
            "url": "http://localhost:9999",
            "as_token": "as",
            "hs_token": "hs",
            "sender_localpart": "_irc_bot",
            "rate_limited": false,
            "protocols": ["irc"],
            "namespaces": {
                "users": [
                    { "exclusive": true, "regex": "@_irc_.*" },
                    { "exclusive": false, "regex": "@friend_\\w+:one\\.test" },
                ],
                "aliases": [{ "exclusive": true, "regex": "#irc_|#other_" }],
                "rooms": [{ "exclusive": false, "regex": "!known:" }],
            },
        })
    }

    fn read(registrations: &[Value]) -> Result<Vec<ApplicationService>, RegistrationError> {
        let json = serde_json::to_string(registrations).unwrap();
        ApplicationService::read_all(&json, server_name!("one.test"))
    }

    #[test]
    fn namespaces_say_what_it_is_about() {
        let service = read(&[registration()]).unwrap().remove(0);
        assert_eq!(service.sender, "@_irc_bot:one.test");
        assert_eq!((service.rate_limited, &*service.protocols), (false, &["irc".to_owned()][..]));
        for (user, has, owns) in [
            (user_id!("@_irc_alice:one.test"), true, true),
            (user_id!("@_irc_bot:one.test"), true, true),
            (user_id!("@friend_a:one.test"), true, false),
            (user_id!("@friend_a:two.test"), false, false),
            (user_id!("@not_irc_alice:one.test"), false, false),
        ] {
            assert_eq!((service.has_user(user), service.owns_user(user)), (has, owns), "{user}");
        }
        assert!(service.owns_alias(room_alias_id!("#other_room:one.test")));
        assert!(!service.has_alias(room_alias_id!("#an_irc_room:one.test")));
        assert!(service.has_room(room_id!("!known:one.test")));
        assert!(!service.has_room(room_id!("!unknown:one.test")));
    }

    #[test]
    fn little_is_needed() {
        let least = json!({
            "id": "least", "url": null, "as_token": "a", "hs_token": "h", "sender_localpart": "bot",
        });
        let service = read(&[least]).unwrap().remove(0);
        assert_eq!((service.url.as_deref(), service.rate_limited), (None, true));
        assert!(service.owns_user(user_id!("@bot:one.test")));
        assert!(!service.has_user(user_id!("@robot:one.test")));
    }

    #[test]
    fn mistakes_are_told() {
        let with = |name: &str, value: Value| {
            let mut one = registration();
            one[name] = value;
            read(&[registration(), one]).unwrap_err().to_string()
        };
        let distinct = "two of them have the same id or as_token, or one is empty";
        assert_eq!(with("id", json!("other")), distinct);
        assert_eq!(with("as_token", json!("other")), distinct);
        assert!(with("as_token", json!(5)).starts_with("it is no JSON list"));
        assert_eq!(with("sender_localpart", json!("a\0")), "a\0 is not the name of a user");
        let users = json!({ "users": [{ "exclusive": true, "regex": "(" }] });
        assert!(with("namespaces", users).starts_with("(: regex parse error"));
    }
}
