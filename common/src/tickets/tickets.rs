//! Tickets: one per seat of a confirmed booking, with a QR code (CONTRACT.md, section 5) that holds
//! a signed text (`ticket_codes`).

use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use qrcodegen::{QrCode, QrCodeEcc};
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{
    broadcasts::TicketsReady,
    codes::{Claim, SigningKey},
};
use crate::{
    error::{Error, Result},
    jobs::{
        self, Job, JobId,
        bookings::FinaliseBooking,
        notifications::{EmailTickets, SmsTickets},
    },
    realtime::{Audience, Broadcast},
    types::{
        ids::{BookingId, EventId, UserId},
        money::Paise,
        schemas::{JobStatus, Printing, TicketStatus},
        time::Timestamp,
    },
};

/// A ticket that does not exist yet.
#[derive(Debug)]
pub struct Blank {
    /// `tickets.id`, which the code names; one that is not used in the end is lost.
    number: i32,
    event: EventId,
    seat_id: i32,
    ticket_id: String,
    seat_label: String,
    seat_type_name: String,
    price: Paise,
}

/// A ticket with its QR code.
#[derive(Debug)]
pub struct Printed {
    blank: Blank,
    code: Code,
}

/// A drawn QR code.
#[derive(Debug)]
pub struct Code {
    /// What makes its text differ from others of the same ticket.
    pub nonce: i64,
    /// A data URL.
    pub picture: String,
}

impl Code {
    /// Signs and draws a ticket's code.
    pub fn draw(key: &SigningKey, event: EventId, ticket: i32) -> Result<Self> {
        let nonce = rand::random();
        let png = qr_png(&key.sign(Claim { event, ticket, nonce }))?;
        Ok(Code { nonce, picture: format!("data:image/png;base64,{}", BASE64.encode(png)) })
    }
}

/// The seats of a confirmed booking that have no ticket yet. A label that occurs in two seat types
/// gets the type's id behind it, so that ticket ids differ (CONTRACT.md, section 10, row 9).
pub async fn blanks(conn: &mut PgConnection, booking: BookingId) -> Result<Vec<Blank>> {
    let rows = sqlx::query!(
        r#"SELECT s.id, s.seat_label, s.event_seat_type_id, t.name AS type_name, (bs.price_paid * 100)::bigint AS "price!",
                  b.booking_reference, b.event_id,
                  k.id IS NOT NULL AS "printed!",
                  CASE WHEN k.id IS NULL THEN nextval(pg_get_serial_sequence('tickets', 'id'))::integer END AS number
           FROM bookings b
           JOIN booking_seats bs ON bs.booking_id = b.id
           JOIN seats s ON s.id = bs.seat_id AND s.status = 'booked'
           JOIN event_seat_types t ON t.id = s.event_seat_type_id
           LEFT JOIN tickets k ON k.booking_id = b.id AND k.seat_id = s.id
           WHERE b.id = $1 AND b.status = 'confirmed'
           ORDER BY s.id"#,
        booking.0,
    )
    .fetch_all(conn)
    .await?;
    let mut labels: HashMap<&str, usize> = HashMap::new();
    for row in &rows {
        *labels.entry(&row.seat_label).or_default() += 1;
    }
    rows.iter()
        .filter(|row| !row.printed)
        .map(|row| {
            let mut ticket_id = format!("TKT-{}-{}", row.booking_reference, row.seat_label);
            if labels.get(row.seat_label.as_str()).is_some_and(|n| *n > 1) {
                ticket_id.push_str(&format!("-{}", row.event_seat_type_id));
            }
            Ok(Blank {
                number: row.number.ok_or_else(|| Error::internal("tickets.id has no sequence"))?,
                event: EventId(row.event_id),
                seat_id: row.id,
                ticket_id,
                seat_label: row.seat_label.clone(),
                seat_type_name: row.type_name.clone(),
                price: Paise::from_db(row.price),
            })
        })
        .collect()
}

/// Draws the QR codes. Takes a core for a while: not on an async thread.
pub fn print(blanks: Vec<Blank>, key: &SigningKey) -> Result<Vec<Printed>> {
    let print = |blank: Blank| {
        let code = Code::draw(key, blank.event, blank.number)?;
        Ok(Printed { blank, code })
    };
    blanks.into_iter().map(print).collect()
}

