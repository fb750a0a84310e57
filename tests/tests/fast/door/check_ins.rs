//! Each ticket lets one person in, whoever scans it, and however often.

use futures_util::future::join_all;
use nexus_tests::{SOON, Stack, eventually, json, qr, seen};

use super::{Sold, code, scan_id, verdict};

#[tokio::test]
async fn a_ticket_lets_one_person_in_and_the_next_gate_learns_of_it() {
    let sold = Sold::seats(&[("VIP", "A1"), ("VIP", "A2")]).await;
    let (north, south) = (sold.gate("North", &[]).await, sold.gate("South", &[]).await);
    let (first, _) = sold.scanner(Some(north)).await;
    let (second, _) = sold.scanner(Some(south)).await;

    let checked = sold.scan(&first, &sold.texts[0]).await;
    assert_eq!(verdict(&checked), ("ok", ""));
    assert_eq!(checked["ticket"]["ticket_id"], sold.tickets[0]["ticket_id"]);
    assert_eq!(checked["ticket"]["booking_reference"], sold.booking.reference);
    assert_eq!(checked["check_in"]["gate"], json!({"id": north, "name": "North"}));
    assert_eq!(sold.statuses().await, ["used", "generated"]);

    let again = sold.scan(&second, &sold.texts[0]).await;
    assert_eq!(verdict(&again), ("already_used", ""));
    assert_eq!(again["check_in"], checked["check_in"], "when, and at which gate");
    // A picture of the text has spaces around it at times.
    assert_eq!(verdict(&sold.scan(&second, &format!(" {}\n", sold.texts[1])).await), ("ok", ""));
}

#[tokio::test]
async fn of_many_gates_that_scan_one_ticket_at_the_same_moment_one_lets_in() {
    let stack = Stack::builder().workers(["payments", "bookings"]).api_processes(2).start().await;
    let sold = Sold::on(stack, &[("VIP", "A1"), ("VIP", "A2"), ("VIP", "A3")]).await;
    let (scanner, _) = sold.scanner(None).await;
    for text in &sold.texts {
        let scans = (0..20).map(|n| {
            let scanner = scanner.clone().at(&sold.stack.api_url(n % 2));
            let sold = &sold;
            async move { sold.scan(&scanner, text).await["result"].clone() }
        });
        let results = join_all(scans).await;
        let let_in = results.iter().filter(|result| **result == "ok").count();
        let refused = results.iter().filter(|result| **result == "already_used").count();
        assert_eq!((let_in, refused), (1, 19), "{results:?}");
    }
    assert_eq!(sold.stack.count("check_ins").await, 3);
}

#[tokio::test]
async fn a_scan_that_is_sent_again_gets_the_same_answer() {
    let sold = Sold::seats(&[("VIP", "A1"), ("VIP", "A2")]).await;
    let (scanner, _) = sold.scanner(None).await;
    let scan = json!({"text": sold.texts[0], "scan_id": scan_id()});
    let path = sold.path("check-ins");
    let answers = join_all((0..10).map(|_| scanner.post(&path, scan.clone()))).await;
    let answers: Vec<_> = answers.into_iter().map(nexus_tests::Response::data).collect();
    assert_eq!(verdict(&answers[0]), ("ok", ""));
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(sold.stack.count("check_ins").await, 1);

    let other = json!({"text": sold.texts[1], "scan_id": scan["scan_id"]});
    let refused = scanner.post(&path, other).await;
    refused.failed(400, "scan_id belongs to another scan");
    // Nor does somebody else's scanner let somebody in by repeating it.
    let (other, _) = sold.scanner(None).await;
    other.post(&path, scan).await.failed(400, "scan_id belongs to another scan");
    let no_uuid = json!({"text": sold.texts[1], "scan_id": "17"});
    scanner.post(&path, no_uuid).await.failed(400, "scan_id must be a UUID");
}

#[tokio::test]
async fn what_is_not_good_any_more_is_void() {
    let sold = Sold::seats(&[("VIP", "A1"), ("VIP", "A2")]).await;
    // Issued anew: the row has another nonce.
    sold.stack.execute("UPDATE tickets SET qr_nonce = qr_nonce + 1 WHERE seat_label = 'A1'").await;
    let reissued = sold.scan(&sold.organiser, &sold.texts[0]).await;
    assert_eq!(verdict(&reissued), ("void", "reissued"));
    sold.buyer.cancel(&sold.booking).await.ok();
    let cancelled = sold.scan(&sold.organiser, &sold.texts[1]).await;
    assert_eq!(verdict(&cancelled), ("void", "cancelled"));
    let by_hand = json!({"ticket_id": sold.tickets[1]["ticket_id"]});
    let by_hand = sold.organiser.post(&sold.path("check-ins"), by_hand).await.data();
    assert_eq!(verdict(&by_hand), ("void", "cancelled"));
    assert_eq!(sold.stack.count("check_ins").await, 0);
}

