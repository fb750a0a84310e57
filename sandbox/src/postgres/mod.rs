//! A private PostgreSQL cluster on a free loopback port: start, stop, kill, restart.
//!
//! How a cluster comes into being (initdb, templates, the account it runs under) is in `cluster`.

mod cluster;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::identity::Identity;
use crate::ports;
use crate::process::{self, Account, Process, Signal};

const START_PATIENCE: Duration = Duration::from_secs(30);
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// Whether the data is worth keeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Survives crashes and restarts; the directory stays.
    Durable,
    /// As fast as possible; the directory goes when the server is dropped.
    Throwaway,
}

/// How to start a cluster.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether the data is worth keeping.
    pub durability: Durability,
    /// Preferred port; another one is taken when it is in use.
    pub port: Option<u16>,
    /// A cluster saved by [`Postgres::save_as`] to begin from, instead of an empty one.
    pub template: Option<PathBuf>,
}

impl Options {
    /// For data that is kept.
    pub fn durable() -> Self {
        Self { durability: Durability::Durable, port: None, template: None }
    }

    /// For one test.
    pub fn throwaway() -> Self {
        Self { durability: Durability::Throwaway, port: None, template: None }
    }
}

/// A private PostgreSQL server, with a database and a superuser both named `nexus`. Dropping it
/// stops it; a throwaway one takes its directory along.
#[derive(Debug)]
pub struct Postgres {
    dir: PathBuf,
    port: u16,
    durability: Durability,
    binaries: PathBuf,
    account: Option<Account>,
    /// It speaks TLS, and nothing else.
    is_secured: bool,
    process: Option<Process>,
}

