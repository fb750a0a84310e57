//! PostgreSQL's disk is full. It really is, as far as PostgreSQL can tell: the files of some tables
//! are `/dev/full`, where the kernel refuses every write with ENOSPC. That needs neither a separate
//! file system nor any permission.

use std::os::unix::fs::symlink;

use nexus_tests::{Booking, Outcome, SOON, Stack, Value, eventually, seen};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::assert_unavailable;

/// Gives an empty table a new file, under a lock that keeps all processes from opening the wrong
/// one; then `swap` may put something else in its place.
async fn new_file(stack: &Stack, table: &str, swap: impl FnOnce(&std::path::Path)) {
    let mut conn = PgConnection::connect(&stack.postgres.url()).await.unwrap();
    let mut tx = conn.begin().await.unwrap();
    let cluster = format!("CLUSTER {table} USING {table}_pkey");
    sqlx::query(AssertSqlSafe(cluster)).execute(&mut *tx).await.unwrap();
    let path = format!("SELECT pg_relation_filepath('{table}')");
    let path: String = sqlx::query_scalar(AssertSqlSafe(path)).fetch_one(&mut *tx).await.unwrap();
    swap(&stack.postgres.data().join(path));
    tx.commit().await.unwrap();
    conn.close().await.unwrap();
}

async fn fill_disk(stack: &Stack, tables: &[&str]) {
    for table in tables {
        assert_eq!(stack.count(table).await, 0, "rows of {table}");
        new_file(stack, table, |path| {
            std::fs::remove_file(path).unwrap();
            symlink("/dev/full", path).unwrap();
        })
        .await;
    }
}

async fn make_room(stack: &Stack, tables: &[&str]) {
    for table in tables {
        new_file(stack, table, |_| {}).await;
    }
}

#[tokio::test]
async fn a_full_disk_delays_a_purchase_and_leaves_nothing_half_done() {
    let mut stack = Stack::start().await;
    let (event, buyer) = stack.on_sale().await;
    let processes = stack.process_ids();
    let full = ["seats", "bookings", "booking_seats", "webhook_events", "payments"];
    fill_disk(&stack, &full).await;

    assert_unavailable(&buyer.lock(&event, "VIP", "A1").await);
    assert_eq!(stack.available(event.seat_type("VIP")).await, 50);
    make_room(&stack, &["seats"]).await;
    // The seat is not blocked by the first attempt, not even in Redis.
    buyer.lock(&event, "VIP", "A1").await.ok();

    assert_unavailable(&buyer.book(&event, &[("VIP", "A1")]).await);
    make_room(&stack, &["bookings", "booking_seats"]).await;
    let booking = Booking::from_created(&buyer.book(&event, &[("VIP", "A1")]).await.data());

    // A webhook that cannot be stored is refused, so that Razorpay sends it again.
    let order = buyer.order(&booking).await;
    let payment = stack.pay(&order, Outcome::Captured);
    eventually("the webhook is refused", SOON, async || {
        let webhooks = stack.providers.webhooks();
        let statuses: Vec<_> =
            webhooks.iter().flat_map(|w| &w.attempts).map(|attempt| attempt.status).collect();
        assert!(!statuses.contains(&Some(200)), "{statuses:?}");
        seen(statuses.contains(&Some(503)), statuses).map(drop)
    })
    .await;
    assert_eq!(
        stack.count("jobs WHERE kind = 'process_webhook'").await,
        0,
        "jobs without their webhook"
    );
    make_room(&stack, &["webhook_events"]).await;

    // The ledger is the last to get its room: the worker tries again.
    let failed = eventually("the ledger cannot be written", SOON, async || {
        let failed =
            "SELECT last_error FROM jobs WHERE kind = 'process_webhook' AND last_error IS NOT NULL";
        seen(!stack.rows(failed).await.is_empty(), stack.rows(failed).await)
    })
    .await;
    let says_why = |job: &Value| {
        job["last_error"].as_str().is_some_and(|e| e.contains("No space left on device"))
    };
    assert!(failed.iter().any(says_why), "{failed:?}");
    let state = buyer.get(&format!("/bookings/{}", booking.id)).await.data();
    assert_eq!(state["booking"]["status"], "pending", "{state}");
    make_room(&stack, &["payments"]).await;

    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.until_tickets(&buyer, &booking, 1).await;
    assert_eq!(stack.providers.refunds().len(), 0, "{payment:?}");
    assert_eq!(stack.process_ids(), processes, "no process was started anew");
    stack.assert_invariants().await;
}
