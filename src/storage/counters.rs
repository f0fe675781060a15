//! `myelin_counters`: ids that are never used twice.

use super::database::Statement;

/// Takes the next id of a counter; the statements after this one read it from the counter.
pub(super) fn next_id(counter: &'static str) -> Statement {
    Statement::new("UPDATE myelin_counters SET value = value + 1 WHERE name = ?1").bind(counter)
}

/// Takes so many ids of a counter: the last of them is what it then says.
pub(super) fn next_ids(counter: &'static str, count: usize) -> Statement {
    Statement::new("UPDATE myelin_counters SET value = value + ?2 WHERE name = ?1")
        .bind(counter)
        .bind(count as i64)
}
