//! What every relay does once a second: makes jobs due again that the transport has lost or whose
//! worker has vanished, and makes dead letters of those that have no attempt left.

use nexus_common::{
    Result,
    jobs::lifecycle::{self, Rescued, Vanished},
    observability::metrics,
};

use super::Relay;
use crate::dead_letters;

impl<T> Relay<T> {
    pub(super) async fn rescue(&self) -> Result<()> {
        if !lifecycle::is_any_lost(&self.db, self.queue, self.lost_after).await? {
            return Ok(());
        }
        let rescued =
            lifecycle::rescue(&mut *self.db.acquire().await?, self.queue, self.lost_after).await?;
        if rescued.lost > 0 {
            self.signal.back();
        }
        self.report(&rescued);
        // One at a time: an alert that waits for a lock delays the death of its own job only.
        loop {
            let mut tx = self.db.begin().await?;
            let Some(dead) = lifecycle::bury(&mut tx, self.queue).await? else { return Ok(()) };
            let Vanished { job_id, kind, payload, error, .. } = &dead;
            dead_letters::alert_operators(&mut tx, *job_id, kind, payload, error).await?;
            tx.commit().await?;
            self.report(&Rescued { lost: 0, vanished: vec![dead] });
        }
    }

    fn report(&self, rescued: &Rescued) {
        metrics::rescued(self.queue, rescued.lost + rescued.vanished.len() as u64);
        if rescued.lost > 0 {
            tracing::info!(
                lost = rescued.lost,
                "jobs waited in Redis for long, or were lost there; they are due again"
            );
        }
        for Vanished { job_id, kind, attempt, max_attempts: max, error, dead, .. } in
            &rescued.vanished
        {
            if *dead {
                tracing::error!(kind, %job_id, attempt, max, outcome = "dead", error, "job is dead");
            } else {
                tracing::warn!(kind, %job_id, attempt, max, outcome = "vanished", error, "job failed and will be tried again");
            }
        }
    }
}
