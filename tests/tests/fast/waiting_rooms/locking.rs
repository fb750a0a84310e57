//! Who may lock seats of an event that has a waiting room.

use std::time::SystemTime;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64_URL};
use ed25519_dalek::{Signer, SigningKey};
use nexus_tests::{Client, SOON, Value, eventually, json, seen};

use super::{Room, builder};

#[tokio::test]
async fn a_seat_is_locked_by_those_who_have_been_called_and_by_nobody_else() {
    let room = Room::announced(100, &["--most-shoppers", "1"]).await;
    let visitors = room.stack.users(2).await;
    let stranger = room.stack.user().await;
    for visitor in &visitors {
        room.join(visitor).await;
    }
    let queue = json!(format!("/api/v1{}", room.path()));
    for early in visitors.iter().chain([&stranger]) {
        let refused = early.lock(&room.event, "VIP", "V1").await;
        let error = refused.body["error"].clone();
        refused.failed(403, "Please wait for your turn.");
        assert_eq!((&error["code"], &error["queue"]), (&json!("queue_required"), &queue));
    }
    room.draw().await;
    let is_first = room.you(&visitors[0]).await["position"] == 1;
    let (first, second) =
        if is_first { (&visitors[0], &visitors[1]) } else { (&visitors[1], &visitors[0]) };
    room.until_called(first).await;
    // Not even the key of a seat in Redis is theirs who wait.
    second.lock(&room.event, "VIP", "V1").await.failed(403, "Please wait for your turn.");
    first.lock(&room.event, "VIP", "V1").await.ok();
    let best =
        json!({ "best_available": { "seat_type_id": room.event.seat_type("VIP"), "count": 1 } });
    let path = format!("/seats/{}/locks", room.event.id);
    first.post(&path, best.clone()).await.ok();
    second.post(&path, best).await.failed(403, "Please wait for your turn.");

    let socket = room.stack.socket("who waits", second).await;
    let wanted = json!({ "eventId": room.event.id, "seatTypeId": room.event.seat_type("VIP"), "seat_label": "V2" });
    let refused = socket.call("lock_seat", &[wanted]).await;
    let expected = json!({ "success": false, "error": "Please wait for your turn.", "code": "queue_required", "queue": queue });
    assert_eq!(refused, expected);

    // What is locked can be booked without another turn.
    room.leave(first).await.ok();
    first.lock(&room.event, "VIP", "V3").await.failed(403, "Please wait for your turn.");
    first.book(&room.event, &[("VIP", "V1")]).await.ok();
}

#[tokio::test]
async fn events_without_a_waiting_room_are_sold_as_before() {
    let room = Room::announced(10, &[]).await;
    let other = room.stack.event(&room.organiser, &[("VIP", 0.0, 10)]).await;
    let buyer = room.stack.user().await;
    buyer.lock(&other, "VIP", "V1").await.ok();
    let path = format!("/events/{}/queue", other.id);
    buyer.get(&path).await.failed(404, "This event has no waiting room");
    buyer.post(&path, json!({})).await.failed(404, "This event has no waiting room");
}

/// A token as an outside system makes it.
fn token(key: &SigningKey, claims: Value) -> String {
    let part = |value: Value| BASE64_URL.encode(value.to_string());
    let signed = format!("{}.{}", part(json!({ "alg": "EdDSA", "typ": "JWT" })), part(claims));
    let signature = BASE64_URL.encode(key.sign(signed.as_bytes()).to_bytes());
    format!("{signed}.{signature}")
}

async fn lock(buyer: &Client, room: &Room, label: &str, token: &str) -> nexus_tests::Response {
    let path = format!("/seats/{}/seat-types/{}/lock", room.event.id, room.event.seat_type("VIP"));
    buyer.post(&path, json!({ "seat_label": label, "admission_token": token })).await
}

#[tokio::test]
async fn an_admission_token_of_a_system_that_an_operator_trusts_is_as_good_as_a_call() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let public = base64::prelude::BASE64_STANDARD.encode(key.verifying_key().as_bytes());
    let stack = builder().env("ADMISSION_KEYS", &public).start().await;
    let room = Room::announced_in(stack, 100, &[]).await;
    let buyer = room.stack.user().await;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let until = now + 600;
    let claims = |user: i64, event: i64, exp: i64| json!({ "sub": user.to_string(), "aud": format!("event:{event}"), "exp": exp });
    let (user, event) = (buyer.id, room.event.id);
    let good = token(&key, claims(user, event, until));
    let others = [
        token(&SigningKey::from_bytes(&[8; 32]), claims(user, event, until)),
        token(&key, claims(user + 1, event, until)),
        token(&key, claims(user, event + 1, until)),
        token(&key, claims(user, event, until - 700)),
        good.replace('.', ""),
        String::new(),
    ];
    for other in others {
        lock(&buyer, &room, "V1", &other).await.failed(403, "Please wait for your turn.");
    }
    lock(&buyer, &room, "V1", &good).await.ok();
}

