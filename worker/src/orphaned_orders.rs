//! Orders at Razorpay that are not in our books: either a process created one for our booking and
//! died before it could write it down, or the order belongs to another shop or installation.
//! [`installation`] decides which.

use nexus_common::{
    Result,
    payments::{
        installation::{self, Owner},
        orders,
    },
    providers::{CallError, razorpay::Razorpay},
    types::ids::BookingId,
};
use sqlx::{PgConnection, PgPool};

/// An order for a booking of ours that our books do not have.
pub(crate) struct OrphanedOrder {
    order_id: String,
    pub(crate) booking: BookingId,
    amount_paise: i64,
    currency: String,
}

/// Asks Razorpay about an order that our books do not have. If it is not ours, returns its owner.
pub(crate) async fn find(
    db: &PgPool,
    razorpay: &Razorpay,
    order_id: &str,
) -> Result<Result<OrphanedOrder, Owner>> {
    if order_id.is_empty() {
        return Ok(Err(Owner::Stranger));
    }
    let order = match razorpay.order(order_id).await {
        Ok(order) => order,
        Err(CallError::Refused { .. }) => return Ok(Err(Owner::Stranger)),
        Err(error) => return Err(error.into()),
    };
    let mut conn = db.acquire().await?;
    Ok(
        match installation::owner(&mut conn, order_id, order.receipt.as_deref(), &order.notes)
            .await?
        {
            Owner::Ours(booking) => Ok(OrphanedOrder {
                order_id: order_id.to_owned(),
                booking,
                amount_paise: order.amount,
                currency: order.currency,
            }),
            other => Err(other),
        },
    )
}

impl OrphanedOrder {
    /// Writes the order into our books.
    pub(crate) async fn adopt(&self, conn: &mut PgConnection) -> Result<()> {
        orders::adopt(conn, &self.order_id, self.booking, self.amount_paise, &self.currency).await
    }
}
