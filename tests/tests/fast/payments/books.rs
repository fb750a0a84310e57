//! The books: their check, daily and by hand, and the export of the ledger.

use std::time::Instant;

use nexus_tests::settings::setting;
use nexus_tests::{Method, Response, SOON, Stack, eventually, seen};

#[tokio::test]
async fn broken_books_are_found_by_hand_and_by_the_clock() {
    let stack = Stack::start().await;
    let (_, event, booking, payment) = stack.sold().await;
    stack.assert_invariants().await;
    assert_eq!(stack.jobs_cli_ok(&["check-books"]).await, "the books are in order\n");
    eventually("the day's check is done", SOON, async || {
        seen(stack.count("jobs WHERE kind = 'check_books' AND state = 'done'").await == 1, ())
    })
    .await;

    // Money without a seat or a refund, a refund without money, a seat sold twice over, a count
    // that is wrong, a booking without its seat.
    let unpaid = stack.user().await.lock_and_book(&event, &[("VIP", "B1")]).await;
    stack.execute("DELETE FROM seats WHERE seat_label = 'B1'").await;
    stack
        .execute(&format!("UPDATE bookings SET status = 'cancelled' WHERE id = {}", booking.id))
        .await;
    stack.execute("UPDATE event_seat_types SET available_quantity = 0").await;
    stack
        .execute("INSERT INTO payments (kind, payment_id, amount_paise, currency) VALUES ('refund', 'pay_never', -100, 'INR')")
        .await;
    let output = stack.jobs_cli(&["check-books", "--json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let found: Vec<nexus_tests::Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let found: Vec<_> =
        found.iter().map(|row| (row["rule"].as_str(), row["subject"].as_str())).collect();
    let (sold, seat_type) =
        (format!("payment {}", payment.id), format!("seat type {}", event.seat_type("VIP")));
    let (booking, unpaid) = (format!("booking {}", booking.id), format!("booking {}", unpaid.id));
    let expected = [
        ("a booking that is over holds no seats", booking.as_str()),
        ("a pending booking has all its seats until its deadline", unpaid.as_str()),
        ("a refund in the ledger was made", "payment pay_never"),
        ("a sale is of a confirmed booking", &sold),
        ("available = quantity - locked - booked", &seat_type),
        ("money in = money for seats + money returned or owed", "payment pay_never"),
        ("what moved had been captured", "payment pay_never"),
    ];
    for (rule, subject) in expected {
        assert!(found.contains(&(Some(rule), Some(subject))), "{rule}: {subject} in {found:?}");
    }
}

#[tokio::test]
async fn the_ledger_is_exported_for_admins() {
    let stack = Stack::start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 150.5, 5)]).await;
    let buyer = stack.user().await;
    let (booking, payment) = stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    stack
        .execute("INSERT INTO payments (kind, order_id, payment_id, amount_paise, currency, created_at)
                  VALUES ('capture', 'order_\"x\",y', '=cmd|''/c calc''!A1', 7, 'INR', '2020-02-29 23:59:59.5+00'),
                         ('refund', '', '=cmd|''/c calc''!A1', -7, 'INR', '2020-03-01 00:00:00+00')")
        .await;
    let admin = stack.admin().await;
    let export = async |query: &str| {
        Response::to(admin.request_root(Method::GET, &format!("/admin/ledger.csv{query}"))).await
    };

    let everything = export("").await;
    assert_eq!(everything.status, 200);
    assert_eq!(everything.headers["content-type"], "text/csv; charset=utf-8");
    let lines: Vec<&str> = everything.text.split("\r\n").collect();
    assert_eq!(
        lines[0],
        "id,created_at,kind,booking_id,booking_reference,order_id,payment_id,amount,currency,reason"
    );
    assert_eq!(lines.len(), 1 + 4 + 1, "{lines:?}");
    // By date.
    let lines = &lines[2..];
    let paid = format!(",capture,{},{},", booking.id, booking.reference);
    assert!(
        lines[1].contains(&paid) && lines[1].ends_with(&format!("{},150.50,INR,", payment.id)),
        "{}",
        lines[1]
    );
    assert!(lines[2].contains(",sale,") && lines[2].contains(",-150.50,"), "{}", lines[2]);

    let february = export("?from=2020-02-01&to=2020-02-29").await;
    let expected =
        r#",2020-02-29T23:59:59.500Z,capture,,,"order_""x"",y",'=cmd|'/c calc'!A1,0.07,INR,"#;
    let lines: Vec<&str> = february.text.trim_end().split("\r\n").collect();
    assert!(lines.len() == 2 && lines[1].ends_with(expected), "{lines:?}");
    assert_eq!(
        export("?from=2020-03-01T00:00:00Z&to=2020-03-02").await.text.matches("\r\n").count(),
        2
    );
    for wrong in [
        "from=yesterday",
        "from=-9999-01-01",
        "from=-9999-01-01&to=-9998-01-01",
        "to=%2B10000-01-01",
    ] {
        assert_eq!(export(&format!("?{wrong}")).await.status, 400, "{wrong}");
    }
    assert_eq!(export("?from=0001-01-01&to=9999-12-31").await.text, everything.text);

    for nobody in [&stack.anonymous(), &buyer] {
        let response =
            nobody.request_root(Method::GET, "/admin/ledger.csv").send().await.expect("a response");
        assert_eq!(response.status(), 303, "to the login page");
    }
}

