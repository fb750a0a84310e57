//! The launcher: everything Nexus needs on one machine, in one command.
//!
//! - `run` is what `make run` does: servers, stand-ins, migrations, every process, demo data;
//! - `providers` starts the stand-ins alone;
//! - `with-postgres` lends a throwaway database to another command;
//! - `totp` is an authenticator app;
//! - `clean` forgets what `run` has kept.

mod console;
mod data_folder;
mod demo;
mod providers;
mod run;
mod settings;
mod stop;
mod supervisor;
mod with_postgres;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use data_folder::DataFolder;
use nexus_sandbox::totp;

/// Runs Nexus and what stands in for the outside world on one machine.
#[derive(Parser)]
#[command(name = "nexus-sandbox", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start private PostgreSQL and Redis, the stand-ins, every process of the Procfile, and demo
    /// data.
    ///
    /// Environment: PORT (3000), NEXUS_DATA (.nexus), NEXUS_BIN_DIR, SANDBOX_PORT (PORT + 1),
    /// DATABASE_URL and REDIS_URL to use servers of your own. Any setting of Nexus that is already
    /// set is kept.
    Run,
    /// Start the Razorpay, Twilio and mail stand-ins alone, and print the settings that lead to
    /// them.
    ///
    /// Environment: PORT (of the API that gets the webhooks, 3000), SANDBOX_PORT (PORT + 1),
    /// SMTP_PORT.
    Providers,
    /// Run a command with DATABASE_URL naming a throwaway PostgreSQL; exits as the command does.
    WithPostgres {
        /// Apply every .sql file of this directory first, in the order of their names.
        #[arg(long)]
        migrations: Option<PathBuf>,
        /// The command and its arguments, after `--`.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Print the code that an authenticator app shows now.
    Totp {
        /// What `nexus-api operator-totp` has printed.
        secret: String,
    },
    /// Delete what `run` has kept in NEXUS_DATA, unless it is in use.
    Clean,
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run => run::run().await,
        Command::Providers => providers::run().await,
        Command::WithPostgres { migrations, command } => {
            with_postgres::run(migrations, &command).await
        }
        Command::Totp { secret } => totp::code(&secret).map(|code| {
            println!("{code}");
            ExitCode::SUCCESS
        }),
        Command::Clean => {
            DataFolder::open().and_then(DataFolder::delete).map(|()| ExitCode::SUCCESS)
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("nexus-sandbox: {error:#}");
        ExitCode::FAILURE
    })
}
