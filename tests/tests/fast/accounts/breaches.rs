//! New passwords are looked up in breaches, if the operator has set where: by five digits of their
//! hash, which is all that leaves.

use std::time::Duration;

use nexus_tests::metrics::Metrics;
use nexus_tests::shop::PASSWORD;
use nexus_tests::stack::Builder;
use nexus_tests::{Client, Fault, Stack, Target, json};

const EMAIL: &str = "asha@nexus.example";
const PHONE: &str = "+919812345678";
/// One that nobody guesses; SHA-1 A52BB4653B1EB6B2E2CB38A97EF9A3D11A1A0D2F or another.
const STOLEN: &str = "M0nsoon-over-the-harbour";
const BREACHED: &str = "Password has appeared in a data breach. Please choose another one.";

/// A stack that looks passwords up at its stand-in.
async fn looking_up(builder: Builder) -> Stack {
    let mut stack = builder.without_limits().start().await;
    let url = stack.providers.breaches_url();
    stack.restart_with(&[("PASSWORD_BREACH_URL", &url)]).await;
    stack.providers.breach(STOLEN);
    stack
}

async fn registered(stack: &Stack) -> Client {
    let account = json!({"email": EMAIL, "password": PASSWORD});
    let anonymous = stack.anonymous();
    let user = anonymous.clone().logged_in(&anonymous.post("/auth/register", account).await.data());
    stack.prove_emails().await;
    user
}

#[tokio::test]
async fn a_password_from_a_breach_is_refused_wherever_one_is_set() {
    let mut stack = looking_up(Stack::builder().workers(["otp", "notifications"])).await;
    let anonymous = stack.anonymous();
    let account = json!({"email": "other@nexus.example", "password": STOLEN});
    let refused = anonymous.post("/auth/register", account).await;
    refused.failed(422, BREACHED);
    assert_eq!(refused.body["error"]["code"], "password_guessable");
    let user = registered(&stack).await;
    stack.set_phone(&user, PHONE).await;
    let change = json!({"currentPassword": PASSWORD, "newPassword": STOLEN});
    user.post("/auth/change-password", change).await.failed(422, BREACHED);
    let otp = stack.otp(PHONE).await;
    let reset = json!({"phone": PHONE, "otp": otp, "newPassword": STOLEN});
    anonymous.post("/auth/reset-password", reset).await.failed(422, BREACHED);
    anonymous.post("/auth/forgot-password", json!({"email": EMAIL})).await.ok();
    let mail = stack.mailed(EMAIL, "Set another password").await;
    let token = mail.text.split("token=").nth(1).unwrap().split_whitespace().next().unwrap();
    let recovery = |password: &str| json!({"token": token, "newPassword": password});
    anonymous.post("/auth/recover-password", recovery(STOLEN)).await.failed(422, BREACHED);
    anonymous.post("/auth/recover-password", recovery("An0ther-horse")).await.ok();

    let calls = stack.providers.calls(Target::BreachesRange);
    assert_eq!(calls.len(), 6, "{calls:?}");
    for call in &calls {
        let told = call.path.rsplit('/').next().unwrap();
        let is_beginning = told.len() == 5 && told.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_beginning, "more than five digits leave: {}", call.path);
    }
    let log = stack.api(0).log();
    assert!(!log.contains(STOLEN) && !log.contains(PASSWORD), "{log}");
}

#[tokio::test]
async fn a_password_is_let_pass_while_nobody_says_what_was_breached() {
    let mut stack = looking_up(Stack::builder().workers([]).measured()).await;
    let faults = [
        Fault::status(503),
        Fault::status(429),
        Fault::dropped(),
        Fault::dropped_after(),
        Fault::delay(Duration::from_secs(20)),
    ];
    for (number, fault) in faults.iter().enumerate() {
        stack.providers.fault(Target::BreachesRange, Some(1), fault.clone());
        let email = format!("user-{number}@nexus.example");
        let account = json!({"email": email, "password": STOLEN});
        stack.anonymous().post("/auth/register", account).await.ok();
    }
    let account = json!({"email": EMAIL, "password": STOLEN});
    stack.anonymous().post("/auth/register", account.clone()).await.failed(422, BREACHED);
    stack.providers.stop_http().await;
    stack.anonymous().post("/auth/register", account).await.ok();
    stack.providers.resume_http().await.unwrap();
    let failed = r#"nexus_password_lookups_total{outcome="failed"}"#;
    let counted = |page: &Metrics| page.value(failed) == Some(faults.len() as f64 + 1.0);
    Metrics::until(&stack.metrics_urls()["api"], "failed look-ups", counted).await;
    let log = stack.api(0).log();
    assert!(log.contains("a new password was not looked up in breaches"), "{log}");
    assert!(!log.contains(STOLEN), "{log}");
}

#[tokio::test]
async fn nobody_is_asked_unless_the_operator_has_set_whom() {
    let stack = Stack::builder().workers([]).start().await;
    stack.providers.breach(STOLEN);
    let account = json!({"email": EMAIL, "password": STOLEN});
    stack.anonymous().post("/auth/register", account).await.ok();
    assert_eq!(stack.providers.count(Target::BreachesRange).calls, 0);
}
