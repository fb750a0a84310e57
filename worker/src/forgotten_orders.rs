//! Orders at Razorpay that were created for our bookings by a process that did not live to remember them.

use nexus_common::{
    Result,
    clients::{CallError, razorpay::Razorpay},
    domain::{ids::BookingId, payment_orders},
};
use sqlx::PgPool;

/// An order of ours that our books do not have.
pub(crate) struct Forgotten {
    order_id: String,
    /// What it is for.
    pub(crate) booking: BookingId,
    amount_paise: i64,
    currency: String,
}

/// Asks Razorpay whose an order is that our books do not have; `None` when it is not ours. The booking's reference is its receipt, and a
/// note for bookings that have gone with their event since: what was paid for those goes back.
pub(crate) async fn find(db: &PgPool, razorpay: &Razorpay, order_id: &str) -> Result<Option<Forgotten>> {
    if order_id.is_empty() {
        return Ok(None);
    }
    let order = match razorpay.order(order_id).await {
        Ok(order) => order,
        Err(CallError::Refused { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(receipt) = &order.receipt else { return Ok(None) };
    let noted = || {
        let ours = order.notes["booking_reference"] == **receipt;
        let id = order.notes["booking_id"].as_str().filter(|_| ours)?.parse().ok()?;
        Some(BookingId(id))
    };
    let known = payment_orders::booking_of_receipt(&mut *db.acquire().await?, receipt).await?;
    Ok(known.or_else(noted).map(|booking| Forgotten {
        order_id: order_id.to_owned(),
        booking,
        amount_paise: order.amount,
        currency: order.currency,
    }))
}

impl Forgotten {
    /// From now on our books have it.
    pub(crate) async fn remember(&self, db: &PgPool) -> Result<()> {
        let mut conn = db.acquire().await?;
        payment_orders::adopt(&mut conn, &self.order_id, self.booking, self.amount_paise, &self.currency)
            .await
    }
}
