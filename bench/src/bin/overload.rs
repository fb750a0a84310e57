//! `make bench-overload`: more and more people come to a sale, whether or not they are served, with
//! an earlier release and with this one; then `bench/OVERLOAD.md` and its curves.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    open_loop::{Outcome, within},
    release::Release,
    samples::{Samples, number},
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
    /// How long each phase takes, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How often everything is measured.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
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
    /// Phase by phase, round by round.
    rounds: Vec<Vec<Measured>>,
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
    take_precedence("-10");
    let measured = sale.measure(&phases(time), sustained).await;
    // Processes that it starts are as it is.
    take_precedence("0");
    measured.iter().for_each(|phase| eprintln!("  {}", Rounds(vec![phase]).row()));
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

/// A driver that sends requests later than this, in milliseconds, shows in what it measures.
const LATE: f64 = 10.0;

const PHASES: &str = "| load | come a second | 2xx | 4xx | turned away | failed | the driver is late | API, PostgreSQL, workers and Redis, driver |
|---|---|---|---|---|---|---|---|
";
const CLASSES: &str = "| load | | come a second | answered | … p50 / p99 / longest | turned away | … p50 / p99 / longest | failed |
|---|---|---|---|---|---|---|---|
";

/// A phase in every round: numbers are their medians.
struct Rounds<'a>(Vec<&'a Measured>);

impl Rounds<'_> {
    fn median(&self, of: impl Fn(&Measured) -> f64) -> f64 {
        let mut samples = Samples::default();
        self.0.iter().for_each(|measured| samples.add(of(measured)));
        samples.median()
    }

    fn load(&self) -> String {
        self.0.first().map_or_else(String::new, |measured| format!("{} ×", measured.phase.share))
    }

    /// Per second.
    fn rate(&self, class: Option<Class>, is: fn(Outcome) -> bool) -> f64 {
        self.median(|measured| measured.a_second(measured.of(class, is).len()))
    }

    fn times(&self, class: Option<Class>, is: fn(Outcome) -> bool) -> String {
        if self.rate(class, is) == 0.0 {
            return "–".into();
        }
        let time = |share| {
            let of = |measured: &Measured| within(&measured.of(class, is), share, |a| a.took);
            number(self.median(of))
        };
        [0.5, 0.99, 1.0].map(time).join(" / ") + " ms"
    }

    /// What became of all, and what it cost.
    fn row(&self) -> String {
        let rate = |is| match self.rate(None, is) {
            0.0 => "–".to_owned(),
            rate => number(rate),
        };
        let late = self.median(Measured::late);
        let mark = if late > LATE { "**" } else { "" };
        let part = |used: fn(&Measured) -> f64| {
            let share = |m: &Measured| 100.0 * used(m) / m.phase.time.as_secs_f64();
            format!("{:.0} %", self.median(share))
        };
        let used = [
            part(|m| m.cpu.processes),
            part(|m| m.cpu.postgres),
            part(|m| m.cpu.workers + m.cpu.redis),
            part(|m| m.cpu.driver),
        ];
        format!(
            "| {} | {} | {} | {} | {} | {} | {mark}{} ms{mark} | {} |",
            self.load(),
            rate(|_| true),
            rate(|outcome| outcome == Outcome::Served),
            rate(|outcome| outcome == Outcome::Declined),
            rate(Outcome::is_turned_away),
            rate(Outcome::is_failure),
            number(late),
            used.join(", ")
        )
    }

    /// What became of a class.
    fn class_row(&self, class: Class) -> String {
        let of = Some(class);
        let (came, answered) = (self.rate(of, |_| true), self.rate(of, Outcome::is_answer));
        let rate = |is| match self.rate(of, is) {
            0.0 => "–".to_owned(),
            rate => number(rate),
        };
        format!(
            "| {} | {} | {} | {}, **{:.0} %** | {} | {} | {} | {} |",
            self.load(),
            class.name(),
            number(came),
            number(answered),
            100.0 * answered / came,
            self.times(of, Outcome::is_answer),
            rate(Outcome::is_turned_away),
            self.times(of, Outcome::is_turned_away),
            rate(Outcome::is_failure)
        )
    }
}

