//! `nexus-api`: REST and Socket.IO. Start reading at [`router`].

mod admin;
mod answers;
mod app;
mod commands;
mod docs;
mod error;
mod extract;
mod middleware;
mod router;
mod routes;
mod serve;
mod socket;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use nexus_common::{
    config::{self, Env},
    db,
    domain::{
        credentials::Login,
        roles::{self, Role},
    },
    telemetry, traces,
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
    /// Make an account an admin, who may see `/admin`, or an ordinary user again.
    SetRole {
        /// The account's e-mail address or phone number.
        account: String,
        /// Which role.
        #[arg(value_enum)]
        role: RoleName,
    },
    /// Print the OpenAPI document.
    Openapi,
    /// Print the AsyncAPI document.
    Asyncapi,
    /// Say whether `serve` would find every setting it needs, and what is wrong with them.
    CheckConfig,
}

/// The settings are unusable (EX_CONFIG of sysexits.h).
const UNUSABLE_CONFIG: u8 = 78;

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve => run_serve().await,
        Command::Migrate => run_migrate().await,
        Command::SetRole { account, role } => run_set_role(&account, role).await,
        Command::Openapi => print(&docs::OPENAPI),
        Command::Asyncapi => print(&docs::ASYNCAPI),
        Command::CheckConfig => Env::read().load(config::Api::from_env).map_err(Into::into).map(|_| {
            println!("The configuration is usable.");
        }),
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

async fn run_serve() -> anyhow::Result<()> {
    let settings = Env::read().load(config::Api::from_env)?;
    telemetry::init(settings.production);
    if settings.traces {
        traces::start("nexus-api")
            .map_err(|error| anyhow::anyhow!("traces cannot be exported: {}", error.details()))?;
    }
    let served = serve::serve(settings).await;
    traces::stop();
    served
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum RoleName {
    User,
    Admin,
}

async fn run_set_role(account: &str, role: RoleName) -> anyhow::Result<()> {
    let settings = Env::read().load(|env| config::Database::from_env(env, 2))?;
    let login = Login::of(account).context("this is neither an e-mail address nor a phone number")?;
    let role = match role {
        RoleName::User => Role::User,
        RoleName::Admin => Role::Admin,
    };
    let pool = db::pool(&settings, "nexus-api set-role")?;
    let user = roles::set(&mut *pool.acquire().await?, &login, role).await?;
    let user = user.with_context(|| format!("there is no account {account}"))?;
    println!("User {user} is {} now.", role.name());
    Ok(())
}

async fn run_migrate() -> anyhow::Result<()> {
    let settings = Env::read().load(|env| config::Database::from_env(env, 2))?;
    db::migrate(&settings).await?;
    println!("The schema is up to date.");
    Ok(())
}

fn print(document: &serde_json::Value) -> anyhow::Result<()> {
    println!("{document:#}");
    Ok(())
}
