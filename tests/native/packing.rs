//! Small reads that are run as one statement.

use crate::support::Server;
use myelin::storage::database::Statement;
use myelin::storage::packing::Packed;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Row {
    name: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    size: f64,
}

fn read(first: &str, second: i64) -> Statement {
    Statement::new("SELECT ?1 AS name, NULL AS type, ?2 AS size UNION ALL SELECT 'b', '[]', 0.5")
        .bind(first)
        .bind(second)
}

fn batch() -> Vec<Statement> {
    let nothing = Statement::new("").small::<Row>();
    vec![
        read("a \"quoted\" one", 1).small::<Row>(),
        nothing.clone(),
        read("ünï?2", 2).small::<Row>(),
        Statement::new("SELECT 'x' AS name WHERE 0").small_of(&["name"]),
        read("alone", 3),
        read("c", 4).small::<Row>(),
        nothing,
    ]
}

fn rows(server: &Server, packed: &mut Packed) -> Vec<Vec<Value>> {
    let statements = std::mem::take(&mut packed.statements);
    let results = server.platform.sqlite.batch(&statements).unwrap();
    let results = packed.unpack(results).unwrap();
    results.iter().map(|result| result.rows().unwrap()).collect()
}

#[test]
fn packed_reads_return_what_they_return_alone() {
    let server = Server::new();
    let (mut packed, mut unpacked) = (Packed::new(batch()), Packed::unpacked(batch()));
    assert_eq!(packed.statements.len(), 3);
    assert_eq!(unpacked.statements.len(), 5);
    let numbers = |rows: Vec<Vec<Value>>| -> Vec<Vec<Value>> {
        let number = |mut row: Value| {
            row["size"] = json!(row["size"].as_f64());
            row
        };
        rows.into_iter().map(|rows| rows.into_iter().map(number).collect()).collect()
    };
    let expected = numbers(rows(&server, &mut unpacked));
    assert_eq!(expected.iter().map(Vec::len).collect::<Vec<_>>(), [2, 0, 2, 0, 2, 2, 0]);
    assert_eq!(numbers(rows(&server, &mut packed)), expected);
}

#[test]
fn more_parameters_than_a_statement_takes_are_spread() {
    let batch: Vec<Statement> = (0..60).map(|n| read("x", n).small::<Row>()).collect();
    let mut packed = Packed::new(batch);
    assert_eq!(packed.statements.len(), 2);
    let rows = rows(&Server::new(), &mut packed);
    assert_eq!(rows.len(), 60);
    assert_eq!(rows[59][0]["size"].as_f64(), Some(59.0));
}

/// A value of the database has 2 MB at most; the rows of several reads together may have more.
#[test]
fn reads_that_are_too_large_together_are_run_alone() {
    let server = Server::new();
    let alice = server.register("alice");
    for name in ["a", "b", "c"] {
        let content = json!({ "text": name.repeat(900_000) }).to_string();
        let user_id = &alice.user_id;
        let set = myelin::storage::account_data::set(
            user_id.as_str().try_into().unwrap(),
            name,
            &content,
        );
        server.platform.sqlite.batch(&set).unwrap();
    }
    let sync = server.get(&alice, "/_matrix/client/v3/sync").ok();
    let events = sync["account_data"]["events"].as_array().unwrap();
    let texts = events.iter().filter_map(|event| event["content"]["text"].as_str());
    assert_eq!(texts.map(str::len).collect::<Vec<_>>(), [900_000; 3]);
}
