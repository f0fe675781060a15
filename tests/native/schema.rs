//! `schema.sql` against Synapse's schema: each deviation has its reason in `docs/schema.md`.

use std::collections::{BTreeMap, BTreeSet};

use myelin::storage::schema;
use rusqlite::Connection;
use serde::Deserialize;

const REFERENCE: &str = include_str!("../fixtures/synapse-schema.json");
const DOCUMENT: &str = include_str!("../../docs/schema.md");
const STATEMENT_BYTES_MAX: usize = 100_000;
const COLUMNS_MAX: usize = 100;

#[derive(Deserialize)]
struct Reference {
    schema_version: i64,
    schema_compat_version: i64,
    tables: BTreeMap<String, Table>,
    triggers: BTreeMap<String, Trigger>,
}

#[derive(Deserialize)]
struct Trigger {
    table: String,
}

#[derive(Deserialize)]
struct Table {
    columns: Vec<Column>,
    indexes: Vec<Index>,
    foreign_keys: Vec<ForeignKey>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Column {
    name: String,
    r#type: String,
    notnull: bool,
    default: Option<String>,
    pk: u32,
}

#[derive(Deserialize)]
struct Index {
    name: String,
    unique: bool,
    origin: String,
    columns: Vec<String>,
    sql: Option<String>,
}

#[derive(Deserialize)]
struct ForeignKey {
    columns: String,
    table: String,
    to: String,
    on_delete: String,
}

impl Index {
    /// What makes two indexes equal: their name if they were given one, and what they do.
    fn identity(&self) -> String {
        let name = if self.origin == "c" { self.name.as_str() } else { "constraint" };
        let sql = self.sql.as_deref().unwrap_or_default();
        let sql = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        let condition = sql.split_once(" WHERE ").map_or("", |(_, condition)| condition);
        let unique = if self.unique { " unique" } else { "" };
        format!("{name}{unique} {} ({}) {condition}", self.origin, self.columns.join(", "))
    }
}

fn reference() -> Reference {
    serde_json::from_str(REFERENCE).unwrap()
}

fn installed() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.pragma_update(None, "foreign_keys", true).unwrap();
    install(&connection);
    connection
}

fn install(connection: &Connection) {
    for statement in schema::install_batches(50).concat() {
        connection.execute_batch(&statement).unwrap_or_else(|error| panic!("{error}: {statement}"));
    }
}

