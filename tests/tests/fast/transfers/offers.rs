//! Offering a ticket: to whom, by whom, until when.

use nexus_tests::{Client, SOON, Stack, Value, eventually, json, seen};

use super::Sold;

const NONE: &str = "There is no such transfer that waits for you";

#[tokio::test]
async fn a_ticket_is_offered_by_mail_and_stays_where_it_is() {
    let sold = Sold::seats(&["A1"]).await;
    let [ticket] = &sold.tickets[..] else { panic!("one ticket") };
    let transfer = sold.offer(&sold.buyer, ticket, &sold.friends_address).await;
    let mail = sold.stack.mailed(&sold.friends_address, "You are offered a ticket").await;
    for words in [
        "somebody who calls themselves \"User 2\" wants to give you a ticket",
        "\"Monsoon Jazz Night\"",
        "VIP, seat A1",
        "23:30 IST (Asia/Kolkata)",
    ] {
        assert!(mail.text.contains(words), "{words} in {}", mail.text);
    }
    assert!(!mail.raw.contains(sold.booking.reference.as_str()), "what is not theirs yet");

    let of =
        async |who: &Client| who.get("/transfers").await.data().get(0).cloned().unwrap_or_default();
    let (own, theirs) = (of(&sold.buyer).await, of(&sold.friend).await);
    assert_eq!(
        (&own["id"], &own["is_own"], &own["status"]),
        (&transfer, &json!(true), &json!("offered"))
    );
    assert_eq!(own["to_email"], json!(sold.friends_address));
    assert_eq!(
        (&theirs["id"], &theirs["is_own"], &theirs["from_name"]),
        (&transfer, &json!(false), &json!("User 2"))
    );
    assert_eq!(theirs["to_email"], Value::Null);
    assert_eq!(theirs["event"]["name"], "Monsoon Jazz Night");
    assert_eq!(of(&sold.organiser).await, Value::Null);
    sold.stack.until_idle(&["bookings", "notifications"]).await;
    assert_eq!(sold.tickets_of(&sold.buyer).await[0]["qr_code"], ticket["qr_code"]);
    let path = format!("/bookings/{}/tickets", sold.booking.id);
    sold.friend.get(&path).await.failed(404, "Booking not found or unauthorized");
}

#[tokio::test]
async fn only_who_has_proved_the_address_accepts_or_declines_and_only_the_owner_withdraws() {
    let sold = Sold::seats(&["A1"]).await;
    let [ticket] = &sold.tickets[..] else { panic!("one ticket") };
    let transfer = sold.offer(&sold.buyer, ticket, &sold.friends_address).await;
    let (accept, end) = (format!("/transfers/{transfer}/accept"), format!("/transfers/{transfer}"));
    let unproved =
        format!("UPDATE users SET email_verified_at = NULL WHERE id = {}", sold.friend.id);
    sold.stack.execute(&unproved).await;
    for stranger in [&sold.friend, &sold.organiser] {
        stranger.post(&accept, json!({})).await.failed(404, NONE);
        stranger.delete(&end).await.failed(404, NONE);
    }
    sold.buyer.post(&accept, json!({})).await.failed(404, NONE);
    sold.stack.anonymous().post(&accept, json!({})).await.failed(401, "Access token is required");
    // The Node service asked for no proof.
    sold.stack.execute("UPDATE users SET email_verified_at = '-infinity'").await;
    sold.friend.post(&accept, json!({})).await.failed(404, NONE);
    let swap = |id: i64, email: &str| format!("UPDATE users SET email = '{email}' WHERE id = {id}");
    let own = sold.stack.address(&sold.buyer).await;
    sold.stack.execute(&swap(sold.friend.id, "away@nexus.example")).await;
    sold.stack.execute(&swap(sold.buyer.id, &sold.friends_address)).await;
    sold.stack.prove_emails().await;
    sold.buyer.post(&accept, json!({})).await.failed(404, NONE);
    sold.stack.execute(&swap(sold.buyer.id, &own)).await;
    sold.stack.execute(&swap(sold.friend.id, &sold.friends_address)).await;
    sold.stack.prove_emails().await;

    // One at a time, until it is declined or withdrawn.
    let path = format!("/tickets/{}/transfers", ticket["id"]);
    let again = sold.buyer.post(&path, json!({"email": "another@nexus.example"})).await;
    again.failed(409, "This ticket has been offered to somebody already");
    assert_eq!(sold.friend.delete(&end).await.data()["status"], "declined");
    sold.friend.post(&accept, json!({})).await.failed(404, NONE);
    let transfer = sold.offer(&sold.buyer, ticket, &sold.friends_address).await;
    let end = format!("/transfers/{transfer}");
    assert_eq!(sold.buyer.delete(&end).await.data()["status"], "withdrawn");
    sold.friend.post(&format!("{end}/accept"), json!({})).await.failed(404, NONE);
    assert_eq!(sold.stack.count("ticket_transfers WHERE to_email IS NOT NULL").await, 0);
}

