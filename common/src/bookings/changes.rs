//! How a booking changes after its creation: here it expires, [`sale`](super::sale) confirms it,
//! and [`cancellation`](super::cancellation) cancels it. [`booking_states`] says what may happen in
//! which state. Each verb that frees or takes seats opens the event's inventory first, then locks
//! the booking's row, then the seats: always in that order.

use std::collections::HashSet;

use sqlx::{PgConnection, types::Json};

use super::booking_states::{self, BookingEvent, BookingState, BookingStep};
use crate::{
    error::Result,
    events::inventory,
    realtime::{AfterCommit, Parties},
    seats::{
        broadcasts::{self, UnlockReason},
        freeing,
        unpaid::End,
    },
    types::{
        ids::{BookingId, EventId, SeatId, UserId},
        money::Paise,
        statuses::{BookingStatus, PaymentStatus},
        visibility::Visibility,
    },
};

/// A booking whose row belongs to this transaction.
#[derive(Debug)]
pub struct LockedBooking {
    pub id: BookingId,
    pub reference: String,
    pub event: EventId,
    /// Who may know of the event.
    pub visibility: Visibility,
    pub organiser: UserId,
    pub user: UserId,
    pub total: Paise,
    pub status: BookingStatus,
    pub payment_status: PaymentStatus,
    pub payment_id: Option<String>,
    pub event_started: bool,
    pub event_on_sale: bool,
    /// Whether this transaction has its event's inventory, too.
    pub(super) inventory: bool,
    state: BookingState,
}

impl LockedBooking {
    pub fn state(&self) -> BookingState {
        self.state
    }

    /// The buyer and the organiser.
    pub fn parties(&self) -> Parties {
        Parties {
            event: self.event,
            visibility: self.visibility,
            buyer: self.user,
            organiser: self.organiser,
        }
    }

    /// Whether this payment confirmed it.
    pub fn is_confirmed_with(&self, payment_id: &str) -> bool {
        self.status == BookingStatus::Confirmed && self.payment_id.as_deref() == Some(payment_id)
    }

    /// Whether this payment confirmed it, and it has been cancelled since.
    pub fn was_sold_with(&self, payment_id: &str) -> bool {
        self.status == BookingStatus::Cancelled && self.payment_id.as_deref() == Some(payment_id)
    }
}

