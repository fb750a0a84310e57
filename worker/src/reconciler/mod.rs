//! The reconciler: asks Razorpay what has become of money, compares it with our books, and puts right what differs. Webhooks are quicker, but
//! may be lost; this finds everything in the end.
//!
//! Razorpay is called outside any transaction, then one payment is settled in one, exactly as its webhook would have been; to do so twice, or
//! at the same time as the webhook, changes nothing. Three things are looked at: payments (here), orders and refunds (`looks`), and
//! whole days (`days`). What was found is told in `report`.

pub mod by_hand;
mod days;
mod looks;
mod refunds;
mod report;

use std::time::Duration;

use nexus_common::{
    Error, Result,
    cache::Cache,
    clients::{
        CallError,
        razorpay::{Payment, Razorpay, Span},
    },
    config::Reconciliation,
    db,
    domain::{
        after_commit::AfterCommit,
        ids::BookingId,
        payment_orders,
        payments::{self, Captured, Settled},
        reconciliation::{self as books, Booked},
        refunds::RefundReason,
    },
    error::Kind,
    realtime::{Emitter, SeatsUpdates},
};
use sqlx::PgPool;
use tokio::{
    sync::Mutex,
    time::{Interval, MissedTickBehavior, interval},
};

pub use self::report::{Difference, Report};
use crate::forgotten_orders;

/// Lets so many requests a second through, in turn.
pub struct Pace(Mutex<Interval>);

impl Pace {
    /// Needs a runtime.
    pub fn new(per_second: u32) -> Self {
        let mut ticks = interval(Duration::from_secs(1) / per_second);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Pace(Mutex::new(ticks))
    }

    async fn turn(&self) {
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
    pub seats: &'a SeatsUpdates<Emitter>,
}

/// One who compares.
pub struct Reconciler<'a> {
    /// Our books.
    pub db: &'a PgPool,
    /// Theirs.
    pub razorpay: &'a Razorpay,
    /// How often they are asked.
    pub pace: &'a Pace,
    /// Without it, clients find out by themselves.
    pub clients: Option<Clients<'a>>,
    /// When, and how far back.
    pub settings: Reconciliation,
    /// Only look.
    pub dry_run: bool,
}

/// Whose order a payment is on.
enum Order {
    Ours(BookingId),
    NotOurs,
}

impl Reconciler<'_> {
    /// Payments and refunds that were created between `from` and now, without those that webhooks may still tell of.
    async fn span(&self, back: Duration) -> Result<Span> {
        let to = db::now(&mut *self.db.acquire().await?).await? - self.settings.after;
        Ok(Span { from: (to - back).timestamp(), to: to.timestamp() })
    }

    /// Compares payments with our books, one after the other. One that cannot be settled does not keep the others from it.
    async fn payments(&self, theirs: &[Payment], report: &mut Report) -> Result<()> {
        let ids: Vec<String> = theirs.iter().map(|payment| payment.id.clone()).collect();
        let ours = books::booked(&mut *self.db.acquire().await?, &ids).await?;
        report.compared += theirs.len();
        for payment in theirs {
            let booked = ours.get(&payment.id).cloned().unwrap_or_default();
            if let Err(error) = self.payment(payment, booked, report).await {
                if ends_the_look(&error) {
                    return Err(error);
                }
                tracing::error!(
                    payment_id = payment.id,
                    error = error.details(),
                    "a payment cannot be reconciled"
                );
                report.add(Difference::new(payment, "not comparable", &error.details()));
            }
        }
        Ok(())
    }

    async fn payment(&self, theirs: &Payment, ours: Booked, report: &mut Report) -> Result<()> {
        match (theirs.status.as_str(), ours.captured) {
            ("authorized" | "captured", false) => self.untold(theirs, report).await,
            ("captured", true) if theirs.amount_refunded > 0 => {
                let difference =
                    Difference::new(theirs, "not refunded", "nothing: part of it was refunded by hand");
                report.add(Difference { booking: ours.booking, ..difference });
                Ok(())
            }
            // Refunds that we owe are followed as refunds.
            ("refunded", _) if ours.refund.is_none() => self.refunded(theirs, ours, report).await,
            _ => Ok(()),
        }
    }

    /// Money of which we have not heard: a seat, or back.
    async fn untold(&self, theirs: &Payment, report: &mut Report) -> Result<()> {
        let mut difference = Difference::new(theirs, "unknown", "-");
        let booking = match self.order_of(theirs).await? {
            Order::Ours(booking) => booking,
            Order::NotOurs => {
                report.not_ours += 1;
                return Ok(());
            }
        };
        difference.booking = Some(booking);
        if self.dry_run {
            report.add(difference);
            return Ok(());
        }
        let Some(money) = captured(theirs) else { return Ok(()) };
        difference.done = if theirs.status == "authorized" && !self.capture(&money).await? {
            "left to lapse: it would buy nothing".into()
        } else {
            let done = self.settle(&money).await?;
            if theirs.status == "authorized" { format!("captured, {done}") } else { done }
        };
        report.add(difference);
        Ok(())
    }

    /// Captures what is only reserved, if it would buy something; false when it would not, or cannot be captured any more.
    async fn capture(&self, money: &Captured) -> Result<bool> {
        if !books::is_wanted(&mut *self.db.acquire().await?, money).await? {
            return Ok(false);
        }
        self.pace.turn().await;
        Ok(self.razorpay.ensure_captured(&money.payment_id, money.amount_paise, &money.currency).await?)
    }

    /// What a webhook would have done.
    async fn settle(&self, money: &Captured) -> Result<String> {
        let mut after = AfterCommit::default();
        let mut tx = self.db.begin().await?;
        let settled = payments::settle(&mut tx, money, &mut after).await?;
        tx.commit().await?;
        self.tell(after).await;
        Ok(match settled {
            Settled::Confirmed => "confirmed".into(),
            Settled::Already => "settled before".into(),
            Settled::Refunded(RefundReason::NotOurs) => "written down with its refund".into(),
            Settled::Refunded(reason) => format!("refunding: {}", reason.name()),
        })
    }

    /// Finds the booking of a payment's order, also of one that was forgotten.
    async fn order_of(&self, payment: &Payment) -> Result<Order> {
        let Some(order_id) = &payment.order_id else { return Ok(Order::NotOurs) };
        let known = payment_orders::booking(&mut *self.db.acquire().await?, order_id).await?;
        if let Some(booking) = known {
            return Ok(Order::Ours(booking));
        }
        self.pace.turn().await;
        let Some(order) = forgotten_orders::find(self.db, self.razorpay, order_id).await? else {
            return Ok(Order::NotOurs);
        };
        if !self.dry_run {
            order.remember(self.db).await?;
        }
        Ok(Order::Ours(order.booking))
    }

    async fn tell(&self, after: AfterCommit) {
        if let Some(clients) = &self.clients {
            after.run(clients.cache, clients.emitter, clients.seats).await;
        }
    }
}

/// Whether nothing else could be compared either. An event whose inventory is held is its own affair.
fn ends_the_look(error: &Error) -> bool {
    matches!(error.kind(), Kind::Provider | Kind::Unavailable) && !matches!(error, Error::Busy(_))
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
fn unless_refused<T: Default>(answer: Result<T, CallError>) -> Result<T> {
    match answer {
        Ok(found) => Ok(found),
        Err(CallError::Refused { .. }) => Ok(T::default()),
        Err(error) => Err(Error::from(error)),
    }
}
