//! `make bench`: every system in turn, round by round, on the same servers; then `bench/REPORT.md`.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use nexus_bench::{
    contenders::{Bullmq, Contender, Enqueuing, Graphile, Nexus, Setup, Work},
    host_info::HostInfo,
    hub::Hub,
    measures::{drain::drain, latency::latency, shop::Shop},
    report,
    results::Results,
    servers::Servers,
};
use serde_json::json;

/// Measures Nexus beside graphile-worker and BullMQ, on PostgreSQL and Redis servers of its own.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// How often everything is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only this; may be repeated.
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Where the report goes; printed otherwise.
    #[arg(long)]
    report: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Jobs enqueued per second.
    Enqueue,
    /// Jobs run per second.
    Drain,
    /// From commit to start.
    Latency,
    /// Seats and webhooks.
    Shop,
}

/// How jobs are enqueued: name, transactions at once, jobs in each.
const ENQUEUING: [(&str, usize, usize); 3] =
    [("1 × 1", 1, 1), ("16 × 1", 16, 1), ("4 × 100", 4, 100)];
const ENQUEUE_FOR: Duration = Duration::from_secs(1);
const PROBES: u64 = 200;
const LOCK_FOR: Duration = Duration::from_secs(2);
const DELIVER_FOR: Duration = Duration::from_secs(4);

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let wants = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    // target/nexus-bench: on a disk, which a temporary directory need not be.
    let own = std::env::current_exe()?;
    let dir = own.ancestors().nth(2).context("no target directory")?.join("nexus-bench");
    let servers = Servers::start(&dir).await?;
    let host = HostInfo::look(&servers, &dir).await?;
    let mut bench = Bench::new(&servers).await?;
    for round in 1..=arguments.rounds {
        eprintln!("round {round} of {}", arguments.rounds);
        if wants(Part::Enqueue) {
            bench.enqueue().await?;
        }
        if wants(Part::Drain) {
            bench.drain().await?;
        }
        if wants(Part::Latency) {
            bench.latency().await?;
        }
        if wants(Part::Shop) {
            bench.shop().await?;
        }
        // After every round, so that an interrupted run keeps what has been measured.
        let text = report::write(&bench.results, &host, round);
        match &arguments.report {
            Some(path) => std::fs::write(path, text).with_context(|| path.display().to_string())?,
            None if round == arguments.rounds => println!("{text}"),
            None => {}
        }
    }
    Ok(())
}

struct Bench<'a> {
    servers: &'a Servers,
    hub: Hub,
    nexus: Nexus,
    graphile: Graphile,
    bullmq: Bullmq,
    results: Results,
}

fn setup(name: &'static str, settings: serde_json::Value, jobs: usize) -> Setup {
    Setup { name, settings, jobs }
}

impl<'a> Bench<'a> {
    async fn new(servers: &'a Servers) -> Result<Self> {
        let hub = Hub::open()?;
        Ok(Bench {
            servers,
            nexus: Nexus::new(servers).await?,
            graphile: Graphile::new(servers).await?,
            bullmq: Bullmq::new(servers, &hub).await?,
            hub,
            results: Results::default(),
        })
    }

    async fn enqueue(&mut self) -> Result<()> {
        for (name, parallel, batch) in ENQUEUING {
            let how = Enqueuing { time: ENQUEUE_FOR, parallel, batch };
            enqueue(&mut self.nexus, self.servers, &mut self.results, name, how).await?;
            enqueue(&mut self.graphile, self.servers, &mut self.results, name, how).await?;
            enqueue(&mut self.bullmq, self.servers, &mut self.results, name, how).await?;
        }
        Ok(())
    }

