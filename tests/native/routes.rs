//! The endpoints that this server offers, pinned: a change of the list has to be meant.

use std::env;
use std::fs;
use std::path::Path;

use myelin::routes::table;

/// Compares with tests/snapshots/NAME, or writes it if `UPDATE_SNAPSHOTS` is set.
#[track_caller]
fn assert_snapshot(name: &str, found: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&file, found).expect("the snapshot can be written");
        return;
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    let missing = expected.lines().filter(|line| !found.lines().any(|other| other == *line));
    let added = found.lines().filter(|line| !expected.lines().any(|other| other == *line));
    let changes: Vec<String> = missing
        .map(|line| format!("- {line}"))
        .chain(added.map(|line| format!("+ {line}")))
        .collect();
    assert!(
        found == expected,
        "tests/snapshots/{name} differs:\n{}\n\
         If that is meant: UPDATE_SNAPSHOTS=1 cargo test --test native routes",
        changes.join("\n")
    );
}

#[test]
fn the_table_of_endpoints_is_the_public_list() {
    let mut lines = Vec::new();
    for route in table() {
        let mut paths = route.paths.clone();
        paths.sort_unstable();
        lines.extend(paths.iter().map(|path| format!("{} {path}\n", route.method)));
    }
    assert_snapshot("routes.txt", &lines.concat());
}

#[test]
fn no_endpoint_is_in_the_table_twice() {
    let mut seen = std::collections::BTreeSet::new();
    for route in table() {
        for path in route.paths {
            assert!(seen.insert(format!("{} {path}", route.method)), "{} {path}", route.method);
        }
    }
}
