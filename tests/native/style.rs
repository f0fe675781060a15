//! The rules of the layout, as tests: each says which line breaks it, and why the rule is there.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A source file by its path from the root of the repository.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The lines that are not comments alone.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.ends_with("tests.rs")
    }
}

/// Every file below these folders with one of these extensions.
fn sources(folders: &[&str], extensions: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder exists") {
            let path = entry.expect("the entry can be read").path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if path.is_dir() {
                folders.push(path);
            } else if extension.is_some_and(|extension| extensions.contains(&extension)) {
                let text = fs::read_to_string(&path).expect("the file is text");
                let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push(Source { path, text });
            }
        }
    }
    assert!(!found.is_empty());
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn rust() -> Vec<Source> {
    sources(&["src", "tests"], &["rs"])
}

/// Fails with all the places that break a rule, and the rule's reason.
#[track_caller]
fn assert_kept(reason: &str, broken: &[String]) {
    let mut report = String::new();
    for place in broken {
        writeln!(report, "  {place}").unwrap();
    }
    assert!(broken.is_empty(), "{reason}\n{report}");
}

/// The lines of `code` in which one of these words stands.
fn places_of(source: &Source, words: &[&str]) -> Vec<String> {
    let has = |line: &str| words.iter().any(|word| contains_word(line, word));
    let found = source.code().filter(|(_, line)| has(line));
    found.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim())).collect()
}

fn contains_word(line: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(part_of_name) && !after.is_some_and(part_of_name)
    })
}

#[test]
fn sql_is_only_in_storage() {
    let words = ["SELECT", "INSERT INTO", "INSERT OR", "DELETE FROM", "UPDATE", "json_each"];
    let elsewhere = rust().into_iter().filter(|source| {
        source.path.starts_with("src/") && !source.path.starts_with("src/storage/")
    });
    let broken: Vec<String> = elsewhere.flat_map(|source| places_of(&source, &words)).collect();
    let reason = "SQL elsewhere cannot be found by who changes a table, nor checked for its plan:";
    assert_kept(reason, &broken);
}

#[test]
fn the_protocol_is_pure() {
    let words = ["worker", "js_sys", "std::time", "std::fs", "std::net", "std::env", "std::thread"];
    let more = ["rand", "getrandom", "SystemTime", "Instant", "async", "await", "rusqlite"];
    let words = [&words[..], &more[..]].concat();
    let broken: Vec<String> = sources(&["src/protocol/src"], &["rs"])
        .iter()
        .flat_map(|source| places_of(source, &words))
        .collect();
    let reason = "Rules that wait, read a clock or draw a number cannot be tested as functions:";
    assert_kept(reason, &broken);
}

/// Which other parts of the crate each part may name. Everyone may name `error` and `log`.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("storage", &["storage", "context"]),
    ("durable", &["durable", "serving", "outbound", "storage", "context", "config"]),
    ("serving", &["serving", "storage", "context"]),
    ("outbound", &["outbound", "context", "config"]),
    ("accounts", &["accounts", "outbound", "storage", "durable", "context", "config"]),
    ("media", &["media", "pictures", "outbound", "storage", "context", "config"]),
    ("pictures", &["pictures"]),
    (
        "routes",
        &[
            "routes", "accounts", "media", "serving", "outbound", "storage", "durable", "context",
            "config",
        ],
    ),
];

#[test]
fn each_part_imports_only_what_is_below_it() {
    let mut broken = Vec::new();
    for (part, allowed) in MAY_IMPORT {
        for source in sources(&[&format!("src/{part}")], &["rs"]) {
            for (number, line) in source.code() {
                let named = line.split("crate::").skip(1).map(|rest| {
                    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()
                });
                for name in named.filter(|name| !name.is_empty()) {
                    if !allowed.contains(&name) && !["error", "log"].contains(&name) {
                        broken.push(format!("{}:{number}: {}", source.path, line.trim()));
                    }
                }
            }
        }
    }
    let reason = "A part that imports from above it can neither be read nor tested alone:";
    assert_kept(reason, &broken);
}

#[test]
fn only_the_edge_knows_the_runtime() {
    let words = ["worker", "wasm_bindgen", "js_sys", "wasm_bindgen_futures"];
    let elsewhere = rust()
        .into_iter()
        .filter(|source| source.path.starts_with("src/") && !source.path.starts_with("src/edge/"));
    let names = |line: &str| words.iter().any(|word| line.contains(&format!("{word}::")));
    let broken: Vec<String> = elsewhere
        .flat_map(|source| {
            let found = source.code().filter(|(_, line)| names(line));
            found.map(|(number, _)| format!("{}:{number}", source.path)).collect::<Vec<_>>()
        })
        .filter(|place| !place.starts_with("src/log.rs:"))
        .collect();
    let reason = "What names the Worker's runtime cannot run in the native tests:";
    assert_kept(reason, &broken);
}

