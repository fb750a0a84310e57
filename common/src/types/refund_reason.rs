//! Why money goes back.

use super::text_enum::text_enum;

text_enum! {
    /// Why money goes back.
    pub enum RefundReason {
        /// Its amount or currency is not the ordered one.
        AmountMismatch = "amount_mismatch",
        /// Another payment had confirmed the booking.
        AlreadyPaid = "already_paid",
        /// Another user has a seat now.
        SeatsGone = "seats_gone",
        /// With these seats, its buyer would exceed the event's limit.
        TicketLimit = "ticket_limit",
        /// The event has started, or is not on sale.
        EventOver = "event_over",
        /// The booking went with its event.
        BookingGone = "booking_gone",
        /// The booking has been cancelled.
        Cancelled = "cancelled",
        /// It was refunded manually.
        NotOurs = "not_ours",
        /// The buyer's bank has returned it, after a dispute.
        Disputed = "disputed",
    }
}

impl RefundReason {
    /// The words for its buyer.
    pub fn words(self) -> &'static str {
        match self {
            RefundReason::AmountMismatch => "it is not the amount that the booking costs",
            RefundReason::AlreadyPaid => "the booking had been paid before",
            RefundReason::SeatsGone => {
                "it came after the booking had expired, and a seat is somebody else's now"
            }
            RefundReason::TicketLimit => {
                "it came after the booking had expired, and its buyer has as many other tickets as the event allows"
            }
            RefundReason::EventOver => "it came when the event was not on sale any more",
            RefundReason::BookingGone => "the event does not take place here any more",
            RefundReason::Cancelled => "it came after the booking had been cancelled",
            RefundReason::NotOurs => "it has been returned by hand",
            RefundReason::Disputed => "its bank has returned it after a dispute",
        }
    }
}
