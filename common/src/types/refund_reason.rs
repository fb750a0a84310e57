//! Why money goes back.

use serde::Serialize;
use utoipa::ToSchema;

/// Why money goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefundReason {
    /// It is not of the amount or currency that was ordered.
    AmountMismatch,
    /// Another payment had confirmed the booking.
    AlreadyPaid,
    /// A seat is somebody else's now.
    SeatsGone,
    /// With these seats its buyer would have more than the event allows.
    TicketLimit,
    /// The event has started, or is not on sale.
    EventOver,
    /// The booking went with its event.
    BookingGone,
    /// The booking has been cancelled.
    Cancelled,
    /// Somebody has refunded it at Razorpay.
    NotOurs,
    /// Its bank has returned it, after a dispute.
    Disputed,
}

impl RefundReason {
    /// All of them.
    pub const ALL: [RefundReason; 9] = [
        RefundReason::AmountMismatch,
        RefundReason::AlreadyPaid,
        RefundReason::SeatsGone,
        RefundReason::TicketLimit,
        RefundReason::EventOver,
        RefundReason::BookingGone,
        RefundReason::Cancelled,
        RefundReason::NotOurs,
        RefundReason::Disputed,
    ];

    /// One that has been stored; `None` for one that only a newer release knows.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// As its buyer is told.
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

    /// As stored.
    pub fn name(self) -> &'static str {
        match self {
            RefundReason::AmountMismatch => "amount_mismatch",
            RefundReason::AlreadyPaid => "already_paid",
            RefundReason::SeatsGone => "seats_gone",
            RefundReason::TicketLimit => "ticket_limit",
            RefundReason::EventOver => "event_over",
            RefundReason::BookingGone => "booking_gone",
            RefundReason::Cancelled => "cancelled",
            RefundReason::NotOurs => "not_ours",
            RefundReason::Disputed => "disputed",
        }
    }
}
