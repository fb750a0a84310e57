//! Our own pages work under the policy that they are sent with, and it holds.

use nexus_tests::shop::PASSWORD;
use nexus_tests::{Browser, Page, SOON, Stack, eventually, json, seen};

async fn until(page: &Page<'_>, expression: &str, expected: &str) {
    eventually(&format!("{expression} is {expected}"), SOON, async || {
        let found = page.act("evaluate", json!([expression])).await;
        seen(found == expected, found).map(drop)
    })
    .await;
}

/// Nothing on the page goes against its policy, and what does is stopped: a script that an attacker
/// smuggles in.
async fn assert_policy_holds(page: &Page<'_>) {
    let console = page.console();
    assert!(!console.iter().any(|said| said.contains("Content Security Policy")), "{console:?}");
    let smuggle = "document.body.append(Object.assign(document.createElement('script'), {textContent: 'document.title = \"smuggled\"'}))";
    page.act("evaluate", json!([smuggle])).await;
    page.wait_for_console("Content Security Policy").await;
    assert_ne!(page.act("evaluate", json!(["document.title"])).await, "smuggled");
}

#[tokio::test]
async fn the_pages_work_under_their_policy_in_a_browser() {
    let stack = Stack::builder().workers([]).start().await;
    let account = json!({"email": "ops@nexus.example", "password": PASSWORD});
    stack.anonymous().post("/auth/register", account).await.data();
    stack.prove_emails().await;
    stack.api_cli_ok(&["set-role", "ops@nexus.example", "admin"]).await;
    let id = stack.row("SELECT id FROM users").await["id"].as_i64().unwrap();
    let secret = stack.authenticator(id).await;
    let browser = Browser::start(1).await;
    let page = browser.page(0);

    page.forget();
    // Requests can be tried from the API reference.
    page.act("goto", json!([format!("{}/docs", stack.api_url(0))])).await;
    for button in [".opblock-summary-control", ".try-out__btn", ".execute"] {
        page.act("click", json!([format!("#operations-Service-ready {button}")])).await;
    }
    let status = "document.querySelector('.live-responses-table tbody .response-col_status')?.textContent.trim() ?? ''";
    until(&page, status, "200").await;
    assert_policy_holds(&page).await;

    page.forget();
    page.act("goto", json!([format!("{}/docs/socketio", stack.api_url(0))])).await;
    until(&page, "getComputedStyle(document.body).display", "grid").await;
    assert_policy_holds(&page).await;

    page.forget();
    page.act("goto", json!([format!("{}/admin", stack.api_url(0))])).await;
    until(&page, "getComputedStyle(document.querySelector('header')).display", "flex").await;
    page.act("fill", json!(["[name=login]", "ops@nexus.example"])).await;
    page.act("fill", json!(["[name=password]", PASSWORD])).await;
    let code = stack.fresh_code(id, &secret).await;
    page.act("fill", json!(["[name=code]", code])).await;
    page.act("click", json!(["main button"])).await;
    until(&page, "document.querySelector('h1').textContent", "Queues").await;
    page.act("click", json!(["nav >> text=Jobs"])).await;
    until(&page, "document.querySelector('h1').textContent", "Jobs").await;
    assert_policy_holds(&page).await;
}
