//! Who may join, once each, and what is kept of it.

use std::time::Duration;

use nexus_tests::{SOON, eventually, json, seen};

use super::Room;

#[tokio::test]
async fn an_account_without_a_proved_contact_has_to_prove_one_first() {
    let room = Room::announced(10, &[]).await;
    let user = room.stack.user().await;
    room.stack
        .execute(&format!("UPDATE users SET email_verified_at = NULL WHERE id = {}", user.id))
        .await;
    let refused = user.post(&room.path(), json!({})).await;
    refused.failed(403, "Please verify your e-mail address or your phone number first");
    room.stack
        .anonymous()
        .post(&room.path(), json!({}))
        .await
        .failed(401, "Access token is required");
    room.stack.set_phone(&user, "+919812345678").await;
    room.join(&user).await;
}

#[tokio::test]
async fn an_account_has_one_position_however_often_and_over_whatever_it_joins() {
    let room = Room::paused().await;
    let user = room.stack.user().await;
    let socket = room.stack.socket("the same", &user).await;
    let joins = (0..20).map(|_| room.join(&user));
    let joined = futures_util::future::join_all(joins).await;
    let over_socket = socket.call_ok("join_queue", json!({ "eventId": room.event.id })).await;
    for visit in joined {
        assert_eq!(visit, over_socket);
    }
    assert_eq!(room.positions().await, [(user.id, Some(1))]);
}

#[tokio::test]
async fn what_cannot_be_seen_cannot_be_waited_for() {
    let room = Room::announced(10, &[]).await;
    room.stack.execute("UPDATE events SET is_public = FALSE").await;
    let stranger = room.stack.user().await;
    eventually("nothing to be seen", SOON, async || {
        let answer = stranger.get(&room.path()).await;
        seen(answer.status == 404 && answer.body["error"]["code"] == "event_not_found", answer)
    })
    .await;
    stranger.post(&room.path(), json!({})).await.failed(404, "Event not found");
    room.organiser.get(&room.path()).await.ok();
}

#[tokio::test]
async fn an_account_that_is_deleted_waits_no_more_and_the_draw_can_still_be_checked() {
    let room = Room::announced(10, &["--most-shoppers", "1"]).await;
    let visitors = room.stack.users(3).await;
    for visitor in &visitors {
        room.join(visitor).await;
    }
    let export = visitors[0].get("/auth/me/export").await;
    assert_eq!(export.body["data"]["waiting_rooms"][0]["event_id"], room.event.id);
    room.draw().await;
    let drawn = room.stack.row("SELECT cardinality(visitors) AS n FROM waiting_room_draws").await;
    room.stack
        .execute(&format!("DELETE FROM waiting_room_visitors WHERE user_id = {}", visitors[1].id))
        .await;
    let after = room.stack.row("SELECT cardinality(visitors) AS n FROM waiting_room_draws").await;
    assert_eq!((drawn["n"].clone(), after["n"].clone()), (json!(3), json!(3)));
    // Those behind do not wait for who is gone.
    let mut left = vec![];
    for visitor in [&visitors[0], &visitors[2]] {
        left.push((room.you(visitor).await["position"].as_i64(), visitor));
    }
    left.sort_by_key(|(position, _)| *position);
    for (_, visitor) in left {
        room.until_called(visitor).await;
        room.leave(visitor).await.ok();
    }
}

#[tokio::test]
async fn a_redis_that_is_emptied_costs_nobody_their_position() {
    let room = Room::paused().await;
    let visitors = room.stack.users(3).await;
    for visitor in &visitors {
        room.join(visitor).await;
    }
    let before = room.positions().await;
    room.stack.redis_command("FLUSHALL").await;
    for (visitor, (user, position)) in visitors.iter().zip(&before) {
        assert_eq!(visitor.id, *user);
        assert_eq!(room.join(visitor).await["position"].as_i64(), *position);
    }
}

#[tokio::test]
async fn a_room_that_was_unknown_a_moment_ago_is_soon_looked_at_each_second() {
    let room = Room::announced(1, &[]).await;
    let user = room.stack.user().await;
    let looked = async || user.get(&room.path()).await.data()["checked_at"].clone();
    let first = looked().await;
    // A process without rooms looks every ten seconds.
    eventually("another look", Duration::from_secs(5), async || {
        let now = looked().await;
        seen(now != first, now)
    })
    .await;
}
