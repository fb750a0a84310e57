//! What one event, or one slow part, does to everything else: an event that all buyers want, an
//! event whose inventory a transaction holds, commits that take long, and a dump that takes long.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use futures_util::{
    StreamExt, TryStreamExt,
    future::{join, join_all},
    stream,
};
use nexus_sandbox::providers::{Outcome, Pay};
use tokio::time::{sleep, timeout};

use crate::{
    cpu::Cpu,
    servers::Servers,
    shop::{
        http::Connection,
        load::{Load, closed_loop, connections, for_so_long, load, milliseconds},
        requests::{OnSale, buy, lock},
        seller::Seller,
        site::Site,
        store::{NAME, Store},
    },
    slow_line::SlowLine,
};

/// Time of a round trip between PostgreSQL and its clients, in [`hot_event`].
pub const ROUND_TRIP: Duration = Duration::from_millis(4);
/// Buyers who pay for seats of one event, in [`hot_event`].
pub const PAYING: usize = 200;
/// Buyers who pay for seats of the event that is held, and as many for the other one, in
/// [`held_event`].
pub const PAYING_BESIDE: usize = 20;
/// Clients that lock seats meanwhile.
pub const LOCKING: usize = 16;
/// How long a flush takes in [`slow_commits`]; microseconds, as PostgreSQL counts.
pub const FLUSH: u32 = 5_000;
/// Clients that deliver webhooks, in [`slow_commits`].
pub const DELIVERING: usize = 32;
/// Jobs that have gone since the snapshot of [`old_snapshot`] was taken.
pub const GONE: i32 = 200_000;

/// How long a measurement runs that would not end by itself.
const WATCH: Duration = Duration::from_secs(4);
/// The longest wait for an end: after it, what has happened by then counts.
const PATIENCE: Duration = Duration::from_secs(25);
/// Buyers who get ready at once.
const AT_ONCE: usize = 32;

/// A client that has waited for so long gives up.
const GIVES_UP: Duration = Duration::from_secs(10);

/// All buyers pay for, and lock, seats of the same event, whose database is a few milliseconds
/// away.
#[derive(Debug, Clone, Copy)]
pub struct Hot {
    /// Bookings per second.
    pub confirmed: f64,
    pub locks: Load,
}

/// See [`Hot`].
pub async fn hot_event(servers: &Servers, seller: &Seller) -> Result<Hot> {
    let line = SlowLine::to(servers.postgres.port(), ROUND_TRIP).await?;
    let store = Store::create(servers, seller).await?;
    let far = servers.database_url(line.port(), NAME);
    let site = Site::open(servers, seller, &store, &far).await?;
    let event = site.event(1_000_000).await?;
    let orders = orders(&site, event, PAYING).await?;
    servers.settle().await?;

    let start = Instant::now();
    pay(&site, &orders)?;
    let is_paid = Cell::new(false);
    let until_paid = async {
        let confirmed = until_confirmed(&store, event, start).await;
        is_paid.set(true);
        confirmed
    };
    let (confirmed, locks) = join(until_paid, lock_while(&site, event, || !is_paid.get())).await;
    let confirmed = confirmed? as f64 / start.elapsed().as_secs_f64();
    site.close().await?;
    store.drop(servers).await?;
    Ok(Hot { confirmed, locks: locks? })
}

/// A transaction holds the inventory of one event: what buyers of another one see of it.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// Locks of the other event.
    pub locks: Load,
    /// Until the other event's payments had become bookings, in milliseconds.
    pub confirmed_after: f64,
}

/// See [`Held`].
pub async fn held_event(servers: &Servers, seller: &Seller) -> Result<Held> {
    let store = Store::create(servers, seller).await?;
    let site = Site::open(servers, seller, &store, &store.url).await?;
    let (held, other) = (site.event(1_000_000).await?, site.event(1_000_000).await?);
    let orders_held = orders(&site, held, PAYING_BESIDE).await?;
    let orders_other = orders(&site, other, PAYING_BESIDE).await?;
    servers.settle().await?;

    let mut holder = store.db.begin().await?;
    sqlx::query("SELECT FROM event_inventory WHERE event_id = $1 FOR UPDATE")
        .bind(held.event)
        .execute(&mut *holder)
        .await?;
    pay(&site, &orders_held)?;
    // Requests for seats of the event that is held: they wait, and their outcome does not matter.
    let waiting = join_all((0..LOCKING).map(async |client| {
        let request = lock(held, &format!("W{client}"), site.token(client));
        Connection::open(site.port()).await?.call(&request).await
    }));
    let beside = async {
        sleep(Duration::from_millis(500)).await;
        let locks = lock_while(&site, other, for_so_long(WATCH)).await?;
        let begun = Instant::now();
        pay(&site, &orders_other)?;
        until_confirmed(&store, other, begun).await?;
        let confirmed_after = milliseconds(begun.elapsed());
        holder.rollback().await?;
        anyhow::Ok(Held { locks, confirmed_after })
    };
    let (_, held) = join(waiting, beside).await;
    site.close().await?;
    store.drop(servers).await?;
    held
}

