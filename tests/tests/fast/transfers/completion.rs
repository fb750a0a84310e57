//! The moment in which a ticket changes hands: the old code is void, the new one good, and never both
//! or neither.

use std::time::Duration;

use futures_util::future::join_all;
use nexus_tests::{Value, eventually, json, qr, seen};

use super::Sold;

#[tokio::test]
async fn the_new_owner_gets_another_code_and_the_old_one_lets_nobody_in() {
    let sold = Sold::seats(&["A1", "A2"]).await;
    let named = sold.stack.row("SELECT id FROM seats WHERE seat_label = 'A1'").await;
    let holder = json!({"holders": [{"seat_id": named["id"], "holder_name": "Ravi", "holder_details": {"meal": "veg"}}]});
    sold.buyer.put(&format!("/bookings/{}/holders", sold.booking.id), holder).await.ok();
    let hears = sold.stack.socket("the friend", &sold.friend).await;
    // It is its user's once its first command is answered.
    hears.call("delete_event", &[json!({})]).await;
    let [ticket, kept] = &sold.tickets[..] else { panic!("two tickets") };
    sold.give(ticket).await;

    let ready = hears.wait_for_any("tickets:ready").await;
    let told = json!({
        "bookingId": sold.booking.id, "bookingReference": sold.booking.reference,
        "ticketCount": 1, "userId": sold.friend.id,
    });
    assert_eq!(ready, told);
    let received = sold.friend.get("/tickets/received").await;
    assert_eq!(received.body["pagination"]["total"], 1);
    let received = received.data()[0].take();
    assert_eq!(
        (&received["ticket_id"], &received["booking_id"]),
        (&ticket["ticket_id"], &json!(sold.booking.id))
    );
    assert_eq!(
        (&received["status"], &received["event"]["id"]),
        (&json!("generated"), &json!(sold.event.id))
    );
    let [own] = &sold.tickets_of(&sold.friend).await[..] else { panic!("one ticket") };
    assert_eq!(own["ticket_id"], ticket["ticket_id"]);
    assert_eq!(own.get("holder_name"), None, "the one before has named somebody else");
    let [left] = &sold.tickets_of(&sold.buyer).await[..] else { panic!("one ticket") };
    assert_eq!((&left["ticket_id"], &left["qr_code"]), (&kept["ticket_id"], &kept["qr_code"]));

    // What else there is of it, each for its owner: files, the booking, the export.
    let path = |rest: &str| format!("/bookings/{}{rest}", sold.booking.id);
    sold.friend.get(&path("")).await.failed(404, "Booking not found");
    for who in [&sold.buyer, &sold.friend] {
        assert!(who.get(&path("/tickets.pdf")).await.bytes.starts_with(b"%PDF-"));
        assert_eq!(who.get(&path("/calendar.ics")).await.status, 200);
    }
    let seats = sold.buyer.get(&path("")).await.data()["seats"].take();
    assert_eq!((&seats[0]["is_transferred"], seats[1].get("is_transferred")), (&json!(true), None));
    let exported = sold.buyer.get("/auth/me/export").await;
    assert!(exported.text.contains(&qr::text(kept)) && !exported.text.contains(&qr::text(own)));
    let exported = sold.friend.get("/auth/me/export").await;
    assert!(exported.text.contains(&qr::text(own)) && !exported.text.contains(&qr::text(kept)));
    let before = sold.scan(ticket).await;
    assert_eq!((&before["result"], &before["reason"]), (&json!("void"), &json!("reissued")));
    let now = sold.scan(own).await;
    assert_eq!((&now["result"], &now["ticket"]["holder_name"]), (&json!("ok"), &json!("User 3")));

    let mail = sold.stack.mailed(&sold.friends_address, "Your tickets").await;
    assert!(mail.text.contains("are yours now") && mail.text.contains("seat A1"), "{}", mail.text);
    assert!(!mail.text.contains("seat A2") && !mail.text.contains("Ravi"), "{}", mail.text);
    let mail = sold.stack.mailed(&sold.stack.address(&sold.buyer).await, "a new owner").await;
    assert!(mail.text.contains("User 3 has accepted your ticket"), "{}", mail.text);
    assert_eq!(sold.stack.count("audit_log WHERE action = 'ticket_transferred'").await, 1);
    sold.stack.assert_invariants().await;
}

