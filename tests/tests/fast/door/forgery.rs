//! What somebody can make of everything that everybody hears and sees.

use base64::{Engine, prelude::BASE64_STANDARD};
use data_encoding::BASE32_NOPAD;
use ed25519_dalek::{Signer, SigningKey};
use nexus_tests::{Stack, json, qr};
use sha2::{Digest, Sha256};

use super::{Sold, verdict};

/// A text as the bookings worker makes it, by somebody who has another key.
fn signed(key: &SigningKey, id: &[u8], event: i64, ticket: i64, nonce: i64) -> String {
    let number = |number: i64| i32::try_from(number).expect("an id").to_be_bytes();
    let claim = [id, &number(event), &number(ticket), &nonce.to_be_bytes()].concat();
    let signature = key.sign(&[b"NX1-".as_slice(), &claim].concat());
    format!("NX1-{}", BASE32_NOPAD.encode(&[claim, signature.to_bytes().to_vec()].concat()))
}

#[tokio::test]
async fn a_listener_with_every_broadcast_and_every_public_endpoint_makes_no_ticket() {
    let stack = Stack::builder().workers(["payments", "bookings"]).start().await;
    let listener = stack.socket("a listener", &stack.anonymous()).await;
    let sold = Sold::on(stack, &[("VIP", "A1")]).await;
    let stack = &sold.stack;
    // The listener has bought a ticket of another event of the same organiser, too.
    let elsewhere = stack.event(&sold.organiser, &[("VIP", 100.0, 5)]).await;
    let forger = stack.user().await;
    let (own, _) = stack.sell(&forger, &elsewhere, &[("VIP", "A1")]).await;
    let own = qr::text(&stack.until_tickets(&forger, &own, 1).await[0]);
    listener.wait_for_any("booking_confirmed").await;

    let mut known = listener.describe();
    let event = sold.event.id;
    for path in [
        format!("/events/{event}"),
        format!("/events/{event}/seat-types"),
        format!("/events/{event}/ticket-keys"),
        format!("/seats/{event}"),
        "/events".to_owned(),
    ] {
        known.push_str(&forger.get(&path).await.text);
    }
    for secret in [&sold.texts[0], &sold.texts[0][4..40]] {
        assert!(!known.contains(secret), "a part of the text is public");
    }

    let keys = forger.get(&sold.path("ticket-keys")).await.data();
    let public = BASE64_STANDARD.decode(keys[0]["public_key"].as_str().unwrap()).unwrap();
    let id = &Sha256::digest(&public)[..4];
    assert_eq!(keys[0]["id"], data_encoding::HEXLOWER.encode(id));
    let mine = SigningKey::from_bytes(&[7; 32]);
    let my_id = Sha256::digest(mine.verifying_key().as_bytes())[..4].to_vec();
    let of_public = SigningKey::from_bytes(&public.clone().try_into().unwrap());
    let ticket = sold.tickets[0]["id"].as_i64().unwrap();
    let nonce = stack.row("SELECT qr_nonce FROM tickets ORDER BY id LIMIT 1").await["qr_nonce"]
        .as_i64()
        .unwrap();
    let bytes = BASE32_NOPAD.decode(&own.as_bytes()[4..]).unwrap();
    // One's own ticket, with the other event and the other ticket written into it.
    let mut moved = bytes.clone();
    moved[4..8].copy_from_slice(&i32::try_from(event).unwrap().to_be_bytes());
    let mut replaced = moved.clone();
    replaced[8..12].copy_from_slice(&i32::try_from(ticket).unwrap().to_be_bytes());
    replaced[12..20].copy_from_slice(&nonce.to_be_bytes());
    let of_bytes = |bytes: &[u8]| format!("NX1-{}", BASE32_NOPAD.encode(bytes));
    let mut nothing_signed = bytes[..20].to_vec();
    nothing_signed.resize(84, 0);
    let reference = &sold.booking.reference;
    let ticket_id = format!("TKT-{reference}-A1");

    let made = [
        (ticket_id.clone(), "forged"),
        (
            json!({"ticketId": ticket_id, "bookingReference": reference, "eventId": event})
                .to_string(),
            "forged",
        ),
        (reference.clone(), "unknown"),
        (signed(&mine, &my_id, event, ticket, nonce), "forged"),
        (signed(&mine, id, event, ticket, nonce), "forged"),
        (signed(&of_public, id, event, ticket, nonce), "forged"),
        (of_bytes(&moved), "forged"),
        (of_bytes(&replaced), "forged"),
        (of_bytes(&nothing_signed), "forged"),
        (own.clone(), "wrong_event"),
        (own.to_lowercase(), "unknown"),
        (own.replacen("NX1", "NX2", 1), "unknown"),
    ];
    for (text, expected) in made {
        let checked = sold.scan(&sold.organiser, &text).await;
        assert_eq!(verdict(&checked).0, expected, "{text}: {checked}");
        assert_eq!(checked["check_in"], json!(null));
    }
    assert_eq!(stack.count("check_ins").await, 0);
    assert_eq!(verdict(&sold.scan(&sold.organiser, &sold.texts[0]).await), ("ok", ""));
    // What the Node service's tickets said is refused in words that help.
    let unsigned = sold.scan(&sold.organiser, &ticket_id).await;
    assert_eq!(verdict(&unsigned), ("forged", "unsigned"));
    // Nor does the way by hand take a code for an id, or an id for a code.
    let by_hand = json!({"ticket_id": sold.texts[0]});
    let by_hand = sold.organiser.post(&sold.path("check-ins"), by_hand).await.data();
    assert_eq!(verdict(&by_hand), ("unknown", ""));
}
