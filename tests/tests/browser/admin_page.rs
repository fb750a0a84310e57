//! The operators' page in a real browser: who may see it, and that an operator can understand dead
//! letters there and deal with them.

use nexus_tests::browser::{Browser, Page};
use nexus_tests::shop::PASSWORD;
use nexus_tests::{Client, Fault, Method, SOON, Stack, Target, eventually, json, seen};

/// An account with a password, made an admin with an authenticator on the command line; returns the
/// authenticator's secret, too.
async fn account(stack: &Stack) -> (Client, String) {
    let account = json!({"email": "ops@nexus.example", "password": PASSWORD});
    let data = stack.anonymous().post("/auth/register", account).await.data();
    stack.prove_emails().await;
    let said = stack.api_cli_ok(&["set-role", "ops@nexus.example", "admin"]).await;
    assert!(said.ends_with("is admin now.\n"), "{said}");
    let client = stack.anonymous().logged_in(&data);
    let secret = stack.authenticator(client.id).await;
    (client, secret)
}

/// The same, logged in to the pages.
async fn admin(stack: &Stack) -> Client {
    let (client, secret) = account(stack).await;
    stack.log_in_to_pages(&client, &secret).await
}

/// So many dead jobs that send codes.
async fn dead_letters(stack: &Stack, count: i64) {
    stack.providers.fault(Target::TwilioVerify, None, Fault::status(400));
    for number in 0..count {
        let phone = format!("+9198100000{number:02}");
        stack.anonymous().post("/auth/send-otp", json!({"phone": phone})).await.ok();
    }
    until_jobs(stack, "dead", count).await;
}

async fn until_jobs(stack: &Stack, state: &str, count: i64) {
    eventually(&format!("{count} jobs are {state}"), SOON, async || {
        let jobs =
            stack.count(&format!("jobs WHERE kind = 'send_otp' AND state = '{state}'")).await;
        seen(jobs == count, jobs)
    })
    .await;
}

async fn until_text(page: &Page<'_>, expected: &[&str]) -> String {
    eventually(&format!("the page shows {expected:?}"), SOON, async || {
        let text = page.act("innerText", json!(["body"])).await;
        seen(expected.iter().all(|part| text.contains(part)), &text).cloned()
    })
    .await
}

/// Keeps a picture of the page, for developers who want to see it.
async fn picture(page: &Page<'_>, name: &str) {
    let path = format!("{}/admin-{name}.png", env!("CARGO_TARGET_TMPDIR"));
    page.act("screenshot", json!([{"path": path, "fullPage": true}])).await;
    let picture = std::fs::read(&path).expect("a picture");
    assert!(picture.starts_with(b"\x89PNG"), "{name} is no picture");
}

#[tokio::test]
async fn an_operator_understands_and_retries_dead_letters_in_a_browser() {
    let stack = Stack::builder().workers(["otp"]).start().await;
    let (client, secret) = account(&stack).await;
    dead_letters(&stack, 3).await;
    let browser = Browser::start(1).await;
    let page = browser.page(0);

    page.act("goto", json!([format!("{}/admin", stack.api_url(0))])).await;
    until_text(&page, &["Nexus operators"]).await;
    page.act("fill", json!(["[name=login]", "ops@nexus.example"])).await;
    page.act("fill", json!(["[name=password]", PASSWORD])).await;
    page.act("fill", json!(["[name=code]", "not the code"])).await;
    page.act("click", json!(["main button"])).await;
    let refused = "This is no operator's e-mail address or phone, password and code.";
    until_text(&page, &[refused]).await;
    fill_in(&stack, &page, &client, &secret).await;
    until_text(&page, &["Queues", "payments", "Dead letters by kind", "send_otp", "400"]).await;
    picture(&page, "queues").await;

    page.act("click", json!(["nav >> text=Dead letters"])).await;
    until_text(&page, &["send_otp", "dead", "Retry", "Discard"]).await;
    picture(&page, "dead-letters").await;
    page.act("click", json!(["tbody tr:first-child a"])).await;
    until_text(&page, &["Payload", "+9198100000", "Failed attempts"]).await;
    picture(&page, "job").await;

    page.act("click", json!(["text=Discard"])).await;
    until_text(&page, &["cancelled"]).await;
    until_jobs(&stack, "cancelled", 1).await;
    stack.providers.clear_faults();
    page.act("click", json!(["text=Retry"])).await;
    until_jobs(&stack, "done", 1).await;
    page.act("click", json!(["nav >> text=Queues"])).await;
    page.act("click", json!(["text=Retry all"])).await;
    until_jobs(&stack, "done", 3).await;
    until_text(&page, &["Due again: 2.", "Nothing has died.", "Nothing is failing."]).await;

    page.act("click", json!(["text=Log out"])).await;
    until_text(&page, &["Nexus operators"]).await;
    page.act("goto", json!([format!("{}/admin/jobs", stack.api_url(0))])).await;
    until_text(&page, &["Nexus operators"]).await;
}