impl Found {
    /// Each phase in every round.
    fn phases(&self) -> Vec<Rounds<'_>> {
        let count = self.rounds.first().map_or(0, Vec::len);
        (0..count).map(|phase| Rounds(self.rounds.iter().map(|r| &r[phase]).collect())).collect()
    }

    /// How long it takes to get over what was too much.
    fn recovery(&self) -> String {
        let mut seconds = Samples::default();
        // Not at all takes longer than anything.
        let recovered = self.rounds.iter().map(|phases| recovery(phases).unwrap_or(f64::INFINITY));
        recovered.for_each(|after| seconds.add(after));
        match seconds.median() {
            0.0 => "nobody is turned away or kept waiting any more".into(),
            after if after.is_finite() => format!(
                "it takes **{} s** until nobody is turned away or kept waiting for two seconds",
                number(after)
            ),
            _ => "people are still turned away or kept waiting **at the end**".into(),
        }
    }

    /// What those who were turned away were told, and what went wrong besides.
    fn refusals(&self) -> String {
        let (mut turned_away, mut told, mut with_code) = (0_usize, 0_usize, 0_usize);
        let (mut waits, mut failures) = (BTreeSet::new(), BTreeMap::<_, usize>::new());
        for answer in self.rounds.iter().flatten().flat_map(|phase| &phase.answers) {
            match answer.outcome {
                Outcome::TurnedAway { wait, is_overloaded } => {
                    turned_away += 1;
                    told += usize::from(wait.is_some());
                    with_code += usize::from(is_overloaded);
                    waits.extend(wait);
                }
                Outcome::Failed(how) => *failures.entry(how).or_default() += 1,
                Outcome::Served | Outcome::Declined => {}
            }
        }
        let count = |count: usize| number(count as f64);
        let mut text = match (waits.first(), waits.last()) {
            _ if turned_away == 0 => "nobody was turned away".to_owned(),
            (Some(first), Some(last)) => format!(
                "{} were turned away, {} of them as `overloaded`, {} with a time to come again: {} different ones, from {first} to {last} s",
                count(turned_away),
                count(with_code),
                count(told),
                waits.len()
            ),
            _ => format!(
                "{} were turned away, {} of them as `overloaded`, none with a time to come again",
                count(turned_away),
                count(with_code)
            ),
        };
        for (how, failed) in failures {
            text += &format!("; {} {how}", count(failed));
        }
        text
    }
}

fn report(
    releases: &[Found],
    sustained: f64,
    host: &HostInfo,
    rounds: usize,
    curves: Option<&str>,
) -> String {
    let numbers = match rounds {
        1 => "those of one round".to_owned(),
        _ => format!("medians of {rounds} rounds"),
    };
    let mut text = format!(
        "# Overload\n\n\
         Written by `make bench-overload`. One API process sells seats of one event: of a hundred requests, 70 look at the event, its seats or the list, 20 want a seat, and 10 book,\n\
         ask for a payment, or are webhooks. {CLIENTS} clients that wait for their answers get {} a second from this release: the load that can be *sustained*, the unit of all others.\n\
         Then requests come evenly, whether or not those before them have been answered, and their times, in milliseconds, count from when they were to come. Numbers are\n\
         {numbers}; who is answered 4xx wanted a seat that somebody else has. The driver shares the processors: how late it sends 99 of 100 requests is part of the times,\n\
         and **bold** above {LATE} ms. Compare numbers of one report with each other, not with those of another machine.\n\n{}\n",
        number(sustained),
        host.describe()
    );
    for found in releases {
        text += &format!("\n## {}\n\n{PHASES}", found.name);
        let phases = found.phases();
        phases.iter().for_each(|phase| text += &format!("{}\n", phase.row()));
        text += &format!("\n{CLASSES}");
        for (phase, class) in phases.iter().flat_map(|phase| Class::ALL.map(|class| (phase, class)))
        {
            text += &format!("{}\n", phase.class_row(class));
        }
        text += &format!(
            "\nAfter the last load but one, {}. In all, {}.\n",
            found.recovery(),
            found.refusals()
        );
    }
    match curves {
        Some(curves) => {
            text + &format!("\n![Requests a second, and how long they take]({curves})\n")
        }
        None => text,
    }
}

