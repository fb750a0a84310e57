//! `confirm_booking`: a buyer says that a booking has been paid, usually a moment before the webhook does. Nothing is believed: Razorpay is
//! asked, outside any transaction (CONTRACT.md, section 10, row 1).

use nexus_common::{
    Error, Result,
    clients::CallError,
    domain::{
        after_commit::AfterCommit,
        booking_changes,
        booking_confirmation::{self, Claim, Needed},
        payments::{self, Captured, Settled},
    },
};

use super::{Call, Done};

/// `confirm_booking`
pub(crate) async fn confirm(call: Call) -> Result<Done> {
    let claim = Claim::parse(&call.input)?;
    let mut conn = call.app.db.acquire().await?;
    let needed = booking_confirmation::needed(&mut conn, &claim, call.user).await?;
    drop(conn);
    let mut after = AfterCommit::default();
    let money = match needed {
        Needed::Payment => Some(captured_payment(&call, &claim).await?),
        Needed::FreeConfirmation | Needed::Nothing => None,
    };

    let _turn = call.turn_of(claim.booking).await?;
    let mut tx = call.begin().await?;
    if let Some(money) = &money {
        if let Settled::Refunded(_) = payments::settle(&mut tx, money, &mut after).await? {
            // The decision stands, whatever this caller is told: seats may have become free, and the money is on its way back.
            tx.commit().await?;
            after.run(&call.app.cache, &call.app.everyone, &call.app.seats).await;
            return Err(Error::PaymentReturned);
        }
    } else if needed == Needed::FreeConfirmation {
        let booking = booking_changes::hold(&mut tx, claim.booking).await?.ok_or(Error::BookingNotFound)?;
        // Its own job may have been faster.
        if !booking_changes::confirm_free(&mut tx, &booking, &mut after).await? && booking.status == "pending"
        {
            return Err(Error::LockExpired);
        }
    }
    let confirmed = booking_confirmation::confirmed(&mut tx, claim.booking, call.user).await?;
    if confirmed.booking.status != "confirmed" {
        // The payment had been settled before: refunded, or its booking has been cancelled since.
        return Err(Error::PaymentReturned);
    }
    call.commit(tx, confirmed, after).await
}

/// The payment of the claim, as Razorpay has it: of an order of this booking, and captured. Whether amount and currency are those of the
/// order is decided where it is settled, because money that has arrived is either a booking's or goes back.
async fn captured_payment(call: &Call, claim: &Claim) -> Result<Captured> {
    let payment = match call.app.razorpay()?.payment(&claim.payment_id).await {
        Ok(payment) => payment,
        Err(CallError::Refused { .. }) => return Err(Error::PaymentNotVerified),
        Err(error) => return Err(error.into()),
    };
    let order_id = payment.order_id.ok_or(Error::PaymentNotVerified)?;
    let mut conn = call.app.db.acquire().await?;
    if !booking_confirmation::is_order_of(&mut conn, &order_id, claim.booking).await? {
        return Err(Error::PaymentNotVerified);
    }
    drop(conn);
    let captured = match payment.status.as_str() {
        "captured" => true,
        "authorized" => {
            call.app.razorpay()?.ensure_captured(&payment.id, payment.amount, &payment.currency).await?
        }
        _ => false,
    };
    if !captured {
        return Err(Error::PaymentNotVerified);
    }
    Ok(Captured {
        payment_id: payment.id,
        order_id,
        amount_paise: payment.amount,
        currency: payment.currency,
    })
}
