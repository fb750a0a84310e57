//! Giving a ticket to another account. Its owner offers it to an e-mail address; whoever has proved
//! that address accepts it; and a job of the bookings worker, which alone can sign, gives it another
//! code and another owner in one transaction. Until then the old code is good and the new one is
//! not; from then on it is the other way round.

use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{
    broadcasts::TicketsReady,
    codes::{Code, SigningKey},
    keys,
};
use crate::{
    audit::{self, Action, Subject, SubjectKind},
    error::{Error, Result, violated_constraint},
    events::notices::Occasion,
    jobs::{
        self,
        bookings::TransferTicket,
        notifications::{EmailOffer, EmailTickets, EmailTransferred, SmsTickets},
    },
    realtime::{Audience, Broadcast},
    types::{
        contacts::Email,
        ids::{BookingId, EventId, SeatId, TicketId, TransferId, UserId},
        page::Page,
        statuses::{BookingStatus, TicketStatus, TransferStatus},
        time::Timestamp,
        time_zone::TimeZone,
    },
};

/// A ticket that is to be given away, and whether it can be.
struct Transferable {
    booking: BookingId,
    owner: UserId,
    is_good: bool,
    is_open: bool,
    /// The event is for people with a verified phone only.
    needs_phone: bool,
}

impl Transferable {
    /// Nobody gives it to somebody else until this transaction ends.
    async fn read(conn: &mut PgConnection, ticket: TicketId) -> Result<Option<Self>> {
        let found = sqlx::query_as!(
            Transferable,
            r#"SELECT b.id AS "booking: _", coalesce(t.owner_id, b.user_id) AS "owner!: _",
                      is_transferable(t, b, e) AS "is_good!",
                      least(e.holders_until, e.start_date) > clock_timestamp() AS "is_open!", e.require_verified_phone AS needs_phone
               FROM tickets t JOIN bookings b ON b.id = t.booking_id JOIN events e ON e.id = b.event_id
               WHERE t.id = $1 FOR SHARE OF t"#,
            ticket as _,
        );
        Ok(found.fetch_optional(conn).await?)
    }

    fn require(&self) -> Result<()> {
        match (self.is_good, self.is_open) {
            (false, _) => Err(Error::TicketNotTransferable),
            (true, false) => Err(Error::HoldersClosed),
            (true, true) => Ok(()),
        }
    }
}

/// The address that a user has proved, as offers are written: accounts from before punycode have it as
/// it was typed, and those of the Node service have some that nobody has proved.
async fn proved_address(conn: &mut PgConnection, user: UserId) -> Result<Option<String>> {
    let address = sqlx::query_scalar!(
        r#"SELECT email AS "email!" FROM users WHERE id = $1 AND email IS NOT NULL AND email_verified_at > '-infinity'"#,
        user as _,
    );
    let address = address.fetch_optional(conn).await?;
    Ok(address.and_then(|text| Email::parse(&text)).map(|email| email.as_str().to_owned()))
}

/// Offers a ticket to whoever has proved an address, now or later, and tells them by mail. The answer
/// does not say whether anybody has.
pub async fn offer(
    conn: &mut PgConnection,
    ticket: TicketId,
    user: UserId,
    email: &Email,
) -> Result<TransferId> {
    let found = Transferable::read(conn, ticket).await?.filter(|found| found.owner == user);
    let found = found.ok_or(Error::TicketNotFound)?;
    found.require()?;
    if proved_address(conn, user).await?.as_deref() == Some(email.as_str()) {
        return Err(Error::invalid("That is your own address"));
    }
    // The cleanup job may not have come by yet.
    sqlx::query!(
        "UPDATE ticket_transfers SET status = 'expired', to_email = NULL, ended_at = now()
         WHERE ticket_id = $1 AND status = 'offered' AND expires_at <= now()",
        ticket as _,
    )
    .execute(&mut *conn)
    .await?;
    let offered = sqlx::query_scalar!(
        r#"INSERT INTO ticket_transfers (ticket_id, from_id, to_email) VALUES ($1, $2, $3) RETURNING id AS "id: TransferId""#,
        ticket as _,
        user as _,
        email.as_str(),
    );
    let transfer =
        offered.fetch_one(&mut *conn).await.map_err(|error| match violated_constraint(&error) {
            Some("ticket_transfers_one_open") => Error::TicketOffered,
            _ => error.into(),
        })?;
    jobs::enqueue(conn, &EmailOffer { transfer_id: transfer }).await?;
    let details = json!({ "ticket": ticket, "transfer": transfer });
    audit::record(conn, Action::TicketOffered, Some(user), subject(found.booking), details).await?;
    Ok(transfer)
}

