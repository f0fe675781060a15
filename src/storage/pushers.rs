//! `pushers`: where notifications of users are pushed to; and `deleted_pushers`, which says that
//! there was one. The stream `pushers` tells both; a pusher's id is its position.

use ruma::UserId;
use serde::Deserialize;
use serde_json::Value;

use super::database::Statement;
use super::stream_positions::{StreamName, advance, current};

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

/// Makes a pusher, or changes the one of this app and pushkey: it then goes on from now, and
/// belongs to the device that it belonged to.
pub fn set(
    user_id: &UserId,
    device_id: Option<&str>,
    pusher: &PusherRow,
    now_ms: u64,
) -> [Statement; 2] {
    let (id, newest) = (current(StreamName::Pushers), current(StreamName::Events));
    let upsert = Statement::new(format!(
        "INSERT INTO pushers (id, user_name, profile_tag, kind, app_id, app_display_name,
             device_display_name, pushkey, ts, lang, data, last_stream_ordering, enabled,
             device_id, instance_name)
         VALUES ({id}, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, {newest}, 1, ?11, 'master')
         ON CONFLICT (app_id, pushkey, user_name) DO UPDATE
         SET id = excluded.id, profile_tag = excluded.profile_tag, kind = excluded.kind,
             app_display_name = excluded.app_display_name,
             device_display_name = excluded.device_display_name, ts = excluded.ts,
             lang = excluded.lang, data = excluded.data,
             last_stream_ordering = excluded.last_stream_ordering, failing_since = NULL,
             enabled = 1, device_id = coalesce(device_id, excluded.device_id)"
    ))
    .bind(user_id.as_str())
    .bind(&pusher.profile_tag)
    .bind(&pusher.kind)
    .bind(&pusher.app_id)
    .bind(&pusher.app_display_name)
    .bind(&pusher.device_display_name)
    .bind(&pusher.pushkey)
    .bind(now_ms)
    .bind(pusher.lang.clone())
    .bind(pusher.data.clone())
    .bind(device_id);
    [advance(StreamName::Pushers), upsert]
}

/// Deletes the user's pusher of this app and pushkey.
pub fn delete(user_id: &UserId, app_id: &str, pushkey: &str) -> [Statement; 3] {
    delete_where("user_name = ?1 AND app_id = ?2 AND pushkey = ?3", |statement| {
        statement.bind(user_id.as_str()).bind(app_id).bind(pushkey)
    })
}

/// Deletes what others have for this app and pushkey: somebody else uses the phone now.
pub fn delete_of_others(user_id: &UserId, app_id: &str, pushkey: &str) -> [Statement; 3] {
    delete_where("user_name <> ?1 AND app_id = ?2 AND pushkey = ?3", |statement| {
        statement.bind(user_id.as_str()).bind(app_id).bind(pushkey)
    })
}

/// Deletes pushers by a condition of SQL, and says that they are gone.
pub fn delete_where(condition: &str, bind: impl Fn(Statement) -> Statement) -> [Statement; 3] {
    let position = current(StreamName::Pushers);
    [
        format!(
            "UPDATE stream_positions SET stream_id = stream_id + 1
             WHERE stream_name = '{}' AND instance_name = 'master'
                 AND EXISTS (SELECT 1 FROM pushers WHERE {condition})",
            StreamName::Pushers.as_str()
        ),
        format!(
            "INSERT INTO deleted_pushers (stream_id, app_id, pushkey, user_id, instance_name)
             SELECT {position}, app_id, pushkey, user_name, 'master' FROM pushers
             WHERE {condition}"
        ),
        format!("DELETE FROM pushers WHERE {condition}"),
    ]
    .map(|sql| bind(Statement::new(sql)))
}
