//! Prometheus metrics: the name and meaning of each, in one place, and the listener that serves
//! `/metrics`. Code that measures calls the functions here; without METRICS_ADDRESS they do
//! nothing.

use std::{net::SocketAddr, time::Duration};

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use sqlx::PgPool;

use crate::{
    config::Limit,
    error::{Error, Result},
    types::{alert_reason::AlertReason, ids::EventId, queue::Queue},
};

const HTTP_REQUESTS: &str = "nexus_http_requests_total";
const HTTP_DURATION: &str = "nexus_http_request_duration_seconds";
const HTTP_CONNECTIONS: &str = "nexus_http_connections";
const HTTP_REFUSED: &str = "nexus_http_connections_refused_total";
const REQUESTS_LIMIT: &str = "nexus_requests_limit";
const REQUESTS_NOW: &str = "nexus_requests_now";
const VISITORS: &str = "nexus_waiting_room_visitors";
const VISITORS_CALLED: &str = "nexus_waiting_room_called_total";
const CALLS_PER_MINUTE: &str = "nexus_waiting_room_calls_per_minute";
const REQUESTS_TURNED_AWAY: &str = "nexus_requests_turned_away_total";
const READ_GROUPS: &str = "nexus_read_groups_total";
const READS: &str = "nexus_reads_total";
const SOCKETS: &str = "nexus_sockets";
const SLOW_SOCKETS: &str = "nexus_slow_sockets_total";
const SOCKET_COMMANDS: &str = "nexus_socket_commands_total";
const SOCKET_COMMAND_DURATION: &str = "nexus_socket_command_duration_seconds";
const RATE_LIMITED: &str = "nexus_rate_limited_total";
const MAILS_REFUSED: &str = "nexus_mails_refused_total";
const PUZZLES: &str = "nexus_puzzles_total";
const CAPTCHAS: &str = "nexus_captchas_total";
const PASSWORD_LOOKUPS: &str = "nexus_password_lookups_total";
const BROADCASTS: &str = "nexus_broadcasts_total";
const CHECK_INS: &str = "nexus_check_ins_total";
const DB_CONNECTIONS: &str = "nexus_db_connections";
const DB_CONNECTIONS_MAX: &str = "nexus_db_connections_max";
const JOBS: &str = "nexus_jobs";
const OLDEST_DUE: &str = "nexus_jobs_oldest_due_seconds";
const JOBS_ENQUEUED: &str = "nexus_jobs_enqueued_total";
const JOBS_RESCUED: &str = "nexus_jobs_rescued_total";
const WORKER_SLOTS: &str = "nexus_worker_slots";
const JOB_ATTEMPTS: &str = "nexus_job_attempts_total";
const JOB_DURATION: &str = "nexus_job_duration_seconds";
const JOB_WAIT: &str = "nexus_job_wait_seconds";
const PAYMENT_ALERTS: &str = "nexus_payment_alerts_total";
const INVARIANT_VIOLATIONS: &str = "nexus_invariant_violations";
const RELAY_LAG: &str = "nexus_relay_lag_seconds";

/// From a millisecond to a minute.
const SECONDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Shorter than Prometheus's scrape interval.
const PROCESS_MEASURED: Duration = Duration::from_secs(5);

/// Serves `/metrics` at `address`, if there is one. Call it inside the runtime.
pub fn export(address: Option<SocketAddr>) -> Result<()> {
    let Some(address) = address else { return Ok(()) };
    PrometheusBuilder::new()
        .with_http_listener(address)
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
        .map_err(Error::internal)?
        .install()
        .map_err(Error::internal)?;
    describe();
    tokio::spawn(measure_process());
    for reason in AlertReason::ALL {
        // Start at zero, so that Prometheus sees the first alert as an increase.
        counter!(PAYMENT_ALERTS, "reason" => reason.name()).absolute(0);
    }
    for limit in Limit::ALL {
        counter!(RATE_LIMITED, "limit" => limit.name()).absolute(0);
    }
    Ok(())
}

/// Measures each process's CPU, memory, files, threads and start time.
async fn measure_process() {
    let collector = metrics_process::Collector::default();
    collector.describe();
    let mut ticks = tokio::time::interval(PROCESS_MEASURED);
    loop {
        ticks.tick().await;
        collector.collect();
    }
}

