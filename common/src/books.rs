//! The invariants of seats and money, in one place: `books.sql` lists what breaks them. The daily
//! job `check_books`, `nexus-jobs check-books` and the tests run it.

use serde::Serialize;
use sqlx::{Connection, PgConnection};

use crate::{
    error::Result,
    jobs::{
        Job,
        payments::{ProcessWebhook, RefundPayment},
    },
};

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub rule: String,
    /// What breaks it: `booking 7`, `payment pay_…`.
    pub subject: String,
    /// What the books have instead.
    pub found: String,
}

/// The most violations that one check lists; more would tell no more.
pub const LISTED: i64 = 1_000;

/// Every broken invariant, at most [`LISTED`]. Reads everything that was ever sold: for once a day,
/// not for requests.
pub async fn violations(conn: &mut PgConnection) -> Result<Vec<Violation>> {
    let mut tx = conn.begin().await?;
    // It may take longer than any other query. Each table is read once and hash-joined with others:
    // a plan that looks up one table for each row of another, made where PostgreSQL does not know
    // the sizes, takes hours where this takes seconds.
    sqlx::query!(
        "SELECT set_config(name, value, TRUE) AS set
         FROM (VALUES ('statement_timeout', '10min'), ('enable_nestloop', 'off'), ('enable_seqscan', 'on'),
                      ('jit', 'off'), ('work_mem', '64MB')) setting (name, value)"
    )
    .fetch_all(&mut *tx)
    .await?;
    let violations = sqlx::query_file_as!(
        Violation,
        "src/books.sql",
        LISTED,
        RefundPayment::KIND,
        ProcessWebhook::KIND,
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.rollback().await?;
    Ok(violations)
}
