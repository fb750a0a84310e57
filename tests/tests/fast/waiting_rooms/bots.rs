//! What it takes to have many places, and what becomes of whoever tries.

use std::time::Duration;

use nexus_tests::{
    Client, Fault, Response, Stack, Target, json,
    metrics::Metrics,
    puzzles::{puzzle, solve},
    stack::Builder,
};

use super::{Room, builder};

async fn join(room: &Room, user: &Client, solution: Option<&str>) -> Response {
    user.post(&room.path(), json!({ "altcha": solution })).await
}

async fn join_solved(room: &Room, user: &Client) -> Response {
    let refused = join(room, user, None).await;
    join(room, user, Some(&solve(&refused))).await
}

/// A room with limits, which allow so many joins without work.
async fn limited(limit: &str, rate: &str) -> Room {
    let stack = Stack::builder().workers(["expiry"]).measured().env(limit, rate).start().await;
    Room::announced_in(stack, 10, &[]).await
}

/// So many users behind one address.
async fn behind_one_address(room: &Room, count: usize) -> Vec<Client> {
    let address = room.stack.anonymous();
    let users = room.stack.users(count).await;
    let there = |user: &Client| address.clone().with_token(user.id, room.stack.mint_token(user.id));
    users.iter().map(there).collect()
}

#[tokio::test]
async fn a_room_needs_a_proved_phone_unless_its_operator_says_otherwise() {
    let room = Room::announced(10, &["--needs-phone", "true"]).await;
    let user = room.stack.user().await;
    join(&room, &user, None).await.failed(
        403,
        "This event can be booked with a verified phone number only. Please verify yours in your account and try again.",
    );
    room.stack.set_phone(&user, "+919812345678").await;
    join(&room, &user, None).await.ok();
    let other = room.stack.user().await;
    room.cli("set", &["--needs-phone", "false"]).await;
    join(&room, &other, None).await.ok();
}

#[tokio::test]
async fn a_phone_has_one_place_whoever_it_belongs_to_next() {
    let room = Room::announced(10, &["--needs-phone", "true"]).await;
    let users = room.stack.users(2).await;
    let [one, other] = users.as_slice() else { unreachable!() };
    room.stack.set_phone(one, "+919812345678").await;
    join(&room, one, None).await.ok();
    room.stack.set_phone(one, "+919812345679").await;
    room.stack.set_phone(other, "+919812345678").await;
    let refused = join(&room, other, None).await;
    refused.failed(409, "Somebody with your phone number is in this waiting room already");
    room.leave(one).await.ok();
    join(&room, other, None).await.ok();
}

#[tokio::test]
async fn beyond_so_many_joins_from_a_network_each_takes_work() {
    let room = limited("RATE_LIMIT_WAITING_ROOM", "2/1h").await;
    let users = behind_one_address(&room, 4).await;
    for user in &users[..2] {
        join(&room, user, None).await.ok();
    }
    let refused = join(&room, &users[2], None).await;
    refused.failed(429, "Too many requests. Please try again later.");
    let solution = solve(&refused);
    // It is good for whom it was set, and once.
    puzzle(&join(&room, &users[3], Some(&solution)).await);
    join(&room, &users[2], Some(&solution)).await.ok();
    room.leave(&users[2]).await.ok();
    puzzle(&join(&room, &users[2], Some(&solution)).await);
    // Whoever is there stays there, without.
    join(&room, &users[0], None).await.ok();
    // From elsewhere it takes none.
    join(&room, &room.stack.user().await, None).await.ok();
}

#[tokio::test]
async fn the_more_want_to_join_the_more_work_it_takes_wherever_they_come_from() {
    let room = limited("RATE_LIMIT_WAITING_ROOM_DEMAND", "1/1h").await;
    let users = room.stack.users(13).await;
    join(&room, &users[0], None).await.ok();
    let most = |refused: &Response| puzzle(refused)["maxnumber"].as_u64().unwrap();
    let first = most(&join(&room, &users[1], None).await);
    for user in &users[1..12] {
        join_solved(&room, user).await.ok();
    }
    let last = most(&join(&room, &users[12], None).await);
    assert!(last > 2 * first, "{first}, {last}");
}

#[tokio::test]
async fn who_is_refused_a_place_has_used_up_nothing() {
    let room = limited("RATE_LIMIT_WAITING_ROOM", "1/1h").await;
    let users = behind_one_address(&room, 2).await;
    let unproved = format!("UPDATE users SET email_verified_at = NULL WHERE id = {}", users[0].id);
    room.stack.execute(&unproved).await;
    for _ in 0..3 {
        let refused = join(&room, &users[0], None).await;
        refused.failed(403, "Please verify your e-mail address or your phone number first");
    }
    join(&room, &users[1], None).await.ok();
}

