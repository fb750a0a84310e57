//! `Idempotency-Key`: a request that is sent again is answered as before, and carried out once.

use nexus_tests::shop::event_request;
use nexus_tests::{
    Client, Fault, Method, Response, SOON, Stack, Target, Value, eventually, json, seen,
};

/// POST with a key.
async fn keyed(who: &Client, path: &str, key: &str, body: &Value) -> Response {
    Response::to(who.request(Method::POST, path).header("Idempotency-Key", key).json(body)).await
}

/// A buyer, and the request for an order of their booking: something that takes as long as Razorpay
/// does.
async fn before_ordering(stack: &Stack) -> (Client, Value) {
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 5)]).await;
    let buyer = stack.user().await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    (buyer, json!({"booking_id": booking.id, "amount": booking.total}))
}

fn is_replay(response: &Response) -> bool {
    response.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
}

#[tokio::test]
async fn a_success_is_replayed_and_carried_out_once() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let request = event_request(&[("VIP", 100.0, 5)]);
    let first = keyed(&organiser, "/events/create", "tour-2099", &request).await;
    let again = keyed(&organiser, "/events/create", "tour-2099", &request).await;
    assert!(!is_replay(&first) && is_replay(&again));
    assert_eq!(first.ok(), again.ok());
    assert_eq!(stack.count("events").await, 1);
    let another = keyed(&organiser, "/events/create", "tour-2100", &request).await;
    assert!(!is_replay(&another));
    assert_eq!(stack.count("events").await, 2);
}

#[tokio::test]
async fn every_kind_of_mutation_replays_its_envelope() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 5)]).await;
    let buyer = stack.user().await;
    let vip = event.seat_type("VIP");
    let twice = async |path: &str, body: Value| {
        let (first, again) =
            (keyed(&buyer, path, "k", &body).await, keyed(&buyer, path, "k", &body).await);
        assert!(is_replay(&again), "{again}");
        assert_eq!(first.clone().ok(), again.ok());
        first.data()
    };
    let seat = json!({"seat_label": "A1"});
    twice(&format!("/seats/{}/seat-types/{vip}/lock", event.id), seat).await;
    let details = json!([{"seat_label": "A1", "seat_type_id": vip}]);
    let booking =
        twice("/bookings/create", json!({"event_id": event.id, "seat_details": details})).await;
    let booking = &booking["booking"];
    let order = json!({"booking_id": booking["id"], "amount": booking["total_amount"]});
    twice("/payments/create-order", order).await;
    twice(&format!("/bookings/{}/cancel", booking["id"]), json!({})).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_refusal_is_replayed_even_when_it_would_succeed_by_now() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 5)]).await;
    let (first, second) = (stack.user().await, stack.user().await);
    let path = format!("/seats/{}/seat-types/{}/lock", event.id, event.seat_type("VIP"));
    first.lock(&event, "VIP", "A1").await.ok();
    let taken = "Seat A1 is already taken. Please select another seat.";
    keyed(&second, &path, "k", &json!({"seat_label": "A1"})).await.failed(409, taken);
    first.delete(&format!("{path}?seat_label=A1")).await.ok();
    let replayed = keyed(&second, &path, "k", &json!({"seat_label": "A1"})).await;
    replayed.failed(409, taken);
    assert!(is_replay(&replayed));
    keyed(&second, &path, "another", &json!({"seat_label": "A1"})).await.ok();
}

#[tokio::test]
async fn a_key_belongs_to_one_user_one_route_and_one_body() {
    let stack = Stack::builder().workers([]).start().await;
    let (organiser, other) = (stack.user().await, stack.user().await);
    let request = event_request(&[("VIP", 100.0, 5)]);
    let event = keyed(&organiser, "/events/create", "k", &request).await.data();
    assert!(
        !is_replay(&keyed(&other, "/events/create", "k", &request).await),
        "another user's key is another key"
    );
    let seat_type = json!({"name": "Balcony", "price": 10, "quantity": 5});
    let path = format!("/seats/{}/seat-types", event["event"]["id"]);
    assert!(
        !is_replay(&keyed(&organiser, &path, "k", &seat_type).await),
        "another route's key is another key"
    );

    let misuse = "This Idempotency-Key belongs to a different request";
    let different = event_request(&[("VIP", 101.0, 5)]);
    keyed(&organiser, "/events/create", "k", &different).await.failed(422, misuse);
    let mut path_differs = path.clone();
    path_differs = path_differs.replace(&event["event"]["id"].to_string(), "424242");
    keyed(&organiser, &path_differs, "k", &seat_type).await.failed(422, misuse);
    let too_long = "k".repeat(256);
    for key in ["", &too_long] {
        let refusal = keyed(&organiser, "/events/create", key, &request).await;
        refusal.failed(400, "Idempotency-Key must be 1 to 255 visible ASCII characters");
    }
    assert_eq!(stack.count("events").await, 2);
}

