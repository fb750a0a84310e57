//! The one error type of the domain: each variant is a decision that the caller can act on. Only
//! [`Error::Internal`] is opaque.
//!
//! Messages are part of the wire contract (docs/contract.md): frontends show and compare them.
//! `code` is the stable name that new clients should use; HTTP turns [`Kind`] into a status.

use std::{error::Error as StdError, ops::RangeInclusive, time::Duration};

use crate::types::{
    feature::Feature,
    ids::EventId,
    invalid::Invalid,
    money::Paise,
    puzzle::Puzzle,
    statuses::{BookingStatus, RoomState},
    time::in_words,
    usage::Usage,
};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The class of a failure; docs/contract.md#failures maps each to one HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The input breaks a rule.
    Validation,
    /// Not authenticated: wrong credentials, token or one-time password.
    Unauthenticated,
    /// Authenticated, but not the owner or organiser.
    Forbidden,
    /// It does not exist, or the caller may not know of it.
    NotFound,
    /// Taken, sold out, duplicate, or in the wrong state.
    Conflict,
    /// It existed, and its time is over.
    Gone,
    /// Not what was requested before: another amount, another request.
    Mismatch,
    /// The caller has used up a budget.
    TooMany,
    /// A provider failed or refused.
    Provider,
    /// A dependency is away; try again shortly.
    Unavailable,
    /// This installation does not offer that.
    Off,
    /// A defect of ours.
    Internal,
}

