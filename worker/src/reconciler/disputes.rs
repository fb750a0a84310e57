//! Disputes of which no webhook told us: those of a span of days, and those that have not ended as
//! far as we know.

use nexus_common::{
    Error, Result,
    payments::{
        disputes::{self, Dispute},
        settlement,
    },
    providers::razorpay::{Dispute as Theirs, PAGE, Span},
    realtime::AfterCommit,
};

use super::{
    Reconciler,
    report::{Difference, Report},
};

/// Disputes that one comparison asks Razorpay about.
const DISPUTES: i64 = 1_000;

impl Reconciler<'_> {
    pub(super) async fn list_disputes(&self, span: Span, report: &mut Report) -> Result<()> {
        for page in 0.. {
            let disputes = self.ask(self.razorpay.disputes(span, page * PAGE)).await?;
            for dispute in &disputes {
                let compared = self.dispute(dispute, report).await;
                self.pass_over("a dispute", &dispute.id, compared, report)?;
            }
            if disputes.len() < PAGE {
                break;
            }
        }
        Ok(())
    }

    /// A dispute lasts for weeks: its end is not in the lists of the last days.
    pub(super) async fn undecided_disputes(&self, report: &mut Report) -> Result<()> {
        let open = disputes::undecided(&mut *self.db.acquire().await?, DISPUTES).await?;
        for id in &open {
            let compared = match self.ask(self.razorpay.dispute(id)).await {
                Ok(dispute) => self.dispute(&dispute, report).await,
                // The dispute probably belongs to another account.
                Err(refused @ Error::ProviderRefused { .. }) => {
                    let error = refused.details();
                    tracing::error!(dispute_id = id, error, "Razorpay does not know a dispute");
                    Ok(())
                }
                Err(error) => Err(error),
            };
            self.pass_over("a dispute", id, compared, report)?;
        }
        Ok(())
    }

    async fn dispute(&self, theirs: &Theirs, report: &mut Report) -> Result<()> {
        report.compared += 1;
        let Some(told) = Dispute::of(theirs) else { return Ok(()) };
        let mut conn = self.db.acquire().await?;
        let known = disputes::known(&mut conn, &theirs.id).await?;
        if known == Some((told.status, told.taken())) {
            return Ok(());
        }
        if !settlement::is_ours(&mut conn, &theirs.payment_id, "").await? {
            report.not_ours += 1;
            return Ok(());
        }
        drop(conn);
        let nexus = known
            .map_or_else(|| "unknown".into(), |(known, _)| format!("dispute {}", known.name()));
        let mut difference = Difference::of_dispute(theirs, &nexus, "would be written down");
        if !self.dry_run() {
            let mut after = AfterCommit::default();
            let mut tx = self.db.begin().await?;
            let is_new = disputes::follow(&mut tx, &told, &mut after).await?;
            tx.commit().await?;
            self.tell(after).await;
            // We know more than the list, which is older.
            if !is_new {
                return Ok(());
            }
            difference.done = "written down".into();
        }
        report.add(difference);
        Ok(())
    }
}
