//! `nexus-api`: REST and Socket.IO. Start reading at [`router`].

mod address;
mod admin;
mod answers;
mod app;
mod commands;
mod connections;
mod docs;
mod error;
mod extract;
mod limits;
mod login;
mod middleware;
mod operator;
mod revocations;
mod router;
mod routes;
mod seat_maps;
mod serve;
mod socket;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nexus_common::{
    config::{self, Env},
    observability::{logs, traces},
    storage::postgres,
};

/// The Nexus API.
#[derive(Parser)]
#[command(version = nexus_common::VERSION)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve REST and Socket.IO until SIGTERM.
    Serve,
    /// Bring the database's schema up to date.
    Migrate,
    #[command(flatten)]
    Operator(operator::Command),
    /// Print the OpenAPI document.
    Openapi,
    /// Print the AsyncAPI document.
    Asyncapi,
    /// Say whether `serve` would find every setting it needs, and what is wrong with them.
    CheckConfig {
        /// Print the variables that `serve` reads instead, with what each is taken for when it is
        /// not set.
        #[arg(long)]
        list: bool,
    },
}

/// The settings are unusable (EX_CONFIG of sysexits.h).
const UNUSABLE_CONFIG: u8 = 78;

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve => run_serve().await,
        Command::Migrate => run_migrate().await,
        Command::Operator(command) => operator::run(command).await,
        Command::Openapi => print(&docs::OPENAPI),
        Command::Asyncapi => print(&docs::ASYNCAPI),
        Command::CheckConfig { list: true } => {
            print!("{}", Env::list(config::Api::from_env));
            Ok(())
        }
        Command::CheckConfig { list: false } => check_config(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nexus-api: {error:#}");
            if error.is::<config::ConfigError>() {
                ExitCode::from(UNUSABLE_CONFIG)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn check_config() -> anyhow::Result<()> {
    let settings = Env::read().load(config::Api::from_env)?;
    for warning in &settings.warnings {
        println!("{warning}");
    }
    println!("The configuration is usable.");
    Ok(())
}

async fn run_serve() -> anyhow::Result<()> {
    let settings = Env::read().load(config::Api::from_env)?;
    logs::init(&settings.sight, &settings.warnings);
    if settings.sight.traces {
        traces::start("nexus-api")
            .map_err(|error| anyhow::anyhow!("traces cannot be exported: {}", error.details()))?;
    }
    let served = serve::serve(settings).await;
    traces::stop();
    served
}

async fn run_migrate() -> anyhow::Result<()> {
    let settings = Env::read().load(|env| config::Database::from_env(env, 2))?;
    postgres::migrate(&settings, |why| eprintln!("nexus-api: the migration waits: {why}")).await?;
    println!("The schema is up to date.");
    Ok(())
}

fn print(document: &serde_json::Value) -> anyhow::Result<()> {
    println!("{document:#}");
    Ok(())
}
