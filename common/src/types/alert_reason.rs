//! Why operators are alerted about money.

use super::text_enum::text_enum;

text_enum! {
    /// Why an alert was raised.
    pub enum AlertReason {
        /// A payment is not of the ordered amount or currency. It is refunded.
        AmountMismatch = "amount_mismatch",
        /// Payments are not on one of our orders. Nothing is done about them.
        UnknownOrder = "unknown_order",
        /// A payment is on one of our orders, for a booking that our books do not have. Nothing is
        /// done about it.
        LostBooking = "lost_booking",
        /// Another installation uses our account at Razorpay. Nothing is done about its payments.
        OtherInstallation = "other_installation",
        /// No refund is asked for until an operator releases refunds, which closes the alert.
        RefundsHeld = "refunds_held",
        /// A Razorpay webhook about money cannot be understood. It stays in the inbox.
        Unreadable = "unreadable",
        /// The payment of a confirmed booking was refunded manually. The booking is cancelled.
        ForeignRefund = "foreign_refund",
        /// A part of a payment was refunded manually. The booking stands.
        PartialRefund = "partial_refund",
        /// A buyer's bank asks for a payment back. An operator must answer at Razorpay, before a
        /// deadline.
        DisputeOpen = "dispute_open",
        /// A dispute was lost: the bank keeps the money.
        DisputeLost = "dispute_lost",
        /// Razorpay does not make a refund that we owe. The job is a dead letter.
        RefundFailed = "refund_failed",
        /// The remainder of a refund that we owe is less than Razorpay refunds. It is no longer
        /// asked for.
        RefundRemainder = "refund_remainder",
        /// A webhook could not be acted on. The job is a dead letter.
        WebhookFailed = "webhook_failed",
        /// A provider refuses our key, or a setting that all calls need. Jobs that need it wait;
        /// the alert closes by itself when the key works.
        ProviderRefusesKey = "provider_refuses_key",
    }
}