#[tokio::test]
async fn a_request_that_is_still_being_worked_on_is_not_begun_again() {
    let stack = Stack::builder().workers([]).start().await;
    let (buyer, order) = before_ordering(&stack).await;
    stack.providers.fault(
        Target::RazorpayOrders,
        Some(1),
        Fault::delay(std::time::Duration::from_secs(2)),
    );
    let slow = tokio::spawn({
        let (buyer, order) = (buyer.clone(), order.clone());
        async move { keyed(&buyer, "/payments/create-order", "k", &order).await }
    });
    eventually("the first request is being worked on", SOON, async || {
        seen(stack.count("idempotent_requests").await == 1, ())
    })
    .await;
    let second = keyed(&buyer, "/payments/create-order", "k", &order).await;
    second.failed(409, "A request with this Idempotency-Key is already in progress");
    let first = slow.await.unwrap().ok();
    assert_eq!(keyed(&buyer, "/payments/create-order", "k", &order).await.ok(), first);
    assert_eq!(stack.providers.count(Target::RazorpayOrders).succeeded, 1);
}

#[tokio::test]
async fn a_client_that_hangs_up_finds_the_answer_when_it_asks_again() {
    let stack = Stack::builder().workers([]).start().await;
    let (buyer, order) = before_ordering(&stack).await;
    stack.providers.fault(
        Target::RazorpayOrders,
        Some(1),
        Fault::delay(std::time::Duration::from_secs(1)),
    );
    let impatient =
        buyer.request(Method::POST, "/payments/create-order").header("Idempotency-Key", "k");
    let impatient = impatient.json(&order).timeout(std::time::Duration::from_millis(300));
    impatient.send().await.expect_err("the client hangs up before the response");
    let response = eventually("the response is there", SOON, async || {
        let response = keyed(&buyer, "/payments/create-order", "k", &order).await;
        seen(response.status == 200, &response).cloned()
    })
    .await;
    assert!(is_replay(&response), "{response}");
    assert_eq!(stack.providers.count(Target::RazorpayOrders).succeeded, 1);
}

#[tokio::test]
async fn a_failure_that_passes_is_not_replayed() {
    let stack = Stack::builder().workers([]).start().await;
    let (buyer, order) = before_ordering(&stack).await;
    stack.providers.fault(Target::RazorpayOrders, Some(1), Fault::status(500));
    assert_eq!(keyed(&buyer, "/payments/create-order", "k", &order).await.status, 502);
    keyed(&buyer, "/payments/create-order", "k", &order).await.ok();
}

#[tokio::test]
async fn a_key_whose_process_died_can_be_used_again() {
    let mut stack = Stack::builder().workers([]).start().await;
    let (buyer, order) = before_ordering(&stack).await;
    stack.providers.fault(Target::RazorpayOrders, Some(1), Fault::delay(SOON));
    let dying = tokio::spawn({
        let (buyer, order) = (buyer.clone(), order.clone());
        let request = buyer.request(Method::POST, "/payments/create-order");
        async move { request.header("Idempotency-Key", "k").json(&order).send().await.map(drop) }
    });
    eventually("the request is being worked on", SOON, async || {
        seen(stack.count("idempotent_requests").await == 1, ())
    })
    .await;
    stack.api(0).kill_9().await;
    dying.await.unwrap().expect_err("the process died");
    stack.providers.clear_faults();
    stack.restart_api(0).await;
    keyed(&buyer, "/payments/create-order", "k", &order)
        .await
        .failed(409, "A request with this Idempotency-Key is already in progress");
    stack
        .execute("UPDATE idempotent_requests SET leased_until = now() - interval '1 second'")
        .await;
    keyed(&buyer, "/payments/create-order", "k", &order).await.ok();
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let request = event_request(&[("VIP", 100.0, 5)]);
    keyed(&organiser, "/events/create", "k", &request).await.ok();
    let lasts_a_day = "idempotent_requests WHERE expires_at BETWEEN now() + interval '23 hours' AND now() + interval '24 hours'";
    assert_eq!(stack.count(lasts_a_day).await, 1);
    stack.execute("UPDATE idempotent_requests SET expires_at = now() - interval '1 second'").await;
    assert!(!is_replay(&keyed(&organiser, "/events/create", "k", &request).await));
    assert_eq!(stack.count("events").await, 2);
}

