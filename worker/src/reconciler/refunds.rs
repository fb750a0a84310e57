//! Refunds: those of which no webhook told, those that never finished, and those that somebody made without us.

use nexus_common::{
    Result,
    clients::razorpay::{Payment, Refund},
    domain::{
        after_commit::AfterCommit,
        payment_orders::CURRENCY,
        payment_states::PaymentStep,
        payments::Captured,
        reconciliation::{self as books, Booked, OpenRefund},
        refunds::{self, RefundStatus},
    },
};

use super::{
    Order, Reconciler, captured,
    report::{Difference, Report},
    unless_refused,
};

impl Reconciler<'_> {
    /// A payment that Razorpay calls refunded, of which we owe no refund: somebody has made it by hand.
    pub(super) async fn refunded(&self, theirs: &Payment, ours: Booked, report: &mut Report) -> Result<()> {
        let Order::Ours { booking, forgotten } = self.order_of(theirs).await? else {
            report.not_ours += 1;
            return Ok(());
        };
        if let (false, Some(order)) = (self.dry_run(), forgotten) {
            order.remember(&mut *self.db.acquire().await?).await?;
        }
        let nexus = if ours.captured { "not refunded" } else { "unknown" };
        let mut difference = Difference { booking: Some(booking), ..Difference::new(theirs, nexus, "-") };
        let Some(refund) = self.whole_refunds(&theirs.id, theirs.amount).await?.into_iter().next() else {
            difference.done = "nothing: it was refunded by hand, in parts".into();
            report.add(difference);
            return Ok(());
        };
        if let (false, Some(money)) = (self.dry_run(), captured(theirs)) {
            difference.done = match self.write(&money, &refund).await? {
                PaymentStep::WriteForeignRefund => "refund by hand written down, booking cancelled".into(),
                PaymentStep::RememberReturn => {
                    self.settle(&money).await?;
                    "written down with its refund by hand".into()
                }
                _ => "nothing yet: a refund by hand is under way".into(),
            };
        }
        report.add(difference);
        Ok(())
    }

    /// A refund of which our books know less than Razorpay.
    async fn follow(&self, ours: Booked, theirs: &Refund, report: &mut Report) -> Result<()> {
        let known = ours.refund.unwrap_or_default();
        if known == status_name(theirs) && (known != "failed" || self.dry_run()) {
            return Ok(());
        }
        let mut difference = Difference::of_refund(theirs, &format!("refund {known}"), "-");
        difference.booking = ours.booking;
        if !self.dry_run() {
            let payment = Captured {
                payment_id: theirs.payment_id.clone(),
                order_id: String::new(),
                amount_paise: theirs.amount,
                currency: CURRENCY.into(),
            };
            if self.write(&payment, theirs).await? == PaymentStep::Nothing {
                return Ok(());
            }
            difference.done = "written down".into();
        }
        report.add(difference);
        Ok(())
    }

    /// What a webhook about the refund would have done.
    async fn write(&self, payment: &Captured, refund: &Refund) -> Result<PaymentStep> {
        let mut after = AfterCommit::default();
        let mut tx = self.db.begin().await?;
        let step = refunds::follow(&mut tx, payment, &refund.id, status(refund), &mut after).await?;
        tx.commit().await?;
        self.tell(after).await;
        Ok(step)
    }

    /// A refund in one of Razorpay's lists: its payment tells the rest.
    pub(super) async fn listed_refunds(&self, theirs: &[Refund], report: &mut Report) -> Result<()> {
        let ids: Vec<String> = theirs.iter().map(|refund| refund.payment_id.clone()).collect();
        let ours = books::booked(&mut *self.db.acquire().await?, &ids).await?;
        report.compared += theirs.len();
        for refund in theirs {
            match ours.get(&refund.payment_id) {
                Some(booked) if booked.refund.is_some() => {
                    self.follow(booked.clone(), refund, report).await?
                }
                // Unknown here, and its payment is perhaps older than the list of payments reaches.
                _ => {
                    self.pace.turn().await;
                    let payment =
                        self.razorpay.payment(&refund.payment_id).await.map(|payment| vec![payment]);
                    self.payments(&unless_refused(payment)?, report).await?;
                }
            }
        }
        Ok(())
    }

    /// A refund of ours that is not finished: what Razorpay says of it is written down; one that nobody works on is asked for again.
    pub(super) async fn open_refund(&self, ours: &OpenRefund, report: &mut Report) -> Result<()> {
        let mut difference = Difference {
            subject: ours.payment_id.clone(),
            booking: ours.booking,
            amount_paise: ours.amount_paise,
            razorpay: "no refund".into(),
            nexus: format!("refund {}", ours.status),
            done: "-".into(),
        };
        let theirs = self.whole_refunds(&ours.payment_id, ours.amount_paise).await?;
        if let Some(furthest) = theirs.first() {
            difference.razorpay = format!("refund {}", furthest.status);
        }
        let failed = theirs.iter().all(|refund| status(refund) == RefundStatus::Failed);
        // One that is under way or made is all that matters; of several that failed, any may be news.
        for theirs in theirs.iter().take(if failed { usize::MAX } else { 1 }) {
            let booked = Booked { booking: ours.booking, captured: true, refund: Some(ours.status.clone()) };
            self.follow(booked, theirs, report).await?;
        }
        let stuck = failed && !ours.in_work;
        if stuck && ours.dead {
            difference.done = "nothing: its job has died, see nexus-jobs dead --kind refund_payment".into();
            report.add(difference);
        } else if stuck {
            if !self.dry_run() && books::resume_refund(&mut *self.db.acquire().await?, ours.id).await? {
                difference.done = "asked for again".into();
            }
            report.add(difference);
        }
        if !self.dry_run() {
            books::refund_asked(&mut *self.db.acquire().await?, ours.id).await?;
        }
        Ok(())
    }

    /// The refunds of a whole payment, the one that went furthest first.
    async fn whole_refunds(&self, payment_id: &str, amount_paise: i64) -> Result<Vec<Refund>> {
        self.pace.turn().await;
        let mut refunds = unless_refused(self.razorpay.refunds_of_payment(payment_id).await)?;
        refunds.retain(|refund| refund.amount == amount_paise);
        refunds.sort_by_key(|refund| match status(refund) {
            RefundStatus::Processed => 0,
            RefundStatus::Requested => 1,
            RefundStatus::Failed => 2,
        });
        Ok(refunds)
    }
}

fn status(refund: &Refund) -> RefundStatus {
    match refund.status.as_str() {
        "processed" => RefundStatus::Processed,
        "failed" => RefundStatus::Failed,
        _ => RefundStatus::Requested,
    }
}

/// As our books call it.
fn status_name(refund: &Refund) -> &'static str {
    match status(refund) {
        RefundStatus::Processed => "processed",
        RefundStatus::Requested => "requested",
        RefundStatus::Failed => "failed",
    }
}