#[tokio::test]
async fn a_ledger_of_many_pages_is_exported_whole() {
    let stack = Stack::builder().workers([]).start().await;
    stack
        .execute("INSERT INTO payments (kind, payment_id, amount_paise, currency) SELECT 'capture', 'pay_' || n, n, 'INR' FROM generate_series(1, 2500) n")
        .await;
    let admin = stack.admin().await;
    let response = Response::to(admin.request_root(Method::GET, "/admin/ledger.csv")).await;
    let lines: Vec<&str> = response.text.trim_end().split("\r\n").collect();
    assert_eq!(lines.len(), 2_501);
    assert!(lines[1].contains("pay_1,0.01,INR,") && lines[2500].contains("pay_2500,25.00,INR"));
}

#[tokio::test]
async fn a_refund_in_the_export_says_why() {
    let stack = Stack::start().await;
    let (buyer, _, booking, payment) = stack.sold().await;
    buyer.cancel(&booking).await.ok();
    stack.until_booking(&buyer, &booking, "cancelled", "refunded").await;
    let admin = stack.admin().await;
    let text = Response::to(admin.request_root(Method::GET, "/admin/ledger.csv")).await.text;
    let lines: Vec<&str> = text.trim_end().split("\r\n").skip(1).collect();
    let kinds: Vec<_> =
        lines.iter().map(|line| line.split(',').nth(2).unwrap_or_default()).collect();
    assert_eq!(kinds, ["capture", "sale", "sale_reversal", "refund"]);
    assert!(lines[3].ends_with(&format!("{},-100.00,INR,cancelled", payment.id)), "{}", lines[3]);
    assert!(lines[..3].iter().all(|line| line.ends_with(",INR,")), "{lines:?}");
}

#[tokio::test]
async fn a_row_that_is_committed_after_the_end_of_its_day_is_in_exactly_one_file() {
    let stack = Stack::builder().workers([]).start().await;
    let admin = stack.admin().await;
    let export = async |query: &str| {
        Response::to(admin.request_root(Method::GET, &format!("/admin/ledger.csv{query}"))).await
    };
    let now = async || {
        let row = stack.row("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS now").await;
        row["now"].as_str().unwrap_or_default().to_owned()
    };
    let insert = "INSERT INTO payments (kind, payment_id, amount_paise, currency) VALUES ('capture', $1, 100, 'INR')";
    // Two transactions begin before the day's end; one writes before it, the other after. Both end
    // after it.
    let mut early = stack.db.begin().await.expect("a transaction");
    let mut late = stack.db.begin().await.expect("a transaction");
    sqlx::query(insert).bind("pay_early").execute(&mut *early).await.expect("a row");
    sqlx::query("SELECT now()").execute(&mut *late).await.expect("a transaction that has begun");
    let midnight = now().await;
    sqlx::query(insert).bind("pay_late").execute(&mut *late).await.expect("a row");

    let day = format!("?to={midnight}");
    let refused = export(&day).await;
    assert_eq!(refused.status, 503, "{refused}");
    assert_eq!(refused.body["error"]["code"], "ledger_period_open", "{refused}");
    assert!(refused.headers.contains_key("retry-after"), "{refused}");
    // A look at a period that is not over yet waits for nothing.
    assert_eq!(export("?to=2999-01-01").await.status, 200);

    early.commit().await.expect("a commit");
    late.commit().await.expect("a commit");
    let first = export(&day).await.text;
    let second = export(&format!("?from={midnight}")).await.text;
    assert!(first.contains("pay_early") && !first.contains("pay_late"), "{first}");
    assert!(second.contains("pay_late") && !second.contains("pay_early"), "{second}");
}

