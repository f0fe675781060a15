//! Who wants to log in: Client-Server API, "Identifier types", with the fields of older clients.

use serde_json::{Map, Value};

/// The identifier of a login, or of a stage of user-interactive authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginIdentifier {
    /// `m.id.user`: a whole user id or its localpart, as it was typed.
    User(String),
    /// `m.id.thirdparty`, with its address in canonical form.
    ThirdParty { medium: String, address: String },
}

/// Why there is no identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    #[error("identifier is missing")]
    Missing,
    #[error("identifier must be an object with a type and the fields of that type")]
    Malformed,
    #[error("Unknown login identifier type")]
    Unknown,
    #[error("Unable to parse email address")]
    Email,
}

impl LoginIdentifier {
    /// Reads `identifier`, or the older `user`, or `medium` and `address`.
    ///
    /// # Errors
    /// See [`IdentifierError`].
    pub fn read(submission: &Map<String, Value>) -> Result<Self, IdentifierError> {
        let text = |object: &Map<String, Value>, name: &str| {
            object.get(name).and_then(Value::as_str).map(str::to_owned)
        };
        if let Some(user) = text(submission, "user") {
            return Ok(Self::User(user));
        }
        if let (Some(medium), Some(address)) =
            (text(submission, "medium"), text(submission, "address"))
        {
            return Self::third_party(medium, &address);
        }
        let identifier = match submission.get("identifier") {
            None | Some(Value::Null) => return Err(IdentifierError::Missing),
            Some(Value::Object(identifier)) => identifier,
            Some(_) => return Err(IdentifierError::Malformed),
        };
        let field = |name| text(identifier, name).ok_or(IdentifierError::Malformed);
        match field("type")?.as_str() {
            "m.id.user" => Ok(Self::User(field("user")?)),
            "m.id.thirdparty" => Self::third_party(field("medium")?, &field("address")?),
            _ => Err(IdentifierError::Unknown),
        }
    }

    fn third_party(medium: String, address: &str) -> Result<Self, IdentifierError> {
        let address = match medium.as_str() {
            "email" => canonical_email(address).ok_or(IdentifierError::Email)?,
            _ => address.to_owned(),
        };
        Ok(Self::ThirdParty { medium, address })
    }
}

/// An email address as it is stored: without surrounding space, in lower case.
pub fn canonical_email(address: &str) -> Option<String> {
    let address = address.trim();
    let (name, domain) = address.split_once('@')?;
    let is_one = !name.is_empty() && !domain.is_empty() && !domain.contains('@');
    is_one.then(|| address.to_lowercase())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<LoginIdentifier, IdentifierError> {
        let Value::Object(submission) = value else { panic!("not an object") };
        LoginIdentifier::read(&submission)
    }

    #[test]
    fn new_and_old_forms_are_read() {
        let user = LoginIdentifier::User("alice".to_owned());
        let identifier = json!({ "type": "m.id.user", "user": "alice" });
        assert_eq!(read(json!({ "identifier": identifier })), Ok(user.clone()));
        assert_eq!(read(json!({ "user": "alice" })), Ok(user));
        let email = LoginIdentifier::ThirdParty {
            medium: "email".to_owned(),
            address: "alice@example.org".to_owned(),
        };
        let old = json!({ "medium": "email", "address": " Alice@Example.org" });
        assert_eq!(read(old), Ok(email));
    }

    #[test]
    fn what_is_no_identifier_is_refused() {
        assert_eq!(read(json!({})), Err(IdentifierError::Missing));
        assert_eq!(read(json!({ "identifier": 1 })), Err(IdentifierError::Malformed));
        let unknown = json!({ "identifier": { "type": "m.id.pigeon" } });
        assert_eq!(read(unknown), Err(IdentifierError::Unknown));
        let email = json!({ "medium": "email", "address": "a@b@c" });
        assert_eq!(read(email), Err(IdentifierError::Email));
    }
}
