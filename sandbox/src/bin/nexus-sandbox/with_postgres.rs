//! `nexus-sandbox with-postgres`: lends a throwaway database to a command.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use nexus_sandbox::postgres::{Options, Postgres};
use nexus_sandbox::process::{self, Process, Signal};
use nexus_sandbox::scratch;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) async fn run(migrations: Option<PathBuf>, command: &[OsString]) -> Result<ExitCode> {
    // A terminal's Ctrl-C reaches the command as well; this process stays to clean up after it.
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let dir = scratch::directory().join(format!("nexus-with-postgres-{}", std::process::id()));
    let postgres = Postgres::start(&dir, Options::throwaway()).await?;
    if let Some(migrations) = migrations {
        migrate(&postgres, &migrations).await?;
    }
    let (program, arguments) = command.split_first().context("no command given")?;
    let mut command = process::command(program, None, "TERM");
    command.args(arguments).env("DATABASE_URL", postgres.url());
    let mut child = Process::spawn_in_foreground(command)?;
    let status = loop {
        tokio::select! {
            status = child.ended() => break status?,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => child.signal(Signal::TERM),
        }
    };
    // As a shell puts it: 128 and the signal.
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// Every `.sql` file as one script, in the order of their names; each a transaction unless it says
/// that it is none, as sqlx has it.
async fn migrate(postgres: &Postgres, dir: &Path) -> Result<()> {
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut scripts = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    scripts.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    scripts.sort();
    for script in scripts {
        let text = std::fs::read_to_string(&script)
            .with_context(|| format!("cannot read {}", script.display()))?;
        let transaction =
            (!text.starts_with("-- no-transaction")).then_some("--single-transaction");
        let status = Command::new(postgres.binaries().join("psql"))
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1"])
            .args(transaction)
            .arg("-f")
            .arg(&script)
            .arg(postgres.url())
            .status()
            .await
            .context("cannot start psql")?;
        if !status.success() {
            bail!("{} failed", script.display());
        }
    }
    Ok(())
}
