//! What buyers are told of their event: that it has moved, and that it is near.

use nexus_sandbox::providers::Mail;
use nexus_tests::{Client, Event, Outcome, SOON, Stack, eventually, json, seen};

const DELAY: &str = "EVENT_NOTICE_DELAY_SECONDS";

/// As long as any test.
const LONG: u32 = 3_600;

/// Has told now whoever is to be told later, and waits until everybody has been.
async fn tell(stack: &Stack) {
    let now =
        "UPDATE jobs SET available_at = now() WHERE kind = 'tell_buyers' AND state = 'pending'";
    stack.execute(now).await;
    eventually("everybody was told", SOON, async || {
        let open = stack.count("event_notices WHERE finished_at IS NULL").await;
        seen(open == 0, open)
    })
    .await;
    stack.until_idle(&["bookings", "notifications"]).await;
}

/// The mails about another date or place.
fn told(stack: &Stack) -> Vec<Mail> {
    let mails = stack.providers.mail();
    mails.into_iter().filter(|mail| mail.subject.contains("another date")).collect()
}

async fn moved(organiser: &Client, event: &Event, change: nexus_tests::Value) {
    organiser.put(&format!("/events/{}", event.id), change).await.ok();
}

#[tokio::test]
async fn buyers_are_told_once_of_another_date_and_place() {
    let stack = Stack::builder().env(DELAY, LONG).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyers = stack.users(3).await;
    stack.set_phone(&buyers[0], "+919812345678").await;
    let (booking, _) = stack.sell(&buyers[0], &event, &[("VIP", "A1")]).await;
    let (cancelled, _) = stack.sell(&buyers[1], &event, &[("VIP", "A2")]).await;
    stack.until_tickets(&buyers[0], &booking, 1).await;
    buyers[1].cancel(&cancelled).await.ok();

    let another = json!({"start_date": "2099-05-02T18:00:00Z", "end_date": "2099-05-02T22:00:00Z"});
    moved(&organiser, &event, another).await;
    moved(&organiser, &event, json!({"location": "Pune", "venue_name": "Harbour Hall"})).await;
    moved(&organiser, &event, json!({"name": "Jazz Night", "description": "Three sets."})).await;
    // Whoever books much later knows.
    let (late, _) = stack.sell(&buyers[2], &event, &[("VIP", "A3")]).await;
    let later = format!(
        "UPDATE bookings SET booked_at = now() + interval '5 minutes' WHERE id = {}",
        late.id
    );
    stack.execute(&later).await;
    tell(&stack).await;

    let told = told(&stack);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].to, [stack.address(&buyers[0]).await]);
    assert_eq!(told[0].subject, "Jazz Night: another date or place");
    for words in [
        "Saturday, 2 May 2099, 23:30 IST (Asia/Kolkata)",
        "Harbour Hall, Pune",
        "Friday, 1 May 2099, 23:30 IST (Asia/Kolkata)",
        "Mumbai",
    ] {
        assert!(told[0].text.contains(words), "{words} in {}", told[0].text);
        assert!(told[0].html.contains(words), "{words} in {}", told[0].html);
    }
    let calendar = told[0].attachments.iter().find(|file| file.filename.ends_with(".ics"));
    let calendar = String::from_utf8(calendar.expect("a calendar entry").content()).unwrap();
    assert!(calendar.contains("DTSTART:20990502T180000Z"), "{calendar}");
    assert!(told[0].attachments.iter().any(|file| file.filename.ends_with(".pdf")));
    let texts = stack.providers.sms();
    let texts: Vec<_> = texts.iter().filter(|sms| sms.body.contains("has changed")).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].body.contains("2 May 2099, 23:30 IST, Harbour Hall, Pune"), "{texts:?}");
}

