//! `GET /auth/me/export`: everything that is held about the user, and nothing about anybody else.

use nexus_tests::repository::file;
use nexus_tests::shop::PASSWORD;
use nexus_tests::{Client, Stack, Value, json};

const EMAIL: &str = "asha.rao@nexus.example";
const PHONE: &str = "+919812345678";

async fn registered(stack: &Stack) -> Client {
    let account = json!({
        "email": EMAIL, "phone": PHONE, "name": "Asha Rao", "password": PASSWORD, "address": "12 Harbour Lane",
    });
    let anonymous = stack.anonymous();
    let user = anonymous.clone().logged_in(&anonymous.post("/auth/register", account).await.data());
    stack.execute("UPDATE users SET email_verified_at = now(), phone_verified_at = now()").await;
    user
}

/// The paths that docs/privacy.md names as parts of the export.
fn parts() -> Vec<String> {
    let document = file("docs/privacy.md");
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|line| line.split('|').nth(2).map(str::to_owned));
    cells
        .filter(|cell| !cell.trim().starts_with("no:"))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// Whether the export has such a part, perhaps an empty one.
fn has(export: &Value, path: &str) -> bool {
    match path.split_once('.') {
        None => export.get(path).is_some(),
        Some((list, field)) => export[list].as_array().is_some_and(|rows| {
            !rows.is_empty() && rows.iter().all(|row| row.get(field).is_some())
        }),
    }
}

#[tokio::test]
async fn an_export_has_everything_about_the_user_and_nothing_about_others() {
    let stack = Stack::builder()
        .workers(["payments", "bookings", "notifications"])
        .without_limits()
        .start()
        .await;
    let user = registered(&stack).await;
    stack.api_cli_ok(&["set-role", &user.id.to_string(), "organiser"]).await;
    let (event, _) = stack.on_sale().await;
    let (booking, payment) = stack.sell(&user, &event, &[("VIP", "A1")]).await;
    stack.until_tickets(&user, &booking, 1).await;
    let pending = user.lock_and_book(&event, &[("VIP", "A2")]).await;
    let own = stack.event(&user, &[("VIP", 100.0, 50)]).await;
    let buyer = stack.user().await;
    stack.set_phone(&buyer, "+919800000001").await;
    let (sold, _) = stack.sell(&buyer, &own, &[("VIP", "A1")]).await;

    stack.anonymous().get("/auth/me/export").await.failed(401, "Access token is required");
    let response = user.get("/auth/me/export").await;
    assert_eq!(response.headers["content-type"], "application/json");
    assert_eq!(response.headers["cache-control"], "no-store");
    let export = response.data();
    for path in parts() {
        assert!(has(&export, &path), "{path} in {export:#}");
    }
    let account = &export["account"];
    assert_eq!(
        (
            &account["email"],
            &account["phone"],
            &account["name"],
            &account["address"],
            &account["role"]
        ),
        (
            &json!(EMAIL),
            &json!(PHONE),
            &json!("Asha Rao"),
            &json!("12 Harbour Lane"),
            &json!("organiser")
        )
    );
    for (part, count) in
        [("sessions", 1), ("login_networks", 1), ("role_changes", 1), ("seats", 2), ("events", 1)]
    {
        assert_eq!(export[part].as_array().map(Vec::len), Some(count), "{part} in {export:#}");
    }
    // The newest first.
    let bookings = export["bookings"].as_array().unwrap();
    let ids: Vec<&Value> = bookings.iter().map(|booking| &booking["id"]).collect();
    assert_eq!(ids, [&json!(pending.id), &json!(booking.id)]);
    let paid = &bookings[1];
    assert_eq!(paid["seats"][0]["seat_label"], "A1");
    assert_eq!(paid["tickets"][0]["seat_label"], "A1");
    assert_eq!(paid["orders"][0]["order_id"], json!(payment.order_id));
    assert_eq!(paid["payments"][0]["payment_id"], json!(payment.id));
    assert!(paid["webhooks"][0]["body"].as_str().unwrap().contains(&payment.id), "{paid:#}");
    assert_eq!(export["events"][0]["seat_types"][0]["name"], "VIP");

    let row = stack.row(&format!("SELECT email, name FROM users WHERE id = {}", buyer.id)).await;
    let text = export.to_string();
    for others in [
        row["email"].as_str().unwrap(),
        row["name"].as_str().unwrap(),
        "+919800000001",
        &sold.reference,
    ] {
        assert!(!text.contains(others), "{others} is another's");
    }
    for secret in ["$argon2id$", "sha256:", "link_hash"] {
        assert!(!text.contains(secret), "{secret} in {export:#}");
    }
}

#[tokio::test]
async fn an_export_is_whole_however_much_there_is_and_few_are_made() {
    let stack = Stack::builder().workers([]).env("RATE_LIMIT_ACCOUNT_EXPORT", "2/1h").start().await;
    let (event, user) = stack.on_sale().await;
    let many = format!(
        "INSERT INTO bookings (booking_reference, event_id, user_id, total_amount, status, payment_status, booked_at, expires_at)
         SELECT 'BKG-' || n, {}, {}, 100, 'expired', 'cancelled', now() - n * interval '1 day', now() FROM generate_series(1, 1234) n",
        event.id, user.id
    );
    stack.execute(&many).await;
    let events = format!(
        "INSERT INTO events (name, description, start_date, end_date, location, organizer_id)
         SELECT 'Gig ' || n, '', now(), now(), 'Mumbai', {} FROM generate_series(1, 51) n",
        user.id
    );
    stack.execute(&events).await;
    let export = user.get("/auth/me/export").await.data();
    let references = export["bookings"].as_array().unwrap().iter();
    let references: Vec<&str> =
        references.map(|booking| booking["booking_reference"].as_str().unwrap()).collect();
    let all: Vec<String> = (1..=1234).map(|n| format!("BKG-{n}")).collect();
    assert_eq!(references, all);
    assert_eq!(export["events"].as_array().map(Vec::len), Some(51));
    user.get("/auth/me/export").await.ok();
    user.get("/auth/me/export").await.failed(429, nexus_tests::refusals::TOO_MANY);
}

#[tokio::test]
async fn the_orders_of_bookings_that_went_with_their_event_are_in_the_export() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let (buyer, event, booking, order) = stack.booked().await;
    buyer.cancel(&booking).await.ok();
    let organiser =
        stack.row("SELECT organizer_id AS id FROM events").await["id"].as_i64().unwrap();
    let organiser = stack.anonymous().with_token(organiser, stack.mint_token(organiser));
    organiser.delete(&format!("/events/{}", event.id)).await.ok();
    let export = buyer.get("/auth/me/export").await.data();
    assert_eq!(export["bookings"], json!([]));
    assert_eq!(export["orders_of_deleted_bookings"][0]["order_id"], json!(order), "{export:#}");
}
