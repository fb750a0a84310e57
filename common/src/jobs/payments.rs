//! Jobs of the payments queue.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Job, Queue, RetryPolicy};
use crate::types::ids::{BookingId, RefundId, WebhookId};

/// Acts on a stored Razorpay webhook: captures authorized payments, confirms bookings, decides on
/// refunds. Its effects commit with the job; if a capture runs twice, Razorpay refuses the second
/// with an error that says so.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProcessWebhook {
    pub webhook_event_id: WebhookId,
}

impl Job for ProcessWebhook {
    const QUEUE: Queue = Queue::Payments;
    const KIND: &'static str = "process_webhook";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(self.webhook_event_id))
    }
}

/// Confirms a booking that costs nothing and so needs no payment.
#[derive(Debug, Serialize, Deserialize)]
pub struct ConfirmFreeBooking {
    pub booking_id: BookingId,
}

impl Job for ConfirmFreeBooking {
    const QUEUE: Queue = Queue::Payments;
    const KIND: &'static str = "confirm_free_booking";
    const RETRY: RetryPolicy = RetryPolicy::INTERNAL;

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(self.booking_id))
    }
}

/// Refunds a payment. With the same idempotency key, Razorpay makes one refund of two runs.
#[derive(Debug, Serialize, Deserialize)]
pub struct RefundPayment {
    pub refund_id: RefundId,
}

impl Job for RefundPayment {
    const QUEUE: Queue = Queue::Payments;
    const KIND: &'static str = "refund_payment";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    /// Buyers who wait for their seats come before buyers who wait for their money, and have half
    /// of the slots to themselves, however slowly Razorpay makes refunds.
    const PRIORITY: i16 = 10;

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(self.refund_id))
    }
}

/// Asks Razorpay about what no webhook has told: recent payments, orders that are open after their
/// booking's deadline, and unfinished refunds. Then it sleeps until the next time: one job that
/// lives for ever, so that no two ask at once. The worker's clock enqueues the job anew if it is
/// ever lost. Its settlements commit payment by payment, and settling twice does nothing.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReconcileOrders {}

impl Job for ReconcileOrders {
    const QUEUE: Queue = Queue::Payments;
    const KIND: &'static str = "reconcile_orders";
    const RETRY: RetryPolicy = RetryPolicy {
        first: Duration::from_millis(250),
        longest: Duration::from_secs(10),
        max_attempts: i32::MAX,
    };
    const TIMEOUT: Duration = Duration::from_secs(600);

    fn unique_key(&self) -> Option<String> {
        Some(Self::KIND.into())
    }
}

/// Compares the last days' payments and refunds with Razorpay's lists, once a day. Starts over
/// after an interruption.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReconcileDays {}

impl Job for ReconcileDays {
    const QUEUE: Queue = Queue::Payments;
    const KIND: &'static str = "reconcile_days";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    const TIMEOUT: Duration = Duration::from_secs(6 * 3_600);
    /// After every job that a user waits for.
    const PRIORITY: i16 = 20;

    fn unique_key(&self) -> Option<String> {
        Some(Self::KIND.into())
    }
}
