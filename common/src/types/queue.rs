//! The queues, one per worker binary.

use super::text_enum::text_enum;

text_enum! {
    /// A queue and the worker binary that serves it (`nexus-worker-<name>`).
    pub enum Queue {
        /// Sends one-time passwords.
        Otp = "otp",
        /// Acts on webhooks, confirms bookings, makes refunds, reconciles.
        Payments = "payments",
        /// Makes tickets, and cancels the bookings of cancelled events.
        Bookings = "bookings",
        /// Frees locks and unpaid bookings at their deadline.
        Expiry = "expiry",
        /// Removes rows that are no longer needed, and checks the books.
        Cleanup = "cleanup",
        /// Sends e-mail and SMS.
        Notifications = "notifications",
    }
}
