//! Time zones: UTC on the wire, local time in messages.

use nexus_tests::shop::event_request;
use nexus_tests::{SOON, Stack, eventually, json, seen};

const UNKNOWN: &str = "time_zone must be a name of the IANA database, such as Asia/Kolkata";

#[tokio::test]
async fn an_event_is_where_its_organiser_says_or_where_the_installation_is() {
    let stack =
        Stack::builder().workers([]).env("DEFAULT_TIME_ZONE", "Europe/Berlin").start().await;
    let organiser = stack.user().await;
    let create = async |zone: Option<&str>| {
        let mut request = event_request(&[("VIP", 100.0, 5)]);
        if let Some(zone) = zone {
            request["time_zone"] = json!(zone);
        }
        organiser.post("/events/create", request).await
    };
    let here = create(None).await.data()["event"].clone();
    assert_eq!(here["time_zone"], "Europe/Berlin");
    assert_eq!(here["start_date"], "2099-05-01T18:00:00.000Z", "the wire is UTC");
    let there = create(Some("America/New_York")).await.data()["event"].clone();
    assert_eq!(there["time_zone"], "America/New_York");
    for zone in ["", "IST", "asia/kolkata", "Mars/Olympus", "+05:30"] {
        create(Some(zone)).await.failed(400, UNKNOWN);
    }

    let path = format!("/events/{}", there["id"]);
    organiser.put(&path, json!({"time_zone": "IST"})).await.failed(400, UNKNOWN);
    let changed = organiser.put(&path, json!({"time_zone": "Asia/Kathmandu"})).await.data();
    assert_eq!(changed["event"]["time_zone"], "Asia/Kathmandu");
    let shown = stack.anonymous().get(&path).await.data();
    assert_eq!(shown["time_zone"], "Asia/Kathmandu");
    assert_eq!(shown["start_date"], "2099-05-01T18:00:00.000Z");
}

#[tokio::test]
async fn mails_sms_and_calendars_say_local_time_with_its_zone() {
    let stack = Stack::start().await;
    let (organiser, buyer) = (stack.user().await, stack.user().await);
    stack.set_phone(&buyer, "+919812345678").await;
    let mut request = event_request(&[("VIP", 100.0, 5)]);
    request["time_zone"] = json!("America/New_York");
    let created = organiser.post("/events/create", request).await.data();
    let event = nexus_tests::Event::from_created(&created);
    let (booking, _) = stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    let local = "Friday, 1 May 2099, 14:00 EDT (America/New_York)";
    let to = stack.address(&buyer).await;
    let mail = stack.mailed(&to, "Your tickets").await;
    assert!(mail.text.contains(local), "{}", mail.text);
    assert!(mail.html.contains("1 May 2099, 14:00 EDT"), "{}", mail.html);
    eventually("an SMS", SOON, async || {
        let texts: Vec<_> = stack.providers.sms().into_iter().map(|sms| sms.body).collect();
        let says = texts.iter().any(|text| text.contains("1 May 2099, 14:00 EDT"));
        seen(says, texts)
    })
    .await;
    let calendar = buyer.get(&format!("/bookings/{}/calendar.ics", booking.id)).await;
    assert!(calendar.text.contains("DTSTART:20990501T180000Z"));
    let shown = buyer.get(&format!("/bookings/{}", booking.id)).await.data();
    assert_eq!(shown["event"]["time_zone"], "America/New_York");
    let listed = buyer.get("/bookings/my-bookings").await.data();
    assert_eq!(listed[0]["time_zone"], "America/New_York");
    let export = buyer.get("/auth/me/export").await.data();
    assert_eq!(export["bookings"][0]["event_start_local"], local);

    buyer.cancel(&booking).await.ok();
    let mail = stack.mailed(&to, "is cancelled").await;
    assert!(mail.text.contains(local), "{}", mail.text);
}

#[tokio::test]
async fn events_from_before_there_were_zones_are_in_india() {
    let stack =
        Stack::builder().workers([]).env("DEFAULT_TIME_ZONE", "Europe/Berlin").start().await;
    let organiser = stack.user().await;
    let insert = format!(
        "INSERT INTO events (name, description, location, start_date, end_date, organizer_id, status, is_public)
         VALUES ('Gig', '', 'Mumbai', '2099-05-01', '2099-05-02', {}, 'published', TRUE)",
        organiser.id
    );
    stack.execute(&insert).await;
    let event = stack.row("SELECT id FROM events").await["id"].clone();
    let path = format!("/events/{event}");
    assert_eq!(stack.anonymous().get(&path).await.data()["time_zone"], "Asia/Kolkata");

    // Somebody has written what is no zone: the page is there, and says UTC.
    stack.execute("UPDATE events SET time_zone = 'Mars/Olympus', updated_at = now()").await;
    assert_eq!(stack.anonymous().get(&path).await.data()["time_zone"], "UTC");
}
