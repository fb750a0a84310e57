//! The draw: fair, once, and checked by anybody.

use std::{
    collections::BTreeSet,
    process::{Output, Stdio},
};

use nexus_tests::{Client, SOON, Value, eventually, json, repository, seen};
use sha2::{Digest, Sha256};
use tokio::{io::AsyncWriteExt, process::Command};

use super::{Room, builder};

/// Checks a draw with the program that is published for it.
async fn verify(draw: &Value, more: &[&str]) -> (bool, String) {
    let mut program = verifier(&[&["-"], more].concat());
    let mut program = program.stdin(Stdio::piped()).spawn().unwrap();
    program.stdin.take().unwrap().write_all(draw.to_string().as_bytes()).await.unwrap();
    said(program.wait_with_output().await.unwrap())
}

fn verifier(words: &[&str]) -> Command {
    let mut program = Command::new("node");
    program.arg(repository::path("ops/verify-draw.mjs")).args(words).kill_on_drop(true);
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    program
}

fn said(output: Output) -> (bool, String) {
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

async fn join_all(room: &Room, visitors: &[Client]) {
    let joins = visitors.iter().map(|visitor| room.join(visitor));
    futures_util::future::join_all(joins).await;
}

/// Has so many new accounts wait, without a request for each.
async fn fill(room: &Room, visitors: u32) {
    let fill = format!(
        "WITH accounts AS (INSERT INTO users (name) SELECT 'visitor' FROM generate_series(1, {visitors}) RETURNING id)
         INSERT INTO waiting_room_visitors (event_id, user_id) SELECT {}, id FROM accounts",
        room.event.id
    );
    room.stack.execute(&fill).await;
}

#[tokio::test]
async fn whoever_is_there_before_the_opening_is_drawn_and_anybody_can_check_it() {
    let room = Room::announced(100, &[]).await;
    let visitors = room.stack.users(50).await;
    join_all(&room, &visitors).await;
    let before = room.until("announced").await;
    let waiting = room.you(&visitors[0]).await;
    assert_eq!((&waiting["state"], &waiting["position"]), (&json!("waiting"), &Value::Null));
    let path = format!("{}/draw", room.path());
    visitors[0].get(&path).await.failed(404, "Nothing has been drawn yet");

    room.draw().await;
    let draw = room.stack.anonymous().get(&path).await.data();
    assert_eq!(draw["commitment"], before["commitment"], "as it was before");
    let drawn: Vec<&str> =
        draw["visitors"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 50);
    let me = room.you(&visitors[0]).await;
    let position = drawn.iter().position(|id| me["id"] == *id).unwrap() + 1;
    assert_eq!(me["position"], position);

    let url = format!("{}/api/v1{path}", room.stack.api_url(0));
    let output = verifier(&[&url, "--mine", me["id"].as_str().unwrap()]).output().await.unwrap();
    let (is_good, said) = said(output);
    assert!(is_good, "{said}");
    assert!(said.contains("the draw is good: 50 visitors"), "{said}");
    assert!(said.contains(&format!("your position is {position}")), "{said}");
}

#[tokio::test]
async fn a_draw_that_somebody_has_changed_is_not_good() {
    let room = Room::announced(100, &[]).await;
    join_all(&room, &room.stack.users(10).await).await;
    room.draw().await;
    let draw = room.stack.anonymous().get(&format!("{}/draw", room.path())).await.data();
    let changed = |change: fn(&mut Value)| {
        let mut other = draw.clone();
        change(&mut other);
        other
    };
    for (other, why) in [
        (changed(|draw| draw["seed"] = json!("00".repeat(32))), "the seed is not the one"),
        (changed(|draw| draw["visitors"].as_array_mut().unwrap().swap(0, 9)), "somebody else's"),
        (changed(|draw| drop(draw["visitors"].as_array_mut().unwrap().pop())), "not the visitors"),
        (
            changed(|draw| {
                let first = draw["visitors"][0].clone();
                draw["visitors"].as_array_mut().unwrap().push(first);
            }),
            "drawn twice",
        ),
    ] {
        let (is_good, said) = verify(&other, &[]).await;
        assert!(!is_good && said.contains(why), "{why}: {said}");
    }
}

#[tokio::test]
async fn nobody_sees_the_seed_before_the_draw_and_everybody_the_same_one_after() {
    let room = Room::announced(100, &[]).await;
    let seed = room.stack.row("SELECT encode(seed, 'hex') AS seed FROM waiting_rooms").await;
    let seed = seed["seed"].as_str().unwrap().to_owned();
    let answer = room.stack.anonymous().get(&room.path()).await;
    assert!(!answer.text.contains(&seed));
    let commitment = answer.data()["commitment"].as_str().unwrap().to_owned();
    assert!(room.stack.logs().into_values().all(|log| !log.contains(&seed)), "in a log");
    room.draw().await;
    let draw = room.stack.anonymous().get(&format!("{}/draw", room.path())).await.data();
    assert_eq!(draw["seed"], seed);
    let bytes: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&seed[2 * at..2 * at + 2], 16).unwrap()).collect();
    let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, commitment);
}

