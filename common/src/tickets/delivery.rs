//! Sending tickets: what a message needs, and which have been sent.

use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use nexus_ticket_files::qr;
use serde_json::json;
use sqlx::PgConnection;

use super::codes::{Code, Stored};
use crate::{
    audit::{self, Action, Subject, SubjectKind},
    error::{Error, Result},
    events::notices::Occasion,
    jobs::{
        self,
        lifecycle::{Delivery as Held, Lease},
        notifications::{EmailTickets, SmsTickets},
    },
    observability::traces,
    types::{
        ids::{BookingId, EventId, TicketId, UserId},
        money::Paise,
        time::Timestamp,
        time_zone::TimeZone,
    },
};

/// A booking, and whose of its tickets: its buyer's, or those of another owner.
pub type Portion = (BookingId, Option<UserId>);

/// The tickets of a booking that are somebody's, to be sent to them.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub user: UserId,
    /// Whether they have booked them.
    pub is_buyer: bool,
    pub reference: String,
    pub event: Event,
    pub name: Option<String>,
    /// Only a proved address.
    pub email: Option<String>,
    /// Only a proved number.
    pub phone: Option<String>,
    /// Whether all tickets have been e-mailed.
    pub email_sent: bool,
    /// The same by SMS.
    pub sms_sent: bool,
    pub tickets: Vec<Delivered>,
}

/// The event of tickets.
#[derive(Clone, Debug)]
pub struct Event {
    pub id: EventId,
    pub name: String,
    pub occasion: Occasion,
    pub end_date: Timestamp,
    /// The name of who organises it.
    pub organizer: Option<String>,
    pub updated_at: Timestamp,
}

/// A ticket as it is sent.
#[derive(Clone, Debug)]
pub struct Delivered {
    pub id: TicketId,
    pub nonce: Option<i64>,
    pub ticket_id: String,
    pub seat_label: String,
    pub seat_type_name: String,
    pub price: Paise,
    /// Who comes in with it, where its owner has named somebody.
    pub holder: Option<String>,
    /// `None`: it is from before codes were stored, and has only a picture.
    pub code: Option<Code>,
    /// A data URL.
    picture: Option<String>,
}

impl Delivered {
    /// The picture of its code, as PNG. `None` if there is none: it is about to be issued anew.
    /// Occupies a core for a third of a millisecond.
    pub fn png(&self) -> Result<Option<Vec<u8>>> {
        if let Some(code) = &self.code {
            return qr::png(&code.text()).map(Some).map_err(Error::internal);
        }
        let data =
            self.picture.as_deref().and_then(|url| url.strip_prefix("data:image/png;base64,"));
        Ok(data.and_then(|data| BASE64.decode(data).ok()))
    }
}

/// The tickets of bookings, and who gets them; without those that have none to deliver. A portion
/// may be asked for twice: a mail and an SMS have the same.
pub async fn deliveries(
    conn: &mut PgConnection,
    portions: &[Portion],
) -> Result<HashMap<Portion, Delivery>> {
    let (bookings, owners): (Vec<BookingId>, Vec<Option<UserId>>) =
        portions.iter().copied().unzip();
    let rows = sqlx::query!(
        r#"SELECT b.id AS "booking: BookingId", portion.owner AS "owner: UserId", u.id AS "user: UserId", u.id = b.user_id AS "is_buyer!", b.booking_reference, u.name,
                  e.id AS "event: EventId", e.name AS event_name, e.start_date AS "start_date: Timestamp", e.end_date AS "end_date: Timestamp",
                  e.time_zone AS "time_zone: TimeZone", e.location, e.venue_name, o.name AS "organizer?", e.updated_at AS "updated_at: Timestamp", CASE WHEN u.email_verified_at IS NOT NULL THEN u.email END AS email,
                  CASE WHEN u.phone_verified_at IS NOT NULL THEN u.phone END AS phone,
                  t.id AS "id: TicketId", qr_nonce AS nonce, qr_key, qr_signature, ticket_id, t.seat_label, s.holder_name AS "holder_name?", coalesce(seat_type_name, '') AS "seat_type_name!",
                  t.price_paid AS "price: Paise", qr_code, coalesce(email_sent, FALSE) AS "email_sent!", coalesce(sms_sent, FALSE) AS "sms_sent!"
           FROM (SELECT DISTINCT booking, owner FROM unnest($1::int[], $2::int[]) AS asked (booking, owner)) AS portion
           JOIN bookings b ON b.id = portion.booking JOIN events e ON e.id = b.event_id JOIN users u ON u.id = coalesce(portion.owner, b.user_id)
           LEFT JOIN users o ON o.id = e.organizer_id JOIN tickets t ON t.booking_id = b.id AND coalesce(t.owner_id, b.user_id) = u.id
           LEFT JOIN booking_seats s ON s.booking_id = b.id AND s.seat_id = t.seat_id
           WHERE b.status = 'confirmed' AND t.status <> 'cancelled' ORDER BY t.id"#,
        &bookings as _,
        &owners as &[Option<UserId>],
    )
    .fetch_all(conn)
    .await?;
    let mut deliveries: HashMap<Portion, Delivery> = HashMap::new();
    for row in rows {
        let delivery = deliveries.entry((row.booking, row.owner)).or_insert_with(|| Delivery {
            user: row.user,
            is_buyer: row.is_buyer,
            reference: row.booking_reference,
            event: Event {
                id: row.event,
                name: row.event_name,
                occasion: Occasion {
                    start_date: row.start_date,
                    time_zone: row.time_zone,
                    location: row.location,
                    venue_name: row.venue_name,
                },
                end_date: row.end_date,
                organizer: row.organizer,
                updated_at: row.updated_at.unwrap_or(row.start_date),
            },
            name: row.name,
            email: row.email,
            phone: row.phone,
            email_sent: true,
            sms_sent: true,
            tickets: Vec::new(),
        });
        delivery.email_sent &= row.email_sent;
        delivery.sms_sent &= row.sms_sent;
        delivery.tickets.push(Delivered {
            id: row.id,
            nonce: row.nonce,
            ticket_id: row.ticket_id,
            seat_label: row.seat_label,
            seat_type_name: row.seat_type_name,
            price: row.price,
            holder: row.holder_name,
            code: Code::stored(Stored {
                event: delivery.event.id,
                ticket: row.id,
                nonce: row.nonce,
                key: row.qr_key,
                signature: row.qr_signature,
            }),
            picture: row.qr_code,
        });
    }
    Ok(deliveries)
}

