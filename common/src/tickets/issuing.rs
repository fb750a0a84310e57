//! How tickets are made: one per seat of a confirmed booking, with a QR code
//! (docs/contract.md#bookings) that holds a signed text ([`codes`](super::codes)).

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use super::{
    broadcasts::TicketsReady,
    codes::{Code, SigningKey},
    keys,
};
use crate::{
    error::{Error, Result},
    jobs::{
        self,
        notifications::{EmailTickets, SmsTickets},
    },
    realtime::{Audience, Broadcast},
    types::{
        ids::{BookingId, EventId, SeatId, TicketId, UserId},
        money::Paise,
        seats::SeatLabel,
    },
};

/// A ticket that has no code yet, and no row.
#[derive(Debug)]
pub struct PendingTicket {
    booking: BookingId,
    /// `tickets.id`, which the code contains. An id that is not used in the end is lost.
    id: TicketId,
    event: EventId,
    seat_id: SeatId,
    ticket_id: String,
    seat_label: SeatLabel,
    seat_type_name: String,
    price: Paise,
}

/// A ticket with its code.
#[derive(Debug)]
pub struct SignedTicket {
    ticket: PendingTicket,
    code: StoredCode,
}

/// A code, and its picture where the Node service works on the same data and shows it.
#[derive(Debug)]
pub(super) struct StoredCode {
    pub(super) code: Code,
    pub(super) picture: Option<String>,
}

/// Makes codes.
#[derive(Clone, Debug)]
pub struct Signer {
    pub key: SigningKey,
    /// Whether pictures are stored.
    pub draws: bool,
}

impl Signer {
    /// A new code of a ticket.
    pub(super) fn code(&self, event: EventId, ticket: TicketId) -> Result<StoredCode> {
        let code = Code::new(&self.key, event, ticket);
        let picture = self.draws.then(|| code.picture()).transpose()?;
        Ok(StoredCode { code, picture })
    }
}

/// The seats of confirmed bookings that have no ticket yet. If a label occurs in two seat types of
/// a booking, the type's id follows it, so that ticket ids differ (docs/contract.md#change-9).
pub async fn pending(
    conn: &mut PgConnection,
    bookings: &[BookingId],
) -> Result<Vec<PendingTicket>> {
    let rows = sqlx::query!(
        r#"SELECT s.id AS "seat_id: SeatId", s.seat_label AS "seat_label: SeatLabel", s.event_seat_type_id, t.name AS seat_type_name,
                  bs.price_paid AS "price: Paise", b.id AS "booking: BookingId", b.booking_reference, b.event_id AS "event_id: EventId",
                  k.id IS NOT NULL AS "issued!",
                  CASE WHEN k.id IS NULL THEN nextval(pg_get_serial_sequence('tickets', 'id'))::integer END AS "id: TicketId"
           FROM bookings b
           JOIN booking_seats bs ON bs.booking_id = b.id
           JOIN seats s ON s.id = bs.seat_id AND s.status = 'booked'
           JOIN event_seat_types t ON t.id = s.event_seat_type_id
           LEFT JOIN tickets k ON k.booking_id = b.id AND k.seat_id = s.id
           WHERE b.id = ANY ($1) AND b.status = 'confirmed'
           ORDER BY b.id, s.id"#,
        bookings as _,
    )
    .fetch_all(conn)
    .await?;
    let mut labels: HashMap<(BookingId, &SeatLabel), usize> = HashMap::new();
    for row in &rows {
        *labels.entry((row.booking, &row.seat_label)).or_default() += 1;
    }
    rows.iter()
        .filter(|row| !row.issued)
        .map(|row| {
            let mut ticket_id = format!("TKT-{}-{}", row.booking_reference, row.seat_label);
            if labels.get(&(row.booking, &row.seat_label)).is_some_and(|n| *n > 1) {
                ticket_id.push_str(&format!("-{}", row.event_seat_type_id));
            }
            Ok(PendingTicket {
                booking: row.booking,
                id: row.id.ok_or_else(|| Error::internal("tickets.id has no sequence"))?,
                event: row.event_id,
                seat_id: row.seat_id,
                ticket_id,
                seat_label: row.seat_label.clone(),
                seat_type_name: row.seat_type_name.clone(),
                price: row.price,
            })
        })
        .collect()
}

/// Signs the codes. Occupies a core for a while: do not call it on an async thread.
pub fn sign(tickets: Vec<PendingTicket>, signer: &Signer) -> Result<Vec<SignedTicket>> {
    let sign = |ticket: PendingTicket| {
        let code = signer.code(ticket.event, ticket.id)?;
        Ok(SignedTicket { ticket, code })
    };
    tickets.into_iter().map(sign).collect()
}

