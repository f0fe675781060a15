//! The schema as values: what an empty database is given, and the steps that bring an older one
//! up to date. Whoever holds a database runs them; nothing here waits.
//!
//! Invariant: what is done is marked in `applied_schema_deltas`, in the batch that does it. The
//! marks are under Synapse's schema version, and their names begin with `myelin/`.

/// The definition of all tables, and the rows that a server starts with.
pub const SCHEMA_SQL: &str = include_str!("../../schema.sql");

/// The version of Synapse's schema that the tables follow, as `schema_version` holds it.
pub const SCHEMA_VERSION: i64 = 94;

/// The oldest schema version whose Synapse can use the tables (`schema_compat_version`).
pub const SCHEMA_COMPAT_VERSION: i64 = 84;

/// Our own count of changes to `schema.sql`: that of the newest of [`DELTAS`], else 1.
pub const REVISION: i64 = 9;

/// The changes since revision 1. A new one also changes `schema.sql`.
pub const DELTAS: &[Delta] = &[
    Delta {
        revision: 2,
        name: "sliding_sync_connections",
        steps: &[Step::Once(&["CREATE TABLE IF NOT EXISTS myelin_sliding_sync_connections (
             user_id TEXT NOT NULL,
             device_id TEXT NOT NULL,
             conn_id TEXT NOT NULL,
             position INTEGER NOT NULL,
             settled_request TEXT,
             state TEXT NOT NULL,
             PRIMARY KEY (user_id, device_id, conn_id, position)
         ) WITHOUT ROWID"])],
    },
    Delta {
        revision: 3,
        name: "user_directory_and_presence",
        steps: &[Step::Once(&[
            "CREATE TABLE IF NOT EXISTS myelin_user_directory_words (
             user_id TEXT NOT NULL, word TEXT NOT NULL, PRIMARY KEY (user_id, word)
         ) WITHOUT ROWID",
            "CREATE INDEX IF NOT EXISTS myelin_user_directory_words_word
             ON myelin_user_directory_words (word)",
            "CREATE TABLE IF NOT EXISTS myelin_presence_devices (
             user_id TEXT NOT NULL, device_id TEXT NOT NULL, state TEXT NOT NULL,
             last_active_ts INTEGER NOT NULL, last_sync_ts INTEGER NOT NULL,
             PRIMARY KEY (user_id, device_id)
         ) WITHOUT ROWID",
        ])],
    },
    Delta {
        revision: 4,
        name: "device_key_counts",
        steps: &[Step::Once(&["CREATE TABLE IF NOT EXISTS myelin_device_key_counts (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    one_time_keys TEXT NOT NULL,
    unused_fallback_keys TEXT NOT NULL,
    PRIMARY KEY (user_id, device_id)
) WITHOUT ROWID"])],
    },
    Delta {
        revision: 5,
        name: "unread_index",
        steps: &[Step::Once(&[
            "CREATE INDEX IF NOT EXISTS myelin_event_push_actions_unread
             ON event_push_actions (user_id, room_id, stream_ordering)",
            "DROP INDEX IF EXISTS event_push_actions_rm_tokens",
        ])],
    },
    Delta {
        revision: 6,
        name: "room_key_counts",
        steps: &[Step::Once(&["CREATE TABLE IF NOT EXISTS myelin_room_key_counts (
             user_id TEXT NOT NULL,
             version INTEGER NOT NULL,
             key_count INTEGER NOT NULL,
             PRIMARY KEY (user_id, version)
         ) WITHOUT ROWID"])],
    },
    Delta {
        revision: 7,
        name: "pushers_of_users",
        steps: &[Step::Once(&["CREATE INDEX IF NOT EXISTS myelin_pushers_user
             ON pushers (user_name)"])],
    },
    Delta {
        revision: 8,
        name: "delayed_events",
        steps: &[Step::Once(&[
            "CREATE INDEX IF NOT EXISTS myelin_delayed_events_room
             ON delayed_events (room_id, event_type, state_key)",
            "CREATE TABLE IF NOT EXISTS myelin_delayed_event_txns (
             user_id TEXT NOT NULL, device_id TEXT NOT NULL, room_id TEXT NOT NULL,
             txn_id TEXT NOT NULL, delay_id TEXT NOT NULL, inserted_ts INTEGER NOT NULL,
             PRIMARY KEY (user_id, device_id, room_id, txn_id)
         ) WITHOUT ROWID",
        ])],
    },
    Delta {
        revision: 9,
        name: "event_expiry",
        steps: &[Step::Once(&["CREATE INDEX IF NOT EXISTS event_expiry_expiry_ts_idx
             ON event_expiry (expiry_ts)"])],
    },
];

/// Reads the marks: one column, `file`.
pub const APPLIED_SQL: &str =
    "SELECT file FROM applied_schema_deltas WHERE file >= 'myelin/' AND file < 'myelin0'";

const INSTALL_MARK: &str = "myelin/0001_schema";

/// A change of a database that was made from an older `schema.sql`.
pub struct Delta {
    /// Rises by one from delta to delta; the first is 2.
    pub revision: i64,
    /// In `snake_case`; part of the marks, never changed afterwards.
    pub name: &'static str,
    pub steps: &'static [Step],
}

/// What is done, and marked, as one.
pub enum Step {
    /// Statements of one batch, which happen once.
    Once(&'static [&'static str]),
    /// A statement that changes a bounded number of rows and returns each, run until there is none.
    UntilUnchanged(&'static str),
}

/// A step that a database has not seen.
pub struct PendingStep<'a> {
    mark: String,
    step: &'a Step,
}

impl PendingStep<'_> {
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// The batches of the step, in their order.
    ///
    /// Two isolates may bring a database up to date at once. The mark comes first in its batch,
    /// and a mark is unique: the slower batch fails and changes nothing. After an error the marks
    /// have to be read again; the step is done if it is no longer pending.
    pub fn batches(&self) -> Vec<PendingBatch> {
        let mark = mark_statement("INSERT", &self.mark);
        match self.step {
            Step::Once(statements) => {
                let statements = statements.iter().map(|statement| (*statement).to_owned());
                vec![PendingBatch::Once(std::iter::once(mark).chain(statements).collect())]
            }
            Step::UntilUnchanged(statement) => vec![
                PendingBatch::UntilUnchanged((*statement).to_owned()),
                PendingBatch::Once(vec![mark]),
            ],
        }
    }
}

/// One call of the database.
#[derive(Debug, PartialEq, Eq)]
pub enum PendingBatch {
    Once(Vec<String>),
    /// To be repeated until it returns no row.
    UntilUnchanged(String),
}

/// The statements of `schema.sql`, without comments and closing semicolons.
pub fn statements() -> Vec<String> {
    split(SCHEMA_SQL)
}

/// Everything that an empty database is given, in batches of at most `statements_max`.
///
/// Each statement can be repeated, also by several isolates at once. The marks are the last, so a
/// database that has them is complete.
pub fn install_batches(statements_max: usize) -> Vec<Vec<String>> {
    let mut all = statements();
    all.extend(install_marks(DELTAS).iter().map(|mark| mark_statement("INSERT OR IGNORE", mark)));
    all.chunks(statements_max.max(1)).map(<[String]>::to_vec).collect()
}

/// Whether a database with these marks got all of [`install_batches`] once.
pub fn is_installed(applied: &[String]) -> bool {
    applied.iter().any(|mark| mark == INSTALL_MARK)
}

/// The steps of `deltas` that an installed database with these marks has not seen, in their order.
pub fn pending_steps<'a>(deltas: &'a [Delta], applied: &[String]) -> Vec<PendingStep<'a>> {
    let steps = deltas.iter().flat_map(|delta| {
        let marked = |(index, step)| PendingStep { mark: step_mark(delta, index), step };
        delta.steps.iter().enumerate().map(marked)
    });
    steps.filter(|pending| !applied.contains(&pending.mark)).collect()
}

/// The marks of a database that was made from the newest `schema.sql`.
pub fn install_marks(deltas: &[Delta]) -> Vec<String> {
    let steps = pending_steps(deltas, &[]).into_iter().map(|pending| pending.mark);
    steps.chain(std::iter::once(INSTALL_MARK.to_owned())).collect()
}

fn step_mark(delta: &Delta, index: usize) -> String {
    format!("myelin/{:04}_{}.{}", delta.revision, delta.name, index + 1)
}

fn mark_statement(verb: &str, mark: &str) -> String {
    format!(
        "{verb} INTO applied_schema_deltas (version, file) \
         VALUES ({SCHEMA_VERSION}, '{mark}')"
    )
}

/// Splits SQL at the semicolons that end statements, and drops comments.
///
/// Quoted text is kept as it is. Triggers are not understood: there are none.
pub fn split(sql: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut statement = String::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let length = token_length(rest, first);
        let (token, after) = rest.split_at(length);
        rest = after;
        match first {
            ';' => statements.push(std::mem::take(&mut statement)),
            '-' | '/' if length > 1 => statement.push(' '),
            _ => statement.push_str(token),
        }
    }
    statements.push(statement);
    let trimmed = statements.iter().map(|statement| statement.trim().to_owned());
    trimmed.filter(|statement| !statement.is_empty()).collect()
}

/// The bytes of the comment, the quoted text or the single character that `rest` begins with.
fn token_length(rest: &str, first: char) -> usize {
    let until = |from: usize, end: &str, beyond: usize| {
        let found = rest.get(from..).and_then(|text| text.find(end));
        found.map_or(rest.len(), |at| from + at + beyond)
    };
    match first {
        '-' if rest.starts_with("--") => until(2, "\n", 0),
        '/' if rest.starts_with("/*") => until(2, "*/", 2),
        '\'' => until(1, "'", 1),
        '"' => until(1, "\"", 1),
        '`' => until(1, "`", 1),
        _ => first.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semicolon_in_quotes_or_a_comment_ends_nothing() {
        let sql = "-- one; two\nSELECT 'a;''b--c', \"d;e\" /* f; */ - 1;\n\nSELECT `g;`; -- h;\n";
        let expected = ["SELECT 'a;''b--c', \"d;e\"   - 1", "SELECT `g;`"];
        assert_eq!(split(sql), expected);
    }

    #[test]
    fn a_statement_without_its_semicolon_is_kept() {
        assert_eq!(split("SELECT 1;\nSELECT 'é"), ["SELECT 1", "SELECT 'é"]);
        assert!(split(" \n;;-- nothing").is_empty());
    }
}
