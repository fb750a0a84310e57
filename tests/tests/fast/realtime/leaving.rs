//! An API process stops: what its clients have commanded is answered, and nothing else is done
//! (docs/realtime.md#restarts).

use nexus_sandbox::process::Signal;
use nexus_tests::wire::text_frame;
use nexus_tests::{Client, Event, SOON, SocketClient, Stack, Value, eventually, json, seen};
use sqlx::{PgConnection, Postgres, Transaction};

/// As long as it is held, nobody can lock a seat.
async fn hold_seats(stack: &Stack) -> Transaction<'static, Postgres> {
    let mut held = stack.db.begin().await.unwrap();
    let lock = "LOCK TABLE event_inventory IN EXCLUSIVE MODE";
    sqlx::query(lock).execute(&mut held as &mut PgConnection).await.unwrap();
    held
}

async fn until_somebody_waits(stack: &Stack) {
    eventually("a command waits for PostgreSQL", SOON, async || {
        let waiting = stack.count("pg_stat_activity WHERE wait_event_type = 'Lock'").await;
        seen(waiting > 0, waiting)
    })
    .await;
}

async fn start(transport: &str) -> (Stack, Event, SocketClient, SocketClient) {
    let stack = Stack::builder().workers([]).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 50)]).await;
    let transports = json!({"transports": [transport]});
    let buyer = stack.socket_with("the buyer", &stack.user().await, transports.clone()).await;
    let idle = stack.socket_with("the idle one", &stack.anonymous(), transports).await;
    (stack, event, buyer, idle)
}

fn seat(event: &Event, label: &str) -> Value {
    json!({"eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": label})
}

#[tokio::test]
async fn what_has_come_is_answered_and_what_comes_later_is_not_done() {
    let (mut stack, event, buyer, idle) = start("websocket").await;
    // Of this one, nothing is heard any more: it is not waited for.
    let mut gone = stack.wire().await;
    gone.open_websocket().await;
    let held = hold_seats(&stack).await;
    let (first, second) = (seat(&event, "A1"), seat(&event, "A2"));
    let locked = async { buyer.call_ok("lock_seat", first).await };
    let stopping = async {
        until_somebody_waits(&stack).await;
        stack.api(0).signal(Signal::TERM);
        // Who waits for nothing leaves at once, and with it all others read no more.
        let told = idle.wait_for_line("disconnect", SOON).await;
        assert_eq!(told["reason"], "transport close");
        buyer.emit("lock_seat", &[second]).await;
        held.rollback().await.unwrap();
    };
    tokio::join!(locked, stopping);
    buyer.wait_for_line("disconnect", SOON).await;
    assert_eq!(stack.api(0).exit_code().await, Some(0));
    let labels: Vec<String> =
        sqlx::query_scalar("SELECT seat_label FROM seats").fetch_all(&stack.db).await.unwrap();
    assert_eq!((labels, buyer.received("lock_seat_response").len()), (vec!["A1".to_owned()], 1));
    assert!(!stack.api(0).log().contains("in time"), "{}", stack.api(0).log());
}

#[tokio::test]
async fn a_client_that_polls_gets_its_answer_too() {
    let (mut stack, event, buyer, idle) = start("polling").await;
    let held = hold_seats(&stack).await;
    let first = seat(&event, "A1");
    let locked = async { buyer.call_ok("lock_seat", first).await };
    let stopping = async {
        until_somebody_waits(&stack).await;
        stack.api(0).signal(Signal::TERM);
        idle.wait_for_line("disconnect", SOON).await;
        held.rollback().await.unwrap();
    };
    tokio::join!(locked, stopping);
    buyer.wait_for_line("disconnect", SOON).await;
    assert_eq!(stack.api(0).exit_code().await, Some(0));
}

/// A lock over the first process, which stops meanwhile.
async fn lock_while_it_stops(stack: &mut Stack, buyer: &Client, event: &Event) {
    let held = hold_seats(stack).await;
    let locked = async { buyer.lock(event, "VIP", "A1").await.ok() };
    let stopping = async {
        until_somebody_waits(stack).await;
        stack.api(0).signal(Signal::TERM);
        stack.api(0).wait_for_log("shutting down", SOON).await;
        held.rollback().await.unwrap();
    };
    tokio::join!(locked, stopping);
    assert_eq!(stack.api(0).exit_code().await, Some(0));
}

#[tokio::test]
async fn the_other_processes_hear_of_the_last_change() {
    let mut stack = Stack::builder().workers([]).api_processes(2).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let elsewhere = json!({"url": stack.api_url(1), "transports": ["websocket"]});
    let viewer = stack.socket_with("the viewer elsewhere", &stack.anonymous(), elsewhere).await;
    eventually("the processes hear of each other", SOON, async || {
        stack.event(&organiser, &[("Warm-up", 1.0, 1)]).await;
        seen(!viewer.received("event_created").is_empty(), ())
    })
    .await;
    let buyer = stack.user().await;
    lock_while_it_stops(&mut stack, &buyer, &event).await;
    viewer.wait_for("seat_locked", |said| said["event_id"] == event.id, SOON).await;
    let counted = |said: &Value| said["seat_types"][0]["available_quantity"] == 49;
    viewer.wait_for("event:seats-update", counted, SOON).await;
}

#[tokio::test]
async fn the_tokens_of_clients_that_come_back_together_are_looked_up_together() {
    const CLIENTS: usize = 60;
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let users = stack.users(CLIENTS).await;
    let mut held = stack.db.begin().await.unwrap();
    sqlx::query("LOCK TABLE blacklisted_tokens").execute(&mut *held).await.unwrap();
    let mut sockets = Vec::new();
    for user in &users {
        let mut socket = stack.wire().await;
        socket.connected(&json!({"token": user.token})).await.expect("a websocket");
        socket.send(text_frame(r#"42["delete_event",{"eventId":1}]"#)).await;
        sockets.push(socket);
    }
    until_somebody_waits(&stack).await;
    let waiting = stack.count("pg_stat_activity WHERE wait_event_type = 'Lock'").await;
    assert!(waiting <= 4, "{waiting} of {CLIENTS} wait each with a connection");
    held.rollback().await.unwrap();
    for mut socket in sockets {
        assert!(socket.says("Event not found").await, "its command waits for its token");
    }
}
