//! Schemathesis (PyPI) reads the OpenAPI document and sends every operation what it asks for, what it almost asks for and what it does not ask
//! for at all. Every answer has to be one that the document knows; `tests/clients/schemathesis.toml` says what else is checked.

use std::path::Path;

use nexus_tests::program::command;
use nexus_tests::shop::PASSWORD;
use nexus_tests::{Stack, Value, json};

const EMAIL: &str = "asha@nexus.example";

/// Logs in, and again when an operation has ended the session.
fn login() -> String {
    format!(
        r#"
[auth.dynamic.openapi.bearer]
path = "/api/v1/auth/login"
payload = {{ email = "{EMAIL}", password = "{PASSWORD}" }}
extract_selector = "/data/accessToken"
retry_on = [401]
"#
    )
}

/// Somebody who organises three events and has a booking in every state, so that the ids 1 to 3 mean something everywhere. Returns
/// dictionaries of what else there is.
async fn arrange(stack: &Stack) -> String {
    let account = |email| json!({"email": email, "password": PASSWORD, "name": "Asha"});
    let asha = stack.anonymous().post("/auth/register", account(EMAIL)).await.data();
    let asha = stack.anonymous().logged_in(&asha);
    let other = stack.anonymous().post("/auth/register", account("other@nexus.example")).await.data();
    let mut events = Vec::new();
    for _ in 0..3 {
        events.push(stack.event(&asha, &[("VIP", 100.0, 1000)]).await);
    }
    let (sold, payment) = stack.sell(&asha, &events[0], &[("VIP", "A1")]).await;
    stack.until_tickets(&asha, &sold, 1).await;
    let cancelled = asha.lock_and_book(&events[1], &[("VIP", "A1")]).await;
    asha.cancel(&cancelled).await.ok();
    asha.lock_and_book(&events[2], &[("VIP", "A1")]).await;
    let job = stack.row("SELECT id FROM jobs WHERE kind = 'finalise_booking'").await;
    let dictionary = |name: &str, value: &Value| format!("\n[dictionaries.{name}]\nvalues = [{value}]\n");
    dictionary("orders", &json!(payment.order_id))
        + &dictionary("jobs", &job["id"])
        + &dictionary("sessions", &other["refreshToken"])
}

/// Runs it with the settings of the file and these, 10 examples an operation; EXAMPLES asks for more.
async fn run(stack: &Stack, more_settings: &str) {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    let program = clients.join(".venv/bin/schemathesis");
    assert!(program.is_file(), "tests/clients/.venv is missing: run `make python-deps`");
    let settings = std::fs::read_to_string(clients.join("schemathesis.toml")).expect("the settings");
    let file = stack.dir().join("schemathesis.toml");
    std::fs::write(&file, settings + &arrange(stack).await + more_settings).expect("a file");

    let examples = std::env::var("EXAMPLES").unwrap_or_else(|_| "10".into());
    let document = format!("{}/openapi.json", stack.api_url(0));
    let env = vec![("PYTHONPATH".to_owned(), clients.display().to_string())];
    let mut schemathesis = tokio::process::Command::from(command(&program, stack.dir(), &env));
    schemathesis.arg("--config-file").arg(file);
    schemathesis.args(["run", &document, "--no-color", "--max-examples", &examples]);
    let output = schemathesis.output().await.expect("schemathesis");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn whatever_a_user_sends_is_answered_as_documented() {
    let stack = Stack::start().await;
    run(&stack, &login()).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn whatever_a_stranger_sends_is_answered_as_documented() {
    let stack = Stack::start().await;
    run(&stack, "\n[auth]\nauto-signup = false\n").await;
    stack.assert_invariants().await;
}
