//! Payments that our books lack, or have in another state than Razorpay.

use nexus_common::{
    Result,
    ledger::entries::ProviderPayment,
    payments::{
        installation::{self, Owner},
        orders,
        reconciliation::{self, PaymentRecord},
        settlement::{self, Settled},
    },
    providers::razorpay::Payment,
    realtime::AfterCommit,
    types::{ids::BookingId, refund_reason::RefundReason},
};

use super::{
    Mode, Reconciler, captured,
    report::{Difference, Report},
};
use crate::orphaned_orders::{self, OrphanedOrder};

/// Who owns the order that a payment is on.
pub(super) enum OrderMatch {
    Ours {
        booking: BookingId,
        /// Set when our books do not have the order yet.
        orphaned: Option<OrphanedOrder>,
    },
    NotOurs(Owner),
    /// Not ours, and noted before.
    KnownForeign,
}

impl Reconciler<'_> {
    /// Compares payments with our books, one after the other. One that cannot be settled does not
    /// hold up the others.
    pub(super) async fn payments(&self, theirs: &[Payment], report: &mut Report) -> Result<()> {
        let ids: Vec<String> = theirs.iter().map(|payment| payment.id.clone()).collect();
        let ours = reconciliation::records(&mut *self.db.acquire().await?, &ids).await?;
        report.compared += theirs.len();
        for payment in theirs {
            let booked = ours.get(&payment.id).cloned().unwrap_or_default();
            let outcome = self.payment(payment, booked, report).await;
            self.pass_over("a payment", &payment.id, outcome, report)?;
        }
        Ok(())
    }

    async fn payment(
        &self,
        theirs: &Payment,
        ours: PaymentRecord,
        report: &mut Report,
    ) -> Result<()> {
        match (theirs.status.as_str(), ours.captured) {
            ("authorized" | "captured", false) => self.unknown_payment(theirs, report).await,
            ("captured", true) if theirs.amount_refunded > 0 && ours.refund.is_none() => {
                self.refunded_in_part(theirs, ours, report).await
            }
            // The refunds that we owe are followed by refund.
            ("refunded", _) if ours.refund.is_none() => self.refunded(theirs, ours, report).await,
            _ => Ok(()),
        }
    }

    /// Settles money of which no webhook has told us: it buys a seat, or goes back.
    async fn unknown_payment(&self, theirs: &Payment, report: &mut Report) -> Result<()> {
        let mut difference = Difference::new(theirs, "unknown", "-");
        difference.done = match self.order_of(theirs).await? {
            OrderMatch::Ours { booking, orphaned } => {
                difference.booking = Some(booking);
                let Some(money) = captured(theirs) else { return Ok(()) };
                if self.dry_run() {
                    format!("would be {}", self.preview(theirs, &money, orphaned).await?)
                } else {
                    if let Some(order) = orphaned {
                        order.adopt(&mut *self.db.acquire().await?).await?;
                    }
                    self.capture_and_settle(theirs, &money).await?
                }
            }
            OrderMatch::NotOurs(Owner::Lost) => {
                difference.nexus = "unknown, and so is its booking".into();
                self.refund_lost(theirs).await?
            }
            OrderMatch::NotOurs(_) | OrderMatch::KnownForeign => {
                report.not_ours += 1;
                return Ok(());
            }
        };
        report.add(difference);
        Ok(())
    }

    async fn capture_and_settle(
        &self,
        theirs: &Payment,
        money: &ProviderPayment,
    ) -> Result<String> {
        Ok(match theirs.status.as_str() {
            "authorized" if !self.capture(money).await? => LAPSES.into(),
            "authorized" => format!("captured, {}", self.settle(money).await?),
            _ => self.settle(money).await?,
        })
    }

    /// Shows what would be done about a payment: does it in a transaction, without Razorpay, and
    /// rolls back.
    async fn preview(
        &self,
        theirs: &Payment,
        money: &ProviderPayment,
        orphaned: Option<OrphanedOrder>,
    ) -> Result<String> {
        let mut tx = self.db.begin().await?;
        if let Some(order) = orphaned {
            order.adopt(&mut tx).await?;
        }
        let done = match theirs.status.as_str() {
            "authorized" if !reconciliation::is_wanted(&mut tx, money).await? => LAPSES.into(),
            _ => in_words(settlement::settle(&mut tx, money, &mut AfterCommit::default()).await?),
        };
        tx.rollback().await?;
        Ok(done)
    }

    /// Refunds money for a booking that our books do not have.
    async fn refund_lost(&self, theirs: &Payment) -> Result<String> {
        let money = captured(theirs)
            .filter(|_| self.mode == Mode::RefundLost && theirs.status == "captured");
        let Some(money) = money else { return Ok("nothing: see docs/reconciliation.md".into()) };
        let mut tx = self.db.begin().await?;
        let owed = settlement::return_lost(&mut tx, &money).await?;
        tx.commit().await?;
        Ok(if owed { "refunding: its booking is lost" } else { "settled before" }.into())
    }

    /// Captures money that is only authorized, if it would buy something. False when it would not,
    /// or when it can no longer be captured.
    async fn capture(&self, money: &ProviderPayment) -> Result<bool> {
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

    /// Does what the payment's webhook would have done.
    pub(super) async fn settle(&self, money: &ProviderPayment) -> Result<String> {
        let mut after = AfterCommit::default();
        let mut tx = self.db.begin().await?;
        let settled = settlement::settle(&mut tx, money, &mut after).await?;
        tx.commit().await?;
        self.tell(after).await;
        Ok(in_words(settled))
    }

    /// Who owns a payment's order; asks Razorpay about an order that our books do not have.
    pub(super) async fn order_of(&self, payment: &Payment) -> Result<OrderMatch> {
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
}

/// What a report says of authorized money that would buy nothing.
const LAPSES: &str = "left to lapse: it would buy nothing";

/// The outcome in a report's words.
fn in_words(settled: Settled) -> String {
    match settled {
        Settled::Confirmed => "confirmed".into(),
        Settled::Already => "settled before".into(),
        Settled::Refunded(RefundReason::NotOurs) => "written down with its refund".into(),
        Settled::Refunded(RefundReason::Disputed) => "written down with its dispute".into(),
        Settled::Refunded(reason) => format!("refunding: {}", reason.name()),
    }
}
