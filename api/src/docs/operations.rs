//! Every operation, described: `router.rs` says where it is over HTTP, `socket/command.rs` what
//! serves it over a socket.

use nexus_common::{
    Error,
    bookings::{
        cancellation::Cancelled,
        confirmation::Confirmed,
        creation::Created,
        views::{BookingDetail, ListedBooking},
    },
    config::Chargeable,
    events::{
        broadcasts::EventDeleted,
        cancellation::EventCancellation,
        input::EventChanges,
        seat_types::{SeatType, SeatTypeChanges},
        views::{EventDetail, EventListItem},
    },
    payments::orders::{Order, PaymentState},
    seats::map::SeatMap,
    tickets::views::{TicketJob, Tickets},
    types::{feature::Feature, money::Paise},
};
use serde_json::json;

use super::{operation::Operation, requests::*};
use crate::answers::*;

// Accounts and sessions.

pub(crate) fn register() -> Operation {
    Operation::open("register", "Create an account and log in")
        .takes::<Register>()
        .needs_one_of(&["email", "phone"])
        .answers::<LoggedIn>()
        .fails([Error::UserExists])
}

pub(crate) fn login() -> Operation {
    Operation::open("login", "Log in with a password")
        .takes::<Login>()
        .needs_one_of(&["email", "phone"])
        .answers::<LoggedIn>()
        .fails([Error::BadCredentials])
}

pub(crate) fn logout() -> Operation {
    Operation::private("logout", "End this session")
        .says("The access token, and the refresh token if it is sent along, are worth nothing from now on.")
        .takes::<Logout>()
        .answers::<Message>()
}

pub(crate) fn logout_all() -> Operation {
    Operation::private("logout_all", "End every session, this one included")
        .answers::<LoggedOutOfAll>()
}

pub(crate) fn refresh_token() -> Operation {
    Operation::open("refresh_token", "Get another access token")
        .says("The refresh token stays usable.")
        .takes::<Refresh>()
        .answers::<Refreshed>()
        .fails([
            Error::RefreshInvalid,
            Error::RefreshRevoked,
            Error::RefreshUnknown,
            Error::TokenType,
        ])
}

pub(crate) fn send_otp() -> Operation {
    Operation::open("send_otp", "Send a one-time password by SMS")
        .takes::<SendOtp>()
        .answers::<OtpSent>()
        .fails([Error::Off(Feature::Sms)])
}

pub(crate) fn verify_otp() -> Operation {
    Operation::open("verify_otp", "Log in with a one-time password")
        .says("A phone number that nobody has used before gets an account of its own.")
        .takes::<VerifyOtp>()
        .answers::<OtpVerified>()
        .fails([
            Error::OtpWrong,
            Error::OtpExpired,
            Error::OtpAttempts,
            provider_failed(),
            provider_refused(),
            Error::Off(Feature::Sms),
        ])
}

pub(crate) fn reset_password() -> Operation {
    Operation::open("reset_password", "Set another password, proven by a one-time password")
        .says("Ends every session.")
        .takes::<ResetPassword>()
        .answers::<PasswordReset>()
        .fails([
            Error::OtpWrong,
            Error::OtpExpired,
            Error::OtpAttempts,
            Error::PhoneUnknown,
            provider_failed(),
            provider_refused(),
            Error::Off(Feature::Sms),
        ])
}

pub(crate) fn me() -> Operation {
    Operation::private("me", "Ask who one is").answers::<Me>()
}

pub(crate) fn check_username() -> Operation {
    Operation::open("check_username", "Ask whether a username is free")
        .takes::<CheckUsername>()
        .answers::<UsernameChecked>()
}

// Events.

pub(crate) fn list_events() -> Operation {
    Operation::open_to_users("list_events", "List events, oldest first")
        .says(
            "Published public events; organisers who filter for their own `organizer_id` see all of theirs.",
        )
        .takes::<ListEvents>()
        .pages::<EventListItem>()
}

