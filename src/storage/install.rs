//! What an isolate does with its first batch: it checks the schema and reads the server's keys.
//! On an empty database it creates the tables and makes a key. All of it is idempotent, so that
//! any number of first requests at once end with the same tables and ONE key.

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use myelin_protocol::signing_key::{OldVerifyKey, SigningKey};
use serde::Deserialize;

use super::database::{DatabaseError, QueryResult, Results, Statement};
use super::schema::{self, PendingBatch, PendingStep};
use crate::context::Context;

/// Statements in one batch of an installation: bounded, so that each batch stays well below the
/// platform's 30 s for a query.
const INSTALL_STATEMENTS_MAX: usize = 100;

/// The server's keys and secrets.
pub struct ServerKeys {
    pub signing_key: SigningKey,
    /// Keys of the past: they verify what they signed, and sign nothing.
    pub old_keys: Vec<OldVerifyKey>,
    /// Keys authenticated values that we hand out and read again (nonces, open id tokens, ...).
    pub secret: Vec<u8>,
}

#[derive(Deserialize)]
struct VersionRow {
    version: i64,
}

#[derive(Deserialize)]
struct MarkRow {
    file: String,
}

#[derive(Deserialize)]
struct SecretRow {
    name: String,
    value: String,
}

/// Runs a batch as the first one of an isolate.
pub(crate) async fn first_batch(
    context: &Context,
    statements: Vec<Statement>,
) -> Result<Vec<QueryResult>, DatabaseError> {
    match attempt(context, &statements).await {
        Ok(Some(results)) => return Ok(results),
        Ok(None) => {}
        Err(error) if error.is_missing_table() => create_tables(context).await?,
        Err(error) => return Err(error),
    }
    bring_up_to_date(context).await?;
    let results = attempt(context, &statements).await?;
    results
        .ok_or_else(|| DatabaseError::Refused("the schema could not be brought up to date".into()))
}

/// `None`: the schema is older than this code, or there is no key yet; nothing of the batch that
/// the caller must not repeat has been run.
async fn attempt(
    context: &Context,
    statements: &[Statement],
) -> Result<Option<Vec<QueryResult>>, DatabaseError> {
    let mut batch = vec![fence_revision(), select_version(), select_secrets()];
    batch.extend_from_slice(statements);
    let results = match context.metered_batch(batch).await {
        Err(DatabaseError::Fenced) => return Ok(None),
        other => other?,
    };
    let mut results = Results::new(results);
    results.skip(1);
    let version: Option<VersionRow> = results.first()?;
    if let Some(version) = version.filter(|v| v.version > schema::SCHEMA_VERSION) {
        let found = version.version;
        return Err(DatabaseError::Refused(format!("the database has the newer schema {found}")));
    }
    let secrets: Vec<SecretRow> = results.rows()?;
    *context.isolate.keys.borrow_mut() = Some(Rc::new(keys(context, &secrets)?));
    Ok(Some(results.rest()))
}

fn keys(context: &Context, secrets: &[SecretRow]) -> Result<ServerKeys, DatabaseError> {
    let find = |name: &str| secrets.iter().find(|row| row.name == name).map(|row| &row.value);
    let missing = |name: &str| DatabaseError::Row(format!("the server has no {name}"));
    let file = context.config.signing_key.as_ref().or(find("signing_key"));
    let file = file.ok_or_else(|| missing("signing_key"))?;
    let signing_key = SigningKey::parse(file)
        .map_err(|error| DatabaseError::Row(format!("the signing key is not valid: {error}")))?;
    let secret = find("secret").ok_or_else(|| missing("secret"))?.as_bytes().to_vec();
    let old_keys = context.config.old_signing_keys.lines().filter(|line| !line.trim().is_empty());
    let old_keys =
        old_keys.map(OldVerifyKey::parse).collect::<Result<_, _>>().map_err(|error| {
            DatabaseError::Refused(format!("OLD_SIGNING_KEYS is not valid: {error}"))
        })?;
    Ok(ServerKeys { signing_key, old_keys, secret })
}

