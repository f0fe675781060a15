//! `pushers`: where notifications of users are pushed to. A user has a few, so the table is read
//! without an index of its own: it is paid for with every push that is noted here.

use serde::Deserialize;
use serde_json::Value;

use super::database::Statement;

#[derive(Debug, Deserialize)]
pub struct PusherRow {
    pub kind: String,
    pub app_id: String,
    pub app_display_name: String,
    pub device_display_name: String,
    pub profile_tag: String,
    pub pushkey: String,
    pub lang: Option<String>,
    /// JSON.
    pub data: Option<String>,
}

impl PusherRow {
    /// As clients see it.
    ///
    /// # Errors
    /// If `data` is not JSON.
    pub fn to_json(&self) -> Result<Value, serde_json::Error> {
        let data: Value = self.data.as_deref().map_or(Ok(Value::Null), serde_json::from_str)?;
        Ok(serde_json::json!({
            "kind": self.kind,
            "app_id": self.app_id,
            "app_display_name": self.app_display_name,
            "device_display_name": self.device_display_name,
            "profile_tag": self.profile_tag,
            "pushkey": self.pushkey,
            "lang": self.lang,
            "data": data,
        }))
    }
}

/// Reads a user's [`PusherRow`]s. In the batch that authenticates, the access token stands for
/// its user.
pub fn select(user_or_token: &str) -> Statement {
    Statement::new(
        "SELECT kind, app_id, app_display_name, device_display_name, profile_tag, pushkey, lang,
             data
         FROM pushers
         WHERE user_name = coalesce((SELECT user_id FROM access_tokens WHERE token = ?1), ?1)
         ORDER BY id",
    )
    .bind(user_or_token)
}
