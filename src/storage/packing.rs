//! Small reads that stand side by side in a batch, packed into one statement: a statement costs
//! the database more than the few rows that most of them find.
//!
//! Invariant: what a packed read returns is what it would have returned by itself, as long as the
//! rows of all fit into the largest value that the database makes; a batch in which they do not is
//! refused as a whole, and can be run again without packing.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::database::{DatabaseError, QueryResult, Statement};

/// Parameters of a statement that the database takes.
const PARAMETERS_MAX: usize = 100;

/// A batch, and how its results are taken apart.
pub struct Packed {
    pub statements: Vec<Statement>,
    /// How many reads each statement is made of.
    widths: Vec<usize>,
    /// The statement and the place in it of each read; `None` if it asks nothing.
    places: Vec<Option<(usize, usize)>>,
}

impl Packed {
    /// Packs the reads that have said what their columns are.
    pub fn new(batch: Vec<Statement>) -> Self {
        Self::with(batch, Statement::is_small)
    }

    /// The same batch, each statement by itself.
    pub fn unpacked(batch: Vec<Statement>) -> Self {
        Self::with(batch, |_| false)
    }

    fn with(batch: Vec<Statement>, is_packed: impl Fn(&Statement) -> bool) -> Self {
        let mut runs: Vec<Vec<Statement>> = Vec::new();
        let mut places = Vec::with_capacity(batch.len());
        for statement in batch {
            if !statement.asks() {
                places.push(None);
                continue;
            }
            let joins = |run: &&mut Vec<Statement>| {
                let count: usize = run.iter().map(|other| other.values.len()).sum();
                let fits = count + statement.values.len() <= PARAMETERS_MAX;
                fits && is_packed(&statement) && run.iter().all(&is_packed)
            };
            match runs.last_mut().filter(joins) {
                Some(run) => run.push(statement),
                None => runs.push(vec![statement]),
            }
            places.push(runs.last().map(|run| (runs.len() - 1, run.len() - 1)));
        }
        let widths = runs.iter().map(Vec::len).collect();
        Self { statements: runs.into_iter().map(join).collect(), widths, places }
    }

    /// The results of the batch that was packed, in its order.
    ///
    /// # Errors
    /// If the results are not those of these statements.
    pub fn unpack(&self, results: Vec<QueryResult>) -> Result<Vec<QueryResult>, DatabaseError> {
        let mut parts = Vec::with_capacity(results.len());
        for (mut result, width) in results.into_iter().zip(&self.widths) {
            parts.push(match width {
                1 => vec![result],
                _ => {
                    let mut row: HashMap<String, String> = result.first()?.unwrap_or_default();
                    result.rows_json = String::new();
                    let mut rows = (0..*width).map(|index| row.remove(&column(index)));
                    let first = rows.next().flatten().unwrap_or_default();
                    let first = QueryResult { rows_json: first, ..result };
                    let rest = rows.map(|rows| QueryResult {
                        rows_json: rows.unwrap_or_default(),
                        ..QueryResult::default()
                    });
                    std::iter::once(first).chain(rest).collect()
                }
            });
        }
        let mut take = |(statement, index): (usize, usize)| {
            let parts: &mut Vec<QueryResult> = parts.get_mut(statement)?;
            parts.get_mut(index).map(std::mem::take)
        };
        Ok(self.places.iter().map(|place| place.and_then(&mut take).unwrap_or_default()).collect())
    }
}

fn column(index: usize) -> String {
    format!("r{index}")
}

/// One statement of several: a row with the rows of each.
fn join(mut run: Vec<Statement>) -> Statement {
    if run.len() == 1 {
        return run.remove(0);
    }
    let mut joined = Statement::new("");
    let mut sql = String::from("SELECT ");
    for (index, statement) in run.into_iter().enumerate() {
        let fields: Vec<String> =
            statement.columns.iter().map(|name| format!("'{name}', \"{name}\"")).collect();
        let comma = if index == 0 { "" } else { ", " };
        // Writing to a text cannot fail.
        let _ = write!(
            sql,
            "{comma}(SELECT json_group_array(json_object({})) FROM ({})) AS {}",
            fields.join(", "),
            shifted(&statement.sql, joined.values.len()),
            column(index),
        );
        joined.values.extend(statement.values);
    }
    joined.sql = sql.into();
    joined
}

/// The SQL with its parameters counted from after `offset` others.
fn shifted(sql: &str, offset: usize) -> String {
    let mut shifted = String::with_capacity(sql.len() + 32);
    let mut parts = sql.split('?');
    shifted.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        shifted.push('?');
        if let Ok(number) = part[..digits].parse::<usize>() {
            let _ = write!(shifted, "{}", number + offset);
        }
        shifted.push_str(&part[digits..]);
    }
    shifted
}