fn subject(booking: BookingId) -> Subject {
    Subject::of(SubjectKind::Booking, booking)
}

/// Accepts what is offered to the address that `user` has proved; the ticket comes soon. To accept
/// again is no failure.
pub async fn accept(conn: &mut PgConnection, id: TransferId, user: UserId) -> Result<()> {
    // The ticket first, as whoever deletes it does.
    let ticket = sqlx::query_scalar!(
        r#"SELECT ticket_id AS "ticket: TicketId" FROM ticket_transfers WHERE id = $1"#,
        id as _,
    );
    let ticket = ticket.fetch_optional(&mut *conn).await?.ok_or(Error::TransferNotFound)?;
    let ticket = Transferable::read(conn, ticket).await?;
    let address = proved_address(conn, user).await?;
    let transfer = sqlx::query!(
        r#"SELECT from_id AS "from: UserId", status AS "status: TransferStatus",
                  u.phone IS NOT NULL AND u.phone_verified_at IS NOT NULL AS "has_phone!"
           FROM ticket_transfers t JOIN users u ON u.id = $2
           WHERE t.id = $1 AND from_id <> u.id AND (to_id = u.id OR status = 'offered' AND expires_at > now() AND to_email = $3)
           FOR UPDATE OF t"#,
        id as _,
        user as _,
        address,
    );
    let transfer = transfer.fetch_optional(&mut *conn).await?.ok_or(Error::TransferNotFound)?;
    match transfer.status {
        TransferStatus::Offered => {}
        TransferStatus::Completed => return Ok(()),
        // The job may have been given up.
        TransferStatus::Accepted => {
            jobs::enqueue(conn, &TransferTicket { transfer_id: id }).await?;
            return Ok(());
        }
        _ => return Err(Error::TransferNotFound),
    }
    let ticket = ticket.filter(|ticket| ticket.owner == transfer.from);
    let ticket = ticket.ok_or(Error::TicketNotTransferable)?;
    ticket.require()?;
    if ticket.needs_phone && !transfer.has_phone {
        return Err(Error::PhoneNotVerified);
    }
    sqlx::query!(
        "UPDATE ticket_transfers SET status = 'accepted', to_id = $2, to_email = NULL WHERE id = $1",
        id as _,
        user as _,
    )
    .execute(&mut *conn)
    .await?;
    jobs::enqueue(conn, &TransferTicket { transfer_id: id }).await?;
    // The job records that it was given: by now it is known who, and from where.
    let details = json!({ "transfer": id, "from": transfer.from });
    audit::record(conn, Action::TransferAccepted, Some(user), subject(ticket.booking), details)
        .await
}

/// Ends an offer, or a transfer that is not completed yet: whoever has made it withdraws it, whoever
/// was to get the ticket declines.
pub async fn end(conn: &mut PgConnection, id: TransferId, user: UserId) -> Result<TransferStatus> {
    let address = proved_address(conn, user).await?;
    let ended = sqlx::query!(
        r#"UPDATE ticket_transfers t
           SET status = CASE WHEN from_id = $2 THEN 'withdrawn' ELSE 'declined' END, to_email = NULL, ended_at = now(),
               to_id = CASE WHEN from_id = $2 THEN to_id ELSE $2 END
           WHERE t.id = $1 AND t.status IN ('offered', 'accepted') AND (from_id = $2 OR to_id = $2 OR to_email = $3)
           RETURNING t.status AS "status: TransferStatus", (SELECT booking_id FROM tickets WHERE id = t.ticket_id) AS "booking!: BookingId""#,
        id as _,
        user as _,
        address,
    );
    let ended = ended.fetch_optional(&mut *conn).await?.ok_or(Error::TransferNotFound)?;
    let details = json!({ "transfer": id, "status": ended.status });
    let subject = subject(ended.booking);
    audit::record(conn, Action::TransferEnded, Some(user), subject, details).await?;
    Ok(ended.status)
}

/// The ticket that an accepted transfer is about, and its event: what a code says. `None`: it is not
/// accepted, or done.
pub async fn accepted(
    conn: &mut PgConnection,
    id: TransferId,
) -> Result<Option<(EventId, TicketId)>> {
    let row = sqlx::query!(
        r#"SELECT b.event_id AS "event: EventId", t.id AS "ticket: TicketId" FROM ticket_transfers x JOIN tickets t ON t.id = x.ticket_id
           JOIN bookings b ON b.id = t.booking_id WHERE x.id = $1 AND x.status = 'accepted'"#,
        id as _,
    );
    Ok(row.fetch_optional(conn).await?.map(|row| (row.event, row.ticket)))
}

