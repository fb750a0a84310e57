//! `nexus-jobs`, the operator's command line: inspect the job ledger, retry or discard dead
//! letters, see the payments that need attention, check the books, and compare them with Razorpay.
//! It needs DATABASE_URL only; the comparison with Razorpay also needs Razorpay's settings.

mod cli;
mod commands;
mod tables;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;
use clap::Parser;
use nexus_common::{
    config::{Database, Env},
    storage::postgres,
};
use nexus_worker::reconciler::{
    Mode,
    manual::{self, Settings},
};

use self::cli::{Cli, Command};

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
            // A reader that has seen enough (`| head`) is not a failure.
            let _ = io::stdout().write_all(text.as_bytes());
            code
        }
        Err(error) => {
            // The outermost message of this error is meant for API clients.
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
            _ => Mode::Manual,
        };
        let report = manual::reconcile(&db, settings, *since, mode).await?;
        let text = if *json { tables::json(&report)? } else { tables::report(&report) };
        let code =
            if report.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        return Ok((text, code));
    }
    Ok((commands::run(command, &db).await?, ExitCode::SUCCESS))
}
