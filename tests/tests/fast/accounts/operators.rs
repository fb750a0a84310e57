//! Operators: what opens their pages, for how long, and where the pages are.

use std::time::{Duration, Instant};

use nexus_sandbox::ports;
use nexus_tests::client::http_client;
use nexus_tests::shop::PASSWORD;
use nexus_tests::{Client, Method, Response, SOON, Stack, eventually, json, seen};

const EMAIL: &str = "ops@nexus.example";

/// Tries to log in; the status of the answer.
async fn log_in(stack: &Stack, password: &str, code: &str) -> u16 {
    let form = [("login", EMAIL), ("password", password), ("code", code)];
    let request = stack.anonymous().request_root(Method::POST, "/admin/login").form(&form);
    Response::to(request).await.status
}

async fn sees_the_pages(client: &Client) -> bool {
    Response::to(client.request_root(Method::GET, "/admin")).await.status == 200
}

#[tokio::test]
async fn the_pages_take_the_password_and_a_code_and_each_code_is_good_once() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let admin = stack.admin().await;
    let secret = admin.operator.clone().unwrap().secret;
    for wrong in ["", "000000", "12345", "not a code"] {
        assert_eq!(log_in(&stack, PASSWORD, wrong).await, 401, "{wrong}");
    }
    let code = stack.fresh_code(admin.id, &secret).await;
    assert_eq!(log_in(&stack, "Wr0ng-horse", &code).await, 401);
    assert_eq!(log_in(&stack, PASSWORD, &code).await, 303);
    assert_eq!(log_in(&stack, PASSWORD, &code).await, 401, "the same code again");
}

#[tokio::test]
async fn of_two_who_give_the_same_code_at_once_one_gets_in() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let admin = stack.admin().await;
    let secret = admin.operator.clone().unwrap().secret;
    let code = stack.fresh_code(admin.id, &secret).await;
    let tries = (0..4).map(|_| log_in(&stack, PASSWORD, &code));
    let mut statuses = futures_util::future::join_all(tries).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 401, 401, 401]);
}

#[tokio::test]
async fn who_knows_the_password_gets_ten_codes_an_hour_and_keeps_no_operator_out() {
    let stack = Stack::builder().workers([]).env("RATE_LIMIT_LOGIN", "100/15m").start().await;
    let admin = stack.admin().await;
    let mut statuses = Vec::new();
    for _ in 0..11 {
        statuses.push(log_in(&stack, PASSWORD, "000000").await);
    }
    assert_eq!((&statuses[..10], statuses[10]), (&[401; 10][..], 429));
    let secret = admin.operator.clone().unwrap().secret;
    stack.log_in_to_pages(&admin, &secret).await;
}

#[tokio::test]
async fn the_pages_do_not_tell_whether_the_password_of_an_ordinary_account_is_right() {
    let stack = Stack::builder().workers([]).start().await;
    let account = json!({"email": EMAIL, "password": PASSWORD});
    stack.anonymous().post("/auth/register", account).await.ok();
    let began = Instant::now();
    let tries = (0..10).map(|_| log_in(&stack, PASSWORD, "000000"));
    assert_eq!(futures_util::future::join_all(tries).await, [401; 10]);
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    // As many wrong ones.
    assert_eq!(log_in(&stack, PASSWORD, "000000").await, 429);
    let failures = "audit_log WHERE action = 'sign_in_failed'";
    eventually("ten failures", SOON, async || {
        let failures = stack.count(failures).await;
        seen(failures == 10, failures).map(drop)
    })
    .await;
    assert_eq!(stack.count("audit_log WHERE action = 'operator_sign_in_failed'").await, 0);
}

#[tokio::test]
async fn no_token_of_the_api_opens_the_pages() {
    let stack = Stack::builder().workers([]).start().await;
    let admin = stack.admin().await;
    let token = admin.token.clone().unwrap();
    let plain = stack.anonymous().with_token(admin.id, token.clone());
    let as_cookie = |path: &str| {
        stack
            .anonymous()
            .request_root(Method::GET, path)
            .header("cookie", format!("nexus_admin={token}"))
    };
    for path in ["/admin", "/admin/ledger.csv", "/admin/audit"] {
        for request in [plain.request_root(Method::GET, path), as_cookie(path)] {
            let response = Response::to(request).await;
            assert_eq!((response.status, &*response.text), (303, ""), "{path}");
            assert_eq!(response.headers["location"], "/admin/login", "{path}");
        }
    }
    // And the pages' cookie is nothing to the API.
    let cookie = admin.operator.clone().unwrap().cookie;
    let value = cookie.split_once('=').unwrap().1.to_owned();
    let bearer = stack.anonymous().with_token(admin.id, value);
    bearer.get("/auth/me").await.failed(401, "Invalid or expired access token");
}

