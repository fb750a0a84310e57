//! What must hold of seats and money whenever nothing is being changed, in one place: `books.sql`
//! lists what does not. The daily job `check_books`, `nexus-jobs check-books` and the tests ask
//! here.

use serde::Serialize;
use sqlx::{Connection, PgConnection};

use crate::{
    error::Result,
    jobs::{
        Job,
        payments::{ProcessWebhook, RefundPayment},
    },
};

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub rule: String,
    /// Of what: `booking 7`, `payment pay_…`.
    pub subject: String,
    /// What is there instead.
    pub found: String,
}

/// Violations that one check lists; more of them do not tell more.
pub const LISTED: i64 = 1_000;

/// Every invariant that does not hold now, at most [`LISTED`]. Looks at everything that was ever
/// sold: for once a day, not for requests.
pub async fn violations(conn: &mut PgConnection) -> Result<Vec<Violation>> {
    let mut tx = conn.begin().await?;
    // It may take longer than anything else. Each table is read once and compared with others by
    // hash: a plan that looks at one table for each row of another, made where PostgreSQL does not
    // know how much there is, takes hours where this takes seconds.
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