fn describe() {
    describe_counter!(
        HTTP_REQUESTS,
        "Requests by method, route and status; a route is its pattern, or unmatched, or /socket.io"
    );
    describe_histogram!(
        HTTP_DURATION,
        Unit::Seconds,
        "Time to answer a request, by method and route"
    );
    describe_gauge!(HTTP_CONNECTIONS, "Connections that are open, sockets included");
    describe_counter!(
        HTTP_REFUSED,
        "Connections that were closed on their client, by reason: full, address (it has as many as it may), slow (to send or to read), unreadable"
    );
    describe_gauge!(
        REQUESTS_LIMIT,
        "How many requests and commands this process can serve at once in time"
    );
    describe_gauge!(
        REQUESTS_NOW,
        "Requests and commands by state: served, waiting (for others to be served)"
    );
    describe_counter!(
        REQUESTS_TURNED_AWAY,
        "Requests and commands that were told to come again because there was too much to do, by priority: pay, buy, enter, browse"
    );
    describe_gauge!(
        VISITORS,
        "Visitors of an event's waiting room by state: waiting, shopping (called, and not gone yet)"
    );
    describe_gauge!(
        CALLS_PER_MINUTE,
        "How many visitors of an event's waiting room are called in a minute at most, at present"
    );
    describe_counter!(VISITORS_CALLED, "Visitors of waiting rooms who have been called");
    describe_counter!(
        READ_GROUPS,
        "Groups of requests that were answered together from memory, by what they asked for"
    );
    describe_counter!(
        READS,
        "Comparisons of what is in memory with PostgreSQL, by what it is and what came of it: same, changed (or not there)"
    );
    describe_histogram!(
        SOCKET_COMMAND_DURATION,
        Unit::Seconds,
        "Time to answer a Socket.IO command, by name"
    );
    describe_gauge!(SOCKETS, "Socket.IO clients that are connected to this process");
    describe_counter!(
        SLOW_SOCKETS,
        "Socket.IO clients that were let go because they read too slowly, by the bound (bytes, seconds)"
    );
    describe_counter!(
        SOCKET_COMMANDS,
        "Socket.IO commands by name and outcome (ok, or the failure's code)"
    );
    describe_counter!(
        RATE_LIMITED,
        "Requests, commands and connections that a limit has refused, by limit"
    );
    describe_counter!(
        PUZZLES,
        "Puzzles (proof of work) by limit and outcome: given (instead of what was asked for), solved, refused (wrong, used, expired, for something else or too easy by now)"
    );
    describe_counter!(
        PASSWORD_LOOKUPS,
        "New passwords that were looked up in breaches, by outcome: unknown, breached, failed (and let pass)"
    );
    describe_counter!(
        CAPTCHAS,
        "People who wanted to join a waiting room, as a CAPTCHA service judged them: person, program, missing (no token), failed (and let pass)"
    );
    describe_counter!(BROADCASTS, "Broadcasts that this process sent, by event");
    describe_counter!(MAILS_REFUSED, "Mails that a server has refused for good: bounces");
    describe_counter!(CHECK_INS, "Scans of tickets at doors, by what they came to");
    describe_gauge!(
        DB_CONNECTIONS,
        "PostgreSQL connections of this process by pool and state (idle, used)"
    );
    describe_gauge!(DB_CONNECTIONS_MAX, "How many connections a pool may open");
    describe_counter!(
        JOBS_ENQUEUED,
        "Jobs that this process has enqueued, by queue and kind; also those of transactions that were rolled back"
    );
    describe_counter!(
        JOBS_RESCUED,
        "Jobs whose worker vanished or whose delivery was lost, by queue"
    );
    describe_gauge!(WORKER_SLOTS, "Jobs that this worker runs at once");
    describe_gauge!(
        JOBS,
        "Jobs by queue and state: due, scheduled, queued (in Redis), running, dead"
    );
    describe_gauge!(
        OLDEST_DUE,
        Unit::Seconds,
        "How long the oldest due job of a queue has been waiting"
    );
    describe_counter!(
        JOB_ATTEMPTS,
        "Attempts by queue, kind and outcome: done, retry, snooze, dead, lost, given_back"
    );
    describe_histogram!(
        JOB_DURATION,
        Unit::Seconds,
        "Time from claim to outcome, by queue and kind"
    );
    describe_histogram!(
        JOB_WAIT,
        Unit::Seconds,
        "Time from a job's being due to its claim, by queue and kind"
    );
    describe_counter!(PAYMENT_ALERTS, "Payments that operators have to look at, by reason");
    describe_gauge!(
        INVARIANT_VIOLATIONS,
        "Invariants that the newest check of the books has found broken"
    );
    describe_histogram!(
        RELAY_LAG,
        Unit::Seconds,
        "Time from a job's being due to its hand-over to Redis"
    );
}

