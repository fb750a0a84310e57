//! Random histories of an event: seats are locked, booked, ordered, paid, authorized, captured,
//! refused, given up, cancelled, refunded, by us or by hand, and disputed; Razorpay's webhooks come
//! late, twice and in any order. After each step, seats and money must be as they should be.
//!
//! The code is the real one, on a real PostgreSQL; Razorpay is a model ([`razorpay`]), because its
//! calls are made outside the domain. The inbox is left out on purpose: it would recognise doubled
//! webhooks, and here the states alone have to. Half of the histories are the same in every run,
//! half are new; `PROPTEST_CASES` says how many there are (`make test-long` wants ten thousand),
//! and `PROPTEST_RNG_SEED` repeats some. A failure is shrunk to the shortest history that shows it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "helpers of tests are tests"
)]

mod checks;
mod razorpay;
mod shop;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use nexus_common::{
    books,
    config::{Database, Redis as RedisSettings, Unpaid},
    seats::{
        lock::Terms,
        locks::{self, SeatLocks},
    },
    storage::{Cache, postgres},
};
use nexus_sandbox::{
    postgres::{Durability, Options, Postgres},
    redis::Redis,
    scratch,
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    test_runner::{Config, RngSeed, TestCaseError, TestRunner},
};
use razorpay::{Amount, Outcome};
use shop::Shop;
use sqlx::PgPool;

/// Histories, if PROPTEST_CASES does not say otherwise.
const HISTORIES: u32 = 1_000;
/// Histories that are under way at once.
const AT_ONCE: u32 = 8;

/// One step of a history. What does not apply, because there is no order to pay for instance, does
/// nothing.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Lock {
        buyer: usize,
        seats: Vec<usize>,
    },
    Book {
        buyer: usize,
    },
    Order {
        booking: Index,
    },
    /// Lock, book and order in one: most histories need it.
    Want {
        buyer: usize,
        seats: Vec<usize>,
    },
    ConfirmFree {
        booking: Index,
    },
    Pay {
        order: Index,
        outcome: Outcome,
        amount: Amount,
    },
    /// A payment that failed, or was authorized only, succeeds after all.
    ChangeMind {
        payment: Index,
        outcome: Outcome,
    },
    /// An authorization that nobody has captured goes back by itself.
    Lapse {
        payment: Index,
    },
    Deliver {
        webhook: Index,
    },
    DeliverAgain {
        webhook: Index,
    },
    /// The deadline of a booking passes.
    Overdue {
        booking: Index,
    },
    /// The deadline of every lock without a booking passes.
    LocksRunOut,
    Sweep,
    Cancel {
        booking: Index,
    },
    /// The job that asks Razorpay for a refund runs.
    AskRefund {
        refund: Index,
    },
    /// The bank makes a refund, or cannot.
    EndRefund {
        refund: Index,
        succeeds: bool,
    },
    /// Somebody refunds a payment at Razorpay, or a part of it.
    RefundByHand {
        payment: Index,
        part: bool,
    },
    /// The buyer's bank asks for a payment back, or for a part of it.
    Dispute {
        payment: Index,
        part: bool,
        deduct: bool,
    },
    EndDispute {
        dispute: Index,
        won: bool,
    },
    StartEvent,
    CancelEvent,
    DeleteEvent,
}

fn step() -> impl Strategy<Value = Step> {
    let buyer = 0..shop::BUYERS;
    let seats = || vec(0..shop::SEATS.len(), 1..3);
    let index = any::<Index>;
    let outcome = || prop_oneof![5 => Just(Outcome::Captured), 3 => Just(Outcome::Authorized), 2 => Just(Outcome::Failed)];
    let amount = prop_oneof![8 => Just(Amount::Right), 1 => Just(Amount::Wrong), 1 => Just(Amount::ForeignCurrency)];
    prop_oneof![
        3 => (buyer.clone(), seats()).prop_map(|(buyer, seats)| Step::Lock { buyer, seats }),
        2 => buyer.clone().prop_map(|buyer| Step::Book { buyer }),
        2 => index().prop_map(|booking| Step::Order { booking }),
        8 => (buyer, seats()).prop_map(|(buyer, seats)| Step::Want { buyer, seats }),
        2 => index().prop_map(|booking| Step::ConfirmFree { booking }),
        12 => (index(), outcome(), amount).prop_map(|(order, outcome, amount)| Step::Pay { order, outcome, amount }),
        3 => (index(), outcome()).prop_map(|(payment, outcome)| Step::ChangeMind { payment, outcome }),
        1 => index().prop_map(|payment| Step::Lapse { payment }),
        16 => index().prop_map(|webhook| Step::Deliver { webhook }),
        4 => index().prop_map(|webhook| Step::DeliverAgain { webhook }),
        5 => index().prop_map(|booking| Step::Overdue { booking }),
        1 => Just(Step::LocksRunOut),
        4 => Just(Step::Sweep),
        5 => index().prop_map(|booking| Step::Cancel { booking }),
        5 => index().prop_map(|refund| Step::AskRefund { refund }),
        4 => (index(), any::<bool>()).prop_map(|(refund, succeeds)| Step::EndRefund { refund, succeeds }),
        4 => (index(), any::<bool>()).prop_map(|(payment, part)| Step::RefundByHand { payment, part }),
        8 => (index(), any::<bool>(), any::<bool>()).prop_map(|(payment, part, deduct)| Step::Dispute { payment, part, deduct }),
        6 => (index(), any::<bool>()).prop_map(|(dispute, won)| Step::EndDispute { dispute, won }),
        1 => Just(Step::StartEvent),
        1 => Just(Step::CancelEvent),
        1 => Just(Step::DeleteEvent),
    ]
}

