//! Orders at Razorpay that are not in our books: those that a process created for our bookings and
//! did not live to remember, and those that are none of our business. [`installation`] decides
//! which.

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

/// An order of ours that our books do not have.
pub(crate) struct Forgotten {
    order_id: String,
    /// What it is for.
    pub(crate) booking: BookingId,
    amount_paise: i64,
    currency: String,
}

/// Asks Razorpay whose an order is that our books do not have.
pub(crate) async fn find(
    db: &PgPool,
    razorpay: &Razorpay,
    order_id: &str,
) -> Result<Result<Forgotten, Owner>> {
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
            Owner::Ours(booking) => Ok(Forgotten {
                order_id: order_id.to_owned(),
                booking,
                amount_paise: order.amount,
                currency: order.currency,
            }),
            other => Err(other),
        },
    )
}

impl Forgotten {
    /// From now on our books have it.
    pub(crate) async fn remember(&self, conn: &mut PgConnection) -> Result<()> {
        orders::adopt(conn, &self.order_id, self.booking, self.amount_paise, &self.currency).await
    }
}