/// Aborts the batch unless all deltas of this code have been applied and the key is there.
fn fence_revision() -> Statement {
    Statement::new(
        "SELECT CASE WHEN (SELECT count(*) FROM myelin_server_secrets
                           WHERE name IN ('signing_key', 'secret')) < 2
                       OR coalesce((SELECT max(CAST(value AS INTEGER)) FROM myelin_server_secrets
                                    WHERE name = 'schema_revision'), -1) < ?1
                     THEN json('x') END",
    )
    .bind(schema::REVISION)
}

fn select_version() -> Statement {
    Statement::new("SELECT version FROM schema_version")
}

fn select_secrets() -> Statement {
    Statement::new("SELECT name, value FROM myelin_server_secrets")
}

async fn create_tables(context: &Context) -> Result<(), DatabaseError> {
    for batch in schema::install_batches(INSTALL_STATEMENTS_MAX) {
        context.metered_batch(batch.into_iter().map(Statement::new).collect()).await?;
    }
    Ok(())
}

/// Completes an interrupted installation, runs the steps that are missing, and makes the keys.
async fn bring_up_to_date(context: &Context) -> Result<(), DatabaseError> {
    if !schema::is_installed(&applied(context).await?) {
        create_tables(context).await?;
    }
    for step in schema::pending_steps(schema::DELTAS, &applied(context).await?) {
        if let Err(error) = run_step(context, &step).await {
            // Another isolate may have been faster: then its mark refused ours.
            if !applied(context).await?.iter().any(|mark| mark == step.mark()) {
                return Err(error);
            }
        }
    }
    make_keys(context).await
}

/// The marks of what this database has been given.
async fn applied(context: &Context) -> Result<Vec<String>, DatabaseError> {
    let batch = vec![Statement::new(schema::APPLIED_SQL)];
    let rows: Vec<MarkRow> = Results::new(context.metered_batch(batch).await?).rows()?;
    Ok(rows.into_iter().map(|row| row.file).collect())
}

/// Runs a step. What it has done when it is interrupted stays done.
async fn run_step(context: &Context, step: &PendingStep<'_>) -> Result<(), DatabaseError> {
    for batch in step.batches() {
        match batch {
            PendingBatch::Once(statements) => {
                let statements = statements.into_iter().map(Statement::new).collect();
                context.metered_batch(statements).await?;
            }
            PendingBatch::UntilUnchanged(statement) => {
                let statement = Statement::new(statement);
                let changed = async || -> Result<Vec<serde::de::IgnoredAny>, DatabaseError> {
                    let results = context.metered_batch(vec![statement.clone()]).await?;
                    Results::new(results).rows()
                };
                while !changed().await?.is_empty() {}
            }
        }
    }
    Ok(())
}

/// Makes the key and the secret, unless they are there, and notes the revision.
async fn make_keys(context: &Context) -> Result<(), DatabaseError> {
    let seed: [u8; 32] = context.random();
    let version = format!("a_{}", context.random_string(4));
    let key = SigningKey::from_seed(&version, seed)
        .map_err(|error| DatabaseError::Refused(error.to_string()))?;
    let insert = |name: &str, value: String| {
        Statement::new("INSERT OR IGNORE INTO myelin_server_secrets (name, value) VALUES (?1, ?2)")
            .bind(name)
            .bind(value)
    };
    let secret = STANDARD_NO_PAD.encode(context.random::<32>());
    let revision = Statement::new(
        "INSERT INTO myelin_server_secrets (name, value) VALUES ('schema_revision', ?1)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    );
    let batch = vec![
        insert("signing_key", key.to_file()),
        insert("secret", secret),
        revision.bind(schema::REVISION.to_string()),
    ];
    context.metered_batch(batch).await.map(drop)
}