impl Postgres {
    /// Starts a cluster whose data and log live under `dir`. One that is already there is used as
    /// it is.
    pub async fn start(dir: impl AsRef<Path>, options: Options) -> Result<Self> {
        let dir = dir.as_ref().to_owned();
        std::fs::create_dir_all(&dir)
            .with_context(|| format!("cannot create {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let data = dir.join("data");
        let (binaries, account) = tokio::task::spawn_blocking(move || -> Result<_> {
            let binaries = cluster::binaries()?;
            let account = cluster::prepare(&binaries, &data, options.template.as_deref())?;
            Ok((binaries, account))
        })
        .await??;

        let durability = options.durability;
        let mut postgres =
            Self { dir, port: 0, durability, binaries, account, is_secured: false, process: None };
        let mut wanted = options.port.filter(|port| ports::claim(*port));
        let mut attempts = 5;
        loop {
            postgres.port = wanted.take().unwrap_or_else(ports::free);
            match postgres.launch().await {
                Ok(()) => return Ok(postgres),
                // The port was taken between the look and the bind, or the server of a launcher
                // that was killed a moment ago is still shutting down.
                Err(_) if attempts > 1 => attempts -= 1,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// `postgres://nexus@127.0.0.1:port/nexus`; with TLS the client does not check the certificate.
    pub fn url(&self) -> String {
        format!("{}{}", url(self.port), if self.is_secured { "?sslmode=require" } else { "" })
    }

    /// Restarts it as a server that takes TLS connections only, and proves with `identity` who it
    /// is; or, without one, as a server that takes any and has no TLS.
    pub async fn secure(&mut self, identity: Option<&Identity>) -> Result<()> {
        self.stop().await?;
        let access =
            if identity.is_some() { "hostssl all all all trust" } else { "host all all all trust" };
        std::fs::write(self.data().join("pg_hba.conf"), format!("{access}\n"))?;
        if let Some(identity) = identity {
            identity.write(&self.data(), self.account)?;
        }
        self.is_secured = identity.is_some();
        self.restart().await
    }

    /// The port, the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process id while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Where `psql` and its companions live.
    pub fn binaries(&self) -> &Path {
        &self.binaries
    }

    /// Fast shutdown: connections are closed, nothing committed is lost, and connecting is refused
    /// until [`Postgres::restart`].
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.end(Signal::INT, STOP_PATIENCE).await?;
        }
        Ok(())
    }

    /// SIGKILL to the server and to every backend.
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill_with_children().await?;
        }
        Ok(())
    }

    /// Stops the server and every backend in their tracks: connections stay open and get no answer.
    /// Or lets them go on.
    pub fn freeze(&mut self, frozen: bool) {
        if let Some(process) = &mut self.process {
            process.signal_with_children(if frozen { Signal::STOP } else { Signal::CONT });
        }
    }

    /// Starts again on the same port, stopping first if it still runs.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            match self.launch().await {
                // After a kill, the shared memory stays in use until the last backend is gone.
                Err(_) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await
                }
                result => return result,
            }
        }
    }

    /// Stops the server and saves its cluster, for instance after migrating, as a template for
    /// later ones.
    pub async fn save_as(&mut self, template: impl AsRef<Path>) -> Result<()> {
        self.stop().await?;
        let (data, template) = (self.data(), template.as_ref().to_owned());
        tokio::task::spawn_blocking(move || cluster::copy(&data, &template)).await?
    }

    /// Where the cluster is.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("postgres.log")
    }

    async fn launch(&mut self) -> Result<()> {
        let mut command = process::command(self.binaries.join("postgres"), self.account, "QUIT");
        if self.account.is_some() {
            // The other account may not be allowed to walk the path down to the data (a checkout
            // under /root, say). An open handle on the directory needs no walking, and standard
            // input is one that is passed on.
            command
                .args(["-D", "/proc/self/fd/0"])
                .stdin(File::open(self.data())?)
                .current_dir("/");
        } else {
            command.arg("-D").arg(self.data()).stdin(Stdio::null());
        }
        command.args(["-p", &self.port.to_string()]);
        if self.is_secured {
            command.args(["-c", "ssl=on"]);
        }
        for setting in settings(self.durability) {
            command.args(["-c", setting]);
        }
        let log = File::options().create(true).append(true).open(self.log())?;
        command.stderr(log.try_clone()?).stdout(log);
        let mut process = Process::spawn(command).context("cannot start postgres")?;

        let deadline = Instant::now() + START_PATIENCE;
        while !is_ready(&self.data(), process.id()) {
            if process.status().is_some() || Instant::now() > deadline {
                bail!("PostgreSQL did not start:\n{}", log_tail(&self.log()));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.process = Some(process);
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let throwaway = self.durability == Durability::Throwaway;
        self.freeze(false);
        if let Some(mut process) = self.process.take() {
            // Immediate shutdown rather than SIGKILL: it gives the shared memory back.
            process.end_blocking(if throwaway { Signal::QUIT } else { Signal::INT }, STOP_PATIENCE);
        }
        if throwaway {
            cluster::release_shared_memory(&self.data());
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// The address of a private cluster on `port`.
pub fn url(port: u16) -> String {
    format!("postgres://nexus@127.0.0.1:{port}/nexus")
}

fn settings(durability: Durability) -> impl Iterator<Item = &'static str> {
    let common = [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=200",
        "timezone=UTC",
        "log_timezone=UTC",
        "jit=off",
    ];
    // Commits stay synchronous and pages whole: `kill` is meant to show what a crash loses, which
    // is nothing committed. Without fsync that costs next to nothing.
    let throwaway: &[&str] = &[
        "fsync=off",
        "shared_buffers=32MB",
        "wal_level=minimal",
        "max_wal_senders=0",
        "max_wal_size=256MB",
        // Among the files, so that it goes with them although the server is killed.
        "dynamic_shared_memory_type=mmap",
    ];
    let extra = if durability == Durability::Throwaway { throwaway } else { &[] };
    common.into_iter().chain(extra.iter().copied())
}

/// The server writes its state into the eighth line of `postmaster.pid`; `pg_ctl --wait` reads the
/// same.
fn is_ready(data: &Path, process: u32) -> bool {
    let Ok(text) = std::fs::read_to_string(data.join("postmaster.pid")) else { return false };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.first() == Some(&process.to_string().as_str()) && lines.get(7) == Some(&"ready")
}

/// The end of a server's log, for an error message.
pub(crate) fn log_tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
