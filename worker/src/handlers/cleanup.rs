//! Handlers of the cleanup queue.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nexus_common::{
    accounts::hints::drop_refresh_tokens,
    books,
    config::{self, Env, Retention, TokenStorage},
    jobs::{
        cleanup::{CheckBooks, CleanUp},
        lifecycle,
    },
    observability::metrics,
    retention::{self, Removed},
};
use sqlx::PgConnection;

use crate::{Attempt, Build, Context, JobFailure};

/// What these handlers need besides the common context.
pub struct Cleanup {
    /// Finished jobs are kept this long, for operators to look at.
    keep_jobs: Duration,
    retention: Retention,
    tokens: TokenStorage,
}

impl Cleanup {
    /// Reads the settings.
    pub fn from_env(env: &mut Env) -> Build<Self> {
        let keep_jobs = config::keep_jobs(env);
        let retention = config::Retention::from_env(env);
        let tokens = TokenStorage::from_env(env);
        Box::new(move || Ok(Cleanup { keep_jobs, retention, tokens }))
    }
}

/// How long one run removes rows before it gives way to other jobs.
const RUN: Duration = Duration::from_secs(10);

/// See [`CleanUp`]. Every statement is bounded and commits by itself, and may be repeated safely.
/// The job comes back until nothing is left to remove.
pub async fn clean_up(
    cx: Arc<Context<Cleanup>>,
    _job: CleanUp,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    let started = Instant::now();
    let mut conn = cx.db.acquire().await?;
    loop {
        let removed = retention::remove_expired(&mut conn, &cx.retention).await?;
        let jobs = lifecycle::prune(&mut conn, cx.keep_jobs).await?;
        let hashed = match cx.tokens {
            TokenStorage::Hashed => hash_tokens(&cx, &mut conn).await?,
            TokenStorage::Raw => 0,
        };
        if removed == Removed::default() && jobs == 0 && hashed == 0 {
            return Ok(());
        }
        tracing::info!(
            sessions = removed.sessions,
            operator_sessions = removed.operator_sessions,
            refresh_tokens = removed.refresh_tokens,
            revoked_tokens = removed.revoked_tokens,
            idempotency_keys = removed.idempotency_keys,
            idempotent_requests = removed.idempotent_requests,
            login_networks = removed.login_networks,
            email_proofs = removed.email_proofs,
            cancellation_notices = removed.cancellation_notices,
            event_notices = removed.event_notices,
            foreign_orders = removed.foreign_orders,
            webhooks = removed.webhooks,
            webhook_bodies = removed.webhook_bodies,
            alerts = removed.alerts,
            dead_messages = removed.dead_messages,
            audit_log = removed.audit_log,
            unpaid_holds = removed.unpaid_holds,
            offers = removed.offers,
            holders = removed.holders,
            visitors = removed.visitors,
            waiting_rooms = removed.waiting_rooms,
            jobs,
            hashed_tokens = hashed,
            "removed what nobody needs any more"
        );
        if started.elapsed() > RUN {
            return Err(JobFailure::Snooze(Duration::ZERO));
        }
    }
}

/// Hashes the tokens that the Node service left behind, and removes from Redis the keys that only
/// that service read.
async fn hash_tokens(cx: &Context<Cleanup>, conn: &mut PgConnection) -> Result<u64, JobFailure> {
    let (refresh_tokens, hashed) = retention::hash_tokens(conn).await?;
    for some in refresh_tokens.chunks(1000) {
        drop_refresh_tokens(&cx.cache, some).await;
    }
    Ok(hashed)
}

/// See [`CheckBooks`].
pub async fn check_books(
    cx: Arc<Context<Cleanup>>,
    _job: CheckBooks,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    let violations = books::violations(&mut *cx.db.acquire().await?).await?;
    metrics::books_checked(violations.len());
    for violation in &violations {
        tracing::error!(
            rule = violation.rule,
            subject = violation.subject,
            found = violation.found,
            "an invariant is broken"
        );
    }
    if violations.is_empty() {
        tracing::info!("the books are in order");
    }
    Ok(())
}
