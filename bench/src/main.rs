//! `make bench`: every system in turn, round by round, on the same servers; then `bench/REPORT.md`.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum, builder::PossibleValue};
use nexus_bench::{
    contenders::{Bullmq, Contender, Enqueuing, Graphile, Nexus, Setup, Work},
    costs,
    crowd::{
        self,
        measures::Scale as CrowdScale,
        plain::{self, PLAIN_SOCKETS},
    },
    host_info::HostInfo,
    hub::{BENCH_HUB, Hub},
    limits::{BARE_ROUTE, serve_bare_route},
    measures::{drain::drain, latency::latency},
    release::Release,
    report,
    results::Results,
    servers::Servers,
    shop::{
        rows::{Group, Scale, measure},
        seller::Seller,
    },
};
use serde_json::json;

/// Measures Nexus beside a shop in Node, graphile-worker and BullMQ, on PostgreSQL and Redis servers
/// of its own.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// How often everything is measured: five times, or once with `--quick`.
    #[arg(long)]
    rounds: Option<usize>,
    /// Only this; may be repeated.
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// In four minutes: enough to see that something has become much slower.
    #[arg(long)]
    quick: bool,
    /// The binaries of an earlier release, whose shop is measured, too.
    #[arg(long)]
    before: Option<PathBuf>,
    /// Where the report goes; printed otherwise.
    #[arg(long)]
    report: Option<PathBuf>,
    /// A document that has the table of what a sale costs.
    #[arg(long)]
    costs: Option<PathBuf>,
}

/// What can be measured alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Limits,
    Shop(Group),
    Costs,
    Enqueue,
    Drain,
    Latency,
    Crowd,
}

impl ValueEnum for Part {
    fn value_variants<'a>() -> &'a [Self] {
        const PARTS: [Part; 15] = {
            let mut parts = [Part::Limits; 15];
            let mut group = 0;
            while group < Group::ALL.len() {
                parts[1 + group] = Part::Shop(Group::ALL[group]);
                group += 1;
            }
            (parts[10], parts[11]) = (Part::Costs, Part::Enqueue);
            (parts[12], parts[13]) = (Part::Drain, Part::Latency);
            parts[14] = Part::Crowd;
            parts
        };
        &PARTS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Part::Limits => ("limits", "what PostgreSQL, Redis and axum can do at most"),
            Part::Shop(Group::Logins) => ("logins", "logins, and the memory that they take"),
            Part::Shop(Group::Purchase) => ("purchase", "whole purchases"),
            Part::Shop(Group::Burst) => ("burst", "many payments at once"),
            Part::Shop(Group::Reads) => ("reads", "an event, and the list"),
            Part::Shop(Group::Bookings) => ("bookings", "making and listing bookings"),
            Part::Shop(Group::Webhooks) => ("webhooks", "webhooks that are stored"),
            Part::Shop(Group::Locks) => ("locks", "seat locks over HTTP"),
            Part::Shop(Group::Sockets) => ("sockets", "seat locks over sockets"),
            Part::Shop(Group::Scans) => ("scans", "tickets that are scanned at the door"),
            Part::Costs => ("costs", "what each step of a sale costs; once, not every round"),
            Part::Enqueue => ("enqueue", "jobs enqueued"),
            Part::Drain => ("drain", "jobs run"),
            Part::Latency => ("latency", "from a job's commit to its start"),
            Part::Crowd => ("crowd", "tens of thousands of clients that listen"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

/// How jobs are enqueued: name, transactions at once, jobs in each.
const ENQUEUING: [(&str, usize, usize); 3] =
    [("1 × 1", 1, 1), ("16 × 1", 16, 1), ("4 × 100", 4, 100)];

#[tokio::main]
async fn main() -> Result<()> {
    // One of the limits is measured at this binary itself.
    if let [_, argument, port] = &std::env::args().collect::<Vec<_>>()[..]
        && argument == BARE_ROUTE
    {
        return serve_bare_route(port.parse()?).await;
    }
    if std::env::args().nth(1).as_deref() == Some(PLAIN_SOCKETS) {
        return plain::serve(&std::env::var(BENCH_HUB)?);
    }
    let arguments = Arguments::parse();
    let wants = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    let groups: Vec<Group> =
        Group::ALL.into_iter().filter(|group| wants(Part::Shop(*group))).collect();
    let mut sellers = vec![Seller::Node, Seller::Nexus(Release::of_driver()?)];
    if let Some(before) = &arguments.before {
        sellers.insert(1, Seller::Before(Release::at(before)?));
    }
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { 1 } else { 5 });
    // target/nexus-bench: on a disk, which a temporary directory need not be.
    let own = std::env::current_exe()?;
    let dir = own.ancestors().nth(2).context("no target directory")?.join("nexus-bench");
    let servers = Servers::start(&dir).await?;
    let host = HostInfo::look(&servers, &dir).await?;
    let mut bench = Bench::new(&servers, arguments.quick).await?;
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        if wants(Part::Limits) {
            bench.results.limits.measure(&servers, Duration::from_secs(1)).await?;
        }
        if !groups.is_empty() {
            bench.shop(&sellers, &groups).await?;
        }
        if wants(Part::Costs) && round == 1 {
            bench.costs(&sellers).await?;
        }
        if wants(Part::Enqueue) {
            bench.enqueue().await?;
        }
        if wants(Part::Drain) {
            bench.drain().await?;
        }
        if wants(Part::Latency) {
            bench.latency().await?;
        }
        // Medians of several locks, and minutes: once is enough.
        if wants(Part::Crowd) && round == 1 {
            bench.crowd(&sellers).await?;
        }
        // After every round, so that an interrupted run keeps what has been measured.
        let text = report::write(&bench.results, &host, round);
        match &arguments.report {
            Some(path) => std::fs::write(path, text).with_context(|| path.display().to_string())?,
            None if round == rounds => println!("{text}"),
            None => {}
        }
    }
    match &arguments.costs {
        Some(document) => report::write_costs(&bench.results, document),
        None => Ok(()),
    }
}

struct Bench<'a> {
    servers: &'a Servers,
    hub: Hub,
    nexus: Nexus,
    graphile: Graphile,
    bullmq: Bullmq,
    results: Results,
    is_quick: bool,
}

