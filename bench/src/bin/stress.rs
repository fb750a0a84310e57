//! `make bench-stress`: two releases of Nexus in turn, round by round, each on servers of its own;
//! then `bench/STRESS.md`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Parser;
use nexus_bench::{
    host_info::HostInfo,
    measures::stress::{
        DELIVERING, FLUSH, GONE, LOCKING, PAYING, PAYING_BESIDE, ROUND_TRIP, held_event, hot_event,
        old_snapshot, slow_commits,
    },
    release::Release,
    samples::{Samples, number},
    servers::Servers,
    shop::seller::Seller,
};

/// Measures what one event, slow commits, or a dump do to everything else: with an earlier release
/// beside this one.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The earlier release's binaries.
    #[arg(long)]
    before: PathBuf,
    /// Its name in the report.
    #[arg(long)]
    before_name: String,
    /// How often everything is measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where the report goes; printed otherwise.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// The measurements: name, value before and value after.
type Rows = Vec<(String, Samples, Samples)>;

/// Every number of one round, in the order of the report.
async fn measure(dir: &Path, seller: &Seller) -> Result<Vec<(String, f64)>> {
    let servers = Servers::empty(dir).await?;
    let hot = hot_event(&servers, seller).await?;
    let held = held_event(&servers, seller).await?;
    let stored = slow_commits(&servers, seller).await?;
    let beside_dump = old_snapshot(&servers, seller).await?;
    let (round_trip, flush) = (ROUND_TRIP.as_millis(), FLUSH / 1000);
    let found = vec![
        (
            format!(
                "One hot event, {round_trip} ms to PostgreSQL and back: confirmations a second, of {PAYING}"
            ),
            hot.confirmed,
        ),
        (format!("… locks of it a second meanwhile, {LOCKING} clients"), hot.locks.rate),
        ("… p99 of these locks, ms".into(), hot.locks.p99),
        (
            format!(
                "One event held, {PAYING_BESIDE} of its buyers paying: locks of another a second, {LOCKING} clients"
            ),
            held.locks.rate,
        ),
        ("… p99 of those locks, ms".into(), held.locks.p99),
        (
            format!("… until {PAYING_BESIDE} payments of the other are confirmed, ms"),
            held.confirmed_after,
        ),
        (
            format!("Flushes of {flush} ms: webhooks stored a second, {DELIVERING} clients"),
            stored.rate,
        ),
        ("… p99 of these webhooks, ms".into(), stored.p99),
        (
            format!(
                "A dump, and {GONE} jobs that have gone since it began: confirmations a second, of {PAYING}"
            ),
            beside_dump,
        ),
    ];
    found.iter().for_each(|(what, value)| eprintln!("  {what}: {}", number(*value)));
    Ok(found)
}

fn report(rows: &Rows, name: &str, host: &HostInfo, rounds: usize) -> String {
    let mut text = format!(
        "# Under stress\n\n\
         Written by `make bench-stress`: this release beside {name}, in turn, each on a PostgreSQL and a Redis of its own, {rounds} rounds. **Medians**\n\
         (least–most); the ratio is after to before. Compare numbers of one report with each other, not with those of another machine.\n\n\
         {}\n\n\
         | | before | after | ratio |\n|---|---|---|---|\n",
        host.describe()
    );
    for (what, before, after) in rows {
        let ratio = number(after.median() / before.median());
        text += &format!("| {what} | {before} | {after} | {ratio} |\n");
    }
    text + "\nA client that is not answered within 10 s gives up; what does not end is looked at for 25 s. A slow flush is `commit_delay`, for which PostgreSQL\n\
            waits before it writes its log, while it holds the lock that every commit needs.\n"
}

async fn compare(arguments: Arguments) -> Result<()> {
    let own = std::env::current_exe()?;
    let dir = own.ancestors().nth(2).context("no target directory")?.join("nexus-bench-stress");
    let earlier = Seller::Before(Release::at(&arguments.before)?);
    let this = Seller::Nexus(Release::of_driver()?);
    let host = HostInfo::look(&Servers::empty(&dir).await?, &dir).await?;
    let mut rows = Rows::new();
    for round in 1..=arguments.rounds {
        eprintln!("round {round} of {}: before", arguments.rounds);
        let before = measure(&dir, &earlier).await?;
        eprintln!("round {round} of {}: after", arguments.rounds);
        let after = measure(&dir, &this).await?;
        if rows.is_empty() {
            rows = before
                .iter()
                .map(|(what, _)| (what.clone(), Samples::default(), Samples::default()))
                .collect();
        }
        for (row, (before, after)) in rows.iter_mut().zip(before.iter().zip(&after)) {
            row.1.add(before.1);
            row.2.add(after.1);
        }
        let text = report(&rows, &arguments.before_name, &host, round);
        match &arguments.report {
            Some(path) => std::fs::write(path, text).with_context(|| path.display().to_string())?,
            None if round == arguments.rounds => println!("{text}"),
            None => {}
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    match compare(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