type Source = Box<dyn StdError + Send + Sync>;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The message is the contract's, and made where the rule is.
    #[error(transparent)]
    Invalid(#[from] Invalid),

    // Accounts.
    #[error("User with this email, username or phone already exists")]
    UserExists,
    #[error("Invalid email or password")]
    BadCredentials,
    #[error("This account is suspended")]
    AccountSuspended,
    #[error("Access token is required")]
    TokenMissing,
    #[error("Token has been revoked")]
    TokenRevoked,
    #[error("Invalid or expired access token")]
    TokenInvalid,
    #[error("Invalid token type")]
    TokenType,
    #[error("Invalid or expired refresh token")]
    RefreshInvalid,
    #[error("Refresh token has been revoked")]
    RefreshRevoked,
    #[error("Refresh token not found or has been revoked")]
    RefreshUnknown,
    #[error("Invalid OTP. Please try again.")]
    OtpWrong,
    #[error("OTP not found or expired. Please request a new OTP.")]
    OtpExpired,
    #[error("Maximum verification attempts reached. Please request a new OTP.")]
    OtpAttempts,
    #[error("User not found with this phone number")]
    PhoneUnknown,
    #[error("Session not found")]
    SessionNotFound,
    #[error("This link has expired or has been used. Please request a new one.")]
    LinkExpired,
    #[error("Your e-mail address is verified already")]
    EmailVerified,
    #[error("Current password is incorrect")]
    PasswordWrong,
    #[error("Password is too easy to guess")]
    PasswordGuessable,
    #[error("Password has appeared in a data breach. Please choose another one.")]
    PasswordBreached,
    #[error("{0} is required")]
    ReauthenticationNeeded(&'static str),
    #[error(
        "Your account cannot be deleted yet. You have {0} confirmed booking(s) for events that have not started. Please cancel them or give their tickets away first, or wait until the events have started."
    )]
    AccountHasBookings(i64),
    #[error(
        "Your account cannot be deleted yet. You organise {0} event(s) that are not over. Please delete or cancel them first, or wait until they are over."
    )]
    AccountHasEvents(i64),

    // Events and seats.
    #[error("Event not found")]
    EventNotFound,
    #[error("You are not authorized to {0}")]
    Forbidden(&'static str),
    #[error(
        "Cannot delete event. There are {0} active booking(s). Please cancel all bookings first or change event status to 'cancelled'."
    )]
    EventHasBookings(i64),
    #[error(
        "Cannot delete event. {0} refund(s) are still under way. Please try again when they are done."
    )]
    EventHasRefunds(i64),
    #[error("Event is cancelled and its bookings are being refunded. This cannot be undone.")]
    EventCancelled,
    #[error("Event has bookings and cannot be moved into the past. You can cancel it instead.")]
    EventHasBuyers,
    #[error("This event has been taken down and stays as it is. You can cancel it, or contact us.")]
    EventTakenDown,
    #[error("You can have at most {0} events")]
    EventLimit(i64),
    #[error("Event is not cancelled")]
    EventNotCancelled,
    #[error("Event is not available for booking")]
    EventNotOnSale,
    #[error("Event has already started. Booking is closed.")]
    EventStarted,
    #[error(
        "This event can be booked with a verified phone number only. Please verify yours in your account and try again."
    )]
    PhoneNotVerified,
    #[error("Seat type not found")]
    SeatTypeNotFound,
    #[error("Cannot delete seat type. There are {0} booked seat(s). Please handle bookings first.")]
    SeatTypeHasBookings(i64),
    #[error("Quantity cannot be less than the {0} seat(s) that are locked or booked")]
    QuantityBelowTaken(i64),
    #[error("No seats available for this seat type")]
    SoldOut,
    #[error("Seat {0} is already taken. Please select another seat.")]
    SeatTaken(String),
    #[error("You can hold at most {0} ticket(s) for this event")]
    TicketLimit(i32),
    #[error(
        "You can hold at most {0} unpaid seats at once, of all events together. Please pay for some of them or give some back first."
    )]
    UnpaidSeats(u32),
    #[error("You have held many seats for long today without paying. Please try again in {}.", wait(.0))]
    UnpaidSeatTime(Usage),
    #[error("Several of your bookings have ended unpaid today. Please try again in {}.", wait(.0))]
    CoolingDown(Usage),
    #[error("You have no lock on seat {0}")]
    LockNotFound(String),
    #[error("Seat {0} belongs to a booking. Cancel the booking instead.")]
    SeatInBooking(String),
    #[error("Seat {0} cannot be locked any longer. Please book it now.")]
    LockLimit(String),

    // Bookings.
    #[error(
        "One or more seats are not locked by you, have expired, or do not exist. Please lock the seats again."
    )]
    SeatsNotLocked,
    #[error(
        "One or more seats are not locked by you, have expired, or do not exist. Please lock the seats again."
    )]
    LockExpired,
    #[error(
        "One or more seats are already linked to another booking. Please lock the seats again."
    )]
    SeatsLinked,
    #[error(
        "You can have at most {0} unpaid bookings at once, of all events together. Please pay for one or cancel it first."
    )]
    UnpaidBookings(u32),
    #[error("Booking not found")]
    BookingNotFound,
    #[error("Booking not found or unauthorized")]
    BookingNotFoundOrForbidden,
    #[error("Booking has expired. Please create a new booking.")]
    BookingTimedOut,
    #[error("Cannot cancel confirmed booking. The event has already started.")]
    CancelTooLate,
    #[error("Cannot cancel confirmed booking. Cancelling ended {0} before the event starts.")]
    CancelClosed(String),
    #[error("Cannot cancel confirmed booking. Its tickets have been used.")]
    TicketsUsed,
    #[error("Cannot cancel confirmed booking. Some of its tickets belong to somebody else by now.")]
    TicketsTransferred,
    #[error("Booking is already confirmed")]
    BookingConfirmed,
    #[error("Ticket generation job not found")]
    TicketJobNotFound,
    #[error("There are no tickets.")]
    TicketsNotFound,
    #[error(
        "Apple Wallet takes ten passes at once. Please ask for one ticket at a time, with ticket_id."
    )]
    TooManyPasses,
    #[error("Some of these seats are not yours in this booking")]
    SeatsNotYours,
    #[error("Holders cannot be named, nor tickets transferred, any more: the time for it is over")]
    HoldersClosed,
    #[error("There is no such ticket of yours")]
    TicketNotFound,
    #[error("This ticket cannot be transferred any more")]
    TicketNotTransferable,
    #[error("This ticket has been offered to somebody already")]
    TicketOffered,
    #[error("There is no such transfer that waits for you")]
    TransferNotFound,
    #[error("A cancellation request with this idempotency key is already in progress.")]
    IdempotencyInFlight,

    // The door.
    #[error("No account has verified this e-mail address or phone number")]
    AccountNotFound,
    #[error("There is no such member of staff")]
    StaffNotFound,
    #[error("The door of this event is not open: it opens shortly before the event starts")]
    DoorClosed,
    #[error("Gate not found")]
    GateNotFound,
    #[error("This event has a gate of that name already")]
    GateExists,
    #[error(
        "This gate has a door key, or people have come in there. It cannot be deleted any more."
    )]
    GateInUse,
    #[error("Door key not found")]
    DoorKeyNotFound,
    #[error(
        "Please type a reference, the last four digits of a phone number or three characters of a name"
    )]
    SearchTooWide,
    #[error("Check-in not found")]
    CheckInNotFound,
    #[error("This check-in has been undone. Please scan the ticket again.")]
    CheckInUndone,
    #[error("This key has been revoked: sign tickets with another one")]
    TicketKeyRevoked,

    // Waiting rooms.
    /// The event has a waiting room, and the user has not been called.
    #[error("Please wait for your turn.")]
    QueueRequired(EventId),
    #[error("This event has no waiting room")]
    WaitingRoomNotFound,
    #[error("You are not in this waiting room")]
    VisitorNotFound,
    #[error("This event has a waiting room already")]
    WaitingRoomExists,
    #[error("The waiting room is {0}")]
    WaitingRoomIs(RoomState),
    #[error("Please verify your e-mail address or your phone number first")]
    ContactNotVerified,
    /// A CAPTCHA service takes the caller for a program, or has not been asked.
    #[error("Please show that you are a person, and try again")]
    CaptchaNeeded,
    #[error("Somebody with your phone number is in this waiting room already")]
    PhoneHasPlace,
    #[error("Nothing has been drawn yet")]
    DrawNotFound,

    // Payments.
    #[error("Booking not found or you don't have permission to pay for this booking")]
    BookingNotPayable,
    #[error("Booking is {0}, cannot create payment order")]
    BookingNotPending(BookingStatus),
    #[error("Booking is expired, cannot create payment order")]
    BookingExpired,
    #[error("Amount mismatch. Booking total is {0}")]
    AmountMismatch(String),
    #[error("Price must be 0, or between {} and {}: no other amount can be paid", least.written(), most.written())]
    PriceNotPayable { least: Paise, most: Paise },
    #[error("A payment can be between {} and {}. The total of {} cannot be paid.", least.written(), most.written(), total.written())]
    TotalNotPayable { total: Paise, least: Paise, most: Paise },
    #[error("The payment provider does not accept a payment of {}. Trying again will not help.", total.written())]
    AmountRefused { total: Paise, source: Source },
    #[error(
        "The payment provider does not accept an order for this booking. Trying again will not help."
    )]
    OrderRefused { source: Source },
    #[error("Order not found")]
    OrderNotFound,
    #[error(
        "Something is still being written that may belong into this period. Please try again shortly."
    )]
    LedgerPeriodOpen,
    #[error("Payment could not be verified for this booking")]
    PaymentNotVerified,
    #[error("The booking can no longer be confirmed. Your payment will be refunded.")]
    PaymentReturned,

    // Everything around.
    #[error("Too many requests. Please try again later.")]
    RateLimited(Usage),
    /// The same for somebody who may go on at once after solving a puzzle.
    #[error("Too many requests. Please try again later.")]
    WorkNeeded { usage: Usage, puzzle: Box<Puzzle> },
    #[error("A request with this Idempotency-Key is already in progress")]
    RequestInFlight,
    #[error("This Idempotency-Key belongs to a different request")]
    IdempotencyKeyReused,
    #[error(
        "This request was carried out, but its response was too long to be kept. Please read what it has changed."
    )]
    ResponseNotKept,
    /// A provider has answered and refuses: not an outage, and the same request will be refused
    /// again.
    #[error("The provider does not accept this request. Trying again will not help.")]
    ProviderRefused { source: Source },
    /// The provider's message is for the log; clients see ours.
    #[error("{message}")]
    Provider { message: String, source: Option<Source> },
    /// A provider refuses our key: everything that needs the key waits for `wait`.
    #[error("The provider could not be reached. Please try again shortly.")]
    KeyRefused { wait: Duration, source: Source },
    #[error("{}", .0.message())]
    Off(Feature),
    #[error("Service temporarily unavailable. Please try again shortly.")]
    Unavailable(#[source] Source),
    /// More is asked for than can be done: nothing has been tried. The caller shall come again after
    /// this time.
    #[error("Too many people are here at the moment. Please try again shortly.")]
    Overloaded(Duration),
    /// Another transaction was in the way and this one was undone; a repetition may succeed.
    #[error("Service temporarily unavailable. Please try again shortly.")]
    Collision(#[source] Source),
    /// Another transaction held what this one needs for longer than we wait, and this one was
    /// undone; a repetition may succeed.
    #[error("Service temporarily unavailable. Please try again shortly.")]
    Busy(#[source] Source),
    /// Only workers see it: another worker may have the job, so the transaction must roll back.
    #[error("the job's lease is lost")]
    LeaseLost,
    #[error("Internal server error")]
    Internal(#[source] Source),
}

/// Seconds after which somebody who was turned away comes again.
const COME_AGAIN: RangeInclusive<u64> = 2..=10;

/// When somebody shall come again who cannot be told when it is of use: for each another time.
pub fn come_again() -> Duration {
    Duration::from_secs(rand::random_range(COME_AGAIN))
}

impl Error {
    /// A broken rule, in the contract's words.
    pub fn invalid(message: impl Into<String>) -> Self {
        Error::Invalid(Invalid::new(message))
    }

    /// A defect or an impossibility; the cause is logged and never shown.
    pub fn internal(cause: impl Into<Source>) -> Self {
        Error::Internal(cause.into())
    }

    /// What a client is told that may solve a puzzle, as an example.
    pub fn work_needed() -> Self {
        let usage = Usage { limit: 1, used: 1, until_room: Duration::ZERO };
        Error::WorkNeeded { usage, puzzle: Box::default() }
    }

    /// There is too much to do. Each caller is told another time to come again, so that they do not
    /// all come at once.
    pub fn overloaded() -> Self {
        Error::Overloaded(come_again())
    }

    /// The class and the stable code, on one screen.
    fn class(&self) -> (Kind, &'static str) {
        use Kind::*;
        match self {
            Error::Invalid(_) => (Validation, "validation_failed"),
            Error::UserExists => (Conflict, "user_exists"),
            Error::BadCredentials => (Unauthenticated, "bad_credentials"),
            Error::AccountSuspended => (Kind::Forbidden, "account_suspended"),
            Error::TokenMissing => (Unauthenticated, "token_missing"),
            Error::TokenRevoked => (Unauthenticated, "token_revoked"),
            Error::TokenInvalid => (Unauthenticated, "token_invalid"),
            Error::TokenType => (Unauthenticated, "token_type"),
            Error::RefreshInvalid => (Unauthenticated, "refresh_token_invalid"),
            Error::RefreshRevoked => (Unauthenticated, "refresh_token_revoked"),
            Error::RefreshUnknown => (Unauthenticated, "refresh_token_unknown"),
            Error::OtpWrong => (Unauthenticated, "otp_wrong"),
            Error::OtpExpired => (Gone, "otp_expired"),
            Error::OtpAttempts => (TooMany, "otp_attempts_exhausted"),
            Error::PhoneUnknown => (NotFound, "user_not_found"),
            Error::SessionNotFound => (NotFound, "session_not_found"),
            Error::LinkExpired => (Gone, "link_expired"),
            Error::EmailVerified => (Conflict, "email_verified"),
            Error::PasswordWrong => (Kind::Forbidden, "password_wrong"),
            Error::PasswordGuessable | Error::PasswordBreached => (Mismatch, "password_guessable"),
            Error::AccountHasBookings(_) => (Conflict, "account_has_bookings"),
            Error::AccountHasEvents(_) => (Conflict, "account_has_events"),
            Error::ReauthenticationNeeded(_) => (Kind::Forbidden, "reauthentication_needed"),
            Error::EventNotFound => (NotFound, "event_not_found"),
            Error::Forbidden(_) => (Kind::Forbidden, "forbidden"),
            Error::EventHasBookings(_) => (Conflict, "event_has_bookings"),
            Error::EventHasRefunds(_) => (Conflict, "event_has_refunds"),
            Error::EventCancelled => (Conflict, "event_cancelled"),
            Error::EventHasBuyers => (Conflict, "event_has_bookings"),
            Error::EventTakenDown => (Forbidden, "event_taken_down"),
            Error::EventLimit(_) => (Conflict, "event_limit_reached"),
            Error::EventNotCancelled => (NotFound, "event_not_cancelled"),
            Error::EventNotOnSale => (Conflict, "event_not_on_sale"),
            Error::EventStarted => (Conflict, "event_started"),
            Error::PhoneNotVerified => (Kind::Forbidden, "phone_not_verified"),
            Error::SeatTypeNotFound => (NotFound, "seat_type_not_found"),
            Error::SeatTypeHasBookings(_) => (Conflict, "seat_type_has_bookings"),
            Error::QuantityBelowTaken(_) => (Conflict, "quantity_below_taken"),
            Error::SoldOut => (Conflict, "sold_out"),
            Error::SeatTaken(_) => (Conflict, "seat_taken"),
            Error::TicketLimit(_) => (Conflict, "ticket_limit_reached"),
            Error::UnpaidSeats(_) => (Conflict, "unpaid_seats_limit_reached"),
            Error::UnpaidBookings(_) => (Conflict, "unpaid_bookings_limit_reached"),
            Error::UnpaidSeatTime(_) => (TooMany, "unpaid_seat_time_used_up"),
            Error::CoolingDown(_) => (TooMany, "cooling_down"),
            Error::LockNotFound(_) => (NotFound, "lock_not_found"),
            Error::SeatInBooking(_) => (Conflict, "seat_in_booking"),
            Error::LockLimit(_) => (Conflict, "lock_limit_reached"),
            Error::SeatsNotLocked => (Conflict, "seats_not_locked"),
            Error::LockExpired => (Gone, "lock_expired"),
            Error::SeatsLinked => (Conflict, "seats_already_booked"),
            Error::BookingNotFound | Error::BookingNotFoundOrForbidden => {
                (NotFound, "booking_not_found")
            }
            Error::BookingTimedOut => (Gone, "booking_expired"),
            Error::CancelTooLate => (Conflict, "event_started"),
            Error::CancelClosed(_) => (Conflict, "cancellation_closed"),
            Error::TicketsUsed => (Conflict, "tickets_used"),
            Error::TicketsTransferred => (Conflict, "tickets_transferred"),
            Error::BookingConfirmed => (Conflict, "booking_confirmed"),
            Error::TicketJobNotFound => (NotFound, "ticket_job_not_found"),
            Error::TicketsNotFound => (NotFound, "tickets_not_found"),
            Error::TooManyPasses => (Conflict, "too_many_passes"),
            Error::SeatsNotYours => (NotFound, "seats_not_yours"),
            Error::HoldersClosed => (Conflict, "holders_closed"),
            Error::TicketNotFound => (NotFound, "ticket_not_found"),
            Error::TicketNotTransferable => (Conflict, "ticket_not_transferable"),
            Error::TicketOffered => (Conflict, "ticket_offered"),
            Error::TransferNotFound => (NotFound, "transfer_not_found"),
            Error::AccountNotFound => (NotFound, "account_not_found"),
            Error::StaffNotFound => (NotFound, "staff_not_found"),
            Error::DoorClosed => (Conflict, "door_closed"),
            Error::GateNotFound => (NotFound, "gate_not_found"),
            Error::GateExists => (Conflict, "gate_exists"),
            Error::GateInUse => (Conflict, "gate_in_use"),
            Error::DoorKeyNotFound => (NotFound, "door_key_not_found"),
            Error::SearchTooWide => (Mismatch, "search_too_wide"),
            Error::CheckInNotFound => (NotFound, "check_in_not_found"),
            Error::CheckInUndone => (Conflict, "check_in_undone"),
            Error::TicketKeyRevoked => (Conflict, "ticket_key_revoked"),
            Error::QueueRequired(_) => (Kind::Forbidden, "queue_required"),
            Error::WaitingRoomNotFound => (NotFound, "waiting_room_not_found"),
            Error::VisitorNotFound => (NotFound, "visitor_not_found"),
            Error::WaitingRoomExists => (Conflict, "waiting_room_exists"),
            Error::WaitingRoomIs(_) => (Conflict, "waiting_room_state"),
            Error::CaptchaNeeded => (Kind::Forbidden, "captcha_needed"),
            Error::PhoneHasPlace => (Kind::Conflict, "phone_has_place"),
            Error::ContactNotVerified => (Kind::Forbidden, "contact_not_verified"),
            Error::DrawNotFound => (NotFound, "draw_not_found"),
            Error::RateLimited(_) => (TooMany, "rate_limited"),
            Error::WorkNeeded { .. } => (TooMany, "proof_of_work_needed"),
            Error::IdempotencyInFlight | Error::RequestInFlight => {
                (Conflict, "idempotency_key_in_use")
            }
            Error::IdempotencyKeyReused => (Mismatch, "idempotency_key_reused"),
            Error::ResponseNotKept => (Conflict, "response_not_kept"),
            Error::BookingNotPayable => (NotFound, "booking_not_found"),
            Error::BookingNotPending(_) => (Conflict, "booking_not_pending"),
            Error::BookingExpired => (Gone, "booking_expired"),
            Error::AmountMismatch(_) => (Mismatch, "amount_mismatch"),
            Error::PriceNotPayable { .. } => (Mismatch, "price_not_payable"),
            Error::TotalNotPayable { .. } => (Mismatch, "total_not_payable"),
            Error::AmountRefused { .. } => (Mismatch, "amount_refused"),
            Error::OrderRefused { .. } => (Provider, "order_refused"),
            Error::OrderNotFound => (NotFound, "order_not_found"),
            Error::LedgerPeriodOpen => (Kind::Unavailable, "ledger_period_open"),
            Error::PaymentNotVerified => (Mismatch, "payment_not_verified"),
            Error::PaymentReturned => (Conflict, "payment_returned"),
            Error::ProviderRefused { .. } => (Provider, "provider_refused"),
            Error::Provider { .. } | Error::KeyRefused { .. } => (Provider, "provider_failed"),
            Error::Off(feature) => (Kind::Off, feature.code()),
            Error::Unavailable(_) | Error::Collision(_) | Error::Busy(_) => {
                (Kind::Unavailable, "unavailable")
            }
            Error::Overloaded(_) => (Kind::Unavailable, "overloaded"),
            Error::LeaseLost => (Kind::Internal, "lease_lost"),
            Error::Internal(_) => (Kind::Internal, "internal"),
        }
    }

    /// The class of the failure.
    pub fn kind(&self) -> Kind {
        self.class().0
    }

    /// The stable snake_case name of the failure.
    pub fn code(&self) -> &'static str {
        self.class().1
    }

    /// Whether the only cause was contention: others held a lock, or every connection of the pool,
    /// for longer than we wait.
    pub fn is_crowded(&self) -> bool {
        match self {
            Error::Busy(_) => true,
            Error::Unavailable(source) => {
                matches!(source.downcast_ref::<sqlx::Error>(), Some(sqlx::Error::PoolTimedOut))
            }
            _ => false,
        }
    }

    /// The same failure, as far as a caller can act on it, for another of those whom it struck at
    /// once.
    pub fn repeated(&self) -> Self {
        let cause = self.details().into();
        match self {
            Error::EventNotFound => Error::EventNotFound,
            _ if self.is_crowded() => Error::Busy(cause),
            Error::Collision(_) => Error::Collision(cause),
            Error::Overloaded(_) => Error::overloaded(),
            _ if self.kind() == Kind::Unavailable => Error::Unavailable(cause),
            _ => Error::Internal(cause),
        }
    }

    /// For [`Kind::TooMany`]: how much is allowed, and when to try again.
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Error::RateLimited(usage)
            | Error::WorkNeeded { usage, .. }
            | Error::UnpaidSeatTime(usage)
            | Error::CoolingDown(usage) => Some(*usage),
            // Twilio checks at most five codes per code that it has sent, and forgets that after
            // ten minutes (docs/providers.md#twilio).
            Error::OtpAttempts => {
                Some(Usage { limit: 5, used: 5, until_room: Duration::from_secs(600) })
            }
            _ => None,
        }
    }

    /// After how many seconds the caller shall come again, if this is known.
    pub fn retry_after(&self) -> Option<u32> {
        let seconds = match self {
            Error::Overloaded(after) => after.as_secs(),
            _ => self.usage()?.seconds_until_room(),
        };
        Some(seconds.try_into().unwrap_or(u32::MAX))
    }

    /// The event whose waiting room the caller has to go to.
    pub fn queue(&self) -> Option<EventId> {
        match self {
            Error::QueueRequired(event) => Some(*event),
            _ => None,
        }
    }

    /// What may be solved instead of waiting.
    pub fn puzzle(&self) -> Option<&Puzzle> {
        match self {
            Error::WorkNeeded { puzzle, .. } => Some(puzzle),
            _ => None,
        }
    }

    /// The whole chain of causes, for logs and job histories; never for clients. Leaves out the
    /// client's message where it says less.
    pub fn details(&self) -> String {
        let mut causes = Vec::new();
        let mut next = self.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        if causes.is_empty() {
            causes.push(self.to_string());
        }
        causes.join(": ")
    }
}

