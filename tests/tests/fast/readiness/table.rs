//! The document that tables the findings says the same as the tests.

use std::collections::BTreeMap;
use std::path::Path;

/// The names of the tests of findings, by number.
fn tests() -> BTreeMap<u32, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fast/readiness");
    let mut tests = BTreeMap::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let source = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for line in source.lines() {
            let Some((_, name)) = line.split_once("fn finding_") else { continue };
            let name = name.split('(').next().unwrap();
            let Some(number) = name.split('_').next().and_then(|number| number.parse().ok()) else {
                continue;
            };
            let twice = tests.insert(number, format!("finding_{name}"));
            assert_eq!(twice, None, "two tests of finding {number}");
        }
    }
    tests
}

#[test]
fn every_finding_has_a_test_and_a_row_in_the_document() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/readiness.md");
    let document = std::fs::read_to_string(document).unwrap();
    // | number | finding | what Nexus does | `test` |
    let rows = document.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let number = cells.get(1)?.parse().ok()?;
        Some((number, cells.get(4)?.trim_matches('`').to_owned()))
    });
    let rows: BTreeMap<u32, String> = rows.collect();
    assert_eq!(rows, tests());
    assert!(rows.keys().copied().eq(1..=25), "{:?}", rows.keys());
}