#[tokio::test]
async fn who_has_been_called_can_show_it_to_others() {
    let room = Room::open(100, &[]).await;
    let visitor = room.stack.user().await;
    room.join(&visitor).await;
    let you = room.until_called(&visitor).await;
    let state = visitor.get(&room.path()).await.data();
    let token = you["admission_token"].as_str().unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let key =
        base64::prelude::BASE64_STANDARD.decode(state["admission_key"].as_str().unwrap()).unwrap();
    let key = ed25519_dalek::VerifyingKey::from_bytes(&key.try_into().unwrap()).unwrap();
    let signature =
        ed25519_dalek::Signature::from_slice(&BASE64_URL.decode(signature).unwrap()).unwrap();
    key.verify_strict(signed.as_bytes(), &signature).unwrap();
    let claims = BASE64_URL.decode(signed.split_once('.').unwrap().1).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["sub"], visitor.id.to_string());
    assert_eq!(claims["aud"], format!("event:{}", room.event.id));
    let ends =
        "SELECT floor(extract(epoch FROM window_ends_at))::bigint AS at FROM waiting_room_visitors";
    assert_eq!(claims["exp"], room.stack.row(ends).await["at"]);
}

#[tokio::test]
async fn everybody_hears_how_far_the_room_is_and_a_visitor_that_it_is_their_turn() {
    let room = Room::announced(100, &["--most-shoppers", "1"]).await;
    let visitors = room.stack.users(2).await;
    let sockets = [
        room.stack.socket("one", &visitors[0]).await,
        room.stack.socket("two", &visitors[1]).await,
    ];
    for socket in &sockets {
        socket.call_ok("join_event", json!(room.event.id)).await;
        socket.call_ok("join_queue", json!({ "eventId": room.event.id })).await;
    }
    room.draw().await;
    for socket in &sockets {
        socket
            .wait_for(
                "waiting_room:update",
                |told| told["state"] == "open" && told["called"] == 1,
                SOON,
            )
            .await;
    }
    let turns = |at: usize| {
        sockets[at]
            .received("waiting_room:update")
            .into_iter()
            .filter(|told| !told["you"].is_null())
            .count()
    };
    eventually("one turn", SOON, async || seen(turns(0) + turns(1) == 1, (turns(0), turns(1))))
        .await;
    let first = if turns(0) == 1 { 0 } else { 1 };
    let told =
        sockets[first].wait_for("waiting_room:update", |told| !told["you"].is_null(), SOON).await;
    assert_eq!(told["you"]["position"], 1);
    assert!(told["you"]["window_ends_at"].is_string());
    sockets[first].call_ok("leave_queue", json!({ "eventId": room.event.id })).await;
    sockets[1 - first]
        .wait_for("waiting_room:update", |told| told["you"]["position"] == 2, SOON)
        .await;
}

#[tokio::test]
async fn who_hears_that_it_is_their_turn_may_lock_at_once() {
    let room = Room::announced(10, &[]).await;
    let visitors = room.stack.users(5).await;
    let mut sockets = Vec::new();
    for visitor in &visitors {
        let socket = room.stack.socket("a visitor", visitor).await;
        socket.call_ok("join_queue", json!({ "eventId": room.event.id })).await;
        sockets.push(socket);
    }
    // This process has a picture of them all.
    for visitor in &visitors {
        assert_eq!(room.you(visitor).await["state"], "waiting");
    }
    room.cli("open-now", &[]).await;
    let turns = visitors.iter().zip(&sockets).enumerate().map(|(number, (visitor, socket))| {
        let (room, label) = (&room, format!("V{}", number + 1));
        async move {
            eventually("a turn", SOON, async || {
                let told = socket.received("waiting_room:update");
                let mine = told.iter().any(|update| update["you"].is_object());
                seen(mine, told)
            })
            .await;
            visitor.lock(&room.event, "VIP", &label).await.ok();
        }
    });
    futures_util::future::join_all(turns).await;
}
