//! What processes write: lines that belong together say so, and none holds a secret or personal
//! data.

use nexus_sandbox::providers::sign;
use nexus_tests::stack::QUEUES;
use nexus_tests::{Event, Fault, Outcome, SOON, Stack, Target, Value, eventually, json, seen};
use reqwest::Method;

/// A process's log, line by line.
fn lines(stack: &Stack, process: &str) -> Vec<Value> {
    let parse = |line: &str| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{process}: {error} in {line:?}"))
    };
    stack.logs()[process].lines().map(parse).collect()
}

/// Waits until every job that a request has led to is done, and has a line of its own.
async fn until_jobs_log(stack: &Stack, trace_id: &str, expected: &[(&str, &str)]) {
    for (process, kind) in expected {
        let line =
            eventually(&format!("{process} logs a {kind} of {trace_id}"), SOON, async || {
                let all = lines(stack, process);
                let found = all.iter().find(|line| {
                    line["trace_id"] == trace_id
                        && line["kind"] == *kind
                        && line["outcome"] == "done"
                });
                found.cloned().ok_or_else(|| json!(all).to_string())
            })
            .await;
        let job = stack.job(line["job_id"].as_str().unwrap()).await;
        assert_eq!((&job["kind"], &job["state"]), (&json!(kind), &json!("done")));
    }
}

#[tokio::test]
async fn the_id_in_an_answer_leads_to_the_lines_of_its_request_and_of_all_its_jobs() {
    let stack = Stack::builder().env("NODE_ENV", "production").start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("Free", 0.0, 10)]).await;
    let buyer = stack.user().await;
    buyer.lock(&event, "Free", "A1").await.ok();
    let asked = stack.anonymous().post("/auth/send-otp", json!({"phone": "+919800000001"})).await;
    let booked = buyer.book(&event, &[("Free", "A1")]).await;
    let all = [("nexus-worker-otp", "send_otp")];
    let chain = [
        ("nexus-worker-payments", "confirm_free_booking"),
        ("nexus-worker-bookings", "finalise_booking"),
        ("nexus-worker-notifications", "email_tickets"),
    ];
    for (response, jobs) in [(asked, &all[..]), (booked, &chain[..])] {
        let id = response.headers["x-request-id"].to_str().unwrap().to_owned();
        assert_eq!(response.status, 200, "{response}");
        let api = lines(&stack, "nexus-api-1");
        let of_it: Vec<_> = api
            .iter()
            .filter(|line| {
                line["request_id"] == *id
                    && line["message"].as_str().unwrap().starts_with("request")
            })
            .collect();
        assert_eq!(of_it.len(), 1, "one line a request: {api:#?}");
        assert_eq!((&of_it[0]["status"], &of_it[0]["level"]), (&json!(200), &json!("INFO")));
        assert!(
            of_it[0]["timestamp"].is_string() && of_it[0]["duration_ms"].is_u64(),
            "{}",
            of_it[0]
        );
        until_jobs_log(&stack, of_it[0]["trace_id"].as_str().unwrap(), jobs).await;
    }
}

#[tokio::test]
async fn a_line_is_json_in_production_even_when_something_panics_and_readable_elsewhere() {
    let stack = Stack::builder().workers([]).env("NODE_ENV", "production").start().await;
    let mut probes = stack.probes(1, &[]).await;
    probes.start().await;
    let job = stack.enqueue_one("probe", json!(["panic", "done"])).await;
    stack.until_state(&job, "done").await;
    let probe = lines(&stack, "nexus-probe-1");
    assert!(
        probe.iter().any(|line| line["message"] == "panicked" && line["level"] == "ERROR"),
        "{probe:#?}"
    );
    assert!(
        probe.iter().any(|line| line["outcome"] == "retry" && line["job_id"] == job),
        "{probe:#?}"
    );
    assert!(!lines(&stack, "nexus-api-1").is_empty());

    let stack = Stack::builder().workers([]).start().await;
    let log = stack.logs()["nexus-api-1"].clone();
    assert!(log.contains(" INFO ") && !log.contains('{'), "{log}");
}

/// Texts that no log may hold, each with its meaning.
struct Canaries {
    texts: Vec<(&'static str, String)>,
    /// Six digits are part of many a time and id: only as a word of its own it is one.
    otp: String,
}

impl Canaries {
    /// Which of them are in a text, as they are or as a URL has them.
    fn found_in(&self, text: &str) -> Vec<String> {
        let text = text.to_lowercase();
        let found = |canary: &str| {
            let canary = canary.to_lowercase();
            let encoded: String = canary
                .bytes()
                .map(|byte| match byte {
                    b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                        char::from(byte).to_string()
                    }
                    _ => format!("%{byte:02x}"),
                })
                .collect();
            text.contains(&canary) || text.contains(&encoded)
        };
        let mut all: Vec<_> = self
            .texts
            .iter()
            .filter(|(_, canary)| found(canary))
            .map(|(what, _)| (*what).to_owned())
            .collect();
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
        all.extend(words.any(|word| word == self.otp).then(|| "a one-time password".to_owned()));
        all
    }
}

