//! The terms that people accept when they register, as the operator has configured them.

use serde_json::{Value, json};

use crate::config::Config;

pub struct Terms<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub url: &'a str,
}

impl<'a> Terms<'a> {
    /// `None` if nothing has to be accepted.
    pub fn of(config: &'a Config) -> Option<Self> {
        let name = config.variable("REGISTRATION_TERMS_NAME").unwrap_or("Terms and Conditions");
        let version = config.variable("REGISTRATION_TERMS_VERSION").unwrap_or("1");
        Some(Self { name, version, url: config.variable("REGISTRATION_TERMS_URL")? })
    }

    /// The parameters of `m.login.terms`.
    pub fn params(&self) -> Value {
        let text = json!({ "name": self.name, "url": self.url });
        json!({ "policies": { "terms_of_service": { "version": self.version, "en": text } } })
    }
}
