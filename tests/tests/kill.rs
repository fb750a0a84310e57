//! A hundred faults under load, at random: workers and API processes are killed, Redis is emptied and killed, PostgreSQL is killed. Afterwards
//! every job is done, or dead with a reason; every effect happened exactly once; nothing is stuck, and Redis holds nothing stale.
//!
//! NEXUS_SEED repeats a sequence of faults (not their timing). The report is printed and kept as `kill-report.txt` in cargo's folder for
//! the files of tests.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nexus_sandbox::ports;
use nexus_sandbox::postgres::Postgres;
use nexus_sandbox::providers::Providers;
use nexus_sandbox::redis::Redis;
use nexus_tests::client::http_client;
use nexus_tests::looking::ask_redis;
use nexus_tests::probes::Processes;
use nexus_tests::stack::QUEUES;
use nexus_tests::{
    Answer, Client, Event, Fault, Method, Outcome, Pay, Stack, Target, Value, eventually, json, seen,
};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::time::{sleep, timeout};

const FAULTS: usize = 100;
const JOBS: i64 = 2_000;
/// For whatever has to happen after the last fault.
const AFTERWARDS: Duration = Duration::from_secs(60);

/// SplitMix64: the same seed, the same faults.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn pause(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// Everything that may be killed.
struct World<'a> {
    postgres: &'a mut Postgres,
    redis: &'a mut Redis,
    apis: Processes,
    workers: Vec<Processes>,
}

impl World<'_> {
    /// Whatever has died, by a fault or by its own jobs, is started again, as any supervisor does.
    fn supervise(&mut self) {
        self.apis.supervise();
        self.workers.iter_mut().for_each(Processes::supervise);
    }

    /// One fault at random; says which.
    async fn fault(&mut self, dice: &mut Dice) -> &'static str {
        match dice.below(100) {
            0..45 => {
                let kind = dice.below(self.workers.len() as u64) as usize;
                kill(&mut self.workers[kind], dice).await;
                "worker killed"
            }
            45..65 => {
                kill(&mut self.apis, dice).await;
                "API process killed"
            }
            65..77 => {
                ask_redis(self.redis.port(), "FLUSHALL").await;
                "Redis emptied"
            }
            77..89 => {
                self.redis.kill().await.expect("a kill");
                sleep(dice.pause(0, 500)).await;
                self.redis.restart().await.expect("Redis");
                "Redis killed and started"
            }
            _ => {
                self.postgres.kill().await.expect("a kill");
                sleep(dice.pause(0, 500)).await;
                self.postgres.restart().await.expect("PostgreSQL");
                "PostgreSQL killed and started"
            }
        }
    }
}

async fn kill(processes: &mut Processes, dice: &mut Dice) {
    let victim = dice.below(processes.len() as u64) as usize;
    processes.process(victim).kill_9_if_running().await;
    sleep(dice.pause(0, 300)).await;
}

/// People and jobs, until `over`.
struct Load<'a> {
    db: PgPool,
    providers: &'a Providers,
    urls: [String; 2],
    event: Event,
    over: AtomicBool,
    next: AtomicUsize,
}

