//! No buyer pays for nothing: of the webhooks of hundreds of payments three tenths are lost, two
//! tenths come twice, the rest late or after their successors, while workers and API processes are
//! killed. In the end every paisa is a seat or a refund, and no buyer has waited for longer than
//! the reconciler takes.
//!
//! `NEXUS_CHAOS_PAYMENTS` says how many buyers there are, `NEXUS_CHAOS_SEED` what they do and what
//! happens to them, `NEXUS_CHAOS_REPORT` names a file for what was measured (`make chaos`).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nexus_tests::client::http_client;
use nexus_tests::seeded_rng::SeededRng;
use nexus_tests::settings::setting;
use nexus_tests::{
    Booking, Client, Event, Fault, Method, Response, Stack, Target, Value, eventually, json,
};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

use crate::turn;

/// From one look of the reconciler to the next, and how long webhooks get before; seconds.
const EVERY: u64 = 10;
const AFTER: u64 = 2;
/// What may come on top of that on a busy machine: a killed worker's start, its lease of two
/// seconds, the look and the work itself.
const PROCESSING: f64 = 20.0;
/// From booking to payment; seconds.
const DEADLINE: u64 = 20;
/// Everything a buyer wants to do succeeds within this time.
const PATIENCE: Duration = Duration::from_secs(60);
/// From one buyer's arrival to the next.
const ARRIVALS: Duration = Duration::from_millis(90);
/// Buyers who talk to the API at once.
const AT_ONCE: usize = 12;
/// A process that was killed is there again within this time.
const START: Duration = Duration::from_secs(30);

/// What a buyer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Habit {
    Pays,
    PaysWithAnAuthorization,
    FailsFirst,
    PaysTwice,
    PaysLate,
    PaysLateForASeatThatIsGone,
}

/// A payment that has gone through at the provider.
#[derive(Debug)]
struct Paid {
    payment: String,
    at: f64,
    habit: Habit,
}

fn habit(rng: &mut SeededRng) -> Habit {
    match rng.below(100) {
        0..65 => Habit::Pays,
        65..80 => Habit::PaysWithAnAuthorization,
        80..86 => Habit::FailsFirst,
        86..92 => Habit::PaysTwice,
        92..96 => Habit::PaysLate,
        _ => Habit::PaysLateForASeatThatIsGone,
    }
}

fn now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64()
}

/// A buyer, with what a buyer knows.
struct Buyer {
    client: Client,
    rival: Client,
    event: Event,
    label: String,
    habit: Habit,
    bank: reqwest::Client,
    checkout: String,
    slots: Arc<Semaphore>,
    arrives_after: Duration,
}

impl Buyer {
    /// Asks until there is a response that is neither a failure of the API nor of its machine.
    async fn insist(&self, client: &Client, method: Method, path: &str, body: Value) -> Response {
        let _slot = self.slots.acquire().await.unwrap();
        eventually(&format!("{path} is answered"), PATIENCE, async || {
            let response =
                Response::try_to(client.request(method.clone(), path).json(&body)).await?;
            if response.status >= 500 { Err(response.to_string()) } else { Ok(response) }
        })
        .await
    }

    async fn lock(&self, client: &Client) -> Response {
        let path =
            format!("/seats/{}/seat-types/{}/lock", self.event.id, self.event.seat_type("VIP"));
        self.insist(client, Method::POST, &path, json!({"seat_label": self.label})).await
    }

    async fn book(&self) -> Booking {
        // A response may have been lost with its API process; then the seat is ours although it is
        // "taken".
        let response = self.lock(&self.client).await;
        assert!(matches!(response.status, 200 | 409), "{response}");
        let seats =
            json!([{"seat_label": self.label, "seat_type_id": self.event.seat_type("VIP")}]);
        let request = json!({"event_id": self.event.id, "seat_details": seats});
        let response = self.insist(&self.client, Method::POST, "/bookings/create", request).await;
        if response.status == 200 {
            return Booking::from_created(&response.data());
        }
        assert_eq!(response.status, 409, "{response}");
        let mine =
            self.insist(&self.client, Method::GET, "/bookings/my-bookings", json!({})).await.data();
        Booking::from_created(&json!({ "booking": mine[0] }))
    }

    /// `None` when everything took so long that the deadline has passed.
    async fn order(&self, booking: &Booking) -> Option<String> {
        let request = json!({"booking_id": booking.id, "amount": booking.total, "currency": "INR"});
        let response =
            self.insist(&self.client, Method::POST, "/payments/create-order", request).await;
        if response.status == 410 {
            return None;
        }
        Some(response.data()["order_id"].as_str().unwrap().to_owned())
    }

