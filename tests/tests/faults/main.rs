//! What Nexus stands on fails in every way that it can: requests end in bounded time with the right
//! status, nothing is lost or done twice, and when it is over everything works again, without a
//! restart of any process. Deaths of our own processes are in `fast/jobs/crashes.rs`, everything at
//! once in `long/`.

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

use nexus_tests::{Answer, Stack};
use sqlx::{Postgres, Transaction};

/// What a time-out may take longer on a busy machine.
const SLACK: Duration = Duration::from_secs(10);

/// An answer, and whoever waits for it does not wait for longer than `bound`.
async fn within(bound: Duration, answer: impl Future<Output = Answer>) -> Answer {
    let begun = Instant::now();
    let answer = answer.await;
    assert!(begun.elapsed() < bound + SLACK, "{answer} took {:?}", begun.elapsed());
    answer
}

/// Checks that an answer says: not now, ask again.
fn assert_unavailable(answer: &Answer) {
    answer.failed(503, "Service temporarily unavailable. Please try again shortly.");
    assert_eq!(answer.body["error"]["code"], "unavailable", "{answer}");
    assert!(answer.headers.contains_key("retry-after"), "{answer}");
}

/// Holds all seats and what is left of them, until it is dropped: whoever wants to change something
/// waits in PostgreSQL.
async fn hold_seats(stack: &Stack) -> Transaction<'static, Postgres> {
    let mut tx = stack.db.begin().await.unwrap();
    for query in ["SELECT 1 FROM event_inventory FOR UPDATE", "SELECT 1 FROM seats FOR UPDATE"] {
        sqlx::query(query).execute(&mut *tx).await.unwrap();
    }
    tx
}
