//! The tests that documents name as proof, against known pitfalls and against attacks, are there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The names of functions in Rust files below a folder, with and without the name of their file in front.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            if !entry.ends_with("target") {
                functions(&entry, found);
            }
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&entry).expect("a source file");
            let file = entry.file_stem().expect("a name").to_string_lossy().into_owned();
            for rest in source.split("fn ").skip(1) {
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                found.insert(format!("{file}::{name}"));
                found.insert(name);
            }
        }
    }
}

/// Looks up each test that the last column of a section's table names.
fn check_table(page: &str, section: &str) {
    let text = fs::read_to_string(root().join(page)).expect("the page");
    let table = text.split(section).nth(1).expect("the section").split("\n## ").next().expect("its end");
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 20, "{} rows", rows.len());
    let mut known = BTreeSet::new();
    for folder in ["crates", "faults", "examples"] {
        functions(&root().join(folder), &mut known);
    }
    for row in rows {
        let tests = row.trim_end_matches([' ', '|']).rsplit(" | ").next().expect("a last column");
        let named: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test in {row}");
        for name in named {
            assert!(known.contains(name), "{page}: there is no test {name:?}");
        }
    }
}

#[test]
fn every_test_that_stands_against_a_pitfall_is_there() {
    check_table("DESIGN.md", "## Known pitfalls");
}

#[test]
fn every_test_that_stands_against_an_attack_is_there() {
    check_table("docs/operations.md", "### Attacks and bounds");
}
