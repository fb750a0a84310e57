//! Bookings and their tickets (docs/contract.md#bookings).

pub(crate) mod cancel_booking;
pub(crate) mod confirm_booking;
pub(crate) mod create_booking;
mod files;
pub(crate) mod get_booking;
pub(crate) mod get_calendar;
pub(crate) mod get_passes;
pub(crate) mod get_ticket_job;
pub(crate) mod get_tickets;
pub(crate) mod get_tickets_pdf;
pub(crate) mod get_wallet_links;
pub(crate) mod list_bookings;

use nexus_common::{Error, Result, types::ids::BookingId};

pub(crate) use self::{
    cancel_booking::CancelBooking, confirm_booking::ConfirmBooking, create_booking::CreateBooking,
    get_booking::GetBooking, get_calendar::GetCalendar, get_passes::GetPasses,
    get_ticket_job::GetTicketJob, get_tickets::GetTickets, get_tickets_pdf::GetTicketsPdf,
    get_wallet_links::GetWalletLinks, list_bookings::ListBookings,
};
use crate::http::fields::{Field, Id};

/// The booking that the caller looks at.
fn viewed(id: &Id) -> Result<BookingId> {
    id.read().map(BookingId).ok_or_else(|| Error::invalid("Invalid booking ID"))
}