#[tokio::test]
async fn what_is_not_the_callers_or_not_good_any_more_is_not_offered() {
    let sold = Sold::seats(&["A1", "A2"]).await;
    let path = |ticket: &Value| format!("/tickets/{}/transfers", ticket["id"]);
    let to = json!({"email": sold.friends_address});
    let [used, ticket] = &sold.tickets[..] else { panic!("two tickets") };
    let not_yours = "There is no such ticket of yours";
    sold.friend.post(&path(ticket), to.clone()).await.failed(404, not_yours);
    sold.organiser.post(&path(ticket), to.clone()).await.failed(404, not_yours);
    sold.buyer.post("/tickets/99999/transfers", to.clone()).await.failed(404, not_yours);
    let own = json!({"email": sold.stack.address(&sold.buyer).await.to_uppercase()});
    sold.buyer.post(&path(ticket), own).await.failed(400, "That is your own address");
    sold.buyer.post(&path(ticket), json!({"email": "x"})).await.failed(400, "Invalid email format");

    let no_more = "This ticket cannot be transferred any more";
    assert_eq!(sold.scan(used).await["result"], "ok");
    sold.buyer.post(&path(used), to.clone()).await.failed(409, no_more);
    let event = format!("/events/{}", sold.event.id);
    sold.organiser.put(&event, json!({"holders_until": "2020-01-01T00:00:00Z"})).await.ok();
    let closed =
        "Holders cannot be named, nor tickets transferred, any more: the time for it is over";
    sold.buyer.post(&path(ticket), to.clone()).await.failed(409, closed);
    sold.organiser.put(&event, json!({"holders_until": null})).await.ok();
    let transfer = sold.offer(&sold.buyer, ticket, &sold.friends_address).await;
    sold.stack.execute("UPDATE events SET taken_down_at = now()").await;
    let accept = format!("/transfers/{transfer}/accept");
    sold.friend.post(&accept, json!({})).await.failed(409, no_more);
}

#[tokio::test]
async fn a_user_offers_so_many_tickets_a_day_and_refused_offers_do_not_count() {
    let stack = Stack::builder().env("RATE_LIMIT_TICKET_TRANSFERS", "2/1h").start().await;
    let sold = Sold::on(stack, &["A1", "A2", "A3"]).await;
    let offer = async |ticket: &Value, to: &str| {
        sold.buyer.post(&format!("/tickets/{}/transfers", ticket["id"]), json!({"email": to})).await
    };
    for _ in 0..3 {
        let own = sold.stack.address(&sold.buyer).await;
        offer(&sold.tickets[0], &own).await.failed(400, "That is your own address");
    }
    offer(&sold.tickets[0], "one@nexus.example").await.ok();
    offer(&sold.tickets[1], "two@nexus.example").await.ok();
    assert_eq!(offer(&sold.tickets[2], "three@nexus.example").await.status, 429);
}

#[tokio::test]
async fn an_address_is_told_of_so_many_offers_a_day_and_gets_its_tickets_all_the_same() {
    let stack = Stack::builder().env("RATE_LIMIT_OFFER_MAILS", "1/1h").start().await;
    let sold = Sold::on(stack, &["A1", "A2"]).await;
    for ticket in &sold.tickets {
        sold.offer(&sold.buyer, ticket, &sold.friends_address).await;
        sold.stack.until_idle(&["notifications"]).await;
    }
    assert_eq!(sold.friend.get("/transfers").await.data().as_array().unwrap().len(), 2);
    let told = || {
        let mails = sold.stack.providers.mail();
        mails.iter().filter(|mail| mail.to == [sold.friends_address.as_str()]).count()
    };
    assert_eq!(told(), 1);
    let (booking, _) = sold.stack.sell(&sold.friend, &sold.event, &[("VIP", "B1")]).await;
    sold.stack.until_tickets(&sold.friend, &booking, 1).await;
    sold.stack.mailed(&sold.friends_address, "Your tickets").await;
}

#[tokio::test]
async fn an_event_for_verified_phones_is_for_them_however_they_get_a_ticket() {
    let sold = Sold::seats(&["A1"]).await;
    let event = format!("/events/{}", sold.event.id);
    sold.organiser.put(&event, json!({"require_verified_phone": true})).await.ok();
    let transfer = sold.offer(&sold.buyer, &sold.tickets[0], &sold.friends_address).await;
    let accept = format!("/transfers/{transfer}/accept");
    let refused = sold.friend.post(&accept, json!({})).await;
    assert_eq!(
        (refused.status, &refused.body["error"]["code"]),
        (403, &json!("phone_not_verified"))
    );
    sold.stack.set_phone(&sold.friend, "+919812345678").await;
    sold.friend.post(&accept, json!({})).await.ok();
    sold.until_status(&sold.friend, &transfer, "completed").await;
}

#[tokio::test]
async fn offers_that_nobody_can_accept_any_more_forget_their_address() {
    let sold = Sold::on(
        Stack::builder().workers(["payments", "bookings", "cleanup"]).start().await,
        &["A1", "A2"],
    )
    .await;
    let transfer = sold.offer(&sold.buyer, &sold.tickets[0], &sold.friends_address).await;
    sold.begins().await;
    sold.until_status(&sold.buyer, &transfer, "expired").await;
    sold.stack.execute("UPDATE ticket_transfers SET expires_at = now()").await;
    sold.stack.run_now("cleanup", "clean_up").await;
    eventually("the address is forgotten", SOON, async || {
        let left = sold.stack.count("ticket_transfers WHERE to_email IS NOT NULL").await;
        seen(left == 0, left)
    })
    .await;
    sold.until_status(&sold.buyer, &transfer, "expired").await;
}
