//! What a sale asks of PostgreSQL: how many statements, how many of them while others wait for the
//! event's inventory, and none of them more often because there are more seats.
//! `docs/round-trips.md` is the table that is checked here.

use std::collections::BTreeMap;

use nexus_sandbox::process::Signal;
use nexus_tests::{
    Booking, Event, Outcome, SOON, Stack, Value, eventually, json, repository, seen,
};

/// A part of a sale, and what only its transaction says.
const PARTS: [(&str, &str); 5] = [
    ("lock of seats by name", "INSERT INTO seats"),
    ("lock of the best seats", "INSERT INTO seats"),
    ("booking", "INSERT INTO bookings"),
    ("webhook", "INSERT INTO webhook_events"),
    ("confirmation", "SET status = 'confirmed'"),
];

/// The statements of a part, in order, with BEGIN and COMMIT where they are a transaction: each is a
/// round trip.
type Statements = Vec<String>;

/// Has PostgreSQL log every statement from now on.
async fn log_statements(stack: &Stack) {
    for (name, value) in [("log_statement", "all"), ("log_line_prefix", "%p|")] {
        stack.execute(&format!("ALTER SYSTEM SET {name} = '{value}'")).await;
    }
    stack.execute("SELECT pg_reload_conf()").await;
    eventually("statements are logged", SOON, async || {
        stack.count("events").await;
        seen(!statements(stack).is_empty(), ())
    })
    .await;
}

/// The statements that have been logged, each with the process that carried it out. (The first word
/// of a line is its process; lines that continue a statement begin with a tab.)
fn statements(stack: &Stack) -> Vec<(String, String)> {
    let log = std::fs::read_to_string(stack.dir().join("postgres/postgres.log")).unwrap();
    let entries = log.replace("\n\t", " ");
    let statement = |line: &str| {
        let (process, rest) = line.split_once('|')?;
        let said = rest.strip_prefix("LOG:  ")?;
        let statement = match said.strip_prefix("statement: ") {
            Some(statement) => statement,
            None => said.strip_prefix("execute ")?.split_once(": ")?.1,
        };
        Some((process.to_owned(), statement.to_owned()))
    };
    entries.lines().filter_map(statement).collect()
}

/// The last work among `statements` that says so: a transaction, or single statements of one
/// connection.
fn transaction(statements: &[(String, String)], says: &str) -> Option<Statements> {
    let mut open: BTreeMap<&str, Statements> = BTreeMap::new();
    let mut found = None;
    for (process, statement) in statements {
        let done = open.entry(process).or_default();
        if statement.starts_with("BEGIN") {
            done.clear();
        }
        done.push(statement.clone());
        let is_open = done[0].starts_with("BEGIN");
        let has_ended = matches!(statement.as_str(), "COMMIT" | "ROLLBACK");
        if has_ended || (!is_open && statement.contains(says)) {
            let done = std::mem::take(done);
            found = Some(done).filter(|all| all.iter().any(|one| one.contains(says))).or(found);
        }
    }
    found
}

/// Waits until such a transaction has been logged since there were `before` statements.
async fn until_logged(stack: &Stack, before: usize, says: &str) -> Statements {
    eventually(&format!("a transaction with {says}"), SOON, async || {
        transaction(&statements(stack)[before..], says).ok_or("there is none".into())
    })
    .await
}

/// The statements of a transaction from its hold on the event's inventory to its end.
fn with_inventory(transaction: &Statements) -> &[String] {
    let opened = transaction.iter().position(|one| one.contains("UPDATE event_inventory"));
    opened.map_or(&[], |opened| &transaction[opened..])
}

/// Sells so many seats, and returns the transactions that it took.
async fn sale(stack: &Stack, event: &Event, seats: usize) -> BTreeMap<&'static str, Statements> {
    let buyer = stack.user().await;
    let vip = event.seat_type("VIP");
    let names: Vec<Value> = (1..=seats)
        .map(|n| json!({"seat_type_id": vip, "seat_label": format!("N{seats}X{n}")}))
        .collect();
    let mut sold = BTreeMap::new();
    let mut before = statements(stack).len();
    let mut done = async |part: usize| {
        let (name, says) = PARTS[part];
        sold.insert(name, until_logged(stack, before, says).await);
        before = statements(stack).len();
    };
    let locks = format!("/seats/{}/locks", event.id);
    buyer.post(&locks, json!({"seats": names})).await.ok();
    done(0).await;
    let other = stack.user().await;
    other.post(&locks, json!({"best_available": {"seat_type_id": vip, "count": seats}})).await.ok();
    done(1).await;
    let request = json!({"event_id": event.id, "seat_details": names});
    let booking = Booking::from_created(&buyer.post("/bookings/create", request).await.data());
    done(2).await;
    let order = buyer.order(&booking).await;
    let paying = statements(stack).len();
    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    for (name, says) in &PARTS[3..] {
        sold.insert(name, until_logged(stack, paying, says).await);
    }
    sold
}

