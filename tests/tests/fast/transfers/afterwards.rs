//! What becomes of a ticket that was transferred, and whom that concerns.

use nexus_tests::shop::PASSWORD;
use nexus_tests::{Client, Method, Response, SOON, Stack, Value, eventually, json, qr, seen};

use super::Sold;

impl Sold {
    /// Everybody has a password, without which no account is erased.
    async fn have_passwords(&self) {
        self.stack.admin().await;
        let same =
            "UPDATE users SET password = (SELECT password FROM users WHERE password IS NOT NULL)";
        self.stack.execute(same).await;
    }
}

async fn erase(who: &Client) -> Response {
    let body = json!({"password": PASSWORD});
    Response::to(who.request(Method::DELETE, "/auth/me").json(&body)).await
}

#[tokio::test]
async fn a_buyer_whose_ticket_is_somebody_elses_gets_no_money_back_for_it() {
    let sold = Sold::seats(&["A1", "A2"]).await;
    sold.give(&sold.tickets[0]).await;
    let refused =
        "Cannot cancel confirmed booking. Some of its tickets belong to somebody else by now.";
    sold.buyer.cancel(&sold.booking).await.failed(409, refused);
    sold.friend
        .cancel(&sold.booking)
        .await
        .failed(403, "You are not authorized to cancel this booking");

    // Until they have it back.
    let own = sold.stack.address(&sold.buyer).await;
    let theirs = sold.tickets_of(&sold.friend).await.remove(0);
    let transfer = sold.offer(&sold.friend, &theirs, &own).await;
    sold.buyer.post(&format!("/transfers/{transfer}/accept"), json!({})).await.ok();
    sold.until_status(&sold.buyer, &transfer, "completed").await;
    assert_eq!(sold.tickets_of(&sold.buyer).await.len(), 2);
    assert_eq!(sold.friend.get("/tickets/received").await.data(), json!([]));
    let path = format!("/bookings/{}/tickets", sold.booking.id);
    sold.friend.get(&path).await.failed(404, "Booking not found or unauthorized");
    sold.buyer.cancel(&sold.booking).await.ok();
    sold.stack.until_idle(&["payments", "bookings", "notifications"]).await;
    sold.stack.assert_invariants().await;
}

#[tokio::test]
async fn a_ticket_that_was_accepted_is_as_good_as_given_until_one_side_ends_that() {
    let mut sold = Sold::seats(&["A1"]).await;
    sold.stack.worker("bookings").kill_9().await;
    let transfer = sold.offer(&sold.buyer, &sold.tickets[0], &sold.friends_address).await;
    let path = format!("/transfers/{transfer}");
    sold.friend.post(&format!("{path}/accept"), json!({})).await.ok();
    let refused = sold.buyer.cancel(&sold.booking).await;
    assert_eq!(
        (refused.status, &refused.body["error"]["code"]),
        (409, &json!("tickets_transferred"))
    );
    // A job that an operator has discarded comes back with the next try.
    sold.stack.execute("DELETE FROM jobs WHERE kind = 'transfer_ticket'").await;
    sold.friend.post(&format!("{path}/accept"), json!({})).await.ok();
    assert_eq!(sold.stack.count("jobs WHERE kind = 'transfer_ticket'").await, 1);
    assert_eq!(sold.friend.delete(&path).await.data()["status"], "declined");
    sold.stack.worker("bookings").start();
    sold.stack.until_idle(&["bookings"]).await;
    assert_eq!(sold.tickets_of(&sold.buyer).await[0]["qr_code"], sold.tickets[0]["qr_code"]);
    sold.buyer.cancel(&sold.booking).await.ok();
}

#[tokio::test]
async fn what_was_said_of_holders_goes_with_their_booking() {
    let sold = Sold::seats(&["A1"]).await;
    let seat = sold.stack.row("SELECT id FROM seats").await["id"].take();
    let holder = json!({"holders": [{"seat_id": seat, "holder_name": "Ravi", "holder_details": {"meal": "veg"}}]});
    sold.buyer.put(&format!("/bookings/{}/holders", sold.booking.id), holder).await.ok();
    sold.buyer.cancel(&sold.booking).await.ok();
    let left = sold
        .stack
        .count("booking_seats WHERE holder_name IS NOT NULL OR holder_details IS NOT NULL");
    assert_eq!(left.await, 0);
}