/// Whom else than its buyer each booking concerns: the owners of tickets that were transferred.
pub async fn other_owners(
    conn: &mut PgConnection,
    bookings: &[BookingId],
) -> Result<Vec<(BookingId, UserId)>> {
    let owners = sqlx::query!(
        r#"SELECT DISTINCT booking_id AS "booking: BookingId", owner_id AS "owner!: UserId" FROM tickets
           WHERE booking_id = ANY ($1) AND owner_id IS NOT NULL ORDER BY 1, 2"#,
        bookings as _,
    );
    let owners = owners.fetch_all(conn).await?;
    Ok(owners.into_iter().map(|row| (row.booking, row.owner)).collect())
}

/// What there is to deliver of a booking to one of those who have tickets of it.
pub async fn of_owner(
    conn: &mut PgConnection,
    booking: BookingId,
    user: UserId,
) -> Result<Delivery> {
    let own = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM bookings WHERE id = $1 AND user_id = $2)
               OR EXISTS (SELECT 1 FROM tickets WHERE booking_id = $1 AND owner_id = $2) AS "own!""#,
        booking as _,
        user as _,
    );
    if !own.fetch_one(&mut *conn).await? {
        return Err(Error::BookingNotFound);
    }
    let portion = (booking, Some(user));
    deliveries(conn, &[portion]).await?.remove(&portion).ok_or(Error::TicketsNotFound)
}