/// Stores printed tickets, and enqueues their delivery. Returns what the buyer is told, unless the
/// booking was cancelled meanwhile.
pub async fn issue(
    conn: &mut PgConnection,
    booking: BookingId,
    tickets: &[Printed],
    key: &SigningKey,
) -> Result<Option<Broadcast>> {
    // Shared with other readers, exclusive against cancellation.
    let row = sqlx::query!(
        "SELECT booking_reference, user_id FROM bookings WHERE id = $1 AND status = 'confirmed' FOR SHARE",
        booking.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let numbers: Vec<i32> = tickets.iter().map(|ticket| ticket.blank.number).collect();
    let seats: Vec<i32> = tickets.iter().map(|ticket| ticket.blank.seat_id).collect();
    let ids: Vec<String> = tickets.iter().map(|ticket| ticket.blank.ticket_id.clone()).collect();
    let labels: Vec<String> =
        tickets.iter().map(|ticket| ticket.blank.seat_label.clone()).collect();
    let types: Vec<String> =
        tickets.iter().map(|ticket| ticket.blank.seat_type_name.clone()).collect();
    let prices: Vec<i64> = tickets.iter().map(|ticket| ticket.blank.price.get()).collect();
    let codes: Vec<String> = tickets.iter().map(|ticket| ticket.code.picture.clone()).collect();
    let nonces: Vec<i64> = tickets.iter().map(|ticket| ticket.code.nonce).collect();
    sqlx::query!(
        "INSERT INTO tickets (id, booking_id, seat_id, ticket_id, seat_label, seat_type_name, price_paid, qr_code, qr_nonce, qr_key,
                              status, generated_at)
         SELECT number, $1, seat_id, ticket_id, label, type_name, price / 100.0, qr_code, nonce, $10, 'generated', now()
         FROM unnest($2::int[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::int[], $9::bigint[])
             AS ticket (seat_id, ticket_id, label, type_name, price, qr_code, number, nonce)
         ON CONFLICT (booking_id, seat_id) DO NOTHING",
        booking.0,
        &seats,
        &ids,
        &labels,
        &types,
        &prices,
        &codes,
        &numbers,
        &nonces,
        key.public().id().to_string(),
    )
    .execute(&mut *conn)
    .await?;
    jobs::enqueue(conn, &EmailTickets { booking_id: booking.0, reissued: false }).await?;
    jobs::enqueue(conn, &SmsTickets { booking_id: booking.0, reissued: false }).await?;
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM tickets WHERE booking_id = $1 AND status <> 'cancelled'"#,
        booking.0
    )
    .fetch_one(conn)
    .await?;
    let user_id = UserId(row.user_id);
    let news = TicketsReady {
        booking_id: booking,
        booking_reference: row.booking_reference,
        ticket_count: count,
        user_id,
    };
    Ok(Some(Broadcast::new(Audience::User(user_id), news)))
}

/// A ticket as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[allow(missing_docs)] // CONTRACT.md, section 5
pub struct Ticket {
    pub id: i32,
    pub ticket_id: String,
    pub seat_label: String,
    pub seat_type_name: String,
    pub price_paid: Paise,
    pub qr_code: String,
    #[schema(value_type = TicketStatus)]
    pub status: String,
    pub email_sent: bool,
    pub sms_sent: bool,
    pub generated_at: Timestamp,
    pub delivered_at: Option<Timestamp>,
}

/// The tickets of a booking and how far they are.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tickets {
    /// Those that are made.
    pub tickets: Vec<Ticket>,
    /// How far.
    #[schema(value_type = Printing)]
    pub status: &'static str,
}

/// A booking's tickets, for its owner.
pub async fn of_booking(
    conn: &mut PgConnection,
    booking: BookingId,
    user: UserId,
) -> Result<Tickets> {
    let row = sqlx::query!(
        r#"SELECT status, (SELECT count(*) FROM booking_seats WHERE booking_id = $1) AS "seats!"
           FROM bookings WHERE id = $1 AND user_id = $2"#,
        booking.0,
        user.0,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::BookingNotFoundOrForbidden)?;
    let tickets: Vec<Ticket> = sqlx::query!(
        r#"SELECT id, ticket_id, seat_label, coalesce(seat_type_name, '') AS "seat_type_name!",
                  (price_paid * 100)::bigint AS "price_paid!", coalesce(qr_code, '') AS "qr_code!", status,
                  coalesce(email_sent, FALSE) AS "email_sent!", coalesce(sms_sent, FALSE) AS "sms_sent!",
                  coalesce(generated_at, created_at, now()) AS "generated_at!", delivered_at
           FROM tickets WHERE booking_id = $1 ORDER BY id"#,
        booking.0,
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(|row| Ticket {
        id: row.id,
        ticket_id: row.ticket_id,
        seat_label: row.seat_label,
        seat_type_name: row.seat_type_name,
        price_paid: Paise::from_db(row.price_paid),
        qr_code: row.qr_code,
        status: row.status,
        email_sent: row.email_sent,
        sms_sent: row.sms_sent,
        generated_at: row.generated_at.into(),
        delivered_at: row.delivered_at.map(Timestamp),
    })
    .collect();
    let status = match (row.status.as_str(), tickets.len()) {
        ("confirmed", 0) => "generating",
        (_, 0) => "pending",
        (_, made) if (made as i64) < row.seats => "partial",
        _ => "ready",
    };
    Ok(Tickets { tickets, status })
}

/// How far the job is that makes a booking's tickets, in the words of the queue that the Node
/// service used.
#[derive(Debug, Serialize, ToSchema)]
pub struct TicketJob {
    /// How far.
    #[schema(value_type = JobStatus)]
    pub status: &'static str,
    /// Percent.
    pub progress: i32,
    /// Once it is completed.
    pub result: Option<TicketJobResult>,
}

/// What a completed job has made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct TicketJobResult {
    pub tickets_generated: i64,
    pub booking_id: BookingId,
}

