//! How long seats, bookings and finished jobs are kept, and how often Razorpay is asked.

use std::time::Duration;

use super::Env;

/// How long a seat is held for a user.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// SEAT_LOCK_SECONDS, 600: from lock to booking.
    pub lock: Duration,
    /// BOOKING_SECONDS, 900: from booking to payment.
    pub booking: Duration,
}

impl Deadlines {
    /// Reads the group.
    pub fn from_env(env: &mut Env) -> Self {
        Deadlines {
            lock: Duration::from_secs(env.between("SEAT_LOCK_SECONDS", 600, 1, 3600)),
            booking: Duration::from_secs(env.between("BOOKING_SECONDS", 900, 1, 3600)),
        }
    }
}

/// How the reconciler asks Razorpay about what its webhooks should have told.
#[derive(Debug, Clone, Copy)]
pub struct Reconciliation {
    /// RECONCILE_EVERY_SECONDS, 60: from one look to the next.
    pub every: Duration,
    /// RECONCILE_AFTER_SECONDS, 10: how long webhooks may take before Razorpay is asked.
    pub after: Duration,
    /// RECONCILE_DAYS, 7: how long a payment can still become authorized, and how far the daily
    /// comparison reaches back.
    pub days: Duration,
    /// RECONCILE_PER_SECOND, 10: requests to Razorpay per second.
    pub per_second: u32,
    /// Payments begun within this time are looked at every time: a buyer's time until the deadline,
    /// and a while to finish.
    pub recent: Duration,
}

impl Reconciliation {
    /// Reads the group.
    pub fn from_env(env: &mut Env) -> Self {
        let days = env.between("RECONCILE_DAYS", 7, 1, 180);
        Reconciliation {
            every: Duration::from_secs(env.between("RECONCILE_EVERY_SECONDS", 60, 1, 3_600)),
            after: Duration::from_secs(env.between("RECONCILE_AFTER_SECONDS", 10, 0, 3_600)),
            days: Duration::from_secs(days * 86_400),
            per_second: env.between("RECONCILE_PER_SECOND", 10, 1, 1_000) as u32,
            recent: Deadlines::from_env(env).booking + Duration::from_secs(300),
        }
    }
}

/// JOBS_KEEP_HOURS, 168: how long finished jobs stay for operators to look at. Dead letters stay
/// until an operator decides.
pub fn keep_jobs(env: &mut Env) -> Duration {
    Duration::from_secs(env.between("JOBS_KEEP_HOURS", 168, 1, 8_760) * 3_600)
}
