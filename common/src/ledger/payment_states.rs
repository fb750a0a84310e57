//! What can happen to a payment, as a table: every pair of state and event has its step. Webhooks,
//! the reconciler and cancellations ask it what to do; `docs/payments.md` is drawn from it.
//! [`entries`](super::entries) reads a state from the books; nothing here touches the database.

use crate::types::statuses::RefundStatus;

/// The state of a payment in our books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PaymentState {
    /// Not in the books: created, failed, or only authorized.
    New,
    /// It went back before it was ours: it was refunded manually, or its authorisation ran out.
    Lapsed,
    /// It paid for a booking.
    Sold,
    /// We owe it back and have to ask Razorpay for the refund.
    Owed,
    /// Razorpay has accepted the refund.
    Requested,
    /// Razorpay could not make the refund, and is asked again.
    RefundFailed,
    /// It went back.
    Refunded,
}

/// News of a payment, from Razorpay or from its booking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PaymentEvent {
    /// The bank has reserved the money.
    Authorized,
    /// The money has arrived.
    Captured,
    /// The bank has refused.
    Failed,
    /// The booking that it paid for has been cancelled.
    SaleReversed,
    /// Razorpay has accepted a refund of everything that had not gone back.
    RefundCreated,
    /// Razorpay has made a refund, but a part has not gone back.
    PartRefunded,
    /// Razorpay has made a refund, and everything has gone back.
    RefundProcessed,
    /// Razorpay could not make a refund.
    RefundFailed,
}

/// What to do about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PaymentStep {
    Nothing,
    /// Razorpay is asked to capture it; then it has been captured.
    Capture,
    /// The capture is written, and its booking decides: a sale or a refund.
    Settle,
    /// The capture and the refund are written at once.
    SettleReturned,
    /// Its booking's payment status becomes `failed`.
    NoteFailure,
    /// A refund of the whole is owed, and a job asks for it.
    OweRefund,
    /// The refund is recorded as Razorpay's.
    FollowRefund,
    /// The refund is written; we owe that much less.
    WritePart,
    /// The manual refund is written, its part of the sale is taken back, and operators are told.
    WriteForeignPart,
    /// The refund is written.
    WriteRefund,
    /// A job asks for it again, until no tries are left.
    RetryRefund,
    /// The return is recorded, so that a capture that we hear of later sells nothing.
    RememberReturn,
    /// The manual refund is written, its booking is cancelled, and operators are told.
    WriteForeignRefund,
}

impl PaymentState {
    pub const ALL: [PaymentState; 7] = [
        PaymentState::New,
        PaymentState::Lapsed,
        PaymentState::Sold,
        PaymentState::Owed,
        PaymentState::Requested,
        PaymentState::RefundFailed,
        PaymentState::Refunded,
    ];

    /// The state that the books give: whether the capture is in the ledger, and the status of the
    /// row in `refunds`.
    pub fn of(captured: bool, refund: Option<RefundStatus>) -> Self {
        match (captured, refund) {
            (false, None) => PaymentState::New,
            (false, Some(_)) => PaymentState::Lapsed,
            (true, None) => PaymentState::Sold,
            (true, Some(RefundStatus::Pending)) => PaymentState::Owed,
            (true, Some(RefundStatus::Requested)) => PaymentState::Requested,
            (true, Some(RefundStatus::Failed)) => PaymentState::RefundFailed,
            (true, Some(RefundStatus::Processed)) => PaymentState::Refunded,
        }
    }
}

impl PaymentEvent {
    pub const ALL: [PaymentEvent; 8] = [
        PaymentEvent::Authorized,
        PaymentEvent::Captured,
        PaymentEvent::Failed,
        PaymentEvent::SaleReversed,
        PaymentEvent::RefundCreated,
        PaymentEvent::PartRefunded,
        PaymentEvent::RefundProcessed,
        PaymentEvent::RefundFailed,
    ];
}