/// The job that makes the tickets of one of `user`'s bookings.
pub async fn job_status(conn: &mut PgConnection, job: JobId, user: UserId) -> Result<TicketJob> {
    let row = sqlx::query!(
        r#"SELECT j.state::text AS "state!", j.available_at > now() AS "later!", b.id AS "booking_id!",
                  (SELECT count(*) FROM tickets WHERE booking_id = b.id) AS "tickets!"
           FROM jobs j JOIN bookings b ON b.id = (j.payload ->> 'booking_id')::integer
           WHERE j.id = $1 AND j.kind = $2 AND b.user_id = $3"#,
        job,
        FinaliseBooking::KIND,
        user.0,
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::TicketJobNotFound)?;
    let status = match row.state.as_str() {
        "pending" if row.later => "delayed",
        "pending" | "queued" => "waiting",
        "running" => "active",
        "done" => "completed",
        _ => "failed",
    };
    let completed = status == "completed";
    Ok(TicketJob {
        status,
        progress: if completed { 100 } else { 0 },
        result: completed.then_some(TicketJobResult {
            tickets_generated: row.tickets,
            booking_id: BookingId(row.booking_id),
        }),
    })
}

/// What is sent to a buyer.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Delivery {
    pub reference: String,
    pub event_name: String,
    pub event_start: Timestamp,
    pub location: String,
    pub name: Option<String>,
    pub email: Option<String>,
    /// Only a number that has been proved to be theirs.
    pub phone: Option<String>,
    pub email_sent: bool,
    pub sms_sent: bool,
    pub tickets: Vec<Delivered>,
}

/// A ticket as it is sent.
#[derive(Debug)]
#[allow(missing_docs)] // columns of `tickets`
pub struct Delivered {
    pub number: i32,
    pub nonce: Option<i64>,
    pub ticket_id: String,
    pub seat_label: String,
    pub seat_type_name: String,
    /// A data URL.
    pub qr_code: String,
}

