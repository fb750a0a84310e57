//! Handlers of the cleanup queue.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nexus_common::{
    config::{self, Env},
    domain::{
        books,
        upkeep::{self, Removed},
    },
    jobs::{
        cleanup::{CheckBooks, CleanUp},
        ledger,
    },
    metrics,
};

use crate::{Attempt, Build, Context, Failure};

/// What these handlers need beside the common context.
pub struct Cleanup {
    /// Finished jobs are kept this long, for operators to look at.
    keep_jobs: Duration,
}

impl Cleanup {
    /// Reads the settings.
    pub fn from_env(env: &mut Env) -> Build<Self> {
        let keep_jobs = config::keep_jobs(env);
        Box::new(move || Ok(Cleanup { keep_jobs }))
    }
}

/// A run removes for so long; then other jobs have their turn before the next one.
const RUN: Duration = Duration::from_secs(10);

/// See [`CleanUp`]. Every statement is bounded and commits by itself; repeating them does no harm. It goes on until nothing is left, however
/// much there is.
pub async fn clean_up(cx: Arc<Context<Cleanup>>, _job: CleanUp, _attempt: Attempt) -> Result<(), Failure> {
    let started = Instant::now();
    let mut conn = cx.db.acquire().await?;
    loop {
        let removed = upkeep::remove_expired(&mut conn).await?;
        let jobs = ledger::prune(&mut conn, cx.keep_jobs).await?;
        if removed == Removed::default() && jobs == 0 {
            return Ok(());
        }
        tracing::info!(
            refresh_tokens = removed.refresh_tokens,
            revoked_tokens = removed.revoked_tokens,
            idempotency_keys = removed.idempotency_keys,
            idempotent_requests = removed.idempotent_requests,
            login_networks = removed.login_networks,
            jobs,
            "removed what nobody needs any more"
        );
        if started.elapsed() > RUN {
            return Err(Failure::Snooze(Duration::ZERO));
        }
    }
}

/// See [`CheckBooks`].
pub async fn check_books(
    cx: Arc<Context<Cleanup>>,
    _job: CheckBooks,
    _attempt: Attempt,
) -> Result<(), Failure> {
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
