//! The reconciler: asks Razorpay about payments, refunds and disputes, compares its answers with
//! our books, and puts right what differs. Webhooks are quicker but may be lost; the reconciler
//! finds everything in the end.
//!
//! Razorpay is called outside any transaction; then each payment is settled in its own transaction,
//! exactly as its webhook would have settled it. Doing so twice, or at the same time as the
//! webhook, changes nothing. One job compares every minute or so (`recent`), another once a day
//! (`days`), and an operator at any time (`manual`). Their findings are in `report`.

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
    ledger::entries::ProviderPayment,
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

/// Spreads calls to Razorpay evenly: a fixed number per second, one after the other.
pub struct CallRateLimiter(Mutex<Interval>);

impl CallRateLimiter {
    /// Must be called inside a Tokio runtime.
    pub fn new(per_second: u32) -> Self {
        let mut ticks = interval(Duration::from_secs(1) / per_second);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        CallRateLimiter(Mutex::new(ticks))
    }

    async fn permit(&self) {
        self.0.lock().await.tick().await;
    }
}

/// The ways to tell clients about seats and bookings.
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
    /// The client for Razorpay's API, where the other side's books are.
    pub razorpay: &'a Razorpay,
    /// Limits how often Razorpay is asked.
    pub rate: &'a CallRateLimiter,
    /// Without these, clients are told nothing.
    pub clients: Option<Clients<'a>>,
    /// When to compare, and how far back.
    pub settings: Reconciliation,
    /// How to treat differences.
    pub mode: Mode,
    /// Calls in a row that Razorpay has not answered.
    pub unanswered: AtomicU32,
}

/// How to treat differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Puts differences right. Asks Razorpay only once for the owner of an order that is not in our
    /// books.
    Job,
    /// Puts differences right for an operator; the report shows everything each time.
    Manual,
    /// Like `Manual`, and also refunds what was paid for bookings that our books have lost.
    RefundLost,
    /// Shows an operator what would be done.
    DryRun,
}

impl Reconciler<'_> {
    /// Payments and refunds that were created between `back` ago and now, without those that
    /// webhooks may still tell us about.
    async fn span(&self, back: Duration) -> Result<Span> {
        let to = postgres::now(&mut *self.db.acquire().await?).await? - self.settings.after;
        Ok(Span { from: (to - back).timestamp(), to: to.timestamp() })
    }

    /// Asks Razorpay, within the rate limit.
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

    /// Whether the other comparisons would fail, too.
    fn ends_the_look(&self, error: &Error) -> bool {
        let unanswered = self.unanswered.load(Ordering::Relaxed);
        concerns_all(error) || (matches!(error, Error::Provider { .. }) && unanswered >= SILENCE)
    }

    /// Passes over an item that cannot be compared, so that the others still are.
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

/// After this many calls in a row without a response, Razorpay itself is away, rather than in
/// trouble with one order or refund.
const SILENCE: u32 = 3;

/// Whether the cause is ours or our key. An event whose inventory is held concerns only that event.
fn concerns_all(error: &Error) -> bool {
    matches!(error, Error::KeyRefused { .. })
        || (error.kind() == Kind::Unavailable && !matches!(error, Error::Busy(_)))
}

/// A payment as our domain takes it; `None` for one without an order or an amount.
fn captured(payment: &Payment) -> Option<ProviderPayment> {
    Some(ProviderPayment {
        payment_id: payment.id.clone(),
        order_id: payment.order_id.clone()?,
        amount_paise: Some(payment.amount).filter(|amount| *amount > 0)?,
        currency: payment.currency.clone(),
    })
}

/// A refusal means that Razorpay has no such thing, which is an answer.
fn unless_refused<T: Default>(response: Result<T>) -> Result<T> {
    match response {
        Err(Error::ProviderRefused { .. }) => Ok(T::default()),
        response => response,
    }
}