const PASSWORD: &str = "C4nary-of-a-passw0rd!";
const EMAIL: &str = "canary.of.an.address@nexus.example";
const PHONE: &str = "+919812345678";
const CARD: &str = "4111111111111111";
const BEARER: &str = "canary-of-a-bearer-token";
const DATABASE_PASSWORD: &str = "C4nary@of/a:database";

/// People do what people do, right and wrong, while providers and servers fail.
async fn story(stack: &mut Stack) -> Canaries {
    let anonymous = stack.anonymous();
    let account = json!({"email": EMAIL, "phone": PHONE, "password": PASSWORD, "username": "canary", "name": "Canary Bird"});
    let registered = anonymous.post("/auth/register", account.clone()).await.data();
    anonymous
        .post("/auth/register", account)
        .await
        .failed(409, "User with this email, username or phone already exists");
    let buyer = anonymous.clone().logged_in(&registered);
    for login in [
        json!({"email": EMAIL, "password": format!("{PASSWORD}?")}),
        json!({"email": "nobody.canary.of.an.address@nexus.example", "password": PASSWORD}),
        json!({"email": EMAIL, "password": {"$ne": PASSWORD}}),
    ] {
        assert!(anonymous.post("/auth/login", login).await.status >= 400);
    }
    anonymous.post("/auth/login", json!({"email": EMAIL, "password": PASSWORD})).await.ok();

    // Codes, with Twilio failing at first.
    stack.providers.fault(Target::TwilioVerify, Some(1), Fault::status(500));
    anonymous.post("/auth/send-otp", json!({"phone": PHONE})).await.ok();
    let otp = eventually("a code is sent", SOON, async || {
        stack.providers.otp(PHONE).ok_or("none".to_owned())
    })
    .await
    .code;
    let wrong = if otp == "999999" { "999998" } else { "999999" };
    stack.providers.fault(Target::TwilioCheck, Some(1), Fault::status(500));
    for code in [wrong, wrong, &otp] {
        buyer.post("/auth/verify-otp", json!({"phone": PHONE, "otp": code})).await;
    }
    stack.prove_emails().await;

    // Bytes that are no HTTP request.
    let malformed = format!(r#"{{"password": "{PASSWORD}", "card": {CARD}, "email": "{EMAIL}""#);
    for path in ["/auth/login", "/bookings/create", "/payments/create-order"] {
        let request = buyer.request(Method::POST, path).header("content-type", "application/json");
        assert_eq!(nexus_tests::Response::to(request.body(malformed.clone())).await.status, 400);
    }
    let bad = anonymous.clone().with_token(0, BEARER);
    bad.get("/bookings/my-bookings").await.failed(401, "Invalid or expired access token");
    anonymous.get(&format!("/events?token={BEARER}&email={EMAIL}")).await;
    anonymous.get(&format!("/nothing/{EMAIL}")).await;
    let socket = stack.socket("the buyer", &buyer).await;
    socket.emit(PASSWORD, &[json!({"card": CARD})]).await;
    socket
        .call("lock_seat", &[json!({"eventId": CARD, "seatTypeId": EMAIL, "seat_label": PASSWORD})])
        .await;
    socket.call("confirm_booking", &[json!({"booking_id": 1, "payment_id": CARD})]).await;

    // A purchase, with Razorpay and the mail server failing at first.
    let organiser = stack.user().await;
    let event: Event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    stack.providers.fault(Target::RazorpayOrders, Some(1), Fault::status(500));
    buyer
        .try_order(&booking)
        .await
        .failed(502, "The provider could not be reached. Please try again shortly.");
    stack.providers.fault(Target::Smtp, Some(1), Fault::status(451));
    stack.providers.fault(Target::TwilioSms, Some(1), Fault::status(500));
    stack.pay(&buyer.order(&booking).await, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    stack.until_tickets(&buyer, &booking, 1).await;
    eventually("the tickets are mailed", SOON, async || {
        seen(!stack.providers.mail().is_empty(), stack.providers.mail()).map(drop)
    })
    .await;

    // Webhooks: forged, and signed but senseless.
    let secret = stack.providers.config().razorpay_webhook_secret.clone();
    let body =
        json!({"event": "payment.captured", "payload": {"card": CARD, "email": EMAIL, "contact": PHONE}})
            .to_string();
    for signature in [sign("another", body.as_bytes()), sign(&secret, body.as_bytes())] {
        let request = anonymous
            .request(Method::POST, "/payments/webhook")
            .header("x-razorpay-signature", signature);
        nexus_tests::Response::to(
            request.header("content-type", "application/json").body(body.clone()),
        )
        .await;
    }
    eventually("every webhook has been acted on", SOON, async || {
        let open = stack
            .count("jobs WHERE kind = 'process_webhook' AND state NOT IN ('done', 'dead')")
            .await;
        seen(open == 0, open)
    })
    .await;

    // A cancelled booking's mail is refused for good.
    stack.providers.fault(Target::Smtp, Some(1), Fault::status(550));
    buyer.cancel(&booking).await.ok();
    eventually("the refusal is written down", SOON, async || {
        let refused = "jobs WHERE kind = 'email_cancellation' AND state = 'cancelled'";
        let refused = stack.count(refused).await;
        seen(refused == 1, refused)
    })
    .await;

    // Servers go away.
    stack.postgres.kill().await.unwrap();
    anonymous.post("/auth/login", json!({"email": EMAIL, "password": PASSWORD})).await;
    stack.postgres.restart().await.unwrap();
    stack.redis.kill().await.unwrap();
    stack.redis.restart().await.unwrap();
    stack.until_ready(0).await;
    buyer.post("/auth/logout", json!({"refreshToken": buyer.refresh_token})).await.ok();

    let token = |name: &str| registered[name].as_str().unwrap().to_owned();
    let mut texts = vec![
        ("a password", PASSWORD.to_owned()),
        ("an e-mail address", EMAIL.to_owned()),
        ("a phone number", PHONE.to_owned()),
        ("a phone number", PHONE[3..].to_owned()),
        ("a card", CARD.to_owned()),
        ("a bearer token", BEARER.to_owned()),
        ("an access token", token("accessToken")),
        ("a refresh token", token("refreshToken")),
        ("a name", "Canary Bird".to_owned()),
        ("the password of the database", DATABASE_PASSWORD.to_owned()),
    ];
    for name in [
        "JWT_SECRET",
        "JWT_REFRESH_SECRET",
        "TICKET_SIGNING_KEY",
        "RAZORPAY_KEY_SECRET",
        "RAZORPAY_WEBHOOK_SECRET",
        "TWILIO_AUTH_TOKEN",
    ] {
        let value = stack.env().iter().find(|(known, _)| known == name).unwrap().1.clone();
        texts.push(("a secret of the installation", value));
    }
    Canaries { texts, otp }
}

async fn nothing_is_told(mode: &str) {
    let mut stack = Stack::builder()
        .env("NODE_ENV", mode)
        .env("JOB_LOST_MS", 2_000)
        .env("RUST_LOG", "info,nexus_api=debug,nexus_common=debug,nexus_worker=debug")
        .start()
        .await;
    let url = format!(
        "postgres://nexus:C4nary%40of%2Fa%3Adatabase@127.0.0.1:{}/nexus",
        stack.postgres.port()
    );
    stack.restart_with(&[("DATABASE_URL", &url)]).await;
    let canaries = story(&mut stack).await;

    let logs = stack.logs();
    for process in QUEUES
        .map(|queue| format!("nexus-worker-{queue}"))
        .iter()
        .chain(&["nexus-api-1".to_owned()])
    {
        assert!(logs[process].contains("DEBUG"), "{process} tells what it does: {}", logs[process]);
        let found = canaries.found_in(&logs[process]);
        let told: Vec<_> =
            logs[process].lines().filter(|line| !canaries.found_in(line).is_empty()).collect();
        assert!(found.is_empty(), "{process} tells {found:#?} in {told:#?}");
    }
    // Jobs carry ids. The one exception: a code is sent to a phone that no account may have yet.
    for job in stack
        .rows("SELECT kind, payload, unique_key, last_error, errors, trace_context FROM jobs")
        .await
    {
        let mut job = job;
        if job["kind"] == "send_otp" {
            assert_eq!(job["payload"]["phone"].take(), json!(PHONE));
            job["unique_key"].take();
        }
        let found = canaries.found_in(&job.to_string());
        assert!(found.is_empty(), "{found:?} in {job:#}");
    }
}

#[tokio::test]
async fn nothing_secret_or_personal_is_in_json_logs_or_jobs() {
    nothing_is_told("production").await;
}

#[tokio::test]
async fn nothing_secret_or_personal_is_in_readable_logs_or_jobs() {
    nothing_is_told("development").await;
}
