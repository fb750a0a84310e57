//! Every connection is in use.

use std::time::Duration;

use futures_util::future::join_all;
use nexus_tests::{Response, SOON, Stack, eventually, seen};

use crate::{assert_unavailable, hold_seats, within};

const ACQUIRE: Duration = Duration::from_secs(1);

async fn stack() -> Stack {
    let stack = Stack::builder().workers([]).env("DATABASE_MAX_CONNECTIONS", 2);
    stack.env("DATABASE_ACQUIRE_TIMEOUT_MS", ACQUIRE.as_millis()).start().await
}

#[tokio::test]
async fn whoever_finds_no_connection_is_told_so_and_is_served_as_soon_as_there_is_one() {
    let mut stack = stack().await;
    let users = stack.users(3).await;
    let event = stack.event(&users[0], &[("VIP", 100.0, 50)]).await;
    for (label, user) in ["A1", "A2"].into_iter().zip(&users) {
        user.lock(&event, "VIP", label).await.ok();
    }
    let processes = stack.process_ids();
    let held = hold_seats(&stack).await;

    // They wait for a row, which is not for ever either; the others wait for them.
    let others = async {
        stack.until_blocked("nexus-api", 2).await;
        let responses = join_all((0..20).map(|_| within(ACQUIRE, users[2].get("/events"))));
        let (responses, _, health) = tokio::join!(
            responses,
            stack.until_missing("postgresql"),
            within(Duration::ZERO, users[2].get_root("/health"))
        );
        responses.iter().for_each(assert_unavailable);
        health.ok();
        held.rollback().await.unwrap();
        within(ACQUIRE, users[2].get("/events")).await.ok();
    };
    let (first, second, ()) = tokio::join!(
        users[0].book_alone(&event, &[("VIP", "A1")]),
        users[1].book_alone(&event, &[("VIP", "A2")]),
        others
    );
    first.ok();
    second.ok();
    assert_eq!(stack.process_ids(), processes, "no process was started anew");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn five_hundred_requests_at_once_are_all_answered_and_break_nothing() {
    let mut stack = stack().await;
    let users = stack.users(500).await;
    let event = stack.event(&users[0], &[("VIP", 100.0, 50)]).await;
    let processes = stack.process_ids();
    let flood = users.iter().enumerate().map(|(n, user)| {
        let event = &event;
        async move {
            match n % 5 {
                0 => user.get("/events").await,
                1 => user.get("/bookings/my-bookings").await,
                2 => user.get(&format!("/seats/{}", event.id)).await,
                // Ten want the same seat.
                _ => user.lock(event, "VIP", &format!("A{}", n / 10)).await,
            }
        }
    });
    let responses: Vec<Response> = join_all(flood).await;
    for response in &responses {
        match response.status {
            200 | 409 => {}
            _ => assert_unavailable(response),
        }
    }
    let served = responses.iter().filter(|response| response.status == 200).count();
    assert!(served > 0, "nobody was served");
    for path in ["/events", "/bookings/my-bookings"] {
        users[0].get(path).await.ok();
    }
    eventually("no connection is left in use", SOON, async || {
        let busy = stack
            .rows("SELECT state, query FROM pg_stat_activity WHERE application_name = 'nexus-api' AND state <> 'idle'")
            .await;
        seen(busy.is_empty(), busy).map(drop)
    })
    .await;
    let locked = stack.count("seats").await;
    let left = stack.available(event.seat_type("VIP")).await;
    assert_eq!(locked + left, 50);
    assert_eq!(stack.process_ids(), processes, "no process was started anew");
}
