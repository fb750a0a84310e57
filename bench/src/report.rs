//! The text. It says how the numbers were measured and leaves conclusions to the reader.

use std::path::Path;

use anyhow::{Context, Result};

use crate::{
    host_info::HostInfo,
    results::{DrainRow, IdleRow, Results},
    samples::number,
};

/// The whole report, of what was measured.
pub fn write(results: &Results, host: &HostInfo, rounds: usize) -> String {
    let mut text = vec![head(host, rounds)];
    if !results.shop.is_empty() {
        text.push(shop(results));
    }
    if !results.crowd.is_empty() {
        text.push(crowd(results));
    }
    if !results.limits.is_empty() {
        text.push(format!("## What the machine can do\n\n{}", results.limits.table()));
    }
    if let Some(costs) = &results.costs {
        text.push(format!(
            "## What a sale costs\n\n`docs/performance.md` says what is counted.\n\n{costs}"
        ));
    }
    if !results.drained.is_empty() && !results.idle.is_empty() {
        text.push(goals(results));
    }
    if !results.enqueued.is_empty() {
        text.push(enqueued(results));
    }
    if !results.drained.is_empty() {
        text.push(drained(results));
    }
    if results.drained.iter().any(|row| row.processes > 1) {
        text.push(scaled(results));
    }
    if !results.idle.is_empty() {
        text.push(idle(results));
    }
    if !results.drained.is_empty() {
        text.push(WHAT_LIMITS_JOBS.to_owned());
    }
    text.push(METHOD.to_owned());
    text.join("\n")
}

/// What begins and ends the table of costs in a document.
const COSTS: [&str; 2] =
    ["<!-- costs: written by `make bench-costs` -->\n", "<!-- costs end -->\n"];

/// Puts the table of costs into a document, in place of an earlier one.
pub fn write_costs(results: &Results, document: &Path) -> Result<()> {
    let costs = results.costs.as_ref().context("costs have not been measured")?;
    let text = std::fs::read_to_string(document).with_context(|| document.display().to_string())?;
    let [begin, end] = COSTS;
    let parts = text.split_once(begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(end)?;
        Some(format!("{before}{begin}\n{costs}\n{end}{after}"))
    });
    let text = parts.with_context(|| format!("{} has no place for it", document.display()))?;
    Ok(std::fs::write(document, text)?)
}

fn head(host: &HostInfo, rounds: usize) -> String {
    format!(
        "# How fast\n\n\
         Written by `make bench`. Numbers are **medians** (least–most) of {rounds} rounds; in every round each system has its turn, so that whatever else the\n\
         machine does hits all of them. Compare numbers of one report with each other, not with those of another machine.\n\n\
         {}\n",
        host.describe()
    )
}

fn goals(results: &Results) -> String {
    let nexus = results.rate("noop", "Nexus", "default", 1);
    let against = |setup| nexus / results.rate("noop", "graphile-worker", setup, 1);
    let latency = idle_row(results, "Nexus", 1).map_or(f64::NAN, |row| row.p50.median());
    format!(
        "## Jobs\n\n| Goal | Measured |\n|---|---|\n\
         | twice the jobs per second of graphile-worker as it is configured by default | {} × |\n\
         | … with as many jobs at once as Nexus runs | {} × |\n\
         | more than it does with fetching and completing in batches, as its documentation tunes it | {} × |\n\
         | from commit to the handler's start in 2 ms (p50), without busy polling | {} ms |\n",
        number(against("default")),
        number(against("16 at once")),
        number(against("batched")),
        number(latency),
    )
}

