//! `make bench-overload`: more and more people come to a sale, whether or not they are served, with
//! an earlier release and with this one; then `bench/OVERLOAD.md` and its curves.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Parser;
use nexus_bench::{
    curves::{self, Chart, Line},
    host_info::HostInfo,
    measures::overload::{CLIENTS, Class, Measured, Sale, phases, recovery},
    open_loop::{Answer, Outcome, within},
    release::Release,
    samples::number,
    servers::Servers,
    shop::seller::Seller,
    slow_line::SlowLine,
};

/// Measures whom a release serves when more people come than it can serve, and how it tells the
/// others.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The earlier release's binaries; without them, this release is measured alone.
    #[arg(long)]
    before: Option<PathBuf>,
    /// Its name in the report.
    #[arg(long, default_value = "the earlier release")]
    before_name: String,
    /// How long each part takes, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Where the report goes, and the curves beside it; printed otherwise.
    #[arg(long)]
    report: Option<PathBuf>,
    /// A setting of the API and the workers, as NAME=VALUE.
    #[arg(long = "set", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Measures how many connections to PostgreSQL an API process can use, instead.
    #[arg(long)]
    pools: bool,
}

fn setting(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').context("a setting is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// What came of a release.
struct Found {
    name: String,
    phases: Vec<Measured>,
}

async fn measure(
    dir: &Path,
    seller: &Seller,
    settings: &[(String, String)],
    sustained: f64,
    time: Duration,
) -> Result<Vec<Measured>> {
    let servers = Servers::empty(dir).await?;
    let sale = Sale::open(&servers, seller, settings).await?;
    let mut measured = Vec::new();
    take_precedence("-10");
    for phase in phases(time) {
        let found = sale.measure(phase, sustained).await;
        eprintln!("  {}", row(&found));
        measured.push(found);
    }
    // Processes that it starts are as it is.
    take_precedence("0");
    sale.close(&servers).await?;
    Ok(measured)
}

/// What can be sustained by a seller who has PostgreSQL so far away.
async fn sustained(
    dir: &Path,
    seller: &Seller,
    settings: &[(String, String)],
    away: Option<Duration>,
) -> Result<(f64, f64)> {
    let servers = Servers::empty(dir).await?;
    let mut port = servers.postgres.port();
    let line = match away {
        Some(round_trip) => Some(SlowLine::to(port, round_trip).await?),
        None => None,
    };
    port = line.as_ref().map_or(port, SlowLine::port);
    let sale = Sale::open_at(&servers, seller, port, settings).await?;
    let found = sale.sustained(Duration::from_secs(6)).await?;
    sale.close(&servers).await?;
    Ok(found)
}

const HEAD: &str = "| load | a second | served | browse | seats | pay | turned away | failed | the driver is late | API, PostgreSQL, workers and Redis, driver |
|---|---|---|---|---|---|---|---|---|---|
";

fn row(measured: &Measured) -> String {
    let times = |answers: &[&Answer<Class>]| {
        let took = |share| number(within(answers, share, |answer| answer.took));
        format!("{} / {} ms", took(0.5), took(0.99))
    };
    let class = |class| {
        let served = measured.served(Some(class));
        let came = measured.answers.iter().filter(|answer| answer.class == class).count();
        let share = 100.0 * served.len() as f64 / came as f64;
        format!("**{share:.0} %**, {}", times(&served))
    };
    let turned_away = measured.of(|outcome| matches!(outcome, Outcome::TurnedAway(_)));
    let turned_away = match turned_away.is_empty() {
        true => "–".to_owned(),
        false => format!(
            "{} a second, {}",
            number(measured.a_second(turned_away.len())),
            times(&turned_away)
        ),
    };
    let failed = measured.of(|outcome| outcome == Outcome::Failed).len();
    let [browse, seats, pay] = Class::ALL.map(class);
    let cpu = measured.cpu;
    let part = |used: f64| format!("{:.0} %", 100.0 * used / measured.phase.time.as_secs_f64());
    let used =
        [cpu.processes, cpu.postgres, cpu.workers + cpu.redis, cpu.driver].map(part).join(", ");
    format!(
        "| {} × | {} | {} | {browse} | {seats} | {pay} | {turned_away} | {} | {} ms | {used} |",
        measured.phase.share,
        number(measured.rate),
        number(measured.a_second(measured.served(None).len())),
        number(measured.a_second(failed)),
        number(measured.late()),
    )
}

/// How the waits of those who were turned away are spread.
fn spread(phases: &[Measured]) -> String {
    let mut waits = BTreeSet::new();
    let (mut turned_away, mut told) = (0_usize, 0_usize);
    for outcome in phases.iter().flat_map(|phase| &phase.answers).map(|answer| answer.outcome) {
        if let Outcome::TurnedAway(wait) = outcome {
            turned_away += 1;
            told += usize::from(wait.is_some());
            waits.extend(wait);
        }
    }
    match (waits.first(), waits.last()) {
        (Some(first), Some(last)) => format!(
            "{} were turned away, {} of them with a time to come again: {} different ones, from {first} to {last} s",
            number(turned_away as f64),
            number(told as f64),
            waits.len()
        ),
        _ => "nobody was turned away".into(),
    }
}

fn report(releases: &[Found], sustained: f64, host: &HostInfo, curves: Option<&str>) -> String {
    let mut text = format!(
        "# Overload\n\n\
         Written by `make bench-overload`. One API process sells seats of one event: of a hundred requests, 70 look at the event, its seats or the list, 20 want a seat, and 10 book,\n\
         ask for a payment, or are webhooks. {CLIENTS} clients that wait for their answers get {} a second: the load that can be *sustained*. Then requests come evenly, whether or not\n\
         those before them have been answered, and their times, in milliseconds, count from when they were to come. The driver shares the processors; how late it is itself is part of the\n\
         times. Compare numbers of one report with each other, not with those of another machine.\n\n{}\n",
        number(sustained),
        host.describe()
    );
    for Found { name, phases } in releases {
        text += &format!("\n## {name}\n\n{HEAD}");
        for phase in phases {
            text += &format!("{}\n", row(phase));
        }
        text += &format!(
            "\nAfter the load of {} ×, {}. In all, {}.\n",
            phases.iter().map(|phase| phase.phase.share).fold(0.0, f64::max),
            match recovery(phases) {
                0.0 => "nobody is turned away or kept waiting any more".to_owned(),
                seconds => format!(
                    "it takes **{} s** until nobody is turned away or kept waiting any more",
                    number(seconds)
                ),
            },
            spread(phases)
        );
    }
    match curves {
        Some(curves) => {
            text + &format!("\n![Requests a second, and how long they take]({curves})\n")
        }
        None => text,
    }
}

/// The curves of a release: requests a second, and how long nearly all take, second by second.
fn charts(Found { name, phases }: &Found) -> [Chart; 2] {
    let mut rates = ["offered", "served", "turned away", "failed"].map(line);
    let mut times = Class::ALL.map(|class| line(class.name())).to_vec();
    times.push(line("turned away"));
    let (mut began, mut marks) = (0.0, Vec::new());
    for measured in phases {
        let seconds = measured.phase.time.as_secs();
        marks.push((began, format!("{} ×", measured.phase.share)));
        for second in 0..seconds {
            let at = began + second as f64 + 0.5;
            let came: Vec<_> =
                measured.answers.iter().filter(|a| a.came as u64 == second).collect();
            let with = |is: &dyn Fn(Outcome) -> bool| {
                came.iter().filter(|answer| is(answer.outcome)).copied().collect::<Vec<_>>()
            };
            let served = with(&|outcome| outcome == Outcome::Served);
            let turned_away = with(&|outcome| matches!(outcome, Outcome::TurnedAway(_)));
            let failed = with(&|outcome| outcome == Outcome::Failed);
            for (line, count) in
                rates.iter_mut().zip([came.len(), served.len(), turned_away.len(), failed.len()])
            {
                line.points.push((at, count as f64));
            }
            let of =
                |class| served.iter().filter(|answer| answer.class == class).copied().collect();
            let groups = Class::ALL.map(of).into_iter().chain([turned_away]);
            for (line, group) in times.iter_mut().zip(groups) {
                if !group.is_empty() {
                    line.points.push((at, within(&group, 0.99, |answer| answer.took).max(1.0)));
                }
            }
        }
        began += seconds as f64;
    }
    [
        Chart {
            title: format!("{name}: requests a second"),
            x: "seconds",
            y: "a second",
            lines: rates.to_vec(),
            marks: marks.clone(),
            logarithmic: false,
        },
        Chart {
            title: format!("{name}: p99 of those who came in that second"),
            x: "seconds",
            y: "ms",
            lines: times,
            marks,
            logarithmic: true,
        },
    ]
}

fn line(name: &str) -> Line {
    Line { name: name.to_owned(), points: Vec::new() }
}

async fn compare(arguments: Arguments) -> Result<()> {
    let own = std::env::current_exe()?;
    let dir = own.ancestors().nth(2).context("no target directory")?.join("nexus-bench-overload");
    let this = Seller::Nexus(Release::of_driver()?);
    if arguments.pools {
        return pools(&dir, &this).await;
    }
    let earlier = arguments.before.as_deref().map(Release::at).transpose()?.map(Seller::Before);
    let host = HostInfo::look(&Servers::empty(&dir).await?, &dir).await?;
    let (rate, _) = sustained(&dir, &this, &arguments.settings, None).await?;
    eprintln!("sustained: {} a second", number(rate));
    let time = Duration::from_secs(arguments.seconds);
    let mut releases = Vec::new();
    for (name, seller) in earlier
        .map(|seller| (format!("Before ({})", arguments.before_name), seller))
        .into_iter()
        .chain([("This release".to_owned(), this)])
    {
        eprintln!("{name}");
        let phases = measure(&dir, &seller, &arguments.settings, rate, time).await?;
        releases.push(Found { name, phases });
    }
    let Some(path) = &arguments.report else {
        println!("{}", report(&releases, rate, &host, None));
        return Ok(());
    };
    let picture =
        path.with_extension("svg").file_name().context("no file")?.to_string_lossy().to_lowercase();
    std::fs::write(path, report(&releases, rate, &host, Some(&picture)))?;
    let [rates, times]: [Vec<Chart>; 2] = [0, 1]
        .map(|row: usize| releases.iter().map(|release| charts(release)[row].clone()).collect());
    curves::draw(&path.with_file_name(picture), releases.len(), &[rates, times].concat())
}

/// Connections to PostgreSQL that are tried.
const POOLS: [u32; 6] = [2, 4, 7, 10, 20, 40];
/// The same of those that write locks.
const LOCK_POOLS: [u32; 3] = [1, 2, 8];

/// How far away PostgreSQL is, then.
const ROUND_TRIP: Duration = Duration::from_millis(2);

async fn pools(dir: &Path, seller: &Seller) -> Result<()> {
    println!(
        "{CLIENTS} clients: a second, p99\n\n| `DATABASE_MAX_CONNECTIONS` | `SEAT_LOCK_CONNECTIONS` | PostgreSQL beside it | {} ms away |\n|---|---|---|---|",
        ROUND_TRIP.as_millis()
    );
    let pools = POOLS.map(|connections| (connections, 4));
    let lock_pools = LOCK_POOLS.map(|connections| (10, connections));
    for (connections, locks) in pools.into_iter().chain(lock_pools) {
        let settings = [
            ("DATABASE_MAX_CONNECTIONS".to_owned(), connections.to_string()),
            ("SEAT_LOCK_CONNECTIONS".to_owned(), locks.to_string()),
            // Nobody is turned away, however long it takes.
            ("HTTP_LATENCY_TARGET_MS".to_owned(), "60000".to_owned()),
        ];
        let (near, near_p99) = sustained(dir, seller, &settings, None).await?;
        let (far, far_p99) = sustained(dir, seller, &settings, Some(ROUND_TRIP)).await?;
        println!(
            "| {connections} | {locks} | {}, {} ms | {}, {} ms |",
            number(near),
            number(near_p99),
            number(far),
            number(far_p99)
        );
    }
    Ok(())
}

/// The driver shares the processors with what it measures, and must not be late because of that. Only
/// root may take precedence; the report says how late it was.
fn take_precedence(nice: &str) {
    let own = std::process::id().to_string();
    let _ = Command::new("renice").args(["-n", nice, "-p", &own]).output();
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match compare(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