/// Fills the login form in, and submits it.
async fn fill_in(stack: &Stack, page: &Page<'_>, client: &Client, secret: &str) {
    page.act("fill", json!(["[name=login]", "ops@nexus.example"])).await;
    page.act("fill", json!(["[name=password]", PASSWORD])).await;
    let code = stack.fresh_code(client.id, secret).await;
    page.act("fill", json!(["[name=code]", code])).await;
    page.act("click", json!(["main button"])).await;
}

/// Makes an operator, logs in and opens the first page.
async fn logged_in(stack: &Stack, page: &Page<'_>) {
    let (client, secret) = account(stack).await;
    page.act("goto", json!([format!("{}/admin", stack.api_url(0))])).await;
    fill_in(stack, page, &client, &secret).await;
    until_text(page, &["Queues", "Dead letters by kind"]).await;
}

#[tokio::test]
async fn every_dead_letter_of_a_kind_is_discarded_at_once_after_a_question() {
    let stack = Stack::builder().workers(["otp"]).start().await;
    dead_letters(&stack, 2).await;
    let browser = Browser::start(1).await;
    let page = browser.page(0);
    logged_in(&stack, &page).await;
    page.act("click", json!(["text=Discard all"])).await;
    until_text(&page, &["Discard all 2 dead letters of the kind send_otp?"]).await;
    picture(&page, "discard-all").await;
    page.act("click", json!(["text=Keep"])).await;
    until_text(&page, &["Dead letters by kind", "send_otp"]).await;
    until_jobs(&stack, "dead", 2).await;
    page.act("click", json!(["text=Discard all"])).await;
    page.act("click", json!(["text=Discard 2"])).await;
    until_text(&page, &["Discarded: 2.", "Nothing has died."]).await;
    until_jobs(&stack, "cancelled", 2).await;
}