/// Stores signed tickets of bookings, and enqueues their delivery under each booking's trace
/// context. Returns the broadcast for each buyer, except those whose booking was cancelled
/// meanwhile.
pub async fn issue(
    conn: &mut PgConnection,
    bookings: &[(BookingId, Option<String>)],
    tickets: &[SignedTicket],
    key: &SigningKey,
) -> Result<HashMap<BookingId, Broadcast>> {
    let ids: Vec<BookingId> = bookings.iter().map(|(id, _)| *id).collect();
    // Shared among readers, exclusive against a cancellation; and against the proof of a contact,
    // which enqueues the delivery of tickets that it finds.
    let confirmed = sqlx::query!(
        r#"SELECT b.id AS "id: BookingId", b.booking_reference, b.user_id AS "user_id: UserId", u.email IS NOT NULL AND u.email_verified_at IS NOT NULL AS "has_email!",
                  u.phone IS NOT NULL AND u.phone_verified_at IS NOT NULL AS "has_phone!",
                  (SELECT count(*) FROM tickets t WHERE t.booking_id = b.id AND t.status <> 'cancelled') AS "tickets!"
           FROM bookings b JOIN users u ON u.id = b.user_id
           WHERE b.id = ANY ($1) AND b.status = 'confirmed' ORDER BY b.id FOR SHARE OF b FOR KEY SHARE OF u"#,
        &ids as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut made = store(conn, confirmed.iter().map(|row| row.id), tickets, key).await?;
    let trace = |id| bookings.iter().find(|(booking, _)| *booking == id)?.1.clone();
    let mails: Vec<_> = confirmed
        .iter()
        .filter(|row| row.has_email)
        .map(|row| (EmailTickets { booking_id: row.id, reissued: false, to: None }, trace(row.id)))
        .collect();
    jobs::enqueue_all(conn, &mails).await?;
    let messages: Vec<_> = confirmed
        .iter()
        .filter(|row| row.has_phone)
        .map(|row| (SmsTickets { booking_id: row.id, reissued: false, to: None }, trace(row.id)))
        .collect();
    jobs::enqueue_all(conn, &messages).await?;
    let ready = confirmed.into_iter().map(|row| {
        let ready = TicketsReady {
            booking_id: row.id,
            booking_reference: row.booking_reference,
            ticket_count: row.tickets + made.remove(&row.id).unwrap_or_default(),
            user_id: row.user_id,
        };
        (row.id, Broadcast::new(Audience::User(row.user_id), ready))
    });
    Ok(ready.collect())
}

/// Stores those of the tickets that belong to `bookings`; returns how many are new, by booking.
async fn store(
    conn: &mut PgConnection,
    bookings: impl Iterator<Item = BookingId>,
    tickets: &[SignedTicket],
    key: &SigningKey,
) -> Result<HashMap<BookingId, i64>> {
    let bookings: HashSet<BookingId> = bookings.collect();
    let signed: Vec<&SignedTicket> =
        tickets.iter().filter(|signed| bookings.contains(&signed.ticket.booking)).collect();
    if signed.is_empty() {
        return Ok(HashMap::new());
    }
    keys::require_good(conn, &key.public()).await?;
    let tickets = || signed.iter().map(|signed| &signed.ticket);
    let codes = || signed.iter().map(|signed| &signed.code);
    let bookings: Vec<BookingId> = tickets().map(|ticket| ticket.booking).collect();
    let ids: Vec<TicketId> = tickets().map(|ticket| ticket.id).collect();
    let seats: Vec<SeatId> = tickets().map(|ticket| ticket.seat_id).collect();
    let ticket_ids: Vec<&str> = tickets().map(|ticket| ticket.ticket_id.as_str()).collect();
    let labels: Vec<&SeatLabel> = tickets().map(|ticket| &ticket.seat_label).collect();
    let types: Vec<&str> = tickets().map(|ticket| ticket.seat_type_name.as_str()).collect();
    let prices: Vec<Paise> = tickets().map(|ticket| ticket.price).collect();
    let pictures: Vec<Option<&str>> = codes().map(|one| one.picture.as_deref()).collect();
    let nonces: Vec<i64> = codes().map(|one| one.code.nonce()).collect();
    let signatures: Vec<Vec<u8>> = codes().map(|one| one.code.signature()).collect();
    let stored = sqlx::query_scalar!(
        r#"INSERT INTO tickets (id, booking_id, seat_id, ticket_id, seat_label, seat_type_name, price_paid, qr_code, qr_nonce, qr_signature, qr_key,
                              status, generated_at)
         SELECT id, booking_id, seat_id, ticket_id, label, type_name, price, qr_code, nonce, signature, $11, 'generated', now()
         FROM unnest($1::int[], $2::int[], $3::text[], $4::text[], $5::text[], $6::numeric[], $7::text[], $8::int[], $9::bigint[], $10::bytea[])
             AS ticket (booking_id, seat_id, ticket_id, label, type_name, price, qr_code, id, nonce, signature)
         ON CONFLICT (booking_id, seat_id) DO NOTHING RETURNING booking_id AS "booking: BookingId""#,
        &bookings as _,
        &seats as _,
        &ticket_ids as _,
        &labels as _,
        &types as _,
        &prices as _,
        &pictures as _,
        &ids as _,
        &nonces,
        &signatures,
        key.public().id().to_string(),
    )
    .fetch_all(conn)
    .await?;
    let mut made = HashMap::new();
    for booking in stored {
        *made.entry(booking).or_default() += 1;
    }
    Ok(made)
}
