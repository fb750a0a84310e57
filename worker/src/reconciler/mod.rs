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
    payments::{
        installation::{self, Owner},
        orders,
        reconciliation::{self, Booked},
        settlement::{self, Settled},
    },
    providers::razorpay::{Payment, Razorpay, Span},
    realtime::{AfterCommit, Coalesced, Emitter},
    storage::{Cache, postgres},
    types::{ids::BookingId, refund_reason::RefundReason},
};
use sqlx::PgPool;
use tokio::{
    sync::Mutex,
    time::{Interval, MissedTickBehavior, interval},
};

pub use self::report::{Difference, Report};
use crate::orphaned_orders::{self, OrphanedOrder};

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
    /// Broadcasts.
    pub emitter: &'a Emitter,
    /// Seat counts.
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
    /// It is put right for an operator, who is shown everything each time.
    Manual,
    /// The same, and what was paid for bookings that our books have lost goes back.
    RefundLost,
    /// An operator is shown what would be done.
    DryRun,
}

/// Whose order a payment is on.
enum OrderMatch {
    Ours {
        booking: BookingId,
        /// When our books do not have the order yet.
        orphaned: Option<OrphanedOrder>,
    },
    NotOurs(Owner),
    /// Not ours, and noted before.
    KnownForeign,
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
        let answer = call.await.map_err(Error::from);
        match &answer {
            Err(Error::Provider { .. }) => {
                self.unanswered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) | Err(Error::ProviderRefused { .. }) => {
                self.unanswered.store(0, Ordering::Relaxed)
            }
            Err(_) => {}
        }
        answer
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

    /// Compares payments with our books, one after the other. One that cannot be settled does not
    /// keep the others from it.
    async fn payments(&self, theirs: &[Payment], report: &mut Report) -> Result<()> {
        let ids: Vec<String> = theirs.iter().map(|payment| payment.id.clone()).collect();
        let ours = reconciliation::booked(&mut *self.db.acquire().await?, &ids).await?;
        report.compared += theirs.len();
        for payment in theirs {
            let booked = ours.get(&payment.id).cloned().unwrap_or_default();
            let outcome = self.payment(payment, booked, report).await;
            self.pass_over("a payment", &payment.id, outcome, report)?;
        }
        Ok(())
    }

    async fn payment(&self, theirs: &Payment, ours: Booked, report: &mut Report) -> Result<()> {
        match (theirs.status.as_str(), ours.captured) {
            ("authorized" | "captured", false) => self.untold(theirs, report).await,
            ("captured", true) if theirs.amount_refunded > 0 && ours.refund.is_none() => {
                self.refunded_in_part(theirs, ours, report).await
            }
            // Refunds that we owe are followed as refunds.
            ("refunded", _) if ours.refund.is_none() => self.refunded(theirs, ours, report).await,
            _ => Ok(()),
        }
    }

    /// Money of which we have not heard: a seat, or back.
    async fn untold(&self, theirs: &Payment, report: &mut Report) -> Result<()> {
        let mut difference = Difference::new(theirs, "unknown", "-");
        difference.done = match self.order_of(theirs).await? {
            OrderMatch::Ours { booking, orphaned } => {
                difference.booking = Some(booking);
                let Some(money) = captured(theirs) else { return Ok(()) };
                if self.dry_run() {
                    format!("would be {}", self.would_be(theirs, &money, orphaned).await?)
                } else {
                    if let Some(order) = orphaned {
                        order.adopt(&mut *self.db.acquire().await?).await?;
                    }
                    self.put_right(theirs, &money).await?
                }
            }
            OrderMatch::NotOurs(Owner::Lost) => {
                difference.nexus = "unknown, and so is its booking".into();
                self.lost(theirs).await?
            }
            OrderMatch::NotOurs(_) | OrderMatch::KnownForeign => {
                report.not_ours += 1;
                return Ok(());
            }
        };
        report.add(difference);
        Ok(())
    }

    async fn put_right(&self, theirs: &Payment, money: &Captured) -> Result<String> {
        Ok(match theirs.status.as_str() {
            "authorized" if !self.capture(money).await? => LAPSES.into(),
            "authorized" => format!("captured, {}", self.settle(money).await?),
            _ => self.settle(money).await?,
        })
    }

