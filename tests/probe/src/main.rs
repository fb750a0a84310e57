//! A worker of the cleanup queue for the tests: its jobs say themselves how they go, so that
//! everything that a handler may do, and everything that may happen to it, can be brought about on
//! purpose. It is built from the public parts of `nexus-worker`, as the real ones are.
//!
//! `nexus-probe` serves the queue (with PROBE_CLOCK, its clock ticks every second); `nexus-probe
//! enqueue JSON` enqueues jobs as an API process would. Two tables, which the tests create, tell
//! what happened: `probe_runs` has a row for each start of a handler, `probe_effects` one for each
//! effect that was committed.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "it fails on purpose, and its mistakes fail a test"
)]

mod enqueue;
mod jobs;

use std::{process::ExitCode, sync::Arc, time::Duration};

use jobs::{Hasty, Patient, Plain, Script, Step, Tick, Urgent};
use nexus_common::{Error, jobs::Queue};
use nexus_worker::{Attempt, Context, JobFailure};
use sqlx::PgPool;
use tokio::time::sleep;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("enqueue") {
        return enqueue::run(arguments);
    }
    nexus_worker::run_worker(
        Queue::Cleanup,
        |_| || Ok(()),
        |worker| {
            let worker = worker
                .on(|cx, Plain(script), attempt| run(cx, script, attempt))
                .on(|cx, Hasty(script), attempt| run(cx, script, attempt))
                .on(|cx, Patient(script), attempt| run(cx, script, attempt))
                .on(|cx, Urgent(script), attempt| run(cx, script, attempt))
                .on(|cx, Tick(script), attempt| run(cx, script, attempt));
            match std::env::var_os("PROBE_CLOCK") {
                Some(_) => worker.every(Duration::from_secs(1), || Tick(Script::of(Step::Done))),
                None => worker,
            }
        },
    )
}

/// One run of a job: notes that it has begun, and takes the step that is next.
async fn run(cx: Arc<Context<()>>, script: Script, attempt: Attempt) -> Result<(), JobFailure> {
    let failure = || Error::invalid("as told");
    let wait = Duration::from_millis;
    match script.steps.get(begin(&cx.db, &attempt).await?).or(script.steps.last()).unwrap() {
        Step::Done => commit(&cx.db, &attempt).await,
        Step::Sleep(milliseconds) => {
            sleep(wait(*milliseconds)).await;
            commit(&cx.db, &attempt).await
        }
        Step::Hold(milliseconds) => {
            let mut tx = cx.db.begin().await?;
            effect(&mut tx, &attempt).await?;
            // It computes: no timer of this runtime can stop it here.
            tokio::task::block_in_place(|| std::thread::sleep(wait(*milliseconds)));
            attempt.lease.complete(&mut tx).await?;
            Ok(tx.commit().await?)
        }
        Step::Retry => Err(failure().into()),
        Step::RetryAfter(milliseconds) => {
            Err(JobFailure::RetryAfter(wait(*milliseconds), failure()))
        }
        Step::Snooze(milliseconds) => Err(JobFailure::Snooze(wait(*milliseconds))),
        Step::Discard => Err(JobFailure::Discard("as told".into())),
        Step::Panic => panic!("as told"),
        Step::Hang => std::future::pending().await,
        Step::Die => std::process::abort(),
        Step::DieBeforeCommit => {
            let mut tx = cx.db.begin().await?;
            effect(&mut tx, &attempt).await?;
            attempt.lease.complete(&mut tx).await?;
            std::process::abort()
        }
        Step::DieAfterCommit => {
            commit(&cx.db, &attempt).await?;
            std::process::abort()
        }
        Step::PanicAfterCommit => {
            commit(&cx.db, &attempt).await?;
            panic!("as told")
        }
    }
}

/// Says how many runs this job has had before.
async fn begin(db: &PgPool, attempt: &Attempt) -> Result<usize, JobFailure> {
    let before: i64 = sqlx::query_scalar(
        "WITH this AS (INSERT INTO probe_runs (job_id, attempt, process) VALUES ($1, $2, $3))
         SELECT count(*) FROM probe_runs WHERE job_id = $1",
    )
    .bind(attempt.job_id)
    .bind(attempt.number)
    .bind(std::process::id() as i32)
    .fetch_one(db)
    .await?;
    Ok(before as usize)
}

async fn effect(conn: &mut sqlx::PgConnection, attempt: &Attempt) -> Result<(), JobFailure> {
    sqlx::query("INSERT INTO probe_effects (job_id) VALUES ($1)")
        .bind(attempt.job_id)
        .execute(conn)
        .await?;
    Ok(())
}

/// The effect and "done", in one transaction.
async fn commit(db: &PgPool, attempt: &Attempt) -> Result<(), JobFailure> {
    let mut tx = db.begin().await?;
    effect(&mut tx, attempt).await?;
    attempt.lease.complete(&mut tx).await?;
    Ok(tx.commit().await?)
}