#[tokio::test]
async fn a_ticket_of_another_event_is_told_from_one_that_nobody_knows() {
    let sold = Sold::seats(&[("VIP", "A1")]).await;
    let other = sold.stack.event(&sold.organiser, &[("VIP", 1.0, 1)]).await;
    let path = format!("/events/{}/check-ins", other.id);
    let wrong = sold.organiser.post(&path, json!({"text": sold.texts[0]})).await.data();
    assert_eq!((verdict(&wrong), &wrong["ticket"]), (("wrong_event", ""), &json!(null)));
    let ticket_id = json!({"ticket_id": sold.tickets[0]["ticket_id"]});
    let unknown = sold.organiser.post(&path, ticket_id).await.data();
    assert_eq!(verdict(&unknown), ("unknown", ""));
    for no_ticket in ["https://example.com", "hello", "NX1-", "NX1-AAAA"] {
        assert_eq!(verdict(&sold.scan(&sold.organiser, no_ticket).await), ("unknown", ""));
    }
    for (request, message) in [
        (json!({}), "Either text or ticket_id is required"),
        (json!({"text": " "}), "text must not be empty"),
        (json!({"text": "x".repeat(5_000)}), "text must be at most 4096 characters long"),
    ] {
        let refused = sold.organiser.post(&sold.path("check-ins"), request).await;
        refused.failed(400, message);
    }
}

#[tokio::test]
async fn who_is_found_by_hand_comes_in_as_with_a_code() {
    let sold = Sold::seats(&[("VIP", "A1")]).await;
    let (scanner, _) = sold.scanner(None).await;
    let by_hand = json!({"ticket_id": sold.tickets[0]["ticket_id"]});
    let checked = scanner.post(&sold.path("check-ins"), by_hand).await.data();
    assert_eq!((verdict(&checked), &checked["check_in"]["by_hand"]), (("ok", ""), &json!(true)));
    let code = sold.scan(&scanner, &sold.texts[0]).await;
    assert_eq!(verdict(&code), ("already_used", ""));
}

#[tokio::test]
async fn a_check_in_that_is_undone_leaves_the_ticket_as_it_was() {
    let sold = Sold::seats(&[("VIP", "A1")]).await;
    let (scanner, _) = sold.scanner(None).await;
    let (other, _) = sold.scanner(None).await;
    let id = scan_id();
    let scan = json!({"text": sold.texts[0], "scan_id": id});
    scanner.post(&sold.path("check-ins"), scan.clone()).await.ok();

    let undo = sold.path(&format!("check-ins/{id}"));
    let stranger = other.delete(&undo).await;
    stranger.failed(403, "You are not authorized to undo what others have checked in");
    scanner.delete(&undo).await.ok();
    assert_eq!(sold.statuses().await, ["generated"]);
    scanner.delete(&undo).await.ok();
    // What was on its way when it was undone lets nobody in.
    let late = scanner.post(&sold.path("check-ins"), scan).await;
    assert_eq!(code(&late), (409, "check_in_undone"));
    let checked = sold.scan(&other, &sold.texts[0]).await;
    assert_eq!(verdict(&checked), ("ok", ""));
    let undo =
        sold.path(&format!("check-ins/{}", checked["check_in"]["scan_id"].as_str().unwrap()));
    sold.organiser.delete(&undo).await.ok();
    assert_eq!(sold.statuses().await, ["generated"]);
    assert_eq!(sold.stack.count("audit_log WHERE action = 'check_in_undone'").await, 2);
    let unknown = sold.organiser.delete(&sold.path(&format!("check-ins/{}", scan_id()))).await;
    assert_eq!(code(&unknown), (404, "check_in_not_found"));
}

#[tokio::test]
async fn who_has_come_in_cannot_cancel() {
    let sold = Sold::seats(&[("VIP", "A1"), ("VIP", "A2")]).await;
    sold.scan(&sold.organiser, &sold.texts[0]).await;
    let refused = sold.buyer.cancel(&sold.booking).await;
    refused.failed(409, "Cannot cancel confirmed booking. Its tickets have been used.");
    assert_eq!(code(&refused), (409, "tickets_used"));
    assert_eq!(sold.statuses().await, ["used", "generated"]);
    assert_eq!(sold.stack.count("refunds").await, 0);

    // The organiser's cancellation of the event gives everybody their money back.
    let cancelled = json!({"status": "cancelled"});
    sold.organiser.put(&format!("/events/{}", sold.event.id), cancelled).await.ok();
    sold.stack.until_booking(&sold.buyer, &sold.booking, "cancelled", "refunded").await;
    let void = sold.scan(&sold.organiser, &sold.texts[1]).await;
    assert_eq!(verdict(&void), ("void", "cancelled"));
    // What was recorded at its door goes with the event.
    sold.gate("North", &[]).await;
    sold.organiser.delete(&format!("/events/{}", sold.event.id)).await.ok();
    assert_eq!(sold.stack.count("check_ins").await, 0);
}

