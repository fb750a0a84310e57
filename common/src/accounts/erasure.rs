//! Erasing an account: its row stays, because bookings and the ledger refer to it, and says nothing
//! about anybody any more (`docs/privacy.md`). What it holds on to, it lets go of first: see
//! [`holdings`].

use sqlx::PgConnection;

use super::users;
use crate::{
    error::{Error, Result},
    jobs::{
        self, Job,
        notifications::{AccountErased, RecoverPassword},
        otp::SendOtp,
    },
    types::{
        ids::{BookingId, EventId, SeatTypeId, UserId},
        seats::{SeatKey, SeatLabel},
    },
};

/// [`Error::AccountHasBookings`] while the user has tickets for events that have not started, which
/// they can cancel, and have to be told when the event is; and [`Error::AccountHasEvents`] while
/// theirs are not over: an event needs somebody who answers for it. Nobody has to wait for the end
/// that somebody else has given to an event.
pub async fn require_over(conn: &mut PgConnection, user: UserId) -> Result<()> {
    let left = sqlx::query!(
        r#"SELECT (SELECT count(*) FROM bookings b JOIN events e ON e.id = b.event_id
                   WHERE b.user_id = $1 AND b.status = 'confirmed' AND e.start_date > now()
                     AND (NOT EXISTS (SELECT 1 FROM tickets WHERE booking_id = b.id)
                          OR EXISTS (SELECT 1 FROM tickets WHERE booking_id = b.id AND owner_id IS NULL)))
                + (SELECT count(DISTINCT b.id) FROM tickets t JOIN bookings b ON b.id = t.booking_id JOIN events e ON e.id = b.event_id
                   WHERE t.owner_id = $1 AND t.status <> 'cancelled' AND b.status = 'confirmed' AND e.start_date > now()) AS "bookings!",
                  (SELECT count(*) FROM events e
                   WHERE e.organizer_id = $1 AND e.end_date > now() AND (
                       e.status <> 'cancelled'
                       OR EXISTS (SELECT 1 FROM bookings b WHERE b.event_id = e.id AND b.status IN ('pending', 'confirmed')))) AS "events!""#,
        user as _,
    )
    .fetch_one(conn)
    .await?;
    match left.events {
        _ if left.bookings > 0 => Err(Error::AccountHasBookings(left.bookings)),
        0 => Ok(()),
        events => Err(Error::AccountHasEvents(events)),
    }
}

/// What a user holds and has not paid for.
#[derive(Debug)]
pub struct Holdings {
    pub bookings: Vec<BookingId>,
    /// Locked seats that are in no booking.
    pub seats: Vec<SeatKey>,
}

impl Holdings {
    pub fn is_empty(&self) -> bool {
        self.bookings.is_empty() && self.seats.is_empty()
    }
}

