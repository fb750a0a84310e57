//! Tickets that cannot be forged: the text of a QR code is signed, and older tickets are issued
//! anew.

use std::collections::BTreeSet;

use nexus_tests::{SOON, Stack, eventually, qr, seen};

#[tokio::test]
async fn a_listener_cannot_draw_a_ticket_and_those_from_before_are_issued_anew() {
    let stack = Stack::builder().workers(["payments", "bookings", "notifications"]).start().await;
    let listener = stack.socket("a listener", &stack.anonymous()).await;
    let (buyer, event, booking, _) = stack.sold().await;
    let tickets = stack.until_tickets(&buyer, &booking, 1).await;
    let ticket = &tickets[0];
    assert_eq!(ticket["ticket_id"], format!("TKT-{}-A1", booking.reference));

    // The listener hears all that older codes were made of, and nothing of what this one is made
    // of.
    listener.wait_for_any("seat_booked").await;
    listener.wait_for_any("booking_confirmed").await;
    let (before, heard) = (qr::text(ticket), listener.describe());
    let first = stack.ticket_text(&before);
    assert_eq!((first.event, first.ticket), (event.id, ticket["id"].as_i64().unwrap()));
    assert!(!heard.contains(&before) && !heard.contains(&first.nonce.to_string()), "{heard}");
    assert!(!before.contains(&booking.reference), "{before}");
    let mails = async |count: usize| {
        eventually("the tickets are mailed", SOON, async || {
            let mails = stack.providers.mail();
            seen(mails.len() == count, mails.len()).map(|_| mails)
        })
        .await
    };
    mails(1).await;
    stack.until_idle(&["bookings", "notifications"]).await;
    assert_eq!(stack.count("jobs WHERE kind = 'sms_tickets'").await, 0, "nobody has a phone");

    // As an earlier release and the Node service left them: of this booking, of others that are
    // over, and one that is not good any more.
    let over = stack.event(&stack.user().await, &[("VIP", 100.0, 1)]).await;
    stack
        .execute(&format!(
            "UPDATE events SET start_date = now() - interval '1 day', end_date = now() - interval '20 hours' WHERE id = {}",
            over.id
        ))
        .await;
    stack
        .execute(
            "UPDATE tickets SET qr_nonce = NULL, qr_key = NULL, qr_signature = NULL, qr_code = 'data:image/png;base64,iVBORw0KGgo=',
                                generated_at = now() - interval '1 hour'",
        )
        .await;
    stack
        .execute(&format!(
            "WITH old AS (
                 INSERT INTO bookings (booking_reference, user_id, event_id, total_amount, status, payment_status, confirmed_at)
                 SELECT 'BKG-OLD-' || n, user_id, {}, 0, CASE n WHEN 2 THEN 'cancelled' ELSE 'confirmed' END, 'completed', now()
                 FROM bookings, generate_series(1, 61) n WHERE bookings.id = {} RETURNING id, booking_reference)
             INSERT INTO tickets (booking_id, ticket_id, seat_label, price_paid, qr_code, status, generated_at)
             SELECT id, 'TKT-OLD-' || id, 'Z', 0, 'data:image/png;base64,iVBORw0KGgo=',
                    CASE booking_reference WHEN 'BKG-OLD-1' THEN 'cancelled' ELSE 'generated' END, now() - interval '1 hour' FROM old",
            over.id, booking.id
        ))
        .await;
    stack.run_now("bookings", "reissue_tickets").await;
    eventually("all are issued anew", SOON, async || {
        let unsigned =
            stack.count("tickets WHERE qr_nonce IS NULL AND status <> 'cancelled'").await;
        seen(unsigned == 0, unsigned)
    })
    .await;
    let cancelled = "tickets WHERE qr_nonce IS NULL AND status = 'cancelled'";
    assert_eq!(
        stack.count(cancelled).await,
        2,
        "one that is cancelled stays, one of a cancelled booking becomes so"
    );

    // The same ticket, with another text; its buyer gets it by mail, and no other buyer gets any.
    let sent = mails(2).await;
    let again = stack.until_tickets(&buyer, &booking, 1).await;
    let second = stack.ticket_code(&again[0]);
    assert_eq!((second.event, second.ticket), (first.event, first.ticket));
    assert_ne!(second.nonce, first.nonce);
    assert_eq!(again[0]["ticket_id"], ticket["ticket_id"]);
    assert_eq!(qr::read_png(&sent[1].attachments[0].content()).2, qr::text(&again[0]));
    assert_ne!(
        sent[0].message_id, sent[1].message_id,
        "mail programs hide what they have had before"
    );
    for old in stack.rows("SELECT id, booking_id FROM tickets WHERE ticket_id LIKE 'TKT-OLD-%' AND qr_nonce IS NOT NULL LIMIT 3").await {
        let path = format!("/bookings/{}/tickets", old["booking_id"]);
        let ticket = buyer.get(&path).await.data()["tickets"][0].clone();
        assert_eq!(stack.ticket_code(&ticket).ticket, old["id"].as_i64().unwrap());
    }
    let nonces = stack.rows("SELECT qr_nonce FROM tickets WHERE qr_nonce IS NOT NULL").await;
    let different: BTreeSet<_> = nonces.iter().map(|row| row["qr_nonce"].as_i64()).collect();
    assert_eq!((nonces.len(), different.len()), (60, 60));

    // Once more: nothing is left to do.
    let codes = "SELECT md5(string_agg(qr_signature::text, ' ' ORDER BY id)) AS codes FROM tickets";
    let known = stack.row(codes).await;
    stack.run_now("bookings", "reissue_tickets").await;
    stack.until_idle(&["bookings", "notifications"]).await;
    assert_eq!((stack.row(codes).await, stack.providers.mail().len()), (known, 2));
}

#[tokio::test]
async fn tickets_that_are_issued_anew_while_their_mail_is_under_way_are_mailed_again() {
    let mut stack =
        Stack::builder().workers(["payments", "bookings", "notifications"]).start().await;
    stack.worker("notifications").stop().await;
    let (buyer, _, booking, _) = stack.sold().await;
    let old = qr::text(&stack.until_tickets(&buyer, &booking, 1).await[0]);
    let mut issuing = stack.db.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM tickets FOR UPDATE").execute(&mut *issuing).await.unwrap();
    stack.worker("notifications").start();
    eventually("the mail is sent, and its sender waits for the tickets", SOON, async || {
        let waiting = "pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'nexus-worker-notifications'";
        let waiting = stack.count(waiting).await;
        seen(waiting == 1 && stack.providers.mail().len() == 1, waiting)
    })
    .await;
    sqlx::query(
        "UPDATE tickets SET qr_nonce = qr_nonce + 1, qr_signature = NULL, qr_code = 'data:image/png;base64,bmV3'",
    )
    .execute(&mut *issuing)
    .await
    .unwrap();
    issuing.commit().await.unwrap();

    stack.until_idle(&["notifications"]).await;
    let mails = stack.providers.mail();
    assert_eq!(mails.len(), 2, "mails");
    assert_eq!(qr::read_png(&mails[0].attachments[0].content()).2, old);
    assert_eq!(mails[1].attachments[0].content(), b"new");
    assert_eq!(stack.count("tickets WHERE email_sent").await, 1, "tickets that their buyer has");
}
