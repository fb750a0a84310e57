//! What networks share, and what their people do when it is used up: they work for it.

use nexus_tests::lines::Lines;
use nexus_tests::metrics::Metrics;
use nexus_tests::puzzles::{puzzle, solution, solve};

use nexus_tests::Value;

use super::*;

fn account(n: usize) -> Value {
    json!({"email": format!("user-{n}@nexus.example"), "password": PASSWORD})
}

async fn register(client: &Client, n: usize) -> Response {
    client.post("/auth/register", account(n)).await
}

fn is_puzzle(response: &Response) -> bool {
    response.status == 429 && response.body["error"]["code"] == "proof_of_work_needed"
}

#[tokio::test]
async fn a_48_and_a_24_share_limits_however_many_addresses_they_have() {
    let stack = start(&[("RATE_LIMIT_ANONYMOUS", "1/1h")]).await;
    let passed = async |addresses: Vec<String>| {
        let asked = addresses.iter().map(|address| get_from(&stack, address));
        statuses(asked).await.into_iter().filter(|status| *status == 200).count()
    };
    let every = |count: u32, address: fn(u32) -> String| (0..count).map(address).collect();
    // Each in a /56 of its own; all in one; and an IPv4 network.
    assert_eq!(passed(every(40, |n| format!("2001:db8:1:{n:x}00::1"))).await, 16);
    assert_eq!(passed(every(20, |n| format!("2001:db8:2:{n:x}::1"))).await, 4);
    assert_eq!(passed(every(40, |n| format!("203.0.113.{n}"))).await, 16);
    // The networks beside them are not concerned.
    assert_eq!(passed(every(2, |n| format!("2001:db8:{:x}::1", n + 3))).await, 2);
    assert_eq!(passed(every(2, |n| format!("203.0.{}.1", n + 114))).await, 2);
}

#[tokio::test]
async fn people_behind_one_address_log_in_and_only_wrong_passwords_count() {
    let stack = start(&[("RATE_LIMIT_LOGIN", "8/1h")]).await;
    for n in 0..8 {
        register(&stack.anonymous(), n).await.ok();
    }
    let college = stack.anonymous();
    let email = |n: usize| format!("user-{n}@nexus.example");
    for _ in 0..2 {
        let logins = (0..8).map(|n| {
            let college = college.clone();
            async move { log_in(&college, &email(n), PASSWORD).await }
        });
        counts(&statuses(logins).await, [(200, 8), (429, 0)]);
    }
    for n in 0..8 {
        let nobody = format!("nobody-{n}@nexus.example");
        log_in(&college, &nobody, PASSWORD).await.failed(401, "Invalid email or password");
    }
    // Somebody there guesses passwords. The others can show that they are in earnest.
    let refused = log_in(&college, &email(0), PASSWORD).await;
    refused.failed(429, TOO_MANY);
    let body = json!({"email": email(0), "password": PASSWORD});
    college.post_solved("/auth/login", body, &solve(&refused)).await.ok();
}

#[tokio::test]
async fn one_account_is_logged_in_to_so_often_and_its_wrong_passwords_do_not_count_for_that() {
    let stack = start(&[("RATE_LIMIT_LOGINS", "3/1h")]).await;
    register(&stack.anonymous(), 0).await.ok();
    let client = stack.anonymous();
    let email = "user-0@nexus.example";
    for _ in 0..3 {
        log_in(&client, email, "Wr0ng-horse").await.failed(401, "Invalid email or password");
        log_in(&client, email, PASSWORD).await.ok();
    }
    let refused = log_in(&client, email, PASSWORD).await;
    refused.failed(429, TOO_MANY);
    assert!(!is_puzzle(&refused), "{refused}");
}

#[tokio::test]
async fn a_college_behind_one_address_registers_and_gets_codes_and_mails() {
    let stack = Stack::builder().workers([]).start().await;
    let college = stack.anonymous();
    let mut free = [0; 3];
    for n in 0..24 {
        let requests = [
            ("/auth/register", account(n)),
            ("/auth/send-otp", json!({"phone": format!("+9198123456{n:02}")})),
            ("/auth/forgot-password", json!({"email": format!("other-{n}@nexus.example")})),
        ];
        for (free, (path, body)) in free.iter_mut().zip(requests) {
            let response = college.post(path, body.clone()).await;
            if is_puzzle(&response) {
                response.failed(429, TOO_MANY);
                assert!(response.headers.contains_key("retry-after"));
                college.post_solved(path, body, &solve(&response)).await.ok();
            } else {
                response.ok();
                *free += 1;
            }
        }
    }
    // Each account has sent a mail, too.
    assert_eq!(free, [20, 20, 10]);
}

