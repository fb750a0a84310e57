//! The story of a payment: every id that an operator may have (of a payment, an order, a refund, a
//! booking, an alert) leads to all that the books have of it.

use nexus_tests::{
    Fault, Method, Outcome, Response, SOON, Stack, Target, Value, eventually, json, seen,
};

async fn story(stack: &Stack, about: &str) -> Value {
    serde_json::from_str(&stack.jobs_cli_ok(&["payment", about, "--json"]).await).unwrap()
}

/// What happened, in order: of which kind, and what is said of it.
fn told(story: &Value) -> Vec<(String, String)> {
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap().to_owned();
    let entries = story["entries"].as_array().unwrap();
    entries.iter().map(|entry| (text(entry, "what"), text(entry, "says"))).collect()
}

#[tokio::test]
async fn every_id_leads_to_the_whole_story_in_the_order_in_which_it_happened() {
    let stack = Stack::start().await;
    let (buyer, _, booking, order) = stack.booked().await;
    let first = stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    // The second one goes back, and Razorpay refuses to make the refund: a dead letter, and an
    // alert.
    stack.providers.fault(Target::RazorpayRefund, None, Fault::status(400));
    let second = stack.pay(&order, Outcome::Captured);
    eventually("an alert", SOON, async || {
        let open = stack.count("payment_alerts WHERE reason = 'refund_failed'").await;
        seen(open == 1, open)
    })
    .await;
    eventually("nothing is under way any more", SOON, async || {
        let live = "jobs WHERE queue IN ('payments', 'bookings', 'notifications') AND kind NOT LIKE 'reconcile%' AND state NOT IN ('done', 'dead')";
        let live = stack.count(live).await;
        seen(live == 0, live)
    })
    .await;

    let of_booking = story(&stack, &booking.reference).await;
    assert_eq!(of_booking["booking_id"], booking.id);
    assert_eq!(of_booking["orders"], json!([order]));
    let payments = of_booking["payments"].as_array().unwrap();
    assert!(
        payments.len() == 2
            && payments.contains(&json!(first.id))
            && payments.contains(&json!(second.id))
    );
    let times: Vec<_> =
        of_booking["entries"].as_array().unwrap().iter().map(|entry| &entry["at"]).collect();
    assert!(times.is_sorted_by_key(|time| time.as_str()), "{times:?}");
    let entries = told(&of_booking);
    for (what, says) in [
        ("booking", "made, ₹200.00; now confirmed, its payment completed"),
        ("booking", "confirmed"),
        ("order", "for ₹200.00"),
        ("ledger", "capture ₹200.00"),
        ("ledger", "sale -₹200.00"),
        ("refund", "₹200.00 owed: already_paid"),
        ("job", "refund_payment is dead, attempt 1: Razorpay refused with 400"),
        ("alert", "refund_failed, open: "),
    ] {
        let found = entries.iter().any(|(kind, text)| kind == what && text.starts_with(says));
        assert!(found, "{what}: {says} in {entries:#?}");
    }

    // Of two webhooks about a payment either may come first.
    for outcome in [": confirmed, after ", ": already_paid, after "] {
        let found = entries.iter().any(|(kind, text)| kind == "webhook" && text.contains(outcome));
        assert!(found, "{outcome} in {entries:#?}");
    }

    let refund = stack.row("SELECT id::text FROM refunds").await["id"].as_str().unwrap().to_owned();
    let webhook = stack.row("SELECT max(id)::text AS id FROM webhook_events").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let number = booking.id.to_string();
    let names = [
        &order,
        &first.id,
        &second.id,
        &number,
        &format!("refund {refund}"),
        &format!("webhook {webhook}"),
    ];
    for about in names {
        assert_eq!(story(&stack, about).await, of_booking, "{about}");
    }
    let table = stack.jobs_cli_ok(&["payment", &second.id]).await;
    assert!(
        table.contains(&format!("booking   {} ({})", booking.reference, booking.id)),
        "{table}"
    );
    assert!(table.contains("₹200.00 owed: already_paid"), "{table}");
    let unknown = stack.jobs_cli(&["payment", "pay_unknown"]).await;
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");

    // The operators' page shows the same; its alert and its dead letter link to it.
    let admin = stack.admin().await;
    let page = async |path: &str| Response::to(admin.request_root(Method::GET, path)).await;
    let shown = page(&format!("/admin/payments?about={}", second.id)).await;
    assert_eq!(shown.status, 200, "{shown}");
    for text in ["₹200.00 owed: already_paid", "sale -₹200.00", &order, &booking.reference] {
        assert!(shown.text.contains(text), "{text} in {shown}");
    }
    let overview = page("/admin").await.text;
    assert!(overview.contains(&format!("/admin/payments?about={}", second.id)), "{overview}");
    let dead = stack.row("SELECT id::text FROM jobs WHERE state = 'dead'").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let job = page(&format!("/admin/jobs/{dead}")).await.text;
    assert!(job.contains(&format!("/admin/payments?about=refund+{refund}")), "{job}");
    let nothing = page("/admin/payments?about=%3Cscript%3E").await;
    assert!(
        nothing.text.contains("Nothing is known of") && !nothing.text.contains("<script>"),
        "{nothing}"
    );
    assert_eq!(page("/admin/payments?about=%00").await.status, 200);
    let someone = buyer.request_root(Method::GET, "/admin/payments").send().await.unwrap();
    assert_eq!(someone.status(), 303, "to the login page");

    stack.providers.clear_faults();
    stack.jobs_cli_ok(&["retry", &dead]).await;
    stack.until_refund(&second).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_payment_that_is_nobodys_has_a_story_too() {
    let stack = Stack::builder().workers(["payments"]).start().await;
    let payment = json!({"id": "pay_foreign", "order_id": "order_ofAnotherShop", "amount": 12_345, "currency": "INR"});
    stack.providers.send_webhook("payment.captured", json!({"payment": {"entity": payment}}));
    eventually("an alert", SOON, async || {
        let open = stack.count("payment_alerts WHERE reason = 'unknown_order'").await;
        seen(open == 1, open)
    })
    .await;
    for about in ["pay_foreign", "order_ofAnotherShop"] {
        let entries = told(&story(&stack, about).await);
        assert_eq!(entries.len(), 2, "{about}: {entries:?}");
        assert!(entries[0].1.starts_with("payment.captured: not_ours"), "{entries:?}");
        assert_eq!(entries[1], ("order".to_owned(), "not in our books: left alone".to_owned()));
    }
}

#[tokio::test]
async fn a_story_is_found_by_indexes_however_much_there_is() {
    let stack = Stack::builder().workers([]).start().await;
    for insert in [
        "INSERT INTO webhook_events (event_id, event_type, body, payment_id, order_id)
         SELECT 'evt_' || n, 'payment.captured', '\\x00', 'pay_' || n, 'order_' || n FROM generate_series(1, 20000) n",
        "INSERT INTO payments (kind, booking_id, order_id, payment_id, amount_paise, currency)
         SELECT 'capture', n, 'order_' || n, 'pay_' || n, 100, 'INR' FROM generate_series(1, 20000) n",
        "INSERT INTO payment_orders (order_id, booking_id, amount_paise, currency) SELECT 'order_' || n, n, 100, 'INR' FROM generate_series(1, 20000) n",
        "INSERT INTO refunds (payment_id, booking_id, amount_paise, currency, reason, status)
         SELECT 'pay_' || n, n, 100, 'INR', 'already_paid', 'processed' FROM generate_series(1, 20000) n",
        "INSERT INTO payment_alerts (reason, subject, details) SELECT 'unknown_order', 'pay_' || n, '' FROM generate_series(1, 20000) n",
        "ANALYZE",
    ] {
        stack.execute(insert).await;
    }
    sqlx::query("SELECT pg_stat_reset()").execute(&stack.db).await.unwrap();
    assert_eq!(told(&story(&stack, "pay_7777").await).len(), 6);
    let tables = "'webhook_events', 'payments', 'payment_orders', 'refunds', 'payment_alerts'";
    let query = format!(
        "SELECT relname::text, seq_tup_read FROM pg_stat_user_tables WHERE relname IN ({tables}) AND seq_tup_read > 0"
    );
    eventually("PostgreSQL has counted the reads", SOON, async || {
        let counted =
            stack.count("pg_stat_user_tables WHERE relname = 'payments' AND idx_scan > 0").await;
        seen(counted == 1, counted)
    })
    .await;
    assert_eq!(
        stack.rows(&query).await,
        Vec::<Value>::new(),
        "tables that were read from end to end"
    );
}
