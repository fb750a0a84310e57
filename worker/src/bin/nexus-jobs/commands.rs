//! What the commands of `nexus-jobs` do.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};
use nexus_common::{
    audit::{self, Action, Operator, Subject},
    books,
    jobs::{
        JobId, JobState,
        admin::{self, Filter, QueueNow},
    },
    ledger::alerts,
    payments::{
        installation,
        ledger_export::{self, Place, Range},
        story,
    },
    tickets::delivery,
};
use serde_json::json;
use sqlx::PgPool;

use crate::{
    cli::{Chosen, Command, Which},
    tables,
};

/// Alerts that are listed.
const ALERTS: i64 = 200;

/// Carries out a command other than `reconcile`, and returns the text to print.
pub(crate) async fn run(command: Command, db: &PgPool) -> Result<String> {
    match command {
        Command::CheckBooks { json } => check_books(db, json).await,
        Command::Alerts { json } => {
            let open = alerts::open(db, ALERTS).await?;
            Ok(if json { tables::json(&open)? } else { tables::alerts(&open, Utc::now()) })
        }
        Command::Payment { about, json } => {
            let story = story::tell(&mut *db.acquire().await?, &about).await?;
            let story = story.with_context(|| format!("nothing is known of {about}"))?;
            Ok(if json { tables::json(&story)? } else { tables::story(&story) })
        }
        Command::CloseAlert { id } => {
            if !alerts::close(db, id, Operator::CommandLine).await? {
                bail!(
                    "there is no open alert {id} that can be closed; refunds that are held have release-refunds"
                );
            }
            Ok(format!("{id} is closed\n"))
        }
        Command::HoldRefunds => {
            let mut tx = db.begin().await?;
            installation::hold_refunds(&mut tx, "an operator wants it so").await?;
            tx.commit().await?;
            Ok("no refund is asked for until release-refunds\n".into())
        }
        Command::ReleaseRefunds => {
            if !installation::release_refunds(db).await? {
                bail!("refunds are not held");
            }
            Ok("refunds are asked for again\n".into())
        }
        Command::ResendTickets { booking } => {
            let mut tx = db.begin().await?;
            delivery::resend(&mut tx, &booking).await?;
            tx.commit().await?;
            Ok(format!("the tickets of {booking} will be e-mailed\n"))
        }
        Command::List { which, state } => list(db, which, state).await,
        Command::Dead(which) => list(db, which, Some(JobState::Dead)).await,
        Command::Show { id, json } => {
            let job =
                admin::show(db, id).await?.with_context(|| format!("there is no job {id}"))?;
            Ok(if json { tables::json(&job)? } else { tables::job(&job) })
        }
        Command::Retry(Chosen { id: Some(id), .. }) => {
            if !admin::retry(db, id, Operator::CommandLine).await? {
                bail!(
                    "{}",
                    refused(
                        db,
                        id,
                        "only a dead or cancelled job can be retried, while no live job has its unique key"
                    )
                    .await?
                );
            }
            Ok(format!("{id} is due again\n"))
        }
        Command::Retry(Chosen { kind: Some(kind), .. }) => {
            match admin::retry_all(db, &kind, Operator::CommandLine).await? {
                0 => bail!("there is no dead job of kind {kind} that can be retried"),
                retried => Ok(format!("{retried} jobs are due again\n")),
            }
        }
        Command::Discard(Chosen { id: Some(id), .. }) => {
            if !admin::discard(db, id, Operator::CommandLine).await? {
                bail!(
                    "{}",
                    refused(db, id, "only a job that has not started or is dead can be discarded")
                        .await?
                );
            }
            Ok(format!("{id} is cancelled\n"))
        }
        Command::Discard(Chosen { kind: Some(kind), .. }) => {
            match admin::discard_all(db, &kind, Operator::CommandLine).await? {
                0 => bail!("there is no dead job of kind {kind}"),
                discarded => Ok(format!("{discarded} jobs are cancelled\n")),
            }
        }
        Command::Retry(_) | Command::Discard(_) => {
            bail!("name a job, or --all and a --kind")
        }
        Command::Audit { since } => export_audit(db, Utc::now() - since).await,
        Command::Ledger { from, to } => export_ledger(db, from.as_deref(), to.as_deref()).await,
        Command::Reconcile { .. } | Command::ListConfig => bail!("the settings are missing"),
        Command::Watch { every, looks } => watch(db, every, looks).await,
        Command::Stats { json } => {
            let stats = admin::stats(db).await?;
            Ok(if json { tables::json(&stats)? } else { tables::stats(&stats, Utc::now()) })
        }
    }
}