#[tokio::test]
async fn a_ticket_changes_hands_once_however_often_it_is_accepted() {
    let sold = Sold::seats(&["A1"]).await;
    let transfer = sold.offer(&sold.buyer, &sold.tickets[0], &sold.friends_address).await;
    let accept = |_| {
        let (friend, path) = (sold.friend.clone(), format!("/transfers/{transfer}/accept"));
        async move { friend.post(&path, json!({})).await }
    };
    for response in join_all((0..10).map(accept)).await {
        response.ok();
    }
    sold.until_status(&sold.friend, &transfer, "completed").await;
    accept(0).await.ok();
    sold.stack.until_idle(&["bookings", "notifications"]).await;
    assert_eq!(sold.stack.count("void_codes").await, 1);
    let mails = sold.stack.providers.mail();
    let to_friend = mails.iter().filter(|mail| {
        mail.to == [sold.friends_address.as_str()] && mail.subject.contains("Your tickets")
    });
    assert_eq!(to_friend.count(), 1);
}

#[tokio::test]
async fn of_a_transfer_and_an_entry_at_once_one_happens() {
    let labels = ["A1", "A2", "A3", "A4", "A5", "A6"];
    let sold = Sold::seats(&labels).await;
    let scans = format!("/events/{}/check-ins", sold.event.id);
    for ticket in &sold.tickets {
        let transfer = sold.offer(&sold.buyer, ticket, &sold.friends_address).await;
        let accept = format!("/transfers/{transfer}/accept");
        let text = json!({"text": qr::text(ticket)});
        let (accepted, first) = tokio::join!(
            sold.friend.post(&accept, json!({})),
            sold.organiser.post(&scans, text.clone())
        );
        let second = sold.organiser.post(&scans, text).await.data();
        let has_entered = first.data()["result"] == "ok" || second["result"] == "ok";
        if accepted.status != 200 {
            accepted.failed(409, "This ticket cannot be transferred any more");
            assert!(has_entered);
            continue;
        }
        let ended = if has_entered { "failed" } else { "completed" };
        sold.until_status(&sold.friend, &transfer, ended).await;
        let is_theirs = sold.tickets_of_anybody().await.iter().any(|one| {
            one["ticket_id"] == ticket["ticket_id"] && one["owner_id"] == sold.friend.id
        });
        assert_eq!(is_theirs, !has_entered);
        assert_ne!(second["result"], "unknown", "{second}");
    }
    sold.stack.assert_invariants().await;
}

impl Sold {
    async fn tickets_of_anybody(&self) -> Vec<Value> {
        self.stack.rows("SELECT ticket_id, owner_id FROM tickets").await
    }
}

#[tokio::test]
async fn a_worker_that_dies_in_the_middle_leaves_the_ticket_where_it_was_until_another_goes_on() {
    let mut sold = Sold::seats(&["A1"]).await;
    let held = sold.stack.db.begin().await.unwrap();
    let mut held = held;
    sqlx::query("SELECT id FROM bookings FOR UPDATE").execute(&mut *held).await.unwrap();
    let transfer = sold.offer(&sold.buyer, &sold.tickets[0], &sold.friends_address).await;
    sold.friend.post(&format!("/transfers/{transfer}/accept"), json!({})).await.ok();
    sold.stack.until_blocked("nexus-worker-bookings", 1).await;
    sold.stack.worker("bookings").kill_9().await;
    held.rollback().await.unwrap();
    let own = sold.tickets_of(&sold.buyer).await;
    assert_eq!(own[0]["qr_code"], sold.tickets[0]["qr_code"]);
    sold.stack.worker("bookings").start();
    // The lease of the job that died has to end first.
    eventually("the ticket is the friend's", Duration::from_secs(60), async || {
        let transfers = sold.friend.get("/transfers").await.data();
        seen(transfers[0]["status"] == "completed", transfers)
    })
    .await;
    assert_eq!(sold.stack.count("void_codes").await, 1);
    let refused = sqlx::query("UPDATE tickets SET owner_id = NULL").execute(&sold.stack.db).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("cannot change hands with this code and status"), "{refused}");
}
