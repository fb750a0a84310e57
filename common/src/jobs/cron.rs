//! Jobs that run by the clock: one per period, however many workers run.

use std::time::Duration;

use sqlx::PgPool;

use super::Job;
use crate::error::Result;

/// Enqueues `job` unless another worker already has in this period. PostgreSQL's clock counts
/// periods from the epoch. True when this call enqueued it; false when the period has its job, or
/// when a live job has its unique key.
pub async fn tick<J: Job>(pool: &PgPool, job: &J, period: Duration) -> Result<bool> {
    let mut tx = pool.begin().await?;
    // The row lets one of several workers through; tick and job commit together, so that a crash
    // here loses neither.
    let first = sqlx::query!(
        "INSERT INTO job_schedule (kind, last_tick)
         VALUES ($1, to_timestamp(floor(extract(epoch FROM now())::float8 / $2::float8) * $2::float8))
         ON CONFLICT (kind) DO UPDATE SET last_tick = EXCLUDED.last_tick WHERE job_schedule.last_tick < EXCLUDED.last_tick",
        J::KIND,
        period.as_secs_f64(),
    )
    .execute(&mut *tx)
    .await?;
    if first.rows_affected() == 0 {
        return Ok(false);
    }
    let enqueued = super::enqueue(&mut tx, job).await?;
    tx.commit().await?;
    Ok(enqueued.is_some())
}
