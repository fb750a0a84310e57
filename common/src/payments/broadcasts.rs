//! What buyers are told of money that goes back.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    realtime::{Listeners, Payload},
    types::{ids::BookingId, money::Paise, refund_reason::RefundReason},
};

/// A payment goes back without a cancellation: it came late, twice, or of another amount. Or a part
/// of it has been returned by hand, and its booking stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PaymentRefunded {
    pub booking_id: BookingId,
    /// None when the booking has gone with its event.
    pub booking_reference: Option<String>,
    pub payment_id: String,
    /// What goes back by this.
    pub amount: Paise,
    pub currency: String,
    pub reason: RefundReason,
}

impl Payload for PaymentRefunded {
    const EVENT: &'static str = "payment_refunded";
    const LISTENERS: Listeners = Listeners::Buyer;
}
