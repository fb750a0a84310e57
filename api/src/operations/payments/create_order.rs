//! `POST /payments/create-order`: asks Razorpay for an order.

use std::collections::BTreeMap;

use nexus_common::{
    Error, Result,
    payments::{
        installation,
        orders::{self, CheckoutOrder, CreatedOrder, NewOrder},
    },
    providers::{CallError, razorpay},
    realtime::AfterCommit,
    types::{
        feature::Feature,
        ids::BookingId,
        money::{self, Paise},
        statuses::BookingStatus,
    },
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::provider_failed;
use crate::{
    admission::away,
    http::fields::{Field, Id, Text, Total, sent},
    operations::{Call, Command, Done},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct CreateOrder {
    booking_id: Id,
    /// The booking's total.
    amount: Total,
    /// `INR`, in any case.
    #[schema(value_type = Option<String>, max_length = 3, pattern = "^(?:[Ii][Nn][Rr])?$", example = "INR")]
    currency: Option<Text>,
}

impl TryFrom<CreateOrder> for NewOrder {
    type Error = Error;

    fn try_from(request: CreateOrder) -> Result<Self> {
        let booking = request
            .booking_id
            .required(Error::invalid("Booking ID is required"), "Invalid booking ID")?;
        let amount = request
            .amount
            .read()
            .and_then(Paise::from_rupees)
            .filter(|amount| *amount > Paise::ZERO)
            .ok_or_else(|| Error::invalid("Valid amount is required"))?;
        match sent(&request.currency).map(Field::read) {
            None => {}
            Some(Some(currency))
                if currency.is_empty() || currency.eq_ignore_ascii_case(money::CURRENCY) => {}
            Some(_) => return Err(Error::invalid("Currency must be INR")),
        }
        Ok(NewOrder { booking: BookingId(booking), amount })
    }
}

impl Command for CreateOrder {
    type Response = CheckoutOrder;

    fn spec() -> Operation {
        Operation::private("create_order", "Create a payment order for a booking")
            .description("Returns the same order when called again.")
            .once()
            .failures([
                Error::BookingNotPayable,
                Error::BookingNotPending(BookingStatus::Confirmed),
                Error::BookingExpired,
                Error::EventNotOnSale,
                Error::AmountMismatch("1500.50".into()),
                Error::AmountRefused { total: Paise::MAX, source: "refused".into() },
                Error::OrderRefused { source: "refused".into() },
                provider_failed(),
                Error::Off(Feature::Payments),
            ])
    }

    /// A repeated request returns the existing order, and two simultaneous ones both return one of
    /// the two. Razorpay is called outside any transaction. If this process dies before it records
    /// the order, no buyer has it to pay, and a payment would still find the booking by the
    /// installation's note and the receipt.
    async fn run(self, call: Call) -> Result<Done> {
        let app = &call.app;
        let wanted = NewOrder::try_from(self)?;
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
                let order = away(razorpay.create_order(&new))
                    .await
                    .map_err(|error| refused(error, payable.total))?;
                let (booking, amount) = (payable.booking, payable.total);
                let created = CreatedOrder { booking, order_id: order.id, amount };
                match app.orders.call(created.clone()).await? {
                    Some(live) => live,
                    None => {
                        let mut tx = call.begin().await?;
                        let live = orders::remember(&mut tx, created).await?;
                        tx.commit().await?;
                        live
                    }
                }
            }
        };
        let data = orders::checkout(payable, order_id, razorpay.key_id());
        Done::new(data, AfterCommit::default())
    }
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