impl Load<'_> {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn next(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A few probes at a time, each with its own fate.
    async fn probes(&self) {
        let fates = [
            json!(["done"]),
            json!([{"sleep": 300}]),
            json!([{"sleep": 1_500}]),
            json!(["retry", "done"]),
            json!(["panic", "done"]),
            json!([{"snooze": 400}, "done"]),
            json!([{"retry_after": 700}, "done"]),
        ];
        while !self.is_over() {
            for _ in 0..3 {
                let n = self.next();
                let steps = match n % 200 {
                    7 => json!(["die_before_commit", "done"]),
                    107 => json!(["die_after_commit"]),
                    57 | 157 => json!(["discard"]),
                    n => fates[n % fates.len()].clone(),
                };
                let insert = format!(
                    "INSERT INTO jobs (id, queue, kind, payload, max_attempts)
                     VALUES (gen_random_uuid(), 'cleanup', 'probe', '{}', 20)",
                    json!({"steps": steps})
                );
                while sqlx::query(AssertSqlSafe(insert.clone())).execute(&self.db).await.is_err() {
                    sleep(Duration::from_millis(50)).await;
                }
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Asks at either API process until one says yes.
    async fn ask(&self, client: &Client, method: Method, path: &str, body: &Value) -> Option<Value> {
        let client = client.clone().at(&self.urls[self.next() % 2]);
        let request = client.request(method.clone(), path);
        let request = if method == Method::GET { request } else { request.json(body) };
        match timeout(Duration::from_secs(10), Answer::try_to(request)).await {
            Ok(Ok(answer)) if answer.status == 200 => Some(answer.body["data"].clone()),
            _ => None,
        }
    }

    /// One-time passwords for one phone after the other.
    async fn codes(&self) {
        let http = http_client();
        while !self.is_over() {
            let phone = json!({"phone": format!("+9197{:08}", self.next())});
            let somebody = Client::anonymous(&http, &self.urls[0]);
            while self.ask(&somebody, Method::POST, "/auth/send-otp", &phone).await.is_none() {
                sleep(Duration::from_millis(200)).await;
            }
            sleep(Duration::from_millis(350)).await;
        }
    }

    /// Each locks a seat, books it and pays; every fourth only locks.
    async fn buyers(&self, buyers: &[Client]) {
        for buyer in buyers {
            if self.is_over() {
                return;
            }
            let label = format!("S{}", buyer.id);
            let seat = self.event.seat_type("VIP");
            let lock = format!("/seats/{}/seat-types/{seat}/lock", self.event.id);
            if buyer.id % 4 == 0 {
                self.ask(buyer, Method::POST, &lock, &json!({"seat_label": label})).await;
            } else {
                let begun = Instant::now();
                // Whoever has not got so far in half a minute goes home.
                let _ = timeout(Duration::from_secs(30), self.buy(buyer, &lock, &label)).await;
                sleep(Duration::from_millis(600).saturating_sub(begun.elapsed())).await;
            }
        }
    }

    async fn buy(&self, buyer: &Client, lock: &str, label: &str) {
        let seat = self.event.seat_type("VIP");
        let book =
            json!({"event_id": self.event.id, "seat_details": [{"seat_label": label, "seat_type_id": seat}]});
        // An answer may be lost when what it tells of is done: so one looks before one asks again.
        let (id, total) = loop {
            self.ask(buyer, Method::POST, lock, &json!({"seat_label": label})).await;
            self.ask(buyer, Method::POST, "/bookings/create", &book).await;
            let mine = self.ask(buyer, Method::GET, "/bookings/my-bookings", &Value::Null).await;
            let mine = mine.map(|mine| mine[0].clone()).unwrap_or_default();
            if let (Some(id), Some(total)) = (mine["id"].as_i64(), mine["total_amount"].as_f64()) {
                break (id, total);
            }
            sleep(Duration::from_millis(300)).await;
        };
        let order = json!({"booking_id": id, "amount": total, "currency": "INR"});
        loop {
            if let Some(data) = self.ask(buyer, Method::POST, "/payments/create-order", &order).await {
                let order = data["order_id"].as_str().expect("an order id");
                let outcome = if id % 3 == 0 { Outcome::Authorized } else { Outcome::Captured };
                self.providers.pay(&Pay::order(order, outcome)).expect("a payment");
                return;
            }
            sleep(Duration::from_millis(300)).await;
        }
    }
}

/// Kills and starts, while the load goes on; says how many faults of which kind there were.
async fn wreak_havoc(
    world: &mut World<'_>,
    dice: &mut Dice,
    load: &Load<'_>,
) -> BTreeMap<&'static str, usize> {
    let mut faults = BTreeMap::new();
    for _ in 0..FAULTS {
        sleep(dice.pause(300, 1_500)).await;
        let fault = world.fault(dice).await;
        world.supervise();
        *faults.entry(fault).or_default() += 1;
    }
    load.over.store(true, Ordering::Relaxed);
    faults
}

#[tokio::test]
async fn a_hundred_faults_under_load_cost_no_job_and_no_effect() {
    let begun = Instant::now();
    let seed = match std::env::var("NEXUS_SEED") {
        Ok(seed) => seed.parse().expect("a number in NEXUS_SEED"),
        Err(_) => SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
    };
    println!("NEXUS_SEED={seed}");
    let mut dice = Dice(seed);

    let stack = Stack::builder().workers([]).env("JOB_LEASE_MS", 3_000).env("JOB_LOST_MS", 4_000);
    let stack =
        stack.env("DATABASE_MAX_CONNECTIONS", 6).env("SEAT_LOCK_SECONDS", 20).env("BOOKING_SECONDS", 40);
    let mut stack = stack.start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 2_000)]).await;
    let buyers = stack.users(600).await;
    // Its place is taken by two that die.
    stack.api(0).stop().await;
    let mut apis = stack.processes("nexus-api", 2, &[]);
    let urls = [0, 1].map(|n| {
        let port = ports::free().to_string();
        apis.process(n).add_arguments(&["serve"]);
        apis.process(n).set_env("PORT", &port);
        format!("http://127.0.0.1:{port}")
    });
    stack.providers.set_webhook_url(format!("{}/api/v1/payments/webhook", urls[0]));
    // Slow to answer: a process may die when its call has been made and before it knows.
    for target in [Target::TwilioVerify, Target::Smtp, Target::RazorpayCapture] {
        stack.providers.fault(target, None, Fault::delay_response(Duration::from_millis(200)));
    }
    let mut workers = vec![stack.probes(2, &[("WORKER_CONCURRENCY", "8")]).await];
    for (queue, count) in [("otp", 2), ("payments", 2), ("bookings", 1), ("notifications", 2), ("expiry", 2)]
    {
        workers.push(stack.processes(&format!("nexus-worker-{queue}"), count, &[]));
    }
    let load = Load {
        db: stack.db.clone(),
        providers: &stack.providers,
        urls,
        event,
        over: AtomicBool::new(false),
        next: AtomicUsize::new(0),
    };
    let mut world = World { postgres: &mut stack.postgres, redis: &mut stack.redis, apis, workers };
    world.supervise();
    let (one, other) = buyers.split_at(buyers.len() / 2);
    let (faults, ..) = tokio::join!(
        wreak_havoc(&mut world, &mut dice, &load),
        load.probes(),
        load.codes(),
        load.buyers(one),
        load.buyers(other),
    );
    let World { apis: _apis, mut workers, .. } = world;
    let quiet = Instant::now();

    // Whoever was too slow for two thousand jobs gets the rest now.
    let missing = JOBS - stack.count("jobs").await;
    stack.flood(missing.max(0) as u32, json!(["done"])).await;
    let unfinished =
        "SELECT * FROM jobs WHERE state IN ('pending', 'queued', 'running') AND kind <> 'sweep_expired'";
    eventually("every job is done or dead", AFTERWARDS, async || {
        // Its own jobs may kill a worker even now.
        workers.iter_mut().for_each(Processes::supervise);
        let pending =
            stack.providers.webhooks().into_iter().filter(|webhook| webhook.state != "delivered").count();
        let left = stack.rows(unfinished).await;
        seen(left.is_empty() && pending == 0, (pending, left)).map(drop)
    })
    .await;
    let settled = quiet.elapsed();

    assert_dead_with_a_reason(&stack).await;
    let calls = assert_effects(&stack).await;
    assert_nothing_stale_in_redis(&stack, &mut workers).await;
    let report = report(&stack, seed, &faults, &calls, settled, begun.elapsed()).await;
    println!("{report}");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kill-report.txt");
    std::fs::write(&path, report).expect("the report is written");

    // The rest of what must hold, but for what was to be discarded.
    stack.execute("DELETE FROM jobs WHERE state = 'dead'").await;
    stack.assert_invariants_with(&QUEUES).await;
}

