//! A private Redis on a free loopback port.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::identity::Identity;
use crate::ports;
use crate::postgres::{Durability, log_tail};
use crate::process::{self, Process, Signal};

const START_PATIENCE: Duration = Duration::from_secs(10);
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// A private Redis server. Dropping it stops it; a throwaway one takes its directory along.
#[derive(Debug)]
pub struct Redis {
    dir: PathBuf,
    port: u16,
    durability: Durability,
    /// It speaks TLS, and nothing else.
    is_secured: bool,
    process: Option<Process>,
}

impl Redis {
    /// Starts a server whose data and log live under `dir`, on `port` if that is free, else on any.
    pub async fn start(
        dir: impl AsRef<Path>,
        durability: Durability,
        port: Option<u16>,
    ) -> Result<Self> {
        let dir = dir.as_ref().to_owned();
        std::fs::create_dir_all(&dir)
            .with_context(|| format!("cannot create {}", dir.display()))?;
        let mut redis = Self {
            dir: dir.canonicalize()?,
            port: 0,
            durability,
            is_secured: false,
            process: None,
        };
        let mut wanted = port.filter(|port| ports::claim(*port));
        let mut attempts = 5;
        loop {
            redis.port = wanted.take().unwrap_or_else(ports::free);
            match redis.launch().await {
                Ok(()) => return Ok(redis),
                // Another process may have taken the port between the look and the bind.
                Err(_) if attempts > 1 => attempts -= 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// `redis://127.0.0.1:port`, or `rediss://`.
    pub fn url(&self) -> String {
        format!("redis{}://127.0.0.1:{}", if self.is_secured { "s" } else { "" }, self.port)
    }

    /// Restarts it as a server that takes TLS connections only, and proves with `identity` who it
    /// is; or, without one, without TLS.
    pub async fn secure(&mut self, identity: Option<&Identity>) -> Result<()> {
        if let Some(identity) = identity {
            identity.write(&self.dir, None)?;
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

    /// Shuts down in an orderly way; connections are refused until [`Redis::restart`].
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.end(Signal::TERM, STOP_PATIENCE).await?;
        }
        Ok(())
    }

    /// SIGKILL: a throwaway server forgets everything, a durable one keeps its append-only file.
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.end(Signal::KILL, STOP_PATIENCE).await?;
        }
        Ok(())
    }

    /// Stops the server in its tracks: connections stay open and get no answer. Or lets it go on.
    pub fn freeze(&mut self, frozen: bool) {
        if let Some(process) = &mut self.process {
            process.signal(if frozen { Signal::STOP } else { Signal::CONT });
        }
    }

    /// Starts again on the same port, stopping first if it still runs.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.launch().await
    }

    async fn launch(&mut self) -> Result<()> {
        let log_path = self.dir.join("redis.log");
        let log = File::options().create(true).append(true).open(&log_path)?;
        let append_only = if self.durability == Durability::Durable { "yes" } else { "no" };
        let mut command = process::command("redis-server", None, "KILL");
        command
            .args(["--bind", "127.0.0.1", "--daemonize", "no"])
            .args(if self.is_secured {
                ["--port", "0", "--tls-port"]
            } else {
                ["--tls-port", "0", "--port"]
            })
            .arg(self.port.to_string())
            .args(["--save", "", "--appendonly", append_only, "--dir"])
            .arg(&self.dir);
        if self.is_secured {
            // Paths are relative to `--dir`. Clients prove who they are by other means.
            command.args(["--tls-cert-file", "server.crt", "--tls-key-file", "server.key"]);
            command.args(["--tls-auth-clients", "no"]);
        }
        command.stdin(std::process::Stdio::null()).stderr(log.try_clone()?).stdout(log);
        let mut process = Process::spawn(command).context("cannot start redis-server")?;

        let deadline = Instant::now() + START_PATIENCE;
        while !self.answers().await {
            if process.status().is_some() || Instant::now() > deadline {
                bail!("redis-server did not start:\n{}", log_tail(&log_path));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // A stranger's Redis may have answered on this port while ours was failing to bind it.
        if process.status().is_some() {
            bail!("redis-server did not start:\n{}", log_tail(&log_path));
        }
        self.process = Some(process);
        Ok(())
    }

    /// A secured one is asked for no more than a connection.
    async fn answers(&self) -> bool {
        if self.is_secured {
            return TcpStream::connect(("127.0.0.1", self.port)).await.is_ok();
        }
        answers_ping(self.port).await
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let throwaway = self.durability == Durability::Throwaway;
        if let Some(mut process) = self.process.take() {
            process
                .end_blocking(if throwaway { Signal::KILL } else { Signal::TERM }, STOP_PATIENCE);
        }
        if throwaway {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// A plain PING: while Redis still loads its data it answers `-LOADING`.
async fn answers_ping(port: u16) -> bool {
    let ping = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(&answer == b"+PONG\r\n")
    };
    matches!(tokio::time::timeout(Duration::from_secs(1), ping).await, Ok(Ok(true)))
}
