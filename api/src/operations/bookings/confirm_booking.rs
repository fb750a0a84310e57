//! `confirm_booking`: a buyer says that a booking has been paid, usually a moment before the
//! webhook does. The claim is not believed: Razorpay is asked, outside any transaction
//! (docs/contract.md#change-1).

use nexus_common::{
    Error, Result,
    bookings::{
        confirmation::{self, Claim, Confirmed, Needed},
        sale,
    },
    config::Limit,
    ledger::entries::ProviderPayment,
    payments::settlement::{self, Settled},
    providers::CallError,
    realtime::AfterCommit,
    types::{feature::Feature, ids::BookingId, statuses::BookingStatus},
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    admission::away,
    http::fields::{Field, Id, Text, filled},
    operations::{
        Call, Command, Done,
        payments::{provider_failed, provider_refused},
    },
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct ConfirmBooking {
    booking_id: Id,
    /// Checked with Razorpay.
    #[schema(value_type = String, max_length = 4096, min_length = 1, example = "pay_29QQoUBi66xm2f")]
    payment_id: Text,
    #[allow(dead_code, reason = "there is only one")]
    #[schema(value_type = Option<String>, max_length = 4096, example = "razorpay")]
    payment_gateway: Option<Text>,
}

impl TryFrom<ConfirmBooking> for Claim {
    type Error = Error;

    fn try_from(request: ConfirmBooking) -> Result<Self> {
        let missing = || Error::invalid("Booking ID and Payment ID are required");
        let id = request.booking_id.get().filter(|id| **id != "" && **id != 0);
        let (Some(_), Some(payment_id)) = (id, filled(&request.payment_id)) else {
            return Err(missing());
        };
        let booking = request.booking_id.read().map(BookingId);
        let booking = booking.ok_or_else(|| Error::invalid("Invalid booking ID"))?;
        Ok(Claim { booking, payment_id: payment_id.chars().take(255).collect() })
    }
}

/// Whether Razorpay can have given that id to a payment: it is not asked about others.
fn is_payment_id(text: &str) -> bool {
    text.strip_prefix("pay_").is_some_and(|id| {
        (1..=40).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

impl Command for ConfirmBooking {
    type Response = Confirmed;

    fn spec() -> Operation {
        Operation::command("confirm_booking", "Confirm a booking that has been paid")
            .description("For buyers who do not want to wait for the webhook. Nexus asks Razorpay whether the payment belongs to this booking.")
            .failures([
                Error::BookingNotFound,
                Error::BookingConfirmed,
                Error::LockExpired,
                Error::PaymentNotVerified,
                Error::PaymentReturned,
                provider_failed(),
                provider_refused(),
                Error::Off(Feature::Payments),
            ])
    }

    async fn run(self, call: Call) -> Result<Done> {
        confirm(call, self.try_into()?).await
    }
}

async fn confirm(call: Call, claim: Claim) -> Result<Done> {
    let mut conn = call.app.db.acquire().await?;
    let needed = confirmation::needed(&mut conn, &claim, call.user).await?;
    drop(conn);
    let money = match needed {
        Needed::Payment => Some(captured_payment(&call, &claim).await?),
        Needed::FreeConfirmation | Needed::Nothing => None,
    };

    let _turn = call.turn_of(claim.booking).await?;
    match carry_out(&call, &claim, &needed, money.as_ref()).await {
        // Another request changed the booking at that moment: try once more, and only once.
        Err(Error::Collision(_)) => carry_out(&call, &claim, &needed, money.as_ref()).await,
        done => done,
    }
}

async fn carry_out(
    call: &Call,
    claim: &Claim,
    needed: &Needed,
    money: Option<&ProviderPayment>,
) -> Result<Done> {
    let mut after = AfterCommit::default();
    let mut tx = call.begin().await?;
    if let Some(money) = money {
        if let Settled::Refunded(_) = settlement::settle(&mut tx, money, &mut after).await? {
            // The decision stands, whatever the response: seats may have become free, and the money
            // is on its way back.
            tx.commit().await?;
            call.app.followers.run(after, call.app.everyone.clone()).await;
            return Err(Error::PaymentReturned);
        }
    } else if *needed == Needed::FreeConfirmation {
        let booking = sale::lock_for_update(&mut tx, claim.booking, None)
            .await?
            .ok_or(Error::BookingNotFound)?;
        // The booking's job may have been faster.
        if !sale::confirm_free(&mut tx, &booking, &mut after).await?
            && booking.status == BookingStatus::Pending
        {
            return Err(Error::LockExpired);
        }
    }
    let confirmed = confirmation::confirmed(&mut tx, claim.booking, call.user).await?;
    if confirmed.booking.status != BookingStatus::Confirmed {
        // The payment was settled before: it was refunded, or its booking has been cancelled since.
        return Err(Error::PaymentReturned);
    }
    call.commit(tx, confirmed, after).await
}

/// The claim's payment, as Razorpay has it: for an order of this booking, and captured. Settlement
/// checks its amount and currency, because money that has arrived either buys the booking or goes
/// back.
async fn captured_payment(call: &Call, claim: &Claim) -> Result<ProviderPayment> {
    let razorpay = call.app.razorpay()?;
    if !is_payment_id(&claim.payment_id) {
        return Err(Error::PaymentNotVerified);
    }
    let budgets = &call.app.budgets;
    let taken = budgets.confirmation(call.user).await?;
    let payment = match away(razorpay.payment(&claim.payment_id)).await {
        Ok(payment) => payment,
        Err(CallError::Refused { .. }) => return Err(Error::PaymentNotVerified),
        Err(error) => {
            budgets.give_back(&taken, &[Limit::ConfirmBooking]).await;
            return Err(error.into());
        }
    };
    let order_id = payment.order_id.ok_or(Error::PaymentNotVerified)?;
    let mut conn = call.app.db.acquire().await?;
    if !confirmation::is_order_of(&mut conn, &order_id, claim.booking).await? {
        return Err(Error::PaymentNotVerified);
    }
    drop(conn);
    let captured = match payment.status.as_str() {
        "captured" => true,
        "authorized" => {
            away(razorpay.ensure_captured(&payment.id, payment.amount, &payment.currency)).await?
        }
        _ => false,
    };
    if !captured {
        return Err(Error::PaymentNotVerified);
    }
    budgets.give_back(&taken, &[Limit::ConfirmBooking]).await;
    Ok(ProviderPayment {
        payment_id: payment.id,
        order_id,
        amount_paise: payment.amount,
        currency: payment.currency,
    })
}
