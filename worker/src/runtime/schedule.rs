//! The worker's clock: enqueues what the queue's binary schedules. PostgreSQL decides which of
//! several workers does it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use nexus_common::{storage::postgres::bounded, types::backoff::Backoff};
use sqlx::PgPool;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::registry::Scheduled;

/// Keeps time for every scheduled job until the worker stops.
pub(super) fn start(
    schedule: Vec<Scheduled>,
    db: &PgPool,
    stop: &CancellationToken,
) -> tokio::task::JoinHandle<()> {
    let (db, stop) = (db.clone(), stop.clone());
    tokio::spawn(async move {
        let clocks = join_all(schedule.iter().map(|scheduled| keep(scheduled, &db)));
        tokio::select! {
            _ = clocks => {}
            () = stop.cancelled() => {}
        }
    })
}

async fn keep(scheduled: &Scheduled, db: &PgPool) {
    let mut waits = Backoff::default();
    loop {
        let wait = match bounded((scheduled.enqueue)(db.clone())).await {
            Ok(enqueued) => {
                waits.reset();
                tracing::debug!(kind = scheduled.kind, enqueued, "tick");
                match scheduled.period {
                    Some(period) => until_next(period),
                    None => return,
                }
            }
            Err(error) => {
                tracing::debug!(
                    kind = scheduled.kind,
                    error = error.details(),
                    "a tick failed; trying again"
                );
                waits.next_wait()
            }
        };
        sleep(wait).await;
    }
}

/// The time to the start of the next period, but at most a quarter of one: PostgreSQL's clock
/// decides, and may differ from ours.
fn until_next(period: Duration) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let into = now.as_nanos() % period.as_nanos().max(1);
    let left = period.saturating_sub(Duration::from_nanos(u64::try_from(into).unwrap_or_default()));
    (left + Duration::from_millis(5)).min(period / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_looks_at_least_four_times_a_period() {
        let period = Duration::from_secs(60);
        let wait = until_next(period);
        assert!(!wait.is_zero() && wait <= period / 4);
    }
}