    /// Does everything that needs no Razorpay, and takes it back.
    async fn would_be(
        &self,
        theirs: &Payment,
        money: &Captured,
        orphaned: Option<OrphanedOrder>,
    ) -> Result<String> {
        let mut tx = self.db.begin().await?;
        if let Some(order) = orphaned {
            order.adopt(&mut tx).await?;
        }
        let done = match theirs.status.as_str() {
            "authorized" if !reconciliation::is_wanted(&mut tx, money).await? => LAPSES.into(),
            _ => told(settlement::settle(&mut tx, money, &mut AfterCommit::default()).await?),
        };
        tx.rollback().await?;
        Ok(done)
    }

    /// Money for a booking that our books do not have.
    async fn lost(&self, theirs: &Payment) -> Result<String> {
        let money = captured(theirs)
            .filter(|_| self.mode == Mode::RefundLost && theirs.status == "captured");
        let Some(money) = money else { return Ok("nothing: see docs/reconciliation.md".into()) };
        let mut tx = self.db.begin().await?;
        let owed = settlement::return_lost(&mut tx, &money).await?;
        tx.commit().await?;
        Ok(if owed { "refunding: its booking is lost" } else { "settled before" }.into())
    }

    /// Captures what is only reserved, if it would buy something; false when it would not, or
    /// cannot be captured any more.
    async fn capture(&self, money: &Captured) -> Result<bool> {
        if !reconciliation::is_wanted(&mut *self.db.acquire().await?, money).await? {
            return Ok(false);
        }
        self.ask(self.razorpay.ensure_captured(
            &money.payment_id,
            money.amount_paise,
            &money.currency,
        ))
        .await
    }

    /// What a webhook would have done.
    async fn settle(&self, money: &Captured) -> Result<String> {
        let mut after = AfterCommit::default();
        let mut tx = self.db.begin().await?;
        let settled = settlement::settle(&mut tx, money, &mut after).await?;
        tx.commit().await?;
        self.tell(after).await;
        Ok(told(settled))
    }

    /// Whose order a payment is on; asks Razorpay about one that our books do not have.
    async fn order_of(&self, payment: &Payment) -> Result<OrderMatch> {
        let Some(order_id) = &payment.order_id else {
            return Ok(OrderMatch::NotOurs(Owner::Stranger));
        };
        let mut conn = self.db.acquire().await?;
        if let Some(booking) = orders::booking(&mut conn, order_id).await? {
            return Ok(OrderMatch::Ours { booking, orphaned: None });
        }
        if self.mode == Mode::Job && installation::is_foreign(&mut conn, order_id).await? {
            return Ok(OrderMatch::KnownForeign);
        }
        drop(conn);
        let owner = match self.ask(orphaned_orders::find(self.db, self.razorpay, order_id)).await? {
            Ok(order) => {
                return Ok(OrderMatch::Ours { booking: order.booking, orphaned: Some(order) });
            }
            Err(owner) => owner,
        };
        if let (false, Some(money)) = (self.dry_run(), captured(payment)) {
            let mut tx = self.db.begin().await?;
            installation::note_foreign(&mut tx, &money, &owner).await?;
            tx.commit().await?;
        }
        Ok(OrderMatch::NotOurs(owner))
    }

    fn dry_run(&self) -> bool {
        self.mode == Mode::DryRun
    }

    async fn tell(&self, after: AfterCommit) {
        if let Some(clients) = &self.clients {
            after.run(clients.cache, clients.emitter, clients.seats).await;
        }
    }
}

/// What is done about money that is only reserved and would buy nothing.
const LAPSES: &str = "left to lapse: it would buy nothing";

fn told(settled: Settled) -> String {
    match settled {
        Settled::Confirmed => "confirmed".into(),
        Settled::Already => "settled before".into(),
        Settled::Refunded(RefundReason::NotOurs) => "written down with its refund".into(),
        Settled::Refunded(RefundReason::Disputed) => "written down with its dispute".into(),
        Settled::Refunded(reason) => format!("refunding: {}", reason.name()),
    }
}

/// After so many calls in a row without an answer it is Razorpay that is away, and not one order or
/// refund that it has trouble with.
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

/// Razorpay has no such thing, which is an answer.
fn unless_refused<T: Default>(answer: Result<T>) -> Result<T> {
    match answer {
        Err(Error::ProviderRefused { .. }) => Ok(T::default()),
        answer => answer,
    }
}
