//! The files of tickets: in the mail, and from the API.

use nexus_tests::{SOON, Stack, eventually, qr, seen};

use super::delivered;

#[tokio::test]
async fn the_mail_has_pictures_a_pdf_and_an_entry_for_the_calendar_and_so_has_the_api() {
    let stack = Stack::start().await;
    let (buyer, _, booking, tickets) = delivered(&stack, "A1").await;
    let mail = stack.mailed(&stack.address(&buyer).await, "Your tickets").await;
    let attached = |name: &str| {
        let found = mail.attachments.iter().find(|file| file.filename == name);
        let names: Vec<_> = mail.attachments.iter().map(|file| &file.filename).collect();
        found.unwrap_or_else(|| panic!("no {name} among {names:?}"))
    };
    let reference = &booking.reference;
    let files = [
        (format!("code-{}", tickets[0]["id"]), "image/png"),
        (format!("TKT-{reference}-A1.png"), "image/png"),
        (format!("tickets-{reference}.pdf"), "application/pdf"),
        (format!("{reference}.ics"), "text/calendar"),
    ];
    assert_eq!(mail.attachments.len(), files.len());
    for (name, media_type) in &files {
        assert_eq!(attached(name).content_type, *media_type, "{name}");
        // Outlook looks here.
        assert!(mail.raw.contains(&format!("name=\"{name}\"")), "{name}");
    }
    let code = qr::read_data_url(tickets[0]["qr_code"].as_str().unwrap()).2;
    for (name, _) in &files[..2] {
        assert_eq!(qr::read_png(&attached(name).content()).2, code, "{name}");
    }
    assert!(mail.html.contains(&format!("src=\"cid:{}\"", files[0].0)), "{}", mail.html);
    assert!(mail.raw.contains(&format!("Content-ID: <{}>", files[0].0)));

    // The same from the API.
    let path = |file: &str| format!("/bookings/{}/{file}", booking.id);
    let pdf = buyer.get(&path("tickets.pdf")).await;
    assert_eq!(
        (pdf.status, &pdf.headers["content-type"]),
        (200, &"application/pdf".parse().unwrap())
    );
    let disposition = format!("attachment; filename=\"tickets-{reference}.pdf\"");
    assert_eq!(pdf.headers["content-disposition"], disposition);
    assert!(pdf.bytes.starts_with(b"%PDF-") && pdf.bytes.len() < 100_000, "{}", pdf.bytes.len());
    assert_eq!(pdf.bytes, attached(&files[2].0).content(), "the same bytes");
    let calendar = buyer.get(&path("calendar.ics")).await;
    assert_eq!(calendar.headers["content-type"], "text/calendar; charset=utf-8");
    assert_eq!(calendar.bytes, attached(&files[3].0).content());
    for line in [
        "DTSTART:20990501T180000Z",
        "DTEND:20990501T220000Z",
        "SUMMARY:Monsoon Jazz Night",
        &format!("UID:{reference}@nexus"),
    ] {
        assert!(calendar.text.contains(&format!("{line}\r\n")), "{line} in {}", calendar.text);
    }
}

#[tokio::test]
async fn files_are_for_the_buyer_of_tickets_that_there_are() {
    let stack =
        Stack::builder().workers(["payments"]).env("RATE_LIMIT_TICKET_FILES", "2/1h").start().await;
    let (buyer, _, booking, _) = stack.sold().await;
    let stranger = stack.user().await;
    for file in ["tickets.pdf", "calendar.ics", "tickets.pkpass", "wallet-links"] {
        let path = format!("/bookings/{}/{file}", booking.id);
        buyer.get(&path).await.failed(404, "There are no tickets.");
        stranger.get(&path).await.failed(404, "Booking not found");
        stack.anonymous().get(&path).await.failed(401, "Access token is required");
    }
}

