//! More is asked for than the process can serve: who is told to come again, who is served all the
//! same, and what holds nobody up.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use nexus_sandbox::providers::{Fault, Target};
use nexus_tests::{Client, Event, Response, SOON, Stack, eventually, json, metrics::Metrics, seen};
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
    let path = format!("/events/{}", event.id);
    crowd_of(client, refusals, move |client| {
        let path = path.clone();
        async move { client.get(&path).await }
    })
}

/// More clients than are served at once ask for something, over and over, while this lives.
fn crowd_of<F: Future<Output = Response> + Send + 'static>(
    client: &Client,
    refusals: &Refusals,
    ask: impl Fn(Client) -> F + Clone + Send + Sync + 'static,
) -> JoinSet<()> {
    let mut crowd = JoinSet::new();
    for _ in 0..4 * FEW {
        let (client, ask, refusals) = (client.clone(), ask.clone(), refusals.clone());
        crowd.spawn(async move {
            loop {
                let response = ask(client.clone()).await;
                if response.status != 503 {
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
async fn who_shows_no_token_is_no_more_urgent_than_who_looks_around() {
    let stack = small().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 5)]).await;
    let refusals = Refusals::default();
    let held = hold_events(&stack).await;
    let looking = crowd(&stack.anonymous(), &event, &refusals);
    until_refused(&refusals, 10).await;
    let forger = stack.anonymous().with_token(1, "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VySWQiOjF9.AAAA");
    let forging = crowd_of(&forger, &refusals, |client| async move {
        client.post("/payments/create-order", json!({})).await
    });
    let page = Metrics::until(&stack.metrics_urls()["api"], "refusals", |page| {
        let browse = r#"nexus_requests_turned_away_total{priority="browse"}"#;
        page.value(browse).is_some_and(|count| count >= 500.0)
    })
    .await;
    let pay = r#"nexus_requests_turned_away_total{priority="pay"}"#;
    assert_eq!(page.value(pay), Some(0.0));
    // Who is known gets the next place that is free, whoever else waits.
    eventually("a place", SOON, async || {
        let answer = organiser.get("/auth/me").await;
        seen(answer.status == 200, answer)
    })
    .await;
    held.rollback().await.unwrap();
    drop((looking, forging));
}

#[tokio::test]
async fn an_event_that_is_held_keeps_few_waiting_and_tells_the_others_to_come_again() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 500)]).await;
    let buyers = stack.users(25).await;
    let mut held = stack.db.begin().await.unwrap();
    sqlx::query("SELECT FROM event_inventory WHERE event_id = $1 FOR UPDATE")
        .bind(event.id)
        .execute(&mut *held)
        .await
        .unwrap();
    let mut waiting = JoinSet::new();
    for (number, buyer) in buyers.iter().cycle().take(250).enumerate() {
        let (buyer, event) = (buyer.clone(), event.clone());
        let label = format!("V{number}");
        waiting.spawn(async move { buyer.lock(&event, "VIP", &label).await });
    }
    let late = &buyers[0];
    eventually("a refusal at once", SOON, async || {
        let asked = late.lock(&event, "VIP", "V499");
        let answer = tokio::time::timeout(Duration::from_millis(500), asked).await;
        let is_refused = answer.as_ref().is_ok_and(|answer| {
            answer.status == 503 && answer.body["error"]["code"] == "overloaded"
        });
        seen(is_refused, answer)
    })
    .await
    .expect("in time");
    held.rollback().await.unwrap();
    let answers = waiting.join_all().await;
    let won = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(won >= 200, "{won}");
}

#[tokio::test]
async fn fewer_are_served_at_once_while_nothing_is_answered_and_more_again_when_it_is() {
    let stack = Stack::builder()
        .workers([])
        .measured()
        .without_limits()
        .env("HTTP_LATENCY_TARGET_MS", 400)
        .env("HTTP_MAX_REQUESTS", 2 * FEW)
        .start()
        .await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 5)]).await;
    let refusals = Refusals::default();
    let held = hold_events(&stack).await;
    let crowd = crowd(&stack.anonymous(), &event, &refusals);
    let metrics = &stack.metrics_urls()["api"];
    let limit = |page: &Metrics| page.value("nexus_requests_limit").unwrap_or(f64::NAN);
    Metrics::until(metrics, "fewer", |page| limit(page) == FEW as f64).await;
    held.rollback().await.unwrap();
    Metrics::until(metrics, "more", |page| limit(page) > FEW as f64).await;
    drop(crowd);
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
    // Those that come together are turned away together: none waits for the one before it.
    let payload = [json!({ "eventId": event.id })];
    let commands = (0..50).map(|_| socket.call("leave_event", &payload));
    let answers = futures_util::future::join_all(commands).await;
    let refused = answers.iter().filter(|answer| answer["code"] == "overloaded").count();
    assert!(refused >= 40, "{answers:?}");
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

#[tokio::test]
async fn who_has_sent_slowly_is_not_let_in_before_those_who_wait() {
    let stack = small().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 5)]).await;
    let mut slow = Vec::new();
    for _ in 0..2 * FEW {
        let mut wire = stack.wire().await;
        wire.send(
            "POST /api/v1/auth/check-unique-username HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
        )
        .await;
        slow.push(wire);
    }
    let refusals = Refusals::default();
    let held = hold_events(&stack).await;
    let crowd = crowd(&stack.anonymous(), &event, &refusals);
    until_refused(&refusals, 50).await;
    for wire in &mut slow {
        wire.send(" ".repeat(99)).await;
    }
    let mut refused = 0;
    for mut wire in slow {
        let answer = wire.response().await.expect("an answer");
        refused += usize::from(answer.status == 503);
    }
    assert!(refused >= FEW, "{refused}");
    held.rollback().await.unwrap();
    drop(crowd);
}
