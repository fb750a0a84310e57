//! What the schema promises, read from PostgreSQL's catalogue and from the migrations.

use std::collections::BTreeSet;

use nexus_tests::repository::{file, folder, run};
use nexus_tests::{Stack, Value, json};

/// Foreign keys that no index begins with, and that do not say why. A partial index counts if it
/// leaves out nothing but NULL.
const WITHOUT_INDEX: &str = "
    SELECT c.conrelid::regclass::text AS referring, c.conname AS foreign_key
    FROM pg_constraint c
    WHERE c.contype = 'f' AND obj_description(c.oid, 'pg_constraint') IS NULL AND NOT EXISTS (
        SELECT 1 FROM pg_index i
        WHERE i.indrelid = c.conrelid AND i.indisvalid
          AND (i.indkey::int2[])[0 : cardinality(c.conkey) - 1] @> c.conkey
          AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) IN (
              SELECT format('(%I IS NOT NULL)', a.attname) FROM pg_attribute a
              WHERE a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey))))";

#[tokio::test]
async fn every_foreign_key_has_an_index_or_says_why_not() {
    let stack = Stack::builder().workers([]).api_processes(0).start().await;
    assert!(stack.count("pg_constraint WHERE contype = 'f'").await > 10);
    assert_eq!(stack.rows(WITHOUT_INDEX).await, Vec::<Value>::new());
}

#[tokio::test]
async fn existing_rows_obey_every_rule_but_the_one_that_organisers_have_to_mend() {
    let stack = Stack::builder().workers([]).api_processes(0).start().await;
    let new_rows_only = "SELECT conname::text FROM pg_constraint WHERE NOT convalidated";
    assert_eq!(stack.rows(new_rows_only).await, [json!({"conname": "events_dates_check"})]);
}

#[tokio::test]
async fn every_table_is_in_the_list_that_says_how_long_it_is_kept() {
    let stack = Stack::builder().workers([]).api_processes(0).start().await;
    let tables = "SELECT relname::text AS name FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace";
    let tables = stack.rows(tables).await;
    let tables: BTreeSet<&str> = tables.iter().filter_map(|row| row["name"].as_str()).collect();
    let document = file("docs/retention.md");
    let listed: Vec<Vec<&str>> = document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let names: BTreeSet<&str> = listed.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(tables, names, "left: in the database; right: in docs/retention.md");
    assert_eq!(names.len(), listed.len(), "each once");
    for row in listed {
        let says_all = row.len() == 4 && row.iter().all(|cell| !cell.is_empty());
        assert!(
            says_all,
            "{row:?} says what it grows with, how long it is kept, and who removes it"
        );
    }
}

/// Databases remember the checksum of every migration that they have had.
#[test]
fn a_frozen_migration_is_never_changed_and_a_new_one_comes_after_it() {
    run("sha384sum", &["--check", "--quiet", "--strict", "migrations/SHA384SUMS"]);
    let sums = file("migrations/SHA384SUMS");
    let frozen = sums.lines().filter_map(|line| line.split_once("  migrations/"));
    let frozen: Vec<&str> = frozen.map(|(_, name)| name).collect();
    assert!(
        migrations().starts_with(&frozen.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    );
}

#[test]
fn every_index_says_which_statements_it_serves() {
    for name in migrations() {
        let text = file(format!("migrations/{name}"));
        let lines: Vec<&str> = text.lines().collect();
        let created = |line: &str| {
            line.starts_with("CREATE INDEX") || line.starts_with("CREATE UNIQUE INDEX")
        };
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| created(line)) {
            let comment = lines[..at].iter().rev().take_while(|line| line.starts_with("--"));
            assert!(comment.into_iter().any(|line| line.contains("Serves: ")), "{name}: {line}");
        }
    }
}

fn migrations() -> Vec<String> {
    folder("migrations").into_iter().filter(|name| name.ends_with(".sql")).collect()
}