#[tokio::test]
async fn a_solution_is_good_once_for_what_it_was_asked_for() {
    let stack = Stack::builder().workers([]).api_processes(2);
    let stack = stack.settings(&[
        ("RATE_LIMIT_REGISTRATION", "1/1h"),
        ("RATE_LIMIT_EMAIL_SEND_ADDRESS", "1/1h"),
    ]);
    let stack = stack.start().await;
    let (client, neighbour) = (stack.anonymous(), stack.anonymous());
    register(&client, 0).await.ok();
    register(&neighbour, 1).await.ok();
    let refused = register(&client, 2).await;
    let good = solve(&refused);
    let (ours, theirs) = (puzzle(&refused), puzzle(&register(&neighbour, 2).await));

    let mail = async |n: usize| {
        let body = json!({"email": format!("other-{n}@nexus.example")});
        client.post("/auth/forgot-password", body).await
    };
    let for_a_mail = solve(&mail(0).await);
    let mut forged = ours.clone();
    forged["signature"] = theirs["signature"].clone();
    let mut eternal = ours.clone();
    let salt = ours["salt"].as_str().unwrap().replace("expires=", "expires=9");
    eternal["salt"] = json!(salt);
    let bad = [
        "garbage".to_owned(),
        "A".repeat(4_000),
        solution(&ours, 60_000),
        solve_as(&forged),
        solution(&eternal, 1),
        solve_as(&theirs),
        for_a_mail,
    ];
    for (case, bad) in bad.iter().enumerate() {
        let response = client.post_solved("/auth/register", account(2), bad).await;
        assert!(is_puzzle(&response), "{case}: {response}");
    }

    // At once, on two processes.
    let uses = (0..6).map(|n| {
        let client = client.clone().at(&stack.api_url(n % 2));
        let good = good.clone();
        async move { client.post_solved("/auth/register", account(10 + n), &good).await }
    });
    counts(&statuses(uses).await, [(200, 1), (429, 5)]);
    // Somewhere else it was worth nothing anyhow.
    assert!(is_puzzle(&neighbour.post_solved("/auth/register", account(3), &good).await));
}

/// The solution of a puzzle that came from elsewhere.
fn solve_as(puzzle: &Value) -> String {
    let body = json!({"error": {"code": "proof_of_work_needed", "puzzle": puzzle}});
    let response = Response {
        request: String::new(),
        status: 429,
        headers: Default::default(),
        bytes: vec![],
        text: String::new(),
        body,
    };
    solve(&response)
}

#[tokio::test]
async fn puzzles_get_harder_and_at_the_end_no_work_helps() {
    let stack = start(&[("RATE_LIMIT_LOGIN", "1/1h")]).await;
    let client = stack.anonymous();
    let wrong = |n: u64| json!({"email": format!("nobody-{n}@nexus.example"), "password": "x"});
    client.post("/auth/login", wrong(0)).await.failed(401, "Invalid email or password");
    let mut hardest = 0;
    for n in 1..20 {
        let refused = client.post("/auth/login", wrong(n)).await;
        let harder = puzzle(&refused)["maxnumber"].as_u64().unwrap();
        assert!(harder > hardest, "{refused}");
        hardest = harder;
        let tried = client.post_solved("/auth/login", wrong(n), &solve(&refused)).await;
        tried.failed(401, "Invalid email or password");
    }
    assert!(hardest > 350_000, "{hardest}");
    let refused = client.post("/auth/login", wrong(20)).await;
    refused.failed(429, TOO_MANY);
    assert!(!is_puzzle(&refused), "{refused}");
}

#[tokio::test]
async fn nobody_switches_a_countrys_codes_off_without_work_or_from_one_network() {
    let stack = start(&[("OTP_DAILY_CAP", "91:20,*:10")]).await;
    let owner = owner(&stack).await;
    let phone = |n: usize| json!({"phone": format!("+9198765432{n:02}")});
    let send = async |client: &Client, n: usize| client.post("/auth/send-otp", phone(n)).await;
    // No network has more than a tenth of the cap, whatever it does.
    let greedy = stack.anonymous();
    send(&greedy, 0).await.ok();
    send(&greedy, 1).await.ok();
    let refused = send(&greedy, 2).await;
    refused.failed(429, TOO_MANY);
    assert!(!is_puzzle(&refused), "{refused}");
    for n in 2..10 {
        send(&stack.anonymous(), n).await.ok();
    }
    // Half of it can be had for nothing. More attempts use up no more,
    for n in 10..30 {
        let refused = send(&stack.anonymous(), n).await;
        assert!(is_puzzle(&refused), "{refused}");
    }
    // who is at home needs no work, and others get codes for some.
    owner.post("/auth/send-otp", json!({"phone": PHONE})).await.ok();
    for n in 30..39 {
        stack.anonymous().post_working("/auth/send-otp", phone(n)).await.ok();
    }
    let refused = stack.anonymous().post_working("/auth/send-otp", phone(39)).await;
    refused.failed(429, TOO_MANY);
    assert!(!is_puzzle(&refused), "{refused}");
}

#[tokio::test]
async fn altchas_own_library_solves_a_puzzle() {
    let stack = start(&[("RATE_LIMIT_REGISTRATION", "1/1h")]).await;
    let client = stack.anonymous();
    register(&client, 0).await.ok();
    let refused = register(&client, 1).await;
    let library = Lines::node("ALTCHA's library", "altcha.mjs");
    library.write(&json!({"id": 1, "puzzle": puzzle(&refused)})).await;
    let solved = eventually("the library solves it", SOON, async || {
        library.log().of("result").pop().ok_or(library.describe())
    })
    .await;
    let solution = solved["result"].as_str().unwrap();
    client.post_solved("/auth/register", account(1), solution).await.ok();
}

#[tokio::test]
async fn puzzles_are_counted() {
    let stack = Stack::builder().workers([]).measured().env("RATE_LIMIT_REGISTRATION", "1/1h");
    let stack = stack.start().await;
    let client = stack.anonymous();
    for n in 0..3 {
        client.post_working("/auth/register", account(n)).await.ok();
    }
    client.post_solved("/auth/register", account(3), "garbage").await.failed(429, TOO_MANY);
    let url = stack.metrics_urls()["api"].clone();
    for (outcome, count) in [("given", 3.0), ("solved", 2.0), ("refused", 1.0)] {
        let counted = format!(r#"nexus_puzzles_total{{limit="registration",outcome="{outcome}"}}"#);
        Metrics::until(&url, &counted, |page| page.value(&counted) == Some(count)).await;
    }
}
