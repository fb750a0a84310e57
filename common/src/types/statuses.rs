//! The statuses of rows, in the words of their columns. The nouns say what may follow what.

use super::text_enum::text_enum;

text_enum! {
    /// An event's status. Only published events are on sale.
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
    /// A booking's status.
    pub enum BookingStatus {
        Pending = "pending",
        Confirmed = "confirmed",
        Cancelled = "cancelled",
        Expired = "expired",
    }
}

text_enum! {
    /// The payment status of a booking.
    pub enum PaymentStatus {
        /// The buyer has not paid yet.
        Pending = "pending",
        /// An attempt has failed; the buyer may try again.
        Failed = "failed",
        Completed = "completed",
        /// The whole payment has gone back.
        Refunded = "refunded",
        /// The booking ended before it was paid.
        Cancelled = "cancelled",
    }
}

text_enum! {
    /// How far a waiting room is. While it is not closed, only those who are called lock seats.
    pub enum RoomState {
        /// Before the draw.
        Announced = "announced",
        /// Visitors are called.
        Open = "open",
        /// Nobody is called for now.
        Paused = "paused",
        /// The event is sold to everybody.
        Closed = "closed",
    }
}

text_enum! {
    /// How far a transfer is. Only one that is offered can be accepted, withdrawn or declined.
    pub enum TransferStatus {
        Offered = "offered",
        /// The ticket is about to get another code and another owner.
        Accepted = "accepted",
        Completed = "completed",
        /// By whoever has offered it.
        Withdrawn = "withdrawn",
        /// By whoever was to get it.
        Declined = "declined",
        /// Nobody has accepted it in time.
        Expired = "expired",
        /// The ticket was used, cancelled or given to somebody else meanwhile.
        Failed = "failed",
    }
}

text_enum! {
    /// A ticket's status. Nexus makes tickets that are generated, and cancels them; with one that is
    /// used, somebody has come in. The other statuses are the Node service's.
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
    /// The status of a refund that we owe.
    pub enum RefundStatus {
        /// A job asks Razorpay for it.
        Pending = "pending",
        /// Razorpay has accepted it.
        Requested = "requested",
        Processed = "processed",
        /// Razorpay could not make it, and will be asked again.
        Failed = "failed",
    }
}