#[tokio::test]
async fn who_came_is_forgotten_ninety_days_after_the_event_has_begun() {
    let workers = ["payments", "bookings", "cleanup"];
    let sold = Sold::on(Stack::builder().workers(workers).start().await, &["A1"]).await;
    let seat = sold.stack.row("SELECT id FROM seats").await["id"].take();
    let holder = json!({"holders": [{"seat_id": seat, "holder_name": "Ravi", "holder_details": {"meal": "veg"}}]});
    sold.buyer.put(&format!("/bookings/{}/holders", sold.booking.id), holder).await.ok();
    sold.stack.execute("UPDATE holders_forgotten SET through = now() - interval '100 days'").await;
    let past = async |days: u32| {
        let past = format!(
            "UPDATE events SET start_date = now() - interval '{days} days', end_date = now() - interval '{days} days' + interval '1 hour'"
        );
        sold.stack.execute(&past).await;
        sold.stack.run_now("cleanup", "clean_up").await;
        sold.stack.until_idle(&["cleanup"]).await;
        sold.stack.count("booking_seats WHERE holder_name IS NOT NULL").await
    };
    assert_eq!(past(89).await, 1);
    assert_eq!(past(91).await, 0);
}

#[tokio::test]
async fn whoever_has_given_everything_away_is_told_nothing_and_may_go() {
    let stack = Stack::builder().env("EVENT_NOTICE_DELAY_SECONDS", 3_600).start().await;
    let sold = Sold::on(stack, &["A1"]).await;
    sold.give(&sold.tickets[0]).await;
    sold.stack.until_idle(&["bookings", "notifications"]).await;
    let event = format!("/events/{}", sold.event.id);
    sold.organiser.put(&event, json!({"location": "Pune"})).await.ok();
    sold.stack
        .execute(
            "UPDATE jobs SET available_at = now() WHERE kind = 'tell_buyers' AND state = 'pending'",
        )
        .await;
    sold.stack.mailed(&sold.friends_address, "another date or place").await;
    sold.stack.until_idle(&["bookings", "notifications"]).await;
    let mails = sold.stack.providers.mail();
    assert_eq!(mails.iter().filter(|mail| mail.subject.contains("another date")).count(), 1);
    sold.have_passwords().await;
    erase(&sold.buyer).await.ok();
    assert_eq!(sold.tickets_of(&sold.friend).await.len(), 1);
}

#[tokio::test]
async fn whoever_has_a_ticket_by_now_is_told_that_its_event_moves_and_that_it_is_cancelled() {
    let stack = Stack::builder().env("EVENT_NOTICE_DELAY_SECONDS", 3_600).start().await;
    let sold = Sold::on(stack, &["A1", "A2"]).await;
    sold.give(&sold.tickets[0]).await;
    sold.stack.until_idle(&["bookings", "notifications"]).await;
    let event = format!("/events/{}", sold.event.id);
    sold.organiser.put(&event, json!({"location": "Pune"})).await.ok();
    sold.stack
        .execute(
            "UPDATE jobs SET available_at = now() WHERE kind = 'tell_buyers' AND state = 'pending'",
        )
        .await;
    let told = sold.stack.mailed(&sold.friends_address, "another date or place").await;
    let pdf = told.attachments.iter().find(|file| file.filename.ends_with(".pdf"));
    assert!(pdf.is_some() && told.text.contains("Pune"), "{}", told.text);
    sold.stack.mailed(&sold.stack.address(&sold.buyer).await, "another date or place").await;

    sold.organiser.put(&event, json!({"status": "cancelled"})).await.ok();
    let told = sold.stack.mailed(&sold.friends_address, "are cancelled").await;
    assert!(told.text.contains("Event cancelled") && !told.text.contains('₹'), "{}", told.text);
    let told = sold.stack.mailed(&sold.stack.address(&sold.buyer).await, "is cancelled").await;
    assert!(told.text.contains("₹200.00"), "{}", told.text);
    assert_eq!(sold.tickets_of(&sold.friend).await[0]["status"], "cancelled");
    sold.stack.until_idle(&["payments", "bookings", "notifications"]).await;
    sold.stack.assert_invariants().await;
}

