//! More is asked for than the process can serve: who is told to come again, who is served all the
//! same, and what holds nobody up.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use nexus_sandbox::providers::{Fault, Target};
use nexus_tests::{Client, Event, SOON, Stack, eventually, json, metrics::Metrics, seen};
use sqlx::{Postgres, Transaction};
use tokio::task::JoinSet;

/// As few requests at once as the setting allows.
const FEW: usize = 16;

async fn small() -> Stack {
    Stack::builder()
        .workers([])
        .measured()
        .without_limits()
        .env("HTTP_MAX_REQUESTS", FEW)
        .start()
        .await
}

/// Nobody can read events until this is dropped.
async fn hold_events(stack: &Stack) -> Transaction<'static, Postgres> {
    let mut tx = stack.db.begin().await.unwrap();
    sqlx::query("LOCK TABLE events").execute(&mut *tx).await.unwrap();
    tx
}

/// What a refused client was told: the status, the code, when to come again.
type Refusals = Arc<Mutex<Vec<(u16, String, u64)>>>;

/// More clients than are served at once look at an event, over and over, while this lives.
fn crowd(client: &Client, event: &Event, refusals: &Refusals) -> JoinSet<()> {
    let mut crowd = JoinSet::new();
    for _ in 0..4 * FEW {
        let (client, path, refusals) =
            (client.clone(), format!("/events/{}", event.id), refusals.clone());
        crowd.spawn(async move {
            loop {
                let response = client.get(&path).await;
                if response.status == 200 {
                    continue;
                }
                let after = response.headers["retry-after"].to_str().unwrap().parse().unwrap();
                let code = response.body["error"]["code"].as_str().unwrap().to_owned();
                refusals.lock().unwrap().push((response.status, code, after));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    crowd
}

async fn until_refused(refusals: &Refusals, count: usize) {
    eventually("refusals", SOON, async || {
        let refused = refusals.lock().unwrap().len();
        seen(refused >= count, refused)
    })
    .await;
}

#[tokio::test]
async fn who_is_too_many_is_told_to_come_again_each_at_another_time() {
    let stack = small().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 5)]).await;
    let anonymous = stack.anonymous();
    let refusals = Refusals::default();
    let held = hold_events(&stack).await;
    let crowd = crowd(&anonymous, &event, &refusals);
    until_refused(&refusals, 100).await;

    // It is no way around that to say that one has a session of Socket.IO.
    let mut wire = stack.wire().await;
    eventually("a refusal", SOON, async || {
        let asked = format!(
            "GET /api/v1/events/{}?sid=AAAAAAAAAAAAAAAA HTTP/1.1\r\nhost: x\r\n\r\n",
            event.id
        );
        let said = wire.ask(asked).await;
        seen(said.text.contains("overloaded"), said)
    })
    .await;
    // Nobody needs a place to hear that the process lives, or to operate it.
    anonymous.get_root("/").await.ok();
    assert_ne!(anonymous.get_root("/admin/login").await.status, 503);
    let turned_away = r#"nexus_requests_turned_away_total{priority="browse"}"#;
    Metrics::until(&stack.metrics_urls()["api"], "refusals", |page| {
        page.value(turned_away).is_some_and(|count| count >= 90.0)
    })
    .await;
    held.rollback().await.unwrap();
    drop(crowd);

    let refusals = refusals.lock().unwrap();
    let turned_away: Vec<_> = refusals.iter().filter(|(_, code, _)| code == "overloaded").collect();
    assert!(turned_away.len() >= 90, "{refusals:?}");
    assert!(
        turned_away.iter().all(|(status, _, after)| *status == 503 && (2..=10).contains(after))
    );
    let times: BTreeSet<u64> = turned_away.iter().map(|(_, _, after)| *after).collect();
    assert!(times.len() >= 5, "{times:?}");
}

#[tokio::test]
async fn a_command_over_a_socket_is_told_to_come_again_like_a_request() {
    let stack = small().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 5)]).await;
    let buyer = stack.user().await;
    let socket = stack.socket("buyer", &buyer).await;
    let refusals = Refusals::default();
    let held = hold_events(&stack).await;
    let crowd = crowd(&stack.anonymous(), &event, &refusals);
    until_refused(&refusals, 50).await;
    let refused = eventually("a refused command", SOON, async || {
        let answer = socket.call("join_event", &[json!({ "eventId": event.id })]).await;
        seen(answer["code"] == "overloaded", answer)
    })
    .await;
    assert_eq!(refused["success"], false);
    assert!((2..=10).contains(&refused["retryAfter"].as_u64().unwrap()), "{refused}");
    held.rollback().await.unwrap();
    drop(crowd);
}

#[tokio::test]
async fn everybody_is_served_again_as_soon_as_there_is_less_to_do() {
    let stack = small().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 5)]).await;
    let refusals = Refusals::default();
    let held = hold_events(&stack).await;
    let crowd = crowd(&stack.anonymous(), &event, &refusals);
    until_refused(&refusals, 100).await;
    drop(crowd);
    held.rollback().await.unwrap();
    let (client, path) = (stack.anonymous(), format!("/events/{}", event.id));
    eventually("service for all", SOON, async || {
        let asked = futures_util::future::join_all((0..FEW).map(|_| client.get(&path))).await;
        let served = asked.iter().filter(|response| response.status == 200).count();
        seen(served == FEW, served)
    })
    .await;
}

#[tokio::test]
async fn buyers_who_wait_for_razorpay_take_nobodys_place() {
    let stack = small().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 100)]).await;
    let buyers = stack.users(FEW + 4).await;
    let mut bookings = Vec::new();
    for (number, buyer) in buyers.iter().enumerate() {
        bookings.push(buyer.lock_and_book(&event, &[("VIP", &format!("A{number}"))]).await);
    }
    stack.providers.fault(Target::RazorpayOrders, None, Fault::delay(Duration::from_secs(5)));
    let mut ordering = JoinSet::new();
    for (buyer, booking) in buyers.into_iter().zip(bookings) {
        ordering.spawn(async move { buyer.try_order(&booking).await.ok() });
    }
    // All of them have asked Razorpay, more than are served at once.
    eventually("orders", SOON, async || {
        let calls = stack.providers.count(Target::RazorpayOrders).calls;
        seen(calls >= (FEW + 4) as u64, calls)
    })
    .await;
    stack.anonymous().get(&format!("/events/{}", event.id)).await.ok();
    ordering.join_all().await;
}

#[tokio::test]
async fn clients_that_send_slowly_take_nobodys_place() {
    let stack = small().await;
    let mut slow = Vec::new();
    for _ in 0..2 * FEW {
        let mut wire = stack.wire().await;
        wire.send(
            "POST /api/v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
        )
        .await;
        slow.push(wire);
    }
    for _ in 0..20 {
        stack.anonymous().get("/events").await.ok();
    }
    for mut wire in slow {
        wire.send(" ".repeat(99)).await;
        wire.response().await.expect("an answer").failed(400, "malformed_json");
    }
}
