//! Who is called, and how many.

use nexus_tests::{SOON, eventually, json, seen};

use super::Room;

#[tokio::test]
async fn visitors_are_called_in_order_and_no_more_than_may_shop_at_once() {
    let room = Room::announced(100, &["--most-shoppers", "3"]).await;
    for visitor in room.stack.users(10).await {
        room.join(&visitor).await;
    }
    room.draw().await;
    let called = "waiting_room_visitors WHERE called_at IS NOT NULL AND ended_at IS NULL";
    eventually("three calls", SOON, async || {
        let called = room.stack.count(called).await;
        seen(called == 3, called)
    })
    .await;
    let first = room.stack.rows("SELECT position FROM waiting_room_visitors WHERE called_at IS NOT NULL ORDER BY position").await;
    assert_eq!(first, [1, 2, 3].map(|position| json!({ "position": position })));
    // One who lets their window pass makes room for the next.
    room.stack
        .execute("UPDATE waiting_room_visitors SET called_at = now() - interval '1 hour', window_ends_at = now() WHERE position = 2")
        .await;
    eventually("the fourth", SOON, async || {
        let fourth = room
            .stack
            .count("waiting_room_visitors WHERE called_at IS NOT NULL AND position = 4")
            .await;
        seen(fourth == 1, fourth)
    })
    .await;
    assert_eq!(room.stack.count("waiting_room_visitors WHERE called_at IS NOT NULL").await, 4);
}

#[tokio::test]
async fn nobody_is_called_in_vain() {
    let room = Room::announced(2, &[]).await;
    let visitors = room.stack.users(4).await;
    for visitor in &visitors {
        room.join(visitor).await;
    }
    room.draw().await;
    let called = "waiting_room_visitors WHERE called_at IS NOT NULL";
    eventually("as many calls as there are seats", SOON, async || {
        let called = room.stack.count(called).await;
        seen(called == 2, called)
    })
    .await;
    let client = room.stack.anonymous();
    eventually("word of it", SOON, async || {
        let state = client.get(&room.path()).await.data();
        let is_so = state["called"] == 2 && state["waiting"] == 2 && state["sold_out"] == false;
        seen(is_so, state)
    })
    .await;
    // Each buys one; then there is nothing left, and everybody is told so.
    for visitor in &visitors {
        if room.you(visitor).await["state"] == "called" {
            let position = room.you(visitor).await["position"].clone();
            let label = format!("V{position}");
            visitor.lock(&room.event, "VIP", &label).await.ok();
            visitor.book(&room.event, &[("VIP", &label)]).await.ok();
        }
    }
    room.stack.execute("UPDATE seats SET status = 'booked', expires_at = NULL").await;
    eventually("sold out", SOON, async || {
        let state = client.get(&room.path()).await.data();
        seen(state["sold_out"] == true, state)
    })
    .await;
    assert_eq!(room.stack.count(called).await, 2);
}

#[tokio::test]
async fn who_leaves_makes_room_and_begins_behind_all_others_again() {
    let room = Room::announced(100, &["--most-shoppers", "1"]).await;
    let visitors = room.stack.users(3).await;
    for visitor in &visitors {
        room.join(visitor).await;
    }
    room.draw().await;
    let mut by_position = vec![];
    for visitor in &visitors {
        by_position.push((room.you(visitor).await["position"].as_i64().unwrap(), visitor));
    }
    by_position.sort_by_key(|(position, _)| *position);
    let [first, second, third] = [0, 1, 2].map(|at| by_position[at].1);
    room.until_called(first).await;
    assert_eq!(room.you(second).await["ahead"], 0);
    assert_eq!(room.you(third).await["ahead"], 1);
    room.leave(second).await.ok();
    assert_eq!(room.you(second).await["state"], "ended");
    room.leave(first).await.ok();
    room.until_called(third).await;
    assert_eq!(room.join(second).await["position"], 4);
    room.leave(&room.stack.user().await).await.failed(404, "You are not in this waiting room");
}

#[tokio::test]
async fn nobody_is_called_while_the_room_is_paused_and_all_are_let_in_once_it_is_closed() {
    let room = Room::open(100, &["--most-shoppers", "1"]).await;
    room.cli("pause", &[]).await;
    room.until("paused").await;
    let visitor = room.stack.user().await;
    room.join(&visitor).await;
    let you = room.you(&visitor).await;
    assert_eq!((&you["ahead"], &you["estimated_seconds"]), (&json!(0), &json!(null)));
    room.cli("resume", &[]).await;
    room.until_called(&visitor).await;
    let other = room.stack.user().await;
    other.lock(&room.event, "VIP", "V9").await.failed(403, "Please wait for your turn.");
    room.cli("close", &[]).await;
    eventually("seats for all", SOON, async || {
        let locked = other.lock(&room.event, "VIP", "V9").await;
        seen(locked.status == 200, locked)
    })
    .await;
    let words = ["waiting-room", "pause", &room.event.id.to_string()];
    let refused = room.stack.api_cli(&words).await;
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("The waiting room is closed"));
}

#[tokio::test]
async fn fewer_are_called_while_buyers_are_turned_away() {
    let room = Room::open(100, &["--calls-per-minute", "600"]).await;
    let visitor = room.stack.user().await;
    room.join(&visitor).await;
    eventually("a slower pace", SOON, async || {
        room.stack
            .execute("INSERT INTO api_loads (process, turned_away) VALUES (gen_random_uuid(), 5)")
            .await;
        let pace = room.stack.row("SELECT pace FROM waiting_rooms").await;
        seen(pace["pace"].as_f64().unwrap() < 400.0, pace)
    })
    .await;
    room.stack.execute("DELETE FROM api_loads").await;
    eventually("the pace of before", SOON, async || {
        let pace = room.stack.row("SELECT pace FROM waiting_rooms").await;
        seen(pace["pace"].as_f64().unwrap() > 300.0, pace)
    })
    .await;
}
