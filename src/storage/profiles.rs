//! `profiles`: what users tell everyone about themselves. `user_id` is only the local part there,
//! `full_user_id` the whole; a row without the latter is an imported one.

use ruma::{OwnedUserId, UserId};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::account_data;
use super::database::{Statement, boolean};

/// The longest display name and avatar address, in characters, as in Synapse.
pub const DISPLAYNAME_CHARACTERS_MAX: usize = 256;
pub const AVATAR_URL_CHARACTERS_MAX: usize = 1000;

#[derive(Deserialize)]
struct Row {
    displayname: Option<String>,
    avatar_url: Option<String>,
    fields: Option<String>,
}

/// A profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProfileRow {
    pub displayname: Option<String>,
    pub avatar_url: Option<String>,
    /// Every other field.
    pub fields: Map<String, Value>,
}

impl<'de> Deserialize<'de> for ProfileRow {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let row = Row::deserialize(deserializer)?;
        let fields = row.fields.as_deref().map(serde_json::from_str).transpose();
        let fields = fields.map_err(serde::de::Error::custom)?.unwrap_or_default();
        Ok(Self { displayname: row.displayname, avatar_url: row.avatar_url, fields })
    }
}

/// Reads a user's [`ProfileRow`].
pub fn select(user_id: &UserId) -> Statement {
    Statement::new(
        "SELECT displayname, avatar_url, json(fields) AS fields FROM profiles
         WHERE full_user_id = ?1",
    )
    .bind(user_id.as_str())
}

/// Makes the profile of a new user. An existing one stays as it is.
pub fn insert(user_id: &UserId, displayname: Option<&str>) -> Statement {
    Statement::new(
        "INSERT OR IGNORE INTO profiles (user_id, displayname, full_user_id) VALUES (?1, ?2, ?3)",
    )
    .bind(user_id.localpart())
    .bind(displayname)
    .bind(user_id.as_str())
}

/// Sets, or with `None` removes, the display name.
pub fn set_displayname(user_id: &UserId, displayname: Option<&str>) -> Statement {
    set_column("displayname", user_id, displayname)
}

/// Sets, or with `None` removes, the avatar.
pub fn set_avatar_url(user_id: &UserId, avatar_url: Option<&str>) -> Statement {
    set_column("avatar_url", user_id, avatar_url)
}

fn set_column(column: &'static str, user_id: &UserId, value: Option<&str>) -> Statement {
    Statement::new(format!(
        "INSERT INTO profiles (user_id, {column}, full_user_id) VALUES (?1, ?2, ?3)
         ON CONFLICT (user_id) DO UPDATE
         SET {column} = excluded.{column}, full_user_id = excluded.full_user_id"
    ))
    .bind(user_id.localpart())
    .bind(value)
    .bind(user_id.as_str())
}

/// Sets another field to a JSON value. The name must not contain a quotation mark.
pub fn set_field(user_id: &UserId, name: &str, value_json: &str) -> Statement {
    Statement::new(
        "INSERT INTO profiles (user_id, full_user_id, fields)
         VALUES (?1, ?2, json_set('{}', ?3, json(?4)))
         ON CONFLICT (user_id) DO UPDATE
         SET fields = json_set(coalesce(profiles.fields, '{}'), ?3, json(?4)),
             full_user_id = excluded.full_user_id",
    )
    .bind(user_id.localpart())
    .bind(user_id.as_str())
    .bind(format!("$.\"{name}\""))
    .bind(value_json)
}

/// Removes another field. The name must not contain a quotation mark.
pub fn remove_field(user_id: &UserId, name: &str) -> Statement {
    Statement::new(
        "UPDATE profiles SET fields = json_remove(fields, ?2)
         WHERE full_user_id = ?1 AND fields IS NOT NULL",
    )
    .bind(user_id.as_str())
    .bind(format!("$.\"{name}\""))
}

/// What member events carry of a user's profile.
#[derive(Debug, Deserialize)]
pub struct MemberProfileRow {
    pub user_id: OwnedUserId,
    pub displayname: Option<String>,
    pub avatar_url: Option<String>,
    /// Whether the user takes no invitations: `m.invite_permission_config`.
    #[serde(deserialize_with = "boolean")]
    pub blocks_invites: bool,
}

/// Adds a display name and an avatar to a member event, unless it has its own.
pub fn add_to_member(
    content: &mut Map<String, Value>,
    displayname: Option<&str>,
    avatar_url: Option<&str>,
) {
    for (name, value) in [("displayname", displayname), ("avatar_url", avatar_url)] {
        if let Some(value) = value {
            content.entry(name).or_insert_with(|| value.into());
        }
    }
}

/// The profiles of the owner of a token and of these users: [`MemberProfileRow`]s.
pub fn select_for_members(token: &str, user_ids: &[OwnedUserId]) -> Statement {
    let blocks_invites = account_data::blocks_invites("full_user_id");
    Statement::new(format!(
        "SELECT full_user_id AS user_id, displayname, avatar_url,
                {blocks_invites} AS blocks_invites
         FROM profiles
         WHERE full_user_id IN (SELECT value FROM json_each(?1)
                                UNION
                                SELECT coalesce((SELECT user_id FROM access_tokens
                                                 WHERE token = ?2), ?2))",
    ))
    .bind_json(&user_ids)
    .bind(token)
}