/// What histories share.
pub(crate) struct World {
    pub(crate) db: PgPool,
    pub(crate) locks: SeatLocks,
    pub(crate) cache: Cache,
    pub(crate) organiser: i32,
    pub(crate) buyers: Vec<i32>,
}

impl World {
    async fn new(postgres: &Postgres, redis: &Redis) -> Self {
        let settings = Database {
            acquire_timeout: Duration::from_secs(60),
            ..Database::at(postgres.url().parse().expect("an address"), 2 * AT_ONCE)
        };
        postgres::migrate(&settings, |_| ()).await.expect("migrations");
        let db = postgres::pool(&settings, "histories");
        let writing = locks::pool(&settings, AT_ONCE, "histories locks");
        let cache =
            Cache::new(&RedisSettings { url: redis.url().into(), ca: None }).expect("a cache");
        let users = "INSERT INTO users (name, email) SELECT 'User', n || '@nexus.example' FROM generate_series(0, $1) n RETURNING id";
        let mut buyers: Vec<i32> = sqlx::query_scalar(users)
            .bind(shop::BUYERS as i32)
            .fetch_all(&db)
            .await
            .expect("users");
        let unpaid = Unpaid {
            seats: 1_000,
            bookings: 1_000,
            seat_minutes: u32::MAX,
            endings: u32::MAX,
            network_minutes: u32::MAX,
        };
        let terms = Terms { valid: Duration::from_secs(600), unpaid };
        World {
            locks: SeatLocks::new(db.clone(), writing, cache.clone(), terms),
            organiser: buyers.pop().expect("one more user than buyers"),
            db,
            cache,
            buyers,
        }
    }
}

async fn live(world: &World, history: &[Step]) -> Result<(), String> {
    let mut shop = Shop::open(world).await?;
    for (number, step) in history.iter().enumerate() {
        shop.take(step).await.map_err(|error| format!("step {number}, {step:?}: {error}"))?;
        shop.check().await.map_err(|broken| format!("after step {number}, {step:?}: {broken}"))?;
    }
    // Everything that is under way arrives; what Razorpay has and what our books say must be the
    // same then.
    shop.come_to_rest().await.map_err(|error| format!("coming to rest: {error}"))?;
    shop.check().await.map_err(|broken| format!("at rest: {broken}"))?;
    shop.check_rest().await.map_err(|broken| format!("at rest: {broken}"))
}

#[test]
fn no_history_costs_anybody_money_or_a_seat() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = scratch::directory().join(format!("nexus-histories-{}", std::process::id()));
    let (postgres, redis, world) = runtime.block_on(async {
        let postgres =
            Postgres::start(dir.join("postgres"), Options::throwaway()).await.expect("PostgreSQL");
        let redis =
            Redis::start(dir.join("redis"), Durability::Throwaway, None).await.expect("Redis");
        let world = Arc::new(World::new(&postgres, &redis).await);
        (postgres, redis, world)
    });

    let chosen = Config::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { chosen.cases } else { HISTORIES };
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = |thread: u32| match chosen.rng_seed {
        RngSeed::Fixed(seed) => seed + u64::from(thread),
        RngSeed::Random if thread < AT_ONCE / 2 => 2026 + u64::from(thread),
        RngSeed::Random => now + u64::from(thread),
    };
    let threads: Vec<_> = (0..AT_ONCE)
        .map(|thread| {
            let (runtime, world, seed) = (runtime.handle().clone(), world.clone(), seed(thread));
            let config = Config {
                cases: cases.div_ceil(AT_ONCE),
                rng_seed: RngSeed::Fixed(seed),
                failure_persistence: None,
                max_shrink_iters: 500,
                ..Config::default()
            };
            std::thread::spawn(move || {
                let ran = TestRunner::new(config).run(&vec(step(), 4..32), |history| {
                    runtime.block_on(live(&world, &history)).map_err(TestCaseError::fail)
                });
                ran.map_err(|error| format!("PROPTEST_RNG_SEED={seed}: {error}"))
            })
        })
        .collect();
    let failures: Vec<String> =
        threads.into_iter().filter_map(|thread| thread.join().expect("no panic").err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));

    // The check that runs every day agrees.
    let violations = runtime.block_on(async {
        let mut conn = world.db.acquire().await.expect("a connection");
        books::violations(&mut conn).await.expect("a check")
    });
    assert!(violations.is_empty(), "{violations:#?}");
    runtime.block_on(async move {
        let kinds = "SELECT kind || ' ' || count(*) FROM payments GROUP BY kind
                     UNION ALL SELECT 'dispute ' || status || ' ' || count(*) FROM disputes GROUP BY status
                     UNION ALL SELECT reason || ' ' || count(*) FROM refunds GROUP BY reason
                     UNION ALL SELECT status || ' ' || count(*) FROM bookings GROUP BY status";
        let seen: Vec<String> = sqlx::query_scalar(kinds).fetch_all(&world.db).await.expect("counts");
        println!("{cases} histories: {seen:?}");
        world.db.close().await;
        // Within the runtime: it gives back the connections that it has kept.
        drop(world);
    });
    drop((redis, postgres));
    let _ = std::fs::remove_dir_all(dir);
}