#[tokio::test]
async fn nobody_comes_in_and_gets_the_money_back() {
    let seats: Vec<String> = (1..=12).map(|n| format!("A{n}")).collect();
    let sold = Sold::seats(&[("Balcony", "B1")]).await;
    for label in &seats {
        let buyer = sold.stack.user().await;
        let (booking, _) = sold.stack.sell(&buyer, &sold.event, &[("VIP", label)]).await;
        let ticket = sold.stack.until_tickets(&buyer, &booking, 1).await.remove(0);
        let text = qr::text(&ticket);
        let (cancelled, checked) =
            tokio::join!(buyer.cancel(&booking), sold.scan(&sold.organiser, &text));
        match verdict(&checked) {
            ("ok", _) => assert_eq!(code(&cancelled), (409, "tickets_used")),
            ("void", "cancelled") => assert_eq!(cancelled.status, 200),
            other => panic!("{other:?} and {}", cancelled.text),
        }
    }
    eventually("refunds and entries are together as many as bookings", SOON, async || {
        let (refunds, entries) =
            (sold.stack.count("refunds").await, sold.stack.count("check_ins").await);
        seen(refunds + entries == 12, (refunds, entries))
    })
    .await;
}

#[tokio::test]
async fn the_door_opens_a_day_before_the_event_and_not_as_soon_as_tickets_are_sold() {
    let stack = Stack::builder().workers(["payments", "bookings"]);
    let stack = stack.env("DOOR_OPENS_HOURS_BEFORE_START", 24).start().await;
    let sold = Sold::on(stack, &[("VIP", "A1"), ("VIP", "A2")]).await;
    let (scanner, _) = sold.scanner(None).await;
    let starts = async |after: &str| {
        let moved = format!(
            "UPDATE events SET start_date = now() + interval '{after}', end_date = now() + interval '{after}'"
        );
        sold.stack.execute(&moved).await;
    };
    starts("25 hours").await;
    let scan = json!({"text": sold.texts[0]});
    let early = scanner.post(&sold.path("check-ins"), scan.clone()).await;
    assert_eq!(code(&early), (409, "door_closed"));
    let by_hand = json!({"ticket_id": sold.tickets[0]["ticket_id"]});
    let by_hand = sold.organiser.post(&sold.path("check-ins"), by_hand).await;
    assert_eq!(code(&by_hand), (409, "door_closed"), "an organiser keeps nobody from cancelling");
    let upload = json!({"scans": [{"text": sold.texts[0], "scan_id": scan_id(), "at": "2026-11-30T12:00:00Z"}]});
    let upload = scanner.post(&sold.path("check-ins/upload"), upload).await;
    assert_eq!(code(&upload), (409, "door_closed"));
    starts("23 hours").await;
    assert_eq!(verdict(&sold.scan(&scanner, &sold.texts[0]).await), ("ok", ""));
    starts("-47 hours").await;
    assert_eq!(verdict(&sold.scan(&scanner, &sold.texts[1]).await), ("ok", ""));
    starts("-49 hours").await;
    let late = sold.organiser.post(&sold.path("check-ins"), scan).await;
    assert_eq!(code(&late), (409, "door_closed"));
}

#[tokio::test]
async fn a_ticket_with_which_others_say_that_somebody_is_in_lets_nobody_in_twice() {
    let sold = Sold::seats(&[("VIP", "A1"), ("VIP", "A2")]).await;
    sold.scan(&sold.organiser, &sold.texts[0]).await;
    // The Node service, beside us, mails a ticket; an operator marks another one.
    sold.stack.execute("UPDATE tickets SET status = 'sent' WHERE seat_label = 'A1'").await;
    sold.stack.execute("UPDATE tickets SET status = 'used' WHERE seat_label = 'A2'").await;
    for text in &sold.texts {
        let again = sold.scan(&sold.organiser, text).await;
        assert_eq!(verdict(&again), ("already_used", ""));
    }
}

#[tokio::test]
async fn a_ticket_whose_check_in_is_undone_after_its_key_was_revoked_gets_another_code() {
    let sold = Sold::seats(&[("VIP", "A1")]).await;
    let checked = sold.scan(&sold.organiser, &sold.texts[0]).await;
    let keys = sold.buyer.get(&sold.path("ticket-keys")).await.data();
    sold.stack.api_cli_ok(&["ticket-keys", "revoke", keys[0]["id"].as_str().unwrap()]).await;
    assert_eq!(sold.stack.count("tickets WHERE qr_nonce IS NULL").await, 0);
    let undo = format!("check-ins/{}", checked["check_in"]["scan_id"].as_str().unwrap());
    sold.organiser.delete(&sold.path(&undo)).await.ok();
    let waits = "tickets WHERE qr_nonce IS NULL AND status = 'generated'";
    assert_eq!(sold.stack.count(waits).await, 1, "tickets that are to be issued anew");
}
