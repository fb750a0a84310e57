//! Why operators are told of money that is not as it should be.

use super::text_enum::text_enum;

text_enum! {
    /// Why an alert was raised.
    pub enum AlertReason {
        /// A payment is not of the amount or currency that was ordered. It is refunded.
        AmountMismatch = "amount_mismatch",
        /// Payments are on no order of ours. Nothing is done about them.
        UnknownOrder = "unknown_order",
        /// A payment is on an order of ours, for a booking that our books do not have. Nothing is
        /// done about it.
        LostBooking = "lost_booking",
        /// Another installation uses our account at Razorpay. Nothing is done about its payments.
        OtherInstallation = "other_installation",
        /// No refund is asked for until an operator says so; closed when one does.
        RefundsHeld = "refunds_held",
        /// A webhook of Razorpay's about money cannot be understood. It stays in the inbox.
        Unreadable = "unreadable",
        /// Somebody has refunded the payment of a confirmed booking at Razorpay. The booking is
        /// cancelled.
        ForeignRefund = "foreign_refund",
        /// Somebody has refunded a part of a payment at Razorpay. The booking stands.
        PartialRefund = "partial_refund",
        /// A buyer's bank asks for a payment back. Somebody has to answer at Razorpay, until a day.
        DisputeOpen = "dispute_open",
        /// A dispute was lost: the bank keeps the money.
        DisputeLost = "dispute_lost",
        /// Razorpay does not make a refund that we owe. The job is a dead letter.
        RefundFailed = "refund_failed",
        /// What is left of a refund that we owe is less than Razorpay refunds. It is asked for no
        /// more.
        RefundRemainder = "refund_remainder",
        /// A webhook could not be acted on. The job is a dead letter.
        WebhookFailed = "webhook_failed",
        /// A provider refuses our key, or a setting that all calls need. What needs it waits;
        /// closed by itself when it works.
        ProviderRefusesKey = "provider_refuses_key",
    }
}
