//! What goes wrong, and when. Of each kind of process one lives through it all, so that its growth
//! shows; the other is killed again and again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nexus_tests::looking::ask_redis;
use nexus_tests::probes::Processes;
use nexus_tests::program::Program;
use nexus_tests::seeded_rng::SeededRng;
use nexus_tests::stack::QUEUES;
use nexus_tests::{Fault, SOON, Stack, Target};
use tokio::time::sleep;

use super::record::now;
use super::watch::Watch;

/// DATABASE_MAX_CONNECTIONS of each process.
pub(crate) const CONNECTIONS: usize = 8;
/// How long people notice something after it is over: the longest time-out, and what a process
/// takes to start.
const ECHO: f64 = 20.0;
/// Kinds of faults, see [`FaultInjector::fault`].
const CARDS: u64 = 13;

pub(crate) struct FaultInjector {
    rng: SeededRng,
    deck: Vec<u64>,
    api: Processes,
    url: String,
    elder: String,
    workers: Vec<Processes>,
    /// When something was wrong: from, to.
    windows: Vec<(f64, f64)>,
    pub(crate) faults: BTreeMap<&'static str, u32>,
}

const UNAVAILABLE: &str = "providers answer 503, mail servers 451";

impl FaultInjector {
    pub(crate) async fn new(stack: &mut Stack, seed: u64) -> Self {
        let (mut api, mut urls) = stack.further_apis(1, &[]);
        api.supervise();
        stack.until_ready_at(&urls[0]).await;
        let mut workers: Vec<Processes> = QUEUES
            .iter()
            .map(|queue| stack.processes(&format!("nexus-worker-{queue}"), 1, &[]))
            .collect();
        for worker in &mut workers {
            worker.start().await;
        }
        let url = urls.remove(0);
        // Webhooks go wrong all the time.
        let late = Fault::late_up_to(Duration::from_secs(3));
        let shares =
            [(20, Fault::lost()), (20, Fault::duplicated(2)), (20, Fault::reordered()), (20, late)];
        stack.providers.faults_by_chance(Target::Webhook, seed, &shares);
        let elder = stack.api_url(0);
        Self {
            rng: super::own_rng(seed, 1_000),
            deck: Vec::new(),
            api,
            url,
            elder,
            workers,
            windows: Vec::new(),
            faults: BTreeMap::new(),
        }
    }

    /// The elder API process, which is never killed, and the younger.
    pub(crate) fn urls(&self) -> [String; 2] {
        [self.elder.clone(), self.url.clone()]
    }

    /// The younger processes.
    pub(crate) fn younger(&mut self) -> impl Iterator<Item = &mut Program> {
        std::iter::once(&mut self.api)
            .chain(&mut self.workers)
            .map(|processes| processes.process(0))
    }

    /// Whether something was wrong at a time, or shortly before.
    pub(crate) fn is_excused(&self, from: f64, to: f64) -> bool {
        self.windows.iter().any(|(begun, ended)| from < ended + ECHO && to > begun - 1.0)
    }

    /// So many of the seconds could be compared with nothing being wrong.
    pub(crate) fn quiet(&self, from: f64, to: f64) -> f64 {
        let mut quiet = 0.0;
        let mut at = from;
        while at < to {
            quiet += f64::from(u8::from(!self.is_excused(at, at)));
            at += 1.0;
        }
        quiet
    }

    /// A time without faults, then one fault. Longer times in long runs, so that there are times
    /// with nothing wrong at all.
    pub(crate) async fn step(&mut self, stack: &mut Stack, watch: &mut Watch, left: Duration) {
        let long = left > Duration::from_secs(90);
        let pause = if long && self.rng.below(3) == 0 {
            self.rng.pause(30_000, 45_000)
        } else {
            self.rng.pause(1_000, 4_000)
        };
        let until = Instant::now() + pause.min(left);
        while Instant::now() < until {
            watch.look();
            sleep(Duration::from_millis(200)).await;
        }
        if left.saturating_sub(pause).is_zero() {
            return;
        }
        let begun = now();
        let fault = self.fault(stack).await;
        self.windows.push((begun, now()));
        *self.faults.entry(fault).or_default() += 1;
        watch.look();
    }