fn enqueued(results: &Results) -> String {
    let mut text = "### Enqueueing\n\n\
        Jobs per second. With PostgreSQL, each transaction is begun, enqueues, and is committed with fsync; both systems are called from the same\n\
        driver (`jobs::enqueue` and `jobs::enqueue_all` in Nexus, `add_job` and `add_jobs` in graphile-worker). BullMQ is called through its own library, has no\n\
        transaction that anything else could be part of, and Redis syncs its file once a second.\n\n\
        | Transactions at once × jobs in each | Nexus | graphile-worker | BullMQ |\n|---|---|---|---|\n"
        .to_owned();
    let mut ways: Vec<&str> = results.enqueued.iter().map(|row| row.0).collect();
    ways.dedup();
    for way in ways {
        let of = |system: &str| {
            let row = results.enqueued.iter().find(|row| (row.0, row.1) == (way, system));
            row.map_or_else(String::new, |row| row.2.to_string())
        };
        text += &format!(
            "| {way} | {} | {} | {} |\n",
            of("Nexus"),
            of("graphile-worker"),
            of("BullMQ")
        );
    }
    text
}

fn drained(results: &Results) -> String {
    let mut text = "### Running\n\n\
        Jobs per second of one worker process, from the commit that makes thousands of them visible. They do nothing. The processor\n\
        times are milliseconds per 1,000 jobs.\n\n\
        | System | Jobs at once | Jobs per second | Worker | PostgreSQL | Redis | Processors in use |\n|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in results.drained.iter().filter(|row| row.work == "noop" && row.processes == 1) {
        let at_once = match (row.system, row.setup) {
            ("Nexus", _) => "16 (default)",
            (_, "default") => "1 (default)",
            (_, "batched") => "24, in batches",
            _ => "16",
        };
        text += &format!(
            "| {} | {at_once} | {} | {} | {} | {} | {} |\n",
            row.system,
            row.rate,
            per_thousand(row.cpu.processes, row),
            per_thousand(row.cpu.postgres, row),
            per_thousand(row.cpu.redis, row),
            number(row.cpu.machine / row.time),
        );
    }
    text + "\nThe same guarantee is not the same everywhere. Nexus and graphile-worker keep jobs in PostgreSQL and run each at least once; a Nexus handler whose effects\n\
        are in PostgreSQL may commit them together with the job, once. When a worker dies, Nexus runs its jobs elsewhere after 7 s, graphile-worker after 4 h;\n\
        *in batches* means that up to 500 more are locked for as long. BullMQ keeps jobs in Redis.\n"
}

fn scaled(results: &Results) -> String {
    let mut text = "### More processes\n\n\
        Nexus's jobs per second by the number of worker processes, each with 16 jobs at once.\n\n\
        | Jobs | 1 process | 2 processes | 3 processes |\n|---|---|---|---|\n"
        .to_owned();
    for (work, says) in
        [("wait 20 ms", "wait 20 ms each, as for a response"), ("noop", "do nothing")]
    {
        let first = results.rate(work, "Nexus", "default", 1);
        let cell = |processes: usize| match nexus_row(results, work, processes) {
            Some(row) => format!("{}, {} ×", row.rate, number(row.rate.median() / first)),
            None => "–".into(),
        };
        text += &format!("| {says} | {} | {} | {} |\n", cell(1), cell(2), cell(3));
    }
    text + "\nJobs that wait leave the processors alone: there a second process adds as much as the first. Jobs that do nothing keep PostgreSQL busy, whoever\n\
        runs them.\n"
}

fn idle(results: &Results) -> String {
    let mut text = "### Waiting for work\n\n\
        200 jobs a round, one at a time with gaps of 5 to 30 ms: milliseconds from the moment before COMMIT is sent to the handler's start, so the commit is\n\
        included. Then two seconds without jobs: thousandths of one processor used by the workers, and by both servers.\n\n\
        | System | Processes | p50, ms | p99, ms | Idle workers | Idle servers |\n|---|---|---|---|---|---|\n"
        .to_owned();
    for row in &results.idle {
        text += &format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            row.system, row.processes, row.p50, row.p99, row.workers, row.servers
        );
    }
    text
}

