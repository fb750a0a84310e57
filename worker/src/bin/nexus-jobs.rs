//! `nexus-jobs`, the operator's command line: look into the job ledger, retry dead letters, discard
//! what has no use any more; see payments that are not as they should be, whether the books are in
//! order, and whether Razorpay agrees with them. It needs DATABASE_URL only; the comparison with
//! Razorpay also needs its settings.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use chrono::Utc;
use clap::{Args, Parser, Subcommand, builder::PossibleValuesParser};
use nexus_common::{
    books,
    config::{Database, Env},
    jobs::{
        JobId, Queue,
        admin::{self, Filter, QueueNow},
    },
    ledger::alerts,
    payments::{installation, story},
    storage::postgres,
    tickets::delivery,
};
use nexus_worker::{
    operator,
    reconciler::{
        Mode,
        by_hand::{self, Settings},
    },
};
use sqlx::PgPool;

/// Alerts that are listed.
const ALERTS: i64 = 200;

/// Look into the job ledger, retry dead jobs, discard jobs; check the books, reconcile payments.
#[derive(Parser)]
#[command(name = "nexus-jobs", version = nexus_common::VERSION)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The newest jobs.
    List {
        #[command(flatten)]
        which: Which,
        /// Only jobs in this state.
        #[arg(long, value_parser = PossibleValuesParser::new(["pending", "queued", "running", "done", "dead", "cancelled"]))]
        state: Option<String>,
    },
    /// The newest dead jobs.
    Dead(Which),
    /// Everything about one job: payload, attempts, errors.
    Show {
        /// The job.
        id: JobId,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make dead or cancelled jobs due again, with all their attempts before them.
    #[command(arg_required_else_help = true)]
    Retry {
        /// The job.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<JobId>,
        /// Every dead job of a kind.
        #[arg(long, requires = "kind")]
        all: bool,
        /// The kind.
        #[arg(long, requires = "all")]
        kind: Option<String>,
    },
    /// Cancel a job that has not started, or is dead.
    #[command(arg_required_else_help = true)]
    Discard {
        /// The job.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<JobId>,
        /// Every dead job of a kind.
        #[arg(long, requires = "kind")]
        all: bool,
        /// The kind.
        #[arg(long, requires = "all")]
        kind: Option<String>,
    },
    /// E-mail a booking's tickets again, to the address that its buyer has now (`nexus-api
    /// set-email`).
    ResendTickets {
        /// The booking's reference: BKG-….
        booking: String,
    },
    /// Payments that somebody has to look at.
    Alerts {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// The story of a payment: order, webhooks, ledger, refund, jobs, alerts.
    #[command(arg_required_else_help = true)]
    Payment {
        /// A payment (pay_…), an order (order_…), a refund (rfnd_…), a dispute (disp_…), a booking
        /// (BKG-… or its number), or what an alert names ("webhook 7").
        about: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// An alert has been dealt with.
    CloseAlert {
        /// The alert.
        id: i64,
    },
    /// Whether every invariant of seats and money holds; fails when one does not.
    CheckBooks {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Ask for no refund until `release-refunds`: before the workers start on books that were
    /// restored from a backup.
    HoldRefunds,
    /// Ask for refunds again.
    ReleaseRefunds,
    /// How many jobs each queue has in each state.
    Stats {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// A live table of the queues, until Ctrl-C.
    Watch {
        /// Seconds between two looks.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
        every: u64,
        /// End after so many looks.
        #[arg(long)]
        looks: Option<u64>,
    },
    /// Print the variables that are read, with what each is taken for when it is not set.
    ListConfig,
    /// Compare payments and refunds with Razorpay's, put right what differs, and print it. Exits
    /// with 1 when something differed.
    Reconcile {
        /// A date, a time, or how long ago: 2031-05-01, 2031-05-01T18:00Z, 3d, 12h, 30m.
        #[arg(long, value_parser = by_hand::since)]
        since: chrono::TimeDelta,
        /// Change nothing, show what would be done.
        #[arg(long)]
        dry_run: bool,
        /// Send back what was paid for bookings that our books have lost.
        #[arg(long, conflicts_with = "dry_run")]
        refund_lost: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
struct Which {
    /// Only jobs of this queue.
    #[arg(long, value_parser = PossibleValuesParser::new(Queue::ALL.map(Queue::name)))]
    queue: Option<String>,
    /// Only jobs of this kind.
    #[arg(long)]
    kind: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=100_000))]
    limit: i64,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, Command::ListConfig) {
        print!("{}", Env::list(|env| (Database::from_env(env, 2), Settings::from_env(env))));
        return ExitCode::SUCCESS;
    }
    let reconciles = matches!(cli.command, Command::Reconcile { .. });
    let load =
        |env: &mut Env| (Database::from_env(env, 2), reconciles.then(|| Settings::from_env(env)));
    let (database, settings) = match Env::read().load(load) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match run(cli.command, &database, settings) {
        Ok((text, code)) => {
            // A reader that has seen enough (`| head`) is no failure.
            let _ = io::stdout().write_all(text.as_bytes());
            code
        }
        Err(error) => {
            // The first words of this one are meant for clients of the API.
            match error.downcast_ref() {
                Some(nexus_common::Error::Unavailable(cause)) => {
                    eprintln!("PostgreSQL cannot be reached: {cause}")
                }
                _ => eprintln!("{error:#}"),
            }
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(
    command: Command,
    database: &Database,
    settings: Option<Settings>,
) -> Result<(String, ExitCode)> {
    let db = postgres::pool(database, "nexus-jobs");
    if let (Command::Reconcile { since, dry_run, refund_lost, json }, Some(settings)) =
        (&command, settings)
    {
        let mode = match (dry_run, refund_lost) {
            (true, _) => Mode::DryRun,
            (_, true) => Mode::RefundLost,
            _ => Mode::ByHand,
        };
        let report = by_hand::reconcile(&db, settings, *since, mode).await?;
        let text = if *json { operator::json(&report)? } else { report.table() };
        let code =
            if report.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        return Ok((text, code));
    }
    Ok((look(command, &db).await?, ExitCode::SUCCESS))
}

async fn look(command: Command, db: &PgPool) -> Result<String> {
    match command {
        Command::CheckBooks { json } => check_books(db, json).await,
        Command::Alerts { json } => {
            let open = alerts::open(db, ALERTS).await?;
            Ok(if json { operator::json(&open)? } else { operator::alerts(&open, Utc::now()) })
        }
        Command::Payment { about, json } => {
            let story = story::tell(&mut *db.acquire().await?, &about).await?;
            let story = story.with_context(|| format!("nothing is known of {about}"))?;
            Ok(if json { operator::json(&story)? } else { operator::story(&story) })
        }
        Command::CloseAlert { id } => {
            if !alerts::close(db, id).await? {
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
        Command::Dead(which) => list(db, which, Some("dead".into())).await,
        Command::Show { id, json } => {
            let job =
                admin::show(db, id).await?.with_context(|| format!("there is no job {id}"))?;
            Ok(if json { operator::json(&job)? } else { operator::job(&job) })
        }
        Command::Retry { id: Some(id), .. } => {
            if !admin::retry(db, id).await? {
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
        Command::Retry { kind: Some(kind), .. } => match admin::retry_all(db, &kind).await? {
            0 => bail!("there is no dead job of kind {kind} that can be retried"),
            retried => Ok(format!("{retried} jobs are due again\n")),
        },
        Command::Discard { id: Some(id), .. } => {
            if !admin::discard(db, id).await? {
                bail!(
                    "{}",
                    refused(db, id, "only a job that has not started or is dead can be discarded")
                        .await?
                );
            }
            Ok(format!("{id} is cancelled\n"))
        }
        Command::Discard { kind: Some(kind), .. } => match admin::discard_all(db, &kind).await? {
            0 => bail!("there is no dead job of kind {kind}"),
            discarded => Ok(format!("{discarded} jobs are cancelled\n")),
        },
        Command::Retry { .. } | Command::Discard { .. } => {
            bail!("name a job, or --all and a --kind")
        }
        Command::Reconcile { .. } | Command::ListConfig => bail!("the settings are missing"),
        Command::Watch { every, looks } => watch(db, every, looks).await,
        Command::Stats { json } => {
            let stats = admin::stats(db).await?;
            Ok(if json { operator::json(&stats)? } else { operator::stats(&stats, Utc::now()) })
        }
    }
}

/// Prints the queues again and again, over the last table when somebody watches on a terminal.
async fn watch(db: &PgPool, every: u64, looks: Option<u64>) -> Result<String> {
    let mut out = io::stdout();
    let clear = if out.is_terminal() { "\x1b[H\x1b[2J" } else { "" };
    let mut before: Option<Vec<QueueNow>> = None;
    for look in 1.. {
        let now = admin::queues(db).await?;
        let table = operator::queues(&now, before.as_deref(), every);
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

async fn list(db: &PgPool, which: Which, state: Option<String>) -> Result<String> {
    let filter = Filter { queue: which.queue, kind: which.kind, state, limit: which.limit };
    let jobs = admin::list(db, &filter).await?;
    Ok(if which.json { operator::json(&jobs)? } else { operator::jobs(&jobs, Utc::now()) })
}

/// Prints what is wrong, and fails then.
async fn check_books(db: &PgPool, json: bool) -> Result<String> {
    let violations = books::violations(&mut *db.acquire().await?).await?;
    let text = if json { operator::json(&violations)? } else { operator::violations(&violations) };
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