#[tokio::test]
async fn a_buyer_who_pays_after_a_change_is_told_then() {
    let stack = Stack::builder().env(DELAY, 0).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyer = stack.user().await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    moved(&organiser, &event, json!({"location": "Pune"})).await;
    tell(&stack).await;
    assert_eq!(told(&stack).len(), 0, "who does not pay need not know");
    let order = buyer.order(&booking).await;
    stack.pay(&order, Outcome::Captured);
    stack.until_tickets(&buyer, &booking, 1).await;
    stack.execute("UPDATE jobs SET available_at = now() WHERE kind = 'email_notice'").await;
    stack.mailed(&stack.address(&buyer).await, "another date or place").await;
}

#[tokio::test]
async fn nobody_is_told_of_what_was_taken_back_in_time_or_did_not_move() {
    let stack = Stack::builder().env(DELAY, LONG).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    moved(&organiser, &event, json!({"location": "Pune"})).await;
    assert_eq!(stack.count("event_notices").await, 0, "nobody has booked");
    let buyer = stack.user().await;
    stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    let same = json!({"name": "Jazz", "location": "Pune", "end_date": "2099-05-01T23:00:00Z"});
    moved(&organiser, &event, same).await;
    assert_eq!(stack.count("event_notices").await, 0, "it begins when and where it did");
    moved(&organiser, &event, json!({"location": "Goa"})).await;
    assert_eq!(stack.count("event_notices").await, 1);
    moved(&organiser, &event, json!({"location": "Pune"})).await;
    tell(&stack).await;
    assert_eq!(told(&stack).len(), 0);
    assert_eq!(stack.count("event_notices").await, 0, "the next change waits for nothing");

    let over = "UPDATE events SET start_date = now() - interval '2 days', end_date = now() - interval '1 day'";
    stack.execute(over).await;
    moved(&organiser, &event, json!({"location": "Goa"})).await;
    assert_eq!(stack.count("event_notices").await, 0, "it is over");
}

#[tokio::test]
async fn an_organiser_cannot_have_buyers_told_more_than_once_an_hour() {
    let stack = Stack::builder().env(DELAY, 0).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyer = stack.user().await;
    stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    moved(&organiser, &event, json!({"location": "Pune"})).await;
    tell(&stack).await;
    for place in ["Goa", "Kochi", "Delhi"] {
        moved(&organiser, &event, json!({"location": place})).await;
    }
    let waits = "SELECT extract(epoch FROM available_at - now())::int AS seconds FROM jobs WHERE kind = 'tell_buyers' AND state = 'pending'";
    let waits = stack.rows(waits).await;
    assert_eq!(waits.len(), 1);
    assert!((3_400..=3_600).contains(&waits[0]["seconds"].as_i64().unwrap()), "{waits:?}");
    tell(&stack).await;
    let told = told(&stack);
    assert_eq!(told.len(), 2);
    assert!(told[1].text.contains("Delhi") && told[1].text.contains("Pune"), "{}", told[1].text);
    assert!(!told[1].text.contains("Kochi"), "{}", told[1].text);
}

/// The job is discarded before anybody was told.
#[tokio::test]
async fn a_change_after_a_notice_that_was_lost_is_told() {
    let stack = Stack::builder().env(DELAY, LONG).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyer = stack.user().await;
    stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    moved(&organiser, &event, json!({"location": "Pune"})).await;
    let job = stack.row("SELECT id FROM jobs WHERE kind = 'tell_buyers'").await["id"].clone();
    stack.jobs_cli_ok(&["discard", job.as_str().unwrap()]).await;
    moved(&organiser, &event, json!({"location": "Goa"})).await;
    tell(&stack).await;
    assert_eq!(told(&stack).len(), 1);
}

