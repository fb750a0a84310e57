//! PostgreSQL and Redis over networks that are not to be trusted: with real certificates, good and
//! bad.

use nexus_tests::authority::Authority;
use nexus_tests::stack::QUEUES;
use nexus_tests::{Outcome, SOON, Stack, eventually, json, seen};

const HERE: [&str; 2] = ["127.0.0.1", "localhost"];

/// A purchase that needs every worker, seen by a client of the second API process.
async fn sell_to_everybody(stack: &Stack) {
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let elsewhere = json!({"url": stack.api_url(1), "transports": ["websocket"]});
    let viewer =
        stack.socket_with("the viewer of the other process", &stack.anonymous(), elsewhere).await;
    let buyer = stack.user().await;
    let mut label = 0;
    // A broadcast may be lost while processes still connect.
    eventually("the other process hears of a lock", SOON, async || {
        label += 1;
        buyer.lock(&event, "VIP", &format!("B{label}")).await.ok();
        seen(!viewer.received("seat_locked").is_empty(), label)
    })
    .await;
    let buyer = stack.user().await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    stack.pay(&buyer.order(&booking).await, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.until_tickets(&buyer, &booking, 1).await;
    viewer
        .wait_for("booking_confirmed", |broadcast| broadcast["booking_id"] == booking.id, SOON)
        .await;
    eventually("the tickets are mailed", SOON, async || {
        let mails = stack.providers.mail();
        seen(!mails.is_empty(), mails).map(drop)
    })
    .await;
    stack.anonymous().post("/auth/send-otp", json!({"phone": "+919800000001"})).await.ok();
    eventually("a code is sent", SOON, async || {
        seen(stack.providers.otp("+919800000001").is_some(), ()).map(drop)
    })
    .await;
}

#[tokio::test]
async fn everything_works_over_tls_and_nothing_without() {
    let authority = Authority::new("Nexus tests");
    let stack = Stack::builder()
        .secured(authority.identity(&HERE), &authority.certificate)
        .api_processes(2)
        .start()
        .await;
    sell_to_everybody(&stack).await;
    let stats = stack.jobs_cli_with_settings(&["stats"]).await;
    assert!(stats.status.success(), "{stats:?}");

    let connections = stack
        .rows(
            "SELECT application_name AS name, bool_and(ssl) AS ssl FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)
             WHERE client_addr IS NOT NULL GROUP BY 1",
        )
        .await;
    for process in ["nexus-api".to_owned()]
        .into_iter()
        .chain(QUEUES.map(|queue| format!("nexus-worker-{queue}")))
    {
        let seen = connections.iter().find(|connection| connection["name"] == process);
        assert_eq!(
            seen.map(|connection| &connection["ssl"]),
            Some(&json!(true)),
            "{process} in {connections:?}"
        );
    }
    // Neither server would have answered in the clear.
    let plain = format!("{}?sslmode=disable", stack.plain_database_url());
    let refused = sqlx::PgPool::connect(&plain).await.unwrap_err().to_string();
    assert!(refused.contains("no encryption"), "{refused}");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn servers_that_cannot_prove_who_they_are_are_refused_until_they_can() {
    let (authority, stranger) = (Authority::new("Nexus tests"), Authority::new("A stranger"));
    let good = authority.identity(&HERE);
    let mut stack = Stack::builder()
        .secured(good.clone(), &authority.certificate)
        .workers(["cleanup"])
        .start()
        .await;
    let impostors = [
        ("has another name", Some(authority.identity(&["other.example"])), "not valid for name"),
        ("is signed by a stranger", Some(stranger.identity(&HERE)), "invalid peer certificate"),
        ("has expired", Some(authority.expired(&HERE)), "expired"),
        ("speaks no TLS", None, "TLS"),
    ];
    for (what, identity, why) in &impostors {
        stack.postgres.secure(identity.as_ref()).await.unwrap();
        stack.redis.secure(identity.as_ref()).await.unwrap();
        let anonymous = stack.anonymous();
        eventually(&format!("a server that {what} is not used"), SOON, async || {
            let ready = anonymous.get_root("/ready").await;
            let failed = json!({"postgresql": "failed", "migrations": "failed", "redis": "failed"});
            seen(ready.status == 503 && ready.body["checks"] == failed, ready.to_string())
        })
        .await;
        let api = stack.api(0);
        api.wait_for_log("PostgreSQL is away", SOON).await;
        api.wait_for_log("Redis is away", SOON).await;
        api.wait_for_log(why, SOON).await;
        // Neither does a worker that starts now.
        let worker = stack.worker("cleanup");
        worker.kill_9().await;
        worker.start();
        worker.wait_for_log("PostgreSQL is away", SOON).await;
        worker.wait_for_log(why, SOON).await;

        stack.postgres.secure(Some(&good)).await.unwrap();
        stack.redis.secure(Some(&good)).await.unwrap();
        stack.until_ready(0).await;
        stack.worker("cleanup").wait_for_log("worker ready", SOON).await;
        stack.api(0).stop().await;
        stack.restart_api(0).await;
    }
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_user_a_password_and_a_database_number_in_the_url_of_redis_hold_everywhere() {
    let mut stack = Stack::builder().api_processes(2).start().await;
    let created =
        stack.redis_command("ACL SETUSER nexus on >correct-horse-battery ~* &* +@all").await;
    assert_eq!(created, "+OK");
    let url = format!("redis://nexus:correct-horse-battery@127.0.0.1:{}/5", stack.redis.port());
    stack.restart_with(&[("REDIS_URL", &url)]).await;
    sell_to_everybody(&stack).await;
    let clients = stack.redis_list("CLIENT LIST").await;
    let ours: Vec<_> = clients
        .iter()
        .filter(|client| client.contains("id=") && !client.contains("cmd=client"))
        .collect();
    assert!(ours.len() >= 8, "{clients:#?}");
    let outsiders: Vec<_> = ours
        .iter()
        .filter(|client| !client.contains(" user=nexus ") || !client.contains(" db=5 "))
        .collect();
    assert!(outsiders.is_empty(), "{outsiders:#?}");
    stack.assert_invariants().await;
}
