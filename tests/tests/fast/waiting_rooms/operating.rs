//! What operators do and see.

use nexus_tests::{Method, Response, SOON, Value, eventually, json, metrics::Metrics, seen};

use super::{LATER, Room, builder};

#[tokio::test]
async fn what_an_operator_does_is_recorded_and_shown() {
    let room = Room::announced(10, &["--window-minutes", "5", "--most-shoppers", "7"]).await;
    let shown: Value = serde_json::from_str(&room.cli("show", &[]).await).unwrap();
    assert_eq!((&shown["window_seconds"], &shown["most_shoppers"]), (&json!(300), &json!(7)));
    assert!(shown.get("seed").is_none());
    room.cli("set", &["--calls-per-minute", "30"]).await;
    room.draw().await;
    let recorded = room
        .stack
        .rows("SELECT action FROM audit_log WHERE action LIKE 'waiting_room%' ORDER BY id")
        .await;
    let expected = ["waiting_room_announced", "waiting_room_changed", "waiting_room_changed"];
    assert_eq!(recorded, expected.map(|action| json!({ "action": action })));
    let event = room.event.id.to_string();
    for (words, why) in [
        (vec!["announce", &event, "--opens-at", LATER], "This event has a waiting room already"),
        (vec!["set", &event, "--opens-at", LATER], "The waiting room is open"),
        (vec!["set", &event, "--window-minutes", "61"], "A window has 60 to 3600 seconds"),
        (vec!["announce", "999", "--opens-at", LATER], "Event not found"),
        (vec!["announce", &event, "--opens-at", "soon"], "is no time"),
        (vec!["show", "999"], "This event has no waiting room"),
    ] {
        let refused = room.stack.api_cli(&[vec!["waiting-room"], words].concat()).await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(why), "{why}: {said}");
    }
}

#[tokio::test]
async fn operators_watch_a_sale_and_change_it_on_a_page() {
    let stack = builder().start().await;
    let admin = stack.admin().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 0.0, 20)]).await;
    let path = format!("/admin/waiting-rooms/{}", event.id);
    let page = async |path: &str| Response::to(admin.request_root(Method::GET, path)).await.text;
    let submit = async |act: &str, fields: &[(&str, &str)]| {
        admin.submit(&format!("{path}/{act}"), fields).await.status
    };
    assert!(page(&path).await.contains("This event has none"));
    assert_eq!(submit("announce", &[("opens_at", "soon")]).await, 422);
    assert_eq!(submit("announce", &[]).await, 422, "no opening");
    assert_eq!(submit("dance", &[]).await, 422);
    // Not after the event.
    assert_eq!(submit("announce", &[("opens_at", "2900-01-01T00:00")]).await, 409);
    let soon = [("opens_at", "2026-01-01T00:00"), ("most_shoppers", "9")];
    assert_eq!(submit("announce", &soon).await, 303);
    assert_eq!(submit("announce", &soon).await, 409, "there is one");
    eventually("an open room", SOON, async || {
        let page = page(&path).await;
        seen(page.contains("Pause"), page)
    })
    .await;
    assert_eq!(submit("pause", &[]).await, 303);
    assert_eq!(submit("pause", &[]).await, 409);
    assert_eq!(submit("set", &[("calls_per_minute", "many")]).await, 422);
    assert_eq!(submit("set", &[("calls_per_minute", "30")]).await, 303);
    let list = page("/admin/waiting-rooms").await;
    assert!(
        list.contains("paused") && list.contains("0 of 9") && list.contains("30 of 30"),
        "{list}"
    );
    assert_eq!(submit("resume", &[]).await, 303);
    assert_eq!(submit("close", &[]).await, 303);
    let recorded = format!("audit_log WHERE actor = {} AND action LIKE 'waiting_room%'", admin.id);
    assert_eq!(stack.count(&recorded).await, 5);
}

#[tokio::test]
async fn drawing_and_closing_take_a_fresh_code() {
    let room = Room::announced(1, &[]).await;
    let admin = room.stack.admin().await;
    room.stack
        .execute("UPDATE operator_sessions SET proved_at = proved_at - interval '1 hour'")
        .await;
    for act in ["open-now", "close"] {
        let path = format!("/admin/waiting-rooms/{}/{act}", room.event.id);
        let answer = admin.submit(&path, &[]).await;
        assert_eq!(answer.status, 403);
        assert!(answer.text.contains("takes a fresh code"), "{}", answer.text);
    }
    assert_eq!(room.until("announced").await["state"], "announced");
}

#[tokio::test]
async fn a_sale_can_be_rehearsed_before_the_day() {
    let room = Room::announced(10, &[]).await;
    let words =
        ["waiting-room", "rehearse", "20000", "--seats", "5000", "--calls-per-minute", "300"];
    let said = room.stack.api_cli_ok(&words).await;
    assert!(said.contains("The draw of 20000 visitors takes"), "{said}");
    assert!(said.contains("Position 1 is called after 0:00 minutes."), "{said}");
    assert!(said.contains("All seats are sold after"), "{said}");
    assert_eq!(room.stack.count("waiting_room_visitors").await, 0);
}

#[tokio::test]
async fn operators_see_how_many_wait_and_how_many_shop() {
    let room =
        Room::announced_in(builder().measured().start().await, 100, &["--most-shoppers", "2"])
            .await;
    for visitor in room.stack.users(5).await {
        room.join(&visitor).await;
    }
    room.draw().await;
    let of = |state: &str| {
        format!(r#"nexus_waiting_room_visitors{{event="{}",state="{state}"}}"#, room.event.id)
    };
    Metrics::until(&room.stack.metrics_urls()["expiry"], "visitors", |page| {
        page.value(&of("waiting")) == Some(3.0) && page.value(&of("shopping")) == Some(2.0)
    })
    .await;
}