pub(crate) fn get_event() -> Operation {
    Operation::open_to_users("get_event", "Look at an event")
        .takes::<OneEvent>()
        .answers::<EventDetail>()
        .fails([Error::EventNotFound])
}

pub(crate) fn create_event() -> Operation {
    Operation::command("create_event", "Create an event and its seat types")
        .takes::<CreateEvent>()
        .answers::<CreatedEvent>()
        .fails([Error::Forbidden("create events"), price_not_payable()])
}

pub(crate) fn update_event() -> Operation {
    Operation::command("update_event", "Change an event")
        .says("What is not sent stays as it is. With the status `cancelled`, every booking is cancelled and refunded, every lock freed, and buyers are told; `get_cancellation` says how far that is. Once a booking has been cancelled so, the status cannot be changed back.")
        .takes::<UpdateEvent>()
        .changes(EventChanges::FIELDS)
        .answers::<ChangedEvent>()
        .fails([Error::EventNotFound, Error::Forbidden("update this event"), Error::EventCancelled])
}

pub(crate) fn delete_event() -> Operation {
    Operation::command("delete_event", "Delete an event")
        .takes::<OneEvent>()
        .answers::<EventDeleted>()
        .fails([
            Error::EventNotFound,
            Error::Forbidden("delete this event"),
            Error::EventHasBookings(2),
            Error::EventHasRefunds(2),
        ])
}

pub(crate) fn get_cancellation() -> Operation {
    Operation::private("get_cancellation", "Ask how far the cancellation of one's event is")
        .takes::<OneEvent>()
        .answers::<EventCancellation>()
        .fails([
            Error::EventNotFound,
            Error::Forbidden("see how far this event's cancellation is"),
            Error::EventNotCancelled,
        ])
}

pub(crate) fn list_seat_types() -> Operation {
    Operation::open_to_users("list_seat_types", "List the seat types of an event")
        .takes::<OneEvent>()
        .lists::<SeatType>()
        .fails([Error::EventNotFound])
}

// Seats.

pub(crate) fn get_seats() -> Operation {
    Operation::open_to_users("get_seats", "See which seats of an event are taken")
        .says("What a page draws first. `event:seats-update` goes on counting from this `version`.")
        .takes::<OneEvent>()
        .answers::<SeatMap>()
        .fails([Error::EventNotFound])
}

const MANAGE: Error = Error::Forbidden("manage seat types for this event");

pub(crate) fn create_seat_type() -> Operation {
    Operation::command("create_seat_type", "Add a seat type to an event")
        .takes::<CreateSeatType>()
        .answers::<ChangedSeatType>()
        .fails([Error::EventNotFound, MANAGE, price_not_payable()])
}

pub(crate) fn update_seat_type() -> Operation {
    Operation::command("update_seat_type", "Change a seat type")
        .says("What is not sent stays as it is.")
        .takes::<UpdateSeatType>()
        .changes(SeatTypeChanges::FIELDS)
        .answers::<ChangedSeatType>()
        .fails([
            Error::EventNotFound,
            Error::SeatTypeNotFound,
            MANAGE,
            Error::QuantityBelowTaken(2),
            price_not_payable(),
        ])
}

pub(crate) fn delete_seat_type() -> Operation {
    Operation::command("delete_seat_type", "Delete a seat type")
        .takes::<OneSeatType>()
        .answers::<DeletedSeatType>()
        .fails([
            Error::EventNotFound,
            Error::SeatTypeNotFound,
            MANAGE,
            Error::SeatTypeHasBookings(2),
        ])
}

pub(crate) fn lock_seat() -> Operation {
    Operation::command("lock_seat", "Lock a seat")
        .says("Until the lock expires nobody else can have the seat.")
        .takes::<OneSeat>()
        .answers::<LockedSeat>()
        .fails(lock_failures())
}

pub(crate) fn lock_seats() -> Operation {
    Operation::command("lock_seats", "Lock several seats, all or none")
        .takes::<LockSeats>()
        .needs_one_of(&["seats", "best_available"])
        .answers::<LockedSeats>()
        .fails(lock_failures())
}

