//! Whole days, compared with Razorpay's lists: by a job once a day, and by an operator.

use std::time::Duration;

use nexus_common::{
    Result,
    providers::razorpay::{PAGE, Span},
};

use super::{Reconciler, report::Report};

/// Unfinished refunds that one comparison asks Razorpay about.
const REFUNDS: i64 = 1_000;

impl Reconciler<'_> {
    /// Compares every payment, refund and dispute since then, every refund of ours that is due to
    /// be asked about, and every dispute that has not ended.
    pub async fn reconcile_days(&self, back: Duration, report: &mut Report) -> Result<()> {
        let span = self.span(back).await?;
        self.list_payments(span, report).await?;
        self.list_refunds(span, report).await?;
        self.list_disputes(span, report).await?;
        self.due_refunds(REFUNDS, report).await?;
        self.undecided_disputes(report).await?;
        Ok(())
    }

    pub(super) async fn list_payments(&self, span: Span, report: &mut Report) -> Result<()> {
        // New payments come after the span's end, so pages do not shift while they are read.
        for page in 0.. {
            let payments = self.ask(self.razorpay.payments(span, page * PAGE)).await?;
            self.payments(&payments, report).await?;
            if payments.len() < PAGE {
                break;
            }
        }
        Ok(())
    }

    async fn list_refunds(&self, span: Span, report: &mut Report) -> Result<()> {
        for page in 0.. {
            let refunds = self.ask(self.razorpay.refunds(span, page * PAGE)).await?;
            self.listed_refunds(&refunds, report).await?;
            if refunds.len() < PAGE {
                break;
            }
        }
        Ok(())
    }
}
