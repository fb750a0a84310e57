//! The queues, one a worker.

/// A queue and the worker binary that serves it (`nexus-worker-<name>`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Queue {
    /// One-time passwords.
    Otp,
    /// Webhooks, confirmations, refunds.
    Payments,
    /// Ticket generation.
    Bookings,
    /// Locks and unpaid bookings at their deadline.
    Expiry,
    /// Expired tokens, idempotency keys, finished jobs.
    Cleanup,
    /// E-mail and SMS.
    Notifications,
}

impl Queue {
    /// Every queue, in the order of the Procfile.
    pub const ALL: [Queue; 6] = [
        Queue::Otp,
        Queue::Payments,
        Queue::Bookings,
        Queue::Expiry,
        Queue::Cleanup,
        Queue::Notifications,
    ];

    /// The name in the ledger, in Redis and in binaries' names.
    pub fn name(self) -> &'static str {
        match self {
            Queue::Otp => "otp",
            Queue::Payments => "payments",
            Queue::Bookings => "bookings",
            Queue::Expiry => "expiry",
            Queue::Cleanup => "cleanup",
            Queue::Notifications => "notifications",
        }
    }
}
