//! PostgreSQL and Redis as in production: with fsync, full page writes and synchronous commits, and
//! an append-only file that is synced every second. All systems that are measured use the same two.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};
use nexus_common::{config, storage::postgres};
use nexus_sandbox::{
    postgres::{Durability, Options, Postgres},
    process,
    redis::Redis,
};
use sqlx::{PgPool, postgres::PgPoolOptions};

/// The two servers, and where their clients write their logs. Gone when dropped.
#[derive(Debug)]
pub struct Servers {
    pub postgres: Postgres,
    pub redis: Redis,
    /// The driver's connections.
    pub db: PgPool,
    /// Last, so that the servers have ended when it goes.
    dir: Dir,
}

#[derive(Debug)]
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Servers {
    /// Starts them below `dir`, which is emptied first, and makes the schema of the driver's own
    /// release.
    pub async fn start(dir: &Path) -> Result<Self> {
        let servers = Self::empty(dir).await?;
        postgres::migrate(&config::Database::at(servers.postgres.url().parse()?, 2), |_| ())
            .await?;
        Ok(servers)
    }

    /// The same without a schema.
    pub async fn empty(dir: &Path) -> Result<Self> {
        // HTTP clients insist on a TLS provider even though they only ever talk to loopback.
        let _ = rustls::crypto::ring::default_provider().install_default();
        if dir.exists() {
            std::fs::remove_dir_all(dir)?;
        }
        std::fs::create_dir_all(dir)?;
        let dir = Dir(dir.canonicalize()?);
        let postgres = Postgres::start(dir.0.join("postgres"), Options::durable()).await?;
        let redis = Redis::start(dir.0.join("redis"), Durability::Durable, None).await?;
        let db = PgPoolOptions::new().max_connections(40).connect(&postgres.url()).await?;
        let servers = Servers { postgres, redis, db, dir };
        for (setting, earnest) in
            [("fsync", "on"), ("synchronous_commit", "on"), ("full_page_writes", "on")]
        {
            let value = servers.setting(setting).await?;
            ensure!(value == earnest, "{setting} is {value}");
        }
        Ok(servers)
    }

    /// A setting of PostgreSQL.
    pub async fn setting(&self, name: &str) -> Result<String> {
        Ok(sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(&self.db).await?)
    }

    /// Writes earlier changes to the disk now, so that no measurement pays for them.
    pub async fn settle(&self) -> Result<()> {
        sqlx::query("CHECKPOINT").execute(&self.db).await?;
        Ok(())
    }

    /// A connection to Redis.
    pub async fn redis_connection(&self) -> Result<redis::aio::MultiplexedConnection> {
        Ok(redis::Client::open(self.redis.url())?.get_multiplexed_async_connection().await?)
    }

    /// Where a database is for those who reach PostgreSQL at that port of this machine.
    pub fn database_url(&self, port: u16, name: &str) -> String {
        let url = nexus_sandbox::postgres::url(port);
        let server = url.rsplit_once('/').map_or("", |(server, _)| server);
        format!("{server}/{name}")
    }

    /// A file of the driver's, gone when it ends.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.0.join(name)
    }

    /// Forgets everything that is in Redis.
    pub async fn flush_redis(&self) -> Result<()> {
        let mut connection = self.redis_connection().await?;
        Ok(redis::cmd("FLUSHALL").query_async(&mut connection).await?)
    }

    /// A command that knows the servers and nothing else, dies with the driver and logs to a file,
    /// as in production.
    pub fn command(&self, program: &Path, log: &str) -> Result<Command> {
        let mut command = process::command(program, None, "KILL");
        let log =
            File::options().create(true).append(true).open(self.path(&format!("{log}.log")))?;
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("NODE_ENV", "production")
            .env("EVENT_CREATION", "users")
            .env("DATABASE_URL", self.postgres.url())
            .env("REDIS_URL", self.redis.url())
            .current_dir(&self.dir.0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(command)
    }
}

/// A script of `bench/node`.
pub fn script(name: &str) -> PathBuf {
    node_dir().join(name)
}

/// Node.js: that of `package.json`, else the one on the PATH.
pub fn node() -> PathBuf {
    let packaged = |arch: &str| node_dir().join(format!("node_modules/node-linux-{arch}/bin/node"));
    ["x64", "arm64"]
        .map(packaged)
        .into_iter()
        .find(|path| path.is_file())
        .unwrap_or_else(|| "node".into())
}

fn node_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("node")
}
