//! The findings of a comparison.

use nexus_common::{
    providers::razorpay::{Dispute, Payment, Refund},
    types::{
        ids::BookingId,
        money::{CURRENCY, written},
    },
};
use serde::Serialize;

/// Something on which Razorpay and our books disagree.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `pay_…`, `rfnd_…`, `disp_…` or `order_…`
    pub subject: String,
    /// Its booking, if known.
    pub booking: Option<BookingId>,
    /// The amount in question.
    pub amount_paise: i64,
    /// What Razorpay says.
    pub razorpay: String,
    /// What our books said.
    pub nexus: String,
    /// What was done about it; `-` when it was only reported.
    pub done: String,
}

impl Difference {
    pub(super) fn new(payment: &Payment, nexus: &str, done: &str) -> Self {
        let razorpay = match (payment.amount_refunded, payment.status.as_str()) {
            (refunded, "captured") if refunded > 0 => {
                format!("captured, {} refunded", written(refunded, &payment.currency))
            }
            (_, status) => status.to_owned(),
        };
        Difference {
            subject: payment.id.clone(),
            booking: None,
            amount_paise: payment.amount,
            razorpay,
            nexus: nexus.to_owned(),
            done: done.to_owned(),
        }
    }

    /// Something that cannot be compared.
    pub(super) fn unknown(id: &str, why: &str) -> Self {
        Difference {
            subject: id.to_owned(),
            booking: None,
            amount_paise: 0,
            razorpay: "-".into(),
            nexus: "not comparable".into(),
            done: why.to_owned(),
        }
    }

    pub(super) fn of_dispute(dispute: &Dispute, nexus: &str, done: &str) -> Self {
        Difference {
            subject: dispute.id.clone(),
            booking: None,
            amount_paise: dispute.amount,
            razorpay: format!("dispute {}", dispute.status),
            nexus: nexus.to_owned(),
            done: done.to_owned(),
        }
    }

    pub(super) fn of_refund(refund: &Refund, nexus: &str, done: &str) -> Self {
        Difference {
            subject: refund.id.clone(),
            booking: None,
            amount_paise: refund.amount,
            razorpay: format!("refund {}", refund.status),
            nexus: nexus.to_owned(),
            done: done.to_owned(),
        }
    }
}

/// Everything that a comparison has found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Payments, refunds and disputes that were compared.
    pub compared: usize,
    /// Orders that Razorpay was asked about.
    pub orders: usize,
    /// Payments that belong to something else on the same Razorpay account.
    pub not_ours: usize,
    pub differences: Vec<Difference>,
}

impl Report {
    /// Also logs each difference: a webhook was lost, or an operator did something at Razorpay.
    pub(super) fn add(&mut self, difference: Difference) {
        // A payment can be in more than one list.
        if self.differences.contains(&difference) {
            return;
        }
        let Difference { subject, booking, amount_paise, razorpay, nexus, done } = &difference;
        let booking_id = booking.map(|id| id.0);
        tracing::warn!(
            subject,
            booking_id,
            amount = written(*amount_paise, CURRENCY),
            razorpay,
            nexus,
            done,
            "Razorpay and our books differed"
        );
        self.differences.push(difference);
    }
}
