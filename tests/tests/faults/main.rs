//! What Nexus stands on fails in every way that it can: requests end in bounded time with the right
//! status, nothing is lost or done twice, and when it is over everything works again, without a
//! restart of any process. Outages of a simpler kind are in `outages.rs`, deaths of our own
//! processes in `crashes.rs`, all at once in `kill/` and `soak/`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests are tests"
)]

mod clocks;
mod disk;
mod pool;
mod postgresql;
mod providers;
mod redis;

use std::time::{Duration, Instant};

use nexus_tests::{Answer, Client, Event, SOON, Stack, eventually, seen};
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

/// An event on sale and a buyer.
async fn on_sale(stack: &Stack) -> (Event, Client) {
    let organiser = stack.user().await;
    (stack.event(&organiser, &[("VIP", 100.0, 50)]).await, stack.user().await)
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

/// Waits until `count` queries of our processes wait for rows that somebody else holds.
async fn until_blocked(stack: &Stack, count: i64) {
    eventually(&format!("{count} queries wait for a row"), SOON, async || {
        let waiting =
            "pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'nexus-api%'";
        let blocked = stack.count(waiting).await;
        seen(blocked >= count, blocked).map(drop)
    })
    .await;
}