/// What the user holds and has not paid for; others get it when the account is erased. A lock that
/// has run out belongs to nobody.
pub async fn holdings(conn: &mut PgConnection, user: UserId) -> Result<Holdings> {
    let bookings = sqlx::query_scalar!(
        r#"SELECT id AS "id: BookingId" FROM bookings WHERE user_id = $1 AND status = 'pending' ORDER BY id LIMIT 1000"#,
        user as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    let seats = sqlx::query!(
        r#"SELECT event_id AS "event: EventId", event_seat_type_id AS "seat_type: SeatTypeId", seat_label AS "label: SeatLabel"
           FROM seats s WHERE user_id = $1 AND status = 'locked' AND expires_at > now()
               AND NOT EXISTS (SELECT 1 FROM booking_seats bs WHERE bs.seat_id = s.id)
           ORDER BY id LIMIT 1000"#,
        user as _,
    )
    .fetch_all(conn)
    .await?;
    let key = |event, seat_type, label| SeatKey { event, seat_type, label };
    let seats = seats.into_iter().map(|row| key(row.event, row.seat_type, row.label)).collect();
    Ok(Holdings { bookings, seats })
}

/// Forgets why the user has cancelled bookings, in their own words. Before the account is locked:
/// whoever has a booking may wait for its buyer's account.
pub async fn forget_reasons(conn: &mut PgConnection, user: UserId) -> Result<()> {
    sqlx::query!(
        "UPDATE bookings SET cancellation_reason = 'Cancelled by user' WHERE id = ANY (ARRAY(
             SELECT id FROM bookings
             WHERE user_id = $1 AND cancellation_reason NOT IN ('Cancelled by user', 'Event cancelled', 'Refunded', 'Payment disputed')
             ORDER BY id FOR UPDATE))",
        user as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Erases an account that the caller has locked, whose sessions it has ended, and that holds nothing
/// any more. Its contacts are free for others at once; the proved one is told.
pub async fn erase(conn: &mut PgConnection, user: UserId) -> Result<()> {
    let reached = users::contacts_of(conn, user).await?;
    forget_messages(conn, reached.email.as_deref(), reached.phone.as_deref()).await?;
    if reached.email.is_some() || reached.phone.is_some() {
        let told = AccountErased { email: reached.email.clone(), phone: reached.phone };
        jobs::enqueue(conn, &told).await?;
    }
    sqlx::query!(
        "WITH held AS (SELECT id, role FROM users WHERE id = $1)
         INSERT INTO role_changes (user_id, role_before, role_after) SELECT id, role, 'user' FROM held WHERE role <> 'user'",
        user as _,
    )
    .execute(&mut *conn)
    .await?;
    // No token is later than infinity: whatever of them is left somewhere is worth nothing.
    sqlx::query!(
        "UPDATE users SET username = NULL, name = NULL, email = NULL, claimed_email = NULL, email_verified_at = NULL,
                phone = NULL, claimed_phone = NULL, phone_verified_at = NULL, password = NULL, address = NULL, city = NULL,
                state = NULL, zip = NULL, country = NULL, role = 'user', sessions_valid_from = 'infinity',
                erased_at = now(), updated_at = now()
         WHERE id = $1",
        user as _,
    )
    .execute(&mut *conn)
    .await?;
    for forget in [
        sqlx::query!("DELETE FROM refresh_tokens WHERE user_id = $1", user as _),
        sqlx::query!("DELETE FROM sessions WHERE user_id = $1", user as _),
        sqlx::query!("DELETE FROM blacklisted_tokens WHERE user_id = $1", user as _),
        sqlx::query!("DELETE FROM operator_sessions WHERE user_id = $1", user as _),
        sqlx::query!("DELETE FROM operator_totps WHERE user_id = $1", user as _),
        sqlx::query!("DELETE FROM login_networks WHERE user_id = $1", user as _),
        sqlx::query!("DELETE FROM email_proofs WHERE user_id = $1", user as _),
        sqlx::query!("DELETE FROM idempotency_keys WHERE user_id = $1", user as _),
        sqlx::query!("DELETE FROM idempotent_requests WHERE user_id = $1", user as _),
        sqlx::query!("DELETE FROM cancellation_notices WHERE user_id = $1", user as _),
        sqlx::query!("DELETE FROM event_staff WHERE user_id = $1", user as _),
        sqlx::query!("DELETE FROM waiting_room_visitors WHERE user_id = $1", user as _),
    ] {
        forget.execute(&mut *conn).await?;
    }
    // Of seats that others have by now, it is theirs to say.
    sqlx::query!(
        "UPDATE booking_seats s SET holder_name = NULL, holder_details = NULL FROM bookings b
         WHERE b.user_id = $1 AND s.booking_id = b.id AND (s.holder_name IS NOT NULL OR s.holder_details IS NOT NULL)
           AND NOT EXISTS (SELECT 1 FROM tickets t WHERE t.booking_id = b.id AND t.seat_id = s.seat_id AND t.owner_id IS NOT NULL)",
        user as _,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE booking_seats s SET holder_name = NULL, holder_details = NULL FROM tickets t
         WHERE t.owner_id = $1 AND s.booking_id = t.booking_id AND s.seat_id = t.seat_id",
        user as _,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE ticket_transfers SET status = CASE WHEN from_id = $1 THEN 'withdrawn' ELSE 'declined' END, to_email = NULL, ended_at = now()
         WHERE status IN ('offered', 'accepted')
           AND id = ANY (ARRAY(SELECT id FROM ticket_transfers WHERE from_id = $1 AND status IN ('offered', 'accepted')
                               UNION SELECT id FROM ticket_transfers WHERE to_email = $2))",
        user as _,
        reached.email,
    )
    .execute(&mut *conn)
    .await?;
    forget_holder(conn, user).await
}

/// Forgets the messages to these contacts that are still to be sent, or could not be; those that
/// have an id only find no contact any more.
async fn forget_messages(
    conn: &mut PgConnection,
    email: Option<&str>,
    phone: Option<&str>,
) -> Result<()> {
    let keys: Vec<String> =
        email.map(RecoverPassword::key).into_iter().chain(phone.map(SendOtp::key)).collect();
    sqlx::query!("DELETE FROM jobs WHERE unique_key = ANY ($1) AND state = 'pending'", &keys)
        .execute(&mut *conn)
        .await?;
    sqlx::query!("DELETE FROM jobs WHERE unique_key = ANY ($1) AND state = 'dead'", &keys)
        .execute(conn)
        .await?;
    Ok(())
}

/// Forgets whose seats were held unpaid, and in which bookings. Their network has still held them.
pub(super) async fn forget_holder(conn: &mut PgConnection, user: UserId) -> Result<()> {
    sqlx::query!(
        "UPDATE unpaid_holds SET user_id = NULL, booking_id = NULL WHERE user_id = $1",
        user as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}