fn shop(results: &Results) -> String {
    format!(
        "## The shop\n\n\
         What buyers do, over HTTP and Socket.IO from the same machine: one API process and its workers, beside a shop in Node with the same wire, the same\n\
         durability and the same servers (`bench/node/shop`: Express, Socket.IO, pg, ioredis, BullMQ; one process, and one for its workers). *What limits\n\
         Nexus* is who uses most of a processor meanwhile: *the processors* when all of them are in use, *waiting* when nobody is busy.\n\n\
         {}\n\
         ### Who uses the processors\n\n\
         In per cent of one. The driver is the buyers, and Razorpay and the mail server. The last column is what all but the driver use for each: it depends\n\
         least on what else the machine does.\n\n\
         {}",
        results.shop.table(),
        results.shop.processors(),
    )
}

fn crowd(results: &Results) -> String {
    format!(
        "## Crowds\n\n\
         Clients that listen: Socket.IO over websockets with a browser's headers, from 250 addresses of this machine, driven by one thread without a runtime\n\
         (`bench/src/crowd`). Beside Nexus, npm socket.io sends the same events and stores nothing (`bench/node/sockets.js`, `perMessageDeflate: false`; several\n\
         processes over its Redis adapter), while Nexus locks in PostgreSQL as always. *Kernel alone* is a thread that writes one message of 300 bytes to as\n\
         many sockets, one plain write each: nobody who makes a write for each socket is cheaper. A lock is two messages, since the counts\n\
         (`event:seats-update`) follow; its CPU is that of both, with the pings of the time. Times are medians of nine locks over HTTP; a line is empty (–)\n\
         when not all clients have heard. Measured once, in the first round.\n\n{}",
        results.crowd.table()
    )
}

const WHAT_LIMITS_JOBS: &str = "### What limits jobs\n\n\
    - **The processors.** Driver, workers, PostgreSQL and Redis share one machine; *processors in use* shows how much of it a run takes. A job that does nothing\n\
    \x20 is three changes of its row (enqueued, claimed, done), and each of them is written to the row, its indexes and the log.\n\
    - **Commits.** Claims and completions that come at the same time share one. A worker that runs one job at a\n\
    \x20 time, or a queue that is nearly empty, pays for each of its own.\n\
    - **NOTIFY.** PostgreSQL lets transactions that notify commit one after the other, each with its own flush. graphile-worker notifies in the transaction that\n\
    \x20 enqueues; Nexus after it, once for all that has been committed meanwhile (`make bench-stress` shows the difference).\n\
    - **Redis** carries only the ids of jobs that wait while a worker is full and there are others: none here.\n";

const METHOD: &str = "## How it is measured\n\n\
    PostgreSQL with fsync, full page writes and synchronous commits; Redis with an append-only file that is synced every second; otherwise the defaults of both.\n\
    Before each measurement PostgreSQL writes a checkpoint. Processes log as they do in production, to a file. A shop begins with an empty database and 2,000\n\
    buyers; each client begins its next request when it has the response to the last one, and the first tenth of the time is not counted. Seats, bookings and\n\
    orders that a line needs are in the database beforehand. Job systems begin with empty tables and an empty Redis; workers have run something before. A run\n\
    ends with the last job, and a check that each was run once; or after 2.5 seconds, with what has been run by then. The driver is `bench/src`, the other\n\
    systems' processes are in `bench/node`; `nexus-bench --help` says how to run a part.\n";

fn per_thousand(seconds: f64, row: &DrainRow) -> String {
    // Milliseconds per 1,000 jobs.
    number(seconds * 1e6 / row.jobs as f64)
}

fn nexus_row<'a>(results: &'a Results, work: &str, processes: usize) -> Option<&'a DrainRow> {
    results
        .drained
        .iter()
        .find(|row| (row.work, row.system, row.processes) == (work, "Nexus", processes))
}

fn idle_row<'a>(results: &'a Results, system: &str, processes: usize) -> Option<&'a IdleRow> {
    results.idle.iter().find(|row| (row.system, row.processes) == (system, processes))
}