#[tokio::test]
async fn every_page_fits_a_phone_and_bears_long_errors() {
    let stack = Stack::builder().workers(["otp"]).start().await;
    // A word that does not end, and an error of many lines; one dead letter and one that will be
    // tried again.
    let insert = "INSERT INTO jobs (id, queue, kind, payload, max_attempts, attempt, state, finished_at, available_at, last_error, errors)
                  SELECT gen_random_uuid(), 'payments', 'refund_payment', jsonb_build_object('refund_id', n, 'note', repeat('x', 300)), 14, 3 + n,
                         state::job_state, CASE state WHEN 'dead' THEN now() END, now() + interval '1 hour', error,
                         jsonb_build_array(jsonb_build_object('attempt', 1, 'at', now(), 'error', error))
                  FROM (VALUES (1, 'dead', repeat('0123456789', 120)), (2, 'pending', repeat(E'Razorpay failed: status 503\n', 30))) AS j (n, state, error)";
    assert_eq!(stack.execute(insert).await, 2);
    let insert = "INSERT INTO webhook_events (event_id, event_type, body, payment_id, order_id)
                  VALUES ('sha256:' || repeat('0123456789', 7), 'payment.captured', 'x', 'pay_phone', 'order_phone')";
    assert_eq!(stack.execute(insert).await, 1);
    let browser = Browser::start(1).await;
    let page = browser.page(0);
    page.act("setViewportSize", json!([{"width": 390, "height": 844}])).await;
    logged_in(&stack, &page).await;
    let job = stack.row("SELECT id FROM jobs WHERE state = 'dead'").await["id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let pages = [
        ("/admin", "queues"),
        ("/admin/jobs", "jobs"),
        (&*format!("/admin/jobs/{job}"), "job"),
        ("/admin/payments?about=pay_phone", "payment"),
        ("/admin/jobs?kind=none", "empty"),
    ];
    for (path, name) in pages {
        page.act("goto", json!([format!("{}{path}", stack.api_url(0))])).await;
        let wide = page
            .act("evaluate", json!(["`${document.documentElement.scrollWidth} of ${innerWidth}`"]))
            .await;
        assert_eq!(wide, "390 of 390", "{name} is wider than the phone");
        picture(&page, &format!("phone-{name}")).await;
    }
    until_text(&page, &["No job is like that."]).await;
    page.act("setViewportSize", json!([{"width": 1280, "height": 800}])).await;
    for (path, name) in pages {
        page.act("goto", json!([format!("{}{path}", stack.api_url(0))])).await;
        let wide = page
            .act("evaluate", json!(["`${document.documentElement.scrollWidth} of ${innerWidth}`"]))
            .await;
        assert_eq!(wide, "1280 of 1280", "{name} is wider than the screen");
        picture(&page, &format!("wide-{name}")).await;
    }
}

#[tokio::test]
async fn a_cookie_alone_changes_nothing_without_the_token_of_its_pages() {
    let stack = Stack::builder().workers(["otp"]).start().await;
    let admin = admin(&stack).await;
    dead_letters(&stack, 1).await;
    let with_cookie = |path: &str| admin.request_root(Method::POST, path);
    for wrong in [vec![("kind", "send_otp")], vec![("kind", "send_otp"), ("token", "guessed")]] {
        for path in ["/admin/dead/discard", "/admin/dead/retry", "/admin/logout"] {
            let response = with_cookie(path).form(&wrong).send().await.expect("a response");
            assert_eq!(response.status(), 403, "{path} {wrong:?}");
        }
    }
    until_jobs(&stack, "dead", 1).await;
    let response = admin.submit("/admin/dead/discard", &[("kind", "send_otp")]).await;
    assert_eq!(response.status, 303);
    until_jobs(&stack, "cancelled", 1).await;
}

#[tokio::test]
async fn what_concerns_many_at_once_takes_a_fresh_code() {
    let stack = Stack::builder().workers(["otp"]).start().await;
    let admin = admin(&stack).await;
    dead_letters(&stack, 2).await;
    let kind = ("kind", "send_otp");
    stack.execute("UPDATE operator_sessions SET proved_at = now() - interval '6 minutes'").await;
    for path in ["/admin/dead/retry", "/admin/dead/discard"] {
        for fields in [vec![kind], vec![kind, ("code", "000000")]] {
            let asked = admin.submit(path, &fields).await;
            assert_eq!(asked.status, 403, "{asked}");
            assert!(asked.text.contains("Code of your authenticator"), "{asked}");
            assert!(asked.text.contains("value=\"send_otp\""), "{asked}");
        }
    }
    until_jobs(&stack, "dead", 2).await;
    let secret = &admin.operator.as_ref().unwrap().secret;
    let code = stack.fresh_code(admin.id, secret).await;
    let done = admin.submit("/admin/dead/discard", &[kind, ("code", &code)]).await;
    assert_eq!(done.status, 303, "{done}");
    until_jobs(&stack, "cancelled", 2).await;
    // It counts for a while.
    assert_eq!(admin.submit("/admin/dead/retry", &[kind]).await.status, 303);
}