#[tokio::test]
async fn an_admin_without_an_authenticator_gets_in_nowhere_and_the_command_line_gives_one_once() {
    let stack = Stack::builder().workers([]).start().await;
    let account = json!({"email": EMAIL, "password": PASSWORD});
    let data = stack.anonymous().post("/auth/register", account).await.data();
    let id = data["user"]["id"].to_string();
    let refused = stack.api_cli(&["operator-totp", &id]).await;
    assert!(!refused.status.success(), "a user has no need of one");
    stack.api_cli_ok(&["set-role", &id, "admin"]).await;
    assert_eq!(log_in(&stack, PASSWORD, "000000").await, 401);
    let said = stack.api_cli_ok(&["operator-totp", &id]).await;
    let secret = said.lines().next().unwrap().strip_prefix("secret ").unwrap().to_owned();
    assert!(said.contains(&format!("otpauth://totp/Nexus:{id}?secret={secret}&issuer=Nexus")));
    assert!(!stack.api_cli(&["operator-totp", &id]).await.status.success(), "there is one");
    let admin = stack.anonymous().logged_in(&data);
    let before = stack.log_in_to_pages(&admin, &secret).await;
    stack.authenticator(admin.id).await;
    assert!(!sees_the_pages(&before).await, "the one before is worth nothing");
}

#[tokio::test]
async fn a_session_ends_when_it_is_idle_or_old_or_its_operator_is_none_any_more() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let admin = stack.admin().await;
    let secret = admin.operator.clone().unwrap().secret;
    let id = admin.id.to_string();
    let open = async || {
        let client = stack.log_in_to_pages(&admin, &secret).await;
        assert!(sees_the_pages(&client).await);
        client
    };
    for ended in [
        "UPDATE operator_sessions SET last_used_at = now() - interval '31 minutes'",
        "UPDATE operator_sessions SET expires_at = now()",
    ] {
        let client = open().await;
        stack.execute(ended).await;
        assert!(!sees_the_pages(&client).await, "{ended}");
    }
    let client = open().await;
    client.submit("/admin/logout", &[]).await;
    assert!(!sees_the_pages(&client).await, "after a logout");
    let client = open().await;
    stack.api_cli_ok(&["set-role", &id, "user"]).await;
    assert!(!sees_the_pages(&client).await, "after the role was taken");
    stack.api_cli_ok(&["set-role", &id, "admin"]).await;
    assert!(!sees_the_pages(&client).await, "after the role was given again");
    let client = open().await;
    stack.api_cli_ok(&["end-sessions", &id]).await;
    assert!(!sees_the_pages(&client).await, "after end-sessions");
    let account = json!({"email": EMAIL, "password": PASSWORD});
    let data = stack.anonymous().post("/auth/login", account).await.data();
    let (client, user) = (open().await, stack.anonymous().logged_in(&data));
    let change = json!({"currentPassword": PASSWORD, "newPassword": "An0ther-horse"});
    user.post("/auth/change-password", change).await.ok();
    assert!(!sees_the_pages(&client).await, "after another password");
}

#[tokio::test]
async fn a_page_that_loads_itself_again_keeps_no_session_open() {
    let stack = Stack::builder().workers([]).start().await;
    let admin = stack.admin().await;
    let used = async |path: &str| {
        stack
            .execute("UPDATE operator_sessions SET last_used_at = now() - interval '10 minutes'")
            .await;
        let page = Response::to(admin.request_root(Method::GET, path)).await;
        assert_eq!(page.status, 200);
        stack.count("operator_sessions WHERE last_used_at > now() - interval '1 minute'").await == 1
    };
    assert!(used("/admin").await);
    let overview = Response::to(admin.request_root(Method::GET, "/admin")).await;
    assert!(overview.text.contains("url=/admin?again"), "{overview}");
    assert!(!used("/admin?again").await);
}

#[tokio::test]
async fn the_cookie_is_kept_hashed_and_in_production_to_one_host_and_https() {
    let stack = Stack::builder().workers([]).env("NODE_ENV", "production").start().await;
    let admin = stack.admin().await;
    let cookie = admin.operator.clone().unwrap().cookie;
    let value = cookie.strip_prefix("__Host-nexus_admin=").expect(&cookie);
    let rows = format!("operator_sessions s WHERE strpos(s::text, '{value}') > 0");
    assert_eq!(stack.count(&rows).await, 0);
    assert_eq!(stack.count("operator_sessions WHERE length(token_hash) = 32").await, 1);
    let secret = admin.operator.clone().unwrap().secret;
    let code = stack.fresh_code(admin.id, &secret).await;
    let form = [("login", EMAIL), ("password", PASSWORD), ("code", &code)];
    let request = stack.anonymous().request_root(Method::POST, "/admin/login").form(&form);
    let set = Response::to(request).await.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(set.ends_with("; Path=/; Max-Age=28800; HttpOnly; SameSite=Strict; Secure"), "{set}");
}

#[tokio::test]
async fn the_pages_may_have_an_address_of_their_own_and_are_nowhere_else_then() {
    let port = ports::free();
    let stack = Stack::builder().workers([]).env("ADMIN_ADDRESS", format!("127.0.0.1:{port}"));
    let stack = stack.start().await;
    let operators = format!("http://127.0.0.1:{port}");
    // Not what the documents say of the API's address.
    let status = async |url: String| {
        http_client().get(url).send().await.expect("a response").status().as_u16()
    };
    for path in ["/admin", "/admin/login", "/ADMIN/", "/admin/ledger.csv"] {
        assert_eq!(status(format!("{}{path}", stack.api_url(0))).await, 404, "{path}");
    }
    assert_eq!(status(format!("{operators}/admin/login")).await, 200);
    for path in ["/", "/health", "/api/v1/events", "/docs", "/socket.io/?EIO=4&transport=polling"] {
        assert_eq!(status(format!("{operators}{path}")).await, 404, "{path}");
    }
    assert_eq!(status(format!("{}/api/v1/events", stack.api_url(0))).await, 200);
}
