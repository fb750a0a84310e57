//! Mails that are refused for good.

use nexus_tests::{Fault, SOON, Stack, Target, eventually, json, seen};

#[tokio::test]
async fn a_refused_mail_is_shown_with_the_booking_and_is_no_dead_letter() {
    let stack = Stack::start().await;
    let (organiser, buyer) = (stack.user().await, stack.user().await);
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    stack.providers.fault(Target::Smtp, Some(1), Fault::status(550));
    let (booking, _) = stack.sell(&buyer, &event, &[("VIP", "A1")]).await;
    let path = format!("/bookings/{}", booking.id);
    let refused = eventually("the booking says so", SOON, async || {
        let booking = buyer.get(&path).await.data()["booking"].clone();
        let refused = booking["mail_refused_at"].clone();
        seen(refused.is_string(), booking).map(|_| refused)
    });
    assert!(refused.await.as_str().unwrap().ends_with('Z'));
    stack.until_idle(&["notifications"]).await;
    assert_eq!(stack.count("jobs WHERE state = 'dead'").await, 0);
    assert_eq!(stack.count("jobs WHERE kind = 'email_tickets' AND state = 'cancelled'").await, 1);
    let tickets = stack.until_tickets(&buyer, &booking, 1).await;
    assert_eq!(tickets[0]["email_sent"], false);

    // The buyer gives another address.
    buyer.post("/auth/change-email", json!({"email": "asha@new.example"})).await.ok();
    let code = stack.mailed_code("asha@new.example").await;
    buyer.post("/auth/verify-email", json!({"code": code})).await.ok();
    stack.mailed("asha@new.example", "Your tickets").await;
    eventually("the booking says nothing any more", SOON, async || {
        let booking = buyer.get(&path).await.data()["booking"].clone();
        seen(booking.get("mail_refused_at").is_none(), booking)
    })
    .await;
    assert_eq!(stack.address(&buyer).await, "asha@new.example");
}
