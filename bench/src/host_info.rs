//! Where it was measured, in general terms, and with what.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    samples::{number, percentile},
    servers::{Servers, node, script},
};

/// Looked at before anything is measured.
#[derive(Debug)]
pub struct HostInfo {
    cores: usize,
    /// GiB
    memory: u64,
    kernel: String,
    /// Milliseconds to write 8 kB and have them on the disk.
    sync: f64,
    /// Processes that want a processor, over the last minute.
    load: f64,
    versions: Vec<(String, String)>,
}

impl HostInfo {
    pub async fn look(servers: &Servers, dir: &Path) -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let kilobytes = read("/proc/meminfo")
            .split_whitespace()
            .nth(1)
            .and_then(|memory| memory.parse::<u64>().ok())
            .unwrap_or_default();
        Ok(HostInfo {
            cores: std::thread::available_parallelism()?.get(),
            memory: kilobytes.div_ceil(1 << 20),
            kernel: read("/proc/sys/kernel/osrelease")
                .trim()
                .split('-')
                .next()
                .unwrap_or_default()
                .to_owned(),
            sync: sync(&dir.join("sync"))?,
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or_default(),
            versions: versions(servers).await?,
        })
    }

    /// A few sentences.
    pub fn describe(&self) -> String {
        let versions = self
            .versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect::<Vec<_>>();
        format!(
            "{} cores, {} GiB of memory, Linux {}; writing 8 kB and syncing them takes {} ms. The load average was {} before the first round: \
             with nobody else at work, it is near 0. {}.",
            self.cores,
            self.memory,
            self.kernel,
            number(self.sync),
            number(self.load),
            versions.join(", ")
        )
    }
}

fn sync(path: &Path) -> Result<f64> {
    let mut file = File::create(path)?;
    let mut took = Vec::new();
    for _ in 0..100 {
        let start = Instant::now();
        file.write_all(&[0; 8192])?;
        file.sync_data()?;
        took.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    took.sort_by(f64::total_cmp);
    Ok(percentile(&took, 0.5))
}

async fn versions(servers: &Servers) -> Result<Vec<(String, String)>> {
    let postgres = servers.setting("server_version").await?;
    let info: String = redis::cmd("INFO")
        .arg("server")
        .query_async(&mut servers.redis_connection().await?)
        .await?;
    let redis =
        info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or_default();
    let node = String::from_utf8(Command::new(node()).arg("--version").output()?.stdout)?;
    let mut versions = vec![
        ("Nexus".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("PostgreSQL".to_owned(), postgres.split(' ').next().unwrap_or_default().to_owned()),
        ("Redis".to_owned(), redis.to_owned()),
        ("Node.js".to_owned(), node.trim().trim_start_matches('v').to_owned()),
    ];
    let package: Value = serde_json::from_str(&fs::read_to_string(script("package.json"))?)?;
    for name in ["express", "socket.io", "pg", "ioredis", "bullmq", "graphile-worker"] {
        let version = package["dependencies"][name]
            .as_str()
            .with_context(|| format!("no version of {name}"))?;
        versions.push((name.to_owned(), version.to_owned()));
    }
    Ok(versions)
}
