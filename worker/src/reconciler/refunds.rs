//! Refunds: those of which no webhook told us, those that never finished, and manual ones, made at
//! Razorpay.

use nexus_common::{
    Result,
    ledger::{entries::ProviderPayment, payment_states::PaymentStep, refunds},
    payments::{
        provider_refunds::{self, ProviderRefund, ProviderRefundStatus},
        reconciliation::{self, OpenRefund, PaymentRecord},
    },
    providers::razorpay::{Payment, Refund},
    realtime::AfterCommit,
    types::money::CURRENCY,
};

use super::{
    Reconciler, captured,
    payments::OrderMatch,
    report::{Difference, Report},
    unless_refused,
};

impl Reconciler<'_> {
    /// A payment that Razorpay calls refunded but for which we owe no refund: it was refunded
    /// manually, in one or several parts.
    pub(super) async fn refunded(
        &self,
        theirs: &Payment,
        ours: PaymentRecord,
        report: &mut Report,
    ) -> Result<()> {
        let OrderMatch::Ours { booking, orphaned } = self.order_of(theirs).await? else {
            report.not_ours += 1;
            return Ok(());
        };
        if let (false, Some(order)) = (self.dry_run(), orphaned) {
            order.adopt(&mut *self.db.acquire().await?).await?;
        }
        let nexus = if ours.captured { "not refunded" } else { "unknown" };
        let mut difference =
            Difference { booking: Some(booking), ..Difference::new(theirs, nexus, "-") };
        let refunds = self.refunds_of(&theirs.id).await?;
        if self.dry_run() {
            difference.done = "would be written down, its booking cancelled".into();
        } else if let Some(money) = captured(theirs) {
            difference.done = "nothing yet: a refund by hand is under way".into();
            for refund in &refunds {
                match self.write(&money, refund).await? {
                    PaymentStep::WriteForeignRefund => {
                        difference.done = "refund by hand written down, booking cancelled".into();
                    }
                    PaymentStep::RememberReturn => {
                        self.settle(&money).await?;
                        difference.done = "written down with its refund by hand".into();
                    }
                    _ => {}
                }
            }
        }
        report.add(difference);
        Ok(())
    }

    /// A payment that Razorpay has partly refunded, or is partly refunding: also manually.
    pub(super) async fn refunded_in_part(
        &self,
        theirs: &Payment,
        ours: PaymentRecord,
        report: &mut Report,
    ) -> Result<()> {
        let back = refunds::back(&mut *self.db.acquire().await?, &theirs.id).await?;
        if back.paise == theirs.amount_refunded && !back.under_way {
            return Ok(());
        }
        for refund in &self.refunds_of(&theirs.id).await? {
            self.follow(ours.clone(), refund, report).await?;
        }
        Ok(())
    }

    /// A refund of which our books know less than Razorpay.
    async fn follow(
        &self,
        ours: PaymentRecord,
        theirs: &Refund,
        report: &mut Report,
    ) -> Result<()> {
        let known = provider_refunds::known(&mut *self.db.acquire().await?, &theirs.id).await?;
        if known == Some(ProviderRefundStatus::of(&theirs.status)) {
            return Ok(());
        }
        let nexus = known.map_or_else(|| "unknown".into(), |known| format!("refund {known}"));
        let mut difference = Difference::of_refund(theirs, &nexus, "would be written down");
        difference.booking = ours.booking;
        if !self.dry_run() {
            let payment = ProviderPayment {
                payment_id: theirs.payment_id.clone(),
                order_id: String::new(),
                amount_paise: theirs.amount,
                currency: CURRENCY.into(),
            };
            self.write(&payment, theirs).await?;
            difference.done = "written down".into();
        }
        report.add(difference);
        Ok(())
    }

    /// Does what a webhook about the refund would have done.
    async fn write(&self, payment: &ProviderPayment, refund: &Refund) -> Result<PaymentStep> {
        let told = ProviderRefund {
            refund_id: refund.id.clone(),
            amount_paise: refund.amount,
            ours: refunds::is_ours(&refund.payment_id, refund.receipt.as_deref()),
            payment: payment.clone(),
        };
        let mut after = AfterCommit::default();
        let mut tx = self.db.begin().await?;
        let step = provider_refunds::follow(
            &mut tx,
            &told,
            ProviderRefundStatus::of(&refund.status),
            &mut after,
        )
        .await?;
        tx.commit().await?;
        self.tell(after).await;
        Ok(step)
    }

    /// A refund in one of Razorpay's lists; the rest is looked up with its payment.
    pub(super) async fn listed_refunds(
        &self,
        theirs: &[Refund],
        report: &mut Report,
    ) -> Result<()> {
        let ids: Vec<String> = theirs.iter().map(|refund| refund.payment_id.clone()).collect();
        let ours = reconciliation::records(&mut *self.db.acquire().await?, &ids).await?;
        report.compared += theirs.len();
        for refund in theirs {
            match ours.get(&refund.payment_id) {
                Some(booked) if booked.refund.is_some() => {
                    let followed = self.follow(booked.clone(), refund, report).await;
                    self.pass_over("a refund", &refund.id, followed, report)?;
                }
                // Our books do not know the refund, and its payment may be older than the list of
                // payments.
                _ => {
                    let paid = self.payment_of(refund, report).await;
                    self.pass_over("a refund", &refund.id, paid, report)?;
                }
            }
        }
        Ok(())
    }

    async fn payment_of(&self, refund: &Refund, report: &mut Report) -> Result<()> {
        let payment =
            self.ask(self.razorpay.payment(&refund.payment_id)).await.map(|payment| vec![payment]);
        self.payments(&unless_refused(payment)?, report).await
    }

    /// An unfinished refund of ours: writes down what Razorpay says of it, and asks for it again
    /// when no job does.
    pub(super) async fn open_refund(&self, ours: &OpenRefund, report: &mut Report) -> Result<()> {
        let mut difference = Difference {
            subject: ours.payment_id.clone(),
            booking: ours.booking,
            amount_paise: ours.amount_paise,
            razorpay: "no refund".into(),
            nexus: format!("refund {}", ours.status),
            done: "-".into(),
        };
        let theirs = self.refunds_of(&ours.payment_id).await?;
        if let Some(furthest) =
            theirs.iter().find(|refund| refund.status != "failed").or(theirs.first())
        {
            difference.razorpay = format!("refund {}", furthest.status);
        }
        for theirs in &theirs {
            let booked =
                PaymentRecord { booking: ours.booking, captured: true, refund: Some(ours.status) };
            self.follow(booked, theirs, report).await?;
        }
        let now = refunds::get(&mut *self.db.acquire().await?, ours.id).await?;
        let stuck = now.is_some_and(|now| now.is_stuck()) && !ours.in_work;
        if stuck && ours.dead {
            difference.done =
                "nothing: its job has died, see nexus-jobs dead --kind refund_payment".into();
            report.add(difference);
        } else if stuck {
            if self.dry_run() {
                difference.done = "would be asked for again".into();
            } else if reconciliation::resume_refund(&mut *self.db.acquire().await?, ours.id).await?
            {
                difference.done = "asked for again".into();
            }
            report.add(difference);
        }
        Ok(())
    }

    /// Every refund of a payment, the earliest first.
    async fn refunds_of(&self, payment_id: &str) -> Result<Vec<Refund>> {
        let mut refunds =
            unless_refused(self.ask(self.razorpay.refunds_of_payment(payment_id)).await)?;
        refunds.reverse();
        Ok(refunds)
    }
}