#[tokio::test]
async fn no_more_goes_back_than_was_captured_whoever_writes_it() {
    let stack = Stack::builder().workers([]).start().await;
    stack
        .execute(
            "INSERT INTO payments (kind, payment_id, amount_paise, currency, source_id)
                  VALUES ('capture', 'pay_1', 100, 'INR', ''), ('refund', 'pay_1', -60, 'INR', 'rfnd_1')",
        )
        .await;
    let insert = "INSERT INTO payments (kind, payment_id, amount_paise, currency, source_id) VALUES ('refund', 'pay_1', -30, 'INR', $1)";
    // Two at once, each of which would be right without the other.
    let mut first = stack.db.begin().await.expect("a transaction");
    sqlx::query(insert).bind("rfnd_2").execute(&mut *first).await.expect("a row");
    let db = stack.db.clone();
    let second = tokio::spawn(async move { sqlx::query(insert).bind("rfnd_3").execute(&db).await });
    eventually("the second waits", SOON, async || {
        seen(stack.count("pg_locks WHERE locktype = 'advisory' AND NOT granted").await == 1, ())
    })
    .await;
    first.commit().await.expect("a commit");
    let refused = second.await.expect("no panic").expect_err("90 and 30 of 100");
    assert!(refused.to_string().contains("would exceed what was captured"), "{refused}");

    // What the ledger does not have, or has too much of, is found.
    stack
        .execute("INSERT INTO provider_refunds (refund_id, payment_id, amount_paise, status, ours)
                  VALUES ('rfnd_1', 'pay_1', 60, 'processed', FALSE), ('rfnd_4', 'pay_1', 70, 'processed', FALSE)")
        .await;
    let found = stack.jobs_cli(&["check-books"]).await;
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    for rule in ["a refund that was made is in the ledger", "refunds are at most what was captured"]
    {
        assert!(found.contains(rule), "{rule} in {found}");
    }
}

#[tokio::test]
async fn the_ledger_cannot_be_changed() {
    let stack = Stack::builder().workers([]).start().await;
    stack
        .execute("INSERT INTO payments (kind, payment_id, amount_paise, currency) VALUES ('capture', 'pay_1', 100, 'INR')")
        .await;
    for statement in
        ["UPDATE payments SET amount_paise = 1", "DELETE FROM payments", "TRUNCATE payments"]
    {
        let refused = sqlx::query(statement).execute(&stack.db).await.expect_err(statement);
        assert!(refused.to_string().contains("payments is append-only"), "{statement}: {refused}");
    }
}

/// `NEXUS_BOOKS_BOOKINGS` says how many there are.
#[tokio::test]
async fn the_books_of_many_bookings_are_checked_while_nobody_has_counted_them() {
    let bookings = setting("NEXUS_BOOKS_BOOKINGS", 10_000);
    let stack = Stack::builder().workers([]).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 50_000)]).await;
    let buyer = stack.user().await.id;
    let (event, seat_type) = (event.id, event.seat_type("VIP"));
    for statement in [
        format!(
            "INSERT INTO seats (event_id, event_seat_type_id, seat_label, user_id, status, booked_at)
             SELECT {event}, {seat_type}, 'S' || n, {buyer}, 'booked', now() FROM generate_series(1, {bookings}) n"
        ),
        format!(
            "INSERT INTO bookings (booking_reference, event_id, user_id, total_amount, status, payment_status, confirmed_at, finalisation_job)
             SELECT 'BKG-' || n, {event}, {buyer}, 100, 'confirmed', 'completed', now(), gen_random_uuid() FROM generate_series(1, {bookings}) n"
        ),
        format!(
            "INSERT INTO booking_seats (booking_id, seat_id, price_paid, event_seat_type_id, seat_label)
             SELECT b.id, s.id, 100, {seat_type}, s.seat_label
             FROM bookings b JOIN seats s ON s.seat_label = replace(b.booking_reference, 'BKG-', 'S')"
        ),
        "INSERT INTO payments (kind, booking_id, payment_id, amount_paise, currency)
         SELECT kind, id, 'pay_' || id, sign * 10000, 'INR' FROM bookings, (VALUES ('capture', 1), ('sale', -1)) k (kind, sign)"
            .to_owned(),
        // Counts what is taken.
        format!("UPDATE event_seat_types SET quantity = {bookings} WHERE id = {seat_type}"),
    ] {
        stack.execute(&statement).await;
    }
    let began = Instant::now();
    assert_eq!(stack.jobs_cli_ok(&["check-books"]).await, "the books are in order\n");
    println!("{bookings} bookings: the books are checked in {:.1?}", began.elapsed());
    let changed = stack
        .execute("UPDATE bookings SET total_amount = 99 WHERE booking_reference = 'BKG-8000'")
        .await;
    assert_eq!(changed, 1);
    assert_eq!(stack.jobs_cli(&["check-books"]).await.status.code(), Some(1));
}