/// Prints the queues again and again, on a terminal over the last table.
async fn watch(db: &PgPool, every: u64, looks: Option<u64>) -> Result<String> {
    let mut out = io::stdout();
    let clear = if out.is_terminal() { "\x1b[H\x1b[2J" } else { "" };
    let mut before: Option<Vec<QueueNow>> = None;
    for look in 1.. {
        let now = admin::queues(db).await?;
        let table = tables::queues(&now, before.as_deref(), every);
        let time = Utc::now().format("%H:%M:%S");
        if writeln!(out, "{clear}{time} UTC, every {every} s\n\n{table}")
            .and_then(|()| out.flush())
            .is_err()
        {
            break;
        }
        if looks == Some(look) {
            break;
        }
        before = Some(now);
        tokio::time::sleep(Duration::from_secs(every)).await;
    }
    Ok(String::new())
}

/// Prints the audit log.
async fn export_audit(db: &PgPool, since: DateTime<Utc>) -> Result<String> {
    let mut conn = db.acquire().await?;
    let installation = Subject::installation();
    audit::record(&mut conn, Action::AuditExported, None, installation, json!({})).await?;
    let mut out = io::stdout();
    let mut printed = out.write_all(audit::HEADER.as_bytes());
    let mut after = (since, 0);
    while printed.is_ok()
        && let Some((lines, last)) = audit::page(&mut conn, after).await?
    {
        printed = out.write_all(lines.as_bytes());
        after = last;
    }
    // A reader that has seen enough is not a failure.
    Ok(String::new())
}

/// How long an export waits for rows that are still being written.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(5);

/// Prints the ledger, once no further row can be dated in the period if that is over.
async fn export_ledger(db: &PgPool, from: Option<&str>, to: Option<&str>) -> Result<String> {
    let range = Range::parse(from, to)?;
    let mut conn = db.acquire().await?;
    if let Some(barrier) = ledger_export::barrier(&mut conn, range).await? {
        let give_up_at = Instant::now() + CLOSING_TIMEOUT;
        while !ledger_export::is_past(&mut conn, &barrier).await? {
            if Instant::now() >= give_up_at {
                bail!(nexus_common::Error::LedgerPeriodOpen);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let installation = Subject::installation();
    audit::record(&mut conn, Action::LedgerExported, None, installation, json!({})).await?;
    let mut out = io::stdout();
    let mut printed = out.write_all(ledger_export::HEADER.as_bytes());
    let mut after = Place::first(range);
    while printed.is_ok()
        && let Some((lines, last)) = ledger_export::page(&mut conn, range, after).await?
    {
        printed = out.write_all(lines.as_bytes());
        after = last;
    }
    Ok(String::new())
}

async fn list(db: &PgPool, which: Which, state: Option<JobState>) -> Result<String> {
    let filter = Filter { queue: which.queue, kind: which.kind, state, limit: which.limit };
    let jobs = admin::list(db, &filter).await?;
    Ok(if which.json { tables::json(&jobs)? } else { tables::jobs(&jobs, Utc::now()) })
}

/// Lists the broken invariants, and fails if there are any.
async fn check_books(db: &PgPool, json: bool) -> Result<String> {
    let violations = books::violations(&mut *db.acquire().await?).await?;
    let text = if json { tables::json(&violations)? } else { tables::violations(&violations) };
    if violations.is_empty() {
        return Ok(text);
    }
    let _ = io::stdout().write_all(text.as_bytes());
    bail!("{} invariants are broken", violations.len())
}

/// Why a job was left as it is.
async fn refused(db: &PgPool, id: JobId, rule: &str) -> Result<String> {
    Ok(match admin::show(db, id).await? {
        None => format!("there is no job {id}"),
        Some(job) => format!("{id} is {}; {rule}", job.state),
    })
}