#[tokio::test]
async fn a_user_has_so_many_keys_a_day_and_what_was_carried_out_is_answered_as_ever() {
    let stack =
        Stack::builder().workers([]).env("RATE_LIMIT_IDEMPOTENCY_KEYS", "3/1d").start().await;
    let user = stack.user().await;
    let request = event_request(&[("VIP", 100.0, 5)]);
    let send = async |key: &str| keyed(&user, "/events/create", key, &request).await;
    // A refusal is kept, too.
    let refused = keyed(&user, "/events/create", "refused", &json!({})).await;
    assert_eq!(refused.status, 400);
    let first = send("first").await.ok();
    send("second").await.ok();
    for _ in 0..2 {
        let response = send("third").await;
        assert_eq!(response.body["error"]["code"], "rate_limited", "{response}");
        assert!(response.headers.contains_key("retry-after"));
    }
    let again = send("first").await;
    assert!(is_replay(&again));
    assert_eq!(again.ok(), first);
    assert_eq!((stack.count("events").await, stack.count("idempotent_requests").await), (2, 3));
    // Others, and requests without a key, are not concerned.
    keyed(&stack.user().await, "/events/create", "third", &request).await.ok();
    user.post("/events/create", request.clone()).await.ok();
}

#[tokio::test]
async fn keys_of_cancellations_count_among_the_others() {
    let stack =
        Stack::builder().workers([]).env("RATE_LIMIT_IDEMPOTENCY_KEYS", "2/1d").start().await;
    let (buyer, _, booking, _) = stack.booked_without_webhooks().await;
    let path = format!("/bookings/{}/cancel", booking.id);
    let cancel = async |key: &str| buyer.post(&path, json!({"idempotency_key": key})).await;
    for key in ["a", "a", "a"] {
        cancel(key).await.ok();
    }
    // What is refused is not kept.
    let nothing = "/bookings/999999/cancel";
    assert_eq!(buyer.post(nothing, json!({"idempotency_key": "x"})).await.status, 404);
    cancel("b").await.ok();
    assert_eq!(cancel("c").await.status, 429);
    // What was carried out is answered as ever.
    assert_eq!(cancel("a").await.data()["idempotent"], true);
    assert_eq!(stack.count("idempotency_keys").await, 2);
}

#[tokio::test]
async fn a_long_response_is_not_kept_and_its_request_is_not_carried_out_again() {
    let stack = Stack::builder().workers([]).start().await;
    let user = stack.user().await;
    let types: Vec<_> = (0..100)
        .map(|n| json!({"name": format!("T{n}"), "price": 1, "quantity": 1, "description": "d".repeat(1_000)}))
        .collect();
    let mut long = event_request(&[]);
    long["seat_types"] = json!(types);
    keyed(&user, "/events/create", "k", &long).await.ok();
    let again = keyed(&user, "/events/create", "k", &long).await;
    assert!(is_replay(&again));
    assert_eq!((again.status, &again.body["error"]["code"]), (409, &json!("response_not_kept")));
    assert_eq!(stack.count("events").await, 1);
    let most = stack.row("SELECT max(length(answer::text)) AS most FROM idempotent_requests").await;
    assert!(most["most"].as_i64().unwrap() < 1_000, "{most}");
    // The longest description of an event is kept.
    let mut event = event_request(&[("VIP", 100.0, 5)]);
    event["description"] = json!("d".repeat(20_000));
    let first = keyed(&user, "/events/create", "event", &event).await.ok();
    assert_eq!(keyed(&user, "/events/create", "event", &event).await.ok(), first);
}