#[tokio::test]
async fn a_user_makes_no_more_files_than_the_limit_says() {
    let stack = Stack::builder().env("RATE_LIMIT_TICKET_FILES", "2/1h").start().await;
    let (buyer, _, booking, _) = delivered(&stack, "A1").await;
    let path = format!("/bookings/{}/tickets.pdf", booking.id);
    for _ in 0..2 {
        assert_eq!(buyer.get(&path).await.status, 200);
    }
    assert_eq!(buyer.get(&path).await.status, 429);
    let calendar = buyer.get(&format!("/bookings/{}/calendar.ics", booking.id)).await;
    assert_eq!(calendar.status, 200, "which costs next to nothing");
}

/// As an earlier release has left them: with a picture, and nothing to draw it from.
#[tokio::test]
async fn codes_of_earlier_releases_are_stored_by_the_worker_that_has_their_key() {
    let mut stack = Stack::start().await;
    let (buyer, _, booking, tickets) = delivered(&stack, "A1").await;
    let picture = tickets[0]["qr_code"].as_str().unwrap();
    stack.worker("bookings").stop().await;
    let earlier = format!(
        "UPDATE tickets SET qr_signature = NULL, qr_code = '{picture}' WHERE booking_id = {}",
        booking.id
    );
    stack.execute(&earlier).await;
    let shown = stack.until_tickets(&buyer, &booking, 1).await;
    assert_eq!(shown[0]["qr_code"], picture, "it is shown as it was");
    let path = format!("/bookings/{}/tickets.pdf", booking.id);
    buyer.get(&path).await.failed(404, "There are no tickets.");

    stack.worker("bookings").start();
    stack.run_now("bookings", "store_codes").await;
    eventually("the code is stored", SOON, async || {
        let stored = stack.count("tickets WHERE qr_signature IS NOT NULL").await;
        seen(stored == 1, stored)
    })
    .await;
    assert_eq!(buyer.get(&path).await.status, 200);
    let shown = stack.until_tickets(&buyer, &booking, 1).await;
    assert_eq!(shown[0]["qr_code"], picture, "it is the same code");
}

#[tokio::test]
async fn pictures_are_stored_only_while_the_node_service_may_look_for_them() {
    for (side_by_side, stored) in [("off", 0), ("on", 1)] {
        let stack = Stack::builder().env("SIDE_BY_SIDE", side_by_side).start().await;
        let (_, _, _, tickets) = delivered(&stack, "A1").await;
        assert_eq!(
            stack.count("tickets WHERE qr_code IS NOT NULL").await,
            stored,
            "{side_by_side}"
        );
        if stored == 1 {
            let row = stack.row("SELECT qr_code FROM tickets").await;
            assert_eq!(row["qr_code"], tickets[0]["qr_code"]);
        }
    }
}

#[tokio::test]
async fn a_ticket_is_in_the_mail_once_though_its_sms_is_written_at_the_same_moment() {
    let mut stack =
        Stack::builder().workers(["payments", "bookings", "notifications"]).start().await;
    stack.worker("notifications").stop().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let buyers = stack.users(2).await;
    for (number, buyer) in buyers.iter().enumerate() {
        stack.set_phone(buyer, &format!("+91981234567{number}")).await;
        let (booking, _) = stack.sell(buyer, &event, &[("VIP", &format!("A{number}"))]).await;
        stack.until_tickets(buyer, &booking, 1).await;
    }
    // All four jobs have begun, and at least three of them are looked up together.
    let mut held = stack.db.begin().await.unwrap();
    sqlx::query("LOCK TABLE booking_seats").execute(&mut *held).await.unwrap();
    stack.worker("notifications").start();
    eventually("four jobs", SOON, async || {
        let begun = "jobs WHERE kind IN ('email_tickets', 'sms_tickets') AND state = 'running'";
        let begun = stack.count(begun).await;
        seen(begun == 4, begun)
    })
    .await;
    stack.until_blocked("nexus-worker-notifications", 1).await;
    held.rollback().await.unwrap();
    for buyer in &buyers {
        let mail = stack.mailed(&stack.address(buyer).await, "Your tickets").await;
        let pictures = mail.attachments.iter().filter(|file| file.filename.starts_with("code-"));
        assert_eq!(pictures.count(), 1, "{}", mail.text);
    }
}
