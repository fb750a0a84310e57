//! Bookings and their tickets (docs/contract.md#bookings).

pub(crate) mod cancel_booking;
pub(crate) mod confirm_booking;
pub(crate) mod create_booking;
pub(crate) mod get_booking;
pub(crate) mod get_ticket_job;
pub(crate) mod get_tickets;
pub(crate) mod list_bookings;

use nexus_common::{Error, Result, types::ids::BookingId};

pub(crate) use self::{
    cancel_booking::CancelBooking, confirm_booking::ConfirmBooking, create_booking::CreateBooking,
    get_booking::GetBooking, get_ticket_job::GetTicketJob, get_tickets::GetTickets,
    list_bookings::ListBookings,
};
use crate::http::fields::{Field, Id};

/// The booking that the caller looks at.
fn viewed(id: &Id) -> Result<BookingId> {
    id.read().map(BookingId).ok_or_else(|| Error::invalid("Invalid booking ID"))
}
