//! What clients are told: every broadcast with its name and its payload (CONTRACT.md, section 8).
//! Who hears one is decided where it is sent, as an [`Audience`](crate::realtime::Audience).

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    event_views::SeatCounts,
    events::{CreatedSeatType, Event, EventUpdated},
    ids::{BookingId, EventId, SeatTypeId, UserId},
    money::Paise,
    refunds::RefundReason,
    schemas::BookingStatus,
    seat_locks::Lock,
    seat_types::SeatType,
    seats::SeatLabel,
};

/// The payload of a broadcast.
pub trait News: Serialize + ToSchema {
    /// The Socket.IO event's name.
    const EVENT: &'static str;
}

/// Is shown every kind of news, for the documents.
pub trait Visit {
    /// One kind, and who hears of it.
    fn visit<N: News>(&mut self, audience: &'static str);
}

macro_rules! news {
    ($($event:literal => $payload:ty, $audience:expr;)+) => {
        $(impl News for $payload {
            const EVENT: &'static str = $event;
        })+

        /// Shows a visitor every kind of news.
        pub fn visit_all(visitor: &mut impl Visit) {
            $(visitor.visit::<$payload>($audience);)+
        }
    };
}

const EVERYBODY: &str = "Every client; of drafts and private events, their organiser only.";
const VIEWERS: &str = "Clients that have joined the event, and those that have joined none.";
const VIEWERS_OF_BOOKINGS: &str = "Clients that have joined the event, and those that have joined none: the buyer's and the organiser's are told all of \
it, others without what is nobody else's business.";

/// What stands for a booking's reference before whom it does not concern: neither its time nor its
/// random tail can be told from it, and with them the ids of its tickets.
pub const MASKED_REFERENCE: &str = "BKG-****-****-******-****";

news! {
    "event_created" => EventCreated, EVERYBODY;
    "event_updated" => EventChanged, EVERYBODY;
    "event_deleted" => EventDeleted, EVERYBODY;
    "seat_type_created" => SeatTypeCreated, EVERYBODY;
    "seat_type_updated" => SeatTypeUpdated, EVERYBODY;
    "seat_type_deleted" => SeatTypeDeleted, EVERYBODY;
    "seat_locked" => SeatLocked, VIEWERS;
    "seat_unlocked" => SeatUnlocked, VIEWERS;
    "seat_booked" => SeatBooked, VIEWERS;
    "event:seats-update" => SeatCounts, VIEWERS;
    "booking_created" => BookingCreated, VIEWERS_OF_BOOKINGS;
    "booking_confirmed" => BookingConfirmed, VIEWERS_OF_BOOKINGS;
    "booking_cancelled" => BookingCancelled, VIEWERS_OF_BOOKINGS;
    "payment_refunded" => PaymentRefunded, "The buyer's clients.";
    "tickets:ready" => TicketsReady, "The buyer's clients.";
}

/// There is a new event.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(missing_docs)]
pub struct EventCreated {
    pub event: Event,
    pub seat_types: Vec<CreatedSeatType>,
    pub total_seats_available: i64,
}

/// An event has changed.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(missing_docs)]
pub struct EventChanged {
    pub event: EventUpdated,
}

/// An event is gone.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(missing_docs)]
pub struct EventDeleted {
    pub message: String,
    pub deleted_event_id: EventId,
}

/// An event has one more seat type.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(missing_docs)]
pub struct SeatTypeCreated {
    pub event_id: EventId,
    pub seat_type: SeatType,
}

/// A seat type has changed.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(missing_docs)]
pub struct SeatTypeUpdated {
    pub event_id: EventId,
    pub seat_type: SeatType,
}

/// A seat type is gone.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(missing_docs)]
pub struct SeatTypeDeleted {
    pub event_id: EventId,
    pub seat_type_id: SeatTypeId,
    /// The whole sentence that says so: that is what clients get today (CONTRACT.md, section 8).
    pub seat_type_name: String,
}

/// A seat is somebody's for a while.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(missing_docs)]
pub struct SeatLocked {
    pub event_id: EventId,
    pub seat_type_id: SeatTypeId,
    pub seat_label: SeatLabel,
    pub user_id: UserId,
    /// After this lock.
    pub available_quantity: i32,
    /// Of the event's counts, as `event:seats-update` numbers them, with this lock. Of two news of
    /// one seat that with the higher version is the later; of one version, first `seat_unlocked`,
    /// then `seat_locked`, then `seat_booked`.
    pub version: i64,
    pub lock: Lock,
}

/// A seat is free again.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(missing_docs)]
pub struct SeatUnlocked {
    pub event_id: EventId,
    pub seat_type_id: SeatTypeId,
    pub seat_label: SeatLabel,
    pub available_quantity: i32,
    /// As in `seat_locked`.
    pub version: i64,
    pub reason: UnlockReason,
}

/// Why a seat is free again.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum UnlockReason {
    Released,
    Expired,
    Cancelled,
}

/// A seat is sold.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(missing_docs)]
pub struct SeatBooked {
    pub event_id: EventId,
    pub seat_type_id: SeatTypeId,
    pub seat_label: SeatLabel,
    pub available_quantity: i32,
    /// As in `seat_locked`. From locked to booked no count changes, and most sales make no version
    /// of their own: then this is the newest one when the seat was sold, and `available_quantity`
    /// belongs to it.
    pub version: i64,
}

/// Somebody is about to pay for seats.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(missing_docs)]
pub struct BookingCreated {
    pub event_id: EventId,
    /// `BKG-****-****-******-****` for others than its buyer and its organiser.
    pub booking_reference: String,
    /// `null` for others than its buyer and its organiser: 0 would be a price.
    pub total_amount: Option<Paise>,
    #[schema(value_type = BookingStatus)]
    pub status: &'static str,
}

impl BookingCreated {
    /// For whom it does not concern.
    pub fn masked(&self) -> Self {
        BookingCreated { booking_reference: MASKED_REFERENCE.into(), total_amount: None, ..*self }
    }
}

/// Seats are paid for.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(missing_docs)]
pub struct BookingConfirmed {
    pub booking_id: BookingId,
    /// `BKG-****-****-******-****` for others than its buyer and its organiser.
    pub booking_reference: String,
    pub event_id: EventId,
    pub total_tickets: usize,
    #[schema(value_type = BookingStatus)]
    pub status: &'static str,
}

impl BookingConfirmed {
    /// For whom it does not concern.
    pub fn masked(&self) -> Self {
        BookingConfirmed { booking_reference: MASKED_REFERENCE.into(), ..*self }
    }
}

/// A booking is cancelled; said once.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(missing_docs)]
pub struct BookingCancelled {
    pub booking_id: BookingId,
    /// In the buyer's own words, if they have said why; others than the buyer and the organiser are
    /// told `Cancelled by user`, `Event cancelled` or `Refunded`.
    pub reason: String,
}

/// A payment goes back without a cancellation: it came late, twice, or of another amount. Or a part
/// of it has been returned by hand, and its booking stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(missing_docs)]
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

/// Tickets can be fetched.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct TicketsReady {
    pub booking_id: BookingId,
    pub booking_reference: String,
    pub ticket_count: i64,
    pub user_id: UserId,
}
