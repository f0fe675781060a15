//! The tables' definition and its revisions.

/// The only definition of our tables.
pub const SCHEMA_SQL: &str = include_str!("../../schema.sql");

/// Synapse's schema version that our tables follow.
pub const SCHEMA_VERSION: i64 = 94;

/// Our own revision of the schema: the number of deltas.
pub const REVISION: i64 = 0;

/// A change of the schema since its first revision: idempotent, one bounded batch.
pub struct Delta {
    pub version: i64,
    pub name: &'static str,
    pub statements: Vec<String>,
}

/// All deltas, oldest first.
pub fn deltas() -> Vec<Delta> {
    Vec::new()
}

/// The statements of `schema.sql`, in batches.
pub fn install_batches(statements_max: usize) -> Vec<Vec<String>> {
    let lines = SCHEMA_SQL.lines().filter(|line| !line.trim_start().starts_with("--"));
    let sql = lines.collect::<Vec<_>>().join("\n");
    let statements = sql.split(";\n").map(str::trim).filter(|sql| !sql.is_empty());
    let statements: Vec<String> = statements.map(str::to_owned).collect();
    statements.chunks(statements_max).map(<[String]>::to_vec).collect()
}