fn setup(name: &'static str, settings: serde_json::Value, jobs: usize) -> Setup {
    Setup { name, settings, jobs }
}

impl<'a> Bench<'a> {
    async fn new(servers: &'a Servers, is_quick: bool) -> Result<Self> {
        let hub = Hub::open()?;
        Ok(Bench {
            servers,
            nexus: Nexus::new(servers).await?,
            graphile: Graphile::new(servers).await?,
            bullmq: Bullmq::new(servers, &hub).await?,
            hub,
            results: Results::default(),
            is_quick,
        })
    }

    async fn shop(&mut self, sellers: &[Seller], groups: &[Group]) -> Result<()> {
        let scale = match self.is_quick {
            true => Scale { time: Duration::from_millis(700), burst: 300 },
            false => Scale { time: Duration::from_millis(1_500), burst: 1_000 },
        };
        // The jobs of other systems go.
        self.servers.flush_redis().await?;
        for seller in sellers {
            eprintln!("  {}", seller.name());
            for (row, load) in measure(self.servers, seller, groups, scale).await? {
                self.results.shop.add(seller.name(), row, load);
            }
        }
        Ok(())
    }

    async fn crowd(&mut self, sellers: &[Seller]) -> Result<()> {
        let scale = if self.is_quick { CrowdScale::QUICK } else { CrowdScale::FULL };
        let Bench { servers, hub, results, .. } = self;
        eprintln!("  crowds");
        crowd::measures::measure_kernel(servers, hub, scale, &mut results.crowd).await?;
        for seller in sellers {
            crowd::measures::measure(servers, hub, seller, scale, &mut results.crowd).await?;
        }
        Ok(())
    }

    async fn costs(&mut self, sellers: &[Seller]) -> Result<()> {
        self.servers.flush_redis().await?;
        let mut all = Vec::new();
        for seller in sellers.iter().filter(|seller| seller.release().is_some()) {
            eprintln!("  costs of {}", seller.name());
            all.push(costs::measure(self.servers, seller).await?);
        }
        self.results.costs = match &all[..] {
            [before, after] => Some(costs::table(Some(before), after)),
            [after] => Some(costs::table(None, after)),
            _ => None,
        };
        Ok(())
    }

    async fn enqueue(&mut self) -> Result<()> {
        for (name, parallel, batch) in ENQUEUING {
            let time = Duration::from_millis(if self.is_quick { 400 } else { 1_000 });
            let how = Enqueuing { time, parallel, batch };
            enqueue(&mut self.nexus, self.servers, &mut self.results, name, how).await?;
            enqueue(&mut self.graphile, self.servers, &mut self.results, name, how).await?;
            enqueue(&mut self.bullmq, self.servers, &mut self.results, name, how).await?;
        }
        Ok(())
    }

    async fn drain(&mut self) -> Result<()> {
        let Bench { servers, hub, nexus, graphile, bullmq, results, is_quick } = self;
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
        if *is_quick {
            return Ok(());
        }
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
        let Bench { servers, hub, nexus, graphile, bullmq, results, is_quick } = self;
        let probes = if *is_quick { 50 } else { 200 };
        idle(nexus, servers, hub, results, 1, probes).await?;
        idle(graphile, servers, hub, results, 1, probes).await?;
        idle(bullmq, servers, hub, results, 1, probes).await?;
        if !*is_quick {
            idle(nexus, servers, hub, results, 3, probes).await?;
        }
        Ok(())
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
    probes: u64,
) -> Result<()> {
    let defaults = setup("default", json!({}), 0);
    let idle = latency(contender, hub, servers, &defaults, processes, probes).await?;
    results.add_idle(C::NAME, processes, &idle);
    eprintln!(
        "  latency: {}, {processes} processes: {:.1?} ms, idle {:.3?}",
        C::NAME,
        idle.latencies[idle.latencies.len() / 2],
        idle.cpu
    );
    Ok(())
}