    async fn pay(&self, order: &str, outcome: &str) -> Paid {
        let request =
            self.bank.post(&self.checkout).json(&json!({"order_id": order, "outcome": outcome}));
        let paid: Value = request.send().await.unwrap().json().await.unwrap();
        let payment = paid["payment"]["id"]
            .as_str()
            .unwrap_or_else(|| panic!("no payment in {paid}"))
            .to_owned();
        Paid { payment, at: now(), habit: self.habit }
    }

    async fn live(self) -> Vec<Paid> {
        tokio::time::sleep(self.arrives_after).await;
        let booking = self.book().await;
        let Some(order) = self.order(&booking).await else { return vec![] };
        match self.habit {
            Habit::Pays => vec![self.pay(&order, "captured").await],
            Habit::PaysWithAnAuthorization => vec![self.pay(&order, "authorized").await],
            Habit::FailsFirst => {
                self.pay(&order, "failed").await;
                vec![self.pay(&order, "captured").await]
            }
            Habit::PaysTwice => {
                vec![self.pay(&order, "captured").await, self.pay(&order, "captured").await]
            }
            Habit::PaysLate => {
                tokio::time::sleep(Duration::from_secs(DEADLINE + 1)).await;
                vec![self.pay(&order, "captured").await]
            }
            Habit::PaysLateForASeatThatIsGone => {
                eventually(
                    "the rival has the seat",
                    PATIENCE + Duration::from_secs(DEADLINE),
                    async || {
                        let response = self.lock(&self.rival).await;
                        if response.status == 200 {
                            return Ok(());
                        }
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        Err(response.to_string())
                    },
                )
                .await;
                vec![self.pay(&order, "captured").await]
            }
        }
    }
}

/// Kills one process after the other until all buyers are done; returns how often each was killed.
async fn kill_until_done(
    stack: &mut Stack,
    buyers: &mut JoinSet<Vec<Paid>>,
    rng: &mut SeededRng,
) -> (Vec<Paid>, BTreeMap<&'static str, u32>) {
    let (mut paid, mut kills) = (Vec::new(), BTreeMap::new());
    loop {
        let pause = Duration::from_millis(1_500 + rng.below(2_500));
        let until = Instant::now() + pause;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            match tokio::time::timeout(left, buyers.join_next()).await {
                Ok(Some(buyer)) => paid.extend(buyer.expect("a buyer's story")),
                Ok(None) => return (paid, kills),
                Err(_) => break,
            }
        }
        let victim = match rng.below(100) {
            0..45 => "payments",
            45..65 => "expiry",
            65..82 => "api 0",
            _ => "api 1",
        };
        *kills.entry(victim).or_default() += 1;
        match victim {
            "api 0" | "api 1" => {
                let index = usize::from(victim == "api 1");
                stack.api(index).kill_9().await;
                stack.restart_api(index).await;
            }
            queue => {
                stack.worker(queue).kill_9().await;
                stack.worker(queue).start();
                stack.worker(queue).wait_for_log("worker ready", START).await;
            }
        }
    }
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let index = ((sorted.len() as f64 - 1.0) * share).round() as usize;
    sorted.get(index).copied().unwrap_or_default()
}

#[tokio::test]
async fn every_paisa_is_a_seat_or_a_refund_while_webhooks_are_lost_and_processes_die() {
    let _turn = turn().await;
    LocalSet::new().run_until(sell_in_chaos()).await;
}

