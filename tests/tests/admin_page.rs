//! The operators' page: who may see it, and that dead letters can be understood and dealt with there, in a real browser.

#![allow(clippy::expect_used, reason = "helpers of tests are tests")]

use nexus_tests::browser::{Browser, Page};
use nexus_tests::shop::PASSWORD;
use nexus_tests::{Client, Fault, Method, SOON, Stack, Target, eventually, json, seen};

/// An account with a password, made an admin on the command line.
async fn admin(stack: &mut Stack) -> Client {
    let account = json!({"email": "ops@nexus.example", "password": PASSWORD});
    let data = stack.anonymous().post("/auth/register", account).await.data();
    let said = stack.api_cli_ok(&["set-role", "ops@nexus.example", "admin"]).await;
    assert!(said.ends_with("is admin now.\n"), "{said}");
    stack.anonymous().logged_in(&data)
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
        let jobs = stack.count(&format!("jobs WHERE kind = 'send_otp' AND state = '{state}'")).await;
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

/// Keeps a picture of the page, for whoever wants to see what it looks like.
async fn picture(page: &Page<'_>, name: &str) {
    let path = format!("{}/admin-{name}.png", env!("CARGO_TARGET_TMPDIR"));
    page.act("screenshot", json!([{"path": path, "fullPage": true}])).await;
    let picture = std::fs::read(&path).expect("a picture");
    assert!(picture.starts_with(b"\x89PNG"), "{name} is no picture");
}

#[tokio::test]
async fn an_operator_understands_and_retries_dead_letters_in_a_browser() {
    let mut stack = Stack::builder().workers(["otp"]).start().await;
    admin(&mut stack).await;
    dead_letters(&stack, 3).await;
    let browser = Browser::start(1).await;
    let page = browser.page(0);

    page.act("goto", json!([format!("{}/admin", stack.api_url(0))])).await;
    until_text(&page, &["Nexus operators"]).await;
    page.act("fill", json!(["[name=login]", "ops@nexus.example"])).await;
    page.act("fill", json!(["[name=password]", "not the password"])).await;
    page.act("click", json!(["main button"])).await;
    until_text(&page, &["This is no operator's e-mail address or phone and password."]).await;
    page.act("fill", json!(["[name=login]", "ops@nexus.example"])).await;
    page.act("fill", json!(["[name=password]", PASSWORD])).await;
    page.act("click", json!(["main button"])).await;
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

    page.act("click", json!(["text=Log out"])).await;
    until_text(&page, &["Nexus operators"]).await;
    page.act("goto", json!([format!("{}/admin/jobs", stack.api_url(0))])).await;
    until_text(&page, &["Nexus operators"]).await;
}

#[tokio::test]
async fn every_dead_letter_of_a_kind_is_discarded_at_once() {
    let mut stack = Stack::builder().workers(["otp"]).start().await;
    let admin = admin(&mut stack).await;
    dead_letters(&stack, 2).await;
    let discard = admin.request_root(Method::POST, "/admin/dead/discard").form(&[("kind", "send_otp")]);
    assert_eq!(discard.send().await.expect("an answer").status(), 303);
    until_jobs(&stack, "cancelled", 2).await;
}

#[tokio::test]
async fn nobody_but_an_admin_sees_or_does_anything() {
    let mut stack = Stack::builder().workers(["otp"]).start().await;
    let admin = admin(&mut stack).await;
    dead_letters(&stack, 1).await;
    let job = stack.row("SELECT id FROM jobs").await["id"].as_str().unwrap_or_default().to_owned();
    let user = stack.user().await;
    let (retry, shown) = (format!("/admin/jobs/{job}/retry"), format!("/admin/jobs/{job}"));
    let pages = [
        (Method::GET, "/admin"),
        (Method::GET, "/admin/jobs"),
        (Method::GET, &shown),
        (Method::POST, &retry),
        (Method::POST, "/admin/dead/retry"),
        (Method::POST, "/admin/dead/discard"),
    ];
    for who in [&stack.anonymous(), &user] {
        for (method, path) in &pages {
            let answer = who.request_root(method.clone(), path).send().await.expect("an answer");
            let to = answer.headers().get("location").and_then(|to| to.to_str().ok());
            assert_eq!((answer.status().as_u16(), to), (303, Some("/admin/login")), "{method} {path}");
        }
    }
    // The cookie of an admin who looks at another site is of no use to that site.
    let token = admin.token.clone().unwrap_or_default();
    let forged = stack.anonymous().request_root(Method::POST, &retry);
    let forged =
        forged.header("cookie", format!("nexus_admin={token}")).header("origin", "https://evil.example");
    assert_eq!(forged.send().await.expect("an answer").status(), 403);
    until_jobs(&stack, "dead", 1).await;

    let page = admin.request_root(Method::GET, "/admin").send().await.expect("an answer");
    assert_eq!(page.status(), 200);
    let policy = page.headers().get("content-security-policy").and_then(|value| value.to_str().ok());
    assert!(policy.is_some_and(|policy| policy.starts_with("default-src 'none'")), "{policy:?}");
    stack.api_cli_ok(&["set-role", "ops@nexus.example", "user"]).await;
    let gone = admin.request_root(Method::GET, "/admin").send().await.expect("an answer");
    assert_eq!(gone.status(), 303);
}