#[tokio::test]
async fn a_payment_alert_is_shown_until_somebody_closes_it() {
    let stack = Stack::builder().workers([]).start().await;
    let admin = admin(&stack).await;
    stack
        .execute(
            "INSERT INTO payment_alerts (reason, subject, details) VALUES ('unknown_order', 'pay_1', '<b>')",
        )
        .await;
    let shown = async || {
        let page = admin.request_root(Method::GET, "/admin").send().await.expect("a response");
        page.text().await.expect("a page")
    };
    let page = shown().await;
    assert!(
        page.contains("unknown_order") && page.contains("pay_1") && page.contains("&lt;b&gt;"),
        "{page}"
    );
    let id = &stack.row("SELECT id FROM payment_alerts").await["id"];
    let close = format!("/admin/alerts/{id}/close");
    for status in [303, 409] {
        assert_eq!(admin.submit(&close, &[]).await.status, status);
    }
    assert!(!shown().await.contains("pay_1"));
}

#[tokio::test]
async fn a_list_bears_whatever_it_is_asked_for() {
    let stack = Stack::builder().workers([]).start().await;
    let admin = admin(&stack).await;
    for asked in [
        "jobs?kind=%00",
        "jobs?queue=%00&state=%00",
        "dead/discard?kind=%00",
        "payments?about=%00",
        "jobs?kind=%FF",
    ] {
        let response = admin
            .request_root(Method::GET, &format!("/admin/{asked}"))
            .send()
            .await
            .expect("a response");
        assert!(response.status().as_u16() < 400, "{asked}: {}", response.status());
    }
}

#[tokio::test]
async fn nobody_but_an_admin_sees_or_does_anything() {
    let stack = Stack::builder().workers(["otp"]).start().await;
    let admin = admin(&stack).await;
    dead_letters(&stack, 1).await;
    let job = stack.row("SELECT id FROM jobs WHERE kind = 'send_otp'").await["id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let user = stack.user().await;
    let (retry, shown) = (format!("/admin/jobs/{job}/retry"), format!("/admin/jobs/{job}"));
    let pages = [
        (Method::GET, "/admin"),
        (Method::GET, "/admin/jobs"),
        (Method::GET, &shown),
        (Method::POST, &retry),
        (Method::POST, "/admin/dead/retry"),
        (Method::POST, "/admin/dead/discard"),
        (Method::POST, "/admin/alerts/1/close"),
        (Method::GET, "/admin/ledger.csv"),
    ];
    for who in [&stack.anonymous(), &user] {
        for (method, path) in &pages {
            let response = who.request_root(method.clone(), path).send().await.expect("a response");
            let to = response.headers().get("location").and_then(|to| to.to_str().ok());
            assert_eq!(
                (response.status().as_u16(), to),
                (303, Some("/admin/login")),
                "{method} {path}"
            );
        }
    }
    // The cookie of an admin who looks at another site is of no use to that site.
    let operator = admin.operator.clone().unwrap();
    let forged = stack.anonymous().request_root(Method::POST, &retry);
    let forged = forged
        .header("cookie", operator.cookie)
        .header("origin", "https://evil.example")
        .form(&[("token", operator.form_token)]);
    assert_eq!(forged.send().await.expect("a response").status(), 403);
    until_jobs(&stack, "dead", 1).await;

    let page = admin.request_root(Method::GET, "/admin").send().await.expect("a response");
    assert_eq!(page.status(), 200);
    let policy =
        page.headers().get("content-security-policy").and_then(|value| value.to_str().ok());
    assert!(policy.is_some_and(|policy| policy.starts_with("default-src 'none'")), "{policy:?}");
    stack.api_cli_ok(&["set-role", "ops@nexus.example", "user"]).await;
    let gone = admin.request_root(Method::GET, "/admin").send().await.expect("a response");
    assert_eq!(gone.status(), 303);
}
