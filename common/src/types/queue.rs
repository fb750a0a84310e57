//! The queues, one a worker.

use super::text_enum::text_enum;

text_enum! {
    /// A queue and the worker binary that serves it (`nexus-worker-<name>`).
    pub enum Queue {
        /// One-time passwords.
        Otp = "otp",
        /// Webhooks, confirmations, refunds.
        Payments = "payments",
        /// Ticket generation.
        Bookings = "bookings",
        /// Locks and unpaid bookings at their deadline.
        Expiry = "expiry",
        /// Expired tokens, idempotency keys, finished jobs.
        Cleanup = "cleanup",
        /// E-mail and SMS.
        Notifications = "notifications",
    }
}
