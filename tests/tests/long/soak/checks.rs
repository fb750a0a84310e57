//! What has to hold when it is over. Everything that does not is collected, so that the report is
//! written in any case.

use std::time::{Duration, Instant};

use nexus_tests::stack::QUEUES;
use nexus_tests::{SOON, Stack, Value};

use super::fault_injector::{CONNECTIONS, FaultInjector};
use super::record::Record;
use super::watch::{Watch, slope};

/// Runs that are longer show whether memory grows; in shorter ones caches and pools still fill.
pub(crate) const TELLING: Duration = Duration::from_secs(240);
/// Megabytes a minute. What is remembered on purpose (tokens that were looked up a moment ago,
/// plans of queries) is bounded, and this allows for its filling up; a leak of a kilobyte a request
/// would be five times as much.
pub(crate) const GROWTH: f64 = 1.0;
/// Beside connections to PostgreSQL: those to Redis, and those that stay open for a minute and a
/// half after their last use, to providers and from senders of webhooks.
pub(crate) const FILES: usize = 40;

pub(crate) async fn everything(
    stack: &mut Stack,
    injector: &mut FaultInjector,
    watch: &mut Watch,
    record: &Record,
    duration: Duration,
    violations: &mut Vec<String>,
) {
    let mut broken = |what: String| violations.push(what);
    for name in watch.dead() {
        broken(format!("{name} was never killed, and has ended"));
    }
    responses(injector, record, &mut broken);
    logs(stack, injector, &mut broken);
    memory(watch, duration, &mut broken);
    files(watch, &mut broken).await;
    connections(stack, &mut broken).await;
    redis(stack, &mut broken).await;
    jobs(stack, &mut broken).await;
    let (taken, back, sold) = stack.money().await;
    if taken - back != sold {
        broken(format!(
            "{taken} paise were taken and {back} sent back, and confirmed bookings are worth {sold}"
        ));
    }
    let books = stack.jobs_cli(&["check-books"]).await;
    if !books.status.success() {
        broken(format!("nexus-jobs check-books: {}", String::from_utf8_lossy(&books.stdout)));
    }
}

/// Of failures only 502 and 503 are right, and only while something is wrong.
fn responses(injector: &FaultInjector, record: &Record, broken: &mut impl FnMut(String)) {
    let [elder, _] = injector.urls();
    for failure in record.failures.borrow().iter() {
        let excused = injector.is_excused(failure.began, failure.ended);
        let known = match failure.status {
            502 | 503 => true,
            // A killed process does not answer; the elder is never killed. An export that is under
            // way when PostgreSQL goes is cut off, so that no reader takes it for the whole.
            0 => {
                let is_cut_off = failure.what.contains("/admin/ledger.csv")
                    && failure.what.contains("kind: Body");
                !failure.what.contains(&elder) || is_cut_off
            }
            _ => false,
        };
        if !(known && excused) {
            let when = if excused { "while something was wrong" } else { "with nothing wrong" };
            broken(format!("answered {} {when}: {:.400}", failure.status, failure.what));
        }
    }
    let (slowest, what) = *record.slowest.borrow();
    if slowest > Duration::from_secs(40) {
        broken(format!("{what} took {slowest:?}"));
    }
}

/// Errors are logged only while something is wrong; alerts are about payments, and meant for
/// people. Nothing panics.
fn logs(stack: &mut Stack, injector: &mut FaultInjector, broken: &mut impl FnMut(String)) {
    let mut all = vec![(stack.api(0).name().to_owned(), stack.api(0).whole_log())];
    for queue in QUEUES {
        all.push((queue.to_owned(), stack.worker(queue).whole_log()));
    }
    all.extend(injector.younger().map(|program| (program.name().to_owned(), program.whole_log())));
    for (name, log) in all {
        for line in log.lines() {
            let panicked = line.contains("panicked");
            let error =
                line.split_whitespace().nth(1) == Some("ERROR") && !line.contains("payment alert");
            let excused = line
                .split_whitespace()
                .next()
                .and_then(seconds)
                .is_some_and(|at| injector.is_excused(at, at));
            if panicked || (error && !excused) {
                broken(format!("{name} logged: {line:.500}"));
            }
        }
    }
}

/// The seconds since 1970 of a time such as `2031-05-01T18:00:00.000000Z`.
fn seconds(time: &str) -> Option<f64> {
    let (date, time) = time.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.split(':');
    let (hour, minute): (f64, f64) = (time.next()?.parse().ok()?, time.next()?.parse().ok()?);
    let second: f64 = time.next()?.parse().ok()?;
    // Days from civil: years begin in March, so that the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    Some(days as f64 * 86_400.0 + hour * 3_600.0 + minute * 60.0 + second)
}

fn memory(watch: &Watch, duration: Duration, broken: &mut impl FnMut(String)) {
    for (name, looks) in &watch.looks {
        let growth = slope(looks);
        if duration >= TELLING && growth > GROWTH {
            broken(format!("{name} grew by {growth:.2} MB a minute"));
        }
    }
}

/// Files are closed within a while: people's connections have just ended.
async fn files(watch: &mut Watch, broken: &mut impl FnMut(String)) {
    let deadline = Instant::now() + SOON;
    loop {
        watch.look();
        let open: Vec<String> = watch
            .files_now()
            .into_iter()
            .filter(|(name, now)| *now > watch.looks[*name][0].files + CONNECTIONS + FILES)
            .map(|(name, now)| {
                format!(
                    "{name} has {now} files open, and had {} at first",
                    watch.looks[name][0].files
                )
            })
            .collect();
        if open.is_empty() {
            return;
        }
        if Instant::now() > deadline {
            return open.into_iter().for_each(broken);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// No process holds a transaction open, or more connections than allowed.
async fn connections(stack: &Stack, broken: &mut impl FnMut(String)) {
    let held = "SELECT application_name, state, query FROM pg_stat_activity
                WHERE application_name LIKE 'nexus-%' AND state <> 'idle' AND now() - state_change > interval '2 seconds'";
    for held in stack.rows(held).await {
        broken(format!("a connection is in use: {held}"));
    }
    let many = format!(
        "SELECT application_name, count(*) AS n FROM pg_stat_activity WHERE application_name LIKE 'nexus-%'
         GROUP BY 1 HAVING count(*) > {}",
        2 * (CONNECTIONS + 1)
    );
    for many in stack.rows(&many).await {
        broken(format!("too many connections: {many}"));
    }
}

async fn redis(stack: &Stack, broken: &mut impl FnMut(String)) {
    let deadline = Instant::now() + 2 * SOON;
    loop {
        let (mut lasting, workers) = stack.lasting_in_redis().await;
        // Jobs that are under way may be there, and those that never end always are.
        for row in
            stack.rows("SELECT DISTINCT queue FROM jobs WHERE state IN ('queued', 'running')").await
        {
            let own = format!("nexus:{}:", row["queue"].as_str().unwrap_or_default());
            lasting.retain(|key| !key.starts_with(&own));
        }
        if lasting.is_empty() && workers == 2 * QUEUES.len() {
            return;
        }
        if Instant::now() > deadline {
            return broken(format!("Redis has {workers} workers, and for ever {lasting:?}"));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Every process that has died says why; and none had a reason to.
async fn jobs(stack: &Stack, broken: &mut impl FnMut(String)) {
    let dead =
        "SELECT id, kind, attempt, last_error FROM jobs WHERE state IN ('dead', 'cancelled')";
    let dead: Vec<Value> = stack.rows(dead).await;
    dead.iter().for_each(|job| broken(format!("a job has died: {job}")));
}