/// The tickets of a booking and who gets them; `None` when there are none to deliver (any more).
pub async fn delivery(conn: &mut PgConnection, booking: BookingId) -> Result<Option<Delivery>> {
    let row = sqlx::query!(
        "SELECT b.booking_reference, e.name AS event_name, e.start_date, e.location, u.name, u.email,
                CASE WHEN u.phone_verified_at IS NOT NULL THEN u.phone END AS phone
         FROM bookings b JOIN events e ON e.id = b.event_id JOIN users u ON u.id = b.user_id
         WHERE b.id = $1 AND b.status = 'confirmed'",
        booking.0,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let tickets = sqlx::query!(
        r#"SELECT id, qr_nonce, ticket_id, seat_label, coalesce(seat_type_name, '') AS "type_name!",
                  coalesce(qr_code, '') AS "qr_code!", coalesce(email_sent, FALSE) AS "email_sent!", coalesce(sms_sent, FALSE) AS "sms_sent!"
           FROM tickets WHERE booking_id = $1 AND status <> 'cancelled' ORDER BY id"#,
        booking.0,
    )
    .fetch_all(conn)
    .await?;
    if tickets.is_empty() {
        return Ok(None);
    }
    Ok(Some(Delivery {
        reference: row.booking_reference,
        event_name: row.event_name,
        event_start: row.start_date.into(),
        location: row.location,
        name: row.name,
        email: row.email,
        phone: row.phone,
        email_sent: tickets.iter().all(|ticket| ticket.email_sent),
        sms_sent: tickets.iter().all(|ticket| ticket.sms_sent),
        tickets: tickets
            .into_iter()
            .map(|ticket| Delivered {
                number: ticket.id,
                nonce: ticket.qr_nonce,
                ticket_id: ticket.ticket_id,
                seat_label: ticket.seat_label,
                seat_type_name: ticket.type_name,
                qr_code: ticket.qr_code,
            })
            .collect(),
    }))
}

/// Remembers that tickets have been e-mailed. False when there are others by now, issued anew
/// meanwhile: those are still to be sent.
pub async fn mark_emailed(
    conn: &mut PgConnection,
    booking: BookingId,
    sent: &[Delivered],
) -> Result<bool> {
    let numbers: Vec<i32> = sent.iter().map(|ticket| ticket.number).collect();
    let nonces: Vec<Option<i64>> = sent.iter().map(|ticket| ticket.nonce).collect();
    let still = sqlx::query!(
        "UPDATE tickets t SET email_sent = TRUE, delivered_at = coalesce(delivered_at, now())
         FROM unnest($2::int[], $3::bigint[]) AS sent (id, nonce)
         WHERE t.booking_id = $1 AND t.id = sent.id AND t.qr_nonce IS NOT DISTINCT FROM sent.nonce",
        booking.0,
        &numbers,
        &nonces as &[Option<i64>],
    )
    .execute(conn)
    .await?;
    Ok(still.rows_affected() == sent.len() as u64)
}

/// Remembers that a booking's buyer has been told by SMS.
pub async fn mark_texted(conn: &mut PgConnection, booking: BookingId) -> Result<()> {
    sqlx::query!(
        "UPDATE tickets SET sms_sent = TRUE, delivered_at = coalesce(delivered_at, now()) WHERE booking_id = $1",
        booking.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Has a confirmed booking's tickets e-mailed again, to the address that its buyer has now. An
/// error says why nothing is to be sent.
pub async fn resend(conn: &mut PgConnection, reference: &str) -> Result<()> {
    let booking = sqlx::query!(
        r#"SELECT b.id, u.email IS NOT NULL AS "has_email!" FROM bookings b JOIN users u ON u.id = b.user_id
           WHERE b.booking_reference = $1 AND b.status = 'confirmed' FOR UPDATE OF b"#,
        reference,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or_else(|| Error::invalid(format!("there is no confirmed booking {reference}")))?;
    if !booking.has_email {
        return Err(Error::invalid("its buyer has no e-mail address"));
    }
    let unsent = sqlx::query!(
        "UPDATE tickets SET email_sent = FALSE WHERE booking_id = $1 AND status <> 'cancelled'",
        booking.id
    )
    .execute(&mut *conn)
    .await?;
    if unsent.rows_affected() == 0 {
        return Err(Error::invalid("its tickets have not been made yet, and will be sent then"));
    }
    // One that runs may have read the old address.
    let job =
        jobs::enqueue(conn, &EmailTickets { booking_id: booking.id, reissued: false }).await?;
    job.map(drop).ok_or_else(|| {
        Error::invalid("its e-mail is under way: see `nexus-jobs list --kind email_tickets`")
    })
}

/// Pixels per side of a QR code's image.
const SIDE: usize = 300;
/// Modules of white around it that scanners need.
const QUIET: usize = 4;

/// A QR code as a PNG of 300 × 300 pixels, error correction H.
pub fn qr_png(text: &str) -> Result<Vec<u8>> {
    let code = QrCode::encode_text(text, QrCodeEcc::High)
        .map_err(|error| Error::internal(error.to_string()))?;
    let modules = code.size() as usize + 2 * QUIET;
    // The largest whole number of pixels a module that fits; what remains becomes more white
    // around.
    let scale = (SIDE / modules).max(1);
    let margin = (SIDE.saturating_sub(scale * code.size() as usize)) / 2;
    // One bit a pixel: a picture is a row's largest part, and half as large as with eight.
    let mut pixels = vec![u8::MAX; SIDE.div_ceil(8) * SIDE];
    for y in 0..SIDE {
        for x in 0..SIDE {
            let module = |pixel: usize| (pixel as i32 - margin as i32).div_euclid(scale as i32);
            if code.get_module(module(x), module(y)) {
                pixels[y * SIDE.div_ceil(8) + x / 8] &= !(0x80 >> (x % 8));
            }
        }
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, SIDE as u32, SIDE as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().map_err(Error::internal)?;
    writer.write_image_data(&pixels).map_err(Error::internal)?;
    writer.finish().map_err(Error::internal)?;
    Ok(file)
}
