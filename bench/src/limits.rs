//! What the machine, PostgreSQL and Redis can do at most: the same work without a shop around it.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use axum::{Router, routing::get};
use nexus_sandbox::{ports, process::Process};

use crate::{
    cpu::Cpu,
    samples::Samples,
    servers::Servers,
    shop::{
        http::{Connection, Request},
        load::{closed_loop, connections, for_so_long},
    },
};

/// Clients of each measurement.
const CLIENTS: usize = 16;

/// What is measured, in the order of the report.
#[derive(Debug, Default)]
pub struct Limits(Vec<(&'static str, Samples)>);

/// A script of pgbench, and how many seats a transaction takes.
const SCRIPTS: [(&str, &str, f64); 4] = [
    (
        "PostgreSQL: transactions that all change one row",
        "UPDATE bench_hot SET n = n + 1 WHERE id = 1;",
        1.0,
    ),
    (
        "PostgreSQL: seats, inserted in groups of 100, each with one row that all change",
        "BEGIN;\nUPDATE bench_hot SET n = n + 1 WHERE id = 1;\n\
         INSERT INTO bench_rows (label) SELECT 'S' || n FROM generate_series(1, 100) n;\nCOMMIT;",
        100.0,
    ),
    (
        "PostgreSQL: transactions that insert one row",
        "INSERT INTO bench_rows (label) VALUES ('S');",
        1.0,
    ),
    (
        "PostgreSQL: reads of one row by its key",
        "\\set id random(1, 1000)\nSELECT * FROM bench_hot WHERE id = :id;",
        1.0,
    ),
];

impl Limits {
    /// One more round.
    pub async fn measure(&mut self, servers: &Servers, time: Duration) -> Result<()> {
        let tables = "DROP TABLE IF EXISTS bench_hot, bench_rows;
                      CREATE TABLE bench_hot (id INTEGER PRIMARY KEY, n INTEGER NOT NULL) WITH (fillfactor = 50);
                      INSERT INTO bench_hot SELECT id, 0 FROM generate_series(1, 1000) id;
                      CREATE TABLE bench_rows (id SERIAL PRIMARY KEY, label TEXT NOT NULL, at TIMESTAMPTZ NOT NULL DEFAULT now())";
        sqlx::raw_sql(tables).execute(&servers.db).await?;
        for (what, script, seats) in SCRIPTS {
            servers.settle().await?;
            self.add(what, seats * pgbench(servers, script, time)?);
        }
        sqlx::raw_sql("DROP TABLE bench_hot, bench_rows").execute(&servers.db).await?;
        self.add("Redis: SET NX of distinct keys", redis_benchmark(servers)?);
        servers.flush_redis().await?;
        self.add("axum: a route that does nothing", bare_route(time).await?);
        Ok(())
    }

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, what: &'static str, rate: f64) {
        eprintln!("    {what}: {rate:.0}/s");
        match self.0.iter_mut().find(|(known, _)| *known == what) {
            Some((_, samples)) => samples.add(rate),
            None => {
                let mut samples = Samples::default();
                samples.add(rate);
                self.0.push((what, samples));
            }
        }
    }

    /// The table.
    pub fn table(&self) -> String {
        let rows = self.0.iter().map(|(what, rate)| format!("| {what} | {rate} |\n"));
        format!("| {CLIENTS} clients | a second |\n|---|---|\n{}", rows.collect::<String>())
    }
}

fn pgbench(servers: &Servers, script: &str, time: Duration) -> Result<f64> {
    let file = servers.path("script.sql");
    std::fs::write(&file, script)?;
    let output = Command::new(servers.postgres.binaries().join("pgbench"))
        .args(["-n", "-M", "prepared", "-c", &CLIENTS.to_string(), "-j", "1"])
        .args(["-T", &time.as_secs().max(1).to_string(), "-f"])
        .arg(&file)
        .arg(servers.postgres.url())
        .stderr(Stdio::null())
        .output()
        .context("pgbench")?;
    let text = String::from_utf8(output.stdout)?;
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = "));
    let rate = rate.and_then(|rate| rate.split(' ').next()).with_context(|| text.clone())?;
    Ok(rate.parse()?)
}

fn redis_benchmark(servers: &Servers) -> Result<f64> {
    let output = Command::new("redis-benchmark")
        .args(["-p", &servers.redis.port().to_string(), "-c", &CLIENTS.to_string()])
        .args([
            "-n",
            "100000",
            "-r",
            "100000000",
            "--csv",
            "SET",
            "key:__rand_int__",
            "1",
            "PX",
            "600000",
            "NX",
        ])
        .output()
        .context("redis-benchmark")?;
    let text = String::from_utf8(output.stdout)?;
    let last = text.lines().last().unwrap_or_default();
    let rate = last.split(',').nth(1).map(|field| field.trim_matches('"'));
    Ok(rate.with_context(|| text.clone())?.parse()?)
}

/// The argument with which the driver's own binary serves the bare route.
pub const BARE_ROUTE: &str = "bare-route";

async fn bare_route(time: Duration) -> Result<f64> {
    let port = ports::free();
    let mut command = Command::new(std::env::current_exe()?);
    command.args([BARE_ROUTE, &port.to_string()]);
    let mut server = Process::spawn(command)?;
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while Connection::open(port).await.is_err() {
        ensure!(std::time::Instant::now() < deadline, "the bare route is not served");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let request = Request::get("bare", None);
    let work = async |_, connection: &mut Connection| connection.call(&request).await?.success();
    let clients = connections(port, CLIENTS).await?;
    let found = closed_loop(clients, time / 10, for_so_long(time), Cpu::default, work).await?;
    server.end(nexus_sandbox::process::Signal::KILL, Duration::from_secs(5)).await?;
    Ok(found.rate)
}

/// Serves it.
pub async fn serve_bare_route(port: u16) -> Result<()> {
    let router = Router::new().route("/api/v1/bare", get(|| async { "{}" }));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    Ok(axum::serve(listener, router).await?)
}