#[tokio::test]
async fn a_code_that_is_issued_anew_goes_to_whoever_has_the_ticket_and_no_picture_to_its_buyer() {
    // The Node service shows the pictures that are stored to whoever has booked.
    let stack = Stack::builder().env("SIDE_BY_SIDE", "on").start().await;
    let sold = Sold::on(stack, &["A1", "A2"]).await;
    sold.give(&sold.tickets[0]).await;
    let pictures = async || {
        let rows = sold.stack.rows("SELECT qr_code IS NULL AS none FROM tickets ORDER BY id").await;
        rows.iter().map(|row| row["none"].as_bool().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(pictures().await, [true, false]);
    let before = sold.tickets_of(&sold.friend).await.remove(0);
    sold.stack.mailed(&sold.friends_address, "Your tickets").await;
    sold.stack.until_idle(&["bookings", "notifications"]).await;
    let mails = sold.stack.providers.mail().len();
    let old = "UPDATE tickets SET qr_nonce = NULL, qr_signature = NULL, generated_at = now() - interval '1 hour'";
    sold.stack.execute(old).await;
    sold.stack.run_now("bookings", "reissue_tickets").await;
    eventually("both are told", SOON, async || {
        let sent: Vec<Vec<String>> =
            sold.stack.providers.mail()[mails..].iter().map(|mail| mail.to.clone()).collect();
        seen(sent.len() == 2, sent)
    })
    .await;
    let after = sold.tickets_of(&sold.friend).await.remove(0);
    assert_ne!(qr::text(&before), qr::text(&after));
    assert_eq!(pictures().await, [true, false]);
    let sent: Vec<_> = sold.stack.providers.mail().split_off(mails);
    let of = |to: &str| sent.iter().find(|mail| mail.to == [to]).expect("a mail").text.clone();
    let own = of(&sold.stack.address(&sold.buyer).await);
    assert!(own.contains("seat A2") && !own.contains("seat A1"), "{own}");
    let theirs = of(&sold.friends_address);
    assert!(theirs.contains("seat A1") && !theirs.contains("seat A2"), "{theirs}");
}

#[tokio::test]
async fn an_account_with_a_ticket_of_others_is_erased_after_the_event_and_what_it_has_said_of_holders()
 {
    let sold = Sold::seats(&["A1", "A2"]).await;
    sold.give(&sold.tickets[0]).await;
    let seats = sold.stack.rows("SELECT id FROM seats ORDER BY seat_label").await;
    let path = format!("/bookings/{}/holders", sold.booking.id);
    for (who, seat, other) in [(&sold.friend, 0, 1), (&sold.buyer, 1, 0)] {
        let holder = |seat: usize| json!({"holders": [{"seat_id": seats[seat]["id"], "holder_name": "Ravi"}]});
        who.put(&path, holder(seat)).await.ok();
        let refused = who.put(&path, holder(other)).await;
        refused.failed(404, "Some of these seats are not yours in this booking");
    }
    sold.offer(&sold.buyer, &sold.tickets[1], "other@nexus.example").await;
    sold.have_passwords().await;
    let refused = erase(&sold.friend).await;
    assert_eq!(
        (refused.status, &refused.body["error"]["code"]),
        (409, &json!("account_has_bookings")),
        "{}",
        refused.text
    );
    sold.begins().await;
    erase(&sold.friend).await.ok();
    let holders = async || {
        let rows =
            sold.stack.rows("SELECT holder_name FROM booking_seats ORDER BY seat_label").await;
        rows.iter().map(|row| row["holder_name"].clone()).collect::<Vec<Value>>()
    };
    assert_eq!(holders().await, [Value::Null, json!("Ravi")]);
    erase(&sold.buyer).await.ok();
    assert_eq!(holders().await, [Value::Null, Value::Null]);
    assert_eq!(sold.stack.count("ticket_transfers WHERE to_email IS NOT NULL").await, 0);
}
