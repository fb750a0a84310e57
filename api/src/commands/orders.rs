//! Asking Razorpay for an order.

use std::collections::BTreeMap;

use nexus_common::{
    Error, Result,
    domain::{
        after_commit::AfterCommit,
        payment_orders::{self, NewOrder},
    },
};

use super::{Call, Done};

/// `POST /payments/create-order`. Asking again returns the order that exists. Razorpay is called outside any transaction; should we die
/// before we remember the order, its payment finds the booking by the receipt.
pub(crate) async fn create(call: Call) -> Result<Done> {
    let app = &call.app;
    let wanted = NewOrder::parse(&call.input)?;
    let mut conn = app.db.acquire().await?;
    let payable = payment_orders::payable(&mut conn, call.user, &wanted).await?;
    drop(conn);
    let order_id = match &payable.open_order {
        Some(order_id) => order_id.clone(),
        None => {
            let notes = BTreeMap::from([
                ("booking_id", payable.booking.to_string()),
                ("booking_reference", payable.reference.clone()),
            ]);
            let order = app
                .razorpay
                .create_order(payable.total.get(), payment_orders::CURRENCY, &payable.reference, &notes)
                .await
                .map_err(Error::from)?;
            let mut tx = call.begin().await?;
            payment_orders::remember(&mut tx, payable.booking, &order.id, payable.total).await?;
            tx.commit().await?;
            order.id
        }
    };
    let data = payment_orders::checkout(payable, order_id, app.razorpay.key_id());
    Done::new(data, AfterCommit::default())
}
