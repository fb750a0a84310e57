//! A whole sale from beginning to end, with the official client.

use nexus_sandbox::providers::Attachment;
use nexus_tests::shop::{MASKED_REFERENCE, PASSWORD};
use nexus_tests::{Booking, Event, Outcome, SOON, Stack, Value, eventually, json, qr, shop};

const PHONE: &str = "+919812345678";
const EMAIL: &str = "asha@nexus.example";

/// What each client hears, in the order in which it has to come.
#[tokio::test]
async fn seats_are_sold_from_the_lock_to_the_ticket_in_the_mail() {
    let stack = Stack::start().await;
    let polling = json!({"transports": ["polling"]});
    let websocket = json!({"transports": ["websocket"]});
    let viewers = [
        stack.socket_with("the polling viewer", &stack.anonymous(), polling).await,
        stack.socket_with("the websocket viewer", &stack.anonymous(), websocket).await,
    ];

    // An organiser creates an event.
    let registration = json!({"name": "Ravi", "username": "ravi", "email": "ravi@nexus.example", "password": PASSWORD});
    let response = stack.anonymous().post("/auth/register", registration).await.data();
    assert_eq!(response["message"], "User registered successfully");
    let organiser = stack.anonymous().logged_in(&response);
    let created = organiser.post(
        "/events/create",
        shop::event_request(&[("VIP", 1500.5, 50), ("Standard", 499.0, 500)]),
    );
    let created = created.await.data();
    assert_eq!(
        created["message"],
        "Event created successfully with 550 virtual seats. Seats will be generated on-demand when booked."
    );
    let event = Event::from_created(&created);
    for viewer in &viewers {
        let broadcast = viewer.wait_for_any("event_created").await;
        assert_eq!(
            (&broadcast["event"], &broadcast["total_seats_available"]),
            (&created["event"], &json!(550))
        );
    }

    // A buyer logs in with a one-time password.
    let registration =
        json!({"name": "Asha", "email": EMAIL, "phone": "98123 45678", "password": PASSWORD});
    let registered = stack.anonymous().post("/auth/register", registration).await.data();
    let anonymous = stack.anonymous();
    let known = anonymous.clone().logged_in(&registered);
    let sent = anonymous.post("/auth/send-otp", json!({"phone": PHONE})).await.data();
    let challenge = sent["challenge_id"].as_str().expect("a challenge");
    assert_eq!(
        sent,
        json!({"success": true, "message": "OTP sent successfully", "status": "pending", "expiresIn": "10 minutes", "challenge_id": challenge})
    );
    let otp = eventually("the code is sent", SOON, async || {
        stack.providers.otp(PHONE).ok_or("none".into())
    })
    .await;
    // Who is logged in to the account proves the phone, and then the address.
    let proof = json!({"phone": PHONE, "otp": otp.code, "challenge_id": challenge});
    let login = known.post("/auth/verify-otp", proof).await.data();
    assert_eq!(
        (&login["message"], &login["isNewUser"]),
        (&json!("OTP verified and login successful"), &json!(false))
    );
    assert_eq!(login["user"]["id"], registered["user"]["id"], "the phone's user logs in");
    assert_eq!(login["user"]["email"], EMAIL);
    let buyer = stack.anonymous().logged_in(&login);
    let code = stack.mailed_code(EMAIL).await;
    buyer.post("/auth/verify-email", json!({"code": code})).await.ok();
    let buyer_socket = stack.socket("the buyer", &buyer).await;

    // Two seats are locked; all other clients see it.
    for (label, left) in [("V1", 49), ("V2", 48)] {
        let lock = json!({"eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": label.to_lowercase()});
        buyer_socket.emit("lock_seat", &[lock]).await;
        let is_it = |response: &Value| response["data"]["lock"]["seat_label"] == label;
        let response = buyer_socket.wait_for("lock_seat_response", is_it, SOON).await;
        let data = &response["data"];
        assert_eq!(response["success"], true, "{response}");
        assert_eq!(
            data["message"],
            format!("Seat {label} locked successfully. Lock expires in 10 minutes.")
        );
        assert_eq!(data["expires_in_seconds"], 600);
        assert_eq!(
            (&data["lock"]["user_id"], &data["lock"]["status"]),
            (&json!(buyer.id), &json!("locked"))
        );
        for viewer in &viewers {
            let broadcast = viewer
                .wait_for("seat_locked", |broadcast| broadcast["seat_label"] == label, SOON)
                .await;
            // Others are not told whose it is.
            assert_ne!(broadcast["user_id"], buyer.id);
            let mut lock = data["lock"].clone();
            lock["user_id"] = broadcast["user_id"].clone();
            let expected = json!({
                "event_id": event.id,
                "seat_type_id": event.seat_type("VIP"),
                "seat_label": label,
                "user_id": broadcast["user_id"],
                "available_quantity": left,
                "version": broadcast["version"],
                "lock": lock,
            });
            assert_eq!(broadcast, expected);
        }
    }

    // They become a booking.
    let detail = |label: &str| json!({"seat_label": label, "seat_type_id": event.seat_type("VIP")});
    let request = json!({"event_id": event.id, "seat_details": [detail("V1"), detail("V2")]});
    buyer_socket.emit("create_booking", &[request]).await;
    let response = buyer_socket.wait_for_any("create_booking_response").await;
    assert_eq!(response["success"], true, "{response}");
    assert_eq!(
        response["data"]["message"],
        "Booking created successfully. Please complete payment within 15 minutes."
    );
    assert_eq!(response["data"]["payment_required"], true);
    let booking = Booking::from_created(&response["data"]);
    assert_eq!(booking.total, 3001.0);
    for viewer in &viewers {
        let expected = json!({
            "event_id": event.id,
            "booking_reference": MASKED_REFERENCE,
            "total_amount": null,
            "status": "pending",
        });
        assert_eq!(viewer.wait_for_any("booking_created").await, expected);
    }

    // It is paid for, and the webhook is answered before the work is done.
    let order = buyer.try_order(&booking).await.data();
    assert_eq!((&order["amount"], &order["receipt"]), (&json!(300_100), &json!(booking.reference)));
    assert_eq!(order["checkout_options"]["prefill"]["email"], EMAIL);
    let order_id = order["order_id"].as_str().unwrap();
    let payment = stack.pay(order_id, Outcome::Captured);
    let delivery = eventually("the webhook is answered", SOON, async || {
        let captured = stack
            .providers
            .webhooks()
            .into_iter()
            .find(|webhook| webhook.event == "payment.captured");
        captured
            .and_then(|webhook| webhook.attempts.first().cloned())
            .ok_or("no attempt yet".into())
    });
    let delivery = delivery.await;
    assert_eq!(delivery.status, Some(200), "{delivery:?}");
    assert!(delivery.duration_ms < 1_000, "a webhook is answered at once: {delivery:?}");
    let confirmed = stack.until_booking(&buyer, &booking, "confirmed", "completed").await;
    assert_eq!(confirmed["booking"]["payment_id"], payment.id);
    assert_eq!(confirmed["booking"]["payment_gateway"], "razorpay");
    let verified = buyer.get(&format!("/payments/verify/{order_id}")).await.data();
    assert_eq!(
        (&verified["is_confirmed"], &verified["booking_id"]),
        (&json!(true), &json!(booking.id))
    );

    for viewer in &viewers {
        let expected = json!({
            "booking_id": booking.id,
            "booking_reference": MASKED_REFERENCE,
            "event_id": event.id,
            "total_tickets": 2,
            "status": "confirmed",
        });
        assert_eq!(viewer.wait_for_any("booking_confirmed").await, expected);
        for label in ["V1", "V2"] {
            let broadcast = viewer
                .wait_for("seat_booked", |broadcast| broadcast["seat_label"] == label, SOON)
                .await;
            let expected = json!({
                "event_id": event.id,
                "seat_type_id": event.seat_type("VIP"),
                "seat_label": label,
                "available_quantity": 48,
                "version": broadcast["version"],
            });
            assert_eq!(broadcast, expected);
        }
    }

    // The buyer gets two tickets, and hears of them.
    let ready = buyer_socket.wait_for_any("tickets:ready").await;
    let expected = json!({
        "bookingId": booking.id,
        "bookingReference": booking.reference,
        "ticketCount": 2,
        "userId": buyer.id,
    });
    assert_eq!(ready, expected);
    let tickets = stack.until_tickets(&buyer, &booking, 2).await;
    for (ticket, label) in tickets.iter().zip(["V1", "V2"]) {
        assert_eq!(ticket["ticket_id"], format!("TKT-{}-{label}", booking.reference));
        assert_eq!((&ticket["seat_label"], &ticket["price_paid"]), (&json!(label), &json!(1500.5)));
        let code = stack.ticket_code(ticket);
        assert_eq!((code.event, code.ticket), (event.id, ticket["id"].as_i64().unwrap()));
    }

    // They are in the mail.
    let mail = stack.mailed(EMAIL, "Your tickets").await;
    let pictures = |of: &str| {
        let is_one =
            |file: &&Attachment| file.content_type == "image/png" && file.filename.starts_with(of);
        mail.attachments.iter().filter(is_one).cloned().collect::<Vec<_>>()
    };
    assert_eq!(pictures("code-").len(), 2, "those that the text shows");
    let mut codes: Vec<_> = pictures("TKT-")
        .iter()
        .map(|file| stack.ticket_text(&qr::read_png(&file.content()).2))
        .collect();
    codes.sort();
    let mut expected: Vec<_> = tickets.iter().map(|ticket| stack.ticket_code(ticket)).collect();
    expected.sort();
    assert_eq!(codes, expected);

    // Another broadcast, so that all earlier ones have reached the viewers: none of them is for the
    // buyer alone.
    organiser
        .put(&format!("/events/{}", event.id), json!({"venue_name": "Harbour Hall"}))
        .await
        .ok();
    for viewer in &viewers {
        viewer.wait_for_any("event_updated").await;
        assert!(viewer.received("tickets:ready").is_empty(), "{}", viewer.describe());
        let counts = |broadcast: &Value| broadcast["seat_types"][0]["available_quantity"] == 48;
        viewer.wait_for("event:seats-update", counts, SOON).await;
    }
    buyer_socket.wait_for_any("event_updated").await;
    for event in ["seat_locked", "booking_created"] {
        assert!(
            buyer_socket.received(event).is_empty(),
            "the sender hears {event}: {}",
            buyer_socket.describe()
        );
    }
    stack.assert_invariants().await;
}
