//! `ui_auth_sessions` with their completed stages and the addresses that took part.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::database::Statement;

/// A session of user-interactive authentication.
#[derive(Clone, Debug, Deserialize)]
pub struct SessionRow {
    pub session_id: String,
    pub creation_time: u64,
    /// What the server remembers: a JSON object under Synapse's names.
    pub serverdict: String,
    /// The request without its `auth`: a JSON object.
    pub clientdict: String,
    pub uri: String,
    pub method: String,
    pub description: String,
}

#[derive(Debug, Deserialize)]
pub struct StageRow {
    pub stage_type: String,
    /// JSON.
    pub result: String,
}

/// Reads the [`SessionRow`], then its [`StageRow`]s.
pub fn select(session_id: &str) -> [Statement; 2] {
    [
        Statement::new(
            "SELECT session_id, creation_time, serverdict, clientdict, uri, method, description
             FROM ui_auth_sessions WHERE session_id = ?1",
        )
        .bind(session_id),
        Statement::new(
            "SELECT stage_type, result FROM ui_auth_sessions_credentials WHERE session_id = ?1",
        )
        .bind(session_id),
    ]
}

/// Writes a session, new or changed, with all its completed stages.
pub fn upsert(session: &SessionRow, completed: &BTreeMap<String, Value>) -> Vec<Statement> {
    let session_id = session.session_id.as_str();
    let upsert = Statement::new(
        "INSERT INTO ui_auth_sessions
             (session_id, creation_time, serverdict, clientdict, uri, method, description)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (session_id) DO UPDATE SET
             serverdict = excluded.serverdict, clientdict = excluded.clientdict",
    );
    let stages: Map<String, Value> = completed
        .iter()
        .map(|(stage, result)| (stage.clone(), Value::String(result.to_string())))
        .collect();
    let insert_stages = Statement::new(
        "INSERT INTO ui_auth_sessions_credentials (session_id, stage_type, result)
         SELECT ?1, key, value FROM json_each(?2) WHERE true
         ON CONFLICT (session_id, stage_type) DO UPDATE SET result = excluded.result",
    );
    let upsert = upsert
        .bind(session_id)
        .bind(session.creation_time)
        .bind(&session.serverdict)
        .bind(&session.clientdict)
        .bind(&session.uri)
        .bind(&session.method)
        .bind(&session.description);
    let mut statements = vec![upsert];
    if !stages.is_empty() {
        statements.push(insert_stages.bind(session_id).bind_json(&stages));
    }
    statements
}

/// Remembers from where a session was carried on.
pub fn insert_address(session_id: &str, address: &str, user_agent: &str) -> Statement {
    Statement::new(
        "INSERT OR IGNORE INTO ui_auth_sessions_ips (session_id, ip, user_agent)
         VALUES (?1, ?2, ?3)",
    )
    .bind(session_id)
    .bind(address)
    .bind(user_agent)
}

/// Removes the sessions that began before this, and frees the uses of registration tokens that
/// they held without coming to an end.
pub fn delete_older_than(creation_time: u64) -> Vec<Statement> {
    let held = "SELECT json_extract(s.serverdict, '$.\"m.login.registration_token\"') AS token
                FROM ui_auth_sessions s JOIN ui_auth_sessions_credentials c
                    ON c.session_id = s.session_id AND c.stage_type = 'm.login.registration_token'
                WHERE s.creation_time < ?1 AND c.result <> 'true'";
    let old = "SELECT session_id FROM ui_auth_sessions WHERE creation_time < ?1";
    let statements = [
        format!(
            "UPDATE registration_tokens SET pending = pending -
                 (SELECT count(*) FROM ({held}) AS held
                  WHERE held.token = registration_tokens.token)
             WHERE token IN (SELECT token FROM ({held}))"
        ),
        format!("DELETE FROM ui_auth_sessions_ips WHERE session_id IN ({old})"),
        format!("DELETE FROM ui_auth_sessions_credentials WHERE session_id IN ({old})"),
        "DELETE FROM ui_auth_sessions WHERE creation_time < ?1".to_owned(),
    ];
    statements.into_iter().map(|sql| Statement::new(sql).bind(creation_time)).collect()
}
