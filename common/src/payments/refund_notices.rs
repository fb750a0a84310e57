//! What a buyer is told about money that goes back although the booking was not cancelled: it came
//! late, twice, or in another amount, or a part of it was refunded manually.
//! [`cancellation_notices`](crate::bookings::cancellation_notices) tell a buyer who cancels.

use sqlx::PgConnection;

use super::broadcasts::PaymentRefunded;
use crate::{
    error::Result,
    jobs::{
        self,
        notifications::{EmailPartRefund, EmailRefund, SmsPartRefund, SmsRefund},
    },
    ledger::entries::ProviderPayment,
    realtime::{AfterCommit, Audience, Broadcast},
    types::{
        ids::{BookingId, RefundId, UserId},
        money::{Paise, written},
        refund_reason::RefundReason,
    },
};

#[derive(Debug)]
pub struct Notice {
    pub user: UserId,
    /// Identifies the message: the payment that goes back, or the refund of a part.
    pub id: String,
    pub payment_id: String,
    /// The payment's amount, as people write it.
    pub amount: String,
    /// What goes back, if that is only a part.
    pub part: Option<String>,
    /// Whether its booking stays confirmed.
    pub stands: bool,
    /// Why it goes back; ends a sentence.
    pub reason: &'static str,
    /// Its booking, unless that was deleted with its event.
    pub booking: Option<BookingId>,
    /// The booking's reference.
    pub reference: Option<String>,
    pub event_name: Option<String>,
    pub name: Option<String>,
    /// Only a proved address.
    pub email: Option<String>,
    /// Only a proved number.
    pub phone: Option<String>,
}

/// Tells the buyer about a refund that has just been decided, by e-mail, SMS, and on their own
/// sockets. The transaction that decides the refund enqueues the jobs and collects the broadcast.
pub(super) async fn announce(
    conn: &mut PgConnection,
    refund_id: RefundId,
    money: &ProviderPayment,
    booking: BookingId,
    reason: RefundReason,
    after: &mut AfterCommit,
) -> Result<()> {
    jobs::enqueue(conn, &EmailRefund { refund_id }).await?;
    jobs::enqueue(conn, &SmsRefund { refund_id }).await?;
    let buyer = sqlx::query!(
        r#"SELECT coalesce(b.user_id, o.user_id) AS "user: UserId", b.booking_reference AS "reference?",
                  (SELECT amount_paise FROM refunds WHERE id = $2) AS "amount!: Paise"
           FROM payment_orders o LEFT JOIN bookings b ON b.id = o.booking_id WHERE o.order_id = $1"#,
        money.order_id,
        refund_id as _,
    )
    .fetch_optional(conn)
    .await?;
    if let Some(buyer) = buyer
        && let Some(user) = buyer.user
    {
        let refunded = PaymentRefunded {
            booking_id: booking,
            booking_reference: buyer.reference,
            payment_id: money.payment_id.clone(),
            amount: buyer.amount,
            currency: money.currency.clone(),
            reason,
        };
        after.tell(Broadcast::new(Audience::User(user), refunded));
    }
    Ok(())
}

/// Likewise tells a booking's buyer that a part of its payment was refunded manually. The caller
/// makes sure that this happens once per refund.
pub(super) async fn announce_part(
    conn: &mut PgConnection,
    refund_id: &str,
    after: &mut AfterCommit,
) -> Result<()> {
    jobs::enqueue(conn, &EmailPartRefund { refund_id: refund_id.to_owned() }).await?;
    jobs::enqueue(conn, &SmsPartRefund { refund_id: refund_id.to_owned() }).await?;
    let sold = sqlx::query!(
        r#"SELECT b.id AS "booking_id: BookingId", b.user_id AS "user_id: UserId", b.booking_reference, r.payment_id,
                  r.amount_paise AS "amount: Paise", s.currency
           FROM provider_refunds r JOIN payments s ON s.payment_id = r.payment_id AND s.kind = 'sale'
           JOIN bookings b ON b.id = s.booking_id WHERE r.refund_id = $1"#,
        refund_id,
    )
    .fetch_optional(conn)
    .await?;
    if let Some(sold) = sold {
        let refunded = PaymentRefunded {
            booking_id: sold.booking_id,
            booking_reference: Some(sold.booking_reference),
            payment_id: sold.payment_id,
            amount: sold.amount,
            currency: sold.currency,
            reason: RefundReason::NotOurs,
        };
        after.tell(Broadcast::new(Audience::User(sold.user_id), refunded));
    }
    Ok(())
}

/// What to send about a part; `None` when its booking was deleted.
pub async fn part_notice(conn: &mut PgConnection, refund_id: &str) -> Result<Option<Notice>> {
    let row = sqlx::query!(
        r#"SELECT r.payment_id, r.amount_paise AS part, b.status = 'confirmed' AS "stands!", -s.amount_paise AS "paise!", s.currency, b.id AS "booking: BookingId", b.booking_reference,
                  e.name AS event_name, u.id AS "user: UserId", u.name, CASE WHEN u.email_verified_at IS NOT NULL THEN u.email END AS email,
                  CASE WHEN u.phone_verified_at IS NOT NULL THEN u.phone END AS phone
           FROM provider_refunds r JOIN payments s ON s.payment_id = r.payment_id AND s.kind = 'sale'
           JOIN bookings b ON b.id = s.booking_id JOIN events e ON e.id = b.event_id JOIN users u ON u.id = b.user_id
           WHERE r.refund_id = $1"#,
        refund_id,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Notice {
        amount: written(row.paise, &row.currency),
        id: refund_id.to_owned(),
        part: Some(written(row.part, &row.currency)),
        stands: row.stands,
        reason: RefundReason::NotOurs.words(),
        payment_id: row.payment_id,
        booking: Some(row.booking),
        reference: Some(row.booking_reference),
        event_name: Some(row.event_name),
        user: row.user,
        name: row.name,
        email: row.email,
        phone: row.phone,
    }))
}

/// What to send about a refund; `None` when its buyer is not known.
pub async fn notice(conn: &mut PgConnection, refund_id: RefundId) -> Result<Option<Notice>> {
    let row = sqlx::query!(
        r#"SELECT r.payment_id, r.amount_paise, r.currency, r.reason, b.id AS "booking?: BookingId", b.booking_reference AS "reference?", e.name AS "event_name?",
                  u.id AS "user: UserId", u.name, CASE WHEN u.email_verified_at IS NOT NULL THEN u.email END AS email, CASE WHEN u.phone_verified_at IS NOT NULL THEN u.phone END AS phone
           FROM refunds r
           LEFT JOIN payments p ON p.payment_id = r.payment_id AND p.kind = 'capture'
           LEFT JOIN payment_orders o ON o.order_id = p.order_id
           LEFT JOIN bookings b ON b.id = r.booking_id
           LEFT JOIN events e ON e.id = b.event_id
           JOIN users u ON u.id = coalesce(b.user_id, o.user_id)
           WHERE r.id = $1"#,
        refund_id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Notice {
        id: row.payment_id.clone(),
        part: None,
        stands: false,
        amount: written(row.amount_paise, &row.currency),
        reason: row.reason.parse().map_or("it could not be used", RefundReason::words),
        payment_id: row.payment_id,
        booking: row.booking,
        reference: row.reference,
        event_name: row.event_name,
        user: row.user,
        name: row.name,
        email: row.email,
        phone: row.phone,
    }))
}
