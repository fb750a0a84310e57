//! Ten thousand scans from twenty gates: each ticket is shown at two of them, at some moments by many
//! people at once, a quarter of the gates have no network, and some send their scans twice. In the
//! end each ticket has let one person in.
//!
//! `NEXUS_DOOR_TICKETS` says how many tickets there are.

use base64::{Engine, prelude::BASE64_STANDARD};
use data_encoding::BASE32_NOPAD;
use ed25519_dalek::{Signer, SigningKey};
use futures_util::{StreamExt, future::join_all, stream};
use nexus_tests::settings::setting;
use nexus_tests::{Client, Event, SOON, Stack, Value, eventually, json, seen};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::turn;

const GATES: usize = 20;
/// Scans that a gate sends at once.
const AT_ONCE: usize = 4;

/// A door whose tickets are sold.
struct Door {
    stack: Stack,
    event: Event,
    organiser: Client,
    /// A scanner at each gate, in turn at two API processes.
    scanners: Vec<Client>,
    texts: Vec<String>,
}

impl Door {
    async fn open(tickets: usize) -> Self {
        let stack = Stack::builder().workers([]).api_processes(2).without_limits().start().await;
        let organiser = stack.user().await;
        let event = stack.event(&organiser, &[("VIP", 100.0, tickets as u32)]).await;
        let path = format!("/events/{}", event.id);
        let mut scanners = vec![];
        for n in 0..GATES {
            let gate = json!({"name": format!("Gate {n}")});
            let gate = organiser.post(&format!("{path}/gates"), gate).await.data();
            let key = json!({"name": "a phone", "gate_id": gate["gate"]["id"]});
            let key = organiser.post(&format!("{path}/door-keys"), key).await.data();
            let scanner = stack.anonymous().with_token(0, key["token"].as_str().unwrap());
            scanners.push(scanner.at(&stack.api_url(n % 2)));
        }
        let texts = sell(&stack, &event, &organiser, tickets).await;
        Self { stack, event, organiser, scanners, texts }
    }

    fn path(&self, rest: &str) -> String {
        format!("/events/{}/{rest}", self.event.id)
    }
}

/// Puts sold tickets into the database, and returns what is in their codes.
async fn sell(stack: &Stack, event: &Event, buyer: &Client, count: usize) -> Vec<String> {
    let seed = stack.env().iter().find(|(name, _)| name == "TICKET_SIGNING_KEY").unwrap();
    let key = SigningKey::from_bytes(&BASE64_STANDARD.decode(&seed.1).unwrap().try_into().unwrap());
    let public = key.verifying_key().to_bytes();
    let id = &Sha256::digest(public)[..4];
    sqlx::query("INSERT INTO ticket_keys (id, public_key) VALUES ($1, $2)")
        .bind(data_encoding::HEXLOWER.encode(id))
        .bind(public.as_slice())
        .execute(&stack.db)
        .await
        .unwrap();
    let (event, seat_type, buyer) = (event.id, event.seat_type("VIP"), buyer.id);
    let sold = format!(
        "WITH seats AS (
             INSERT INTO seats (event_id, event_seat_type_id, seat_label, user_id, status, booked_at)
             SELECT {event}, {seat_type}, 'A' || n, {buyer}, 'booked', now() FROM generate_series(1, {count}) n RETURNING id, seat_label
         ), bookings AS (
             INSERT INTO bookings (booking_reference, event_id, user_id, total_amount, status, payment_status, confirmed_at)
             SELECT 'BKG-' || seat_label, {event}, {buyer}, 100, 'confirmed', 'completed', now() FROM seats RETURNING id, booking_reference
         )
         INSERT INTO tickets (booking_id, seat_id, ticket_id, seat_label, seat_type_name, price_paid, qr_nonce, status)
         SELECT b.id, s.id, 'TKT-' || booking_reference, seat_label, 'VIP', 100, -s.id, 'generated'
         FROM seats s JOIN bookings b ON booking_reference = 'BKG-' || seat_label RETURNING id, qr_nonce"
    );
    let tickets = sqlx::query_as::<_, (i32, i64)>(sqlx::AssertSqlSafe(sold));
    let tickets = tickets.fetch_all(&stack.db).await.unwrap();
    stack
        .execute(&format!(
            "UPDATE event_seat_types SET available_quantity = 0 WHERE id = {seat_type}"
        ))
        .await;
    let event = i32::try_from(event).unwrap().to_be_bytes();
    let text = |(ticket, nonce): (i32, i64)| {
        let claim = [id, &event, &ticket.to_be_bytes(), &nonce.to_be_bytes()].concat();
        let signature = key.sign(&[b"NX1-".as_slice(), &claim].concat()).to_bytes();
        format!("NX1-{}", BASE32_NOPAD.encode(&[claim, signature.to_vec()].concat()))
    };
    tickets.into_iter().map(text).collect()
}