/// Every flush of PostgreSQL's log takes a while: how many webhooks are stored all the same.
pub async fn slow_commits(servers: &Servers, seller: &Seller) -> Result<Load> {
    let store = Store::create(servers, seller).await?;
    let site = Site::open(servers, seller, &store, &store.url).await?;
    servers.settle().await?;
    set_flush(servers, FLUSH).await?;
    let next = Cell::new(0_u64);
    let stored = load(&site, DELIVERING, WATCH, async |_, connection| {
        next.set(next.get() + 1);
        connection.call(&site.foreign_payment(next.get())).await?.success()
    });
    let stored = stored.await?;
    set_flush(servers, 0).await?;
    site.close().await?;
    store.drop(servers).await?;
    Ok(stored)
}

/// A transaction holds a snapshot, as a dump does, and many jobs have gone since: bookings per
/// second.
pub async fn old_snapshot(servers: &Servers, seller: &Seller) -> Result<f64> {
    let store = Store::create(servers, seller).await?;
    let mut dump = store.db.begin().await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *dump).await?;
    sqlx::query("SELECT FROM jobs LIMIT 1").execute(&mut *dump).await?;
    sqlx::query(
        "INSERT INTO jobs (id, queue, kind, payload, max_attempts, available_at)
         SELECT gen_random_uuid(), 'payments', 'process_webhook', '{}', 1, now() - interval '1 minute'
         FROM generate_series(1, $1)",
    )
    .bind(GONE)
    .execute(&store.db)
    .await?;
    for step in [
        "UPDATE jobs SET state = 'queued', queued_at = now(), delivery = 1 WHERE state = 'pending'",
        "UPDATE jobs SET state = 'running', leased_until = now() WHERE state = 'queued'",
        "UPDATE jobs SET state = 'done', leased_until = NULL, finished_at = now() WHERE state = 'running'",
    ] {
        sqlx::query(step).execute(&store.db).await?;
    }
    let site = Site::open(servers, seller, &store, &store.url).await?;
    let event = site.event(1_000_000).await?;
    let orders = orders(&site, event, PAYING).await?;
    servers.settle().await?;
    let start = Instant::now();
    pay(&site, &orders)?;
    let confirmed =
        until_confirmed(&store, event, start).await? as f64 / start.elapsed().as_secs_f64();
    site.close().await?;
    dump.rollback().await?;
    store.drop(servers).await?;
    Ok(confirmed)
}

async fn set_flush(servers: &Servers, microseconds: u32) -> Result<()> {
    // With no other transaction open, too.
    for setting in [format!("commit_delay = {microseconds}"), "commit_siblings = 0".to_owned()] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("ALTER SYSTEM SET {setting}")))
            .execute(&servers.db)
            .await?;
    }
    sqlx::query("SELECT pg_reload_conf()").execute(&servers.db).await?;
    Ok(())
}

/// Orders of as many buyers, each for one seat.
async fn orders(site: &Site, event: OnSale, buyers: usize) -> Result<Vec<String>> {
    let order = async |buyer: usize| {
        let mut connection = Connection::open(site.port()).await?;
        buy(&mut connection, event, &format!("B{buyer}"), site.token(buyer)).await
    };
    stream::iter(0..buyers).map(order).buffer_unordered(AT_ONCE).try_collect().await
}

/// The buyers pay; webhooks are on their way when this returns.
fn pay(site: &Site, orders: &[String]) -> Result<()> {
    for order in orders {
        let paid = site.providers.pay(&Pay::order(order, Outcome::Captured));
        ensure!(paid.is_ok(), "{order} could not be paid: {paid:?}");
    }
    Ok(())
}

/// Waits until no booking of `event` is pending, for [`PATIENCE`] at most; returns how many are
/// confirmed.
async fn until_confirmed(store: &Store, event: OnSale, begun: Instant) -> Result<i64> {
    let look =
        "SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'confirmed')
                FROM bookings WHERE event_id = $1";
    loop {
        let (pending, confirmed): (i64, i64) =
            sqlx::query_as(look).bind(event.event).fetch_one(&store.db).await?;
        if pending == 0 || begun.elapsed() > PATIENCE {
            return Ok(confirmed);
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Clients that lock one seat of `event` after the other. One that is not answered in time counts
/// with the time that it waited.
async fn lock_while(site: &Site, event: OnSale, go_on: impl Fn() -> bool) -> Result<Load> {
    let (next, locked) = (Cell::new(0), Cell::new(0_usize));
    let work = async |_, connection: &mut Connection| {
        let seat = next.replace(next.get() + 1);
        // Buyers who do not pay meanwhile.
        let request = lock(event, &format!("L{seat}"), site.token(PAYING + seat));
        match timeout(GIVES_UP, connection.call(&request)).await {
            Ok(response) => locked.set(locked.get() + usize::from(response?.status == 200)),
            Err(_) => *connection = Connection::open(site.port()).await?,
        }
        Ok(())
    };
    let clients = connections(site.port(), LOCKING).await?;
    let found = closed_loop(clients, Duration::ZERO, go_on, Cpu::default, work).await?;
    Ok(Load { rate: locked.get() as f64 / found.time, ..found })
}
