//! What can happen to a booking, as a table: every pair of state and event has its step. The verbs
//! that change a booking in the database ([`changes`](super::changes),
//! [`cancellation`](super::cancellation), [`settlement`](crate::payments::settlement)) ask it what
//! to do; `docs/payments.md` is drawn from it. Nothing here touches the database.

use crate::types::{refund_reason::RefundReason, statuses::BookingStatus};

/// Where a booking stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BookingState {
    /// It waits for its payment, and its seats are kept.
    Pending,
    /// Its deadline has passed, and no worker has expired it yet.
    Overdue,
    /// Its seats are booked.
    Confirmed,
    /// It was cancelled before it was paid.
    Cancelled,
    /// It was cancelled after it was paid.
    Returned,
    /// It was not paid in time.
    Expired,
    /// It was deleted with its event; or it was never paid, and its buyer's account is erased: nobody
    /// is there any more who could want it.
    Gone,
}

/// An event in a booking's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BookingEvent {
    /// The right amount has arrived for it.
    Paid,
    /// The right amount has arrived after its event has started.
    PaidAfterStart,
    /// The right amount has arrived while its event is not on sale.
    PaidOffSale,
    /// An amount or currency other than the ordered one has arrived.
    PaidWrongly,
    /// It could not be confirmed: another user has one of its seats.
    SeatsLost,
    /// It could not be confirmed: since its deadline, its buyer has taken so many other seats that
    /// both together would exceed the event's limit.
    OverLimit,
    /// A payment for it has failed.
    PaymentFailed,
    /// It costs nothing and needs no payment.
    NothingToPay,
    /// The caller checks whether its deadline has passed.
    DeadlineCheck,
    /// Its buyer cancels it.
    Cancel,
    /// Its buyer cancels it after its event has started.
    CancelAfterStart,
    /// Its organiser cancels the event.
    EventCancelled,
    /// Its payment was refunded manually, at Razorpay.
    RefundedByHand,
}

/// What to do about an event, in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BookingStep {
    Nothing,
    /// Its seats are booked, and taken again if they were lost, and the sale is written. If the
    /// seats cannot be had, [`BookingEvent::SeatsLost`] or [`BookingEvent::OverLimit`] follows.
    Confirm,
    /// Its seats are freed.
    Expire,
    /// Its seats are freed.
    Cancel,
    /// Its seats are freed, its tickets are void, the sale is reversed and its money owed.
    CancelSale,
    /// Its payment status says `failed`; the buyer may try again.
    NoteFailure,
    /// The money is owed to the buyer.
    Refund(RefundReason),
    /// Its seats are freed, and the money is owed.
    ExpireAndRefund(RefundReason),
    /// The caller is told that this is not possible.
    Refuse,
}

impl BookingState {
    pub const ALL: [BookingState; 7] = [
        BookingState::Pending,
        BookingState::Overdue,
        BookingState::Confirmed,
        BookingState::Cancelled,
        BookingState::Returned,
        BookingState::Expired,
        BookingState::Gone,
    ];

    /// The state that the columns of `bookings` give; `overdue` comes from the clock and `sold`
    /// from the ledger.
    pub fn of(status: BookingStatus, overdue: bool, sold: bool) -> Self {
        match status {
            BookingStatus::Pending if overdue => BookingState::Overdue,
            BookingStatus::Pending => BookingState::Pending,
            BookingStatus::Confirmed => BookingState::Confirmed,
            BookingStatus::Cancelled if sold => BookingState::Returned,
            BookingStatus::Cancelled => BookingState::Cancelled,
            BookingStatus::Expired => BookingState::Expired,
        }
    }

    /// The same for a booking whose buyer's account may be `erased`: money that still arrives for it
    /// goes back. What was pending was cancelled before the account was erased.
    pub fn for_buyer(self, erased: bool) -> Self {
        match self {
            BookingState::Cancelled | BookingState::Expired if erased => BookingState::Gone,
            state => state,
        }
    }
}

impl BookingEvent {
    pub const ALL: [BookingEvent; 13] = [
        BookingEvent::Paid,
        BookingEvent::PaidAfterStart,
        BookingEvent::PaidOffSale,
        BookingEvent::PaidWrongly,
        BookingEvent::SeatsLost,
        BookingEvent::OverLimit,
        BookingEvent::PaymentFailed,
        BookingEvent::NothingToPay,
        BookingEvent::DeadlineCheck,
        BookingEvent::Cancel,
        BookingEvent::CancelAfterStart,
        BookingEvent::EventCancelled,
        BookingEvent::RefundedByHand,
    ];
}