/// Records that a mail about a booking was refused for good, for its buyer to see, or that one was
/// accepted again.
pub async fn mark_mail(
    conn: &mut PgConnection,
    booking: BookingId,
    is_refused: bool,
) -> Result<()> {
    sqlx::query!(
        "UPDATE bookings SET mail_refused_at = CASE WHEN $2 THEN now() END
         WHERE id = $1 AND ($2 OR mail_refused_at IS NOT NULL)",
        booking as _,
        is_refused,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Records that tickets have been e-mailed, and with the same statement that the job which did so
/// is done. False when they were reissued meanwhile: the new ones are still to be sent.
pub async fn mark_emailed(
    conn: &mut PgConnection,
    booking: BookingId,
    sent: &[Delivered],
    lease: &Lease,
) -> Result<bool> {
    let (ids, nonces): (Vec<TicketId>, Vec<Option<i64>>) =
        sent.iter().map(|ticket| (ticket.id, ticket.nonce)).unzip();
    let Held { job_id, delivery } = lease.held();
    let row = sqlx::query!(
        r#"WITH still AS MATERIALIZED (
               SELECT t.id FROM tickets t JOIN unnest($2::int[], $3::bigint[]) AS sent (id, nonce) ON t.id = sent.id
               WHERE t.booking_id = $1 AND t.qr_nonce IS NOT DISTINCT FROM sent.nonce ORDER BY t.id FOR UPDATE OF t
           ), done AS (
               UPDATE jobs SET state = 'done', finished_at = now(), leased_until = NULL
               WHERE id = $4 AND delivery = $5 AND state = 'running' AND (SELECT count(*) FROM still) = cardinality($2::int[])
               RETURNING id
           ), marked AS (
               UPDATE tickets t SET email_sent = TRUE, delivered_at = coalesce(delivered_at, now())
               FROM still WHERE t.id = still.id AND EXISTS (SELECT 1 FROM done)
           )
           SELECT (SELECT count(*) FROM still) = cardinality($2::int[]) AS "still!", EXISTS (SELECT 1 FROM done) AS "done!""#,
        booking as _,
        &ids as _,
        &nonces as _,
        job_id,
        delivery,
    )
    .fetch_one(conn)
    .await?;
    match (row.still, row.done) {
        (false, _) => Ok(false),
        (true, false) => Err(Error::LeaseLost),
        (true, true) => {
            lease.note_completed();
            Ok(true)
        }
    }
}

/// Records that somebody has been told of their tickets by SMS.
pub async fn mark_texted(conn: &mut PgConnection, sent: &[Delivered]) -> Result<()> {
    let (ids, nonces): (Vec<TicketId>, Vec<Option<i64>>) =
        sent.iter().map(|ticket| (ticket.id, ticket.nonce)).unzip();
    // Not of one that is somebody else's by now.
    sqlx::query!(
        "UPDATE tickets t SET sms_sent = TRUE, delivered_at = coalesce(delivered_at, now())
         FROM unnest($1::int[], $2::bigint[]) AS sent (id, nonce) WHERE t.id = sent.id AND t.qr_nonce IS NOT DISTINCT FROM sent.nonce",
        &ids as _,
        &nonces as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Enqueues the tickets that have waited for their owner to prove an e-mail address or a phone:
/// those of events that are not over.
pub async fn deliver_waiting(conn: &mut PgConnection, user: UserId) -> Result<()> {
    let waiting = sqlx::query!(
        r#"SELECT b.id AS "id: BookingId", t.owner_id AS "to: UserId", NOT bool_and(coalesce(t.email_sent, FALSE)) AS "email!", NOT bool_and(coalesce(t.sms_sent, FALSE)) AS "sms!"
           FROM (SELECT t.* FROM bookings b JOIN tickets t ON t.booking_id = b.id WHERE b.user_id = $1 AND b.status = 'confirmed' AND t.owner_id IS NULL
                 UNION ALL SELECT * FROM tickets WHERE owner_id = $1) t
           JOIN bookings b ON b.id = t.booking_id JOIN events e ON e.id = b.event_id
           WHERE b.status = 'confirmed' AND t.status <> 'cancelled' AND e.end_date > now() GROUP BY b.id, t.owner_id ORDER BY b.id"#,
        user as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    // Each job looks again at what has been proved, and at what has been sent.
    let mails: Vec<_> = waiting
        .iter()
        .filter(|booking| booking.email)
        .map(|booking| (booking.id, booking.to))
        .map(|(booking_id, to)| {
            (EmailTickets { booking_id, reissued: false, to }, traces::current())
        })
        .collect();
    jobs::enqueue_all(conn, &mails).await?;
    let messages: Vec<_> = waiting
        .iter()
        .filter(|booking| booking.sms)
        .map(|booking| (booking.id, booking.to))
        .map(|(booking_id, to)| (SmsTickets { booking_id, reissued: false, to }, traces::current()))
        .collect();
    jobs::enqueue_all(conn, &messages).await?;
    Ok(())
}

/// Enqueues another e-mail of a confirmed booking's tickets, to its buyer's current address, and of
/// those that were transferred to their owners'. The error says why nothing will be sent.
pub async fn resend(conn: &mut PgConnection, reference: &str) -> Result<()> {
    let booking = sqlx::query!(
        r#"SELECT b.id AS "id: BookingId", u.email IS NOT NULL AND u.email_verified_at IS NOT NULL AS "has_email!" FROM bookings b JOIN users u ON u.id = b.user_id
           WHERE b.booking_reference = $1 AND b.status = 'confirmed' FOR UPDATE OF b"#,
        reference,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or_else(|| Error::invalid(format!("there is no confirmed booking {reference}")))?;
    let booking_id = booking.id;
    let others = other_owners(conn, &[booking_id]).await?;
    if !booking.has_email && others.is_empty() {
        return Err(Error::invalid("its buyer has no e-mail address that is proved"));
    }
    let unsent = sqlx::query!(
        "UPDATE tickets SET email_sent = FALSE WHERE booking_id = $1 AND status <> 'cancelled'",
        booking.id as _,
    )
    .execute(&mut *conn)
    .await?;
    if unsent.rows_affected() == 0 {
        return Err(Error::invalid("its tickets have not been made yet, and will be sent then"));
    }
    let subject = Subject::of(SubjectKind::Booking, booking.id);
    audit::record(conn, Action::TicketsResent, None, subject, json!({})).await?;
    for (_, owner) in others {
        let to = Some(owner);
        jobs::enqueue(conn, &EmailTickets { booking_id, reissued: false, to }).await?;
    }
    if !booking.has_email {
        return Ok(());
    }
    // A running job may have read the old address.
    let own = EmailTickets { booking_id, reissued: false, to: None };
    let job = jobs::enqueue(conn, &own).await?;
    job.map(drop).ok_or_else(|| {
        Error::invalid("its e-mail is under way: see `nexus-jobs list --kind email_tickets`")
    })
}
