//! What the schema promises, read from PostgreSQL's catalogue.

use nexus_tests::{Stack, Value};

/// Foreign keys that no index begins with, and that do not say why. A partial index counts if it leaves out nothing but NULL.
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
