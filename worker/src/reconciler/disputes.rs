//! Disputes of which no webhook told: those of a span of days, and those that have not ended as far as we know.

use chrono::DateTime;
use nexus_common::{
    Result,
    clients::razorpay::{Dispute as Theirs, PAGE, Span},
    domain::{
        after_commit::AfterCommit,
        disputes::{self, Dispute, DisputeStatus},
    },
};

use super::{
    Reconciler, ends_the_look,
    report::{Difference, Report},
};

/// Disputes that one comparison asks about.
const DISPUTES: i64 = 1_000;

impl Reconciler<'_> {
    pub(super) async fn list_disputes(&self, span: Span, report: &mut Report) -> Result<()> {
        for page in 0.. {
            self.pace.turn().await;
            let disputes = self.razorpay.disputes(span, page * PAGE).await?;
            for dispute in &disputes {
                self.dispute(dispute, report).await?;
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
            self.pace.turn().await;
            match self.razorpay.dispute(id).await.map_err(Into::into) {
                Ok(dispute) => self.dispute(&dispute, report).await?,
                Err(error) if ends_the_look(&error) => return Err(error),
                Err(error) => {
                    tracing::error!(dispute_id = id, error = error.details(), "a dispute cannot be compared");
                }
            }
        }
        Ok(())
    }

    async fn dispute(&self, theirs: &Theirs, report: &mut Report) -> Result<()> {
        report.compared += 1;
        let status = DisputeStatus::of(&theirs.status);
        let known = disputes::known(&mut *self.db.acquire().await?, &theirs.id).await?;
        if known == Some(status) || theirs.amount <= 0 {
            return Ok(());
        }
        let nexus = known.map_or_else(|| "unknown".into(), |known| format!("dispute {}", known.name()));
        let mut difference = Difference::of_dispute(theirs, &nexus, "would be written down");
        if !self.dry_run() {
            let told = Dispute {
                id: theirs.id.clone(),
                payment_id: theirs.payment_id.clone(),
                amount_paise: theirs.amount,
                currency: theirs.currency.clone(),
                deducted_paise: theirs.amount_deducted,
                phase: theirs.phase.clone().unwrap_or_else(|| "dispute".into()),
                reason_code: theirs.reason_code.clone().unwrap_or_else(|| "unknown".into()),
                status,
                respond_by: theirs.respond_by.and_then(|at| DateTime::from_timestamp(at, 0)),
            };
            let mut after = AfterCommit::default();
            let mut tx = self.db.begin().await?;
            let news = disputes::follow(&mut tx, &told, &mut after).await?;
            tx.commit().await?;
            self.tell(after).await;
            // We know more than the list, which is older.
            if !news {
                return Ok(());
            }
            difference.done = "written down".into();
        }
        report.add(difference);
        Ok(())
    }
}