pub(crate) fn unlock_seat() -> Operation {
    Operation::command("unlock_seat", "Give back a locked seat")
        .takes::<OneSeat>()
        .answers::<UnlockedSeat>()
        .fails(own_lock_failures())
}

pub(crate) fn extend_lock() -> Operation {
    Operation::command("extend_lock", "Keep a seat locked for longer")
        .says("For as long again as when it was locked, but never beyond 20 minutes from then.")
        .takes::<OneSeat>()
        .answers::<ExtendedLock>()
        .fails(own_lock_failures())
        .fails([Error::LockLimit("V1".into()), Error::EventNotOnSale])
}

fn own_lock_failures() -> [Error; 5] {
    [
        Error::EventNotFound,
        Error::SeatTypeNotFound,
        Error::LockNotFound("V1".into()),
        Error::SeatInBooking("V1".into()),
        Error::LockExpired,
    ]
}

fn lock_failures() -> [Error; 6] {
    [
        Error::EventNotFound,
        Error::SeatTypeNotFound,
        Error::EventNotOnSale,
        Error::SoldOut,
        Error::SeatTaken("V1".into()),
        Error::TicketLimit(10),
    ]
}

// Bookings.

pub(crate) fn create_booking() -> Operation {
    Operation::command("create_booking", "Book the seats that one has locked")
        .says("The booking has to be paid before it expires; its seats stay the buyer's until then. A booking that costs nothing is confirmed at once.")
        .takes::<CreateBooking>()
        .answers::<Created>()
        .fails([
            Error::EventNotFound,
            Error::EventStarted,
            Error::EventNotOnSale,
            Error::SeatsNotLocked,
            Error::LockExpired,
            Error::SeatsLinked,
            Error::TotalNotPayable { total: Paise::MAX, least: Chargeable::LEAST, most: Paise::MAX },
        ])
}

pub(crate) fn list_bookings() -> Operation {
    Operation::private("list_bookings", "List one's bookings, newest first")
        .takes::<ListBookings>()
        .pages::<ListedBooking>()
}

pub(crate) fn get_booking() -> Operation {
    Operation::private("get_booking", "Look at a booking")
        .takes::<OneBooking>()
        .answers::<BookingDetail>()
        .fails([Error::BookingNotFound])
}

pub(crate) fn cancel_booking() -> Operation {
    Operation::command("cancel_booking", "Cancel a booking")
        .says("Its seats are free again. What has been paid is refunded, while the event has not started.")
        .takes::<CancelBooking>()
        .answers::<Cancelled>()
        .fails([
            Error::BookingNotFound,
            Error::Forbidden("cancel this booking"),
            Error::BookingTimedOut,
            Error::CancelTooLate,
            Error::CancelClosed("60 minutes".into()),
            Error::IdempotencyInFlight,
        ])
}

pub(crate) fn get_tickets() -> Operation {
    Operation::private("get_tickets", "Fetch the tickets of a booking")
        .takes::<OneBooking>()
        .answers::<Tickets>()
        .fails([Error::BookingNotFoundOrForbidden])
}

pub(crate) fn get_ticket_job() -> Operation {
    Operation::private("get_ticket_job", "Ask how far the tickets of a booking are")
        .takes::<OneJob>()
        .answers::<TicketJob>()
        .fails([Error::TicketJobNotFound])
}

// Payments.

pub(crate) fn create_order() -> Operation {
    Operation::private("create_order", "Create an order to pay a booking with")
        .says("Asking again returns the same order.")
        .once()
        .takes::<CreateOrder>()
        .answers::<Order>()
        .fails([
            Error::BookingNotPayable,
            Error::BookingNotPending("confirmed".into()),
            Error::BookingExpired,
            Error::EventNotOnSale,
            Error::AmountMismatch("1500.50".into()),
            Error::AmountRefused { total: Paise::MAX, source: "refused".into() },
            Error::OrderRefused { source: "refused".into() },
            provider_failed(),
            Error::Off(Feature::Payments),
        ])
}

