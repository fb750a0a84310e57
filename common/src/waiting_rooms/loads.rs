//! How much there is to do for the API processes: the more buyers they turn away, the fewer visitors
//! are called.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Result;

/// Notes how many buyers a process has turned away since it last said so.
pub async fn report(conn: &mut PgConnection, process: Uuid, turned_away: u64) -> Result<()> {
    sqlx::query!(
        "INSERT INTO api_loads (process, turned_away) VALUES ($1, $2)
         ON CONFLICT (process) DO UPDATE SET reported_at = now(), turned_away = excluded.turned_away",
        process,
        i64::try_from(turned_away).unwrap_or(i64::MAX),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether a process has turned buyers away lately. What processes have said that are gone is
/// forgotten.
pub async fn is_congested(conn: &mut PgConnection) -> Result<bool> {
    let congested = sqlx::query_scalar!(
        r#"WITH gone AS (DELETE FROM api_loads WHERE reported_at < now() - interval '1 minute')
           SELECT EXISTS (SELECT 1 FROM api_loads WHERE turned_away > 0 AND reported_at > now() - interval '5 seconds') AS "congested!""#
    );
    Ok(congested.fetch_one(conn).await?)
}
