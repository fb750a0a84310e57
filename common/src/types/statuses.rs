//! The states that rows are in, by the words of their columns. What may follow what is said by
//! their nouns.

use super::text_enum::text_enum;

text_enum! {
    /// Where an event stands. Only published events are on sale.
    pub enum EventStatus {
        Draft = "draft",
        Published = "published",
        Cancelled = "cancelled",
        Completed = "completed",
    }
}

text_enum! {
    /// Whether a seat is locked by a user until a deadline, or booked. A free seat has no row.
    pub enum SeatStatus {
        Locked = "locked",
        Booked = "booked",
    }
}

text_enum! {
    /// Where a booking stands.
    pub enum BookingStatus {
        Pending = "pending",
        Confirmed = "confirmed",
        Cancelled = "cancelled",
        Expired = "expired",
    }
}

text_enum! {
    /// Where the money for a booking is.
    pub enum PaymentStatus {
        /// The buyer has not paid yet.
        Pending = "pending",
        /// An attempt has failed; the buyer may try again.
        Failed = "failed",
        Completed = "completed",
        /// All of it has gone back.
        Refunded = "refunded",
        /// The booking ended before anybody paid.
        Cancelled = "cancelled",
    }
}

text_enum! {
    /// Where a ticket stands. Nexus makes tickets that are generated, and cancels them; the Node
    /// service has left the others.
    pub enum TicketStatus {
        Pending = "pending",
        Generated = "generated",
        Sent = "sent",
        Delivered = "delivered",
        Failed = "failed",
        Cancelled = "cancelled",
        Used = "used",
    }
}

text_enum! {
    /// How far a refund is that we owe.
    pub enum RefundStatus {
        /// A job asks Razorpay for it.
        Pending = "pending",
        /// Razorpay has accepted it.
        Requested = "requested",
        Processed = "processed",
        /// Razorpay could not make it, and is asked again.
        Failed = "failed",
    }
}