/// Gives the ticket of an accepted transfer to its new owner, with another code, or ends the
/// transfer if it cannot be given any more. Returns what the new owner's clients hear.
pub async fn complete(
    conn: &mut PgConnection,
    id: TransferId,
    code: &Code,
    key: &SigningKey,
) -> Result<Option<Broadcast>> {
    // The booking first, as whoever cancels it does, then the ticket, as whoever lets somebody in
    // with it does. A statement of its own reads what they have done.
    let held = sqlx::query!(
        r#"SELECT b.id AS "booking: BookingId", t.id AS "ticket: TicketId" FROM ticket_transfers x JOIN tickets t ON t.id = x.ticket_id
           JOIN bookings b ON b.id = t.booking_id WHERE x.id = $1 FOR SHARE OF b"#,
        id as _,
    );
    let Some(held) = held.fetch_optional(&mut *conn).await? else { return Ok(None) };
    sqlx::query!("SELECT id FROM tickets WHERE id = $1 FOR NO KEY UPDATE", held.ticket as _)
        .fetch_optional(&mut *conn)
        .await?;
    let transfer = sqlx::query!(
        r#"SELECT x.from_id AS "from: UserId", x.to_id AS "to!: UserId", t.seat_id AS "seat: SeatId", b.booking_reference,
                  is_transferable(t, b, e) AND e.start_date > now() AND u.erased_at IS NULL
                      AND coalesce(t.owner_id, b.user_id) = x.from_id AS "is_good!",
                  u.phone IS NOT NULL AND u.phone_verified_at IS NOT NULL AS "has_phone!",
                  (SELECT count(*) FROM tickets o WHERE o.booking_id = b.id AND o.status <> 'cancelled' AND coalesce(o.owner_id, b.user_id) = x.to_id) AS "others!"
           FROM ticket_transfers x JOIN tickets t ON t.id = x.ticket_id JOIN bookings b ON b.id = t.booking_id
           JOIN events e ON e.id = b.event_id JOIN users u ON u.id = x.to_id
           WHERE x.id = $1 AND x.status = 'accepted' FOR UPDATE OF x FOR KEY SHARE OF u"#,
        id as _,
    );
    let Some(transfer) = transfer.fetch_optional(&mut *conn).await? else { return Ok(None) };
    let status = if transfer.is_good { TransferStatus::Completed } else { TransferStatus::Failed };
    sqlx::query!(
        "UPDATE ticket_transfers SET status = $2, ended_at = now() WHERE id = $1",
        id as _,
        status as _,
    )
    .execute(&mut *conn)
    .await?;
    if !transfer.is_good {
        return Ok(None);
    }
    keys::require_good(conn, &key.public()).await?;
    // No picture is stored: the Node service would show it to whoever has booked.
    sqlx::query!(
        "UPDATE tickets t SET owner_id = nullif($2, b.user_id), qr_code = NULL, qr_nonce = $3, qr_signature = $4, qr_key = $5,
                email_sent = FALSE, sms_sent = FALSE, delivered_at = NULL
         FROM bookings b WHERE t.id = $1 AND b.id = t.booking_id",
        held.ticket as _,
        transfer.to as _,
        code.nonce(),
        code.signature(),
        key.public().id().to_string(),
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE booking_seats SET holder_name = NULL, holder_details = NULL WHERE booking_id = $1 AND seat_id = $2",
        held.booking as _,
        transfer.seat as _,
    )
    .execute(&mut *conn)
    .await?;
    let (booking_id, to) = (held.booking, Some(transfer.to));
    jobs::enqueue(conn, &EmailTickets { booking_id, reissued: false, to }).await?;
    if transfer.has_phone {
        jobs::enqueue(conn, &SmsTickets { booking_id, reissued: false, to }).await?;
    }
    jobs::enqueue(conn, &EmailTransferred { transfer_id: id }).await?;
    let details = json!({ "ticket": held.ticket, "transfer": id, "from": transfer.from });
    audit::record(conn, Action::TicketTransferred, to, subject(held.booking), details).await?;
    let ready = TicketsReady {
        booking_id,
        booking_reference: transfer.booking_reference,
        ticket_count: transfer.others + 1,
        user_id: transfer.to,
    };
    Ok(Some(Broadcast::new(Audience::User(transfer.to), ready)))
}