/// What a gate does with the tickets that are shown there; how many people it has let in.
async fn work(door: &Door, gate: usize, is_offline: bool) -> usize {
    let scanner = &door.scanners[gate];
    // Each ticket comes to the gate of its number, and to another one.
    let shown = door.texts.iter().enumerate();
    let shown = shown.filter(|(n, _)| n % GATES == gate || (n * 7 + 3) % GATES == gate);
    let scans = shown.map(|(_, text)| json!({"scan_id": Uuid::now_v7(), "text": text}));
    if !is_offline {
        let verdicts = stream::iter(scans.enumerate()).map(async |(n, scan): (usize, Value)| {
            let path = door.path("check-ins");
            // Every tenth answer is lost, and the scan sent again.
            if n % 10 == 0 {
                scanner.post(&path, scan.clone()).await;
            }
            scanner.post(&path, scan).await.data()["result"].clone()
        });
        let verdicts: Vec<Value> = verdicts.buffer_unordered(AT_ONCE).collect().await;
        return verdicts.iter().filter(|verdict| **verdict == "ok").count();
    }
    // Everybody is let in once, for all that this gate knows.
    let scans: Vec<Value> = scans
        .map(|mut scan| {
            scan["at"] = json!("2026-11-30T18:00:00Z");
            scan
        })
        .collect();
    for portion in scans.chunks(200) {
        for _ in 0..2 {
            let uploaded = json!({"scans": portion});
            scanner.post(&door.path("check-ins/upload"), uploaded).await.ok();
        }
    }
    scans.len()
}

#[tokio::test]
async fn each_of_thousands_of_tickets_lets_one_person_in_at_twenty_gates() {
    let _turn = turn().await;
    let count = setting("NEXUS_DOOR_TICKETS", 1_000) as usize;
    let door = Door::open(count).await;
    let organiser = door.stack.socket("the organiser", &door.organiser).await;
    let gates = (0..GATES).map(|gate| work(&door, gate, gate % 4 == 3));
    let let_in: usize = join_all(gates).await.into_iter().sum();

    let stack = &door.stack;
    let entries = stack.count("check_ins WHERE conflict IS NULL").await;
    assert_eq!(entries, count as i64, "each ticket has let one person in");
    assert_eq!(stack.count("tickets WHERE status = 'used'").await, count as i64);
    // Whoever else was let in is known.
    let conflicts = stack.count("check_ins WHERE conflict = 'already_used'").await;
    assert_eq!(entries + conflicts, let_in as i64, "people who were let in");
    assert_eq!(stack.count("check_ins").await, let_in as i64);
    let counts = door.organiser.get(&door.path("check-ins/counts")).await.data();
    assert_eq!(
        (&counts["checked_in"], &counts["conflicts"], &counts["sold"]),
        (&json!(entries), &json!(conflicts), &json!(count))
    );
    eventually("the organiser hears the last counts", SOON, async || {
        let heard = organiser.received("event:checkin-update").pop().unwrap_or_default();
        seen(heard["checked_in"] == entries && heard["conflicts"] == conflicts, heard).map(drop)
    })
    .await;
    println!("{count} tickets, {let_in} people let in, {conflicts} conflicts");
}