async fn sell_in_chaos() {
    let (count, seed) = (setting("NEXUS_CHAOS_PAYMENTS", 200), setting("NEXUS_CHAOS_SEED", 5));
    let mut stack = Stack::builder()
        .without_limits()
        .workers(["payments", "expiry"])
        .api_processes(2)
        .env("RECONCILE_EVERY_SECONDS", EVERY)
        .env("RECONCILE_AFTER_SECONDS", AFTER)
        .env("RECONCILE_PER_SECOND", 100)
        .env("BOOKING_SECONDS", DEADLINE)
        .env("JOB_LEASE_MS", 2_000)
        .env("JOB_LOST_MS", 2_000)
        .start()
        .await;
    let late = Fault::late_up_to(Duration::from_secs(4));
    let shares =
        [(30, Fault::lost()), (20, Fault::duplicated(1)), (25, Fault::reordered()), (25, late)];
    stack.providers.faults_by_chance(Target::Webhook, seed, &shares);

    let organiser = stack.user().await;
    let mut events = Vec::new();
    for _ in 0..4 {
        events.push(stack.event(&organiser, &[("VIP", 100.0, 5_000)]).await);
    }
    let mut rng = SeededRng(seed);
    let users = stack.users(2 * count as usize).await;
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let started = Instant::now();
    let mut buyers = JoinSet::new();
    for (n, pair) in users.chunks(2).enumerate() {
        let buyer = Buyer {
            client: pair[0].clone().at(&stack.api_url(n % 2)),
            rival: pair[1].clone(),
            event: events[n % events.len()].clone(),
            label: format!("S{n}"),
            habit: habit(&mut rng),
            bank: http_client(),
            checkout: format!("{}/sandbox/pay", stack.providers.url()),
            slots: slots.clone(),
            arrives_after: ARRIVALS * n as u32,
        };
        buyers.spawn_local(buyer.live());
    }
    let (paid, kills) = kill_until_done(&mut stack, &mut buyers, &mut rng).await;
    stack.until_settled(Duration::from_secs(120)).await;
    let took = started.elapsed();
    stack.assert_invariants().await;
    let (taken, back, sold) = stack.money().await;
    assert_eq!(taken - back, sold, "paise taken, less those sent back, against confirmed bookings");

    // How long each buyer waited until it was decided: a seat, or money back.
    let decided = stack.decisions().await;
    let mut waits: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut lapsed = 0;
    let told = "SELECT convert_from(body, 'UTF8')::jsonb #>> '{payload,payment,entity,id}' AS id FROM webhook_events";
    let told: Vec<Value> = stack.rows(told).await;
    for payment in &paid {
        let Some((at, _)) = decided.get(&payment.payment) else {
            lapsed += 1;
            continue;
        };
        let heard = told.iter().any(|webhook| webhook["id"] == payment.payment.as_str());
        let wait = (at - payment.at).max(0.0);
        waits
            .entry(if heard { "a webhook came" } else { "every webhook was lost" })
            .or_default()
            .push(wait);
        waits.entry("all").or_default().push(wait);
    }
    let report = describe(&stack, &paid, &kills, &mut waits, (taken, back, lapsed), (seed, took));
    eprintln!("{report}");
    if let Ok(path) = std::env::var("NEXUS_CHAOS_REPORT") {
        std::fs::write(path, &report).expect("the report");
    }
    let bound = (EVERY + AFTER) as f64 + PROCESSING;
    let longest = quantile(&waits["all"], 1.0);
    assert!(longest <= bound, "somebody waited for {longest:.1} s, longer than {bound:.0} s");
    assert!(paid.len() as u64 >= count * 9 / 10, "only {} payments of {count} buyers", paid.len());
}

fn describe(
    stack: &Stack,
    paid: &[Paid],
    kills: &BTreeMap<&str, u32>,
    waits: &mut BTreeMap<&str, Vec<f64>>,
    (taken, back, lapsed): (i64, i64, usize),
    (seed, took): (u64, Duration),
) -> String {
    let mut habits: BTreeMap<Habit, usize> = BTreeMap::new();
    paid.iter().for_each(|payment| *habits.entry(payment.habit).or_default() += 1);
    let webhooks = stack.providers.webhooks();
    let lost = webhooks.iter().filter(|webhook| webhook.state == "lost").count();
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} payments in {:.0} s, seed {seed}: {habits:?}\n",
        paid.len(),
        took.as_secs_f64()
    );
    let _ =
        writeln!(text, "webhooks: {} of which {lost} were lost; killed: {kills:?}", webhooks.len());
    let _ = writeln!(
        text,
        "paise taken {taken}, sent back {back}, in confirmed bookings {}; {lapsed} authorizations lapse\n",
        taken - back
    );
    let _ = writeln!(
        text,
        "| seconds until decided | payments | median | 90 % | 99 % | longest |\n|---|---|---|---|---|---|"
    );
    for (which, waits) in waits.iter_mut() {
        waits.sort_by(f64::total_cmp);
        let [half, most, nearly, all] = [0.5, 0.9, 0.99, 1.0].map(|share| quantile(waits, share));
        let _ = writeln!(
            text,
            "| {which} | {} | {half:.2} | {most:.2} | {nearly:.2} | {all:.2} |",
            waits.len()
        );
    }
    text
}