pub(crate) fn verify_payment() -> Operation {
    Operation::private("verify_payment", "Ask whether a payment has arrived")
        .takes::<OneOrder>()
        .answers::<PaymentState>()
        .fails([Error::OrderNotFound])
}

pub(crate) fn webhook() -> Operation {
    Operation::open("webhook", "Take a webhook of Razorpay")
        .says("Any event of any kind. It is stored before it is answered; anything but 200 makes Razorpay try again.")
        .looks_at("X-Razorpay-Signature", true, "HMAC-SHA256 of the body's bytes, in hexadecimal digits.")
        .looks_at("X-Razorpay-Event-Id", false, "The same for every delivery of one event.")
        .answers_plainly::<WebhookStored>(200, "Stored, now or before.")
        .answers_plainly::<WebhookRefused>(400, "The signature is missing or wrong.")
        .answers_plainly::<WebhookRefused>(413, "The body is longer than 1 MB.")
        .answers_plainly::<WebhookRefused>(415, "The body is compressed.")
        .answers_plainly::<WebhookRefused>(503, "It could not be stored, or RAZORPAY_WEBHOOK_SECRET is not set.")
}

// The service.

pub(crate) fn root() -> Operation {
    Operation::open("root", "Say that the backend is running").answers_with(
        200,
        "It is.",
        "text/html",
        |_| json!({ "const": "Backend is running" }),
    )
}

pub(crate) fn health() -> Operation {
    Operation::open("health", "Say that the process lives")
        .says("And how PostgreSQL and Redis are; with `/ready` the status tells.")
        .answers_plainly::<Health>(200, "It does.")
}

pub(crate) fn ready() -> Operation {
    Operation::open("ready", "Say whether the process can serve")
        .answers_plainly::<Readiness>(200, "It can.")
        .answers_plainly::<Readiness>(503, "Something that it needs is away.")
}

pub(crate) fn openapi() -> Operation {
    Operation::open("openapi", "This document").answers_with(
        200,
        "OpenAPI 3.1.",
        "application/json",
        |_| json!({ "type": "object" }),
    )
}

pub(crate) fn asyncapi() -> Operation {
    Operation::open("asyncapi", "The document of the Socket.IO side").answers_with(
        200,
        "AsyncAPI 3.",
        "application/json",
        |_| json!({ "type": "object" }),
    )
}

pub(crate) fn docs() -> Operation {
    Operation::open("docs", "Both documents for people").answers_with(
        200,
        "A page.",
        "text/html",
        |_| json!({ "type": "string" }),
    )
}

fn provider_failed() -> Error {
    Error::Provider {
        message: "The provider could not be reached. Please try again shortly.".into(),
        source: None,
    }
}

fn price_not_payable() -> Error {
    Error::PriceNotPayable { least: Chargeable::LEAST, most: Paise::MAX }
}

fn provider_refused() -> Error {
    Error::ProviderRefused { source: "refused".into() }
}

// Over sockets only.

/// Commands that have no HTTP twin.
pub(crate) fn socket_only() -> [Operation; 3] {
    [
        Operation::command("confirm_booking", "Confirm a booking that has been paid")
            .says("For buyers who do not want to wait for the webhook. Razorpay is asked whether the payment is this booking's.")
            .takes::<ConfirmBooking>()
            .answers::<Confirmed>()
            .fails([
                Error::BookingNotFound,
                Error::BookingConfirmed,
                Error::LockExpired,
                Error::PaymentNotVerified,
                Error::PaymentReturned,
                provider_failed(),
                provider_refused(),
                Error::Off(Feature::Payments),
            ]),
        Operation::open("join_event", "Hear of one event's seats and bookings")
            .says("From now on this client hears of the seats and bookings of the events that it has joined, and of no others. At most 100.")
            .takes::<Id>()
            .answers::<Joined>(),
        Operation::open("leave_event", "Hear of an event's seats and bookings no more").takes::<Id>().answers::<Joined>(),
    ]
}
