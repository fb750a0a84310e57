//! Asking Razorpay for an order.

use std::collections::BTreeMap;

use nexus_common::{
    Error, Result,
    payments::{
        installation,
        orders::{self, NewOrder},
    },
    providers::{CallError, razorpay},
    realtime::AfterCommit,
    types::money::{self, Paise},
};

use super::{Call, Done};

/// `POST /payments/create-order`. Asking again returns the order that exists, and asking twice at
/// once returns one of the two to both. Razorpay is called outside any transaction; should we die
/// before we remember the order, nobody has it to pay, and a payment would find the booking by the
/// installation's note and the receipt.
pub(crate) async fn create(call: Call) -> Result<Done> {
    let app = &call.app;
    let wanted = NewOrder::parse(&call.input)?;
    let mut conn = app.db.acquire().await?;
    let payable = orders::payable(&mut conn, call.user, &wanted).await?;
    drop(conn);
    let razorpay = app.razorpay()?;
    let order_id = match &payable.open_order {
        Some(order_id) => order_id.clone(),
        None => {
            let notes = BTreeMap::from([
                ("booking_id", payable.booking.to_string()),
                ("booking_reference", payable.reference.clone()),
                (installation::NOTE, payable.installation.to_string()),
            ]);
            let new = razorpay::NewOrder {
                amount_paise: payable.total.get(),
                currency: money::CURRENCY,
                receipt: &payable.reference,
                notes,
                valid: app.settings.deadlines.booking,
            };
            let order =
                razorpay.create_order(&new).await.map_err(|error| refused(error, payable.total))?;
            let mut tx = call.begin().await?;
            let live = orders::remember(&mut tx, payable.booking, &order.id, payable.total).await?;
            tx.commit().await?;
            live
        }
    };
    let data = orders::checkout(payable, order_id, razorpay.key_id());
    Done::new(data, AfterCommit::default())
}

/// Why there is no order. A refusal is not an outage: the buyer is told that trying again will not
/// help.
fn refused(error: CallError, total: Paise) -> Error {
    match error {
        _ if razorpay::refuses_amount(&error) => {
            Error::AmountRefused { total, source: Box::new(error) }
        }
        CallError::Refused { .. } => Error::OrderRefused { source: Box::new(error) },
        error => error.into(),
    }
}