/// What the mails about a transfer say.
#[derive(Debug)]
pub struct Story {
    /// Whether it can still be accepted.
    pub is_open: bool,
    pub from: UserId,
    pub from_name: Option<String>,
    /// The proved address of whoever has offered the ticket.
    pub from_email: Option<String>,
    /// To which it was offered, while it is.
    pub to_email: Option<String>,
    pub to_name: Option<String>,
    pub event_name: String,
    pub occasion: Occasion,
    pub reference: String,
    pub ticket_id: String,
    pub seat_label: String,
    pub seat_type_name: String,
}

/// What there is to say about a transfer.
pub async fn story(conn: &mut PgConnection, id: TransferId) -> Result<Option<Story>> {
    let row = sqlx::query!(
        r#"SELECT x.status = 'offered' AND is_transferable(t, b, e) AND least(x.expires_at, e.holders_until, e.start_date) > now() AS "is_open!", f.id AS "from: UserId", f.name AS from_name,
                  CASE WHEN f.email_verified_at IS NOT NULL THEN f.email END AS from_email, x.to_email, u.name AS "to_name?",
                  e.name AS event_name, e.start_date AS "start_date: Timestamp", e.time_zone AS "time_zone: TimeZone", e.location, e.venue_name,
                  b.booking_reference, t.ticket_id, t.seat_label, coalesce(t.seat_type_name, '') AS "seat_type_name!"
           FROM ticket_transfers x JOIN tickets t ON t.id = x.ticket_id JOIN bookings b ON b.id = t.booking_id JOIN events e ON e.id = b.event_id
           JOIN users f ON f.id = x.from_id LEFT JOIN users u ON u.id = x.to_id WHERE x.id = $1"#,
        id as _,
    );
    let row = row.fetch_optional(conn).await?;
    Ok(row.map(|row| Story {
        is_open: row.is_open,
        from: row.from,
        from_name: row.from_name,
        from_email: row.from_email,
        to_email: row.to_email,
        to_name: row.to_name,
        event_name: row.event_name,
        occasion: Occasion {
            start_date: row.start_date,
            time_zone: row.time_zone,
            location: row.location,
            venue_name: row.venue_name,
        },
        reference: row.booking_reference,
        ticket_id: row.ticket_id,
        seat_label: row.seat_label,
        seat_type_name: row.seat_type_name,
    }))
}

/// The event of a ticket, as far as whoever has the ticket or is offered it needs to know.
#[derive(Debug, Serialize, ToSchema)]
pub struct TicketEvent {
    pub id: EventId,
    pub name: String,
    pub start_date: Timestamp,
    pub end_date: Timestamp,
    pub time_zone: TimeZone,
    pub location: String,
    pub venue_name: Option<String>,
}

/// The ticket of a transfer, and where it is found.
#[derive(Debug, Serialize, ToSchema)]
pub struct TransferredTicket {
    pub id: TicketId,
    pub ticket_id: String,
    pub booking_id: BookingId,
}

/// A transfer, as either side sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Transfer {
    pub id: TransferId,
    /// Whether the caller has offered the ticket; otherwise it is offered to the caller.
    pub is_own: bool,
    pub status: TransferStatus,
    /// The ticket and its booking; null for whoever it is offered to, until they have it.
    pub ticket: Option<TransferredTicket>,
    pub seat_label: String,
    pub seat_type_name: String,
    pub event: TicketEvent,
    /// Of whoever has offered it.
    pub from_name: Option<String>,
    /// Where it was offered; only for whoever has offered it, and while it is.
    pub to_email: Option<String>,
    pub created_at: Timestamp,
    /// Until when it can be accepted, if the event does not say earlier.
    pub expires_at: Timestamp,
    pub ended_at: Option<Timestamp>,
}

/// No more are shown of each kind.
const MOST: i64 = 100;