/// The step that `event` leads to for a payment in `state`. The compiler insists on every pair.
pub fn next(state: PaymentState, event: PaymentEvent) -> PaymentStep {
    use PaymentEvent as Event;
    use PaymentState::*;
    use PaymentStep::*;
    match (state, event) {
        (New, Event::Authorized) => Capture,
        (Lapsed | Sold | Owed | Requested | RefundFailed | Refunded, Event::Authorized) => Nothing,

        (New, Event::Captured) => Settle,
        (Lapsed, Event::Captured) => SettleReturned,
        (Sold | Owed | Requested | RefundFailed | Refunded, Event::Captured) => Nothing,

        (New, Event::Failed) => NoteFailure,
        // The news came too late: the same payment has succeeded since.
        (Lapsed | Sold | Owed | Requested | RefundFailed | Refunded, Event::Failed) => Nothing,

        (Sold, Event::SaleReversed) => OweRefund,
        // It was refunded manually before the booking was cancelled.
        (Owed | Requested | RefundFailed | Refunded, Event::SaleReversed) => Nothing,
        (New | Lapsed, Event::SaleReversed) => Nothing,

        (Owed | RefundFailed, Event::RefundCreated) => FollowRefund,
        (New | Lapsed | Sold | Requested | Refunded, Event::RefundCreated) => Nothing,

        (Sold, Event::PartRefunded) => WriteForeignPart,
        (Owed | Requested | RefundFailed, Event::PartRefunded) => WritePart,
        // Written with its capture.
        (New, Event::PartRefunded) => Nothing,
        (Lapsed, Event::PartRefunded) => Nothing,

        (Owed | Requested | RefundFailed, Event::RefundProcessed) => WriteRefund,
        (New, Event::RefundProcessed) => RememberReturn,
        (Sold, Event::RefundProcessed) => WriteForeignRefund,
        (Lapsed, Event::RefundProcessed) => Nothing,
        // A refund that was under way when the bank took the money by a dispute: the money has gone
        // twice, and the ledger says so.
        (Refunded, Event::PartRefunded | Event::RefundProcessed) => WritePart,

        (Owed | Requested | RefundFailed, Event::RefundFailed) => RetryRefund,
        (New | Lapsed | Sold | Refunded, Event::RefundFailed) => Nothing,
    }
}

impl PaymentStep {
    /// The state in which the step leaves a payment that was in `state`; `None` when its booking
    /// decides.
    pub fn leads_to(self, state: PaymentState) -> Option<PaymentState> {
        match self {
            PaymentStep::Nothing
            | PaymentStep::NoteFailure
            | PaymentStep::WritePart
            | PaymentStep::WriteForeignPart => Some(state),
            PaymentStep::Capture | PaymentStep::Settle => None,
            PaymentStep::SettleReturned
            | PaymentStep::WriteRefund
            | PaymentStep::WriteForeignRefund => Some(PaymentState::Refunded),
            PaymentStep::OweRefund => Some(PaymentState::Owed),
            PaymentStep::FollowRefund => Some(PaymentState::Requested),
            PaymentStep::RetryRefund => Some(PaymentState::RefundFailed),
            PaymentStep::RememberReturn => Some(PaymentState::Lapsed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_settled_or_owed_twice() {
        for event in PaymentEvent::ALL {
            for state in PaymentState::ALL.into_iter().filter(|state| *state != PaymentState::New) {
                assert_ne!(next(state, event), PaymentStep::Settle, "{state:?} {event:?}");
            }
            for state in PaymentState::ALL.into_iter().filter(|state| *state != PaymentState::Sold)
            {
                assert_ne!(next(state, event), PaymentStep::OweRefund, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn what_went_back_stays_so() {
        for event in PaymentEvent::ALL {
            let step = next(PaymentState::Refunded, event);
            assert_eq!(
                step.leads_to(PaymentState::Refunded),
                Some(PaymentState::Refunded),
                "{event:?}"
            );
        }
    }
}