/// A request has been answered.
pub fn request(method: &str, route: &str, status: u16, took: Duration) {
    let (method, route) = (method.to_owned(), route.to_owned());
    counter!(HTTP_REQUESTS, "method" => method.clone(), "route" => route.clone(), "status" => status.to_string())
        .increment(1);
    histogram!(HTTP_DURATION, "method" => method, "route" => route).record(took);
}

/// A connection that is open while this lives.
#[derive(Debug)]
pub struct Connection(());

impl Connection {
    /// Counts a connection that has been opened.
    pub fn open() -> Self {
        gauge!(HTTP_CONNECTIONS).increment(1);
        Connection(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        gauge!(HTTP_CONNECTIONS).decrement(1);
    }
}

/// A connection has been closed on its client.
pub fn refused(reason: &'static str) {
    counter!(HTTP_REFUSED, "reason" => reason).increment(1);
}

/// A group of requests has been answered.
pub fn read_group(what: &'static str) {
    counter!(READ_GROUPS, "what" => what).increment(1);
}

/// So many things in memory are what PostgreSQL has, and so many had to be read.
pub fn looked(what: &'static str, same: u64, changed: u64) {
    counter!(READS, "what" => what, "memory" => "same").increment(same);
    counter!(READS, "what" => what, "memory" => "changed").increment(changed);
}

/// A socket that is connected while this lives.
#[derive(Debug)]
pub struct Connected(());

impl Connected {
    /// Counts a socket that has connected.
    pub fn now() -> Self {
        gauge!(SOCKETS).increment(1);
        Connected(())
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        gauge!(SOCKETS).decrement(1);
    }
}

/// A client read too slowly, and was let go: more than so many `bytes` waited for it, or it took
/// nothing for so many `seconds`.
pub fn slow_socket(bound: &'static str) {
    counter!(SLOW_SOCKETS, "bound" => bound).increment(1);
}

/// A defined socket command has been answered: `ok`, or a failure's code.
pub fn socket_command(name: &str, outcome: &'static str, took: Duration) {
    counter!(SOCKET_COMMANDS, "command" => name.to_owned(), "outcome" => outcome).increment(1);
    histogram!(SOCKET_COMMAND_DURATION, "command" => name.to_owned()).record(took);
}

/// A limit has refused something.
pub fn rate_limited(limit: Limit) {
    counter!(RATE_LIMITED, "limit" => limit.name()).increment(1);
}

/// A mail server has refused a mail for good.
pub fn mail_refused() {
    counter!(MAILS_REFUSED).increment(1);
}

/// Somebody beyond a limit was given a puzzle, or has come back with one.
pub fn puzzle(limit: Limit, outcome: &'static str) {
    counter!(PUZZLES, "limit" => limit.name(), "outcome" => outcome).increment(1);
}

/// A new password has been looked up in breaches.
pub fn password_lookup(outcome: &'static str) {
    counter!(PASSWORD_LOOKUPS, "outcome" => outcome).increment(1);
}

/// A CAPTCHA service has judged somebody, or has not.
pub fn captcha(outcome: &'static str) {
    counter!(CAPTCHAS, "outcome" => outcome).increment(1);
}

/// A broadcast has been sent.
pub fn broadcast(event: &'static str) {
    counter!(BROADCASTS, "event" => event).increment(1);
}

/// A ticket has been scanned at a door.
pub fn check_in(result: &'static str) {
    counter!(CHECK_INS, "result" => result).increment(1);
}

/// The current use of a pool.
pub fn pool(name: &'static str, pool: &PgPool) {
    let idle = pool.num_idle();
    let used = (pool.size() as usize).saturating_sub(idle);
    gauge!(DB_CONNECTIONS, "pool" => name, "state" => "idle").set(idle as f64);
    gauge!(DB_CONNECTIONS, "pool" => name, "state" => "used").set(used as f64);
    gauge!(DB_CONNECTIONS_MAX, "pool" => name).set(f64::from(pool.options().get_max_connections()));
}

/// So many more requests and commands have been told to come again: there is too much to do.
pub fn turned_away(priority: &'static str, count: u64) {
    counter!(REQUESTS_TURNED_AWAY, "priority" => priority).increment(count);
}

/// How many requests and commands can be served at once, how many are, and how many wait.
pub fn load(limit: usize, served: usize, waiting: usize) {
    gauge!(REQUESTS_LIMIT).set(limit as f64);
    gauge!(REQUESTS_NOW, "state" => "served").set(served as f64);
    gauge!(REQUESTS_NOW, "state" => "waiting").set(waiting as f64);
}

/// So many visitors of waiting rooms have been called.
pub fn visitors_called(count: u64) {
    counter!(VISITORS_CALLED).increment(count);
}

/// How many visitors of an event's waiting room wait, how many shop, and how many are called in a
/// minute. Few events have one at a time.
pub fn waiting_room(event: EventId, waiting: i64, shopping: i64, calls_per_minute: i64) {
    let event = event.to_string();
    gauge!(VISITORS, "event" => event.clone(), "state" => "waiting").set(waiting as f64);
    gauge!(VISITORS, "event" => event.clone(), "state" => "shopping").set(shopping as f64);
    gauge!(CALLS_PER_MINUTE, "event" => event).set(calls_per_minute as f64);
}

/// The number of jobs that a worker of `queue` runs at once.
pub fn slots(queue: Queue, slots: usize) {
    gauge!(WORKER_SLOTS, "queue" => queue.name()).set(slots as f64);
}

/// A queue's jobs by state, and how long the oldest has been due.
pub fn depth(queue: Queue, states: [(&'static str, i64); 5], oldest_due: Duration) {
    for (state, count) in states {
        gauge!(JOBS, "queue" => queue.name(), "state" => state).set(count as f64);
    }
    gauge!(OLDEST_DUE, "queue" => queue.name()).set(oldest_due.as_secs_f64());
}

/// Jobs have been enqueued.
pub fn enqueued(queue: Queue, kind: &'static str, jobs: u64) {
    counter!(JOBS_ENQUEUED, "queue" => queue.name(), "kind" => kind).increment(jobs);
}

/// Jobs are due again because their worker vanished, or their delivery was lost.
pub fn rescued(queue: Queue, jobs: u64) {
    counter!(JOBS_RESCUED, "queue" => queue.name()).increment(jobs);
}

/// A job has been claimed, `waited` after it was due.
pub fn claimed(queue: Queue, kind: &str, waited: Duration) {
    histogram!(JOB_WAIT, "queue" => queue.name(), "kind" => kind.to_owned()).record(waited);
}

/// An attempt has ended.
pub fn attempt(queue: Queue, kind: &str, outcome: &'static str, took: Duration) {
    let kind = kind.to_owned();
    counter!(JOB_ATTEMPTS, "queue" => queue.name(), "kind" => kind.clone(), "outcome" => outcome)
        .increment(1);
    histogram!(JOB_DURATION, "queue" => queue.name(), "kind" => kind).record(took);
}

/// Jobs have been handed to Redis; `lag` is the longest time that one had been due.
pub fn handed_over(queue: Queue, lag: Duration) {
    histogram!(RELAY_LAG, "queue" => queue.name()).record(lag);
}

/// Operators have to look at a payment.
pub fn payment_alert(reason: &'static str) {
    counter!(PAYMENT_ALERTS, "reason" => reason).increment(1);
}

/// The books have been checked.
pub fn books_checked(violations: usize) {
    gauge!(INVARIANT_VIOLATIONS).set(violations as f64);
}