/// The curves of a release in its first round, second by second: requests, how long half of them
/// take, and nearly all.
fn charts(found: &Found) -> [Chart; 3] {
    let phases = found.rounds.first().map_or(&[][..], Vec::as_slice);
    let mut rates = ["come", "2xx", "4xx", "turned away", "failed"].map(line);
    let names = Class::ALL.map(Class::name).into_iter().chain(["turned away"]);
    let times: Vec<Line> = names.map(line).collect();
    let mut times = [(0.5, times.clone()), (0.99, times)];
    let (mut began, mut marks) = (0, Vec::new());
    for measured in phases {
        marks.push((began as f64, format!("{} ×", measured.phase.share)));
        let until = began + measured.phase.time.as_secs();
        for second in began..until {
            let at = second as f64 + 0.5;
            let of = |class: Option<Class>, is: fn(Outcome) -> bool| {
                let mut answers = measured.of(class, is);
                answers.retain(|answer| answer.came as u64 == second);
                answers
            };
            let outcomes: [fn(Outcome) -> bool; 5] = [
                |_| true,
                |outcome| outcome == Outcome::Served,
                |outcome| outcome == Outcome::Declined,
                Outcome::is_turned_away,
                Outcome::is_failure,
            ];
            for (line, is) in rates.iter_mut().zip(outcomes) {
                line.points.push((at, of(None, is).len() as f64));
            }
            let answered = Class::ALL.map(|class| of(Some(class), Outcome::is_answer));
            let groups: Vec<_> =
                answered.into_iter().chain([of(None, Outcome::is_turned_away)]).collect();
            for (share, lines) in &mut times {
                for (line, group) in lines.iter_mut().zip(&groups).filter(|(_, g)| !g.is_empty()) {
                    line.points.push((at, within(group, *share, |answer| answer.took).max(1.0)));
                }
            }
        }
        began = until;
    }
    let chart = |what: &str, y, lines, logarithmic| Chart {
        title: format!("{}: {what}", found.name),
        x: "seconds",
        y,
        lines,
        marks: marks.clone(),
        logarithmic,
    };
    let [(_, half), (_, nearly_all)] = times;
    [
        chart("requests a second", "a second", rates.to_vec(), false),
        chart("p50 of those who came in that second", "ms", half, true),
        chart("p99 of those who came in that second", "ms", nearly_all, true),
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
    let unhurried = [arguments.settings.clone(), vec![nobody_is_turned_away()]].concat();
    let (rate, _) = sustained(&dir, &this, &unhurried, None).await?;
    eprintln!("sustained: {} a second", number(rate));
    let time = Duration::from_secs(arguments.seconds);
    let before = earlier.map(|seller| (format!("Before ({})", arguments.before_name), seller));
    let sellers: Vec<_> = before.into_iter().chain([("This release".to_owned(), this)]).collect();
    let mut releases: Vec<_> =
        sellers.iter().map(|(name, _)| Found { name: name.clone(), rounds: Vec::new() }).collect();
    for round in 1..=arguments.rounds {
        for ((name, seller), found) in sellers.iter().zip(&mut releases) {
            eprintln!("round {round} of {}: {name}", arguments.rounds);
            let phases = measure(&dir, seller, &arguments.settings, rate, time).await?;
            found.rounds.push(phases);
        }
    }
    let report = |curves| report(&releases, rate, &host, arguments.rounds, curves);
    let Some(path) = &arguments.report else {
        println!("{}", report(None));
        return Ok(());
    };
    let picture =
        path.with_extension("svg").file_name().context("no file")?.to_string_lossy().to_lowercase();
    std::fs::write(path, report(Some(&picture)))?;
    let charts: Vec<_> = releases.iter().map(charts).collect();
    let rows = [0, 1, 2].map(|row: usize| charts.iter().map(move |charts| charts[row].clone()));
    let charts: Vec<_> = rows.into_iter().flatten().collect();
    curves::draw(&path.with_file_name(picture), releases.len(), &charts)
}

/// A setting with which requests may take however long they take.
fn nobody_is_turned_away() -> (String, String) {
    ("HTTP_LATENCY_TARGET_MS".to_owned(), "60000".to_owned())
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
            nobody_is_turned_away(),
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
