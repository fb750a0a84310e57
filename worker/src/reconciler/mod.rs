//! The reconciler: asks Razorpay what has become of money, compares it with our books, and puts
//! right what differs. Webhooks are quicker, but may be lost; this finds everything in the end.
//!
//! Razorpay is called outside any transaction, then one payment is settled in one, exactly as its
//! webhook would have been; to do so twice, or at the same time as the webhook, changes nothing.
//! One job does so every minute or so (`recent`), another once a day (`days`), and an operator at
//! any time (`manual`). What they found is in `report`.

mod days;
mod disputes;
pub mod manual;
mod payments;
mod recent;
mod refunds;
mod report;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use nexus_common::{
    Error, Result,
    config::Reconciliation,
    error::Kind,
    ledger::entries::Captured,
    providers::razorpay::{Payment, Razorpay, Span},
    realtime::{AfterCommit, Coalesced, Emitter},
    storage::{Cache, postgres},
};
use sqlx::PgPool;
use tokio::{
    sync::Mutex,
    time::{Interval, MissedTickBehavior, interval},
};

pub use self::report::{Difference, Report};

/// Spreads calls to Razorpay evenly: so many a second, one after the other.
pub struct CallRateLimiter(Mutex<Interval>);

impl CallRateLimiter {
    /// Needs a runtime.
    pub fn new(per_second: u32) -> Self {
        let mut ticks = interval(Duration::from_secs(1) / per_second);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        CallRateLimiter(Mutex::new(ticks))
    }

    async fn permit(&self) {
        self.0.lock().await.tick().await;
    }
}

/// Where clients are told of seats and bookings.
pub struct Clients<'a> {
    /// Seat locks in Redis.
    pub cache: &'a Cache,
    pub emitter: &'a Emitter,
    pub seats: &'a Coalesced<Emitter>,
}

/// Compares our books with Razorpay's.
pub struct Reconciler<'a> {
    /// Connections to our books.
    pub db: &'a PgPool,
    /// The client of Razorpay, which has the others.
    pub razorpay: &'a Razorpay,
    /// How often Razorpay may be asked.
    pub rate: &'a CallRateLimiter,
    /// Without these, clients are told nothing.
    pub clients: Option<Clients<'a>>,
    /// When, and how far back.
    pub settings: Reconciliation,
    /// What is done about what differs.
    pub mode: Mode,
    /// How many calls in a row Razorpay has not answered.
    pub unanswered: AtomicU32,
}

/// What is done about what differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is put right. Razorpay is asked once whose an order is that is not in our books.
    Job,
    /// It is put right for an operator, whom the report shows everything each time.
    Manual,
    /// The same, and what was paid for bookings that our books have lost goes back.
    RefundLost,
    /// An operator is shown what would be done.
    DryRun,
}

impl Reconciler<'_> {
    /// Payments and refunds that were created between `from` and now, without those that webhooks
    /// may still tell of.
    async fn span(&self, back: Duration) -> Result<Span> {
        let to = postgres::now(&mut *self.db.acquire().await?).await? - self.settings.after;
        Ok(Span { from: (to - back).timestamp(), to: to.timestamp() })
    }

    /// Asks Razorpay, in turn.
    async fn ask<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T>
    where
        Error: From<E>,
    {
        self.rate.permit().await;
        let response = call.await.map_err(Error::from);
        match &response {
            Err(Error::Provider { .. }) => {
                self.unanswered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) | Err(Error::ProviderRefused { .. }) => {
                self.unanswered.store(0, Ordering::Relaxed)
            }
            Err(_) => {}
        }
        response
    }

    /// Whether nothing else could be compared either.
    fn ends_the_look(&self, error: &Error) -> bool {
        let unanswered = self.unanswered.load(Ordering::Relaxed);
        concerns_all(error) || (matches!(error, Error::Provider { .. }) && unanswered >= SILENCE)
    }

    /// One that cannot be compared does not keep the others from it.
    fn pass_over(
        &self,
        what: &str,
        id: &str,
        outcome: Result<()>,
        report: &mut Report,
    ) -> Result<()> {
        match outcome {
            Err(error) if !self.ends_the_look(&error) => {
                tracing::error!(id, error = error.details(), "{what} cannot be reconciled");
                report.add(Difference::unknown(id, &error.details()));
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Whether nothing may be changed.
    fn dry_run(&self) -> bool {
        self.mode == Mode::DryRun
    }

    async fn tell(&self, after: AfterCommit) {
        if let Some(clients) = &self.clients {
            after.run(clients.cache, clients.emitter, clients.seats).await;
        }
    }
}

/// After so many calls in a row without a response it is Razorpay that is away, and not one order
/// or refund that it has trouble with.
const SILENCE: u32 = 3;

/// Whether the cause is ours, or our key. An event whose inventory is held is its own affair.
fn concerns_all(error: &Error) -> bool {
    matches!(error, Error::KeyRefused { .. })
        || (error.kind() == Kind::Unavailable && !matches!(error, Error::Busy(_)))
}

/// A payment as our domain takes it; `None` for one without an order, or of nothing.
fn captured(payment: &Payment) -> Option<Captured> {
    Some(Captured {
        payment_id: payment.id.clone(),
        order_id: payment.order_id.clone()?,
        amount_paise: Some(payment.amount).filter(|amount| *amount > 0)?,
        currency: payment.currency.clone(),
    })
}

/// Razorpay has no such thing, which is a response.
fn unless_refused<T: Default>(response: Result<T>) -> Result<T> {
    match response {
        Err(Error::ProviderRefused { .. }) => Ok(T::default()),
        response => response,
    }
}