/// The step that `event` leads to for a booking in `state`. The compiler insists on every pair.
pub fn next(state: BookingState, event: BookingEvent) -> BookingStep {
    use BookingEvent::*;
    use BookingState::*;
    use BookingStep as Step;
    match (state, event) {
        (Pending | Overdue | Cancelled | Expired, Paid) => Step::Confirm,
        (Pending, PaidAfterStart) => Step::Confirm,
        (Overdue | Cancelled | Expired, PaidAfterStart) => Step::Refund(RefundReason::EventOver),
        (Pending | Overdue | Cancelled | Expired, PaidOffSale) => {
            Step::Refund(RefundReason::EventOver)
        }
        (Pending | Overdue | Confirmed | Cancelled | Returned | Expired, PaidWrongly) => {
            Step::Refund(RefundReason::AmountMismatch)
        }
        // A booking is sold once.
        (Confirmed, Paid | PaidAfterStart | PaidOffSale) => Step::Refund(RefundReason::AlreadyPaid),
        (Returned, Paid | PaidAfterStart | PaidOffSale) => Step::Refund(RefundReason::Cancelled),
        (Gone, Paid | PaidAfterStart | PaidOffSale | PaidWrongly) => {
            Step::Refund(RefundReason::BookingGone)
        }

        (Pending | Cancelled | Expired, SeatsLost) => Step::Refund(RefundReason::SeatsGone),
        (Overdue, SeatsLost) => Step::ExpireAndRefund(RefundReason::SeatsGone),
        (Pending | Cancelled | Expired, OverLimit) => Step::Refund(RefundReason::TicketLimit),
        (Overdue, OverLimit) => Step::ExpireAndRefund(RefundReason::TicketLimit),
        (Confirmed | Returned | Gone, SeatsLost | OverLimit) => Step::Nothing,

        (Pending | Overdue, PaymentFailed) => Step::NoteFailure,
        (Confirmed | Cancelled | Returned | Expired | Gone, PaymentFailed) => Step::Nothing,

        (Pending | Overdue, NothingToPay) => Step::Confirm,
        (Confirmed | Cancelled | Returned | Expired | Gone, NothingToPay) => Step::Nothing,

        (Overdue, DeadlineCheck) => Step::Expire,
        (Pending | Confirmed | Cancelled | Returned | Expired | Gone, DeadlineCheck) => {
            Step::Nothing
        }

        (Pending | Overdue, Cancel | CancelAfterStart | EventCancelled) => Step::Cancel,
        (Confirmed, Cancel | EventCancelled) => Step::CancelSale,
        (Confirmed, CancelAfterStart) => Step::Refuse,
        (Expired | Gone, Cancel | CancelAfterStart) => Step::Refuse,
        (Cancelled | Returned, Cancel | CancelAfterStart | EventCancelled) => Step::Nothing,
        (Expired | Gone, EventCancelled) => Step::Nothing,

        (Confirmed, RefundedByHand) => Step::CancelSale,
        (Pending | Overdue | Cancelled | Returned | Expired | Gone, RefundedByHand) => {
            Step::Nothing
        }
    }
}

impl BookingStep {
    /// The state in which the step leaves a booking that was in `state`.
    pub fn leads_to(self, state: BookingState) -> BookingState {
        match self {
            BookingStep::Nothing
            | BookingStep::NoteFailure
            | BookingStep::Refund(_)
            | BookingStep::Refuse => state,
            BookingStep::Confirm => BookingState::Confirmed,
            BookingStep::Expire | BookingStep::ExpireAndRefund(_) => BookingState::Expired,
            BookingStep::Cancel => BookingState::Cancelled,
            BookingStep::CancelSale => BookingState::Returned,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONEY: [BookingEvent; 4] = [
        BookingEvent::Paid,
        BookingEvent::PaidAfterStart,
        BookingEvent::PaidOffSale,
        BookingEvent::PaidWrongly,
    ];

    #[test]
    fn money_that_arrives_becomes_a_seat_or_goes_back() {
        for state in BookingState::ALL {
            for event in MONEY {
                let step = next(state, event);
                assert!(
                    matches!(step, BookingStep::Confirm | BookingStep::Refund(_)),
                    "{state:?} {event:?}"
                );
            }
        }
    }

    #[test]
    fn whoever_cannot_be_confirmed_gets_the_money_back() {
        let confirmed = |state: &BookingState| {
            MONEY.iter().any(|event| next(*state, *event) == BookingStep::Confirm)
        };
        for state in BookingState::ALL.into_iter().filter(confirmed) {
            for event in [BookingEvent::SeatsLost, BookingEvent::OverLimit] {
                let step = next(state, event);
                assert!(
                    matches!(step, BookingStep::Refund(_) | BookingStep::ExpireAndRefund(_)),
                    "{state:?} {event:?}: {step:?}"
                );
            }
        }
    }
}