#[tokio::test]
async fn a_sale_takes_the_statements_that_the_documents_list_for_one_seat_as_for_ten() {
    let stack = Stack::builder().without_limits().workers(["payments"]).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 500)]).await;
    log_statements(&stack).await;
    let (one, ten) = (sale(&stack, &event, 1).await, sale(&stack, &event, 10).await);
    let mut measured = String::new();
    for (part, _) in PARTS {
        let (one, ten) = (&one[part], &ten[part]);
        assert_eq!(one.len(), ten.len(), "{part}: {one:#?} for one seat, {ten:#?} for ten");
        let held = with_inventory(one);
        assert!(
            !held.iter().any(|statement| statement.contains("generate_series")),
            "{part} looks for free seats while others wait: {held:#?}"
        );
        measured += &format!("| {part} | {} | {} |\n", one.len(), held.len());
    }
    let documented = repository::file("docs/round-trips.md");
    assert!(documented.contains(&measured), "docs/round-trips.md should list\n{measured}{one:#?}");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn webhooks_that_come_together_share_their_statements_and_each_of_them_sells() {
    const SALES: usize = 8;
    let mut stack = Stack::builder().without_limits().workers(["payments"]).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 50)]).await;
    let mut sales = Vec::new();
    for (n, buyer) in stack.users(SALES).await.into_iter().enumerate() {
        let booking = buyer.lock_and_book(&event, &[("VIP", &format!("A{n}"))]).await;
        sales.push((buyer.order(&booking).await, buyer, booking));
    }
    stack.worker("payments").signal(Signal::STOP);
    log_statements(&stack).await;
    for (order, ..) in &sales {
        stack.pay(order, Outcome::Captured);
    }
    eventually("all webhooks are stored", SOON, async || {
        let stored = stack.count("webhook_events").await;
        // `payment.captured` and `order.paid`.
        seen(stored == 2 * SALES as i64, stored).map(drop)
    })
    .await;
    stack.worker("payments").signal(Signal::CONT);
    for (_, buyer, booking) in &sales {
        stack.until_booking(buyer, booking, "confirmed", "completed").await;
    }
    let confirming = statements(&stack)
        .into_iter()
        .filter(|(_, statement)| statement.contains("SET status = 'confirmed'"));
    let confirming = confirming.count();
    assert!((1..=SALES / 2).contains(&confirming), "{confirming} statements for {SALES} sales");
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_sale_is_confirmed_while_somebody_else_has_the_events_inventory() {
    let stack = Stack::builder().workers(["payments"]).start().await;
    let (buyer, event, booking, order) = stack.booked().await;
    let mut held = stack.db.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM event_inventory FOR UPDATE").execute(&mut *held).await.unwrap();
    stack.pay(&order, Outcome::Captured);
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    held.rollback().await.unwrap();
    assert_eq!(stack.available(event.seat_type("VIP")).await, 48);
    assert_eq!(stack.count("seats WHERE status = 'booked'").await, 2);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn the_best_seats_are_found_however_many_were_taken_since_they_were_looked_for() {
    let stack = Stack::builder().workers([]).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 300)]).await;
    let (buyer, vip) = (stack.user().await, event.seat_type("VIP"));
    let mut held = stack.db.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM event_inventory FOR UPDATE").execute(&mut *held).await.unwrap();
    let locks = format!("/seats/{}/locks", event.id);
    let request = json!({"best_available": {"seat_type_id": vip, "count": 2}});
    let locking = tokio::spawn(async move { buyer.post(&locks, request).await });
    eventually("the lock waits", SOON, async || {
        seen(stack.count("pg_stat_activity WHERE wait_event_type = 'Lock'").await > 0, ())
    })
    .await;
    for statement in [
        "INSERT INTO seats (event_id, event_seat_type_id, seat_label, status, locked_at, expires_at)
         SELECT event_id, id, 'V' || n, 'locked', now(), now() + interval '1 hour' FROM event_seat_types, generate_series(1, 297) n",
        "UPDATE event_seat_types SET available_quantity = 3",
    ] {
        sqlx::query(statement).execute(&mut *held).await.unwrap();
    }
    held.commit().await.unwrap();
    let locked = locking.await.unwrap().data();
    let labels: Vec<&str> = locked["locks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lock| lock["seat_label"].as_str().unwrap())
        .collect();
    assert_eq!(labels, ["V298", "V299"]);
    stack.assert_invariants().await;
}
