//! The servers that Nexus needs fail in every way that they can: requests end in bounded time with
//! the right status, nothing is lost or done twice, and when it is over everything works again,
//! without a restart of any process. Deaths of our own processes are in `fast/jobs/crashes.rs`,
//! everything at once in `long/`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests are tests"
)]

mod clocks;
mod disk;
mod outages;
mod pool;
mod postgresql;
mod providers;
mod redis;

use std::time::{Duration, Instant};

use nexus_tests::{Response, Stack};
use sqlx::{Postgres, Transaction};

/// What a time-out may take longer on a busy machine.
const SLACK: Duration = Duration::from_secs(10);

/// A response that has to come within `bound`.
async fn within(bound: Duration, response: impl Future<Output = Response>) -> Response {
    let begun = Instant::now();
    let response = response.await;
    assert!(begun.elapsed() < bound + SLACK, "{response} took {:?}", begun.elapsed());
    response
}

/// Checks that a response says: not now, ask again.
fn assert_unavailable(response: &Response) {
    response.failed(503, "Service temporarily unavailable. Please try again shortly.");
    assert_eq!(response.body["error"]["code"], "unavailable", "{response}");
    assert!(response.headers.contains_key("retry-after"), "{response}");
}

/// Holds all seats and what is left of them, until it is dropped: every request for a change waits
/// in PostgreSQL.
async fn hold_seats(stack: &Stack) -> Transaction<'static, Postgres> {
    let mut tx = stack.db.begin().await.unwrap();
    for query in ["SELECT 1 FROM event_inventory FOR UPDATE", "SELECT 1 FROM seats FOR UPDATE"] {
        sqlx::query(query).execute(&mut *tx).await.unwrap();
    }
    tx
}
