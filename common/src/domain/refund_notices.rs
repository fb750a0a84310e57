//! What a buyer is told whose money goes back although nobody has cancelled anything: it came late, twice, or of another amount. Whoever cancels is
//! told by [`cancellation_notices`](super::cancellation_notices).

use sqlx::PgConnection;

use super::{
    after_commit::AfterCommit,
    ids::{BookingId, UserId},
    money::{Paise, written},
    news::PaymentRefunded,
    payments::Captured,
    refunds::RefundReason,
};
use crate::{
    error::Result,
    jobs::{
        self,
        notifications::{EmailRefund, SmsRefund},
    },
    realtime::{Audience, Broadcast},
};

/// What is sent.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Notice {
    pub payment_id: String,
    /// As people write it.
    pub amount: String,
    /// Why it goes back: ends a sentence.
    pub reason: &'static str,
    /// Of the booking that it was for, if that has not gone with its event.
    pub reference: Option<String>,
    pub event_name: Option<String>,
    pub name: Option<String>,
    pub email: Option<String>,
    /// Only a number that has been proved to be theirs.
    pub phone: Option<String>,
}

/// Has the buyer told of a refund that has just been decided, by e-mail, SMS, and on their own sockets: enqueued and collected in the transaction that
/// decides it.
pub(super) async fn announce(
    conn: &mut PgConnection,
    refund_id: i64,
    money: &Captured,
    booking: BookingId,
    reason: RefundReason,
    after: &mut AfterCommit,
) -> Result<()> {
    jobs::enqueue(conn, &EmailRefund { refund_id }).await?;
    jobs::enqueue(conn, &SmsRefund { refund_id }).await?;
    let buyer = sqlx::query!(
        r#"SELECT coalesce(b.user_id, o.user_id) AS user_id, b.booking_reference AS "reference?",
                  (SELECT amount_paise FROM refunds WHERE id = $2) AS "paise!"
           FROM payment_orders o LEFT JOIN bookings b ON b.id = o.booking_id WHERE o.order_id = $1"#,
        money.order_id,
        refund_id,
    )
    .fetch_optional(conn)
    .await?;
    if let Some(buyer) = buyer
        && let Some(user) = buyer.user_id.map(UserId)
    {
        let news = PaymentRefunded {
            booking_id: booking,
            booking_reference: buyer.reference,
            payment_id: money.payment_id.clone(),
            amount: Paise::from_db(buyer.paise),
            currency: money.currency.clone(),
            reason,
        };
        after.tell(Broadcast::new(Audience::User(user), news));
    }
    Ok(())
}

/// What to send about a refund; `None` when nobody knows whose it is.
pub async fn notice(conn: &mut PgConnection, refund_id: i64) -> Result<Option<Notice>> {
    let row = sqlx::query!(
        r#"SELECT r.payment_id, r.amount_paise, r.currency, r.reason, b.booking_reference AS "reference?", e.name AS "event_name?",
                  u.name, u.email, CASE WHEN u.phone_verified_at IS NOT NULL THEN u.phone END AS phone
           FROM refunds r
           LEFT JOIN payments p ON p.payment_id = r.payment_id AND p.kind = 'capture'
           LEFT JOIN payment_orders o ON o.order_id = p.order_id
           LEFT JOIN bookings b ON b.id = r.booking_id
           LEFT JOIN events e ON e.id = b.event_id
           JOIN users u ON u.id = coalesce(b.user_id, o.user_id)
           WHERE r.id = $1"#,
        refund_id,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Notice {
        amount: written(row.amount_paise, &row.currency),
        reason: RefundReason::parse(&row.reason).map_or("it could not be used", RefundReason::words),
        payment_id: row.payment_id,
        reference: row.reference,
        event_name: row.event_name,
        name: row.name,
        email: row.email,
        phone: row.phone,
    }))
}
