//! Mails and SMS about bookings: how many, and that strangers' words are no links in them.

use nexus_tests::{Client, Event, SOON, Stack, eventually, seen};

const PHONE: &str = "+919812345678";

/// A buyer with a proved phone and address, and an event that costs nothing.
async fn start(settings: &[(&str, &str)]) -> (Stack, Client, Event) {
    let stack = Stack::builder().settings(settings).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 0.0, 50)]).await;
    let buyer = stack.user().await;
    stack.set_phone(&buyer, PHONE).await;
    (stack, buyer, event)
}

/// Until nothing is left to send now.
async fn until_sent(stack: &Stack) {
    eventually("all messages are sent, left out or waiting", SOON, async || {
        let due = "jobs WHERE state IN ('pending', 'queued', 'running') AND available_at < now() + interval '1 minute'
                   AND queue IN ('notifications', 'bookings')";
        let due = stack.count(due).await;
        seen(due == 0, due)
    })
    .await;
}

#[tokio::test]
async fn who_books_and_cancels_in_a_circle_has_few_messages_sent() {
    let (stack, buyer, event) =
        start(&[("RATE_LIMIT_SMS", "2/1d"), ("RATE_LIMIT_MAIL", "3/1d")]).await;
    for _ in 0..6 {
        let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
        stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
        buyer.cancel(&booking).await.ok();
    }
    until_sent(&stack).await;
    let sms = stack.providers.sms();
    assert_eq!(sms.iter().filter(|sms| sms.to == PHONE).count(), 2, "{sms:?}");
    let mails = stack.providers.mail();
    let about_bookings = mails.iter().filter(|mail| mail.text.contains("BKG-")).count();
    assert_eq!(about_bookings, 3, "{mails:?}");

    // The account has had its share, whatever its phone is.
    stack.set_phone(&buyer, "+919812345679").await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    buyer.cancel(&booking).await.ok();
    until_sent(&stack).await;
    assert_eq!(stack.providers.sms().len(), 2);
    assert_eq!(stack.count("jobs WHERE state = 'dead'").await, 0, "dead letters");
}

#[tokio::test]
async fn tickets_beyond_the_days_mails_wait_and_are_sent_when_there_is_room() {
    let (stack, buyer, event) = start(&[("RATE_LIMIT_MAIL", "1/3s")]).await;
    for seat in ["A1", "A2"] {
        buyer.lock_and_book(&event, &[("VIP", seat)]).await;
    }
    eventually("both are mailed", SOON, async || {
        let mails = stack.providers.mail();
        let tickets = mails.iter().filter(|mail| mail.subject.starts_with("Your tickets")).count();
        seen(tickets == 2, tickets)
    })
    .await;
    let waited =
        "jobs WHERE kind = 'email_tickets' AND available_at > created_at + interval '1 second'";
    assert_eq!(stack.count(waited).await, 1);
}

#[tokio::test]
async fn an_organisers_words_become_no_links_in_sms_and_subjects() {
    let (stack, buyer, event) = start(&[]).await;
    stack.execute("UPDATE events SET name = 'Win at https://evil.example/now'").await;
    buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    let (subject, sms) = eventually("the tickets are told", SOON, async || {
        let mails = stack.providers.mail();
        let mail = mails.into_iter().find(|mail| mail.subject.starts_with("Your tickets"));
        let sms = stack.providers.sms().pop();
        mail.zip(sms).map(|(mail, sms)| (mail.subject, sms.body)).ok_or("nothing".to_owned())
    })
    .await;
    assert_eq!(subject, "Your tickets for Win at https evil. example/now");
    assert!(sms.starts_with("Your tickets for Win at https evil. example/now, 1 May"), "{sms}");
}

#[tokio::test]
async fn a_country_that_has_had_its_sms_gets_the_others_the_next_day() {
    let (stack, buyer, event) = start(&[("SMS_DAILY_CAP", "91:1,*:1")]).await;
    for seat in ["A1", "A2"] {
        buyer.lock_and_book(&event, &[("VIP", seat)]).await;
    }
    let snoozed = "jobs WHERE kind = 'sms_tickets' AND state = 'pending' AND attempt = 0
                   AND available_at > now() + interval '1 hour'";
    eventually("one SMS is sent and the other waits", SOON, async || {
        let (sent, waiting) = (stack.providers.sms().len(), stack.count(snoozed).await);
        seen((sent, waiting) == (1, 1), (sent, waiting))
    })
    .await;
}
