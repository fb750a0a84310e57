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
    /// Its deadline has passed, and nobody has tidied it up yet.
    Overdue,
    /// Its seats are booked.
    Confirmed,
    /// It was cancelled before it was paid.
    Cancelled,
    /// It was cancelled after it was paid.
    Returned,
    /// It was not paid in time.
    Expired,
    /// It went with its event.
    Gone,
}

/// What can happen to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BookingEvent {
    /// The right amount for it has arrived.
    Paid,
    /// The same, after its event has started.
    PaidAfterStart,
    /// The same, while its event is not on sale.
    PaidOffSale,
    /// Another amount or currency than ordered has arrived.
    PaidWrongly,
    /// It could not be confirmed: one of its seats is somebody else's now.
    SeatsLost,
    /// It could not be confirmed: since its deadline its buyer has taken so many other seats that
    /// these would be more than the event allows.
    OverLimit,
    /// A payment for it has failed.
    PaymentFailed,
    /// It costs nothing, so that it needs no payment.
    NothingToPay,
    /// Somebody looks whether its deadline has passed.
    DeadlineCheck,
    /// Its buyer cancels it.
    Cancel,
    /// The same, after its event has started.
    CancelAfterStart,
    /// Its organiser cancels the event.
    EventCancelled,
    /// Somebody has refunded its payment at Razorpay.
    RefundedByHand,
}

/// What is done about it, in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BookingStep {
    Nothing,
    /// Its seats are booked, taken again if they were lost, and the sale is written.
    /// [`BookingEvent::SeatsLost`] or [`BookingEvent::OverLimit`] if they cannot be had.
    Confirm,
    /// Its seats are freed.
    Expire,
    /// Its seats are freed.
    Cancel,
    /// Its seats are freed, its tickets are void, the sale is reversed and its money owed.
    CancelSale,
    /// It says that a payment has failed; the buyer may try again.
    NoteFailure,
    /// The money is owed to the buyer.
    Refund(RefundReason),
    /// Its seats are freed, and the money is owed.
    ExpireAndRefund(RefundReason),
    /// The caller is told that it cannot be done.
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

    /// As the columns of `bookings` say it, `overdue` being a matter of the clock and `sold` of the
    /// ledger.
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

/// What `event` leads to for a booking in `state`. No pair is forgotten: the compiler insists on
/// each.
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
    /// Where it leaves a booking that was in `state`.
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