#[tokio::test]
async fn who_joins_after_the_opening_comes_behind_in_the_order_of_joining() {
    let room = Room::announced(1, &[]).await;
    let early = room.stack.users(20).await;
    join_all(&room, &early).await;
    room.draw().await;
    let late = room.stack.users(3).await;
    for (number, visitor) in late.iter().enumerate() {
        assert_eq!(room.join(visitor).await["position"], 21 + number);
    }
    // Whoever is there already stays where they are.
    assert_eq!(room.join(&late[0]).await["position"], 21);
    let positions = room.positions().await;
    let places: Vec<i64> = positions.iter().map(|(_, position)| position.unwrap()).collect();
    assert_eq!(places, (1..=23).collect::<Vec<_>>());
}

#[tokio::test]
async fn everybody_has_one_position_though_many_join_while_it_is_drawn() {
    let stack = builder().api_processes(2).start().await;
    let room = Room::announced_in(stack, 1, &[]).await;
    let visitors = room.stack.users(300).await;
    let (early, during) = visitors.split_at(100);
    join_all(&room, early).await;
    let joins = during.iter().enumerate().map(|(number, visitor)| {
        let visitor = visitor.clone().at(&room.stack.api_url(number % 2));
        let room = &room;
        async move { room.join(&visitor).await }
    });
    tokio::join!(room.draw(), futures_util::future::join_all(joins));
    let positions = room.positions().await;
    let places: Vec<i64> = positions.iter().map(|(_, position)| position.unwrap()).collect();
    assert_eq!(places, (1..=300).collect::<Vec<_>>());
    let users: BTreeSet<i64> = positions.iter().map(|(user, _)| *user).collect();
    assert_eq!(users.len(), 300);
}

#[tokio::test]
async fn a_hundred_thousand_are_drawn_and_called_though_postgresql_expects_few_of_them() {
    let room = Room::announced(100, &["--most-shoppers", "30"]).await;
    fill(&room, 100_000).await;
    // As if there had been very many small rooms before.
    room.stack
        .execute("ALTER TABLE waiting_room_visitors ALTER event_id SET (n_distinct = 1000000)")
        .await;
    room.stack.execute("ANALYZE waiting_room_visitors").await;
    room.draw().await;
    let url = format!("{}/api/v1{}/draw", room.stack.api_url(0), room.path());
    let (is_good, said) = said(verifier(&[&url]).output().await.unwrap());
    assert!(is_good && said.contains("100000 visitors"), "{said}");
    let positions = "SELECT count(DISTINCT position) AS positions, max(position) AS last FROM waiting_room_visitors";
    let positions = room.stack.row(positions).await;
    assert_eq!(positions, json!({ "positions": 100_000, "last": 100_000 }));
    // Nobody but the first thirty.
    eventually("thirty calls", SOON, async || {
        let called = "SELECT count(*) AS called, max(position) AS last FROM waiting_room_visitors WHERE called_at IS NOT NULL";
        let called = room.stack.row(called).await;
        assert!(called["called"] == 0 || called["called"] == called["last"], "{called}");
        seen(called["called"] == 30, called)
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_dies_in_the_middle_of_a_draw_has_drawn_nothing_and_another_draws() {
    let mut room = Room::announced(1, &[]).await;
    join_all(&room, &room.stack.users(20).await).await;
    // The draw is under way and cannot end.
    let mut held = room.stack.db.begin().await.unwrap();
    sqlx::query("LOCK TABLE waiting_room_draws").execute(&mut *held).await.unwrap();
    room.cli("open-now", &[]).await;
    room.stack.until_blocked("nexus-worker-expiry", 1).await;
    room.stack.worker("expiry").kill_9().await;
    held.rollback().await.unwrap();
    eventually("no draw", SOON, async || {
        let drawn = room.stack.count("waiting_room_visitors WHERE position IS NOT NULL").await;
        let open = room.stack.count("waiting_rooms WHERE state <> 'announced'").await;
        seen(drawn == 0 && open == 0, (drawn, open))
    })
    .await;
    room.stack.worker("expiry").start();
    room.until("open").await;
    let draw = room.stack.anonymous().get(&format!("{}/draw", room.path())).await.data();
    let (is_good, said) = verify(&draw, &[]).await;
    assert!(is_good && said.contains("20 visitors"), "{said}");
}
