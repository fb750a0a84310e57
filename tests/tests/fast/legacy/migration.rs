//! The migrations take over the Node service's database: empty, filled, or at work.

use futures_util::future::{join, join_all};
use nexus_tests::shop::PASSWORD;
use nexus_tests::{LegacyShop, SOON, Stack, eventually, json, seen};
use sqlx::AssertSqlSafe;

#[tokio::test]
async fn an_empty_database_becomes_one_that_sells() {
    let (mut stack, _node) = Stack::builder().workers([]).legacy().await;
    stack.cut_over().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50), ("Balcony", 50.0, 50)]).await;
    let buyer = stack.user().await;
    buyer.lock_and_book(&event, &[("VIP", "A1"), ("Balcony", "A1")]).await;
    stack.assert_invariants().await;
}

#[tokio::test]
async fn what_is_in_order_is_neither_lost_nor_changed_however_often_it_is_migrated() {
    let shop = LegacyShop::open(Stack::builder().workers([])).await;
    let (stack, node) = (&shop.stack, &shop.node);
    node.call_ok("register", json!({"phone": "+919811111111"})).await;
    let (access, refresh) = node.login(shop.buyers[0]).await;
    let session = json!({"userId": shop.buyers[0], "accessToken": access, "refreshToken": refresh});
    node.call_ok("logout", session).await;
    node.login(shop.buyers[1]).await;
    shop.confirmed(shop.buyers[0], "A1").await;
    node.lock(shop.buyers[1], &shop.event, "VIP", "B1").await.unwrap();
    stack
        .execute(
            "INSERT INTO idempotency_keys (idempotency_key, operation_type, expires_at)
             VALUES ('key-1', 'cancel_booking', now() + interval '1 day')",
        )
        .await;

    let tables = "SELECT table_name AS name, string_agg(column_name, ', ') AS columns
                  FROM information_schema.columns WHERE table_schema = 'public' GROUP BY 1 ORDER BY 1";
    let tables = stack.rows(tables).await;
    assert_eq!(tables.len(), 10, "{tables:?}");
    let rows = async || {
        let mut all = Vec::new();
        for table in &tables {
            let (name, columns) =
                (table["name"].as_str().unwrap(), table["columns"].as_str().unwrap());
            let rows = stack.rows(&format!("SELECT {columns} FROM {name} ORDER BY id")).await;
            assert!(!rows.is_empty(), "{name} is filled");
            all.push((name, rows));
        }
        all
    };
    let before = rows().await;
    stack.migrate().await;
    assert_eq!(rows().await, before);
    let migrated = stack.contents().await;
    stack.migrate().await;
    assert_eq!(stack.contents().await, migrated);
}

#[tokio::test]
async fn the_node_service_goes_on_selling_while_the_schema_is_migrated() {
    let (mut stack, node) = Stack::builder().workers([]).legacy().await;
    let organiser = node.register("organiser@nexus.example", PASSWORD).await;
    let event = node.event(organiser, &[("VIP", 100.0, 1000)]).await;
    let buyer = node.register("buyer@nexus.example", PASSWORD).await;
    let sell = async |n: usize| {
        for m in 0..20 {
            node.lock(buyer, &event, "VIP", &format!("S{n}X{m}")).await.unwrap();
        }
    };
    join(stack.migrate(), join_all((0..10).map(sell))).await;
    stack.cut_over().await;
    assert_eq!(stack.count("seats").await, 200);
    assert_eq!(stack.available(event.seat_type("VIP")).await, 800);
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_migration_that_collides_with_the_node_service_is_begun_anew() {
    let LegacyShop { stack, node, event, buyers: [buyer, _], .. } =
        LegacyShop::open(Stack::builder()).await;
    let seat = node.lock(buyer, &event, "VIP", "A1").await.unwrap();
    // A booking is being made: its row is there, the link to its seat is to come.
    let mut booking = stack.db.begin().await.unwrap();
    let insert = format!(
        "INSERT INTO bookings (booking_reference, event_id, user_id, total_amount) VALUES ('BKG-1', {}, {buyer}, 100)",
        event.id
    );
    sqlx::query(AssertSqlSafe(insert)).execute(&mut *booking).await.unwrap();
    // PostgreSQL undoes the transaction that looks for a deadlock first: the migration, unless this
    // test is held up.
    sqlx::query("SET LOCAL deadlock_timeout = '5s'").execute(&mut *booking).await.unwrap();
    let link = async {
        let waiting = "pg_stat_activity WHERE application_name = 'nexus-migrate' AND wait_event_type = 'Lock'";
        eventually("the migration waits", SOON, async || seen(stack.count(waiting).await > 0, ()))
            .await;
        let link = format!(
            "INSERT INTO booking_seats (booking_id, seat_id, price_paid) SELECT id, {seat}, 100 FROM bookings"
        );
        sqlx::query(AssertSqlSafe(link)).execute(&mut *booking).await?;
        booking.commit().await
    };
    let ((), linked) = join(stack.migrate(), link).await;
    let links = stack.count("booking_seats WHERE seat_label = 'A1'").await;
    assert_eq!(links, i64::from(linked.is_ok()), "{linked:?}");
}

#[tokio::test]
async fn a_migration_waits_for_a_dump_and_keeps_nobody_waiting_behind_it() {
    let LegacyShop { stack, node, event, buyers: [buyer, _], .. } =
        LegacyShop::open(Stack::builder()).await;
    // As pg_dump locks every table first.
    let mut dump = stack.db.begin().await.unwrap();
    sqlx::query("LOCK TABLE seats, bookings, booking_seats IN ACCESS SHARE MODE")
        .execute(&mut *dump)
        .await
        .unwrap();
    let others = async {
        let waiting = "pg_stat_activity WHERE application_name = 'nexus-migrate' AND wait_event_type = 'Lock'";
        eventually("the migration waits", SOON, async || seen(stack.count(waiting).await > 0, ()))
            .await;
        // It is answered while the dump goes on, which never ends by itself.
        node.lock(buyer, &event, "VIP", "A1").await.unwrap();
        dump.rollback().await.unwrap();
    };
    join(stack.migrate(), others).await;
    assert_eq!(stack.count("seats WHERE seat_label = 'A1'").await, 1);
}
