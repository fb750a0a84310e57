//! Why operators are told of money that is not as it should be.

/// Why an alert was raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertReason {
    /// A payment is not of the amount or currency that was ordered. It is refunded.
    AmountMismatch,
    /// Payments are on no order of ours. Nothing is done about them.
    UnknownOrder,
    /// A payment is on an order of ours, for a booking that our books do not have. Nothing is done
    /// about it.
    LostBooking,
    /// Another installation uses our account at Razorpay. Nothing is done about its payments.
    OtherInstallation,
    /// No refund is asked for until an operator says so; closed when one does.
    RefundsHeld,
    /// A webhook of Razorpay's about money cannot be understood. It stays in the inbox.
    Unreadable,
    /// Somebody has refunded the payment of a confirmed booking at Razorpay. The booking is
    /// cancelled.
    ForeignRefund,
    /// Somebody has refunded a part of a payment at Razorpay. The booking stands.
    PartialRefund,
    /// A buyer's bank asks for a payment back. Somebody has to answer at Razorpay, until a day.
    DisputeOpen,
    /// A dispute was lost: the bank keeps the money.
    DisputeLost,
    /// Razorpay does not make a refund that we owe. The job is a dead letter.
    RefundFailed,
    /// What is left of a refund that we owe is less than Razorpay refunds. It is asked for no more.
    RefundRemainder,
    /// A webhook could not be acted on. The job is a dead letter.
    WebhookFailed,
    /// A provider refuses our key, or a setting that all calls need. What needs it waits; closed by
    /// itself when it works.
    ProviderRefusesKey,
}

impl AlertReason {
    /// All of them.
    pub const ALL: [AlertReason; 14] = [
        AlertReason::AmountMismatch,
        AlertReason::UnknownOrder,
        AlertReason::LostBooking,
        AlertReason::OtherInstallation,
        AlertReason::RefundsHeld,
        AlertReason::Unreadable,
        AlertReason::ForeignRefund,
        AlertReason::PartialRefund,
        AlertReason::DisputeOpen,
        AlertReason::DisputeLost,
        AlertReason::RefundFailed,
        AlertReason::RefundRemainder,
        AlertReason::WebhookFailed,
        AlertReason::ProviderRefusesKey,
    ];

    /// As stored.
    pub fn name(self) -> &'static str {
        match self {
            AlertReason::AmountMismatch => "amount_mismatch",
            AlertReason::UnknownOrder => "unknown_order",
            AlertReason::LostBooking => "lost_booking",
            AlertReason::OtherInstallation => "other_installation",
            AlertReason::RefundsHeld => "refunds_held",
            AlertReason::Unreadable => "unreadable",
            AlertReason::ForeignRefund => "foreign_refund",
            AlertReason::PartialRefund => "partial_refund",
            AlertReason::DisputeOpen => "dispute_open",
            AlertReason::DisputeLost => "dispute_lost",
            AlertReason::RefundFailed => "refund_failed",
            AlertReason::RefundRemainder => "refund_remainder",
            AlertReason::WebhookFailed => "webhook_failed",
            AlertReason::ProviderRefusesKey => "provider_refuses_key",
        }
    }
}