    async fn drain(&mut self) -> Result<()> {
        let Bench { servers, hub, nexus, graphile, bullmq, results } = self;
        let noop = ("noop", Work::Noop);
        // As the documentation of each has it.
        run(nexus, servers, hub, results, setup("default", json!({}), 20_000), 1, noop).await?;
        run(graphile, servers, hub, results, setup("default", json!({}), 3_000), 1, noop).await?;
        run(bullmq, servers, hub, results, setup("default", json!({}), 10_000), 1, noop).await?;
        // With as many jobs at once as Nexus.
        let graphile_16 =
            setup("16 at once", json!({ "concurrentJobs": 16, "maxPoolSize": 20 }), 8_000);
        let bullmq_16 = setup("16 at once", json!({ "concurrency": 16 }), 30_000);
        run(graphile, servers, hub, results, graphile_16, 1, noop).await?;
        run(bullmq, servers, hub, results, bullmq_16, 1, noop).await?;
        // As its documentation tunes it for throughput, at the price of jobs that stay locked for
        // hours when a worker dies.
        let tuned = json!({
            "concurrentJobs": 24, "maxPoolSize": 25, "localQueue": { "size": 500 }, "completeJobBatchDelay": 0, "failJobBatchDelay": 0,
        });
        run(graphile, servers, hub, results, setup("batched", tuned, 40_000), 1, noop).await?;
        for processes in [2, 3] {
            run(nexus, servers, hub, results, setup("default", json!({}), 20_000), processes, noop)
                .await?;
        }
        for processes in [1, 2, 3] {
            let jobs = 2_000 * processes;
            let wait = ("wait 20 ms", Work::Wait(20));
            run(nexus, servers, hub, results, setup("default", json!({}), jobs), processes, wait)
                .await?;
        }
        Ok(())
    }

    async fn latency(&mut self) -> Result<()> {
        let Bench { servers, hub, nexus, graphile, bullmq, results } = self;
        idle(nexus, servers, hub, results, 1).await?;
        idle(graphile, servers, hub, results, 1).await?;
        idle(bullmq, servers, hub, results, 1).await?;
        idle(nexus, servers, hub, results, 3).await?;
        Ok(())
    }

    async fn shop(&mut self) -> Result<()> {
        self.nexus.reset().await?;
        let shop = Shop::open(self.servers).await?;
        self.servers.settle().await?;
        self.results.add_locked(shop.lock_seats(LOCK_FOR).await?);
        self.servers.settle().await?;
        self.results.add_delivered(shop.deliver_webhooks(self.servers, DELIVER_FOR).await?);
        shop.close().await
    }
}

async fn enqueue<C: Contender>(
    contender: &mut C,
    servers: &Servers,
    results: &mut Results,
    name: &'static str,
    how: Enqueuing,
) -> Result<()> {
    contender.reset().await?;
    servers.settle().await?;
    let rate = contender.enqueue(how).await?;
    eprintln!("  enqueue {name}: {} {rate:.0}/s", C::NAME);
    results.add_enqueued(name, C::NAME, rate);
    contender.reset().await
}

async fn run<C: Contender>(
    contender: &mut C,
    servers: &Servers,
    hub: &Hub,
    results: &mut Results,
    setup: Setup,
    processes: usize,
    (name, work): (&'static str, Work),
) -> Result<()> {
    let drained = drain(contender, hub, servers, &setup, processes, work).await?;
    eprintln!(
        "  {name}: {} {}, {processes} processes: {:.0}/s, {:.2?}",
        C::NAME,
        setup.name,
        drained.rate,
        drained.cpu
    );
    results.add_drained(name, (C::NAME, setup.name), processes, drained);
    Ok(())
}

async fn idle<C: Contender>(
    contender: &mut C,
    servers: &Servers,
    hub: &Hub,
    results: &mut Results,
    processes: usize,
) -> Result<()> {
    let defaults = setup("default", json!({}), 0);
    let idle = latency(contender, hub, servers, &defaults, processes, PROBES).await?;
    results.add_idle(C::NAME, processes, &idle);
    eprintln!(
        "  latency: {}, {processes} processes: {:.1?} ms, idle {:.3?}",
        C::NAME,
        idle.latencies[idle.latencies.len() / 2],
        idle.cpu
    );
    Ok(())
}