/// The first column of each row.
fn strings(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

fn our_tables(connection: &Connection) -> BTreeMap<String, Table> {
    let names = strings(connection, "SELECT name FROM sqlite_master WHERE type = 'table'");
    names.into_iter().map(|name| (name.clone(), our_table(connection, &name))).collect()
}

fn our_table(connection: &Connection, name: &str) -> Table {
    let columns = "SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info(?1)";
    let keys = "SELECT \"from\", \"table\", \"to\", on_delete FROM pragma_foreign_key_list(?1)";
    let mut columns = connection.prepare(columns).unwrap();
    let columns = columns.query_map([name], |row| {
        Ok(Column {
            name: row.get(0)?,
            r#type: row.get(1)?,
            notnull: row.get(2)?,
            default: row.get(3)?,
            pk: row.get(4)?,
        })
    });
    let mut keys = connection.prepare(keys).unwrap();
    let keys = keys.query_map([name], |row| {
        let (columns, table) = (row.get(0)?, row.get(1)?);
        Ok(ForeignKey { columns, table, to: row.get(2)?, on_delete: row.get(3)? })
    });
    Table {
        columns: columns.unwrap().map(Result::unwrap).collect(),
        indexes: our_indexes(connection, name),
        foreign_keys: keys.unwrap().map(Result::unwrap).collect(),
    }
}

fn our_indexes(connection: &Connection, table: &str) -> Vec<Index> {
    let sql = "SELECT name, \"unique\", origin, \
               (SELECT sql FROM sqlite_master WHERE type = 'index' AND name = list.name) \
               FROM pragma_index_list(?1) AS list";
    let mut statement = connection.prepare(sql).unwrap();
    let indexes = statement.query_map([table], |row| {
        let name: String = row.get(0)?;
        let columns = format!("SELECT name FROM pragma_index_info('{name}')");
        let columns = strings(connection, &columns);
        Ok(Index { name, unique: row.get(1)?, origin: row.get(2)?, columns, sql: row.get(3)? })
    });
    indexes.unwrap().map(Result::unwrap).collect()
}

/// Every difference between the tables of `connection` and the reference, as a line.
fn deviations(connection: &Connection) -> BTreeSet<String> {
    let reference = reference();
    let ours = our_tables(connection);
    let mut found = BTreeSet::new();
    for (name, theirs) in &reference.tables {
        match ours.get(name) {
            None => drop(found.insert(format!("table {name}"))),
            Some(ours) => compare(name, ours, theirs, &mut found),
        }
    }
    let unknown = ours.keys().filter(|name| !reference.tables.contains_key(*name));
    let unknown = unknown.filter(|name| !name.starts_with("myelin_"));
    found.extend(unknown.map(|name| format!("additional table {name}")));
    let triggers = strings(connection, "SELECT name FROM sqlite_master WHERE type = 'trigger'");
    let missing = reference.triggers.iter().filter(|(name, _)| !triggers.contains(name));
    found.extend(missing.map(|(name, trigger)| format!("trigger {name} of {}", trigger.table)));
    found
}

fn compare(name: &str, ours: &Table, theirs: &Table, found: &mut BTreeSet<String>) {
    if ours.columns != theirs.columns {
        found.insert(format!("columns of {name}: {:?}, not {:?}", ours.columns, theirs.columns));
    }
    let identities =
        |table: &Table| -> BTreeSet<String> { table.indexes.iter().map(Index::identity).collect() };
    for index in &theirs.indexes {
        if !identities(ours).contains(&index.identity()) {
            let columns = index.columns.join(", ");
            found.insert(format!("index {} of {name} ({columns})", index.name));
        }
    }
    let additional: Vec<_> = identities(ours).difference(&identities(theirs)).cloned().collect();
    found.extend(additional.iter().map(|index| format!("additional index of {name}: {index}")));
    let keys = |table: &Table| -> BTreeSet<String> {
        table.foreign_keys.iter().map(|key| foreign_key(name, key)).collect()
    };
    found.extend(keys(theirs).difference(&keys(ours)).cloned());
    found.extend(keys(ours).difference(&keys(theirs)).map(|key| format!("additional {key}")));
}

fn foreign_key(table: &str, key: &ForeignKey) -> String {
    let ForeignKey { columns, table: parent, to, on_delete } = key;
    format!("foreign key {table}.{columns} to {parent}.{to} {on_delete}")
}

/// The rows of the table under a heading of the document, without backquotes.
fn listed(heading: &str) -> Vec<Vec<String>> {
    let section = DOCUMENT.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    let cells = |row: &str| {
        let row = row.replace('`', "");
        row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    rows.skip(1).map(cells).collect()
}

/// The deviations that the document gives a reason for.
fn documented() -> BTreeSet<String> {
    let tables = listed("Tables left out").into_iter().map(|row| match row.as_slice() {
        [table, reason] if !reason.is_empty() => format!("table {table}"),
        _ => panic!("not a table and its reason: {row:?}"),
    });
    let indexes = listed("Indexes left out").into_iter().map(|row| match row.as_slice() {
        [table, index, columns, reason] if !reason.is_empty() => {
            format!("index {index} of {table} ({columns})")
        }
        _ => panic!("not an index and its reason: {row:?}"),
    });
    let own = listed("Indexes of our own").into_iter().map(|row| match row.as_slice() {
        [table, index, columns, reason] if !reason.is_empty() => {
            format!("additional index of {table}: {index} c ({columns}) ")
        }
        _ => panic!("not an index and its reason: {row:?}"),
    });
    let keys = listed("Foreign keys left out").into_iter().map(|row| match row.as_slice() {
        [table, column, parent, on_delete, reason] if !reason.is_empty() => {
            format!("foreign key {table}.{column} to {parent} {on_delete}")
        }
        _ => panic!("not a foreign key and its reason: {row:?}"),
    });
    let triggers = listed("Triggers left out").into_iter().map(|row| match row.as_slice() {
        [trigger, table, reason] if !reason.is_empty() => format!("trigger {trigger} of {table}"),
        _ => panic!("not a trigger and its reason: {row:?}"),
    });
    tables.chain(indexes).chain(own).chain(keys).chain(triggers).collect()
}

#[test]
fn every_deviation_from_synapse_has_its_reason_in_the_document() {
    let (found, documented) = (deviations(&installed()), documented());
    found.iter().for_each(|deviation| println!("{deviation}"));
    let silent: Vec<_> = found.difference(&documented).collect();
    assert!(silent.is_empty(), "without a reason in docs/schema.md: {silent:#?}");
    let obsolete: Vec<_> = documented.difference(&found).collect();
    assert!(obsolete.is_empty(), "listed in docs/schema.md, but there: {obsolete:#?}");
}

#[test]
fn a_changed_column_and_a_lost_key_are_deviations() {
    let connection = installed();
    connection.execute_batch("ALTER TABLE rooms ADD COLUMN extra TEXT").unwrap();
    connection.execute_batch("DROP INDEX blocked_rooms_idx").unwrap();
    connection.execute_batch("CREATE INDEX more ON rooms (creator)").unwrap();
    let before = deviations(&installed());
    let new: Vec<_> = deviations(&connection).difference(&before).cloned().collect();
    assert_eq!(new.len(), 3, "{new:#?}");
}

#[test]
fn the_schema_can_be_applied_again_and_changes_nothing() {
    let connection = installed();
    let contents = |connection: &Connection| -> Vec<(String, i64)> {
        let tables = our_tables(connection).into_keys();
        let count = |table: String| {
            let sql = format!("SELECT count(*) FROM {table}");
            (table, connection.query_row(&sql, [], |row| row.get(0)).unwrap())
        };
        tables.map(count).collect()
    };
    let before = contents(&connection);
    let raise = "UPDATE stream_positions SET stream_id = 7 WHERE stream_name = 'events'";
    connection.execute_batch(raise).unwrap();
    install(&connection);
    assert_eq!(contents(&connection), before);
    let position = "SELECT stream_id FROM stream_positions WHERE stream_name = 'events'";
    assert_eq!(connection.query_row(position, [], |row| row.get::<_, i64>(0)).unwrap(), 7);
}

#[test]
fn there_are_no_views_triggers_or_virtual_tables() {
    let sql = "SELECT name FROM sqlite_master WHERE type NOT IN ('table', 'index') \
               OR sql LIKE 'CREATE VIRTUAL%' OR name LIKE 'sqlite_seq%'";
    assert_eq!(strings(&installed(), sql), [""; 0]);
}

#[test]
fn the_limits_of_the_platform_are_kept() {
    let statements = schema::statements();
    assert!(statements.len() > 100);
    assert!(statements.iter().all(|statement| statement.len() < STATEMENT_BYTES_MAX));
    assert!(our_tables(&installed()).values().all(|table| table.columns.len() <= COLUMNS_MAX));
}

#[test]
fn every_table_of_one_row_has_it() {
    let connection = installed();
    let tables = our_tables(&connection);
    let has_lock = |table: &&String| tables[*table].columns.iter().any(|c| c.name == "Lock");
    let singletons: Vec<_> = tables.keys().filter(has_lock).collect();
    assert_eq!(singletons.len(), 11, "{singletons:?}");
    for table in singletons {
        assert_eq!(strings(&connection, &format!("SELECT Lock FROM {table}")), ["X"], "{table}");
        let second = format!("UPDATE {table} SET Lock = 'Y'");
        assert!(connection.execute_batch(&second).is_err(), "{table}");
    }
}

#[test]
fn the_versions_are_synapses() {
    let (connection, reference) = (installed(), reference());
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let (version, compat) = (reference.schema_version, reference.schema_compat_version);
    assert_eq!(number("SELECT version FROM schema_version"), version);
    assert_eq!(schema::SCHEMA_VERSION, version);
    assert_eq!(number("SELECT compat_version FROM schema_compat_version"), compat);
    assert_eq!(schema::SCHEMA_COMPAT_VERSION, compat);
}

#[test]
fn streams_and_their_start_are_those_of_the_document() {
    let rows = "SELECT stream_name || ' ' || stream_id FROM stream_positions \
                WHERE instance_name = 'master' ORDER BY stream_name";
    let mut documented: Vec<_> = listed("Streams").iter().map(|row| row[..2].join(" ")).collect();
    documented.sort();
    assert_eq!(strings(&installed(), rows), documented);
}

#[test]
fn our_own_tables_and_their_columns_are_those_of_the_document() {
    let ours = our_tables(&installed());
    let ours = ours.iter().filter(|(name, _)| name.starts_with("myelin_"));
    let columns = |table: &Table| {
        let names: Vec<_> = table.columns.iter().map(|column| column.name.as_str()).collect();
        names.join(", ")
    };
    let ours: BTreeSet<_> = ours.map(|(name, table)| vec![name.clone(), columns(table)]).collect();
    let documented = listed("Our own tables").iter().map(|row| row[..2].to_vec()).collect();
    assert_eq!(ours, documented);
}