/// A booking's event; `None` when there is no such booking.
pub async fn event(conn: &mut PgConnection, id: BookingId) -> Result<Option<EventId>> {
    let event = sqlx::query_scalar!(
        r#"SELECT event_id AS "event_id: EventId" FROM bookings WHERE id = $1"#,
        id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(event)
}

/// Locks a booking and its event's inventory, for a change that frees its seats; `None` when there
/// is no such booking.
pub async fn lock_for_update(
    conn: &mut PgConnection,
    id: BookingId,
) -> Result<Option<LockedBooking>> {
    let Some(event) = event(conn, id).await? else { return Ok(None) };
    inventory::lock_inventory(conn, &[event]).await?;
    // Lock the row first and look second: a single statement would see other tables as they were
    // before it waited for the row.
    sqlx::query!("SELECT id FROM bookings WHERE id = $1 FOR UPDATE", id as _)
        .fetch_optional(&mut *conn)
        .await?;
    read_locked(conn, id, true).await
}

/// Locks those of the bookings that no other transaction holds, and waits for none.
pub async fn lock_free(conn: &mut PgConnection, ids: &[BookingId]) -> Result<HashSet<BookingId>> {
    let held = sqlx::query_scalar!(
        r#"SELECT id AS "id: BookingId" FROM bookings WHERE id = ANY ($1) ORDER BY id FOR UPDATE SKIP LOCKED"#,
        ids as _,
    )
    .fetch_all(conn)
    .await?;
    Ok(held.into_iter().collect())
}

/// Reads a booking whose row this transaction has locked; `inventory` says whether it has also
/// opened the event's inventory.
pub(super) async fn read_locked(
    conn: &mut PgConnection,
    id: BookingId,
    inventory: bool,
) -> Result<Option<LockedBooking>> {
    Ok(read_all_locked(conn, &[id], inventory).await?.pop())
}

/// The same for several bookings, in no order.
pub(super) async fn read_all_locked(
    conn: &mut PgConnection,
    ids: &[BookingId],
    inventory: bool,
) -> Result<Vec<LockedBooking>> {
    let rows = sqlx::query!(
        r#"SELECT b.id AS "id: BookingId", b.booking_reference, b.event_id AS "event_id: EventId", b.user_id AS "user_id: UserId",
                  b.total_amount AS "total: Paise",
                  b.status AS "status: BookingStatus", b.payment_status AS "payment_status: PaymentStatus", b.payment_id,
                  coalesce(b.expires_at <= clock_timestamp(), FALSE) AS "overdue!", e.start_date <= clock_timestamp() AS "started!",
                  EXISTS (SELECT 1 FROM payments p WHERE p.booking_id = b.id AND p.kind = 'sale') AS "sold!",
                  e.status = 'published' AND e.taken_down_at IS NULL AS "on_sale!", e.organizer_id AS "organizer_id: UserId",
                  u.erased_at IS NOT NULL AS "erased!", event_visibility(e) AS "visibility!: Json<Visibility>"
           FROM bookings b JOIN events e ON e.id = b.event_id JOIN users u ON u.id = b.user_id WHERE b.id = ANY ($1)"#,
        ids as _,
    )
    .fetch_all(conn)
    .await?;
    let locked = rows.into_iter().map(|row| LockedBooking {
        id: row.id,
        reference: row.booking_reference,
        event: row.event_id,
        visibility: row.visibility.0,
        organiser: row.organizer_id,
        user: row.user_id,
        total: row.total,
        state: BookingState::of(row.status, row.overdue, row.sold).for_buyer(row.erased),
        status: row.status,
        payment_status: row.payment_status,
        payment_id: row.payment_id,
        event_started: row.started,
        event_on_sale: row.on_sale,
        inventory,
    });
    Ok(locked.collect())
}

/// A booking's state, for a look; it may have changed by the time the caller uses it.
pub async fn state(conn: &mut PgConnection, id: BookingId) -> Result<BookingState> {
    let row = sqlx::query!(
        r#"SELECT status AS "status: BookingStatus", coalesce(expires_at <= clock_timestamp(), FALSE) AS "overdue!",
                  EXISTS (SELECT 1 FROM payments p WHERE p.booking_id = b.id AND p.kind = 'sale') AS "sold!",
                  u.erased_at IS NOT NULL AS "erased!"
           FROM bookings b JOIN users u ON u.id = b.user_id WHERE b.id = $1"#,
        id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map_or(BookingState::Gone, |row| {
        BookingState::of(row.status, row.overdue, row.sold).for_buyer(row.erased)
    }))
}

/// Frees the seats that the booking still has.
pub(super) async fn free_seats(
    conn: &mut PgConnection,
    booking: &LockedBooking,
    reason: UnlockReason,
    end: End,
    after: &mut AfterCommit,
) -> Result<()> {
    let seats = sqlx::query_scalar!(
        r#"SELECT seat_id AS "seat_id!: SeatId" FROM booking_seats WHERE booking_id = $1 AND seat_id IS NOT NULL"#,
        booking.id as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    let freed = freeing::give_back(conn, &seats, end).await?;
    broadcasts::freed(after, freed, reason);
    Ok(())
}

/// Expires an unpaid booking whose deadline has passed, and frees its seats. False when it was paid
/// or cancelled meanwhile.
pub async fn expire(
    conn: &mut PgConnection,
    id: BookingId,
    after: &mut AfterCommit,
) -> Result<bool> {
    let Some(booking) = lock_for_update(conn, id).await? else { return Ok(false) };
    if booking_states::next(booking.state(), BookingEvent::DeadlineCheck) != BookingStep::Expire {
        return Ok(false);
    }
    sqlx::query!(
        "UPDATE bookings SET status = 'expired', payment_status = 'cancelled' WHERE id = $1",
        id as _,
    )
    .execute(&mut *conn)
    .await?;
    free_seats(conn, &booking, UnlockReason::Expired, End::Unpaid, after).await?;
    Ok(true)
}
