//! Networks from which seats have been held for long and not paid for: an account may hold few seats
//! from there, and for less time (docs/limits.md#unpaid-seats). So more accounts do not bring as much
//! more, and nobody is refused for what strangers alone have done: thousands may share a network.
//!
//! PostgreSQL adds up what has ended. What is held now, the accounts' own limits bound.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock, Weak},
    time::{Duration, Instant},
};

use sqlx::PgPool;
use tokio::time::sleep;

use crate::{config::Unpaid, error::Result, storage::postgres::bounded, types::ids::NetworkHash};

type Known = RwLock<HashSet<NetworkHash>>;

/// Those that this process knows, a few seconds old. Cheap to clone.
#[derive(Clone)]
pub(super) struct SpentNetworks(Arc<Known>);

/// Between two looks: so many times as long as a look takes, which reads all that has ended unpaid
/// in a day, a quarter of a second for a million rows; but within these bounds.
const REST: u32 = 200;
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(120);

impl SpentNetworks {
    /// Looks again and again, for as long as somebody has it. Call it inside the runtime.
    pub(super) fn follow(db: PgPool, limits: Unpaid) -> Self {
        let known = Arc::default();
        if limits.network_minutes < u32::MAX {
            tokio::spawn(look_again(db, limits.network_minutes, Arc::downgrade(&known)));
        }
        SpentNetworks(known)
    }

    pub(super) fn contain(&self, network: NetworkHash) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&network)
    }
}

async fn look_again(db: PgPool, most_minutes: u32, known: Weak<Known>) {
    let mut is_failing = false;
    loop {
        let looked = bounded(look(&db, most_minutes)).await;
        let Some(known) = known.upgrade() else { return };
        let wait = match looked {
            Ok((spent, took)) => {
                is_failing = false;
                let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
                if !spent.is_subset(&known) {
                    let networks = spent.len();
                    tracing::warn!(networks, "one more network has held seats unpaid for too long");
                }
                *known = spent;
                (took * REST).clamp(SHORTEST, LONGEST)
            }
            // What was known stays.
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(error = error.details(), "unpaid seats of networks are unknown");
                }
                LONGEST
            }
        };
        drop(known);
        sleep(wait).await;
    }
}

/// Also says how long PostgreSQL took.
async fn look(db: &PgPool, most_minutes: u32) -> Result<(HashSet<NetworkHash>, Duration)> {
    let mut conn = db.acquire().await?;
    let began = Instant::now();
    let networks = sqlx::query_scalar!(
        r#"SELECT network AS "network!: NetworkHash" FROM unpaid_holds
           WHERE ended_at > statement_timestamp() - interval '1 day' AND network IS NOT NULL
           GROUP BY network HAVING sum(held_seconds) >= $1::bigint"#,
        60 * i64::from(most_minutes),
    );
    let networks = networks.fetch_all(&mut *conn).await?.into_iter().collect();
    Ok((networks, began.elapsed()))
}
