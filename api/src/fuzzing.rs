//! What fuzz targets read requests with: the types that the operations use.

use nexus_common::{
    Result,
    accounts::credentials::{Login, Otp, PasswordReset, Registration},
    bookings::new_bookings::NewBooking,
    events::{
        changes::{EventChanges, NewEvent},
        seat_types::{NewSeatType, SeatTypeChanges},
    },
    seats::selection::Selection,
    types::{contacts::Phone, time_zone::TimeZone},
};
use serde_json::Value;

pub use crate::socketio::arguments::Arguments;
use crate::{
    http::fields::part,
    operations::{accounts, bookings, events, seats},
};

pub fn registration(fields: Value) -> Result<Registration> {
    part::<accounts::Register>(fields)?.try_into()
}

pub fn login(fields: Value) -> Result<(Login, String)> {
    part::<accounts::Login>(fields)?.credentials()
}

pub fn verification(fields: Value) -> Result<(Phone, Otp)> {
    part::<accounts::VerifyOtp>(fields)?.proof()
}

pub fn password_reset(fields: Value) -> Result<PasswordReset> {
    part::<accounts::ResetPassword>(fields)?.try_into()
}

pub fn new_event(fields: Value) -> Result<NewEvent> {
    part::<events::CreateEvent>(fields)?.event(TimeZone::KOLKATA)
}

pub fn event_changes(fields: Value) -> Result<EventChanges> {
    part::<events::UpdateEvent>(fields)?.try_into()
}

pub fn new_seat_type(fields: Value) -> Result<NewSeatType> {
    part::<events::CreateSeatType>(fields)?.try_into()
}

pub fn seat_type_changes(fields: Value) -> Result<SeatTypeChanges> {
    part::<events::UpdateSeatType>(fields)?.try_into()
}

pub fn selection(fields: Value) -> Result<Selection> {
    part::<seats::LockSeats>(fields)?.try_into()
}

pub fn new_booking(fields: Value) -> Result<NewBooking> {
    part::<bookings::CreateBooking>(fields)?.try_into()
}