#[test]
fn files_and_lines_are_short() {
    let columns_max = 100;
    // Tests do not depend on each other, so that nobody reads such a file as a whole.
    let lines_max = |source: &Source| if source.is_test() { 1000 } else { 500 };
    let mut broken = Vec::new();
    for source in sources(&["src", "tests", "scripts", "www"], &["rs", "mjs", "js", "py"]) {
        let lines = source.text.lines().count();
        if lines > lines_max(&source) {
            broken.push(format!("{}: {lines} lines", source.path));
        }
        for (number, line) in source.lines() {
            let columns = line.chars().count();
            if columns > columns_max {
                broken.push(format!("{}:{number}: {columns} columns", source.path));
            }
        }
    }
    assert_kept("Long files and lines are hard to read:", &broken);
}

#[test]
fn functions_fit_a_screen() {
    let lines_max = 90;
    let mut broken = Vec::new();
    for source in rust() {
        // As rustfmt writes it: a function ends with the first brace at its own indentation.
        let mut open: Option<(usize, String, String)> = None;
        for (number, line) in source.lines() {
            let indentation = &line[..line.len() - line.trim_start().len()];
            match &open {
                None if is_function(line) && !line.ends_with(['}', ';']) => {
                    let end = format!("{indentation}}}");
                    open = Some((number, end, line.trim().to_owned()));
                }
                Some((start, end, name)) if line == end => {
                    if number - start >= lines_max {
                        let lines = number - start + 1;
                        broken.push(format!("{}:{start}: {lines} lines: {name}", source.path));
                    }
                    open = None;
                }
                _ => {}
            }
        }
    }
    assert_kept(&format!("A function of more than {lines_max} lines hides its order:"), &broken);
}

fn is_function(line: &str) -> bool {
    let words = ["pub", "pub(crate)", "pub(super)", "async", "const"];
    let mut rest = line.trim_start();
    while let Some((word, after)) = rest.split_once(' ') {
        if word == "fn" {
            return true;
        }
        if !words.contains(&word) {
            return false;
        }
        rest = after;
    }
    false
}

#[test]
fn nothing_is_left_for_later() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut broken = Vec::new();
    let extensions = ["rs", "mjs", "js", "py", "html", "css"];
    for source in sources(&["src", "tests", "scripts", "www"], &extensions) {
        for (number, line) in source.lines() {
            if words.iter().any(|word| contains_word(line, word)) {
                broken.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_kept("What does not work is listed in the README, where users see it:", &broken);
}

#[test]
fn every_file_says_what_it_owns_and_is_compiled() {
    let all = rust();
    let mut broken = Vec::new();
    for source in &all {
        if !source.text.starts_with("//!") && !source.is_test() {
            broken.push(format!("{}: does not begin with //!", source.path));
        }
        if !is_compiled(source, &all) {
            broken.push(format!("{}: no file has it as `mod`", source.path));
        }
    }
    assert_kept("A file without a purpose, or that nothing uses, misleads:", &broken);
}

/// Whether a file is a root of a crate or some parent names it.
fn is_compiled(source: &Source, all: &[Source]) -> bool {
    let path = Path::new(&source.path);
    let folder = path.parent().unwrap();
    let name = path.file_stem().unwrap().to_str().unwrap();
    // A folder of tests/ with a main.rs is one test binary.
    let is_binary = name == "main" && folder.parent().is_some_and(|up| up.ends_with("tests"));
    let is_binary = is_binary || source.path == "tests/e2e/rust-client/src/main.rs";
    if name == "lib" || folder.ends_with("tests") || is_binary {
        return true;
    }
    let (name, folder) = match name {
        "mod" => (folder.file_name().unwrap().to_str().unwrap(), folder.parent().unwrap()),
        name => (name, folder),
    };
    let declared = [format!("mod {name};"), format!("{name}.rs\"")];
    all.iter()
        .filter(|parent| Path::new(&parent.path).starts_with(folder))
        .any(|parent| declared.iter().any(|words| parent.text.contains(words.as_str())))
}

#[test]
fn words_and_functions_are_recognised() {
    assert!(is_function("    pub(crate) async fn answer("));
    assert!(!is_function("    let fn_name = 1;"));
    let source = Source {
        path: "src/one_tests.rs".to_owned(),
        text: "//! x\n// worker\nlet a = worker;\nlet b = coworker;\n".to_owned(),
    };
    assert!(source.is_test());
    assert_eq!(places_of(&source, &["worker"]), ["src/one_tests.rs:3: let a = worker;"]);
}