#[tokio::test]
async fn a_worker_that_dies_between_two_pages_tells_nobody_twice() {
    let mut stack = Stack::builder().env(DELAY, 0).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    stack.worker("notifications").stop().await;
    // More than three transactions see to.
    let buyers = 16_000;
    stack
        .execute(&format!(
            "WITH buyers AS (
                 INSERT INTO users (name, email, email_verified_at)
                 SELECT 'B' || n, 'b' || n || '@nexus.example', now() FROM generate_series(1, {buyers}) n RETURNING id)
             INSERT INTO bookings (booking_reference, user_id, event_id, total_amount, status, payment_status, booked_at, confirmed_at)
             SELECT 'BKG-' || id, id, {}, 0, 'confirmed', 'completed', now(), now() FROM buyers",
            event.id
        ))
        .await;
    // The worker waits there, with a page that has begun.
    let mut holding = stack.db.begin().await.unwrap();
    let key = "INSERT INTO jobs (id, queue, kind, payload, max_attempts, unique_key)
               SELECT gen_random_uuid(), 'notifications', 'email_notice', '{}', 1, 'email_notice:1:' || b.id
               FROM bookings b JOIN users u ON u.id = b.user_id WHERE u.name = 'B12000'";
    sqlx::query(key).execute(&mut *holding).await.unwrap();
    moved(&organiser, &event, json!({"location": "Pune"})).await;
    eventually("two pages of four are told", SOON, async || {
        let told = stack.count("jobs WHERE kind = 'email_notice'").await;
        seen(told == 10_000, told)
    })
    .await;
    stack.worker("bookings").kill_9().await;
    holding.rollback().await.unwrap();
    assert_eq!(stack.count("jobs WHERE kind = 'email_notice'").await, 10_000);
    stack.worker("bookings").start();
    // The dead worker's lease runs out first.
    eventually("all are told", 4 * SOON, async || {
        let open = stack.count("event_notices WHERE finished_at IS NULL").await;
        seen(open == 0, open)
    })
    .await;
    let told = stack
        .row("SELECT count(*) AS jobs, count(DISTINCT payload->>'booking_id') AS bookings FROM jobs WHERE kind = 'email_notice'")
        .await;
    assert_eq!((&told["jobs"], &told["bookings"]), (&json!(buyers), &json!(buyers)));
}

#[tokio::test]
async fn buyers_are_reminded_once_of_an_event_that_is_near_where_the_installation_wants_it() {
    let mut stack = Stack::start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyer = stack.user().await;
    stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    let near = |hours: u32| {
        format!(
            "UPDATE events SET start_date = now() + interval '{hours} hours', end_date = now() + interval '{hours} hours' + interval '3 hours' WHERE id = {}",
            event.id
        )
    };
    stack.execute(&near(20)).await;
    stack.run_now("bookings", "remind_buyers").await;
    stack.until_idle(&["bookings", "notifications"]).await;
    assert_eq!(stack.count("event_notices").await, 0, "nobody is, by default");

    stack.restart_with(&[("REMIND_HOURS_BEFORE_START", "24")]).await;
    let reminders = async |stack: &Stack| {
        stack.run_now("bookings", "remind_buyers").await;
        stack.until_idle(&["bookings", "notifications"]).await;
        let mails = stack.providers.mail();
        mails.into_iter().filter(|mail| mail.text.contains("it is nearly time")).collect::<Vec<_>>()
    };
    let first = reminders(&stack).await;
    assert_eq!(first.len(), 1);
    assert!(first[0].subject.starts_with("Monsoon Jazz Night: "), "{}", first[0].subject);
    assert!(first[0].subject.ends_with(" IST (Asia/Kolkata)"), "{}", first[0].subject);
    assert_eq!(reminders(&stack).await.len(), 1, "once");

    // Another date is another day.
    stack.execute(&near(22)).await;
    assert_eq!(reminders(&stack).await.len(), 2);
    stack.execute(&near(30)).await;
    assert_eq!(reminders(&stack).await.len(), 2);
    stack.execute(&near(20)).await;
    stack.execute(&format!("UPDATE events SET status = 'cancelled' WHERE id = {}", event.id)).await;
    assert_eq!(reminders(&stack).await.len(), 2);
}