/// The newest transfers that a user has offered, was offered, or has accepted.
pub async fn of_user(conn: &mut PgConnection, user: UserId) -> Result<Vec<Transfer>> {
    let address = proved_address(conn, user).await?;
    let rows = sqlx::query!(
        r#"WITH newest AS MATERIALIZED (
               (SELECT * FROM ticket_transfers WHERE from_id = $1 ORDER BY id DESC LIMIT $2)
               UNION (SELECT * FROM ticket_transfers WHERE to_id = $1 ORDER BY id DESC LIMIT $2)
               UNION (SELECT * FROM ticket_transfers WHERE to_email = $3 ORDER BY id DESC LIMIT $2)
           )
           SELECT x.id AS "id!: TransferId", x.from_id = $1 AS "is_own!",
                  CASE WHEN x.status = 'offered' AND least(x.expires_at, e.holders_until, e.start_date) <= now() THEN 'expired'
                       WHEN x.status = 'offered' AND NOT is_transferable(t, b, e) THEN 'failed'
                       ELSE x.status END AS "status!: TransferStatus",
                  t.id AS "ticket: TicketId", t.ticket_id, t.booking_id AS "booking: BookingId", t.seat_label, coalesce(t.seat_type_name, '') AS "seat_type_name!",
                  e.id AS "event: EventId", e.name AS event_name, e.start_date AS "start_date: Timestamp", e.end_date AS "end_date: Timestamp",
                  e.time_zone AS "time_zone: TimeZone", e.location, e.venue_name, f.name AS from_name,
                  CASE WHEN x.from_id = $1 THEN x.to_email END AS to_email, x.created_at AS "created_at!: Timestamp", x.expires_at AS "expires_at!: Timestamp", x.ended_at AS "ended_at: Timestamp"
           FROM newest x JOIN tickets t ON t.id = x.ticket_id JOIN bookings b ON b.id = t.booking_id JOIN events e ON e.id = b.event_id
           JOIN users f ON f.id = x.from_id ORDER BY x.id DESC"#,
        user as _,
        MOST,
        address,
    )
    .fetch_all(conn)
    .await?;
    let transfers = rows.into_iter().map(|row| Transfer {
        id: row.id,
        is_own: row.is_own,
        status: row.status,
        ticket: (row.is_own || row.status == TransferStatus::Completed).then_some(
            TransferredTicket { id: row.ticket, ticket_id: row.ticket_id, booking_id: row.booking },
        ),
        seat_label: row.seat_label,
        seat_type_name: row.seat_type_name,
        event: TicketEvent {
            id: row.event,
            name: row.event_name,
            start_date: row.start_date,
            end_date: row.end_date,
            time_zone: row.time_zone,
            location: row.location,
            venue_name: row.venue_name,
        },
        from_name: row.from_name,
        to_email: row.to_email,
        created_at: row.created_at,
        expires_at: row.expires_at,
        ended_at: row.ended_at,
    });
    Ok(transfers.collect())
}

/// A ticket that somebody else has booked and that is the caller's now. Its code, and files, are
/// those of its booking ([`of_booking`](super::views::of_booking)).
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceivedTicket {
    pub id: TicketId,
    pub ticket_id: String,
    pub booking_id: BookingId,
    pub booking_status: BookingStatus,
    pub seat_id: Option<SeatId>,
    pub seat_label: String,
    pub seat_type_name: String,
    pub status: TicketStatus,
    pub event: TicketEvent,
}

/// The tickets that others have given to a user, the newest first, and how many there are.
pub async fn received(
    conn: &mut PgConnection,
    user: UserId,
    page: Page,
) -> Result<(Vec<ReceivedTicket>, i64)> {
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "total!" FROM tickets WHERE owner_id = $1"#,
        user as _,
    );
    let total = total.fetch_one(&mut *conn).await?;
    let rows = sqlx::query!(
        r#"SELECT t.id AS "id: TicketId", t.ticket_id, b.id AS "booking: BookingId", b.status AS "booking_status: BookingStatus", t.seat_id AS "seat: SeatId",
                  t.seat_label, coalesce(t.seat_type_name, '') AS "seat_type_name!", t.status AS "status: TicketStatus",
                  e.id AS "event: EventId", e.name AS event_name, e.start_date AS "start_date: Timestamp", e.end_date AS "end_date: Timestamp",
                  e.time_zone AS "time_zone: TimeZone", e.location, e.venue_name
           FROM (SELECT * FROM tickets WHERE owner_id = $1 ORDER BY id DESC LIMIT $2 OFFSET $3) t
           JOIN bookings b ON b.id = t.booking_id JOIN events e ON e.id = b.event_id ORDER BY t.id DESC"#,
        user as _,
        page.limit,
        page.offset,
    )
    .fetch_all(conn)
    .await?;
    let tickets = rows.into_iter().map(|row| ReceivedTicket {
        id: row.id,
        ticket_id: row.ticket_id,
        booking_id: row.booking,
        booking_status: row.booking_status,
        seat_id: row.seat,
        seat_label: row.seat_label,
        seat_type_name: row.seat_type_name,
        status: row.status,
        event: TicketEvent {
            id: row.event,
            name: row.event_name,
            start_date: row.start_date,
            end_date: row.end_date,
            time_zone: row.time_zone,
            location: row.location,
            venue_name: row.venue_name,
        },
    });
    Ok((tickets.collect(), total))
}