/// Only what asked for it has died.
async fn assert_dead_with_a_reason(stack: &Stack) {
    let asked = "kind = 'probe' AND payload->'steps'->>0 = 'discard'";
    let other = format!("SELECT * FROM jobs WHERE (state = 'dead') <> ({asked})");
    let other = stack.rows(&other).await;
    assert!(other.is_empty(), "dead without having asked for it, or alive all the same: {other:#?}");
    let silent = stack.rows("SELECT * FROM jobs WHERE state = 'dead' AND last_error <> 'as told'").await;
    assert!(silent.is_empty(), "{silent:#?}");
}

/// Outward calls of one kind: how many jobs made them, how often they were made, how often at most.
type Calls = BTreeMap<&'static str, (u64, u64)>;

/// What is in PostgreSQL happened exactly once. An outward call happened at least once, and once more at most for each attempt that failed.
async fn assert_effects(stack: &Stack) -> Calls {
    let wrong = "SELECT j.id, j.payload, j.errors, count(e.n) AS effects FROM jobs j LEFT JOIN probe_effects e ON e.job_id = j.id
                 WHERE j.kind = 'probe' GROUP BY j.id HAVING count(e.n) <> (j.state = 'done')::int";
    let wrong = stack.rows(wrong).await;
    assert!(wrong.is_empty(), "effects that did not happen once: {wrong:#?}");

    let attempts =
        "SELECT count(*) AS jobs, coalesce(sum(1 + jsonb_array_length(errors)), 0)::bigint AS most FROM jobs";
    let mut calls = Calls::new();
    let mut check = |what, row: Value, made: u64| {
        let (jobs, most) = (row["jobs"].as_u64().unwrap(), row["most"].as_u64().unwrap());
        assert!((jobs..=most).contains(&made), "{what}: {made} calls for {jobs} jobs with {most} attempts");
        calls.insert(what, (jobs, made));
    };
    let codes = stack.row(&format!("{attempts} WHERE kind = 'send_otp'")).await;
    check("one-time passwords", codes, stack.providers.count(Target::TwilioVerify).succeeded);

    // Each mail is known by its Message-ID.
    let mut mails = BTreeMap::<_, u64>::new();
    for mail in stack.providers.mail() {
        *mails.entry(mail.message_id.expect("a Message-ID")).or_default() += 1;
    }
    let told = stack.rows("SELECT lower(booking_reference) AS reference, 1 + jsonb_array_length(errors) AS most
                           FROM bookings b JOIN jobs ON kind = 'email_tickets' AND payload->>'booking_id' = b.id::text").await;
    for mail in &told {
        let id = mail["reference"].as_str().unwrap();
        let came: u64 = mails.iter().filter(|(known, _)| known.contains(id)).map(|(_, count)| count).sum();
        assert!((1..=mail["most"].as_u64().unwrap()).contains(&came), "{came} mails: {mail}");
    }
    let mailed = stack.row(&format!("{attempts} WHERE kind = 'email_tickets'")).await;
    check("mails", mailed, mails.values().sum());

    let captured = stack.providers.payments().iter().filter(|payment| payment.captured).count() as i64;
    assert_eq!(stack.count("payments WHERE kind = 'capture'").await, captured, "captures in the ledger");
    let refunded: i64 = stack.providers.refunds().len() as i64;
    assert_eq!(stack.count("payments WHERE kind = 'refund'").await, refunded, "refunds in the ledger");
    calls
}

/// Of jobs there is nothing left; of workers, only those that live.
async fn assert_nothing_stale_in_redis(stack: &Stack, workers: &mut [Processes]) {
    let alive: usize = workers.iter().map(Processes::len).sum();
    eventually("Redis holds nothing stale", AFTERWARDS, async || {
        workers.iter_mut().for_each(Processes::supervise);
        let mut registered = 0;
        let mut stale = Vec::new();
        for key in stack.redis_keys().await {
            let is_registry = key.starts_with("nexus:") && key.ends_with(":workers");
            if is_registry {
                registered += stack.redis_list(&format!("ZRANGE {key} 0 -1")).await.len();
            }
            let lasts = is_registry || key.ends_with(":signal") || key == "core:apalis:queues:list";
            let forgets_itself = stack.redis_command(&format!("PTTL {key}")).await != ":-1";
            if !lasts && !forgets_itself {
                stale.push(key);
            }
        }
        seen(stale.is_empty() && registered == alive, (stale, registered, alive)).map(drop)
    })
    .await;
}

async fn report(
    stack: &Stack,
    seed: u64,
    faults: &BTreeMap<&str, usize>,
    calls: &Calls,
    settled: Duration,
    total: Duration,
) -> String {
    let mut report = format!("NEXUS_SEED={seed}\n\n{:>6}  faults\n", faults.values().sum::<usize>());
    for (fault, count) in faults {
        let _ = writeln!(report, "{count:>6}    {fault}");
    }
    let _ = writeln!(report, "{:>6}  jobs", stack.count("jobs").await);
    for row in
        stack.rows("SELECT kind, state, count(*) AS n FROM jobs GROUP BY 1, 2 ORDER BY 1, 2::text").await
    {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let _ = writeln!(report, "{:>6}    {} {}", row["n"].to_string(), text("kind"), text("state"));
    }
    let attempts = "jobs, jsonb_array_elements(errors) error WHERE error->>'error'";
    let vanished = stack.count(&format!("{attempts} LIKE '% vanished'")).await;
    let _ = writeln!(report, "{vanished:>6}  attempts ended with their worker");
    let _ = writeln!(
        report,
        "{:>6}  deliveries",
        stack.row("SELECT sum(delivery) AS n FROM jobs").await["n"].to_string()
    );
    for (what, (jobs, made)) in calls {
        let _ = writeln!(report, "{:>6}  {what} were sent once more than needed, of {made}", made - jobs);
    }
    for row in stack.rows("SELECT status, count(*) AS n FROM bookings GROUP BY 1 ORDER BY 1").await {
        let _ = writeln!(
            report,
            "{:>6}  bookings {}",
            row["n"].to_string(),
            row["status"].as_str().unwrap_or_default()
        );
    }
    let outage = "SELECT max(gap)::float8 AS s FROM (
                      SELECT extract(epoch FROM finished_at - lag(finished_at) OVER (ORDER BY finished_at)) AS gap FROM jobs
                      WHERE finished_at IS NOT NULL) gaps";
    let slowest = "SELECT extract(epoch FROM max(finished_at - created_at))::float8 AS s FROM jobs";
    for (what, query) in
        [("was the longest time in which no job ended", outage), ("took the slowest job", slowest)]
    {
        let seconds = stack.row(query).await["s"].as_f64().unwrap_or_default();
        let _ = writeln!(report, "{seconds:>6.1}s {what}");
    }
    let _ = writeln!(report, "{:>6.1}s after the last fault, everything was done", settled.as_secs_f64());
    let _ = writeln!(report, "{:>6.1}s in all", total.as_secs_f64());
    report
}
