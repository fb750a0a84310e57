//! What the reconciler compares every minute or so: recent payments, orders that are still open
//! after their booking's deadline, and unfinished refunds. Each pass is bounded; the rest waits for
//! the next pass, the longest waiting first. An order or refund about which Razorpay could say
//! nothing counts as asked about, so that it does not stay first.

use nexus_common::{
    Result,
    payments::{installation, reconciliation},
};

use super::{Reconciler, concerns_all, report::Report, unless_refused};

impl Reconciler<'_> {
    /// One pass. True when there is more to do at once.
    pub async fn reconcile_orders(&self, report: &mut Report) -> Result<bool> {
        // Recent payments first: they may show that our books are not what they were, and then
        // refunds are held.
        let back =
            installation::unlooked(&mut *self.db.acquire().await?, self.settings.recent).await?;
        let span = self.span(back.min(self.settings.days)).await?;
        self.list_payments(span, report).await?;
        installation::looked(&mut *self.db.acquire().await?, span.to).await?;
        // A limit, so that the next pass over recent payments is not late by much.
        let limit = i64::from(self.settings.per_second) * 10;
        let orders = self.due_orders(limit, report).await?;
        let refunds = self.due_refunds(limit, report).await?;
        Ok(orders == limit || refunds == limit)
    }

    /// A payment can become authorized days after its order's deadline, so an order is asked about
    /// again and again.
    async fn due_orders(&self, limit: i64, report: &mut Report) -> Result<i64> {
        let due =
            reconciliation::due_orders(&mut *self.db.acquire().await?, self.settings.after, limit)
                .await?;
        for order in &due {
            let compared = self.open_order(order, report).await;
            if !compared.as_ref().is_err_and(concerns_all) {
                let mut conn = self.db.acquire().await?;
                reconciliation::order_asked(
                    &mut conn,
                    order,
                    self.settings.every,
                    self.settings.days,
                )
                .await?;
                report.orders += 1;
            }
            self.pass_over("an order", order, compared, report)?;
        }
        Ok(due.len() as i64)
    }

    async fn open_order(&self, order: &str, report: &mut Report) -> Result<()> {
        let payments = unless_refused(self.ask(self.razorpay.payments_of_order(order)).await)?;
        self.payments(&payments, report).await
    }

    pub(super) async fn due_refunds(&self, limit: i64, report: &mut Report) -> Result<i64> {
        let first = self.settings.every.max(self.settings.after);
        let due = reconciliation::due_refunds(&mut *self.db.acquire().await?, first, limit).await?;
        for refund in &due {
            let compared = self.open_refund(refund, report).await;
            if !self.dry_run() && !compared.as_ref().is_err_and(concerns_all) {
                reconciliation::refund_asked(&mut *self.db.acquire().await?, refund.id).await?;
            }
            self.pass_over("a refund", &refund.payment_id, compared, report)?;
        }
        Ok(due.len() as i64)
    }
}
