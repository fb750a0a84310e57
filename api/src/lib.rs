//! `nexus-api`: REST and Socket.IO. Start reading at [`router`].

mod account_pages;
mod admin;
mod admission;
mod app;
mod auth;
mod budgets;
mod cli;
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod operations;
mod reads;
mod router;
mod scan_page;
mod seat_maps;
mod server;
mod socketio;
mod spec;
mod waiting_rooms;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nexus_common::{
    config::{self, Env},
    observability::{self, traces},
    storage::postgres,
};

use self::{
    cli::{accounts, ticket_keys, waiting_rooms as rooms},
    spec::Documents,
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
    Operator(accounts::Command),
    /// The keys that sign tickets.
    #[command(subcommand)]
    TicketKeys(ticket_keys::Command),
    /// Let the buyers of an event wait for their turn.
    #[command(subcommand)]
    WaitingRoom(rooms::Command),
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

/// The program `nexus-api`.
#[tokio::main]
pub async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve => run_serve().await,
        Command::Migrate => run_migrate().await,
        Command::Operator(command) => accounts::run(command).await,
        Command::TicketKeys(command) => ticket_keys::run(command).await,
        Command::WaitingRoom(command) => rooms::run(command).await,
        Command::Openapi => print(documents().openapi()),
        Command::Asyncapi => print(documents().asyncapi()),
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
    observability::start("nexus-api", &settings.observability, &settings.warnings)
        .map_err(|error| anyhow::anyhow!("traces cannot be exported: {}", error.details()))?;
    let served = server::run(settings).await;
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

fn documents() -> Documents {
    Documents::new(router::described, socketio::described)
}