    async fn fault(&mut self, stack: &mut Stack) -> &'static str {
        match self.card() {
            0 | 1 => {
                self.api.process(0).kill_9_if_running().await;
                sleep(self.rng.pause(0, 1_000)).await;
                self.start_api(stack).await;
                "API process killed"
            }
            2 | 3 => {
                let worker = self.some_worker();
                worker.process(0).kill_9_if_running().await;
                worker.start().await;
                "worker killed"
            }
            4 => {
                let worker = self.some_worker();
                worker.process(0).stop().await;
                worker.start().await;
                "worker restarted in good order"
            }
            5 => {
                ask_redis(stack.redis.port(), "FLUSHALL").await;
                "Redis emptied"
            }
            6 => {
                stack.redis.kill().await.expect("a kill");
                sleep(self.rng.pause(0, 2_000)).await;
                stack.redis.restart().await.expect("Redis");
                "Redis killed and started"
            }
            7 => {
                stack.redis.freeze(true);
                sleep(self.rng.pause(500, 3_000)).await;
                stack.redis.freeze(false);
                "Redis frozen"
            }
            8 => {
                stack.postgres.restart().await.expect("PostgreSQL");
                "PostgreSQL restarted"
            }
            9 => {
                stack.postgres.kill().await.expect("a kill");
                sleep(self.rng.pause(0, 1_000)).await;
                stack.postgres.restart().await.expect("PostgreSQL");
                "PostgreSQL killed and started"
            }
            10 => {
                stack.postgres.freeze(true);
                sleep(self.rng.pause(500, 4_000)).await;
                stack.postgres.freeze(false);
                "PostgreSQL frozen"
            }
            _ => self.providers(stack).await,
        }
    }

    /// Every kind of fault comes once before any comes again, but for those that come twice as
    /// often.
    fn card(&mut self) -> u64 {
        if self.deck.is_empty() {
            self.deck = (0..CARDS).collect();
        }
        let n = self.rng.below(self.deck.len() as u64) as usize;
        self.deck.swap_remove(n)
    }

    /// All calls to providers go wrong for a while.
    async fn providers(&mut self, stack: &Stack) -> &'static str {
        let (what, fault) = match self.rng.below(4) {
            0 => ("providers slow", Fault::delay(Duration::from_secs(2))),
            1 => (UNAVAILABLE, Fault::status(503)),
            2 => ("providers hang up", Fault::dropped()),
            _ => ("providers hang up when they have worked", Fault::dropped_after()),
        };
        // Counted rather than cleared, so that the webhooks' faults stay; and no more than what is
        // asked in a few seconds.
        let calls = [
            (Target::RazorpayOrders, 5),
            (Target::RazorpayCapture, 2),
            (Target::RazorpayRefund, 5),
            (Target::RazorpayList, 2),
            (Target::TwilioVerify, 2),
            (Target::TwilioCheck, 2),
            (Target::Smtp, 5),
        ];
        for (target, times) in calls {
            // A mail server's 5xx is final; a 4xx may pass.
            let fault = if target == Target::Smtp && what == UNAVAILABLE {
                Fault::status(451)
            } else {
                fault.clone()
            };
            stack.providers.fault(target, Some(times), fault);
        }
        sleep(self.rng.pause(2_000, 4_000)).await;
        what
    }

    fn some_worker(&mut self) -> &mut Processes {
        let n = self.rng.below(self.workers.len() as u64) as usize;
        &mut self.workers[n]
    }

    async fn start_api(&mut self, stack: &Stack) {
        self.api.supervise();
        stack.until_ready_at(&self.url).await;
    }

    /// Nothing goes wrong any more.
    pub(crate) async fn calm(&mut self, stack: &mut Stack) {
        let begun = now();
        stack.providers.clear_faults();
        self.start_api(stack).await;
        stack.until_ready(0).await;
        for worker in &mut self.workers {
            worker.supervise();
            worker.process(0).wait_for_log("worker ready", SOON).await;
        }
        self.windows.push((begun, now()));
    }
}