#[tokio::test]
async fn a_puzzle_comes_and_is_solved_over_a_socket_too() {
    let room = limited("RATE_LIMIT_WAITING_ROOM_DEMAND", "1/1h").await;
    let users = room.stack.users(2).await;
    join(&room, &users[0], None).await.ok();
    let socket = room.stack.socket("a buyer", &users[1]).await;
    let asked = json!({ "eventId": room.event.id });
    let refused = socket.call("join_queue", &[asked]).await;
    assert_eq!(refused["code"], "proof_of_work_needed", "{refused}");
    // The same puzzle as over HTTP, solved alike.
    let solution = solve(&join(&room, &users[1], None).await);
    assert!(refused["puzzle"]["challenge"].is_string(), "{refused}");
    let solved = json!({ "eventId": room.event.id, "altcha": solution });
    socket.call_ok("join_queue", solved).await;
}

#[tokio::test]
async fn operators_see_how_many_were_given_work() {
    let room = limited("RATE_LIMIT_WAITING_ROOM_DEMAND", "1/1h").await;
    let users = room.stack.users(2).await;
    join(&room, &users[0], None).await.ok();
    join_solved(&room, &users[1]).await.ok();
    Metrics::until(&room.stack.metrics_urls()["api"], "puzzles", |page| {
        let of = |outcome: &str| {
            page.value(&format!(
                r#"nexus_puzzles_total{{limit="waiting_room",outcome="{outcome}"}}"#
            ))
        };
        of("given") == Some(1.0) && of("solved") == Some(1.0)
    })
    .await;
}

/// A room of an installation that has a CAPTCHA service.
async fn with_captchas(builder: Builder) -> Room {
    let mut stack = builder.measured().start().await;
    let (url, secret) = stack.providers.captcha();
    stack.restart_with(&[("CAPTCHA_VERIFY_URL", &url), ("CAPTCHA_SECRET", secret)]).await;
    Room::announced_in(stack, 10, &[]).await
}

#[tokio::test]
async fn whom_a_captcha_service_takes_for_a_program_is_kindly_refused() {
    let room = with_captchas(builder()).await;
    let user = room.stack.user().await;
    let join =
        async |token: Option<&str>| user.post(&room.path(), json!({ "captcha": token })).await;
    for token in [None, Some(""), Some("no token of theirs"), Some("program-1")] {
        join(token).await.failed(403, "Please show that you are a person, and try again");
    }
    assert_eq!(room.stack.count("waiting_room_visitors").await, 0);
    join(Some("person-1")).await.ok();
    // Whoever is there is not asked again.
    join(None).await.ok();
    let other = room.stack.user().await;
    let used = other.post(&room.path(), json!({ "captcha": "person-1" })).await;
    used.failed(403, "Please show that you are a person, and try again");
    let log: String = room.stack.logs().into_values().collect();
    assert!(log.contains("takes somebody for a program"), "{log}");
    assert!(!log.contains(room.stack.providers.captcha().1), "{log}");
}

#[tokio::test]
async fn a_captchas_token_is_still_good_after_the_work_that_was_asked_for_first() {
    let builder =
        Stack::builder().workers(["expiry"]).env("RATE_LIMIT_WAITING_ROOM_DEMAND", "1/1h");
    let room = with_captchas(builder).await;
    let users = room.stack.users(2).await;
    let join = async |user: &Client, token: &str, solution: Option<&str>| {
        user.post(&room.path(), json!({ "captcha": token, "altcha": solution })).await
    };
    join(&users[0], "person-1", None).await.ok();
    let refused = join(&users[1], "person-2", None).await;
    join(&users[1], "person-2", Some(&solve(&refused))).await.ok();
}

#[tokio::test]
async fn while_no_captcha_service_answers_people_join_all_the_same() {
    let room = with_captchas(builder()).await;
    let faults = [
        Fault::status(500),
        Fault::status(429),
        Fault::dropped(),
        Fault::delay(Duration::from_secs(20)),
    ];
    for (number, fault) in faults.iter().enumerate() {
        room.stack.providers.fault(Target::CaptchaVerify, Some(1), fault.clone());
        let user = room.stack.user().await;
        let token = format!("person-{number}");
        user.post(&room.path(), json!({ "captcha": token })).await.ok();
    }
    Metrics::until(&room.stack.metrics_urls()["api"], "failures", |page| {
        page.value(r#"nexus_captchas_total{outcome="failed"}"#) == Some(faults.len() as f64)
    })
    .await;
}