/// For a person: how long until there is room again.
fn wait(usage: &Usage) -> String {
    in_words(Duration::from_secs(60 * usage.seconds_until_room().div_ceil(60)))
}

impl From<sqlx::Error> for Error {
    /// An unreachable, restarting or exhausted PostgreSQL is [`Error::Unavailable`]; every other
    /// error that is not handled by name is a defect.
    fn from(error: sqlx::Error) -> Self {
        if is_collision(&error) {
            return Error::Collision(Box::new(error));
        }
        // lock_not_available: the lock time-out.
        if has_class(&error, &["55P03"]) {
            return Error::Busy(Box::new(error));
        }
        let away = match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_) => true,
            // Class 08: connection; 53: out of resources; 55: in use; 57: shutting down or
            // cancelled.
            _ => has_class(&error, &["08", "53", "55", "57"]),
        };
        if away { Error::Unavailable(Box::new(error)) } else { Error::Internal(Box::new(error)) }
    }
}

/// Whether PostgreSQL has undone the transaction because of another one: a deadlock, or no serial
/// order.
pub fn is_collision(error: &sqlx::Error) -> bool {
    has_class(error, &["40"])
}

fn has_class(error: &sqlx::Error, classes: &[&str]) -> bool {
    match error {
        sqlx::Error::Database(db) => {
            db.code().is_some_and(|code| classes.iter().any(|class| code.starts_with(class)))
        }
        _ => false,
    }
}

/// The name of the constraint that `error` violates, if it violates one. Insert first and ask then:
/// a check before the insert can be outdated.
pub fn violated_constraint(error: &sqlx::Error) -> Option<&str> {
    match error {
        sqlx::Error::Database(db) => db.constraint(),
        _ => None,
    }
}
