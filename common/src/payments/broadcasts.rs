//! Broadcasts to buyers about money that goes back.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    realtime::{Listeners, Payload},
    types::{ids::BookingId, money::Paise, refund_reason::RefundReason},
};

/// A payment goes back without a cancellation: it came late, twice, or in another amount. Or a part
/// of it was refunded manually, and its booking stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PaymentRefunded {
    pub booking_id: BookingId,
    /// `null` when the booking was deleted with its event.
    pub booking_reference: Option<String>,
    pub payment_id: String,
    /// The amount that goes back now.
    pub amount: Paise,
    pub currency: String,
    pub reason: RefundReason,
}

impl Payload for PaymentRefunded {
    const EVENT: &'static str = "payment_refunded";
    const LISTENERS: Listeners = Listeners::Buyer;
}
